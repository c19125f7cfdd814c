"""One atom on one metal, more exactly: what a thicker slab, a larger cell and smaller forces change.

The energy is computed with the model of this round, and again with each of its three settings put back to the
round before: so every setting answers for itself, and two errors cannot hide each other.  Reads
``manifest.json`` and, from the second round on, the report of the round before (``before.json``); writes
``result.json``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import surfaces

SETTINGS = ("layers", "cell", "fmax")


def energy_of(metal: str, element: str, site: str, model: surfaces.Model) -> dict[str, float]:
    """Energy and height of the atom on its site."""
    lattice, _ = surfaces.equilibrium(metal)
    return surfaces.adsorb(surfaces.clean_slab(metal, lattice, model), element, site, model)


def compute(
    metal: str,
    element: str,
    site: str,
    model: surfaces.Model,
    coarser: surfaces.Model,
    before_ev: float | None = None,
) -> dict[str, Any]:
    """Energy with ``model``, and what each setting has changed since ``coarser``.

    Args:
        before_ev: the energy with ``coarser``, if it is known already.
    """
    found = energy_of(metal, element, site, model)
    if before_ev is None:
        before_ev = energy_of(metal, element, site, coarser)["energy_ev"]
    changes = {}
    for setting in SETTINGS:
        put_back = surfaces.Model(**{**vars(model), setting: getattr(coarser, setting)})
        changes[setting] = round(
            found["energy_ev"] - energy_of(metal, element, site, put_back)["energy_ev"], 4
        )
    return {
        "metal": metal,
        "adsorbate": element,
        "site": site,
        "model": vars(model),
        **found,
        "before_ev": before_ev,
        "changes_ev": {"all": round(found["energy_ev"] - before_ev, 4), **changes},
    }


def main() -> None:
    params = json.loads(Path("manifest.json").read_text())["params"]
    before = json.loads(Path("before.json").read_text()) if Path("before.json").exists() else {}
    report = compute(
        params["metal"],
        params["adsorbate"],
        params["site"],
        surfaces.Model(**params["model"]),
        surfaces.Model(**params["coarser"]),
        before.get("energy_ev"),
    )
    Path("result.json").write_text(json.dumps(report))
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
