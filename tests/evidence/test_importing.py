"""An archive can be looked at elsewhere, and what is no whole archive is refused whole."""

import json
import stat
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from matterstack.core.errors import NotFoundError, RefusedError, UsageError
from matterstack.core.states import RunStatus, TaskStatus
from matterstack.evidence.importing import (
    import_archive,
    imported_events,
    imported_tasks,
    look_at_bundle,
)
from matterstack.evidence.verify import verify_bundle
from matterstack.storage.layout import Root
from matterstack.storage.read.events import event_lines
from matterstack.storage.read.tasks import task_list
from matterstack.storage.schema import open_database
from tests.evidence.bundles import content
from tests.evidence.stage import STORIES, told
from tests.evidence.test_archive import made
from tests.support.command import CommandLine
from tests.support.states import RUN_ID
from tests.support.stored import new_root

pytestmark = pytest.mark.usefixtures("drawn_once")

Entries = dict[str, bytes]


@pytest.mark.parametrize("status", STORIES)
def test_tasks_and_events_of_an_imported_run_are_those_of_its_store(
    status: str, tmp_path: Path, elsewhere: Root
) -> None:
    root = told(tmp_path / "root", status)
    folder = import_archive(elsewhere, made(root, tmp_path / "run.zip").path).path
    with closing(open_database(root.database)) as connection:
        listed = task_list(connection, RUN_ID)
        lines = [json.loads(json.dumps(line)) for _, line in event_lines(connection, 0, RUN_ID)]
    assert imported_tasks(folder) == listed
    assert [json.loads(line) for line in imported_events(folder, after=0)] == lines
    half = lines[len(lines) // 2]["seq"]
    assert [json.loads(line)["seq"] for line in imported_events(folder, after=half)] == [
        line["seq"] for line in lines if line["seq"] > half
    ]


def test_imported_runs_are_listed_as_such_and_spoilt_ones_named(
    tmp_path: Path, command_line: CommandLine
) -> None:
    archive = made(told(tmp_path / "elsewhere", "COMPLETED"), tmp_path / "run.zip")
    assert command_line.json("run", "list") == []
    command_line.ok("run", "import", str(archive.path))
    (listed,) = command_line.json("run", "list")
    assert (listed["run_id"], listed["status"], listed["imported"]) == (RUN_ID, "COMPLETED", True)
    assert "COMPLETED (imported)" in command_line.ok("run", "list")
    assert [task["task_id"] for task in command_line.json("run", "tasks", RUN_ID)][:2] == ["mix", "flaky"]
    (last,) = command_line.ok("run", "events", RUN_ID, "--after", str(archive.bundle.seq - 1)).splitlines()
    assert json.loads(last)["type"] == "RunCompleted"
    assert command_line.run("run", "tasks", "20200101T000000-aaaaaa").exit_code == 3

    spoilt = command_line.root / "imported" / RUN_ID / "evidence" / "events.jsonl"
    spoilt.unlink()
    spoilt.write_text("{}\n")
    done = command_line.run("run", "list", "--json")
    assert (done.exit_code, done.json) == (0, [])
    assert RUN_ID in done.stderr


@pytest.fixture
def elsewhere(tmp_path: Path) -> Root:
    return new_root(tmp_path / "elsewhere")


@pytest.mark.parametrize("status", STORIES)
def test_an_imported_run_shows_its_status_and_can_be_verified(
    status: str, tmp_path: Path, elsewhere: Root
) -> None:
    archive = made(told(tmp_path / "root", status), tmp_path / "run.zip", copy_below_bytes=8)
    imported = import_archive(elsewhere, archive.path)
    assert imported.path == elsewhere.path / "imported" / RUN_ID / "evidence"
    assert imported.summary.status == RunStatus(status)
    assert imported.is_complete == archive.bundle.is_complete
    assert content(imported.path) == content(archive.bundle.path)
    assert verify_bundle(imported.path) == []
    modes = {stat.S_IMODE(path.stat().st_mode) & 0o222 for path in imported.path.rglob("*") if path.is_file()}
    assert modes == {0}, "nothing of it is to be written"
    assert not elsewhere.database.exists(), "no engine ever hears of it"


def test_a_summary_counts_tasks_by_iteration(tmp_path: Path) -> None:
    archive = made(told(tmp_path / "root", "COMPLETED"))
    summary = look_at_bundle(archive.bundle.path).summary
    assert [(stage.iteration, stage.name, stage.tasks) for stage in summary.stages] == [
        (1, "round one: <b>all</b> & |more|", {TaskStatus.SUCCEEDED: 4}),
        (2, "ranking", {TaskStatus.SUCCEEDED: 1}),
    ]


def test_a_run_is_imported_once(tmp_path: Path, elsewhere: Root) -> None:
    archive = made(told(tmp_path / "root", "COMPLETED"), tmp_path / "run.zip")
    import_archive(elsewhere, archive.path)
    with pytest.raises(RefusedError, match="imported already"):
        import_archive(elsewhere, archive.path)


def outwards(entries: Entries) -> Entries:
    return {**entries, f"{RUN_ID}/evidence/../../../x": b""}


def absolute(entries: Entries) -> Entries:
    return {**entries, "/tmp/x/y": b""}  # noqa: S108  a name in an archive


def another_run(entries: Entries) -> Entries:
    return {**entries, "20260101T000001-abcdef/evidence/x": b""}


def another_folder(entries: Entries) -> Entries:
    return {**entries, f"{RUN_ID}/bin/x": b""}


def nothing(_entries: Entries) -> Entries:
    return {}


def forged_report(entries: Entries) -> Entries:
    return {**entries, f"{RUN_ID}/evidence/report.md": b"all is well"}


def without_events(entries: Entries) -> Entries:
    return {name: data for name, data in entries.items() if not name.endswith("events.jsonl")}


def forged_output(entries: Entries) -> Entries:
    return {**entries, f"{RUN_ID}/outputs/mix.1/mix.svg": b"<svg/>"}


def without_output(entries: Entries) -> Entries:
    return {name: data for name, data in entries.items() if not name.endswith("outputs/mix.1/mix.svg")}


def more_output(entries: Entries) -> Entries:
    return {**entries, f"{RUN_ID}/outputs/mix.1/more.svg": b"<svg/>"}


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (outwards, UsageError),
        (absolute, UsageError),
        (another_run, UsageError),
        (another_folder, UsageError),
        (nothing, UsageError),
        (forged_report, RefusedError),
        (without_events, RefusedError),
        (forged_output, RefusedError),
        (without_output, RefusedError),
        (more_output, RefusedError),
    ],
)
def test_what_is_no_whole_archive_is_refused_and_leaves_nothing(
    spoil: Callable[[Entries], Entries], error: type[Exception], tmp_path: Path, elsewhere: Root
) -> None:
    archive = made(told(tmp_path / "root", "COMPLETED"), tmp_path / "run.zip", copy_below_bytes=20)
    with zipfile.ZipFile(archive.path) as good:
        entries = {name: good.read(name) for name in good.namelist()}
    assert f"{RUN_ID}/outputs/mix.1/mix.svg" in entries
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as bad:
        for name, data in spoil(entries).items():
            bad.writestr(name, data)
    before = content(tmp_path)
    with pytest.raises(error):
        import_archive(elsewhere, tmp_path / "bad.zip")
    assert content(tmp_path) == before


@pytest.mark.parametrize("size", [0, 100, 1000])
def test_an_archive_that_was_cut_off_is_refused(size: int, tmp_path: Path, elsewhere: Root) -> None:
    archive = made(told(tmp_path / "root", "COMPLETED"), tmp_path / "run.zip")
    (tmp_path / "cut.zip").write_bytes(archive.path.read_bytes()[:size])
    with pytest.raises(UsageError, match="no archive"):
        import_archive(elsewhere, tmp_path / "cut.zip")
    with pytest.raises(NotFoundError):
        import_archive(elsewhere, tmp_path / "nowhere.zip")
