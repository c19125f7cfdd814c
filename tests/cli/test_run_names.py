"""What people call a run: its whole id, how it begins, its workspace, ``@last``; and what is refused."""

from __future__ import annotations

import shutil

import pytest

from tests.support.campaigns import write_tasks
from tests.support.command import CommandLine

TRUE = [{"id": "a", "command": ["true"]}]


@pytest.fixture
def runs(command_line: CommandLine) -> dict[str, str]:
    """A run of one workspace, then one of another."""
    for slug in ("relax", "bands"):
        write_tasks(command_line.root, slug, TRUE)
    return {slug: command_line.new_run(slug) for slug in ("relax", "bands")}


def unlike(one: str, other: str) -> str:
    """How one id begins and the other does not."""
    return next(one[:n] for n in range(1, len(one)) if one[:n] != other[:n])


def test_a_run_is_found_by_prefix_workspace_and_last_and_what_was_found_is_said(
    command_line: CommandLine, runs: dict[str, str]
) -> None:
    for name, slug in {
        unlike(runs["relax"], runs["bands"]): "relax",
        "relax": "relax",
        "bands": "bands",
        "@last": "bands",
        runs["bands"][:-1]: "bands",
    }.items():
        done = command_line.run("run", "status", name)
        assert done.exit_code == 0, done.stderr
        assert done.stderr.splitlines()[0] == f"run {runs[slug]} ({slug})"
        as_json = command_line.run("run", "status", name, "--json")
        assert (as_json.json["run_id"], as_json.stderr) == (runs[slug], "")
    assert "run " not in command_line.run("run", "status", runs["relax"]).stderr, "it was said in full"


@pytest.mark.parametrize(
    "words",
    [
        ("run", "tasks"),
        ("run", "events"),
        ("run", "explain"),
        ("run", "export-evidence"),
        ("run", "archive"),
    ],
    ids=lambda words: words[-1],
)
def test_every_command_that_takes_a_run_takes_a_name_of_it(
    command_line: CommandLine, runs: dict[str, str], words: tuple[str, ...]
) -> None:
    assert command_line.run(*words, "bands").exit_code == 0
    assert runs["bands"] in command_line.run(*words, "@last").stderr


def test_several_names_and_what_steers(command_line: CommandLine, runs: dict[str, str]) -> None:
    command_line.ok("run", "loop", "relax", "@last", "--until-done")
    assert {command_line.status(run_id)["status"] for run_id in runs.values()} == {"COMPLETED"}
    done = command_line.run("run", "rerun", "bands", "a", "--json")
    assert done.json["run_id"] == runs["bands"]


def test_a_prefix_of_several_runs_is_refused_with_their_names(
    command_line: CommandLine, runs: dict[str, str]
) -> None:
    done = command_line.run("run", "status", "2")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "'2' may mean several runs: " in done.stderr
    for slug, run_id in runs.items():
        assert f"{run_id} ({slug})" in done.stderr


def test_a_workspace_that_is_called_as_ids_begin_is_told_from_them(
    command_line: CommandLine, runs: dict[str, str]
) -> None:
    begun = runs["bands"][:4]
    write_tasks(command_line.root, begun, TRUE)
    own = command_line.new_run(begun)
    done = command_line.run("run", "status", begun)
    assert done.exit_code == 2
    assert own in done.stderr
    assert runs["relax"] in done.stderr


def test_what_cannot_be_undone_takes_no_workspace(command_line: CommandLine, runs: dict[str, str]) -> None:
    done = command_line.run("run", "cancel", "bands")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "Error: 'bands' is no run id: this takes no workspace",
        f"Hint: its newest run is {runs['bands']}",
    ]
    done = command_line.run("run", "cancel", unlike(runs["bands"], runs["relax"]), "--json")
    assert (done.json["run_id"], done.json["status"]) == (runs["bands"], "CANCELLED")
    assert command_line.status(runs["relax"])["status"] == "PENDING"


def test_names_of_nothing_are_refused_in_a_sentence(command_line: CommandLine, runs: dict[str, str]) -> None:
    for name, code, words in (
        ("1999", 3, "no run '1999': no run has an id that begins so"),
        ("nonsense", 3, "no run 'nonsense'"),
        ("../../etc", 2, "'../../etc' is no run id"),
        ("", 2, "'' is no run id"),
        ("@first", 2, "'@first' is no run id"),
    ):
        done = command_line.run("run", "status", name)
        assert (done.exit_code, words in done.stderr) == (code, True), done.stderr
    done = command_line.run("run", "status", "nonsense", "--json")
    assert (done.stdout, done.error["code"]) == ("", "not_found")
    shutil.rmtree(command_line.root / "workspaces" / "bands")
    command_line.check_at_end = False
    assert command_line.json("run", "status", "bands")["run_id"] == runs["bands"], "its folder has gone"


def test_there_is_no_last_run_before_the_first(command_line: CommandLine) -> None:
    done = command_line.run("run", "status", "@last")
    assert done.exit_code == 3
    assert "there are no runs yet" in done.stderr
