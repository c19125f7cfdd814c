"""Who agrees to an amendment has seen what it replaces: where that is another value by then, it is not."""

from __future__ import annotations

import attrs
import pytest

from matterstack.core.errors import ChangedError
from matterstack.core.ids import TaskId
from matterstack.core.model.resources import Resources
from matterstack.core.run import facts as f
from matterstack.core.run import messages as m
from matterstack.core.run.agreed import before_of
from matterstack.core.run.decide import decide
from matterstack.core.states import JobState
from tests.support.states import ToldRun, comparable, task

A, B = TaskId("a"), TaskId("b")


def running() -> ToldRun:
    return ToldRun.running(task("a", resources=Resources(walltime_s=60)), task("b"))


def shown(run: ToldRun, message: m.AmendTasks | m.Retry) -> m.AmendTasks | m.Retry:
    """The message of somebody who was shown what it would change now."""
    return attrs.evolve(message, before=before_of(decide(run.state, message)))


def amend(walltime: int, *tasks: TaskId, by: str = "ann") -> m.AmendTasks:
    return m.AmendTasks(by=by, tasks=tasks, changes={"resources.walltime_s": walltime})


def test_what_is_as_it_was_shown_is_changed() -> None:
    run = running()
    run.tell(shown(run, amend(7200, A, B)))
    assert [t.task.resources.walltime_s for t in run.state.tasks.values()] == [7200, 7200]


def test_a_value_that_is_another_by_now_is_not_replaced_and_the_second_is_told_it() -> None:
    run = running()
    second = shown(run, amend(600, A, B, by="bob"))
    run.tell(amend(7200, A))
    before = comparable(run.state)
    with pytest.raises(
        ChangedError,
        match=r"^changed meanwhile: resources.walltime_s of task a is 7200, not 60 as was shown$",
    ):
        run.tell(second)
    assert comparable(run.state) == before


def test_a_task_that_was_not_to_change_is_not_changed() -> None:
    run = running()
    second = shown(run, amend(60, A, B))
    run.tell(amend(7200, A))
    with pytest.raises(ChangedError, match="walltime_s of task a is 7200, and was not to change"):
        run.tell(second)


def test_another_path_a_task_that_went_on_and_the_same_value_are_no_change_to_be_told() -> None:
    run = running()
    second = shown(run, amend(7200, A, B))
    run.tell(m.AmendTasks(by="ann", tasks=[A], changes={"priority": 3}))
    run.tell(amend(7200, B))
    run.activate("a")
    assert [fact.task_id for fact in run.tell(second) if isinstance(fact, f.TaskAmended)] == [A]
    assert run.tell(second) == [], "what has been done already is not done again"


def test_a_retry_with_changes_is_held_to_what_was_shown_too() -> None:
    run = running()
    run.activate("a")
    run.end("a", JobState.COMPLETED_ERROR)
    run.collect("a")
    changes = {"resources.walltime_s": 600}
    second = shown(run, m.Retry(by="bob", tasks=[A], changes=changes))
    run.tell(amend(7200, A))
    with pytest.raises(ChangedError, match="is 7200, not 60 as was shown"):
        run.tell(second)


def test_who_was_shown_nothing_is_not_held_to_anything() -> None:
    run = running()
    second = amend(600, A, by="bob")
    run.tell(amend(7200, A))
    run.tell(second)
    assert run.state.tasks[A].task.resources.walltime_s == 600
