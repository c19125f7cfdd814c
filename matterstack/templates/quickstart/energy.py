"""Lennard-Jones energy of two argon atoms at the distance in manifest.json."""

import json
from pathlib import Path

EPSILON_EV = 0.0104
SIGMA_ANGSTROM = 3.40

distance = json.loads(Path("manifest.json").read_text())["params"]["distance_angstrom"]
ratio = (SIGMA_ANGSTROM / distance) ** 6
energy = 4 * EPSILON_EV * (ratio**2 - ratio)
print(f"{distance:.4f} angstrom: {energy:.6f} eV")
Path("result.json").write_text(json.dumps({"distance_angstrom": distance, "energy_ev": energy}))
