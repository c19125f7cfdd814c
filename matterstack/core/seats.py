"""Share free seats out over the runs that wait for them, by weight."""

from __future__ import annotations

from collections.abc import Mapping

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

    def forget(self, run: RunId) -> None:
        """Drop a run that has ended."""
        self._turns.pop(run, None)
