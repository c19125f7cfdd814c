"""The migration barrier and activation energy of lithium in one crystal, on one grid.

Reads ``manifest.json`` (params: ``material``, ``spacing_angstrom``), ``structure.json``, ``parameters.json``
and, where there is one, ``before.json``: the result on a coarser grid.  Writes ``result.json`` and the
landscape itself, ``landscape.npz``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import structures
from bvse import SiteEnergy, bottom_of_well, read_parameters
from carriers import frenkel_energy, has_vacancies
from grid import Grid, landscape
from percolation import networks

COUPLED_EV = 0.3
"""Directions whose barrier is higher than the lowest by more than this do not count for the dimensions: at
300 K it makes a jump 100,000 times rarer."""
CLIP_EV = 4.0  # above the lowest point: what lies higher is inside of ions, and of no use to anyone


def compute(
    structure: structures.Structure,
    parameters: Mapping[str, Any],
    spacing_angstrom: float,
    role: str,
    formation_ev: float | None = None,
) -> tuple[dict[str, Any], structures.Floats]:
    """Everything that is reported of one crystal, energies in electron volts, and its landscape.

    The energy to form carriers does not depend on the grid: it is computed where it is not given.

    Raises:
        ValueError: the structure cannot be right.
    """
    if wrong := structures.problems(structure):
        raise ValueError(f"{structure.name}: {'; '.join(wrong)}")
    energy = SiteEnergy(structure, parameters)
    grid = Grid.of(structure, spacing_angstrom)
    values = landscape(energy, grid)
    found = networks(values)
    barriers = {}
    for dimensions, network in found.items():
        start = np.array(network.lowest) / np.array(grid.shape)
        _, site_ev = bottom_of_well(energy.at, start, structure.cell)
        barriers[dimensions] = network.energy_ev - min(site_ev, float(values[network.lowest]))
    carriers = "vacancies" if has_vacancies(structure) else "Frenkel pairs"
    if role == "electrode":
        carriers = "state of charge"
    if formation_ev is None:
        formation_ev = frenkel_energy(energy, parameters) if carriers == "Frenkel pairs" else 0.0
    return {
        "spacing_angstrom": spacing_angstrom,
        "grid": list(grid.shape),
        "barriers_ev": {str(d): round(barrier, 4) for d, barrier in barriers.items()},
        "dimensions": max(d for d, barrier in barriers.items() if barrier <= barriers[1] + COUPLED_EV),
        "directions": {str(d): [list(v) for v in network.directions] for d, network in found.items()},
        "carriers": carriers,
        "formation_ev": round(formation_ev, 4),
        "activation_ev": round(barriers[1] + formation_ev / 2, 4),
    }, values


def main() -> None:
    params = json.loads(Path("manifest.json").read_text())["params"]
    data = json.loads(Path("structure.json").read_text())
    structure = structures.parse(data)
    parameters = read_parameters(Path("parameters.json"))
    before = json.loads(Path("before.json").read_text()) if Path("before.json").exists() else {}
    result, values = compute(
        structure, parameters, params["spacing_angstrom"], data["role"], before.get("formation_ev")
    )
    result = {"material": params["material"], "formula": data["formula"], "role": data["role"], **result}
    if before:
        result["changed_ev"] = round(result["activation_ev"] - before["activation_ev"], 4)
    lowest = float(values.min())
    clipped = np.minimum(values, lowest + CLIP_EV).astype(np.float32)
    np.savez_compressed("landscape.npz", energy_ev=clipped, cell_angstrom=structure.cell)
    Path("result.json").write_text(json.dumps(result))
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
