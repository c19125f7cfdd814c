"""Who goes on to the next grid, and whether the ranking is settled.  Pure: energies in, names out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

Energies = Mapping[str, float]
"""Activation energy in electron volts by material."""


def ranked(energies: Energies) -> list[str]:
    """Materials, the lowest energy first; equal ones by name."""
    return sorted(energies, key=lambda name: (energies[name], name))


def largest_drop(screened: Energies, refined: Energies) -> float:
    """By how much the coarse grid has overestimated a material so far, at most; never negative."""
    return max((screened[name] - refined[name] for name in refined if name in screened), default=0.0)


def challengers(screened: Energies, refined: Energies, keep: int, margin_ev: float) -> list[str]:
    """Materials not refined yet that might belong to the best ``keep``, best first.

    A material is one when, after it dropped as far as any other has so far (at least ``margin_ev``), it would
    be better than the last of the best ones; and always as long as fewer than ``keep`` are refined.
    """
    waiting = ranked({name: energy for name, energy in screened.items() if name not in refined})
    best = ranked(refined)[:keep]
    missing = keep - len(best)
    threshold = _energy_at(screened, waiting, missing) if missing > 0 else refined[best[-1]]
    allowed = max(margin_ev, largest_drop(screened, refined))
    return [name for i, name in enumerate(waiting) if i < missing or screened[name] - allowed < threshold]


def _energy_at(energies: Energies, order: Sequence[str], place: int) -> float:
    """Energy of the one in that place (1 is the first), or of the last; infinite when there is none."""
    return energies[order[min(place, len(order)) - 1]] if order else float("inf")


def unsettled(before: Energies, now: Energies, keep: int, tolerance_ev: float) -> list[str]:
    """Why the ranking of the best ``keep`` may not be final yet, in words; empty when it is settled.

    It is settled when, from one grid to the next finer one, the same materials are the best, none of them
    changed by more than the tolerance, and none overtook another by more than the tolerance.
    """
    old, new = ranked(before)[:keep], ranked(now)[:keep]
    reasons = [f"{name} is new among the best {keep}" for name in new if name not in old]
    both = [name for name in new if name in before]
    reasons += [
        f"{name} changed by {now[name] - before[name]:+.3f} eV"
        for name in both
        if abs(now[name] - before[name]) > tolerance_ev
    ]
    reasons += [
        f"{better} overtook {worse}"
        for i, better in enumerate(both)
        for worse in both[i + 1 :]
        if before[better] - before[worse] > tolerance_ev
    ]
    return reasons


def without(energies: Energies, names: Collection[str]) -> dict[str, float]:
    """All but those."""
    return {name: energy for name, energy in energies.items() if name not in names}
