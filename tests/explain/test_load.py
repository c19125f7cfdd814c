"""What is read from a real store and this machine, in every state that a run can be in."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import attrs
import pytest
from hypothesis import given, settings

from matterstack.core.errors import NotFoundError
from matterstack.core.ids import BackendName, RunId, TaskId, UtcTime
from matterstack.core.model.resources import Resources
from matterstack.core.model.workflow import Task, Workflow
from matterstack.core.run import messages as m
from matterstack.core.states import JobState, RunStatus, TaskStatus
from matterstack.explain import load
from matterstack.explain.frontier import get_run_frontier
from matterstack.explain.load import engine_of, full_disk, load_situation
from matterstack.explain.situation import (
    UNFINISHED,
    Condition,
    EngineView,
    Health,
    Situation,
    TaskView,
)
from matterstack.storage.backend_reports import blank_report, write_report
from matterstack.storage.commands import insert_command
from matterstack.storage.layout import Root
from matterstack.storage.leases import Holder, this_process
from matterstack.storage.schema import open_database
from tests.core.test_cost import operations
from tests.support.polling import wait_until
from tests.support.random_runs import PROGRAMS, Step, steps
from tests.support.situations import running, situation, task
from tests.support.states import LOCAL, RUN_ID, chain
from tests.support.states import task as planned_task
from tests.support.stored import StoredRun, new_root, passing_run

NOW = UtcTime("2026-01-01T12:00:00.000000Z")
OTHER = RunId("20260101T000000-zzzzzz")


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return new_root(tmp_path / "root")


@pytest.fixture
def connection(root: Root) -> Iterator[sqlite3.Connection]:
    with closing(open_database(root.database)) as connection:
        yield connection


@pytest.fixture
def stored(connection: sqlite3.Connection, root: Root) -> Iterator[StoredRun]:
    run = StoredRun.create(connection, root)
    yield run
    if run.lease is not None:
        run.lease.release(connection)


def loaded(stored: StoredRun) -> Situation:
    return load_situation(stored.connection, stored.root, stored.run_id, NOW)


def plan(stored: StoredRun, *tasks: Task) -> None:
    stored.tell(m.Start(), m.Planned(iteration=1, workflow=Workflow(tasks)))


# ---- every state ----


def _assert_is_explained(situation: Situation) -> None:
    """Every state has a cause, every unfinished task has one, and the counts are those of a slow walk."""
    frontier = get_run_frontier(situation)
    assert frontier.causes
    unfinished = [t for t in situation.tasks if t.status in UNFINISHED]
    for one in unfinished:
        assert frontier.causes_of(one.task_id), (one, frontier.causes)
    assert "waits_in_vain" not in {cause.kind for cause in frontier.causes}
    assert [cause.need for cause in frontier.causes] == sorted(cause.need for cause in frontier.causes)
    for cause in frontier.causes:
        assert cause.blocks == len(_waiting_for(situation.tasks, cause.tasks)), cause


def _waiting_for(tasks: Sequence[TaskView], direct: tuple[TaskId, ...]) -> set[TaskId]:
    """Follow the dependents of what a cause holds up directly, step by step."""
    by_id = {t.task_id: t for t in tasks}
    found = {t for t in direct if by_id[t].status in UNFINISHED}
    sources = set(direct)
    more = True
    while more:
        more = False
        for one in by_id.values():
            waits = one.status is TaskStatus.WAITING or (
                one.status is TaskStatus.SKIPPED and any(by_id[t].status is TaskStatus.FAILED for t in direct)
            )
            if waits and one.task_id not in found and any(need in found | sources for need in one.needs):
                found.add(one.task_id)
                more = True
    return found


@settings(max_examples=60, deadline=None)
@given(PROGRAMS)
def test_whatever_became_of_a_run_it_is_explained_and_so_is_each_of_its_tasks(program: list[Step]) -> None:
    with passing_run() as stored:
        for number, _ in enumerate(steps(stored.run, program)):
            if number % 5 == 0:
                stored.commit()
                _assert_is_explained(loaded(stored))
        stored.commit()
        alive = loaded(stored)
        _assert_is_explained(alive)
        gone = attrs.evolve(alive.context, engine=EngineView(Condition.NONE))
        _assert_is_explained(attrs.evolve(alive, context=gone))
        assert {t.task_id for t in alive.tasks} == {
            t for t, one in stored.run.state.tasks.items() if one.status is not TaskStatus.SUCCEEDED
        }


def test_the_work_grows_with_the_tasks_and_their_dependencies_and_no_faster() -> None:
    def large(count: int) -> Situation:
        # Layers of ten, each task after all of the one before; the first ones run, wait and were not begun.
        first = [task(f"t0_{n}", attempt=running(str(n)) if n < 5 else None) for n in range(10)]
        later = [
            task(f"t{layer}_{n}", *(f"t{layer - 1}_{need}" for need in range(10)))
            for layer in range(1, count // 10)
            for n in range(10)
        ]
        return situation(*first, *later)

    small, ten_times = large(1_000), large(10_000)

    few = operations(lambda: get_run_frontier(small))
    many = operations(lambda: get_run_frontier(ten_times))

    assert many < 12 * few
    assert get_run_frontier(ten_times).causes[-1].blocks == 9_995


def test_any_number_of_causes_costs_no_more_than_the_tasks() -> None:
    def large(count: int) -> Situation:
        tasks = [
            task(f"f{n}", status=TaskStatus.FAILED, reason=f"reason {n}", attempt=None) for n in range(count)
        ]
        return situation(*tasks, *(task(f"s{n}", f"f{n}", status=TaskStatus.SKIPPED) for n in range(count)))

    few, many = large(500), large(5_000)

    assert operations(lambda: get_run_frontier(many)) < 12 * operations(lambda: get_run_frontier(few))


# ---- the store ----


def test_a_run_that_is_not_there_is_not_found(connection: sqlite3.Connection, root: Root) -> None:
    with pytest.raises(NotFoundError, match="no run"):
        load_situation(connection, root, RUN_ID, NOW)


def test_reading_changes_nothing_and_ends_its_transaction(stored: StoredRun) -> None:
    plan(stored, *chain(3))
    before = stored.connection.total_changes

    loaded(stored)

    assert stored.connection.total_changes == before
    assert not stored.connection.in_transaction


def test_tasks_that_succeeded_are_left_out_and_the_newest_attempt_of_the_others_is_read(
    stored: StoredRun,
) -> None:
    long = planned_task("b", retries=1, resources=Resources(walltime_s=600))
    plan(stored, planned_task("a"), long, planned_task("c", "a", inputs={"x": "b/x"}))
    stored.run.succeed("a")
    stored.run.fail("b")
    stored.run.activate("b")
    stored.tell(m.Observed(token=stored.run.token("b"), state=JobState.RUNNING, raw_state="RUNNING"))

    b, c = loaded(stored).tasks

    assert b.attempt is not None
    assert (b.attempt.n, b.attempt.job_id, b.attempt.state) == (2, "job-b", JobState.RUNNING)
    assert (b.attempt.walltime_s, b.tries, b.retries) == (600, 2, 1)
    assert (c.needs, c.status, c.backend) == (("a", "b"), TaskStatus.WAITING, LOCAL)
    run = loaded(stored).run
    assert (run.tasks, run.done) == (3, 1)


def test_seats_are_counted_over_all_runs_with_who_serves_them(
    stored: StoredRun, connection: sqlite3.Connection, root: Root
) -> None:
    plan(stored, planned_task("ended", priority=1), *(planned_task(f"t{n}") for n in range(2)))
    stored.run.prepare(seats=1)
    stored.run.succeed("ended")
    stored.commit()
    other = StoredRun.create(connection, root, OTHER)
    plan(other, planned_task("x"))
    other.run.prepare()
    other.commit()
    assert other.lease is not None
    other.lease.release(connection)

    backend = loaded(stored).context.backends[LOCAL]

    me = this_process()
    assert [(h.run_id, h.seats, h.engine) for h in backend.holders] == [
        (RUN_ID, 2, EngineView(Condition.ALIVE, me.host, me.pid)),
        (OTHER, 1, EngineView(Condition.NONE)),
    ]
    assert (backend.seats, backend.max_jobs) == (3, 4)
    own, others = (run.run.state.tasks for run in (stored, other))
    last = max(own[TaskId("t1")].attempts[0].prepared_at, others[TaskId("x")].attempts[0].prepared_at)
    assert backend.full_since == last


def test_since_is_the_time_of_the_pause_the_request_or_the_end(stored: StoredRun) -> None:
    plan(stored, *chain(2))
    stored.run.activate("t0")
    paused_at = stored.run.now
    stored.tell(m.Pause(by="ann"))
    stored.run.end("t0")
    stored.commit()
    assert loaded(stored).run.since == paused_at

    stored.tell(m.Resume(by="ann"))
    assert loaded(stored).run.since is None

    asked_at = stored.run.now
    stored.tell(m.Cancel(by="ann"))
    assert (loaded(stored).run.since, loaded(stored).run.ending) == (asked_at, RunStatus.CANCELLED)

    stored.run.collect("t0")
    stored.tell(m.Settle())
    run = loaded(stored).run
    assert (run.status, run.since) == (RunStatus.CANCELLED, run.updated_at)


@pytest.mark.parametrize("reopened", [False, True])
def test_a_run_that_was_given_up_is_told_from_one_whose_campaign_failed(
    stored: StoredRun, reopened: bool
) -> None:
    stored.tell(m.Start(), m.Fail(reason="its actor crashed"), m.Settle())
    if reopened:
        stored.tell(m.Retry(by="ann"), m.PlanningFailed(reason="plan raised"))

    found = get_run_frontier(loaded(stored)).causes

    assert [cause.kind for cause in found] == ["planning_failed" if reopened else "run_failed"]


def test_a_command_without_an_answer_is_read(stored: StoredRun) -> None:
    insert_command(stored.connection, stored.run_id, m.Pause(by="ann"), NOW)

    command = loaded(stored).context.command

    assert command is not None
    assert (command.type, command.by, command.at) == ("pause", "ann", NOW)


# ---- engines ----


def _holder_of(pid: int) -> Holder:
    return attrs.evolve(this_process(), pid=pid)


def test_an_engine_is_alive_as_long_as_it_has_the_lock(stored: StoredRun, root: Root) -> None:
    me = this_process()
    alive = engine_of(root, RUN_ID, me)
    assert stored.lease is not None
    stored.lease.release(stored.connection)
    stored.lease = None

    assert alive == EngineView(Condition.ALIVE, me.host, me.pid)
    assert engine_of(root, RUN_ID, me).condition is Condition.DEAD
    assert engine_of(root, RUN_ID, None) == EngineView(Condition.NONE)


@pytest.mark.usefixtures("processes")
def test_a_process_that_was_stopped_by_a_signal_is_told_from_one_that_works(
    stored: StoredRun, root: Root
) -> None:
    assert stored.lease is not None, "the lock is held, as by an engine"
    with subprocess.Popen(["sleep", "600"]) as process:
        try:
            holder = _holder_of(process.pid)
            assert engine_of(root, RUN_ID, holder).condition is Condition.ALIVE
            process.send_signal(signal.SIGSTOP)
            wait_until(lambda: engine_of(root, RUN_ID, holder).condition is Condition.STOPPED, 10)
            process.send_signal(signal.SIGCONT)
            wait_until(lambda: engine_of(root, RUN_ID, holder).condition is Condition.ALIVE, 10)
        finally:
            process.kill()


def test_an_engine_elsewhere_is_believed_to_live_while_it_reports(root: Root) -> None:
    holder = Holder("login2", "another boot", 99)
    report = attrs.evolve(blank_report(LOCAL), host=holder.host, boot_id=holder.boot_id, pid=holder.pid)

    assert engine_of(root, RUN_ID, holder) == EngineView(Condition.ELSEWHERE, "login2", 99)
    assert engine_of(root, RUN_ID, holder, [report]).condition is Condition.ALIVE


# ---- reports and disks ----


def test_what_the_engine_reports_of_a_backend_is_what_is_told(stored: StoredRun, root: Root) -> None:
    blank = blank_report(LOCAL)
    write_report(root, attrs.evolve(blank, out_since=NOW, problem="no answer", limited_since=NOW, limit="10"))

    backends = loaded(stored).context.backends

    assert backends[LOCAL].health == Health(out_since=NOW, problem="no answer", limited_since=NOW, limit="10")
    assert backends[BackendName("cluster")].health == Health()


def test_another_engines_report_counts_only_where_the_runs_own_engine_has_none() -> None:
    others = attrs.evolve(blank_report(LOCAL), pid=os.getppid(), out_since=NOW, problem="no answer")
    own = blank_report(LOCAL)

    told = load.health_of(LOCAL, this_process(), [others])
    overruled = load.health_of(LOCAL, this_process(), [others, own])

    assert told.problem == "no answer"
    assert overruled == Health()


def test_what_is_said_of_another_definition_of_the_backend_does_not_count() -> None:
    other = attrs.evolve(blank_report(LOCAL, "other partition"), limited_since=NOW, limit="10")
    own = blank_report(LOCAL, "own")

    assert load.health_of(LOCAL, this_process(), [own, other], "own") == Health()
    assert load.health_of(LOCAL, this_process(), [own, other], "other partition").limit == "10"
    assert load.health_of(LOCAL, this_process(), [other], "unheard of").limit == "10"


def test_a_disk_has_room_or_it_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert full_disk([tmp_path]) == ""
    real = os.statvfs(tmp_path)
    fields = list(real)
    fields[3] = fields[4] = 0  # f_bfree, f_bavail
    monkeypatch.setattr(os, "statvfs", lambda _folder: os.statvfs_result(fields))

    assert full_disk([tmp_path]) == f"0 KiB are free at {tmp_path}"

    fields[3] = fields[4] = 1 << 30
    fields[5], fields[6], fields[7] = 1000, 0, 0  # f_files, f_ffree, f_favail
    assert full_disk([tmp_path]) == f"no file can be made any more at {tmp_path}"


def test_a_folder_that_is_not_there_has_no_disk(tmp_path: Path) -> None:
    assert full_disk([tmp_path / "gone"]) == ""
