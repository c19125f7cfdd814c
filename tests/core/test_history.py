"""The rules of a history: each is silent on what decisions make, and names the first fact that breaks it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import attrs
import pytest

from matterstack.core.ids import BackendName, JobId, RunId, TaskId, Token, UtcTime, attempt_token
from matterstack.core.model.resources import Resources
from matterstack.core.model.workflow import Workflow
from matterstack.core.run import facts as f
from matterstack.core.run import messages as m
from matterstack.core.run.campaign_code import UsedCode
from matterstack.core.run.history_rules import HistoryChecker, Problem
from matterstack.core.states import FailureKind, JobState
from tests.support.states import LOCAL, RUN_ID, ToldRun, chain, config, task

OTHER = RunId("20260101T000001-abcdef")
NOW = UtcTime("2026-01-01T00:00:00.000000Z")
A, B = TaskId("a"), TaskId("b")


def found(facts: Iterable[f.Fact | tuple[RunId, f.Fact]]) -> list[Problem]:
    """What is wrong with a history , whose events count from 1."""
    checker = HistoryChecker()
    problems: list[Problem] = []
    for seq, fact in enumerate(facts, start=1):
        run_id, fact = fact if isinstance(fact, tuple) else (RUN_ID, fact)  # noqa: PLW2901
        problems += checker.check(f.Event(seq=seq, run_id=run_id, at=NOW, fact=fact))
    return problems


def facts_of(run: ToldRun) -> list[f.Fact]:
    return [fact for _, fact in run.facts]


# ---- what is right ----


def completed() -> ToldRun:
    run = ToldRun.running(*chain(2))
    run.succeed("t0", "t1")
    run.tell(m.Analyzed(iteration=1, state={"x": 1}), m.Planned(iteration=2, workflow=None))
    return run


def failed_and_retried() -> ToldRun:
    run = ToldRun.running(task("a", retries=1), task("b", "a"))
    run.fail("a", "a")
    run.tell(m.Settle(), m.Retry(by="ann"))
    run.succeed("a", "b")
    return run


def rerun() -> ToldRun:
    run = completed()
    run.tell(m.Rerun(by="ann", tasks=[TaskId("t0")], recursive=True))
    run.succeed("t0", "t1")
    return run


def cancelled_while_paused() -> ToldRun:
    run = ToldRun.running(task("a"), task("b"))
    run.activate("a", "b")
    run.tell(m.Pause(by="ann"), m.Cancel(by="ann"))
    run.end("a", JobState.CANCELLED)
    run.end("b", JobState.COMPLETED_ERROR)
    run.tell(m.Settle())
    return run


def withdrawn_and_refused() -> ToldRun:
    run = ToldRun.running(task("a"), task("b"))
    run.prepare()
    run.tell(m.Refused(token=run.token("a"), reason="no such partition"))
    run.tell(m.Fail(reason="crashed"), m.Withdrawn(token=run.token("b"), reason="crashed"), m.Settle())
    return run


def adopted_while_paused() -> ToldRun:
    run = ToldRun.running(task("a"))
    run.prepare()
    run.tell(m.Pause(by="ann"))
    run.tell(m.Accepted(token=run.token("a"), job_id=JobId("7"), adopted=True))
    return run


def lost_and_requeued() -> ToldRun:
    run = ToldRun.running(task("a", retries=2))
    run.activate("a")
    for state in (JobState.RUNNING, JobState.QUEUED, JobState.RUNNING):
        run.tell(m.Observed(token=run.token("a"), state=state))
    run.end("a", JobState.LOST)
    run.succeed("a")
    return run


def planned_twice() -> ToldRun:
    run = ToldRun.running(task("a"))
    run.succeed("a")
    run.tell(m.Analyzed(iteration=1, state={}), m.Planned(iteration=2, workflow=Workflow([task("b", "a")])))
    run.succeed("b")
    return run


def tasks_cancelled() -> ToldRun:
    run = ToldRun.running(task("a", retries=3), task("b", "a"), task("c"))
    run.activate("a", "c")
    run.tell(m.CancelTasks(by="ann", tasks=["a"]))
    run.end("a", JobState.COMPLETED_ERROR)
    run.succeed("c")
    run.tell(m.Analyzed(iteration=1, state={}), m.Planned(iteration=2, workflow=None))
    run.tell(m.Rerun(by="ann", tasks=[A]))
    return run


def tasks_cancelled_before_their_run() -> ToldRun:
    run = ToldRun.running(task("a"), task("b"))
    run.activate("a", "b")
    run.tell(m.CancelTasks(by="ann", tasks=["a", "b"]))
    run.end("a")
    run.collect("a", problem="out.xyz is not there")
    run.tell(m.Cancel(by="ann"))
    run.end("b", JobState.CANCELLED)
    run.tell(m.Settle())
    return run


def knowing_its_campaign() -> ToldRun:
    run = ToldRun.running()
    run.tell(m.Planned(iteration=1, workflow=Workflow([]), code=UsedCode(files={"campaign.py": "1a"})))
    run.tell(m.Analyzed(iteration=1, state={}))
    return run


def changed_on_the_way() -> ToldRun:
    run = knowing_its_campaign()
    run.tell(m.Planned(iteration=2, workflow=None, code=UsedCode(files={"campaign.py": "2b"})))
    return run


RIGHT: tuple[Callable[[], ToldRun], ...] = (
    completed, failed_and_retried, rerun, cancelled_while_paused, withdrawn_and_refused, adopted_while_paused,
    lost_and_requeued, planned_twice, tasks_cancelled, tasks_cancelled_before_their_run,
    changed_on_the_way,
)  # fmt: skip


@pytest.mark.parametrize("make", RIGHT)
def test_every_beginning_of_a_history_that_decisions_made_is_right(make: Callable[[], ToldRun]) -> None:
    facts = facts_of(make())
    for end in range(1, len(facts) + 1):
        assert found(facts[:end]) == [], end


MAY_BE_MISSING = (
    f.JobStateChanged,
    f.RunCancelRequested,
    f.RunFailureRequested,
    f.RunPaused,
    f.SubmissionWithdrawn,
    f.TaskReopened,
)
"""What nothing contradicts when it is missing."""


@pytest.mark.parametrize("make", RIGHT)
def test_what_follows_contradicts_a_fact_that_is_missing(make: Callable[[], ToldRun]) -> None:
    facts = facts_of(make())
    for place, fact in enumerate(facts[:-1]):
        if not isinstance(fact, MAY_BE_MISSING):
            left = [*facts[:place], *facts[place + 1 :]]
            assert found(left), f"{place}: {fact}"


def test_the_states_are_those_that_the_facts_give() -> None:
    run = failed_and_retried()
    checker = HistoryChecker()
    for seq, (at, fact) in enumerate(run.facts, start=1):
        assert list(checker.check(f.Event(seq=seq, run_id=RUN_ID, at=at, fact=fact))) == []
    assert checker.states[RUN_ID] == run.state
    assert checker.broken == set()


# ---- what is wrong ----


def prepared(task_id: str, n: int = 1, backend: BackendName = LOCAL, token: str = "") -> f.AttemptPrepared:
    return f.AttemptPrepared(
        task_id=TaskId(task_id),
        n=n,
        token=Token(token) if token else attempt_token(RUN_ID, TaskId(task_id), n),
        backend=backend,
        resources=Resources(),
    )


def with_two_tasks(**overrides: object) -> ToldRun:
    return ToldRun.running(task("a"), task("b"), **overrides)


def with_an_attempt() -> ToldRun:
    run = with_two_tasks()
    run.prepare(1)
    return run


def with_a_job() -> ToldRun:
    run = with_two_tasks()
    run.prepare(1)
    run.submit("a")
    return run


def after(make: Callable[[], ToldRun], *wrong: f.Fact) -> list[Problem]:
    """What is wrong with these facts at the end of a history that is right without them."""
    facts = facts_of(make())
    assert found(facts) == []
    problems = found([*facts, *wrong])
    assert {problem.run_id for problem in problems} <= {RUN_ID, None}
    return [attrs.evolve(p, seq=p.seq - len(facts) if p.seq is not None else None) for p in problems]


def one(problems: Sequence[Problem]) -> tuple[str, int | None, str]:
    """The only problem: rule, which of the wrong facts, words."""
    (problem,) = problems
    return problem.rule, problem.seq, problem.problem


def job_a(make: Callable[[], ToldRun] = with_a_job) -> Token:
    return make().token("a")


def paused() -> ToldRun:
    run = with_two_tasks()
    run.tell(m.Pause(by="ann"))
    return run


def cancelling() -> ToldRun:
    run = with_a_job()
    run.tell(m.Cancel(by="ann"))
    return run


def cancelled() -> ToldRun:
    run = with_two_tasks()
    run.tell(m.Cancel(by="ann"), m.Settle())
    return run


def cancelling_a_task() -> ToldRun:
    run = with_a_job()
    run.tell(m.CancelTasks(by="ann", tasks=["a"]))
    return run


FOLD: dict[str, tuple[Callable[[], ToldRun], f.Fact, str]] = {
    "created twice": (with_two_tasks, f.RunCreated(workspace="w", config={}), "was created twice"),
    "started twice": (paused, f.RunStarted(), "the run was PAUSED"),
    "resumed without a pause": (with_two_tasks, f.RunResumed(by="x"), "the run was RUNNING"),
    "resumed before its start": (ToldRun.new, f.RunResumed(by="x"), "the run was PENDING"),
    "reopened though it goes on": (paused, f.RunReopened(by="x"), "the run was PAUSED"),
    "a cancelled run reopened": (cancelled, f.RunReopened(by="x"), "is CANCELLED and cannot become RUNNING"),
    "a change of the campaign that nobody told": (
        knowing_its_campaign, f.RunCompleted(code={"campaign.py": "2b"}),
        "nothing had said that the campaign's campaign.py changed",
    ),
    "a change of the campaign that is none": (
        knowing_its_campaign,
        f.CampaignChanged(
            action="plan", iteration=1, files={"campaign.py": "1a"}, before={"campaign.py": "1a"}
        ),
        "campaign.py had been the same",
    ),
    "a change of another campaign": (
        knowing_its_campaign,
        f.CampaignChanged(
            action="plan", iteration=1, files={"campaign.py": "2b"}, before={"campaign.py": "3c"}
        ),
        "had been others before",
    ),
    "an iteration left out": (
        with_two_tasks,
        f.IterationPlanned(iteration=3, task_count=0),
        "iteration 3 was planned after iteration 1",
    ),
    "a task without a job, of which that is to be ended": (
        with_a_job, f.TaskCancelRequested(task_id=TaskId("b"), by="x"), "it had no job to be ended",
    ),
    "a task cancelled twice": (
        cancelling_a_task, f.TaskCancelRequested(task_id=A, by="x"), "was being cancelled already",
    ),
    "a task cancelled by nobody": (
        with_two_tasks, f.TaskCancelled(task_id=A), "nobody had cancelled it",
    ),
    "a task with a job cancelled at once": (
        with_a_job, f.TaskCancelled(task_id=A, by="x"), "nobody had asked for the end of its job",
    ),
    "a task planned twice": (with_two_tasks, f.TaskPlanned(position=2, task=task("a")), "has this task"),
    "an attempt left out": (with_two_tasks, prepared("a", n=2), "attempt 2 was prepared after 0 attempts"),
    "an attempt of a task that is not ready": (with_a_job, prepared("a", n=2), "cannot become ACTIVE"),
    "a token used again": (
        with_a_job,
        prepared("b", token=attempt_token(RUN_ID, A, 1)),
        "is that of an earlier attempt",
    ),
    "an unknown task": (with_two_tasks, prepared("nobody"), "has no task nobody"),
    "a backend that is not configured": (with_two_tasks, prepared("a", backend=BackendName("nix")), "nix"),
    "a second job": (with_a_job, f.JobAccepted(token=job_a(), job_id=JobId("2")), "and was given 2"),
    "a job of nobody": (
        with_a_job,
        f.JobAccepted(token=Token("nobody"), job_id=JobId("2")),
        "no live attempt nobody",
    ),
    "accepted when over": (
        with_an_attempt,
        f.JobAccepted(token=job_a(), job_id=JobId("1"), state=JobState.LOST),
        "a job that is LOST has ended",
    ),
    "an end without a job": (
        with_an_attempt,
        f.JobEnded(token=job_a(), state=JobState.LOST),
        "the attempt has no job",
    ),
    "an end that is none": (
        with_a_job,
        f.JobEnded(token=job_a(), state=JobState.QUEUED),
        "a job that is QUEUED has not ended",
    ),
    "ended by a change": (
        with_a_job,
        f.JobStateChanged(token=job_a(), state=JobState.COMPLETED_OK),
        "a job that is COMPLETED_OK has ended",
    ),
    "a retry of a task that waits": (
        with_two_tasks,
        f.TaskRetried(task_id=B, kind=FailureKind.ERROR, reason=""),
        "task b is READY and cannot become READY",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FOLD)
def test_a_fact_that_does_not_follow_from_those_before_it_is_named(name: str) -> None:
    make, wrong, words = FOLD[name]
    problem = next(p for p in after(make, wrong) if p.rule == "fold")
    assert problem.seq == 1
    assert problem.problem.startswith(type(wrong).__name__)
    assert words in problem.problem


def test_the_second_end_of_an_attempt_is_one_too_many() -> None:
    run = with_a_job()
    end = f.JobEnded(token=run.token("a"), state=JobState.COMPLETED_OK, exit_code=0)
    rule, seq, text = one(after(with_a_job, end, end))
    assert (rule, seq) == ("fold", 2)
    assert f"JobEnded of {run.token('a')} cannot be: run {RUN_ID} has no live attempt" in text


def test_a_run_begins_with_its_creation() -> None:
    rule, seq, text = one(found([f.RunStarted(), f.RunPaused(by="x")]))
    assert (rule, seq, text) == (
        "fold",
        1,
        "RunStarted cannot be: the first fact of a run must be RunCreated",
    )


def test_a_run_whose_history_broke_is_told_about_once_and_the_others_are_still_checked() -> None:
    wrong: list[f.Fact | tuple[RunId, f.Fact]] = [f.RunResumed(by="x")] * 5
    other = [(OTHER, fact) for fact in facts_of(paused())]
    problems = found([*wrong, *other, *wrong, (OTHER, prepared("a"))])
    assert [(p.run_id, p.seq, p.rule) for p in problems] == [
        (RUN_ID, 1, "fold"),
        (OTHER, 5 + len(other) + 5 + 1, "paused"),
    ]


def test_a_gap_is_named_by_the_event_behind_it() -> None:
    checker = HistoryChecker()
    facts = facts_of(with_two_tasks())
    events = [f.Event(seq=seq, run_id=RUN_ID, at=NOW, fact=fact) for seq, fact in zip((1, 2, 5, 6, 7), facts)]  # noqa: B905
    problems = [problem for event in events for problem in checker.check(event)]
    assert [(p.run_id, p.seq, p.rule) for p in problems] == [(None, 5, "gap")]
    assert "numbers 3 to 4 are missing" in problems[0].problem


def test_the_first_number_is_one() -> None:
    (problem,) = HistoryChecker().check(
        f.Event(seq=2, run_id=RUN_ID, at=NOW, fact=facts_of(ToldRun.new())[0])
    )
    assert (problem.seq, problem.rule) == (2, "gap")
    assert "number 1 is missing" in problem.problem


def test_an_attempt_above_the_cap_of_its_run_is_named() -> None:
    rule, seq, text = one(after(lambda: _with_a_job_of(max_hpc_jobs_per_run=1), prepared("b")))
    assert (rule, seq) == ("cap", 1)
    assert text == "AttemptPrepared of b is live attempt 2 of its run, which may have 1"


def _with_a_job_of(**overrides: object) -> ToldRun:
    run = with_two_tasks(**overrides)
    run.prepare(1)
    run.submit("a")
    return run


def test_an_attempt_above_the_cap_of_a_backend_is_named_over_all_runs() -> None:
    caps = {"backends": {"local": {"type": "local", "max_jobs": 1}}}
    first, second = _with_a_job_of(**caps), with_two_tasks(**caps)
    history = [*facts_of(first), *((OTHER, fact) for fact in facts_of(second))]
    over = (OTHER, prepared("a", token="another"))  # noqa: S106  no password
    (problem,) = found([*history, over])
    assert (problem.run_id, problem.seq, problem.rule) == (OTHER, len(history) + 1, "cap")
    assert problem.problem == "AttemptPrepared of a is live attempt 2 of backend local, which may have 1"

    ended = f.JobEnded(token=first.token("a"), state=JobState.COMPLETED_OK)
    assert found([*history, ended, over]) == [], "its seat was free again"


def test_seats_of_a_run_whose_history_broke_are_not_counted() -> None:
    caps = {"backends": {"local": {"type": "local", "max_jobs": 1}}}
    history = [*facts_of(_with_a_job_of(**caps)), f.RunResumed(by="x")]
    other = [(OTHER, fact) for fact in facts_of(with_two_tasks(**caps))]
    problems = found([*history, *other, (OTHER, prepared("a", token="another"))])  # noqa: S106
    assert [p.rule for p in problems] == ["fold"]


def test_a_run_with_a_lower_cap_than_others_have_jobs_may_keep_what_it_has() -> None:
    low = config(backends={"local": {"type": "local", "max_jobs": 1}})
    first = with_two_tasks()
    first.activate("a", "b")
    second: list[f.Fact] = [f.RunCreated(workspace="w", config=low), f.RunStarted()]
    assert found([*facts_of(first), *((OTHER, fact) for fact in second)]) == []


def test_what_is_prepared_or_started_during_a_pause_is_named() -> None:
    assert one(after(paused, prepared("a"))) == (
        "paused", 1, "AttemptPrepared of a came while the run was paused",
    )  # fmt: skip

    def paused_with_an_attempt() -> ToldRun:
        run = with_an_attempt()
        run.tell(m.Pause(by="ann"))
        return run

    token = paused_with_an_attempt().token("a")
    assert one(after(paused_with_an_attempt, f.JobAccepted(token=token, job_id=JobId("1"))))[:2] == (
        "paused",
        1,
    )
    adopted = f.JobAccepted(token=token, job_id=JobId("1"), adopted=True)
    assert after(paused_with_an_attempt, adopted, f.RunResumed(by="x"), prepared("b")) == []


def test_of_each_rule_the_first_fact_of_a_run_is_named_and_no_other() -> None:
    assert one(after(paused, prepared("a"), prepared("b")))[:2] == ("paused", 1)


def test_what_is_prepared_while_a_run_is_being_ended_is_named() -> None:
    assert one(after(cancelling, prepared("b"))) == (
        "ended", 1, "AttemptPrepared of b came while the run was being ended",
    )  # fmt: skip


def test_whatever_comes_after_the_end_is_named() -> None:
    problems = after(completed, f.RunCancelRequested(by="x"), f.RunStarted())
    assert [(p.rule, p.seq) for p in problems] == [("ended", 1), ("fold", 2)]
    assert problems[0].problem == "RunCancelRequested came after the run was COMPLETED"
    problems = after(cancelled, f.RunCancelRequested(by="x"))
    assert [(p.rule, p.seq) for p in problems] == [("ended", 1)]


@pytest.mark.parametrize("end", [f.RunCancelled(), f.RunFailed(reason="x"), f.RunCompleted()])
def test_a_run_that_ends_with_a_live_attempt_is_named(end: f.Fact) -> None:
    live, open_tasks = after(with_a_job, end)
    assert (live.rule, live.seq) == ("live", 1)
    assert live.problem == f"{type(end).__name__} came while attempt {job_a()} was live"
    assert (open_tasks.rule, open_tasks.seq) == ("fold", 1)
    assert "of its tasks had not ended" in open_tasks.problem


@pytest.mark.parametrize(
    "end",
    [
        f.TaskSucceeded(task_id=A),
        f.TaskFailed(task_id=A, reason="x"),
        f.TaskRetried(task_id=A, kind=FailureKind.ERROR, reason="x"),
    ],
)
def test_a_task_that_ends_before_its_attempt_is_named(end: f.Fact) -> None:
    assert one(after(with_a_job, end))[:2] == ("live", 1)


@pytest.mark.parametrize("make", [cancelling, cancelling_a_task])
def test_a_task_that_is_cancelled_before_its_attempt_has_ended_is_named(make: Callable[[], ToldRun]) -> None:
    by = "ann" if make is cancelling_a_task else ""
    assert one(after(make, f.TaskCancelled(task_id=A, by=by)))[:2] == ("live", 1)


def test_facts_that_no_decision_ever_made_break_the_run_and_not_the_checker() -> None:
    nonsense: list[f.Fact] = [
        f.RunCreated(workspace="w", config={"backends": 5}),
        f.RunStarted(),
        f.IterationPlanned(iteration=1, task_count=1),
        f.TaskPlanned(position=0, task=task("a")),
    ]
    (problem,) = found([*nonsense, f.RunPaused(by="x")])
    assert (problem.rule, problem.seq) == ("fold", 4)
    odd = config(max_hpc_jobs_per_run="many")
    (problem,) = found([f.RunCreated(workspace="w", config=odd), *nonsense[1:], prepared("a")])
    assert (problem.rule, problem.seq) == ("fold", 5)


def test_an_event_that_cannot_be_read_leaves_its_run_out() -> None:
    checker = HistoryChecker()
    facts = facts_of(with_two_tasks())
    for seq, fact in enumerate(facts, start=1):
        assert list(checker.check(f.Event(seq=seq, run_id=RUN_ID, at=NOW, fact=fact))) == []
    seq = len(facts) + 1
    assert list(checker.cannot_read(seq, RUN_ID, "no such fact")) == [
        Problem(RUN_ID, seq, "fold", "no such fact")
    ]
    assert list(checker.cannot_read(seq + 1, RUN_ID, "no such fact")) == []
    assert list(checker.check(f.Event(seq=seq + 2, run_id=RUN_ID, at=NOW, fact=f.RunPaused(by="x")))) == []
    assert (checker.states, checker.broken) == ({}, {RUN_ID})


@pytest.mark.parametrize(
    "end", [f.TaskFailed(task_id=A, reason="x"), f.TaskRetried(task_id=A, kind=FailureKind.ERROR, reason="x")]
)
def test_a_task_that_fails_or_is_tried_again_while_a_person_has_it_ended_is_named(end: f.Fact) -> None:
    job_ended = f.JobEnded(token=job_a(), state=JobState.COMPLETED_ERROR)
    assert one(after(cancelling_a_task, job_ended, end))[:2] == ("cancel", 2)
