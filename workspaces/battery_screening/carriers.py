"""What it costs to have a mobile lithium ion at all in a crystal whose lithium sites are full."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from bvse import (
    CUTOFF_ANGSTROM,
    MOBILE,
    SiteEnergy,
    Source,
    bottom_of_well,
    charge_scale,
    energy_of,
    potential,
)
from grid import Grid
from structures import Floats, Ion, Site, Structure, images_near

LITHIUM = Ion(MOBILE, 1.0, 1.0)
FULL = 1.0 - 1e-6
SPACING_ANGSTROM = 0.25
ITSELF_ANGSTROM = 0.01


def lithium_sites(structure: Structure) -> tuple[Site, ...]:
    """The sites that hold lithium and nothing else."""
    return tuple(site for site in structure.sites if all(ion.element == MOBILE for ion in site.ions))


def has_vacancies(structure: Structure) -> bool:
    """Whether the refined structure has empty places on its lithium sites."""
    return any(sum(ion.occupancy for ion in site.ions) < FULL for site in lithium_sites(structure))


def frenkel_energy(energy: SiteEnergy, parameters: Mapping[str, Any]) -> float:
    """Energy in electron volts to move one lithium ion from its site into the best interstitial place.

    Nothing relaxes and the two are far apart: the least bound lithium ion leaves, and the interstitial ion
    feels the framework and all the lithium ions, which repel it like any other cation.  The structure must
    have no vacancies.
    """
    structure = energy.structure
    repulsion = potential(LITHIUM, parameters, charge_scale(structure, parameters))
    sites = lithium_sites(structure)
    near = [positions for _, positions in images_near(structure, sites, CUTOFF_ANGSTROM)]

    def interstitial(points: Floats) -> Floats:
        lithium = (Source(positions, repulsion, 1.0) for positions in near)
        return energy.at(points) + energy_of(lithium, (points % 1.0) @ structure.cell)

    def on_its_site(point: Floats) -> float:
        cartesian = (point % 1.0) @ structure.cell
        others = (
            positions[np.linalg.norm(positions - cartesian, axis=1) > ITSELF_ANGSTROM] for positions in near
        )
        lithium = (Source(positions, repulsion, 1.0) for positions in others)
        return float(energy.at(point[None, :])[0] + energy_of(lithium, cartesian[None, :])[0])

    grid = Grid.of(structure, SPACING_ANGSTROM)
    points = grid.at(np.unique(grid.representatives(structure)))
    start = points[int(interstitial(points).argmin())]
    _, lowest = bottom_of_well(interstitial, start, structure.cell)
    return lowest - max(on_its_site(site.points[0]) for site in sites)
