"""What the battery screening workspace computes, against published values.

All on the grid of these tests; energies in electron volts.
"""

import numpy as np
import pytest

from tests.battery_workspace import computed, data


def _barrier(material: str, dimensions: int = 1) -> float:
    return float(computed(material)["barriers_ev"][str(dimensions)])


def test_lithium_runs_along_b_in_lithium_iron_phosphate() -> None:
    """Density functional theory: 0.27 eV along b (Morgan et al. 2004), above 2.5 eV elsewhere.

    Interatomic potentials: 0.55 eV along b, 2.9 and 3.4 eV otherwise (Islam et al., Chem. Mater. 17, 5085
    (2005)).  BVlain documents 0.44, 3.3 and 3.4 eV for the same method, on a 0.2 angstrom grid, without the
    neutrality of charges.  Tolerance 0.15 eV: half of the spread of the published values.
    """
    assert computed("LiFePO4")["directions"]["1"] == [[0, 1, 0]]
    assert computed("LiFePO4")["dimensions"] == 1
    assert _barrier("LiFePO4") == pytest.approx((0.27 + 0.55) / 2, abs=0.15)
    assert _barrier("LiFePO4") == pytest.approx(0.44, abs=0.1)
    assert _barrier("LiFePO4", 2) > 2.5


def test_lithium_stays_in_its_layers_in_lithium_cobalt_oxide() -> None:
    """The plane is right; the barrier of 0.8 eV for an isolated vacancy (Van der Ven & Ceder 2000) is
    overestimated by a lattice that does not give way, so it serves as the lower bound."""
    assert computed("LiCoO2")["dimensions"] == 2
    assert all(direction[2] == 0 for direction in computed("LiCoO2")["directions"]["2"])
    assert 0.8 < _barrier("LiCoO2") < 1.6
    assert _barrier("LiCoO2", 3) > 5.0


@pytest.mark.parametrize(
    "material", ["cubic-Li7La3Zr2O12", "Li6PS5Cl", "LiMn2O4", "Li4Ti5O12", "Li3OCl", "LiF", "Li2O"]
)
def test_cubic_crystals_are_networks_in_three_dimensions(material: str) -> None:
    """By symmetry, exactly: one barrier for all directions."""
    assert len(set(computed(material)["barriers_ev"].values())) == 1


def test_the_channels_along_c_are_the_fast_ones_in_lgps() -> None:
    """Measured 0.24 to 0.25 eV (Kamaya et al. 2011); the way between channels is slower, and the crystal is
    nevertheless a conductor in three dimensions (Kuhn et al. 2013)."""
    assert computed("Li10GeP2S12")["directions"]["1"] == [[0, 0, 1]]
    assert computed("Li10GeP2S12")["dimensions"] == 3
    assert _barrier("Li10GeP2S12") == pytest.approx(0.25, abs=0.05)
    assert _barrier("Li10GeP2S12") + 0.05 < _barrier("Li10GeP2S12", 3) < 0.45


CONDUCTORS = ("Li10GeP2S12", "Li6PS5Cl", "beta-Li3PS4", "LiAlCl4", "cubic-Li7La3Zr2O12", "gamma-Li3PO4")


def test_activation_energies_of_electrolytes_agree_with_measured_conductivities() -> None:
    """Tolerance 0.2 eV each, 0.1 eV on average.

    The lattice is rigid and lithium ions do not interact, which cannot be better than a few tenths of an
    electron volt, and samples of one substance differ by as much as 0.1 eV.  Known to fail, and left out:
    LiTi2(PO4)3, tetragonal garnet and LiAlO2, by 0.7 to 1.0 eV (see the README).
    """
    errors = {
        name: computed(name)["activation_ev"] - data(name)["published"]["energy_ev"] for name in CONDUCTORS
    }
    assert max(map(abs, errors.values())) < 0.2, errors
    assert np.mean(np.abs(list(errors.values()))) < 0.1, errors


@pytest.mark.parametrize("halide", ["LiF", "LiCl", "LiI"])
def test_barriers_of_halides_agree_with_the_migration_of_vacancies(halide: str) -> None:
    """Haven (1950): 0.65, 0.41, 0.38 eV.  Tolerance 0.2 eV: nothing relaxes here, and ions do.

    No cation but lithium is in these crystals, so that the wells of the anions alone are tested: with the
    whole of D0 in place of half of it every barrier would be twice as high, 0.5 eV off.
    """
    published = data(halide)["published"]
    assert published["quantity"] == "measured migration"
    assert _barrier(halide) == pytest.approx(published["energy_ev"], abs=0.2)


def test_frenkel_energies_of_ionic_crystals_have_the_right_size() -> None:
    """Li2O: about 2.5 eV (Chadwick et al., Solid State Ionics 28-30, 185 (1988)); 30 %, for nothing relaxes.

    In an open structure such as LiAlCl4 an interstitial place costs next to nothing, in dense LiF a lot.
    """
    formation = {name: computed(name)["formation_ev"] for name in ("Li2O", "LiF", "LiI", "LiAlCl4")}
    assert formation["Li2O"] == pytest.approx(2.5, rel=0.3)
    assert formation["LiF"] > 2.0 > formation["LiI"] > formation["LiAlCl4"] > 0.0


def test_crystals_with_empty_lithium_sites_need_no_frenkel_pairs() -> None:
    for name in ("Li10GeP2S12", "Li6PS5Cl", "beta-Li3PS4", "cubic-Li7La3Zr2O12"):
        assert computed(name)["carriers"] == "vacancies"
        assert computed(name)["formation_ev"] == 0.0
        assert computed(name)["activation_ev"] == _barrier(name)


def test_superionic_conductors_come_before_insulators() -> None:
    fast = max(computed(name)["activation_ev"] for name in CONDUCTORS[:5])
    slow = min(
        computed(name)["activation_ev"] for name in ("LiF", "LiCl", "Li2CO3", "LiAlO2", "LiNbO3", "Li2O")
    )
    assert fast + 0.3 < slow


def test_cubic_garnet_conducts_better_than_tetragonal_garnet() -> None:
    """Measured: by two orders of magnitude, 0.30 against 0.54 eV."""
    assert (
        computed("cubic-Li7La3Zr2O12")["activation_ev"] < computed("tetragonal-Li7La3Zr2O12")["activation_ev"]
    )
