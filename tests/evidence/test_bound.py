"""Logs and records of what jobs were given, next to what the ends of their jobs say of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from matterstack.core.ids import TaskId
from matterstack.core.model.workflow import Task
from matterstack.core.run import messages as m
from matterstack.core.states import JobState
from matterstack.evidence.strength import Strength
from matterstack.evidence.survey import AttemptRecord, LogState, ManifestState, parse_survey
from matterstack.evidence.verify import examine_bundle
from tests.evidence.bundles import export
from tests.evidence.stage import Stage, sha256, stage
from tests.support.stored import new_root

pytestmark = pytest.mark.usefixtures("drawn_once")


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Stage]:
    """One job has ended, and printed something."""
    with stage(new_root(tmp_path / "root")) as made:
        made.tell(m.Start())
        made.plan(Task(TaskId("a"), command=["true"], files={"run.py": "/x/workspaces/demo/run.py"}))
        made.prepare()
        made.start("a")
        made.end("a", stdout=b"one\n")
        made.analyze()
        made.tell(m.Planned(iteration=2, workflow=None))
        yield made


def log_of(made: Stage) -> Path:
    return made.folder.attempt(TaskId("a"), 1).stdout


def exported(made: Stage) -> tuple[Path, AttemptRecord]:
    folder = export(made.root).path
    (record,) = parse_survey((folder / "evidence.json").read_bytes()).attempts
    assert examine_bundle(folder, made.root).findings == ()
    return folder, record


def test_a_log_is_bound_by_the_event_that_ended_its_job(made: Stage) -> None:
    folder, record = exported(made)
    assert [(log.name, log.state) for log in record.logs] == [("stdout.log", LogState.AS_IT_WAS)]
    checks = examine_bundle(folder).checks
    assert checks["logs/a.1/stdout.log"] is Strength.BOUND
    assert checks["used/a.1/manifest.json"] is Strength.BOUND
    assert {check for path, check in checks.items() if path.startswith("used/")} == {Strength.BOUND}
    assert "do not bind" not in (folder / "report.md").read_text()


def test_a_log_that_grew_afterwards_is_named_and_its_beginning_is_compared(made: Stage) -> None:
    log_of(made).write_bytes(b"one\ntwo\n")
    folder, record = exported(made)
    assert [log.state for log in record.logs] == [LogState.LONGER]
    (unbound,) = examine_bundle(folder).unbound
    why = "it grew after its job was seen to be over, and only its beginning is bound"
    assert unbound == f"a, attempt 1: stdout.log: {why}"
    for page in ("report.md", "report.html"):
        text = (folder / page).read_text()
        assert "Files that the events do not bind" in text
        assert "it grew after its job was seen to be over" in text
    assert export(made.root).is_complete


@pytest.mark.parametrize(
    ("now", "state"), [(b"two\n", LogState.CHANGED), (b"o", LogState.CHANGED), (None, LogState.MISSING)]
)
def test_a_log_that_is_not_what_it_was_makes_a_bundle_incomplete(
    now: bytes | None, state: LogState, made: Stage
) -> None:
    if now is None:
        log_of(made).unlink()
    else:
        log_of(made).write_bytes(now)
    folder, record = exported(made)
    assert [log.state for log in record.logs] == [state]
    bundle = export(made.root)
    assert not bundle.is_complete
    assert f"a, attempt 1: log stdout.log is {state}" in bundle.missing
    assert f"log stdout.log is {state}" in (folder / "report.md").read_text()


def test_a_log_that_appeared_afterwards_is_named(made: Stage) -> None:
    made.folder.attempt(TaskId("a"), 1).stderr.write_bytes(b"late\n")
    folder, record = exported(made)
    assert {log.name: log.state for log in record.logs}["stderr.log"] is LogState.LONGER
    assert examine_bundle(folder).checks["logs/a.1/stderr.log"] is Strength.HASH_ONLY


def test_a_record_of_what_was_given_that_changed_is_not_in_the_bundle(made: Stage) -> None:
    made.folder.attempt(TaskId("a"), 1).manifest.write_text("{}")
    folder, record = exported(made)
    assert record.manifest is ManifestState.CHANGED
    assert record.manifest_file is None
    assert not (folder / "used").exists()
    assert not export(made.root).is_complete


def test_what_an_adopted_job_was_given_is_bound_by_its_end(tmp_path: Path) -> None:
    """The engine that wrote its folder did not live to say so."""
    with stage(new_root(tmp_path / "root")) as made:
        made.tell(m.Start())
        made.plan(Task(TaskId("a"), command=["true"]))
        made.prepare()
        made.start_adopted("a")
        made.end("a", state=JobState.COMPLETED_ERROR)
        folder = export(made.root).path
        (record,) = parse_survey((folder / "evidence.json").read_bytes()).attempts
        assert record.manifest is ManifestState.IN_ORDER
        assert record.manifest_file is not None
        kept = (folder / "used" / "a.1" / "manifest.json").read_bytes()
        assert record.manifest_file.sha256 == sha256(kept)
        assert examine_bundle(folder, made.root).findings == ()
