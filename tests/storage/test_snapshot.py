"""The rows of a run give back the run."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from hypothesis import given, settings

from matterstack.core.ids import RunId, TaskId, Token, UtcTime
from matterstack.core.model.resources import Resources
from matterstack.core.model.workflow import Task, Workflow
from matterstack.core.run import facts as f
from matterstack.core.run import messages as m
from matterstack.core.run.facts import FACT_TYPES
from matterstack.core.states import JobState, TaskStatus
from matterstack.storage.fact_codec import decode_fact, encode_fact
from matterstack.storage.layout import Root
from matterstack.storage.snapshot import load_run
from tests.support.random_runs import PROGRAMS, Step, steps
from tests.support.states import RUN_ID, ToldRun, chain, comparable, derived, recomputed, task
from tests.support.stored import StoredRun, assert_snapshot_is_fold, passing_run


def planned(connection: sqlite3.Connection, root: Root, *tasks: Task, run_id: RunId = RUN_ID) -> StoredRun:
    stored = StoredRun.create(connection, root, run_id)
    stored.tell(m.Start(), m.Planned(iteration=1, workflow=Workflow(tasks)))
    return stored


@settings(max_examples=60, deadline=None)
@given(PROGRAMS)
def test_any_run_is_the_same_after_it_was_stored_step_by_step_and_loaded(program: list[Step]) -> None:
    with passing_run() as stored:
        for number, _ in enumerate(steps(stored.run, program)):
            stored.commit()
            if number % 8 == 0:
                assert comparable(stored.loaded()) == comparable(stored.run.state)
        loaded = assert_snapshot_is_fold(stored.connection, stored.run_id)
        assert comparable(loaded) == comparable(stored.run.state)
        assert derived(loaded) == recomputed(loaded)


def test_a_run_goes_on_after_a_restart_when_a_task_was_planned_before_what_it_depends_on(
    connection: sqlite3.Connection, root: Root
) -> None:
    stored = planned(connection, root, task("last", "first", "second"), task("first"), task("second"))
    stored.run.succeed("first")
    stored.commit()

    stored.run.state = stored.loaded()
    stored.run.succeed("second")
    assert stored.run.statuses()["last"] == "READY"


def test_every_field_of_a_task_comes_back(connection: sqlite3.Connection, root: Root) -> None:
    rich = Task(
        TaskId("rich"),
        command=["sh", "-c", "echo Å\n"],
        inputs={"start.xyz": "base/out.xyz"},
        outputs=["*.json", "**/x"],
        files={"a.py": Path("scripts/a.py"), "b": "b"},
        resources=Resources(
            cpus=4,
            memory_mib=4000,
            walltime_s=60,
            gpus=1,
            nodes=2,
            partition="p",
            account="a",
            extra={"qos": ""},
        ),
        backend="cluster",
        env={"OMP_NUM_THREADS": "4"},
        params={"grid": [1, 2.5, None, {"deep": ["ü"]}], "flag": True},
        allow_failure=True,
        retries=3,
        retry_on=["timeout", "lost"],
        priority=-2,
    )
    stored = planned(connection, root, task("base", outputs=["out.xyz"]), rich)
    assert stored.loaded().tasks[TaskId("rich")].task == rich
    assert comparable(stored.loaded()) == comparable(stored.run.state)


def test_text_that_is_no_valid_unicode_is_kept_exactly(connection: sqlite3.Connection, root: Root) -> None:
    odd = {"file": "caf\udce9.json", "pair": "\U0001f52c"}
    stored = planned(connection, root, task("a"))
    stored.run.activate("a")
    stored.run.end("a")
    stored.run.collect("a", data=odd)
    stored.tell(m.Analyzed(iteration=1, state=odd))
    loaded = assert_snapshot_is_fold(connection, stored.run_id)
    assert loaded.campaign_state == loaded.tasks[TaskId("a")].data == odd


def test_a_run_that_is_not_there_is_none(connection: sqlite3.Connection) -> None:
    assert load_run(connection, RunId("20260101T000000-zzzzzz")) is None
    assert not connection.in_transaction


def test_runs_of_one_store_do_not_see_each_others_tasks(connection: sqlite3.Connection, root: Root) -> None:
    ids = [RunId(f"20260101T00000{n}-abcdef") for n in range(2)]
    for run_id, count in zip(ids, (3, 5), strict=True):
        planned(connection, root, *chain(count), run_id=run_id)
    assert [len(assert_snapshot_is_fold(connection, run_id).tasks) for run_id in ids] == [3, 5]


def test_an_active_task_whose_job_ended_is_found_again_for_collecting(
    connection: sqlite3.Connection, root: Root
) -> None:
    stored = planned(connection, root, *chain(2))
    stored.run.activate("t0")
    stored.run.end("t0")
    stored.commit()
    loaded = stored.loaded()
    assert list(loaded.collecting) == ["t0"]
    assert loaded.tasks[TaskId("t0")].status is TaskStatus.ACTIVE
    assert not loaded.live


def test_every_kind_of_fact_comes_back_from_its_json() -> None:
    run = ToldRun.running(task("a", retries=1), task("b", "a", allow_failure=True), task("c", "a"), task("d"))
    run.activate("a", "d")
    run.tell(m.Observed(token=run.token("a"), state=JobState.RUNNING, raw_state="R", reason="x"))
    run.end("a", JobState.LOST, host="n1")
    run.fail("a")
    run.tell(m.Refused(token=run.token("d"), reason="late"))
    run.tell(m.Pause(by="ann"), m.Resume(by="ann"))
    seen = {type(fact).__name__: fact for _, fact in run.facts}
    for fact in _other_facts():
        seen.setdefault(type(fact).__name__, fact)
    assert set(seen) == set(FACT_TYPES)
    for name, fact in seen.items():
        kind, data = encode_fact(fact)
        back = decode_fact(kind, data)
        assert (kind, back) == (name, fact)


def _other_facts() -> list[f.Fact]:
    t, a = Token("ms-x"), TaskId("a")
    return [
        f.AboutChanged(by="ann", about={"title": "é", "keywords": ["x"]}, reason="r"),
        f.ConfigAmended(
            by="ann", changes=(f.ConfigChange(path="params.x", new=[1, "é"], is_new=True),),
            config={"params": {"x": [1, "é"]}}, overrides={"params": {"x": [1, "é"]}}, reason="r",
        ),
        f.PlanWarned(iteration=1, warnings=("task a would fail: é",)),
        f.EventsLost(head="00", until=UtcTime("2026-01-01T00:00:00.000000Z")),
        f.RunDeleted(workspace="w", head="00", events=3, numbers="1-2,7", by="ann"),
        f.RunCancelRequested(by="ann", reason="r"), f.RunFailureRequested(reason="r"),
        f.RunCancelled(reason="r"), f.RunFailed(reason="r"), f.RunCompleted(), f.RunReopened(by="ann"),
        f.IterationAnalyzed(iteration=1, state={"x": [1.5]}), f.TaskReopened(task_id=a, by="ann"),
        f.CampaignChanged(action="plan", iteration=2, files={"é.py": "1a"}, before={}, unkept=("é.py",)),
        f.SecretsSought(token=t, names=("A", "B"), found={"é.txt": ("A",)}),
        f.SubmissionRefused(token=t, reason="r"), f.SubmissionWithdrawn(token=t, reason="r"),
        f.TaskSucceeded(task_id=a, outputs=(f.OutputFile("p", 1, "00"),), data={"e": 1}),
        f.JobEnded(token=t, state=JobState.LOST, ended_at=UtcTime("2026-01-01T00:00:00.000000Z")),
        f.TaskFailed(task_id=a, reason="r"), f.TaskCancelled(task_id=a, by="ann", because=a),
        f.TaskCancelRequested(task_id=a, by="ann", reason="é", because=a),
        f.TaskSkipped(task_id=a, because=a, reason="r"), f.RunPaused(by="a"), f.RunResumed(by="a"),
        f.TaskAmended(task_id=a, by="ann", changes={"params.x": f.Change(None, ["é", 1.5])}),
        f.TaskResubmitRequested(task_id=a, token=t, by="ann", reason="é"),
        f.TaskResubmitted(task_id=a, token=t), f.TaskResubmitMissed(task_id=a, token=t),
        f.Replanned(iteration=1, by="ann", task_count=2, name="é", code={"é.py": "1a"}, unkept=("é.py",)),
        f.TaskReplanned(
            task_id=a, changes={"priority": f.Change(0, 1)}, planned=task("a", params={"x": [1]}),
            task=task("a", priority=1), contents={"é.dat": f.Change(None, "1a")},
        ),
        f.TaskWithdrawn(task_id=a, by="ann", ends_job=True, reason="é"),
    ]  # fmt: skip
