"""What run actors are given to work with."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs

from matterstack.actors.journal import JournalActor
from matterstack.actors.mailbox import Mailbox
from matterstack.actors.planner import Planner
from matterstack.actors.protocol import Attend, BackendMessage, Leave, Terms, Want
from matterstack.actors.runtime import Runtime
from matterstack.actors.wakeup import Wakeup
from matterstack.backends.base import Backend
from matterstack.core.errors import ActorEndedError, MailboxFullError
from matterstack.core.ids import BackendName, RunId
from matterstack.core.model.workflow import Workflow
from matterstack.core.nonces import Nonces
from matterstack.core.operators import ASKED
from matterstack.core.run.state import RunState, backend_config
from matterstack.storage.backend_reports import definition_of
from matterstack.storage.layout import Root
from matterstack.storage.secret_values import SecretVault


@attrs.frozen
class BackendHandle:
    """A backend and the mailbox of its actor.

    Attributes:
        sharer: what the store calls the one who shares its seats out in this engine.
        users: runs that attend it.
        seats_changed: the sign that other engines may have left some.
    """

    backend: Backend
    mailbox: Mailbox[BackendMessage]
    sharer: str
    seats_changed: Wakeup = attrs.field(factory=Wakeup)
    users: set[RunId] = attrs.field(factory=set)

    def leave(self, run: RunId) -> None:
        """Say that a run has gone.  When nobody can take that in, nobody needs to know."""
        self.users.discard(run)
        # This overtakes what it had told: a run that came when it had gone would be given seats for ever.
        self.mailbox.take_back(
            lambda message: isinstance(message, Attend | Terms | Want) and message.run == run
        )
        try:
            self.mailbox.tell(Leave(run), control=True)
        except (ActorEndedError, MailboxFullError):
            return


def is_redefined(backend: BackendName, before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether another config defines a backend of a run otherwise, or not at all; caps do not count."""
    if backend not in {ASKED, *after["backends"]}:
        return True
    was, is_now = (definition_of(backend, backend_config(config, backend)) for config in (before, after))
    return was != is_now


@attrs.frozen(kw_only=True)
class Services:
    """Everything outside of a run that its actor uses.

    Attributes:
        reader: connection for reading the store, through ``runtime.store`` only.
        backend: the handle of a backend, started where needed, by its name and configuration.
        retire: end a backend, unless a run attends it.
        nonces: of the attempts of the root.
        vault: values of secrets, as far as this engine knows them.
        check_resources: raises CampaignError when a workflow asks for what a backend can never give.
        changed: called after every commit of a run.
    """

    root: Root
    runtime: Runtime
    journal: JournalActor
    reader: sqlite3.Connection
    planner: Planner
    nonces: Nonces
    vault: SecretVault
    backend: Callable[[BackendName, Mapping[str, Any]], BackendHandle]
    retire: Callable[[BackendHandle], None]
    check_resources: Callable[[RunState, Workflow], Awaitable[None]]
    changed: Callable[[RunState], None]
