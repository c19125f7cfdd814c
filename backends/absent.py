"""A backend whose kind cannot be used here: it cannot be asked, until its package is mended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NoReturn

import attrs
import trio

from matterstack.backends.base import Health, LiveJob, PlannedSubmission, PreparedAttempt, SubmitReport
from matterstack.core.errors import BackendError
from matterstack.core.ids import BackendName, JobId, Token
from matterstack.core.model.resources import Limits
from matterstack.core.run.messages import Observed


@attrs.define
class AbsentBackend:
    """See `matterstack.backends.base.Backend`.  ``why``: what it raises, whatever is asked."""

    name: BackendName
    why: BackendError
    poll_interval_s: float = 60.0
    grace_period_s: float = 0.0
    batch_limit: int = 1

    async def serve(self) -> None:
        """There is nothing to do."""
        await trio.sleep_forever()

    async def wait_change(self) -> None:
        """Nothing changes by itself."""
        await trio.sleep_forever()

    def script(self, attempt: PreparedAttempt) -> str:
        """A script that does nothing: nobody can submit it."""
        return f"# attempt {attempt.token} cannot be submitted: {self.why}\n"

    def describe(self, batch: Sequence[PreparedAttempt]) -> list[PlannedSubmission]:  # noqa: ARG002
        """Nothing would be submitted."""
        return []

    async def hand_out(self, attempt: PreparedAttempt) -> None:
        """Cannot be asked."""
        self._refuse(attempt)

    async def submit(self, batch: Sequence[PreparedAttempt]) -> SubmitReport:
        """Cannot be asked; surely no job was made."""
        return SubmitReport(deferred={attempt.token: str(self.why) for attempt in batch})

    async def poll(self, jobs: Sequence[LiveJob]) -> list[Observed]:
        """Cannot be asked."""
        self._refuse(jobs)

    async def cancel(self, jobs: Sequence[LiveJob]) -> None:
        """Cannot be asked."""
        self._refuse(jobs)

    async def find(self, attempts: Sequence[PreparedAttempt]) -> Mapping[Token, JobId]:
        """Cannot be asked."""
        self._refuse(attempts)

    async def probe(self) -> Limits:
        """Cannot be asked."""
        self._refuse(())

    def health(self) -> Health:
        """Nothing is known."""
        return Health()

    def _refuse(self, _asked: object) -> NoReturn:
        raise BackendError(str(self.why))
