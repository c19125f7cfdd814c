"""Jobs that wait in a queue are given up and submitted anew when their task or its backend is amended."""

from __future__ import annotations

from typing import Any

import pytest

from matterstack.core.errors import RefusedError
from matterstack.core.ids import JobId, TaskId, UtcTime
from matterstack.core.model.resources import Growth, Resources
from matterstack.core.run import facts as f
from matterstack.core.run import messages as m
from matterstack.core.run.history_rules import HistoryChecker, Problem
from matterstack.core.states import JobState
from tests.support.states import (
    CLUSTER,
    RUN_ID,
    ToldRun,
    comparable,
    config,
    derived,
    kinds,
    recomputed,
    task,
)

LONGER = {"resources.walltime_s": 7200}
SHORT = Resources(walltime_s=60)


def amend(*names: str, changes: Any = None, **options: Any) -> m.AmendTasks:
    options = {"resubmit": True, **options}
    changes = LONGER if changes is None else changes
    return m.AmendTasks(by="ann", tasks=[TaskId(n) for n in names], changes=changes, **options)


def runs(run: ToldRun, name: str) -> list[f.Fact]:
    return run.tell(m.Observed(token=run.token(name), state=JobState.RUNNING))


def walltimes(run: ToldRun, name: str) -> list[int | None]:
    facts = (fact for _, fact in run.facts)
    return [x.resources.walltime_s for x in facts if isinstance(x, f.AttemptPrepared) and x.task_id == name]


def problems(facts: list[tuple[UtcTime, f.Fact]]) -> list[Problem]:
    checker = HistoryChecker()
    return [
        problem
        for seq, (at, fact) in enumerate(facts, start=1)
        for problem in checker.check(f.Event(seq=seq, run_id=RUN_ID, at=at, fact=fact))
    ]


def is_sound(run: ToldRun) -> bool:
    assert comparable(run.refolded()) == comparable(run.state)
    assert derived(run.state) == recomputed(run.state)
    return problems(run.facts) == []


def test_a_job_that_waits_is_given_up_and_the_next_attempt_is_as_amended_and_counts_as_the_first() -> None:
    run = ToldRun.running(task("a", resources=SHORT, retries=0, retry_on=["error"]))
    run.activate("a")

    assert kinds(run.tell(amend("a", reason="too short"))) == ["TaskAmended", "TaskResubmitRequested"]
    assert list(run.state.resubmitting) == [run.token("a")]
    assert run.state.tasks[TaskId("a")].reason.endswith("to be submitted anew, as ann wants: too short")
    assert kinds(run.end("a", JobState.CANCELLED)) == ["JobEnded", "TaskResubmitted"]
    assert (run.statuses(), len(run.state.live), run.state.resubmitting) == ({"a": "READY"}, 0, {})
    assert run.state.tasks[TaskId("a")].tries == 0
    run.activate("a")
    assert walltimes(run, "a") == [60, 7200]
    assert is_sound(run)


def test_it_uses_up_no_retry() -> None:
    run = ToldRun.running(task("a", retries=1, retry_on=["error"]))
    run.activate("a")
    for _ in range(3):
        run.tell(amend("a", changes={}))
        run.end("a", JobState.CANCELLED)
        run.activate("a")

    assert kinds(run.end("a", JobState.COMPLETED_ERROR)) == ["JobEnded", "TaskRetried"]
    run.activate("a")
    run.end("a", JobState.COMPLETED_ERROR)
    run.collect("a")
    assert run.statuses() == {"a": "FAILED"}
    assert is_sound(run)


def test_what_runs_is_never_touched_and_its_next_attempt_is_as_amended() -> None:
    run = ToldRun.running(task("a", resources=SHORT, retries=1, retry_on=["error"]))
    run.activate("a")
    runs(run, "a")

    assert kinds(run.tell(amend("a"))) == ["TaskAmended"]
    assert kinds(run.end("a", JobState.COMPLETED_ERROR)) == ["JobEnded", "TaskRetried"]
    run.activate("a")
    assert walltimes(run, "a") == [60, 7200]
    assert is_sound(run)


@pytest.mark.parametrize("end", [JobState.RUNNING, JobState.COMPLETED_OK, JobState.COMPLETED_ERROR])
def test_a_job_that_has_begun_in_between_goes_on_and_history_says_so(end: JobState) -> None:
    run = ToldRun.running(task("a", resources=SHORT))
    run.activate("a")
    run.tell(amend("a"))

    facts = run.tell(m.Observed(token=run.token("a"), state=end))

    assert "TaskResubmitMissed" in kinds(facts)
    assert "TaskResubmitted" not in kinds(facts)
    assert run.state.tasks[TaskId("a")].tries == 1
    assert not run.state.resubmitting
    if end is JobState.RUNNING:
        assert kinds(run.end("a", JobState.CANCELLED)) == ["JobEnded", "TaskFailed"], "by somebody else"
    assert is_sound(run)


@pytest.mark.parametrize("told", ["withdrawn", "refused"])
def test_an_attempt_without_a_job_is_given_up_too(told: str) -> None:
    run = ToldRun.running(task("a", resources=SHORT))
    run.prepare()
    token = run.token("a")
    run.tell(amend("a"))

    why = "no such partition"
    withdrawn, refused = m.Withdrawn(token=token, reason=why), m.Refused(token=token, reason=why)
    message: m.Message = withdrawn if told == "withdrawn" else refused

    assert kinds(run.tell(message))[-1] == "TaskResubmitted"
    assert run.statuses() == {"a": "READY"}
    assert is_sound(run)


def test_a_submission_that_is_under_way_ends_as_a_job_that_waits_or_is_missed() -> None:
    run = ToldRun.running(task("a"), task("b"))
    run.prepare()
    run.tell(amend("a", "b"))

    run.submit("a")
    missed = run.tell(m.Accepted(token=run.token("b"), job_id=JobId("1"), state=JobState.RUNNING))

    assert list(run.state.resubmitting) == [run.token("a")]
    assert kinds(missed) == ["JobAccepted", "TaskResubmitMissed"]
    assert is_sound(run)


def test_with_changes_only_jobs_are_given_up_that_are_not_as_their_tasks_are_then() -> None:
    run = ToldRun.running(task("a", resources=SHORT), task("b", resources=Resources(walltime_s=7200)))
    run.activate("a", "b")

    assert [x.task_id for x in run.tell(amend("a", "b"))] == ["a", "a"]  # type: ignore[union-attr]


def test_what_was_amended_before_is_submitted_anew_by_the_same_command_or_without_changes() -> None:
    for changes in (LONGER, {}):
        run = ToldRun.running(task("a", resources=SHORT))
        run.activate("a")
        assert kinds(run.tell(amend("a", resubmit=False))) == ["TaskAmended"]
        assert kinds(run.tell(amend("a", changes=changes))) == ["TaskResubmitRequested"]
        assert run.tell(amend("a", changes=changes)) == [], "it is under way already"
        assert is_sound(run)


def test_rules_hold_at_once_and_are_no_reason_to_leave_the_queue() -> None:
    run = ToldRun.running(task("a"))
    run.activate("a")

    assert kinds(run.tell(amend("a", changes={"retries": 3, "priority": 2}))) == ["TaskAmended"]


def test_without_changes_and_without_a_job_that_waits_it_is_refused() -> None:
    run = ToldRun.running(task("a"), task("b", "a"))
    run.activate("a")
    runs(run, "a")

    with pytest.raises(RefusedError, match="waits in a queue"):
        run.tell(amend("a", "b", changes={}))
    with pytest.raises(RefusedError, match="what changes"):
        run.tell(amend("a", changes={}, resubmit=False))


def test_a_question_stands() -> None:
    run = ToldRun.running(task("a", command=[], operator="human", params={"instructions": "look"}))
    run.tell(m.Prepare(backend=next(iter(run.state.ready)), seats=1))
    run.submit("a")

    assert kinds(run.tell(amend("a", changes={"params.instructions": "look again"}))) == ["TaskAmended"]


def test_who_is_cancelled_is_not_submitted_anew() -> None:
    run = ToldRun.running(task("a"), task("b"))
    run.activate("a", "b")
    run.tell(amend("a", "b"))

    run.tell(m.CancelTasks(by="bob", tasks=("a",)))
    run.end("a", JobState.CANCELLED)
    assert run.statuses() == {"a": "CANCELLED", "b": "ACTIVE"}
    run.tell(m.Cancel(by="bob"))
    assert kinds(run.end("b", JobState.CANCELLED)) == ["JobEnded", "TaskCancelled"]
    assert is_sound(run)


def test_what_it_had_grown_to_stays() -> None:
    grow = Resources(walltime_s=60, grow=Growth(walltime=2.0))
    run = ToldRun.running(task("a", resources=grow))
    run.activate("a")
    run.end("a", JobState.COMPLETED_ERROR, raw_state="TIMEOUT")
    run.collect("a")
    run.tell(m.Settle(), m.Retry(by="ann"))
    run.activate("a")

    run.tell(amend("a", changes={"env.X": "1"}))
    run.end("a", JobState.CANCELLED)
    run.activate("a")

    assert walltimes(run, "a") == [60, 120, 120]
    assert is_sound(run)


def test_a_task_whose_dependency_is_done_again_waits_for_it() -> None:
    run = ToldRun.running(task("a"), task("b", "a"))
    run.succeed("a")
    run.activate("b")
    run.tell(amend("b"), m.Rerun(by="ann", tasks=[TaskId("a")]))

    run.end("b", JobState.CANCELLED)

    assert run.statuses() == {"a": "READY", "b": "WAITING"}
    assert is_sound(run)


def test_one_that_would_wait_for_ever_fails() -> None:
    run = ToldRun.running(task("a"), task("b", "a"))
    run.succeed("a")
    run.activate("b")
    run.tell(amend("b"), m.Rerun(by="ann", tasks=[TaskId("a")]))
    run.fail("a")

    run.end("b", JobState.CANCELLED)

    assert run.statuses() == {"a": "FAILED", "b": "FAILED"}
    assert run.state.tasks[TaskId("b")].reason == "task a, which it depends on, is FAILED"


def test_it_may_move_to_another_backend() -> None:
    run = ToldRun.running(task("a"))
    run.activate("a")
    run.tell(amend("a", changes={"backend": "cluster"}))
    run.end("a", JobState.CANCELLED)

    assert [x.task_id for x in run.prepare(backend=CLUSTER)] == ["a"]  # type: ignore[union-attr]
    assert is_sound(run)


def amend_config(run: ToldRun, **changes: Any) -> list[f.Fact]:
    before = run.state.config
    return run.tell(
        m.AmendConfig(by="ann", before=before, config={**before, **changes}, reason="r", resubmit=True)
    )


def test_of_a_config_the_jobs_of_backends_that_are_defined_anew_or_not_theirs_any_more_are_given_up() -> None:
    run = ToldRun.running(task("a"), task("b", backend="cluster"), task("c", backend="cluster"))
    run.activate("a", "b", "c")
    runs(run, "c")
    backends = config()["backends"]

    capped = {**backends, "cluster": {**backends["cluster"], "max_jobs": 50}}
    assert kinds(amend_config(run, backends=capped)) == ["ConfigAmended"]
    moved = {**backends, "cluster": {**backends["cluster"], "partition": "long"}}
    facts = amend_config(run, backends=moved)
    assert [(x.task_id, x.reason) for x in facts if isinstance(x, f.TaskResubmitRequested)] == [("b", "r")]
    facts = amend_config(run, default_backend="cluster")
    assert [x.task_id for x in facts if isinstance(x, f.TaskResubmitRequested)] == ["a"]
    run.end("a", JobState.CANCELLED)
    run.end("b", JobState.CANCELLED)
    assert run.state.ready_count(CLUSTER) == 2
    assert is_sound(run)


def test_check_tells_what_no_decision_ever_says() -> None:
    run = ToldRun.running(task("a"))
    run.activate("a")
    token = run.token("a")
    asked = f.TaskResubmitRequested(task_id=TaskId("a"), token=token, by="ann")
    again = f.TaskResubmitted(task_id=TaskId("a"), token=token)
    missed = f.TaskResubmitMissed(task_id=TaskId("a"), token=token)
    before = list(run.facts)

    def told(*facts: f.Fact) -> list[str]:
        return [p.problem for p in problems([*before, *((run.now, fact) for fact in facts)])]

    at_work = f.JobStateChanged(token=token, state=JobState.RUNNING)
    failed = f.JobEnded(token=token, state=JobState.COMPLETED_ERROR)
    ended = f.JobEnded(token=token, state=JobState.CANCELLED)
    assert told(asked, ended, again) == told(asked, at_work, missed) == []
    assert "had begun" in told(at_work, asked)[0]
    assert "already" in told(asked, asked)[0]
    assert "nobody had asked" in told(ended, again)[0]
    assert "nobody had asked" in told(missed)[0]
    assert "not been cancelled" in told(asked, failed, again)[0]
    assert "live" in told(asked, again)[0]
