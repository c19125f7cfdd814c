"""What a host program holds in its hands: engines, runs and streams of events.

The same for trio and asyncio: they only differ in how calls get to where the engine lives.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, Self

import attrs

from matterstack.core.errors import UsageError
from matterstack.core.ids import RunId, TaskId
from matterstack.core.model.workflow import Campaign
from matterstack.core.run.messages import Cancel, Command, Pause, ReplanChoices, Rerun, Resume
from matterstack.embed.calls import Calls
from matterstack.embed.host_change import Change, require_flags, selection_of, texts
from matterstack.embed.service import SETTINGS, Event, Json, Service
from matterstack.storage.read.runs import RunSummary
from matterstack.usecases.given_changes import given_changes, given_settings
from matterstack.usecases.labels import change_of
from matterstack.usecases.proposals import Proposal
from matterstack.usecases.runs import user_name

if TYPE_CHECKING:
    from matterstack.evidence.export import Bundle

_P = ParamSpec("_P")


@attrs.define(eq=False)
class Engine:
    """Serves the runs that it was given: those started here, and those attached.

    Every method may be called from any task of the program part in which the engine was opened, and raises
    `ClosedError` once the engine is closed or has stopped, `UsageError` elsewhere, and `StoreError` when the
    store does not answer.
    """

    _service: Service
    _calls: Calls

    @property
    def root(self) -> Path:
        """The folder with ``workspaces/`` in it."""
        return self._service.root.path

    async def start(
        self,
        campaign: str | Campaign,
        *,
        settings: Mapping[str, Any] | None = None,
        workspace: str | None = None,
        key: str | None = None,
    ) -> Run:
        """Make a new run, and serve it.  Returns when it has begun.

        Where it uses Slurm, its first plan is made once more before, and held against the limits of the
        partitions; what could not be checked is logged as a warning.  From then on it is in the store, and
        goes on after any crash, with this engine or another.  If this is cancelled, the run may have been
        made all the same.

        Args:
            campaign: the name of a workspace, or an object with ``plan`` and ``analyze``.  An object is kept
                in the run's folder with its data as it is now, and is called in child processes, as a
                ``campaign.py`` is; so what a call changes in it is lost, and only the state that ``analyze``
                returns goes on.
            settings: config keys for this run, over those of workspace and site, such as
                ``{"default_backend": "cluster", "params.n": 5}``.
            workspace: of an object: whose config and files are used; made where there is none.  None: one
                that is named after its class.
            key: where a run has it already, that one is served and returned, whatever its state, and none is
                made: a cell of a notebook that is run twice starts one run.

        Raises:
            NotFoundError: there is no such workspace.
            CampaignError: it has no ``campaign.py``; or the object cannot be pickled, or not loaded again; or
                a job of its first plan could never run, as ``run init`` tells it.
            ConfigError: a setting or a config file is wrong.
            RefusedError: the key is that of a run of another workspace.
        """
        run_id = await self._calls(self._service.start, campaign, settings or {}, workspace, key)
        return Run(self._service, self._calls, run_id)

    async def run(self, run_id: str) -> Run:
        """Attach an existing run: serve it, if it has not ended.

        While another engine has it, that one goes on serving it, and it can be watched and steered here; when
        that lets go, it is taken up here.  To attach a run again is no error, and changes nothing.

        Args:
            run_id: its id, how it begins, ``@last``, or a workspace, which stands for its newest run.

        Raises:
            NotFoundError: there is no such run.
            UsageError: that is no run id, or how several begin.
        """
        known = await self._calls(self._service.attach, _text("run_id", run_id))
        return Run(self._service, self._calls, known)

    async def runs(self) -> list[RunSummary]:
        """All runs of the root, the oldest first; also those that this engine does not serve."""
        return await self._calls(self._service.summaries)


@attrs.define(eq=False)
class Run:
    """One run.  Every method may raise what those of `Engine` raise.

    Attributes:
        id: with which any engine finds it again.
    """

    _service: Service
    _calls: Calls
    id: RunId

    def events(self, after: int = 0) -> EventStream:
        """All events of the run after a sequence number, the past ones first, until the run has ended."""
        return EventStream(self._service, self._calls, self.id, require_seq(after))

    async def wait(self) -> RunSummary:
        """Wait until the run has ended (COMPLETED, FAILED or CANCELLED): returns how."""
        return await self._calls(self._service.wait, self.id)

    async def status(self) -> RunSummary:
        """How far the run is."""
        return await self._calls(self._service.summary, self.id)

    async def state(self) -> Json:
        """What the last ``analyze`` of the campaign returned; empty before that."""
        return await self._calls(self._service.state, self.id)

    async def tasks(self) -> list[Json]:
        """All tasks with their attempts, as ``run tasks --json`` prints them."""
        return await self._calls(self._service.tasks, self.id)

    async def explain(self) -> Json:
        """Why the run does not go on, as ``run explain --json`` prints it."""
        return await self._calls(self._service.explain, self.id)

    async def pause(self, *, reason: str = "") -> None:
        """Submit no new jobs.  Returns when that is so; jobs that run are still followed.

        Raises:
            RefusedError: not in this state (as with all that follow).
        """
        await self._ask(Pause(by=user_name(), reason=reason))

    async def resume(self) -> None:
        """Go on after a pause."""
        await self._ask(Resume(by=user_name()))

    async def cancel(self, *, reason: str = "") -> None:
        """End the jobs, then the run, for ever.  Returns when that was taken up; `wait` waits for the end."""
        await self._ask(Cancel(by=user_name(), reason=reason))

    async def cancel_tasks(self, tasks: Sequence[str], *, reason: str = "", preview: bool = False) -> Change:
        """End tasks, by name or pattern (``relax-*``), and those that depend on them; the run goes on.

        Returns when that was taken up: a task is CANCELLED when its job is over.

        Args:
            preview: say which would end, and end none (see `Change`).
        """
        named = texts("tasks", tasks, "task ids")
        return await self._change(preview, self._service.propose_cancelling, self.id, named, reason)

    async def amend(
        self,
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
        """Give another definition to tasks that have not succeeded: their next attempts are as it says.

        Args:
            tasks: names or patterns (``relax-*``).  What is given to say which tasks must all hold.
            changes: new values by path, such as ``{"resources.walltime_s": 7200, "env.A": None}``.
            failed: those that FAILED.
            waiting: those that have not begun.
            kinds: how their last attempt failed: ``timeout``, ``out_of_memory``, ``exit:3`` and so on.
            exit_codes: what their last attempt ended with.
            failed_for: a part of why they failed.
            reason: why they are amended; kept in the run's history.
            resubmit: cancel jobs that still wait in a queue, and submit them anew as their tasks are then;
                without changes: as they are now.
            preview: say what would change, and change nothing (see `Change`).

        Raises:
            NotFoundError: no task is meant.
            UsageError: no task was named, or nothing is to change.
            RefusedError: one that was named has succeeded, or could not be run so; names the path.
        """
        require_flags(resubmit=resubmit)
        chosen = selection_of(
            tasks,
            failed=failed,
            waiting=waiting,
            kinds=kinds,
            exit_codes=exit_codes,
            failed_for=failed_for,
        )
        given = given_changes(changes or {}, "changes")
        return await self._change(
            preview, self._service.propose_amendment, self.id, chosen, given, reason, resubmit
        )

    async def retry(
        self,
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
        """Give failed tasks new attempts: those meant, or all that keep the run from completing.

        A run that FAILED goes on.  The arguments are those of `amend`; with ``changes`` the tasks have
        another definition before.
        """
        chosen = selection_of(
            tasks,
            failed=failed,
            waiting=waiting,
            kinds=kinds,
            exit_codes=exit_codes,
            failed_for=failed_for,
        )
        given = given_changes(changes or {}, "changes")
        return await self._change(preview, self._service.propose_retry, self.id, chosen, given, reason)

    async def amend_config(
        self,
        settings: Mapping[str, Any] | None = None,
        *,
        from_workspace: bool = False,
        reason: str = "",
        resubmit: bool = False,
        preview: bool = False,
    ) -> Change:
        """Go on with another config; jobs that are there are followed on.

        Args:
            settings: config keys for this run, as of `Engine.start`.
            from_workspace: take the config files as they are now; what was set for this run alone stays.
            reason: why; kept in the run's history.
            resubmit: cancel jobs that still wait on a backend that is another one then, and submit them anew.
            preview: say what would change, and change nothing (see `Change`).

        Raises:
            ConfigError: that would be no config; names the key.
            RefusedError: the run cannot go on with it.
        """
        require_flags(from_workspace=from_workspace, resubmit=resubmit)
        given = given_settings(settings or {}, SETTINGS)
        return await self._change(
            preview, self._service.propose_config, self.id, given, from_workspace, reason, resubmit
        )

    async def replan(
        self,
        *,
        redo_changed: bool = False,
        cancel_gone: bool = False,
        yes_plan: bool = False,
        reason: str = "",
        preview: bool = False,
    ) -> Change:
        """Ask the campaign once more for the iteration in hand, and take what it plans now.

        Args:
            redo_changed: do what succeeded with another definition again, in place of keeping its result.
            cancel_gone: end the jobs of tasks that are no longer planned.
            yes_plan: where a task was amended and the plan changed the same field, the plan's holds.
            reason: why; kept in the run's history.
            preview: say what would change, and change nothing (see `Change`).

        Raises:
            CampaignError: the campaign failed, or plans what cannot be.
            RefusedError: nothing would change, or not in the run's state.
        """
        require_flags(redo_changed=redo_changed, cancel_gone=cancel_gone, yes_plan=yes_plan)
        choices = ReplanChoices(redo_changed=redo_changed, cancel_gone=cancel_gone, yes_plan=yes_plan)
        return await self._change(preview, self._service.propose_replan, self.id, choices, reason)

    async def label(
        self, add: Sequence[str] = (), remove: Sequence[str] = (), *, note: str | None = None
    ) -> Json:
        """Give the run labels and a note, or take them away; returns what it has, as ``run label --json``.

        Args:
            note: empty: none any more; None: as it is.

        Raises:
            UsageError: a label is none.
        """
        added, removed = texts("add", add, "labels"), texts("remove", remove, "labels")
        change = change_of(added, removed, None if note is None else _text("note", note))
        return await self._calls(self._service.label, self.id, change)

    async def rerun(self, tasks: Sequence[str], *, recursive: bool = False) -> None:
        """Give ended tasks new attempts, and with ``recursive`` all that depend on them."""
        await self._ask(Rerun(by=user_name(), tasks=_task_ids(tasks), recursive=recursive))

    async def questions(self) -> list[Json]:
        """What the run asks people and instruments now, each with its task, attempt and manifest."""
        return await self._calls(self._service.questions, self.id)

    async def respond(self, task: str, answer: Mapping[str, Any], *, attempt: int | None = None) -> None:
        """Answer what a task asks.  Returns when it is checked and handed over: the run takes it.

        Args:
            answer: the document that the operator takes; of a ``human`` task, its fields.
            attempt: which time it was asked, if it must be that one.

        Raises:
            UsageError: it cannot be used, and why; nothing was written.
            RefusedError: the task waits for no answer, or has one.
        """
        await self._calls(self._service.respond, self.id, TaskId(_text("task", task)), answer, attempt)

    async def export_evidence(self, output: str | Path | None = None) -> Bundle:
        """Build the evidence bundle, in any state of the run; None: in the run's folder.

        Raises:
            RefusedError: ``output`` holds something that is no bundle.
        """
        if not isinstance(output, str | Path | None):
            raise UsageError(f"output: must be a path, not {output!r}")
        where = Path(output) if output is not None else None
        return await self._calls(self._service.export, self.id, where)

    async def _ask(self, command: Command) -> None:
        await self._calls(self._service.ask, self.id, command)

    async def _change(
        self,
        preview: bool,
        propose: Callable[_P, Awaitable[Proposal]],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> Change:
        require_flags(preview=preview)
        proposal = await self._calls(propose, *args, **kwargs)
        if preview:
            return Change(proposal.shown, partial(self._calls, self._service.carry_out_as_shown, proposal))
        await self._calls(self._service.carry_out, proposal)
        return Change(proposal.shown, None)


@attrs.define(eq=False)
class EventStream:
    """Events of one run, each of them once, in order.  One task at a time.

    It holds nothing: it may be left at any event, and read on later.

    Attributes:
        seq: of the last event that it gave.
    """

    _service: Service
    _calls: Calls
    _run: RunId
    seq: int
    _page: deque[Event] = attrs.field(factory=deque)
    _is_read: bool = False

    def __aiter__(self) -> Self:
        """The stream itself is its iterator."""
        return self

    async def __anext__(self) -> Event:
        """The next event, waited for as long as it takes.

        Raises:
            UsageError: another task waits for the next event of this stream.
        """
        if self._is_read:
            raise UsageError("another task reads this stream", hint="call run.events() once for each task")
        self._is_read = True
        try:
            if not self._page:
                # A call that is cancelled changes nothing here, so that the next one asks for the same.
                self._page.extend(await self._calls(self._service.events, self._run, self.seq))
        finally:
            self._is_read = False
        if not self._page:
            raise StopAsyncIteration
        event = self._page.popleft()
        self.seq = event["seq"]
        return event

    async def aclose(self) -> None:
        """Nothing is to be done, but a host may call it as it does with its own streams."""
        self._page.clear()


def require_seq(after: object) -> int:
    """Check what a host gave.

    Raises:
        UsageError: it is no sequence number, nor 0.
    """
    if isinstance(after, bool) or not isinstance(after, int) or after < 0:
        raise UsageError(f"after: must be the sequence number of an event, not {after!r}")
    return after


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{name}: must be text, not {value!r}")
    return value


def _task_ids(tasks: object) -> tuple[TaskId, ...]:
    return tuple(map(TaskId, texts("tasks", tasks, "task ids")))
