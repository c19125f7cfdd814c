"""Everyone who listens hears every event once, in order, whatever happens to the others."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping

import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from matterstack.monitor import feed, session
from matterstack.monitor.orders import COMMANDS, MOST_BYTES
from tests.monitor.conftest import OTHER, PATIENCE_S, Place, next_document, next_lines


async def test_the_past_is_replayed_and_what_comes_then_is_told(place: Place) -> None:
    place.write(5)
    async with place.serving(), place.watching("?after=0") as socket:
        stored = place.lines()
        assert await next_document(socket) == {"type": "hello", "protocol": 1, "seq": len(stored)}
        assert await next_lines(socket, len(stored)) == stored
        place.write(3)
        assert await next_lines(socket, 3) == place.lines(after=len(stored))


async def test_one_who_does_not_say_where_to_begin_hears_what_is_new(place: Place) -> None:
    async with place.serving(), place.watching() as socket:
        hello = await next_document(socket)
        place.write(2)
        assert await next_lines(socket, 2) == place.lines(after=hello["seq"])


async def test_a_client_that_reconnects_at_every_event_misses_none_and_hears_none_twice(place: Place) -> None:
    place.write(12)
    heard: list[dict[str, object]] = []
    async with place.serving():
        last = 0
        while last < 30:
            async with place.watching(f"?after={last}") as socket:
                await next_document(socket)
                if last == len(place.lines()):
                    place.write(1)
                (line,) = await next_lines(socket, 1)
            heard.append(line)
            last = line["seq"]
    assert heard == place.lines()


async def test_many_pages_of_the_past_join_the_present_without_a_gap(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "PAGE", 3)
    place.write(20)
    async with place.serving(), trio.open_nursery() as nursery:
        heard: dict[int, list[int]] = {}

        async def watch(after: int) -> None:
            async with place.watching(f"?after={after}") as socket:
                await next_document(socket)
                while not heard.get(after) or heard[after][-1] < 60:
                    heard.setdefault(after, []).append((await next_document(socket))["seq"])

        for after in (0, 1, 9, 20):
            nursery.start_soon(watch, after)
        while len(place.lines()) < 60:
            place.write(1)
            await trio.lowlevel.checkpoint()
    assert heard == {after: list(range(after + 1, 61)) for after in (0, 1, 9, 20)}


async def test_who_asks_for_one_run_hears_of_that_one(place: Place) -> None:
    place.write(2)
    place.write(3, place.other)
    async with place.serving(), place.watching(f"?after=0&run={OTHER}") as socket:
        await next_document(socket)
        past = place.lines(run=OTHER)
        assert await next_lines(socket, len(past)) == past
        place.write(1)
        place.write(1, place.other)
        (line,) = await next_lines(socket, 1)
        assert [line] == place.lines(run=OTHER)[len(past) :]


async def test_who_asks_for_what_comes_after_an_event_that_never_was_is_told_so(place: Place) -> None:
    async with place.serving(), place.watching("?after=99999") as socket:
        newest = (await next_document(socket))["seq"]
        with pytest.raises(ConnectionClosed) as closed:
            await next_document(socket)
    assert closed.value.reason is not None
    assert closed.value.reason.code == 4004
    assert closed.value.reason.reason == f"the newest event has seq {newest}"


@pytest.mark.parametrize("query", ["?after=-1", "?after=1e3", "?after=", "?after=٣", "?after=0&run=../x"])
async def test_a_wrong_beginning_is_refused_in_words(place: Place, query: str) -> None:
    async with place.serving():
        upgrade = {"Upgrade": "websocket", "Connection": "upgrade"}
        answer = await place.ask(f"/events{query.replace('٣', '%D9%A3')}", headers=upgrade)
    assert (answer.status, answer.error) == (400, "usage")


async def test_of_a_run_that_does_not_exist_nothing_is_heard_and_others_are_not_disturbed(
    place: Place,
) -> None:
    async with (
        place.serving(),
        place.watching("?after=0&run=20260102T030405-nobody") as nobody,
        place.watching() as quiet,
    ):
        await next_document(quiet)
        assert (await next_document(nobody))["type"] == "hello"
        place.write(1)
        assert (await next_document(quiet))["type"] == "RunPaused"
        await nobody.send_message(json.dumps({"id": 1, "command": "pause", "run": "20260102T030405-nobody"}))
        assert (await next_document(nobody))["error"]["code"] == "not_found", "and no event came before"


async def test_a_client_that_takes_nothing_slows_nobody_and_loses_its_place_only(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "MOST_BEHIND", 200)
    monkeypatch.setattr(session, "SEND_TIMEOUT_S", 0.5)
    async with (
        place.serving(),
        # It reads nothing at all: its own buffers fill, then those of the server's end of the connection.
        place.watching("?after=0", receive_buffer_size=64) as stalled,
        place.watching() as quick,
    ):
        last = (await next_document(quick))["seq"]
        heard = 0
        while heard < 3000:
            place.write(100)
            heard += len(await next_lines(quick, 100))
        assert len(place.lines(after=last)) == heard
        with trio.fail_after(PATIENCE_S):
            assert await _read_to_the_end(stalled) < heard


async def _read_to_the_end(socket: WebSocketConnection) -> int:
    """How many messages come before the connection is closed by the other side."""
    count = 0
    while True:
        try:
            await socket.get_message()
        except ConnectionClosed:
            return count
        count += 1


async def test_a_listener_that_is_too_far_behind_is_dropped_after_what_it_has(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "MOST_BEHIND", 5)
    newest = len(place.lines())
    async with place.serving() as served, served.monitor.feed.listen(newest) as listener:
        place.write(1)
        (first,) = await listener.next_lines()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(place.write_to_listeners, served)
            (second,) = await listener.next_lines()
        place.write(40)
        with trio.fail_after(PATIENCE_S):
            await served.monitor.feed.wait_told(newest + 42)
        rest = await listener.next_lines()
        with pytest.raises(feed.FellBehindError):
            await listener.next_lines()
    assert [seq for seq, _ in (first, second, *rest)] == list(range(newest + 1, newest + 8))
    assert listener.seq == newest + 7, "from here on it may come again"


async def test_a_command_is_carried_out_and_answered(place: Place) -> None:
    place.let_go()
    async with place.serving(), place.watching() as socket:
        await next_document(socket)
        await socket.send_message(
            json.dumps({"id": 7, "command": "pause", "run": place.run.run_id, "reason": "tea"})
        )
        documents = await next_lines(socket, 2)
    reply, line = sorted(documents, key=lambda document: "reply" not in document)
    assert reply == {"reply": 7, "ok": True}
    assert (line["type"], line["data"]["reason"]) == ("RunPaused", "tea")


async def test_a_command_that_is_refused_is_answered_with_the_reason(place: Place) -> None:
    async with place.serving(), place.watching() as socket:
        await next_document(socket)
        await socket.send_message(
            json.dumps({"id": "a", "command": "resume", "run": "20260102T030405-aaaaaa"})
        )
        reply = await next_document(socket)
    assert (reply["reply"], reply["ok"], reply["error"]["code"]) == ("a", False, "not_found")


RUN = "20260102T030405-abcdef"
BAD_MESSAGES: Mapping[str, tuple[str | bytes, str]] = {
    "binary": (b"\x00\x01", "text frame"),
    "no JSON": ("{", "not valid JSON"),
    "a list": ("[]", "JSON object"),
    "nested": ("[" * 50_000, "not valid JSON"),
    "too long": (json.dumps({"id": 1, "command": "pause", "reason": "x" * MOST_BYTES}), "at most"),
    "no command": (json.dumps({"id": 1}), f"there are: {', '.join(COMMANDS)}"),
    "unknown command": (json.dumps({"id": 1, "command": "explode", "run": RUN}), "'explode'"),
    "no run": (json.dumps({"id": 1, "command": "pause"}), "run:"),
    "no run id": (json.dumps({"id": 1, "command": "pause", "run": "../../etc"}), "run:"),
    "no id": (json.dumps({"command": "pause", "run": RUN}), "id"),
    "unknown field": (json.dumps({"id": 1, "command": "pause", "run": RUN, "force": True}), "force"),
    "wrong type": (json.dumps({"id": 1, "command": "pause", "run": RUN, "reason": 5}), "reason"),
    "half of a character": (
        json.dumps({"id": 1, "command": "pause", "run": RUN, "reason": "\ud83d"}),
        "reason",
    ),
    "no such attempt": (
        json.dumps({"id": 1, "command": "respond", "run": RUN, "task": "a", "attempt": "1", "answer": {}}),
        "attempt",
    ),
    "no tasks": (json.dumps({"id": 1, "command": "rerun", "run": RUN, "tasks": []}), "tasks"),
}


@pytest.mark.parametrize("name", list(BAD_MESSAGES))
async def test_a_bad_message_gets_an_error_and_the_stream_goes_on(place: Place, name: str) -> None:
    message, part = BAD_MESSAGES[name]
    async with place.serving(), place.watching() as socket:
        await next_document(socket)
        await socket.send_message(message)
        reply = await next_document(socket)
        assert (reply["ok"], reply["error"]["code"]) == (False, "usage")
        assert part in reply["error"]["message"]
        place.write(1)
        assert (await next_document(socket))["type"] == "RunPaused"


async def test_a_message_beyond_all_measure_ends_its_connection_alone(place: Place) -> None:
    async with place.serving(), place.watching() as quiet:
        await next_document(quiet)
        async with place.watching() as socket:
            await next_document(socket)
            with contextlib.suppress(ConnectionClosed):
                await socket.send_message("x" * (2 << 20))
            assert await _read_to_the_end(socket) == 0
        place.write(1)
        assert (await next_document(quiet))["type"] == "RunPaused"
