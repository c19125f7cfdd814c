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
    chunks,
    end_sparse,
    hash_and_sync,
    json_bytes,
    replace_derived,
    write_derived,
    write_durable,
    write_sparse,
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


def _sparse(path: Path) -> bytes:
    """A file with data between holes; returns its content."""
    pieces = {0: b"begin", 3 << 20: os.urandom(70_000), (9 << 20) + 17: b"near the end"}
    size = (10 << 20) + 123
    with path.open("wb") as file:
        for place, data in pieces.items():
            file.seek(place)
            file.write(data)
        file.truncate(size)
    return path.read_bytes()


def test_holes_are_hashed_and_copied_without_being_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, copy = tmp_path / "x", tmp_path / "y"
    content = _sparse(path)
    read: list[int] = []
    real_read = os.read

    def noted(descriptor: int, size: int) -> bytes:
        data = real_read(descriptor, size)
        read.append(len(data))
        return data

    monkeypatch.setattr(os, "read", noted)

    with path.open("rb") as file, copy.open("wb") as target:
        assert hash_and_sync(file.fileno()) == (len(content), hashlib.sha256(content).hexdigest())
        file.seek(0)
        for chunk in chunks(file.fileno()):
            write_sparse(target.fileno(), chunk)
        end_sparse(target.fileno())

    assert sum(read) < 1 << 20
    assert copy.read_bytes() == content
    assert copy.stat().st_blocks * 512 < 1 << 20


@pytest.mark.parametrize("most", [0, 1, 5, (3 << 20) + 5, 10 << 20, 99 << 20])
@pytest.mark.parametrize("begin", [0, 7, (3 << 20) + 11, 10 << 20])
def test_chunks_are_the_content_from_where_the_file_stands(tmp_path: Path, begin: int, most: int) -> None:
    content = _sparse(tmp_path / "x")
    for data in (content, os.urandom(len(content))):
        (tmp_path / "x").write_bytes(data) if data is not content else None
        with (tmp_path / "x").open("rb") as reading:
            os.lseek(reading.fileno(), begin, os.SEEK_SET)
            assert b"".join(chunks(reading.fileno(), most)) == data[begin:][:most]


def test_hashing_can_be_ended_between_two_pieces(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with path.open("wb") as file:
        file.truncate(8 << 40)
    told: list[int] = []

    def stop(read: int) -> None:
        told.append(read)
        if len(told) == 3:
            raise InterruptedError

    with path.open("rb") as reading, pytest.raises(InterruptedError):
        hash_and_sync(reading.fileno(), stop)
    assert told == [4 * CHUNK_BYTES] * 3


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
