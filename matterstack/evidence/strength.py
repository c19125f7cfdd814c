"""What a verification found, and how strongly each file was checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import StrEnum

import attrs


class Strength(StrEnum):
    """How a file of a bundle was checked, the strongest first."""

    BOUND = "bound"
    """An event has its hash."""
    BYTES = "bytes"
    """It was made again from the events and the survey, and is the same to the byte."""
    MEANING = "meaning"
    """It was made again, by another version of a library, and says the same; its bytes differ."""
    RULES = "rules"
    """All others follow from it.  It obeys every rule; that it is the true one, it cannot say itself."""
    HASH_ONLY = "hash only"
    """The manifest and the survey have its hash, and no event has."""
    NOT_CHECKED = "not checked"
    """What it must be compared with does not fit itself."""


WEAKER: frozenset[Strength] = frozenset({Strength.MEANING, Strength.HASH_ONLY, Strength.NOT_CHECKED})


@attrs.frozen(order=True)
class Finding:
    """Something that does not fit.

    Attributes:
        path: the file in the bundle that is to blame.
    """

    path: str
    problem: str


@attrs.frozen(kw_only=True)
class Verification:
    """What was found.

    Attributes:
        findings: what does not fit.
        checks: how each file of the bundle was checked, by its path.
        absent: what the events or the survey name and the bundle does not hold, in words.
        unbound: what no event binds, in words.
        seq: the event that the bundle is as of; None when it cannot be read.
        later: how many events of the run a store has after that one; None where no store was asked.
    """

    findings: tuple[Finding, ...]
    checks: Mapping[str, Strength]
    absent: tuple[str, ...] = ()
    unbound: tuple[str, ...] = ()
    seq: int | None = None
    later: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether everything fits."""
        return not self.findings

    @property
    def is_weaker(self) -> bool:
        """Whether anything is not there, or was checked less strongly than to the byte."""
        return bool(self.absent) or any(check in WEAKER for check in self.checks.values())

    def counts(self) -> list[tuple[Strength, int]]:
        """How many files were checked how, the strongest first."""
        counted: Counter[Strength] = Counter(self.checks.values())
        return [(strength, counted[strength]) for strength in Strength if counted[strength]]

    def weaker(self) -> Iterable[tuple[str, Strength]]:
        """Files that were checked less strongly, sorted."""
        return ((path, check) for path, check in sorted(self.checks.items()) if check in WEAKER)
