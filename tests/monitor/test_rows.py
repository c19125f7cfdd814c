"""Whoever asks for rows is told of every row that a commit changed, and sets it: nothing else is needed."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given, settings
from wsproto.connection import Connection, ConnectionType
from wsproto.events import TextMessage

from matterstack.core.ids import RunId
from matterstack.core.model.workflow import Workflow
from matterstack.core.run import messages as m
from matterstack.monitor import batches, feed
from matterstack.monitor.batches import read_batch
from matterstack.monitor.views import run_view
from matterstack.storage.read import changed_rows as read_rows
from matterstack.watch.tasks import WatchedAttempt, WatchedTasks
from tests.monitor.conftest import OTHER, PATIENCE_S, Place, next_document
from tests.support.random_runs import PROGRAMS, Step, steps
from tests.support.states import RUN_ID, task
from tests.support.stored import passing_run

Json = dict[str, Any]


def documents(data: bytes) -> list[Json]:
    """What a client makes of frames."""
    connection = Connection(ConnectionType.CLIENT)
    connection.receive_data(data)
    return [json.loads(event.data) for event in connection.events() if isinstance(event, TextMessage)]


def told(connection: sqlite3.Connection, after: int, run: RunId | None = None, most: int = 4) -> list[Json]:
    """Everything that is sent to one who catches up, in pages of so many events."""
    sent: list[Json] = []
    while batch := read_batch(connection, after, run, most, with_rows=True):
        sent += documents(batch.data_with_rows)
        after = batch.last
    return sent


def shown(tasks: WatchedTasks) -> Json:
    attempts = {t: [str(a) for a in one.attempts] for t, one in tasks.by_id.items()}
    statuses = {t: (one.status, one.reason, one.position, one.iteration) for t, one in tasks.by_id.items()}
    live = sorted(attempt.token for attempt in tasks.live)
    return {"attempts": attempts, "statuses": statuses, "live": live, "counts": tasks.counts}


@settings(max_examples=25, deadline=None)
@given(PROGRAMS)
def test_a_document_of_any_moment_and_the_rows_since_give_the_document_of_now(program: list[Step]) -> None:
    with passing_run() as stored:
        views = [run_view(stored.connection, stored.run_id)]
        for _ in steps(stored.run, program):
            stored.commit()
            views.append(run_view(stored.connection, stored.run_id))
        newest = views[-1]
        for view in views[:: max(1, len(views) // 5)]:
            tasks, run = WatchedTasks.of(view), dict(view["run"])
            sent = told(stored.connection, view["seq"])
            for document in sent:
                if document["type"] == "rows":
                    tasks.set_rows(document)
                    run.update(document["row"])
            assert shown(tasks) == shown(WatchedTasks.of(newest))
            counted = {"tasks", "stages", "questions", "caps"}
            assert [(k, v) for k, v in run.items() if k not in counted] == [
                (k, v) for k, v in newest["run"].items() if k not in counted
            ]


async def test_events_come_first_then_what_they_changed_and_then_that_this_is_all(place: Place) -> None:
    async with place.serving(), place.watching("?after=0&rows=1") as socket:
        past = place.lines()
        assert await next_document(socket) == {"type": "hello", "protocol": 2, "seq": len(past)}
        assert await next_batch(socket, len(past)) == (past, [RUN_ID, OTHER], len(past))
        place.run.tell(m.Planned(iteration=1, workflow=Workflow([task("a"), task("b", "a")])))
        events, rows, seq = await next_rows(socket)
        assert events == place.lines(after=len(past))
        assert seq == len(place.lines())
        (row,) = rows
        assert (row["type"], row["seq"], row["run"]) == ("rows", seq, RUN_ID)
        assert [(one["task_id"], one["status"]) for one in row["tasks"]] == [("a", "READY"), ("b", "WAITING")]
        assert row["row"]["allowed"]["pause"] is True
        place.run.run.succeed("a")
        place.run.commit()
        _, (row,), _ = await next_rows(socket)
        assert [(one["task_id"], one["status"]) for one in row["tasks"]] == [
            ("a", "SUCCEEDED"),
            ("b", "READY"),
        ], "no event names b"
        assert [(one["task_id"], one["state"]) for one in row["attempts"]] == [("a", "COMPLETED_OK")]


async def next_rows(socket: Any) -> tuple[list[Json], list[Json], int]:
    events: list[Json] = []
    rows: list[Json] = []
    while (document := await next_document(socket))["type"] != "as_of":
        (rows if document["type"] == "rows" else events).append(document)
    return events, rows, document["seq"]


async def next_batch(socket: Any, count: int) -> tuple[list[Json], list[str], int]:
    """So many events, however many batches they come in."""
    events: list[Json] = []
    runs: dict[str, None] = {}
    seq = 0
    while len(events) < count:
        more, rows, seq = await next_rows(socket)
        events += more
        runs.update(dict.fromkeys(row["run"] for row in rows))
    return events, list(runs), seq


async def test_without_asking_nothing_is_sent_but_events_whoever_else_asks(place: Place) -> None:
    async with (
        place.serving() as served,
        place.watching("?after=0") as plain,
        place.watching("?after=0&rows=0") as refusing,
        place.watching("?after=0&rows=1") as asking,
    ):
        await served.monitor.feed.wait_for_listeners(3)
        place.write(3)
        lines = place.lines()
        for socket in (plain, refusing):
            assert (await next_document(socket))["protocol"] == 1
            assert [await next_document(socket) for _ in lines] == lines
        assert (await next_document(asking))["protocol"] == 2
        assert (await next_batch(asking, len(lines)))[0] == lines


@pytest.mark.parametrize("value", ["2", "", "yes"])
async def test_rows_are_wanted_or_not(place: Place, value: str) -> None:
    async with place.serving():
        upgrade = {"Upgrade": "websocket", "Connection": "upgrade"}
        answer = await place.ask(f"/events?after=0&rows={value}", headers=upgrade)
    assert (answer.status, answer.error) == (400, "usage")


async def test_who_asks_for_one_run_is_given_its_rows_alone(place: Place) -> None:
    async with place.serving() as served, place.watching(f"?after=0&rows=1&run={OTHER}") as socket:
        await next_document(socket)
        past = place.lines(run=OTHER)
        events, runs, _ = await next_batch(socket, len(past))
        assert (events, runs) == (past, [OTHER])
        await served.monitor.feed.wait_for_listeners(1)
        place.write(1)
        place.write(1, place.other)
        events, rows, seq = await next_rows(socket)
        assert [row["run"] for row in rows] == [OTHER]
        assert events == place.lines(run=OTHER)[len(past) :]
        assert seq == events[-1]["seq"]
        assert rows[0]["row"]["status"] == "PAUSED"


async def test_who_lost_the_connection_before_the_rows_came_is_given_them_again(place: Place) -> None:
    place.run.tell(m.Planned(iteration=1, workflow=Workflow([task("a")])))
    async with place.serving() as served:
        seen = len(place.lines())
        async with place.watching(f"?after={seen}&rows=1") as socket:
            await next_document(socket)
            await served.monitor.feed.wait_for_listeners(1)
            place.run.run.activate("a")
            place.run.commit()
            assert (await next_document(socket))["seq"] == seen + 1, "and then the connection is lost"
        async with place.watching(f"?after={seen}&rows=1") as socket:
            await next_document(socket)
            events, (row,), seq = await next_rows(socket)
    assert events == place.lines(after=seen)
    assert [one["job_id"] for one in row["attempts"]] == ["job-a"]
    assert seq == len(place.lines())


async def test_who_joins_while_a_batch_without_rows_is_read_misses_none(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "LOOK_INTERVAL_S", 3600)
    newest = len(place.lines())
    async with place.serving() as served, trio.open_nursery() as nursery:
        shared = served.monitor.feed

        async def hear() -> None:
            async with shared.listen(newest) as listener:
                while True:
                    await listener.next_batch()

        nursery.start_soon(hear)
        await shared.wait_for_listeners(1)
        await shared._looked.wait()  # from now on it looks when it is told to
        read = shared._reader.read
        got: list[Any] = []

        async def join_meanwhile(query: Any, *args: Any, **kwargs: Any) -> Any:
            if query is not read_batch or kwargs["with_rows"] or got:
                return await read(query, *args, **kwargs)
            got.append(None)
            found = await read(query, *args, **kwargs)
            nursery.start_soon(listen)
            await shared.wait_for_listeners(2)
            return found

        async def listen() -> None:
            async with shared.listen(newest, with_rows=True) as listener:
                shared.join(listener)
                listener._has_joined = True
                got.append(await listener.next_batch())

        monkeypatch.setattr(type(shared._reader), "read", lambda _self, *a, **k: join_meanwhile(*a, **k))
        place.write(2)
        with trio.fail_after(PATIENCE_S):
            await shared._tell_news()
            while len(got) < 2:
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    events, (row,) = [event.seq for event in got[1]], documents(got[1].rows[0].frames)
    assert events == [newest + 1, newest + 2]
    assert row["seq"] == newest + 2


def test_of_many_rows_no_frame_is_too_large_and_what_is_cut_off_says_nothing_of_rows(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "ROWS_AT_ONCE", 3)
    seen = len(place.lines())
    place.run.tell(m.Planned(iteration=1, workflow=Workflow([task(f"t{i}") for i in range(8)])))
    batch = read_batch(place.connection, seen, None, 100, with_rows=True)
    frames = [document for document in documents(batch.data_with_rows) if document["type"] == "rows"]
    assert [len(frame["tasks"]) for frame in frames] == [3, 3, 2]
    assert batch.size_with_rows < len(batch.data_with_rows) < batch.size_with_rows + 100
    assert batch.first(5).data_with_rows == batch.first(5).data
    assert documents(batch.after(seen + 2).data_with_rows)[-1] == {"type": "as_of", "seq": batch.last}
    assert batch.of_run(OTHER).data_with_rows == b""


def test_what_changed_is_found_by_an_index_however_large_the_run(place: Place) -> None:
    plans: list[str] = []

    class Explained:
        """Asks how each statement is carried out before it is."""

        def execute(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> sqlite3.Cursor:
            plans.extend(row[3] for row in place.connection.execute(f"EXPLAIN QUERY PLAN {sql}", values))
            return place.connection.execute(sql, values)

    for only in (None, RUN_ID):
        read_rows.changed_rows(Explained(), 0, 10, [RUN_ID, OTHER], only)  # type: ignore[arg-type]
    assert [plan for plan in plans if plan.startswith("SCAN")] == []
    by_key = [plan for plan in plans if plan.startswith(("SEARCH tasks ", "SEARCH attempts "))]
    assert all("(run_id=? AND task_id=?)" in plan for plan in by_key)
    assert all("seq>? AND seq<?" in plan for plan in plans if plan.startswith("SEARCH changes "))
    assert all("run_id=? AND status=?" in plan for plan in plans if plan.startswith("SEARCH t "))
    assert all("attempts_live" in plan for plan in plans if plan.startswith("SEARCH a "))


def test_the_shapes_in_the_documentation_are_those_of_the_stream(place: Place) -> None:
    page = (Path(__file__).parents[2] / "docs" / "event-stream.md").read_text()
    shown = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]
    by_type = {document["type"]: document for document in shown if "type" in document}
    seen = len(place.lines())
    place.run.tell(m.Planned(iteration=1, workflow=Workflow([task("a")])))
    place.run.run.activate("a")
    place.run.run.end("a")
    place.run.run.collect("a")
    place.run.commit()
    *events, rows, as_of = documents(
        read_batch(place.connection, seen, None, 99, with_rows=True).data_with_rows
    )
    assert shape(by_type["as_of"]) == shape(as_of)
    assert shape(by_type["rows"]["row"]) == shape(rows["row"])
    assert shape(by_type["rows"]["tasks"][0]) == shape(rows["tasks"][0])
    assert (
        set(rows["attempts"][0])
        <= set(by_type["rows"]["attempts"][0])
        <= {
            "task_id",
            *(field.name for field in attrs.fields(WatchedAttempt)),
        }
    )
    assert shape(by_type["TaskSucceeded"]) == shape(events[-1])


def shape(document: Any) -> Any:
    """Names, and names within."""
    return {name: shape(value) for name, value in document.items()} if isinstance(document, dict) else ...
