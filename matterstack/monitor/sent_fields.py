"""What all commands have that a client may send, and the fields that several of them share."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, StringConstraints

from matterstack.core.ids import RunId
from matterstack.core.run.selection import Selection
from matterstack.storage.layout import require_run_id

Reason = Annotated[str, StringConstraints(max_length=2000)]
Tasks = Annotated[tuple[str, ...], Field(max_length=10_000)]
_Id = Annotated[str | int, Field(description="comes back with the reply")]


class SentCommand(BaseModel):
    """A command of a client.  ``id`` comes back with the reply."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, strict=True)
    id: _Id
    run: str

    @property
    def run_id(self) -> RunId:
        """Of the run that it is about."""
        return require_run_id(self.run)


class Which(BaseModel):
    """Which tasks are meant, apart from their names: what is given must all hold.

    Attributes:
        reason: a part of why they failed.
    """

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, strict=True)
    failed: bool = False
    waiting: bool = False
    kinds: tuple[str, ...] = Field(default=(), max_length=100, strict=False)
    exit_codes: tuple[int, ...] = Field(default=(), max_length=300, strict=False)
    reason: Reason = ""

    def with_names(self, names: tuple[str, ...]) -> Selection:
        """As use cases take it."""
        return Selection(
            names=names,
            failed=self.failed,
            waiting=self.waiting,
            kinds=self.kinds,
            exit_codes=self.exit_codes,
            reason=self.reason,
        )


def _set(value: Any) -> dict[str, Any] | tuple[str, ...]:  # noqa: ANN401  what somebody else has sent
    if isinstance(value, dict):
        return value
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        return tuple(value)
    raise ValueError('must be an object of values by path, or a list of texts "PATH=VALUE"')


Set = Annotated[dict[str, Any] | tuple[str, ...], PlainValidator(_set)]
"""What is to change: values by path, or words as they are typed after ``--set``."""
