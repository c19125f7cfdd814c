"""An engine inside a program does the same on trio and on asyncio."""

from __future__ import annotations

import json
import logging
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from matterstack.actors import journal
from matterstack.actors.journal import JournalActor
from matterstack.actors.run import RunActor
from matterstack.actors.runtime import Runtime
from matterstack.core.errors import (
    CampaignError,
    ClosedError,
    ConfigError,
    MatterStackError,
    NotFoundError,
    RefusedError,
    StoreError,
    UsageError,
)
from matterstack.core.states import RunStatus
from matterstack.embed.handles import Run
from matterstack.storage.layout import Root
from matterstack.usecases.runs import create_run
from tests.embed.campaigns import Fragile, Rounds, WithAFile, WithALock, WithWhatIsGone
from tests.embed.conftest import Home
from tests.embed.hosts import Host, on_both, until


def note_end(patch: pytest.MonkeyPatch, kind: type[Any], name: str, order: list[str]) -> None:
    """Note when actors of a kind end, which takes them a while."""
    serve = kind.serve

    async def served(self: object) -> None:
        try:
            await serve(self)
        finally:
            with trio.CancelScope(shield=True):
                if name == "run":
                    await wait_all_tasks_blocked()  # until nobody else has anything to do
            order.append(name)

    patch.setattr(kind, "serve", served)


@on_both
async def test_a_run_of_a_workspace_is_served_to_its_end_and_every_event_comes_once(
    host: Host, home: Home
) -> None:
    home.write("two", home.diary.task("a"), home.diary.task("b", depends_on=["a"]))
    async with host.open_engine(home.root) as engine:
        run = await engine.start("two", settings={"priority": 3, "params.n": 5})
        events = [event async for event in run.events()]
        summary = await run.wait()
        tasks = await run.tasks()
        causes = (await run.explain())["causes"]
    assert summary.status is RunStatus.COMPLETED
    assert events == home.events()
    assert events[0]["data"]["config"]["priority"] == 3
    assert events[0]["data"]["config"]["params"] == {"n": 5}
    assert [(task["task_id"], task["status"]) for task in tasks] == [("a", "SUCCEEDED"), ("b", "SUCCEEDED")]
    assert [cause["kind"] for cause in causes] == ["completed"]
    assert home.diary.notes == ["start a", "end a", "start b", "end b"]


@on_both
async def test_a_campaign_object_goes_on_with_another_engine(host: Host, home: Home) -> None:
    lines = [f"{home.diary.task('x', home.diary.gate())['command'][2]}", "exit 0"]
    async with host.open_engine(home.root) as engine:
        run = await engine.start(Rounds(lines))
        async for event in run.events():
            if event["type"] == "JobAccepted":
                break
        status = await run.status()
    assert (status.workspace, status.status) == ("rounds", RunStatus.RUNNING)
    home.diary.open()
    async with host.open_engine(home.root) as engine:
        again = await engine.run(run.id)
        assert (await again.wait()).status is RunStatus.COMPLETED
        assert [task["task_id"] for task in await again.tasks()] == ["round-0", "round-1"]
    assert home.diary.started() == ["x"]


@on_both
async def test_what_an_object_uses_of_its_workspace_is_recorded(host: Host, home: Home) -> None:
    folder = Root(home.root).workspaces / "with_a_file"
    folder.mkdir(parents=True)
    (folder / "in.dat").write_text("1")
    async with host.open_engine(home.root) as engine:
        run = await engine.start(WithAFile([f"echo 2 > {folder}/in.dat", "exit 0"]))
        assert (await run.wait()).status is RunStatus.COMPLETED
    facts = [(event["type"], event["data"]) for event in home.events()]
    used = [data["code"] for kind, data in facts if kind == "IterationPlanned"]
    assert [list(code) for code in used] == [["in.dat"], ["in.dat"]]
    (changed,) = [data for kind, data in facts if kind == "CampaignChanged"]
    assert (changed["before"], changed["files"]) == tuple(used)


@on_both
async def test_an_object_that_fails_says_where(host: Host, home: Home) -> None:
    async with host.open_engine(home.root) as engine:
        run = await engine.start(Fragile(["a", "b"]), workspace="mine")
        summary = await run.wait()
        (cause,) = (await run.explain())["causes"]
    assert "# mend tests.embed.campaigns.Fragile, of which" in cause["action"]
    assert (summary.workspace, summary.status) == ("mine", RunStatus.FAILED)
    assert "campaigns.py, line" in summary.status_reason
    assert "in plan: ZeroDivisionError: it has 2 lines" in summary.status_reason


@on_both
async def test_a_kept_object_that_was_changed_is_not_loaded(host: Host, home: Home) -> None:
    async with host.open_engine(home.root) as engine:
        run = await engine.start(Rounds([home.diary.gate()]))
        async for event in run.events():
            if event["type"] == "JobAccepted":
                break
        kept = home.root / "workspaces" / "rounds" / "runs" / run.id / "campaign.pickle"
        kept.write_bytes(kept.read_bytes() + b"x")
        home.diary.open()
        summary = await run.wait()
    assert summary.status is RunStatus.FAILED
    assert "was changed since the run was made" in summary.status_reason


@on_both
async def test_tasks_of_a_run_are_cancelled_and_the_run_completes(host: Host, home: Home) -> None:
    gate = home.diary.gate()
    slow = [home.diary.task(name, gate) for name in ("a", "b")]
    home.write("slow", *slow, home.diary.task("c", depends_on=["a"]))
    async with host.open_engine(home.root) as engine:
        run = await engine.start("slow")
        await until(host, home.diary.started)
        await run.cancel_tasks(["a*"], reason="too hot")
        with pytest.raises(NotFoundError, match="no task 'd'"):
            await run.cancel_tasks(["d"])
        home.diary.open()
        assert (await run.wait()).status is RunStatus.COMPLETED
        tasks = {task["task_id"]: task for task in await run.tasks()}
    assert {name: task["status"] for name, task in tasks.items()} == {
        "a": "CANCELLED", "b": "SUCCEEDED", "c": "CANCELLED",
    }  # fmt: skip
    assert tasks["a"]["reason"].endswith("too hot")


@on_both
async def test_a_run_is_paused_resumed_and_cancelled(host: Host, home: Home) -> None:
    home.write("slow", home.diary.task("a", home.diary.gate()))
    async with host.open_engine(home.root) as engine:
        run = await engine.start("slow")
        await until(host, home.diary.started)
        await run.pause(reason="tea")
        paused = await run.status()
        await run.resume()
        resumed = await run.status()
        await run.cancel(reason="enough")
        cancelled = await run.wait()
        with pytest.raises(RefusedError, match="CANCELLED"):
            await run.resume()
    assert [s.status for s in (paused, resumed, cancelled)] == ["PAUSED", "RUNNING", "CANCELLED"]
    assert cancelled.status_reason.endswith("enough")
    assert home.diary.ended() == []


@on_both
async def test_failed_tasks_are_tried_again_and_ended_ones_done_again(host: Host, home: Home) -> None:
    home.write("once", home.diary.task("a", f"[ -e {home.diary.folder}/gate ]"))
    async with host.open_engine(home.root) as engine:
        run = await engine.start("once")
        assert (await run.wait()).status is RunStatus.FAILED
        home.diary.open()
        await run.retry()
        assert (await run.wait()).status is RunStatus.COMPLETED
        await run.rerun(["a"])
        assert (await run.wait()).status is RunStatus.COMPLETED
    assert home.diary.started() == ["a"] * 3


@on_both
async def test_a_stream_can_begin_anywhere_be_left_anywhere_and_be_read_on(host: Host, home: Home) -> None:
    home.write("one", home.diary.task("a"))
    async with host.open_engine(home.root) as engine:
        run = await engine.start("one")
        await run.wait()
        stored = home.events()
        for seq in range(len(stored) + 1):
            assert [event async for event in run.events(after=seq)] == stored[seq:]
        async with aclosing(run.events()) as stream:
            first = [await anext(stream), await anext(stream)]
        assert stream.seq == 2
        assert first + [event async for event in stream] == stored


@on_both
async def test_engines_on_two_roots_serve_their_own_runs_at_once(
    host: Host, home: Home, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    here, there = (
        home.diary.task(name, f"until grep -q 'start {peer}' {home.diary.folder}/notes; do sleep 0.02; done")
        for name, peer in (("here", "there"), ("there", "here"))
    )
    home.write("one", here)
    home.write("one", there, root=other)
    async with host.open_engine(home.root) as first, host.open_engine(other) as second:
        runs = [await first.start("one"), await second.start("one")]
        assert [(await run.wait()).status for run in runs] == ["COMPLETED"] * 2
        assert [run.run_id for run in await second.runs()] == [runs[1].id]


@on_both
async def test_only_what_it_was_given_is_served(host: Host, home: Home) -> None:
    home.write("one", home.diary.task("a"))
    waiting = create_run(Root(home.root), "one", {}, Runtime())
    async with host.open_engine(home.root) as engine:
        first = await engine.start("one")
        await first.wait()
    async with host.open_engine(home.root) as engine, host.open_engine(home.root) as other:
        left = await other.start(Rounds([home.diary.gate(), "exit 0"]))
        await left.pause()
        mine = await engine.start("one")
        await mine.wait()
    async with host.open_engine(home.root) as engine:
        mine = await engine.start("one")
        await mine.wait()
        statuses = {run.run_id: run.status for run in await engine.runs()}
        assert statuses.pop(waiting) is RunStatus.PENDING
        assert statuses.pop(left.id) is RunStatus.PAUSED
        assert list(statuses.values()) == ["COMPLETED"] * 3
        attached = [await engine.run(left.id), await engine.run(left.id)]
        await attached[0].resume()
        home.diary.open()
        assert (await attached[1].wait()).status is RunStatus.COMPLETED
        await (await engine.run(waiting)).wait()
    assert home.diary.started() == ["a"] * 4


@on_both
async def test_a_run_that_another_engine_serves_is_watched_steered_and_taken_over(
    host: Host, home: Home
) -> None:
    home.write("slow", home.diary.task("a", home.diary.gate()), home.diary.task("b", depends_on=["a"]))
    async with host.open_engine(home.root) as second:
        async with host.open_engine(home.root) as first:
            run = await first.start("slow")
            await until(host, home.diary.started)
            same = await second.run(run.id)
            await same.pause(reason="from elsewhere")
            assert (await run.status()).status is RunStatus.PAUSED
        await same.resume()
        home.diary.open()
        assert (await same.wait()).status is RunStatus.COMPLETED
        assert [event async for event in same.events()] == home.events()
    assert home.diary.started() == ["a", "b"]


@on_both
async def test_a_host_that_is_cancelled_stops_its_engine_in_order(
    host: Host, home: Home, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.write("slow", home.diary.task("a", home.diary.gate()))
    order: list[str] = []
    note_end(monkeypatch, RunActor, "run", order)
    note_end(monkeypatch, JournalActor, "journal", order)
    now = host.flag()
    runs: list[Run] = []

    async def cancel_later() -> None:
        await until(host, home.diary.started)
        now.set()

    async def serve() -> None:
        async with host.cancelled_when(now), host.open_engine(home.root) as engine:
            runs.append(await engine.start("slow"))
            await runs[0].wait()

    with caplog.at_level(logging.WARNING):
        await host.together(serve, cancel_later)
    assert caplog.messages == []
    assert order == ["run", "journal"]
    home.diary.open()
    async with host.open_engine(home.root) as engine:
        run = await engine.run(runs[0].id)
        assert (await run.wait()).status is RunStatus.COMPLETED
    assert home.diary.started() == ["a"]


@on_both
async def test_a_call_that_is_cancelled_leaves_the_engine_and_the_stream_as_they_are(
    host: Host, home: Home
) -> None:
    home.write("slow", home.diary.task("a", home.diary.gate()))
    async with host.open_engine(home.root) as engine:
        run = await engine.start("slow")
        stream = run.events()
        heard: list[dict[str, Any]] = []
        await until(host, home.diary.started)
        for _ in range(3):
            now = host.flag()
            async with host.cancelled_when(now):
                now.set()
                while True:
                    heard.append(await anext(stream))
        home.diary.open()
        heard += [event async for event in stream]
        assert (await run.status()).status is RunStatus.COMPLETED
    assert heard == home.events()


@on_both
async def test_a_store_that_fails_ends_the_block_with_one_error_of_ours(
    host: Host, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.write("slow", home.diary.task("a", home.diary.gate()))

    def fail(*_: object) -> None:
        raise StoreError("the disk is gone")

    with pytest.raises(StoreError, match="the disk is gone") as failed:  # noqa: PT012
        async with host.open_engine(home.root) as engine:
            run = await engine.start("slow")
            await until(host, home.diary.started)
            monkeypatch.setattr(journal, "commit", fail)
            home.diary.open()
            await run.wait()
    monkeypatch.undo()
    assert isinstance(failed.value, MatterStackError)
    with pytest.raises(ClosedError, match="has stopped: StoreError: the disk is gone") as closed:
        await run.status()
    assert closed.value.__cause__ is failed.value


@on_both
async def test_what_the_host_raises_comes_out_as_it_is(host: Host, home: Home) -> None:
    with pytest.raises(ZeroDivisionError):
        async with host.open_engine(home.root) as engine:
            raise ZeroDivisionError
    with pytest.raises(ClosedError):
        await engine.runs()
    group = ExceptionGroup("mine", [ValueError("a"), ValueError("b")])
    with pytest.raises(ExceptionGroup) as raised:
        async with host.open_engine(home.root):
            raise group
    assert raised.value is group
    assert getattr(group, "__notes__", []) == []


@on_both
async def test_a_closed_engine_says_so(host: Host, home: Home) -> None:
    home.write("one", home.diary.task("a"))
    async with host.open_engine(home.root) as engine:
        run = await engine.start("one")
        await run.wait()
        stream = run.events()
        await anext(stream)
        await engine.run(run.id)
    assert engine.root == home.root
    for use in (engine.runs, run.status, run.wait, run.pause, run.tasks, run.explain, run.export_evidence):
        with pytest.raises(ClosedError, match="this engine is closed"):
            await use()
    with pytest.raises(ClosedError):
        await engine.start("one")
    with pytest.raises(ClosedError):
        await anext(run.events())


@on_both
async def test_one_who_waits_when_the_engine_is_closed_is_told(host: Host, home: Home) -> None:
    home.write("slow", home.diary.task("a", home.diary.gate()))
    waits = host.flag()
    told: list[bool] = []

    async def serve() -> None:
        async with host.open_engine(home.root) as engine:
            runs.append(await engine.start("slow"))
            started.set()
            await waits.wait()

    async def wait() -> None:
        await started.wait()
        waits.set()
        with pytest.raises(ClosedError, match="is closed"):
            await runs[0].wait()
        told.append(True)

    started = host.flag()
    runs: list[Run] = []
    await host.together(serve, wait)
    assert told == [True]


@on_both
async def test_a_stream_is_read_by_one_task_at_a_time(host: Host, home: Home) -> None:
    home.write("slow", home.diary.task("a", home.diary.gate()))
    async with host.open_engine(home.root) as engine:
        run = await engine.start("slow")
        await until(host, home.diary.started)
        stream = run.events(after=len(home.events()))

        async def read() -> None:
            while (await anext(stream))["type"] != "RunPaused":
                pass

        async def read_too() -> None:
            await until(host, lambda: stream._is_read)
            with pytest.raises(UsageError, match="another task"):
                await anext(stream)
            await run.pause()

        await host.together(read, read_too)


@on_both
async def test_what_makes_no_sense_is_refused_in_words(host: Host, home: Home, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no folder with workspaces/"):
        async with host.open_engine(tmp_path / "nowhere"):
            raise AssertionError
    for wrong in ({"root": None}, {"root": home.root, "after": -1}, {"root": home.root, "on_event": print}):
        with pytest.raises(UsageError):
            async with host.open_engine(**wrong):
                raise AssertionError
    home.write("one", home.diary.task("a"))
    (home.root / "workspaces" / "empty").mkdir()
    cases: list[tuple[type[MatterStackError], str, Any, dict[str, Any]]] = [
        (NotFoundError, "no workspace 'two'", "two", {}),
        (UsageError, "no workspace name", "../one", {}),
        (CampaignError, "there is no such file", "empty", {}),
        (ConfigError, "^settings: maximum: unknown key", "one", {"settings": {"maximum": 1}}),
        (ConfigError, "cannot be kept as JSON", "one", {"settings": {"params": {"x": float("nan")}}}),
        (ConfigError, "is empty", "one", {"settings": {"params..n": 1}}),
        (UsageError, "dict with text keys", "one", {"settings": ["a=1"]}),
        (UsageError, "names a workspace already", "one", {"workspace": "two"}),
        (CampaignError, "Rounds is a class", Rounds, {}),
        (CampaignError, "has no method plan", object(), {}),
        (CampaignError, r"campaigns\.WithALock .* attribute 'guard' \(lock\)", WithALock(), {}),
        (CampaignError, "WithWhatIsGone cannot be loaded: ModuleNotFoundError", WithWhatIsGone(), {}),
        (UsageError, "no workspace name", Rounds([]), {"workspace": "a/b"}),
    ]
    async with host.open_engine(home.root) as engine:
        for kind, words, campaign, options in cases:
            with pytest.raises(kind, match=words):
                await engine.start(campaign, **options)
        with pytest.raises(UsageError, match="no run id"):
            await engine.run("../x")
        for name in ("20260102T030405-aaaaaa", "1999", "one", "@last"):
            with pytest.raises(NotFoundError, match=r"no run|there are no runs yet"):
                await engine.run(name)
        assert await engine.runs() == [], "what is refused leaves no run"
        run = await engine.start("one")
        for name in (run.id[:-1], "one", "@last"):
            assert (await engine.run(name)).id == run.id
        with pytest.raises(UsageError, match="after"):
            run.events(after=-1)
        with pytest.raises(UsageError, match="there is no event 99999"):
            await anext(run.events(after=99999))
        with pytest.raises(UsageError, match="list of task ids"):
            await run.retry("a")
        with pytest.raises(NotFoundError, match="'zzz'"):
            await run.rerun(["zzz"])
        await run.wait()


@on_both
async def test_a_cell_that_is_run_twice_starts_one_run(host: Host, home: Home) -> None:
    home.write("one", home.diary.task("a"))
    home.write("two", home.diary.task("b"))
    async with host.open_engine(home.root) as engine:
        run = await engine.start("one", key="cell 7")
        again = await engine.start("one", key="cell 7")
        assert again.id == run.id
        await again.wait()
        with pytest.raises(RefusedError, match="is that of run"):
            await engine.start("two", key="cell 7")
        with pytest.raises(UsageError, match="key: must be text"):
            await engine.start("one", key=7)  # type: ignore[arg-type]
    async with host.open_engine(home.root) as engine:
        run = await engine.start("one", key="cell 7")
        assert (await run.wait()).status == "COMPLETED"
        assert (await engine.start("two", key="cell 8")).id != run.id
        assert len(await engine.runs()) == 2
    assert home.diary.ended()[:1] == ["a"]


@on_both
async def test_a_hook_is_told_of_every_event_once_and_in_order(host: Host, home: Home) -> None:
    home.write("one", home.diary.task("a"))
    heard: list[dict[str, Any]] = []

    async def hear(event: dict[str, Any]) -> None:
        heard.append(event)
        await host.pause()

    async with host.open_engine(home.root) as engine:
        await (await engine.start("one")).wait()
    before = len(home.events())
    async with host.open_engine(home.root, on_event=hear) as engine:
        run = await engine.start("one")
        await run.wait()
    assert heard == home.events(run=run.id)
    heard.clear()
    async with host.open_engine(home.root, on_event=hear, after=before + 2) as engine:
        await engine.run(run.id)
    assert heard == [event for event in home.events(run=run.id) if event["seq"] > before + 2]


@on_both
async def test_a_hook_that_fails_is_told_again_and_that_is_logged_once(
    host: Host, home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    home.write("one", home.diary.task("a"))
    heard: list[int] = []
    failures = iter(range(2))

    async def hear(event: dict[str, Any]) -> None:
        if event["type"] == "RunStarted" and next(failures, None) is not None:
            raise ConnectionError("nobody listens")
        heard.append(event["seq"])

    async with host.open_engine(home.root, on_event=hear) as engine:
        run = await engine.start("one")
        await run.wait()
        await until(host, lambda: len(heard) == len(home.events()))
    assert heard == [event["seq"] for event in home.events()]
    assert [message.split(" (")[0].split(":")[0] for message in caplog.messages] == [
        f"on_event failed with event 2 of run {run.id}",
        "on_event takes events again, from event 2 on",
    ]
    assert "nobody listens" in caplog.text


@on_both
async def test_a_hook_that_hangs_delays_nobody(host: Host, home: Home) -> None:
    home.write("one", home.diary.task("a"))
    now = host.flag()

    async def hang(_event: dict[str, Any]) -> None:
        await host.flag().wait()

    async with host.cancelled_when(now), host.open_engine(home.root, on_event=hang) as engine:
        run = await engine.start("one")
        assert (await run.wait()).status is RunStatus.COMPLETED
        now.set()
        await host.flag().wait()


@on_both
async def test_the_evidence_of_a_run_is_built(host: Host, home: Home, tmp_path: Path) -> None:
    home.write("one", home.diary.task("a"))
    async with host.open_engine(home.root) as engine:
        run = await engine.start("one")
        await run.wait()
        bundle = await run.export_evidence(tmp_path / "bundle")
        with pytest.raises(RefusedError):
            await run.export_evidence(home.root)
    assert (bundle.run_id, bundle.status, bundle.is_complete) == (run.id, RunStatus.COMPLETED, True)
    crate = json.loads((tmp_path / "bundle" / "ro-crate-metadata.json").read_text())
    assert crate["@graph"]


@on_both
async def test_questions_are_asked_and_answered(host: Host, home: Home) -> None:
    fields = {"band_gap": {"type": "number", "unit": "eV", "min": 0}}
    params = {"question": "How wide?", "fields": fields}
    home.write("lab", {"id": "measure", "operator": "human", "params": params})
    async with host.open_engine(home.root) as engine:
        run = await engine.start("lab")
        async for event in run.events():
            if event["type"] == "JobAccepted":
                break
        (question,) = await run.questions()
        assert (question["task_id"], question["attempt"]) == ("measure", 1)
        assert question["manifest"]["question"] == "How wide?"
        with pytest.raises(UsageError, match="band_gap"):
            await run.respond("measure", {"band_gap": -1})
        with pytest.raises(RefusedError, match="asked anew"):
            await run.respond("measure", {"band_gap": 1.1}, attempt=2)
        with pytest.raises(NotFoundError, match="'other'"):
            await run.respond("other", {})
        await run.respond("measure", {"band_gap": 1.1}, attempt=1)
        assert (await run.wait()).status is RunStatus.COMPLETED
        assert await run.questions() == []
