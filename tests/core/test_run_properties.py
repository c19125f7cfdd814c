"""What holds for any run, whatever it is told, in whatever order."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from matterstack.core.run import facts as f
from matterstack.core.run import messages as m
from matterstack.core.run.decide_planning import wants_analysis, wants_plan
from matterstack.core.states import RunStatus, TaskStatus
from tests.support.random_runs import PROGRAMS, Step, steps
from tests.support.states import ToldRun, comparable, derived, kinds, recomputed

_T = TypeVar("_T", bound=f.Fact)
MANY = settings(max_examples=80, deadline=None)
Program = list[Step]


def facts_of(run: ToldRun, kind: type[_T]) -> Iterable[_T]:
    return (fact for _, fact in run.facts if isinstance(fact, kind))


@MANY
@given(PROGRAMS)
def test_what_is_kept_step_by_step_is_what_a_recomputation_gives(program: Program) -> None:
    run = ToldRun.new(max_hpc_jobs_per_run=3, hold_after_alike=2)
    for told in steps(run, program):
        assert derived(run.state) == recomputed(run.state), told.message


@MANY
@given(PROGRAMS)
def test_a_task_is_ready_exactly_when_it_waits_for_nothing(program: Program) -> None:
    run = ToldRun.new(max_hpc_jobs_per_run=3, hold_after_alike=2)
    for _ in steps(run, program):
        unmet = recomputed(run.state)["unmet"]
        for task_id, task in run.state.tasks.items():
            assert task.status is not TaskStatus.READY or unmet[task_id] == 0, task_id
            assert task.status is not TaskStatus.WAITING or unmet[task_id] > 0, task_id


@MANY
@given(PROGRAMS, st.integers(1, 4))
def test_live_attempts_never_exceed_the_cap_of_the_run(program: Program, cap: int) -> None:
    run = ToldRun.new(max_hpc_jobs_per_run=cap)
    for _ in steps(run, program):
        assert len(run.state.live) <= cap


@MANY
@given(PROGRAMS)
def test_attempts_are_prepared_only_while_the_run_is_running(program: Program) -> None:
    run = ToldRun.new(max_hpc_jobs_per_run=3, hold_after_alike=2)
    was_running = True
    for told in steps(run, program):
        if "AttemptPrepared" in kinds(told.facts):
            assert was_running
        was_running = run.state.may_submit


@MANY
@given(PROGRAMS)
def test_all_facts_from_the_start_give_the_same_state(program: Program) -> None:
    run = ToldRun.new(max_hpc_jobs_per_run=3, hold_after_alike=2)
    for _ in steps(run, program):
        pass
    assert comparable(run.refolded()) == comparable(run.state)


@MANY
@given(PROGRAMS)
def test_a_run_that_has_ended_changes_only_by_a_retry_or_an_amendment(program: Program) -> None:
    run = ToldRun.new(max_hpc_jobs_per_run=3, hold_after_alike=2)
    before = copy.deepcopy(comparable(run.state))
    for told in steps(run, program):
        has_ended = told.was in {RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED}
        may_change = isinstance(told.message, m.Retry | m.AmendTasks | m.AmendConfig | m.Replan)
        if has_ended and not (may_change and told.was is not RunStatus.CANCELLED):
            assert told.facts == []
            assert comparable(run.state) == before
        if run.state.has_ended:
            before = copy.deepcopy(comparable(run.state))


@MANY
@given(PROGRAMS)
def test_an_amendment_leaves_a_run_as_it_is_unless_it_is_held_so(program: Program) -> None:
    run = ToldRun.new(max_hpc_jobs_per_run=3, hold_after_alike=2)
    for told in steps(run, program):
        amended = {m.AmendTasks: f.TaskAmended, m.AmendConfig: f.ConfigAmended}.get(type(told.message))
        if amended is None:
            continue
        # On a backend that is one machine now, the failures of one node count for all of it.
        held = [fact for fact in told.facts if isinstance(fact, f.RunPaused)]
        assert not held or (amended is f.ConfigAmended and told.was is RunStatus.RUNNING), told
        assert all(fact.alike for fact in held)
        assert run.state.status is (RunStatus.PAUSED if held else told.was)
        assert {type(fact) for fact in told.facts} <= {amended, f.TaskResubmitRequested, f.RunPaused}, told


@MANY
@given(PROGRAMS)
def test_a_run_that_has_ended_has_left_nothing_open(program: Program) -> None:
    run = ToldRun.new(max_hpc_jobs_per_run=3, hold_after_alike=2)
    for _ in steps(run, program):
        if run.state.has_ended:
            assert not run.state.live, "a job may still run"
            assert not run.state.collecting
            assert run.state.open_count == 0
        if run.state.status is RunStatus.COMPLETED:
            assert not run.state.hard_failures
            ended = [t for t in run.state.tasks.values() if t.status is TaskStatus.CANCELLED]
            assert all(task.cancellation is not None for task in ended), "but for what a person cancelled"
            assert ended or not run.state.counts[TaskStatus.SKIPPED]


@MANY
@given(PROGRAMS)
def test_a_running_run_always_has_something_that_can_advance_it(program: Program) -> None:
    run = ToldRun.new(max_hpc_jobs_per_run=3, hold_after_alike=2)
    for told in steps(run, program):
        state = run.state
        if state.may_submit and not state.live and not state.collecting and not any(state.ready.values()):
            assert wants_plan(state) or wants_analysis(state), told.message
        assert not (wants_plan(state) and wants_analysis(state))


@MANY
@given(PROGRAMS)
def test_each_attempt_is_prepared_once_ends_once_and_has_one_job(program: Program) -> None:
    run = ToldRun.new(max_hpc_jobs_per_run=3, hold_after_alike=2)
    for _ in steps(run, program):
        pass
    prepared = [fact.token for fact in facts_of(run, f.AttemptPrepared)]
    accepted = [fact.token for fact in facts_of(run, f.JobAccepted)]
    ended = [
        fact.token
        for _, fact in run.facts
        if isinstance(fact, f.JobEnded | f.SubmissionRefused | f.SubmissionWithdrawn)
    ]
    for tokens in (prepared, accepted, ended):
        assert len(tokens) == len(set(tokens))
    assert set(ended) | set(run.state.live) == set(prepared)
    assert not set(ended) & set(run.state.live)


@MANY
@given(PROGRAMS)
def test_between_a_pause_and_what_ends_it_nothing_is_prepared(program: Program) -> None:
    run = ToldRun.new(max_hpc_jobs_per_run=3, hold_after_alike=2)
    for _ in steps(run, program):
        pass
    paused = False
    for name in kinds([fact for _, fact in run.facts]):
        paused = (paused or name == "RunPaused") and name not in {"RunResumed", "RunReopened"}
        assert not (paused and name == "AttemptPrepared")


@MANY
@given(PROGRAMS)
def test_what_a_person_cancelled_stays_so_until_it_is_named(program: Program) -> None:
    run = ToldRun.new(max_hpc_jobs_per_run=3, hold_after_alike=2)
    cancelled: set[str] = set()
    for told in steps(run, program):
        named = set(getattr(told.message, "tasks", ()))
        for fact in told.facts:
            match fact:
                case f.TaskCancelled(by=by, because=None) | f.TaskCancelRequested(by=by, because=None) if by:
                    cancelled.add(fact.task_id)
                case f.TaskReopened():
                    assert fact.task_id not in cancelled - named, told.message
                    cancelled.discard(fact.task_id)
                case f.TaskSucceeded():
                    cancelled.discard(fact.task_id)
                case _:
                    pass


@MANY
@given(PROGRAMS)
def test_a_task_that_is_being_cancelled_ends_cancelled_or_was_done_in_time(program: Program) -> None:
    run = ToldRun.new(max_hpc_jobs_per_run=3, hold_after_alike=2)
    asked: set[str] = set()
    for told in steps(run, program):
        for fact in told.facts:
            if isinstance(fact, f.TaskCancelRequested):
                asked.add(fact.task_id)
            elif isinstance(fact, f.TaskAmended | f.TaskReplanned):
                continue  # what it is may change while its job is being ended
            elif getattr(fact, "task_id", None) in asked:
                assert isinstance(fact, f.TaskCancelled | f.TaskSucceeded), told.message
                asked.discard(fact.task_id)
