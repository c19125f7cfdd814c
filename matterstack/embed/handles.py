"""What a host program holds in its hands: engines, runs and streams of events.

The same for trio and asyncio: they only differ in how calls get to where the engine lives.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import attrs

from matterstack.core.errors import UsageError
from matterstack.core.ids import RunId, TaskId
from matterstack.core.model.workflow import Campaign
from matterstack.core.run.messages import Cancel, CancelTasks, Command, Pause, Rerun, Resume, Retry
from matterstack.embed.calls import Calls
from matterstack.embed.service import Event, Json, Service
from matterstack.storage.read.runs import RunSummary
from matterstack.usecases.runs import user_name

if TYPE_CHECKING:
    from matterstack.evidence.export import Bundle


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

    async def cancel_tasks(self, tasks: Sequence[str], *, reason: str = "") -> None:
        """End tasks, by name or pattern (``relax-*``), and those that depend on them; the run goes on.

        Returns when that was taken up: a task is CANCELLED when its job is over.
        """
        await self._ask(CancelTasks(by=user_name(), tasks=_task_ids(tasks), reason=reason))

    async def retry(self, tasks: Sequence[str] = ()) -> None:
        """Give failed tasks new attempts: those named, or all.  A run that FAILED goes on."""
        await self._ask(Retry(by=user_name(), tasks=_task_ids(tasks)))

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
    if isinstance(tasks, str):
        raise UsageError(f"tasks: must be a list of task ids, not {tasks!r}", hint=f"give [{tasks!r}]")
    if not isinstance(tasks, Iterable):
        raise UsageError(f"tasks: must be a list of task ids, not {tasks!r}")
    return tuple(TaskId(task) for task in tasks)
