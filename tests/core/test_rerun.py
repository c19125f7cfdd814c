"""A person has ended tasks run again: which ones, in which states, and what becomes of the run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from matterstack.core.errors import IllegalTransitionError, NotFoundError, RefusedError
from matterstack.core.ids import TaskId
from matterstack.core.model.workflow import Task, Workflow
from matterstack.core.run import messages as m
from matterstack.core.run.decide_planning import wants_analysis, wants_plan
from matterstack.core.states import JobState, RunStatus
from tests.support.states import ToldRun, chain, comparable, kinds, task

RESUME_HINT = "only a PAUSED run can be resumed"


def rerun(*names: str, recursive: bool = False) -> m.Rerun:
    return m.Rerun(by="ann", tasks=[TaskId(name) for name in names], recursive=recursive)


def completed(*tasks: Task) -> ToldRun:
    """All tasks of a chain of three (or these) succeeded, were analyzed, and the plan said that is all."""
    run = ToldRun.running(*(tasks or chain(3)))
    run.succeed(*run.state.tasks)
    run.tell(m.Analyzed(iteration=1, state={"best": 1}), m.Planned(iteration=2, workflow=None))
    assert run.state.status is RunStatus.COMPLETED
    return run


def failed() -> ToldRun:
    run = ToldRun.running(*chain(3))
    run.succeed("t0")
    run.fail("t1")
    run.tell(m.Settle())
    assert run.statuses() == {"t0": "SUCCEEDED", "t1": "FAILED", "t2": "SKIPPED"}
    return run


def running() -> ToldRun:
    run = ToldRun.running(*chain(3))
    run.succeed("t0")
    return run


def paused() -> ToldRun:
    run = running()
    run.tell(m.Pause(by="ann"))
    return run


def cancelled() -> ToldRun:
    run = running()
    run.tell(m.Cancel(by="ann"), m.Settle())
    return run


def cancelling() -> ToldRun:
    run = running()
    run.activate("t1")
    run.tell(m.Cancel(by="ann"))
    return run


def failing() -> ToldRun:
    run = running()
    run.activate("t1")
    run.tell(m.Fail(reason="crashed"))
    return run


@pytest.mark.parametrize(
    ("make", "facts"),
    [
        (completed, ["RunReopened", "TaskReopened"]),
        (failed, ["RunReopened", "TaskReopened"]),
        (running, ["TaskReopened"]),
        (paused, ["TaskReopened"]),
    ],
)
def test_an_ended_task_is_reopened_and_its_run_with_it(make: Callable[[], ToldRun], facts: list[str]) -> None:
    run = make()
    before = run.state.tasks[TaskId("t0")].attempts[:]
    assert kinds(run.tell(rerun("t0"))) == facts
    assert run.statuses()["t0"] == "READY"
    assert run.state.tasks[TaskId("t0")].attempts == before, "what was done stays as it was"
    if make is not paused:
        assert run.state.status is RunStatus.RUNNING
        run.succeed("t0")
        assert len(run.state.tasks[TaskId("t0")].attempts) == 2


@pytest.mark.parametrize(
    ("make", "words", "hint"),
    [
        (cancelled, "is CANCELLED and cannot become RUNNING", "nothing reopens a cancelled run"),
        (cancelling, "being cancelled by ann; it is RUNNING", "while the run is being ended"),
        (failing, "ending its jobs, because: crashed; it is RUNNING", "while the run is being ended"),
    ],
)
def test_a_run_that_is_cancelled_or_being_ended_stays_so(
    make: Callable[[], ToldRun], words: str, hint: str
) -> None:
    run = make()
    before = comparable(run.state)
    with pytest.raises(IllegalTransitionError, match=words) as refused:
        run.tell(rerun("t0"))
    assert hint in refused.value.hint
    assert comparable(run.state) == before


@pytest.mark.parametrize(
    ("names", "error", "words"),
    [
        (["nobody"], NotFoundError, "has no task 'nobody'"),
        (["t0", "t1"], IllegalTransitionError, "task t1 is ACTIVE and cannot become READY"),
        (["t2"], IllegalTransitionError, "task t2 is WAITING and cannot become READY"),
        ([], RefusedError, "name the tasks"),
    ],
)
def test_only_tasks_that_have_ended_can_be_named(
    names: list[str], error: type[Exception], words: str
) -> None:
    run = running()
    run.activate("t1")
    before = comparable(run.state)
    with pytest.raises(error, match=words):
        run.tell(rerun(*names))
    assert comparable(run.state) == before


def test_a_pending_run_has_nothing_to_rerun() -> None:
    with pytest.raises(NotFoundError, match="has no task 't0'"):
        ToldRun.new().tell(rerun("t0"))


def test_a_completed_run_is_analyzed_again_and_completes() -> None:
    run = completed()
    run.tell(rerun("t1"))
    assert run.statuses() == {"t0": "SUCCEEDED", "t1": "READY", "t2": "SUCCEEDED"}
    assert run.state.campaign_state == {}, "what the iteration was planned from"
    assert not wants_analysis(run.state)
    run.succeed("t1")
    assert wants_analysis(run.state)
    run.tell(m.Analyzed(iteration=1, state={"best": 2}), m.Planned(iteration=2, workflow=None))
    assert (run.state.status, run.state.campaign_state) == (RunStatus.COMPLETED, {"best": 2})


def test_a_run_that_was_being_planned_analyzes_the_new_result_first() -> None:
    run = ToldRun.running(task("a"))
    run.succeed("a")
    run.tell(m.Analyzed(iteration=1, state={"best": 1}))
    assert wants_plan(run.state)
    run.tell(rerun("a"))
    run.succeed("a")
    assert run.tell(m.Planned(iteration=2, workflow=None)) == [], "it was planned from the old result"
    assert wants_analysis(run.state)
    assert run.state.campaign_state == {}


def test_a_run_whose_planning_failed_analyzes_the_new_result_first() -> None:
    run = ToldRun.running(task("a"))
    run.succeed("a")
    run.tell(m.Analyzed(iteration=1, state={"best": 1}), m.PlanningFailed(reason="KeyError"))
    run.tell(rerun("a"))
    run.succeed("a")
    assert wants_analysis(run.state)


def test_with_its_dependents_a_task_is_run_again_in_the_order_of_the_graph() -> None:
    run = completed()
    facts = run.tell(rerun("t0", recursive=True))
    assert [getattr(fact, "task_id", None) for fact in facts] == [None, "t0", "t1", "t2"]
    assert run.statuses() == {"t0": "READY", "t1": "WAITING", "t2": "WAITING"}
    run.succeed("t0", "t1", "t2")
    assert set(run.statuses().values()) == {"SUCCEEDED"}


@pytest.mark.parametrize("names", [("t0", "t2"), ("t2", "t0")])
def test_the_order_in_which_tasks_are_named_does_not_matter(names: tuple[str, str]) -> None:
    run = completed()
    run.tell(rerun(*names))
    assert run.statuses() == {"t0": "READY", "t1": "SUCCEEDED", "t2": "READY"}
    run = completed(task("a"), task("b", "a"))
    run.tell(rerun("b", "a"))
    assert run.statuses() == {"a": "READY", "b": "WAITING"}


def test_dependents_behind_one_that_is_to_run_anyway_are_found_too() -> None:
    run = completed()
    run.tell(rerun("t1"))
    run.tell(rerun("t0", recursive=True))
    assert run.statuses() == {"t0": "READY", "t1": "WAITING", "t2": "WAITING"}


def test_a_dependent_that_is_running_has_to_end_first() -> None:
    run = running()
    run.activate("t1")
    with pytest.raises(
        IllegalTransitionError, match="task t1, which depends on what is to be rerun, is ACTIVE"
    ):
        run.tell(rerun("t0", recursive=True))
    run.tell(rerun("t0"))
    assert run.statuses() == {"t0": "READY", "t1": "ACTIVE", "t2": "WAITING"}


def test_skipped_dependents_go_on_with_the_failed_task_before_them() -> None:
    run = failed()
    run.tell(rerun("t1"))
    assert run.statuses() == {"t0": "SUCCEEDED", "t1": "READY", "t2": "WAITING"}


@pytest.mark.parametrize("recursive", [False, True])
def test_what_another_failure_holds_back_stays_skipped(recursive: bool) -> None:
    run = ToldRun.running(task("a"), task("b"), task("both", "a", "b"), task("last", "both"))
    run.fail("a", "b")
    run.tell(m.Settle(), rerun("a", recursive=recursive))
    assert run.statuses() == {"a": "READY", "b": "FAILED", "both": "SKIPPED", "last": "SKIPPED"}
    run.succeed("a")
    run.tell(m.Settle())
    assert run.state.status is RunStatus.FAILED


@pytest.mark.parametrize("request_", [rerun("t2"), rerun("t2", recursive=True)])
def test_a_skipped_task_alone_would_wait_for_ever(request_: m.Rerun) -> None:
    run = failed()
    with pytest.raises(RefusedError, match="task t2 depends on task t1, which is FAILED") as refused:
        run.tell(request_)
    assert refused.value.hint == "name t1 instead, or as well"
    run.tell(rerun("t2", "t1"))
    assert run.statuses() == {"t0": "SUCCEEDED", "t1": "READY", "t2": "WAITING"}


def test_a_retry_behind_a_task_that_failed_when_it_was_rerun_is_refused_too() -> None:
    run = ToldRun.running(task("a"), task("b", "a"))
    run.succeed("a")
    run.fail("b")
    run.tell(m.Settle(), rerun("a"))
    run.fail("a")
    run.tell(m.Settle())
    with pytest.raises(RefusedError, match="task b depends on task a, which is FAILED"):
        run.tell(m.Retry(by="ann", tasks=[TaskId("b")]))
    run.tell(m.Retry(by="ann"))
    assert run.statuses() == {"a": "READY", "b": "WAITING"}


def test_a_task_is_not_tried_again_behind_one_that_failed_meanwhile() -> None:
    """It would wait for ever, and its run with it."""
    run = ToldRun.running(task("a"), task("b", "a", retries=3))
    run.succeed("a")
    run.activate("b")
    run.tell(rerun("a"))
    run.fail("a")
    run.end("b", JobState.COMPLETED_ERROR)
    run.collect("b")
    run.tell(m.Settle())
    assert run.statuses() == {"a": "FAILED", "b": "FAILED"}
    assert run.state.status is RunStatus.FAILED


def test_what_the_end_of_the_run_cancelled_goes_on_with_a_rerun() -> None:
    run = ToldRun.running(task("a"), task("b", "a"), task("c"))
    run.prepare(1)
    run.submit("a")
    run.end("a")
    run.collect("a")
    run.tell(m.Fail(reason="crashed"), m.Settle())
    assert run.statuses() == {"a": "SUCCEEDED", "b": "CANCELLED", "c": "CANCELLED"}
    run.tell(rerun("a"))
    assert run.statuses() == {"a": "READY", "b": "WAITING", "c": "READY"}


def test_a_task_of_an_earlier_iteration_holds_the_later_one_back_until_it_has_run() -> None:
    run = ToldRun.running(task("a"))
    run.succeed("a")
    from_a = task("b", "a")
    run.tell(m.Analyzed(iteration=1, state={}), m.Planned(iteration=2, workflow=Workflow([from_a])))
    run.tell(rerun("a"))
    assert run.statuses() == {"a": "READY", "b": "WAITING"}
    run.succeed("a", "b")
    assert wants_analysis(run.state)


@pytest.mark.parametrize("make", [ToldRun.new, running, completed, failed, cancelled, cancelling])
def test_who_resumes_what_is_not_paused_is_told_so(make: Callable[[], ToldRun]) -> None:
    with pytest.raises(IllegalTransitionError) as refused:
        make().tell(m.Resume(by="ann"))
    assert refused.value.hint == RESUME_HINT
