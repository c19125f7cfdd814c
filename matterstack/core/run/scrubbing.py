"""Keep the values of secrets out of what becomes a fact: messages from outside are looked through first.

Words are scrubbed: a reason with a value in it is worth keeping without.  Data are refused instead, with the
reason, since nobody could rely on data that were changed on the way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import attrs

from matterstack.core.errors import RefusedError
from matterstack.core.model.workflow import Task, Workflow
from matterstack.core.run import messages as m
from matterstack.core.run.facts import OutputFile
from matterstack.core.secret_words import Search, listed


def scrubbed(message: m.Message, search: Search) -> m.Message:
    """The message without any value that is looked for.

    Raises:
        RefusedError: it is a command that cannot do without.
    """
    if not search:
        return message
    match message:
        case m.Collected():
            return _without_secret_data(_words_scrubbed(message, search), search)
        case m.Planned(workflow=workflow) if workflow is not None:
            if problem := plan_problem(workflow, (), search):
                return m.PlanningFailed(
                    reason=problem, action="plan", iteration=message.iteration, code=message.code
                )
            return attrs.evolve(message, warnings=tuple(search.scrubbed(line) for line in message.warnings))
        case m.Analyzed(state=state):
            if names := search.names_in_json(state):
                return m.PlanningFailed(
                    reason=f"analyze: the state holds the value of {listed(names)}: nothing that is kept may",
                    action="analyze",
                    iteration=message.iteration,
                    code=message.code,
                )
            return message
        case m.AmendTasks(changes=changes) | m.Retry(changes=changes):
            if names := search.names_in_json(dict(changes)):
                raise RefusedError(
                    f"the amendment holds the value of {listed(names)}: use the environment variable of that "
                    "name in the command instead"
                )
            return _words_of_command(message, search)
        case m.AmendConfig(config=config):
            if names := search.names_in_json(config):
                raise RefusedError(
                    f"the config would hold the value of {listed(names)}: nothing that is kept may"
                )
            return message
        case m.Replan(workflow=workflow) if workflow is not None:
            if problem := plan_problem(workflow, (), search):
                raise RefusedError(problem)
            clean = attrs.evolve(message, warnings=tuple(search.scrubbed(line) for line in message.warnings))
            return _words_of_command(clean, search)
        case _:
            return _words_of_command(message, search)


def _words_of_command(message: m.Message, search: Search) -> m.Message:
    clean: m.Message = _words_scrubbed(message, search)
    return clean


def _words_scrubbed(message: Any, search: Search) -> Any:  # noqa: ANN401  of the kind that came
    changed: dict[str, str] = {}
    for field in attrs.fields(type(message)):
        value = getattr(message, field.name)
        if type(value) is str and (clean := search.scrubbed(value)) != value:
            changed[field.name] = clean
    return attrs.evolve(message, **changed) if changed else message


def _without_secret_data(message: m.Collected, search: Search) -> m.Collected:
    problems = [] if message.problem is None else [message.problem]
    data, outputs = message.data, message.outputs
    if names := search.names_in_json(data):
        data = None
        problems.append(f"result.json: holds the value of {listed(names)}, and is not kept")
    kept: list[OutputFile] = []
    for output in outputs:
        if names := search.names_in_text(output.path):
            problems.append(f"the name of an output holds the value of {listed(names)}: it is not kept")
        else:
            kept.append(output)
    if len(problems) == (message.problem is not None):
        return message
    return attrs.evolve(message, data=data, outputs=tuple(kept), problem="; ".join(problems))


def plan_problem(workflow: Workflow, names: Collection[str], search: Search) -> str:
    """Why a plan cannot be kept; empty when it can.

    Args:
        names: secrets of the run, which are no task's own variables.
    """
    for task in workflow.tasks:
        for name in task.env:
            if name in names:
                return f"task {task.id}: env: {name} is a secret of config.json: leave it out, the job has it"
        for field, value in _fields(task) if search else ():
            if found := search.names_in_json(value):
                return (
                    f"task {search.scrubbed(task.id)}: {field}: holds the value of {listed(found)}: use the "
                    "environment variable of that name in the command instead"
                )
    return ""


def _fields(task: Task) -> Iterator[tuple[str, Any]]:
    for field in attrs.fields(Task):
        value = getattr(task, field.name)
        yield field.name, attrs.asdict(value) if attrs.has(type(value)) else value
