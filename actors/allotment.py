"""Who gets the seats of a backend: the mirror of what the store has, shared out in turn.

Nothing here waits and nothing is told to anybody: the backend actor asks who gets how many, and tells them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from matterstack.actors.seats import Seats
from matterstack.core.ids import RunId, Token
from matterstack.core.run.seats import Turns, Want
from matterstack.storage.claims import RoomInStore, Waiting


@attrs.define
class _Waiting:
    """A run that attends a backend, and the seats that it could use.

    Attributes:
        ready: how many of its tasks could be submitted now.
        room: how many more jobs it may have by its own cap.
        deferred: the backend does not take for now what it was given, so it gets nothing more.
    """

    weight: int
    cap: int
    ready: int = 0
    room: int = 0
    deferred: bool = False

    def want(self, most: int) -> Want:
        seats = 0 if self.deferred else max(0, min(self.ready, self.room, most))
        return Want(seats, self.weight)


@attrs.define
class Allotment:
    """The seats of one backend, as this engine knows them.

    Attributes:
        sharer: its name in the store.
        is_sharing: others have seats of the backend, so the store is asked before anybody gets any.
    """

    sharer: str
    is_sharing: bool = False
    _room: int = 0
    _seats: Seats = attrs.field(factory=Seats)
    _turns: Turns = attrs.field(factory=Turns)
    _waiting: dict[RunId, _Waiting] = attrs.field(factory=dict)

    # ---- runs ----

    def attend(self, run: RunId, cap: int, weight: int) -> None:
        """A run comes in; it wants nothing yet."""
        self._seats.attend(run, cap)
        self._waiting[run] = _Waiting(weight, cap)

    def set_terms(self, run: RunId, cap: int, weight: int) -> None:
        """A run that has come in goes on with another cap, or another weight."""
        if run in self._waiting:
            self._seats.attend(run, cap)
            self._waiting[run].cap, self._waiting[run].weight = cap, weight

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
        return any(want.seats for want in self._wants(0).values())

    def defer(self, run: RunId, *, deferred: bool) -> None:
        """Whether the backend leaves attempts of the run lying."""
        if run in self._waiting:
            self._waiting[run].deferred = deferred

    def allot(self, most: int | None = None) -> Mapping[RunId, int]:
        """Give the free seats to the runs that wait, in turn; at most so many; none while they are shared."""
        if self.is_sharing:
            return {}
        return self._given(_least(self._seats.free, most), self._wants(self._seats.used))

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
        self._room += 1
        wants = self._wants(0) if self.is_sharing else self._wants(self._seats.used - 1)
        has_room = self._room > 0 if self.is_sharing else not self._seats.free
        if not has_room or self._turns.next(wants) != run:
            return 0
        self.give_back(token)
        return self._given(min(1, self._seats.free), wants).get(run, 0)

    def _wants(self, taken: int) -> Mapping[RunId, Want]:
        """What the runs could use, each by its own cap, of which so many seats are taken."""
        return {run: waiting.want(waiting.cap - taken) for run, waiting in self._waiting.items()}

    def _given(self, seats: int, wants: Mapping[RunId, Want]) -> Mapping[RunId, int]:
        given = self._turns.allot(seats, wants)
        for run, count in given.items():
            self._seats.promise(run, count)
            self._waiting[run].ready -= count
            self._waiting[run].room -= count
            self._room -= count
        return given

    # ---- other engines ----

    def share(self) -> None:
        """The store had fewer seats for a run than this mirror."""
        self.is_sharing = True

    @property
    def runs(self) -> Sequence[RunId]:
        """Those that attend, whether they want anything or not."""
        return list(self._waiting)

    @property
    def cap(self) -> int:
        """The largest one of the runs that attend."""
        return max((waiting.cap for waiting in self._waiting.values()), default=0)

    def waiting(self) -> Sequence[Waiting]:
        """What there is to ask the store for, on behalf of all runs at once."""
        wants = {run: want for run, want in self._wants(0).items() if want.seats}
        return [
            Waiting(run=run, wanted=want.seats, weight=want.weight, sharer=self.sharer)
            for run, want in wants.items()
        ]

    def allot_shared(self, found: RoomInStore, promised: int, most: int | None = None) -> Mapping[RunId, int]:
        """Give the seats that the store has for this sharer to the runs that wait, in turn.

        When nobody else has any or waits for any, sharing is over.

        Args:
            promised: how many runs had been given when the store was asked: these are not free.
        """
        self.is_sharing = not found.alone
        if not self.is_sharing:
            return self.allot(most)
        self._room = found.room.seats - promised
        wants = self._wants(found.live)
        if found.room.shared:
            # One that has no claim counts for nothing in the store: it would be refused.
            wants = {run: want for run, want in wants.items() if run in found.claimed}
        return self._given(min(max(0, self._room), _least(self._seats.free, most)), wants)

    def unclaimed(self, found: RoomInStore) -> Sequence[RunId]:
        """Runs that wait, of which others do not know."""
        return [run for run, want in self._wants(0).items() if want.seats and run not in found.claimed]


def _least(free: int, most: int | None) -> int:
    return free if most is None else min(free, most)
