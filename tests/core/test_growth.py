"""A retry asks for more of what the last attempt lacked, within bounds, and the facts say how much."""

from __future__ import annotations

from typing import Any

import pytest

from matterstack.core.ids import TaskId
from matterstack.core.model.resources import MOST_GROWN, Growth, Resources
from matterstack.core.run import facts as f
from matterstack.core.run import messages as m
from matterstack.core.states import JobState
from matterstack.storage.codec import decode, encode
from tests.support.states import ToldRun, task

PLANNED = Resources(
    walltime_s=600,
    memory_mib=1000,
    cpus=4,
    grow=Growth(walltime=2, memory=1.5, most_walltime_s=2000, most_memory_mib=2000),
)


def run_of(resources: Resources = PLANNED, **options: Any) -> ToldRun:
    return ToldRun.running(task("a", resources=resources, **{"retries": 9, **options}))


def asked(run: ToldRun) -> list[tuple[int | None, int | None]]:
    """Walltime and memory of each attempt, as the facts have them."""
    prepared = (fact for _, fact in run.facts if isinstance(fact, f.AttemptPrepared))
    return [(fact.resources.walltime_s, fact.resources.memory_mib) for fact in prepared]


def end(run: ToldRun, raw: str, state: JobState = JobState.COMPLETED_ERROR) -> None:
    run.activate("a")
    run.end("a", state, raw_state=raw)


def test_walltime_grows_after_a_timeout_and_memory_after_running_out_of_it_up_to_their_bounds() -> None:
    run = run_of()
    for raw in ("TIMEOUT", "OUT_OF_MEMORY", "DEADLINE", "OUT_OF_MEMORY", "TIMEOUT"):
        end(run, raw)
    run.prepare()
    assert asked(run) == [(600, 1000), (1200, 1000), (1200, 1500), (2000, 1500), (2000, 2000), (2000, 2000)]
    last = run.state.tasks[TaskId("a")].last_attempt
    assert last is not None
    assert last.resources.cpus == 4


@pytest.mark.parametrize(
    ("raw", "state"),
    [
        ("FAILED", JobState.COMPLETED_ERROR),
        ("NODE_FAIL", JobState.COMPLETED_ERROR),
        ("PREEMPTED", JobState.COMPLETED_ERROR),
        ("", JobState.LOST),
        ("TIMEOUT", JobState.LOST),
    ],
)
def test_after_any_other_failure_the_same_is_asked_for(raw: str, state: JobState) -> None:
    run = run_of()
    end(run, raw, state)
    run.prepare()
    assert asked(run) == [(600, 1000)] * 2


def test_what_has_grown_stays_so_after_another_failure() -> None:
    run = run_of()
    for raw in ("TIMEOUT", "NODE_FAIL"):
        end(run, raw)
    run.prepare()
    assert asked(run) == [(600, 1000), (1200, 1000), (1200, 1000)]


def test_a_persons_retry_grows_like_an_automatic_one_and_a_rerun_starts_from_the_definition() -> None:
    run = run_of(retries=1)
    for _ in range(2):
        end(run, "TIMEOUT")
    run.collect("a")
    run.tell(m.Settle(), m.Retry(by="ann"))
    end(run, "TIMEOUT")
    run.succeed("a")
    run.tell(m.Rerun(by="ann", tasks=[TaskId("a")]))
    run.prepare()
    assert [walltime_s for walltime_s, _ in asked(run)] == [600, 1200, 2000, 2000, 600]


def test_without_growth_nothing_grows() -> None:
    run = run_of(Resources(walltime_s=600, memory_mib=1000))
    end(run, "TIMEOUT")
    run.prepare()
    assert asked(run) == [(600, 1000)] * 2


@pytest.mark.parametrize(
    ("raw", "state", "kind"),
    [
        ("TIMEOUT", JobState.COMPLETED_ERROR, "timeout"),
        ("OUT_OF_MEMORY", JobState.COMPLETED_ERROR, "out_of_memory"),
        ("BOOT_FAIL", JobState.COMPLETED_ERROR, "node_fail"),
        ("PREEMPTED", JobState.COMPLETED_ERROR, "preempted"),
        ("FAILED", JobState.COMPLETED_ERROR, "error"),
        ("", JobState.LOST, "lost"),
    ],
)
def test_only_failures_of_the_named_kinds_are_tried_again(raw: str, state: JobState, kind: str) -> None:
    wanted = run_of(retry_on=[kind])
    end(wanted, raw, state)
    assert wanted.statuses() == {"a": "READY"}
    retried = [fact for _, fact in wanted.facts if isinstance(fact, f.TaskRetried)]
    assert [fact.kind for fact in retried] == [kind]

    others = [k for k in ("timeout", "out_of_memory", "node_fail", "preempted", "error", "lost") if k != kind]
    unwanted = run_of(retry_on=others)
    end(unwanted, raw, state)
    unwanted.collect("a")
    assert unwanted.statuses() == {"a": "FAILED"}


def test_a_lost_attempt_counts_as_a_try() -> None:
    run = run_of(retries=1)
    end(run, "", JobState.LOST)
    end(run, "", JobState.LOST)
    assert run.statuses() == {"a": "FAILED"}
    assert run.state.tasks[TaskId("a")].reason == "its job vanished without a trace"


@pytest.mark.parametrize(
    ("value", "factor", "most", "grown"),
    [
        (100, 1.1, None, 110),
        (1, 1.5, None, 2),
        (7, 1.0, None, 7),
        (3000, 2, 2000, 3000),
        (1500, 2, 2000, 2000),
        (600, 1e308, None, MOST_GROWN),
        (600, 1e308, 900, 900),
        (10**400, 2, None, 10**400),
        (None, 2, 900, None),
    ],
)
def test_growth_is_exact_bounded_and_never_makes_less(
    value: int | None, factor: float, most: int | None, grown: int | None
) -> None:
    by_time = Resources(walltime_s=value, grow=Growth(walltime=factor, most_walltime_s=most))
    assert by_time.grown(walltime=True).walltime_s == grown
    by_memory = Resources(memory_mib=value, grow=Growth(memory=factor, most_memory_mib=most))
    assert by_memory.grown(memory=True).memory_mib == grown
    assert by_memory.grown(walltime=True) == by_memory


@pytest.mark.parametrize("factor", [0.5, 0, -1, float("inf"), float("nan"), "2", True, None])
def test_what_is_no_factor_is_refused(factor: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="walltime"):
        Growth(walltime=factor)


def test_growth_that_is_none_is_refused() -> None:
    with pytest.raises(TypeError, match="grow must be Growth"):
        Resources(grow={"walltime": 2})  # type: ignore[arg-type]


def test_growth_is_kept_in_the_store() -> None:
    assert decode(encode(PLANNED), Resources) == PLANNED
