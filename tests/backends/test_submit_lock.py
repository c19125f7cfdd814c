"""Nobody looks for a job while one is being submitted."""

# ruff: noqa: ARG001 - pytest-trio takes the clock from the arguments of a test

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, Sequencer

from matterstack.backends.submit_lock import SubmitLock
from matterstack.core.errors import BackendError
from tests.support.polling import wait_until


@pytest.fixture
def lock(tmp_path: Path) -> SubmitLock:
    return SubmitLock(tmp_path / "locks" / "submit-x.lock", wait_s=10)


async def test_submissions_go_on_side_by_side(lock: SubmitLock, autojump_clock: MockClock) -> None:
    async with lock.shared_async() as first, lock.shared_async() as second:
        with lock.shared() as third:
            assert len({first, second, third}) == 3

    assert trio.current_time() == 0, "nobody waited"


async def test_a_search_waits_for_submissions_and_submissions_for_it(
    lock: SubmitLock, autojump_clock: MockClock
) -> None:
    log: list[str] = []

    async def submit(name: str, begin_s: float, last_s: float) -> None:
        await trio.sleep(begin_s)
        async with lock.shared_async():
            log.append(f"{name} begins")
            await trio.sleep(last_s)
            log.append(f"{name} ends")

    async def search() -> None:
        await trio.sleep(1)
        async with lock.alone():
            log.append("search begins")
            await trio.sleep(3)
            log.append("search ends")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(submit, "first", 0, 3)
        nursery.start_soon(search)
        nursery.start_soon(submit, "second", 4, 1)

    assert log == [
        "first begins",
        "first ends",
        "search begins",
        "search ends",
        "second begins",
        "second ends",
    ]


async def test_a_search_is_not_starved_by_submissions_that_overlap(
    lock: SubmitLock, autojump_clock: MockClock
) -> None:
    async def submit_for_ever(begin_s: float) -> None:
        await trio.sleep(begin_s)
        while True:
            async with lock.shared_async():
                await trio.sleep(2)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(submit_for_ever, 0)
        nursery.start_soon(submit_for_ever, 1)
        await trio.sleep(1.5)
        async with lock.alone():
            waited_s = trio.current_time() - 1.5
        nursery.cancel_scope.cancel()

    assert waited_s < 3, "it waits for those that are under way, not for those that come later"


async def test_two_searches_come_one_after_the_other(lock: SubmitLock, autojump_clock: MockClock) -> None:
    inside = 0
    most = 0

    async def search() -> None:
        nonlocal inside, most
        async with lock.alone():
            inside += 1
            most = max(most, inside)
            await trio.sleep(1)
            inside -= 1

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(search)

    assert most == 1
    assert trio.current_time() >= 3


async def test_a_search_gives_up_with_a_clear_word(lock: SubmitLock, autojump_clock: MockClock) -> None:
    async with lock.shared_async():
        with pytest.raises(BackendError, match=r"submit-x\.lock: a submission has been under way for 10 s"):
            async with lock.alone():
                pytest.fail("it looked while a submission was under way")

    assert trio.current_time() == pytest.approx(10, abs=0.1)


async def test_a_submission_gives_up_with_a_clear_word(lock: SubmitLock, autojump_clock: MockClock) -> None:
    async with lock.alone():
        with pytest.raises(BackendError, match="a search for jobs has been under way for 10 s"):
            async with lock.shared_async():
                pytest.fail("it submitted while a search was under way")


async def test_a_search_that_gave_up_or_was_cancelled_stands_in_nobodys_way(
    lock: SubmitLock, autojump_clock: MockClock
) -> None:
    async with lock.shared_async():
        with trio.move_on_after(1):
            async with lock.alone():
                pytest.fail("it looked while a submission was under way")
        async with lock.shared_async():
            pass

    assert trio.current_time() == pytest.approx(1)


async def test_the_lock_is_free_after_an_error_inside(lock: SubmitLock, autojump_clock: MockClock) -> None:
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            async with lock.alone():
                raise ZeroDivisionError
    async with lock.shared_async():
        assert trio.current_time() == 0


@pytest.mark.usefixtures("processes")
async def test_a_child_that_outlives_its_engine_still_holds_the_lock(
    lock: SubmitLock, tmp_path: Path
) -> None:
    # The engine is killed while its submission runs; the child, a stand-in for sbatch, goes on.
    orphan = "import os, sys, time\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.01)"
    program = f"""
import os, subprocess, sys
from pathlib import Path
from matterstack.backends.submit_lock import SubmitLock
with SubmitLock(Path(sys.argv[1])).shared() as descriptor:
    child = subprocess.Popen([sys.executable, "-c", {orphan!r}, sys.argv[2]], stdout=subprocess.DEVNULL,
                             pass_fds=(descriptor,))
    print(child.pid, flush=True)
    os.kill(os.getpid(), 9)
"""
    release = tmp_path / "release"
    engine = subprocess.run(  # noqa: ASYNC221  nothing else is to happen meanwhile
        [sys.executable, "-c", program, str(lock.path), str(release)], stdout=subprocess.PIPE, check=False
    )
    assert engine.returncode == -9
    order = Sequencer()
    log: list[str] = []

    async def search() -> None:
        async with order(0):
            log.append("looks" if _is_free(lock.path) else "waits")
        async with lock.alone():
            log.append("has looked")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(search)
        async with order(1):
            release.touch()

    assert log == ["waits", "has looked"]
    await trio.to_thread.run_sync(
        wait_until, lambda: not Path(f"/proc/{int(engine.stdout)}/fd/0").exists(), 5
    )


@pytest.mark.usefixtures("processes")
async def test_a_child_that_does_not_inherit_the_lock_does_not_keep_it(lock: SubmitLock) -> None:
    with lock.shared():
        child = subprocess.Popen(["sleep", "60"])  # noqa: ASYNC220
    try:
        assert _is_free(lock.path), "descriptors are closed on exec unless they are passed on"
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
async def test_a_file_system_without_locks_is_told_and_nothing_is_done(
    lock: SubmitLock, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def flock(_descriptor: int, _kind: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)

    with pytest.raises(BackendError, match=f"cannot be locked: {os.strerror(number)}") as caught:
        async with lock.shared_async():
            pytest.fail("it submitted without the lock")
    assert "file system" in str(caught.value.hint)
    with pytest.raises(BackendError), lock.shared():
        pytest.fail("it submitted without the lock")
    with pytest.raises(BackendError):
        async with lock.alone():
            pytest.fail("it looked without the lock")


async def test_a_place_where_no_file_can_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "locks").write_text("a file where a folder should be")

    with pytest.raises(BackendError, match="cannot be locked: "):
        async with SubmitLock(tmp_path / "locks" / "x").shared_async():
            pytest.fail("it submitted without the lock")


def _is_free(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
