"""One metal: where each of the atoms sits on its surface, and how strongly.

Reads ``manifest.json``, writes ``result.json`` and a picture of the surface (``slab.xyz``).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import surfaces
from ase.io import write


def compute(metal: str, adsorbates: Sequence[str], model: surfaces.Model) -> tuple[dict[str, Any], Any]:
    """What is reported of a metal, and its relaxed slab."""
    lattice, modulus = surfaces.equilibrium(metal)
    slab = surfaces.clean_slab(metal, lattice, model)
    adsorbed = {}
    for element in adsorbates:
        sites = {site: surfaces.adsorb(slab, element, site, model) for site in surfaces.SITES}
        best = surfaces.best_site(sites)
        adsorbed[element] = {"site": best, **sites[best], "sites": sites}
    report = {
        "metal": metal,
        "lattice_angstrom": round(lattice, 4),
        "bulk_modulus_gpa": round(modulus, 1),
        "model": vars(model),
        "adsorbed": adsorbed,
    }
    return report, slab


def main() -> None:
    params = json.loads(Path("manifest.json").read_text())["params"]
    report, slab = compute(params["metal"], params["adsorbates"], surfaces.Model(**params["model"]))
    slab.info.clear()  # where sites are, which this file format cannot hold
    write("slab.xyz", slab)
    Path("result.json").write_text(json.dumps(report))
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
