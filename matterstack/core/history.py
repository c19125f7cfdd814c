"""The rules that every history obeys, checked over all facts of a store.

Pure: the events go in, in the order of their sequence numbers, and what contradicts a rule comes out, each
time the first fact that breaks it.  The rules are those that people rely on:

    gap      sequence numbers count without gaps
    fold     every fact follows from those before it: legal transitions, one job and one end per attempt
    cap      an attempt is prepared only while its run and its backend have a free seat
    paused   nothing is prepared, and no job is started, between a pause and the resume
    ended    nothing happens to a run after its end, unless a person reopens it; CANCELLED is for ever
    live     a run that has ended has left no attempt live
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import attrs

from matterstack.core import facts as f
from matterstack.core.apply import Touched, apply, new_run
from matterstack.core.errors import MatterStackError
from matterstack.core.ids import BackendName, RunId
from matterstack.core.run_state import RunState
from matterstack.core.states import RunStatus


@attrs.frozen
class Problem:
    """A rule that does not hold.

    Attributes:
        run_id: of the run; None where it concerns the whole store.
        seq: sequence number of the first fact that breaks the rule; None where no single one does.
    """

    run_id: RunId | None
    seq: int | None
    rule: str
    problem: str


@attrs.define
class HistoryChecker:
    """Folds a history and checks it on the way.  O(facts), and what the states of all runs take.

    Attributes:
        states: what the facts so far give; a run whose history cannot be folded is left out.
        touched: what the last event changed.
    """

    states: dict[RunId, RunState] = attrs.field(factory=dict)
    touched: Touched = attrs.field(factory=Touched)
    _broken: set[RunId] = attrs.field(factory=set)
    _live: Counter[BackendName] = attrs.field(factory=Counter)
    _last_seq: int = 0

    def check(self, event: f.Event) -> Iterator[Problem]:
        """Take the next event in."""
        yield from self._check_seq(event)
        if event.run_id in self._broken:
            return
        state = self.states.get(event.run_id)
        yield from () if state is None else _check_before(state, event)
        ended = None if state is None else state.live.get(getattr(event.fact, "token", None))  # type: ignore[arg-type]
        try:
            state = self._apply(state, event)
        except (MatterStackError, KeyError, ValueError) as error:
            self._broken.add(event.run_id)
            self._forget(event.run_id)
            yield Problem(event.run_id, event.seq, "fold", f"{_name(event)} cannot be: {error}")
            return
        if ended is not None and ended.token not in state.live:
            self._live[ended.backend] -= 1
        if isinstance(event.fact, f.AttemptPrepared):
            self._live[event.fact.backend] += 1
            yield from self._check_caps(state, event, event.fact.backend)

    def finish(self) -> Iterator[Problem]:
        """Check what must hold at the end of the history."""
        for run_id, state in self.states.items():
            if state.has_ended and state.live:
                tokens = ", ".join(state.live)
                yield Problem(run_id, None, "live", f"the run is {state.status}, but {tokens} is live")

    def _check_seq(self, event: f.Event) -> Iterator[Problem]:
        if event.seq != self._last_seq + 1:
            missing = f"{self._last_seq + 1} to {event.seq - 1}"
            yield Problem(event.run_id, event.seq, "gap", f"sequence numbers {missing} are missing")
        self._last_seq = event.seq

    def _apply(self, state: RunState | None, event: f.Event) -> RunState:
        if state is None:
            if not isinstance(event.fact, f.RunCreated):
                raise ValueError("the first fact of a run must be RunCreated")
            self.touched = Touched(run=True)
            self.states[event.run_id] = state = new_run(event.run_id, event.fact, event.at)
            return state
        self.touched = Touched()
        apply(state, event.fact, event.at, self.touched)
        return state

    def _forget(self, run_id: RunId) -> None:
        state = self.states.pop(run_id, None)
        for attempt in state.live.values() if state else ():
            self._live[attempt.backend] -= 1

    def _check_caps(self, state: RunState, event: f.Event, backend: BackendName) -> Iterator[Problem]:
        own, shared = len(state.live), self._live[backend]
        if own > state.job_cap:
            text = f"{_name(event)} is live attempt {own} of its run, which may have {state.job_cap}"
            yield Problem(state.run_id, event.seq, "cap", text)
        if shared > state.backend_cap(backend):
            most = state.backend_cap(backend)
            text = f"{_name(event)} is live attempt {shared} of backend {backend}, which may have {most}"
            yield Problem(state.run_id, event.seq, "cap", text)


def _check_before(state: RunState, event: f.Event) -> Iterator[Problem]:
    fact = event.fact
    if state.has_ended and not isinstance(fact, f.RunReopened):
        yield Problem(
            state.run_id, event.seq, "ended", f"{_name(event)} came after the run was {state.status}"
        )
    starts = isinstance(fact, f.AttemptPrepared) or (isinstance(fact, f.JobAccepted) and not fact.adopted)
    if state.status is RunStatus.PAUSED and starts:
        yield Problem(state.run_id, event.seq, "paused", f"{_name(event)} came while the run was paused")
    if state.ending is not None and isinstance(fact, f.AttemptPrepared):
        yield Problem(state.run_id, event.seq, "ended", f"{_name(event)} came while the run was being ended")


def _name(event: f.Event) -> str:
    fact = event.fact
    what = getattr(fact, "task_id", None) or getattr(fact, "token", None)
    return type(fact).__name__ + (f" of {what}" if what else "")
