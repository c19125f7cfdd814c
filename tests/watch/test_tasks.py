"""What events make of the tasks is what the store makes of them."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings

from matterstack.core.model.workflow import Workflow
from matterstack.core.run import messages as m
from matterstack.core.states import JobState, TaskStatus
from matterstack.watch.known import OpenRun
from matterstack.watch.tasks import ATTENTION, WatchedTasks, status_after
from matterstack.watch.view import FILTERS
from tests.support import random_runs
from tests.support.random_runs import PROGRAMS, Step, steps
from tests.support.states import ToldRun, task
from tests.watch.scenes import document_of, events_of

ENDING = {"cancel", "fail", "planning failed", "goal met"}


def told(tasks: WatchedTasks) -> dict[str, Any]:
    shown = {
        task_id: (
            one.status, one.reason, one.iteration, list(one.depends_on), one.may_fail, one.operator,
            [(a.n, a.token, a.backend, a.job_id, a.state, a.raw_state, a.reason, a.exit_code, a.host,
              a.prepared_at, a.submitted_at, a.started_at, a.ended_at) for a in one.attempts],
        )
        for task_id, one in tasks.by_id.items()
    }  # fmt: skip
    counts = {status: count for status, count in tasks.counts.items() if count}
    return {"tasks": shown, "counts": counts, "live": sorted(attempt.token for attempt in tasks.live)}


def assert_same(tasks: WatchedTasks, run: ToldRun) -> None:
    assert told(tasks) == told(WatchedTasks.of(document_of(run)))
    assert {i: one.status for i, one in tasks.by_id.items()} == {
        i: one.status for i, one in run.state.tasks.items()
    }
    assert {i: one.unmet for i, one in tasks.by_id.items()} == {
        i: one.unmet for i, one in run.state.tasks.items()
    }
    assert tasks.iteration == run.state.iteration


@settings(max_examples=40, deadline=None)
@given(PROGRAMS)
def test_events_from_any_moment_on_lead_to_what_the_store_has_in_the_end(program: list[Step]) -> None:
    run = ToldRun.new()
    documents = [document_of(run), *(document_of(run) for _ in steps(run, program))]
    events = events_of(run)
    for document in documents[:: max(1, len(documents) // 4)]:
        tasks = WatchedTasks.of(document)
        for event in [*events, *events]:  # what was known, or comes again, changes nothing
            tasks.apply(event)
        assert_same(tasks, run)
        assert tasks.seq == len(events)


def test_long_runs_that_do_not_end_early_come_out_the_same() -> None:
    kinds = [kind for kind in random_runs._KINDS if kind not in ENDING]
    for seed in range(12):
        random = Random(seed)  # noqa: S311  no secrets here
        run = ToldRun.new()
        program = [Step(random.choice(kinds), random.randrange(2**16)) for _ in range(150)]
        beginning = document_of(run)
        for _ in steps(run, program):
            pass
        tasks = WatchedTasks.of(beginning)
        for event in events_of(run):
            tasks.apply(event)
        assert_same(tasks, run)


def test_what_happened_while_the_document_was_on_its_way_is_not_lost() -> None:
    run = ToldRun.running(task("a"), task("b"))
    document, seen = document_of(run), len(run.facts)
    run.succeed("a")
    middle = len(run.facts)
    opened = OpenRun(run.state.run_id)
    events = events_of(run)
    for event in events[seen:]:
        opened.apply(event)
    opened.take(document, events[:middle])
    run.succeed("b")
    for event in events_of(run)[middle:]:
        opened.apply(event)
    assert opened.tasks is not None
    assert_same(opened.tasks, run)
    assert [event["seq"] for event in opened.events] == list(range(1, len(run.facts) + 1))


def test_what_is_worth_a_look_comes_first_and_filters_leave_nothing_out() -> None:
    run = ToldRun.running(
        task("well"), task("bad", allow_failure=True), task("now"), task("later", "now"), task("ready")
    )
    run.prepare(seats=3)
    run.submit("well", "bad", "now")
    run.end("well")
    run.collect("well")
    run.end("bad", JobState.COMPLETED_ERROR)
    run.collect("bad")
    tasks = WatchedTasks.of(document_of(run))
    listed = {name: [one.task_id for one in tasks.sorted(statuses)] for name, statuses in FILTERS}
    assert listed == {
        "all": ["now", "bad", "ready", "later", "well"],
        "active": ["now"],
        "waiting": ["ready", "later"],
        "failed": ["bad"],
        "succeeded": ["well"],
    }
    assert set(ATTENTION) == set(TaskStatus)
    run.end("now")
    for event in events_of(run):
        tasks.apply(event)
    run.collect("now")
    for event in events_of(run):
        tasks.apply(event)
    assert [one.task_id for one in tasks.sorted(FILTERS[2][1])] == ["later", "ready"], "as they were planned"
    assert tasks.by_id["later"].status is TaskStatus.READY


ASKED: list[tuple[list[m.Message], str, str]] = [
    ([], "RUNNING", ""),
    ([m.Pause(by="ann", reason="tea")], "PAUSED", "paused by ann: tea"),
    ([m.Pause(by="ann")], "PAUSED", "paused by ann"),
    ([m.Pause(by="ann"), m.Resume(by="ben")], "RUNNING", ""),
    ([m.Cancel(by="ann", reason="wrong cell")], "RUNNING", "being cancelled by ann: wrong cell"),
]


@pytest.mark.parametrize(("messages", "status", "reason"), ASKED)
def test_what_events_say_of_the_run_is_what_the_store_says(
    messages: list[m.Message], status: str, reason: str
) -> None:
    run = ToldRun.new()
    run.tell(m.Start(), m.Planned(iteration=1, workflow=Workflow([task("a")])))
    run.activate("a")
    run.tell(*messages)
    assert (run.state.status.value, run.state.status_reason) == (status, reason)
    seen = ["PENDING", ""]
    for event in events_of(run):
        if (after := status_after(event)) is not None:
            seen = [after[0] or seen[0], after[1]]
    assert seen == [status, reason]


@settings(max_examples=40, deadline=None)
@given(PROGRAMS)
def test_any_run_has_the_status_that_its_events_say(program: list[Step]) -> None:
    run = ToldRun.new()
    for _ in steps(run, program):
        pass
    seen = ["PENDING", ""]
    for event in events_of(run):
        if (after := status_after(event)) is not None:
            seen = [after[0] or seen[0], after[1]]
    assert seen == [run.state.status.value, run.state.status_reason]
