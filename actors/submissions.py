"""Attempts of a run that have no job yet, and how far each is on its way to one.

A cache of what the store and the backends know: a new run actor begins with an empty one.  Nothing here
waits, and nothing is told to anybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

import attrs

from matterstack.backends.base import SubmitReport
from matterstack.core.ids import BackendName, JobId, Token
from matterstack.storage.staging import StagedFolder


@attrs.define
class Submissions:
    """Submissions of one run that are under way.

    Attributes:
        unresolved: nobody knows whether they have a job.
        held_back: they surely have none, and are submitted again as soon as that is allowed.
        deferred: they surely have none, because their backend has no room for them now.
    """

    unresolved: set[Token] = attrs.field(factory=set)
    held_back: set[Token] = attrs.field(factory=set)
    deferred: dict[Token, BackendName] = attrs.field(factory=dict)
    _under_way: set[Token] = attrs.field(factory=set)
    _staging: set[Token] = attrs.field(factory=set)
    _staged: dict[Token, StagedFolder] = attrs.field(factory=dict)

    @property
    def may_land(self) -> bool:
        """Whether a job may still come into being without anything more being done."""
        return bool(self._under_way or self.unresolved)

    @property
    def is_any_under_way(self) -> bool:
        """Whether a backend is about to say what became of an attempt."""
        return bool(self._under_way)

    @property
    def not_with_backend(self) -> AbstractSet[Token]:
        """Attempts of which a backend need not find out whether they have a job."""
        return self.held_back | self._staging | self.deferred.keys()

    def take_staged(self, token: Token) -> tuple[str | None, tuple[str, ...]]:
        """The hash of what was staged for an attempt, and what was in its place, if this actor did that."""
        staged = self._staged.pop(token, None)
        return (None, ()) if staged is None else (staged.manifest_sha256, staged.set_aside)

    # ---- on the way to a backend ----

    def begin(self, tokens: Iterable[Token]) -> None:
        """They are staged, and then submitted."""
        tokens = list(tokens)
        self._under_way.update(tokens)
        self._staging.update(tokens)

    def staged(self, ready: Mapping[Token, StagedFolder]) -> None:
        """Note that the folders of these attempts are ready."""
        self._staged.update(ready)

    def handed_over(self, tokens: Iterable[Token]) -> None:
        """Their backend has been told to submit them."""
        self._staging.difference_update(tokens)

    def attend(self, tokens: Iterable[Token]) -> None:
        """Whoever had this actor's place may have told the backend to submit them: it finds out."""
        tokens = list(tokens)
        self.unresolved.update(tokens)
        self._under_way.update(tokens)

    def take_absent(self, tokens: Iterable[Token]) -> set[Token]:
        """Those of them that surely have no job; they are not submitted any more."""
        absent = (self.held_back | self.deferred.keys()).intersection(tokens)
        self.held_back -= absent
        for token in absent:
            self.deferred.pop(token, None)
        return absent

    def stop(self, tokens: Iterable[Token]) -> None:
        """They are not being submitted."""
        self._under_way.difference_update(tokens)

    # ---- back from a backend ----

    def answered(self, backend: BackendName, report: SubmitReport, live: Iterable[Token]) -> None:
        """A submission has come to its end; those that are deferred keep their seats."""
        self.stop((*report.accepted, *report.refused, *report.unresolved, *report.deferred))
        self.unresolved.difference_update(report.accepted, report.refused, report.deferred)
        self.deferred.update(dict.fromkeys(report.deferred.keys() & set(live), backend))
        self.unresolved.update(report.unresolved)

    def searched(self, found: Mapping[Token, JobId], absent: Sequence[Token]) -> list[Token]:
        """A search has come to its end; returns those that surely have no job.

        An answer of the backend's former actor may come late, when the attempt is being submitted again.
        """
        absent = [token for token in absent if token in self.unresolved]
        self.unresolved.difference_update(found, absent)
        return absent

    def ended(self, tokens: Sequence[Token]) -> None:
        """Forget attempts that are over, durably."""
        self.unresolved.difference_update(tokens)
        self.held_back.difference_update(tokens)
        for token in tokens:
            self.deferred.pop(token, None)
