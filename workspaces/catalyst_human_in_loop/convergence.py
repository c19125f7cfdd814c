"""Whether an energy is settled.  Pure: changes in, words out."""

from __future__ import annotations

from collections.abc import Mapping

NAMES = {
    "all": "everything together",
    "layers": "a thicker slab",
    "cell": "a larger cell",
    "fmax": "smaller forces",
}


def unsettled(changes_ev: Mapping[str, Mapping[str, float]], accuracy_ev: float) -> dict[str, list[str]]:
    """What changed an energy by more than is asked for, in words, by metal; empty when all are settled.

    Args:
        changes_ev: by metal: by setting, how much it changed the energy since the round before.
    """
    found: dict[str, list[str]] = {}
    for metal, changes in changes_ev.items():
        for setting, change in changes.items():
            if abs(change) > accuracy_ev:
                words = f"{metal}: {NAMES[setting]} changed the energy by {change:+.4f} eV"
                found.setdefault(metal, []).append(words)
    return found
