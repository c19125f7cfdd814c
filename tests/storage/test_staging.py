"""The folder of an attempt, before its job is submitted."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from matterstack.core.errors import StagingError
from matterstack.core.nonces import sha256_of_nonce
from matterstack.storage import staging as staging_module
from matterstack.storage.layout import AttemptFolder
from matterstack.storage.staging import Copy, Staging, stage


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "relax.py").write_text("print('Å')\n")
    (folder / "relax.py").chmod(0o755)
    (folder / "start.xyz").write_bytes(b"\x00\xff" * 10)
    return folder


NONCE = "0123456789abcdef0123456789abcdef"


def staging(
    tmp_path: Path,
    files: tuple[Copy, ...] = (),
    inputs: tuple[Copy, ...] = (),
    nonce_sha256: str | None = None,
    **manifest: Any,
) -> Staging:
    return Staging(
        folder=AttemptFolder(tmp_path / "run" / "tasks" / "a" / "1"),
        manifest={"task_id": "a", **manifest},
        files=files,
        inputs=inputs,
        script="#!/bin/bash\necho 'Å'\n",
        nonce_sha256=nonce_sha256,
    )


def with_nonce(tmp_path: Path, *files: Copy) -> Staging:
    return staging(tmp_path, files, nonce_sha256=sha256_of_nonce(NONCE))


def claim(plan: Staging, text: str) -> None:
    plan.folder.claim.mkdir(parents=True)
    plan.folder.claimant.write_text(text)


def around(plan: Staging) -> list[str]:
    """Names beside the folder, and its own."""
    return sorted(path.name for path in plan.folder.path.parent.iterdir())


def copy(sources: Path, name: str, source: str) -> Copy:
    return Copy(name=name, source=source, origin=source, within=sources)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_files_and_inputs_are_copied_and_named_with_their_hashes_in_the_manifest(
    tmp_path: Path, sources: Path
) -> None:
    plan = staging(
        tmp_path,
        (copy(sources, "bin/relax.py", "relax.py"),),
        (copy(sources, "in.xyz", "start.xyz"),),
        params={"n": 1},
    )
    sha256 = stage(plan).manifest_sha256
    folder = plan.folder.path
    assert (folder / "bin" / "relax.py").read_text() == "print('Å')\n"
    assert os.access(folder / "bin" / "relax.py", os.X_OK)
    assert (folder / "in.xyz").read_bytes() == b"\x00\xff" * 10
    assert json.loads(plan.folder.manifest.read_text()) == {
        "task_id": "a",
        "params": {"n": 1},
        "files": [
            {
                "name": "bin/relax.py",
                "from": "relax.py",
                "sha256": digest(sources / "relax.py"),
                "bytes": (sources / "relax.py").stat().st_size,
            }
        ],
        "inputs": [
            {"name": "in.xyz", "from": "start.xyz", "sha256": digest(sources / "start.xyz"), "bytes": 20}
        ],
    }
    assert sha256 == digest(plan.folder.manifest)
    assert plan.folder.script.read_text() == "#!/bin/bash\necho 'Å'\n"
    assert os.access(plan.folder.script, os.X_OK)


def test_staging_may_be_repeated_and_takes_what_is_there_then(tmp_path: Path, sources: Path) -> None:
    plan = staging(tmp_path, (copy(sources, "relax.py", "relax.py"),))
    first = stage(plan)
    assert stage(plan) == first
    (sources / "relax.py").write_text("short")
    assert stage(plan) != first
    assert (plan.folder.path / "relax.py").read_text() == "short"


def test_a_folder_that_a_job_has_claimed_is_left_alone(tmp_path: Path, sources: Path) -> None:
    plan = staging(tmp_path, (copy(sources, "relax.py", "relax.py"),))
    first = stage(plan)
    plan.folder.claim.mkdir()
    plan.folder.claimant.write_text("17\n")
    before = {path: path.stat().st_mtime_ns for path in plan.folder.path.rglob("*")}
    (sources / "relax.py").write_text("changed")
    assert stage(plan) == first
    assert {path: path.stat().st_mtime_ns for path in plan.folder.path.rglob("*")} == before


def test_a_folder_that_no_job_got_to_is_written_again(tmp_path: Path, sources: Path) -> None:
    plan = staging(tmp_path, (copy(sources, "relax.py", "relax.py"),))
    stage(plan)
    plan.folder.claim.mkdir()
    plan.folder.script.unlink()
    stage(plan)
    assert plan.folder.script.read_text() == plan.script


def test_a_source_that_is_not_there_is_the_tasks_own_fault(tmp_path: Path, sources: Path) -> None:
    with pytest.raises(StagingError) as failed:
        stage(staging(tmp_path, inputs=(copy(sources, "in.xyz", "gone.xyz"),)))
    assert str(failed.value) == "inputs: 'in.xyz' cannot be copied from gone.xyz: No such file or directory"


@pytest.mark.parametrize("kind", ["fifo", "directory", "device"])
def test_what_is_no_regular_file_is_refused_and_hangs_nothing(
    tmp_path: Path, sources: Path, kind: str
) -> None:
    source = sources / "odd"
    if kind == "fifo":
        os.mkfifo(source)
    elif kind == "directory":
        source.mkdir()
    else:
        source.symlink_to("/dev/zero")
    by_full_path = Copy(name="x", source=str(source), origin="odd", within=sources)
    for odd in (copy(sources, "x", "odd"), by_full_path)[kind == "device" :]:
        with pytest.raises(StagingError, match="files: 'x' cannot be copied from odd: is no regular file"):
            stage(staging(tmp_path, (odd,)))


def test_two_names_that_contradict_each_other_are_refused(tmp_path: Path, sources: Path) -> None:
    both = (copy(sources, "a", "relax.py"), copy(sources, "a/b", "relax.py"))
    with pytest.raises(StagingError, match="'a/b' cannot be copied"):
        stage(staging(tmp_path, both))


def test_a_symbolic_link_in_the_folder_is_not_written_through(tmp_path: Path, sources: Path) -> None:
    plan = staging(tmp_path, (copy(sources, "relax.py", "relax.py"),))
    plan.folder.path.mkdir(parents=True)
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (plan.folder.path / "relax.py").symlink_to(precious)
    with pytest.raises(StagingError, match="cannot be copied"):
        stage(plan)
    assert precious.read_text() == "mine"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_full_or_broken_disk_is_not_the_tasks_fault(
    tmp_path: Path, sources: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fail(*_: object) -> str:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(staging_module, "_copy_file", fail)
    with pytest.raises(OSError, match=os.strerror(code)):
        stage(staging(tmp_path, (copy(sources, "relax.py", "relax.py"),)))


def test_a_large_file_is_copied_whole(tmp_path: Path, sources: Path) -> None:
    (sources / "big").write_bytes(os.urandom(3_000_001))
    plan = staging(tmp_path, (copy(sources, "big", "big"),))
    stage(plan)
    assert digest(plan.folder.path / "big") == digest(sources / "big")


# ---- a folder that is new ----


def test_what_lies_in_the_place_of_the_folder_is_kept_beside_it(tmp_path: Path, sources: Path) -> None:
    plan = with_nonce(tmp_path, copy(sources, "relax.py", "relax.py"))
    claim(plan, "17\n")
    (plan.folder.path / "result.json").write_text("{}")

    staged = stage(plan)

    assert staged.set_aside == ("1~set-aside-1",)
    assert around(plan) == ["1", "1~set-aside-1"]
    assert sorted(path.name for path in plan.folder.path.iterdir()) == ["job.sh", "manifest.json", "relax.py"]
    assert (plan.folder.path.parent / "1~set-aside-1" / "result.json").exists()


def test_what_was_staged_for_the_attempt_is_not_set_aside_by_the_next_engine(
    tmp_path: Path, sources: Path
) -> None:
    plan = with_nonce(tmp_path, copy(sources, "relax.py", "relax.py"))
    first = stage(plan)
    (plan.folder.path / "exit.json").write_text("planted")
    assert stage(plan) == first
    assert around(plan) == ["1"]


@pytest.mark.parametrize("done", range(3))
def test_a_folder_that_an_engine_died_in_is_known_as_its_own(
    tmp_path: Path, sources: Path, monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    plan = with_nonce(tmp_path, copy(sources, "a", "relax.py"), copy(sources, "b", "start.xyz"))
    steps = iter(range(3))
    write = staging_module._copy

    def die(*arguments: Any) -> dict[str, str]:
        if next(steps) == done:
            raise KeyboardInterrupt
        return write(*arguments)

    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(staging_module, "_copy", die)
        stage(plan)

    assert stage(plan).set_aside == ()
    assert around(plan) == ["1"]


def test_a_folder_in_which_the_job_works_is_left_alone_whatever_it_did_to_its_manifest(
    tmp_path: Path, sources: Path
) -> None:
    plan = with_nonce(tmp_path, copy(sources, "relax.py", "relax.py"))
    stage(plan)
    claim(plan, f"17 {NONCE}\n")
    plan.folder.manifest.unlink()
    (plan.folder.path / "work").write_text("mine")

    assert stage(plan).set_aside == ()

    assert around(plan) == ["1"]
    assert (plan.folder.path / "work").read_text() == "mine"
    assert not plan.folder.manifest.exists(), "it is not written again"


def test_what_was_set_aside_before_a_crash_is_still_told_after_it(tmp_path: Path) -> None:
    plan = with_nonce(tmp_path)
    claim(plan, "17\n")
    stage(plan)
    assert stage(plan).set_aside == ("1~set-aside-1",)


def test_of_what_was_set_aside_again_and_again_everything_is_kept_and_not_everything_told(
    tmp_path: Path,
) -> None:
    plan = with_nonce(tmp_path)
    for number in range(20):
        (plan.folder.path.parent / f"1~set-aside-{number + 1}").mkdir(parents=True)
    claim(plan, "17\n")
    assert len(stage(plan).set_aside) == 10
    assert len(around(plan)) == 22


def test_the_manifest_of_another_attempt_makes_no_folder_its_own(tmp_path: Path) -> None:
    other = staging(tmp_path, nonce_sha256=sha256_of_nonce("of another"))
    stage(other)
    assert stage(with_nonce(tmp_path)).set_aside == ("1~set-aside-1",)


def test_the_folder_of_an_attempt_without_a_nonce_is_taken_as_it_is(tmp_path: Path) -> None:
    """0.2.0 prepared it, and may have staged it, too."""
    plan = staging(tmp_path)
    claim(plan, "17\n")
    assert stage(plan).set_aside == ()
    assert around(plan) == ["1"]
