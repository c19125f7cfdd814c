"""Every error that MatterStack raises on purpose.

    MatterStackError
    ├── UsageError               what was asked for makes no sense               exit 2
    │   ├── ConfigError          a config file: names the file and the field
    │   └── CampaignError        campaign.py, or the workflow that it planned
    ├── NotFoundError            no such root, workspace, run or task            exit 3
    ├── RefusedError             not in this state                               exit 4
    │   ├── IllegalTransitionError
    │   └── ChangedError         somebody has changed it since it was shown
    ├── UnreachableError         a backend or the store cannot be reached        exit 5
    │   ├── BackendError
    │   └── StoreError
    │       ├── DiskFullError
    │       ├── DatabaseVersionError
    │       └── DatabaseCorruptError
    ├── StagingError             an attempt's folder cannot be prepared
    ├── MonitorError             a monitor does not answer, or lets nobody in     exit 5
    ├── ClosedError              the engine that was asked is closed, or has stopped
    ├── LeaseLostError           another engine took the run over
    ├── CapReachedError          no seat is free; try again when one is
    ├── MailboxFullError         nothing was enqueued
    └── InvariantError           a bug in MatterStack

Each has a sentence for people (``str``), a stable ``code`` for programs, and a ``hint``: what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class MatterStackError(Exception):
    """Base of all errors that callers may want to catch.

    Attributes:
        code: stable word for programs (``--json``).
        exit_code: exit status of the command line.
        hint: what a person can do about it; may be empty.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class UsageError(MatterStackError):
    """The request itself makes no sense."""

    code = "usage"
    exit_code = 2


class ConfigError(UsageError):
    """A config file is wrong; the message names the file and the field."""

    code = "config"


class CampaignError(UsageError):
    """``campaign.py`` is missing or broken, or planned a workflow that cannot run.

    Attributes:
        is_loaded: whether there was a campaign to ask; not where its file cannot be run, or has none.
    """

    code = "campaign"
    is_loaded = True

    def __init__(self, message: str, *, hint: str = "", is_loaded: bool = True) -> None:
        super().__init__(message, hint=hint)
        self.is_loaded = is_loaded


class NotFoundError(MatterStackError):
    """No such root, workspace, run or task."""

    code = "not_found"
    exit_code = 3


class RefusedError(MatterStackError):
    """Makes sense, but not in this state."""

    code = "refused"
    exit_code = 4


class IllegalTransitionError(RefusedError):
    """A state change that the tables in `matterstack.core.states` do not hold."""

    code = "illegal_transition"

    def __init__(self, what: str, old: str, new: str, *, hint: str = "") -> None:
        super().__init__(f"{what} is {old} and cannot become {new}", hint=hint)
        self.what = what
        self.old = old
        self.new = new


class ChangedError(RefusedError):
    """What was shown and agreed to is not how it is any more; nothing was changed."""

    code = "changed"


class UnreachableError(MatterStackError):
    """Something that should answer does not; state is kept."""

    code = "unreachable"
    exit_code = 5


class BackendError(UnreachableError):
    """A backend does not answer or is not installed."""

    code = "backend"


class StoreError(UnreachableError):
    """The database, or a file of a run, cannot be read or written; the message names it."""

    code = "store"


class DiskFullError(StoreError):
    """No room for what was to be written; goes on when there is."""

    code = "disk_full"


class DatabaseVersionError(StoreError):
    """The database was written by a newer MatterStack."""

    code = "database_version"


class DatabaseCorruptError(StoreError):
    """The file is no intact SQLite database."""

    code = "database_corrupt"


class StagingError(MatterStackError):
    """The folder of an attempt cannot be prepared as its task wants it; the task fails."""

    code = "staging"


class MonitorError(MatterStackError):
    """A monitor does not answer, or does not let this client in.

    Attributes:
        is_final: to try again is of no use.
    """

    code = "monitor"
    exit_code = 5

    def __init__(self, message: str, *, hint: str = "", is_final: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.is_final = is_final


class ClosedError(MatterStackError):
    """What was used is closed, or has stopped: then ``__cause__`` is what stopped it."""

    code = "closed"


class LeaseLostError(MatterStackError):
    """Another engine holds the run now; nothing was written."""

    code = "lease_lost"
    exit_code = 5


class CapReachedError(MatterStackError):
    """The backend's cap is used up; the attempt was not prepared and nothing was written."""

    code = "cap_reached"

    def __init__(self, backend: str, cap: int, live: int) -> None:
        super().__init__(f"backend {backend} has {live} live jobs of at most {cap}")
        self.backend = backend
        self.cap = cap
        self.live = live


class MailboxFullError(MatterStackError):
    """The actor did not keep up; nothing was enqueued."""

    code = "mailbox_full"

    def __init__(self, actor: str, capacity: int) -> None:
        super().__init__(f"mailbox of {actor} is full ({capacity} messages waiting)")
        self.actor = actor
        self.capacity = capacity


class ActorEndedError(MatterStackError):
    """The actor that was asked has ended before it answered."""

    code = "actor_ended"


class InvariantError(MatterStackError):
    """This is a bug in MatterStack: a rule that always holds did not."""

    code = "invariant"


def error_of(document: Mapping[str, Any]) -> MatterStackError:
    """An error that was told as ``{"code", "message", "hint"}``, as the class that has this code."""
    # Of those that share a code, the first one had it; the others are about something nearer at hand.
    kinds = {kind.code: kind for kind in reversed(_all_kinds(MatterStackError))}
    kind = kinds.get(document["code"], RefusedError)
    # The classes differ in their arguments; what matters to the caller is code, message and hint.
    error = kind.__new__(kind)
    MatterStackError.__init__(error, str(document["message"]), hint=str(document["hint"]))
    return error


def _all_kinds(kind: type[MatterStackError]) -> list[type[MatterStackError]]:
    return [kind, *(deeper for sub in kind.__subclasses__() for deeper in _all_kinds(sub))]
