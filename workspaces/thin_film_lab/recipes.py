"""What was measured, and what it says: drift, repeats, and whether the goal is met.

A run is ``{"task", "recipe": {...}, "rates_nm_min": [...], "number", "purpose"}``, as the campaign keeps it
in its state and hands it to its jobs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Run = Mapping[str, Any]

KNOBS: Final = ("temperature_c", "rise_k", "flow_sccm", "pressure_pa")
UNITS: Final = {"temperature_c": "C", "rise_k": "K", "flow_sccm": "sccm", "pressure_pa": "Pa"}
STEPS: Final = {"temperature_c": 0.5, "rise_k": 0.5, "flow_sccm": 1.0, "pressure_pa": 0.5}
"""How finely each knob can be set."""
REFERENCE: Final = "reference"
FEWEST_REFERENCES: Final = 3  # two points always lie on a line, whatever the noise


@dataclass(frozen=True)
class Summary:
    """All runs of one recipe, taken together.

    Attributes:
        tasks: the runs, oldest first.
        rates_nm_min: geometric means at the monitor wafers, without the drift.
    """

    recipe: Mapping[str, float]
    tasks: tuple[str, ...]
    rates_nm_min: tuple[float, ...]

    @property
    def rate_nm_min(self) -> float:
        """Mean over the load."""
        return sum(self.rates_nm_min) / len(self.rates_nm_min)

    @property
    def nonuniformity_percent(self) -> float:
        """Half of the spread over the load, in percent of its middle."""
        most, least = max(self.rates_nm_min), min(self.rates_nm_min)
        return 100.0 * (most - least) / (most + least)

    def meets(self, rate_nm_min: float, nonuniformity_percent: float) -> bool:
        """Whether it is fast and even enough."""
        return self.rate_nm_min >= rate_nm_min and self.nonuniformity_percent <= nonuniformity_percent


def level(run: Run) -> float:
    """Mean of the logarithms of the rates: what drift moves as a whole."""
    rates = run["rates_nm_min"]
    return sum(map(math.log, rates)) / len(rates)


def drift_per_run(runs: Sequence[Run]) -> float:
    """By how much ln(rate) changes from run to run, by the reference runs; 0 while those are few."""
    references = [run for run in runs if run["purpose"] == REFERENCE]
    if len(references) < FEWEST_REFERENCES:
        return 0.0
    numbers = [float(run["number"]) for run in references]
    middle = sum(numbers) / len(numbers)
    spread = sum((number - middle) ** 2 for number in numbers)
    if spread == 0.0:
        return 0.0
    return sum((n - middle) * level(run) for n, run in zip(numbers, references, strict=True)) / spread


def without_drift(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The runs as they would have been when the furnace was at its first run."""
    drift = drift_per_run(runs)
    first = min((run["number"] for run in runs), default=0)
    return [
        {
            **run,
            "rates_nm_min": [
                rate * math.exp(-drift * (run["number"] - first)) for rate in run["rates_nm_min"]
            ],
        }
        for run in runs
    ]


def summaries(runs: Sequence[Run]) -> list[Summary]:
    """One for each recipe but the reference, without drift; fastest first."""
    by_recipe: dict[tuple[float, ...], list[Run]] = {}
    for run in without_drift(runs):
        if run["purpose"] != REFERENCE:
            by_recipe.setdefault(tuple(run["recipe"][knob] for knob in KNOBS), []).append(run)
    found = [
        Summary(
            recipe=dict(zip(KNOBS, recipe, strict=True)),
            tasks=tuple(run["task"] for run in same),
            rates_nm_min=tuple(
                math.exp(sum(math.log(rate) for rate in at_one_place) / len(same))
                for at_one_place in zip(*(run["rates_nm_min"] for run in same), strict=True)
            ),
        )
        for recipe, same in by_recipe.items()
    ]
    return sorted(found, key=lambda summary: -summary.rate_nm_min)


def confirmed(runs: Sequence[Run], rate_nm_min: float, nonuniformity_percent: float) -> Summary | None:
    """The fastest recipe that meets the goal in the mean of at least two runs.

    The best of many noisy measurements is better than what it measured: one run proves nothing.
    """
    for summary in summaries(runs):
        if len(summary.tasks) >= 2 and summary.meets(rate_nm_min, nonuniformity_percent):
            return summary
    return None


def to_repeat(runs: Sequence[Run], rate_nm_min: float, nonuniformity_percent: float) -> Summary | None:
    """The fastest recipe that met the goal in the only run that it had."""
    for summary in summaries(runs):
        if len(summary.tasks) == 1 and summary.meets(rate_nm_min, nonuniformity_percent):
            return summary
    return None


def best_so_far(runs: Sequence[Run], nonuniformity_percent: float) -> Summary | None:
    """The fastest recipe that is even enough; the most even one where none is; None without any."""
    known = summaries(runs)
    even = [summary for summary in known if summary.nonuniformity_percent <= nonuniformity_percent]
    if even:
        return even[0]
    return min(known, key=lambda summary: summary.nonuniformity_percent, default=None)


def settable(recipe: Mapping[str, float], bounds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The recipe that can be set which is next to this one."""
    return {knob: _nearest(recipe[knob], STEPS[knob], *bounds[knob]) for knob in KNOBS}


def _nearest(value: float, step: float, low: float, high: float) -> float:
    return min(max(round(round(value / step) * step, 6), low), high)


def in_words(recipe: Mapping[str, float]) -> str:
    """For people who set the knobs.

    >>> in_words({"temperature_c": 640, "rise_k": 8, "flow_sccm": 120, "pressure_pa": 40})
    'first wafer at 640 C, last wafer at 648 C, 120 sccm of silane, 40 Pa'
    """
    last = recipe["temperature_c"] + recipe["rise_k"]
    return (
        f"first wafer at {recipe['temperature_c']:g} C, last wafer at {last:g} C, "
        f"{recipe['flow_sccm']:g} sccm of silane, {recipe['pressure_pa']:g} Pa"
    )
