"""``graph.svg``: the tasks and what they depend on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Patch

from matterstack.core.states import TaskStatus
from matterstack.evidence.figures import COLORS, FAINT, INK, WASH, legend_points, shortened, svg
from matterstack.evidence.graph.frames import Box, Frame, Graph, graph_of_tasks
from matterstack.evidence.graph.places import (
    MARGIN,
    Heading,
    PlacedBox,
    PlacedFrame,
    Places,
    most_abreast,
    places_of_graph,
)
from matterstack.evidence.presentation import View

GRAPH: Final = "graph.svg"

STATUS_COLORS: Final = {
    TaskStatus.SUCCEEDED: COLORS["ended well"],
    TaskStatus.FAILED: COLORS["failed"],
    TaskStatus.ACTIVE: COLORS["running"],
    TaskStatus.READY: COLORS["waiting"],
    TaskStatus.WAITING: COLORS["not started"],
    TaskStatus.CANCELLED: COLORS["cancelled"],
    TaskStatus.SKIPPED: "#bcccdc",
}
_CHARACTERS_PER_INCH: Final = 10.5
"""Of text of 8 points."""


def graph_svg(view: View, width_in: float) -> bytes:
    """Draw the graph of a run's tasks as SVG."""
    tasks = view.history.state.tasks
    if not tasks:
        return svg("graph", width_in, 1.2, _draw_nothing)
    graph = graph_of_tasks(tasks, most_abreast(width_in))
    places = places_of_graph(graph, width_in)
    return svg("graph", width_in, places.height, lambda figure: _draw(figure, width_in, graph, places))


def _draw_nothing(figure: Figure) -> None:
    figure.text(0.5, 0.5, "nothing has been planned", ha="center", va="center")


def _draw(figure: Figure, width_in: float, graph: Graph, places: Places) -> None:
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(0, width_in)
    axes.set_ylim(places.height, 0)
    axes.set_axis_off()
    for heading in places.headings:
        _draw_heading(axes, heading, width_in)
    for way in places.ways:
        _draw_way(axes, way)
    for frame, place in zip(graph.frames, places.frames, strict=True):
        _draw_frame(axes, frame, place)
    counted = [box.counts for frame in graph.frames for box in frame.boxes]
    shown = [s for s in STATUS_COLORS if any(counts[s] for counts in counted)]
    axes.legend(
        handles=[Patch(color=STATUS_COLORS[status], label=status.value) for status in shown],
        loc="upper center",
        ncols=len(shown),
        fontsize=legend_points(width_in),
        handlelength=1.2,
        columnspacing=1.2,
        borderaxespad=0.2,
    )


def _draw_heading(axes: Any, heading: Heading, width_in: float) -> None:  # noqa: ANN401  matplotlib's are untyped
    axes.text(
        MARGIN, heading.top + 0.05, f"iteration {heading.iteration}", va="center", fontsize=8, color=INK
    )
    axes.plot(
        [MARGIN + 0.85, width_in - MARGIN], [heading.top + 0.05] * 2, color=FAINT, linewidth=0.5, zorder=0
    )


def _draw_way(axes: Any, way: Sequence[tuple[float, float]]) -> None:  # noqa: ANN401  matplotlib's are untyped
    if len(way) > 2:
        axes.plot([x for x, _ in way[:-1]], [y for _, y in way[:-1]], color=FAINT, linewidth=0.7, zorder=1)
    axes.annotate(
        "",
        xy=way[-1],
        xytext=way[-2],
        zorder=1,
        arrowprops={"arrowstyle": "-|>", "color": FAINT, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 0},
    )


def _draw_frame(axes: Any, frame: Frame, place: PlacedFrame) -> None:  # noqa: ANN401  matplotlib's are untyped
    if len(frame.boxes) > 1:
        _rounded(axes, place.left, place.top, place.right, place.bottom, color=WASH, zorder=2)
    for box, spot in zip(frame.boxes, place.boxes, strict=True):
        _draw_box(axes, box, spot)


def _draw_box(axes: Any, box: Box, spot: PlacedBox) -> None:  # noqa: ANN401  matplotlib's are untyped
    left, right = spot.x - spot.width / 2, spot.x + spot.width / 2
    bottom = spot.y + spot.height / 2
    _rounded(axes, left, spot.y - spot.height / 2, right, bottom, color="white", zorder=3)
    most = int(spot.width * _CHARACTERS_PER_INCH)
    for number, line in enumerate(box.lines):
        y = spot.y + 0.16 * (number - (len(box.lines) - 1) / 2) - 0.02
        axes.text(spot.x, y, shortened(line, most), ha="center", va="center", fontsize=8, color=INK, zorder=5)
    # A strip below the text: how many of the tasks are in which status.
    at, total = left + 0.05, sum(box.counts.values())
    for status, color in STATUS_COLORS.items():
        share = (spot.width - 0.1) * box.counts[status] / total
        if share:
            axes.barh(bottom - 0.035, share, left=at, height=0.045, color=color, linewidth=0, zorder=4)
            at += share


def _rounded(
    axes: Any,  # noqa: ANN401  matplotlib's are untyped
    left: float,
    top: float,
    right: float,
    bottom: float,
    *,
    color: str,
    zorder: int,
) -> None:
    axes.add_patch(
        FancyBboxPatch(
            (left, top),
            right - left,
            bottom - top,
            boxstyle="round,pad=0,rounding_size=0.05",
            facecolor=color,
            edgecolor=FAINT,
            linewidth=0.8,
            zorder=zorder,
        )
    )
