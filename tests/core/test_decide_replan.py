"""What becomes of a run whose campaign is asked once more for the iteration in hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matterstack.core.errors import RefusedError
from matterstack.core.ids import TaskId
from matterstack.core.model.resources import Resources
from matterstack.core.model.workflow import Task, Workflow
from matterstack.core.run import facts as f
from matterstack.core.run import messages as m
from matterstack.core.run.campaign_code import UsedCode
from matterstack.core.run.decide import decide
from matterstack.core.run.decide_planning import wants_analysis, wants_plan
from matterstack.core.run.history_rules import HistoryChecker
from matterstack.core.run.replan_steps import Step, difference, seen_of
from matterstack.core.states import JobState, Phase, RunStatus, TaskStatus
from tests.support.states import RUN_ID, ToldRun, comparable, derived, kinds, recomputed, task

SHORT = Resources(walltime_s=60)


def replan(run: ToldRun, *tasks: Task, **options: Any) -> m.Replan:
    choices = {
        field.name: options.pop(field.name)
        for field in attrs.fields(m.ReplanChoices)
        if field.name in options
    }
    return m.Replan(
        by="ann",
        iteration=run.state.iteration,
        workflow=Workflow(tasks),
        choices=m.ReplanChoices(**choices),
        **{"basis": seen_of(run.state), **options},
    )


def steps_of(run: ToldRun, message: m.Replan) -> dict[str, Step]:
    assert message.workflow is not None
    found = difference(run.state, message.workflow, message.contents, message.choices)
    return {each.task_id: each.step for each in found.tasks}


def assert_sound(run: ToldRun) -> None:
    """The history is one, and what is kept step by step is what it gives."""
    checker = HistoryChecker()
    for seq, (at, fact) in enumerate(run.facts, start=1):
        assert list(checker.check(f.Event(seq=seq, run_id=RUN_ID, at=at, fact=fact))) == []
    assert derived(run.state) == recomputed(run.state)
    assert comparable(run.refolded()) == comparable(run.state)


def finish(run: ToldRun, names: Iterable[str]) -> None:
    run.succeed(*names)
    run.tell(m.Analyzed(iteration=run.state.iteration, state={"done": True}))


def alone(run: ToldRun, name: str, state: JobState = JobState.COMPLETED_OK) -> None:
    """The first of the tasks that are ready ends, and no other one begins."""
    run.prepare(seats=1)
    run.submit(name)
    run.end(name, state)
    run.collect(name)


# ---- new, changed, gone ----


def test_what_has_not_begun_takes_the_new_definition_and_what_is_new_is_planned() -> None:
    run = ToldRun.running(task("a"), task("b", "a"), task("c"))
    facts = run.tell(replan(run, task("a", env={"A": "1"}), task("b", "c"), task("c"), task("d", "b")))
    assert kinds(facts) == ["Replanned", "TaskReplanned", "TaskReplanned", "TaskPlanned"]
    assert facts[0] == f.Replanned(iteration=1, by="ann", task_count=4)
    assert [fact.changes for fact in facts if isinstance(fact, f.TaskReplanned)] == [
        {"env.A": f.Change(None, "1")},
        {"depends_on": f.Change(["a"], ["c"])},
    ]
    assert run.statuses() == {"a": "READY", "b": "WAITING", "c": "READY", "d": "WAITING"}
    run.succeed("c")
    assert run.statuses()["b"] == "READY", "it does not wait for a any more"
    assert_sound(run)


def test_a_plan_that_is_as_it_was_changes_nothing() -> None:
    run = ToldRun.running(task("a"), task("b", "a"))
    run.succeed("a")
    assert run.tell(replan(run, task("b", "a"), task("a"))) == [], "in another order, which none knows of"


def test_what_is_live_is_never_touched_and_its_next_attempt_is_as_the_plan_says() -> None:
    run = ToldRun.running(task("a", resources=SHORT, retries=1))
    run.activate("a")
    run.tell(replan(run, task("a", resources=Resources(walltime_s=600), retries=1)))
    (attempt,) = run.state.live.values()
    assert (attempt.resources.walltime_s, run.state.definition_of(attempt).resources) == (60, SHORT)
    run.end("a", JobState.COMPLETED_ERROR)
    run.prepare()
    (attempt,) = run.state.live.values()
    assert (attempt.version, attempt.resources.walltime_s) == (2, 600)
    assert_sound(run)


@pytest.mark.parametrize("ends_well", [True, False])
def test_what_ended_as_it_was_before_a_replan_is_known_by_what_it_was_made_of(ends_well: bool) -> None:
    run = ToldRun.running(task("a", params={"x": 1}), task("b"))
    run.activate("a", "b")
    new = [task("a", params={"x": 2}), task("b")]
    run.tell(replan(run, *new))
    run.end("a", JobState.COMPLETED_OK if ends_well else JobState.COMPLETED_ERROR)
    run.collect("a")
    assert steps_of(run, replan(run, *new)) == {"a": Step.STALE if ends_well else Step.TRIED_AGAIN}
    facts = run.tell(replan(run, *new, redo_changed=True))
    assert kinds(facts) == ["Replanned", "TaskReopened"], "it is defined so already"
    run.prepare()
    attempt = run.state.tasks[TaskId("a")].attempts[-1]
    assert (attempt.n, attempt.version, run.state.definition_of(attempt).params) == (2, 2, {"x": 2})
    assert_sound(run)


@pytest.mark.parametrize("ends_well", [True, False])
def test_what_was_amended_at_work_makes_nothing_stale_and_tries_nothing_again(ends_well: bool) -> None:
    run = ToldRun.running(task("a", resources=SHORT), task("b"))
    run.activate("a", "b")
    run.tell(m.AmendTasks(by="bob", tasks=[TaskId("a")], changes={"resources.walltime_s": 7200}))
    run.end("a", JobState.COMPLETED_OK if ends_well else JobState.COMPLETED_ERROR)
    run.collect("a")
    assert steps_of(run, replan(run, task("a", resources=SHORT), task("b"))) == {}


def test_what_failed_with_another_definition_is_tried_again_with_what_it_took_along() -> None:
    run = ToldRun.running(task("a"), task("b", "a"), task("c"), task("d", "c"))
    run.fail("a", "c")
    run.tell(m.Settle())
    assert run.state.status is RunStatus.FAILED
    facts = run.tell(replan(run, task("a", command=["right"]), task("b", "a"), task("c"), task("d", "c")))
    assert kinds(facts)[:2] == ["RunReopened", "Replanned"]
    assert run.statuses() == {"a": "READY", "b": "WAITING", "c": "FAILED", "d": "SKIPPED"}
    assert run.state.tasks[TaskId("a")].tries == 0, "as by a retry"
    assert_sound(run)


def test_another_content_of_a_file_is_another_definition() -> None:
    run = ToldRun.running(task("a", files={"in": "in"}), task("b", files={"in": "in"}))
    run.succeed("a")
    run.fail("b")
    tasks = [task("a", files={"in": "in"}), task("b", files={"in": "in"})]
    contents = {TaskId(name): {"in": f.Change("11", "22")} for name in "ab"}
    message = replan(run, *tasks, contents=contents)
    assert steps_of(run, message) == {"a": Step.STALE, "b": Step.TRIED_AGAIN}
    facts = run.tell(message)
    (fact,) = [fact for fact in facts if isinstance(fact, f.TaskReplanned)]
    assert (fact.task_id, fact.changes, fact.contents) == ("b", {}, contents[TaskId("b")])
    assert run.statuses() == {"a": "SUCCEEDED", "b": "READY"}
    assert_sound(run)


def test_what_succeeded_with_another_definition_is_stale_and_done_again_only_on_demand() -> None:
    run = ToldRun.running(task("a", params={"x": 1}), task("b", "a"))
    run.succeed("a")
    new = [task("a", params={"x": 2}), task("b", "a")]
    assert steps_of(run, replan(run, *new)) == {"a": Step.STALE}
    assert run.tell(replan(run, *new)) == []
    assert steps_of(run, replan(run, *new, redo_changed=True)) == {"a": Step.REDONE}
    run.tell(replan(run, *new, redo_changed=True))
    assert run.statuses() == {"a": "READY", "b": "WAITING"}
    run.prepare()
    (attempt,) = run.state.live.values()
    assert (attempt.n, attempt.version, run.state.definition_of(attempt).params) == (2, 2, {"x": 2})
    assert_sound(run)


def test_what_is_gone_is_withdrawn_with_all_that_nobody_plans_any_more() -> None:
    run = ToldRun.running(task("c"), task("d", "c"), task("a"), task("b", "a"), task("keep"))
    alone(run, "c", JobState.COMPLETED_ERROR)
    facts = run.tell(replan(run, task("keep")))
    gone = [fact for fact in facts if isinstance(fact, f.TaskWithdrawn)]
    assert [fact.task_id for fact in gone] == ["c", "d", "a", "b"]
    assert run.statuses() == dict.fromkeys("abcd", "CANCELLED") | {"keep": "READY"}
    assert not run.state.hard_failures
    run.succeed("keep")
    assert wants_analysis(run.state)
    with pytest.raises(RefusedError):
        run.tell(m.Retry(by="bob"))
    assert_sound(run)


def test_a_live_job_of_a_task_that_is_gone_goes_on_and_none_follows_it() -> None:
    run = ToldRun.running(task("a", retries=3), task("b"), task("c"))
    run.activate("a", "b")
    message = replan(run, task("c"))
    assert steps_of(run, message) == {"a": Step.JOB_LEFT, "b": Step.JOB_LEFT}
    run.tell(message)
    assert run.statuses() == {"a": "ACTIVE", "b": "ACTIVE", "c": "ACTIVE"}
    assert not run.state.being_cancelled
    assert run.tell(replan(run, task("c"))) == [], "that is known"
    assert kinds(run.end("a", JobState.COMPLETED_ERROR)) == ["JobEnded", "TaskCancelled"], (
        "no retry, no failure"
    )
    run.end("b")
    run.collect("b")
    assert run.statuses() == {"a": "CANCELLED", "b": "SUCCEEDED", "c": "ACTIVE"}
    assert_sound(run)


@pytest.mark.parametrize("has_job", [True, False])
def test_what_is_gone_is_not_submitted_anew(has_job: bool) -> None:
    run = ToldRun.running(task("a"), task("b"))
    run.prepare()
    if has_job:
        run.submit("a")
    again = m.AmendTasks(by="bob", tasks=[TaskId("a")], changes={"priority": 1}, resubmit=True)
    run.tell(attrs.evolve(again, changes={}))
    run.tell(replan(run, task("b")))
    if has_job:
        run.end("a", JobState.CANCELLED)
    else:
        run.tell(m.Withdrawn(token=run.token("a"), reason="given up"))
    assert run.statuses()["a"] == "CANCELLED"
    run.submit("b")
    run.tell(replan(run, task("a")))
    with pytest.raises(RefusedError, match="none of these tasks has a job"):
        run.tell(attrs.evolve(again, tasks=[TaskId("b")], changes={}))
    assert_sound(run)


def test_a_live_job_of_a_task_that_is_gone_is_ended_on_demand_also_later() -> None:
    run = ToldRun.running(task("a"), task("b"))
    run.activate("a", "b")
    run.tell(replan(run, task("b")))
    run.tell(replan(run, task("b"), cancel_gone=True))
    assert list(run.state.being_cancelled) == ["a"]
    run.end("a", JobState.CANCELLED)
    assert run.statuses() == {"a": "CANCELLED", "b": "ACTIVE"}
    assert run.state.tasks[TaskId("a")].is_withdrawn
    assert_sound(run)


@pytest.mark.parametrize("is_live", [True, False])
def test_what_was_withdrawn_and_is_planned_again_is_there_again(is_live: bool) -> None:
    run = ToldRun.running(task("a"), task("b"))
    if is_live:
        run.activate("a", "b")
    run.tell(replan(run, task("b")))
    assert steps_of(run, replan(run, task("a"), task("b"))) == {"a": Step.BACK}
    run.tell(replan(run, task("a"), task("b")))
    assert run.statuses()["a"] == ("ACTIVE" if is_live else "READY")
    assert run.state.tasks[TaskId("a")].cancellation is None
    assert_sound(run)


def test_every_task_renamed_is_all_withdrawn_but_what_is_done_and_all_new() -> None:
    run = ToldRun.running(task("a"), task("b", "a"), task("c"))
    alone(run, "a")
    run.tell(replan(run, task("x"), task("y", "x"), task("z")))
    assert run.statuses() == {
        "a": "SUCCEEDED", "b": "CANCELLED", "c": "CANCELLED", "x": "READY", "y": "WAITING", "z": "READY",
    }  # fmt: skip
    finish(run, ["x", "y", "z"])
    assert wants_plan(run.state)
    assert_sound(run)


def test_what_a_person_cancelled_stays_so_whatever_is_planned() -> None:
    run = ToldRun.running(task("a"), task("b", "a"), task("c"))
    run.tell(m.CancelTasks(by="eva", tasks=["a"]))
    message = replan(run, task("a", priority=1), task("b", "a"), task("c"), task("d", "a"))
    assert steps_of(run, message) == {"a": Step.STAYS_CANCELLED, "d": Step.PLANNED}
    run.tell(message)
    assert run.statuses() == {"a": "CANCELLED", "b": "CANCELLED", "c": "READY", "d": "SKIPPED"}
    assert_sound(run)


def test_a_new_task_that_waits_for_a_failure_that_stays_is_skipped_with_all_behind_it() -> None:
    run = ToldRun.running(task("a"), task("b"))
    run.fail("a")
    facts = run.tell(replan(run, task("a"), task("b"), task("c", "a"), task("d", "c")))
    skipped = {fact.task_id: fact.because for fact in facts if isinstance(fact, f.TaskSkipped)}
    assert skipped == {"c": "a", "d": "a"}
    assert_sound(run)


def test_what_waits_for_a_task_whose_job_is_being_ended_would_wait_for_ever() -> None:
    run = ToldRun.running(task("a"), task("b"))
    run.activate("a", "b")
    run.tell(m.CancelTasks(by="eva", tasks=["a"]))
    run.tell(replan(run, task("a"), task("b"), task("c", "a")))
    assert run.statuses()["c"] == "SKIPPED"
    assert_sound(run)


# ---- amendments ----


def amended_run() -> ToldRun:
    run = ToldRun.running(task("a", resources=SHORT), task("b", resources=SHORT))
    changes = {"resources.walltime_s": 7200, "env.A": "1"}
    run.tell(m.AmendTasks(by="bob", tasks=[TaskId("a")], changes=changes))
    return run


def test_amendments_stay_on_top_and_a_clash_is_theirs() -> None:
    run = amended_run()
    longer = [task(name, resources=Resources(walltime_s=600), priority=1) for name in "ab"]
    run.tell(replan(run, *longer))
    a, b = (run.state.tasks[TaskId(name)] for name in "ab")
    assert (a.task.resources.walltime_s, a.task.env, a.task.priority) == (7200, {"A": "1"}, 1)
    assert b.task.resources.walltime_s == 600
    assert (a.as_planned, b.planned) == (longer[0], None)
    assert run.tell(replan(run, *longer)) == [], "the plan has said that already"
    assert run.tell(replan(run, *longer, yes_plan=True)) == []
    assert_sound(run)


def test_the_plan_wins_a_clash_on_demand_and_what_does_not_clash_stays() -> None:
    run = amended_run()
    longer = [task(name, resources=Resources(walltime_s=600)) for name in "ab"]
    run.tell(replan(run, *longer, yes_plan=True))
    a = run.state.tasks[TaskId("a")]
    assert (a.task.resources.walltime_s, a.task.env) == (600, {"A": "1"})
    assert_sound(run)


def test_a_plan_that_says_what_was_amended_makes_nothing_stale() -> None:
    run = amended_run()
    run.succeed("a")
    same = task("a", resources=Resources(walltime_s=7200), env={"A": "1"})
    assert steps_of(run, replan(run, same, task("b", resources=SHORT))) == {}


def test_an_amendment_after_a_replan_is_over_what_the_plan_says_then() -> None:
    run = ToldRun.running(task("a", resources=SHORT))
    run.tell(replan(run, task("a", resources=Resources(walltime_s=600))))
    run.tell(m.AmendTasks(by="bob", tasks=[TaskId("a")], changes={"resources.walltime_s": 900}))
    run.tell(replan(run, task("a", resources=Resources(walltime_s=600), priority=1)))
    a = run.state.tasks[TaskId("a")].task
    assert (a.resources.walltime_s, a.priority) == (900, 1)
    assert_sound(run)


# ---- runs that have ended, campaigns, iterations ----


def test_a_completed_run_goes_on_from_what_its_last_iteration_was_planned_from() -> None:
    run = ToldRun.running(task("a"))
    finish(run, ["a"])
    run.tell(m.Planned(iteration=2, workflow=None))
    assert run.state.status is RunStatus.COMPLETED
    assert run.tell(replan(run, task("a"))) == []
    assert run.tell(replan(run, task("a", params={"x": 1}))) == [], "it is stale, and stays"
    assert run.state.status is RunStatus.COMPLETED
    run.tell(replan(run, task("a"), task("b")))
    assert (run.state.status, run.state.phase) == (RunStatus.RUNNING, Phase.EXECUTING)
    assert run.state.campaign_state == {}
    run.succeed("b")
    assert wants_analysis(run.state)
    assert_sound(run)


def test_a_run_that_its_campaign_failed_is_reopened_and_one_that_its_tasks_failed_is_not() -> None:
    run = ToldRun.running(task("a"))
    run.succeed("a")
    run.tell(m.PlanningFailed(reason="analyze raised", action="analyze", iteration=1))
    assert kinds(run.tell(replan(run, task("a")))) == ["RunReopened", "Replanned"]
    assert wants_analysis(run.state)
    assert_sound(run)
    other = ToldRun.running(task("a"))
    other.fail("a")
    other.tell(m.Settle())
    assert other.tell(replan(other, task("a"))) == []


def test_a_run_whose_first_plan_failed_is_asked_again_and_takes_the_campaign() -> None:
    run = ToldRun.running()
    code = UsedCode(files={"campaign.py": "1a"}, added=("campaign.py",))
    run.tell(m.PlanningFailed(reason="no", action="plan", iteration=1))
    facts = run.tell(attrs.evolve(replan(run), workflow=None, code=code))
    assert kinds(facts) == ["RunReopened", "CampaignChanged"]
    assert run.state.code.files == {"campaign.py": "1a"}
    assert wants_plan(run.state)
    assert_sound(run)


@pytest.mark.parametrize("is_pinned", [True, False])
def test_another_campaign_that_plans_the_same_is_taken_where_it_would_be_refused(is_pinned: bool) -> None:
    run = ToldRun.running(task("a"), pin_campaign=is_pinned)
    code = UsedCode(files={"campaign.py": "1a"}, added=("campaign.py",))
    facts = run.tell(replan(run, task("a"), code=code))
    assert kinds(facts) == (["CampaignChanged", "Replanned"] if is_pinned else [])
    assert_sound(run)


def test_only_the_iteration_in_hand_is_planned_anew() -> None:
    run = ToldRun.running(task("a"))
    finish(run, ["a"])
    run.tell(m.Planned(iteration=2, workflow=Workflow([task("b", "a")])))
    with pytest.raises(RefusedError, match="of an earlier iteration"):
        run.tell(replan(run, task("a")))
    run.tell(replan(run, task("c", "a")))
    assert run.statuses() == {"a": "SUCCEEDED", "b": "CANCELLED", "c": "READY"}
    assert_sound(run)


# ---- refused ----


CHANGES: Mapping[str, tuple[m.Message, str]] = {
    "amended": (
        m.AmendTasks(by="bob", tasks=[TaskId("a")], changes={"priority": 2}),
        "task a was amended",
    ),
    "cancelled": (m.CancelTasks(by="eva", tasks=["a"], reason="hot"), "task a is cancelled by eva: hot"),
}


@pytest.mark.parametrize("what", sorted(CHANGES))
def test_what_changed_since_the_plan_was_shown_is_told_and_nothing_is_taken(what: str) -> None:
    run = ToldRun.running(task("a"), task("b"))
    message = replan(run, task("b"), task("c"))
    change, words = CHANGES[what]
    run.tell(change)
    with pytest.raises(RefusedError, match=words):
        decide(run.state, message)


def test_who_replans_second_is_told_that_the_first_did() -> None:
    run = ToldRun.running(task("a"))
    first, second = replan(run, task("a", priority=1)), replan(run, task("a"), task("b"))
    run.tell(first)
    with pytest.raises(RefusedError, match="task a was amended or planned anew"):
        run.tell(second)


def test_jobs_that_begin_and_end_meanwhile_are_no_reason_to_refuse() -> None:
    run = ToldRun.running(task("a"), task("b"))
    message = replan(run, task("a", priority=1), task("b", priority=1))
    run.activate("a", "b")
    run.end("b")
    run.collect("b")
    run.tell(message)
    assert [run.state.tasks[TaskId(name)].version for name in "ab"] == [2, 1], "b is stale by now"
    assert_sound(run)


def test_a_later_iteration_or_config_is_told() -> None:
    run = ToldRun.running(task("a"))
    message = replan(run, task("b"))
    with pytest.raises(RefusedError, match="its config was amended"):
        decide(attrs.evolve(run.state, config={**run.state.config, "priority": 9}), message)
    finish(run, ["a"])
    run.tell(m.Planned(iteration=2, workflow=Workflow([task("z")])))
    with pytest.raises(RefusedError, match="iteration 2 was planned"):
        run.tell(message)


def test_what_a_stale_task_has_not_left_cannot_be_taken_of_it() -> None:
    run = ToldRun.running(task("a", outputs=["old"]), task("b", inputs={"x": "a/old"}))
    run.activate("a")
    run.end("a")
    run.collect("a", outputs=(f.OutputFile("old", 1, "00"),))
    new = [task("a", outputs=["*"]), task("b", inputs={"x": "a/new"})]
    with pytest.raises(RefusedError, match="matches no output of 'a'"):
        run.tell(replan(run, *new))
    run.tell(replan(run, *new, redo_changed=True))
    assert run.statuses() == {"a": "READY", "b": "WAITING"}


def test_what_is_amended_and_planned_must_be_a_task_together() -> None:
    run = ToldRun.running(task("a", resources=Resources(nodes=1)))
    run.tell(m.AmendTasks(by="bob", tasks=[TaskId("a")], changes={"resources.ntasks": 1}))
    with pytest.raises(RefusedError, match="task a: what was amended does not go with"):
        run.tell(replan(run, task("a", resources=Resources(nodes=4))))


@pytest.mark.parametrize("status", [RunStatus.CANCELLED, RunStatus.RUNNING])
def test_a_run_that_is_cancelled_is_not_planned_anew(status: RunStatus) -> None:
    run = ToldRun.running(task("a"))
    run.activate("a")
    message = replan(run, task("b"))
    run.tell(m.Cancel(by="ann"))
    if status is RunStatus.CANCELLED:
        run.end("a", JobState.CANCELLED)
        run.tell(m.Settle())
    assert run.state.status is status
    with pytest.raises(RefusedError, match=r"cancelled|CANCELLED"):
        run.tell(message)


# ---- anything ----

NAMES = st.sampled_from("abcd")
PLANS = st.lists(
    st.tuples(NAMES, st.integers(0, 1), st.sets(NAMES)), min_size=1, unique_by=lambda one: one[0]
)


def planned(plan: Iterable[tuple[str, int, set[str]]]) -> list[Task]:
    """Tasks that depend only on those before them in the alphabet, as far as these are planned."""
    names = {name for name, _, _ in plan}
    return [
        task(name, *sorted(d for d in needs if d < name and d in names), priority=priority)
        for name, priority, needs in plan
    ]


@settings(max_examples=150, deadline=None)
@given(PLANS, PLANS, st.sets(NAMES), st.sets(NAMES), st.booleans(), st.booleans())
def test_after_any_plan_each_task_is_as_it_says_and_none_waits_for_ever(
    before: Any, after: Any, succeeded: set[str], failed: set[str], redo: bool, cancel_gone: bool
) -> None:
    run = ToldRun.running(*planned(before))
    for name in "abcd":
        known = run.state.tasks.get(TaskId(name))
        if known is not None and known.status is TaskStatus.READY and name in succeeded | failed:
            (run.fail if name in failed else run.succeed)(name)
    new = planned(after)
    run.tell(replan(run, *new, redo_changed=redo, cancel_gone=cancel_gone), m.Settle())
    stays = {TaskStatus.SUCCEEDED}
    for one in new:
        now = run.state.tasks[one.id]
        assert now.task == one or now.status in stays
        assert not now.is_withdrawn
    for task_id, known in run.state.tasks.items():
        if task_id not in {one.id for one in new}:
            assert (
                known.status in {TaskStatus.CANCELLED, TaskStatus.SUCCEEDED} or known.cancellation is not None
            )
    assert run.tell(replan(run, *new, redo_changed=redo, cancel_gone=cancel_gone)) == [], (
        "that is what it is now"
    )
    state = run.state
    if state.may_submit and not state.live and not any(state.ready.values()):
        assert wants_analysis(state)
    assert_sound(run)
