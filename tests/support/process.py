"""Processes, identified so that a stranger is never signalled.

A pid alone is reused by the kernel; a pid together with its start time is not.  Daemons are remembered by a
file with both, so that any later process may stop them, and nobody stops anything else.
"""

import contextlib
import os
import select
import signal
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import attrs

from tests.support.polling import is_soon

# A shell starts a background job with these ignored, and what a daemon starts would inherit that.
_START: Final = 'env --default-signal=INT,QUIT -- "$@" </dev/null >>"$0" 2>&1 & echo $!'


@attrs.frozen
class Process:
    """One process, for as long as it lives; a zombie counts as dead."""

    pid: int
    start_time: int  # in clock ticks since boot

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """The process that has this pid now; None when there is none."""
        stat = _stat(pid)
        return None if stat is None or stat.state == "Z" else cls(pid, stat.start_time)

    @classmethod
    def all(cls) -> Iterator[Self]:
        """Every living process of this machine."""
        for name in os.listdir("/proc"):  # noqa: PTH208 - a Path for each process costs more than the scan
            if name.isdecimal() and (process := cls.of(int(name))) is not None:
                yield process

    @property
    def is_alive(self) -> bool:
        return Process.of(self.pid) == self

    @property
    def is_stopped(self) -> bool:
        """Whether SIGSTOP has taken effect."""
        stat = _stat(self.pid)
        return stat is not None and stat.state == "T" and stat.start_time == self.start_time

    @property
    def parent(self) -> int:
        """The pid of the parent; 0 when the process is dead."""
        stat = _stat(self.pid)
        return 0 if stat is None else stat.parent

    @property
    def executable(self) -> str:
        """The path of the program; empty for a kernel thread and for a process that ended or is not ours."""
        try:
            return str(Path(f"/proc/{self.pid}/exe").readlink())
        except OSError:
            return ""

    @property
    def environment(self) -> frozenset[str]:
        """``NAME=value`` of the environment that its program was started with; empty when it is not ours."""
        try:
            return frozenset(
                Path(f"/proc/{self.pid}/environ").read_bytes().decode(errors="replace").split("\0")
            )
        except OSError:
            return frozenset()

    @property
    def open_files(self) -> frozenset[str]:
        """The targets of its file descriptors; empty when the process is not ours."""
        found = set()
        with contextlib.suppress(OSError):  # it ended, or closed a file, while we looked
            for descriptor in Path(f"/proc/{self.pid}/fd").iterdir():
                found.add(str(descriptor.readlink()))
        return frozenset(found)

    def send(self, number: signal.Signals) -> None:
        """Signal this process and no other; nothing happens when it is dead."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if self.is_alive:  # from here on the descriptor cannot come to mean another process
                signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            pass
        finally:
            os.close(descriptor)

    def wait(self, timeout_s: float | None) -> bool:
        """Wait until it has ended; False when it lives on after ``timeout_s`` (None: no limit)."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            if not self.is_alive:
                return True
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            return bool(poll.poll(None if timeout_s is None else timeout_s * 1000))
        finally:
            os.close(descriptor)


@attrs.frozen
class Daemon:
    """A program that outlives the one that started it, known by ``pid_file``."""

    name: str
    pid_file: Path
    output: Path  # what it prints, over all of its starts
    log: Path  # what it writes to a file by itself

    @property
    def process(self) -> Process | None:
        """The running daemon; None when it is down."""
        try:
            pid, start_time = map(int, self.pid_file.read_text().split())
        except (OSError, ValueError):
            return None
        process = Process(pid, start_time)
        return process if process.is_alive else None

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start it in a session of its own, as a child of init; does nothing while it is running.

        Nothing is promised about how far it has come on return; a command that ends at once leaves its
        words in ``output``.
        """
        if self.process is not None:
            return
        started = subprocess.run(
            ["sh", "-c", _START, str(self.output), *command],
            env=dict(environment),
            cwd="/",
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            start_new_session=True,
        )
        process = Process.of(int(started.stdout))
        if process is not None:
            self.pid_file.write_text(f"{process.pid} {process.start_time}\n")

    def stop(self, first: signal.Signals = signal.SIGTERM, grace_s: float = 5.0) -> None:
        """Signal it, and SIGKILL it when it has not ended after ``grace_s``.  Down on return."""
        process = self.process
        if process is not None:
            process.send(first)
            if first != signal.SIGKILL and not process.wait(grace_s):
                process.send(signal.SIGKILL)
            process.wait(None)
        self.pid_file.unlink(missing_ok=True)

    def last_words(self) -> str:
        """The end of what it has printed and logged."""
        texts = (path.read_text(errors="replace") for path in (self.output, self.log) if path.exists())
        return "".join(text[-2000:] for text in texts)


def with_descendants(roots: Iterable[Process]) -> set[Process]:
    """``roots`` with their living children, grandchildren and so on."""
    children: dict[int, list[Process]] = {}
    for process in Process.all():
        children.setdefault(process.parent, []).append(process)
    found: set[Process] = set()
    waiting = list(roots)
    while waiting:
        process = waiting.pop()
        if process not in found:
            found.add(process)
            waiting += children.get(process.pid, [])
    return found


def killed(processes: Iterable[Process], timeout_s: float = 2.0) -> bool:
    """SIGKILL all of them; whether all have ended within ``timeout_s``."""
    doomed = list(processes)
    for process in doomed:
        process.send(signal.SIGKILL)
    return is_soon(lambda: not any(process.is_alive for process in doomed), timeout_s)


@attrs.frozen
class _Stat:
    state: str
    parent: int
    start_time: int


def _stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may hold blanks and brackets
    return _Stat(fields[0], int(fields[1]), int(fields[19]))
