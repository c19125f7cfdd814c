"""What the work at hand is about, for log records: set where it begins, and known wherever it leads."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, ParamSpec

_P = ParamSpec("_P")

_RUN: Final[ContextVar[str | None]] = ContextVar("matterstack_run", default=None)
_BACKEND: Final[ContextVar[str | None]] = ContextVar("matterstack_backend", default=None)


@contextmanager
def log_about(*, run: str | None = None, backend: str | None = None) -> Iterator[None]:
    """Say what is worked on in this block, and in the tasks and threads that it starts; nothing else is."""
    tokens = _RUN.set(run), _BACKEND.set(backend)
    try:
        yield
    finally:
        _RUN.reset(tokens[0])
        _BACKEND.reset(tokens[1])


def about_run(
    run: str, work: Callable[_P, Awaitable[None]], *args: _P.args, **kwargs: _P.kwargs
) -> Callable[[], Awaitable[None]]:
    """The same work, known to be about a run."""

    async def known() -> None:
        with log_about(run=run):
            await work(*args, **kwargs)

    return known


def about_backend(backend: str, work: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    """The same work, known to be about a backend, and not about the run that came upon it first."""

    async def known() -> None:
        with log_about(backend=backend):
            await work()

    return known


def log_fields() -> dict[str, str]:
    """``run`` and ``backend``, where they are known."""
    found = {"run": _RUN.get(), "backend": _BACKEND.get()}
    return {name: value for name, value in found.items() if value is not None}


def log_place() -> str:
    """Where a person finds what is logged in this process: the path of a file, or who knows."""
    logger: logging.Logger | None = logging.getLogger("matterstack")
    while logger is not None:
        for handler in logger.handlers:
            if isinstance(handler, logging.FileHandler) and handler.baseFilename != os.devnull:
                return handler.baseFilename
        logger = logger.parent if logger.propagate else None
    return "the log of the program that served it"
