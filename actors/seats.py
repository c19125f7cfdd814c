"""Seats of a backend: how many jobs it may have at once, counted per attempt.

A seat belongs to the attempt, not to the actor that took it: when an actor is gone the job still runs, so
the seat stays taken until the store says that the attempt has ended.
"""

from __future__ import annotations

import trio

from matterstack.core.ids import RunId, Token


class Seats:
    """A mirror of the live attempts in the store, that makes waiting for a seat fair and cheap."""

    def __init__(self) -> None:
        self._limiter = trio.CapacityLimiter(0)
        self._caps: dict[RunId, int] = {}
        self._taken: set[Token] = set()
        self._promises: dict[RunId, list[object]] = {}

    @property
    def free(self) -> int:
        """Seats that nobody has and nobody was promised; never negative."""
        return max(0, int(self._limiter.available_tokens))

    @property
    def used(self) -> int:
        """Seats that attempts have, and those that are kept for runs."""
        return int(self._limiter.borrowed_tokens)

    @property
    def promised(self) -> int:
        """Seats that are kept for runs."""
        return sum(len(kept) for kept in self._promises.values())

    def attend(self, run: RunId, cap: int) -> None:
        """A run comes in, with the most jobs that it may have on this backend.

        Runs may have frozen different caps: here the largest counts, in the store each one's own.
        """
        self._caps[run] = cap
        self._limiter.total_tokens = max(self._caps.values())

    def leave(self, run: RunId) -> None:
        """A run goes; attempts that it leaves running keep their seats."""
        self.unpromise(run, len(self._promises.get(run, ())))
        self._promises.pop(run, None)
        self._caps.pop(run, None)

    def restore(self, token: Token) -> None:
        """Take the seat of an attempt that is live already, even above the cap."""
        if token in self._taken:
            return
        cap = self._limiter.total_tokens
        self._limiter.total_tokens = max(cap, self._limiter.borrowed_tokens + 1)
        self._limiter.acquire_on_behalf_of_nowait(token)
        self._limiter.total_tokens = cap
        self._taken.add(token)

    def promise(self, run: RunId, seats: int) -> None:
        """Keep free seats for a run."""
        kept = self._promises.setdefault(run, [])
        for _ in range(seats):
            key = object()
            self._limiter.acquire_on_behalf_of_nowait(key)
            kept.append(key)

    def unpromise(self, run: RunId, seats: int) -> None:
        """Give back seats that were kept for a run."""
        kept = self._promises.get(run, [])
        for _ in range(min(seats, len(kept))):
            self._limiter.release_on_behalf_of(kept.pop())

    def give_back(self, token: Token) -> None:
        """Free the seat of an attempt that has ended."""
        if token in self._taken:
            self._taken.discard(token)
            self._limiter.release_on_behalf_of(token)
