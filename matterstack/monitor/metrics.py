"""Figures for a monitoring system, as OpenMetrics text."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final, TypeVar

import attrs
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from matterstack.core.ids import BackendName
from matterstack.core.operators import ASKED
from matterstack.core.states import RunStatus, TaskStatus
from matterstack.storage.backend_reports import BackendReport, read_reports
from matterstack.storage.commit_reports import BOUNDS_S, CommitReport, read_commits
from matterstack.storage.layout import Root
from matterstack.storage.read.totals import read_totals

OPENMETRICS: Final = "application/openmetrics-text"
_Name = TypeVar("_Name", bound=str)


@attrs.frozen(kw_only=True)
class Figures:
    """What is told, at one moment.

    Attributes:
        jobs: live jobs of each backend, over all runs.
        seats: the most jobs that a backend may have at once: of several definitions, the largest number.
        questions: attempts that wait for a person's or an instrument's answer.
        clients: connections to this monitor.
    """

    runs: Mapping[RunStatus, int]
    tasks: Mapping[TaskStatus, int]
    jobs: Mapping[BackendName, int]
    seats: Mapping[BackendName, int]
    questions: int
    reports: Sequence[BackendReport]
    commits: Sequence[CommitReport]
    seq: int
    clients: int


def figures_of(connection: sqlite3.Connection, root: Root, clients: int) -> Figures:
    """Read all figures from the store and the reports.  Blocking."""
    totals = read_totals(connection)
    return Figures(
        runs=totals.runs,
        tasks=totals.tasks,
        jobs={name: totals.live.get(name, 0) for name in sorted({*totals.seats, *totals.live} - {ASKED})},
        seats=totals.seats,
        questions=totals.live.get(ASKED, 0),
        reports=read_reports(root),
        commits=read_commits(root),
        seq=totals.seq,
        clients=clients,
    )


def exposition(figures: Figures, accept: str) -> tuple[bytes, str]:
    """The text, and its media type: OpenMetrics, unless only the older format is accepted."""
    registry = CollectorRegistry()
    registry.register(_Told(figures))
    asks_for_none = not accept or accept.strip() == "*/*"
    encode, kind = choose_encoder(OPENMETRICS if asks_for_none else accept)
    return encode(registry), kind


@attrs.frozen(eq=False)
class _Told(Collector):
    """The figures in the shape that the client library takes.  One for each answer."""

    figures: Figures

    def collect(self) -> Iterator[Metric]:
        """All figures as metrics of the client library."""
        figures = self.figures
        yield _gauge("runs", "Runs by status.", ["status"], _by_name(figures.runs))
        yield _gauge("tasks", "Tasks by state, over all runs.", ["state"], _by_name(figures.tasks))
        yield _gauge("jobs", "Live jobs, each of which holds a seat.", ["backend"], _by_name(figures.jobs))
        yield _gauge(
            "seats", "Most jobs that a backend may have at once.", ["backend"], _by_name(figures.seats)
        )
        yield _gauge("questions", "Questions that wait for an answer.", [], {(): figures.questions})
        yield from self._reported()
        yield self._commits()
        yield CounterMetricFamily(
            "matterstack_events", "Events in the store, over all runs.", value=figures.seq
        )
        yield _gauge("monitor_clients", "Connections to this monitor.", [], {(): figures.clients})

    def _reported(self) -> Iterator[Metric]:
        labels = ["backend", "engine"]
        out = _family("backend_out", "1 while the backend does not answer.", labels)
        accounting = _family("backend_accounting_out", "1 while nobody tells of ended jobs.", labels)
        limited = _family("backend_limited", "1 while the backend takes no more jobs.", labels)
        took = SummaryMetricFamily(
            "matterstack_backend_command_seconds",
            "How long questions to the backend took, such as polls.",
            labels=[*labels, "command"],
        )
        failed = CounterMetricFamily(
            "matterstack_backend_command_failures",
            "Questions without an answer.",
            labels=[*labels, "command"],
        )
        for report in self.figures.reports:
            # Two definitions of a backend's name in one engine are two backends.
            who = [
                report.backend,
                f"{report.host}:{report.pid}:{report.definition}:{report.engine}".rstrip(":"),
            ]
            out.add_metric(who, float(report.out_since is not None))
            accounting.add_metric(who, float(report.accounting_out_since is not None))
            limited.add_metric(who, float(report.limited_since is not None))
            for command, statistics in report.statistics.items():
                took.add_metric([*who, command], statistics.count, statistics.total_s)
                failed.add_metric([*who, command], statistics.failed)
        yield from (out, accounting, limited, took, failed)

    def _commits(self) -> Metric:
        took = HistogramMetricFamily(
            "matterstack_commit_seconds",
            "How long an engine's commits took, until they were durable.",
            labels=["engine"],
        )
        for report in self.figures.commits:
            up_to = zip([*map(str, BOUNDS_S), "+Inf"], accumulate(report.counts), strict=True)
            took.add_metric([f"{report.host}:{report.pid}:{report.engine}"], list(up_to), report.total_s)
        return took


def _family(name: str, help_text: str, labels: Sequence[str]) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"matterstack_{name}", help_text, labels=labels)


def _gauge(
    name: str, help_text: str, labels: Sequence[str], values: Mapping[tuple[str, ...], int]
) -> GaugeMetricFamily:
    family = _family(name, help_text, labels)
    for key, value in values.items():
        family.add_metric(list(key), value)
    return family


def _by_name(values: Mapping[_Name, int]) -> dict[tuple[str, ...], int]:
    return {(str(name),): value for name, value in values.items()}
