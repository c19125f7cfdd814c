"""What a client may ask for over its websocket, checked before anything happens."""

from __future__ import annotations

import json
from abc import abstractmethod
from typing import Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints, TypeAdapter, ValidationError

from matterstack.core.documents.config import describe
from matterstack.core.documents.strict_json import without_twins
from matterstack.core.errors import UsageError
from matterstack.core.ids import TaskId
from matterstack.core.run.messages import Cancel, Command, Pause, Rerun, Resume
from matterstack.monitor.sent_changes import (
    SentAmend,
    SentAmendConfig,
    SentApply,
    SentCancelTasks,
    SentReplan,
    SentRetry,
)
from matterstack.monitor.sent_fields import Reason, SentCommand, Tasks
from matterstack.usecases.labels import LabelChange, change_of

MOST_BYTES: Final = 64 * 1024


class SentSteering(SentCommand):
    """A command that goes to the run's actor as it is."""

    @abstractmethod
    def as_command(self, by: str) -> Command:
        """As the run's actor takes it."""


class SentPause(SentSteering):
    """A command to submit no new jobs."""

    command: Literal["pause"]
    reason: Reason = ""

    def as_command(self, by: str) -> Command:
        """As the run's actor takes it."""
        return Pause(by=by, reason=self.reason)


class SentResume(SentSteering):
    """A command to go on after a pause."""

    command: Literal["resume"]

    def as_command(self, by: str) -> Command:
        """As the run's actor takes it."""
        return Resume(by=by)


class SentCancel(SentSteering):
    """End the jobs, then the run."""

    command: Literal["cancel"]
    reason: Reason = ""

    def as_command(self, by: str) -> Command:
        """As the run's actor takes it."""
        return Cancel(by=by, reason=self.reason)


class SentRerun(SentSteering):
    """Give ended tasks new attempts."""

    command: Literal["rerun"]
    tasks: Tasks = Field(min_length=1, strict=False)
    recursive: bool = False

    def as_command(self, by: str) -> Command:
        """As the run's actor takes it."""
        return Rerun(by=by, tasks=tuple(TaskId(task) for task in self.tasks), recursive=self.recursive)


class SentRespond(SentCommand):
    """Answer what a task asks.

    Attributes:
        attempt: which time it was asked.
        answer: the document that the operator takes.
    """

    command: Literal["respond"]
    task: Annotated[str, StringConstraints(max_length=200)]
    attempt: int
    answer: dict[str, Any]


class SentLabel(SentCommand):
    """Say something of a run: labels, and a note.  ``note``: empty takes it away; None leaves it."""

    command: Literal["label"]
    add: Tasks = Field(default=(), strict=False)
    remove: Tasks = Field(default=(), strict=False)
    note: str | None = None

    def change(self) -> LabelChange:
        """As the use case takes it.

        Raises:
            UsageError: a label is none.
        """
        return change_of(self.add, self.remove, self.note)


_Sent = (
    SentPause
    | SentResume
    | SentCancel
    | SentCancelTasks
    | SentRetry
    | SentRerun
    | SentRespond
    | SentAmend
    | SentAmendConfig
    | SentReplan
    | SentApply
    | SentLabel
)
COMMANDS: Final = (
    "pause",
    "resume",
    "cancel",
    "cancel_tasks",
    "retry",
    "rerun",
    "respond",
    "amend",
    "amend_config",
    "replan",
    "apply",
    "label",
)
_COMMAND: Final[TypeAdapter[_Sent]] = TypeAdapter(Annotated[_Sent, Field(discriminator="command")])


class BadCommandError(UsageError):
    """A message that is no command.  ``reply_to``: its id, where it has a usable one."""

    def __init__(self, message: str, reply_to: str | int | None = None) -> None:
        super().__init__(message)
        self.reply_to = reply_to


def parse_command(message: str | bytes) -> SentCommand:
    """Read one message of a client.

    Raises:
        BadCommandError: naming the field, and what is expected.
    """
    if isinstance(message, bytes):
        raise BadCommandError("a command is a text frame, and this was a binary one")
    if len(message.encode(errors="replace")) > MOST_BYTES:
        raise BadCommandError(f"a message has at most {MOST_BYTES} bytes")
    try:
        document = json.loads(message, object_pairs_hook=without_twins)
    except (ValueError, RecursionError) as error:
        raise BadCommandError(f"not valid JSON: {error}") from None
    if not isinstance(document, dict):
        raise BadCommandError(f"a command is a JSON object, not {type(document).__name__}")
    reply_to = _usable_id(document.get("id"))
    if document.get("command") not in COMMANDS:
        given = str(document.get("command"))[:50]
        raise BadCommandError(f"command: there is no {given!r} (there are: {', '.join(COMMANDS)})", reply_to)
    document.setdefault("id", None)
    try:
        command = _COMMAND.validate_python(document)
        _ = command.run_id
    except ValidationError as error:
        raise BadCommandError(describe(error).replace(f"{document['command']}.", ""), reply_to) from None
    except UsageError as error:
        raise BadCommandError(f"run: {error}", reply_to) from None
    return command


def _usable_id(value: Any) -> str | int | None:  # noqa: ANN401
    is_usable = isinstance(value, str | int) and not isinstance(value, bool) and len(str(value)) <= 100
    return value if is_usable else None
