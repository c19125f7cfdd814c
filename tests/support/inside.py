"""Commands inside of this process: what they print and their exit codes, without a process for each."""

import contextlib
import io
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs
import pytest
import sniffio

from matterstack.cli import run_command_line

_READ: Final = {"events", "explain", "list", "logs", "status", "tasks"}
_EVIDENCE: Final = {"archive", "clean", "export-evidence", "import"}
_STEER: Final = {
    "amend", "cancel", "delete", "forget", "init", "label", "pause", "rerun", "resume", "retry"
}  # fmt: skip
_FOLLOWS: Final = {"--follow", "-f"}


def can_run_inside(words: Sequence[str]) -> bool:
    """Whether a command is no engine and ends by itself; not in a thread, nor where an event loop runs."""
    if threading.current_thread() is not threading.main_thread():
        return False
    with contextlib.suppress(sniffio.AsyncLibraryNotFoundError):
        sniffio.current_async_library()
        return False
    match words:
        case ["run", word, *_] if word in _READ | _EVIDENCE | _STEER:
            return not _FOLLOWS & set(words)
        case ["check" | "evidence" | "respond" | "schema", *_]:
            return True
    return False


@attrs.frozen
class Said:
    """What a command printed."""

    exit_code: int
    stdout: str
    stderr: str


def run_inside(words: Sequence[str], cwd: Path, environment: Mapping[str, str], patience_s: float) -> Said:
    """Run a command as its script does, in a folder, with an environment and no input.

    One that has not ended after ``patience_s`` is ended by an error.
    """
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    code = 0
    with (
        _surroundings(words, cwd, environment),
        _as_it_was(),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        _ended_after(patience_s, words),
    ):
        try:
            run_command_line()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    return Said(code, *(_text(stream) for stream in (out, err)))


@contextlib.contextmanager
def _ended_after(seconds: float, words: Sequence[str]) -> Iterator[None]:
    def end(*_: object) -> None:
        raise TimeoutError(f"{' '.join(words)} has not ended after {seconds} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _text(stream: io.TextIOWrapper) -> str:
    assert isinstance(stream.buffer, io.BytesIO)
    return stream.buffer.getvalue().decode()


@contextlib.contextmanager
def _surroundings(words: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> Iterator[None]:
    assert threading.current_thread() is threading.main_thread()
    with pytest.MonkeyPatch.context() as patch, Path(os.devnull).open() as nothing:
        for name in os.environ.keys() - environment.keys():
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.chdir(cwd)
        patch.setattr(sys, "argv", ["matterstack", *words])
        patch.setattr(sys, "stdin", nothing)
        yield


@contextlib.contextmanager
def _as_it_was() -> Iterator[None]:
    """Undo what a command changes in its process and leaves to the end of it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # as in a process of its own
            yield
    finally:
        root.handlers[:], root.level = handlers, level
        for number, handler in signals.items():
            signal.signal(number, handler)
