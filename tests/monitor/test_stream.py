"""Everyone who listens hears every event once, in order, whatever happens to the others."""

from __future__ import annotations

import contextlib
import json
import socket as sockets
import struct
from collections.abc import AsyncIterator, Mapping

import pytest
import trio
import trio.lowlevel
import trio.testing
from trio.testing import MockClock
from trio_websocket import ConnectionClosed, WebSocketConnection
from wsproto.connection import Connection, ConnectionType
from wsproto.events import TextMessage

from matterstack.core.run import messages as m
from matterstack.monitor import feed, wire
from matterstack.monitor.batches import Told
from matterstack.monitor.commands import COMMANDS, MOST_BYTES
from tests.monitor.conftest import OTHER, PATIENCE_S, Place, next_document, next_frame, next_lines, upgraded


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


async def test_a_client_that_reconnects_at_each_of_two_thousand_events_gets_exactly_these(
    place: Place,
) -> None:
    turns: list[m.Message] = [m.Pause(by="ann"), m.Resume(by="ann")] * 10
    heard: list[dict[str, object]] = []
    async with place.serving():
        newest = len(place.lines())
        for last in range(2000):
            is_live = last == newest and last % 200 < len(turns)
            if last == newest and not is_live:
                place.run.tell(*turns)
            async with upgraded(place, f"&after={last}") as stream:
                await next_frame(stream)
                if is_live:
                    place.run.tell(*turns)
                _, line = await next_frame(stream)
            newest += len(turns) if last == newest else 0
            heard.append(json.loads(line))
    assert heard == place.lines()[:2000]


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


async def test_of_a_hundred_clients_one_that_reads_nothing_loses_its_place_only(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "MOST_BEHIND", 200)
    monkeypatch.setattr(feed, "LOOK_INTERVAL_S", 0.005)
    monkeypatch.setattr(feed, "REST_S", 0)
    turns = [
        message for _ in range(20) for message in (m.Pause(by="ann", reason="x" * 2000), m.Resume(by="ann"))
    ]
    heard: dict[int, bytes] = {}

    async def read(number: int, after: int) -> None:
        async with upgraded(place, f"&after={after}") as stream:
            await next_frame(stream)
            ready.release()
            data = bytearray()
            while f'"seq":{after + 720},'.encode() not in data[-3000:]:
                data += await stream.receive_some(1 << 18)
            heard[number] = bytes(data)

    after = len(place.lines())
    async with place.serving() as served, upgraded(place, f"&after={after}") as stalled:
        stalled.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
        await next_frame(stalled)
        ready = trio.Semaphore(0)
        with trio.fail_after(PATIENCE_S):
            async with trio.open_nursery() as nursery:
                for number in range(99):
                    nursery.start_soon(read, number, after)
                for _ in range(99):
                    await ready.acquire()
                await served.monitor.feed.wait_for_listeners(100)
                for told in range(after + 40, after + 760, 40):
                    place.run.tell(*turns)
                    await served.monitor.feed.wait_told(told)
        seqs = []
        while (frame := await next_frame(stalled))[0] == 1:
            seqs.append(json.loads(frame[1])["seq"])
    assert set(heard.values()) == {heard[0]}, "all were sent the same"
    assert [line["seq"] for line in read_frames(heard[0])] == list(range(after + 1, after + 721))
    assert read_frames(heard[0]) == place.lines(after=after)
    assert len(seqs) < 720
    assert seqs == list(range(after + 1, after + 1 + len(seqs)))
    assert frame == (8, struct.pack(">H", 4008) + f"too slow; the last event had seq {seqs[-1]}".encode())


def read_frames(data: bytes) -> list[dict[str, object]]:
    """What a client makes of the frames that it was sent."""
    connection = Connection(ConnectionType.CLIENT)
    connection.receive_data(data)
    return [json.loads(event.data) for event in connection.events() if isinstance(event, TextMessage)]


async def test_who_takes_a_slice_now_and_then_is_not_cut_off(autojump_clock: MockClock) -> None:
    ours, theirs = trio.testing.memory_stream_pair()

    pump = ours.send_stream.send_all_hook
    assert pump is not None

    async def be_slow() -> None:
        await trio.sleep(wire.SEND_TIMEOUT_S - 1)
        await pump()

    ours.send_stream.send_all_hook = be_slow
    data = b"x" * (5 * wire.SLICE_BYTES)
    await wire.Wire(b"", ours).send_frames(data)
    assert await theirs.receive_some() == data
    assert autojump_clock.current_time() > 4 * wire.SEND_TIMEOUT_S


async def test_nothing_is_sent_after_a_frame_that_was_cut(autojump_clock: MockClock) -> None:
    """It would be taken for the rest of the frame."""
    ours, theirs = trio.testing.memory_stream_pair()
    line = wire.Wire(b"", ours)
    pump, ours.send_stream.send_all_hook = ours.send_stream.send_all_hook, trio.sleep_forever
    began_at = autojump_clock.current_time()
    with pytest.raises(wire.StalledError):
        await line.send_frames(b"half a frame")
    assert autojump_clock.current_time() - began_at == pytest.approx(wire.SEND_TIMEOUT_S)
    ours.send_stream.send_all_hook = pump
    with pytest.raises(trio.BrokenResourceError):
        await line.send_all(b"goodbye")
    await ours.send_eof()
    assert await theirs.receive_some() == b"half a frame"


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
        (first,) = await listener.next_batch()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(place.write_to_listeners, served)
            (second,) = await listener.next_batch()
        place.write(40)
        with trio.fail_after(PATIENCE_S):
            await served.monitor.feed.wait_told(newest + 42)
        rest = [event async for event in _until_behind(listener)]
    assert [event.seq for event in (first, second, *rest)] == list(range(newest + 1, newest + 8))
    assert listener.seq == newest + 7, "from here on it may come again"


async def test_who_joins_between_two_looks_is_not_told_twice(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "LOOK_INTERVAL_S", 3600)
    newest = len(place.lines())
    async with place.serving() as served, trio.open_nursery() as nursery:
        shared = served.monitor.feed
        early: list[int] = []

        async def hear() -> None:
            async with shared.listen(newest) as listener:
                while True:
                    early.extend(event.seq for event in await listener.next_batch())

        nursery.start_soon(hear)
        await shared.wait_for_listeners(1)
        await shared._looked.wait()  # from now on it looks when it is told to
        place.write(3)
        async with shared.listen(newest) as late:
            assert [event.seq for event in await late.next_batch()] == [newest + 1, newest + 2, newest + 3]

            async def look() -> None:
                await shared.wait_for_listeners(2)
                await shared._tell_news()
                place.write(1)
                await shared._tell_news()

            nursery.start_soon(look)
            with trio.fail_after(PATIENCE_S):
                assert [event.seq for event in await late.next_batch()] == [newest + 4]
        while len(early) < 4:
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert early == [newest + 1, newest + 2, newest + 3, newest + 4]


async def _until_behind(listener: feed.Listener) -> AsyncIterator[Told]:
    try:
        while True:
            for event in await listener.next_batch():
                yield event
    except feed.FellBehindError:
        return


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
    "a key twice": ('{"command": "pause", "command": "cancel"}', "'command' stands there twice"),
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
