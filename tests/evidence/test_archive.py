"""An archive holds the bundle and every output, and is the same to the byte whenever it is made."""

import shutil
import stat
import subprocess
import zipfile
from pathlib import Path

import pytest
import trio

from matterstack.core.errors import DiskFullError, RefusedError
from matterstack.evidence import archive
from matterstack.evidence.archive import Archive, archive_run
from matterstack.evidence.verify import verify_bundle
from matterstack.storage.layout import Root
from tests.evidence.bundles import content
from tests.evidence.stage import told
from tests.support.states import RUN_ID


def made(root: Root, file: Path | None = None, copy_below_bytes: int = 1 << 20) -> Archive:
    async def make() -> Archive:
        return await archive_run(root, RUN_ID, file, copy_below_bytes=copy_below_bytes)

    return trio.run(make)


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return told(tmp_path / "root", "COMPLETED")


def unpacked(file: Path, folder: Path) -> Path:
    """Unpacked by the system's own tool for Python, as others would."""
    with zipfile.ZipFile(file) as zipped:
        assert zipped.testzip() is None
        zipped.extractall(folder)
    return folder / RUN_ID


def test_an_unpacked_archive_holds_a_bundle_that_can_be_verified(root: Root, tmp_path: Path) -> None:
    done = made(root, tmp_path / "run.zip")
    assert done.bytes == done.path.stat().st_size
    folder = unpacked(done.path, tmp_path / "unpacked")
    assert content(folder / "evidence") == content(done.bundle.path)
    assert verify_bundle(folder / "evidence") == []
    assert not (folder / "outputs").exists(), "all outputs are small, and in the bundle"


def test_large_outputs_are_in_the_archive_beside_the_bundle(root: Root, tmp_path: Path) -> None:
    done = made(root, tmp_path / "run.zip", copy_below_bytes=0)
    folder = unpacked(done.path, tmp_path / "unpacked")
    assert verify_bundle(folder / "evidence") == []
    assert (folder / "outputs" / "relax.1" / "out.txt").read_bytes() == b"sorted\n"
    assert (folder / "outputs" / "odd.1" / "two\nlines.dat").read_bytes() == b"two\nlines.dat"


@pytest.mark.usefixtures("processes")
def test_an_archive_is_the_same_again_and_in_a_root_copied_elsewhere(root: Root, tmp_path: Path) -> None:
    first = made(root, tmp_path / "1.zip", copy_below_bytes=50)
    second = made(root, tmp_path / "2.zip", copy_below_bytes=50)
    shutil.copytree(root.path, tmp_path / "moved")
    third = made(Root(tmp_path / "moved"), tmp_path / "3.zip", copy_below_bytes=50)
    assert first.sha256 == second.sha256 == third.sha256
    done = subprocess.run(["sha256sum", first.path], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(first.sha256)


def test_entries_are_sorted_and_of_one_time_and_mode(root: Root) -> None:
    done = made(root)
    assert done.path == done.bundle.path.parent / f"{RUN_ID}.zip"
    with zipfile.ZipFile(done.path) as zipped:
        entries = zipped.infolist()
    names = [entry.filename for entry in entries]
    assert names == sorted(names)
    assert {entry.date_time for entry in entries} == {archive.LONG_AGO}
    assert {stat.S_IMODE(entry.external_attr >> 16) for entry in entries} == {0o644}


def test_a_large_output_that_changes_meanwhile_stops_the_archive(
    root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = root.run_folder("demo", RUN_ID).path / "tasks" / "relax" / "1" / "out.txt"

    def change_then_verify(folder: Path) -> object:
        output.write_bytes(b"forged\n")
        return verify_bundle(folder)

    monkeypatch.setattr(archive, "verify_bundle", change_then_verify)
    with pytest.raises(RefusedError, match="changed while it was archived"):
        made(root, tmp_path / "run.zip", copy_below_bytes=0)
    assert list(tmp_path.glob("*run.zip*")) == []


def test_a_full_disk_leaves_the_old_archive(
    root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = made(root, tmp_path / "run.zip").path.read_bytes()

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archive, "_copy", full)
    with pytest.raises(DiskFullError):
        made(root, tmp_path / "run.zip")
    assert (tmp_path / "run.zip").read_bytes() == old
    assert [path.name for path in tmp_path.glob(".run*")] == []


def test_a_folder_is_not_written_over(root: Root, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="is a folder"):
        made(root, tmp_path)
