"""What jobs ran in, as their own scripts found it.

The files were written by jobs: nothing in them is believed to be of any form, and all of it is shown as text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

import attrs
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from matterstack.core.documents.strict_json import DocumentError, parse_document
from matterstack.evidence.history import AttemptKey
from matterstack.evidence.presentation import View

ENVIRONMENTS: Final = "environments"
MOST_BYTES: Final = 4 << 20

_Texts = dict[str, str]
_LENIENT: Final = ConfigDict(defer_build=True, frozen=True, extra="ignore")


class _Python(BaseModel):
    model_config = _LENIENT
    executable: str = ""
    implementation: str = ""
    version: str = ""


class _System(BaseModel):
    model_config = _LENIENT
    name: str = ""
    kernel: str = ""
    machine: str = ""


class _Program(BaseModel):
    model_config = _LENIENT
    name: str = ""
    path: str = ""
    sha256: str = ""


class FoundSoftware(BaseModel):
    """Content of an environment's file.

    Attributes:
        python: the one that the command's search path led to.
        distributions: what is installed for it: versions by name.
        conda: names, versions and builds of the packages of a conda environment.
        modules: what was loaded with ``module load``, in that order.
        program: the first word of the command, where it is a program outside of the attempt's folder.
        variables: search paths and the like.
        scheduler: what the scheduler said it had given.
    """

    model_config = _LENIENT
    python: _Python = _Python()
    distributions: Annotated[_Texts, Field(max_length=10_000)] = {}
    conda: Annotated[list[str], Field(max_length=10_000)] = []
    modules: Annotated[list[str], Field(max_length=1000)] = []
    system: _System = _System()
    program: _Program | None = None
    variables: _Texts = {}
    scheduler: _Texts = {}

    def interpreter(self) -> str:
        """The Python, in words; empty where nothing is said of it."""
        return f"{self.python.implementation} {self.python.version}".strip()

    def host(self) -> str:
        """What the operating system is, in words."""
        kernel = f"kernel {self.system.kernel}" if self.system.kernel else ""
        return ", ".join(filter(None, (self.system.name, kernel, self.system.machine)))


@attrs.frozen(kw_only=True)
class Environment:
    """One of the environments that jobs of a run ran in.

    Attributes:
        place: of its file in the bundle; None where it is not there.
        detail: why it is not.
        software: what the file says; None where it is not there, or says nothing that can be read.
        attempts: which ran in it.
    """

    sha256: str
    place: str | None
    detail: str
    software: FoundSoftware | None
    attempts: tuple[AttemptKey, ...]


@attrs.frozen(kw_only=True)
class Surroundings:
    """All environments of a run, and how many of its jobs nobody looked at."""

    environments: tuple[Environment, ...]
    unknown: int

    def of(self) -> Mapping[AttemptKey, Environment]:
        """The environment of each attempt that has one."""
        return {key: one for one in self.environments for key in one.attempts}


def find_environments(view: View) -> Surroundings:
    """What the jobs of a run ran in."""
    attempts: dict[str, list[AttemptKey]] = {}
    for key, sha256 in view.history.environments.items():
        attempts.setdefault(sha256, []).append(key)
    found = tuple(
        Environment(
            sha256=record.sha256,
            place=record.place,
            detail=record.detail,
            software=None if record.place is None else _parse(view.content(record.place)),
            attempts=tuple(attempts.get(record.sha256, ())),
        )
        for record in view.survey.environments
    )
    return Surroundings(environments=found, unknown=_unknown(view))


def _unknown(view: View) -> int:
    """How many attempts have run of which it is not known in what."""
    return sum(
        attempt.started_at is not None
        and attempt.ended_at is not None
        and bool(view.history.state.definition_of(attempt).command)
        and (attempt.task_id, attempt.n) not in view.history.environments
        for attempt in view.history.attempts()
    )


def _parse(content: bytes) -> FoundSoftware | None:
    try:
        return FoundSoftware.model_validate(parse_document(content, most_bytes=MOST_BYTES))
    except (DocumentError, ValidationError):
        return None
