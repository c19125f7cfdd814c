"""Whatever has become of a run's files: the bundle shows it as what it is, and leaves nothing out."""

import hashlib
import os
import shutil
import subprocess
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import trio

from matterstack.core.errors import DiskFullError, NotFoundError, RefusedError
from matterstack.core.ids import RunId, TaskId
from matterstack.core.model.workflow import Task
from matterstack.core.run import messages as m
from matterstack.core.shown_text import shown
from matterstack.evidence import hashes
from matterstack.evidence.contents import FOREIGN
from matterstack.evidence.export import build_evidence_bundle
from matterstack.evidence.gathering import copying
from matterstack.evidence.survey import FileState, ManifestState, Survey, parse_survey, portable
from matterstack.evidence.verify import verify_bundle
from matterstack.storage.confine import Confined
from matterstack.storage.files import chunks
from matterstack.storage.layout import Root
from tests.evidence.bundles import content, export
from tests.evidence.stage import ODD_NAMES, SOURCES, half_done, stage, told
from tests.support.disks import small_disk
from tests.support.states import RUN_ID
from tests.support.stored import new_root

pytestmark = pytest.mark.usefixtures("drawn_once")

OUTPUT: Final = Path("tasks/relax/1/out.txt")


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return told(tmp_path / "root", "COMPLETED")


@pytest.fixture
def run_folder(root: Root) -> Path:
    return root.run_folder("demo", RUN_ID).path


ABOVE: Final = b'{"files": [{"name": "a", "from": "a", "sha256": "../../../../../a"}]}'
HALF: Final = b'{"inputs": [{"name": "\\ud800", "from": "a", "sha256": "%s"}]}' % (b"0" * 64)


def survey_of(folder: Path) -> Survey:
    return parse_survey((folder / "evidence.json").read_bytes())


def state_of(folder: Path, path: str) -> FileState:
    return next(output.state for output in survey_of(folder).outputs if output.path == path)


def assert_told_everywhere(folder: Path, text: str) -> None:
    """Both reports and the crate say it, and that the evidence is not complete; and all fits together."""
    for name in ("report.md", "report.html", "ro-crate-metadata.json"):
        assert text in (folder / name).read_text(), name
    assert "| is_complete | **false** |" in (folder / "report.md").read_text()
    assert verify_bundle(folder) == []


def test_an_output_that_is_gone_is_missing(root: Root, run_folder: Path) -> None:
    (run_folder / OUTPUT).unlink()
    bundle = export(root)
    assert state_of(bundle.path, "out.txt") is FileState.MISSING
    assert bundle.missing == ("relax, attempt 1: output out.txt is missing: it is not there",)
    assert_told_everywhere(bundle.path, "it is not there")


@pytest.mark.parametrize("forged", [b"Sorted\n", b"longer than before\n", b""])
def test_an_output_that_was_changed_after_its_task_had_ended_is_changed_and_not_copied(
    forged: bytes, root: Root, run_folder: Path
) -> None:
    (run_folder / OUTPUT).write_bytes(forged)
    bundle = export(root)
    assert state_of(bundle.path, "out.txt") is FileState.CHANGED
    assert not (bundle.path / "outputs" / "relax.1").exists()
    assert not bundle.is_complete
    assert_told_everywhere(bundle.path, "output out.txt is changed")


@pytest.mark.parametrize("kind", ["link", "folder", "fifo"])
def test_what_is_no_regular_file_any_more_is_unreadable(kind: str, root: Root, run_folder: Path) -> None:
    (run_folder / OUTPUT).unlink()
    if kind == "link":
        (run_folder / OUTPUT).symlink_to("/etc/hostname")
    elif kind == "folder":
        (run_folder / OUTPUT).mkdir()
    else:
        os.mkfifo(run_folder / OUTPUT)
    bundle = export(root)
    assert state_of(bundle.path, "out.txt") is FileState.UNREADABLE
    assert_told_everywhere(bundle.path, "output out.txt is unreadable")


def test_an_attempt_s_folder_that_leads_elsewhere_is_not_followed(
    root: Root, run_folder: Path, tmp_path: Path
) -> None:
    shutil.move(run_folder / "tasks" / "relax", tmp_path / "elsewhere")
    (run_folder / "tasks" / "relax").symlink_to(tmp_path / "elsewhere")
    bundle = export(root)
    assert state_of(bundle.path, "out.txt") is FileState.UNREADABLE


def test_a_record_of_what_a_job_was_given_that_was_changed_is_said_to_be_changed(
    root: Root, run_folder: Path
) -> None:
    path = run_folder / "tasks" / "mix" / "1" / "manifest.json"
    path.write_text(path.read_text().replace("python", "perl"))
    bundle = export(root)
    (text,) = bundle.missing
    assert text.startswith("mix, attempt 1: manifest.json (what its job was given) is changed")
    assert_told_everywhere(bundle.path, "manifest.json (what its job was given) is changed")


def test_a_file_that_jobs_were_given_and_that_is_nowhere_as_it_was_is_missed(
    root: Root, run_folder: Path
) -> None:
    (run_folder / "tasks" / "mix" / "1" / "mix.py").write_text("print('another')\n")
    bundle = export(root)
    (text,) = bundle.missing
    assert text.startswith("mix.py, which jobs were given (from mix.py)")
    assert_told_everywhere(bundle.path, "mix.py, which jobs were given")


@pytest.mark.usefixtures("processes")
def test_names_of_every_kind_are_copied_listed_and_verified(root: Root) -> None:
    bundle = export(root)
    copied = content(bundle.path / "outputs" / "odd.1")
    assert copied == {portable(name): name.encode("utf-8", "surrogateescape") for name in ODD_NAMES}
    report = (bundle.path / "report.md").read_text()
    for name in ODD_NAMES:
        assert f"output `{shown(name)}`" in report
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", "manifest-sha256.txt"],
        cwd=bundle.path,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_run_whose_folder_was_deleted_still_has_evidence(root: Root, run_folder: Path) -> None:
    shutil.rmtree(run_folder)
    bundle = export(root)
    assert bundle.missing[0] == "the run's folder is not there"
    assert {output.state for output in survey_of(bundle.path).outputs} == {FileState.MISSING}
    assert_told_everywhere(bundle.path, "folder is not there")
    assert content(export(root).path) == content(bundle.path)


def test_large_outputs_are_named_by_their_hash_and_hashed_once(
    root: Root, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashes, "SETTLED_AFTER_NS", 0)
    read: list[int] = []

    def counted(descriptor: int) -> Iterator[bytes]:
        read.append(descriptor)
        return chunks(descriptor)

    monkeypatch.setattr(copying, "chunks", counted)
    first = export(root, copy_below_bytes=0)
    assert {o.state for o in survey_of(first.path).outputs if o.bytes} == {FileState.REFERENCED}
    assert first.is_complete
    assert "too large to be copied" in (first.path / "ro-crate-metadata.json").read_text()
    before, hashed = content(first.path), len(read)
    assert content(export(root, copy_below_bytes=0).path) == before
    assert len(read) - hashed == 2 + len(SOURCES), (
        "script, sources and what a job ran in are read again, to be copied"
    )

    found = (run_folder / OUTPUT).stat()
    (run_folder / OUTPUT).write_bytes(b"forged\n")
    os.utime(run_folder / OUTPUT, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert state_of(export(root, copy_below_bytes=0).path, "out.txt") is FileState.CHANGED


def test_files_that_no_export_made_are_kept_and_shown_as_such(root: Root) -> None:
    folder = export(root).path
    (folder / "notes.txt").write_text("remember the milk\n")
    (folder / "outputs" / "mine").mkdir()
    (folder / "outputs" / "mine" / "x\ny").write_text("1")
    assert {finding.path for finding in verify_bundle(folder)} == {"notes.txt", "outputs/mine/x\ny"}
    bundle = export(root)
    assert bundle.foreign == (f"{FOREIGN}/notes.txt", f"{FOREIGN}/outputs/mine/x\ny")
    assert (folder / FOREIGN / "notes.txt").read_text() == "remember the milk\n"
    assert "Files in this folder that no export made" in (folder / "report.md").read_text()
    assert verify_bundle(folder) == []
    assert content(export(root).path) == content(folder), "and kept the next time too"


def test_a_foreign_thing_that_cannot_be_kept_stops_the_export(root: Root) -> None:
    folder = export(root).path
    (folder / "link").symlink_to("/etc")
    with pytest.raises(RefusedError, match="link"):
        export(root)
    assert (folder / "link").is_symlink()


def test_a_folder_with_other_things_is_not_taken_for_a_bundle(root: Root, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("42")
    with pytest.raises(RefusedError, match="no evidence bundle"):
        export(root, tmp_path / "home")
    assert content(tmp_path / "home") == {"thesis.tex": b"42"}
    with pytest.raises(RefusedError, match="no folder"):
        export(root, tmp_path / "home" / "thesis.tex")


def test_an_unknown_run_has_no_evidence(root: Root, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        export(root, tmp_path / "out", RunId("20200101T000000-aaaaaa"))
    assert not (tmp_path / "out").exists()


def test_exports_at_the_same_time_wait_for_each_other(root: Root, tmp_path: Path) -> None:
    async def both() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(build_evidence_bundle, root, RUN_ID, tmp_path / "out")

    trio.run(both)
    assert verify_bundle(tmp_path / "out") == []
    assert [path.name for path in tmp_path.glob(".out*")] == []


def test_a_full_disk_leaves_the_old_bundle_whole(
    root: Root, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content(export(root).path)
    (run_folder / "tasks" / "rank" / "1" / "stderr.log").write_bytes(b"more\n")

    def full(_descriptor: int, _data: bytes) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(copying, "write_all", full)
    with pytest.raises(DiskFullError):
        export(root)
    assert content(run_folder / "evidence") == before
    assert [path.name for path in run_folder.glob(".evidence.*")] == []


@pytest.mark.parametrize("last", ["evidence.json", "report.html", "manifest-sha256.txt.sha256"])
def test_a_disk_that_becomes_full_at_the_end_leaves_the_old_bundle_whole(
    last: str, root: Root, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content(export(root).path)
    (run_folder / OUTPUT).unlink()
    write = Confined.write

    def full(self: Confined, name: str, data: bytes) -> None:
        if name == last:
            raise OSError(28, os.strerror(28))
        write(self, name, data)

    monkeypatch.setattr(Confined, "write", full)
    with pytest.raises(DiskFullError):
        export(root)
    assert content(run_folder / "evidence") == before
    assert [path.name for path in run_folder.glob(".evidence.*")] == []


@pytest.mark.usefixtures("processes")
def test_a_disk_that_becomes_full_in_the_middle_leaves_the_old_bundle_whole(
    root: Root, run_folder: Path, tmp_path: Path
) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    with small_disk(place, "4m") as disk:
        bundle = export(root, disk.path / "bundle")
        before = content(bundle.path)
        (run_folder / "tasks" / "rank" / "1" / "stderr.log").write_bytes(b"more\n" * 100_000)
        disk.fill()
        with (disk.path / "filler").open("r+b") as filler:
            filler.truncate((disk.path / "filler").stat().st_size - 200_000)  # room for a part of it
        with pytest.raises(DiskFullError):
            export(root, disk.path / "bundle")
        assert content(disk.path / "bundle") == before
        assert verify_bundle(disk.path / "bundle", root) == []
        assert sorted(path.name for path in disk.path.iterdir()) == ["bundle", "filler"]
        disk.make_room()
        export(root, disk.path / "bundle")
        assert content(disk.path / "bundle") != before
        assert verify_bundle(disk.path / "bundle", root) == []


def test_an_output_over_the_limit_takes_no_room_and_no_memory_and_is_found_out_when_it_changes(
    tmp_path: Path,
) -> None:
    size = 100 << 20
    root = new_root(tmp_path / "root")
    with stage(root) as made:
        half_done(made)
        path = made.end_with_hole("odd", "large.dat", size)
    seen: list[tuple[int, int]] = []
    tracemalloc.start()
    try:
        folder = export(root, on_progress=lambda done, total: seen.append((done, total))).path
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < size / 2
    assert any(total >= size for _, total in seen)
    assert max(done for done, _ in seen) >= size
    assert state_of(folder, "large.dat") is FileState.REFERENCED
    assert sum(len(data) for data in content(folder).values()) < 1 << 20
    assert verify_bundle(folder, root) == []
    with path.open("r+b") as file:
        file.seek(size - 1)
        file.write(b"1")
    assert state_of(export(root).path, "large.dat") is FileState.CHANGED


def test_a_survey_that_says_something_twice_is_none(root: Root) -> None:
    text = (export(root).path / "evidence.json").read_bytes()
    assert parse_survey(text).seq != 1
    with pytest.raises(ValueError, match="'seq' stands there twice"):
        parse_survey(text.replace(b"{", b'{"seq": 1, ', 1))


@pytest.mark.parametrize(
    "left", [b"no JSON", b"{}", b'{"files": [], "files": []}', b'{"files": [1]}', ABOVE, HALF]
)
def test_what_a_job_of_an_adopted_attempt_left_of_the_record_of_what_it_was_given_is_told(
    left: bytes, tmp_path: Path
) -> None:
    root = new_root(tmp_path / "adopted")
    with stage(root) as made:
        made.tell(m.Start())
        made.plan(Task(TaskId("mix"), command=["true"]))
        made.prepare()
        made.start_adopted("mix")
        made.attempt_folder("mix").manifest.write_bytes(left)
        made.end("mix")
    folder = export(root).path
    (attempt,) = survey_of(folder).attempts
    is_record = left == b"{}"
    assert attempt.manifest is (ManifestState.IN_ORDER if is_record else ManifestState.UNREADABLE)
    assert verify_bundle(folder, root) == []


def test_hashes_are_those_of_the_files(root: Root) -> None:
    bundle = export(root)
    for output in survey_of(bundle.path).outputs:
        assert output.place is not None
        assert hashlib.sha256((bundle.path / output.place).read_bytes()).hexdigest() == output.sha256
