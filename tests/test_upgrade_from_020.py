"""A root that 0.2.0 left in the middle of everything, taken over: nothing is lost, and nothing twice.

What is in it: ``tests/fixtures/roots/README.md``; how it is gone on with: `tests.support.kept_root`.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import trio

import matterstack
from matterstack.core.ids import RunId, TaskId
from matterstack.core.operators import ASKED
from matterstack.storage.commands import open_commands
from matterstack.storage.layout import Root
from tests.support.command import PATIENCE_S
from tests.support.history import assert_history
from tests.support.kept_root import KeptRoot
from tests.support.polling import wait_until
from tests.support.stored import require_loaded

BEFORE: Final = {
    "completed": "COMPLETED",
    "failed": "FAILED",
    "cancelled": "CANCELLED",
    "embedded_ended": "COMPLETED",
    "pending": "PENDING",
    "pending_cancel": "PENDING",
    "crashed_after_plan_answered": "RUNNING",
    "crashed_after_prepared": "RUNNING",
    "crashed_after_staging": "RUNNING",
    "crashed_before_submit": "RUNNING",
    "crashed_after_submit": "RUNNING",
    "crashed_after_sighting": "RUNNING",
    "ending": "RUNNING",
    "cluster_accepted": "RUNNING",
    "cluster_unheard": "RUNNING",
    "cluster_unsent": "RUNNING",
    "embedded_main": "RUNNING",
    "embedded_module": "RUNNING",
    "questions": "RUNNING",
    "at_work": "RUNNING",
    "paused": "PAUSED",
    "resume_asked": "PAUSED",
    "cancel_asked": "RUNNING",
    "narrow_a": "RUNNING",
    "narrow_b": "RUNNING",
}
EMBEDDED: Final = ("embedded_main", "embedded_module")
PICKLED_WITH: Final = (3, 11)
AFTER: Final = dict.fromkeys(BEFORE, "COMPLETED") | {
    "failed": "FAILED",
    "cancelled": "CANCELLED",
    "pending_cancel": "CANCELLED",
    "ending": "CANCELLED",
    "cancel_asked": "CANCELLED",
}
EXPORTED_BEFORE: Final = {
    *("completed", "failed", "cancelled", "pending", "crashed_after_staging", "crashed_after_sighting"),
    *("ending", "cluster_unheard", "questions", "at_work", "paused", "narrow_b"),
}
"""Half of them; each is exported at least once, and that takes longest."""
LONGEST_S: Final = 3 * PATIENCE_S


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[KeptRoot]:
    kept = KeptRoot.unpacked("root_020", tmp_path)
    yield kept
    kept.shut_down()
    assert_history(Root(kept.root))


def served(kept: KeptRoot) -> list[str]:
    """Runs of the store that an engine on this Python can go on with."""
    names = [name for name in kept.runs if name != "imported"]
    return [name for name in names if name not in EMBEDDED or sys.version_info[:2] == PICKLED_WITH]


def ok(kept: KeptRoot, *arguments: str) -> str:
    code, said = kept.command(*arguments)
    assert code == 0, (arguments, said)
    return said


def test_everything_fits_and_can_be_looked_at_before_anything_is_done(kept: KeptRoot) -> None:
    assert "everything fits" in ok(kept, "check")
    assert {name: kept.status(name) for name in BEFORE} == BEFORE
    assert_is_readable(kept, exported=EXPORTED_BEFORE)


def assert_is_readable(kept: KeptRoot, exported: Iterable[str]) -> None:
    """All commands that show runs work on all of them, and evidence of those named is whole."""
    listed = ok(kept, "run", "list")
    assert [run for run in kept.runs.values() if run not in listed] == []
    for run in kept.runs.values():
        assert json.loads(ok(kept, "run", "status", run, "--json"))["run_id"] == run
        ok(kept, "run", "status", run)
        assert json.loads(ok(kept, "run", "tasks", run, "--json")) is not None
    for name in BEFORE:
        assert json.loads(ok(kept, "run", "explain", kept.runs[name], "--json"))
    for name in exported:
        output = str(kept.folder / "exported" / name)
        made = json.loads(ok(kept, "run", "export-evidence", kept.runs[name], "--output", output, "--json"))
        assert made["status"] == kept.status(name)
        ok(kept, "evidence", "verify", output, "--against-store")


def test_old_evidence_is_whole_and_old_archives_can_be_imported(kept: KeptRoot, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "workspaces").mkdir(parents=True)
    for name in ("completed", "failed", "cancelled", "embedded_ended"):
        slug = "diffusion_ended" if name == "embedded_ended" else name
        bundle = kept.command_line.run_folder(slug, kept.runs[name]) / "evidence"
        ok(kept, "evidence", "verify", str(bundle), "--against-store")
        ok(kept, "evidence", "show", str(bundle))
    ok(kept, "evidence", "verify", str(kept.root / "imported" / kept.runs["imported"] / "evidence"))
    run = kept.runs["completed"]
    archive = kept.command_line.run_folder("completed", run) / f"{run}.zip"
    imported = json.loads(ok(kept, "--root", str(other), "run", "import", str(archive), "--json"))
    assert (imported["status"], imported["is_complete"]) == ("COMPLETED", True)
    tasks = json.loads(ok(kept, "--root", str(other), "run", "tasks", run, "--json"))
    assert {task["task_id"] for task in tasks} == set(kept.command_line.tasks(run))


def test_an_engine_of_this_version_brings_every_run_to_its_end(kept: KeptRoot) -> None:
    kept.resume()
    assert "everything fits" in ok(kept, "check"), "what this test has changed fits, too"
    before = {name: kept.command_line.events(kept.runs[name]) for name in BEFORE}
    attempts = {name: tokens_and_jobs(kept, name) for name in BEFORE}
    engine = kept.command_line.start("run", "loop")
    answer_all_questions(kept)
    kept.command_line.ok("run", "resume", kept.runs["paused"])
    kept.open_gates("at-work", "in-doubt", "cluster", "embedded", "narrow", "paused", "resumed")
    wanted = {name: AFTER[name] for name in served(kept)}
    wait_until(
        lambda: {name: kept.status(name) for name in wanted} == wanted, LONGEST_S, "the end of all runs"
    )
    engine.signal(signal.SIGTERM)
    done = engine.wait()
    assert done.exit_code == 0, done.stderr
    # Nothing lost: what was there stands as it stood, and jobs that were known are the same ones.
    for name, old in before.items():
        assert kept.command_line.events(kept.runs[name])[: len(old)] == old
        assert attempts[name].items() <= tokens_and_jobs(kept, name).items()
    # Nothing twice: each attempt's job has begun once.
    notes = kept.notes()
    assert {note for note, count in notes.items() if count != 1} == set()
    assert notes.keys() == {note for name in BEFORE for note in of_jobs(kept, name)}
    assert kept.command_line.read(open_commands) == []
    assert_ends_are_as_they_must_be(kept)
    assert kept.reports() == [], "what killed engines said is gone"
    assert_is_readable(kept, exported=BEFORE.keys() - EXPORTED_BEFORE | {"questions", "at_work"})


def tokens_and_jobs(kept: KeptRoot, name: str) -> dict[str, Any]:
    """Jobs by their attempts' tokens, as far as they are known."""
    tasks = kept.command_line.tasks(kept.runs[name]).values()
    return {a["token"]: a["job_id"] for task in tasks for a in task["attempts"] if a["job_id"] is not None}


def of_jobs(kept: KeptRoot, name: str) -> Iterator[str]:
    """What the jobs of a run have noted, if each of them has begun."""
    run = kept.runs[name]
    for task_id, task in kept.command_line.tasks(run).items():
        for attempt in task["attempts"]:
            if attempt["backend"] != ASKED:
                yield f"{run} {task_id} {attempt['n']}"


def answer_all_questions(kept: KeptRoot) -> None:
    """Those that 0.2.0 asked; two were answered when its engine was gone."""
    run = kept.runs["questions"]
    folder = kept.command_line.run_folder("questions", run)
    wait_until(
        lambda: kept.command_line.tasks(run)["answered"]["status"] == "SUCCEEDED", LONGEST_S, "the answer"
    )
    wait_until(
        lambda: kept.command_line.tasks(run)["shelf"]["status"] == "SUCCEEDED", LONGEST_S, "the result"
    )
    assert "energy: must be a number" in ok(kept, "run", "explain", run)
    (folder / "tasks" / "by-hand" / "1" / "result.json").write_text('{"value": 2}')
    for task, *words in (
        ("look", "--approve"),
        ("rejected", "--set", "energy=-2"),
        ("furnace", "--set", "thickness=5"),
        ("by-hand", "--set", "exit_code=0"),
    ):
        kept.command_line.ok("respond", run, task, *words)


def assert_ends_are_as_they_must_be(kept: KeptRoot) -> None:
    def attempts_of(name: str, task: str) -> list[Any]:
        listed: list[Any] = kept.command_line.tasks(kept.runs[name])[task]["attempts"]
        return listed

    killed = attempts_of("at_work", "killed")
    assert [(a["n"], a["raw_state"]) for a in killed] == [(1, "KILLED"), (2, "COMPLETED")]
    for name, task in (("at_work", "alive"), ("at_work", "recorded"), ("crashed_after_sighting", "only")):
        assert [a["raw_state"] for a in attempts_of(name, task)] == ["COMPLETED"], name
    for name, task in (("cluster_accepted", "accepted"), ("cluster_unheard", "unheard")):
        (only,) = attempts_of(name, task)
        assert only["job_id"] == (only_claim(kept, name, task)), name
    run = RunId(kept.runs["questions"])
    answers = kept.command_line.read(lambda store: require_loaded(store, run)).tasks
    data = [answers[TaskId(task)].data for task in ("rejected", "answered", "shelf", "furnace")]
    assert data == [{"energy": -2}, {"energy": -1.5}, {"energy": -2}, {"thickness": 5}]


def only_claim(kept: KeptRoot, name: str, task: str) -> str:
    folder = kept.command_line.run_folder(name, kept.runs[name]) / "tasks" / task / "1"
    return (folder / "claim" / "job_id").read_text().strip()


@pytest.mark.skipif(
    sys.version_info[:2] != PICKLED_WITH, reason="a pickle is loaded by the Python that made it"
)
async def test_a_host_program_goes_on_with_its_campaigns(
    kept: KeptRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in kept.environment.items():
        monkeypatch.setenv(name, value)
    kept.resume()
    kept.open_gates("embedded")
    with trio.fail_after(LONGEST_S):
        async with matterstack.open_engine(kept.root) as engine:
            runs = [await engine.run(kept.runs[name]) for name in EMBEDDED]
            ends = [await run.wait() for run in runs]
            assert [(end.status, end.status_reason) for end in ends] == [("COMPLETED", ""), ("COMPLETED", "")]
            of_main, of_module = [await run.state() for run in runs]
    assert of_main == {"done": 2, "before": [kept.runs["embedded_ended"]] * 2}
    assert of_module == {"done": 2, "conductivity": 1.5, "warning": "one sample was wet"}
    assert set(kept.notes().values()) == {1}


@pytest.mark.skipif(sys.version_info[:2] == PICKLED_WITH, reason="this is the Python that made the pickles")
def test_another_python_says_which_one_it_must_be(kept: KeptRoot) -> None:
    kept.resume()
    kept.open_gates("embedded")
    run = kept.runs["embedded_main"]
    done = kept.command_line.run("run", "loop", run, "--until-done")
    assert "was made with Python 3.11" in done.stdout + done.stderr


def test_what_another_machine_served_is_left_alone_until_it_is_freed(kept: KeptRoot) -> None:
    run = kept.runs["at_work"]
    kept.open_gates("at-work")
    code, said = kept.command("check", "--break-lease", run)
    assert code == 0, said
    done = kept.command_line.run("run", "loop", run, "--until-done")
    assert done.exit_code == 1, "the jobs that nobody started again ended with that machine"
    tasks = kept.command_line.tasks(run)
    ends = [
        tasks["alive"]["attempts"][0]["raw_state"],
        *(a["raw_state"] for a in tasks["killed"]["attempts"]),
    ]
    # The former where this machine is still up since the root was made on it.
    assert ends in (["KILLED", "KILLED", "COMPLETED"], ["NODE_FAIL", "NODE_FAIL", "COMPLETED"])
    assert tasks["recorded"]["status"] == "SUCCEEDED"
