"""Disks that are full or read-only: said in one line, with the right exit code, and nothing is lost."""

from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from tests.support.campaigns import Diary, write_tasks
from tests.support.command import PATIENCE_S, CommandLine, command_line_in
from tests.support.disks import SmallDisk, small_disk
from tests.support.polling import wait_until


@attrs.frozen
class Place:
    """A command line whose root is a small disk, with one workspace on it."""

    disk: SmallDisk
    root: Path
    command_line: CommandLine

    def run(self, *arguments: str) -> tuple[int, str]:
        """Exit code and complaints of a command."""
        done = self.command_line.run(*arguments, root=self.root)
        return done.exit_code, done.stderr

    def status(self, run_id: str) -> str:
        """Status of a run."""
        return str(self.command_line.run("run", "status", run_id, "--json", root=self.root).json["status"])


@pytest.fixture
def place(tmp_path: Path, diary: Diary) -> Iterator[Place]:
    """Two tasks, of which each notes that it ran."""
    with command_line_in(tmp_path) as command_line, small_disk(command_line.root, "4m") as disk:
        command_line.wrapper = disk.wrapper
        write_tasks(disk.path, "w", [diary.task("a"), diary.task("b", depends_on=["a"])])
        yield Place(disk, command_line.root, command_line)
        command_line.shut_down()  # what runs on the disk keeps it


def _new_run(place: Place) -> str:
    return place.command_line.run("run", "init", "w", root=place.root).stdout.strip()


@pytest.mark.usefixtures("processes")
def test_no_run_is_made_on_a_full_disk(place: Place) -> None:
    first = _new_run(place)
    place.disk.fill()

    code, complaint = place.run("run", "init", "w")

    assert code == 5
    assert "disk is full" in complaint or "No space left on device" in complaint
    place.disk.make_room()
    assert [path.name for path in (place.disk.path / "workspaces" / "w" / "runs").iterdir()] == [first]
    listed = place.command_line.run("run", "list", "--json", root=place.root).json
    assert [run["run_id"] for run in listed] == [first]


@pytest.mark.usefixtures("processes")
def test_an_engine_does_not_start_on_a_full_disk_and_loses_nothing(place: Place, diary: Diary) -> None:
    run_id = _new_run(place)
    place.disk.fill()

    code, complaint = place.run("run", "loop", "--until-done", run_id)

    assert code == 5
    database = place.root / ".matterstack" / "state.db"
    assert complaint == f"Error: {database}: the disk is full\nHint: make room; nothing is lost\n"
    place.disk.make_room()
    assert place.run("run", "loop", "--until-done", run_id) == (0, "")
    assert place.status(run_id) == "COMPLETED"
    assert diary.started() == ["a", "b"]


@pytest.mark.usefixtures("processes")
def test_an_engine_waits_while_its_disk_is_full_and_goes_on_when_there_is_room(
    place: Place, diary: Diary
) -> None:
    # The job that frees the way for the next one fills the disk itself, but for what its own end needs.
    block = f"dd if=/dev/zero of={place.root}/filler bs=4k status=none"
    fill = f"{{ {block} 2>/dev/null || truncate -s -16k {place.root}/filler; }}"
    write_tasks(place.disk.path, "w", [diary.task("a", fill), diary.task("b", depends_on=["a"])])
    run_id = _new_run(place)

    engine = place.command_line.start("--root", str(place.root), "run", "loop", "--until-done", run_id)
    wait_until(lambda: "waits until there is room" in engine.stderr, PATIENCE_S, "a word about the full disk")

    assert diary.started() == ["a"]
    place.disk.make_room()
    done = engine.wait()
    assert (done.exit_code, "Traceback" in done.stderr) == (0, False)
    assert "goes on: there is room again" in done.stderr
    assert place.status(run_id) == "COMPLETED"
    assert diary.started() == ["a", "b"]


@pytest.mark.usefixtures("processes")
def test_a_disk_that_fills_up_over_and_over_costs_tries_and_nothing_else(place: Place, diary: Diary) -> None:
    """Whatever is under way then: commits, the staging of jobs, and the records of those that end."""
    tasks = [diary.task(f"t{i}", diary.gate(f"gate{i // 4}"), retries=9) for i in range(12)]
    write_tasks(place.disk.path, "w", tasks)
    run_id = _new_run(place)
    engine = place.command_line.start("--root", str(place.root), "run", "loop", "--until-done", run_id)
    for number in range(3):
        first = f"t{4 * number}"
        wait_until(lambda first=first: first in diary.started(), PATIENCE_S, f"the start of {first}")  # type: ignore[misc]
        said = engine.stderr.count("waits until there is room")
        place.disk.fill()
        diary.open(f"gate{number}")

        def is_waiting(said: int = said) -> bool:
            place.disk.fill()  # a file that was replaced has left a block
            return engine.stderr.count("waits until there is room") > said

        wait_until(is_waiting, PATIENCE_S, "a word about the full disk")
        place.disk.make_room()

    done = engine.wait()

    assert (done.exit_code, "Traceback" in done.stderr) == (0, False)
    assert place.status(run_id) == "COMPLETED"
    assert set(diary.ended()) == {f"t{i}" for i in range(12)}
    assert place.run("check") == (0, "")


@pytest.mark.usefixtures("processes")
def test_a_read_only_root_is_refused_and_left_as_it_is(place: Place, diary: Diary) -> None:
    run_id = _new_run(place)
    place.disk.make_read_only()

    for words in (
        ("init", "w"), ("loop",), ("start", "w"), ("list",), ("status", run_id), ("pause", run_id),
        ("cancel", run_id), ("events", run_id),
    ):  # fmt: skip
        code, complaint = place.run("run", *words)
        assert code == 5, (words, complaint)
        assert complaint.startswith(f"Error: {place.root}/"), words
        assert "this should not have happened" not in complaint
        assert complaint.count("\n") <= 2

    place.disk.make_writable()
    assert place.run("run", "loop", "--until-done", run_id) == (0, "")
    assert place.status(run_id) == "COMPLETED"
    assert diary.ended() == ["a", "b"]


def test_a_file_in_the_place_of_the_private_folder_is_named(command_line: CommandLine, diary: Diary) -> None:
    write_tasks(command_line.root, "w", [diary.task("a")])
    (command_line.root / ".matterstack").write_text("in the way")

    for words in (("init", "w"), ("loop",), ("list",)):
        done = command_line.run("run", *words)
        assert done.exit_code == 5, done.stderr
        assert done.stderr.startswith(f"Error: {command_line.root / '.matterstack'}")
    assert not (command_line.root / "workspaces" / "w" / "runs").exists()


def test_init_into_a_folder_that_cannot_be_made_is_named(command_line: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    done = command_line.run("init", str(tmp_path / "file" / "root"))

    assert done.exit_code == 5
    assert done.stderr.startswith(f"Error: {tmp_path / 'file' / 'root'}")
