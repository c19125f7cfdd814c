"""Which metals bind atoms most strongly, and does a simple potential know why?

Stage 1 screens every metal with a small model.  A chemist then looks at the survey and chooses what is
worth computing more exactly, and somebody approves the cost.  Stage 2 refines what was approved, with thicker
slabs, larger cells and smaller forces, until it is settled.  A last task compares the trends with published
ones.  See README.md for the method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import convergence
import decision

from matterstack import Resources, Results, Task, Workflow

HERE = Path(__file__).parent
METALS = ("Al", "Ni", "Cu", "Pd", "Ag", "Pt", "Au")
ADSORBATES = ("H", "C", "N", "O")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
SURVEY, CHOOSE, APPROVE, TRENDS = "survey", "choose", "approve", "trends"
REFINE = "refine-"
SECONDS_PER_ATOMS_SQUARED = 3e-4  # measured: four relaxed surfaces with and without an atom
MOST_ATOMS = 600


@dataclass(frozen=True)
class Settings:
    """The ``params`` of ``config.json``.

    Attributes:
        metals: which surfaces; empty means all.
        adsorbates: which atoms on them; empty means all.
        layers: of the slab: first when screening, then in each round of the refinement.
        cells: one atom in so many times so many surface atoms, likewise.
        fmax: largest force that is left, in electron volts per angstrom, likewise.
        answer_within_h: hours until it is too late to choose or to approve; None: never.
    """

    metals: Sequence[str] = ()
    adsorbates: Sequence[str] = ()
    layers: Sequence[int] = (4, 6, 8, 10)
    cells: Sequence[int] = (2, 3, 4, 5)
    fmax: Sequence[float] = (0.05, 0.02, 0.01, 0.005)
    answer_within_h: float | None = None

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Settings:
        """Read the params.

        Raises:
            ValueError: a key or a value that cannot be.
        """
        known = [field.name for field in fields(cls)]
        if strangers := sorted(set(params) - set(known)):
            raise ValueError(
                f"params: {', '.join(strangers)}: no such parameter; there are: {', '.join(known)}"
            )
        settings = cls(**params)
        _require_names("metals", settings.metals, METALS)
        _require_names("adsorbates", settings.adsorbates, ADSORBATES)
        _require_numbers("layers", settings.layers, (int,))
        _require_numbers("cells", settings.cells, (int,))
        _require_numbers("fmax", settings.fmax, (int, float))
        if not len(settings.layers) == len(settings.cells) == len(settings.fmax) >= 2:
            raise ValueError(
                "params: layers, cells and fmax must be equally long, and hold at least 2 values"
            )
        for name, values, least in (("layers", settings.layers, 3), ("cells", settings.cells, 2)):
            if values[0] < least or any(a >= b for a, b in pairwise(values)):
                raise ValueError(
                    f"params: {name} must start at {least} or more, and grow from round to round"
                )
        if settings.fmax[-1] < 0.001 or any(a <= b for a, b in pairwise(settings.fmax)):
            raise ValueError("params: fmax must fall from round to round, and not below 0.001")
        atoms = settings.layers[-1] * settings.cells[-1] ** 2
        if atoms > MOST_ATOMS:
            raise ValueError(f"params: the last round would have {atoms} atoms, more than {MOST_ATOMS}")
        hours = settings.answer_within_h
        if hours is not None and (type(hours) not in (int, float) or hours <= 0):
            raise ValueError(f"params: answer_within_h must be a positive number or null, not {hours!r}")
        return settings

    @property
    def rounds(self) -> int:
        """How many there are at most, after screening."""
        return len(self.layers) - 1

    def model(self, number: int) -> dict[str, Any]:
        """How surfaces are computed in a round; 0 is screening."""
        return {"layers": self.layers[number], "cell": self.cells[number], "fmax": self.fmax[number]}

    def seconds(self, number: int) -> float:
        """Rough time of one surface in a round, on one core."""
        atoms = self.layers[number] * self.cells[number] ** 2
        return SECONDS_PER_ATOMS_SQUARED * atoms**2


def _require_names(key: str, names: object, known: Sequence[str]) -> None:
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise ValueError(f"params: {key} must be a list of names")  # noqa: TRY004  as all that is wrong with params
    if unknown := [str(name) for name in names if name not in known]:
        raise ValueError(f"params: {key}: {', '.join(unknown)}: not known; there are: {', '.join(known)}")


def _require_numbers(key: str, values: object, types: tuple[type, ...]) -> None:
    kind = "whole numbers" if float not in types else "numbers"
    if (
        isinstance(values, str)
        or not isinstance(values, Sequence)
        or any(type(v) not in types for v in values)
    ):
        raise ValueError(f"params: {key} must be a list of {kind}, not {values!r}")


class CatalystHumanCampaign:
    """Plans the stages.  Its state:

    ``stage`` is what comes next; ``screened`` has what was found of each atom on each metal; ``failed`` the
    reasons by task; ``adsorbate`` and ``accuracy_ev`` what was chosen; ``metals`` what is not settled of it;
    ``decision`` says in words what was decided; ``round`` counts the rounds of the refinement; ``reports``
    has the task with the newest report of each refined metal; ``open_questions`` say why it is not settled.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metals = tuple(dict.fromkeys(settings.metals)) or METALS
        self.adsorbates = tuple(dict.fromkeys(settings.adsorbates)) or ADSORBATES

    def plan(self, state: dict[str, Any], results: Results) -> Workflow | None:
        """The next stage; None when the trends are written.

        Raises:
            RuntimeError: every metal has failed.
        """
        if not state:
            return self._screen()
        if not state["screened"]:
            reasons = "; ".join(f"{task}: {reason}" for task, reason in sorted(state["failed"].items()))
            raise RuntimeError(f"no metal could be screened: {reasons}")
        match state["stage"]:
            case "decide":
                return self._decide(state)
            case "refine":
                return self._refine(state)
            case "write":
                return Workflow([self._page(TRENDS, state)], name="trends")
            case _:
                return None

    def analyze(self, state: dict[str, Any], results: Results) -> dict[str, Any]:
        """Take up what a stage has found or decided."""
        if not state:
            return self._after_screening(results)
        match state["stage"]:
            case "decide":
                return self._after_decision(state, results)
            case "refine":
                return self._after_round(state, results)
            case _:
                return {**state, "stage": "done"}

    # ---- screening ----

    def _screen(self) -> Workflow:
        tasks = [
            Task(
                f"screen-{metal}",
                command=["python", "screen.py"],
                files={name: HERE / name for name in ("surfaces.py", "screen.py")},
                outputs=["result.json", "slab.xyz"],
                params={"metal": metal, "adsorbates": list(self.adsorbates), "model": self.settings.model(0)},
                resources=Resources(cpus=1, memory_mib=500, walltime_s=300),
                env=ONE_THREAD,
                allow_failure=True,
            )
            for metal in self.metals
        ]
        return Workflow(tasks, name=f"screening: {len(tasks)} metals, {len(self.adsorbates)} atoms")

    def _after_screening(self, results: Results) -> dict[str, Any]:
        tasks = {metal: f"screen-{metal}" for metal in self.metals}
        found, failed = _data(results, tasks)
        screened = {
            metal: {
                element: {key: data["adsorbed"][element][key] for key in ("site", "energy_ev")}
                for element in self.adsorbates
            }
            for metal, data in found.items()
        }
        return {
            "stage": "decide",
            "screened": screened,
            "failed": failed,
            "adsorbate": "O" if "O" in self.adsorbates else self.adsorbates[0],
            "metals": [],
            "accuracy_ev": None,
            "decision": ["Screened only: nothing is decided yet."],
            "round": 0,
            "reports": {},
            "open_questions": [],
        }

    # ---- the decision ----

    def _decide(self, state: Mapping[str, Any]) -> Workflow:
        hours = self.settings.answer_within_h
        patience = {} if hours is None else {"expires_in_s": hours * 3600.0}
        survey = self._page(SURVEY, state)
        choose = Task(
            CHOOSE,
            operator="human",
            depends_on=[SURVEY],
            params={
                "question": decision.question(
                    state["screened"], self.adsorbates, "tasks/survey/1 of the run"
                ),
                "fields": decision.answer_fields(state["screened"], self.adsorbates),
                **patience,
            },
        )
        seconds = sum(self.settings.seconds(number) for number in range(1, self.settings.rounds + 1))
        approve = Task(
            APPROVE,
            operator="gate",
            depends_on=[CHOOSE],
            params={
                "question": decision.gate_question(
                    "operators/choose/response.json in the run's folder", seconds, self.settings.rounds
                ),
                **patience,
            },
            allow_failure=True,  # a rejected refinement ends in a report, not in a failed run
        )
        return Workflow([survey, choose, approve], name="survey and decision")

    def _after_decision(self, state: Mapping[str, Any], results: Results) -> dict[str, Any]:
        answer, gate = results[CHOOSE].data, results[APPROVE]
        metals = decision.chosen_metals(answer)
        words = [decision.in_words(answer)]
        comment = (gate.data or {}).get("comment", "") if gate.succeeded else gate.reason
        if gate.succeeded:
            words.append(f"This was approved{f': {comment}' if comment else ''}.")
        else:
            words.append(f"It was not computed: {comment}.")
        return {
            **state,
            "stage": "refine" if gate.succeeded and metals else "write",
            "adsorbate": answer["adsorbate"],
            "metals": metals if gate.succeeded else [],
            "accuracy_ev": answer["accuracy_ev"],
            "decision": words,
        }

    # ---- refinement ----

    def _refine(self, state: Mapping[str, Any]) -> Workflow:
        number = state["round"] + 1
        model = self.settings.model(number)
        tasks = [
            Task(
                f"{REFINE}{number}-{metal}",
                command=["python", "refine.py"],
                files={name: HERE / name for name in ("surfaces.py", "refine.py")},
                inputs={"before.json": f"{state['reports'][metal]}/result.json"}
                if metal in state["reports"]
                else {},
                outputs=["result.json"],
                params={
                    "metal": metal,
                    "adsorbate": state["adsorbate"],
                    "site": state["screened"][metal][state["adsorbate"]]["site"],
                    "model": model,
                    "coarser": self.settings.model(number - 1),
                },
                resources=Resources(
                    cpus=1, memory_mib=500, walltime_s=300 + int(20 * self.settings.seconds(number))
                ),
                env=ONE_THREAD,
                allow_failure=True,
            )
            for metal in state["metals"]
        ]
        what = f"{state['adsorbate']} on {', '.join(state['metals'])}"
        how = f"{model['layers']} layers, {model['cell']} x {model['cell']}, {model['fmax']:g} eV/angstrom"
        return Workflow(tasks, name=f"refinement, round {number}: {what}; {how}")

    def _after_round(self, state: Mapping[str, Any], results: Results) -> dict[str, Any]:
        number = state["round"] + 1
        tasks = {metal: f"{REFINE}{number}-{metal}" for metal in state["metals"]}
        found, failed = _data(results, tasks)
        questions = convergence.unsettled(
            {metal: data["changes_ev"] for metal, data in found.items()}, state["accuracy_ev"]
        )
        # A metal that has failed keeps the report of the round before, and is refined no further.
        failed = {**state["failed"], **failed}
        finished = not questions or number >= self.settings.rounds
        return {
            **state,
            "stage": "write" if finished else "refine",
            "round": number,
            "metals": [metal for metal in found if metal in questions],
            "failed": failed,
            "reports": {**state["reports"], **{metal: tasks[metal] for metal in found}},
            "open_questions": [
                *(question for asked in questions.values() for question in asked),
                *(f"{task} failed" for task in failed if task.startswith(REFINE)),
            ],
        }

    # ---- the page ----

    def _page(self, name: str, state: Mapping[str, Any]) -> Task:
        return Task(
            name,
            command=["python", "trends.py"],
            files={file: HERE / file for file in ("trends.py", "published.json")},
            inputs={
                **{f"screened/{metal}.json": f"screen-{metal}/result.json" for metal in state["screened"]},
                **{
                    f"refined/{metal}.json": f"{task}/result.json" for metal, task in state["reports"].items()
                },
            },
            outputs=[f"{name}.json", f"{name}.md", f"{name}.svg"],
            params={
                "name": name,
                "adsorbate": state["adsorbate"],
                "decision": state["decision"],
                "settled": bool(state["reports"]) and not state["open_questions"],
                "open_questions": state["open_questions"],
                "failed": state["failed"],
            },
            resources=Resources(cpus=1, memory_mib=500, walltime_s=60),
            env=ONE_THREAD,
        )


def _data(results: Results, tasks: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """By metal, what those tasks reported that succeeded, and the reasons of those that did not."""
    found, failed = {}, {}
    for metal, task in tasks.items():
        result = results[task]
        if result.succeeded:
            found[metal] = result.data
        else:
            failed[task] = result.reason or str(result.status)
    return found, failed


def get_campaign(params: dict[str, Any]) -> CatalystHumanCampaign:
    return CatalystHumanCampaign(Settings.of(params))
