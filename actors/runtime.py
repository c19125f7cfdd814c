"""What actors need from the world around them, so that tests can give them another one."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime

import attrs

from matterstack.core.ids import UtcTime, utc_text
from matterstack.storage.living_reports import HEARTBEAT_S
from matterstack.storage.threads import RunBlocking, WorkerThreads


def wall_clock() -> datetime:
    """The time of day of this machine, aware of its zone."""
    return datetime.now(UTC)


def _like(files: RunBlocking, at_once: int) -> RunBlocking:
    """Threads of their own for large files; where nothing is called in threads, this is not, either."""
    return WorkerThreads(at_once, abandon_on_cancel=True) if isinstance(files, WorkerThreads) else files


@attrs.frozen(kw_only=True)
class Runtime:
    """Clock and threads that actors are given.

    Attributes:
        clock: the time of day, aware.
        store: for calls on the database connection that reads; one at a time.
        files: for calls on files.
        staging: for calls that copy what jobs are given; nothing else waits for them.
        hashing: for calls that read a piece of large files; who is cancelled does not wait for them.
        entropy: random bytes, so many; for names that must not come twice.
        look_interval_s: how often the store is asked whether another process has committed (that costs 3
            microseconds).
        look_anyway_s: how often runs are looked for without such a sign: a lease that became free is none.
        heartbeat_s: how old what the engine says of itself may become while nothing changes.
        report_pause_s: how long it keeps mere statistics of itself back, at least.
    """

    clock: Callable[[], datetime] = wall_clock
    entropy: Callable[[int], bytes] = secrets.token_bytes
    look_interval_s: float = 0.2
    look_anyway_s: float = 2.0
    heartbeat_s: float = HEARTBEAT_S
    report_pause_s: float = 0.0
    journal: RunBlocking = attrs.field(factory=lambda: WorkerThreads(1))
    store: RunBlocking = attrs.field(factory=lambda: WorkerThreads(1))
    files: RunBlocking = attrs.field(factory=lambda: WorkerThreads(4))
    staging: RunBlocking = attrs.field(
        init=False, default=attrs.Factory(lambda self: _like(self.files, 16), takes_self=True)
    )
    hashing: RunBlocking = attrs.field(
        init=False, default=attrs.Factory(lambda self: _like(self.files, 4), takes_self=True)
    )

    def now(self) -> UtcTime:
        """The time of day, as facts have it."""
        return utc_text(self.clock())
