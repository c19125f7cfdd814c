"""Look for the secrets of a run, and look for their values in what its jobs left behind."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final

import attrs
import trio

from matterstack.actors import protocol as p
from matterstack.actors.mailbox import Mailbox
from matterstack.actors.services import Services
from matterstack.core.ids import RunId, UtcTime
from matterstack.core.run.facts import SecretsSought
from matterstack.core.run.messages import Collected
from matterstack.core.run.state import TaskState
from matterstack.core.secret_words import listed
from matterstack.storage.layout import RunFolder
from matterstack.storage.secret_reports import (
    clean_secret_reports,
    remove_secret_report,
    secret_report,
    write_secret_report,
)
from matterstack.storage.secret_traces import files_with_secrets
from matterstack.storage.secret_values import how_to_give, words_of_missing

logger: Final = logging.getLogger(__name__)

LOOK_S: Final = 5.0
"""How often a value is looked for that is not there; files tell nothing by themselves."""
REMOVAL_S: Final = 2.0


@attrs.define
class SecretWatch:
    """Knows which secrets of a run have no value here: as long as there are any, no job of it is submitted.

    Attributes:
        is_told: people are told what is missing; else only the run goes without.
        missing: why each of them has none.
    """

    run_id: RunId
    names: tuple[str, ...]
    _services: Services
    _mailbox: Mailbox[p.RunMessage]
    is_told: bool = True
    missing: Mapping[str, str] = attrs.field(factory=dict)
    _since: UtcTime | None = None
    _reported_at: float = 0.0

    async def look(self) -> bool:
        """Look once; whether anything has changed."""
        found = await self._services.runtime.files(self._services.vault.look_up, self.names)
        if found.missing == self.missing:
            return False
        self.missing = found.missing
        if self.is_told:
            await self._tell()
        return True

    async def _tell(self) -> None:
        if self.missing:
            path = self._services.vault.file(min(self.missing))
            said = words_of_missing(self.missing)
            logger.warning("run %s waits: %s; give it with: %s", self.run_id, said, how_to_give(path))
        else:
            logger.warning("run %s goes on: all its secrets have values", self.run_id)
        await self._report()

    async def serve(self) -> None:
        """Tell the run of every change, until cancelled."""
        try:
            while True:
                await trio.sleep(LOOK_S)
                if await self.look():
                    await self._mailbox.put(p.SecretsLookedFor())
                elif self._since is not None and self._is_old():
                    await self._report()
        finally:
            if self._since is not None:
                self.missing = {}
                with trio.move_on_after(REMOVAL_S, shield=True):
                    await self._report()

    def _is_old(self) -> bool:
        return trio.current_time() - self._reported_at >= self._services.runtime.heartbeat_s

    async def _report(self) -> None:
        """Have `explain` know, which is another process."""
        self._reported_at = trio.current_time()
        since = self._since or self._services.runtime.now()
        report = secret_report(self.run_id, self.missing, since)
        root, files = self._services.root, self._services.runtime.files
        try:
            if self.missing:
                await files(clean_secret_reports, root)
                await files(write_secret_report, root, report)
                self._since = since
            else:
                await files(remove_secret_report, root, report)
                self._since = None
        except OSError as error:
            logger.warning(
                "run %s: what it waits for cannot be told: %s", self.run_id, error.strerror or error
            )


async def seek_secrets(
    services: Services,
    folder: RunFolder,
    tasks: Sequence[TaskState],
    collected: Sequence[Collected],
    watch: SecretWatch,
) -> list[Collected]:
    """Look through what jobs left for the values of the secrets that they were given."""
    if watch.missing:
        return [_unseen(one, watch.missing) for one in collected]
    search = services.vault.search(watch.names)

    attempts = {task.last_attempt.token: task.last_attempt for task in tasks if task.last_attempt is not None}
    # As it was prepared: what was changed since is for the next one.
    by_token = {
        task.last_attempt.token: task.last_attempt.definition or task.task
        for task in tasks
        if task.last_attempt is not None
    }

    def seek() -> list[Collected]:
        sought = []
        for one in collected:
            task, attempt = by_token[one.token], attempts[one.token]
            if task.operator != "compute":
                sought.append(one)
                continue
            path = folder.attempt(attempt.task_id, attempt.n).path
            found = files_with_secrets(path, task.outputs, task.files, search)
            fact = SecretsSought(token=attempt.token, names=watch.names, found=found)
            sought.append(attrs.evolve(one, sought=fact))
        return sought

    return await services.runtime.files(seek)


def _unseen(one: Collected, missing: Mapping[str, str]) -> Collected:
    """A run that is ending waits for no value: what might hold one is not kept."""
    if one.data is None:
        return one
    problem = f"result.json: is not kept: the value of {listed(missing)} is not known, and may be in it"
    return attrs.evolve(one, data=None, problem=f"{one.problem}; {problem}" if one.problem else problem)
