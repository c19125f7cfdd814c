"""The Gaussian-process model of the furnace, and the recipes that it proposes.

Reads ``manifest.json`` (all runs so far, and what is wanted) and writes ``result.json``.

What is modelled are the logarithms of the rates along the load, taken apart into their level, tilt, bow and
higher terms (orthonormal polynomials over the monitor wafers): one Gaussian process for each, which makes
noise of the whole run and noise of single wafers two separate things.  A recipe is judged by samples of its
whole profile: only these tell how uneven it will be.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import recipes
from numpy.typing import NDArray
from scipy.stats import qmc
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

Floats = NDArray[np.float64]
Bounds = Mapping[str, Sequence[float]]

CANDIDATES: Final = 512
NEAR: Final = 128  # more of them, close to the best recipe
NEAR_SHARE: Final = 0.06  # of the range of each knob
SAMPLES: Final = 128


@dataclass(frozen=True)
class Goal:
    """What is wanted of a recipe."""

    rate_nm_min: float
    nonuniformity_percent: float


@dataclass(frozen=True)
class Prediction:
    """What the model expects of some recipes: one row each."""

    rates: Floats  # samples x recipes, mean over the load
    nonuniformities: Floats  # samples x recipes, percent

    def good(self, most_percent: float) -> Floats:
        """Probability that a recipe is even enough."""
        return np.asarray((self.nonuniformities <= most_percent).mean(axis=0), dtype=np.float64)


def basis(monitors: int) -> Floats:
    """Orthonormal polynomials over the monitor wafers: columns are level, tilt, bow, ..."""
    places = np.linspace(-1.0, 1.0, monitors)
    columns, _ = np.linalg.qr(np.vander(places, monitors, increasing=True))
    return np.asarray(columns * np.sign(columns[-1]), dtype=np.float64)


class FurnaceModel:
    """Gaussian processes for the terms of the profile, fitted to runs without their drift."""

    def __init__(self, runs: Sequence[recipes.Run], bounds: Bounds, seed: int) -> None:
        self.bounds = bounds
        self.seed = seed
        self._points = self.scaled([run["recipe"] for run in runs])
        logs = np.log([run["rates_nm_min"] for run in runs])
        self._basis = basis(logs.shape[1])
        self._terms = logs @ self._basis
        self._processes = [self._fitted(column) for column in self._terms.T]

    def scaled(self, chosen: Sequence[Mapping[str, float]]) -> Floats:
        """Recipes as points of the unit cube."""
        low = np.array([self.bounds[knob][0] for knob in recipes.KNOBS])
        high = np.array([self.bounds[knob][1] for knob in recipes.KNOBS])
        points = np.array([[recipe[knob] for knob in recipes.KNOBS] for recipe in chosen], dtype=np.float64)
        return np.asarray((points - low) / (high - low), dtype=np.float64)

    def _fitted(self, values: Floats) -> GaussianProcessRegressor:
        scale = max(float(np.var(values)), 1e-6)
        kernel = ConstantKernel(scale, (1e-2 * scale, 1e4 * scale)) * RBF(
            np.ones(len(recipes.KNOBS)), (0.2, 20.0)
        ) + WhiteKernel(1e-4, (1e-6, 1e-2))
        process = GaussianProcessRegressor(kernel, random_state=self.seed)
        with warnings.catch_warnings():
            # A knob that does not matter has an endless length scale: its bound is no news.
            warnings.simplefilter("ignore", ConvergenceWarning)
            return process.fit(self._points, values - values.mean())

    def believe(self, recipe: Mapping[str, float]) -> None:
        """Take the prediction for a measurement: the next proposal goes elsewhere."""
        point = self.scaled([recipe])
        terms = [
            process.predict(point)[0] + column.mean()
            for process, column in zip(self._processes, self._terms.T, strict=True)
        ]
        self._points = np.vstack([self._points, point])
        self._terms = np.vstack([self._terms, terms])
        for index, process in enumerate(self._processes):
            known = GaussianProcessRegressor(process.kernel_, optimizer=None)
            column = self._terms[:, index]
            self._processes[index] = known.fit(self._points, column - column.mean())

    def predict(self, chosen: Sequence[Mapping[str, float]]) -> Prediction:
        """Samples of the true profile, without the noise of measuring it."""
        points = self.scaled(chosen)
        random = np.random.default_rng(self.seed)
        logs = np.zeros((SAMPLES, len(chosen), len(self._basis)))
        for term, process in enumerate(self._processes):
            mean, deviation = process.predict(points, return_std=True)
            noise = process.kernel_.k2.noise_level
            true = np.sqrt(np.maximum(deviation**2 - noise, 0.0))
            drawn = mean + self._terms[:, term].mean() + true * random.standard_normal((SAMPLES, 1))
            logs += drawn[:, :, None] * self._basis[:, term]
        rates = np.exp(logs)
        most, least = rates.max(axis=2), rates.min(axis=2)
        return Prediction(rates.mean(axis=2), 100.0 * (most - least) / (most + least))

    def lengths(self) -> dict[str, float]:
        """How far a knob must be turned, in its unit, before the level of the rates is another one."""
        scales = self._processes[0].kernel_.k1.k2.length_scale
        return {
            knob: round(float(scale) * (self.bounds[knob][1] - self.bounds[knob][0]), 3)
            for knob, scale in zip(recipes.KNOBS, scales, strict=True)
        }


def spread_out(count: int, bounds: Bounds, seed: int) -> list[dict[str, float]]:
    """Recipes that fill the space evenly."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # any count will do, not only powers of two
        points = qmc.Sobol(len(recipes.KNOBS), seed=seed).random(count)
    return [_recipe(point, bounds) for point in points]


def _recipe(point: Floats, bounds: Bounds) -> dict[str, float]:
    raw = {
        knob: bounds[knob][0] + float(share) * (bounds[knob][1] - bounds[knob][0])
        for knob, share in zip(recipes.KNOBS, point, strict=True)
    }
    return recipes.settable(raw, bounds)


def propose(
    runs: Sequence[recipes.Run], bounds: Bounds, goal: Goal, count: int, seed: int
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The recipes of the next round, and what is known about the model.

    Expected improvement of the rate over the best recipe that is even enough, counting only those samples in
    which the new one is even enough as well.  While no recipe is: the rate, times the probability of that.
    """
    model = FurnaceModel(recipes.without_drift(runs), bounds, seed)
    known = [summary.recipe for summary in recipes.summaries(runs)]
    best = _best_expected(model, known, goal)
    # The seed changes with the number of runs, so that no round looks at the same candidates again.
    candidates = spread_out(CANDIDATES, bounds, seed + len(runs)) + _near(best, bounds, seed + len(runs))
    candidates = [recipe for recipe in candidates if recipe not in known]
    proposals: list[dict[str, Any]] = []
    for _ in range(count):
        expected = model.predict(candidates)
        score = _score(expected, _best_rate(model, best, goal), goal)
        index = int(np.argmax(score))
        proposals.append(_as_json(candidates[index], expected, index, goal, float(score[index])))
        model.believe(candidates.pop(index))
    about = {"drift_percent_per_run": round(100 * recipes.drift_per_run(runs), 4), "lengths": model.lengths()}
    return proposals, about


def _best_expected(
    model: FurnaceModel, known: Sequence[dict[str, float]], goal: Goal
) -> Mapping[str, float] | None:
    """Of the recipes that were run, the one that is best according to the model, not to its noise."""
    if not known:
        return None
    expected = model.predict(known)
    rates = np.where(expected.good(goal.nonuniformity_percent) >= 0.5, expected.rates.mean(axis=0), -math.inf)
    index = int(np.argmax(rates))
    if math.isinf(rates[index]):
        index = int(np.argmin(expected.nonuniformities.mean(axis=0)))
    return known[index]


def _best_rate(model: FurnaceModel, best: Mapping[str, float] | None, goal: Goal) -> float | None:
    if best is None:
        return None
    expected = model.predict([best])
    if expected.good(goal.nonuniformity_percent)[0] < 0.5:
        return None
    return float(expected.rates.mean())


def _score(expected: Prediction, best_rate: float | None, goal: Goal) -> Floats:
    even = expected.nonuniformities <= goal.nonuniformity_percent
    if best_rate is None:
        return np.asarray(expected.rates.mean(axis=0) * (even.mean(axis=0) + 1e-9), dtype=np.float64)
    better = np.maximum(expected.rates - best_rate, 0.0)
    return np.asarray((better * even).mean(axis=0), dtype=np.float64)


def _near(best: Mapping[str, float] | None, bounds: Bounds, seed: int) -> list[dict[str, float]]:
    if best is None:
        return []
    random = np.random.default_rng(seed)
    found = []
    for step in random.standard_normal((NEAR, len(recipes.KNOBS))) * NEAR_SHARE:
        raw = {
            knob: best[knob] + float(share) * (bounds[knob][1] - bounds[knob][0])
            for knob, share in zip(recipes.KNOBS, step, strict=True)
        }
        found.append(recipes.settable(raw, bounds))
    return found


def _as_json(
    recipe: Mapping[str, float], expected: Prediction, index: int, goal: Goal, score: float
) -> dict[str, Any]:
    return {
        "recipe": dict(recipe),
        "expected_rate_nm_min": round(float(expected.rates[:, index].mean()), 3),
        "uncertainty_nm_min": round(float(expected.rates[:, index].std()), 3),
        "expected_nonuniformity_percent": round(float(expected.nonuniformities[:, index].mean()), 3),
        "chance_even_enough": round(float(expected.good(goal.nonuniformity_percent)[index]), 3),
        "score": round(score, 5),
    }


def main() -> None:
    params = json.loads(Path("manifest.json").read_text())["params"]
    goal = Goal(**params["goal"])
    proposals, about = propose(params["runs"], params["bounds"], goal, params["count"], params["seed"])
    Path("result.json").write_text(json.dumps({"proposals": proposals, **about}, indent=2) + "\n")
    for proposal in proposals:
        print(
            f"{recipes.in_words(proposal['recipe'])}: "
            f"expected {proposal['expected_rate_nm_min']:.1f} nm/min, "
            f"{proposal['expected_nonuniformity_percent']:.1f} %"
        )


if __name__ == "__main__":
    main()
