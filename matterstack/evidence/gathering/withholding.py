"""Which files of a run hold the value of a secret, and so are named in a bundle by their hash alone.

The events say it of all that an engine has looked through; what it has not is looked through now.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final

import attrs

from matterstack.core.operators import ASKED
from matterstack.core.run.state import AttemptState
from matterstack.core.secret_words import Search, listed
from matterstack.evidence.history import AttemptKey, History
from matterstack.storage.layout import Root
from matterstack.storage.secret_values import SecretVault

_HOLDS: Final = "it holds the value of {}"
_UNSEEN: Final = "nobody could look for the value of {} in it, which is not known here"
_LISTED: Final = re.compile(r"the secrets? (\w+(?:, \w+)*(?: and \w+)?)")


class HoldsSecretError(Exception):
    """A file holds the value of a secret: it is not copied.  The text says so of it."""

    def __init__(self, names: frozenset[str], digest: str) -> None:
        super().__init__(holds(names))
        self.digest = digest


@attrs.frozen
class Withholding:
    """What is known of the secrets of one run.

    Attributes:
        search: for the values that are known here; where there are any, all that is copied is looked through.
    """

    search: Search = attrs.field(factory=Search)
    _names: tuple[str, ...] = ()
    _unknown: frozenset[str] = frozenset()
    _sought: Mapping[AttemptKey, Mapping[str, tuple[str, ...]]] = attrs.field(factory=dict)

    def reason(self, attempt: AttemptState, path: str) -> str:
        """Why a file of an attempt is not copied, whatever is in it now; empty when it is looked through."""
        if not self._names or attempt.backend == ASKED:
            return ""
        found = self._sought.get((attempt.task_id, attempt.n))
        if found is not None:
            return holds(found[path]) if path in found else ""
        if self._unknown:
            return _UNSEEN.format(listed(self._unknown))
        return ""


def withholding(store: Root, history: History) -> Withholding:
    """Find out what can be known of the secrets of a run.  Blocking."""
    names = history.state.secrets
    if not names:
        return Withholding()
    vault = SecretVault(store)
    found = vault.look_up(names)
    return Withholding(vault.search(), names, frozenset(found.missing), history.sought)


def holds(names: Iterable[str]) -> str:
    """Why a file is withheld that holds the values of these secrets."""
    return _HOLDS.format(listed(names))


def is_reason(text: str, secrets: Collection[str], *, was_sought: bool = False) -> bool:
    """Whether a file of a run with these secrets can be withheld for this reason.

    Args:
        was_sought: an engine has looked through what that job left, so nobody can say that he could not.

    >>> is_reason("it holds the value of the secrets A and B", ["B", "A"]), is_reason("it is dull", ["A"])
    (True, False)
    """
    found = _LISTED.search(text)
    names = re.split(r", | and ", found[1]) if found is not None else []
    if not names or not {*names} <= {*secrets}:
        return False
    return text == holds(names) or (not was_sought and text == _UNSEEN.format(listed(names)))
