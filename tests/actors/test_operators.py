"""People, laboratories and gates: asked, answered, refused, late, and across restarts of the engine."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
import trio

from matterstack.backends.operators import SETTLE_S, OperatorBackend
from matterstack.core.ids import RunId, TaskId
from matterstack.core.model.workflow import Task, Workflow
from matterstack.core.run import facts as f
from matterstack.core.states import JobState, RunStatus, TaskStatus
from tests.support.engine import World, task

HUMAN: Final[dict[str, Any]] = {
    "question": "Which site?",
    "fields": {
        "site": {"type": "choice", "choices": ["top", "bridge"]},
        "n": {"type": "integer", "required": False},
    },
}
EXPERIMENT: Final[dict[str, Any]] = {
    "request": {"t_k": 620},
    "fields": {"thickness_nm": {"type": "number", "min": 0}},
}


def asking(name: str, operator: str, params: dict[str, Any], **options: Any) -> Task:
    return Task(TaskId(name), operator=operator, params=params, **options)


@attrs.frozen
class Desk:
    """Where the questions of a run lie."""

    world: World
    run: RunId

    def path(self, task_id: str, name: str = "") -> Path:
        return self.world.root.run_folder("w", self.run).path / "operators" / task_id / name

    async def asked(self, task_id: str, attempt: int = 1) -> dict[str, Any]:
        """Wait for a question."""

        def is_asked() -> bool:
            path = self.path(task_id, "request.json")
            return path.exists() and json.loads(path.read_text())["attempt"] == attempt

        await self.world.until(is_asked, f"question {attempt} of {task_id}", 600)
        request: dict[str, Any] = json.loads(self.path(task_id, "request.json").read_text())
        return request

    def answer(self, task_id: str, document: object, name: str = "response.json") -> str:
        """Write an answer; returns its hash."""
        text = document if isinstance(document, str) else json.dumps(document)
        self.path(task_id, name).write_text(text)
        return hashlib.sha256(text.encode()).hexdigest()

    async def until_task(self, task_id: str, status: TaskStatus) -> None:
        def is_so() -> bool:
            found = self.world.state(self.run).tasks.get(TaskId(task_id))
            return found is not None and found.status is status

        await self.world.until(is_so, f"{task_id} to be {status}", 600)

    async def until_rejected(self, task_id: str, number: int) -> str:
        path = self.path(task_id, f"response.rejected-{number}.json")
        await self.world.until(lambda: os.path.lexists(path), f"rejection {number} of {task_id}", 600)
        return self.path(task_id, "response.error.txt").read_text()

    def reason(self, task_id: str) -> str:
        return self.world.state(self.run).tasks[TaskId(task_id)].reason


def desk(world: World, *tasks: Task, **config: Any) -> Desk:
    world.campaign("w", Workflow(tasks))
    return Desk(world, world.create("w", **config))


async def test_a_person_answers_and_the_graph_goes_on_with_the_answer(world: World) -> None:
    at = desk(world, asking("choose", "human", HUMAN), task("relax", depends_on=["choose"]))
    async with world.serving():
        request = await at.asked("choose")
        assert (request["operator"], request["manifest"], request["expires_at"]) == ("human", HUMAN, None)
        await trio.sleep(900)
        sha256 = at.answer("choose", {"site": "top"})
        await world.until_ended(at.run, within_s=4000)
    assert world.status(at.run) is RunStatus.COMPLETED
    choose = world.state(at.run).tasks[TaskId("choose")]
    assert (choose.status, choose.data) == (TaskStatus.SUCCEEDED, {"site": "top"})
    (ended,) = [e for e in world.facts(at.run, f.JobEnded) if e.sha256]
    assert (ended.by, ended.sha256, ended.raw_state) == (getpass.getuser(), sha256, "ANSWERED")
    assert world.seconds(ended.ended_at) >= 900
    world.check()


async def test_questions_take_no_seats_neither_of_the_run_nor_of_a_backend(world: World) -> None:
    questions = [asking(f"q{i}", "human", HUMAN) for i in range(5)]
    at = desk(world, *questions, *(task(f"t{i}") for i in range(4)), max_hpc_jobs_per_run=1, max_jobs=1)
    async with world.serving():
        for i in range(4):
            await at.until_task(f"t{i}", TaskStatus.SUCCEEDED)
        for i in range(5):
            await at.asked(f"q{i}")
            at.answer(f"q{i}", {"site": "bridge"})
        await world.until_ended(at.run, within_s=4000)
    assert world.status(at.run) is RunStatus.COMPLETED
    assert world.cluster.most_live == 1
    world.check()


async def test_a_bad_manifest_fails_its_own_task_with_the_field_and_the_run_goes_on(world: World) -> None:
    bad = {**HUMAN, "fields": {"x": {"type": "number", "min": 2, "max": 1}}}
    at = desk(world, asking("bad", "human", bad, allow_failure=True), task("t", depends_on=["bad"]))
    await world.serve_until_done()
    assert at.reason("bad") == "params.fields.x: min (2.0) is larger than max (1.0)"
    assert world.status(at.run) is RunStatus.COMPLETED
    world.check()


async def test_a_bad_answer_is_set_aside_with_words_and_the_task_goes_on_waiting(world: World) -> None:
    at = desk(world, asking("choose", "human", HUMAN))
    async with world.serving():
        await at.asked("choose")
        at.answer("choose", {"site": "hollow", "m": 1})
        assert (await at.until_rejected("choose", 1)).splitlines() == [
            "response.json was not taken (it is kept as response.rejected-1.json):",
            "- m: is not asked for (there are: site, n)",
            "- site: must be one of: top, bridge; not 'hollow'",
            "Nothing is lost. Write a new response.json; this file goes away when it is taken.",
        ]
        assert not at.path("choose", "response.json").exists()
        sha256 = at.answer("choose", "{")
        assert "too early" in await at.until_rejected("choose", 2)
        await world.until(lambda: len(world.facts(at.run, f.JobStateChanged)) == 2, "both rejections", 600)
        first, second = world.facts(at.run, f.JobStateChanged)
        assert (first.raw_state, first.by) == ("REJECTED", getpass.getuser())
        assert first.reason.startswith("response.rejected-1.json: m: is not asked for")
        assert second.sha256 == sha256
        assert world.state(at.run).tasks[TaskId("choose")].status is TaskStatus.ACTIVE
        at.answer("choose", {"site": "top"})
        await world.until_ended(at.run, within_s=4000)
    assert world.status(at.run) is RunStatus.COMPLETED
    assert not at.path("choose", "response.error.txt").exists()
    world.check()


async def test_an_answer_that_is_still_being_written_is_waited_for(world: World) -> None:
    at = desk(world, asking("choose", "human", HUMAN))
    async with world.serving() as engine:
        await at.asked("choose")
        (backend,) = (h.backend for h in engine._handles.values() if isinstance(h.backend, OperatorBackend))
        for text in ("", "{", '{"site"', '{"site": "to'):
            at.answer("choose", text)
            for _ in range(3):
                backend.watch.stir()  # it looks, as it does at each sign of a change
                await trio.sleep(SETTLE_S / 4)
        at.answer("choose", {"site": "top"})
        await world.until_ended(at.run, within_s=4000)
    assert world.facts(at.run, f.JobStateChanged) == []
    assert sorted(p.name for p in at.path("choose").iterdir()) == ["request.json", "response.json"]


ODD: Final[dict[str, Callable[[Path], object]]] = {
    "a link": lambda path: path.symlink_to("/etc/hostname"),
    "a link that dangles": lambda path: path.symlink_to("nothing"),
    "a FIFO": os.mkfifo,
    "a folder": Path.mkdir,
    "10 MB": lambda path: path.write_bytes(b" " * 10_000_000),
}


@pytest.mark.parametrize("kind", ODD)
async def test_what_is_no_answer_at_all_is_set_aside_and_blocks_nothing(world: World, kind: str) -> None:
    at = desk(world, asking("choose", "human", HUMAN))
    async with world.serving():
        await at.asked("choose")
        ODD[kind](at.path("choose", "response.json"))
        assert "response.json was not taken" in await at.until_rejected("choose", 1)
        at.answer("choose", {"site": "top"})
        await world.until_ended(at.run, within_s=4000)
    assert world.status(at.run) is RunStatus.COMPLETED


async def test_an_answer_that_was_there_before_the_question_is_none(world: World) -> None:
    at = desk(world, task("t"), asking("choose", "human", HUMAN, depends_on=["t"]))
    at.path("choose").mkdir(parents=True)
    at.answer("choose", {"site": "top"})
    async with world.serving():
        await at.asked("choose")
        assert "it was there before anything was asked" in await at.until_rejected("choose", 1)
        at.answer("choose", {"site": "bridge"})
        await world.until_ended(at.run, within_s=4000)
    assert world.state(at.run).tasks[TaskId("choose")].data == {"site": "bridge"}


# ---- deadlines ----

LATE: Final = "nobody answered within 3600 s"


@pytest.mark.parametrize(
    ("operator", "params", "status", "reason", "data"),
    [
        ("human", HUMAN, TaskStatus.FAILED, LATE, None),
        (
            "human",
            {**HUMAN, "on_expiry": "default", "default": {"site": "top"}},
            TaskStatus.SUCCEEDED,
            "",
            {"site": "top"},
        ),
        ("gate", {"question": "?"}, TaskStatus.FAILED, LATE, None),
        (
            "gate",
            {"question": "?", "on_expiry": "reject"},
            TaskStatus.FAILED,
            f"it was rejected: {LATE}",
            {"decision": "reject", "comment": LATE},
        ),
        (
            "gate",
            {"question": "?", "on_expiry": "approve"},
            TaskStatus.SUCCEEDED,
            "",
            {"decision": "approve", "comment": LATE},
        ),
        ("experiment", EXPERIMENT, TaskStatus.FAILED, LATE, None),
    ],
)
async def test_a_question_expires_as_its_manifest_says_also_while_no_engine_runs(
    world: World, operator: str, params: dict[str, Any], status: TaskStatus, reason: str, data: object
) -> None:
    at = desk(world, asking("q", operator, {**params, "expires_in_s": 3600}))
    async with world.serving():
        request = await at.asked("q")
        asked_at = world.seconds(request["asked_at"])
        assert world.seconds(request["expires_at"]) == asked_at + 3600
        await trio.sleep(1000)
    await trio.sleep(1000)
    async with world.serving():
        await trio.sleep(1000)
        assert world.state(at.run).tasks[TaskId("q")].status is TaskStatus.ACTIVE
        await world.until_ended(at.run, within_s=4000)
    q = world.state(at.run).tasks[TaskId("q")]
    assert (q.status, q.reason, q.data) == (status, reason, data)
    (ended,) = world.facts(at.run, f.JobEnded)
    assert 3600 <= world.seconds(ended.ended_at) - asked_at < 3601
    world.check()


# ---- gates ----


async def test_a_gate_that_is_approved_lets_the_graph_go_on(world: World) -> None:
    at = desk(world, asking("gate", "gate", {"question": "Go on?"}), task("t", depends_on=["gate"]))
    async with world.serving():
        await at.asked("gate")
        at.answer("gate", {"decision": "approve", "comment": "nice"})
        await world.until_ended(at.run, within_s=4000)
    assert world.status(at.run) is RunStatus.COMPLETED
    assert world.state(at.run).tasks[TaskId("gate")].data == {"decision": "approve", "comment": "nice"}


@pytest.mark.parametrize(("may_fail", "end"), [(False, RunStatus.FAILED), (True, RunStatus.COMPLETED)])
async def test_what_is_behind_a_gate_that_is_rejected_is_skipped(
    world: World, may_fail: bool, end: RunStatus
) -> None:
    gate = asking("gate", "gate", {"question": "Go on?"}, allow_failure=may_fail)
    at = desk(world, gate, task("t", depends_on=["gate"]), task("u", depends_on=["t"]), task("other"))
    async with world.serving():
        await at.asked("gate")
        at.answer("gate", {"decision": "reject", "comment": "too coarse"})
        await world.until_ended(at.run, within_s=4000)
    state = world.state(at.run)
    assert {t: s.status.value for t, s in state.tasks.items()} == {
        "gate": "FAILED", "t": "SKIPPED", "u": "SKIPPED", "other": "SUCCEEDED"
    }  # fmt: skip
    assert at.reason("gate") == "it was rejected: too coarse"
    assert state.status is end
    world.check()


async def test_a_gate_that_is_sent_back_has_the_work_before_it_done_again(world: World) -> None:
    gate = asking("gate", "gate", {"question": "Go on?"}, depends_on=["work", "choose"])
    at = desk(world, task("work"), asking("choose", "human", HUMAN), gate, task("after", depends_on=["gate"]))
    async with world.serving():
        assert (await at.asked("choose"))["again"] == ""
        at.answer("choose", {"site": "top"})
        assert (await at.asked("gate"))["again"] == ""
        at.answer("gate", {"decision": "send_back", "comment": "k-points!"})
        assert (await at.asked("choose", attempt=2))["again"] == "gate gate sent it back: k-points!"
        at.answer("choose", {"site": "bridge"})
        assert (await at.asked("gate", attempt=2))["again"] == "gate gate sent it back: k-points!"
        assert json.loads(at.path("gate", "response-1.json").read_text())["comment"] == "k-points!"
        assert world.state(at.run).tasks[TaskId("after")].status is TaskStatus.WAITING
        at.answer("gate", {"decision": "approve", "attempt": 2})
        await world.until_ended(at.run, within_s=4000)
    state = world.state(at.run)
    assert state.status is RunStatus.COMPLETED
    assert [len(state.tasks[TaskId(t)].attempts) for t in ("work", "choose", "gate", "after")] == [2, 2, 2, 1]
    reopened = world.facts(at.run, f.TaskReopened)
    assert {(r.task_id, r.reason) for r in reopened} == {
        (t, f"sent back by {getpass.getuser()}: k-points!") for t in ("work", "choose", "gate")
    }
    world.check()


# ---- instruments ----


async def test_an_instrument_takes_on_measures_and_leaves_its_raw_data(world: World) -> None:
    measure = asking("m", "experiment", EXPERIMENT, outputs=["*.csv"])
    use = task("use", inputs={"in.csv": "m/xrr.csv"})
    at = desk(world, measure, use)
    async with world.serving():
        await at.asked("m")
        at.answer("m", {"by": "sputter-2"}, "acknowledgement.json")
        await world.until(lambda: world.facts(at.run, f.JobStateChanged), "the acknowledgement", 600)
        (change,) = world.facts(at.run, f.JobStateChanged)
        assert (change.state, change.reason) == (JobState.RUNNING, "taken on by sputter-2")
        at.answer("m", {"result": {"thickness_nm": 5.5}, "files": ["xrr.csv"]})
        assert "files.0: xrr.csv: is not there" in await at.until_rejected("m", 1)
        at.answer("m", "1,2\n", "xrr.csv")
        at.answer("m", {"result": {"thickness_nm": 5.5}, "files": ["xrr.csv"]})
        await world.until_ended(at.run, within_s=4000)
    assert world.status(at.run) is RunStatus.COMPLETED
    m = world.state(at.run).tasks[TaskId("m")]
    assert m.data == {"thickness_nm": 5.5}
    assert [output.path for output in m.outputs] == ["xrr.csv"]
    copied = world.root.run_folder("w", at.run).attempt(TaskId("use"), 1).path / "in.csv"
    assert copied.read_text() == "1,2\n"


async def test_an_experiment_that_failed_is_asked_again_as_often_as_its_task_says(world: World) -> None:
    at = desk(world, asking("m", "experiment", EXPERIMENT, retries=1))
    async with world.serving():
        await at.asked("m")
        at.answer("m", {"failure": "target is used up"})
        await at.asked("m", attempt=2)
        at.answer("m", {"failure": "shutter is stuck", "attempt": 2})
        await world.until_ended(at.run, within_s=4000)
    assert at.reason("m") == "the experiment failed: shutter is stuck"
    assert json.loads(at.path("m", "response-1.json").read_text()) == {"failure": "target is used up"}
    world.check()


async def test_an_experiment_that_nobody_takes_on_in_time_fails(world: World) -> None:
    at = desk(world, asking("m", "experiment", {**EXPERIMENT, "acknowledge_within_s": 60}))
    await world.serve_until_done()
    assert at.reason("m") == "nobody took it on within 60 s"


@pytest.mark.parametrize(
    "name", ["../../../config.json", "/etc/hostname", "link.csv", "fifo.csv", "manifest.json"]
)
async def test_raw_data_is_taken_from_beside_the_answer_only(world: World, name: str) -> None:
    at = desk(world, asking("m", "experiment", EXPERIMENT))
    async with world.serving():
        await at.asked("m")
        at.path("m", "link.csv").symlink_to("/etc/hostname")
        os.mkfifo(at.path("m", "fifo.csv"))
        at.answer("m", {"result": {"thickness_nm": 1}, "files": [name]})
        assert "files.0: " in await at.until_rejected("m", 1)
    assert world.state(at.run).tasks[TaskId("m")].status is TaskStatus.ACTIVE


# ---- pause, cancel, restarts ----


async def test_nothing_is_asked_while_a_run_is_paused_and_answers_are_taken(world: World) -> None:
    second = asking("second", "human", HUMAN, depends_on=["first"])
    at = desk(world, asking("first", "human", HUMAN), second)
    async with world.serving():
        await at.asked("first")
        await world.pause(at.run)
        at.answer("first", {"site": "top"})
        await at.until_task("first", TaskStatus.SUCCEEDED)
        await trio.sleep(600)
        assert not at.path("second").exists()
        await world.resume(at.run)
        await at.asked("second")
        at.answer("second", {"site": "top"})
        await world.until_ended(at.run, within_s=4000)
    world.check()


async def test_a_question_whose_folder_is_gone_keeps_no_run_from_being_cancelled(world: World) -> None:
    at = desk(world, asking("q", "human", HUMAN))
    async with world.serving():
        await at.asked("q")
        shutil.rmtree(at.path("q").parent)
        await world.cancel(at.run)
        await world.until_ended(at.run, within_s=600)
    assert world.status(at.run) is RunStatus.CANCELLED


async def test_a_cancelled_run_withdraws_its_questions(world: World) -> None:
    at = desk(world, asking("q", "human", HUMAN), task("t"))
    async with world.serving():
        await at.asked("q")
        await world.cancel(at.run)
        await world.until_ended(at.run, within_s=4000)
    assert world.status(at.run) is RunStatus.CANCELLED
    assert [p.name for p in at.path("q").iterdir()] == ["request-1.withdrawn.json"]
    world.check()


async def test_questions_outlive_engines_and_are_asked_once(world: World) -> None:
    at = desk(world, *(asking(f"q{i}", "human", HUMAN) for i in range(3)))
    async with world.serving():
        for i in range(3):
            await at.asked(f"q{i}")
    before = {i: at.path(f"q{i}", "request.json").stat().st_ino for i in range(3)}
    at.answer("q0", {"site": "top"})
    at.answer("q1", {"site": "nowhere"})
    async with world.serving():
        await at.until_task("q0", TaskStatus.SUCCEEDED)
        await at.until_rejected("q1", 1)
    async with world.serving():
        await trio.sleep(600)
        assert len(world.facts(at.run, f.JobStateChanged)) == 1
        assert {i: at.path(f"q{i}", "request.json").stat().st_ino for i in range(3)} == before
        for i in (1, 2):
            at.answer(f"q{i}", {"site": "top"})
        await world.until_ended(at.run, within_s=4000)
    assert len(world.facts(at.run, f.AttemptPrepared)) == 3
    world.check()


async def test_a_question_that_somebody_deleted_is_asked_again(world: World) -> None:
    at = desk(world, asking("q", "human", HUMAN))
    async with world.serving():
        await at.asked("q")
        at.path("q", "request.json").unlink()
        await at.asked("q")
        at.answer("q", {"site": "top"})
        await world.until_ended(at.run, within_s=4000)
    assert len(world.facts(at.run, f.AttemptPrepared)) == 1
