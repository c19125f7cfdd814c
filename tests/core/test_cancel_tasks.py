"""Single tasks are cancelled, with what waits for them; the run goes on by its rules."""

from __future__ import annotations

import pytest

from matterstack.core.errors import NotFoundError, RefusedError
from matterstack.core.ids import TaskId
from matterstack.core.model.workflow import Workflow
from matterstack.core.operators import SENT_BACK
from matterstack.core.run import facts as f
from matterstack.core.run import messages as m
from matterstack.core.run.decide_planning import wants_analysis
from matterstack.core.states import JobState, RunStatus
from tests.support.states import ToldRun, chain, comparable, kinds, task


def cancel(*tasks: str, by: str = "ann", reason: str = "") -> m.CancelTasks:
    return m.CancelTasks(by=by, tasks=tasks, reason=reason)


def reason(run: ToldRun, task_id: str) -> str:
    return run.state.tasks[TaskId(task_id)].reason


def test_what_has_no_job_ends_at_once_and_with_it_all_that_waits_for_it() -> None:
    run = ToldRun.running(*chain(3), task("other"), max_hpc_jobs_per_run=1)

    facts = run.tell(cancel("t0", reason="too hot"))

    assert kinds(facts) == ["TaskCancelled"] * 3
    assert run.statuses() == {"t0": "CANCELLED", "t1": "CANCELLED", "t2": "CANCELLED", "other": "READY"}
    assert reason(run, "t0") == "cancelled by ann: too hot"
    assert reason(run, "t2") == "task t0, which it depends on, was cancelled by ann: too hot"


def test_a_task_with_a_job_keeps_its_seat_until_that_is_over() -> None:
    run = ToldRun.running(*chain(2), retries=3)
    run.activate("t0")

    facts = run.tell(cancel("t0"))

    assert kinds(facts) == ["TaskCancelRequested", "TaskCancelled"]
    assert run.statuses() == {"t0": "ACTIVE", "t1": "CANCELLED"}
    assert len(run.state.live) == 1
    assert reason(run, "t0") == "its job is being ended: cancelled by ann"
    assert kinds(run.end("t0", JobState.CANCELLED)) == ["JobEnded", "TaskCancelled"]
    assert reason(run, "t0") == "cancelled by ann"
    assert not run.state.being_cancelled
    assert comparable(run.refolded()) == comparable(run.state)


@pytest.mark.parametrize(
    ("end", "raw_state"),
    [
        (JobState.CANCELLED, "CANCELLED"),
        (JobState.COMPLETED_ERROR, "TIMEOUT"),
        (JobState.COMPLETED_ERROR, "FAILED"),
        (JobState.COMPLETED_ERROR, SENT_BACK),
        (JobState.LOST, ""),
    ],
)
def test_however_its_job_ends_badly_the_task_is_cancelled_and_not_tried_again(
    end: JobState, raw_state: str
) -> None:
    run = ToldRun.running(task("a", retries=5))
    run.activate("a")
    run.tell(cancel("a"))

    run.end("a", end, raw_state=raw_state)

    assert run.statuses() == {"a": "CANCELLED"}


def test_what_a_job_had_done_in_time_is_kept() -> None:
    run = ToldRun.running(*chain(2))
    run.activate("t0")
    run.tell(cancel("t0"))
    run.end("t0")
    run.collect("t0", data={"e_ev": -1})

    assert run.statuses() == {"t0": "SUCCEEDED", "t1": "CANCELLED"}
    assert run.state.tasks[TaskId("t0")].cancellation is None
    run.tell(m.Retry(by="ann", tasks=[TaskId("t1")]))
    assert run.statuses()["t1"] == "READY"


@pytest.mark.parametrize("found", [{"problem": "out.xyz is not there"}, {"given_up": True}])
def test_what_a_job_left_that_is_not_enough_is_no_failure_of_a_cancelled_task(
    found: dict[str, object],
) -> None:
    run = ToldRun.running(task("a", retries=1))
    run.activate("a")
    run.end("a")
    run.tell(cancel("a"))

    run.collect("a", **found)

    assert run.statuses() == {"a": "CANCELLED"}


def test_a_job_that_had_failed_before_its_task_was_cancelled_makes_no_failure() -> None:
    run = ToldRun.running(task("a"))
    run.activate("a")
    run.end("a", JobState.COMPLETED_ERROR)
    run.tell(cancel("a"))
    run.collect("a")
    assert run.statuses() == {"a": "CANCELLED"}


def test_an_attempt_without_a_job_is_given_up_or_refused_with_its_task() -> None:
    run = ToldRun.running(task("a"), task("b"), task("c"))
    run.prepare()
    run.tell(cancel("a", "b"))

    withdrawn = run.tell(m.Withdrawn(token=run.token("a"), reason="cancelled by ann"))
    refused = run.tell(m.Refused(token=run.token("b"), reason="no such partition"))

    assert kinds(withdrawn) == ["SubmissionWithdrawn", "TaskCancelled"]
    assert kinds(refused) == ["SubmissionRefused", "TaskCancelled"]
    assert run.tell(m.Withdrawn(token=run.token("c"), reason="x")) == [], "nobody gave that one up"
    assert run.statuses() == {"a": "CANCELLED", "b": "CANCELLED", "c": "ACTIVE"}


def test_a_cancelled_task_keeps_no_run_from_its_end_and_is_among_the_results() -> None:
    run = ToldRun.running(task("a"), task("b"))
    run.tell(cancel("a"))
    run.succeed("b")

    assert wants_analysis(run.state)
    run.tell(m.Settle(), m.Analyzed(iteration=1, state={}), m.Planned(iteration=2, workflow=None))
    assert run.state.status is RunStatus.COMPLETED


def test_what_is_planned_later_and_waits_for_a_cancelled_task_is_skipped() -> None:
    run = ToldRun.running(task("a"), task("b"))
    run.tell(cancel("a"))
    run.succeed("b")
    later = Workflow([task("c", "a"), task("d", "b")])

    run.tell(m.Analyzed(iteration=1, state={}), m.Planned(iteration=2, workflow=later))

    assert run.statuses() == {"a": "CANCELLED", "b": "SUCCEEDED", "c": "SKIPPED", "d": "READY"}


def test_it_stays_cancelled_through_a_retry_of_others_and_comes_back_when_it_is_named() -> None:
    run = ToldRun.running(*chain(2), task("bad"))
    run.tell(cancel("t0"))
    run.fail("bad")
    run.tell(m.Settle())
    assert run.state.status is RunStatus.FAILED

    run.tell(m.Retry(by="bob"))
    assert run.statuses() == {"t0": "CANCELLED", "t1": "CANCELLED", "bad": "READY"}

    run.tell(m.Retry(by="bob", tasks=[TaskId("t0")]))
    assert run.statuses() == {"t0": "READY", "t1": "WAITING", "bad": "READY"}
    assert run.state.tasks[TaskId("t0")].cancellation is None


def test_what_was_named_itself_does_not_come_back_with_what_it_depends_on() -> None:
    run = ToldRun.running(*chain(3))
    run.tell(cancel("t0", "t1"))

    run.tell(m.Retry(by="bob", tasks=[TaskId("t0")]))

    assert run.statuses() == {"t0": "READY", "t1": "CANCELLED", "t2": "CANCELLED"}
    with pytest.raises(RefusedError, match="t2 depends on task t1, which is CANCELLED"):
        run.tell(m.Retry(by="bob", tasks=[TaskId("t2")]))


def test_a_rerun_with_all_that_follows_leaves_out_what_a_person_cancelled() -> None:
    run = ToldRun.running(task("a"), task("b", "a"), task("c", "a"))
    run.succeed("a")
    run.tell(cancel("b"))
    run.succeed("c")

    run.tell(m.Rerun(by="bob", tasks=[TaskId("a")], recursive=True))

    assert run.statuses() == {"a": "READY", "b": "CANCELLED", "c": "WAITING"}
    run.tell(m.Rerun(by="bob", tasks=[TaskId("b")]))
    assert run.statuses()["b"] == "WAITING"


def test_what_the_end_of_a_run_cancelled_goes_on_with_it_and_what_a_person_cancelled_does_not() -> None:
    run = ToldRun.running(task("a"), task("b"), task("c"), max_hpc_jobs_per_run=1)
    run.activate("a")
    run.tell(cancel("b"), m.Fail(reason="its actor crashed"))
    run.end("a", JobState.CANCELLED)
    run.tell(m.Settle(), m.Retry(by="bob"))
    assert run.statuses() == {"a": "READY", "b": "CANCELLED", "c": "READY"}


def test_a_second_time_changes_nothing_and_keeps_who_asked_first() -> None:
    run = ToldRun.running(*chain(2), task("live"))
    run.prepare(1)
    run.tell(cancel("t0", "live", by="ann"))
    before = comparable(run.state)

    assert run.tell(cancel("t0", "t1", "live", by="bob")) == []

    assert comparable(run.state) == before


def test_names_are_checked_all_of_them_before_anything_changes() -> None:
    run = ToldRun.running(task("done"), task("relax-1"), task("relax-2"), max_hpc_jobs_per_run=1)
    run.succeed("done")
    with pytest.raises(NotFoundError, match="no task 'relax-3'") as unknown:
        run.tell(cancel("relax-1", "relax-3"))
    with pytest.raises(NotFoundError, match=r"no task that fits 'sweep\*'"):
        run.tell(cancel("relax-1", "sweep*"))
    with pytest.raises(RefusedError, match="task done is SUCCEEDED already: only what has not ended"):
        run.tell(cancel("done"))
    with pytest.raises(RefusedError, match="name the tasks to cancel"):
        run.tell(cancel())
    assert unknown.value.hint.startswith("did you mean 'relax-")
    assert run.tell(cancel("relax-*", "done")), "what has ended meanwhile is passed over"
    assert run.statuses() == {"done": "SUCCEEDED", "relax-1": "CANCELLED", "relax-2": "CANCELLED"}


def test_what_waits_for_an_earlier_result_alone_goes_on() -> None:
    run = ToldRun.running(*chain(3))
    run.succeed("t0", "t1")
    run.tell(m.Rerun(by="bob", tasks=[TaskId("t0")]))

    run.tell(cancel("t0"))

    assert run.statuses() == {"t0": "CANCELLED", "t1": "SUCCEEDED", "t2": "READY"}


def test_a_paused_run_can_have_tasks_cancelled_and_stays_paused() -> None:
    run = ToldRun.running(task("a"), task("b"), max_hpc_jobs_per_run=1)
    run.activate("a")
    run.tell(m.Pause(by="ann"), cancel("a", "b"))
    run.end("a", JobState.CANCELLED)
    run.tell(m.Settle())
    assert run.statuses() == {"a": "CANCELLED", "b": "CANCELLED"}
    assert run.state.status is RunStatus.PAUSED


def test_a_run_that_has_ended_or_is_ending_refuses() -> None:
    run = ToldRun.running(task("a"))
    run.activate("a")
    run.tell(m.Cancel(by="ann"))
    with pytest.raises(RefusedError, match="is being cancelled by ann: all of its tasks end"):
        run.tell(cancel("a"))
    run.end("a", JobState.CANCELLED)
    run.tell(m.Settle())
    with pytest.raises(RefusedError, match="is CANCELLED"):
        run.tell(cancel("a"))


def test_the_whole_run_can_be_cancelled_while_a_task_of_it_is_and_tells_both() -> None:
    run = ToldRun.running(task("a"), task("b"))
    run.activate("a", "b")
    run.tell(cancel("a", by="ann"), m.Cancel(by="bob"))
    run.end("a", JobState.CANCELLED)
    run.end("b", JobState.CANCELLED)
    run.tell(m.Settle())
    assert run.state.status is RunStatus.CANCELLED
    assert (reason(run, "a"), reason(run, "b")) == ("cancelled by ann", "cancelled by bob")


def test_facts_of_before_there_was_this_mean_what_they_did() -> None:
    run = ToldRun.running(task("a"))
    run.tell(m.Cancel(by="ann", reason="wrong cell"), m.Settle())
    cancelled = [fact for _, fact in run.facts if isinstance(fact, f.TaskCancelled)]
    assert cancelled == [f.TaskCancelled(task_id=TaskId("a"), reason="cancelled by ann: wrong cell")]
    assert run.state.tasks[TaskId("a")].cancellation is None


def test_what_depends_on_a_task_that_is_being_cancelled_is_not_reopened_before_that_is_over() -> None:
    run = ToldRun.running(*chain(2))
    run.activate("t0")
    run.tell(cancel("t0"))

    with pytest.raises(RefusedError, match="depends on task t0, which is being cancelled") as refused:
        run.tell(m.Retry(by="ann", tasks=[TaskId("t1")]))

    assert refused.value.hint == "name t0 as well, when its job is over"
    run.end("t0", JobState.CANCELLED)
    run.tell(m.Retry(by="ann", tasks=[TaskId("t0"), TaskId("t1")]))
    assert run.statuses() == {"t0": "READY", "t1": "WAITING"}
