"""What the page and other programs ask for, beside the stream."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import attrs
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from matterstack.core.ids import BackendName, UtcTime
from matterstack.core.model.workflow import Workflow
from matterstack.core.operators import ASKED
from matterstack.core.run import messages as m
from matterstack.monitor.pieces import MOST_BYTES, piece_of
from matterstack.monitor.views import MOST_EVENTS
from matterstack.storage.backend_reports import CommandStatistics, blank_report, write_report
from matterstack.storage.commit_reports import no_commits, write_commits
from tests.monitor.conftest import OTHER, Place, next_document
from tests.support.states import task

HALF = "half of a pair: \ud83d"


def plan(place: Place, *tasks: Any) -> None:
    place.run.tell(m.Planned(iteration=1, workflow=Workflow(tasks, name="first")))


async def test_runs_come_with_their_progress_seats_and_caps_and_only_those_that_were_asked_for(
    place: Place,
) -> None:
    plan(place, task("a"), task("b", "a", inputs={"x": "a/y"}))
    place.run.run.activate("a")
    place.run.commit()
    async with place.serving():
        everything = (await place.ask("/api/runs")).json
        one = (await place.ask(f"/api/runs?runs={place.run.run_id},20260102T030405-nobody")).json
    assert everything["seq"] == one["seq"] == len(place.lines())
    assert [run["run_id"] for run in everything["runs"]] == [OTHER, place.run.run_id], "the newest first"
    (run,) = one["runs"]
    assert everything["runs"][1] == run
    assert run["caps"]["run"] == 10
    assert run["caps"]["backends"]["local"] == {"max_jobs": 4, "jobs": 1}
    assert one["jobs"] == {"local": 1}
    assert (run["tasks"]["ACTIVE"], run["tasks"]["WAITING"], run["questions"]) == (1, 1, 0)


async def test_a_run_comes_with_its_tasks_as_of_an_event(place: Place) -> None:
    plan(place, task("a"), task("b", "a", allow_failure=True, inputs={"x": "c/y"}), task("c"))
    place.run.run.activate("a")
    place.run.commit()
    async with place.serving():
        view = (await place.ask(f"/api/runs/{place.run.run_id}")).json
    assert view["seq"] == len(place.lines())
    a, b, _c = view["tasks"]
    assert (a["task_id"], a["status"], a["may_fail"], a["depends_on"]) == ("a", "ACTIVE", False, [])
    assert (b["status"], b["may_fail"], b["depends_on"]) == ("WAITING", True, ["a", "c"])
    (attempt,) = a["attempts"]
    assert (attempt["n"], attempt["job_id"], attempt["state"]) == (1, "job-a", "QUEUED")
    assert "ended_at" not in attempt


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/runs?runs=../x", 400, "usage"),
        ("/api/runs?runs=", 400, "usage"),
        ("/api/runs?runs=" + ",".join(["20260101T000000-abcdef"] * 501), 400, "usage"),
        ("/api/runs/20260102T030405-nobody", 404, "not_found"),
        ("/api/runs/20260102T030405-nobody/explain", 404, "not_found"),
        ("/api/runs/20260102T030405-nobody/events", 404, "not_found"),
        ("/api/runs/20260102T030405-nobody/questions", 404, "not_found"),
        ("/api/runs/20260102T030405-nobody/tasks/a/log", 404, "not_found"),
        ("/api/runs/20260101T000000-abcdef/tasks/nobody/log", 404, "not_found"),
        ("/api/runs/20260101T000000-abcdef/tasks/..%2f..%2fx/log", 404, "not_found"),
        ("/api/runs/20260101T000000-abcdef/events?before=-1", 400, "usage"),
        ("/api/runs/20260101T000000-abcdef/events?before=99999999999999999999", 400, "usage"),
        ("/api/runs/%00", 400, "usage"),
        ("/api/runs/20260101T000000-abcdef/nothing", 404, "not_found"),
        ("/api", 404, "not_found"),
    ],
)
async def test_what_is_not_there_or_makes_no_sense_is_told_in_words(
    place: Place, path: str, status: int, code: str
) -> None:
    async with place.serving():
        answer = await place.ask(path)
    assert (answer.status, answer.error) == (status, code)


async def test_older_events_come_in_pages(place: Place) -> None:
    place.write(MOST_EVENTS + 50)
    place.write(3, place.other)
    path = f"/api/runs/{place.run.run_id}/events"
    async with place.serving():
        last = (await place.ask(path)).json
        first = (await place.ask(f"{path}?before={last['events'][0]['seq']}")).json
    assert [*first["events"], *last["events"]] == place.lines(run=place.run.run_id)
    assert (first["is_all"], last["is_all"]) == (True, False)


async def test_a_run_is_explained(place: Place) -> None:
    place.write(1)
    async with place.serving():
        said = (await place.ask(f"/api/runs/{place.run.run_id}/explain")).json
    assert said["status"] == "PAUSED"
    assert said["causes"][0]["kind"] == "paused"
    assert said["causes"][0]["needs_person"]
    assert f"run resume {place.run.run_id}" in said["causes"][0]["action"]


async def test_text_that_is_no_valid_unicode_stops_nobody(place: Place) -> None:
    plan(place, task("a"))
    place.run.run.activate("a")
    place.run.run.end("a")
    place.run.run.collect("a", data={"said": HALF})
    place.run.commit()
    newest = len(place.lines())
    async with place.serving(), place.watching(f"?after={newest - 1}") as socket:
        await next_document(socket)
        assert (await next_document(socket))["data"]["data"] == {"said": HALF}
        events = (await place.ask(f"/api/runs/{place.run.run_id}/events")).json["events"]
    assert events[-1]["data"]["data"] == {"said": HALF}


# ---- what jobs print ----


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def test_a_file_is_read_from_its_end_or_from_where_one_was(log: Path) -> None:
    log.write_text("one\ntwo\n")
    assert piece_of(log, -4).text == "two\n"
    assert piece_of(log, -100).text == "one\ntwo\n"
    piece = piece_of(log, 4)
    assert (piece.text, piece.start, piece.end, piece.size) == ("two\n", 4, 8, 8)
    assert piece_of(log, 8).text == ""
    log.write_text("new")
    assert (piece_of(log, 8).text, piece_of(log, 8).start) == ("new", 0)


def test_pieces_of_a_file_are_joined_to_the_whole_wherever_they_were_cut(log: Path) -> None:
    whole = "aß€😀\n" * 3
    data = whole.encode()
    for first in range(len(data) + 1):
        log.write_bytes(data[:first])
        early = piece_of(log, 0)
        log.write_bytes(data)
        assert early.text + piece_of(log, early.end).text == whole
        assert whole.endswith(piece_of(log, -first - 1).text)
        assert "�" not in early.text


def test_a_piece_is_never_larger_than_allowed(log: Path) -> None:
    log.write_bytes(b"x" * (MOST_BYTES + 10))
    first = piece_of(log, 0)
    assert (len(first.text), first.end, first.size) == (MOST_BYTES, MOST_BYTES, MOST_BYTES + 10)
    assert piece_of(log, first.end).text == "x" * 10


def test_bytes_that_are_no_text_are_shown_as_such(log: Path) -> None:
    log.write_bytes(b"\xff\x80\xc3(\n")
    assert piece_of(log, 0).text == "��\ufffd(\n"
    log.write_bytes(b"\x80" * 10)
    assert piece_of(log, -10).text == "�" * 10


def test_only_a_regular_file_is_read(log: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    makers: list[Callable[[], None]] = [log.mkdir, lambda: os.mkfifo(log), lambda: log.symlink_to(secret)]
    for make in makers:
        make()
        assert piece_of(log, 0).text == ""
        if log.is_dir():
            log.rmdir()
        else:
            log.unlink()
    assert piece_of(log, 0).text == "", "it is not there"


@pytest.mark.parametrize("query", ["", "?attempt=1", "?attempt=0", "?attempt=99", "?attempt=9e9&offset=x"])
async def test_what_a_task_printed_comes_with_whatever_numbers(place: Place, query: str) -> None:
    plan(place, task("a"))
    place.run.run.activate("a")
    place.run.commit()
    attempt = place.root.run_folder("demo", place.run.run_id).attempt(task("a").id, 1)
    attempt.stdout.parent.mkdir(parents=True)
    attempt.stdout.write_text("hello\n")
    attempt.stderr.write_text("ouch\n")
    path = f"/api/runs/{place.run.run_id}/tasks/a/log"
    async with place.serving():
        told = (await place.ask(path + query)).json
        complained = (await place.ask(f"{path}?stream=stderr")).json
    assert (told["text"], told["attempt"], told["end"]) == ("hello\n", 1, 6)
    assert complained["text"] == "ouch\n"


# ---- questions ----

QUESTION = {"question": "How many?", "fields": {"n": {"type": "integer", "min": 0, "unit": "pieces"}}}


@pytest.fixture
def asking(place: Place) -> Place:
    """A run that asks how many."""
    plan(place, task("ask", operator="human", command=[], params=QUESTION), task("other"))
    place.run.run.prepare(backend=ASKED)
    place.run.run.submit("ask")
    place.run.commit()
    return place


def answer(place: Place, **fields: Any) -> str:
    order = {"id": 1, "command": "respond", "run": place.run.run_id, "task": "ask", "attempt": 1}
    return json.dumps({**order, "answer": {"n": 3}, **fields})


async def test_what_is_asked_comes_with_its_fields_and_is_answered(asking: Place) -> None:
    async with asking.serving(), asking.watching() as socket:
        view = (await asking.ask(f"/api/runs/{asking.run.run_id}/questions")).json
        (question,) = view["questions"]
        assert (question["task_id"], question["attempt"], question["text"]) == ("ask", 1, "How many?")
        assert question["fields"] == [
            {"name": "n", "type": "integer", "required": True, "help": "", "unit": "pieces", "min": 0}
        ]
        assert (await asking.ask("/api/runs")).json["runs"][1]["questions"] == 1
        await next_document(socket)
        await socket.send_message(answer(asking))
        assert await next_document(socket) == {"reply": 1, "ok": True}
    (given,) = asking.root.path.glob("workspaces/demo/runs/*/operators/ask/response.json")
    assert json.loads(given.read_text()) == {"n": 3}


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"answer": {"n": -1}}, "usage", "n: must be at least 0"),
        ({"answer": {}}, "usage", "n: is missing"),
        ({"answer": {"n": 1, "m": 2}}, "usage", "m: is not asked for"),
        ({"answer": [1]}, "usage", "answer"),
        ({"answer": {"n": 1e400}}, "usage", "cannot be used"),
        ({"attempt": 2}, "refused", "asked anew"),
        ({"task": "other"}, "refused", "asks nobody"),
        ({"task": "nobody"}, "not_found", "no task"),
        ({"task": "../x"}, "not_found", "no task"),
        ({"run": "20260102T030405-nobody"}, "not_found", "no run"),
    ],
)
async def test_an_answer_that_cannot_be_used_is_refused_in_words_and_nothing_is_written(
    asking: Place, fields: dict[str, Any], code: str, words: str
) -> None:
    async with asking.serving(), asking.watching() as socket:
        await next_document(socket)
        await socket.send_message(answer(asking, **fields))
        reply = await next_document(socket)
    assert (reply["ok"], reply["error"]["code"]) == (False, code)
    assert words in reply["error"]["message"]
    assert list(asking.root.path.glob("workspaces/demo/runs/*/operators/ask/response.json")) == []


# ---- figures ----


async def test_figures_are_told_in_the_format_of_openmetrics(asking: Place) -> None:
    asking.run.run.activate("other")
    asking.run.commit()
    report = blank_report(BackendName("local"))
    asked = {"squeue": CommandStatistics(count=4, failed=1, total_s=2.5, max_s=1.0, last_s=0.5)}
    out_since = UtcTime("2026-01-01T00:00:00.000000Z")
    write_report(asking.root, attrs.evolve(report, statistics=asked, out_since=out_since))
    write_report(asking.root, attrs.evolve(report, statistics=asked, definition="other"))
    async with asking.serving(), asking.watching() as socket:
        await next_document(socket)
        told = await asking.ask("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
        older = await asking.ask("/metrics", headers={"Accept": "text/plain; version=0.0.4"})
        unsaid = await asking.ask("/metrics")
        stranger = await asking.ask("/metrics", known=False)
    assert stranger.status == 401
    assert told.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert unsaid.headers["content-type"].startswith("application/openmetrics-text")
    assert older.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert told.body.endswith(b"# EOF\n")
    families: Iterable[Metric] = text_string_to_metric_families(told.body.decode())  # type: ignore[no-untyped-call]
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }
    assert samples["matterstack_runs", ("status", "RUNNING")] == 2
    assert samples["matterstack_runs", ("status", "PAUSED")] == 0
    assert samples["matterstack_tasks", ("state", "ACTIVE")] == 2
    assert samples["matterstack_jobs", ("backend", "local")] == 1
    assert samples["matterstack_jobs", ("backend", "cluster")] == 0
    assert samples["matterstack_seats", ("backend", "local")] == 4
    assert samples["matterstack_questions",] == 1
    assert samples["matterstack_events_total",] == len(asking.lines())
    assert samples["matterstack_monitor_clients",] == 2
    engine = f"{report.host}:{report.pid}"
    first = (("backend", "local"), ("engine", engine))
    second = (("backend", "local"), ("engine", f"{engine}:other"))
    assert samples["matterstack_backend_out", *first] == 1
    assert samples["matterstack_backend_out", *second] == 0
    for who in (first, second):
        key = (who[0], ("command", "squeue"), who[1])
        assert samples["matterstack_backend_command_seconds_count", *key] == 4
        assert samples["matterstack_backend_command_seconds_sum", *key] == 2.5
        assert samples["matterstack_backend_command_failures_total", *key] == 1


def commit_samples(exposition: str) -> dict[str, float]:
    """The count, the sum and the classes of the one engine that has committed."""
    lines = [line for line in exposition.splitlines() if line.startswith("matterstack_commit_seconds_")]
    return {
        line.removeprefix("matterstack_commit_seconds_").partition("{")[0]
        + (f" {found[1]}" if (found := re.search(r'le="([^"]+)"', line)) else ""): float(line.split()[-1])
        for line in lines
    }


async def test_it_is_told_how_long_commits_take(place: Place) -> None:
    report = no_commits("1").after(0.001).after(0.004).after(0.3).after(60)
    write_commits(place.root, report)
    write_commits(place.root, attrs.evolve(report, pid=1 << 29))  # of a process that is gone
    write_commits(place.root, attrs.evolve(report, engine="2", counts=(1, 2)))  # of another version
    async with place.serving():
        told = await place.ask("/metrics")
    assert f'{{engine="{report.host}:{report.pid}:1"}}' in told.body.decode()
    told_of = commit_samples(told.body.decode())
    assert told_of.pop("sum") == pytest.approx(60.305)
    assert told_of.pop("count") == 4
    classes = ("0.001", "0.0025", "0.005", "0.25", "0.5", "10.0", "+Inf")
    assert [told_of[f"bucket {le}"] for le in classes] == [1, 1, 2, 2, 3, 3, 4]


async def test_the_caps_of_runs_that_have_ended_are_told_no_more(place: Place) -> None:
    for run in (place.run, place.other):
        run.tell(m.Cancel(by="ann"), m.Settle())
    async with place.serving():
        told = (await place.ask("/metrics")).body.decode()
    assert 'matterstack_runs{status="CANCELLED"} 2.0' in told
    assert "matterstack_seats{" not in told
