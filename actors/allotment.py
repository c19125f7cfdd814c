"""Who gets the seats of a backend: the mirror of what the store has, shared out in turn.

Nothing here waits and nothing is told to anybody: the backend actor asks who gets how many, and tells them.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from matterstack.actors.seats import Seats
from matterstack.core.ids import RunId, Token
from matterstack.core.run.seats import Turns, Want
from matterstack.storage.claims import Waiting


@attrs.define
class _Waiting:
    """A run that attends.

    Attributes:
        ready: how many of its tasks could be submitted now.
        room: how many more jobs it may have by its own cap.
        shares: other engines have seats of the backend, so the store is asked before it gets any.
        deferred: the backend does not take for now what it was given, so it gets nothing more.
    """

    weight: int
    cap: int
    ready: int = 0
    room: int = 0
    shares: bool = False
    deferred: bool = False

    def want(self, most: int) -> Want:
        seats = 0 if self.deferred else max(0, min(self.ready, self.room, most))
        return Want(seats, self.weight)


@attrs.define
class Allotment:
    """The seats of one backend, as this engine knows them."""

    _seats: Seats = attrs.field(factory=Seats)
    _turns: Turns = attrs.field(factory=Turns)
    _waiting: dict[RunId, _Waiting] = attrs.field(factory=dict)

    # ---- runs ----

    def attend(self, run: RunId, cap: int, weight: int) -> None:
        """A run comes in; it wants nothing yet."""
        self._seats.attend(run, cap)
        self._waiting[run] = _Waiting(weight, cap)

    def leave(self, run: RunId) -> None:
        """A run goes; seats of attempts that it leaves running are given back one by one."""
        self._waiting.pop(run, None)
        self._turns.forget(run)
        self._seats.leave(run)

    def want(self, run: RunId, ready: int, room: int) -> None:
        """A run says what it could use."""
        if run in self._waiting:
            self._waiting[run].ready, self._waiting[run].room = ready, room

    # ---- seats ----

    def take(self, token: Token) -> None:
        """An attempt has its seat, also above the cap."""
        self._seats.restore(token)

    def give_back(self, token: Token) -> None:
        """An attempt has ended, durably."""
        self._seats.give_back(token)

    def unpromise(self, run: RunId, seats: int) -> None:
        """Seats that a run was given are taken by attempts now, or not needed."""
        self._seats.unpromise(run, seats)

    @property
    def promised(self) -> int:
        """Seats that runs were given, and that no attempt has taken yet."""
        return self._seats.promised

    @property
    def is_wanted(self) -> bool:
        """Whether a run could use a seat."""
        return any(waiting.want(waiting.cap).seats for waiting in self._waiting.values())

    def defer(self, run: RunId, *, deferred: bool) -> None:
        """Whether the backend leaves attempts of the run lying."""
        if run in self._waiting:
            self._waiting[run].deferred = deferred

    def allot(self, most: int | None = None) -> Mapping[RunId, int]:
        """Give the free seats to the runs that wait, in turn; at most so many."""
        wants = {run: w.want(w.cap) for run, w in self._waiting.items() if not w.shares}
        return self._given(self._turns.allot(_least(self._seats.free, most), wants))

    def take_back(self, run: RunId, seats: int) -> None:
        """The backend had no room for what was submitted: that was no turn of the run's."""
        if run in self._waiting:
            self._turns.take_back(run, seats, self._waiting[run].weight)

    def offer(self, deferred: Mapping[RunId, int], most: int) -> Mapping[RunId, int]:
        """Share out, in turn, what may be submitted of that which was deferred.  They have seats."""
        weights = {run: waiting.weight for run, waiting in self._waiting.items()}
        wants = {run: Want(count, weights[run]) for run, count in deferred.items() if run in weights}
        return self._turns.allot(most, wants)

    def hand_on(self, run: RunId, token: Token) -> int:
        """A job of the run has ended, which is not durable yet: how many seats the run gets for it at once.

        It gets the seat itself when its turn is next: then it stores the end and the next attempt in one
        commit.  A seat for another run has to wait until the end is durable, or the store would refuse it.
        """
        waiting = self._waiting.get(run)
        if waiting is None:
            return 0
        waiting.room += 1
        if waiting.shares:
            # The store decides whether the run has more than its share.
            own = {run: waiting.want(1)}
            if not own[run].seats:
                return 0
            self.give_back(token)
            return self._given(self._turns.allot(min(1, self._seats.free), own)).get(run, 0)
        wants = {other: w.want(w.cap) for other, w in self._waiting.items() if not w.shares}
        if self._seats.free or self._turns.next(wants) != run:
            return 0
        self.give_back(token)
        return self._given(self._turns.allot(min(1, self._seats.free), wants)).get(run, 0)

    def _given(self, given: Mapping[RunId, int]) -> Mapping[RunId, int]:
        for run, seats in given.items():
            self._seats.promise(run, seats)
            self._waiting[run].ready -= seats
            self._waiting[run].room -= seats
        return given

    # ---- other engines ----

    def share(self, run: RunId) -> bool:
        """The store had fewer seats for the run than this mirror; whether that is news."""
        waiting = self._waiting.get(run)
        if waiting is None or waiting.shares:
            return False
        waiting.shares = True
        return True

    def is_sharing(self, run: RunId) -> bool:
        """Whether the run waits for seats that other engines have."""
        waiting = self._waiting.get(run)
        return waiting is not None and waiting.shares

    def shared(self, run: RunId) -> tuple[Waiting, int]:
        """What a run waits for that shares, and the cap that holds for it."""
        waiting = self._waiting[run]
        want = waiting.want(waiting.cap)
        return Waiting(run=run, wanted=want.seats, weight=want.weight), waiting.cap

    def allot_shared(self, run: RunId, taken: int, most: int | None = None) -> int:
        """How many seats a run gets, of those that are not taken in the store; at most so many.

        When that is all that the mirror has left, no other engine has any, and sharing is over.
        """
        waiting = self._waiting[run]
        left = max(0, waiting.cap - taken)
        waiting.shares = left < self._seats.free and waiting.want(waiting.cap).seats > 0
        wants = {run: waiting.want(left)}
        free = _least(min(left, self._seats.free), most)
        return self._given(self._turns.allot(free, wants)).get(run, 0)


def _least(free: int, most: int | None) -> int:
    return free if most is None else min(free, most)
