"""What people change of tasks that have not succeeded, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from matterstack.core.errors import IllegalTransitionError, NotFoundError, RefusedError
from matterstack.core.ids import RunId, TaskId, UtcTime
from matterstack.core.model.resources import Growth, Resources
from matterstack.core.run import facts as f
from matterstack.core.run import messages as m
from matterstack.core.run.history_rules import HistoryChecker, Problem
from matterstack.core.states import JobState, RunStatus
from tests.support.states import CLUSTER, RUN_ID, ToldRun, comparable, kinds, task

LONGER = {"resources.walltime_s": 7200}
SHORT = Resources(walltime_s=60)


def amend(*names: str, changes: Any = None, **options: Any) -> m.AmendTasks:
    return m.AmendTasks(by="ann", tasks=[TaskId(n) for n in names], changes=changes or LONGER, **options)


def retry(*names: str, **options: Any) -> m.Retry:
    return m.Retry(by="ann", tasks=tuple(TaskId(n) for n in names), **options)


def timed_out(run: ToldRun, *names: str) -> None:
    for name in names:
        run.activate(name)
        run.end(name, JobState.COMPLETED_ERROR, raw_state="TIMEOUT")
        run.collect(name)


def prepared(run: ToldRun, name: str) -> list[tuple[int, int | None]]:
    """Version and walltime of each attempt of a task, as the facts have them."""
    return [
        (fact.version, fact.resources.walltime_s)
        for _, fact in run.facts
        if isinstance(fact, f.AttemptPrepared) and fact.task_id == name
    ]


def problems(facts: list[tuple[UtcTime, f.Fact]]) -> list[Problem]:
    checker = HistoryChecker()
    found: list[Problem] = []
    for seq, (at, fact) in enumerate(facts, start=1):
        found += checker.check(f.Event(seq=seq, run_id=RUN_ID, at=at, fact=fact))
    return found


# ---- amend ----


def test_an_amendment_says_what_was_and_what_is_and_the_next_attempt_is_as_it_says() -> None:
    run = ToldRun.running(task("a", resources=SHORT), task("b", resources=SHORT))
    facts = run.tell(amend("a", reason="too short"))
    change = f.Change(60, 7200)
    assert facts == [
        f.TaskAmended(
            task_id=TaskId("a"), by="ann", changes={"resources.walltime_s": change}, reason="too short"
        )
    ]
    run.prepare()
    assert (prepared(run, "a"), prepared(run, "b")) == ([(2, 7200)], [(1, 60)])
    assert problems(run.facts) == []


def test_who_amends_second_amends_what_the_first_has_left() -> None:
    run = ToldRun.running(task("a", resources=SHORT))
    run.tell(amend("a"))
    (fact,) = run.tell(amend("a", changes={"resources.walltime_s": 90, "priority": 1}))
    assert isinstance(fact, f.TaskAmended)
    assert fact.changes == {"resources.walltime_s": f.Change(7200, 90), "priority": f.Change(0, 1)}
    assert run.tell(amend("a", changes={"priority": 1})) == [], "it has that value already"
    run.prepare()
    assert prepared(run, "a") == [(3, 90)]


def test_what_is_live_keeps_what_it_was_prepared_with() -> None:
    run = ToldRun.running(task("a", resources=SHORT, outputs=["old"], retries=1))
    run.prepare()
    run.tell(amend("a", changes={**LONGER, "outputs": ["new"], "command": ["false"]}))
    (attempt,) = run.state.live.values()
    kept = run.state.definition_of(attempt)
    assert (kept.outputs, kept.command, kept.resources) == (("old",), ("true",), SHORT)
    run.submit("a")
    run.end("a", JobState.COMPLETED_ERROR)
    run.prepare()
    (attempt,) = run.state.live.values()
    assert run.state.definition_of(attempt).outputs == ("new",)
    assert prepared(run, "a") == [(1, 60), (2, 7200)]
    assert run.state.definition_of(run.state.tasks[TaskId("a")].attempts[0]).outputs == ("old",)
    assert problems(run.facts) == []


def test_a_failed_run_is_not_reopened_by_an_amendment_and_its_retry_is_as_that_says() -> None:
    run = ToldRun.running(task("a", resources=SHORT))
    timed_out(run, "a")
    run.tell(m.Settle(), amend("a"))
    assert run.state.status is RunStatus.FAILED
    run.tell(retry())
    run.prepare()
    assert prepared(run, "a") == [(1, 60), (2, 7200)]
    assert problems(run.facts) == []


def test_amended_tasks_go_on_where_their_new_backend_and_priority_have_them() -> None:
    run = ToldRun.running(task("a"), task("b"), task("c"))
    run.tell(amend("a", changes={"backend": "cluster"}), amend("c", changes={"priority": 1}))
    assert [t.task.id for t in run.state.first_ready(CLUSTER, 9)] == ["a"]
    assert [t.task.id for t in run.state.first_ready(run.state.backend_of(task("b")), 9)] == ["c", "b"]
    assert comparable(run.refolded()) == comparable(run.state)


def test_a_failure_that_is_tolerated_by_an_amendment_keeps_the_run_from_nothing() -> None:
    run = ToldRun.running(task("a"), task("b", "a"), task("c"))
    run.fail("a")
    run.tell(amend("a", changes={"allow_failure": True}))
    assert not run.state.hard_failures
    assert run.state.tasks[TaskId("b")].unmet == 0
    run.tell(m.Rerun(by="ann", tasks=[TaskId("b")]))
    assert run.statuses()["b"] == "READY"
    with pytest.raises(RefusedError, match="task a: allow_failure: it has FAILED, and others went on"):
        run.tell(amend("a", changes={"allow_failure": False}))


def running() -> ToldRun:
    run = ToldRun.running(task("a"), task("good"), max_hpc_jobs_per_run=99)
    run.succeed("good")
    return run


def cancelled() -> ToldRun:
    run = running()
    run.end("a", JobState.CANCELLED)
    run.tell(m.Cancel(by="ann", reason="wrong cell"), m.Settle())
    return run


def cancelling() -> ToldRun:
    run = running()
    run.tell(m.Cancel(by="ann", reason="wrong cell"))
    return run


@pytest.mark.parametrize(
    ("make", "message", "error", "words"),
    [
        (running, amend("nobody"), NotFoundError, "has no task 'nobody'"),
        (running, amend(), RefusedError, "name the tasks"),
        (running, amend("good"), RefusedError, "task good has SUCCEEDED"),
        (running, amend("a", "good", named=[TaskId("good")]), RefusedError, "task good has SUCCEEDED"),
        (running, amend("a", changes={"retires": 1}), RefusedError, "task a: 'retires' is nothing"),
        (running, amend("a", changes={"retries": -1}), RefusedError, "task a: retries: retries must be"),
        (running, amend("a", changes={"backend": "nope"}), RefusedError, "'a': backend 'nope' is not in"),
        (running, amend("a", changes={"command": []}), RefusedError, "'a': command is empty"),
        (running, amend("a", changes={"env.1": "x"}), RefusedError, "env: '1' is no name"),
        (cancelled, amend("a"), RefusedError, "is CANCELLED: nothing is done in a cancelled run"),
        (cancelling, amend("a"), RefusedError, "being cancelled by ann: wrong cell"),
    ],
)
def test_what_cannot_be_amended_is_refused_and_nothing_changes(
    make: Callable[[], ToldRun], message: m.Message, error: type[Exception], words: str
) -> None:
    run = make()
    before = comparable(run.state)
    with pytest.raises(error, match=words):
        run.tell(message)
    assert comparable(run.state) == before


def test_what_succeeded_meanwhile_is_left_out_of_a_selection() -> None:
    run = running()
    assert [fact.task_id for fact in run.tell(amend("a", "good")) if isinstance(fact, f.TaskAmended)] == ["a"]


def test_outputs_that_another_task_takes_as_its_input_cannot_be_amended_away() -> None:
    run = ToldRun.running(task("a", outputs=["x"]), task("b", inputs={"x": "a/x"}))
    with pytest.raises(RefusedError, match="'b': input 'x': 'x' matches no output of 'a'"):
        run.tell(amend("a", changes={"outputs": ["y"]}))


def test_an_input_that_the_task_before_did_not_leave_is_refused() -> None:
    run = ToldRun.running(task("a", outputs=["*.cif"]), task("b", inputs={"x": "a/x.cif"}))
    run.activate("a")
    run.end("a")
    run.collect("a", outputs=(f.OutputFile("x.cif", 1, ""),))
    with pytest.raises(RefusedError, match=r"task b: inputs: 'x': a left no 'y.cif' \(it left: x.cif\)"):
        run.tell(amend("b", changes={"inputs.x": "a/y.cif"}))


# ---- retry ----


def test_a_retry_with_changes_amends_and_reopens_only_what_was_selected() -> None:
    run = ToldRun.running(*(task(name, resources=SHORT) for name in "abc"), max_hpc_jobs_per_run=99)
    timed_out(run, "a", "b", "c")
    run.tell(m.Settle())
    facts = run.tell(retry("a", "b", changes=LONGER, reason="too short"))
    assert kinds(facts) == ["RunReopened", "TaskAmended", "TaskAmended", "TaskReopened", "TaskReopened"]
    assert run.statuses() == {"a": "READY", "b": "READY", "c": "FAILED"}
    run.succeed("a", "b")
    assert (prepared(run, "a"), prepared(run, "c")) == ([(1, 60), (2, 7200)], [(1, 60)])
    assert problems(run.facts) == []


def test_a_retry_that_cannot_be_amended_so_reopens_nothing() -> None:
    run = ToldRun.running(task("a"))
    run.fail("a")
    run.tell(m.Settle())
    before = comparable(run.state)
    with pytest.raises(RefusedError, match="backend 'nope'"):
        run.tell(retry("a", changes={"backend": "nope"}))
    assert comparable(run.state) == before


def completed(**options: Any) -> ToldRun:
    run = ToldRun.running(task("a", **options), task("b", "a"))
    (run.fail if options.get("allow_failure") else run.succeed)("a")
    run.succeed("b")
    run.tell(m.Analyzed(iteration=1, state={}), m.Planned(iteration=2, workflow=None))
    assert run.state.status is RunStatus.COMPLETED
    return run


@pytest.mark.parametrize("names", [(), ("a",)])
def test_what_failed_in_spite_of_allow_failure_is_retried_also_in_a_completed_run(
    names: tuple[str, ...],
) -> None:
    run = completed(allow_failure=True)
    assert kinds(run.tell(retry(*names))) == ["RunReopened", "TaskReopened"]
    assert run.statuses() == {"a": "READY", "b": "SUCCEEDED"}
    run.succeed("a")
    run.tell(m.Analyzed(iteration=1, state={}), m.Planned(iteration=2, workflow=None))
    assert run.state.status is RunStatus.COMPLETED
    assert problems(run.facts) == []


@pytest.mark.parametrize(("names", "words"), [((), "no failed task to retry"), (("a",), "a is SUCCEEDED")])
def test_where_a_rerun_is_meant_it_is_named(names: tuple[str, ...], words: str) -> None:
    with pytest.raises(RefusedError, match=words) as raised:
        completed().tell(retry(*names))
    assert f"matterstack run rerun {RUN_ID} {'a' if names else 'TASK...'}" in raised.value.hint


def test_without_a_name_what_keeps_the_run_from_completing_goes_before_what_may_fail() -> None:
    run = ToldRun.running(task("a", allow_failure=True), task("b"))
    run.fail("a", "b")
    run.tell(m.Settle(), retry())
    assert run.statuses() == {"a": "FAILED", "b": "READY"}


def test_a_cancelled_run_is_not_retried() -> None:
    with pytest.raises(IllegalTransitionError) as raised:
        cancelled().tell(retry())
    assert raised.value.hint == "nothing reopens a cancelled run"


@pytest.mark.parametrize(
    ("changes", "asked"),
    [
        ({"priority": 1}, (1200, 1500, None)),
        ({"resources.walltime_s": 900}, (900, 1500, None)),
        ({"resources.walltime_s": None}, (None, 1500, None)),
        ({"resources.memory_mib": 4000, "resources.partition": "long"}, (1200, 4000, "long")),
        ({"resources.grow.memory": 4}, (1200, 4000, None)),
    ],
)
def test_what_is_amended_is_asked_for_and_what_has_grown_stays_so(
    changes: dict[str, Any], asked: tuple[Any, ...]
) -> None:
    grow = Growth(walltime=2, memory=1.5)
    resources = Resources(walltime_s=600, memory_mib=1000, grow=grow)
    run = ToldRun.running(task("a", resources=resources, retries=9))
    for raw in ("TIMEOUT", "OUT_OF_MEMORY"):
        run.activate("a")
        run.end("a", JobState.COMPLETED_ERROR, raw_state=raw)
    run.tell(amend("a", changes=changes))
    run.prepare()
    last = run.state.tasks[TaskId("a")].attempts[-1].resources
    assert (last.walltime_s, last.memory_mib, last.partition) == asked
    assert problems(run.facts) == []


# ---- the rule ----


@pytest.mark.parametrize("older", [{"version": 1}, {"resources": SHORT}, {"backend": "local"}])
def test_an_attempt_with_an_older_definition_than_the_last_amendment_breaks_a_rule(
    older: dict[str, Any],
) -> None:
    run = ToldRun.running(task("a", resources=SHORT))
    run.tell(amend("a", changes={**LONGER, "backend": "cluster"}))
    run.prepare(backend=CLUSTER)
    assert problems(run.facts) == []
    (prepared_,) = [fact for _, fact in run.facts if isinstance(fact, f.AttemptPrepared)]
    forged = attrs.evolve(prepared_, **older)
    found = problems([(at, forged if fact is prepared_ else fact) for at, fact in run.facts])
    assert [problem.rule for problem in found] == ["amended"]


def test_an_amendment_of_what_has_succeeded_breaks_a_rule() -> None:
    run = running()
    late = f.TaskAmended(task_id=TaskId("good"), by="x", changes={"priority": f.Change(0, 1)})
    (found,) = problems([*run.facts, (run.now, late)])
    assert (found.rule, found.run_id) == ("fold", RunId(RUN_ID))
    assert "the task had succeeded" in found.problem


@pytest.mark.parametrize(
    ("change", "words"),
    [(f.Change(7, 1), "priority was 0, not 7"), (f.Change(0, 0), "it changes nothing")],
)
def test_an_amendment_that_says_what_is_not_so_breaks_a_rule(change: f.Change, words: str) -> None:
    run = running()
    forged = f.TaskAmended(task_id=TaskId("a"), by="x", changes={"priority": change})
    (found,) = problems([*run.facts, (run.now, forged)])
    assert (found.rule, found.run_id) == ("fold", RunId(RUN_ID))
    assert words in found.problem


def test_a_retry_with_changes_of_a_run_without_a_failed_task_is_refused_and_says_what_helps() -> None:
    run = running()
    run.succeed("a")
    run.tell(m.PlanningFailed(reason="campaign.py: NameError", action="analyze", iteration=1))
    assert run.state.status is RunStatus.FAILED
    with pytest.raises(RefusedError, match="has no failed task that could be changed") as refused:
        run.tell(retry(changes=LONGER))
    assert refused.value.hint is not None
    assert "matterstack run retry" in refused.value.hint
    assert kinds(run.tell(retry())) == ["RunReopened"]
