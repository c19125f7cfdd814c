"""Attempts that a backend does not take for now, because a limit of the site is used up.

They keep their seats and their tokens, and are offered again: some of them at once when fewer may fit, as
many as jobs have ended when some have, and one now and then, since jobs that nobody here knows of end too.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs
import trio

from matterstack.core.ids import RunId, Token
from matterstack.core.polling import next_interval_s


@attrs.define
class Deferral:
    """What waits, and how much of it to offer next.

    Attributes:
        limit: the words in which it was refused; empty when nothing is.
        chunk: how many to offer next.
        offers: rounds in a row that began without a sign of room.
    """

    limit: str = ""
    chunk: int = 1
    offers: int = 0
    _tokens: dict[RunId, dict[Token, None]] = attrs.field(factory=dict)
    _narrows: bool = False
    _asked: set[RunId] = attrs.field(factory=set)
    _taken: int = 0
    _refused: int = 0
    _some: trio.Event = attrs.field(factory=trio.Event)
    _room: trio.Event = attrs.field(factory=trio.Event)

    def __bool__(self) -> bool:
        return bool(self._tokens)

    def count(self, run: RunId) -> int:
        """How many attempts of a run wait here."""
        return len(self._tokens.get(run, ()))

    def counts(self) -> dict[RunId, int]:
        """How many attempts of each run wait here."""
        return {run: len(tokens) for run, tokens in self._tokens.items()}

    def add(self, run: RunId, tokens: Iterable[Token], limit: str = "") -> None:
        """Attempts wait from here on."""
        added = dict.fromkeys(tokens)
        if added:
            self._tokens.setdefault(run, {}).update(added)
            self.limit = limit or self.limit
            self._some.set()

    def submit(self, run: RunId, tokens: Iterable[Token]) -> None:
        """Attempts are submitted again; `answered` says what came of it."""
        waiting = self._tokens.get(run, {})
        for token in tokens:
            waiting.pop(token, None)
        if not waiting:
            self._tokens.pop(run, None)

    def remove(self, run: RunId, tokens: Iterable[Token]) -> None:
        """Forget attempts of a run that have ended."""
        self.submit(run, tokens)
        self._settle()

    def forget(self, run: RunId) -> list[Token]:
        """A run goes; returns what it leaves behind."""
        left = list(self._tokens.pop(run, ()))
        self._asked.discard(run)
        self._settle()
        return left

    def _settle(self) -> None:
        if not self._tokens and not self._asked:
            self.limit, self.chunk, self.offers, self._narrows = "", 1, 0, False

    def offered(self, runs: Iterable[RunId]) -> None:
        """Runs were told to submit again: nothing more is offered before they have."""
        self._asked = set(runs)

    def answered(self, run: RunId, *, taken: int, refused: int) -> None:
        """A run has submitted: so many were taken, and so many refused (of what goes as one, the most)."""
        self._asked.discard(run)
        self._taken += taken
        self._refused = max(self._refused, refused)
        if self._asked:
            return
        taken, self._taken = self._taken, 0
        refused, self._refused = self._refused, 0
        self._settle()
        if not self:
            return
        if refused:  # fewer may fit; one alone cannot be made smaller
            self._narrows, self.chunk = True, max(1, refused // 2)
        elif taken:
            # After a refusal there is less room left than twice of what was taken then.
            self.chunk = max(1, self.chunk // 2) if self._narrows else self.chunk * 2
        if taken:
            self.offers = 0
        if refused > 1 or (taken and not refused):
            self._room.set()

    def ended(self, jobs: int) -> None:
        """Jobs have ended, which leaves so much room."""
        if self and jobs:
            self._narrows, self.chunk, self.offers = False, max(self.chunk, jobs), 0
            if not self._asked:
                self._room.set()

    async def next_offer(self, base_s: float, spread: float) -> None:
        """Return when some of what waits is to be offered.

        Args:
            base_s: how long to wait at first, without a sign of room; doubled each time.
            spread: factor, so that engines which met the same limit do not come back all at once.
        """
        while not self:
            self._some = trio.Event()
            await self._some.wait()
        with trio.move_on_after(next_interval_s(base_s, 0, self.offers) * spread) as waited:
            await self._room.wait()
        self._room = trio.Event()
        if waited.cancelled_caught:
            self._asked.clear()
            self._narrows = False
            self.chunk = 1
            self.offers += 1
