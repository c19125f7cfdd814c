"""A program elsewhere sees every event once, over lost connections and restarts of the monitor."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked
from trio_websocket import ConnectionClosed, WebSocketRequest, serve_websocket

from matterstack import aio
from matterstack.client import Client, connect
from matterstack.core.errors import (
    ChangedError,
    MatterStackError,
    MonitorError,
    NotFoundError,
    RefusedError,
    UsageError,
)
from matterstack.core.model.workflow import Workflow
from matterstack.core.run import messages as m
from matterstack.monitor.server import Address, open_monitor
from tests.monitor.conftest import OTHER, PATIENCE_S, Place
from tests.support.states import task

NOWHERE = "http://127.0.0.1:9"


async def heard(client: Client, count: int) -> list[dict[str, Any]]:
    with trio.fail_after(PATIENCE_S):
        return [await anext(client) for _ in range(count)]


async def test_events_of_the_past_and_of_now(place: Place) -> None:
    place.write(4)
    async with place.serving(), connect(f"http://localhost:{place.port}", place.token, after=0) as client:
        past = place.lines()
        assert await heard(client, len(past)) == past
        assert client.connection.is_live
        place.write(3)
        assert await heard(client, 3) == place.lines(after=len(past))


async def test_only_what_is_new_and_only_of_one_run(place: Place) -> None:
    async with (
        place.serving() as served,
        connect(f"ws://127.0.0.1:{place.port}", place.token, run=OTHER) as client,
    ):
        await served.monitor.feed.wait_for_listeners(1)
        newest = len(place.lines())
        place.write(2)
        place.write(1, place.other)
        assert await heard(client, 1) == place.lines(after=newest, run=OTHER)


async def test_nothing_is_skipped_or_comes_twice_when_the_monitor_is_started_again_and_again(
    place: Place,
) -> None:
    async with place.serving():
        port, token = place.port, place.token
    events: list[dict[str, Any]] = []
    async with connect(f"http://127.0.0.1:{port}", token, after=0) as client:
        for _ in range(4):
            place.write(7)
            async with open_monitor(place.root, Address(port=port)):
                events += await heard(client, 5)
        async with open_monitor(place.root, Address(port=port)):
            events += await heard(client, len(place.lines()) - len(events))
    assert events == place.lines()


@pytest.mark.parametrize(("token", "after", "words"), [("wrong", 0, "token"), (None, 9999, "no event 9999")])
async def test_who_cannot_be_let_in_is_told_why_and_does_not_try_for_ever(
    place: Place, token: str | None, after: int, words: str
) -> None:
    async with (
        place.serving(),
        connect(f"http://127.0.0.1:{place.port}", token or place.token, after=after) as client,
    ):
        with pytest.raises(MonitorError, match=words) as refused, trio.fail_after(PATIENCE_S):
            await anext(client)
    assert refused.value.is_final
    assert not client.connection.is_live


async def test_a_monitor_that_is_not_there_is_waited_for(place: Place) -> None:
    async with place.serving():
        port, token = place.port, place.token
    async with connect(f"http://127.0.0.1:{port}", token, after=0) as client:
        with pytest.raises(MonitorError, match=f"127.0.0.1:{port} cannot be reached"):
            await client.pause(place.run.run_id)
        async with open_monitor(place.root, Address(port=port)):
            assert await heard(client, 1) == place.lines()[:1]


async def test_commands_are_carried_out_and_refusals_come_as_the_errors_that_they_are(place: Place) -> None:
    place.let_go()
    async with place.serving(), connect(f"http://127.0.0.1:{place.port}", place.token) as client:
        await client.pause(place.run.run_id, reason="tea")
        await client.resume(place.run.run_id)
        with pytest.raises(NotFoundError, match="no task that fits"):
            await client.cancel_tasks(place.run.run_id, ["*"], reason="tea")
        with pytest.raises(NotFoundError, match="no run"):
            await client.cancel("20260102T030405-aaaaaa")
        with pytest.raises(UsageError, match="no run id"):
            await client.retry("../..")
    kinds = [line["type"] for line in place.lines(run=place.run.run_id)]
    assert kinds[-2:] == ["RunPaused", "RunResumed"]


async def test_a_change_is_shown_agreed_to_and_refused_where_it_is_another_by_then(place: Place) -> None:
    place.run.tell(m.Planned(iteration=1, workflow=Workflow([task("a"), task("b"), task("c", "b")])))
    place.let_go()
    run_id, longer = place.run.run_id, {"resources.walltime_s": 7200}
    async with place.serving(), connect(f"http://127.0.0.1:{place.port}", place.token) as client:
        shown = await client.amend(run_id, ["a"], longer, reason="too short", preview=True)
        assert shown.result["tasks"] == ["a"]
        other = await client.amend(run_id, changes={"resources.walltime_s": 60}, waiting=True)
        assert other.result["tasks"] == ["a", "b", "c"]
        with pytest.raises(UsageError, match="made already"):
            await other.apply()
        with pytest.raises(ChangedError, match="is 60, not nothing as was shown"):
            await shown.apply()
        with pytest.raises(RefusedError, match="nothing would change") as refused:
            await client.amend(run_id, ["a"], {"resources.walltime_s": 60})
        assert type(refused.value) is RefusedError, "and not what else has this code"
        config = await client.amend_config(run_id, {"priority": 3}, preview=True)
        await config.apply()
        ending = await client.cancel_tasks(run_id, ["b"], preview=True)
        assert [one["task_id"] for one in ending.result["tasks"]] == ["b", "c"]
        await ending.apply()
        assert (await client.label(run_id, ["cathode"], note="page 12"))["labels"] == ["cathode"]
        for wrong, words in (
            (client.amend(run_id, ["a"], {"comand": "x"}), "comand"),
            (client.retry(run_id, kinds=["timeuot"]), "no kind of failure"),
            (client.retry(run_id, "a"), "tasks: must be a list"),
        ):
            with pytest.raises(MatterStackError, match=words):
                await wrong
    kinds = [line["type"] for line in place.lines(run=run_id)]
    assert kinds[-6:] == ["TaskAmended"] * 3 + ["ConfigAmended", "TaskCancelled", "TaskCancelled"]


async def test_changes_of_many_tasks_are_told_and_a_command_too_long_is_refused(
    place: Place,
) -> None:
    tasks = [task(f"t-{number}-{'x' * 90}") for number in range(4500)]
    place.run.tell(m.Planned(iteration=1, workflow=Workflow(tasks)))
    async with place.serving(), connect(f"http://127.0.0.1:{place.port}", place.token) as client:
        shown = await client.amend(place.run.run_id, ["*"], {"priority": 3}, preview=True)
        assert len(shown.result["tasks"]) == len(tasks)
        assert len(json.dumps(shown.result)) > 1 << 20
        with trio.fail_after(PATIENCE_S), pytest.raises(UsageError, match="a message has at most"):
            await client.amend(place.run.run_id, [one.id for one in tasks], {"priority": 3}, preview=True)


async def test_an_error_of_the_program_comes_out_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with connect(NOWHERE, "x"):
            raise ZeroDivisionError


@pytest.mark.parametrize("url", ["127.0.0.1:8765", "ftp://x", "http://", "http://x:99999"])
async def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        async with connect(url, "x"):
            raise AssertionError


async def test_runs_and_explanations_are_asked_for(place: Place) -> None:
    place.write(2)
    async with place.serving(), connect(f"http://localhost:{place.port}", f"{place.token}\n") as client:
        runs = await client.runs()
        assert {run["run_id"] for run in runs} == {place.run.run_id, OTHER}
        one = await client.run(place.run.run_id)
        assert one["run"] == next(run for run in runs if run["run_id"] == place.run.run_id)
        explained = await client.explain(OTHER)
        assert (explained["run_id"], explained["status"]) == (OTHER, "RUNNING")
        assert await client.questions(OTHER) == []
        with pytest.raises(NotFoundError, match="no run"):
            await client.run("20260102T030405-aaaaaa")
        with pytest.raises(UsageError, match="no run id"):
            await client.explain("../../x")
        with pytest.raises(NotFoundError, match="no task 'x'"):
            await client.respond(place.run.run_id, "x", {"a": 1}, attempt=1)


async def test_who_may_not_ask_is_told_so(place: Place) -> None:
    async with place.serving(), connect(f"http://127.0.0.1:{place.port}", "wrong") as client:
        with pytest.raises(MonitorError, match="did not let this client in") as refused:
            await client.runs()
    assert refused.value.is_final


async def test_an_event_that_was_on_its_way_when_a_caller_was_cancelled_comes_with_the_next_call(
    place: Place,
) -> None:
    place.write(4)
    async with place.serving(), connect(f"http://127.0.0.1:{place.port}", place.token, after=0) as client:
        link = client._link
        with trio.fail_after(PATIENCE_S):
            on_its_way = await link.next_event(None)  # its caller is gone before it could note it
            assert await link.next_event(None) is on_its_way
        assert await heard(client, len(place.lines())) == place.lines()


async def test_events_are_read_by_one_task_at_a_time(place: Place) -> None:
    async with (
        place.serving(),
        connect(f"http://127.0.0.1:{place.port}", place.token) as client,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(anext, client)
        await wait_all_tasks_blocked(0.01)
        with pytest.raises(UsageError, match="another task"):
            await anext(client)
        nursery.cancel_scope.cancel()


STRANGERS = {
    "no HTTP": b"220 mail.example ESMTP\r\n",
    "no JSON": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "nothing": b"",
    "half an answer": b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{",
    "an error of its own": b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize("name", list(STRANGERS))
async def test_what_is_no_monitor_is_an_error_of_ours(name: str) -> None:
    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(STRANGERS[name])

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, answer, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        async with connect(f"http://127.0.0.1:{port}", "x") as client:
            with pytest.raises(MonitorError, match=f"127.0.0.1:{port}"), trio.fail_after(PATIENCE_S):
                await client.runs()
            with pytest.raises(MonitorError, match=f"127.0.0.1:{port}"), trio.fail_after(PATIENCE_S):
                await client.pause(OTHER)
            assert not client.connection.is_live
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("message", ["[]", "{", '{"seq": "1"}', "null"])
async def test_a_websocket_that_says_something_else_is_no_monitor(message: str) -> None:
    async def speak(request: WebSocketRequest) -> None:
        socket = await request.accept()
        with contextlib.suppress(ConnectionClosed):
            await socket.send_message(message)
        with contextlib.suppress(ConnectionClosed):
            await socket.get_message()

    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_websocket, speak, "127.0.0.1", 0, None)
        async with connect(f"http://127.0.0.1:{server.port}", "x") as client:
            with pytest.raises(MonitorError, match="not answer as a monitor"), trio.fail_after(PATIENCE_S):
                await anext(client)
        nursery.cancel_scope.cancel()


async def test_a_tunnel_that_leads_nowhere_is_noticed_at_once() -> None:

    async def close(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, close, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        async with connect(f"http://127.0.0.1:{port}", "x") as client:
            with pytest.raises(MonitorError, match="closed the connection without"):
                await client.pause(OTHER)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("token", ["", "  ", "two words", "naïve", "a\r\nX-Evil: 1"])
async def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(UsageError, match="no token"):
        async with connect(NOWHERE, token):
            raise AssertionError


def test_a_program_on_asyncio_sees_the_same(place: Place) -> None:
    place.write(3)
    ready, done = threading.Event(), threading.Event()

    async def serve() -> None:
        async with place.serving():
            ready.set()
            await trio.to_thread.run_sync(done.wait, abandon_on_cancel=True)

    async def main() -> None:
        stored = place.lines()
        async with aio.connect(f"http://127.0.0.1:{place.port}", place.token, after=0) as client:
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(client.__anext__(), 0)
            assert [await anext(client) for _ in stored] == stored
            assert {run["run_id"] for run in await client.runs()} == {place.run.run_id, OTHER}
            with pytest.raises(NotFoundError):
                await client.pause("20260102T030405-aaaaaa")

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    try:
        assert ready.wait(PATIENCE_S)
        asyncio.run(asyncio.wait_for(main(), PATIENCE_S))
    finally:
        done.set()
        thread.join()
