"""A run is held when so many of its tasks fail alike within seconds of their start, and else is not."""

from __future__ import annotations

import pytest

from matterstack.core.ids import BackendName, TaskId, Token, utc_text
from matterstack.core.operators import ASKED
from matterstack.core.run import facts as f
from matterstack.core.run import messages as m
from matterstack.core.run.history_rules import HistoryChecker
from matterstack.core.states import JobState, RunStatus
from tests.support.states import BEGINNING, CLUSTER, LOCAL, RUN_ID, ToldRun, kinds, task

MANY = 40
LONG_S = 31


def many(count: int = MANY, *, after: int = 3, **options: object) -> ToldRun:
    """A RUNNING run with tasks t0, t1, ...; ``after``: how many that fail alike hold it."""
    tasks = [task(f"t{n}", **options) for n in range(count)]
    backends = {"local": {"type": "local", "max_jobs": MANY}, "cluster": {"type": "slurm", "max_jobs": MANY}}
    return ToldRun.running(*tasks, hold_after_alike=after, max_hpc_jobs_per_run=MANY, backends=backends)


def begin(run: ToldRun, name: str, backend: BackendName = LOCAL) -> None:
    """Give a task a job: the first that is ready, or one that has one already."""
    if run.statuses()[name] == "READY":
        run.prepare(1, backend)
        run.submit(name)


def fail(run: ToldRun, *names: str, took_s: float = 1, backend: BackendName = LOCAL, **seen: object) -> None:
    """Let the jobs of tasks fail, each so long after its start."""
    state = seen.pop("state", JobState.COMPLETED_ERROR)
    for name in names:
        begin(run, name, backend)
        end = run.now
        started = utc_text(BEGINNING.replace(year=2025)) if took_s >= LONG_S else end
        run.end(name, state, started_at=started, ended_at=end, **seen)  # type: ignore[arg-type]
        if TaskId(name) in run.state.collecting:
            run.collect(name)


def settled(run: ToldRun) -> bool:
    """Whether the run is held, when all that follows by itself has followed."""
    facts = run.tell(m.Settle())
    assert kinds(facts) in ([], ["RunPaused"], ["RunFailed"])
    return "RunPaused" in kinds(facts)


def test_as_many_as_was_said_hold_the_run_and_one_less_does_not() -> None:
    run = many()
    fail(run, "t0", "t1", exit_code=3)
    assert not settled(run)

    fail(run, "t2", exit_code=3)

    assert settled(run)
    assert run.state.status is RunStatus.PAUSED
    assert run.state.status_reason == (
        "paused by the engine: 3 tasks failed alike within seconds of their start, and none succeeded in "
        "between: exit code 3"
    )
    assert run.state.holding.held == "exit code 3"


def test_nothing_is_prepared_from_the_end_on_that_reaches_the_count() -> None:
    tasks = [task(f"t{n}") for n in range(MANY)]
    run = ToldRun.running(*tasks, hold_after_alike=3, max_hpc_jobs_per_run=3)
    fail(run, "t0", "t1", "t2")

    assert run.prepare() == [], "before anything was settled"
    assert not run.state.may_submit
    assert run.tell(m.Settle(may_pause=False)) == [], "a submission is under way"
    assert settled(run)


def test_the_fact_says_who_what_and_where() -> None:
    run = many(backend="cluster")
    for number in range(3):
        fail(run, f"t{number}", backend=CLUSTER, exit_code=1, host=f"n{number % 2}")

    (paused,) = run.tell(m.Settle())

    assert isinstance(paused, f.RunPaused)
    assert paused.by == "the engine"
    assert paused.alike == f.AlikeFailures(
        common="exit code 1", tasks=(TaskId("t0"), TaskId("t1"), TaskId("t2")), count=3, nodes=("n0", "n1")
    )
    assert paused.reason.endswith(": exit code 1 (on n0, n1)")


def test_a_reason_that_says_more_than_an_exit_code_is_told_and_counts_as_ever() -> None:
    run = many()
    for number in range(3):
        name = f"t{number}"
        fail(
            run,
            name,
            exit_code=127,
            raw_state="PROLOGUE_FAILED",
            reason=f"prologue line 1 failed with 127: module load vasp (in {name})",
            last_words=f"/r/tasks/{name}/1/job.sh: line 94: module: command not found",
        )

    (paused,) = run.tell(m.Settle())

    assert isinstance(paused, f.RunPaused)
    assert paused.alike is not None
    assert paused.alike.common == run.state.holding.held == "exit code 127 (PROLOGUE_FAILED)"
    assert paused.alike.reason == "prologue line 1 failed with 127: module load vasp (in the task)"
    assert paused.alike.last_words == "job.sh: line 94: module: command not found"
    assert paused.reason.endswith(f"in between: {paused.alike.reason}")


@pytest.mark.parametrize("after", [0, MANY + 1])
def test_a_run_without_such_a_limit_is_never_held(after: int) -> None:
    run = many(after=after)
    fail(run, *(f"t{n}" for n in range(MANY - 1)))
    assert not settled(run)


def test_a_run_of_an_older_version_is_never_held() -> None:
    run = ToldRun.running(*(task(f"t{n}") for n in range(MANY)), max_hpc_jobs_per_run=MANY)
    fail(run, *(f"t{n}" for n in range(MANY - 1)))
    assert not settled(run)


def test_a_success_in_between_starts_the_count_anew() -> None:
    run = many()
    fail(run, "t0", "t1")
    begin(run, "t2")
    run.end("t2")
    run.collect("t2")
    fail(run, "t3", "t4")
    assert not settled(run)
    fail(run, "t5")
    assert settled(run)


def test_other_failures_in_between_neither_count_nor_start_anew() -> None:
    run = many()
    fail(run, "t0", "t1", exit_code=3)
    fail(run, "t2", "t3", exit_code=4)
    assert not settled(run)
    fail(run, "t4", exit_code=3)
    assert settled(run)
    assert run.state.holding.held == "exit code 3"


def test_what_fails_after_a_while_does_not_count() -> None:
    run = many()
    fail(run, *(f"t{n}" for n in range(MANY - 1)), took_s=LONG_S)
    assert not settled(run)


def test_tasks_that_may_fail_do_not_count() -> None:
    run = many(allow_failure=True)
    fail(run, *(f"t{n}" for n in range(MANY - 1)))
    assert not settled(run)


def test_a_task_counts_once_whatever_its_retries() -> None:
    run = many(after=2, retries=3)
    for _ in range(4):
        fail(run, "t0")
    assert run.statuses()["t0"] == "FAILED"
    assert not settled(run)
    for _ in range(3):
        fail(run, "t1")
    assert run.statuses()["t1"] == "READY"
    assert not settled(run), "it is tried again"
    fail(run, "t1")
    assert settled(run)


def test_what_no_backend_takes_counts_by_its_reason() -> None:
    run = many()
    run.prepare(3)
    for name in ("t0", "t1", "t2"):
        run.tell(m.Refused(token=run.token(name), reason=f"no account (for {name})"))
    assert settled(run)
    assert run.state.holding.held == "no account (for the task)"


def test_jobs_that_end_well_and_leave_nothing_behind_count_by_their_problem() -> None:
    run = many()
    for number in range(3):
        begin(run, f"t{number}")
        run.end(f"t{number}")
        run.collect(f"t{number}", problem="no file matches *.json")
    assert settled(run)
    assert run.state.holding.held == "no file matches *.json"


def test_different_reasons_are_not_alike() -> None:
    run = many()
    for number in range(MANY - 1):
        begin(run, f"t{number}")
        run.end(f"t{number}")
        run.collect(f"t{number}", problem=f"no file matches {number}.json")
    assert not settled(run)


def test_a_job_that_vanished_is_not_known_to_have_failed() -> None:
    run = many()
    fail(run, *(f"t{n}" for n in range(MANY - 1)), state=JobState.LOST)
    assert not settled(run)


def test_answers_of_people_do_not_count() -> None:
    question = {"question": "go on?"}
    gates = [task(f"g{n}", operator="gate", command=[], params=question) for n in range(6)]
    run = ToldRun.running(*gates, *(task(f"t{n}") for n in range(6)), hold_after_alike=3)
    run.prepare(backend=ASKED)
    for number in range(4):
        run.submit(f"g{number}")
        run.end(f"g{number}", JobState.COMPLETED_ERROR, reason="no")
        run.collect(f"g{number}")
    assert [run.statuses()[f"g{n}"] for n in range(4)] == ["FAILED"] * 4
    assert not settled(run)
    fail(run, "t0", "t1")
    run.submit("g4")
    run.end("g4")
    run.collect("g4")
    fail(run, "t2")
    assert settled(run), "an answer is no sign that jobs work"


def test_where_nothing_is_left_to_be_kept_from_the_same_the_run_fails_as_ever() -> None:
    run = many(count=3)
    fail(run, "t0", "t1", "t2")
    assert not settled(run)
    assert run.state.status is RunStatus.FAILED


# ---- nodes ----


def test_tasks_on_one_node_count_once_as_long_as_others_were_seen() -> None:
    run = many(backend="cluster")
    begin(run, "t0", CLUSTER)
    run.end("t0", host="n1")
    run.collect("t0")
    fail(run, *(f"t{n}" for n in range(1, 9)), backend=CLUSTER, host="n7")
    assert not settled(run), "n7 alone may be broken"
    fail(run, "t9", backend=CLUSTER, host="n8")
    assert not settled(run), "two nodes are not three"
    fail(run, "t10", backend=CLUSTER, host="n1")
    assert settled(run), "no other node is left"


def test_however_few_its_nodes_a_run_does_not_burn_all_its_tasks_there() -> None:
    run = many(backend="cluster")
    begin(run, "t0", CLUSTER)
    run.end("t0", host="n1")
    run.collect("t0")
    fail(run, *(f"t{n}" for n in range(1, 30)), backend=CLUSTER, host="n7")
    assert not settled(run)
    fail(run, "t30", backend=CLUSTER, host="n7")
    assert settled(run)


def test_a_job_that_lasts_is_on_a_node_that_works() -> None:
    run = many(backend="cluster")
    begin(run, "t0", CLUSTER)
    run.tell(m.Observed(token=run.token("t0"), state=JobState.RUNNING, raw_state="RUNNING"))
    fail(run, *(f"t{n}" for n in range(1, 9)), backend=CLUSTER, host="n7")
    assert not settled(run)
    run.end("t0", JobState.COMPLETED_ERROR, host="n7", exit_code=9)
    run.collect("t0")
    assert settled(run), "it was on the same one"


def test_jobs_on_the_machine_of_the_engine_are_on_one_machine() -> None:
    run = many()
    begin(run, "t0")
    run.end("t0", host="laptop")
    run.collect("t0")
    fail(run, "t1", "t2", "t3", host="desktop")
    assert settled(run), "another engine took the run up"


# ---- going on ----


def held() -> ToldRun:
    run = many()
    fail(run, "t0", "t1", "t2")
    assert settled(run)
    return run


def test_a_resumed_run_counts_anew() -> None:
    run = held()
    run.tell(m.Resume(by="ann"))
    assert run.state.holding.held == ""
    fail(run, "t3", "t4")
    assert not settled(run)
    fail(run, "t5")
    assert settled(run)


def test_what_ends_while_the_run_is_held_neither_fails_it_nor_counts() -> None:
    run = many()
    names = [f"t{n}" for n in range(8)]
    for name in names:
        begin(run, name)
    fail(run, *names[:3])
    assert settled(run)
    fail(run, *names[3:])
    assert not settled(run)
    assert run.state.status is RunStatus.PAUSED
    assert [run.statuses()[name] for name in names] == ["FAILED"] * 8
    run.tell(m.Resume(by="ann"))
    assert not settled(run)


def test_what_failed_is_done_again_in_a_run_that_is_held_and_then_it_goes_on() -> None:
    run = held()
    run.tell(m.Retry(by="ann"))
    assert run.statuses()["t0"] == "READY"
    assert run.state.status is RunStatus.PAUSED
    run.tell(m.Resume(by="ann"))
    for number in range(MANY):
        run.succeed(f"t{number}")
    assert set(run.statuses().values()) == {"SUCCEEDED"}


def test_a_retry_in_a_run_that_is_not_held_counts_anew() -> None:
    run = many(count=4)
    run.prepare()
    run.submit("t0", "t1", "t2", "t3")
    fail(run, "t0", "t1", "t2")
    assert not settled(run), "no task waits"
    run.tell(m.Retry(by="ann"))
    assert not settled(run), "a person has just said that they are to be tried"


def cancel(run: ToldRun, *names: str) -> None:
    run.tell(m.CancelTasks(by="ann", tasks=names))


def test_what_a_person_cancels_while_the_run_is_held_stays_so_and_the_others_go_on() -> None:
    run = many()
    fail(run, "t0", "t1", "t2")
    assert settled(run)

    cancel(run, "t3", "t4")
    assert run.state.status is RunStatus.PAUSED
    assert run.state.holding.held
    run.tell(m.Retry(by="ann"))
    run.tell(m.Resume(by="ann"))

    assert (run.statuses()["t3"], run.statuses()["t4"]) == ("CANCELLED", "CANCELLED")
    assert {run.statuses()[name] for name in ("t0", "t1", "t2", "t5")} == {"READY"}
    assert not run.state.holding.held


def test_where_a_person_cancelled_all_that_it_was_held_for_the_run_fails_when_it_is_let_go() -> None:
    run = many(5)
    fail(run, "t0", "t1", "t2")
    assert settled(run)
    cancel(run, "t3", "t4")
    assert kinds(run.tell(m.Settle())) == [], "it is for a person to say what next"

    run.tell(m.Resume(by="ann"))

    assert kinds(run.tell(m.Settle())) == ["RunFailed"]


def test_a_job_that_is_cancelled_while_it_fails_like_others_does_not_count() -> None:
    run = many()
    fail(run, "t0", "t1", exit_code=3)
    begin(run, "t2")
    cancel(run, "t2")
    fail(run, "t2", exit_code=3)
    assert not settled(run)

    fail(run, "t3", exit_code=3)
    assert settled(run)


def test_a_run_whose_other_tasks_were_all_cancelled_fails_and_is_not_held() -> None:
    run = many(5)
    begin(run, "t2")
    cancel(run, "t3", "t4")
    fail(run, "t0", "t1", "t2")
    assert kinds(run.tell(m.Settle())) == ["RunFailed"]


def test_a_pause_by_a_person_is_no_hold() -> None:
    run = many()
    fail(run, "t0", "t1")
    run.tell(m.Pause(by="ann"))
    assert run.state.holding.held == ""
    assert not settled(run)


# ---- histories ----


def problems(run: ToldRun, *more: f.Fact) -> list[str]:
    checker = HistoryChecker()
    facts = [*run.facts, *((run.now, fact) for fact in more)]
    events = (f.Event(seq=n, run_id=RUN_ID, at=at, fact=fact) for n, (at, fact) in enumerate(facts, 1))
    return [problem.rule for event in events for problem in checker.check(event)]


def test_a_history_in_which_a_run_is_held_is_well() -> None:
    run = held()
    assert problems(run) == []
    run.tell(m.Retry(by="ann"), m.Resume(by="ann"))
    run.succeed("t0")
    assert problems(run) == []


def test_a_history_in_which_more_is_prepared_when_the_run_was_to_be_held_is_not() -> None:
    run = ToldRun.running(*(task(f"t{n}") for n in range(9)), hold_after_alike=3, max_hpc_jobs_per_run=3)
    fail(run, "t0", "t1", "t2")
    last = run.state.tasks[TaskId("t2")].attempts[-1]
    more = f.AttemptPrepared(
        task_id=TaskId("t8"), n=1, token=Token("ms-x"), backend=LOCAL, resources=last.resources
    )
    assert problems(run, more) == ["held"]


def test_a_history_that_holds_a_run_for_what_did_not_happen_is_not() -> None:
    run = many()
    fail(run, "t0", "t1", exit_code=1)
    alike = f.AlikeFailures(common="exit code 1", tasks=(TaskId("t0"),), count=3)
    assert problems(run, f.RunPaused(by="the engine", alike=alike)) == ["fold"]
