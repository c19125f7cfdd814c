"""Atoms on close-packed metal surfaces, with the effective medium theory of ASE.

Energies are in electron volts, lengths in angstrom, forces in electron volts per angstrom.  The energy of an
adsorbed atom is that of the relaxed slab with it, less that of the relaxed slab without it, less that of
the free atom: the more negative, the stronger it is bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc111
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.data import atomic_numbers, reference_states
from ase.eos import EquationOfState
from ase.optimize import BFGS

METALS = ("Al", "Ni", "Cu", "Pd", "Ag", "Pt", "Au")
ADSORBATES = ("H", "C", "N", "O")
SITES = ("fcc", "hcp", "bridge", "ontop")
"""Equal energies count for the one that stands first."""
VACUUM_ANGSTROM = 7.0  # beyond the reach of the potential of every pair, so that more changes nothing
START_HEIGHT_ANGSTROM = 1.5
MOST_STEPS = 1000
GPA_PER_EV_ANGSTROM3 = 160.21766


@dataclass(frozen=True)
class Model:
    """How a surface is computed.

    Attributes:
        layers: of the slab; the lower half keeps its place.
        cell: one atom is adsorbed in ``cell`` x ``cell`` surface atoms.
        fmax: largest force that is left on an atom, in electron volts per angstrom.
    """

    layers: int
    cell: int
    fmax: float


class NotRelaxedError(RuntimeError):
    """The forces did not become small enough."""


def equilibrium(metal: str) -> tuple[float, float]:
    """Lattice constant in angstrom and bulk modulus in GPa of the crystal, as this potential has them."""
    start = reference_states[atomic_numbers[metal]]["a"]
    volumes, energies = [], []
    for stretch in np.linspace(0.97, 1.03, 9):
        crystal = bulk(metal, "fcc", a=start * stretch)
        crystal.calc = EMT()
        volumes.append(crystal.get_volume())
        energies.append(crystal.get_potential_energy())
    volume, _, modulus = EquationOfState(volumes, energies).fit()
    return float((4 * volume) ** (1 / 3)), float(modulus * GPA_PER_EV_ANGSTROM3)


def free_atom_energy(element: str) -> float:
    """Energy of a lone atom."""
    atom = Atoms(element)
    atom.calc = EMT()
    return float(atom.get_potential_energy())


def clean_slab(metal: str, lattice_angstrom: float, model: Model) -> Atoms:
    """The relaxed surface without an adsorbed atom."""
    slab = fcc111(
        metal,
        (model.cell, model.cell, model.layers),
        a=lattice_angstrom,
        vacuum=VACUUM_ANGSTROM,
        periodic=True,
    )
    relax(slab, model)
    return slab


def relax(slab: Atoms, model: Model) -> None:
    """Move the atoms until no force is larger than ``model.fmax``; the lower half of the slab stays.

    Raises:
        NotRelaxedError: that took too many steps.
    """
    fixed = [atom.index for atom in slab if atom.tag > (model.layers + 1) // 2]
    slab.set_constraint(FixAtoms(fixed))
    slab.calc = EMT()
    if not BFGS(slab, logfile=None).run(fmax=model.fmax, steps=MOST_STEPS):
        raise NotRelaxedError(
            f"{slab.symbols}: forces above {model.fmax:g} eV/angstrom after {MOST_STEPS} steps"
        )


def adsorb(slab: Atoms, element: str, site: str, model: Model) -> dict[str, float]:
    """Energy of an atom on a site of a relaxed slab, and its height above the outermost layer.

    Every site here is one by symmetry, so that the atom stays on it, even where it is bound better elsewhere.
    """
    covered = slab.copy()
    add_adsorbate(covered, element, START_HEIGHT_ANGSTROM, site)
    relax(covered, model)
    energy = covered.get_potential_energy() - slab.get_potential_energy() - free_atom_energy(element)
    top = np.mean([atom.z for atom in covered if atom.tag == 1])
    return {
        "energy_ev": round(float(energy), 4),
        "height_angstrom": round(float(covered.positions[-1, 2] - top), 3),
    }


def best_site(sites: dict[str, Any]) -> str:
    """The one with the lowest energy; of those equal to a millielectronvolt the first in `SITES`."""
    return min(sites, key=lambda site: (round(sites[site]["energy_ev"], 3), SITES.index(site)))
