"""What a program holds in its hands."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

import attrs
import trio

from matterstack.client.address import Site
from matterstack.client.link import Connection, Event, Link, open_link
from matterstack.client.token_file import given_token
from matterstack.core.errors import UsageError
from matterstack.core.run.selection import Selection
from matterstack.embed.calls import Calls
from matterstack.embed.host_change import Change, selection_of, texts
from matterstack.storage.layout import require_run_id
from matterstack.usecases.given_changes import given_changes, given_settings


@attrs.define(eq=False)
class Client:
    """See `connect`.  Iterate over it for events; one task at a time."""

    _link: Link
    _calls: Calls
    _last: int | None = attrs.field(default=None, init=False)
    _is_read: bool = attrs.field(default=False, init=False)

    @property
    def connection(self) -> Connection:
        """How the event stream is doing now."""
        return self._link.connection

    def __aiter__(self) -> Self:
        """The client itself is the stream of its events."""
        return self

    async def __anext__(self) -> Event:
        """The next event, waited for as long as it takes.

        Raises:
            MonitorError: the monitor does not let this client in, or has no such event.
            UsageError: another task waits for the next event.
        """
        if self._is_read:
            raise UsageError("another task reads the events", hint="connect once for each task")
        self._is_read = True
        try:
            event = await self._calls(self._link.next_event, self._last)
        finally:
            self._is_read = False
        self._last = event["seq"]
        return event

    # ---- what there is ----

    async def runs(self) -> list[dict[str, Any]]:
        """All runs, the newest first: as ``run list --json`` prints them, with their stages and caps.

        Raises:
            MonitorError: the monitor does not answer, or does not let this client in (as with all below).
        """
        document = await self._get("/api/runs")
        runs: list[dict[str, Any]] = document["runs"]
        return runs

    async def run(self, run_id: str) -> dict[str, Any]:
        """One run with its tasks, as of ``seq``: ``{"seq", "run", "tasks", "left_out"}``.

        Raises:
            NotFoundError: there is no such run.
            UsageError: that is no run id.
        """
        return await self._get(f"/api/runs/{require_run_id(run_id)}")

    async def explain(self, run_id: str) -> dict[str, Any]:
        """Why a run does not go on: ``{"run_id", "status", "causes"}``, as ``run explain --json`` has it."""
        return await self._get(f"/api/runs/{require_run_id(run_id)}/explain")

    async def questions(self, run_id: str) -> list[dict[str, Any]]:
        """What a run asks people and instruments now."""
        document = await self._get(f"/api/runs/{require_run_id(run_id)}/questions")
        questions: list[dict[str, Any]] = document["questions"]
        return questions

    async def _get(self, path: str) -> dict[str, Any]:
        document: dict[str, Any] = await self._calls(self._link.site.document, path)
        return document

    # ---- what can be asked for ----

    async def pause(self, run_id: str, *, reason: str = "") -> None:
        """Submit no new jobs of a run.  Returns when that is so."""
        await self._send_command("pause", run_id, reason=reason)

    async def resume(self, run_id: str) -> None:
        """Go on with a run."""
        await self._send_command("resume", run_id)

    async def cancel(self, run_id: str, *, reason: str = "") -> None:
        """End a run's jobs, then the run.  Returns when that was taken up."""
        await self._send_command("cancel", run_id, reason=reason)

    async def cancel_tasks(
        self, run_id: str, tasks: Sequence[str], *, reason: str = "", preview: bool = False
    ) -> Change:
        """End tasks of a run, by name or pattern, and those that depend on them.  Returns when taken up.

        With ``preview`` none is ended: it says which would be (see `Change`).
        """
        named = texts("tasks", tasks, "task ids")
        return await self._change("cancel_tasks", run_id, preview, tasks=named, reason=reason)

    async def amend(
        self,
        run_id: str,
        tasks: Sequence[str] = (),
        changes: Mapping[str, Any] | None = None,
        *,
        failed: bool = False,
        waiting: bool = False,
        kinds: Sequence[str] = (),
        exit_codes: Sequence[int] = (),
        failed_for: str = "",
        reason: str = "",
        resubmit: bool = False,
        preview: bool = False,
    ) -> Change:
        """Give another definition to tasks of a run; see `Run.amend` for the arguments.

        With ``preview`` nothing is changed: it says what would be (see `Change`).
        """
        chosen = selection_of(
            tasks,
            failed=failed,
            waiting=waiting,
            kinds=kinds,
            exit_codes=exit_codes,
            failed_for=failed_for,
        )
        return await self._change_tasks(
            "amend", run_id, chosen, changes, preview, reason=reason, resubmit=resubmit
        )

    async def retry(
        self,
        run_id: str,
        tasks: Sequence[str] = (),
        changes: Mapping[str, Any] | None = None,
        *,
        failed: bool = False,
        waiting: bool = False,
        kinds: Sequence[str] = (),
        exit_codes: Sequence[int] = (),
        failed_for: str = "",
        reason: str = "",
        preview: bool = False,
    ) -> Change:
        """Give failed tasks new attempts, with ``changes`` of their definitions before; see `Run.retry`.

        With ``preview`` nothing is changed: it says what would be (see `Change`).
        """
        chosen = selection_of(
            tasks,
            failed=failed,
            waiting=waiting,
            kinds=kinds,
            exit_codes=exit_codes,
            failed_for=failed_for,
        )
        return await self._change_tasks("retry", run_id, chosen, changes, preview, reason=reason)

    async def amend_config(
        self,
        run_id: str,
        settings: Mapping[str, Any] | None = None,
        *,
        from_workspace: bool = False,
        reason: str = "",
        resubmit: bool = False,
        preview: bool = False,
    ) -> Change:
        """Go on with another config; see `Run.amend_config` for the arguments.

        With ``preview`` nothing is changed: it says what would be (see `Change`).
        """
        given = given_settings(settings or {}, "settings")
        fields = {"from_workspace": from_workspace, "reason": reason, "resubmit": resubmit}
        return await self._change("amend_config", run_id, preview, set=given, **fields)

    async def replan(
        self,
        run_id: str,
        *,
        redo_changed: bool = False,
        cancel_gone: bool = False,
        yes_plan: bool = False,
        reason: str = "",
        preview: bool = False,
    ) -> Change:
        """Ask the campaign of a run once more; see `Run.replan` for the arguments.

        With ``preview`` nothing is changed: it says what would be (see `Change`).
        """
        choices = {"redo_changed": redo_changed, "cancel_gone": cancel_gone, "yes_plan": yes_plan}
        return await self._change("replan", run_id, preview, reason=reason, **choices)

    async def label(
        self, run_id: str, add: Sequence[str] = (), remove: Sequence[str] = (), *, note: str | None = None
    ) -> dict[str, Any]:
        """Give a run labels and a note, or take them away; returns what it has then."""
        added, removed = texts("add", add, "labels"), texts("remove", remove, "labels")
        reply = await self._send_command("label", run_id, add=added, remove=removed, note=note)
        said: dict[str, Any] = reply["result"]
        return said

    async def rerun(self, run_id: str, tasks: Sequence[str], *, recursive: bool = False) -> None:
        """Give ended tasks new attempts."""
        await self._send_command("rerun", run_id, tasks=list(tasks), recursive=recursive)

    async def respond(self, run_id: str, task: str, answer: Mapping[str, Any], *, attempt: int) -> None:
        """Answer what a task asks (see `questions`): which time it is asked must be said.

        Raises:
            UsageError: it cannot be used, and why; nothing was written.
            RefusedError: the task waits for no answer (any more), or has one.
        """
        await self._send_command("respond", run_id, task=task, attempt=attempt, answer=dict(answer))

    async def _change_tasks(
        self,
        command: str,
        run_id: str,
        chosen: Selection,
        changes: Mapping[str, Any] | None,
        preview: bool,
        **fields: object,
    ) -> Change:
        which = {
            "failed": chosen.failed,
            "waiting": chosen.waiting,
            "kinds": chosen.kinds,
            "exit_codes": chosen.exit_codes,
            "reason": chosen.reason,
        }
        given = given_changes(changes or {}, "changes")
        return await self._change(
            command, run_id, preview, tasks=chosen.names, which=which, set=given, **fields
        )

    async def _change(self, command: str, run_id: str, preview: bool, **fields: object) -> Change:
        """The monitor knows what it has shown by its ``basis``, where that was asked for."""
        reply = await self._send_command(command, run_id, preview=preview, **fields)
        return Change(reply["result"], partial(self._apply, run_id, reply["basis"]) if preview else None)

    async def _apply(self, run_id: str, basis: str) -> None:
        await self._send_command("apply", run_id, basis=basis)

    async def _send_command(self, command: str, run_id: str, **fields: object) -> dict[str, Any]:
        return await self._calls(self._link.send_command, command, run_id, fields)


@asynccontextmanager
async def connect(
    url: str,
    token: str | None = None,
    *,
    token_file: str | Path | None = None,
    after: int | None = None,
    run: str | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Client]:
    """Connect to a monitor and its event stream.

    Args:
        url: such as ``http://127.0.0.1:8765``.
        token: from the file that ``matterstack monitor`` names.
        token_file: a file that holds it, instead; ``-``: the first line of standard input.
        after: give the events after this sequence number (0: all); None: only new ones.
        run: only those of one run.
        tls: for https; by default, certificates are checked against those of the system.

    Raises:
        UsageError: the address or the token is none, or the token cannot be read.
    """
    given = await trio.to_thread.run_sync(given_token, token, token_file, abandon_on_cancel=True)
    async with open_link(Site.parse(url, given, tls), after=after, run=run) as link:
        yield Client(link, link.calls)
