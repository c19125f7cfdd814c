"""Tasks and their attempts in a crate: what was done where, by whom, with what, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from matterstack.core.model.workflow import Task
from matterstack.core.run.state import AttemptState, TaskState
from matterstack.core.shown_text import shown
from matterstack.core.states import JobState, TaskStatus
from matterstack.evidence.crate.file_entities import Files
from matterstack.evidence.crate.graph import (
    ACTIVE,
    COMPLETED,
    ENGINE,
    FAILED,
    POTENTIAL,
    Graph,
    file_id,
    local,
    moment,
    ref,
    refs,
)
from matterstack.evidence.crate.made_under import MadeUnder
from matterstack.evidence.crate.software import Environments
from matterstack.evidence.history import AttemptKey
from matterstack.evidence.presentation import View, attempt_word, operator_line
from matterstack.storage.codec import CONVERTER


def step_id(task: TaskState) -> str:
    """A task as a step of the workflow."""
    return local("step", task.task.id)


def task_id(task: TaskState) -> str:
    """A task as it was carried out."""
    return local("task", task.task.id)


def tool_id(task: Task) -> str:
    """What a task is done with: the program and its script, or the operator that is asked."""
    if not task.command:
        return local("operator", task.operator)
    return local("tool", _tool_name(task))


def _tool_name(task: Task) -> str:
    command = task.command
    words = [command[0]]
    if len(command) > 1 and command[1] in task.files:
        words.append(command[1])
    return shown(" ".join(words))


def add_tools(view: View, graph: Graph, tasks: Iterable[TaskState], environments: Environments) -> list[str]:
    """Describe all tools, each with what it ran in; returns those that were ever started."""
    attempts: dict[str, list[AttemptKey]] = {}
    first: dict[str, Task] = {}
    for task in tasks:
        newest = tool_id(task.task)
        first.setdefault(newest, task.task)
        attempts.setdefault(newest, [])
        for attempt in task.attempts:
            definition = view.made_with(attempt)
            tool = newest if definition is task.task else tool_id(definition)
            first.setdefault(tool, definition)
            attempts.setdefault(tool, []).append((attempt.task_id, attempt.n))
    for identifier, definition in first.items():
        if not definition.command:
            graph.add(identifier, "SoftwareApplication", name=definition.operator)
            continue
        is_python = definition.command[0].rpartition("/")[2].startswith("python")
        graph.add(
            identifier,
            "SoftwareApplication",
            name=_tool_name(definition),
            softwareVersion=environments.version(attempts[identifier], is_python=is_python),
            softwareRequirements=refs(environments.among(attempts[identifier])),
        )
    return [tool for tool, started in attempts.items() if started]


class Tasks:
    """Describes tasks, and keeps what their attempts are called."""

    def __init__(
        self, graph: Graph, view: View, files: Files, environments: Environments, made_under: MadeUnder
    ) -> None:
        self._made_under = made_under
        self._graph = graph
        self._view = view
        self._files = files
        self._environments = environments
        self.attempts: list[str] = []

    def describe(self, task: TaskState) -> None:
        """A task, and all that was done for it."""
        self._graph.add(
            step_id(task),
            "HowToStep",
            name=task.task.id,
            position=str(task.position),
            description=shown(operator_line(task.task)),
            workExample=ref(tool_id(task.task)),
            **self._made_under.step(task.task.id),
        )
        done = [self._attempt(attempt) for attempt in task.attempts]
        self.attempts += done
        if done:
            status = _TASK_STATUS[task.status]
            self._graph.add(
                task_id(task),
                "ControlAction",
                name=f"{task.task.id} has {task.status}",
                instrument=ref(step_id(task)),
                object=[ref(one) for one in done],
                startTime=moment(task.attempts[0].prepared_at),
                endTime=moment(task.attempts[-1].ended_at),
                actionStatus=status,
                error=shown(task.reason) if status == FAILED else None,
            )

    def _attempt(self, attempt: AttemptState) -> str:
        key = (attempt.task_id, attempt.n)
        task = self._view.made_with(attempt)
        record = self._view.records.get(key)
        answer = self._view.answers.get(key)
        used = [self._view.survey.used[place] for place in record.used] if record is not None else []
        value = self._graph.add_value
        given = [
            *(self._files.used(one) for one in used),
            *(value("param", name, parameter) for name, parameter in task.params.items()),
            value("resources", "resources", CONVERTER.unstructure(attempt.resources)),
            *self._made_under.of(attempt),
        ]
        made = self._files.made_by(key)
        if answer is not None and answer.place is not None:
            made.insert(0, file_id(answer.place))
        # Jobs are done in the name of who made the run.
        by = answer.by if answer is not None and answer.by else self._view.history.created.by
        where = self._environments.file_of(key)
        status = _attempt_status(attempt)
        return self._graph.add(
            local("attempt", *key),
            "CreateAction",
            name=f"attempt {attempt.n} of {attempt.task_id}",
            description=shown(operator_line(task)),
            instrument=ref(tool_id(task)),
            agent=ref(self._graph.add_person(by) if by else ENGINE),
            startTime=moment(attempt.started_at),
            endTime=moment(attempt.ended_at),
            actionStatus=status,
            error=shown(self._error(attempt)) if status == FAILED else None,
            identifier=[
                attempt.token,
                *([f"job {attempt.job_id}"] if attempt.job_id else []),
                *self._made_under.name(attempt),
            ],
            location=ref(self._place(attempt)),
            subjectOf=None if where is None else ref(where),
            object=refs(given),
            result=refs(made),
            environment=refs([value("env", name, word) for name, word in task.env.items()]),
        )

    def _error(self, attempt: AttemptState) -> str:
        word = attempt.raw_state or attempt_word(attempt)
        code = f", exit code {attempt.exit_code}" if attempt.exit_code is not None else ""
        why = self._view.outcome(attempt)
        return f"{word}{code}" + (f": {why}" if why else "")

    def _place(self, attempt: AttemptState) -> str:
        host = f", host {shown(attempt.host)}" if attempt.host else ""
        name = f"backend {attempt.backend}{host}"
        return self._graph.add(local("place", attempt.backend, attempt.host or ""), "Place", name=name)


def _attempt_status(attempt: AttemptState) -> str:
    if attempt.ended_at is not None:
        return COMPLETED if attempt.state is JobState.COMPLETED_OK else FAILED
    return ACTIVE if attempt.started_at is not None else POTENTIAL


_TASK_STATUS: Final = {
    TaskStatus.WAITING: POTENTIAL,
    TaskStatus.READY: POTENTIAL,
    TaskStatus.ACTIVE: ACTIVE,
    TaskStatus.SUCCEEDED: COMPLETED,
    TaskStatus.FAILED: FAILED,
    TaskStatus.CANCELLED: FAILED,
    TaskStatus.SKIPPED: FAILED,
}
