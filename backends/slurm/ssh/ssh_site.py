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
import math
import os
import secrets
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import attrs
import trio

from matterstack.backends.base import PreparedAttempt
from matterstack.backends.secrets_file import ASKED_FOR
from matterstack.backends.slurm import programs
from matterstack.backends.slurm.site import Account, NotSubmittedError, SubmissionOrder
from matterstack.backends.slurm.ssh import shell
from matterstack.backends.slurm.ssh import transfers as files
from matterstack.backends.slurm.ssh.connection import Connection
from matterstack.backends.slurm.ssh.fetching import OutputFetcher
from matterstack.backends.slurm.ssh.homecoming import FOLDER as LANDINGS
from matterstack.backends.slurm.ssh.homecoming import PARTIAL, Landing, note_not_fetched
from matterstack.backends.slurm.ssh.root_id import FOLDER, base_there
from matterstack.backends.slurm.ssh.troubles import RefusedThereError
from matterstack.core.errors import BackendError
from matterstack.core.ids import BackendName, RunId, TaskId, Token
from matterstack.core.model.size_limits import GIB, MOST_OUTPUT_GIB
from matterstack.core.model.workflow_check import SECRETS_FILE
from matterstack.storage.backend_reports import CommandStatistics
from matterstack.storage.crash_points import crash_point
from matterstack.storage.files import write_derived
from matterstack.storage.finishing_reports import TOLD_FROM_BYTES, Finishing, FinishingNews
from matterstack.storage.layout import Root
from matterstack.storage.modes import make_folders
from matterstack.storage.outputs import NOT_WAITED_FOR, RESULT
from matterstack.storage.threads import RunBlocking

logger: Final = logging.getLogger(__name__)

PRIVATE: Final = ".matterstack"
ORDERS: Final = f"{PRIVATE}/orders"
TOLD_EVERY_S: Final = 2.0
LOCK_WAIT_S: Final = 10.0
"""How long a submission waits for a search, which takes it for a moment only."""
_ALWAYS: Final = "--ignore-times"
"""Copy also what has the same size and time: a file may be changed within the second in which it was made."""
_SPARSE: Final = "--sparse"
_COMING_HOME: Final = (
    "--ignore-missing-args",
    "--no-links",
    "--no-devices",
    "--no-specials",
    "--no-hard-links",
    "--chmod=Fu+rw,Fgo-w",  # who owns a file can read it, whatever the other side says
)
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
        lambda self: OutputFetcher(self._fetch, self._fetch_logs, self._fetch_records), takes_self=True
    )
    _landing: Landing = attrs.Factory(
        lambda self: Landing(self.root, self.root / PRIVATE / LANDINGS / self.name), takes_self=True
    )
    _coming: dict[Path, tuple[FinishingNews, int]] = attrs.field(factory=dict)
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
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_landing)
            await self._fetcher.serve()

    async def _keep_landing(self) -> None:
        """Tidy up where files land, and tell people now and then how much of large outputs has come home."""
        await self._blocking(self._landing.sweep)
        while True:
            await trio.sleep(TOLD_EVERY_S)
            for folder, (news, total_bytes) in list(self._coming.items()):
                task_id = TaskId(folder.parent.name)
                landed = min(total_bytes, await self._blocking(self._landing.bytes_of, folder))
                if folder in self._coming:
                    await self._blocking(news.tell, {task_id: Finishing(landed, total_bytes)})

    @contextmanager
    def _telling(self, wanted: Mapping[Path, files.Wanted]) -> Iterator[None]:
        large = {folder: each for folder, each in wanted.items() if each.total_bytes >= TOLD_FROM_BYTES}
        for folder, each in large.items():
            run_id = RunId(folder.parents[2].name)
            news = FinishingNews(Root(self.root), run_id, f"{folder.parent.name} from {self.name}")
            self._coming[folder] = (news, each.total_bytes)
        try:
            yield
        finally:
            for folder in large:
                self._coming.pop(folder)[0].end()

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
                    " ".join(order.hidden),
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
        return f"{PRIVATE}/submit-{self.name}.lock"

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
        if complaint := await self._copy(
            encoded, f"{self.root}/", f":{self.base}/", "--perms", _ALWAYS, _SPARSE
        ):
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

    async def give_secrets(self, texts: Mapping[Path, bytes]) -> None:
        """Write them there; they lie in no file here."""
        stdin = b"".join(
            os.fsencode(self._relative(folder)) + b"\0" + text + b"\0" for folder, text in texts.items()
        )
        await self._for_secrets(shell.GIVE_SECRETS, stdin, SECRETS_FILE, ASKED_FOR)

    async def take_secrets_away(self, folders: Sequence[Path]) -> None:
        """Remove the files of secrets there."""
        await self._for_secrets(shell.TAKE_SECRETS_AWAY, self._nul_ended(folders), SECRETS_FILE, ASKED_FOR)

    async def asking_for_secrets(self, folders: Sequence[Path]) -> frozenset[Path]:
        """Look for the signs of waiting jobs there."""
        told = await self._for_secrets(shell.ASKING_FOR_SECRETS, self._nul_ended(folders), ASKED_FOR)
        return frozenset(self.root / os.fsdecode(name) for name in told.split(b"\0")[:-1])

    async def _for_secrets(self, lines: Sequence[str], stdin: bytes, *names: str) -> bytes:
        await self._greeted()
        with self._greeting_in_doubt():
            reply = await self._connection.bash(
                lines, self.base, *names, timeout_s=self.timeout_s, stdin=stdin, what="secrets of jobs"
            )
        return reply.stdout

    def _nul_ended(self, folders: Sequence[Path]) -> bytes:
        return b"".join(os.fsencode(self._relative(folder)) + b"\0" for folder in folders)

    async def pull_claims(self, folders: Sequence[Path]) -> None:
        """Who works in these folders."""
        await self._bring_home({folder: [files.CLAIM] for folder in folders})

    async def pull(self, folders: Sequence[Path]) -> frozenset[Path]:
        """Copy records, logs and declared outputs."""
        return await self._fetcher.pull(folders)

    def give_up(self, folders: Sequence[Path]) -> None:
        """Nobody waits for what is large in these: their jobs are to end, and their run with them."""
        self._fetcher.give_up(folders)

    async def _fetch_logs(self, folders: Sequence[Path]) -> None:
        """What was added to logs; where one was written anew, the end of the job tells it right."""
        await self._land(dict.fromkeys(folders, files.LOGS), MOST_OUTPUT_GIB * GIB, "--append")
        for folder in folders:
            await self._blocking(self._landing.show, folder, files.LOGS)

    async def _fetch_records(self, folders: Sequence[Path]) -> None:
        await self._bring_home(dict.fromkeys(folders, files.RECORDS), _ALWAYS)
        for folder in folders:
            await self._blocking(self._give_up_outputs, folder)

    def _give_up_outputs(self, folder: Path) -> None:
        contents = files.read_contents(folder)
        try:
            note_not_fetched(folder, dict.fromkeys((*contents.outputs, RESULT), NOT_WAITED_FOR))
        except OSError as error:
            raise BackendError(f"{folder}: {error.strerror or error}") from error
        self._landing.clear(folder)

    async def _fetch(self, folders: Sequence[Path]) -> None:
        """Only regular files, whose names lead to one place in the folder, and no larger than they may be."""
        contents = await self._blocking(_read_contents, folders)
        wanted = await self._list_outputs(contents)
        names = {folder: [*files.TRACES, *wanted[folder].names] for folder in folders}
        most_bytes = max((each.most_bytes for each in contents.values()), default=math.inf)
        kept = f"--partial-dir={PARTIAL}"
        with self._telling(wanted):
            await self._bring_home(names, _ALWAYS, _SPARSE, kept, most_bytes=most_bytes, whole=contents)
        for folder in folders:
            try:
                await self._blocking(note_not_fetched, folder, wanted[folder].refused)
            except OSError as error:
                raise BackendError(f"{folder}: {error.strerror or error}") from error
            await self._blocking(self._landing.clear, folder)

    async def _list_outputs(self, contents: Mapping[Path, files.Contents]) -> dict[Path, files.Wanted]:
        asked = {f: b"./" + os.fsencode(self._relative(f)) for f, c in contents.items() if c.outputs}
        listing = b""
        if asked:
            with self._greeting_in_doubt():
                reply = await self._connection.bash(
                    shell.LIST,
                    self.base,
                    timeout_s=self.timeout_s,
                    stdin=b"".join(folder + b"\0" for folder in asked.values()),
                    what="listing the outputs",
                )
            listing = reply.stdout
        told = await self._blocking(files.wanted, listing, {name: contents[f] for f, name in asked.items()})
        return {folder: told[asked[folder]] if folder in asked else files.Wanted() for folder in contents}

    async def _bring_home(
        self,
        names: Mapping[Path, Sequence[str]],
        *options: str,
        most_bytes: float = math.inf,
        whole: Mapping[Path, files.Contents] | None = None,
    ) -> None:
        """Have files land, and put them in their places.

        ``whole``: what was put into the folders here, where nothing is to lie in them but that and what
        comes now.
        """
        complaints = [await self._land(names, most_bytes, *options)]
        for folder, its_names in names.items():
            given = None if whole is None else whole[folder].given
            complaints += await self._blocking(self._settle, folder, its_names, given)
        complaint = "; ".join(filter(None, complaints))
        if complaint and complaint not in self._complaints:
            self._complaints.add(complaint)
            logger.warning("%s: some files did not come home: %s", self.name, complaint)

    def _settle(self, folder: Path, names: Sequence[str], given: Sequence[str] | None) -> list[str]:
        if given is None:
            return self._landing.settle(folder, names).complaints
        try:
            return self._landing.settle_alone(folder, names, given).complaints
        except OSError as error:
            raise BackendError(f"{folder}: {error.strerror or error}") from error

    async def _land(self, names: Mapping[Path, Sequence[str]], most_bytes: float, *options: str) -> str:
        """Copy files to where nothing of a run can be hit; returns what rsync complained about."""
        below = [f"{self._relative(folder)}/{name}" for folder in names for name in names[folder]]
        if not below:
            return ""
        try:
            await self._blocking(self._landing.make)
        except OSError as error:
            raise BackendError(f"{self._landing.place}: {error.strerror or error}") from error
        encoded = files.encoded(dict.fromkeys(below))
        limit = () if math.isinf(most_bytes) else (f"--max-size={math.floor(most_bytes)}",)
        return await self._copy(
            encoded, f":{self.base}/", f"{self._landing.place}/", *_COMING_HOME, *limit, *options,
            most_bytes=most_bytes,
        )  # fmt: skip

    async def _copy(
        self, names: Sequence[bytes], source: str, target: str, *options: str, most_bytes: float = math.inf
    ) -> str:
        greeting = await self._greeted()
        with self._greeting_in_doubt(), self._counted("rsync"):
            return await self._connection.copy(
                names,
                source,
                target,
                *options,
                there=greeting.rsync,
                stall_s=self.timeout_s,
                most_bytes=most_bytes,
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
