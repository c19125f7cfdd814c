"""The transition tables."""

from enum import StrEnum
from typing import Any

import pytest

from matterstack.core.errors import IllegalTransitionError
from matterstack.core.model.workflow import Task
from matterstack.core.states import (
    ENDED_JOBS,
    ENDED_RUNS,
    ENDED_TASKS,
    JOB_TRANSITIONS,
    RUN_TRANSITIONS,
    TASK_TRANSITIONS,
    FailureKind,
    JobState,
    RunStatus,
    TaskStatus,
    require_transition,
)

TABLES: dict[str, Any] = {"run": RUN_TRANSITIONS, "task": TASK_TRANSITIONS, "job": JOB_TRANSITIONS}
PAIRS = [
    pytest.param(table, old, new, id=f"{what}-{old}-{new}")
    for what, table in TABLES.items()
    for old in table
    for new in table
]


@pytest.mark.parametrize(("table", "old", "new"), PAIRS)
def test_a_transition_is_allowed_when_the_table_holds_it_and_refused_by_both_names_otherwise(
    table: Any, old: StrEnum, new: StrEnum
) -> None:
    if new in table[old]:
        require_transition("x", table, old, new)
        return
    with pytest.raises(IllegalTransitionError) as refused:
        require_transition("thing 7", table, old, new)
    assert str(refused.value) == f"thing 7 is {old.value} and cannot become {new.value}"
    assert (refused.value.old, refused.value.new) == (old.value, new.value)
    assert (refused.value.code, refused.value.exit_code) == ("illegal_transition", 4)


@pytest.mark.parametrize(
    ("table", "states"),
    [(RUN_TRANSITIONS, RunStatus), (TASK_TRANSITIONS, TaskStatus), (JOB_TRANSITIONS, JobState)],
)
def test_each_table_has_all_states_and_none_leads_to_itself(table: Any, states: Any) -> None:
    assert set(table) == set(states)
    assert not [state for state, onward in table.items() if state in onward]


def test_a_run_goes_exactly_where_the_promises_say() -> None:
    assert {old.value: {new.value for new in onward} for old, onward in RUN_TRANSITIONS.items()} == {
        "PENDING": {"RUNNING", "FAILED", "CANCELLED"},
        "RUNNING": {"PAUSED", "COMPLETED", "FAILED", "CANCELLED"},
        "PAUSED": {"RUNNING", "FAILED", "CANCELLED"},
        "COMPLETED": {"RUNNING"},
        "FAILED": {"RUNNING"},
        "CANCELLED": set(),
    }


def test_a_job_that_has_ended_never_changes_again() -> None:
    assert {"COMPLETED_OK", "COMPLETED_ERROR", "CANCELLED", "LOST"} == ENDED_JOBS
    assert not any(JOB_TRANSITIONS[state] for state in ENDED_JOBS)


def test_a_run_that_has_ended_only_goes_back_to_running() -> None:
    assert {"COMPLETED", "FAILED", "CANCELLED"} == ENDED_RUNS
    assert {new for state in ENDED_RUNS for new in RUN_TRANSITIONS[state]} == {RunStatus.RUNNING}


def test_a_task_that_has_ended_only_goes_back_to_its_beginning() -> None:
    assert {"SUCCEEDED", "FAILED", "CANCELLED", "SKIPPED"} == ENDED_TASKS
    begun = {TaskStatus.WAITING, TaskStatus.READY}
    withdrawn = {TaskStatus.FAILED: {TaskStatus.CANCELLED}, TaskStatus.SKIPPED: {TaskStatus.CANCELLED}}
    for state in ENDED_TASKS:
        assert TASK_TRANSITIONS[state] == begun | withdrawn.get(state, set()), state


def test_failure_kinds_are_the_words_of_retry_on() -> None:
    assert [kind.value for kind in FailureKind] == [
        "error", "timeout", "out_of_memory", "node_fail", "preempted", "lost", "environment",
    ]  # fmt: skip


def test_what_no_retry_mends_is_tried_again_only_where_a_task_says_so() -> None:
    assert [kind.value for kind in Task("a").retry_on] == [
        "error", "timeout", "out_of_memory", "node_fail", "preempted", "lost",
    ]  # fmt: skip
    assert Task("a", retry_on=["environment"]).retry_on == (FailureKind.ENVIRONMENT,)
