"""Tasks that people mean: by name or pattern, and by how they stand or failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from matterstack.core.errors import MatterStackError, NotFoundError, RefusedError, UsageError
from matterstack.core.run import messages as m
from matterstack.core.run.selection import Selectable, Selection, require_fitting, select
from matterstack.core.states import JobState, TaskStatus
from tests.support.states import RUN_ID, ToldRun, task


def campaign() -> ToldRun:
    """One task of each fate."""
    run = ToldRun.running(
        task("relax-1"),
        task("relax-2"),
        task("md-1", allow_failure=True),
        task("md-2"),
        task("good"),
        task("bad-files"),
        task("refused"),
        task("again", retries=1),
        task("ended-outside"),
        task("behind", "relax-1"),
        task("later", "waits"),
        task("waits", backend="cluster"),
        max_hpc_jobs_per_run=20,
    )
    run.prepare()
    run.submit("relax-1", "relax-2", "md-1", "md-2", "good", "bad-files", "again", "ended-outside")
    run.end("relax-1", JobState.COMPLETED_ERROR, raw_state="TIMEOUT", exit_code=None)
    run.end("relax-2", JobState.COMPLETED_ERROR, raw_state="TIMEOUT", exit_code=0)
    run.end("md-1", JobState.COMPLETED_ERROR, exit_code=3, reason="no License for vasp")
    run.end("md-2", JobState.COMPLETED_ERROR, exit_code=4, last_words="ERROR: POSCAR missing")
    run.end("good")
    run.end("bad-files")
    run.tell(m.Refused(token=run.token("refused"), reason="partition is down"))
    run.end("again", JobState.LOST, exit_code=None)
    run.end("ended-outside", JobState.CANCELLED, exit_code=None)
    for name in ("relax-1", "relax-2", "md-1", "md-2", "good"):
        run.collect(name)
    run.collect("bad-files", problem="it left no CHGCAR")
    return run


def meant(run: ToldRun, selection: Selection) -> list[str]:
    found = select(RUN_ID, map(Selectable.of, run.state.tasks.values()), selection)
    return [each.task_id for each in found]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"names": ["relax-2", "relax-1"]}, ["relax-1", "relax-2"]),
        ({"names": ["relax-*", "good"]}, ["relax-1", "relax-2", "good"]),
        ({"names": ["md-[!1]"]}, ["md-2"]),
        ({"failed": True}, ["relax-1", "relax-2", "md-1", "md-2", "bad-files", "refused", "ended-outside"]),
        ({"waiting": True}, ["again", "later", "waits"]),
        ({"failed": True, "waiting": True, "names": ["again", "md-?"]}, ["md-1", "md-2", "again"]),
        ({"kinds": ["timeout"]}, ["relax-1", "relax-2"]),
        ({"kinds": ["error"]}, ["md-1", "md-2", "bad-files"]),
        ({"kinds": ["lost", "refused"]}, ["refused", "again"]),
        ({"kinds": ["cancelled"]}, ["ended-outside"]),
        ({"kinds": ["exit:3", "timeout"]}, ["relax-1", "relax-2", "md-1"]),
        ({"exit_codes": [3]}, ["md-1"]),
        ({"exit_codes": [0]}, ["relax-2", "bad-files"]),
        ({"exit_codes": [3, 4], "failed": True}, ["md-1", "md-2"]),
        ({"reason": "license"}, ["md-1"]),
        ({"reason": "CHGCAR", "kinds": ["error"]}, ["bad-files"]),
        ({"reason": "relax-1"}, ["behind"]),
        ({"reason": "poscar MISSING"}, ["md-2"]),
        ({}, None),
    ],
)
def test_tasks_are_meant_by_all_that_is_said_of_them(
    said: dict[str, Any], expected: Sequence[str] | None
) -> None:
    run = campaign()
    assert meant(run, Selection(**said)) == (list(run.state.tasks) if expected is None else expected)


def test_a_task_that_is_at_work_again_is_meant_by_how_it_failed_the_last_time() -> None:
    run = campaign()
    run.activate("again")
    assert run.statuses()["again"] == TaskStatus.ACTIVE
    assert meant(run, Selection(kinds=["lost"])) == ["again"]


def test_a_task_that_succeeded_in_the_end_is_meant_by_no_earlier_failure() -> None:
    run = campaign()
    run.succeed("again")
    with pytest.raises(NotFoundError):
        meant(run, Selection(kinds=["lost"]))


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        ({"names": ["relax-3"]}, NotFoundError, ["'relax-3'", "did you mean 'relax-"]),
        ({"names": ["relx-*"]}, NotFoundError, ["'relx-*'", "did you mean 'relax-"]),
        ({"names": ["zzz"]}, NotFoundError, ["'zzz'", "there are: again, bad-files"]),
        ({"kinds": ["timeuot"]}, UsageError, ["'timeuot'", "did you mean 'timeout'?"]),
        ({"kinds": ["exit:x"]}, UsageError, ["'exit:x'", "did you mean 'exit:N'?"]),
        ({"kinds": ["exit:²"]}, UsageError, ["'exit:²'"]),
        ({"kinds": ["out_of_memory"]}, NotFoundError, ["--kind out_of_memory", "2 timeout", "1 SUCCEEDED"]),
        ({"exit_codes": [7], "failed": True}, NotFoundError, ["--failed --exit-code 7", "7 FAILED"]),
        ({"reason": "walltime"}, NotFoundError, ["--reason walltime"]),
    ],
)
def test_a_selection_that_means_nothing_says_what_could_be_said_instead(
    said: dict[str, Any], kind: type[MatterStackError], words: Sequence[str]
) -> None:
    with pytest.raises(kind) as raised:
        meant(campaign(), Selection(**said))
    told = f"{raised.value}; {raised.value.hint}"
    assert all(word in told for word in words), told


def test_a_run_without_failures_is_not_said_to_have_any() -> None:
    with pytest.raises(NotFoundError) as raised:
        meant(ToldRun.running(task("a")), Selection(failed=True))
    assert raised.value.hint == "its tasks: 1 READY"


def _not_succeeded(one: Selectable) -> str | None:
    return "has succeeded" if one.status is TaskStatus.SUCCEEDED else None


def fitting(said: Selection) -> list[str]:
    found = select(RUN_ID, map(Selectable.of, campaign().state.tasks.values()), said)
    return [each.task_id for each in require_fitting(found, said, _not_succeeded)]


def test_what_a_command_cannot_be_told_of_is_left_out_of_a_pattern() -> None:
    assert fitting(Selection(names=["*oo*", "md-1"])) == ["md-1"]


@pytest.mark.parametrize("names", [["good"], ["good", "md-1"], ["*", "good"], ["goo?"]])
def test_what_a_command_cannot_be_told_of_is_refused_where_it_is_named_or_alone(names: list[str]) -> None:
    with pytest.raises(RefusedError, match="task good has succeeded"):
        fitting(Selection(names=names))
