"""The physics of the battery screening workspace: percolation, potential, structures, each on its own."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.geometry import get_distances
from ase.neighborlist import neighbor_list
from numpy.typing import NDArray

from tests.battery_workspace import (
    MATERIALS,
    PARAMETERS,
    bond_valence_sum,
    bvse,
    data,
    module,
    shortest_distance,
    structure,
    structures,
)

carriers = module("carriers")
grids = module("grid")
percolation = module("percolation")

Floats = NDArray[np.float64]


# ---- percolation, on landscapes that are known exactly


def _cosines(shape: tuple[int, int, int], x: float, y: float, z: float) -> Floats:
    """Wells at the corners of the cell; to leave one along x costs 2x, and so on."""
    phases = np.meshgrid(*(2 * np.pi * np.arange(n) / n for n in shape), indexing="ij")
    return -(x * np.cos(phases[0]) + y * np.cos(phases[1]) + z * np.cos(phases[2]))


def test_thresholds_of_cosines_are_their_saddles() -> None:
    found = percolation.networks(_cosines((8, 12, 10), 1.0, 2.0, 3.0))
    energies = [found[d].energy_ev for d in (1, 2, 3)]
    assert energies == pytest.approx([-6.0 + 2.0, -6.0 + 4.0, -6.0 + 6.0], abs=1e-12)
    assert found[1].directions == ((1, 0, 0),)
    assert set(found[2].directions) == {(1, 0, 0), (0, 1, 0)}
    assert len(found[3].directions) == 3
    assert {found[d].lowest for d in (1, 2, 3)} == {(0, 0, 0)}


def test_the_error_of_a_grid_that_misses_the_saddle_falls_with_the_square_of_its_spacing() -> None:
    """An odd grid passes the saddle at half a step: -5 becomes -6 + cos(pi / n), low by pi^2 / (2 n^2)."""
    errors = []
    for n in (9, 27, 81):
        threshold = percolation.networks(_cosines((n, 4, 4), 1.0, 3.0, 3.0))[1].energy_ev
        assert threshold == pytest.approx(-6.0 + math.cos(math.pi / n), abs=1e-12)
        errors.append(-5.0 - threshold)
    ratios = [coarse / fine for coarse, fine in itertools.pairwise(errors)]
    assert ratios == pytest.approx([9.0, 9.0], rel=0.02)


def test_channels_that_cross_without_meeting_are_no_network() -> None:
    inside = np.zeros((6, 6, 6), dtype=bool)
    inside[:, 0, 0] = True
    inside[0, :, 3] = True
    apart = percolation.Region(inside)
    inside[0, 0, :4] = True
    assert apart.dimensions == 1
    assert percolation.Region(inside).dimensions == 2


def test_a_diagonal_channel_percolates_along_its_diagonal_only() -> None:
    inside = np.zeros((5, 5, 5), dtype=bool)
    inside[range(5), range(5), 2] = True
    assert percolation.Region(inside).directions() == ((1, 1, 0),)


def test_a_pocket_that_ends_in_the_cell_does_not_percolate() -> None:
    inside = np.zeros((6, 6, 6), dtype=bool)
    inside[4:, 2, 2] = True
    inside[:2, 2, 2] = True  # the same pocket, beyond the face of the cell
    assert percolation.Region(inside).dimensions == 0
    assert percolation.Region(np.zeros((3, 3, 3), dtype=bool)).dimensions == 0


def test_a_trap_beside_the_way_is_not_the_bottom_of_the_network() -> None:
    energy = _cosines((8, 8, 8), 1.0, 1.0, 1.0)
    energy[4, 4, 4] = -100.0  # between the wells, behind walls
    assert percolation.networks(energy)[1].lowest == (0, 0, 0)


def _dimensions_by_walking(inside: NDArray[np.bool_]) -> int:
    """Walk each piece without wrapping around: whoever comes to a point again elsewhere has found a loop."""
    best = 0
    where: dict[tuple[int, ...], tuple[int, ...]] = {}
    steps = [step for step in itertools.product((-1, 0, 1), repeat=3) if any(step)]
    for start in map(tuple, np.argwhere(inside).tolist()):
        if start in where:
            continue
        where[start] = start
        waiting, loops = [start], []
        while waiting:
            point = waiting.pop()
            for step in steps:
                place = tuple(a + b for a, b in zip(where[point], step, strict=True))
                wrapped = tuple(a % n for a, n in zip(place, inside.shape, strict=True))
                if not inside[wrapped]:
                    continue
                if wrapped not in where:
                    where[wrapped] = place
                    waiting.append(wrapped)
                elif where[wrapped] != place:
                    loops.append([a - b for a, b in zip(place, where[wrapped], strict=True)])
        best = max(best, int(np.linalg.matrix_rank(np.array(loops))) if loops else 0)
    return best


def test_dimensions_agree_with_a_walk_on_random_regions() -> None:
    """Site percolation of 26 neighbours starts near 0.1: there all of 0 to 3 dimensions occur."""
    chance = np.random.default_rng(1)
    seen = set()
    for density in np.linspace(0.05, 0.3, 120):
        inside = chance.random((4, 5, 6)) < density
        expected = _dimensions_by_walking(inside)
        assert percolation.Region(inside).dimensions == expected
        seen.add(expected)
    assert seen == {0, 1, 2, 3}


def test_a_landscape_may_be_moved_in_its_cell() -> None:
    energy = np.random.default_rng(2).random((5, 6, 7))
    moved = np.roll(energy, (2, 3, 4), axis=(0, 1, 2))
    before, after = percolation.networks(energy), percolation.networks(moved)
    assert [before[d].energy_ev for d in (1, 2, 3)] == [after[d].energy_ev for d in (1, 2, 3)]


# ---- the potential


@pytest.mark.parametrize("anion", sorted(PARAMETERS["lithium"]))
def test_well_depths_follow_from_the_published_formula(anion: str) -> None:
    """D0 = e^2 |V V'| b^2 / (8 pi epsilon_0 Rmin sqrt(n n')) for s and p elements (Adams & Rao 2009).

    So a slip of the pen in any of the numbers shows.  The tables are rounded to six digits: 0.1 %.
    """
    pair = PARAMETERS["lithium"][anion]
    n = [PARAMETERS["ions"][ion]["principal_quantum_number"] for ion in ("Li+1", anion)]
    charges = abs(int(anion[-2:]))
    depth = (
        bvse.COULOMB_EV_ANGSTROM
        * charges
        / (2 * pair["alpha_per_angstrom"] ** 2 * pair["r_min_angstrom"] * math.sqrt(n[0] * n[1]))
    )
    assert depth == pytest.approx(pair["d0_ev"], rel=1e-3)
    assert pair["alpha_per_angstrom"] == PARAMETERS["bonds"][f"Li+1 {anion}"]["alpha_per_angstrom"]


def test_the_well_of_one_bond_is_half_of_d0_deep_at_r_min() -> None:
    bond = bvse.potential(structures.Ion("O", -2, 1.0), PARAMETERS, 1.0)
    distances = np.linspace(1.5, 3.0, 1501)
    energies = bond.energy(distances)
    assert energies.min() == pytest.approx(-0.98816 / 2, abs=1e-6)
    assert distances[energies.argmin()] == pytest.approx(1.940013, abs=1e-3)


@pytest.mark.parametrize("material", ["LiFePO4", "Li10GeP2S12", "LiNbO3"])
def test_effective_charges_of_a_crystal_add_up_to_nothing(material: str) -> None:
    crystal = structure(material)
    scale = bvse.charge_scale(crystal, PARAMETERS)
    total = 0.0
    for site in crystal.sites:
        for ion in site.ions:
            n = PARAMETERS["ions"][ion.name]["principal_quantum_number"]
            charge = ion.valence / math.sqrt(n) * (scale if ion.valence > 0 else 1 / scale)
            total += charge * ion.occupancy * len(site.points)
    assert total == pytest.approx(0.0, abs=1e-9)


def test_the_energy_of_a_site_agrees_with_a_sum_over_the_neighbours_that_ase_finds() -> None:
    crystal = structure("LiFePO4")
    place = np.array([0.11, 0.07, 0.23])
    symbols, points = ["Li"], [place]
    for site in crystal.sites:
        if site.ions[0].element != "Li":
            symbols += [site.ions[0].element] * len(site.points)
            points += list(site.points)
    atoms = Atoms(symbols, scaled_positions=points, cell=crystal.cell, pbc=True)
    first, second, distances = neighbor_list("ijd", atoms, bvse.CUTOFF_ANGSTROM)  # type: ignore[no-untyped-call]
    scale = bvse.charge_scale(crystal, PARAMETERS)
    expected = 0.0
    for other, distance in zip(second[first == 0], distances[first == 0], strict=True):
        element = atoms.symbols[int(other)]
        if element == "O":
            growth = math.exp(1.937984 * (1.940013 - distance))
            expected += 0.98816 / 2 * ((growth - 1) ** 2 - 1)
        elif element != "Li":
            valence, n, radius = {"Fe": (2, 4, 1.26), "P": (5, 3, 1.10)}[element]
            charges = scale**2 * valence / math.sqrt(2 * n)
            expected += 14.399645 * charges / distance * math.erfc(distance / (0.74 * (1.31 + radius)))
    energy = bvse.SiteEnergy(crystal, PARAMETERS).at(place[None, :])[0]
    assert energy == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("material", ["LiFePO4", "LiNbO3", "Li10GeP2S12", "LiCoO2", "Li2CO3"])
def test_points_that_the_space_group_makes_equal_have_the_same_energy(material: str) -> None:
    """The landscape is computed once per orbit: it must be that of all points, one by one."""
    crystal = structure(material)
    energy = bvse.SiteEnergy(crystal, PARAMETERS)
    grid = grids.Grid.of(crystal, 0.6)
    whole = energy.at(grid.points()).reshape(grid.shape)
    assert len(np.unique(grid.representatives(crystal))) < 0.6 * whole.size
    assert grids.landscape(energy, grid) == pytest.approx(whole, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("material", ["LiFePO4", "Li2S"])
def test_ions_beyond_the_cutoff_do_not_matter(material: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Differences of energies between points, which are all that barriers are made of: within 2 meV."""
    points = np.random.default_rng(3).random((200, 3))
    near = bvse.SiteEnergy(structure(material), PARAMETERS).at(points)
    monkeypatch.setattr(bvse, "CUTOFF_ANGSTROM", 14.0)
    far = bvse.SiteEnergy(structure(material), PARAMETERS).at(points)
    assert not np.array_equal(near, far)
    assert np.ptp(near - far) < 0.002


def test_a_frenkel_pair_is_the_least_bound_ion_in_the_best_place() -> None:
    """Tetragonal garnet has three lithium sites.  The energies are summed here over the neighbours of ASE."""
    crystal = structure("tetragonal-Li7La3Zr2O12")
    energy = bvse.SiteEnergy(crystal, PARAMETERS)
    sites = carriers.lithium_sites(crystal)
    lithium = np.concatenate([site.points for site in sites])
    grid = grids.Grid.of(crystal, 0.35)
    trials = grid.points()[np.unique(grid.representatives(crystal))]
    trials = trials[energy.at(trials) < 3.0]
    scale = bvse.charge_scale(crystal, PARAMETERS)

    def apart(points: Floats) -> Floats:
        distances: Floats = get_distances(  # type: ignore[no-untyped-call]
            points @ crystal.cell, lithium @ crystal.cell, cell=crystal.cell, pbc=True
        )[1]
        return distances

    def with_lithium(points: Floats) -> Floats:
        distances = apart(points)
        others = np.where(distances > 0.01, distances, np.inf)
        repulsion = 14.399645 * scale**2 / 2 / others * np.vectorize(math.erfc)(others / (0.74 * 2.62))
        sums: Floats = energy.at(points) + repulsion.sum(axis=1)
        return sums

    lost = with_lithium(np.array([site.points[0] for site in sites])).max()
    gained = with_lithium(trials[apart(trials).min(axis=1) > 0.5]).min()
    formation = carriers.frenkel_energy(energy, PARAMETERS)
    assert gained - lost - 0.15 < formation < gained - lost + 1e-3


def test_an_ion_without_parameters_is_named() -> None:
    crystal = structures.parse({**data("LiF"), "sites": [_site("Li"), _site("Br", -1, 0.5)]})
    with pytest.raises(KeyError, match="Br-1"):
        bvse.SiteEnergy(crystal, PARAMETERS)


# ---- the structures, by independent physics

DENSITIES = {
    "Li10GeP2S12": 2.04, "Li2CO3": 2.10, "Li2O": 2.01, "Li2S": 1.64, "Li3OCl": 2.01, "Li4Ti5O12": 3.48,
    "Li6PS5Cl": 1.86, "LiAlCl4": 1.98, "LiAlO2": 2.62, "LiCl": 2.07, "LiCoO2": 5.05, "LiF": 2.64,
    "LiFePO4": 3.60, "LiI": 4.06, "LiMn2O4": 4.28, "LiNbO3": 4.64, "LiTi2P3O12": 2.95, "beta-Li3PO4": 2.47,
    "beta-Li3PS4": 1.87, "cubic-Li7La3Zr2O12": 5.10, "gamma-Li3PO4": 2.43, "tetragonal-Li7La3Zr2O12": 5.11,
}  # fmt: skip
"""Published X-ray or handbook densities in grams per cubic centimetre."""


def _site(element: str, valence: float = 1, x: float = 0.0) -> dict[str, Any]:
    ions = [{"element": element, "valence": valence}]
    return {"label": element, "wyckoff": "4a", "position": [x, x, x], "ions": ions}


def test_there_are_enough_materials_and_each_has_its_source() -> None:
    assert len(MATERIALS) >= 20
    for material in MATERIALS:
        assert data(material)["name"] == material
        assert data(material)["role"] in {"electrolyte", "electrode", "reference"}
        assert any(character.isdigit() for character in data(material)["source"])


@pytest.mark.parametrize("material", MATERIALS)
def test_a_structure_has_its_space_group_formula_and_no_charge(material: str) -> None:
    assert structures.problems(structure(material)) == []


@pytest.mark.parametrize("material", MATERIALS)
def test_a_structure_has_the_density_of_the_substance(material: str) -> None:
    """Within 3 %: the spread of handbooks, and of X-ray densities at different temperatures."""
    assert structure(material).density() == pytest.approx(DENSITIES[material], rel=0.03)


@pytest.mark.parametrize("material", MATERIALS)
def test_bond_valence_sums_are_near_the_oxidation_states(material: str) -> None:
    """Within 0.22 of 1 for lithium, within 12 % for framework cations.

    A global instability index above 0.2 is rare in real structures; lithium in the wide octahedron of
    NASICON (0.80) and lanthanum in garnet (2.69) are known to be loosely bound, and set the tolerances.  An
    interchanged site, a wrong coordinate or a wrong setting shifts a sum by far more.
    """
    for site in structure(material).sites:
        if site.ions[0].valence < 0:
            continue
        expected = sum(ion.valence * ion.occupancy for ion in site.ions) / sum(i.occupancy for i in site.ions)
        tolerance = 0.22 if all(ion.element == "Li" for ion in site.ions) else 0.12 * expected
        assert bond_valence_sum(material, site) == pytest.approx(expected, abs=tolerance), site.label


@pytest.mark.parametrize("material", MATERIALS)
def test_no_two_ions_of_a_framework_are_closer_than_a_short_bond(material: str) -> None:
    """C-O in carbonate, about 1.28 angstrom, is the shortest bond of all."""
    assert shortest_distance(material) > 1.2


def test_a_wrong_structure_is_refused_with_all_that_is_wrong() -> None:
    wrong = {**data("LiF"), "formula": "Li2F", "sites": [_site("Li"), _site("F", -2, 0.5)]}
    wrong["space_group"] = {"number": 221, "symbol": "Pm-3m", "hall_number": 523}
    said = "; ".join(structures.problems(structures.parse(wrong)))
    assert "space group 221 is stated, but the sites have 225" in said
    assert "do not make up Li2F" in said
    assert "charge of -4.00" in said


def test_a_site_that_is_not_where_its_wyckoff_letter_says_is_refused() -> None:
    with pytest.raises(ValueError, match="F is at 32 points, but is stated as 4a"):
        structures.parse({**data("LiF"), "sites": [_site("Li"), _site("F", -1, 0.4)]})
