"""What clients change of runs: they are shown it first, and agree to that and nothing else."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
from trio_websocket import WebSocketConnection

import matterstack
from matterstack.core.ids import RunId
from matterstack.core.model.resources import Resources
from matterstack.core.model.workflow import Task, Workflow
from matterstack.core.run import messages as m
from matterstack.core.states import JobState, RunStatus
from matterstack.monitor import sent_changes, shown_proposals
from matterstack.monitor.server import Address, open_monitor
from matterstack.storage.layout import Root
from matterstack.storage.schema import open_database
from tests.monitor.conftest import OTHER, Place, next_document
from tests.support.campaigns import Diary, write_tasks
from tests.support.deleting import delete_run
from tests.support.states import task

SHORT = Resources(walltime_s=60)
LONGER = {"resources.walltime_s": 7200}
LONG_TASKS = [task(name, resources=SHORT) for name in ("relax-1", "relax-2", "scf")]


@attrs.define
class Speaker:
    """Sends commands one after the other, each about one run."""

    socket: WebSocketConnection
    run: RunId
    count: int = 0

    async def told(self, command: str, run: str | None = None, **fields: Any) -> dict[str, Any]:
        """The whole reply; events that come before it are passed over."""
        self.count += 1
        sent = {"id": self.count, "command": command, "run": run or self.run, **fields}
        await self.socket.send_message(json.dumps(sent))
        while (document := await next_document(self.socket)).get("reply") != self.count:
            pass
        return document

    async def done(self, command: str, **fields: Any) -> dict[str, Any]:
        """The reply of a command that must not be refused."""
        reply = await self.told(command, **fields)
        assert reply["ok"], reply
        return reply

    async def refused(self, command: str, **fields: Any) -> dict[str, Any]:
        """The error of a command that must be refused."""
        reply = await self.told(command, **fields)
        assert not reply["ok"], reply
        error: dict[str, Any] = reply["error"]
        return error


@asynccontextmanager
async def speaking(place: Place, *tasks: Task) -> AsyncIterator[Speaker]:
    """A client of a monitor; nobody serves its run, which has these tasks."""
    if tasks:
        place.run.tell(m.Planned(iteration=1, workflow=Workflow(tasks)))
    place.let_go()
    async with place.serving(), place.watching() as socket:
        yield Speaker(socket, place.run.run_id)


def kinds(place: Place) -> list[str]:
    """Types of the events of the run since it was planned."""
    events = [line["type"] for line in place.lines(run=place.run.run_id)]
    return [event for event in events[events.index("IterationPlanned") + 1 :] if event != "TaskPlanned"]


def walltimes(place: Place) -> dict[str, int | None]:
    """What the tasks of the run ask for now."""
    return {name: task.task.resources.walltime_s for name, task in place.run.loaded().tasks.items()}


async def test_a_preview_changes_nothing_and_what_is_agreed_to_is_what_was_shown(place: Place) -> None:
    async with speaking(place, *LONG_TASKS) as client:
        shown = await client.done("amend", tasks=["relax-*"], set=LONGER, reason="too short", preview=True)
        assert shown["result"]["differences"] == [
            {"path": "resources.walltime_s", "old": 60, "new": 7200, "tasks": ["relax-1", "relax-2"]}
        ]
        assert kinds(place) == []
        done = await client.done("apply", basis=shown["basis"])
    assert done["result"] == shown["result"]
    assert "basis" not in done
    assert kinds(place) == ["TaskAmended", "TaskAmended"]
    assert place.lines(run=client.run)[-1]["data"]["reason"] == "too short"
    assert walltimes(place) == {"relax-1": 7200, "relax-2": 7200, "scf": 60}


async def test_without_a_preview_it_is_done_at_once_and_the_reply_says_what(place: Place) -> None:
    async with speaking(place, *LONG_TASKS) as client:
        typed = ["resources.walltime_s=7200", "command=vasp_std -v"]
        done = await client.done("amend", tasks=["scf"], set=typed)
    assert [(d["path"], d["new"]) for d in done["result"]["differences"]] == [
        ("resources.walltime_s", 7200),
        ("command", ["vasp_std", "-v"]),
    ]
    assert [*place.run.loaded().tasks[LONG_TASKS[2].id].task.command] == ["vasp_std", "-v"]


async def test_of_two_who_were_shown_the_same_the_second_is_told_what_changed(place: Place) -> None:
    async with speaking(place, *LONG_TASKS) as ann, place.watching() as socket:
        bob = Speaker(socket, ann.run)
        of_ann = await ann.done("amend", tasks=["relax-*"], set=LONGER, preview=True)
        of_bob = await bob.done(
            "amend", which={"waiting": True}, set=["resources.walltime_s=600"], preview=True
        )
        await ann.done("apply", basis=of_ann["basis"])
        error = await bob.refused("apply", basis=of_bob["basis"])
        assert error["code"] == "changed"
        assert error["message"] == (
            "changed meanwhile: resources.walltime_s of task relax-1 and 1 more is 7200, not 60 as was shown"
        )
        assert walltimes(place) == {"relax-1": 7200, "relax-2": 7200, "scf": 60}
        again = await bob.done(
            "amend", which={"waiting": True}, set=["resources.walltime_s=600"], preview=True
        )
        await bob.done("apply", basis=again["basis"])
    assert set(walltimes(place).values()) == {600}


async def test_who_was_shown_that_a_task_stays_as_it_is_does_not_change_it(place: Place) -> None:
    tasks = [task("a", resources=SHORT), task("b", resources=Resources(walltime_s=600))]
    async with speaking(place, *tasks) as client:
        shown = await client.done("amend", tasks=["*"], set={"resources.walltime_s": 600}, preview=True)
        assert shown["result"]["tasks"] == ["a"]
        await client.done("amend", tasks=["b"], set={"resources.walltime_s": 900})
        error = await client.refused("apply", basis=shown["basis"])
    assert error["message"] == (
        "changed meanwhile: resources.walltime_s of task b is 900, and was not to change"
    )
    assert walltimes(place) == {"a": 60, "b": 900}


async def test_what_was_shown_is_done_once_however_often_it_is_asked_for(place: Place) -> None:
    async with speaking(place, *LONG_TASKS) as client:
        shown = await client.done("amend", tasks=["scf"], set=LONGER, preview=True)
        for _ in range(2):  # the reply to the first may have been lost
            await client.done("apply", basis=shown["basis"])
    assert kinds(place) == ["TaskAmended"]


async def test_a_basis_that_is_unknown_here_is_refused_and_nothing_is_changed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shown_proposals, "MOST_KEPT", 2)
    async with speaking(place, *LONG_TASKS) as client:
        bases = [
            (await client.done("amend", tasks=["scf"], set=LONGER, preview=True))["basis"] for _ in range(3)
        ]
        for basis in (bases[0], "p-made-up"):
            error = await client.refused("apply", basis=basis)
            assert (error["code"], error["hint"][:12]) == ("changed", "look at what")
        error = await client.refused("apply", run=OTHER, basis=bases[2])
        assert (error["code"], client.run in error["message"]) == ("usage", True)
        assert kinds(place) == []
        await client.done("apply", basis=bases[1])


async def test_failed_tasks_are_amended_and_tried_again_in_one_step(place: Place) -> None:
    place.run.tell(m.Planned(iteration=1, workflow=Workflow(LONG_TASKS)))
    place.run.run.prepare()
    for name, raw in (("relax-1", "TIMEOUT"), ("relax-2", "FAILED"), ("scf", "TIMEOUT")):
        place.run.run.submit(name)
        place.run.run.end(name, JobState.COMPLETED_ERROR, raw_state=raw)
        place.run.run.collect(name)
    place.run.tell(m.Settle())
    async with speaking(place) as client:
        which = {"kinds": ["timeout"]}
        shown = await client.done("retry", which=which, set=LONGER, preview=True)
        assert shown["result"]["selected"] == ["relax-1", "scf"]
        await client.done("apply", basis=shown["basis"])
        error = await client.refused("retry", tasks=["scf"])
        assert (error["code"], "only failed tasks" in error["message"]) == ("refused", True)
    assert walltimes(place) == {"relax-1": 7200, "relax-2": 60, "scf": 7200}
    reopened = [e["data"]["task_id"] for e in place.lines() if e["type"] == "TaskReopened"]
    assert reopened == ["relax-1", "scf"]


async def test_tasks_that_were_shown_are_cancelled_and_no_others(place: Place) -> None:
    tasks = [task("a-1"), task("b", "a-1"), task("c")]
    async with speaking(place, *tasks) as client:
        shown = await client.done("cancel_tasks", tasks=["a-*"], reason="too hot", preview=True)
        assert shown["result"] == {
            "tasks": [
                {"task_id": "a-1", "is_live": False, "because": None},
                {"task_id": "b", "is_live": False, "because": "a-1"},
            ]
        }
        assert kinds(place) == []
        await client.done("apply", basis=shown["basis"])
        again = await client.done("cancel_tasks", tasks=["a-*"])
        assert again["result"] == {"tasks": []}
    assert kinds(place) == ["TaskCancelled", "TaskCancelled"]
    assert {t.task.id: t.status.value for t in place.run.loaded().tasks.values()} == {
        "a-1": "CANCELLED", "b": "CANCELLED", "c": "READY",
    }  # fmt: skip


async def test_labels_and_a_note_are_given_and_taken_away(place: Place) -> None:
    async with speaking(place) as client:
        said = await client.done("label", add=["cathode", "old"], note="see page 12")
        assert said["result"]["labels"] == ["cathode", "old"]
        assert said["result"]["note"]["note"] == "see page 12"
        said = await client.done("label", remove=["old"], note="")
        assert (said["result"]["labels"], said["result"]["note"]) == (["cathode"], None)
        error = await client.refused("label", add=["not one"])
    assert (error["code"], "is no label" in error["message"]) == ("usage", True)


BAD_CHANGES: Mapping[str, tuple[dict[str, Any], str, str]] = {
    "no path of a task": (
        {"command": "amend", "tasks": ["scf"], "set": {"walltime_s": 1}},
        "refused|usage",
        "did you mean resources.walltime_s?",
    ),
    "a typed path that is none": (
        {"command": "amend", "tasks": ["scf"], "set": ["comand=x"]},
        "usage",
        "did you mean command?",
    ),
    "no PATH=VALUE": ({"command": "amend", "tasks": ["scf"], "set": ["x"]}, "usage", "no PATH=VALUE"),
    "a path twice": (
        {"command": "amend", "tasks": ["*"], "set": ["priority=1", "priority=2"]},
        "usage",
        "twice",
    ),
    "a path that no one changes": (
        {"command": "amend", "tasks": ["scf"], "set": {"id": "x"}},
        "refused|usage",
        "a task keeps its name",
    ),
    "a value that cannot be": (
        {"command": "amend", "tasks": ["scf"], "set": {"resources.walltime_s": -1}},
        "refused",
        "walltime_s",
    ),
    "no number": ({"command": "amend", "tasks": ["scf"], "set": {"params.x": float("nan")}}, "usage", "set"),
    "a set that is a number": ({"command": "amend", "tasks": ["scf"], "set": 5}, "usage", "set: must be"),
    "a set of numbers": ({"command": "retry", "set": [1]}, "usage", "set: must be"),
    "nothing to set": ({"command": "amend", "tasks": ["scf"]}, "usage", "set"),
    "an empty set": ({"command": "amend", "tasks": ["scf"], "set": {}}, "usage", "nothing is set"),
    "no selection": ({"command": "amend", "set": LONGER}, "usage", "name the tasks"),
    "no such task": (
        {"command": "amend", "tasks": ["relx-1"], "set": LONGER},
        "not_found",
        "did you mean 'relax-1'?",
    ),
    "nothing is meant": (
        {"command": "amend", "which": {"exit_codes": [3]}, "set": LONGER},
        "not_found",
        "no task that is meant",
    ),
    "no kind of failure": (
        {"command": "retry", "which": {"kinds": ["timeuot"]}},
        "usage",
        "did you mean 'timeout'?",
    ),
    "which is a list": ({"command": "retry", "which": ["failed"]}, "usage", "which"),
    "an unknown condition": ({"command": "retry", "which": {"status": "FAILED"}}, "usage", "which.status"),
    "a code that is text": (
        {"command": "retry", "which": {"exit_codes": ["3"]}},
        "usage",
        "which.exit_codes",
    ),
    "a task that succeeded": ({"command": "amend", "tasks": ["good"], "set": LONGER}, "refused", "run rerun"),
    "values that are there already": (
        {"command": "amend", "tasks": ["scf"], "set": {"resources.walltime_s": 60}},
        "refused",
        "nothing would change",
    ),
    "preview is text": ({"command": "retry", "preview": "yes"}, "usage", "preview"),
    "preview of what has none": ({"command": "pause", "preview": True}, "usage", "preview"),
    "no key of a config": (
        {"command": "amend_config", "set": {"pririty": 3}},
        "config",
        "did you mean priority?",
    ),
    "a typed key that is none": ({"command": "amend_config", "set": ["=3"]}, "usage", "must be KEY=VALUE"),
    "an empty config": ({"command": "amend_config"}, "usage", "nothing is set"),
    "a choice that is none": ({"command": "replan", "redo_changed": 1}, "usage", "redo_changed"),
    "no tasks to cancel": ({"command": "cancel_tasks", "tasks": []}, "usage", "tasks"),
    "an ended task": ({"command": "cancel_tasks", "tasks": ["good"]}, "refused", "SUCCEEDED already"),
    "no basis": ({"command": "apply"}, "usage", "basis"),
    "the beginning of a run id": ({"command": "retry", "run": "2026"}, "usage", "run: "),
}


@pytest.mark.parametrize("name", list(BAD_CHANGES))
async def test_a_change_that_makes_no_sense_is_answered_in_words_and_nothing_is_changed(
    place: Place, name: str
) -> None:
    sent, codes, words = BAD_CHANGES[name]
    tasks = [*LONG_TASKS, task("good")]
    place.run.tell(m.Planned(iteration=1, workflow=Workflow(tasks)))
    place.run.run.prepare()
    place.run.run.submit("good")
    place.run.run.end("good")
    place.run.run.collect("good")
    place.run.tell(m.Settle())
    async with speaking(place) as client:
        before = place.lines()
        has_no_preview = "preview" in sent or sent["command"] == "apply"
        for more in ({},) if has_no_preview else ({}, {"preview": True}):
            fields: dict[str, Any] = {**sent, **more}
            error = await client.refused(**fields)
            assert error["code"] in codes.split("|")
            assert words in f"{error['message']} ({error['hint']})"
        assert place.lines() == before
        await client.done("pause")


async def test_a_fault_of_ours_is_one_reply_and_the_stream_goes_on(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(sent_changes, "propose_retry", fail)
    async with speaking(place, *LONG_TASKS) as client:
        error = await client.refused("retry", preview=True)
        assert (error["code"], "the log tells more" in error["message"]) == ("invariant", True)
        await client.done("pause")
    assert "ZeroDivisionError: by zero" in caplog.text


async def test_of_a_cancelled_run_nothing_is_changed(place: Place) -> None:
    place.run.tell(m.Planned(iteration=1, workflow=Workflow(LONG_TASKS)), m.Cancel(by="ann"), m.Settle())
    async with speaking(place) as client:
        for sent in (
            {"command": "amend", "tasks": ["scf"], "set": LONGER},
            {"command": "retry"},
            {"command": "amend_config", "set": {"priority": 3}},
            {"command": "cancel_tasks", "tasks": ["scf"]},
        ):
            assert "CANCELLED" in (await client.refused(**sent))["message"], sent


async def test_of_a_run_that_was_deleted_every_command_says_so(place: Place) -> None:
    place.run.tell(m.Planned(iteration=1, workflow=Workflow(LONG_TASKS)))
    async with speaking(place) as client:
        shown = await client.done("amend", tasks=["scf"], set=LONGER, preview=True)
        await client.done("cancel")
        place.root.run_folder("demo", client.run).path.mkdir(parents=True, exist_ok=True)
        delete_run(place.root, client.run)
        for sent in (
            {"command": "amend", "tasks": ["scf"], "set": LONGER},
            {"command": "apply", "basis": shown["basis"]},
            {"command": "retry"},
            {"command": "amend_config", "set": {"priority": 3}},
            {"command": "cancel_tasks", "tasks": ["scf"]},
            {"command": "label", "add": ["x"]},
            {"command": "replan"},
            {"command": "respond", "task": "scf", "attempt": 1, "answer": {}},
            *({"command": name} for name in ("pause", "resume", "cancel")),
        ):
            error = await client.refused(**sent)
            assert error["code"] == "not_found", sent
            assert error["message"].startswith(f"no run {client.run}: it was deleted by "), sent


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Root:
    monkeypatch.setenv("HOME", str(tmp_path))  # without its user's own configuration
    (tmp_path / "root" / "workspaces").mkdir(parents=True)
    return Root(tmp_path / "root")


@pytest.mark.usefixtures("processes")
async def test_a_run_that_an_engine_serves_is_mended_over_the_stream_and_completes(
    root: Root, diary: Diary
) -> None:
    tasks = [diary.task("a", '[ "$MODE" = good ]'), diary.task("b")]
    write_tasks(root.path, "two", tasks)
    async with (
        matterstack.open_engine(root.path) as engine,
        open_monitor(root, Address(port=0)) as served,
    ):
        place = Place(root, open_database(root.database), None, None, served)  # type: ignore[arg-type]
        run = await engine.start("two")
        assert (await run.wait()).status is RunStatus.FAILED
        async with place.watching() as socket:
            client = Speaker(socket, run.id)
            config = await client.done("amend_config", set=["priority=3"], preview=True)
            assert [change["path"] for change in config["result"]["config"]] == ["priority"]
            retry = {"which": {"failed": True}, "set": {"env.MODE": "good"}}
            shown = await client.done("retry", **retry, preview=True)
            await client.done("amend_config", set={"priority": 2})
            error = await client.refused("apply", basis=config["basis"])
            assert error["code"] == "changed"
            assert "priority: 1 -> 2" in error["message"]
            await client.done("apply", basis=shown["basis"])
            assert (await run.wait()).status is RunStatus.COMPLETED
            error = await client.refused("replan", preview=True)
            assert (error["code"], "nothing would change" in error["message"]) == ("refused", True)
            campaign = root.path / "workspaces" / "two" / "campaign.py"
            code = campaign.read_text()
            campaign.write_text("raise ZeroDivisionError('by zero')")
            error = await client.refused("replan")
            assert (error["code"], "by zero" in error["message"]) == ("campaign", True)
            campaign.write_text(code)
            write_tasks(root.path, "two", [*tasks, diary.task("c")])
            plan = await client.done("replan", preview=True)
            assert [(t["task_id"], t["change"]) for t in plan["result"]["tasks"]] == [("c", "new")]
            await client.done("apply", basis=plan["basis"])
        assert (await run.wait()).status is RunStatus.COMPLETED
        place.connection.close()
    assert sorted(diary.started()) == ["a", "a", "b", "c"]
