"""The backend actor: shares out seats, submits, follows jobs, and polls, one at a time.

It decides nothing about runs and stores nothing: what it sees it tells the runs.  A new one learns all it
needs from them (`Attend`), so it may crash at any time.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final

import attrs
import trio

from matterstack.actors import protocol as p
from matterstack.actors.allotment import Allotment
from matterstack.actors.deferral import Deferral
from matterstack.actors.mailbox import Mailbox
from matterstack.actors.outbox import Outbox
from matterstack.actors.reporting import Reporter
from matterstack.actors.wakeup import Wakeup
from matterstack.backends.base import Backend, LiveJob, PreparedAttempt, SubmitReport
from matterstack.core.errors import BackendError
from matterstack.core.ids import JobId, RunId, Token
from matterstack.core.polling import SLOW_S, next_interval_s
from matterstack.core.run.messages import Observed
from matterstack.core.states import ENDED_JOBS, JobState
from matterstack.storage.claims import RoomInStore, Waiting
from matterstack.storage.crash_points import crash_point

logger: Final = logging.getLogger(__name__)

CANCEL_AGAIN_AFTER_S: Final = 10.0
ASK_ANYWAY_S: Final = 2.0
"""How long to wait for a sign of seats that others left; the death of an engine gives none."""
GATHER_S: Final = 0.005
"""How long a sign of change may wait for others: what is seen together is stored together."""
JITTER: Final = 0.1


@attrs.define
class _Followed:
    run: RunId
    job: LiveJob
    last: Observed | None = None
    end_asked_at: float | None = None
    ending: bool = False
    giving_up: bool = False

    @property
    def is_due(self) -> bool:
        """Whether it is to be cancelled."""
        return self.ending or self.giving_up

    def note(self, sighting: Observed) -> None:
        """Keep what was seen; what was only to be given up is not any more once it has begun."""
        self.last = sighting
        self.giving_up = self.giving_up and sighting.state is not JobState.RUNNING


@attrs.define
class _Unresolved:
    run: RunId
    attempt: PreparedAttempt
    missing_since: float | None = None


@attrs.define
class BackendActor:
    """Owns one backend.  ``mailbox`` and ``attending`` outlive it; everything else is rebuilt."""

    backend: Backend
    mailbox: Mailbox[p.BackendMessage]
    attending: dict[RunId, Mailbox[p.RunMessage]]
    sharer: str
    seats_changed: Wakeup
    room_in_store: Callable[[Sequence[RunId], Sequence[Waiting], int], Awaitable[RoomInStore]]
    reporter: Reporter
    _allotment: Allotment = attrs.Factory(lambda self: Allotment(self.sharer), takes_self=True)
    _jobs: dict[Token, _Followed] = attrs.field(factory=dict)
    _unresolved: dict[Token, _Unresolved] = attrs.field(factory=dict)
    _submitting: set[Token] = attrs.field(factory=set)
    _interval: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _deferral: Deferral = attrs.field(factory=Deferral)
    _outbox: Outbox = attrs.Factory(lambda self: Outbox(self.attending), takes_self=True)
    _busy: trio.Event = attrs.field(factory=trio.Event)
    _changed: trio.Event = attrs.field(factory=trio.Event)
    _is_known: bool = False
    _unchanged: int = 0
    _failures: int = 0
    _took_s: float = 0.0

    async def serve(self) -> None:
        """Serve the backend's mailbox, polls and submissions until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.backend.serve)
            nursery.start_soon(self._pass_changes_on)
            nursery.start_soon(self._poll_for_ever)
            nursery.start_soon(self._outbox.serve)
            nursery.start_soon(self._learn_limits)
            nursery.start_soon(self._offer_deferred)
            nursery.start_soon(self._share_with_other_engines)
            for run in list(self.attending):
                self._outbox.tell(run, p.BackendStarted(self.backend.name))
            while True:
                await self._handle(await self.mailbox.receive(), nursery)
                for message in self.mailbox.drain():
                    await self._handle(message, nursery)
                self._allot()

    async def _handle(self, message: p.BackendMessage, nursery: trio.Nursery) -> None:
        match message:
            case p.Attend():
                self._attend(message)
            case p.Terms(run, weight, cap):
                self._allotment.set_terms(run, cap, weight)
            case p.Want(run, ready, room):
                self._allotment.want(run, ready, room)
            case p.Submit(run, attempts, granted, denied):
                self._allotment.unpromise(run, granted)
                if denied:
                    self._allotment.share()
                self._start_submission(run, attempts, nursery)
            case p.EndJobs(_, tokens, if_waiting):
                self._note_to_end(tokens, if_waiting)
                nursery.start_soon(self._end_jobs)
            case p.Release(run, tokens):
                for token in tokens:
                    self._jobs.pop(token, None)
                    self._unresolved.pop(token, None)
                    self._allotment.give_back(token)
                self._deferral.remove(run, tokens)
                self._allotment.defer(run, deferred=self._deferral.count(run) > 0)
            case p.Leave(run):
                self._forget(run)

    def _attend(self, message: p.Attend) -> None:
        run = message.run
        self._forget(run)
        self.attending[run] = message.mailbox
        self._allotment.attend(run, message.cap, message.weight)
        for job in message.jobs:
            self._allotment.take(job.token)
            self._jobs[job.token] = _Followed(run, job)
        for attempt in message.unresolved:
            self._allotment.take(attempt.token)
            self._unresolved[attempt.token] = _Unresolved(run, attempt)
        for token in message.deferred:
            self._allotment.take(token)
        self._deferral.add(run, message.deferred)
        self._allotment.defer(run, deferred=bool(message.deferred))
        if message.jobs or message.unresolved:
            self._begin_interval()
            self._changed.set()  # much may have happened while nobody looked: ask at once
        submitting = [a.token for a in message.unresolved if a.token in self._submitting]
        self._outbox.tell(run, p.Attended(message, submitting))

    def _forget(self, run: RunId) -> None:
        """A run is served elsewhere, or by nobody, from here on: the store alone knows of its seats."""
        self.attending.pop(run, None)
        self._outbox.forget(run)
        self._allotment.leave(run)
        for token in self._deferral.forget(run):
            self._allotment.give_back(token)
        for token in [t for t, followed in self._jobs.items() if followed.run == run]:
            del self._jobs[token]
            self._allotment.give_back(token)
        for token in [t for t, unresolved in self._unresolved.items() if unresolved.run == run]:
            del self._unresolved[token]
            self._allotment.give_back(token)

    # ---- seats ----

    async def _learn_limits(self) -> None:
        """Give no seat before the backend has said how it wants its submissions."""
        failures = 0
        while not self._is_known:
            try:
                await self.backend.probe()
            except BackendError as error:
                failures += 1
                self._note_failure(failures, error)
                await trio.sleep(next_interval_s(self.backend.poll_interval_s, 0, failures) * self._spread())
            else:
                self._is_known = True
                self._note_answer(failures)
        self._allot()

    def _allot(self) -> None:
        for run, seats in self._allotment.allot(self._site_room()).items() if self._is_known else ():
            self._grant(run, seats)
        if self._allotment.is_sharing:
            self.seats_changed.give()
        if self._waits_for_site():
            self._busy.set()
        self._tell_limit()

    def _tell_limit(self) -> None:
        known = self.backend.health().limit if self._waits_for_site() else ""
        self.reporter.limited(self._deferral.limit or known)

    def _site_room(self) -> int | None:
        """How many more jobs the site takes, as far as it says so; None where it does not."""
        room = self.backend.health().room
        return None if room is None else max(0, room - self._allotment.promised - len(self._submitting))

    def _waits_for_site(self) -> bool:
        """Whether runs wait for jobs to end of which nobody here need know."""
        return self._site_room() == 0 and (self._allotment.is_wanted or bool(self._deferral))

    def _grant(self, run: RunId, seats: int) -> None:
        if seats:
            self._outbox.tell(run, p.SeatsGranted(self.backend.name, seats))

    async def _share_with_other_engines(self) -> None:
        """Ask the store, for all runs at once, how many seats the others leave: at each sign of a change."""
        unchanged = 0
        before: RoomInStore | None = None
        while True:
            with trio.move_on_after(next_interval_s(ASK_ANYWAY_S, unchanged, 0)):
                await self.seats_changed.wait()
            waiting = self._allotment.waiting() if self._is_known and self._allotment.is_sharing else ()
            if not waiting:
                await self.seats_changed.wait()
                self.seats_changed.give()
                continue
            promised = self._allotment.promised
            found = await self.room_in_store(self._allotment.runs, waiting, self._allotment.cap)
            unchanged = unchanged + 1 if found == before else 0
            before = found
            for run, seats in self._allotment.allot_shared(found, promised, self._site_room()).items():
                self._grant(run, seats)
            for run in self._allotment.unclaimed(found) if self._allotment.is_sharing else ():
                self._outbox.tell(run, p.SeatsShort(self.backend.name))

    # ---- submission ----

    def _start_submission(
        self, run: RunId, attempts: Sequence[PreparedAttempt], nursery: trio.Nursery
    ) -> None:
        for attempt in attempts:
            self._allotment.take(attempt.token)
            self._submitting.add(attempt.token)
        self._deferral.submit(run, [attempt.token for attempt in attempts])
        self._allotment.defer(run, deferred=self._deferral.count(run) > 0)
        if attempts:
            nursery.start_soon(self._submit, run, attempts)

    async def _submit(self, run: RunId, attempts: Sequence[PreparedAttempt]) -> None:
        try:
            report = await self.backend.submit(attempts)
        except BackendError as error:
            report = SubmitReport(unresolved={a.token: str(error) for a in attempts})
        finally:
            self._submitting.difference_update(a.token for a in attempts)
        if run not in self.attending:
            for attempt in attempts:
                self._allotment.give_back(attempt.token)
            return
        folders = {attempt.token: attempt for attempt in attempts}
        for token, job_id in report.accepted.items():
            self._follow(run, folders[token], job_id)
        for token, reason in report.unresolved.items():
            logger.warning("%s: submission of %s is unclear: %s", self.backend.name, token, reason)
            self._unresolved[token] = _Unresolved(run, folders[token])
        self._defer(run, attempts, report)
        self._outbox.tell(run, p.Submitted(self.backend.name, report))
        self.reporter.health(self.backend.health())
        self._begin_interval()

    def _defer(self, run: RunId, attempts: Sequence[PreparedAttempt], report: SubmitReport) -> None:
        """Note what a limit keeps out, and offer less of it, or other runs' attempts, where that may fit."""
        groups = Counter(a.batch or a.token for a in attempts if a.token in report.deferred)
        largest = max(groups.values(), default=0)
        if largest:
            self._note_deferred(run, report.deferred)
        self._deferral.answered(run, taken=len(report.accepted), refused=largest)
        self._tell_limit()

    def _note_deferred(self, run: RunId, deferred: Mapping[Token, str]) -> None:
        if not self._deferral.limit:
            logger.warning("%s takes no more jobs now: %s", self.backend.name, _first(deferred))
        self._deferral.add(run, deferred, _first(deferred))
        self._allotment.defer(run, deferred=True)
        self._allotment.take_back(run, len(deferred))

    async def _offer_deferred(self) -> None:
        while True:
            await self._deferral.next_offer(self.backend.poll_interval_s, self._spread())
            room = self._site_room()
            most = self._deferral.chunk if room is None else min(self._deferral.chunk, room)
            offers = self._allotment.offer(self._deferral.counts(), most)
            self._deferral.offered(offers)
            for run, count in offers.items():
                self._outbox.tell(run, p.TryAgain(self.backend.name, count))

    def _follow(self, run: RunId, attempt: PreparedAttempt, job_id: JobId) -> None:
        job = LiveJob(
            token=attempt.token,
            job_id=job_id,
            folder=attempt.folder,
            batch=attempt.batch,
            question=attempt.question,
            nonce_sha256=attempt.nonce_sha256,
            secrets=attempt.secrets,
        )
        self._jobs[attempt.token] = _Followed(run, job)

    # ---- following ----

    async def _pass_changes_on(self) -> None:
        while True:
            await self.backend.wait_change()
            await trio.sleep(GATHER_S)
            self._changed.set()

    def _begin_interval(self) -> None:
        """Something is new: from here on the interval is short again."""
        self._unchanged = 0
        self._busy.set()
        self._interval.deadline = min(self._interval.deadline, trio.current_time() + self._interval_s())

    async def _poll_for_ever(self) -> None:
        while True:
            if not self._jobs and not self._unresolved and not self._waits_for_site():
                self._busy = trio.Event()
                await self._busy.wait()
            with trio.move_on_after(self._interval_s()) as self._interval:
                await self._changed.wait()
            self._changed = trio.Event()
            await self._ask_once()

    def _interval_s(self) -> float:
        base_s = self.backend.poll_interval_s
        interval_s = next_interval_s(base_s, self._unchanged, self._failures, self._took_s)
        # Many engines that lost the same controller must not come back all at once.
        return interval_s * (self._spread() if self._failures or self._took_s > SLOW_S else 1)

    def _spread(self) -> float:
        return 1 + random.uniform(0, JITTER)  # noqa: S311

    async def _ask_once(self) -> None:
        asked_at = trio.current_time()
        try:
            observed = await self.backend.poll([f.job for f in self._jobs.values()])
            self._took_s = trio.current_time() - asked_at
            changed = self._note(observed)
            await self._end_jobs()
            if self._unresolved:
                await self._resolve()
        except BackendError as error:
            self._failures += 1
            self._note_failure(self._failures, error)
        else:
            self._note_answer(self._failures)
            self._failures = 0
            self._unchanged = 0 if changed else self._unchanged + 1
        if self._site_room() is not None:
            self._allot()  # jobs that nobody here knows of may have ended

    def _note(self, observed: Iterable[Observed]) -> bool:
        news: dict[RunId, list[Observed]] = {}
        for sighting in observed:
            followed = self._jobs.get(sighting.token)
            if followed is None or followed.last == sighting:
                continue
            followed.note(sighting)
            if sighting.state in ENDED_JOBS:
                del self._jobs[sighting.token]
            news.setdefault(followed.run, []).append(sighting)
        for run, sightings in news.items():
            self._outbox.tell(run, p.Sightings(self.backend.name, sightings))
            ended = [sighting.token for sighting in sightings if sighting.state in ENDED_JOBS]
            self._grant(run, sum(self._hand_on(run, token) for token in ended))
            self._deferral.ended(len(ended))
        return bool(news)

    def _note_failure(self, failures: int, error: BackendError) -> None:
        if failures == 1:
            logger.warning("%s does not answer: %s", self.backend.name, error)
        self.reporter.failed(str(error))
        self.reporter.health(self.backend.health())

    def _note_answer(self, failures: int) -> None:
        if failures:
            logger.warning("%s answers again", self.backend.name)
        self.reporter.answered()
        self.reporter.health(self.backend.health())

    def _hand_on(self, run: RunId, token: Token) -> int:
        return 0 if self._site_room() == 0 else self._allotment.hand_on(run, token)

    async def _resolve(self) -> None:
        # One that is just being submitted would be missed, and then be submitted twice.
        looked_for = [u for token, u in self._unresolved.items() if token not in self._submitting]
        if not looked_for:
            return
        found = await self.backend.find([u.attempt for u in looked_for])
        now = trio.current_time()
        answers: dict[RunId, tuple[dict[Token, JobId], list[Token]]] = {}
        for unresolved in looked_for:
            token = unresolved.attempt.token
            if token not in self._unresolved or token in self._submitting:
                continue
            if token in found:
                answers.setdefault(unresolved.run, ({}, []))[0][token] = found[token]
                self._follow(unresolved.run, unresolved.attempt, found[token])
            elif unresolved.missing_since is None and self.backend.grace_period_s > 0:
                unresolved.missing_since = now
                continue
            elif now - (unresolved.missing_since or now) < self.backend.grace_period_s:
                continue
            else:
                answers.setdefault(unresolved.run, ({}, []))[1].append(token)
            del self._unresolved[token]
        for run, (jobs, absent) in answers.items():
            self._outbox.tell(run, p.Resolved(self.backend.name, jobs, absent))

    def _note_to_end(self, tokens: Iterable[Token], if_waiting: Iterable[Token]) -> None:
        for followed in (self._jobs[token] for token in tokens if token in self._jobs):
            if not followed.ending:
                followed.ending, followed.end_asked_at = True, None
        for followed in (self._jobs[token] for token in if_waiting if token in self._jobs):
            is_at_work = followed.last is not None and followed.last.state is JobState.RUNNING
            followed.giving_up = not is_at_work

    async def _end_jobs(self) -> None:
        now = trio.current_time()
        due = [
            followed
            for followed in self._jobs.values()
            if followed.is_due
            and (followed.end_asked_at is None or now - followed.end_asked_at >= CANCEL_AGAIN_AFTER_S)
        ]
        if not due:
            return
        for followed in due:
            followed.end_asked_at = now
        crash_point("before_cancel")
        try:
            if ending := [followed.job for followed in due if followed.ending]:
                await self.backend.cancel(ending)
            if waiting := [followed.job for followed in due if not followed.ending]:
                await self.backend.cancel_waiting(waiting)
            crash_point("after_cancel")
        except BackendError as error:
            logger.warning("%s: cancelling is asked again later: %s", self.backend.name, error)
        self._begin_interval()


def _first(reasons: Mapping[Token, str]) -> str:
    return next(iter(reasons.values()))
