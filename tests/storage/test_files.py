"""Writes to files are whole, and durable where they must be."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from matterstack.storage.files import (
    CHUNK_BYTES,
    hash_and_sync,
    json_bytes,
    replace_derived,
    write_derived,
    write_durable,
)


@pytest.mark.parametrize("write", [write_durable, replace_derived])
def test_a_reader_sees_all_of_the_old_or_all_of_the_new(tmp_path: Path, write: object) -> None:
    path = tmp_path / "run.json"
    versions = [bytes([n]) * 200_000 for n in range(60)]
    path.write_bytes(versions[0])
    seen: set[bytes] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for version in versions:
        write(path, version)  # type: ignore[operator]
    done.set()
    reader.join()
    assert seen <= set(versions)
    assert path.read_bytes() == versions[-1]
    assert list(tmp_path.iterdir()) == [path], "nothing else is left behind"


def test_a_durable_write_syncs_the_file_then_renames_it_then_syncs_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any other order may lose the file, or leave an empty one, when the power goes."""
    path = tmp_path / "config.json"
    steps: list[tuple[str, bool]] = []
    real_fsync = os.fsync

    def fsync(descriptor: int) -> None:
        kind = "folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file"  # noqa: PTH112  a link of /proc
        steps.append((kind, path.exists()))
        real_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_durable(path, b"{}")
    assert steps == [("file", False), ("folder", True)]


@pytest.mark.usefixtures("processes")
def test_a_durable_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x" / "config.json"
    with pytest.raises(FileNotFoundError):
        write_durable(path, b"new")
    path.parent.mkdir()
    path.write_bytes(b"old")
    script = (
        "import resource, sys; from pathlib import Path; from matterstack.storage.files import write_durable;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)); write_durable(Path(sys.argv[1]), b'x' * 200)"
    )
    failed = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False
    )
    assert "File too large" in failed.stderr
    assert path.read_bytes() == b"old"


@pytest.mark.usefixtures("processes")
def test_a_derived_file_is_never_silently_cut_short(tmp_path: Path) -> None:
    """write(2) takes what still fits, and tells by its return value only."""
    script = (
        "import resource, sys; from pathlib import Path; from matterstack.storage.files import write_derived;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)); write_derived(Path(sys.argv[1]), b'x' * 200)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "job.sh")]
    failed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert failed.returncode != 0
    assert "File too large" in failed.stderr


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, 2 * CHUNK_BYTES + 1])
def test_a_derived_file_holds_exactly_what_was_written(tmp_path: Path, size: int) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"longer than what comes" * 100_000)
    data = os.urandom(size)
    write_derived(path, data)
    assert path.read_bytes() == data
    with path.open("rb") as file:
        assert hash_and_sync(file.fileno()) == (size, hashlib.sha256(data).hexdigest())


def test_a_derived_file_is_not_written_through_a_symbolic_link(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("mine")
    (tmp_path / "job.sh").symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"):
        write_derived(tmp_path / "job.sh", b"echo")
    assert target.read_text() == "mine"


def test_a_script_is_made_executable(tmp_path: Path) -> None:
    write_derived(tmp_path / "job.sh", b"", mode=0o755)
    assert os.access(tmp_path / "job.sh", os.X_OK)


def test_json_for_people_is_indented_readable_and_strict() -> None:
    assert json_bytes({"formula": "Li⁺"}) == '{\n  "formula": "Li⁺"\n}\n'.encode()
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_bytes(float("nan"))
