"""A grid of points in the cell that the space group maps onto itself, so that each orbit is computed once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from bvse import SiteEnergy
from numpy.typing import NDArray
from structures import Floats, Structure


@dataclass(frozen=True)
class Grid:
    """Points in the cell that the space group maps onto each other, at most ``spacing`` apart."""

    shape: tuple[int, int, int]

    @classmethod
    def of(cls, structure: Structure, spacing_angstrom: float) -> Grid:
        """Choose the number of points along each axis."""
        lengths = np.linalg.norm(structure.cell, axis=1)
        factors = [_common_denominator(structure.translations[:, axis]) for axis in range(3)]
        mixed = (structure.rotations != 0).any(axis=0)
        groups = [frozenset(np.flatnonzero(mixed[axis] | mixed[:, axis])) for axis in range(3)]
        shape = []
        for axis in range(3):
            together = sorted(groups[axis] | {axis})
            factor = math.lcm(*(factors[other] for other in together))
            longest = max(lengths[other] for other in together)
            shape.append(factor * math.ceil(longest / spacing_angstrom / factor - 1e-9))
        return cls((shape[0], shape[1], shape[2]))

    def points(self) -> Floats:
        """Fractional coordinates of all points in C order, shape (n, 3)."""
        return self.at(np.arange(math.prod(self.shape)))

    def at(self, indices: NDArray[np.int64]) -> Floats:
        """Fractional coordinates of the points with these indices in C order."""
        return np.stack(np.unravel_index(indices, self.shape), axis=-1) / np.array(self.shape)

    def representatives(self, structure: Structure) -> NDArray[np.int64]:
        """For each point the first point that the space group maps onto it, as index in C order."""
        indices = [
            np.arange(n).reshape([-1 if a == axis else 1 for a in range(3)])
            for axis, n in enumerate(self.shape)
        ]
        first = np.arange(math.prod(self.shape)).reshape(self.shape)
        for rotation, translation in zip(structure.rotations, structure.translations, strict=True):
            image: NDArray[np.int64] = np.zeros((1, 1, 1), dtype=np.int64)
            for axis, n in enumerate(self.shape):
                moved = round(float(translation[axis]) * n)
                for other in range(3):
                    if rotation[axis, other]:
                        moved = moved + rotation[axis, other] * indices[other]
                image = image * n + moved % n
            np.minimum(first, image, out=first)
        return first.reshape(-1)


def _common_denominator(translations: Floats) -> int:
    """The smallest number of points along an axis that keeps all these translations on the grid."""
    for n in (1, 2, 3, 4, 6, 8, 12, 24):
        if np.allclose(translations * n, np.round(translations * n), atol=1e-6):
            return n
    raise ValueError(f"translations of no space group: {translations}")


def landscape(energy: SiteEnergy, grid: Grid) -> Floats:
    """Energy in electron volts at all points of the grid; each set of equivalent points is computed once."""
    first = grid.representatives(energy.structure)
    needed = first == np.arange(len(first))
    place = np.cumsum(needed) - 1
    return energy.at(grid.at(np.flatnonzero(needed)))[place[first]].reshape(grid.shape)
