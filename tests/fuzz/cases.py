"""Try cases one after the other, and say which of them end otherwise than they should."""

from __future__ import annotations

import resource
import shutil
import signal
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import FrameType
from typing import Final

import attrs

from tests.fuzz.targets import Target, targets

HANGS_AFTER_S: Final = 60
MOST_MEMORY_KIB: Final = 1 << 20


@attrs.frozen
class Failure:
    """A case that ended otherwise than it should; ``name`` replays it."""

    name: str
    problem: str


class HangError(BaseException):
    """A case comes to no end.  No `Exception`: nothing that is tried may take it for bad input."""


def try_cases(first: int, count: int) -> tuple[int, list[Failure]]:
    """Try so many; returns how many were tried, and those that failed."""
    tried = 0
    failures: list[Failure] = []
    with (
        tempfile.TemporaryDirectory(prefix="ms-fuzz-") as folder,
        targets(Path(folder) / "whole") as all_of_them,
    ):
        for number in range(first, first + count):
            target = _of(number, all_of_them)
            tried += 1
            if problem := _problem(target, number, Path(folder)):
                failures.append(Failure(f"{target.name}:{number}", problem))
    return tried, failures


def try_portion(portion: tuple[int, int]) -> tuple[int, list[Failure]]:
    """Try cases from a number on, so many; for a pool of processes."""
    return try_cases(*portion)


def replay(name: str) -> str:
    """Try one case by its name once more; returns what is wrong, or nothing."""
    kind, _, number = name.partition(":")
    with (
        tempfile.TemporaryDirectory(prefix="ms-fuzz-") as folder,
        targets(Path(folder) / "whole") as all_of_them,
    ):
        (target,) = (target for target in all_of_them if target.name == kind)
        return _problem(target, int(number), Path(folder))


def _of(number: int, all_of_them: list[Target]) -> Target:
    place = number * 37 % 100  # prime to a hundred, so that each hundred has every place once
    for target in all_of_them:
        if place < target.share:
            return target
        place -= target.share
    raise ValueError("the shares are no hundred in all")


def _problem(target: Target, number: int, folder: Path) -> str:
    case = folder / "case"
    case.mkdir()
    try:
        with _deadline():
            target.try_one(Random(f"{target.name}:{number}"), case)  # noqa: S311  no secrets here
    except HangError:
        return f"it is at work for more than {HANGS_AFTER_S} s:\n{traceback.format_exc()}"
    except Exception:  # noqa: BLE001  whatever it is, it is the finding
        return traceback.format_exc()
    finally:
        shutil.rmtree(case)
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return f"it took {peak_kib >> 10} MiB of memory" if peak_kib > MOST_MEMORY_KIB else ""


@contextmanager
def _deadline() -> Iterator[None]:
    def hang(_number: int, _frame: FrameType | None) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(HANGS_AFTER_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
