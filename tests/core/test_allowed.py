"""What is published as allowed is what decisions carry out."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given, settings

from matterstack.core.errors import RefusedError
from matterstack.core.model.workflow import Workflow
from matterstack.core.run import messages as m
from matterstack.core.run.allowed import COMMANDS, Standing, allowed
from matterstack.core.run.decide import decide
from matterstack.core.run.replan_steps import seen_of
from matterstack.core.states import TaskStatus
from tests.support.random_runs import PROGRAMS, Step, steps
from tests.support.states import ToldRun, task


def forms(run: ToldRun, command: str) -> Iterator[m.Message]:
    """All ways in which a command can be given, as far as one task is named."""
    tasks = list(run.state.tasks)
    if command == "retry":
        yield m.Retry(by="ann")
        yield from (m.Retry(by="ann", tasks=(task_id,)) for task_id in tasks)
    elif command == "cancel_tasks":
        yield from (m.CancelTasks(by="ann", tasks=(task_id,)) for task_id in tasks)
    elif command == "rerun":
        yield from (m.Rerun(by="ann", tasks=(task_id,)) for task_id in tasks)
    elif command == "amend_config":
        config = {**run.state.config, "priority": run.state.config["priority"] + 1}
        yield m.AmendConfig(by="ann", before=run.state.config, config=config)
    elif command == "amend":
        # A value that no task has yet.
        changes = {"env.AMENDED": str(len(run.facts))}
        yield from (m.AmendTasks(by="ann", tasks=(task_id,), changes=changes) for task_id in tasks)
    elif command == "replan":
        own = [one.as_planned for one in run.state.tasks.values() if one.iteration == run.state.iteration]
        added = Workflow([*own, task(f"added{len(run.facts)}")]) if own else None
        yield m.Replan(by="ann", iteration=run.state.iteration, workflow=added, basis=seen_of(run.state))
    else:
        yield {"pause": m.Pause, "resume": m.Resume, "cancel": m.Cancel}[command](by="ann")


def does_something(run: ToldRun, command: str) -> bool:
    for message in forms(run, command):
        try:
            if decide(run.state, message):
                return True
        except RefusedError:
            continue
    return False


def assert_true_to_the_decisions(run: ToldRun) -> None:
    told = allowed(Standing.of(run.state))
    assert tuple(told) == COMMANDS
    for command in COMMANDS[:-1]:
        is_asked_twice = command == "cancel_tasks" and run.state.open_count == len(run.state.being_cancelled)
        assert (told[command] is True) is does_something(run, command) or is_asked_twice, command
    assert (told["respond"] is True) is any(one.backend == "operators" for one in run.state.live.values())
    assert all(reason is True or reason for reason in told.values())


@settings(max_examples=60, deadline=None)
@given(PROGRAMS)
def test_a_command_is_allowed_in_any_state_exactly_where_it_would_change_something(
    program: list[Step],
) -> None:
    run = ToldRun.new()
    assert_true_to_the_decisions(run)
    for _ in steps(run, program):
        assert_true_to_the_decisions(run)


def test_reasons_are_read_after_the_run_is() -> None:
    run = ToldRun.running(task("a"))
    run.activate("a")
    told = allowed(Standing.of(run.state))
    assert told == {
        "pause": True,
        "resume": "RUNNING: only a PAUSED run can be resumed",
        "cancel": True,
        "cancel_tasks": True,
        "retry": "RUNNING, and none of its tasks has failed",
        "rerun": "RUNNING, and none of its tasks has ended",
        "amend_config": True,
        "amend": True,
        "replan": True,
        "respond": "RUNNING, and asks nothing",
    }
    run.tell(m.Cancel(by="ann", reason="wrong cell"))
    told = allowed(Standing.of(run.state))
    reason = "being cancelled by ann: wrong cell"
    assert {told[command] for command in COMMANDS[:-1]} == {reason}


def test_a_run_that_is_failing_can_still_be_cancelled() -> None:
    run = ToldRun.running(task("a"))
    run.activate("a")
    run.tell(m.Fail(reason="its actor crashed"))
    told = allowed(Standing.of(run.state))
    assert told["cancel"] is True
    assert told["amend_config"] is True
    assert told["retry"] == "ending its jobs, because: its actor crashed"


def test_a_task_that_may_fail_can_be_retried_by_its_name() -> None:
    run = ToldRun.running(task("a", allow_failure=True), task("b"))
    run.fail("a")
    assert run.state.tasks[task("a").id].status is TaskStatus.FAILED
    assert allowed(Standing.of(run.state))["retry"] is True
    assert run.tell(m.Retry(by="ann", tasks=(task("a").id,)))
