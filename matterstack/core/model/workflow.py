"""What a scientist writes: tasks in a workflow, planned by a campaign from results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import attrs

from matterstack.core.ids import TaskId
from matterstack.core.model.resources import Resources
from matterstack.core.model.validation import (
    at_least,
    is_flag,
    is_text,
    optional_text,
    text_mapping,
    text_sequence,
)
from matterstack.core.states import FailureKind, TaskStatus

ALL_FAILURES: tuple[FailureKind, ...] = tuple(FailureKind)
RETRIED_FAILURES: tuple[FailureKind, ...] = tuple(
    kind for kind in FailureKind if kind is not FailureKind.ENVIRONMENT
)
"""What ``retry_on`` is where a task says nothing: a prologue that failed fails again until it is mended."""


def _texts(value: object) -> object:
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _task_id(value: str) -> TaskId:
    return TaskId(value)


def _file_texts(value: object) -> object:
    if not isinstance(value, Mapping):
        return value
    return {k: str(v) if isinstance(v, Path) else v for k, v in value.items()}


def _failure_kinds(value: object) -> object:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError(f"retry_on must be a list, not {value!r}")
    known = ", ".join(ALL_FAILURES)
    for kind in value:
        if kind not in ALL_FAILURES:
            raise ValueError(f"retry_on holds {kind!r}; it may hold: {known}")
    return tuple(FailureKind(kind) for kind in value)


def _is_resources(_instance: object, _attribute: object, value: object) -> None:
    if not isinstance(value, Resources):
        raise TypeError(f"resources must be Resources(...), not {value!r}")


def _is_mapping(_instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise TypeError(f"{attribute.name} must be a dict with text keys, not {value!r}")


@attrs.frozen
class Task:
    """One node of a workflow.

    Args:
        id: unique in the run, over all its iterations; letters, digits, ``.``, ``_`` and ``-``.
        operator: who does it; ``"compute"`` is a job on a backend.
        command: argument list of the job; its working directory is the attempt's folder.
        depends_on: ids of tasks that must have succeeded (or failed with ``allow_failure``).
        inputs: ``{name here: "task/path there"}``; copied in, and makes that task a dependency.
        outputs: patterns of files that the job must leave behind, such as ``"*.json"``.
        files: ``{name here: path}``; a relative path starts at the folder of ``campaign.py`` and must not
            lead out of it, through links neither; a full path may lead anywhere.
        resources: what the job needs.
        backend: name of a backend in ``config.json``; None is its ``default_backend``.
        env: environment variables of the job.
        params: any JSON; the job finds it as ``params`` in ``manifest.json``.
        allow_failure: when this task fails, its dependents go on and the run does not fail.
        retries: how often a failed attempt is tried again, for the reasons in ``retry_on``.
        retry_on: kinds of failure that are worth another attempt; ``"environment"``, a prologue that failed,
            only where it is named.
        priority: ready tasks with a higher one go first.
    """

    id: TaskId = attrs.field(converter=_task_id, validator=is_text)
    operator: str = attrs.field(default="compute", kw_only=True, validator=is_text)
    command: Sequence[str] = attrs.field(default=(), kw_only=True, converter=_texts, validator=text_sequence)
    depends_on: Sequence[TaskId] = attrs.field(
        default=(), kw_only=True, converter=_texts, validator=text_sequence
    )
    inputs: Mapping[str, str] = attrs.field(factory=dict, kw_only=True, validator=text_mapping)
    outputs: Sequence[str] = attrs.field(default=(), kw_only=True, converter=_texts, validator=text_sequence)
    files: Mapping[str, str | Path] = attrs.field(
        factory=dict, kw_only=True, converter=_file_texts, validator=text_mapping
    )
    resources: Resources = attrs.field(factory=Resources, kw_only=True, validator=_is_resources)
    backend: str | None = attrs.field(default=None, kw_only=True, validator=optional_text)
    env: Mapping[str, str] = attrs.field(factory=dict, kw_only=True, validator=text_mapping)
    params: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True, validator=_is_mapping)
    allow_failure: bool = attrs.field(default=False, kw_only=True, validator=is_flag)
    retries: int = attrs.field(default=0, kw_only=True, validator=at_least(0))
    retry_on: Sequence[FailureKind] = attrs.field(
        default=RETRIED_FAILURES, kw_only=True, converter=_failure_kinds
    )
    priority: int = attrs.field(default=0, kw_only=True, validator=at_least(-(2**31)))

    def dependencies(self) -> tuple[TaskId, ...]:
        """Ids that this task waits for: ``depends_on``, then the tasks that its inputs come from."""
        sources = (TaskId(source.partition("/")[0]) for source in self.inputs.values())
        return tuple(dict.fromkeys((*self.depends_on, *sources)))


def _is_task_sequence(_instance: object, _attribute: object, value: object) -> None:
    if not isinstance(value, tuple) or not all(isinstance(task, Task) for task in value):
        raise TypeError(f"tasks must be a list of Task(...), not {value!r}")


@attrs.frozen
class Workflow:
    """The tasks of one iteration.

    Attributes:
        tasks: in any order; those with the same priority go in this one as they become ready.
        name: labels the iteration for people; None: it has only its number.
    """

    tasks: Sequence[Task] = attrs.field(converter=_texts, validator=_is_task_sequence)
    name: str | None = attrs.field(default=None, kw_only=True, validator=optional_text)


@attrs.frozen
class Result:
    """How a task ended, and what it left.

    Attributes:
        status: ``"SUCCEEDED"``, ``"FAILED"``, ``"SKIPPED"`` or ``"CANCELLED"``.
        reason: why it did not succeed; else empty.
        exit_code: of the last attempt's command; None when there is none.
        outputs: absolute paths of the files that its output patterns matched, sorted.
        data: the parsed ``result.json`` that the job wrote, or a person's answer; else None.
    """

    status: TaskStatus
    reason: str = ""
    exit_code: int | None = None
    outputs: tuple[Path, ...] = ()
    data: Any = None

    @property
    def succeeded(self) -> bool:
        """Whether the task ended as SUCCEEDED."""
        return self.status is TaskStatus.SUCCEEDED

    def output(self, name: str) -> Path:
        """Find the output with this file name.

        Raises:
            KeyError: the task left no such output.
        """
        for path in self.outputs:
            if path.name == name:
                return path
        raise KeyError(f"no output is named {name!r}; there are: {[p.name for p in self.outputs]}")


@attrs.frozen
class Results(Mapping[str, Result]):
    """Results of all tasks of the run that have ended, by task id."""

    _by_task: Mapping[str, Result]

    def __getitem__(self, task_id: str) -> Result:
        return self._by_task[task_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_task)

    def __len__(self) -> int:
        return len(self._by_task)


class Campaign(Protocol):
    """What ``get_campaign()`` of a ``campaign.py`` returns.

    Both methods run in a fresh child process each time: ``state`` is all that one call hands to the
    next, so that a campaign goes on in the same way after a restart.
    """

    def plan(self, state: dict[str, Any], results: Results) -> Workflow | None:
        """Return the next iteration's workflow, or None when the goal is met."""

    def analyze(self, state: dict[str, Any], results: Results) -> dict[str, Any]:
        """Return the state (JSON) for the next plan, after all tasks of an iteration have ended."""
