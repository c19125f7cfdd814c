"""What others put into the folders of questions, to be taken for an answer or for what came with one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio

from matterstack.core.ids import TaskId
from matterstack.core.run import facts as f
from matterstack.core.states import TaskStatus
from tests.actors.test_operators import EXPERIMENT, HUMAN, Desk, asking, desk
from tests.support.engine import World

FORGED = {"site": "forged"}


def folder_of(at: Desk, task_id: str, n: int = 1) -> Path:
    return at.world.root.run_folder("w", at.run).attempt(TaskId(task_id), n).path


def plant(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps(FORGED))
    (folder / "planted.csv").write_text("planted\n")


def outputs(at: Desk) -> list[str]:
    concluded = at.world.facts(at.run, f.TaskSucceeded) + at.world.facts(at.run, f.TaskFailed)
    return [output.path for fact in concluded for output in fact.outputs]


async def test_what_lay_in_the_folder_of_a_question_before_it_was_asked_is_set_aside_and_told(
    world: World,
) -> None:
    at = desk(world, asking("q", "experiment", {**EXPERIMENT, "expires_in_s": 60}, outputs=["*.csv"]))
    plant(folder_of(at, "q"))

    async with world.serving():
        await world.until_ended(at.run, within_s=4000)

    q = world.state(at.run).tasks[TaskId("q")]
    assert (q.status, q.data, outputs(at)) == (TaskStatus.FAILED, None, [])
    (accepted,) = world.facts(at.run, f.JobAccepted)
    assert accepted.set_aside == ("tasks/q/1~set-aside-1",)
    kept = folder_of(at, "q").with_name("1~set-aside-1") / "result.json"
    assert json.loads(kept.read_text()) == FORGED, "nothing is lost"


@pytest.mark.parametrize("is_link", [False, True], ids=["files", "links"])
async def test_what_is_planted_while_a_question_waits_does_not_come_with_its_answer(
    world: World, is_link: bool
) -> None:
    at = desk(world, asking("q", "experiment", EXPERIMENT, outputs=["*.csv"]))
    async with world.serving():
        await at.asked("q")
        plant(folder_of(at, "q"))
        if is_link:
            (folder_of(at, "q") / "mine.csv").symlink_to("planted.csv")
        else:
            (folder_of(at, "q") / "mine.csv").mkdir()
        at.path("q", "mine.csv").write_text("mine\n")
        at.answer("q", {"result": {"thickness_nm": 1}, "files": ["mine.csv"]})
        await world.until_ended(at.run, within_s=4000)

    q = world.state(at.run).tasks[TaskId("q")]
    assert (q.status, q.data, outputs(at)) == (TaskStatus.SUCCEEDED, {"thickness_nm": 1}, ["mine.csv"])
    assert (folder_of(at, "q") / "mine.csv").read_text() == "mine\n"


async def test_what_is_planted_while_a_question_waits_is_not_what_is_known_when_nobody_answers(
    world: World,
) -> None:
    at = desk(world, asking("q", "human", {**HUMAN, "expires_in_s": 3600}))
    async with world.serving():
        await at.asked("q")
        plant(folder_of(at, "q"))
        await world.until_ended(at.run, within_s=8000)

    q = world.state(at.run).tasks[TaskId("q")]
    assert (q.status, q.data) == (TaskStatus.FAILED, None)


async def test_a_question_that_was_answered_before_it_was_asked_is_asked(world: World) -> None:
    """Who plants the answer plants the question as well, so that it seems to have been asked already."""
    at = desk(world, asking("q", "human", HUMAN))
    at.path("q").mkdir(parents=True)
    at.path("q", "request.json").write_text(json.dumps({"attempt": 1, "asked_at": "2026-01-01T00:00:00Z"}))
    at.answer("q", {"attempt": 1, "site": "bridge"})

    async with world.serving():
        await world.until(lambda: bool(world.facts(at.run, f.JobAccepted)), "the question", 600)
        await trio.sleep(900)
        assert world.state(at.run).tasks[TaskId("q")].status is TaskStatus.ACTIVE
        request = json.loads(at.path("q", "request.json").read_text())
        assert request["manifest"] == HUMAN
        at.answer("q", {"site": "top"})
        await world.until_ended(at.run, within_s=4000)

    assert world.state(at.run).tasks[TaskId("q")].data == {"site": "top"}
    assert json.loads(at.path("q", "response.rejected-1.json").read_text())["site"] == "bridge"
    assert at.path("q", "request.rejected-1.json").exists()


async def test_a_question_that_was_answered_while_no_engine_lived_is_not_asked_again(world: World) -> None:
    at = desk(world, asking("q", "human", HUMAN))
    async with world.serving():
        await at.asked("q")
    at.answer("q", {"site": "top"})

    async with world.serving():
        await world.until_ended(at.run, within_s=4000)

    assert world.state(at.run).tasks[TaskId("q")].data == {"site": "top"}
