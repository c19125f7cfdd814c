"""``timeline.svg``: when attempts waited and ran.

Few attempts get a row each, with their names; more of them thin rows; and thousands become two curves: how
many waited and ran at each moment, and how many had ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Final

import attrs
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from matterstack.core.ids import UtcTime
from matterstack.core.run.state import AttemptState
from matterstack.core.states import JobState
from matterstack.evidence.durations import seconds_between
from matterstack.evidence.figures import COLORS, GRID, INK, legend_points, shortened, svg
from matterstack.evidence.presentation import View

TIMELINE: Final = "timeline.svg"
MOST_NAMED: Final = 60
MOST_ROWS: Final = 400
_BINS: Final = 400
_UNITS: Final = ((172800.0, 86400.0, "days"), (7200.0, 3600.0, "hours"), (180.0, 60.0, "minutes"))


@attrs.frozen
class _Span:
    """An attempt in seconds since the run was made."""

    task_id: str
    n: int
    prepared: float
    started: float | None
    end: float
    outcome: str


@attrs.frozen
class _Axis:
    divisor: float
    label: str


def timeline_svg(view: View, width_in: float) -> bytes:
    """Draw the timeline of a run's attempts as SVG."""
    spans = sorted(_spans(view), key=lambda span: (span.prepared, span.task_id, span.n))
    axis = _axis(max((span.end for span in spans), default=1.0), view.history.state.created_at)
    if not spans:
        return svg("timeline", width_in, 1.2, _draw_nothing)
    rows = _rows(spans)
    if len(rows) <= MOST_NAMED:
        return svg(
            "timeline", width_in, 1.3 + 0.22 * len(rows), lambda figure: _draw_rows(figure, rows, axis, True)
        )
    if len(rows) <= MOST_ROWS:
        return svg(
            "timeline", width_in, 1.3 + 0.03 * len(rows), lambda figure: _draw_rows(figure, rows, axis, False)
        )
    return svg("timeline", width_in, 6, lambda figure: _draw_crowd(figure, spans, axis))


def _spans(view: View) -> list[_Span]:
    state = view.history.state

    def since(moment: UtcTime) -> float:
        return seconds_between(state.created_at, moment) or 0.0

    spans = []
    for attempt in view.history.attempts():
        end = since(attempt.ended_at or view.history.as_of)
        # The clock of a job's host may be behind, or ahead.
        prepared = min(since(attempt.prepared_at), end)
        started = None if attempt.started_at is None else min(max(since(attempt.started_at), prepared), end)
        spans.append(_Span(attempt.task_id, attempt.n, prepared, started, end, _outcome(attempt)))
    return spans


def _outcome(attempt: AttemptState) -> str:
    if attempt.ended_at is None:
        return "running"
    if attempt.state is JobState.COMPLETED_OK:
        return "ended well"
    return "cancelled" if attempt.state is JobState.CANCELLED else "failed"


def _rows(spans: Sequence[_Span]) -> list[list[_Span]]:
    """Attempts by task, in the order of the first ones."""
    rows: dict[str, list[_Span]] = {}
    for span in spans:
        rows.setdefault(span.task_id, []).append(span)
    return list(rows.values())


def _axis(longest: float, created_at: str) -> _Axis:
    for over, divisor, unit in _UNITS:
        if longest > over:
            return _Axis(divisor, f"{unit} since {created_at[:19]}Z")
    return _Axis(1.0, f"seconds since {created_at[:19]}Z")


def _draw_nothing(figure: Figure) -> None:
    figure.text(0.5, 0.5, "nothing has been submitted", ha="center", va="center")


def _draw_rows(figure: Figure, rows: Sequence[Sequence[_Span]], axis: _Axis, named: bool) -> None:
    axes = _axes(figure, 1.7 if named else 0.5, 0.55, 0.45)
    bars: dict[str, list[tuple[int, float, float]]] = {}
    for row, attempts in enumerate(rows):
        for span in attempts:
            start = span.started if span.started is not None else span.end
            bars.setdefault("waiting", []).append((row, span.prepared, start - span.prepared))
            if span.started is not None:
                bars.setdefault(span.outcome, []).append((row, start, span.end - start))
            elif span.outcome in {"failed", "cancelled"}:
                bars.setdefault(span.outcome, []).append((row, start, 0.0))
    thickness = 0.62 if named else 0.9
    least = max((span.end for row in rows for span in row), default=1.0) * 0.002
    for kind, places in bars.items():
        axes.barh(
            [row for row, _, _ in places],
            [max(width, 0.0 if kind == "waiting" else least) / axis.divisor for _, _, width in places],
            left=[left / axis.divisor for _, left, _ in places],
            height=thickness,
            color=COLORS[kind],
            linewidth=0,
        )
    if named:
        _name_rows(axes, rows)
    else:
        axes.set_ylabel(f"{len(rows)} tasks, in the order of their start")
        axes.set_yticks([])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    _finish(axes, axis)
    _legend(figure, bars)


def _axes(figure: Figure, left_in: float, bottom_in: float, top_in: float) -> Any:  # noqa: ANN401
    """Axes with these margins, and a narrow one to the right."""
    width, height = figure.get_size_inches()
    return figure.add_axes(
        (left_in / width, bottom_in / height, 1 - (left_in + 0.25) / width, 1 - (bottom_in + top_in) / height)
    )


def _name_rows(axes: Any, rows: Sequence[Sequence[_Span]]) -> None:  # noqa: ANN401  matplotlib's are untyped
    names = [
        shortened(row[0].task_id, 20) + (f" ×{len(row)}" if len(row) > 1 else "")  # noqa: RUF001
        for row in rows
    ]
    axes.set_yticks(range(len(rows)), names)
    axes.tick_params(axis="y", length=0)


def _finish(axes: Any, axis: _Axis) -> None:  # noqa: ANN401  matplotlib's are untyped
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.set_xlim(left=0)
    axes.set_xlabel(axis.label)


def _legend(figure: Figure, kinds: Any) -> None:  # noqa: ANN401  any collection of text
    shown = [kind for kind in COLORS if kind in kinds]
    figure.legend(
        handles=[Patch(color=COLORS[kind], label=kind) for kind in shown],
        loc="upper center",
        ncols=len(shown),
        bbox_to_anchor=(0.5, 1.0),
        fontsize=legend_points(figure.get_figwidth()),
        handlelength=1.2,
        columnspacing=1.2,
    )


def _draw_crowd(figure: Figure, spans: Sequence[_Span], axis: _Axis) -> None:
    longest = max(span.end for span in spans) or 1.0
    moments = [longest * place / _BINS for place in range(_BINS + 1)]
    times = [moment / axis.divisor for moment in moments]
    starts = [span.started if span.started is not None else span.end for span in spans]
    waiting = _level(((s.prepared, start) for s, start in zip(spans, starts, strict=True)), longest)
    running = _level(((start, s.end) for s, start in zip(spans, starts, strict=True)), longest)
    height = figure.get_figheight()
    above = _axes(figure, 0.8, 0.55 * height, 0.55)
    above.fill_between(times, running, step="mid", color=COLORS["running"], linewidth=0)
    both = [a + b for a, b in zip(running, waiting, strict=True)]
    above.fill_between(times, running, both, step="mid", color=COLORS["waiting"], linewidth=0)
    above.set_ylabel("attempts at the same time")
    above.set_ylim(bottom=0)
    below = _axes(figure, 0.8, 0.55, 0.54 * height)
    kinds = {"waiting", "running"}
    for kind in ("ended well", "failed", "cancelled"):
        ends = [span.end for span in spans if span.outcome == kind]
        if ends:
            kinds.add(kind)
            below.plot(times, _ended(ends, longest), color=COLORS[kind], linewidth=1.8, drawstyle="steps-mid")
    below.set_ylabel("attempts that have ended")
    below.set_ylim(bottom=0)
    for axes in (above, below):
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        _finish(axes, axis)
    above.set_xlabel("")
    above.set_title(f"{len(spans)} attempts", loc="left", color=INK, fontsize=9)
    _legend(figure, kinds)


def _bin(moment: float, longest: float) -> int:
    return min(_BINS, max(0, round(moment / longest * _BINS)))


def _level(pairs: Any, longest: float) -> list[int]:  # noqa: ANN401  any iterable of pairs
    """How many intervals are open in each bin."""
    steps = [0] * (_BINS + 2)
    for start, end in pairs:
        first, last = _bin(start, longest), _bin(end, longest)
        steps[first] += 1
        steps[max(last, first)] -= 1
        if last == first and end > start:  # shorter than a bin: still seen
            steps[first + 1] -= 1
            steps[first] += 1
    return list(accumulate(steps))[: _BINS + 1]


def _ended(ends: Sequence[float], longest: float) -> list[int]:
    steps = [0] * (_BINS + 1)
    for end in ends:
        steps[_bin(end, longest)] += 1
    return list(accumulate(steps))
