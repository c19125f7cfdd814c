"""Watching without a terminal, through a real monitor."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import attrs
import pytest
import trio

from matterstack.client import Site
from matterstack.core.errors import MonitorError, NotFoundError, UsageError
from matterstack.core.model.workflow import Workflow
from matterstack.core.run import messages as m
from matterstack.monitor.server import Address, open_monitor
from matterstack.watch.lines import event_line, watch_in_lines
from tests.monitor.conftest import OTHER, PATIENCE_S, Place
from tests.support.states import RUN_ID, task


def site_of(place: Place) -> Site:
    return Site.parse(f"http://127.0.0.1:{place.port}", place.token, None)


class Page:
    """What was said and complained about."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.complaints: list[str] = []
        self._news = trio.Event()

    def say(self, text: str) -> None:
        self.said.append(text)
        self._news.set()
        self._news = trio.Event()

    def complain(self, text: str) -> None:
        self.complaints.append(text)
        self._news.set()
        self._news = trio.Event()

    async def until(self, words: str) -> None:
        with trio.fail_after(PATIENCE_S):
            while words not in "\n".join([*self.said, *self.complaints]):
                await self._news.wait()

    async def until_said(self, count: int) -> None:
        with trio.fail_after(PATIENCE_S):
            while len(self.said) < count:
                await self._news.wait()


def watching(site: Site, run_id: str | None, page: Page, **options: Any) -> Any:
    options.setdefault("as_json", False)
    return partial(watch_in_lines, site, run_id, page.say, page.complain, **options)


async def test_events_name_tasks_also_where_only_their_attempt_is_told(place: Place) -> None:
    page = Page()
    place.run.tell(m.Planned(iteration=1, workflow=Workflow([task("a")])))
    place.run.run.activate("a")
    place.run.commit()
    async with place.serving() as served, trio.open_nursery() as nursery:
        nursery.start_soon(watching(site_of(place), None, page))
        await served.monitor.feed.wait_for_listeners(1)
        place.run.run.end("a")
        place.run.run.collect("a")
        place.run.commit()
        place.other.tell(m.Pause(by="ann", reason="\x1b[2Jtea"))
        await page.until("tea")
        nursery.cancel_scope.cancel()
    assert [line.partition(" ")[2] for line in page.said] == [
        f"{RUN_ID} demo is RUNNING, 0 of 1 tasks have ended: 1 active",
        f"{OTHER} demo is RUNNING, 0 of 0 tasks have ended: its next round is being planned",
        f"{RUN_ID} a ended COMPLETED_OK, exit code 0",
        f"{RUN_ID} a SUCCEEDED",
        f"{OTHER} the run was paused by ann: \\x1b[2Jtea",
    ]


async def test_it_ends_with_the_run_and_says_how(place: Place) -> None:
    page = Page()
    statuses: list[str | None] = []

    async def watch() -> None:
        statuses.append(await watching(site_of(place), RUN_ID, page)())

    async with place.serving() as served:
        with trio.fail_after(PATIENCE_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch)
                await served.monitor.feed.wait_for_listeners(1)
                place.run.tell(m.Cancel(by="ann"), m.Settle())
        again = Page()
        assert await watching(site_of(place), RUN_ID, again)() == "CANCELLED"
    assert statuses == ["CANCELLED"]
    assert page.said[-1].endswith("the run is CANCELLED: cancelled by ann")
    assert len(again.said) == 1
    assert "demo is CANCELLED" in again.said[0]


async def test_as_json_it_is_the_stream_itself_over_lost_connections(place: Place) -> None:
    page = Page()
    async with place.serving():
        port, site = place.port, site_of(place)
        async with trio.open_nursery() as outer:
            seen = len(place.lines())
            async with open_monitor(place.root, Address(port=0)) as first:
                there = Site.parse(f"http://127.0.0.1:{first.port}", site.token, None)
                outer.start_soon(watching(there, None, page, as_json=True))
                await first.monitor.feed.wait_for_listeners(1)
                place.write(2)
                await page.until_said(2)
            await page.until("not live: ")
            place.write(3)
            async with open_monitor(place.root, Address(port=first.port)):
                await page.until("live again")
                await page.until_said(5)
            outer.cancel_scope.cancel()
    assert port != first.port
    assert [json.loads(line) for line in page.said] == place.lines(after=seen)
    assert page.complaints[0].endswith("; trying again")
    assert page.complaints[1] == "live again: no event was missed"


async def test_who_asks_for_what_is_not_there_is_told(place: Place) -> None:
    page = Page()
    async with place.serving():
        with pytest.raises(NotFoundError, match="no run 20260101T000000-zzzzzz"):
            await watching(site_of(place), "20260101T000000-zzzzzz", page)()
        wrong = Site.parse(f"http://127.0.0.1:{place.port}", "wrong", None)
        with pytest.raises(MonitorError, match="did not let this client in"):
            await watching(wrong, None, page)()
    assert page.said == []


async def test_a_link_is_traded_for_a_session_that_opens_everything(place: Place) -> None:
    page = Page()
    async with place.serving() as served:
        site = await Site.parse_link(served.link).with_link()
        assert site.code == ""
        assert site.token not in {place.token, served.link.partition("=")[2]}
        with pytest.raises(MonitorError, match="used before"):
            await Site.parse_link(served.link).with_link()
        with_token = Site.parse_link(f"http://127.0.0.1:{served.port}/?token={place.token}")
        assert await with_token.with_link() == attrs.evolve(site, token=place.token)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watching(site, OTHER, page))
            await served.monitor.feed.wait_for_listeners(1)
            place.write(1, place.other)
            await page.until("the run was paused by ann: lunch")
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ("here", "'here' is no address of a monitor"),
        ("ftp://x/?token=y", "is no address of a monitor"),
        ("http://[::1/?token=y", "is no address of a monitor"),
        ("http://127.0.0.1:1", "http://127.0.0.1:1: the token is missing"),
        ("http://127.0.0.1:1/?token=", "the token is missing"),
        ("http://127.0.0.1:1/#code=", "the token is missing"),
        ("http://127.0.0.1:1/#code=token%3Dy%00", "that is no token"),
        ("http://127.0.0.1:1/?token=a%20b", "that is no token"),
        ("http://127.0.0.1:99999/?token=y", "its port is none"),
    ],
)
def test_what_is_no_link_is_refused_and_no_secret_is_repeated(link: str, words: str) -> None:
    with pytest.raises(UsageError) as refused:
        Site.parse_link(link)
    assert words in str(refused.value)
    assert "token=y" not in str(refused.value)


EVENTS = [
    ("RunCreated", {"workspace": "demo", "by": "ann"}, None, "the run was made from demo by ann"),
    ("IterationPlanned", {"iteration": 2, "task_count": 3, "name": "fine"}, None,
     "round 2 (fine) was planned: 3 tasks"),
    ("AttemptPrepared", {"task_id": "a", "n": 2, "token": "t", "backend": "hpc"}, "a",
     "a took a seat on hpc (attempt 2)"),
    ("AttemptPrepared", {"task_id": "a", "n": 1, "token": "t", "backend": "operators"}, "a",
     "a is being asked"),
    ("AttemptPrepared", {"task_id": "a", "n": 3, "token": "t", "backend": "operators"}, "a",
     "a is asked for the 3rd time"),
    ("JobStateChanged", {"token": "t", "state": "QUEUED", "raw_state": "PENDING", "reason": "Priority"}, "a",
     "a is QUEUED (PENDING): Priority"),
    ("JobStateChanged", {"token": "t", "state": "RUNNING", "raw_state": "RUNNING"}, None, "t is RUNNING"),
    ("TaskSkipped", {"task_id": "b", "because": "a", "reason": "a failed"}, "b", "b SKIPPED: a failed"),
    ("SomethingNew", {"task_id": "b", "size": 3}, "b", 'b SomethingNew {"size": 3}'),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "data", "task_id", "words"), EVENTS)
def test_events_are_told_in_words(kind: str, data: dict[str, Any], task_id: str | None, words: str) -> None:
    event = {"seq": 7, "at": "2026-01-02T03:04:05.678901Z", "run": RUN_ID, "type": kind, "data": data}
    assert event_line(event, task_id) == f"2026-01-02T03:04:05Z {RUN_ID} {words}"
