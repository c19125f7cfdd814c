"""How fast can polysilicon be grown evenly on a whole load of wafers?

Rounds of experiments and of modelling take turns: a furnace (an instrument, or a person at it) runs a few
recipes, then a Gaussian-process model of all runs proposes the next ones, until a recipe has met the goal
twice.  A last task writes the results for people.  See README.md for the method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

import recipes

from matterstack import Resources, Results, Task, Workflow

HERE: Final = Path(__file__).parent
ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
MODELLING: Final = Resources(cpus=1, memory_mib=800, walltime_s=600)
REPORTING: Final = Resources(cpus=1, memory_mib=300, walltime_s=60)
MONITORS: Final = 5
FIELDS: Final = {
    **{
        f"rate_{place}_nm_min": {"type": "number", "unit": "nm/min", "min": 0.01, "max": 1000}
        for place in range(1, MONITORS + 1)
    },
    "run_number": {"type": "integer", "min": 0, "required": False},
}
EMPTY_ROUNDS: Final = 2
"""After so many rounds in a row without any measurement somebody must look at the furnace."""
Range = Sequence[float]


@dataclass(frozen=True)
class Settings:
    """The ``params`` of ``config.json``.

    Attributes:
        goal_rate_nm_min: the recipe must be at least as fast, in the mean over the load.
        goal_nonuniformity_percent: and at least as even: half of the spread, in percent of the middle.
        temperature_c: range of the temperature of the first wafer.
        rise_k: range of what the last wafer is hotter by.
        flow_sccm: range of the flow of silane.
        pressure_pa: range of the pressure.
        first_runs: recipes of the first round, spread over these ranges.
        runs_per_round: recipes of each further round; a reference run comes on top.
        max_rounds: the campaign ends then, goal or not.
        retries: how often a run that failed, or that nobody answered, is asked for again.
        answer_within_s: so long the furnace has for a run; 0: for ever.
        seed: of all that is drawn.
    """

    goal_rate_nm_min: float = 24.0
    goal_nonuniformity_percent: float = 2.0
    temperature_c: Range = (590, 660)
    rise_k: Range = (0, 40)
    flow_sccm: Range = (40, 120)
    pressure_pa: Range = (20, 60)
    first_runs: int = 6
    runs_per_round: int = 3
    max_rounds: int = 10
    retries: int = 1
    answer_within_s: float = 0
    seed: int = 1

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Settings:
        """Read the params.

        Raises:
            ValueError: a key or a value that cannot be.
        """
        known = [one.name for one in fields(cls)]
        if strangers := sorted(set(params) - set(known)):
            raise ValueError(
                f"params: {', '.join(strangers)}: no such parameter; there are: {', '.join(known)}"
            )
        settings = cls(**params)
        for name, value in vars(settings).items():
            if name in recipes.KNOBS:
                _require_range(name, value)
                continue
            whole = name in ("first_runs", "runs_per_round", "max_rounds", "retries", "seed")
            if type(value) not in ((int,) if whole else (int, float)):
                raise ValueError(f"params: {name} must be a {'whole ' if whole else ''}number, not {value!r}")
        if settings.temperature_c[0] < 500 or settings.temperature_c[1] + settings.rise_k[1] > 750:
            raise ValueError("params: the kinetics holds from 500 to 750 C, the rise included")
        if settings.flow_sccm[0] <= 0 or settings.pressure_pa[0] <= 0 or settings.rise_k[0] < 0:
            raise ValueError("params: flow_sccm and pressure_pa must be positive, rise_k not negative")
        if settings.flow_sccm[1] > 5000:
            raise ValueError("params: flow_sccm must be at most 5000")
        if not 4 <= settings.first_runs <= 50 or not 1 <= settings.runs_per_round <= 20:
            raise ValueError("params: first_runs must be from 4 to 50, runs_per_round from 1 to 20")
        if settings.max_rounds < 2 or settings.retries < 0 or settings.answer_within_s < 0:
            raise ValueError(
                "params: max_rounds must be at least 2, retries and answer_within_s not negative"
            )
        if settings.goal_rate_nm_min <= 0 or settings.goal_nonuniformity_percent <= 0:
            raise ValueError("params: the goals must be positive")
        return settings

    @property
    def bounds(self) -> dict[str, list[float]]:
        """The range of each knob."""
        return {knob: list(getattr(self, knob)) for knob in recipes.KNOBS}

    @property
    def goal(self) -> dict[str, float]:
        """What a recipe must reach."""
        return {
            "rate_nm_min": self.goal_rate_nm_min,
            "nonuniformity_percent": self.goal_nonuniformity_percent,
        }

    @property
    def reference(self) -> dict[str, float]:
        """The recipe that is run in each round, to see the furnace drift: in the middle of everything."""
        return recipes.settable(
            {knob: (low + high) / 2 for knob, (low, high) in self.bounds.items()}, self.bounds
        )


def _require_range(name: str, value: object) -> None:
    numbers = isinstance(value, Sequence) and all(type(one) in (int, float) for one in value)
    if not numbers or not isinstance(value, Sequence) or len(value) != 2 or not value[0] < value[1]:
        raise ValueError(f"params: {name} must be a range [lowest, highest], not {value!r}")


class ThinFilmCampaign:
    """Plans experiments, modelling and the report.  Its state:

    ``round`` counts rounds of experiments.  ``asked`` holds the experiments of this one (task, recipe and
    purpose) until they are taken up; ``runs`` all that was measured; ``failed`` the reasons by task.
    ``proposals`` are those of the newest model, None before it has spoken; ``history`` says what each round
    came to; ``outcome`` is set when no more experiments are needed.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    # ---- planning

    def plan(self, state: dict[str, Any], results: Results) -> Workflow | None:
        """Experiments, a model of them, or the report; None when that is written.

        Raises:
            RuntimeError: the furnace gives no measurements.
        """
        if state.get("written"):
            return None
        if not state:
            return self._experiments(1, self._first_round())
        if state["outcome"] == "no measurements":
            reasons = "; ".join(f"{task}: {reason}" for task, reason in sorted(state["failed"].items()))
            raise RuntimeError(f"the furnace gave no measurement in {EMPTY_ROUNDS} rounds: {reasons}")
        if state["outcome"]:
            return self._report(state)
        if state["proposals"] is None and self._new_recipes(state) > 0:
            return self._model(state)
        return self._experiments(state["round"] + 1, self._next_round(state))

    def _first_round(self) -> list[dict[str, Any]]:
        from model import spread_out  # it needs scikit-learn, which `run init` can do without

        settings = self.settings
        chosen = spread_out(settings.first_runs, settings.bounds, settings.seed)
        return [{"purpose": "first look", "recipe": recipe} for recipe in chosen]

    def _next_round(self, state: Mapping[str, Any]) -> list[dict[str, Any]]:
        wanted = []
        repeated = recipes.to_repeat(state["runs"], **self.settings.goal)
        if repeated is not None:
            purpose = f"repeat of {repeated.tasks[0]}"
            wanted.append({"purpose": purpose, "recipe": dict(repeated.recipe)})
        if not state["runs"]:
            wanted += self._first_round()
        proposals = state["proposals"] or []
        return wanted + [{"purpose": "proposed", **p} for p in proposals[: self._new_recipes(state)]]

    def _new_recipes(self, state: Mapping[str, Any]) -> int:
        """How many proposals the next round has room for; a model of too few runs would know nothing."""
        if len(state["runs"]) < 3:
            return 0
        repeats = recipes.to_repeat(state["runs"], **self.settings.goal) is not None
        return max(self.settings.runs_per_round - repeats, 1)

    def _experiments(self, number: int, chosen: Sequence[Mapping[str, Any]]) -> Workflow:
        reference = {"purpose": recipes.REFERENCE, "recipe": self.settings.reference}
        asked = [reference, *chosen]
        tasks = [
            Task(
                f"run-{number:02d}-{place}",
                operator="experiment",
                params={
                    "request": {"recipe": one["recipe"], "purpose": one["purpose"]},
                    "instructions": _instructions(one),
                    "fields": FIELDS,
                    **(
                        {"expires_in_s": self.settings.answer_within_s}
                        if self.settings.answer_within_s
                        else {}
                    ),
                },
                allow_failure=True,
                retries=self.settings.retries,
            )
            for place, one in enumerate(asked)
        ]
        return Workflow(tasks, name=f"round {number}: {len(asked)} runs of the furnace")

    def _model(self, state: Mapping[str, Any]) -> Workflow:
        task = Task(
            f"model-{state['round']:02d}",
            command=["python", "model.py"],
            files={name: HERE / name for name in ("model.py", "recipes.py")},
            outputs=["result.json"],
            params={
                "runs": state["runs"],
                "bounds": self.settings.bounds,
                "goal": self.settings.goal,
                "count": self._new_recipes(state),
                "seed": self.settings.seed,
            },
            resources=MODELLING,
            env=ONE_THREAD,
        )
        return Workflow([task], name=f"model of {len(state['runs'])} runs")

    def _report(self, state: Mapping[str, Any]) -> Workflow:
        task = Task(
            "report",
            command=["python", "report.py"],
            files={name: HERE / name for name in ("report.py", "recipes.py")},
            outputs=["report.md", "report.svg", "runs.csv", "result.json"],
            params={
                "outcome": state["outcome"],
                "runs": state["runs"],
                "failed": state["failed"],
                "history": state["history"],
                "goal": self.settings.goal,
                "settings": asdict(self.settings),
            },
            resources=REPORTING,
            env=ONE_THREAD,
        )
        return Workflow([task], name="report")

    # ---- taking up

    def analyze(self, state: dict[str, Any], results: Results) -> dict[str, Any]:
        """Take up the measurements of a round, the proposals of a model, or that the report is written."""
        if not state:
            state = {
                "round": 0,
                "runs": [],
                "failed": {},
                "proposals": None,
                "history": [],
                "empty": 0,
                "outcome": "",
                "written": False,
            }
            return self._measured(state, self._first_round(), results)
        if state["outcome"]:
            return {**state, "written": True}
        model = results.get(f"model-{state['round']:02d}")
        if model is not None and state["proposals"] is None:
            about = {key: value for key, value in model.data.items() if key != "proposals"}
            history = [*state["history"][:-1], {**state["history"][-1], "model": about}]
            return {**state, "proposals": model.data["proposals"], "history": history}
        return self._measured(state, self._next_round(state), results)

    def _measured(
        self, state: Mapping[str, Any], chosen: Sequence[Mapping[str, Any]], results: Results
    ) -> dict[str, Any]:
        number = state["round"] + 1
        reference = {"purpose": recipes.REFERENCE, "recipe": self.settings.reference}
        runs, failed = [], {}
        for place, one in enumerate([reference, *chosen]):
            task = f"run-{number:02d}-{place}"
            result = results[task]
            if not result.succeeded:
                failed[task] = result.reason or str(result.status)
                continue
            # A person keeps no count: then it is the order of the requests.
            count = result.data.get("run_number", len(state["runs"]) + len(state["failed"]) + place)
            runs.append(
                {
                    "task": task,
                    "recipe": one["recipe"],
                    "purpose": one["purpose"],
                    "rates_nm_min": [result.data[f"rate_{n}_nm_min"] for n in range(1, MONITORS + 1)],
                    "number": count,
                    "expected": {key: one[key] for key in one if key not in ("recipe", "purpose")},
                }
            )
        every = [*state["runs"], *runs]
        empty = 0 if runs else state["empty"] + 1
        return {
            **state,
            "round": number,
            "runs": every,
            "failed": {**state["failed"], **failed},
            "proposals": None,
            "history": [*state["history"], self._round_said(number, every, len(runs), len(failed))],
            "empty": empty,
            "outcome": self._outcome(number, every, empty),
        }

    def _round_said(
        self, number: int, runs: Sequence[recipes.Run], measured: int, failed: int
    ) -> dict[str, Any]:
        best = recipes.best_so_far(runs, self.settings.goal_nonuniformity_percent)
        said = {"round": number, "measured": measured, "failed": failed}
        if best is None:
            return said
        return {
            **said,
            "best": {
                "recipe": dict(best.recipe),
                "rate_nm_min": round(best.rate_nm_min, 3),
                "nonuniformity_percent": round(best.nonuniformity_percent, 3),
                "runs": len(best.tasks),
            },
        }

    def _outcome(self, number: int, runs: Sequence[recipes.Run], empty: int) -> str:
        if recipes.confirmed(runs, **self.settings.goal) is not None:
            return "goal reached"
        if empty >= EMPTY_ROUNDS:
            return "no measurements"
        return "goal not reached" if number >= self.settings.max_rounds else ""


def _instructions(one: Mapping[str, Any]) -> str:
    return (
        f"Run the furnace ({one['purpose']}): {recipes.in_words(one['recipe'])}. Grow for 20 minutes, "
        f"measure the thickness on {MONITORS} wafers spread evenly over the load, from the first (rate_1) to "
        f"the last (rate_{MONITORS}), and give the growth rate on each in nm/min. run_number is the "
        "furnace's own count of its runs, if it keeps one."
    )


def get_campaign(params: dict[str, Any]) -> ThinFilmCampaign:
    return ThinFilmCampaign(Settings.of(params))
