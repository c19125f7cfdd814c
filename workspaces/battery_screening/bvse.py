"""The bond-valence site energy (BVSE) of a lithium ion in a rigid crystal without its other lithium."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import erfc
from structures import Floats, Ion, Structure, images_near

MOBILE = "Li"
COULOMB_EV_ANGSTROM = 14.399645  # e^2 / (4 pi epsilon_0), CODATA 2018
CUTOFF_ANGSTROM = 8.0
BLOCK_DISTANCES = 4_000_000  # as many point-ion distances are in memory at once


@dataclass(frozen=True)
class Attraction:
    """Morse potential of lithium and one anion: minus ``depth_ev / 2`` at ``minimum_angstrom``."""

    depth_ev: float
    minimum_angstrom: float
    alpha: float  # in 1/angstrom

    def energy(self, distance: Floats) -> Floats:
        """In electron volts, of one ion at each distance."""
        growth = np.exp(self.alpha * (self.minimum_angstrom - distance))
        return 0.5 * self.depth_ev * ((growth - 1.0) ** 2 - 1.0)


@dataclass(frozen=True)
class Repulsion:
    """Screened Coulomb energy of lithium and one cation."""

    charges: float  # product of the two effective charges, in e^2
    screening_angstrom: float

    def energy(self, distance: Floats) -> Floats:
        """In electron volts, of one ion at each distance."""
        screened: Floats = erfc(distance / self.screening_angstrom)
        return COULOMB_EV_ANGSTROM * self.charges * screened / distance


@dataclass(frozen=True)
class Source:
    """Ions of one kind that act on lithium: where, how, and how much of one there is at each place."""

    positions: Floats  # cartesian, with all the images within reach of the cell
    potential: Attraction | Repulsion
    weight: float


def read_parameters(path: Path) -> dict[str, Any]:
    """The published numbers that the potentials are built from."""
    data: dict[str, Any] = json.loads(path.read_text())
    return data


class SiteEnergy:
    """The energy landscape of one crystal.

    Ions that share a site act with the weight of their occupancy.  Lithium does not act, wherever it sits.

    Raises:
        KeyError: there are no parameters for one of the ions.
    """

    def __init__(self, structure: Structure, parameters: Mapping[str, Any]) -> None:
        self.structure = structure
        scale = charge_scale(structure, parameters)
        self.sources = tuple(
            Source(near, potential(ion, parameters, scale), ion.occupancy)
            for site, near in images_near(structure, structure.sites, CUTOFF_ANGSTROM)
            for ion in site.ions
            if ion.element != MOBILE
        )

    def at(self, points: Floats) -> Floats:
        """Energy in electron volts at fractional coordinates within the cell, shape (n, 3)."""
        return energy_of(self.sources, (points % 1.0) @ self.structure.cell)


def bottom_of_well(energy: Callable[[Floats], Floats], start: Floats, cell: Floats) -> tuple[Floats, float]:
    """Go downhill from a point: where the bottom is (fractional), and its energy in electron volts."""
    step = 0.05 / np.linalg.norm(cell, axis=1)
    found = minimize(
        lambda point: float(energy(point[None, :])[0]),
        start,
        method="Nelder-Mead",
        options={"xatol": 1e-5, "fatol": 1e-7, "initial_simplex": np.vstack([start, start + np.diag(step)])},
    )
    return np.asarray(found.x) % 1.0, float(found.fun)


def energy_of(sources: Iterable[Source], cartesian: Floats) -> Floats:
    """Energy in electron volts that the ions give lithium at each of the points, shape (n, 3)."""
    total = np.zeros(len(cartesian))
    for source in sources:
        block = max(1, BLOCK_DISTANCES // max(1, len(source.positions)))
        for start in range(0, len(cartesian), block):
            part = slice(start, start + block)
            total[part] += source.weight * _sum(source, cartesian[part])
    return total


def _sum(source: Source, cartesian: Floats) -> Floats:
    """Energy of each point: the sum over the ions of one source within the cutoff."""
    squares = (
        (cartesian**2).sum(axis=1)[:, None]
        + (source.positions**2).sum(axis=1)[None, :]
        - 2.0 * cartesian @ source.positions.T
    )
    rows, columns = np.nonzero(squares < CUTOFF_ANGSTROM**2)
    distance = np.sqrt(np.maximum(squares[rows, columns], 0.01))
    energies = np.bincount(rows, weights=source.potential.energy(distance), minlength=len(cartesian))
    return energies.astype(np.float64)


def potential(ion: Ion, parameters: Mapping[str, Any], scale: float) -> Attraction | Repulsion:
    """How lithium feels one ion."""
    if ion.valence < 0:
        pair = parameters["lithium"][ion.name]
        return Attraction(pair["d0_ev"], pair["r_min_angstrom"], pair["alpha_per_angstrom"])
    lithium, other = parameters["ions"]["Li+1"], parameters["ions"][ion.name]
    reach = parameters["screening_factor"] * (
        lithium["covalent_radius_angstrom"] + other["covalent_radius_angstrom"]
    )
    charges = scale**2 * _reduced(1.0, lithium) * _reduced(ion.valence, other)
    return Repulsion(charges, reach)


def _reduced(valence: float, ion: Mapping[str, Any]) -> float:
    return valence / math.sqrt(ion["principal_quantum_number"])


def charge_scale(structure: Structure, parameters: Mapping[str, Any]) -> float:
    """The factor on cation charges that makes the crystal neutral.

    The nominal charges are divided by the root of the principal quantum number, which is larger for heavy
    ions: what all anions and all cations then amount to differs, and the difference is shared evenly.
    """
    positive = negative = 0.0
    for site in structure.sites:
        for ion in site.ions:
            amount = _reduced(ion.valence, parameters["ions"][ion.name]) * ion.occupancy * len(site.points)
            if amount > 0:
                positive += amount
            else:
                negative -= amount
    return math.sqrt(negative / positive)
