"""Share free seats out over the runs that wait for them, by weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
    """

    run: RunId
    live: int
    wanted: int
    weight: int
    served_at: str


def shares(seats: int, claims: Sequence[Claim]) -> dict[RunId, int]:
    """Divide seats by weight; nobody gets more than it can use.

    What is left after whole seats goes, one by one, to those that have waited longest: so that also where
    there are fewer seats than runs, each gets its turn.

    >>> one = Claim(run=RunId("a"), live=8, wanted=90, weight=1, served_at="2")
    >>> shares(8, [one, attrs.evolve(one, run=RunId("b"), live=0, served_at="1")])
    {'a': 4, 'b': 4}
    >>> shares(1, [one, attrs.evolve(one, run=RunId("b"), live=0, served_at="1")])
    {'a': 0, 'b': 1}
    """
    given: dict[RunId, int] = {}
    left, open_claims = seats, list(claims)
    while open_claims:
        per_weight = left / sum(claim.weight for claim in open_claims)
        sated = [c for c in open_claims if c.live + c.wanted <= per_weight * c.weight]
        if not sated:
            break
        for claim in sated:
            given[claim.run] = claim.live + claim.wanted
            left -= given[claim.run]
            open_claims.remove(claim)
    if open_claims:
        per_weight = left / sum(claim.weight for claim in open_claims)
        given.update((claim.run, int(per_weight * claim.weight)) for claim in open_claims)
        left -= sum(given[claim.run] for claim in open_claims)
    for claim in sorted(open_claims, key=lambda c: (c.served_at, c.run))[: max(0, left)]:
        given[claim.run] += 1
    return {claim.run: given[claim.run] for claim in claims}
