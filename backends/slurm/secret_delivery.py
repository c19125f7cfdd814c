"""Secrets of jobs on a cluster: given at submission, given again to who asks, taken away at the end."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs

from matterstack.backends.base import LiveJob, PreparedAttempt
from matterstack.backends.secrets_file import secrets_text
from matterstack.backends.slurm.site import Site
from matterstack.core.errors import BackendError
from matterstack.core.ids import BackendName, Token
from matterstack.core.run.messages import Observed
from matterstack.core.states import ENDED_JOBS, JobState
from matterstack.storage.secret_values import MissingSecretError, RunSecrets
from matterstack.storage.threads import RunBlocking

logger: Final = logging.getLogger(__name__)


@attrs.define
class SecretDelivery:
    """Between the secrets of runs and the folders of their jobs.

    What it remembers is lost in a crash with little harm: a file that a job never read lies in its attempt's
    folder until somebody looks for that job again.
    """

    name: BackendName
    _site: Site
    _blocking: RunBlocking
    _left: set[Path] = attrs.field(factory=set)

    async def give(self, attempts: Iterable[PreparedAttempt]) -> dict[Token, str]:
        """Put the files of these attempts in place; returns those that have none, and why.

        Raises:
            BackendError: it is not known whether the files are there.
        """
        attempts = list(attempts)
        wanted = {a.folder: a.secrets for a in attempts if a.secrets is not None}
        if not wanted:
            return {}
        texts, missing = await self._blocking(_texts_of, wanted)
        if texts:
            self._left.difference_update(texts)
            await self._site.give_secrets(texts)
        return {a.token: missing[a.folder] for a in attempts if a.folder in missing}

    async def take_away(self, of: Iterable[PreparedAttempt | LiveJob]) -> None:
        """Remove the files of jobs that are over, or that surely are none; what fails is done later."""
        self._left.update(one.folder for one in of if one.secrets is not None)
        if not self._left:
            return
        folders = sorted(self._left)
        try:
            await self._site.take_secrets_away(folders)
        except BackendError as error:
            logger.warning("%s: %d files of secrets are removed later: %s", self.name, len(folders), error)
        else:
            self._left.difference_update(folders)

    async def look_after(self, jobs: Sequence[LiveJob], seen: Sequence[Observed]) -> None:
        """Give their secrets again to jobs that ask for them, and clear up after those that have ended."""
        mine = {job.token: job for job in jobs if job.secrets is not None}
        if not mine and not self._left:
            return
        of_mine = [one for one in seen if one.token in mine]
        await self.take_away(mine[one.token] for one in of_mine if one.state in ENDED_JOBS)
        running = [mine[one.token] for one in of_mine if one.state is JobState.RUNNING]
        if not running:
            return
        try:
            asking = await self._site.asking_for_secrets([job.folder for job in running])
            again = {job.folder: job.secrets for job in running if job.folder in asking and job.secrets}
            texts, missing = await self._blocking(_texts_of, again) if again else ({}, {})
            if texts:
                await self._site.give_secrets(texts)
        except BackendError as error:
            logger.warning("%s: jobs that were requeued get their secrets later: %s", self.name, error)
        else:
            for why in dict.fromkeys(missing.values()):
                logger.warning("%s: a job that was requeued waits for its secrets: %s", self.name, why)


def _texts_of(wanted: Mapping[Path, RunSecrets]) -> tuple[dict[Path, bytes], dict[Path, str]]:
    texts: dict[Path, bytes] = {}
    missing: dict[Path, str] = {}
    known: dict[tuple[str, ...], bytes] = {}
    for folder, secrets in wanted.items():
        try:
            if secrets.names not in known:
                known[secrets.names] = secrets_text(secrets.values())
            texts[folder] = known[secrets.names]
        except MissingSecretError as error:
            missing[folder] = str(error)
    return texts, missing
