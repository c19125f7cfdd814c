"""Which files of a run hold the value of a secret, and so are named in a bundle by their hash alone.

The events say it of all that an engine has looked through; what it has not is looked through now.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from matterstack.core.operators import ASKED
from matterstack.core.run.state import AttemptState
from matterstack.core.secret_words import Search, listed
from matterstack.evidence.history import AttemptKey, History
from matterstack.storage.layout import Root
from matterstack.storage.secret_values import SecretVault


class HoldsSecretError(Exception):
    """A file holds the value of a secret: it is not copied.  The text says so of it."""

    def __init__(self, names: frozenset[str], digest: str) -> None:
        super().__init__(_holds(names))
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
            return _holds(found[path]) if path in found else ""
        if self._unknown:
            return (
                f"nobody could look for the value of {listed(self._unknown)} in it, which is not known here"
            )
        return ""


def withholding(store: Root, history: History) -> Withholding:
    """Find out what can be known of the secrets of a run.  Blocking."""
    names = history.state.secrets
    if not names:
        return Withholding()
    vault = SecretVault(store)
    found = vault.look_up(names)
    return Withholding(vault.search(), names, frozenset(found.missing), history.sought)


def _holds(names: frozenset[str] | tuple[str, ...]) -> str:
    return f"it holds the value of {listed(names)}"
