"""How long an event takes from its commit to a client of the monitor, on loopback.

Once with the monitor in the process that commits, as ``run loop --serve`` has it, and once with
``matterstack monitor`` in a process of its own; each with other clients that listen too.  Events are
committed one by one, at random intervals.  Prints one table; exits with 1 when the slowest of a hundred takes
longer than is promised.

    python -m benchmarks.monitor_latency [--events 400] [--clients 10] [--rows]
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Final

import attrs
import trio
from rich.console import Console
from rich.table import Table

from matterstack.client import Event, Link, open_link
from matterstack.client import Site as MonitorSite
from matterstack.monitor.server import Address, open_monitor
from tests.monitor.page_support import Site, site_on
from tests.support.command import command_line_in

LIMITS_MS: Final = {"in the same process": 100.0, "in another process": 300.0}
LONGEST_PAUSE_S: Final = 0.08
PATIENCE_S: Final = 60.0


@attrs.frozen
class Measured:
    """Latencies of one place, in milliseconds."""

    place: str
    latencies_ms: Sequence[float]

    def quantile(self, share: float) -> float:
        """Of so many hundredths at most so much; of few measurements, the worst."""
        ordered = sorted(self.latencies_ms)
        return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]

    @property
    def is_kept(self) -> bool:
        """Whether it is as promised."""
        return self.quantile(0.99) < LIMITS_MS[self.place]


@attrs.define
class _Client:
    """Takes what comes, event by event or change by change."""

    link: Link
    last: int | None = None

    async def next(self) -> Event:
        """What comes next."""
        event = await self.link.next_event(self.last)
        self.last = event["seq"]
        return event


@asynccontextmanager
async def _connected(url: str, token: str, *, rows: bool) -> AsyncIterator[_Client]:
    async with open_link(MonitorSite.parse(url, token, None), after=0, with_rows=rows) as link:
        yield _Client(link)


@asynccontextmanager
async def _listening(site: Site, url: str, options: argparse.Namespace) -> AsyncIterator[_Client]:
    """The client that is measured, after others that listen to the same."""
    async with trio.open_nursery() as nursery:
        for _ in range(options.clients - 1):
            await nursery.start(_listen, url, site.token, options.rows)
        async with _connected(url, site.token, rows=options.rows) as client:
            while client.last != site.seqs("run")[-1]:
                await client.next()
            yield client
        nursery.cancel_scope.cancel()


async def _listen(
    url: str, token: str, rows: bool, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    async with _connected(url, token, rows=rows) as client:
        await client.next()
        task_status.started()
        while True:
            await client.next()


async def _measure(site: Site, client: _Client, events: int) -> list[float]:
    chance = random.Random(1)  # noqa: S311  no secrets here
    latencies: list[float] = []
    with trio.fail_after(PATIENCE_S + events * LONGEST_PAUSE_S * 5):
        for _ in range(events):
            await trio.sleep(chance.uniform(0, LONGEST_PAUSE_S))
            site.runs["run"].tell(*site.turn("run", by="ann"))
            committed = perf_counter()
            await client.next()
            latencies.append((perf_counter() - committed) * 1000)
    return latencies


async def _in_the_same_process(site: Site, options: argparse.Namespace) -> Measured:
    async with (
        open_monitor(site.root, Address(port=0)) as served,
        _listening(site, f"http://127.0.0.1:{served.port}", options) as client,
    ):
        return Measured("in the same process", await _measure(site, client, options.events))


async def _in_another_process(site: Site, options: argparse.Namespace) -> Measured:
    await trio.to_thread.run_sync(site.start)
    async with _listening(site, site.url, options) as client:
        return Measured("in another process", await _measure(site, client, options.events))


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--events", type=int, default=400)
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument(
        "--rows", action="store_true", help="clients ask for the rows that events change, too"
    )
    arguments = parser.parse_args()
    measured = []
    for measure in (_in_the_same_process, _in_another_process):
        with tempfile.TemporaryDirectory() as folder, command_line_in(Path(folder)) as command_line:
            command_line.check_at_end = False  # the run is written by hand, and has no folder
            with site_on(command_line) as site:
                site.new_run("run")
                measured.append(trio.run(measure, site, arguments))
    table = Table("commit to client", "events", "median, ms", "p99, ms", "longest, ms", "promised p99, ms")
    for one in measured:
        table.add_row(
            one.place,
            str(len(one.latencies_ms)),
            f"{statistics.median(one.latencies_ms):.1f}",
            f"{one.quantile(0.99):.1f}",
            f"{max(one.latencies_ms):.1f}",
            f"{LIMITS_MS[one.place]:.0f}",
        )
    Console().print(table)
    return 0 if all(one.is_kept for one in measured) else 1


if __name__ == "__main__":
    sys.exit(main())
