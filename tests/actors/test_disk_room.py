"""A full disk is waited out, and nothing else is."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable

import pytest
import trio

from matterstack.actors.disk_room import LOOK_AGAIN_S, wait_for_room
from matterstack.core.errors import DiskFullError, StoreError

pytestmark = pytest.mark.usefixtures("autojump_clock")

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


async def test_where_there_is_room_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    write = Writes()
    assert await wait_for_room("the store", write) == "written"
    assert (len(write.times), warnings(caplog)) == (1, [])
    assert trio.current_time() == write.times[0]


@pytest.mark.parametrize("full", FULL, ids=lambda error: type(error).__name__)
async def test_a_full_disk_is_told_of_once_and_asked_again_until_there_is_room(
    caplog: pytest.LogCaptureFixture, full: Exception
) -> None:
    write = Writes(*[full] * 1000)
    began = trio.current_time()
    assert await wait_for_room("the store", write) == "written"
    assert write.times == pytest.approx([began + n * LOOK_AGAIN_S for n in range(1001)])
    assert warnings(caplog) == [
        f"the store waits until there is room: {full}",
        "the store goes on: there is room again",
    ]


@pytest.mark.parametrize(
    "other", [OSError(errno.EIO, "Input/output error"), StoreError("state.db: broken"), KeyError("x")]
)
async def test_any_other_error_is_passed_on_also_after_a_wait(
    caplog: pytest.LogCaptureFixture, other: Exception
) -> None:
    for before in ([], [FULL[0]]):
        write = Writes(*before, other)
        with pytest.raises(type(other)) as raised:
            await wait_for_room("the store", write)
        assert raised.value is other
    assert not [text for text in warnings(caplog) if "goes on" in text]


async def test_the_wait_ends_with_who_waits() -> None:
    write = Writes(*[FULL[0]] * 10)
    with trio.move_on_after(2.5 * LOOK_AGAIN_S) as scope:
        await wait_for_room("the store", write)
    assert scope.cancelled_caught
    assert len(write.times) == 3


async def test_each_that_waits_says_so_for_itself(caplog: pytest.LogCaptureFixture) -> None:
    async with trio.open_nursery() as nursery:
        for what in ("one", "two"):
            nursery.start_soon(wait_for_room, what, Writes(FULL[1]))
    said: Callable[[str], int] = lambda word: sum(word in text for text in warnings(caplog))  # noqa: E731
    assert (said("one waits"), said("two waits"), said("goes on")) == (1, 1, 2)
