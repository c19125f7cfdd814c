"""What was shown to clients, until they agree: each agrees to what it has seen, and to nothing else."""

from __future__ import annotations

import secrets
from typing import Final

import attrs

from matterstack.core.errors import ChangedError, UsageError
from matterstack.core.ids import RunId
from matterstack.core.run.agreed import LOOK_AGAIN
from matterstack.usecases.proposals import Proposal

MOST_KEPT: Final = 50
"""Each may name all tasks of a large run; what was shown before the last so many has to be shown anew."""


@attrs.define(eq=False)
class ShownProposals:
    """Proposals by their basis, the oldest first."""

    _by_basis: dict[str, Proposal] = attrs.field(factory=dict)

    def keep(self, proposal: Proposal) -> str:
        """Returns the basis, by which it is found again."""
        basis = f"p-{secrets.token_urlsafe(16)}"
        self._by_basis[basis] = proposal
        while len(self._by_basis) > MOST_KEPT:
            del self._by_basis[next(iter(self._by_basis))]
        return basis

    def find(self, run_id: RunId, basis: str) -> Proposal:
        """What was shown; as often as it is asked for, since a reply may be lost.

        Raises:
            ChangedError: nothing is known of it, or no more.
            UsageError: that was of another run.
        """
        proposal = self._by_basis.get(basis)
        if proposal is None:
            raise ChangedError(f"basis: {basis!r} is not known here, or no more", hint=LOOK_AGAIN)
        if proposal.run_id != run_id:
            raise UsageError(f"basis: what was shown is of run {proposal.run_id}, not of {run_id}")
        return proposal
