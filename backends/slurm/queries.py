"""What one Slurm cluster is asked when it is polled, and the answers as values.

Measured with Slurm 22.05: while the controller is down, ``squeue --json`` prints an empty list of jobs
and exits with 0, which would be the end of every job, so the plain format is read, where it exits with 1.
It also exits with 1 for ``-j`` with an unknown id alone, so all jobs of the user are asked for, and none
by its id. squeue of 2,000 jobs takes 21 ms, sacct 92 ms whatever it finds. sacct goes on answering
without a controller, with old states.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import attrs
import trio

from matterstack.backends.slurm import programs
from matterstack.backends.slurm.output import (
    RECORDS_FORMAT,
    SACCT_FIELDS,
    SQUEUE_FORMAT,
    AccountedJob,
    QueuedJob,
    parse_sacct,
    parse_squeue,
)
from matterstack.backends.slurm.site import Account, own_account
from matterstack.backends.slurm.states import job_state
from matterstack.core.errors import BackendError
from matterstack.core.states import ENDED_JOBS

_NOT_NOW: Final = "now+7days"
"""When a job may begin that is about to be cancelled: should that not come to pass, it is not lost."""
_OF_THE_ACCOUNTING: Final = frozenset({"sacct", "sacctmgr"})


@attrs.define
class Queries:
    """Asks; every method raises `BackendError` where there is no whole answer.

    Never more than one question at a time goes to the controller, and one to the accounting: when one hangs,
    more of them would not help it.

    Attributes:
        accounting_problem: why the accounting gave no answer when it was asked last; empty when it did.
        live_jobs: how many jobs this user has, also those submitted by hand, as far as is known.
    """

    _run: programs.RunCommand
    _timeout_s: float
    _account: Callable[[], Awaitable[Account]] = own_account
    accounting_problem: str = ""
    live_jobs: int | None = None
    _submitted: int = 0
    _has_accounting: bool | None = None
    _controller: trio.Lock = attrs.field(factory=trio.Lock)
    _accounting: trio.Lock = attrs.field(factory=trio.Lock)

    async def ask(self, argv: Sequence[str]) -> str:
        """What a command printed that ended well."""
        async with self._accounting if argv[0] in _OF_THE_ACCOUNTING else self._controller:
            answer = await self._run(argv, timeout_s=self._timeout_s)
        if answer.exit_code != 0:
            raise BackendError(f"{argv[0]}: {answer.complaint}")
        return answer.stdout

    async def squeue(self) -> dict[str, QueuedJob]:
        """All jobs of this user that the controller knows of, by id."""
        submitted_before = self._submitted
        user = (await self._account()).number
        answer = await self.ask(
            ("squeue", "--array", "--states=all", f"--user={user}", f"--format={SQUEUE_FORMAT}")
        )
        table = parse_squeue(answer)
        if not table.is_whole:
            raise BackendError(_not_whole("squeue", answer))
        alive = sum(job_state(job.state) not in ENDED_JOBS for job in table.rows)
        # What was submitted while it was asked may be in the answer, or not.
        self.live_jobs = alive + self._submitted - submitted_before
        return {job.job_id: job for job in table.rows}

    def note_submitted(self, count: int) -> None:
        """There are so many more jobs."""
        self._submitted += count
        if self.live_jobs is not None:
            self.live_jobs += count

    async def sacct(self, *which: str) -> Sequence[AccountedJob]:
        """Ask the accounting for its records of jobs."""
        try:
            answer = await self.ask(
                ("sacct", "--parsable2", "--allocations", *which, f"--format={SACCT_FIELDS}")
            )
            table = parse_sacct(answer)
            if not table.is_whole:
                raise BackendError(_not_whole("sacct", answer))
        except BackendError as error:
            self.accounting_problem = str(error)
            raise
        self.accounting_problem = ""
        return table.rows

    async def scancel(self, job_ids: Sequence[str]) -> None:
        """End jobs.  That it exits well says nothing: only polling shows that a job has ended."""
        await self.ask(("scancel", *job_ids))

    async def scancel_pending(self, job_ids: Sequence[str]) -> None:
        """End those jobs that are pending, and touch no other one.

        Measured with Slurm 22.05: ``scancel --state=PENDING 12_3`` cancels all that is pending of array 12,
        as long as its elements have one record together; and what it found to be pending may run when it is
        cancelled.  A later begin is refused for a job that runs, keeps all others from running, and gives
        each element a record of its own.
        """
        async with self._controller:
            change = ("scontrol", "update", f"JobId={','.join(job_ids)}", f"StartTime={_NOT_NOW}")
            delayed = await self._run(change, timeout_s=self._timeout_s)
        if delayed.exit_code != 0 and delayed.is_unreachable:
            raise BackendError(f"scontrol: {delayed.complaint}")
        pending = await self._pending_by_themselves()
        if alone := [job_id for job_id in job_ids if job_id in pending]:
            await self.ask(("scancel", "--state=PENDING", *alone))

    async def _pending_by_themselves(self) -> frozenset[str]:
        """Ids of pending jobs of this user that have a record of their own."""
        user = (await self._account()).number
        answer = await self.ask(
            ("squeue", "--array", "--states=PENDING", f"--user={user}", f"--format={RECORDS_FORMAT}")
        )
        table = parse_squeue(answer)
        if not table.is_whole:
            raise BackendError(_not_whole("squeue", answer))
        elements = Counter(job.nodes for job in table.rows)
        return frozenset(job.job_id for job in table.rows if elements[job.nodes] == 1)

    async def settings(self) -> Mapping[str, str]:
        """How the cluster is set up."""
        settings = {}
        for line in (await self.ask(("scontrol", "show", "config"))).splitlines():
            key, _, value = line.partition("=")
            settings[key.strip()] = value.strip()
        storage = settings.get("AccountingStorageType", "")
        self._has_accounting = storage not in {"accounting_storage/none", "(null)", ""}
        return settings

    async def accounting_is_there(self) -> bool:
        """Whether the cluster keeps accounts of jobs that have ended."""
        if self._has_accounting is None:
            await self.settings()
        return bool(self._has_accounting)


def _not_whole(command: str, answer: str) -> str:
    end = answer.strip().rpartition("\n")[2][:80]
    return f"{command} printed no whole table" + (f"; the last line is {end!r}" if end else "")
