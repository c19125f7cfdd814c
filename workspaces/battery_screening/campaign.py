"""Which lithium compounds let lithium through most easily?

Stage 1 screens every structure of the folder ``structures`` on a coarse grid.  Stage 2 computes the best
again on finer and finer grids, and takes in more materials that might belong to them, until the ranking is
settled.  A last task writes the ranking for people.  See README.md for the method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import selection

from matterstack import Resources, Results, Task, Workflow

HERE = Path(__file__).parent
PHYSICS = ("structures.py", "bvse.py", "grid.py", "percolation.py", "carriers.py", "barrier.py")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
RANKING_TASK = "ranking"
SCREENING = Resources(cpus=1, memory_mib=500, walltime_s=300)
REFINING = Resources(cpus=1, memory_mib=1500, walltime_s=1800)
FINEST_ANGSTROM = 0.045  # the largest crystal here then needs 1.4 GB


@dataclass(frozen=True)
class Settings:
    """The ``params`` of ``config.json``.

    Attributes:
        materials: names of files in ``structures`` without ``.json``; empty means all.
        keep: so many of the best are to be settled.
        coarse_angstrom: largest distance of grid points in stage 1.
        fine_angstrom: the same in the first round of stage 2.
        refine_factor: each further round multiplies it by this.
        tolerance_ev: a change of the activation energy that is no change.
        margin_ev: a coarse grid is trusted no better than this.
        max_rounds: of stage 2; the ranking is then reported as not settled.
    """

    materials: Sequence[str] = ()
    keep: int = 8
    coarse_angstrom: float = 0.3
    fine_angstrom: float = 0.2
    refine_factor: float = 0.7
    tolerance_ev: float = 0.01
    margin_ev: float = 0.05
    max_rounds: int = 5

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Settings:
        """Read the params.

        Raises:
            ValueError: a key, a material or a value that cannot be.
        """
        known = [field.name for field in fields(cls)]
        if strangers := sorted(set(params) - set(known)):
            raise ValueError(
                f"params: {', '.join(strangers)}: no such parameter; there are: {', '.join(known)}"
            )
        settings = cls(**params)
        materials = settings.materials
        if isinstance(materials, str) or not all(isinstance(name, str) for name in materials):
            raise ValueError("params: materials must be a list of names")
        for name, value in vars(settings).items():
            whole = name in ("keep", "max_rounds")
            if name != "materials" and type(value) not in ((int,) if whole else (int, float)):
                raise ValueError(f"params: {name} must be a {'whole ' if whole else ''}number, not {value!r}")
        if settings.keep < 1 or settings.max_rounds < 2:
            raise ValueError("params: keep must be at least 1, and max_rounds at least 2")
        if not 0.15 <= settings.coarse_angstrom <= 1.0:
            raise ValueError("params: coarse_angstrom must be between 0.15 and 1.0")
        if not 0.0 < settings.fine_angstrom < settings.coarse_angstrom:
            raise ValueError("params: fine_angstrom must be positive, and below coarse_angstrom")
        if not 0.3 <= settings.refine_factor <= 0.95:
            raise ValueError("params: refine_factor must be between 0.3 and 0.95")
        if not (settings.tolerance_ev > 0 and settings.margin_ev >= 0):
            raise ValueError("params: tolerance_ev must be positive, and margin_ev not negative")
        last = settings.spacing(settings.max_rounds)
        if last < FINEST_ANGSTROM:
            raise ValueError(
                f"params: the last round would be at {last:g} angstrom, below {FINEST_ANGSTROM:g}"
            )
        return settings

    def spacing(self, number: int) -> float:
        """Largest distance of grid points in round ``number`` of stage 2, in angstrom."""
        return round(self.fine_angstrom * self.refine_factor ** (number - 1), 4)


class BatteryScreeningCampaign:
    """Plans the stages.  Its state:

    ``screened`` and ``refined`` hold activation energies by material, on the coarse grid and on the finest so
    far; ``before`` those of the grid before that one; ``failed`` the reasons by task; ``reports`` the task
    that holds the newest report of each material.
    """

    def __init__(self, settings: Settings, materials: Sequence[str]) -> None:
        self.settings = settings
        self.materials = tuple(materials)

    def plan(self, state: dict[str, Any], results: Results) -> Workflow | None:
        """The next stage; None when the ranking is written.

        Raises:
            RuntimeError: every material has failed.
        """
        if state.get("written"):
            return None
        if not state:
            return self._screen()
        if not state["screened"]:
            reasons = "; ".join(f"{task}: {reason}" for task, reason in sorted(state["failed"].items()))
            raise RuntimeError(f"no material could be screened: {reasons}")
        if state["finished"]:
            return self._write_ranking(state)
        return self._refine(state)

    def analyze(self, state: dict[str, Any], results: Results) -> dict[str, Any]:
        """Take up the energies of a stage, and decide whether another is needed."""
        if not state:
            energies, failed = _energies(results, {name: f"screen-{name}" for name in self.materials})
            return {
                "round": 0,
                "screened": energies,
                "before": {},
                "refined": {},
                "failed": failed,
                "reports": {name: f"screen-{name}" for name in energies},
                "open_questions": ["nothing is refined yet"],
                "finished": False,
                "written": False,
            }
        if state["finished"]:
            return {**state, "written": True}
        return self._after_round(state, results)

    def _after_round(self, state: dict[str, Any], results: Results) -> dict[str, Any]:
        number = state["round"] + 1
        tasks = {name: f"refine-{number}-{name}" for name in self._candidates(state)}
        energies, failed = _energies(results, tasks)
        lost = set(tasks) - set(energies)
        screened = selection.without(state["screened"], lost)
        # A material that was not in the round before is compared with its coarse energy.
        before = {name: state["refined"].get(name, screened[name]) for name in energies}
        keep = min(self.settings.keep, len(screened))
        questions = [
            f"{name} may belong to the best {keep}"
            for name in selection.challengers(screened, energies, keep, self.settings.margin_ev)
        ] + selection.unsettled(before, energies, keep, self.settings.tolerance_ev)
        if number == 1:
            questions.append("there is one fine grid only")
        reports = {name: task for name, task in state["reports"].items() if name not in lost}
        return {
            **state,
            "round": number,
            "screened": screened,
            "before": before,
            "refined": energies,
            "failed": {**state["failed"], **failed},
            "reports": {**reports, **{name: tasks[name] for name in energies}},
            "open_questions": questions,
            "finished": not questions or number >= self.settings.max_rounds or not screened,
        }

    def _candidates(self, state: Mapping[str, Any]) -> list[str]:
        """Materials of the next round: all that were refined, and those that challenge the best of them."""
        screened, refined = state["screened"], state["refined"]
        keep = min(self.settings.keep, len(screened))
        return [*sorted(refined), *selection.challengers(screened, refined, keep, self.settings.margin_ev)]

    def _screen(self) -> Workflow:
        spacing = self.settings.coarse_angstrom
        tasks = [_barrier_task(f"screen-{name}", name, spacing, SCREENING) for name in self.materials]
        return Workflow(tasks, name=f"stage 1: {len(tasks)} materials, {spacing:g} angstrom")

    def _refine(self, state: Mapping[str, Any]) -> Workflow:
        number = state["round"] + 1
        spacing = self.settings.spacing(number)
        tasks = [
            _barrier_task(f"refine-{number}-{name}", name, spacing, REFINING, before=state["reports"][name])
            for name in self._candidates(state)
        ]
        return Workflow(tasks, name=f"stage 2, round {number}: {len(tasks)} materials, {spacing:g} angstrom")

    def _write_ranking(self, state: Mapping[str, Any]) -> Workflow:
        reports = {f"reports/{name}.json": f"{task}/result.json" for name, task in state["reports"].items()}
        task = Task(
            RANKING_TASK,
            command=["python", "ranking.py"],
            files={
                "ranking.py": HERE / "ranking.py",
                **{
                    f"structures/{name}.json": HERE / "structures" / f"{name}.json"
                    for name in state["reports"]
                },
            },
            inputs=reports,
            outputs=["ranking.json", "ranking.md", "ranking.svg"],
            params={
                "refined": selection.ranked(state["refined"]),
                "keep": min(self.settings.keep, len(state["screened"])),
                "rounds": state["round"],
                "tolerance_ev": self.settings.tolerance_ev,
                "open_questions": state["open_questions"],
                "failed": state["failed"],
            },
            resources=Resources(cpus=1, memory_mib=300, walltime_s=60),
            env=ONE_THREAD,
        )
        return Workflow([task], name="ranking")


def _barrier_task(
    task_id: str, material: str, spacing: float, resources: Resources, *, before: str | None = None
) -> Task:
    """One crystal on one grid.  Its failure costs this material its place, and the campaign nothing."""
    return Task(
        task_id,
        command=["python", "barrier.py"],
        files={
            **{name: HERE / name for name in PHYSICS},
            "parameters.json": HERE / "parameters.json",
            "structure.json": HERE / "structures" / f"{material}.json",
        },
        inputs={"before.json": f"{before}/result.json"} if before else {},
        outputs=["result.json", "landscape.npz"],
        params={"material": material, "spacing_angstrom": spacing},
        resources=resources,
        env=ONE_THREAD,
        allow_failure=True,
    )


def _energies(results: Results, tasks: Mapping[str, str]) -> tuple[dict[str, float], dict[str, str]]:
    """Activation energy by material of those tasks that succeeded, and the reasons of those that did not."""
    energies, failed = {}, {}
    for name, task in tasks.items():
        result = results[task]
        if result.succeeded:
            energies[name] = float(result.data["activation_ev"])
        else:
            failed[task] = result.reason or str(result.status)
    return energies, failed


def get_campaign(params: dict[str, Any]) -> BatteryScreeningCampaign:
    settings = Settings.of(params)
    there = sorted(path.stem for path in (HERE / "structures").glob("*.json"))
    if unknown := sorted(set(settings.materials) - set(there)):
        raise ValueError(
            f"params.materials: {', '.join(unknown)}: no such structure; there are: {', '.join(there)}"
        )
    return BatteryScreeningCampaign(settings, list(dict.fromkeys(settings.materials)) or there)
