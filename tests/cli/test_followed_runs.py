"""Who follows runs misses no end of theirs, however quickly they end and whoever stops following."""

from __future__ import annotations

import pytest
import trio

from matterstack.cli.followed_runs import ended_runs, keep_looking, newly_ended, relevant
from matterstack.core.states import RunStatus
from matterstack.storage.layout import Root
from matterstack.storage.read.reader import open_reader
from matterstack.storage.read.runs import run_summaries
from tests.support.campaigns import write_tasks
from tests.support.command import CommandLine


@pytest.fixture
def root(command_line: CommandLine) -> Root:
    return Root(command_line.root)


async def test_it_is_looked_once_more_when_it_is_over(root: Root) -> None:
    over = trio.Event()
    looks: list[int] = []

    async def look() -> bool:
        looks.append(len(looks))
        if len(looks) == 1:
            over.set()  # while it looks: that look is given up
            await trio.sleep_forever()
        return False

    async with open_reader(root) as reader:
        await keep_looking(reader, look, over)
    assert looks == [0, 1]


async def test_who_has_seen_the_end_does_not_wait_for_it_to_be_over(root: Root) -> None:
    looks: list[trio.Event | None] = []
    never = trio.Event()

    async with open_reader(root) as reader:
        for over in (never, None):

            async def look(over: trio.Event | None = over) -> bool:
                looks.append(over)
                return True

            await keep_looking(reader, look, over)
    assert not never.is_set()
    assert looks == [never, never, None], "and once more, since somebody says when it is over"


def failing_run(command_line: CommandLine) -> str:
    write_tasks(command_line.root, "campaign", [{"id": "a", "command": ["false"]}])
    run_id = command_line.new_run("campaign")
    command_line.run("run", "loop", "--until-done", run_id)
    return run_id


def test_an_end_that_could_not_be_told_is_told_the_next_time(command_line: CommandLine, root: Root) -> None:
    run_id = failing_run(command_line)

    async def follow() -> list[str]:
        told: set[object] = set()
        async with open_reader(root) as reader:
            summaries = await reader.read(run_summaries, None)
            with trio.move_on_after(0):
                await newly_ended(reader, summaries, told)
            return await newly_ended(reader, summaries, told)

    lines = trio.run(follow)
    assert lines[0] == "FAILED a: its job ended with exit code 1"
    assert run_id in lines[1]


def test_all_runs_are_followed_but_those_that_had_ended_before(command_line: CommandLine, root: Root) -> None:
    old = failing_run(command_line)

    async def follow() -> tuple[list[str], list[str]]:
        async with open_reader(root) as reader:
            before = await ended_runs(reader)
            new = await trio.to_thread.run_sync(failing_run, command_line)
            quick = [s.run_id for s in await relevant(reader, None, before)]
            assert quick == [new]
            await trio.to_thread.run_sync(command_line.run, "run", "retry", old)
            reopened = await relevant(reader, None, before)
            await trio.to_thread.run_sync(command_line.run, "run", "loop", "--until-done", old)
            ended = await relevant(reader, None, before)
            assert {s.status for s in ended} == {RunStatus.FAILED}
            return [s.run_id for s in reopened], [s.run_id for s in ended]

    reopened, ended = trio.run(follow)
    assert old in reopened
    assert old in ended
