"""Where a cluster's commands run and where its jobs find their folders: on this machine, or behind ssh."""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Protocol

import attrs
import trio

from matterstack.backends.base import PreparedAttempt
from matterstack.backends.secrets_file import asks_for_secrets, give_secrets, take_secrets_away
from matterstack.backends.slurm import programs
from matterstack.backends.submit_lock import SubmitLock
from matterstack.core.errors import BackendError
from matterstack.core.ids import Token
from matterstack.storage.backend_reports import CommandStatistics
from matterstack.storage.crash_points import crash_point
from matterstack.storage.threads import RunBlocking


class NotSubmittedError(BackendError):
    """An order was not carried out, and never will be."""


@attrs.frozen
class Account:
    """Who MatterStack is for the cluster."""

    number: str
    name: str


async def own_account() -> Account:
    """The account in whose name MatterStack runs on this machine."""
    number = os.getuid()
    try:
        return Account(str(number), _user_name(number))
    except KeyError:
        return Account(str(number), str(number))


@cache
def _user_name(number: int) -> str:
    """The name of a user; asked for once, as whole directories may have to be read for it."""
    return pwd.getpwuid(number).pw_name


@attrs.frozen(kw_only=True)
class SubmissionOrder:
    """What one call of sbatch submits, and what it reads.

    Attributes:
        name: of the job; by it the job is found again.
        attempts: what it is for.
        argv: the command line, with folders as the cluster sees them.
        script: what sbatch reads from its standard input; empty where ``argv`` names a file.
    """

    name: Token
    attempts: tuple[PreparedAttempt, ...]
    argv: tuple[str, ...]
    script: str = ""

    @property
    def tokens(self) -> list[Token]:
        """Tokens of the attempts that it submits."""
        return [attempt.token for attempt in self.attempts]

    @property
    def hidden(self) -> list[str]:
        """Variables that sbatch must not find in its environment: it hands that on to the controller."""
        return sorted({name for a in self.attempts if a.secrets is not None for name in a.secrets.names})


class Site(Protocol):
    """Where commands run and folders lie.

    Every method may be cancelled, and those that do anything raise BackendError when the site cannot be
    reached or has no room; then nothing may be concluded.
    """

    @property
    def statistics(self) -> Mapping[str, CommandStatistics]:
        """How often each command was run, and how long it took."""

    @property
    def job_path(self) -> str | None:
        """A folder of programs that every job finds first, where there is one."""

    def folder(self, folder: Path) -> Path:
        """Where the cluster sees a folder of this root."""

    async def serve(self) -> None:
        """Do background work until cancelled."""

    async def run(
        self, argv: Sequence[str], *, timeout_s: float, inherit: int | None = None, stdin: str = ""
    ) -> programs.Finished:
        """Run a command of the cluster where it is to be run; see `programs.run`."""

    async def account(self) -> Account:
        """The account in whose name jobs are submitted there."""

    @property
    def host(self) -> str | None:
        """Where a person submits jobs; None: on this machine."""

    async def bring(self, folders: Sequence[Path]) -> None:
        """Bring what was staged in these folders to where jobs find it."""

    async def push(self, orders: Sequence[SubmissionOrder]) -> None:
        """The same, with the orders themselves."""

    async def give_secrets(self, texts: Mapping[Path, bytes]) -> None:
        """Put files of secrets into these folders; see `matterstack.backends.secrets_file`."""

    async def take_secrets_away(self, folders: Sequence[Path]) -> None:
        """Remove it from these folders, where it is."""

    async def asking_for_secrets(self, folders: Sequence[Path]) -> frozenset[Path]:
        """Those of these folders whose jobs wait for their secrets."""

    async def submit(self, order: SubmissionOrder, *, timeout_s: float) -> programs.Finished:
        """Run sbatch, at most once and to its end, whatever becomes of this process or of the connection.

        Its order was pushed.

        Raises:
            NotSubmittedError: sbatch was not run, and will not be.
        """

    def settled(self, attempts: Sequence[PreparedAttempt]) -> AbstractAsyncContextManager[None]:
        """Inside, no submission of these attempts is under way; one that was begun will not go on later."""

    async def pull_claims(self, folders: Sequence[Path]) -> None:
        """Bring the claims of these folders home."""

    async def pull(self, folders: Sequence[Path]) -> frozenset[Path]:
        """Bring home what jobs that have ended left behind: records, logs, and the outputs they declared.

        Returns the folders of which all is here now; of the others it is on its way, so ask again.
        """

    def give_up(self, folders: Sequence[Path]) -> None:
        """Nobody waits for what is large in these folders: `pull` has them soon, if with records only."""

    def watch(self, folders: Sequence[Path]) -> None:
        """These are the folders of the jobs that run now: their logs are brought home now and then."""


@attrs.frozen
class LocalSite:
    """A cluster whose commands run on this machine, and whose nodes see its folders."""

    _run: programs.Counted
    _lock: SubmitLock
    _blocking: RunBlocking

    @property
    def statistics(self) -> Mapping[str, CommandStatistics]:
        """How often commands were run by this process, and how long they took."""
        return self._run.statistics

    @property
    def job_path(self) -> str | None:
        """Where this Python is: a campaign's ``python`` is the one that MatterStack runs with."""
        return str(Path(sys.executable).parent)

    def folder(self, folder: Path) -> Path:
        """The folder itself: jobs find it at the same place."""
        return folder

    async def serve(self) -> None:
        """Nothing is to be done."""
        await trio.sleep_forever()

    async def run(
        self, argv: Sequence[str], *, timeout_s: float, inherit: int | None = None, stdin: str = ""
    ) -> programs.Finished:
        """Run a command on this machine; see `programs.run`."""
        return await self._run(argv, timeout_s=timeout_s, inherit=inherit, stdin=stdin)

    async def account(self) -> Account:
        """The account in whose name MatterStack runs."""
        return await own_account()

    @property
    def host(self) -> str | None:
        """No host: commands run on this machine."""
        return None

    async def bring(self, folders: Sequence[Path]) -> None:
        """Nothing to bring: jobs see these folders."""

    async def push(self, orders: Sequence[SubmissionOrder]) -> None:
        """Nothing to push: jobs see these folders."""

    async def give_secrets(self, texts: Mapping[Path, bytes]) -> None:
        """Write them: jobs see these folders."""
        try:
            await self._blocking(_give_all, texts)
        except OSError as error:
            raise BackendError(f"secrets cannot be written: {error.strerror or error}") from error

    async def take_secrets_away(self, folders: Sequence[Path]) -> None:
        """Remove them: jobs see these folders."""
        try:
            await self._blocking(_take_all_away, folders)
        except OSError as error:
            raise BackendError(f"secrets cannot be removed: {error.strerror or error}") from error

    async def asking_for_secrets(self, folders: Sequence[Path]) -> frozenset[Path]:
        """Look for the signs: jobs make them in these folders."""
        return await self._blocking(_asking, folders)

    async def submit(self, order: SubmissionOrder, *, timeout_s: float) -> programs.Finished:
        """Run sbatch as a child that inherits the submit lock."""
        async with self._lock.shared_async() as descriptor:
            crash_point("before_submit")
            done = await self._run(order.argv, timeout_s=timeout_s, inherit=descriptor, stdin=order.script)
            crash_point("after_submit")
            return done

    @asynccontextmanager
    async def settled(self, attempts: Sequence[PreparedAttempt]) -> AsyncIterator[None]:  # noqa: ARG002
        """Hold the submit lock alone."""
        async with self._lock.alone():
            yield

    async def pull_claims(self, folders: Sequence[Path]) -> None:
        """Nothing to pull: claims are made in these folders."""

    async def pull(self, folders: Sequence[Path]) -> frozenset[Path]:
        """Nothing to pull: outputs are made in these folders."""
        return frozenset(folders)

    def give_up(self, folders: Sequence[Path]) -> None:
        """Nothing is on its way."""

    def watch(self, folders: Sequence[Path]) -> None:
        """The jobs write into the folders themselves."""


def _give_all(texts: Mapping[Path, bytes]) -> None:
    for folder, text in texts.items():
        give_secrets(folder, text)


def _take_all_away(folders: Sequence[Path]) -> None:
    for folder in folders:
        take_secrets_away(folder)


def _asking(folders: Sequence[Path]) -> frozenset[Path]:
    return frozenset(filter(asks_for_secrets, folders))
