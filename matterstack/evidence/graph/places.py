"""Where the frames of a graph stand, and which way its arrows go; all in inches, y downwards.

What a frame depends on stands above it.  An arrow over several levels goes through gaps between their frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from math import ceil
from typing import Final

import attrs

from matterstack.evidence.graph.frames import Frame, Graph

MARGIN: Final = 0.2
_TOP: Final = 0.3
_BETWEEN_LEVELS: Final = 0.34
_BETWEEN_FRAMES: Final = 0.16
_BETWEEN_BOXES: Final = 0.08
_PADDING: Final = 0.08
_HEADING: Final = 0.24
_LINE: Final = 0.18
_LARGEST_BOX: Final = 2.1
_SMALLEST_BOX: Final = 1.25
_GROUP_BOX: Final = 4.6
_CLEARANCE: Final = 0.05


@attrs.frozen
class PlacedBox:
    """The middle of a box of its frame."""

    x: float
    y: float
    width: float
    height: float


@attrs.frozen
class PlacedFrame:
    """Its edges, and its boxes."""

    left: float
    top: float
    right: float
    bottom: float
    boxes: tuple[PlacedBox, ...]

    @property
    def x(self) -> float:
        """Where the middle of the frame is."""
        return (self.left + self.right) / 2


@attrs.frozen
class Heading:
    """The first level of an iteration begins at ``top``."""

    iteration: int
    top: float


@attrs.frozen
class Places:
    """The frames in the order of the graph's, and its edges as points from top to bottom."""

    height: float
    frames: tuple[PlacedFrame, ...]
    ways: tuple[tuple[tuple[float, float], ...], ...]
    headings: tuple[Heading, ...]


def most_abreast(width: float) -> int:
    """How many boxes of a single task find room side by side."""
    return int((width - 2 * MARGIN + _BETWEEN_FRAMES) / (_SMALLEST_BOX + _BETWEEN_FRAMES))


def places_of_graph(graph: Graph, width: float) -> Places:
    """Give everything its place in a picture of this width."""
    needs: dict[int, list[int]] = {}
    for start, end in graph.edges:
        needs.setdefault(end, []).append(start)
    placed: dict[int, PlacedFrame] = {}
    levels: dict[int, list[int]] = {}
    for place, frame in enumerate(graph.frames):
        levels.setdefault(frame.level, []).append(place)
    headings: list[Heading] = []
    are_several = len({frame.iteration for frame in graph.frames}) > 1
    y = _TOP
    for level in sorted(levels):
        iteration = graph.frames[levels[level][0]].iteration
        if are_several and iteration is not None and iteration not in {h.iteration for h in headings}:
            headings.append(Heading(iteration, y))
            y += _HEADING
        row = sorted(levels[level], key=lambda place: _mean([placed[n].x for n in needs.get(place, ())]))
        wished = [[placed[n].x for n in needs.get(place, ())] for place in row]
        frames = [graph.frames[place] for place in row]
        placed.update(zip(row, _row(frames, y, width, wished), strict=True))
        y = _bottom([placed[place] for place in row]) + _BETWEEN_LEVELS
    rows = [[placed[place] for place in levels[level]] for level in sorted(levels)]
    return Places(
        y - _BETWEEN_LEVELS + 0.15,
        tuple(placed[place] for place in range(len(graph.frames))),
        tuple(
            _way(placed[a], placed[b], rows[graph.frames[a].level : graph.frames[b].level], width)
            for a, b in graph.edges
        ),
        tuple(headings),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _row(
    frames: Sequence[Frame], top: float, width: float, wished: Sequence[Sequence[float]]
) -> list[PlacedFrame]:
    """One level, as near below what it needs as the picture's width allows."""
    columns = _columns([len(frame.boxes) for frame in frames], most_abreast(width))
    free = width - 2 * MARGIN - _BETWEEN_FRAMES * (len(frames) - 1)
    free -= sum(_inside(frame, n) for frame, n in zip(frames, columns, strict=True))
    single = all(len(box.lines) == 1 for frame in frames for box in frame.boxes)
    box_width = min(_LARGEST_BOX if single else _GROUP_BOX, free / sum(columns))
    widths = [n * box_width + _inside(frame, n) for frame, n in zip(frames, columns, strict=True)]
    full = sum(widths) + _BETWEEN_FRAMES * (len(frames) - 1)
    left = (width - full) / 2
    middles = [
        left + before + frame_width / 2
        for before, frame_width in zip(
            accumulate(widths, lambda at, w: at + w + _BETWEEN_FRAMES, initial=0.0), widths, strict=False
        )
    ]
    aside = _mean([_mean(xs) - middle for xs, middle in zip(wished, middles, strict=True) if xs])
    left = min(max(left + aside, MARGIN), width - MARGIN - full)
    placed = []
    for frame, n, frame_width in zip(frames, columns, widths, strict=True):
        placed.append(_frame(frame, n, left, top, box_width))
        left += frame_width + _BETWEEN_FRAMES
    return placed


def _columns(counts: Sequence[int], most: int) -> list[int]:
    """How many boxes of each frame stand side by side: at most so many together, at least one of each.

    >>> _columns([7], 6), _columns([5, 1, 3], 6), _columns([4, 4], 6)
    ([4], [2, 1, 3], [2, 2])
    """
    columns = list(counts)
    while sum(columns) > most and max(columns) > 1:
        columns[columns.index(max(columns))] -= 1
    # As many rows as that takes, evenly filled.
    return [ceil(count / ceil(count / n)) for count, n in zip(counts, columns, strict=True)]


def _inside(frame: Frame, columns: int) -> float:
    """What a frame needs in width beside its boxes."""
    return (columns - 1) * _BETWEEN_BOXES + 2 * _padding(frame)


def _padding(frame: Frame) -> float:
    return _PADDING if len(frame.boxes) > 1 else 0.0


def _frame(frame: Frame, columns: int, left: float, top: float, box_width: float) -> PlacedFrame:
    padding = _padding(frame)
    box_height = 0.12 + _LINE * max(len(box.lines) for box in frame.boxes)
    boxes = tuple(
        PlacedBox(
            left + padding + (number % columns) * (box_width + _BETWEEN_BOXES) + box_width / 2,
            top + padding + (number // columns) * (box_height + _BETWEEN_BOXES) + box_height / 2,
            box_width,
            box_height,
        )
        for number in range(len(frame.boxes))
    )
    return PlacedFrame(
        left,
        top,
        left + columns * box_width + _inside(frame, columns),
        boxes[-1].y + box_height / 2 + padding,
        boxes,
    )


def _way(
    start: PlacedFrame, end: PlacedFrame, rows: Sequence[Sequence[PlacedFrame]], width: float
) -> tuple[tuple[float, float], ...]:
    """From the first of these rows, where ``start`` stands, to the one below the last."""
    points = [(start.x, start.bottom), (start.x, _bottom(rows[0]))]
    for row in rows[1:]:
        share = (row[0].top - start.bottom) / (end.top - start.bottom)
        x = _in_gap(start.x + share * (end.x - start.x), row, width)
        points += [(x, row[0].top), (x, _bottom(row))]
    return (*points, (end.x, end.top))


def _bottom(row: Sequence[PlacedFrame]) -> float:
    return max(frame.bottom for frame in row)


def _in_gap(wished: float, row: Sequence[PlacedFrame], width: float) -> float:
    """The place nearest to the wished one where no frame of the row stands."""
    frames = sorted(row, key=lambda frame: frame.left)
    starts = [_CLEARANCE, *(frame.right + _CLEARANCE for frame in frames)]
    ends = [*(frame.left - _CLEARANCE for frame in frames), width - _CLEARANCE]
    candidates = [min(max(wished, start), end) for start, end in zip(starts, ends, strict=True)]
    return min(candidates, key=lambda x: abs(x - wished))
