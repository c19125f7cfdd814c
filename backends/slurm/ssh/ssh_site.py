"""The site of a cluster that is reached through ssh.

In the workdir each root has a folder of its own, with the same tree of runs in it as the root has here:
jobs work there, and their files come and go with rsync.  The submit lock is there too.

A submission takes three steps.  Its order (a small file, with the script that sbatch reads) is pushed
together with the files of its jobs.  Then, under the lock, a command takes the order by renaming it, and runs
sbatch.  A search takes the lock alone, and removes the orders of what it looks for: a command that was sent
before the connection was lost, and arrives only now, finds no order and submits nothing.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import attrs
import trio

from matterstack.backends.base import PreparedAttempt
from matterstack.backends.slurm import programs
from matterstack.backends.slurm.site import Account, NotSubmittedError, SubmissionOrder
from matterstack.backends.slurm.ssh import shell
from matterstack.backends.slurm.ssh import transfers as files
from matterstack.backends.slurm.ssh.connection import Connection
from matterstack.backends.slurm.ssh.fetching import OutputFetcher
from matterstack.backends.slurm.ssh.root_id import FOLDER, base_there
from matterstack.backends.slurm.ssh.troubles import RefusedThereError
from matterstack.core.errors import BackendError
from matterstack.core.ids import BackendName, Token
from matterstack.storage.backend_reports import CommandStatistics
from matterstack.storage.crash_points import crash_point
from matterstack.storage.files import write_derived
from matterstack.storage.modes import make_folders
from matterstack.storage.threads import RunBlocking

logger: Final = logging.getLogger(__name__)

ORDERS: Final = ".matterstack/orders"
LOCK_WAIT_S: Final = 10.0
"""How long a submission waits for a search, which takes it for a moment only."""
_ALWAYS: Final = "--ignore-times"
"""Copy also what has the same size and time: a file may be changed within the second in which it was made."""
_NOT_FOUND: Final = 127
"""What a shell exits with that does not find a command; none of Slurm's does."""


@attrs.frozen
class _Greeting:
    account: Account
    rsync: str


@attrs.define
class SshSite:
    """A cluster that is reached through ssh; see `matterstack.backends.slurm.site.Site`.

    Attributes:
        name: of the backend: the submit lock is the backend's.
        root: here.
        workdir: there.
        root_id: name of the root's folder in it.
    """

    name: BackendName
    root: Path
    workdir: str
    root_id: str
    timeout_s: float
    _connection: Connection
    _blocking: RunBlocking
    _greeting: _Greeting | None = None
    _greets: trio.Lock = attrs.field(factory=trio.Lock)
    _tickets: dict[Token, str] = attrs.field(factory=dict)
    _fetcher: OutputFetcher = attrs.Factory(
        lambda self: OutputFetcher(self._fetch, self._fetch_logs), takes_self=True
    )
    _complaints: set[str] = attrs.field(factory=set)
    _statistics: dict[str, CommandStatistics] = attrs.field(factory=dict)

    @property
    def statistics(self) -> Mapping[str, CommandStatistics]:
        """Of this process; rsync too."""
        return self._statistics

    @contextmanager
    def _counted(self, command: str) -> Iterator[None]:
        began = trio.current_time()
        failed = True
        try:
            yield
            failed = False
        finally:
            before = self._statistics.get(command, CommandStatistics())
            self._statistics[command] = before.after(trio.current_time() - began, failed=failed)

    @property
    def job_path(self) -> str | None:
        """The programs of this machine are not there."""
        return None

    @property
    def base(self) -> str:
        """Path of the root's own folder on the cluster."""
        return base_there(self.workdir, self.root_id)

    def folder(self, folder: Path) -> Path:
        """At the same place below the root's folder there."""
        return Path(self.base, folder.relative_to(self.root))

    async def serve(self) -> None:
        """Copy outputs and logs in the background until cancelled."""
        await self._fetcher.serve()

    def watch(self, folders: Sequence[Path]) -> None:
        """Have `serve` fetch their logs."""
        self._fetcher.watch(folders)

    # ---- commands ----

    async def run(
        self, argv: Sequence[str], *, timeout_s: float, inherit: int | None = None, stdin: str = ""
    ) -> programs.Finished:
        """Run one of Slurm's commands in a login shell; it reads nothing, and inherits no descriptor."""
        if inherit is not None or stdin:
            raise ValueError("only an order has an input and a lock")
        with self._counted(argv[0]):
            reply = await self._connection.bash(shell.RUN, *argv, timeout_s=timeout_s, what=argv[0])
            return _finished(argv[0], self._connection.host, reply)

    async def account(self) -> Account:
        """The account in whose name jobs are submitted on the cluster."""
        return (await self._greeted()).account

    async def submit(self, order: SubmissionOrder, *, timeout_s: float) -> programs.Finished:
        """Run sbatch under the submit lock there."""
        ticket = self._tickets.pop(order.name)
        crash_point("before_submit")
        try:
            with self._greeting_in_doubt(), self._counted("sbatch"):
                reply = await self._connection.bash(
                    shell.SUBMIT,
                    self.base,
                    self._lock,
                    _seconds(LOCK_WAIT_S),
                    f"{ORDERS}/{order.name}.{ticket}",
                    *order.argv,
                    timeout_s=timeout_s + 2 * LOCK_WAIT_S,
                    what="sbatch",
                )
        except RefusedThereError as error:
            raise NotSubmittedError(error.message) from error
        crash_point("after_submit")
        return _finished("sbatch", self._connection.host, reply)

    @asynccontextmanager
    async def settled(self, attempts: Sequence[PreparedAttempt]) -> AsyncIterator[None]:
        """Wait for submissions that are under way, and call off those that are not yet."""
        await self._greeted()
        names = dict.fromkeys(attempt.batch or attempt.token for attempt in attempts)
        await self._blocking(self._remove_old_orders, names)
        with self._greeting_in_doubt():
            reply = await self._connection.bash(
                shell.SETTLE,
                self.base,
                self._lock,
                _seconds(self.timeout_s),
                ORDERS,
                timeout_s=2 * self.timeout_s + LOCK_WAIT_S,
                stdin="".join(f"{name}\0" for name in names).encode(),
                what="a search for submissions",
            )
            if reply.exit_code != 0:
                raise BackendError(
                    f"{self._connection.host}: submissions cannot be called off: {reply.stderr.strip()}"
                )
        yield

    @property
    def _lock(self) -> str:
        return f".matterstack/submit-{self.name}.lock"

    async def _greeted(self) -> _Greeting:
        """Make sure once that all is there that we need."""
        async with self._greets:
            if self._greeting is None:
                reply = await self._connection.bash(
                    shell.GREET,
                    self.workdir,
                    f"{FOLDER}/{self.root_id}",
                    ORDERS,
                    timeout_s=self.timeout_s,
                    what="the first question",
                )
                lines = reply.stdout.decode(errors="replace").splitlines()
                if reply.exit_code != 0 or len(lines) != 3 or not lines[0].isdecimal():
                    raise BackendError(f"{self._connection.host} gave an odd answer: {reply.stderr[:200]!r}")
                self._greeting = _Greeting(Account(lines[0], lines[1]), lines[2])
            return self._greeting

    @contextmanager
    def _greeting_in_doubt(self) -> Iterator[None]:
        """Have what is needed looked at again when something goes wrong: a scratch folder may be cleaned."""
        try:
            yield
        except BackendError:
            self._greeting = None
            raise

    # ---- files ----

    @property
    def host(self) -> str:
        """The login node, as the user's ssh knows it."""
        return self._connection.host

    async def bring(self, folders: Sequence[Path]) -> None:
        """Copy to the cluster what was staged in these folders."""
        await self._push_names(await self._blocking(self._staged, folders))

    async def push(self, orders: Sequence[SubmissionOrder]) -> None:
        """Copy what was staged, and the orders, in one go."""
        if not orders:
            return
        await self._greeted()
        tickets = {order.name: secrets.token_hex(4) for order in orders}
        names = await self._blocking(self._write_orders, orders, tickets)
        try:
            await self._push_names(names)
        finally:
            with trio.CancelScope(shield=True):
                await self._blocking(self._remove_orders, tickets)
        self._tickets.update(tickets)

    async def _push_names(self, names: Sequence[str]) -> None:
        encoded = files.encoded(names)
        if complaint := await self._copy(encoded, f"{self.root}/", f":{self.base}/", "--perms", _ALWAYS):
            raise BackendError(complaint)

    def _staged(self, folders: Iterable[Path]) -> list[str]:
        return [name for folder in folders for name in self._below([folder], files.to_push(folder))]

    def _write_orders(self, orders: Sequence[SubmissionOrder], tickets: dict[Token, str]) -> list[str]:
        """Write the orders; names of all that is to be copied, below the root."""
        names = self._staged(attempt.folder for order in orders for attempt in order.attempts)
        try:
            make_folders(self.root / ORDERS)
            for order in orders:
                name = f"{ORDERS}/{order.name}.{tickets[order.name]}"
                write_derived(self.root / name, order.script.encode())
                names.append(name)
        except OSError as error:
            raise BackendError(f"{self.root / ORDERS}: {error.strerror or error}") from error
        return names

    def _remove_orders(self, tickets: dict[Token, str]) -> None:
        for name, ticket in tickets.items():
            (self.root / ORDERS / f"{name}.{ticket}").unlink(missing_ok=True)

    def _remove_old_orders(self, names: Iterable[Token]) -> None:
        """Of an engine that was killed."""
        for name in names:
            for path in (self.root / ORDERS).glob(f"{name}.*"):
                path.unlink(missing_ok=True)

    async def pull_claims(self, folders: Sequence[Path]) -> None:
        """Who works in these folders."""
        await self._pull_names(self._below(folders, [files.CLAIM]))

    async def pull(self, folders: Sequence[Path]) -> frozenset[Path]:
        """Copy records, logs and declared outputs."""
        return await self._fetcher.pull(folders)

    async def _fetch_logs(self, folders: Sequence[Path]) -> None:
        await self._pull_names(self._below(folders, files.LOGS))

    async def _fetch(self, folders: Sequence[Path]) -> None:
        """Only regular files, and none that would lie outside of the folder."""
        contents = await self._blocking(_read_contents, folders)
        names = self._below(folders, files.TRACES)
        declaring = {os.fsencode(self._relative(f)): c for f, c in contents.items() if c.outputs}
        if declaring:
            with self._greeting_in_doubt():
                reply = await self._connection.bash(
                    shell.LIST,
                    self.base,
                    timeout_s=self.timeout_s,
                    stdin=b"".join(b"./" + folder + b"\0" for folder in declaring),
                    what="listing the outputs",
                )
            for folder, name in files.pairs(reply.stdout):
                wanted = declaring.get(os.fsencode(folder.removeprefix("./")))
                if wanted is not None and files.is_wanted(name, wanted):
                    names.append(f"{folder.removeprefix('./')}/{name}")
        await self._pull_names(names, _ALWAYS)

    async def _pull_names(self, names: Sequence[str], *options: str) -> None:
        if not names:
            return
        encoded = files.encoded(dict.fromkeys(names))
        # In place, so that who follows a log goes on reading the same file.
        options = ("--inplace", "--ignore-missing-args", *options)
        complaint = await self._copy(encoded, f":{self.base}/", f"{self.root}/", *options)
        if complaint and complaint not in self._complaints:
            self._complaints.add(complaint)
            logger.warning("%s: some files did not come home: %s", self.name, complaint)

    async def _copy(self, names: Sequence[bytes], source: str, target: str, *options: str) -> str:
        greeting = await self._greeted()
        with self._greeting_in_doubt(), self._counted("rsync"):
            return await self._connection.copy(
                names, source, target, *options, there=greeting.rsync, stall_s=self.timeout_s
            )

    def _relative(self, folder: Path) -> str:
        return folder.relative_to(self.root).as_posix()

    def _below(self, folders: Sequence[Path], names: Sequence[str]) -> list[str]:
        return [f"{self._relative(folder)}/{name}" for folder in folders for name in names]


def _read_contents(folders: Sequence[Path]) -> dict[Path, files.Contents]:
    return {folder: files.read_contents(folder) for folder in folders}


def _finished(command: str, host: str, reply: shell.Reply) -> programs.Finished:
    if reply.exit_code == _NOT_FOUND:
        raise BackendError(
            f"{command}: no such command on {host}: have ~/.bash_profile there load Slurm's module"
        )
    return programs.Finished(reply.exit_code or 0, reply.stdout.decode(errors="replace"), reply.stderr)


def _seconds(time_s: float) -> str:
    return f"{max(1, round(time_s))}"
