"""Share free seats out over the runs that wait for them, by weight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction

import attrs

from matterstack.core.ids import RunId


@attrs.frozen
class Want:
    """What a run waits for.

    Attributes:
        seats: how many it could use now.
        weight: its share relative to others that wait; at least 1.
    """

    seats: int
    weight: int


@attrs.define
class Turns:
    """Whose turn it is: stride scheduling (Waldspurger and Weihl, 1995).

    Each seat moves a run's turn on by ``1 / weight``; the lowest turn is next.  A run that comes in, or
    that comes back, starts where the others are now (at the turn that was served last), so that it
    neither catches up on the past nor lets others do so.
    """

    _turns: dict[RunId, float] = attrs.field(factory=dict)
    _now: float = 0.0

    def allot(self, free: int, wants: Mapping[RunId, Want]) -> dict[RunId, int]:
        """Give out ``free`` seats, one by one in turn; O(seats x waiting runs)."""
        waiting = {run: want.seats for run, want in wants.items() if want.seats > 0}
        for run in waiting:
            self._turns[run] = max(self._turns.get(run, self._now), self._now)
        given: dict[RunId, int] = {}
        for _ in range(free):
            if not waiting:
                break
            run = min(waiting, key=lambda r: (self._turns[r], r))
            given[run] = given.get(run, 0) + 1
            self._now = self._turns[run]
            self._turns[run] += 1 / wants[run].weight
            waiting[run] -= 1
            if not waiting[run]:
                del waiting[run]
        return given

    def next(self, wants: Mapping[RunId, Want]) -> RunId | None:
        """Who would get the next seat; nobody, when none waits."""
        waiting = [run for run, want in wants.items() if want.seats > 0]
        return min(waiting, key=lambda r: (max(self._turns.get(r, self._now), self._now), r), default=None)

    def take_back(self, run: RunId, seats: int, weight: int) -> None:
        """The run could not use seats that it was given, through no fault of its own."""
        if run in self._turns:
            self._turns[run] -= seats / weight

    def forget(self, run: RunId) -> None:
        """Drop a run that has ended."""
        self._turns.pop(run, None)


@attrs.frozen(kw_only=True)
class Claim:
    """A run that waits for seats of a backend which engines share.

    Attributes:
        live: seats that it has.
        wanted: how many more it could use now.
        served_at: when it got one last; of a claim that is new, when that was made.
        sharer: who shares seats out to it: one backend of one engine; empty for nobody but itself.
        turn_at: when the last turn of its sharer on its account began; empty when none did.
    """

    run: RunId
    live: int
    wanted: int
    weight: int
    served_at: str
    sharer: str = ""
    turn_at: str = ""

    @property
    def group(self) -> str:
        """Claims of one group never stand in each other's way: who shares out decides between them."""
        return self.sharer or self.run


@attrs.frozen
class Turn:
    """A stretch of time: whose turn began in it goes first, so that a seat does not change hands at once."""

    since: str
    until: str

    def has(self, claim: Claim) -> bool:
        """Whether the turn of the claim goes on."""
        return self.since < claim.turn_at <= self.until


@attrs.frozen
class Share:
    """What one sharer is due.

    Attributes:
        seats: how many, now.
        whole: how many of these are due to it at all times; what is above goes from one to the other in turn.
    """

    seats: int
    whole: int


def shares(seats: int, claims: Sequence[Claim], turn: Turn | None = None) -> dict[str, Share]:
    """Divide seats by weight; nobody gets more than it can use.  O(claims x distinct limits).

    What is left after whole seats goes, one by one, to those that have waited longest: so that also where
    there are fewer seats than claims, each gets its turn.  A turn that goes on is not taken away.

    >>> one = Claim(run=RunId("a"), live=8, wanted=90, weight=1, served_at="2")
    >>> due = shares(8, [one, attrs.evolve(one, run=RunId("b"), live=0, served_at="1")])
    >>> due["a"].seats, due["b"].seats
    (4, 4)
    >>> due = shares(1, [one, attrs.evolve(one, run=RunId("b"), live=0, served_at="1")])
    >>> due["a"].seats, due["b"].seats
    (0, 1)
    """
    exact: dict[str, Fraction] = {}
    for claim, part in _parts(seats, claims):
        exact[claim.group] = exact.get(claim.group, Fraction(0)) + part
    due = {group: int(part) for group, part in exact.items()}
    over = int(sum(exact.values()) - sum(due.values()))
    in_turn = sorted(claims, key=lambda c: (turn is None or not turn.has(c), c.served_at, c.run))
    for claim in in_turn:
        if over and due[claim.group] == int(exact[claim.group]) != exact[claim.group]:
            due[claim.group] += 1
            over -= 1
    return {group: Share(count, int(exact[group])) for group, count in due.items()}


def _parts(seats: int, claims: Sequence[Claim]) -> Iterator[tuple[Claim, Fraction]]:
    """Fractions of seats by weight, where what some cannot use goes to the others."""
    left, open_claims = Fraction(seats), list(claims)
    while open_claims:
        per_weight = left / sum(claim.weight for claim in open_claims)
        hungry = [c for c in open_claims if c.live + c.wanted > per_weight * c.weight]
        if len(hungry) == len(open_claims):
            yield from ((claim, per_weight * claim.weight) for claim in open_claims)
            return
        for claim in open_claims:
            if claim.live + claim.wanted <= per_weight * claim.weight:
                left -= claim.live + claim.wanted
                yield claim, Fraction(claim.live + claim.wanted)
        open_claims = hungry


@attrs.frozen
class Room:
    """What one sharer may take.

    Attributes:
        seats: how many more; below zero, so many must become free before it takes one.
        free: how many are free, for anybody.
        kept: how many free seats it leaves to others.
        live: how many it has.
        whole: how many it may have at all times, however long others have waited.
        shared: whether others wait.
    """

    seats: int
    free: int
    kept: int
    live: int
    whole: int
    shared: bool


def room_of(group: str, cap: int, live: int, claims: Sequence[Claim], turn: Turn | None = None) -> Room:
    """How many seats a sharer may take beside those that it has.

    As many as are free up to its share, and above that what the others' shares leave.  The first of these
    lets nobody wait for a seat until all others have theirs: where somebody has more than its share, there
    are not enough for everybody.

    Args:
        group: the sharer; some of the claims are its own.
        live: seats that are taken, by anybody.

    >>> full = Claim(run=RunId("a"), live=3, wanted=9, weight=1, served_at="1")
    >>> both = [attrs.evolve(full, run=RunId(run), live=0) for run in "bc"]
    >>> [room_of(group, 4, 3, [full, *both]).seats for group in "abc"]
    [-1, 1, 1]
    """
    free = cap - live
    beside = live - sum(claim.live for claim in claims)
    due = shares(max(0, cap - beside), claims, turn)
    has: Counter[str] = Counter()
    for claim in claims:
        has[claim.group] += claim.live
    kept = sum(max(0, share.seats - has[other]) for other, share in due.items() if other != group)
    mine = due.get(group, Share(0, 0))
    seats = max(min(free, mine.seats - has[group]), free - kept)
    return Room(seats, free, kept, has[group], mine.whole, any(other != group for other in due))
