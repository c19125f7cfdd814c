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
        """Sleep for ever: nothing changes by itself."""
        await trio.sleep_forever()

    def script(self, attempt: PreparedAttempt) -> str:
        """A script that does nothing: nobody can submit it."""
        return f"# attempt {attempt.token} cannot be submitted: {self.why}\n"

    def describe(self, batch: Sequence[PreparedAttempt]) -> list[PlannedSubmission]:  # noqa: ARG002
        """No descriptions: nothing would be submitted."""
        return []

    async def hand_out(self, attempt: PreparedAttempt) -> None:
        """Refuse to hand out: this backend cannot be asked."""
        self._refuse(attempt)

    async def submit(self, batch: Sequence[PreparedAttempt]) -> SubmitReport:
        """Cannot be asked; surely no job was made."""
        return SubmitReport(deferred={attempt.token: str(self.why) for attempt in batch})

    async def poll(self, jobs: Sequence[LiveJob]) -> list[Observed]:
        """Refuse the poll: this backend cannot be asked."""
        self._refuse(jobs)

    async def cancel(self, jobs: Sequence[LiveJob]) -> None:
        """Refuse to cancel: this backend cannot be asked."""
        self._refuse(jobs)

    async def cancel_waiting(self, jobs: Sequence[LiveJob]) -> None:
        """Refuse to cancel what waits: this backend cannot be asked."""
        self._refuse(jobs)

    async def find(self, attempts: Sequence[PreparedAttempt]) -> Mapping[Token, JobId]:
        """Refuse the search: this backend cannot be asked."""
        self._refuse(attempts)

    async def probe(self) -> Limits:
        """Refuse the probe: this backend cannot be asked."""
        self._refuse(())

    def health(self) -> Health:
        """No health: nothing is known of this backend."""
        return Health()

    def _refuse(self, _asked: object) -> NoReturn:
        raise BackendError(str(self.why))
