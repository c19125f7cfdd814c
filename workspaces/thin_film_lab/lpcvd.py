"""Polysilicon from silane in a hot-wall tube: published kinetics, and the depletion of silane along the load.

Pure functions of the conditions: no noise and no clock.  The instrument adds those.  Only the standard
library is used, so that the instrument runs wherever Python does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

GAS_CONSTANT: Final = 8.314462618  # J/(mol K)
ZERO_CELSIUS_K: Final = 273.15
MOLAR_VOLUME_SI: Final = 28.0855e-3 / 2329.0  # m3/mol
MOL_PER_S_PER_SCCM: Final = 101325.0 * 1e-6 / (GAS_CONSTANT * ZERO_CELSIUS_K) / 60.0

# R = k p(SiH4) / (1 + K_H sqrt(p(H2)) + K_S p(SiH4)), Kleijn et al. 1989, after Roenigk and Jensen 1985.
RATE_PREFACTOR: Final = 1.6e4  # mol/(m2 s Pa)
RATE_TEMPERATURE_K: Final = 18500.0
HYDROGEN_ADSORPTION: Final = 0.19  # Pa^-1/2
SILANE_ADSORPTION: Final = 0.70  # Pa^-1

STEPS: Final = 40  # of the integration along the load: doubling them changes no rate by more than 1e-4
BISECTIONS: Final = 30
MOST_FLOW_SCCM: Final = 5000.0  # beyond, the integration along the load would need more steps


@dataclass(frozen=True)
class Molecule:
    """Lennard-Jones parameters, from the appendix of Reid, Prausnitz and Poling 1987."""

    mass_g_mol: float
    sigma_angstrom: float
    epsilon_k: float


SILANE: Final = Molecule(32.117, 4.084, 207.6)
HYDROGEN: Final = Molecule(2.016, 2.827, 59.7)


@dataclass(frozen=True)
class Furnace:
    """A tube with a load of wafers across its axis.  The defaults are those of a small production furnace.

    Attributes:
        monitors: places along the load (0: first wafer, 1: last) where thickness is measured.
    """

    tube_radius_m: float = 0.075
    wafer_radius_m: float = 0.050
    spacing_m: float = 0.00635
    wafers: int = 100
    monitors: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0)

    @property
    def length_m(self) -> float:
        return self.spacing_m * self.wafers

    @property
    def flow_area_m2(self) -> float:
        """The annulus between wafers and tube, through which the gas moves."""
        return math.pi * (self.tube_radius_m**2 - self.wafer_radius_m**2)

    @property
    def area_per_length_m(self) -> float:
        """On which silicon grows, for each metre of the load: both sides of the wafers, and the wall."""
        return 2.0 * math.pi * self.wafer_radius_m**2 / self.spacing_m + 2.0 * math.pi * self.tube_radius_m


@dataclass(frozen=True)
class Conditions:
    """What is set for one run.

    Attributes:
        temperature_c: of the first wafer.
        rise_k: by so much the last wafer is hotter, linearly in between.
        flow_sccm: of pure silane.
    """

    temperature_c: float
    rise_k: float
    flow_sccm: float
    pressure_pa: float

    def temperature_k(self, place: float) -> float:
        """At a place from 0 to 1 along the load."""
        return self.temperature_c + ZERO_CELSIUS_K + self.rise_k * place


@dataclass(frozen=True)
class Film:
    """What grows, without noise.

    Attributes:
        rates_nm_min: at the monitors of the furnace.
        conversion: share of the silane that became silicon.
    """

    rates_nm_min: tuple[float, ...]
    conversion: float


def surface_rate(temperature_k: float, silane_pa: float, hydrogen_pa: float) -> float:
    """Silicon deposited, in mol/(m2 s)."""
    k = RATE_PREFACTOR * math.exp(-RATE_TEMPERATURE_K / temperature_k)
    return (
        k * silane_pa / (1.0 + HYDROGEN_ADSORPTION * math.sqrt(hydrogen_pa) + SILANE_ADSORPTION * silane_pa)
    )


def nm_min(rate_mol_m2_s: float) -> float:
    """The growth rate that belongs to a molar one."""
    return rate_mol_m2_s * MOLAR_VOLUME_SI * 60e9


def diffusivity(one: Molecule, other: Molecule, temperature_k: float, pressure_pa: float) -> float:
    """Binary diffusion coefficient in m2/s: Chapman-Enskog, collision integral of Neufeld et al. 1972."""
    reduced = temperature_k / math.sqrt(one.epsilon_k * other.epsilon_k)
    integral = (
        1.06036 / reduced**0.15610
        + 0.19300 / math.exp(0.47635 * reduced)
        + 1.03587 / math.exp(1.52996 * reduced)
        + 1.76474 / math.exp(3.89411 * reduced)
    )
    mass = 2.0 / (1.0 / one.mass_g_mol + 1.0 / other.mass_g_mol)
    sigma = (one.sigma_angstrom + other.sigma_angstrom) / 2.0
    pressure_bar = pressure_pa / 1e5
    return 1e-4 * 0.00266 * temperature_k**1.5 / (pressure_bar * math.sqrt(mass) * sigma**2 * integral)


def nonuniformity_percent(rates: Sequence[float]) -> float:
    """Half of the spread over the load, in percent of its middle: what "plus or minus 2 %" says."""
    return 100.0 * (max(rates) - min(rates)) / (max(rates) + min(rates))


def between_wafers(
    rate_mol_m2_s: float, silane_pa: float, temperature_k: float, furnace: Furnace, pressure_pa: float
) -> float:
    """How much less silane there is at the centre of a wafer than at its rim, as a share; small.

    First order in silane, which overstates it: c(rim) / c(centre) = I0(phi), phi^2 = 2 k R^2 / (spacing D).
    """
    constant_m_s = rate_mol_m2_s * GAS_CONSTANT * temperature_k / silane_pa
    d = diffusivity(SILANE, HYDROGEN, temperature_k, pressure_pa)
    phi_squared = 2.0 * constant_m_s * furnace.wafer_radius_m**2 / (furnace.spacing_m * d)
    return 1.0 - 1.0 / (1.0 + phi_squared / 4.0 + phi_squared**2 / 64.0)


def grow(conditions: Conditions, furnace: Furnace) -> Film:
    """The rates along the load at steady state.

    Silane is carried by the flow and by diffusion along the tube; X is the share of it that has reacted
    upstream, y its mole fraction, and each molecule that reacts leaves two of hydrogen:

        dX/dz = a R / F          c D A dy/dz = F ((1 + X) y - (1 - X))

    with X = 0 before the load and dy/dz = 0 behind it.  Integrated against the flow, where that is stable;
    the X behind the load is found by bisection, so that X becomes 0 at its beginning.

    Raises:
        ValueError: the gas flows so fast that these steps are too coarse.
    """
    if conditions.flow_sccm > MOST_FLOW_SCCM:
        raise ValueError(f"a flow of {conditions.flow_sccm:g} sccm is above {MOST_FLOW_SCCM:g}")
    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2.0
        if _upstream(conditions, furnace, middle)[-1][0] > 0.0:
            high = middle
        else:
            low = middle
    conversion = (low + high) / 2.0
    profile = _upstream(conditions, furnace, conversion)
    rates = []
    for place in furnace.monitors:
        behind = (1.0 - place) * STEPS
        index = min(int(behind), STEPS - 1)
        share = behind - index
        y = profile[index][1] * (1.0 - share) + profile[index + 1][1] * share
        rates.append(nm_min(_rate(conditions, place, y)))
    return Film(tuple(rates), conversion)


def _rate(conditions: Conditions, place: float, y: float) -> float:
    silane_pa = min(max(y, 0.0), 1.0) * conditions.pressure_pa
    return surface_rate(conditions.temperature_k(place), silane_pa, conditions.pressure_pa - silane_pa)


def _upstream(conditions: Conditions, furnace: Furnace, conversion: float) -> list[tuple[float, float]]:
    """X and y from the end of the load to its beginning, for a conversion that is assumed."""
    slope = _slopes(conditions, furnace)
    state = (conversion, (1.0 - conversion) / (1.0 + conversion))
    profile = [state]
    step = -1.0 / STEPS
    for index in range(STEPS):
        place = 1.0 + index * step
        first = slope(place, state)
        second = slope(place + step / 2, _moved(state, first, step / 2))
        third = slope(place + step / 2, _moved(state, second, step / 2))
        fourth = slope(place + step, _moved(state, third, step))
        mean = tuple(
            (a + 2 * b + 2 * c + d) / 6 for a, b, c, d in zip(first, second, third, fourth, strict=True)
        )
        state = _moved(state, (mean[0], mean[1]), step)
        profile.append(state)
    return profile


def _moved(state: tuple[float, float], slope: tuple[float, float], by: float) -> tuple[float, float]:
    return state[0] + slope[0] * by, state[1] + slope[1] * by


def _slopes(
    conditions: Conditions, furnace: Furnace
) -> Callable[[float, tuple[float, float]], tuple[float, float]]:
    """Derivatives of X and y with respect to the place along the load, from 0 to 1."""
    flow = conditions.flow_sccm * MOL_PER_S_PER_SCCM
    reacting = furnace.area_per_length_m * furnace.length_m / flow
    middle_k = conditions.temperature_k(0.5)
    spread = diffusivity(SILANE, HYDROGEN, middle_k, conditions.pressure_pa)
    concentration = conditions.pressure_pa / (GAS_CONSTANT * middle_k)
    peclet = flow * furnace.length_m / (concentration * spread * furnace.flow_area_m2)

    def slope(place: float, state: tuple[float, float]) -> tuple[float, float]:
        reacted, y = state
        return reacting * _rate(conditions, place, y), peclet * ((1.0 + reacted) * y - (1.0 - reacted))

    return slope
