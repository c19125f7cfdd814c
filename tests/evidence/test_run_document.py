"""``run.json`` is what its schema says, and the same as what ``run status`` says."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest
import trio
from pydantic import ValidationError
from trio.testing import MockClock

from matterstack.actors import summary
from matterstack.actors.runtime import Runtime
from matterstack.actors.summary import SummaryWriter
from matterstack.core.documents.run_document import RunDocument
from matterstack.core.run import messages as m
from matterstack.core.run.allowed import COMMANDS
from matterstack.storage.schema import open_database
from matterstack.storage.threads import run_inline
from tests.support.campaigns import write_tasks
from tests.support.command import CommandLine
from tests.support.states import RUN_ID, ToldRun
from tests.support.stored import new_root

P = ParamSpec("P")
T = TypeVar("T")


def test_run_json_fits_its_schema_and_the_store(command_line: CommandLine) -> None:
    write_tasks(command_line.root, "demo", [{"id": "a", "command": ["true"]}])
    run_id = command_line.new_run("demo")
    command_line.ok("run", "loop", run_id, "--until-done")
    text = (command_line.run_folder("demo", run_id) / "run.json").read_text()
    document = RunDocument.model_validate_json(text)
    said = {"labels": [], "note": ""}  # no part of the run's history, which run.json follows
    assert document.model_dump(mode="json") == json.loads(text)
    assert {**json.loads(text), **said} == command_line.status(run_id)
    schema = command_line.json("schema", "RunDocument")
    assert set(schema["required"]) == set(json.loads(text))
    assert schema["properties"]["allowed"]["propertyNames"]["enum"] == list(COMMANDS)


@pytest.mark.parametrize(("key", "value"), [("status", "DONE"), ("iteration", -1), ("created_at", "today")])
def test_what_is_no_run_json_does_not_fit_its_schema(key: str, value: object) -> None:
    good = {
        "run_id": "20260101T000000-abcdef",
        "workspace": "demo",
        "status": "RUNNING",
        "status_reason": "",
        "iteration": 1,
        "tasks": {"READY": 2},
        "created_at": "2026-01-01T00:00:00.000000Z",
        "updated_at": "2026-01-01T00:00:00.000000Z",
        "ending": None,
        "allowed": {"pause": True, "resume": "RUNNING: only a PAUSED run can be resumed"},
        "head": "0123456789abcdef" * 4,
    }
    assert RunDocument.model_validate_json(json.dumps(good)).tasks == {"READY": 2}
    with pytest.raises(ValidationError):
        RunDocument.model_validate_json(json.dumps({**good, key: value}))


async def test_run_json_is_replaced_at_most_once_a_second_and_tells_the_last_change(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = new_root(tmp_path / "root")
    run = ToldRun.new(RUN_ID)
    folder = root.run_folder(run.state.workspace, RUN_ID)
    folder.path.mkdir(parents=True)
    written: list[tuple[float, str]] = []

    def replace(path: Path, data: bytes) -> None:
        assert path == folder.summary_file
        written.append((trio.current_time(), json.loads(data)["status"]))

    monkeypatch.setattr(summary, "replace_derived", replace)
    connection = open_database(root.database)
    writer = SummaryWriter(root, Runtime(files=run_inline, store=run_inline), connection)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.serve)
        for message in (m.Start(), m.Pause(by="ann"), m.Resume(by="ann"), m.Pause(by="ann")):
            run.tell(message)
            writer.note(run.state)
            await trio.sleep(0.3)
        await trio.sleep(3)
        nursery.cancel_scope.cancel()
    connection.close()
    start = autojump_clock.current_time() - 4.2
    assert [(round(at - start, 3), status) for at, status in written] == [(0.0, "RUNNING"), (1.0, "PAUSED")]


async def test_who_flushes_waits_for_what_is_just_being_written(
    tmp_path: Path,
    autojump_clock: MockClock,  # noqa: ARG001  time passes in it
) -> None:
    root = new_root(tmp_path / "root")
    run = ToldRun.new(RUN_ID)
    folder = root.run_folder(run.state.workspace, RUN_ID)
    folder.path.mkdir(parents=True)
    begun = trio.Event()

    async def slow(call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        begun.set()
        await trio.sleep(5)
        return call(*args, **kwargs)

    connection = open_database(root.database)
    writer = SummaryWriter(root, Runtime(files=slow, store=run_inline), connection)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.serve)
        run.tell(m.Start())
        writer.note(run.state)
        await begun.wait()
        await writer.flush()
        assert json.loads(folder.summary_file.read_text())["status"] == "RUNNING"
        nursery.cancel_scope.cancel()
    connection.close()
