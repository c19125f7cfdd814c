"""The modules and structures of the battery screening workspace, for its tests."""

import json
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np

from tests.support.workspace_modules import load

WORKSPACE: Final = Path(__file__).parents[1] / "workspaces" / "battery_screening"
MATERIALS: Final = tuple(sorted(path.stem for path in (WORKSPACE / "structures").glob("*.json")))
TEST_ANGSTROM: Final = 0.2
"""The grid on which results are compared with published ones: within 0.03 eV of a grid three times finer."""
BOND_ANGSTROM: Final = 7.0
"""Beyond this distance a bond valence is less than 0.001."""


def module(name: str) -> ModuleType:
    """A module of the workspace."""
    return load(WORKSPACE)[name]


structures = module("structures")
bvse = module("bvse")
barrier = module("barrier")

PARAMETERS: Final = bvse.read_parameters(WORKSPACE / "parameters.json")


@cache
def data(material: str) -> dict[str, Any]:
    """The structure file as it is."""
    document: dict[str, Any] = json.loads((WORKSPACE / "structures" / f"{material}.json").read_text())
    return document


@cache
def structure(material: str) -> Any:
    """The structure, expanded."""
    return structures.load(WORKSPACE / "structures" / f"{material}.json")


@cache
def computed(material: str) -> dict[str, Any]:
    """What the task reports of a material, on the grid of these tests."""
    report: dict[str, Any]
    report, _ = barrier.compute(structure(material), PARAMETERS, TEST_ANGSTROM, data(material)["role"])
    return report


def bond_valence_sum(material: str, site: Any) -> float:
    """Of the cations on a site, averaged over them: what the anions around give them."""
    crystal = structure(material)
    anions = [other for other in crystal.sites if other.ions[0].valence < 0]
    here = site.points[0] @ crystal.cell
    total = 0.0
    for other, positions in structures.images_near(crystal, anions, BOND_ANGSTROM):
        distances = np.linalg.norm(positions - here, axis=1)
        distances = distances[distances < BOND_ANGSTROM]
        for cation in site.ions:
            for anion in other.ions:
                pair = PARAMETERS["bonds"][f"{cation.name} {anion.name}"]
                valences = np.exp(pair["alpha_per_angstrom"] * (pair["r0_angstrom"] - distances))
                total += cation.occupancy * anion.occupancy * float(valences.sum())
    return total / float(sum(ion.occupancy for ion in site.ions))


def shortest_distance(material: str) -> float:
    """Between two ions of the framework, in angstrom."""
    crystal = structure(material)
    framework = [site for site in crystal.sites if any(ion.element != "Li" for ion in site.ions)]
    near = np.concatenate([positions for _, positions in structures.images_near(crystal, framework, 4.0)])
    inside = np.concatenate([site.points for site in framework]) @ crystal.cell
    distances = np.linalg.norm(inside[:, None, :] - near[None, :, :], axis=2)
    return float(distances[distances > 0.01].min())


# ---- a run that takes seconds

SLUG: Final = "battery_screening"
QUICK: Final = {
    "materials": '["LiFePO4", "LiF", "Li6PS5Cl", "LiCoO2", "Li2CO3", "broken"]',
    "keep": "2",
    "coarse_angstrom": "0.4",
    "fine_angstrom": "0.25",
    "tolerance_ev": "0.03",
}
"""Two rounds on coarse grids, with a structure that cannot be right."""


def install_quick(root: Path, *settings: str) -> list[str]:
    """Copy the workspace into a root; returns the settings of a quick run, and those that are given."""
    workspace = root / "workspaces" / SLUG
    shutil.copytree(WORKSPACE, workspace, ignore=shutil.ignore_patterns("runs", "__pycache__"))
    broken = {**data("LiF"), "name": "broken", "formula": "Li3F"}
    (workspace / "structures" / "broken.json").write_text(json.dumps(broken))
    return [*(f"params.{key}={value}" for key, value in QUICK.items()), *settings]


def quick_ranking(run_folder: Path) -> dict[str, Any]:
    """The ranking that a quick run wrote, when all else that it leaves is in its place."""
    tasks = run_folder / "tasks"
    assert (tasks / "ranking" / "1" / "ranking.svg").read_text().startswith("<svg")
    assert "Li3F" in (tasks / "screen-broken" / "1" / "stderr.log").read_text()
    with np.load(tasks / "screen-LiF" / "1" / "landscape.npz") as landscape:
        assert landscape["energy_ev"].shape == (12, 12, 12)
    document: dict[str, Any] = json.loads((tasks / "ranking" / "1" / "ranking.json").read_text())
    return document


def check_quick(ranked: Mapping[str, Any]) -> None:
    """Wherever it ran, the order is the same."""
    order = [row["material"] for row in ranked["ranking"]]
    assert order == ["Li6PS5Cl", "LiFePO4", "Li2CO3", "LiCoO2", "LiF"]
    assert ranked["settled"] is True
    assert ranked["rounds"] >= 2
    assert [row["stage"] for row in ranked["ranking"]] == [2, 2, 1, 1, 1]
    assert list(ranked["failed"]) == ["screen-broken"]
