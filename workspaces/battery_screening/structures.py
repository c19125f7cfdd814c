"""Crystal structures: read one, expand it by its space group, and check it by independent physics."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import spglib
from ase.cell import Cell
from ase.data import atomic_masses, atomic_numbers
from ase.formula import Formula
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SAME_POINT_ANGSTROM = 0.02
GRAM_PER_CM3 = 1.66053907  # of one atomic mass unit per cubic angstrom (CODATA 2018)
# From 2.7 on spglib can raise what is wrong; its old way, to return None, warns at each call.
os.environ.setdefault("SPGLIB_OLD_ERROR_HANDLING", "0")

FORMULA_TOLERANCE = 0.02  # refined occupancies add up to the stated formula no better
CHARGE_TOLERANCE = 0.1  # per cell, in elementary charges, for the same reason


@dataclass(frozen=True)
class Ion:
    """An element with its oxidation state, on ``occupancy`` of the positions of a site."""

    element: str
    valence: float
    occupancy: float

    @property
    def name(self) -> str:
        """The key of this ion in ``parameters.json``, such as ``Fe+2``."""
        return f"{self.element}{self.valence:+g}"


@dataclass(frozen=True)
class Site:
    """One Wyckoff position: the ions that share it, and all its points in the cell."""

    label: str
    ions: tuple[Ion, ...]
    points: Floats  # fractional, of shape (multiplicity, 3)


@dataclass(frozen=True)
class Structure:
    """A crystal.  ``rotations`` and ``translations`` are the operations of its space group."""

    name: str
    formula: str
    cell: Floats  # rows are the lattice vectors in angstrom
    sites: tuple[Site, ...]
    rotations: NDArray[np.int64]
    translations: Floats
    space_group: int

    @property
    def volume(self) -> float:
        """Of the cell, in cubic angstrom."""
        return float(abs(np.linalg.det(self.cell)))

    def amounts(self) -> dict[str, float]:
        """How many atoms of each element are in the cell."""
        total: dict[str, float] = {}
        for site in self.sites:
            for ion in site.ions:
                total[ion.element] = total.get(ion.element, 0.0) + ion.occupancy * len(site.points)
        return total

    def charge(self) -> float:
        """Of the cell: 0 when the oxidation states and occupancies agree."""
        return sum(ion.valence * ion.occupancy * len(site.points) for site in self.sites for ion in site.ions)

    def density(self) -> float:
        """In grams per cubic centimetre."""
        mass = sum(n * atomic_masses[atomic_numbers[element]] for element, n in self.amounts().items())
        return float(mass * GRAM_PER_CM3 / self.volume)

    def formula_units(self) -> dict[str, float]:
        """For each element of the formula, the formula units in the cell that its atoms amount to."""
        amounts = self.amounts()
        stated = Formula(self.formula).count()
        if set(stated) != set(amounts):
            raise ValueError(f"{self.name}: formula {self.formula}, but the sites hold {sorted(amounts)}")
        return {element: amounts[element] / count for element, count in stated.items()}


def load(path: Path) -> Structure:
    """Read a structure file.

    Raises:
        ValueError: a site's point group does not fit its stated multiplicity.
    """
    return parse(json.loads(path.read_text()))


def parse(data: Mapping[str, Any]) -> Structure:
    """Build the structure that a file of this workspace states; see ``load``."""
    cell = Cell.fromcellpar([data["cell"][key] for key in ("a", "b", "c", "alpha", "beta", "gamma")]).array
    operations = spglib.get_symmetry_from_database(data["space_group"]["hall_number"])
    if operations is None:
        raise ValueError(f"{data['name']}: no such Hall number: {data['space_group']['hall_number']}")
    rotations = np.asarray(operations["rotations"], dtype=np.int64)
    translations = np.asarray(operations["translations"], dtype=np.float64)
    sites = tuple(_site(data["name"], site, cell, rotations, translations) for site in data["sites"])
    return Structure(
        name=data["name"],
        formula=data["formula"],
        cell=cell,
        sites=sites,
        rotations=rotations,
        translations=translations,
        space_group=data["space_group"]["number"],
    )


def _site(
    name: str, data: Mapping[str, Any], cell: Floats, rotations: NDArray[np.int64], translations: Floats
) -> Site:
    ions = tuple(Ion(ion["element"], ion["valence"], ion.get("occupancy", 1.0)) for ion in data["ions"])
    images = (rotations @ np.asarray(data["position"], dtype=np.float64) + translations) % 1.0
    points: list[Floats] = []
    for image in images:
        if all(_distance(image - other, cell) > SAME_POINT_ANGSTROM for other in points):
            points.append(image)
    stated = int(data["wyckoff"][:-1])
    if len(points) != stated:
        raise ValueError(
            f"{name}: {data['label']} is at {len(points)} points, but is stated as {data['wyckoff']}"
        )
    return Site(data["label"], ions, np.array(points))


def _distance(difference: Floats, cell: Floats) -> float:
    return float(np.linalg.norm((difference - np.round(difference)) @ cell))


def found_space_group(structure: Structure, tolerance_angstrom: float = 0.01) -> int:
    """The number of the space group that spglib finds in the positions alone.

    Sites with the same ions count as equal atoms, whatever their labels.
    """
    kinds: dict[tuple[Ion, ...], int] = {}
    numbers = [kinds.setdefault(site.ions, len(kinds)) for site in structure.sites for _ in site.points]
    points = np.concatenate([site.points for site in structure.sites])
    dataset = spglib.get_symmetry_dataset((structure.cell, points, numbers), symprec=tolerance_angstrom)
    return 0 if dataset is None else int(dataset.number)


def problems(structure: Structure) -> list[str]:
    """What is wrong with a structure: its space group, formula or charge; empty when nothing is."""
    found = []
    group = found_space_group(structure)
    if group != structure.space_group:
        found.append(f"space group {structure.space_group} is stated, but the sites have {group}")
    units = structure.formula_units()
    if max(units.values()) > (1 + FORMULA_TOLERANCE) * min(units.values()):
        counts = ", ".join(f"{element} {count:.2f}" for element, count in units.items())
        found.append(f"the sites do not make up {structure.formula}: formula units by element: {counts}")
    if abs(structure.charge()) > CHARGE_TOLERANCE:
        found.append(f"the cell has a charge of {structure.charge():+.2f}")
    return found


def images_near(
    structure: Structure, sites: Sequence[Site], margin_angstrom: float
) -> list[tuple[Site, Floats]]:
    """Cartesian positions of each site's points, in the cell and at most ``margin`` away from it."""
    heights = structure.volume / np.linalg.norm(
        np.cross(np.roll(structure.cell, -1, axis=0), np.roll(structure.cell, -2, axis=0)), axis=1
    )
    reach = np.ceil(margin_angstrom / heights).astype(int)
    shifts = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1).reshape(
        -1, 3
    )
    found = []
    for site in sites:
        fractional = (site.points[:, None, :] + shifts[None, :, :]).reshape(-1, 3)
        outside = np.maximum(np.maximum(-fractional, fractional - 1.0), 0.0) * heights
        found.append((site, fractional[(outside <= margin_angstrom).all(axis=1)] @ structure.cell))
    return found
