"""At which energy the region that an ion can reach runs through the whole crystal, in 1, 2, 3 dimensions.

The region below an energy is split into connected pieces by flood fill, in the cell and one layer of points
around it.  Where a piece reaches into that layer it is joined with the piece that the layer is an image of,
and the lattice vector between them is kept: a piece that meets itself again after a walk of lattice vector w
has no end along w.  The rank of all such vectors of one piece is the number of dimensions it percolates in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

Floats = NDArray[np.float64]
Vector = tuple[int, int, int]

HERE: Vector = (0, 0, 0)
EVERY_NEIGHBOUR = np.ones((3, 3, 3), dtype=np.int64)  # by faces, edges and corners
STEPS: tuple[Vector, ...] = tuple(
    sorted(
        ((i, j, k) for i, j, k in product((-1, 0, 1), repeat=3) if (i, j, k) > HERE),
        key=lambda v: sum(map(abs, v)),
    )
)
"""One of each pair of opposite neighbours of a cell: faces, then edges, then corners."""


@dataclass(frozen=True)
class Network:
    """The region that first percolates in a number of dimensions.

    Attributes:
        energy_ev: the threshold: the highest point of the easiest way through the crystal.
        lowest: grid point with the lowest energy of those that are connected to such a way.
        directions: independent lattice vectors along which it has no end.
    """

    energy_ev: float
    lowest: Vector
    directions: tuple[Vector, ...]


def networks(energy_ev: Floats) -> dict[int, Network]:
    """The networks of a landscape on a periodic grid that percolate in 1, 2 and 3 dimensions.

    Points are neighbours when they share a face, an edge or a corner.  The thresholds are energies of grid
    points, and exact for the grid: a region only grows with its energy, so that bisection finds them.
    """
    levels = np.unique(energy_ev)
    found: dict[int, Network] = {}
    # By dimensions: the threshold is one of levels[low] to levels[high].  A probe narrows all three.
    low, high = dict.fromkeys((1, 2, 3), 0), {d: len(levels) - 1 for d in (1, 2, 3)}
    for dimensions in (1, 2, 3):
        while low[dimensions] < high[dimensions]:
            middle = (low[dimensions] + high[dimensions]) // 2
            reached = Region(energy_ev <= levels[middle]).dimensions
            for d in (1, 2, 3):
                if reached >= d:
                    high[d] = min(high[d], middle)
                else:
                    low[d] = max(low[d], middle + 1)
        threshold = levels[high[dimensions]]
        region = Region(energy_ev <= threshold)
        inside = np.where(region.percolating(dimensions), energy_ev, np.inf)
        i, j, k = (int(index) for index in np.unravel_index(int(inside.argmin()), inside.shape))
        found[dimensions] = Network(float(threshold), (i, j, k), region.directions())
    return found


class Region:
    """A part of a crystal, as a periodic grid of points that belong to it or do not."""

    def __init__(self, inside: NDArray[np.bool_]) -> None:
        padded, count = label(np.pad(inside, 1, mode="wrap"), structure=EVERY_NEIGHBOUR)
        self._pieces: NDArray[np.int64] = padded[1:-1, 1:-1, 1:-1]
        self._joined = Pieces(count)
        for step in STEPS:
            layer = padded[tuple(_LAYER[s] for s in step)].reshape(-1)
            original = padded[tuple(_ORIGINAL[s] for s in step)].reshape(-1)
            touching = np.unique(np.stack([layer, original], axis=-1)[layer > 0], axis=0)
            for first, second in touching:
                self._joined.join(int(first) - 1, int(second) - 1, step)

    @property
    def dimensions(self) -> int:
        """In how many dimensions one connected piece of it percolates, at most."""
        return len(self.directions())

    def directions(self) -> tuple[Vector, ...]:
        """Independent lattice vectors along which the piece that percolates the most has no end."""
        return max((self._joined.loops(piece) for piece in range(len(self._joined))), key=len, default=())

    def percolating(self, dimensions: int) -> NDArray[np.bool_]:
        """The points of its pieces that percolate in at least so many dimensions."""
        chosen = [len(self._joined.loops(piece)) >= dimensions for piece in range(len(self._joined))]
        return np.array([False, *chosen])[self._pieces]


_LAYER = {-1: slice(0, 1), 0: slice(1, -1), 1: slice(-1, None)}
"""Where, along one axis of the padded grid, the neighbouring cell's first points are."""
_ORIGINAL = {-1: slice(-2, -1), 0: slice(1, -1), 1: slice(1, 2)}
"""Where the points of the cell are that those are images of."""


class Pieces:
    """Union-find over the pieces of one cell; each knows in which cell it is, as seen from its root."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))
        self._offset: list[Vector] = [HERE] * count
        self._loops: list[tuple[Vector, ...]] = [()] * count

    def __len__(self) -> int:
        return len(self._parent)

    def find(self, piece: int) -> tuple[int, Vector]:
        """The root of a piece, and the lattice vector from the root to the piece."""
        path = []
        while self._parent[piece] != piece:
            path.append(piece)
            piece = self._parent[piece]
        offset = HERE
        for member in reversed(path):
            offset = _sum(offset, self._offset[member])
            self._parent[member], self._offset[member] = piece, offset
        return piece, offset

    def join(self, first: int, second: int, step: Vector) -> None:
        """Note that ``first`` touches the image of ``second`` that is ``step`` cells away."""
        root, offset = self.find(first)
        other, other_offset = self.find(second)
        walk = _sum(_sum(offset, step), _opposite(other_offset))
        if root == other:
            self._loops[root] = independent((*self._loops[root], walk))
        else:
            self._parent[other], self._offset[other] = root, walk
            self._loops[root] = independent((*self._loops[root], *self._loops[other]))

    def loops(self, piece: int) -> tuple[Vector, ...]:
        """Independent lattice vectors along which the connected piece that this one is part of has no end."""
        return self._loops[self.find(piece)[0]]


def independent(vectors: Sequence[Vector]) -> tuple[Vector, ...]:
    """The first of the vectors that span what they all span.

    >>> independent([(0, 0, 0), (0, 1, 0), (0, -2, 0), (1, 1, 0)])
    ((0, 1, 0), (1, 1, 0))
    """
    chosen: list[Vector] = []
    for vector in vectors:
        if len(chosen) < 3 and np.linalg.matrix_rank(np.array([*chosen, vector])) > len(chosen):
            chosen.append(vector)
    return tuple(chosen)


def _sum(a: Vector, b: Vector) -> Vector:
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2])


def _opposite(a: Vector) -> Vector:
    return (-a[0], -a[1], -a[2])
