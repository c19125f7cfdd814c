"""Whether a job was given what the definition of its attempt says, by the record of what it was given."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from matterstack.core.model.workflow import Task
from matterstack.core.run.state import AttemptState
from matterstack.storage.codec import CONVERTER

_OURS: Final = frozenset({"MATTERSTACK_RUN_ID", "MATTERSTACK_TASK_ID", "MATTERSTACK_ATTEMPT"})
"""Variables that every job has."""


def other_than_defined(manifest: bytes, task: Task, attempt: AttemptState) -> str:
    """The first field in which a manifest says something else than the definition; empty where there is none.

    Fields that it does not have say nothing: older versions wrote fewer of them and of resources, and
    questions have others.

    Raises:
        any of `matterstack.evidence.gathering.given.UNREADABLE`: it is no manifest.
    """
    said: Any = json.loads(manifest)
    if not isinstance(said, Mapping):
        raise TypeError("a manifest is an object")
    defined: dict[str, Any] = _plain(
        {
            "command": task.command,
            "params": task.params,
            "outputs": task.outputs,
            "resources": CONVERTER.unstructure(attempt.resources),
        }
    )
    known = said.get("resources", {})
    defined["resources"] = {name: value for name, value in defined["resources"].items() if name in known}
    for field, value in defined.items():
        if field in said and said[field] != value:
            return field
    return "env" if "env" in said and not _same_variables(said["env"], task.env) else ""


def _plain(value: Any) -> Any:  # noqa: ANN401  any JSON
    return json.loads(json.dumps(value))


def _same_variables(said: Any, defined: Mapping[str, str]) -> bool:  # noqa: ANN401  any JSON
    return bool({**{name: said[name] for name in _OURS & said.keys()}, **defined} == said)
