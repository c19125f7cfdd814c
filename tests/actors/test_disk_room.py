"""A full disk is waited out, and nothing else is."""

from __future__ import annotations

import errno
import logging

import pytest
import trio
from trio.testing import MockClock

from matterstack.actors.disk_room import LOOK_AGAIN_S, wait_for_room
from matterstack.core.errors import DiskFullError, StoreError

FULL = (
    DiskFullError("state.db: the disk is full"),
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EDQUOT, "Disk quota exceeded"),
)


class Writes:
    """A write that fails as it is told, and says when it was tried."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.times: list[float] = []

    async def __call__(self) -> str:
        await trio.lowlevel.checkpoint()
        self.times.append(trio.current_time())
        if self.failures:
            raise self.failures.pop(0)
        return "written"


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


async def test_where_there_is_room_nothing_is_said(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    write = Writes()
    assert await wait_for_room("the store", write) == "written"
    assert (len(write.times), warnings(caplog)) == (1, [])
    assert autojump_clock.current_time() == pytest.approx(0)


@pytest.mark.parametrize("full", FULL, ids=lambda error: type(error).__name__)
async def test_a_full_disk_is_told_of_once_and_asked_again_until_there_is_room(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, full: Exception
) -> None:
    write = Writes(*[full] * 1000)
    assert await wait_for_room("the store", write) == "written"
    assert len(write.times) == 1001
    assert autojump_clock.current_time() == pytest.approx(1000 * LOOK_AGAIN_S)
    assert warnings(caplog) == [
        f"the store waits until there is room: {full}",
        "the store goes on: there is room again",
    ]


@pytest.mark.parametrize(
    "other", [OSError(errno.EIO, "Input/output error"), StoreError("state.db: broken"), KeyError("x")]
)
async def test_any_other_error_is_passed_on_also_after_a_wait(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, other: Exception
) -> None:
    for before in ([], [FULL[0]]):
        write = Writes(*before, other)
        with pytest.raises(type(other)) as raised:
            await wait_for_room("the store", write)
        assert raised.value is other
    assert autojump_clock.current_time() == pytest.approx(LOOK_AGAIN_S), "it was waited for room alone"
    assert not [text for text in warnings(caplog) if "goes on" in text]


async def test_the_wait_ends_with_who_waits(autojump_clock: MockClock) -> None:
    write = Writes(*[FULL[0]] * 10)
    with trio.move_on_after(2.5 * LOOK_AGAIN_S) as scope:
        await wait_for_room("the store", write)
    assert scope.cancelled_caught
    assert len(write.times) == 3
    assert autojump_clock.current_time() == pytest.approx(2.5 * LOOK_AGAIN_S)
