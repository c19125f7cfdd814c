"""Documents are read when they are looked at and may have changed, and never too often."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio

from matterstack.core.errors import MonitorError, NotFoundError
from matterstack.core.run import messages as m
from matterstack.watch.known import Known, log_path, run_path
from matterstack.watch.reading import EXPLAIN_AGE_S, Documents
from matterstack.watch.view import Screen, View, run_of
from tests.support.engine import on_virtual_clock
from tests.support.states import RUN_ID, ToldRun, task
from tests.watch.scenes import change_of, document_of, entry_of, events_of, known_of

EXPLAIN = run_path(RUN_ID, "explain")
LOG = log_path(RUN_ID, "a", "stdout")


@attrs.define
class Shelf:
    """A monitor that notes what it is asked for, and when."""

    run: ToldRun
    asked: list[tuple[float, str]] = attrs.field(factory=list)
    takes_s: float = 0.0
    error: Exception | None = None

    async def document(self, path: str) -> Any:
        self.asked.append((trio.current_time(), path))
        await trio.sleep(self.takes_s)
        if self.error is not None:
            raise self.error
        if path.startswith("/api/runs?"):
            return {"seq": len(self.run.facts), "jobs": {}, "runs": [entry_of(self.run)]}
        if path == run_path(RUN_ID):
            return document_of(self.run)
        if path == run_path(RUN_ID, "events"):
            return {"events": events_of(self.run), "is_all": True}
        return {"causes": []} if path == EXPLAIN else {"text": "x\n", "attempt": 1, "start": 0, "size": 2}

    def times(self, start: str) -> list[float]:
        return [at for at, path in self.asked if path.startswith(start)]


@attrs.define
class Desk:
    """Somebody who looks."""

    shelf: Shelf
    known: Known
    view: View
    documents: Documents = attrs.field(init=False)
    told: int = 0

    def __attrs_post_init__(self) -> None:
        self.documents = Documents(self.shelf, self.known, lambda: self.view, self.note)

    def note(self) -> None:
        self.told += 1

    def look_at(self, view: View) -> None:
        self.view = view
        self.documents.ask_again()

    def happens(self, *messages: m.Message) -> None:
        """Something new is in the store, and comes with the stream."""
        seen = len(self.shelf.run.facts)
        self.shelf.run.tell(*messages)
        self.known.take(change_of(self.shelf.run, seen))
        self.documents.ask_again()

    @asynccontextmanager
    async def sitting(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.documents.read)
            yield
            nursery.cancel_scope.cancel()


@pytest.fixture
def desk() -> Desk:
    run = ToldRun.running(task("a"), task("b", "a"))
    run.activate("a")
    return Desk(Shelf(run), known_of(run, opened=False), View())


@on_virtual_clock
async def test_the_chosen_run_is_explained_and_again_when_time_has_passed(desk: Desk) -> None:
    async with desk.sitting():
        await trio.sleep(2.5 * EXPLAIN_AGE_S)
    assert desk.shelf.asked == [(EXPLAIN_AGE_S * i, EXPLAIN) for i in range(3)]
    assert desk.known.documents == {EXPLAIN: {"causes": []}}
    assert desk.told == 3


@on_virtual_clock
async def test_what_events_are_about_is_read_again_at_most_once_a_second(desk: Desk) -> None:
    async with desk.sitting():
        await trio.sleep(5.05)
        for _ in range(20):
            desk.happens(m.Pause(by="ann"))
            desk.happens(m.Resume(by="ann"))
            await trio.sleep(0.1)
        await trio.sleep(5)
    assert len(desk.shelf.times("/api/runs?")) == 3
    assert len(desk.shelf.times(EXPLAIN)) == 1 + 3
    assert desk.known.runs[RUN_ID] == entry_of(desk.shelf.run)
    assert desk.known.changed == set()
    assert desk.known.stale == set()


@on_virtual_clock
async def test_what_is_slow_is_asked_for_less_often(desk: Desk) -> None:
    desk.shelf.takes_s = 2.0
    async with desk.sitting():
        for _ in range(30):
            await trio.sleep(1)
            desk.happens(m.Pause(by="ann"), m.Resume(by="ann"))
    gaps = [
        later - earlier
        for earlier, later in zip(*(desk.shelf.times(EXPLAIN)[i:] for i in (0, 1)), strict=False)
    ]
    assert gaps
    assert min(gaps) >= 2 + 4 * 2


@on_virtual_clock
async def test_what_happens_while_a_document_is_read_makes_it_old_at_once(desk: Desk) -> None:
    desk.shelf.takes_s = 0.2
    async with desk.sitting():
        await trio.sleep(0.1)
        desk.happens(m.Pause(by="ann"))
        await trio.sleep(5)
    assert len(desk.shelf.times(EXPLAIN)) == 2


@on_virtual_clock
async def test_a_run_is_read_once_and_then_kept_up_to_date_by_its_events(desk: Desk) -> None:
    desk.look_at(run_of(RUN_ID))
    async with desk.sitting():
        await trio.sleep(1)
        assert desk.known.open is not None
        assert [event["seq"] for event in desk.known.open.events] == list(
            range(1, len(desk.shelf.run.facts) + 1)
        )
        desk.happens(m.Observed(token=desk.shelf.run.token("a"), state="RUNNING"))  # type: ignore[arg-type]
        await trio.sleep(100)
        tasks = desk.known.tasks_of(RUN_ID)
        assert tasks is not None
        assert [attempt.state for attempt in tasks.live] == ["RUNNING"]
        desk.look_at(View())
        await trio.sleep(1)
        assert desk.known.tasks_of(RUN_ID) is None
    assert len(desk.shelf.times(run_path(RUN_ID, "events"))) == 1
    assert [path for _, path in desk.shelf.asked].count(run_path(RUN_ID)) == 1


@on_virtual_clock
async def test_output_is_followed_while_its_task_runs_and_forgotten_with_its_view(desk: Desk) -> None:
    desk.look_at(View(screen=Screen.TASK, run_id=RUN_ID, task_id="a"))
    async with desk.sitting():
        await trio.sleep(10.5)
        assert len(desk.shelf.times(LOG)) == 11
        desk.happens(m.Observed(token=desk.shelf.run.token("a"), state="COMPLETED_OK", exit_code=0))  # type: ignore[arg-type]
        desk.happens(m.Collected(token=desk.shelf.run.token("a")))
        await trio.sleep(60)
        assert len(desk.shelf.times(LOG)) == 12
        desk.look_at(View())
        await trio.sleep(1)
        assert set(desk.known.documents) == {EXPLAIN}


@on_virtual_clock
async def test_a_monitor_that_is_away_is_asked_again_and_nothing_is_forgotten(desk: Desk) -> None:
    desk.shelf.error = MonitorError("it is away")
    desk.look_at(run_of(RUN_ID))
    async with desk.sitting():
        await trio.sleep(0.5)
        desk.happens(m.Pause(by="ann"))
        await trio.sleep(5)
        assert desk.known.documents == {}
        assert 3 * 4 <= len(desk.shelf.asked) <= 3 * 7
        desk.shelf.error, desk.shelf.asked = None, []
        await trio.sleep(2)
    assert len(desk.shelf.times("/api/runs?")) == 1
    assert desk.known.changed == set()
    assert desk.known.tasks_of(RUN_ID) is not None
    assert desk.known.runs[RUN_ID]["status"] == "PAUSED"
    assert desk.known.documents == {EXPLAIN: {"causes": []}}


@on_virtual_clock
async def test_what_is_not_there_is_told_and_not_asked_for_all_the_time(desk: Desk) -> None:
    desk.shelf.error = NotFoundError("no run")
    desk.look_at(run_of(RUN_ID))
    async with desk.sitting():
        await trio.sleep(20)
    assert desk.known.documents[EXPLAIN] == {"error": "no run"}
    assert len(desk.shelf.times(EXPLAIN)) == 1


@on_virtual_clock
async def test_who_is_not_let_in_any_more_is_told_so(desk: Desk) -> None:
    desk.shelf.error = MonitorError("who are you?", is_final=True)
    with pytest.raises(ExceptionGroup) as caught, trio.fail_after(60):
        async with desk.sitting():
            await trio.sleep_forever()
    assert caught.group_contains(MonitorError, match="who are you")
