"""Decisions about attempts and their jobs."""

from __future__ import annotations

from typing import Any

import pytest

from matterstack.core.ids import BackendName, JobId, TaskId, Token, attempt_token
from matterstack.core.run import facts as f
from matterstack.core.run import messages as m
from matterstack.core.run.decide_jobs import wanted_seats
from matterstack.core.run.facts import OutputFile
from matterstack.core.states import FailureKind, JobState, TaskStatus
from tests.support.states import CLUSTER, LOCAL, RUN_ID, ToldRun, chain, comparable, kinds, task

OK = JobState.COMPLETED_OK
ERROR = JobState.COMPLETED_ERROR
OUTPUT = OutputFile("a.json", 2, "00" * 32)


def one(run: ToldRun, name: str = "a") -> Any:
    return run.state.tasks[TaskId(name)]


# ---- prepare ----


def test_ready_tasks_are_prepared_by_priority_then_in_planned_order() -> None:
    run = ToldRun.running(task("low"), task("high", priority=5), task("also-low"), task("later", "low"))
    facts = run.prepare(seats=3)
    assert [fact.task_id for fact in facts if isinstance(fact, f.AttemptPrepared)] == [
        "high",
        "low",
        "also-low",
    ]
    assert run.statuses() == {"low": "ACTIVE", "high": "ACTIVE", "also-low": "ACTIVE", "later": "WAITING"}


def test_a_prepared_attempt_carries_what_its_job_is_to_be() -> None:
    run = ToldRun.running(task("a", backend="cluster"))
    (fact,) = run.prepare(backend=CLUSTER)
    assert fact == f.AttemptPrepared(
        task_id=TaskId("a"),
        n=1,
        token=attempt_token(RUN_ID, TaskId("a"), 1),
        backend=CLUSTER,
        resources=one(run).task.resources,
    )


@pytest.mark.parametrize(
    ("seats", "cap", "prepared"), [(0, 10, 0), (-1, 10, 0), (2, 10, 2), (100, 10, 5), (100, 3, 3), (2, 3, 2)]
)
def test_no_more_is_prepared_than_seats_and_the_cap_of_the_run_allow(
    seats: int, cap: int, prepared: int
) -> None:
    run = ToldRun.running(*(task(f"t{n}") for n in range(5)), max_hpc_jobs_per_run=cap)
    assert len(run.prepare(seats)) == prepared
    assert len(run.state.live) == prepared


def test_the_cap_of_the_run_counts_jobs_on_all_its_backends() -> None:
    tasks = [task(f"{b}{n}", backend=b) for b in ("local", "cluster") for n in range(3)]
    run = ToldRun.running(*tasks, max_hpc_jobs_per_run=4)
    assert len(run.prepare(backend=LOCAL)) == 3
    assert wanted_seats(run.state, CLUSTER) == 1
    assert len(run.prepare(backend=CLUSTER)) == 1
    assert wanted_seats(run.state, CLUSTER) == 0


def test_a_seat_is_free_again_when_the_job_has_ended_though_its_outputs_are_not_yet_looked_at() -> None:
    run = ToldRun.running(task("a"), task("b"), max_hpc_jobs_per_run=1)
    run.activate("a")
    assert run.prepare() == []
    run.end("a")
    assert kinds(run.prepare()) == ["AttemptPrepared"]


def test_a_backend_without_ready_tasks_prepares_none() -> None:
    run = ToldRun.running(task("a"))
    assert run.prepare(backend=CLUSTER) == []
    assert run.prepare(backend=BackendName("unknown")) == []


# ---- accepted, refused, withdrawn ----


def test_a_job_is_accepted_once() -> None:
    run = ToldRun.running(task("a"))
    run.prepare()
    accepted = m.Accepted(
        token=run.token("a"), job_id=JobId("7"), state=JobState.RUNNING, manifest_sha256="ab"
    )
    assert kinds(run.tell(accepted)) == ["JobAccepted"]
    attempt = one(run).last_attempt
    assert (attempt.job_id, attempt.state, attempt.manifest_sha256) == ("7", "RUNNING", "ab")
    assert attempt.submitted_at == attempt.started_at
    assert run.tell(m.Accepted(token=run.token("a"), job_id=JobId("8"))) == []


def test_a_queued_job_has_not_started_until_it_is_seen_running() -> None:
    run = ToldRun.running(task("a"))
    run.activate("a")
    assert one(run).last_attempt.started_at is None
    run.tell(m.Observed(token=run.token("a"), state=JobState.RUNNING))
    started = one(run).last_attempt.started_at
    assert isinstance(started, str)
    run.tell(m.Observed(token=run.token("a"), state=JobState.QUEUED))
    run.tell(m.Observed(token=run.token("a"), state=JobState.RUNNING))
    assert one(run).last_attempt.started_at == started, "the first start counts, also after a requeue"


def test_a_refusal_fails_the_task_without_another_try_and_skips_what_waits_for_it() -> None:
    run = ToldRun.running(*chain(3, retries=5))
    run.prepare()
    facts = run.tell(m.Refused(token=run.token("t0"), reason="no partition 'x'"))
    assert kinds(facts) == ["SubmissionRefused", "TaskFailed", "TaskSkipped", "TaskSkipped"]
    assert run.statuses() == {"t0": "FAILED", "t1": "SKIPPED", "t2": "SKIPPED"}
    assert one(run, "t0").reason == "no partition 'x'"
    assert one(run, "t2").reason == "task t0, which it depends on, failed"
    assert not run.state.live


def test_only_an_ending_run_gives_attempts_up() -> None:
    run = ToldRun.running(task("a"))
    run.prepare()
    gone = m.Withdrawn(token=run.token("a"), reason="there is no job")
    assert run.tell(gone) == []
    run.tell(m.Cancel(by="ann"))
    assert kinds(run.tell(gone)) == ["SubmissionWithdrawn", "TaskCancelled"]
    assert not run.state.live


@pytest.mark.parametrize("kind", [m.Refused, m.Withdrawn])
def test_a_job_that_was_accepted_cannot_be_refused_or_withdrawn(kind: Any) -> None:
    run = ToldRun.running(task("a"))
    run.activate("a")
    run.tell(m.Cancel(by="ann"))
    assert run.tell(kind(token=run.token("a"), reason="late")) == []


# ---- observed ----


def test_only_news_about_a_job_is_noted() -> None:
    run = ToldRun.running(task("a"))
    run.activate("a")
    seen = m.Observed(token=run.token("a"), state=JobState.QUEUED, raw_state="PENDING", reason="Priority")
    assert kinds(run.tell(seen)) == ["JobStateChanged"]
    assert run.tell(seen) == []
    other = m.Observed(token=run.token("a"), state=JobState.QUEUED, raw_state="PENDING", reason="Resources")
    assert kinds(run.tell(other)) == ["JobStateChanged"]
    assert one(run).last_attempt.reason == "Resources"


def test_the_end_of_a_job_is_kept_with_all_that_the_backend_said() -> None:
    run = ToldRun.running(task("a"))
    run.activate("a")
    run.tell(
        m.Observed(
            token=run.token("a"),
            state=ERROR,
            raw_state="FAILED",
            exit_code=3,
            host="node1",
            started_at=run.now,
            ended_at=run.now,
        )
    )
    attempt = one(run).last_attempt
    assert (attempt.state, attempt.raw_state, attempt.exit_code, attempt.host) == (
        ERROR,
        "FAILED",
        3,
        "node1",
    )
    assert list(run.state.collecting) == ["a"]


LATE: dict[str, Any] = {
    "accepted": lambda token: m.Accepted(token=token, job_id=JobId("9")),
    "refused": lambda token: m.Refused(token=token, reason="r"),
    "withdrawn": lambda token: m.Withdrawn(token=token, reason="r"),
    "running": lambda token: m.Observed(token=token, state=JobState.RUNNING),
    "ended": lambda token: m.Observed(token=token, state=ERROR),
    "lost": lambda token: m.Observed(token=token, state=JobState.LOST),
    "collected": lambda token: m.Collected(token=token, problem="p"),
}


@pytest.mark.parametrize("message", LATE)
@pytest.mark.parametrize("whose", ["ended", "earlier", "unknown"])
def test_what_is_said_of_an_attempt_that_is_over_or_unknown_changes_nothing(message: str, whose: str) -> None:
    run = ToldRun.running(task("a", retries=1), task("b"))
    run.fail("a")
    earlier = run.token("a")
    run.activate("a", "b")
    run.succeed("b")
    token = {"ended": run.token("b"), "earlier": earlier, "unknown": Token("ms-nobody")}[whose]
    before = comparable(run.state)
    assert run.tell(LATE[message](token)) == []
    assert comparable(run.state) == before


# ---- collected, retries, failures ----


def test_a_task_succeeds_with_what_was_found() -> None:
    run = ToldRun.running(task("a"), task("b", "a"))
    run.activate("a")
    assert kinds(run.end("a")) == ["JobEnded"]
    assert run.statuses() == {"a": "ACTIVE", "b": "WAITING"}
    assert kinds(run.collect("a", outputs=(OUTPUT,), data={"e": 1})) == ["TaskSucceeded"]
    assert (one(run).outputs, one(run).data) == ((OUTPUT,), {"e": 1})
    assert run.statuses() == {"a": "SUCCEEDED", "b": "READY"}


def test_a_missing_output_fails_the_task_and_keeps_what_is_there() -> None:
    run = ToldRun.running(task("a"))
    run.activate("a")
    run.end("a")
    assert kinds(run.collect("a", outputs=(OUTPUT,), problem="no file matches 'b'")) == ["TaskFailed"]
    assert (one(run).reason, one(run).outputs) == ("no file matches 'b'", (OUTPUT,))


def test_a_failed_job_keeps_its_outputs_too() -> None:
    run = ToldRun.running(task("a"))
    run.activate("a")
    assert kinds(run.end("a", ERROR, exit_code=2)) == ["JobEnded"]
    assert kinds(run.collect("a", outputs=(OUTPUT,), data=[1], problem="no file matches 'b'")) == [
        "TaskFailed"
    ]
    assert one(run).reason == "its job ended with exit code 2"
    assert (one(run).outputs, one(run).data) == ((OUTPUT,), [1])


RAW_KINDS = {
    "TIMEOUT": FailureKind.TIMEOUT,
    "DEADLINE": FailureKind.TIMEOUT,
    "OUT_OF_MEMORY": FailureKind.OUT_OF_MEMORY,
    "NODE_FAIL": FailureKind.NODE_FAIL,
    "BOOT_FAIL": FailureKind.NODE_FAIL,
    "PREEMPTED": FailureKind.PREEMPTED,
    "FAILED": FailureKind.ERROR,
    "": FailureKind.ERROR,
}
FAILURES = [(ERROR, raw, kind) for raw, kind in RAW_KINDS.items()] + [(JobState.LOST, "", FailureKind.LOST)]


@pytest.mark.parametrize(("state", "raw", "kind"), FAILURES)
def test_a_task_is_tried_again_for_the_reasons_that_it_names(
    state: JobState, raw: str, kind: FailureKind
) -> None:
    run = ToldRun.running(task("a", retries=1, retry_on=[kind]))
    run.activate("a")
    facts = run.end("a", state, raw_state=raw)
    assert kinds(facts) == ["JobEnded", "TaskRetried"]
    assert isinstance(facts[-1], f.TaskRetried)
    assert facts[-1].kind is kind
    assert run.statuses() == {"a": "READY"}
    assert one(run).reason.startswith(f"tried again after {kind.value}: ")
    assert not run.state.collecting


@pytest.mark.parametrize(("state", "raw", "kind"), FAILURES)
def test_a_task_is_not_tried_again_for_other_reasons(state: JobState, raw: str, kind: FailureKind) -> None:
    others = [other for other in FailureKind if other is not kind]
    run = ToldRun.running(task("a", retries=5, retry_on=others))
    run.activate("a")
    run.end("a", state, raw_state=raw)
    run.collect("a")
    assert run.statuses() == {"a": "FAILED"}


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_a_task_has_one_try_and_its_retries(retries: int) -> None:
    run = ToldRun.running(task("a", retries=retries))
    for n in range(1, retries + 2):
        assert run.statuses() == {"a": "READY"}
        run.fail("a")
        assert len(one(run).attempts) == n
    assert run.statuses() == {"a": "FAILED"}


def test_a_job_that_ended_well_without_its_outputs_counts_as_an_error_that_may_be_tried_again() -> None:
    run = ToldRun.running(task("a", retries=1))
    run.activate("a")
    run.end("a")
    assert kinds(run.collect("a", problem="no file matches 'x'")) == ["TaskRetried"]
    run.activate("a")
    run.end("a")
    assert kinds(run.collect("a", problem="no file matches 'x'")) == ["TaskFailed"]


def test_a_lost_job_without_a_try_left_fails_its_task_at_once() -> None:
    run = ToldRun.running(task("a"))
    run.activate("a")
    assert kinds(run.end("a", JobState.LOST, exit_code=None)) == ["JobEnded", "TaskFailed"]
    assert one(run).reason == "its job vanished without a trace"


@pytest.mark.parametrize(
    ("seen", "words"),
    [({}, "its job was cancelled outside of MatterStack"),
     ({"reason": "by 1000"}, "its job was cancelled outside of MatterStack (by 1000)")],
)  # fmt: skip
def test_a_job_cancelled_by_somebody_else_fails_its_task_without_another_try(seen: Any, words: str) -> None:
    run = ToldRun.running(task("a", retries=3))
    run.activate("a")
    assert kinds(run.end("a", JobState.CANCELLED, **seen)) == ["JobEnded", "TaskFailed"]
    assert one(run).reason == words


@pytest.mark.parametrize("state", [ERROR, JobState.LOST, JobState.CANCELLED])
def test_nothing_is_tried_again_while_the_run_is_being_cancelled(state: JobState) -> None:
    run = ToldRun.running(task("a", retries=3))
    run.activate("a")
    run.tell(m.Cancel(by="ann"))
    assert kinds(run.end("a", state)) == ["JobEnded", "TaskCancelled"]


def test_missing_outputs_are_not_tried_again_while_the_run_is_being_cancelled() -> None:
    run = ToldRun.running(task("a", retries=3))
    run.activate("a")
    run.end("a")
    run.tell(m.Cancel(by="ann"))
    assert kinds(run.collect("a", problem="no file matches")) == ["TaskFailed"]


# ---- what a failure means for others ----


def test_a_failure_skips_everything_behind_it_and_nothing_else() -> None:
    run = ToldRun.running(
        task("a"), task("b", "a"), task("c", "b"), task("d"), task("e", "d", "c"), task("f", "d")
    )
    run.fail("a")
    assert run.statuses() == {
        "a": "FAILED", "b": "SKIPPED", "c": "SKIPPED", "d": "ACTIVE", "e": "SKIPPED", "f": "WAITING",
    }  # fmt: skip
    skipped = [fact for _, fact in run.facts if isinstance(fact, f.TaskSkipped)]
    assert [(fact.task_id, fact.because) for fact in skipped] == [("b", "a"), ("c", "a"), ("e", "a")]


def test_a_failure_that_is_allowed_lets_its_dependents_go_on() -> None:
    run = ToldRun.running(task("a", allow_failure=True), task("b", "a"))
    run.fail("a")
    assert run.statuses() == {"a": "FAILED", "b": "READY"}
    run.succeed("b")
    assert run.tell(m.Settle()) == []
    assert not run.state.hard_failures


def test_a_task_behind_two_failures_is_skipped_once() -> None:
    run = ToldRun.running(task("a"), task("b"), task("c", "a", "b"))
    run.fail("a", "b")
    assert run.state.counts[TaskStatus.SKIPPED] == 1
    assert sum(isinstance(fact, f.TaskSkipped) for _, fact in run.facts) == 1


def test_an_input_is_a_dependency() -> None:
    run = ToldRun.running(task("b", inputs={"x": "a/out"}), task("a", outputs=["out"]))
    assert run.statuses() == {"b": "WAITING", "a": "READY"}
    run.succeed("a")
    assert run.statuses() == {"b": "READY", "a": "SUCCEEDED"}
