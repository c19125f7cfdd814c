"""The run actor: the only writer of its run.

A message leads to facts (`matterstack.core.run.decide`); the facts become durable; only then does anything
happen outside, or does anybody get an answer.  What the actor holds in memory is a cache of the store: a
new actor built from the store finds every effect that was intended and not confirmed, and goes on.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import Any, Final

import attrs
import trio

from matterstack.actors import protocol as p
from matterstack.actors.binding import bind_ends
from matterstack.actors.collecting import collect_all
from matterstack.actors.consultation import Consultation
from matterstack.actors.mailbox import Mailbox
from matterstack.actors.preparing import Staged, live_job, prepared_attempt, stage_all
from matterstack.actors.secret_watch import SecretWatch, seek_secrets
from matterstack.actors.services import BackendHandle, Services, is_redefined
from matterstack.actors.submissions import Submissions
from matterstack.core.errors import (
    CapReachedError,
    InvariantError,
    MatterStackError,
    NotFoundError,
    RefusedError,
)
from matterstack.core.ids import BackendName, JobId, RunId, TaskId, Token
from matterstack.core.nonces import sha256_of_nonce
from matterstack.core.operators import ASKED
from matterstack.core.run import facts as f
from matterstack.core.run import messages as m
from matterstack.core.run.apply import Touched, apply
from matterstack.core.run.config_changes import concern_planning
from matterstack.core.run.decide import decide
from matterstack.core.run.decide_jobs import is_to_be_given_up, is_to_end, room_of, wanted_seats
from matterstack.core.run.scrubbing import scrubbed
from matterstack.core.run.state import RunState
from matterstack.storage.claims import claimed_backends
from matterstack.storage.commands import StoredCommand
from matterstack.storage.crash_points import crash_point
from matterstack.storage.journal import Append, make_append
from matterstack.storage.layout import RunFolder
from matterstack.storage.restored import is_known, known_head
from matterstack.storage.schema import reading
from matterstack.storage.snapshot import load_run

logger: Final = logging.getLogger(__name__)

MESSAGES_AT_ONCE: Final = 32
SWEEP_S: Final = 10.0
GIVE_UP_S: Final = 2.0
"""How long a run that is to end waits until outputs were looked at, and files copied."""
SHARED_COMMIT_S: Final = 0.005
"""How long a report that nobody waits for may wait for another one to be committed with."""


class Role(Enum):
    """What a run's actor is here for."""

    DRIVE = "drive"
    """Everything."""
    COMMANDS = "commands"
    """Only to carry out commands, and to end jobs where one asks for that."""
    SWEEP = "sweep"
    """Only to note the end of its jobs, whose seats another run waits for: for `SWEEP_S` at the most."""


@attrs.define(kw_only=True)
class RunActor:
    """The actor of one run: it alone decides about it.

    Attributes:
        epoch: of the lease under which this actor writes.
        role: what it is here for.
    """

    run_id: RunId
    epoch: int
    services: Services
    mailbox: Mailbox[p.RunMessage]
    role: Role = Role.DRIVE
    _state: RunState = attrs.field(init=False)
    _nursery: trio.Nursery = attrs.field(init=False)
    _handles: dict[BackendName, BackendHandle] = attrs.field(factory=dict)
    _told_wants: dict[BackendName, tuple[int, int]] = attrs.field(factory=dict)
    _submissions: Submissions = attrs.field(factory=Submissions)
    _attends: dict[BackendName, p.Attend] = attrs.field(factory=dict)
    _claimed: set[BackendName] = attrs.field(factory=set)
    _collecting: set[TaskId] = attrs.field(factory=set)
    _giving_up: set[trio.CancelScope] = attrs.field(factory=set)
    _given_up: set[TaskId] = attrs.field(factory=set)
    _pauses: list[StoredCommand] = attrs.field(factory=list)
    _amendments: list[StoredCommand] = attrs.field(factory=list)
    _answered: set[str] = attrs.field(factory=set)
    _consultation: Consultation = attrs.field(init=False)
    _secrets: SecretWatch | None = None
    _run_folder: RunFolder | None = None

    def __attrs_post_init__(self) -> None:
        self._consultation = Consultation(self.services, self.mailbox)

    async def serve(self) -> None:
        """Work until the run has ended (or, when it does not drive, until there is nothing to do for it).

        Raises:
            StoreError, LeaseLostError: nothing more can be written.
        """
        await self._load()
        await self._note_lost_events()
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                await self._begin()
                with trio.move_on_after(SWEEP_S if self.role is Role.SWEEP else math.inf):
                    while not self._is_done():
                        await self._take_next()
                nursery.cancel_scope.cancel()
        finally:
            for handle in self._handles.values():
                handle.leave(self.run_id)

    async def _take_next(self) -> None:
        first = await self.mailbox.receive()
        if self._can_wait(first):
            with trio.move_on_after(SHARED_COMMIT_S):
                await self.mailbox.wait_for_message()
        await self._handle([first, *self.mailbox.drain(MESSAGES_AT_ONCE)])

    async def _load(self) -> None:
        state = await self.services.runtime.store(load_run, self.services.reader, self.run_id)
        if state is None:
            raise NotFoundError(f"no run {self.run_id}")
        self._state = state
        store, reader = self.services.runtime.store, self.services.reader
        self._claimed.update(await store(claimed_backends, reader, self.run_id))
        if self._secrets is None and state.secrets:
            self._secrets = SecretWatch(
                self.run_id, state.secrets, self.services, self.mailbox, is_told=self._drives
            )

    async def _note_lost_events(self) -> None:
        """Say once that the store is older than what the run's folder says, before that is written over."""
        runtime = self.services.runtime
        known = await runtime.files(known_head, self._folder())
        if known is None or await runtime.store(self._is_known, known.head):
            return
        logger.warning(
            "run %s: the store is older than the run's folder, which knows of events until %s: it was put "
            "back from a backup. If the newer store is still there, stop this engine and put that back. Else "
            "look for jobs that were submitted since: they may be at work, and nobody follows them. This is "
            "said once; the history has it as EventsLost",
            self.run_id,
            known.until,
        )
        await self._decide_durably([(m.Behind(head=known.head, until=known.until), None)], ())
        self.services.changed(self._state)

    def _is_known(self, head: str) -> bool:
        with reading(self.services.root.database, self.services.reader):
            return is_known(self.services.reader, self.run_id, head)

    def _is_done(self) -> bool:
        if self._drives or self._state.ending is not None:
            return self._state.has_ended
        if self.role is Role.SWEEP:
            return not self._state.live
        waits = self._pauses or self._amendments
        return len(self.mailbox) == 0 and not waits and not self._cancels_some

    @property
    def _cancels_some(self) -> bool:
        """Whether jobs are to be ended, or given up before they begin, while the run goes on."""
        return bool(self._state.being_cancelled or self._state.resubmitting)

    @property
    def _drives(self) -> bool:
        return self.role is Role.DRIVE

    async def _begin(self) -> None:
        if self._state.has_ended:
            return
        if self._secrets is not None:
            await self._secrets.look()
            self._nursery.start_soon(self._secrets.serve)
        is_unclear = any(attempt.job_id is None for attempt in self._state.live.values())
        is_to_end = self._state.ending is not None or self._cancels_some
        if self.role is not Role.COMMANDS or is_to_end or is_unclear:
            await self._attend_all()
        await self._commit([(m.Start(), None)] if self._drives else [])

    # ---- messages ----

    def _can_wait(self, message: p.RunMessage) -> bool:
        """Whether a message frees no seat and answers nobody."""
        return isinstance(message, p.Submitted | p.OutputsCollected) and not self._waits_for_submissions

    async def _handle(self, received: Sequence[p.RunMessage]) -> None:
        """Turn what came in into decisions, all of them in one commit."""
        inputs: list[tuple[m.Message, str | None]] = []
        granted: list[p.SeatsGranted] = []
        for message in received:
            match message:
                case p.SeatsGranted(backend):
                    # What the actor before this one was given, the backend took back when that left.
                    if backend in self._handles:
                        granted.append(message)
                case p.SeatsShort(backend):
                    await self._claim(backend)
                case p.CommandReady(command):
                    inputs.extend(self._take_command(command))
                case p.BackendStarted(backend):
                    await self._attend(backend)
                case p.Attended(attend, submitting):
                    self._note_attended(attend, submitting)
                case p.SecretsLookedFor():
                    pass  # what waited for them goes on with the commit
                case p.Sightings(_, observed):
                    crash_point("after_sighting")
                    bound = await bind_ends(self.services, self._folder(), self._state, observed)
                    inputs.extend((report, None) for report in bound)
                case _:
                    inputs.extend((report, None) for report in self._reports(message))
        if self._pauses and not self._submissions.may_land:
            inputs.extend((command.command, command.id) for command in self._pauses)
            self._pauses.clear()
        if self._amendments and not self._must_wait_with_amendments():
            inputs.extend((command.command, command.id) for command in self._amendments)
            self._amendments.clear()
            await self._commit(inputs)  # what is prepared next goes to the backends as they are defined then
            inputs, granted = [], [grant for grant in granted if grant.backend in self._handles]
        await self._commit(inputs, granted)

    def _take_command(self, command: StoredCommand) -> Iterable[tuple[m.Message, str | None]]:
        if command.id in self._answered:
            return
        self._answered.add(command.id)
        if isinstance(command.command, m.Pause) and self._submissions.may_land:
            # Acknowledged means: nothing is submitted any more.  A submission that is under way, or of
            # which nobody knows whether it is, is waited for; no other one is begun (see `_may_not_submit`).
            self._pauses.append(command)
            return
        if isinstance(command.command, m.AmendConfig):
            self._amendments.append(command)
            return
        yield command.command, command.id

    def _must_wait_with_amendments(self) -> bool:
        """Whether a backend is to be redefined that may have a submission in hand, and answers that first."""
        commands = (stored.command for stored in self._amendments)
        return self._submissions.is_any_under_way and any(
            is_redefined(backend, self._state.config, command.config)
            for command in commands
            if isinstance(command, m.AmendConfig)
            for backend in self._handles
        )

    def _reports(self, message: p.RunMessage) -> Iterable[m.Message]:
        match message:
            case p.Submitted():
                yield from self._after_submission(message)
            case p.TryAgain(backend, count):
                self._submit_deferred(backend, count)
            case p.Resolved(_, found, absent):
                yield from self._after_search(found, absent)
            case p.StagingFailed(reasons):
                self._submissions.stop(reasons)
                for token, reason in reasons.items():
                    yield m.Refused(token=token, reason=reason)
            case p.OutputsCollected(collected):
                crash_point("after_collected")
                yield from collected
            case p.PlanAnswered():
                yield from self._after_planning(message)
            case (
                p.SeatsGranted()
                | p.SeatsShort()
                | p.CommandReady()
                | p.BackendStarted()
                | p.Attended()
                | p.SecretsLookedFor()
                | p.Sightings()
            ):
                raise InvariantError(f"{type(message).__name__} is no report")

    def _after_submission(self, message: p.Submitted) -> Iterable[m.Message]:
        crash_point("after_submitted")
        report = message.report
        self._submissions.answered(message.backend, report, self._state.live)
        for token, job_id in report.accepted.items():
            sha256, set_aside = self._submissions.take_staged(token)
            yield m.Accepted(
                token=token,
                job_id=job_id,
                state=report.state,
                manifest_sha256=sha256,
                set_aside=set_aside,
            )
        for token, reason in report.refused.items():
            yield m.Refused(token=token, reason=reason)

    def _after_search(self, found: Mapping[Token, JobId], absent: Sequence[Token]) -> Iterable[m.Message]:
        crash_point("after_search")
        absent = self._submissions.searched(found, absent)
        for token, job_id in found.items():
            sha256, set_aside = self._submissions.take_staged(token)
            yield m.Accepted(
                token=token, job_id=job_id, manifest_sha256=sha256, adopted=True, set_aside=set_aside
            )
        live = [token for token in absent if token in self._state.live]
        ended = [token for token in live if self._is_to_be_given_up(token)]
        yield from (m.Withdrawn(token=token, reason=self._why_ended(token)) for token in ended)
        self._submissions.held_back.update(set(live).difference(ended))

    def _is_to_end(self, token: Token) -> bool:
        """Whether an attempt is to come to its end: its task was cancelled, or its run is ending."""
        attempt = self._state.live.get(token)
        return attempt is not None and is_to_end(self._state, self._state.tasks[attempt.task_id])

    def _is_to_be_given_up(self, token: Token) -> bool:
        """The same, or it is to be given up as long as it has not begun."""
        attempt = self._state.live.get(token)
        return attempt is not None and is_to_be_given_up(self._state, attempt)

    def _why_ended(self, token: Token) -> str:
        attempt = self._state.live[token]
        why = self._state.tasks[attempt.task_id].cancellation or attempt.resubmission
        return self._state.ending_reason if why is None or self._state.ending is not None else str(why)

    def _after_planning(self, message: p.PlanAnswered) -> Iterable[m.Message]:
        crash_point("after_plan_answered")
        if not self._consultation.answered(message.call):
            return  # it was asked something that is not so any more
        if message.error is not None:
            yield m.PlanningFailed(
                reason=message.error,
                action=message.action,
                iteration=message.iteration,
                code=message.code,
            )
        elif message.action == "plan":
            yield m.Planned(
                iteration=message.iteration,
                workflow=message.answer,
                warnings=message.warnings,
                code=message.code,
            )
        else:
            yield m.Analyzed(iteration=message.iteration, state=message.answer, code=message.code)

    # ---- deciding ----

    async def _commit(
        self, inputs: Sequence[tuple[m.Message, str | None]], grants: Sequence[p.SeatsGranted] = ()
    ) -> None:
        """Decide on messages, make the facts durable, then act on them."""
        facts, denied = await self._decide_within_caps(inputs, grants)
        await self._use_seats(grants, facts, denied=denied)
        await self._act(facts)

    async def _decide_within_caps(
        self, inputs: Sequence[tuple[m.Message, str | None]], grants: Sequence[p.SeatsGranted]
    ) -> tuple[list[f.Fact], bool]:
        """Return the facts, and whether the store had fewer seats than were granted."""
        denied = False
        while True:
            try:
                return await self._decide_durably(inputs, grants), denied
            except CapReachedError as error:
                # Other engines have the seats.  What is in memory was never true: read what is.
                await self._load()
                grants, denied = _reduced(grants, error), True

    async def _decide_durably(
        self, inputs: Sequence[tuple[m.Message, str | None]], grants: Sequence[p.SeatsGranted]
    ) -> list[f.Fact]:
        """Append all facts that follow from messages and seats, and the answers to commands.

        Raises:
            CapReachedError: a backend has no seat after all; nothing was stored.
        """
        # A clock that was set back must not put a fact before the one that it follows from.
        at = max(self.services.runtime.now(), self._state.updated_at)
        facts: list[f.Fact] = []
        outcomes: dict[str, Mapping[str, Any]] = {}
        touched = Touched()
        search = self.services.vault.search()
        # As for a pause that a person asks for: what is being submitted must land first.
        settle = m.Settle(may_pause=not self._submissions.may_land)
        for message, command_id in (*inputs, (settle, None), *self._preparations(grants)):
            try:
                new = decide(self._state, scrubbed(message, search))
            except (RefusedError, NotFoundError) as error:
                if command_id is None:
                    raise
                outcomes[command_id] = _refusal(error)
                continue
            for fact in new:
                apply(self._state, fact, at, touched)
            facts += new
            if command_id is not None:
                outcomes[command_id] = {"ok": True}
        if facts or outcomes:
            stored = [(at, fact) for fact in facts]
            await self.services.journal.append(
                make_append(self._state, self.epoch, stored, touched, outcomes, self._sharers())
            )
        return facts

    def _preparations(self, grants: Sequence[p.SeatsGranted]) -> Iterable[tuple[m.Message, None]]:
        nonces = self.services.nonces
        for grant in grants:
            if not self._may_not_submit(grant.backend):
                limit = self._handles[grant.backend].backend.batch_limit
                yield (
                    m.Prepare(
                        backend=grant.backend,
                        seats=grant.seats,
                        batch_limit=limit,
                        nonce_sha256=lambda token: sha256_of_nonce(nonces.of(token)),
                    ),
                    None,
                )

    async def _use_seats(
        self, grants: Sequence[p.SeatsGranted], facts: Sequence[f.Fact], *, denied: bool
    ) -> None:
        """Submit the attempts that were prepared, and say which of the granted seats are not needed."""
        granted: Counter[BackendName] = Counter()
        for grant in grants:
            granted[grant.backend] += grant.seats
        for backend, seats in granted.items():
            handle = self._handles[backend]
            ready, room = self._told_wants.get(backend, (0, 0))
            self._told_wants[backend] = (ready - seats, room - seats)
            prepared = (fact for fact in facts if isinstance(fact, f.AttemptPrepared))
            tokens = [fact.token for fact in prepared if fact.backend == backend]
            if tokens:
                self._begin_submission(backend, tokens, seats, denied=denied)
            else:
                await handle.mailbox.put(p.Submit(self.run_id, (), seats, denied))

    @property
    def _waits_for_submissions(self) -> bool:
        """Whether somebody waits for an answer until no submission is under way; no other one is begun."""
        return bool(self._pauses or self._amendments)

    def _may_not_submit(self, backend: BackendName) -> bool:
        """Whether a backend gets nothing new: while it is unclear what became of a submission there, too."""
        live = self._state.live
        is_unclear = any(
            token in live and live[token].backend == backend for token in self._submissions.unresolved
        )
        waits = self._waits_for_submissions
        return waits or is_unclear or not self._drives or self._waits_for_secrets(backend)

    def _waits_for_secrets(self, backend: BackendName) -> bool:
        """Whether jobs of a backend would lack what they are to find in their environment."""
        return backend != ASKED and self._secrets is not None and bool(self._secrets.missing)

    # ---- effects ----

    async def _act(self, facts: Iterable[f.Fact]) -> None:
        """Do what follows from facts that are durable now.

        Waits for room in the mailboxes of backends (they never wait for a run), and for nothing else.
        """
        released: list[Token] = []
        for fact in facts:
            match fact:
                case f.JobEnded(token=token) | f.SubmissionRefused(token=token):
                    released.append(token)
                case f.SubmissionWithdrawn(token=token):
                    released.append(token)
                case f.RunCancelRequested() | f.RunFailureRequested() | f.TaskReopened() | f.Replanned():
                    self._consultation.stop()
                case f.ConfigAmended(changes=changes):
                    if concern_planning(changes):
                        self._consultation.stop()
                    await self._take_up_config()
        if released:
            self._submissions.ended(released)
            for handle in self._handles.values():
                await handle.mailbox.put(p.Release(self.run_id, released))
        if self._state.ending is not None or self._cancels_some:
            await self._end_attempts([t for t in self._state.live if self._is_to_be_given_up(t)])
        await self._submit_held_back()
        self._collect()
        await self._update_wants()
        if self._drives:
            self._consultation.begin(self._state, self._nursery)
        self.services.changed(self._state)

    async def _end_attempts(self, tokens: Collection[Token]) -> None:
        """End the jobs, or only what waits of them; attempts without one are withdrawn once that is sure."""
        self._hasten()
        await self._attend_all()
        held_back = self._submissions.take_absent(tokens)
        for backend, handle in self._handles.items():
            mine = [a for t in tokens if (a := self._state.live[t]).backend == backend]
            with_job = [a.token for a in mine if a.job_id is not None]
            ending = [token for token in with_job if self._is_to_end(token)]
            waiting = [token for token in with_job if token not in ending]
            if with_job:
                await handle.mailbox.put(p.EndJobs(self.run_id, ending, waiting))
            absent = [a.token for a in mine if a.token in held_back]
            if absent:
                self._submissions.unresolved.update(absent)
                self._nursery.start_soon(self.mailbox.put, p.Resolved(backend, {}, absent))

    async def _submit_held_back(self) -> None:
        """Submit prepared attempts again that surely have no job, once submitting is allowed."""
        if not self._submissions.held_back or not self._state.may_submit:
            return
        if self._waits_for_submissions or not self._drives:
            return
        held_back, self._submissions.held_back = self._submissions.held_back, set()
        for backend in self._handles:
            live = self._state.live.values()
            tokens = [a.token for a in live if a.backend == backend and a.token in held_back]
            if tokens and self._waits_for_secrets(backend):
                self._submissions.held_back.update(tokens)
            elif tokens:
                self._begin_submission(backend, tokens, 0, denied=False)

    def _submit_deferred(self, backend: BackendName, count: int) -> None:
        """Submit again, with the same tokens, some attempts that the backend had no room for."""
        if not self._state.may_submit or self._may_not_submit(backend):
            return
        deferred = self._submissions.deferred
        mine = [t for t in self._state.live if deferred.get(t) == backend][:count]
        for token in mine:
            del deferred[token]
        if mine:
            self._begin_submission(backend, mine, 0, denied=False)

    def _begin_submission(
        self, backend: BackendName, tokens: Sequence[Token], granted: int, *, denied: bool
    ) -> None:
        self._submissions.begin(tokens)
        self._nursery.start_soon(self._stage_and_submit, self._handles[backend], tokens, granted, denied)

    async def _stage_and_submit(
        self, handle: BackendHandle, tokens: Sequence[Token], granted: int, denied: bool
    ) -> None:
        crash_point("after_prepared")
        nonces, vault = self.services.nonces, self.services.vault
        attempts = [
            prepared_attempt(self._state, self._folder(), self._state.live[t], nonces, vault) for t in tokens
        ]
        staged = Staged({}, {})
        with self._large_work() as scope:
            staged = await stage_all(self.services, self._state, handle.backend, attempts)
        if scope.cancelled_caught:
            await self._withdraw(handle, tokens, granted, denied)
            return
        crash_point("after_staging")
        self._submissions.staged(staged.ready)
        # What a person cancelled meanwhile, or wants anew, gets no job; where the whole run ends, that was
        # seen to above.
        given_up = [t for t in staged.ready if self._state.ending is None and self._is_to_be_given_up(t)]
        ready = [a for a in attempts if a.token in staged.ready and a.token not in given_up]
        await handle.mailbox.put(p.Submit(self.run_id, ready, granted, denied))
        self._submissions.handed_over(tokens)
        if given_up:
            await self._tell_absent(handle, given_up)
        if staged.failures:
            await self.mailbox.put(p.StagingFailed(staged.failures))

    async def _withdraw(
        self, handle: BackendHandle, tokens: Sequence[Token], granted: int, denied: bool
    ) -> None:
        """Their folders were not written before the run was to end: they surely have no job."""
        await handle.mailbox.put(p.Submit(self.run_id, (), granted, denied))
        self._submissions.handed_over(tokens)
        await self._tell_absent(handle, tokens)

    async def _tell_absent(self, handle: BackendHandle, tokens: Sequence[Token]) -> None:
        self._submissions.stop(tokens)
        self._submissions.unresolved.update(tokens)
        await self.mailbox.put(p.Resolved(handle.backend.name, {}, tokens))

    @contextmanager
    def _large_work(self) -> Iterator[trio.CancelScope]:
        """What may take hours with large files, and is given up soon when the run is to end."""
        with trio.CancelScope() as scope:
            self._giving_up.add(scope)
            self._hasten()
            try:
                yield scope
            finally:
                self._giving_up.discard(scope)

    def _hasten(self) -> None:
        if self._state.ending is not None:
            for scope in self._giving_up:
                scope.deadline = min(scope.deadline, trio.current_time() + GIVE_UP_S)

    def _collect(self) -> None:
        """Look at the outputs of jobs that have ended."""
        new = [task_id for task_id in self._state.collecting if task_id not in self._collecting]
        self._collecting.intersection_update(self._state.collecting)
        # What cannot be looked through for a secret is not concluded, unless the run is to end.
        waits = self._secrets is not None and self._secrets.missing and self._state.ending is None
        if self._state.ending is None:
            self._give_up_cancelled()
        if not self._drives and self._state.ending is None:
            new = [task_id for task_id in new if task_id in self._state.being_cancelled]
        if new and not waits:
            self._collecting.update(new)
            self._nursery.start_soon(self._collect_outputs, new)

    def _give_up_cancelled(self) -> None:
        """Wait only for a moment for what a task left that a person cancelled when its job was over."""
        for task_id in self._state.being_cancelled:
            if task_id in self._state.collecting and task_id not in self._given_up:
                last = self._state.tasks[task_id].last_attempt
                if last is not None:
                    self._given_up.add(task_id)
                    self._nursery.start_soon(self._give_up, last.token)
        self._given_up.intersection_update(self._state.being_cancelled)

    async def _give_up(self, token: Token) -> None:
        await trio.sleep(GIVE_UP_S)
        await self.mailbox.put(p.OutputsCollected([m.Collected(token=token, given_up=True)]))

    async def _collect_outputs(self, task_ids: Sequence[TaskId]) -> None:
        tasks = [self._state.tasks[task_id] for task_id in task_ids]
        left = {attempt.token for task in tasks if (attempt := task.last_attempt) is not None}

        async def tell(collected: Sequence[m.Collected]) -> None:
            left.difference_update(each.token for each in collected)
            if self._secrets is not None:
                folder = self._folder()
                collected = await seek_secrets(self.services, folder, tasks, collected, self._secrets)
            await self.mailbox.put(p.OutputsCollected(collected))

        with self._large_work() as scope:
            await collect_all(self.services, self._state, tasks, tell)
        if scope.cancelled_caught:
            given_up = [m.Collected(token=token, given_up=True) for token in sorted(left)]
            await self.mailbox.put(p.OutputsCollected(given_up))

    def _folder(self) -> RunFolder:
        if self._run_folder is None:
            self._run_folder = self.services.root.run_folder(self._state.workspace, self.run_id)
        return self._run_folder

    # ---- backends ----

    def _backends_in_use(self) -> set[BackendName]:
        live = {attempt.backend for attempt in self._state.live.values()}
        return live | {backend for backend, ready in self._state.ready.items() if ready}

    async def _attend_all(self) -> None:
        for backend in self._backends_in_use() - self._handles.keys():
            await self._attend(backend)

    async def _attend(self, backend: BackendName) -> None:
        """Tell a backend, which may know nothing, all that it must know of this run."""
        handle = self.services.backend(backend, self._state.backend_config(backend))
        self._handles[backend] = handle
        handle.users.add(self.run_id)
        self._told_wants[backend] = (0, 0)
        mine = [a for a in self._state.live.values() if a.backend == backend]
        # What is still being staged was not submitted to anybody yet: that comes after this message.
        waiting = self._submissions.not_with_backend
        unresolved = [a for a in mine if a.job_id is None and a.token not in waiting]
        self._submissions.attend(a.token for a in unresolved)
        folder, nonces, vault = self._folder(), self.services.nonces, self.services.vault
        attend = p.Attend(
            run=self.run_id,
            mailbox=self.mailbox,
            weight=self._state.priority,
            cap=self._state.backend_cap(backend),
            jobs=[live_job(self._state, folder, a, vault) for a in mine if a.job_id is not None],
            unresolved=[prepared_attempt(self._state, folder, a, nonces, vault) for a in unresolved],
            deferred=[a.token for a in mine if a.token in self._submissions.deferred],
        )
        self._attends[backend] = attend
        await handle.mailbox.put(attend)

    async def _take_up_config(self) -> None:
        """Go on with backends as they are defined now: those that are defined anew follow its jobs on."""
        for backend, handle in list(self._handles.items()):
            is_there = backend == ASKED or backend in self._state.config["backends"]
            now = self.services.backend(backend, self._state.backend_config(backend)) if is_there else None
            if now is handle:
                terms = p.Terms(self.run_id, self._state.priority, self._state.backend_cap(backend))
                await handle.mailbox.put(terms)
                continue
            handle.leave(self.run_id)
            del self._handles[backend], self._told_wants[backend]
            if now is not None:
                await self._attend(backend)
            elif backend in self._claimed:
                await self._drop_claim(backend)
            self.services.retire(handle)
        for backend in list(self._claimed & self._handles.keys()):
            self._claimed.discard(backend)
            await self._claim(backend)  # by its weight as it is now

    def _note_attended(self, attend: p.Attend, submitting: Sequence[Token]) -> None:
        """Only what the backend is submitting at this moment is a submission under way."""
        if any(attend is latest for latest in self._attends.values()):
            self._submissions.stop(a.token for a in attend.unresolved if a.token not in submitting)

    async def _update_wants(self) -> None:
        if self._drives and not self._state.has_ended:
            await self._attend_all()
        for backend, handle in self._handles.items():
            may_submit = self._state.may_submit and not self._may_not_submit(backend)
            waits_for_site = backend in self._submissions.deferred.values()
            ready = self._state.ready_count(backend) if may_submit and not waits_for_site else 0
            want = (ready, room_of(self._state, backend))
            if backend in self._claimed and min(want) == 0:
                await self._drop_claim(backend)
            if want != self._told_wants.get(backend):
                self._told_wants[backend] = want
                await handle.mailbox.put(p.Want(self.run_id, *want))

    def _sharers(self) -> dict[BackendName, str]:
        return {backend: handle.sharer for backend, handle in self._handles.items()}

    async def _claim(self, backend: BackendName) -> None:
        """Let other engines know that this run waits for seats."""
        wanted = wanted_seats(self._state, backend)
        if backend in self._claimed or not wanted or self._may_not_submit(backend):
            return
        self._claimed.add(backend)
        claimed = Append(
            run_id=self.run_id,
            epoch=self.epoch,
            facts=(),
            claims={backend: wanted},
            claimed_at=max(self.services.runtime.now(), self._state.updated_at),
            weight=self._state.priority,
            sharers=self._sharers(),
        )
        await self.services.journal.append(claimed)
        self._handles[backend].seats_changed.give()

    async def _drop_claim(self, backend: BackendName) -> None:
        """Other engines need leave no seats for this run."""
        self._claimed.discard(backend)
        dropped = Append(run_id=self.run_id, epoch=self.epoch, facts=(), wanted={backend: 0})
        await self.services.journal.append(dropped)


def _reduced(grants: Sequence[p.SeatsGranted], error: CapReachedError) -> list[p.SeatsGranted]:
    """Leave of the seats of a backend only those that the store has."""
    room = max(0, error.cap - error.live)
    reduced: list[p.SeatsGranted] = []
    for grant in grants:
        if grant.backend == error.backend:
            grant = attrs.evolve(grant, seats=min(grant.seats, room))  # noqa: PLW2901
            room -= grant.seats
        reduced.append(grant)
    return reduced


def _refusal(error: MatterStackError) -> dict[str, Any]:
    return {"ok": False, "code": error.code, "message": str(error), "hint": error.hint}
