"""Find the bond length of an argon dimer: scan the Lennard-Jones energy, then scan closer around the minimum.

Parameters of argon: epsilon = 0.0104 eV, sigma = 3.40 angstrom (Michels et al., Physica 15, 627 (1949)).
"""

from pathlib import Path
from typing import Any

from matterstack import Resources, Results, Task, Workflow

HERE = Path(__file__).parent


class BondLength:
    def __init__(self, points: int, tolerance_angstrom: float) -> None:
        self.points = points
        self.tolerance_angstrom = tolerance_angstrom

    def plan(self, state: dict[str, Any], results: Results) -> Workflow | None:
        """Scan the window of distances; None when it is narrow enough."""
        low, high = state.get("window_angstrom", [3.0, 6.0])
        if high - low < self.tolerance_angstrom:
            return None
        number = state.get("rounds", 0) + 1
        step = (high - low) / (self.points - 1)
        tasks = [
            Task(
                f"scan-{number}-{i}",
                command=["python", "energy.py"],
                files={"energy.py": HERE / "energy.py"},
                params={"distance_angstrom": low + i * step},
                outputs=["result.json"],
                resources=Resources(cpus=1, memory_mib=100, walltime_s=60),
            )
            for i in range(self.points)
        ]
        return Workflow(tasks, name=f"{low:.3f} to {high:.3f} angstrom")

    def analyze(self, state: dict[str, Any], results: Results) -> dict[str, Any]:
        """Narrow the window to the neighbours of the lowest point of this round."""
        number = state.get("rounds", 0) + 1
        scanned = [results[f"scan-{number}-{i}"].data for i in range(self.points)]
        best = min(range(self.points), key=lambda i: scanned[i]["energy_ev"])
        window = [scanned[max(best - 1, 0)], scanned[min(best + 1, self.points - 1)]]
        return {
            "rounds": number,
            "window_angstrom": [point["distance_angstrom"] for point in window],
            "bond_length_angstrom": scanned[best]["distance_angstrom"],
            "energy_ev": scanned[best]["energy_ev"],
        }


def get_campaign(params: dict[str, Any]) -> BondLength:
    return BondLength(params.get("points", 5), params.get("tolerance_angstrom", 0.1))
