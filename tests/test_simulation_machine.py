"""People, crashes and outages in any order, on whole engines, against a model of what a run may become."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import attrs
import trio
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from matterstack.core.ids import RunId
from matterstack.core.run.messages import Cancel, Command, Pause, Resume, Retry
from matterstack.core.states import ENDED_RUNS, RunStatus
from matterstack.storage.commands import command_outcome
from tests.simulation.mortal import Doom
from tests.simulation.scenario import Scenario, scenario
from tests.simulation.stage import Stage

_RUNNING, _PAUSED, _CANCELLED = RunStatus.RUNNING, RunStatus.PAUSED, RunStatus.CANCELLED
_ACCEPTED_IN = {
    Pause: {RunStatus.RUNNING},
    Resume: {RunStatus.PAUSED},
    Cancel: {RunStatus.PENDING, RunStatus.RUNNING, RunStatus.PAUSED},
    Retry: {RunStatus.FAILED},
}
numbers = st.integers(0, 1 << 16)


@attrs.define
class ModelRun:
    """What is known of a run for sure.

    Attributes:
        asked: a command that was not answered yet, what it asks for, and where the run stood then.
        paused_with: it is PAUSED, acknowledged, and had so many jobs then; None: it is not.
        is_ending: a cancel was accepted: no pause and no resume is any more.
        is_cancelled: it was CANCELLED, and stays so.
    """

    asked: tuple[str, Command, RunStatus] | None = None
    paused_with: int | None = None
    is_ending: bool = False
    is_cancelled: bool = False


class RunsAgainstModel(RuleBasedStateMachine):
    """Rules act; the model says what the answers and the states must be."""

    stage: Stage
    model: dict[RunId, ModelRun]

    @initialize(seed=numbers)
    def begin(self, seed: int) -> None:
        self.stage = Stage(_quieter(scenario(seed)))
        self._pass(5)
        self.model = {run_id: ModelRun() for run_id in self.stage.world.runs}

    # ---- people ----

    @rule(which=numbers, wait_s=st.sampled_from([0.0, 1.0, 300.0]))
    def pause(self, which: int, wait_s: float) -> None:
        self._ask(which, Pause(by="eva"), wait_s)

    @rule(which=numbers, wait_s=st.sampled_from([0.0, 1.0, 300.0]))
    def resume(self, which: int, wait_s: float) -> None:
        self._ask(which, Resume(by="eva"), wait_s)

    @rule(which=numbers, wait_s=st.sampled_from([0.0, 300.0]))
    def cancel(self, which: int, wait_s: float) -> None:
        self._ask(which, Cancel(by="eva"), wait_s)

    @rule(which=numbers, wait_s=st.sampled_from([0.0, 300.0]))
    def retry(self, which: int, wait_s: float) -> None:
        self._ask(which, Retry(by="eva"), wait_s)

    def _ask(self, which: int, request: Command, wait_s: float) -> None:
        run_id = self.stage.world.runs[which % len(self.stage.world.runs)]
        run = self.model[run_id]
        if run.asked is None:

            async def ask() -> None:
                status = self.stage.world.judge.statuses()[run_id]
                run.asked = (self.stage.world.ask(run_id, request), request, status)

            self.stage.step(ask)
        self._pass(wait_s)

    # ---- fate ----

    @rule(seconds=st.sampled_from([1.0, 60.0, 900.0, 7200.0]))
    def time_passes(self, seconds: float) -> None:
        self._pass(seconds)

    @rule(which=numbers, is_clean=st.booleans())
    def an_engine_ends(self, which: int, is_clean: bool) -> None:
        life = self.stage.world.lives[which % len(self.stage.world.lives)]
        self.stage.step(partial(_do, lambda: life.end(is_clean=is_clean)))
        self._pass(1)

    @rule(
        which=numbers,
        event=st.sampled_from(["commit", "call", "sbatch", "scancel"]),
        delay_s=st.floats(0, 20),
    )
    def an_engine_will_end_at(self, which: int, event: str, delay_s: float) -> None:
        life = self.stage.world.lives[which % len(self.stage.world.lives)]
        life.doom = Doom(event, 1 + which % 3, delay_s)
        self._pass(60)

    @precondition(lambda self: self.stage.world.dead)
    @rule()
    def the_engines_are_started_again(self) -> None:
        self._restart()
        self._pass(1)

    @rule()
    def the_controller_breaks(self) -> None:
        self.stage.world.cluster.controller_is_up = False

    @rule()
    def the_controller_is_back(self) -> None:
        self.stage.world.cluster.controller_is_up = True

    @rule()
    def the_accounting_breaks_or_is_back(self) -> None:
        cluster = self.stage.world.cluster
        cluster.accounting_is_up = not cluster.accounting_is_up

    def _restart(self) -> None:
        for number in self.stage.world.dead:
            self.stage.step(partial(_do, partial(self.stage.world.restart, number)))

    def _pass(self, seconds: float) -> None:
        self.stage.step(partial(trio.sleep, seconds))

    # ---- what must hold ----

    @invariant()
    def no_promise_is_broken(self) -> None:
        assert self.stage.world.judge.broken == []

    @invariant()
    def answers_and_states_are_those_of_the_model(self) -> None:
        statuses = self.stage.world.judge.statuses()
        for run_id, run in self.model.items():
            if run.asked is not None:
                self._compare_answer(run_id, run, statuses[run_id])
            if run.paused_with is not None:
                assert statuses[run_id] is _PAUSED, f"{run_id} is paused, and nobody asked for more"
                assert self._jobs(run_id) == run.paused_with, f"{run_id} is paused, and got a job"
            if run.is_cancelled:
                assert statuses[run_id] is _CANCELLED
                assert list(self.stage.world.judge.live_jobs(run_id)) == []
            run.is_cancelled |= statuses[run_id] is _CANCELLED

    def _compare_answer(self, run_id: RunId, run: ModelRun, status: RunStatus) -> None:
        assert run.asked is not None
        command_id, request, before = run.asked
        outcome = command_outcome(self.stage.world.connection, command_id)
        if outcome is None:
            # It may have been carried out at this very moment; what it asks for holds from the answer on.
            run.paused_with = run.paused_with if isinstance(request, Pause) else None
            return
        run.asked = None
        may_be = _may_be_accepted(request, before, is_ending=run.is_ending)
        assert outcome["ok"] in may_be, f"{request} of a run that was {before} was answered {outcome}"
        if not outcome["ok"]:
            return
        match request:
            case Pause():
                assert status is _PAUSED
                run.paused_with = self._jobs(run_id)
            case Resume():
                run.paused_with = None
            case Cancel():
                run.paused_with, run.is_ending = None, True
            case _:
                pass

    def _jobs(self, run_id: RunId) -> int:
        jobs = self.stage.world.cluster.jobs.values()
        return sum(run_id in job.folder.parts and job.first is None for job in jobs)

    def teardown(self) -> None:
        if not hasattr(self, "model"):
            return
        try:
            world = self.stage.world
            world.cluster.controller_is_up = world.cluster.accounting_is_up = True
            for life in world.lives:
                life.doom = None
            self._pass(60)
            self._restart()
            self.stage.step(world.see_to_the_end)
            world.judge.judge()
            assert set(world.judge.statuses().values()) <= ENDED_RUNS
        finally:
            self.stage.close()


def _may_be_accepted(request: Command, before: RunStatus, *, is_ending: bool) -> set[bool]:
    """Which answers are right for a request to a run that stood so when it was made."""
    if isinstance(request, Pause | Resume) and is_ending:
        return {False}
    if isinstance(request, Cancel) and (is_ending or before is _CANCELLED):
        return {True, False}  # once more changes nothing; after the end it is refused
    if isinstance(request, Retry) and before not in ENDED_RUNS:
        return {True, False}  # that is a question of its tasks
    # A run that works may have come to its end, and one that waits may have begun, before the answer.
    has_moved = ENDED_RUNS | {_RUNNING} if before in {_RUNNING, RunStatus.PENDING} else frozenset[RunStatus]()
    return {status in _ACCEPTED_IN[type(request)] for status in {before, *has_moved}}


async def _do(what: Any) -> None:
    what()


def _quieter(what: Scenario) -> Scenario:
    """Outages are up to the rules."""
    faults = attrs.evolve(what.faults, outage_every_s=math.inf, accounting_outage_every_s=math.inf)
    return attrs.evolve(what, faults=faults, actions=())


TestRunsAgainstModel = RunsAgainstModel.TestCase
TestRunsAgainstModel.settings = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
