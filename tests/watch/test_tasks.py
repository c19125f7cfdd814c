"""What rows make of the tasks is what the store makes of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from matterstack.core.run import messages as m
from matterstack.core.states import JobState, TaskStatus
from matterstack.watch.known import Known, is_ending
from matterstack.watch.tasks import ATTENTION, WatchedTasks
from matterstack.watch.view import FILTERS
from tests.support.random_runs import PROGRAMS, Step, steps
from tests.support.states import ToldRun, task
from tests.watch.scenes import change_of, document_of, entry_of, events_of, known_of


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


@settings(max_examples=40, deadline=None)
@given(PROGRAMS)
def test_rows_from_any_moment_on_lead_to_what_the_store_has_in_the_end(program: list[Step]) -> None:
    run = ToldRun.new()
    documents, changes = [document_of(run)], []
    for _ in steps(run, program):
        documents.append(document_of(run))
        changes.append(change_of(run))
    for document in documents[:: max(1, len(documents) // 4)]:
        tasks = WatchedTasks.of(document)
        for change in [*changes, *changes[-1:]]:  # what was known, or comes again, changes nothing
            for rows in change["rows"]:
                tasks.set_rows(rows)
        assert_same(tasks, run)


def test_what_happened_while_the_document_was_on_its_way_is_not_lost() -> None:
    run = ToldRun.running(task("a"), task("b"))
    document, seen = document_of(run), len(run.facts)
    run.succeed("a")
    middle = len(run.facts)
    known = Known.of({"seq": seen, "jobs": {}, "runs": [entry_of(run)]})
    known.follow(run.state.run_id)
    opened = known.open
    assert opened is not None
    known.take(change_of(run, seen))
    opened.take(document, events_of(run)[:middle])
    run.succeed("b")
    known.take(change_of(run, middle))
    known.take(change_of(run))  # comes again
    assert opened.tasks is not None
    assert_same(opened.tasks, run)
    assert [event["seq"] for event in opened.events] == list(range(1, len(run.facts) + 1))
    assert known.runs[run.state.run_id]["updated_at"] == run.state.updated_at


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
    tasks.set_rows(change_of(run)["rows"][0])
    run.collect("now")
    tasks.set_rows(change_of(run)["rows"][0])
    assert [one.task_id for one in tasks.sorted(FILTERS[2][1])] == ["later", "ready"], "as they were planned"
    assert tasks.by_id["later"].status is TaskStatus.READY


def test_what_the_document_left_out_is_not_listed_later() -> None:
    run = ToldRun.running(task("a"), task("b"))
    document = {**document_of(run), "left_out": 1}
    document["tasks"] = document["tasks"][:1]
    tasks = WatchedTasks.of(document)
    run.succeed("a", "b")
    tasks.set_rows(change_of(run)["rows"][0])
    assert list(tasks.by_id) == ["a"]
    assert tasks.counts[TaskStatus.SUCCEEDED] == 1


ASKED: list[tuple[list[m.Message], str, str, str | None]] = [
    ([], "RUNNING", "", None),
    ([m.Pause(by="ann", reason="tea")], "PAUSED", "paused by ann: tea", None),
    ([m.Pause(by="ann")], "PAUSED", "paused by ann", None),
    ([m.Pause(by="ann"), m.Resume(by="ben")], "RUNNING", "", None),
    ([m.Cancel(by="ann", reason="wrong cell")], "RUNNING", "being cancelled by ann: wrong cell", "CANCELLED"),
]


@pytest.mark.parametrize(("messages", "status", "reason", "ending"), ASKED)
def test_what_rows_say_of_the_run_is_what_the_store_says(
    messages: list[m.Message], status: str, reason: str, ending: str | None
) -> None:
    run = ToldRun.running(task("a"))
    known = known_of(run, opened=False)
    run.activate("a")
    run.tell(*messages)
    known.take(change_of(run))
    entry = known.runs[run.state.run_id]
    assert (run.state.status.value, run.state.status_reason) == (status, reason)
    assert (entry["status"], entry["status_reason"], entry["ending"]) == (status, reason, ending)
    assert is_ending(entry) is (ending is not None)
