"""What of a plan is a secret that stands there in clear, or looks like one."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from matterstack.core.errors import CampaignError
from matterstack.core.model.workflow import Task, Workflow
from matterstack.core.run.scrubbing import plan_problem
from matterstack.core.secret_words import Search, looks_secret

_HOW: Final = (
    "is kept in clear: in the events, the job scripts and the evidence; if it is one, take it out and "
    'name it under "secrets" in config.json'
)


def refuse_secrets(workflow: Workflow, names: Collection[str], search: Search) -> None:
    """Refuse a plan with the value of a secret in it, or with a variable that is one.

    Raises:
        CampaignError: naming the task and the field.
    """
    if problem := plan_problem(workflow, names, search):
        raise CampaignError(problem)


def look_like_secrets(tasks: Iterable[Task]) -> Iterator[str]:
    """Variables and params whose names say that they are secrets, a line each."""
    found: dict[str, list[str]] = {}
    for task in tasks:
        for place in (*_names("env", task.env), *_names("params", task.params)):
            found.setdefault(place, []).append(task.id)
    for place, task_ids in found.items():
        more = f" (and {len(task_ids) - 1} more)" if len(task_ids) > 1 else ""
        yield f"task {task_ids[0]}{more}: {place} looks like a secret, and {_HOW}"


def params_that_look_like_secrets(params: Mapping[str, Any]) -> list[str]:
    """The same of what a config gives to its campaign."""
    return [f"config.json: {place} looks like a secret, and {_HOW}" for place in _names("params", params)]


def source_looks_like_secrets(campaign_file: Path) -> list[str]:
    """Variables and params that ``campaign.py`` spells out, a line each, where no plan is made.  Blocking."""
    try:
        tree = ast.parse(campaign_file.read_bytes())
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return []  # planning tells what is wrong with it
    places: dict[str, int] = {}
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        for argument in call.keywords:
            if argument.arg in {"env", "params"} and isinstance(argument.value, ast.Dict):
                for key in argument.value.keys:
                    if (
                        isinstance(key, ast.Constant)
                        and isinstance(key.value, str)
                        and looks_secret(key.value)
                    ):
                        places.setdefault(f"{argument.arg}.{key.value}", key.lineno)
    return [
        f"{campaign_file.name}, line {line}: {place} looks like a secret, and {_HOW}"
        for place, line in places.items()
    ]


def _names(where: str, values: Mapping[str, Any]) -> Iterator[str]:
    left: list[tuple[str, Any]] = [(f"{where}.{name}", value) for name, value in values.items()]
    for place, value in left:  # grows meanwhile
        if isinstance(value, Mapping):
            left.extend((f"{place}.{name}", inner) for name, inner in value.items())
        elif isinstance(value, list | tuple):
            left.extend((place, inner) for inner in value if isinstance(inner, Mapping))
        elif isinstance(value, str) and value and looks_secret(place.rpartition(".")[2]):
            yield place
