"""What a verification found, and how strongly each file was checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

import attrs


class Strength(StrEnum):
    """How a file of a bundle was checked, the strongest first."""

    BOUND = "bound"
    BYTES = "bytes"
    RULES = "rules"
    MEANING = "meaning"
    HASH_ONLY = "hash only"
    NOT_CHECKED = "not checked"


MEANS: Final[Mapping[Strength, str]] = {
    Strength.BOUND: "its hash is in an event",
    Strength.BYTES: "made again from events and survey, and the same to the byte",
    Strength.RULES: "the rest follows from it; a forged one is told by a head, a signature or the store",
    Strength.MEANING: "made again by another version of a library: it says the same, in other bytes",
    Strength.HASH_ONLY: "manifest and survey have its hash, and no event has",
    Strength.NOT_CHECKED: "what it must be compared with does not fit itself",
}
WEAKER: Final = frozenset({Strength.MEANING, Strength.HASH_ONLY, Strength.NOT_CHECKED})


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
    """What a verification has found.

    Attributes:
        findings: what does not fit.
        checks: how each file of the bundle was checked, by its path.
        absent: what the events or the survey name and the bundle does not hold, in words.
        unbound: what no event binds, in words.
        seq: the event that the bundle is as of; None when it cannot be read.
    """

    findings: tuple[Finding, ...]
    checks: Mapping[str, Strength]
    absent: tuple[str, ...] = ()
    unbound: tuple[str, ...] = ()
    seq: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether everything in it fits."""
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
