"""Runs in their hundreds: which of them are listed, and what people say of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from matterstack.core.ids import utc_text
from tests.support.campaigns import write_tasks
from tests.support.command import CommandLine

TRUE = [{"id": "a", "command": ["true"]}]
FALSE = [{"id": "a", "command": ["false"]}]


@pytest.fixture
def runs(command_line: CommandLine) -> list[str]:
    """One that COMPLETED, one that FAILED, both of one workspace, and a PENDING one of another."""
    write_tasks(command_line.root, "relax", TRUE)
    first = command_line.new_run("relax")
    command_line.ok("run", "loop", "--until-done")
    write_tasks(command_line.root, "relax", FALSE)
    second = command_line.new_run("relax")
    command_line.run("run", "loop", "--until-done")
    write_tasks(command_line.root, "bands", TRUE)
    return [first, second, command_line.new_run("bands")]


def listed(command_line: CommandLine, *words: str) -> set[str]:
    return {run["run_id"] for run in command_line.json("run", "list", *words)}


def test_runs_are_listed_by_what_they_are(command_line: CommandLine, runs: list[str]) -> None:
    done, failed, pending = runs
    for words, fitting in (
        ((), runs),
        (("--status", "FAILED"), [failed]),
        (("--status", "failed", "--status", "pending"), [failed, pending]),
        (("--workspace", "relax"), [done, failed]),
        (("--workspace", "relax", "--status", "COMPLETED"), [done]),
        (("--workspace", "relax", "--status", "PENDING"), []),
        (("--last", "1"), [pending]),
        (("--last", "2"), [failed, pending]),
        (("--last", "1", "--workspace", "relax"), [failed]),
        (("--last", "1000"), runs),
        (("--since", "1h"), runs),
        (("--since", "2w", "--last", "1"), [pending]),
        (("--since", utc_text(datetime.now(UTC) + timedelta(hours=1))), []),
    ):
        assert listed(command_line, *words) == set(fitting), words
    table = command_line.ok("run", "list", "--status", "FAILED")
    assert failed in table
    assert done not in table
    assert command_line.ok("run", "list", "--label", "none") == "no run fits\n"


def test_since_takes_the_moment_that_a_run_was_made(command_line: CommandLine, runs: list[str]) -> None:
    made = command_line.status(runs[1])["created_at"]
    assert listed(command_line, "--since", made) == set(runs[1:])
    moment = datetime.fromisoformat(made).astimezone(UTC) + timedelta(hours=2)
    assert listed(command_line, "--since", moment.strftime("%Y-%m-%dT%H:%M:%S.%f+02:00")) == set(runs[1:])


def test_an_import_fits_like_any_other_run_but_has_no_labels(
    command_line: CommandLine, runs: list[str], tmp_path: Path
) -> None:
    archive = tmp_path / "a.zip"
    command_line.ok("run", "archive", runs[0], "--output", str(archive))
    command_line.ok("run", "import", str(archive))
    both = ("run", "list", "--status", "COMPLETED", "--json")
    assert [run.get("imported", False) for run in command_line.run(*both).json] == [False, True]
    assert listed(command_line, "--last", "1") == {runs[2]}
    assert len(command_line.json("run", "list", "--last", "9")) == 4
    assert command_line.json("run", "list", "--since", "2100-01-01") == []
    command_line.ok("run", "label", runs[0], "+kept")
    assert len(command_line.json("run", "list", "--label", "kept")) == 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--status", "DONE"), 2, "'DONE' is not one of"),
        (("--workspace", "relx"), 3, "no workspace 'relx'"),
        (("--workspace", "../x"), 2, "'../x' is no workspace name"),
        (("--label", "a b"), 2, "'a b' is no label"),
        (("--since", "yesterday"), 2, "--since 'yesterday': must be a day"),
        (("--since", "99999w"), 2, "--since '99999w'"),
        (("--last", "0"), 2, "'--last'"),
        (("--last", "many"), 2, "'--last'"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, tuple) else "",
)
def test_a_filter_that_makes_no_sense_is_no_empty_list(
    command_line: CommandLine, words: tuple[str, ...], code: int, said: str
) -> None:
    write_tasks(command_line.root, "relax", TRUE)
    done = command_line.run("run", "list", *words)
    assert (done.exit_code, done.stdout, said in done.stderr) == (code, "", True), done.stderr


def test_labels_and_a_note_are_kept_with_who_and_when_and_are_no_part_of_the_history(
    command_line: CommandLine, runs: list[str]
) -> None:
    done, failed, _ = runs
    before = command_line.events(done), command_line.status(done)["head"]
    said = command_line.json("run", "label", done, "+cathode", "+LiCoO₂", "note=see page 12")
    assert said["labels"] == ["LiCoO₂", "cathode"] or said["labels"] == ["cathode", "LiCoO₂"]
    assert said["note"]["note"] == "see page 12"
    assert all(one["by"] and one["at"].endswith("Z") for one in [*said["label_records"], said["note"]])
    command_line.ok("run", "label", failed, "+cathode", "+high")

    assert listed(command_line, "--label", "cathode") == {done, failed}
    assert listed(command_line, "--label", "cathode", "--label", "high") == {failed}
    assert "cathode" in command_line.ok("run", "list")
    status = command_line.ok("run", "status", done)
    assert "labels: " in status
    assert "note: see page 12" in status
    assert set(command_line.json("run", "status", done)["labels"]) == {"cathode", "LiCoO₂"}
    assert (command_line.events(done), command_line.status(done)["head"]) == before
    assert command_line.run("check").exit_code == 0

    changed = command_line.json("run", "label", failed, "-cathode", "-high", "-never", "note=")
    assert (changed["labels"], changed["note"]) == ([], None)
    assert listed(command_line, "--label", "cathode") == {done}
    first = command_line.json("run", "label", done)["label_records"]
    assert command_line.json("run", "label", done, "+cathode")["label_records"] == first, "who said it first"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("cathode",), "'cathode' is neither +LABEL nor -LABEL nor note=TEXT"),
        (("+",), "'' is no label"),
        (("+two words",), "'two words' is no label"),
        (("+a,b",), "'a,b' is no label"),
        (("+" + "x" * 65,), "is no label"),
        (("+a", "-a"), "label 'a' cannot be added and removed at once"),
        (("note=a", "note=b"), "note= stands there twice"),
        (("note=" + "x" * 4001,), "note: has 4001 characters"),
        (("--frob",), "'-frob' is no label"),
        (tuple(f"+l{n}" for n in range(51)), "would have 51 labels; 50 is the most"),
    ],
    ids=lambda words: words[0][:20] if isinstance(words, tuple) else "",
)
def test_words_that_are_no_labels_change_nothing(
    command_line: CommandLine, words: tuple[str, ...], said: str
) -> None:
    write_tasks(command_line.root, "relax", TRUE)
    run_id = command_line.new_run("relax")
    done = command_line.run("run", "label", run_id, *words)
    assert (done.exit_code in {2, 4}, done.stdout, said in done.stderr) == (True, "", True), done.stderr
    assert command_line.status(run_id)["labels"] == []
    assert command_line.run("run", "label", "20260102T030405-abcdef", "+a").exit_code == 3
