"""Nurseries whose one error comes out as it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import trio

from matterstack.core.errors import MatterStackError


@asynccontextmanager
async def open_plain_nursery() -> AsyncIterator[trio.Nursery]:
    """A nursery for code that others call: they shall not meet a group where there is one error.

    Several errors at once: see `the_error`.
    """
    own: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            except BaseException as error:
                own = error
                raise
    except BaseExceptionGroup as group:
        chosen = the_error(group, own)
        if chosen is None:
            raise
        raise chosen from chosen.__cause__


@contextmanager
def plain_errors() -> Iterator[None]:
    """The same for a block in which nurseries are opened by others."""
    try:
        yield
    except BaseExceptionGroup as group:
        error = the_error(group)
        if error is None:
            raise
        raise error from error.__cause__


def the_error(
    group: BaseExceptionGroup[BaseException], own: BaseException | None = None
) -> BaseException | None:
    """The error that a group is about; None when it is about none, or nobody can say about which.

    Of several it is the one that ends a program, else the caller's own, else the first one of ours; it
    names the others in its notes.  Cancellations do not count beside an error.

    Args:
        own: what the caller's block raised; if that is a group, it is the caller's group.
    """
    mine = _without_cancellations(own)
    # By their leaves: on its way through a nursery a group is taken apart and put together again.
    parts = set(map(id, _errors(own)))
    errors = [error for error in _errors(group) if id(error) not in parts]
    ranked = sorted([*([] if mine is None else [mine]), *errors], key=lambda error: _rank(error, mine))
    if not ranked or (len(ranked) > 1 and _rank(ranked[0], mine) > _OURS):
        return None
    chosen, *others = ranked
    for other in others:
        chosen.add_note(f"at the same time: {type(other).__name__}: {other}")
    return chosen


_OURS: Final = 2


def _rank(error: BaseException, own: BaseException | None) -> int:
    if not isinstance(error, Exception | BaseExceptionGroup):
        return 0
    if error is own:
        return 1
    return _OURS if isinstance(error, MatterStackError) else _OURS + 1


def _errors(error: BaseException | None) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _errors(inner)]
    return [] if error is None or isinstance(error, trio.Cancelled) else [error]


def _without_cancellations(error: BaseException | None) -> BaseException | None:
    if isinstance(error, BaseExceptionGroup):
        cancelled, rest = error.split(trio.Cancelled)
        return error if cancelled is None else rest
    return None if isinstance(error, trio.Cancelled) else error
