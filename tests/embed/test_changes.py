"""A host program changes runs: on trio and on asyncio it is shown first what changes, and agrees to that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from matterstack import (
    ChangedError,
    ConfigError,
    MatterStackError,
    NotFoundError,
    RefusedError,
    Run,
    RunStatus,
    UsageError,
)
from matterstack.storage.layout import Root
from tests.embed.conftest import Home
from tests.embed.hosts import Host, on_both, until
from tests.support.deleting import delete_run

GOOD = {"env.MODE": "good"}


def types(home: Home) -> list[str]:
    return [event["type"] for event in home.events()]


def needs_mode(home: Home, name: str) -> dict[str, Any]:
    """A task that fails as long as nobody sets its mode."""
    return dict(home.diary.task(name, '[ "$MODE" = good ]'))


@on_both
async def test_a_preview_changes_nothing_and_failed_tasks_run_again_as_was_shown(
    host: Host, home: Home
) -> None:
    home.write("two", needs_mode(home, "a"), home.diary.task("b"))
    async with host.open_engine(home.root) as engine:
        run = await engine.start("two")
        assert (await run.wait()).status is RunStatus.FAILED
        before = home.events()
        change = await run.retry(changes=GOOD, failed=True, reason="it needs a mode", preview=True)
        assert change.result["differences"] == [
            {"path": "env.MODE", "old": None, "new": "good", "tasks": ["a"]}
        ]
        assert change.result["selected"] == ["a"]
        assert home.events() == before
        await change.apply()
        assert (await run.wait()).status is RunStatus.COMPLETED
    (amended,) = [event for event in home.events() if event["type"] == "TaskAmended"]
    assert amended["data"]["reason"] == "it needs a mode"
    assert sorted(home.diary.started()) == ["a", "a", "b"]


@on_both
async def test_an_amendment_is_of_the_next_attempt_and_reopens_nothing(host: Host, home: Home) -> None:
    home.write("one", needs_mode(home, "a"))
    async with host.open_engine(home.root) as engine:
        run = await engine.start("one")
        assert (await run.wait()).status is RunStatus.FAILED
        made = await run.amend(["a"], GOOD)
        assert made.result["tasks"] == ["a"]
        with pytest.raises(UsageError, match="was made already"):
            await made.apply()
        assert (await run.status()).status is RunStatus.FAILED
        assert types(home).count("TaskAmended") == 1
        again = await run.retry()
        assert again.result["selected"] == ["a"]
        assert (await run.wait()).status is RunStatus.COMPLETED


@on_both
async def test_of_two_who_amend_at_once_the_second_is_told(host: Host, home: Home) -> None:
    home.write("one", needs_mode(home, "a"))
    async with host.open_engine(home.root) as engine:
        run = await engine.start("one")
        await run.wait()
        first = await run.amend(["a"], GOOD, preview=True)
        second = await run.amend(["a"], {"env.MODE": "bad"}, preview=True)
        await first.apply()
        with pytest.raises(ChangedError, match=r"env\.MODE of task a is 'good', not nothing as was shown"):
            await second.apply()
        one, other = [await run.amend_config({"priority": n}, preview=True) for n in (2, 3)]
        await other.apply()
        with pytest.raises(ChangedError, match="priority: 1 -> 3"):
            await one.apply()
    assert types(home).count("TaskAmended") == 1


@on_both
async def test_the_config_is_amended_by_keys_and_from_the_files(host: Host, home: Home) -> None:
    home.write("one", home.diary.task("a", home.diary.gate()))
    async with host.open_engine(home.root) as engine:
        run = await engine.start("one")
        shown = await run.amend_config({"priority": 3, "params.n": 5}, reason="Christmas", preview=True)
        assert {change["path"]: change["new"] for change in shown.result["config"]} == {
            "priority": 3, "params.n": 5,
        }  # fmt: skip
        assert "ConfigAmended" not in types(home)
        await shown.apply()
        config = home.root / "workspaces" / "one" / "config.json"
        config.write_text(config.read_text().replace('_run": 10', '_run": 7'))
        taken = await run.amend_config(from_workspace=True)
        assert [change["path"] for change in taken.result["config"]] == ["max_hpc_jobs_per_run"]
        home.diary.open()
        assert (await run.wait()).status is RunStatus.COMPLETED
    reasons = [event["data"]["reason"] for event in home.events() if event["type"] == "ConfigAmended"]
    assert reasons == ["Christmas", ""]


@on_both
async def test_which_tasks_would_be_cancelled_is_shown(host: Host, home: Home) -> None:
    slow = [home.diary.task(name, home.diary.gate()) for name in ("a", "b")]
    home.write("slow", *slow, home.diary.task("c", depends_on=["a"]))
    async with host.open_engine(home.root) as engine:
        run = await engine.start("slow")
        await until(host, lambda: set(home.diary.started()) == {"a", "b"})
        shown = await run.cancel_tasks(["a"], preview=True)
        assert shown.result["tasks"] == [
            {"task_id": "a", "is_live": True, "because": None},
            {"task_id": "c", "is_live": False, "because": "a"},
        ]
        assert "TaskCancelRequested" not in types(home)
        await shown.apply()
        home.diary.open()
        assert (await run.wait()).status is RunStatus.COMPLETED
        assert {task["task_id"]: task["status"] for task in await run.tasks()} == {
            "a": "CANCELLED", "b": "SUCCEEDED", "c": "CANCELLED",
        }  # fmt: skip


@on_both
async def test_labels_and_a_note_are_given(host: Host, home: Home) -> None:
    home.write("one", home.diary.task("a"))
    async with host.open_engine(home.root) as engine:
        run = await engine.start("one")
        said = await run.label(["cathode", "old"], note="page 12")
        assert (said["labels"], said["note"]["note"]) == (["cathode", "old"], "page 12")
        said = await run.label(remove=["old"])
        assert (said["labels"], said["note"]["note"]) == (["cathode"], "page 12")
        assert (await run.label(note=""))["note"] is None
        with pytest.raises(UsageError, match="is no label"):
            await run.label(["not one"])
        assert (await run.wait()).status is RunStatus.COMPLETED


@on_both
async def test_a_mended_campaign_is_asked_once_more_and_its_plan_taken_as_shown(
    host: Host, home: Home
) -> None:
    home.write("two", needs_mode(home, "a"), home.diary.task("b"))
    async with host.open_engine(home.root) as engine:
        run = await engine.start("two")
        assert (await run.wait()).status is RunStatus.FAILED
        with pytest.raises(RefusedError, match="nothing would change"):
            await run.replan()
        mended = {**needs_mode(home, "a"), "env": {"MODE": "good"}}
        home.write("two", mended, home.diary.task("b"), home.diary.task("c"))
        before = home.events()
        shown = await run.replan(reason="it needs a mode", preview=True)
        steps = {task["task_id"]: task["change"] for task in shown.result["tasks"]}
        assert steps == {"a": "changed", "c": "new"}
        assert home.events() == before
        late = await run.replan(preview=True)
        await run.amend(["a"], {"priority": 3})
        with pytest.raises(ChangedError, match="task a was amended"):
            await late.apply()
        await (await run.replan(preview=True)).apply()
        assert (await run.wait()).status is RunStatus.COMPLETED
    assert sorted(home.diary.started()) == ["a", "a", "b", "c"]


Call = Callable[[Run], Awaitable[object]]
BAD: Mapping[str, tuple[Call, type[MatterStackError], str]] = {
    "no such path": (
        lambda run: run.amend(["a"], {"walltime_s": 1}),
        RefusedError,
        "that a task has",
    ),
    "nothing to change": (lambda run: run.amend(["a"]), UsageError, "nothing is set"),
    "no selection": (lambda run: run.amend(changes=GOOD), UsageError, "name the tasks"),
    "a text for a list": (lambda run: run.amend("a", GOOD), UsageError, "tasks: must be a list"),
    "a number for a task": (lambda run: run.retry([1]), UsageError, "tasks: must be task ids"),  # type: ignore[list-item]
    "a list for changes": (
        lambda run: run.amend(["a"], [1]),  # type: ignore[arg-type]
        UsageError,
        "changes: must be a dict",
    ),
    "no JSON": (
        lambda run: run.amend(["a"], {"params.x": {1}}),
        UsageError,
        "changes: cannot be kept",
    ),
    "a word for a flag": (
        lambda run: run.retry(failed="yes"),  # type: ignore[arg-type]
        UsageError,
        "failed: must be True or False",
    ),
    "a text for a code": (
        lambda run: run.retry(exit_codes=["3"]),  # type: ignore[list-item]
        UsageError,
        "exit_codes: must be whole numbers",
    ),
    "no kind": (lambda run: run.retry(kinds=["timeuot"]), UsageError, "no kind of failure"),
    "nobody is meant": (lambda run: run.retry(exit_codes=[77]), NotFoundError, "no task that is meant"),
    "no such task": (lambda run: run.amend(["aa"], GOOD), NotFoundError, "no task 'aa'"),
    "it succeeded": (lambda run: run.amend(["good"], GOOD), RefusedError, "has SUCCEEDED"),
    "it has not failed": (lambda run: run.retry(["good"]), RefusedError, "only failed tasks"),
    "no such key": (lambda run: run.amend_config({"pririty": 2}), ConfigError, "pririty: unknown key"),
    "nothing to plan anew": (lambda run: run.replan(), RefusedError, "nothing would change"),
    "a word for a choice": (
        lambda run: run.replan(cancel_gone="yes"),  # type: ignore[arg-type]
        UsageError,
        "cancel_gone: must be True or False",
    ),
    "nothing waits": (lambda run: run.amend(["a"], resubmit=True), RefusedError, "has a job that waits"),
    "no settings": (lambda run: run.amend_config(), UsageError, "nothing is set"),
    "a number for a note": (lambda run: run.label(note=5), UsageError, "note: must be text"),  # type: ignore[arg-type]
}


@on_both
async def test_what_makes_no_sense_is_one_error_and_changes_nothing(host: Host, home: Home) -> None:
    home.write("two", needs_mode(home, "a"), home.diary.task("good"))
    async with host.open_engine(home.root) as engine:
        run = await engine.start("two")
        await run.wait()
        before = home.events()
        for name, (call, error, words) in BAD.items():
            with pytest.raises(error, match=words):
                await call(run)
            assert home.events() == before, name


@on_both
async def test_of_a_run_that_was_deleted_every_call_says_so_and_the_engine_goes_on(
    host: Host, home: Home
) -> None:
    home.write("one", needs_mode(home, "a"))
    home.write("other", home.diary.task("b", home.diary.gate()))
    async with host.open_engine(home.root) as engine:
        other = await engine.start("other")
        run = await engine.start("one")
        await run.wait()
        shown = await run.amend(["a"], GOOD, preview=True)
        kept = home.events(run=run.id)
        await until(host, lambda: _deleted(home, run.id))

        async def read() -> None:
            async for _ in run.events():
                raise AssertionError("it has none any more")

        calls: list[Callable[[], Awaitable[object]]] = [
            run.status, run.wait, run.state, run.tasks, run.explain, run.questions, run.export_evidence,
            run.pause, run.resume, run.cancel, run.retry, read, shown.apply,
            lambda: run.rerun(["a"]), lambda: run.cancel_tasks(["a"]), lambda: run.amend(["a"], GOOD),
            lambda: run.amend_config({"priority": 2}), lambda: run.label(["x"]), run.replan,
            lambda: run.respond("a", {}), lambda: engine.run(run.id),
        ]  # fmt: skip
        for call in calls:
            with pytest.raises(NotFoundError, match=f"^no run {run.id}: it was deleted by ann at "):
                await call()
        assert [summary.run_id for summary in await engine.runs()] == [other.id]
        home.diary.open()
        assert (await other.wait()).status is RunStatus.COMPLETED
    assert kept, "there were events"


def _deleted(home: Home, run_id: Any) -> bool:
    """Delete it as soon as the engine has let it go."""
    try:
        delete_run(Root(home.root), run_id)
    except RefusedError:
        return False
    return True
