"""What people ask for: start, pause, resume, cancel, fail, retry; and the end of a run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from matterstack.core.errors import IllegalTransitionError, NotFoundError, RefusedError
from matterstack.core.ids import TaskId
from matterstack.core.run import facts as f
from matterstack.core.run import messages as m
from matterstack.core.states import JobState, Phase, RunStatus
from tests.support.states import ToldRun, chain, comparable, kinds, task

PAUSE = m.Pause(by="ann", reason="maintenance")
RESUME = m.Resume(by="ann")
CANCEL = m.Cancel(by="ann", reason="wrong input")
FAIL = m.Fail(reason="its actor crashed")
RETRY = m.Retry(by="bob")


def pending() -> ToldRun:
    return ToldRun.new()


def running() -> ToldRun:
    return ToldRun.running(task("a"))


def paused() -> ToldRun:
    run = running()
    run.tell(PAUSE)
    return run


def with_a_job(*requests: m.Message) -> ToldRun:
    run = ToldRun.running(task("a"))
    run.activate("a")
    run.tell(*requests)
    return run


def cancelling() -> ToldRun:
    return with_a_job(CANCEL)


def failing() -> ToldRun:
    return with_a_job(FAIL)


def completed() -> ToldRun:
    run = ToldRun.running()
    run.tell(m.Planned(iteration=1, workflow=None))
    return run


def failed() -> ToldRun:
    run = running()
    run.fail("a")
    run.tell(m.Settle())
    return run


def cancelled() -> ToldRun:
    run = running()
    run.tell(CANCEL, m.Settle())
    return run


State = Callable[[], ToldRun]
STATES: tuple[State, ...] = (
    pending, running, paused, cancelling, failing, completed, failed, cancelled,
)  # fmt: skip

ANSWERS: dict[m.Message, dict[State, list[str] | str]] = {
    m.Start(): {
        pending: ["RunStarted"], running: [], paused: [], cancelling: [], failing: [], completed: [],
        failed: [], cancelled: [],
    },
    PAUSE: {
        pending: "PENDING and cannot become PAUSED",
        running: ["RunPaused"],
        paused: "PAUSED and cannot become PAUSED",
        cancelling: "is being cancelled by ann: wrong input; it is RUNNING and cannot become PAUSED",
        failing: "its actor crashed; it is RUNNING and cannot become PAUSED",
        completed: "COMPLETED and cannot become PAUSED",
        failed: "FAILED and cannot become PAUSED",
        cancelled: "CANCELLED and cannot become PAUSED",
    },
    RESUME: {
        pending: "PENDING and cannot become RUNNING",
        running: "RUNNING and cannot become RUNNING",
        paused: ["RunResumed"],
        cancelling: "cannot become RUNNING",
        failing: "cannot become RUNNING",
        completed: "COMPLETED and cannot become RUNNING",
        failed: "FAILED and cannot become RUNNING",
        cancelled: "CANCELLED and cannot become RUNNING",
    },
    CANCEL: {
        pending: ["RunCancelRequested"],
        running: ["RunCancelRequested"],
        paused: ["RunCancelRequested"],
        cancelling: [],
        failing: ["RunCancelRequested"],
        completed: "COMPLETED and cannot become CANCELLED",
        failed: "FAILED and cannot become CANCELLED",
        cancelled: "CANCELLED and cannot become CANCELLED",
    },
    FAIL: {
        pending: ["RunFailureRequested"],
        running: ["RunFailureRequested"],
        paused: ["RunFailureRequested"],
        cancelling: [],
        failing: [],
        completed: [],
        failed: [],
        cancelled: [],
    },
    RETRY: {
        pending: "has no failed task to retry",
        running: "has no failed task to retry",
        paused: "has no failed task to retry",
        cancelling: "RUNNING and cannot become RUNNING",
        failing: "RUNNING and cannot become RUNNING",
        completed: "COMPLETED and has no failed task to retry",
        failed: ["RunReopened", "TaskReopened"],
        cancelled: "CANCELLED and cannot become RUNNING",
    },
}  # fmt: skip
CASES = [
    pytest.param(message, state, ANSWERS[message][state], id=f"{type(message).__name__}-{state.__name__}")
    for message in ANSWERS
    for state in STATES
]


@pytest.mark.parametrize(("message", "state", "answer"), CASES)
def test_each_request_is_carried_out_or_refused_in_each_state(
    message: m.Message, state: State, answer: list[str] | str
) -> None:
    run = state()
    before = comparable(run.state)
    if isinstance(answer, list):
        assert kinds(run.tell(message)) == answer
        return
    with pytest.raises(RefusedError, match=answer):
        run.tell(message)
    assert comparable(run.state) == before, "a refusal changes nothing"


def test_the_status_of_a_run_says_who_paused_it_and_why_until_it_goes_on() -> None:
    run = paused()
    assert (run.state.status, run.state.status_reason) == ("PAUSED", "paused by ann: maintenance")
    run.tell(RESUME)
    assert (run.state.status, run.state.status_reason) == ("RUNNING", "")


@pytest.mark.parametrize("state", [pending, running, paused])
def test_a_run_without_jobs_is_cancelled_at_once_with_all_its_tasks(state: State) -> None:
    run = state()
    run.tell(CANCEL, m.Settle())
    assert (run.state.status, run.state.status_reason) == ("CANCELLED", "cancelled by ann: wrong input")
    assert set(run.statuses().values()) <= {"CANCELLED"}
    assert run.state.ending is None


def test_a_cancel_waits_for_the_last_job_and_says_so_meanwhile() -> None:
    run = cancelling()
    assert run.tell(m.Settle()) == []
    assert run.state.status_reason == "being cancelled by ann: wrong input"
    facts = run.end("a", JobState.CANCELLED)
    assert kinds(facts) == ["JobEnded", "TaskCancelled"]
    assert kinds(run.tell(m.Settle())) == ["RunCancelled"]
    assert run.statuses() == {"a": "CANCELLED"}


def test_a_job_that_ended_well_during_a_cancel_still_counts() -> None:
    run = cancelling()
    run.end("a")
    assert run.tell(m.Settle()) == [], "its outputs are still to be looked at"
    run.collect("a")
    run.tell(m.Settle())
    assert run.statuses() == {"a": "SUCCEEDED"}
    assert run.state.status is RunStatus.CANCELLED


def test_a_cancel_while_the_run_is_failing_makes_it_cancelled() -> None:
    run = failing()
    run.tell(CANCEL)
    run.end("a", JobState.CANCELLED)
    run.tell(m.Settle())
    assert (run.state.status, run.state.status_reason) == ("CANCELLED", "cancelled by ann: wrong input")


def test_a_failure_while_the_run_is_being_cancelled_leaves_it_cancelled() -> None:
    run = cancelling()
    run.tell(FAIL)
    run.end("a", JobState.CANCELLED)
    run.tell(m.Settle())
    assert run.state.status is RunStatus.CANCELLED


def test_a_failing_run_ends_its_jobs_first_and_gives_its_reason() -> None:
    run = failing()
    assert run.tell(m.Settle()) == []
    assert run.state.status_reason == "ending its jobs, because: its actor crashed"
    run.end("a", JobState.CANCELLED)
    run.tell(m.Settle())
    assert (run.state.status, run.state.status_reason) == ("FAILED", "its actor crashed")


@pytest.mark.parametrize("request_", [CANCEL, FAIL])
def test_nothing_is_prepared_while_a_run_is_ending(request_: m.Message) -> None:
    run = ToldRun.running(task("a"), task("b"))
    run.prepare(1)
    run.tell(request_)
    assert run.prepare() == []


def test_nothing_is_prepared_while_a_run_is_paused_and_jobs_are_followed() -> None:
    run = ToldRun.running(task("a"), task("b", "a"))
    run.activate("a")
    run.tell(PAUSE)
    assert run.prepare() == []
    run.end("a")
    run.collect("a")
    assert run.statuses() == {"a": "SUCCEEDED", "b": "READY"}
    assert run.prepare() == []
    run.tell(RESUME)
    assert kinds(run.prepare()) == ["AttemptPrepared"]


# ---- the end ----


def test_a_run_fails_when_a_task_failed_and_nothing_else_can_advance() -> None:
    run = ToldRun.running(task("a"), task("b"), task("c", "a"))
    run.fail("a")
    assert run.tell(m.Settle()) == [], "b can still run"
    run.succeed("b")
    run.tell(m.Settle())
    assert run.state.status is RunStatus.FAILED
    assert run.state.status_reason == "task a failed: its job ended with exit code 1"
    assert run.statuses() == {"a": "FAILED", "b": "SUCCEEDED", "c": "SKIPPED"}


def test_the_reason_of_a_failed_run_says_once_how_tasks_failed_alike() -> None:
    run = ToldRun.running(*(task(f"t{n}") for n in range(5)))
    run.fail("t0", "t1", "t2", "t3", "t4")
    run.tell(m.Settle())
    assert run.state.status_reason == "task t0 and 4 more failed: its job ended with exit code 1"


@pytest.mark.parametrize(
    ("kinds_of_ends", "left"), [(3, ""), (4, "; 1 more task failed"), (5, "; 2 more tasks failed")]
)
def test_the_reason_of_a_failed_run_names_three_ways_and_counts_the_others(
    kinds_of_ends: int, left: str
) -> None:
    run = ToldRun.running(*(task(f"t{n}") for n in range(kinds_of_ends)))
    for n in range(kinds_of_ends):
        run.activate(f"t{n}")
        run.end(f"t{n}", JobState.COMPLETED_ERROR, exit_code=n + 1)
        run.collect(f"t{n}")
    run.tell(m.Settle())
    reason = "; ".join(f"task t{n} failed: its job ended with exit code {n + 1}" for n in range(3))
    assert run.state.status_reason == f"{reason}{left}"


def test_a_paused_run_does_not_fail_behind_the_back_of_the_person_who_paused_it() -> None:
    run = ToldRun.running(task("a"))
    run.activate("a")
    run.tell(PAUSE)
    run.end("a", JobState.COMPLETED_ERROR)
    run.collect("a")
    assert run.tell(m.Settle()) == []
    run.tell(RESUME, m.Settle())
    assert run.state.status is RunStatus.FAILED


# ---- retry ----


def test_a_retry_reopens_failed_tasks_and_those_skipped_behind_them() -> None:
    run = ToldRun.running(*chain(3), task("other"))
    run.succeed("other")
    run.fail("t0")
    run.tell(m.Settle())
    assert run.statuses() == {"t0": "FAILED", "t1": "SKIPPED", "t2": "SKIPPED", "other": "SUCCEEDED"}
    facts = run.tell(RETRY)
    assert kinds(facts) == ["RunReopened"] + ["TaskReopened"] * 3
    assert run.state.status is RunStatus.RUNNING
    assert run.statuses() == {"t0": "READY", "t1": "WAITING", "t2": "WAITING", "other": "SUCCEEDED"}
    run.succeed("t0", "t1", "t2")
    assert set(run.statuses().values()) == {"SUCCEEDED"}


def test_a_task_that_another_failure_still_holds_back_stays_skipped() -> None:
    run = ToldRun.running(
        task("a"),
        task("b"),
        task("behind-a", "a"),
        task("behind-both", "a", "b"),
        task("last", "behind-both"),
    )
    run.fail("a", "b")
    run.tell(m.Settle())
    run.tell(m.Retry(by="bob", tasks=[TaskId("a")]))
    assert run.statuses() == {
        "a": "READY", "b": "FAILED", "behind-a": "WAITING", "behind-both": "SKIPPED", "last": "SKIPPED",
    }  # fmt: skip
    run.succeed("a", "behind-a")
    run.tell(m.Settle())
    assert run.state.status is RunStatus.FAILED, "b has failed and was not retried"


def test_a_retry_of_a_running_run_reopens_its_failed_tasks_without_reopening_the_run() -> None:
    run = ToldRun.running(task("a"), task("b"))
    run.fail("a")
    assert kinds(run.tell(RETRY)) == ["TaskReopened"]
    assert run.statuses() == {"a": "READY", "b": "ACTIVE"}


def test_a_retry_of_a_paused_run_waits_for_its_resumption() -> None:
    run = ToldRun.running(task("a"))
    run.fail("a")
    run.tell(PAUSE, RETRY)
    assert run.statuses() == {"a": "READY"}
    assert run.prepare() == []


def test_a_retried_task_forgets_its_failure_and_gets_its_tries_anew() -> None:
    run = ToldRun.running(task("a", retries=1))
    run.fail("a", "a")
    run.tell(m.Settle(), RETRY)
    one = run.state.tasks[TaskId("a")]
    assert (one.status, one.reason, one.tries, len(one.attempts)) == ("READY", "", 0, 2)
    run.fail("a")
    assert one.status.value == "READY", "it may be retried once again"
    run.fail("a")
    assert (one.status.value, len(one.attempts)) == ("FAILED", 4)


def test_a_failure_that_is_allowed_is_retried_only_by_name() -> None:
    run = ToldRun.running(task("a", allow_failure=True), task("b"))
    run.fail("a", "b")
    run.tell(m.Settle())
    run.tell(RETRY)
    assert run.statuses() == {"a": "FAILED", "b": "READY"}
    run.tell(m.Retry(by="bob", tasks=[TaskId("a")]))
    assert run.statuses() == {"a": "READY", "b": "READY"}


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        (["nobody"], NotFoundError, "has no task 'nobody'"),
        (["b"], IllegalTransitionError, "task b is SUCCEEDED and cannot become READY"),
        (["a", "c"], IllegalTransitionError, "task c is SKIPPED and cannot become READY"),
    ],
)
def test_only_tasks_that_failed_can_be_named(names: list[str], error: type[Exception], message: str) -> None:
    run = ToldRun.running(task("a"), task("b"), task("c", "a"))
    run.succeed("b")
    run.fail("a")
    run.tell(m.Settle())
    before = comparable(run.state)
    with pytest.raises(error, match=message):
        run.tell(m.Retry(by="bob", tasks=[TaskId(name) for name in names]))
    assert comparable(run.state) == before


def test_a_task_named_twice_is_reopened_once() -> None:
    run = failed()
    assert kinds(run.tell(m.Retry(by="bob", tasks=[TaskId("a"), TaskId("a")]))) == [
        "RunReopened",
        "TaskReopened",
    ]


def test_what_the_end_of_the_run_cancelled_goes_on_with_a_retry_of_any_task() -> None:
    """Otherwise the dependent would wait for ever for a task that nobody named."""
    run = ToldRun.running(task("a"), task("b", "a"), task("c"))
    run.tell(FAIL, m.Settle())
    assert set(run.statuses().values()) == {"CANCELLED"}
    run.tell(m.Retry(by="bob", tasks=[TaskId("b")]))
    assert run.statuses() == {"a": "READY", "b": "WAITING", "c": "READY"}


def test_a_retry_after_a_planning_failure_plans_once_more() -> None:
    run = ToldRun.running()
    run.tell(m.PlanningFailed(reason="plan raised KeyError"))
    assert (run.state.status, run.state.status_reason) == ("FAILED", "plan raised KeyError")
    assert kinds(run.tell(RETRY)) == ["RunReopened"]
    assert (run.state.status, run.state.phase) == (RunStatus.RUNNING, Phase.PLANNING)


def test_dependents_that_are_ready_wait_again_when_their_dependency_is_reopened() -> None:
    run = ToldRun.running(task("a", allow_failure=True), task("b", "a"), task("c"))
    run.fail("a")
    assert run.statuses() == {"a": "FAILED", "b": "READY", "c": "ACTIVE"}
    run.tell(m.Retry(by="bob", tasks=[TaskId("a")]))
    assert run.statuses() == {"a": "READY", "b": "WAITING", "c": "ACTIVE"}
    run.succeed("a")
    assert run.statuses()["b"] == "READY"


def test_a_task_that_is_tried_again_waits_for_a_dependency_that_was_reopened_meanwhile() -> None:
    run = ToldRun.running(task("a", allow_failure=True), task("b", "a", retries=1))
    run.fail("a")
    run.activate("b")
    run.tell(m.Retry(by="bob", tasks=[TaskId("a")]))
    facts = run.end("b", JobState.COMPLETED_ERROR)
    assert kinds(facts) == ["JobEnded", "TaskRetried"]
    assert run.statuses() == {"a": "READY", "b": "WAITING"}
    run.succeed("a")
    assert run.statuses() == {"a": "SUCCEEDED", "b": "READY"}


def test_a_completed_run_that_is_reopened_is_analyzed_once_more_from_where_it_was_planned() -> None:
    run = ToldRun.running(task("a"))
    run.succeed("a")
    run.tell(m.Analyzed(iteration=1, state={"best": 1}))
    run.tell(m.Planned(iteration=2, workflow=None))
    assert run.state.status is RunStatus.COMPLETED
    run.take(f.RunReopened(by="ann"), f.TaskReopened(task_id=TaskId("a"), by="ann"))
    assert (run.state.status, run.state.phase) == (RunStatus.RUNNING, Phase.EXECUTING)
    assert run.state.campaign_state == {}
    run.succeed("a")
    assert kinds(run.tell(m.Analyzed(iteration=1, state={"best": 2}))) == ["IterationAnalyzed"]
