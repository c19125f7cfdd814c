"""What an engine in a host program does for it: the trio side, whichever kind of program that is."""

from __future__ import annotations

import logging
import re
import sqlite3
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from matterstack.core.errors import UsageError
from matterstack.core.ids import RunId, TaskId, utc_text
from matterstack.core.run.messages import Command, ReplanChoices
from matterstack.core.run.selection import Selection
from matterstack.core.states import ENDED_RUNS, RunStatus
from matterstack.storage.layout import Root
from matterstack.storage.read.changes import StoreWatcher
from matterstack.storage.read.events import event_lines, last_seq
from matterstack.storage.read.reader import Reader
from matterstack.storage.read.runs import RunSummary, campaign_state, require_run, run_summaries
from matterstack.storage.read.tasks import task_list
from matterstack.usecases.commands import send_command
from matterstack.usecases.explain import KeptSights, explain
from matterstack.usecases.given_changes import given_settings
from matterstack.usecases.labels import LabelChange, label_run, labelling_document
from matterstack.usecases.proposals import (
    Proposal,
    carry_out,
    propose_amendment,
    propose_cancelling,
    propose_config,
    propose_replan,
    propose_retry,
)
from matterstack.usecases.questions import answer_question, list_questions
from matterstack.usecases.run_names import find_run
from matterstack.usecases.runs import make_run, user_name

if TYPE_CHECKING:
    from matterstack.engine import Runtime
    from matterstack.evidence.export import Bundle

logger: Final = logging.getLogger(__name__)

PAGE = 500
SETTINGS = "settings"

Json = dict[str, Any]
Event = Json
"""An event: seq, at (UTC), run, type, data."""


@attrs.define(eq=False)
class Service:
    """Serves the runs that its host has started or attached, and answers about any.

    Attributes:
        served: the runs; the engine looks here for what it is to serve.
    """

    root: Root
    runtime: Runtime
    _reader: Reader
    _watcher: StoreWatcher
    _hook_from: int | None = None
    served: list[RunId] = attrs.field(factory=list)
    heard: dict[RunId, int] = attrs.field(factory=dict)
    _sights: KeptSights = attrs.field(factory=KeptSights)

    # ---- runs ----

    async def start(
        self, campaign: object, settings: Mapping[str, Any], workspace: str | None, key: str | None = None
    ) -> RunId:
        """Make a run, or find the one that has the key, and serve it."""
        overrides = given_settings(settings, SETTINGS)
        if isinstance(campaign, str):
            if workspace is not None:
                raise UsageError(f"workspace={workspace!r}: {campaign!r} names a workspace already")
            slug = campaign
        elif isinstance(workspace, str | None):
            slug = workspace if workspace is not None else _slug(campaign)
        else:
            raise UsageError(f"workspace: must be text, not {workspace!r}")
        known: list[RunId] = []
        run_id = await make_run(
            self.root,
            slug,
            overrides,
            self.runtime,
            warn=partial(logger.warning, "a new run of %s: %s", slug),
            campaign=None if isinstance(campaign, str) else campaign,
            overrides_name=SETTINGS,
            key=key,
            on_known=known.append,
        )
        if known:
            await self.attach(run_id)
        # Nothing can be cancelled between these two: a run that the store has is served.
        self._serve(run_id, heard=0)
        await self._watcher.first(partial(self._has_begun, run_id))
        return run_id

    async def _has_begun(self, run_id: RunId) -> bool | None:
        return (await self.summary(run_id)).status is not RunStatus.PENDING or None

    async def attach(self, run_id: str) -> RunId:
        """Serve a run that there is; once more is the same."""
        named = await self._reader.read(find_run, self.root, run_id)
        summary = await self.summary(named.run_id)
        if summary.run_id not in self.heard:
            newest = await self._reader.read(last_seq)
            self._serve(summary.run_id, heard=newest if self._hook_from is None else self._hook_from)
        return summary.run_id

    def _serve(self, run_id: RunId, heard: int) -> None:
        self.heard.setdefault(run_id, heard)
        if run_id not in self.served:
            self.served.append(run_id)

    async def summaries(self) -> list[RunSummary]:
        """All runs of the root."""
        return await self._reader.read(run_summaries)

    # ---- one run ----

    async def summary(self, run_id: RunId) -> RunSummary:
        """How far a run is, at this moment."""
        return await self._reader.read(require_run, run_id)

    async def state(self, run_id: RunId) -> Json:
        """What its campaign has found."""
        await self.summary(run_id)
        return await self._reader.read(campaign_state, run_id)

    async def tasks(self, run_id: RunId) -> list[Json]:
        """Its tasks, with all attempts."""
        await self.summary(run_id)
        return await self._reader.read(task_list, run_id)

    async def explain(self, run_id: RunId) -> Json:
        """Why it does not go on."""
        now = utc_text(self.runtime.clock())
        return (await explain(self._reader, self.root, run_id, now, self._sights)).as_json()

    async def ask(self, run_id: RunId, command: Command) -> None:
        """Ask it for something; returns when that is durable and answered."""
        await send_command(self.root, run_id, command, self.runtime)

    async def propose_amendment(
        self, run_id: RunId, selection: Selection, changes: Mapping[str, Any], reason: str, resubmit: bool
    ) -> Proposal:
        """What it would do to give tasks other definitions."""
        return await propose_amendment(self._reader, run_id, selection, changes, reason, resubmit=resubmit)

    async def propose_retry(
        self, run_id: RunId, selection: Selection, changes: Mapping[str, Any], reason: str
    ) -> Proposal:
        """New attempts for failed tasks."""
        return await propose_retry(self._reader, run_id, selection, changes, reason)

    async def propose_config(
        self, run_id: RunId, settings: Mapping[str, Any], from_workspace: bool, reason: str, resubmit: bool
    ) -> Proposal:
        """What another config of the run would change."""
        return await propose_config(
            self._reader,
            run_id,
            settings,
            from_workspace=from_workspace,
            reason=reason,
            resubmit=resubmit,
        )

    async def propose_cancelling(self, run_id: RunId, tasks: Sequence[str], reason: str) -> Proposal:
        """Which tasks would end, if these are cancelled."""
        return await propose_cancelling(self._reader, run_id, tasks, reason)

    async def propose_replan(self, run_id: RunId, choices: ReplanChoices, reason: str) -> Proposal:
        """What its campaign plans now."""
        return await propose_replan(self.root, run_id, choices, reason, self.runtime)

    async def carry_out(self, proposal: Proposal) -> None:
        """Do it, whatever has changed meanwhile."""
        await carry_out(self.root, proposal, self.runtime, as_shown=False)

    async def carry_out_as_shown(self, proposal: Proposal) -> None:
        """Do it, if it would still do what it showed."""
        await carry_out(self.root, proposal, self.runtime, as_shown=True)

    async def label(self, run_id: RunId, change: LabelChange) -> Json:
        """Say something of a run: labels, and a note."""
        now = utc_text(self.runtime.clock())
        return labelling_document(
            run_id, await self._reader.read(label_run, run_id, change, user_name(), now)
        )

    async def questions(self, run_id: RunId) -> list[Json]:
        """What it asks people and instruments now."""
        asked = await self._reader.read(list_questions, self.root, run_id)
        return [question.as_json() for question in asked.first]

    async def respond(
        self, run_id: RunId, task_id: TaskId, answer: Mapping[str, Any], attempt: int | None
    ) -> None:
        """Hand over the answer to what a task asks."""
        put = partial(answer_question, attempt=attempt)
        await self._reader.read(put, self.root, run_id, task_id, answer)

    async def export(self, run_id: RunId, output: Path | None) -> Bundle:
        """Build the evidence of a run."""
        # Draws pictures, which takes a second to load.
        from matterstack.evidence.export import build_evidence_bundle

        return await build_evidence_bundle(self.root, run_id, output)

    async def wait(self, run_id: RunId) -> RunSummary:
        """Return when it has ended."""

        async def look() -> RunSummary | None:
            summary = await self.summary(run_id)
            return summary if summary.status in ENDED_RUNS else None

        return await self._watcher.first(look)

    async def events(self, run_id: RunId, after: int) -> Sequence[Event]:
        """Its next events, at least one; none when it has ended and there are no more.

        Raises:
            UsageError: the store has not got so far.
        """

        async def look() -> Sequence[Event] | None:
            has_ended, newest, lines = await self._reader.read(_page, run_id, after)
            if after > newest:
                raise UsageError(f"after: there is no event {after} (the newest has seq {newest})")
            return [line for _, line in lines] if lines or has_ended else None

        return await self._watcher.first(look)

    # ---- all that is served ----

    async def wait_unheard(self) -> None:
        """Return when there are events of the runs that are served that `note_heard` was not told of."""

        async def look() -> bool | None:
            return bool(await self.unheard()) or None

        await self._watcher.first(look)

    async def unheard(self) -> Sequence[Event]:
        """The next of these events; none when all were taken."""
        return await self._reader.read(_pages, dict(self.heard))

    def note_heard(self, event: Event) -> None:
        """Note that the host has taken an event."""
        self.heard[event["run"]] = event["seq"]


def _page(
    connection: sqlite3.Connection, run_id: RunId, after: int
) -> tuple[bool, int, list[tuple[int, Event]]]:
    # In this order: all that led to an end was stored by then.
    has_ended = require_run(connection, run_id).status in ENDED_RUNS
    newest = last_seq(connection)
    return has_ended, newest, event_lines(connection, after, run_id, PAGE)


def _pages(connection: sqlite3.Connection, heard: Mapping[RunId, int]) -> list[Event]:
    """Each run's in order; one that is far behind may come after later ones of others."""
    pages = (event_lines(connection, seq, run_id, PAGE) for run_id, seq in heard.items())
    return [line for _, line in sorted(chain.from_iterable(pages), key=itemgetter(0))]


def _slug(campaign: object) -> str:
    """A name for the workspace of an object: that of its class, as folders are named.

    >>> class HTTPRelaxations: ...
    >>> _slug(HTTPRelaxations())
    'http_relaxations'
    """
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+", type(campaign).__name__)
    return "_".join(words).lower() or "campaign"
