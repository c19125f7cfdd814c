"""The questions that one Slurm cluster is asked, and their answers as values."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import attrs

from matterstack.backends.slurm import commands
from matterstack.backends.slurm.output import (
    SACCT_FIELDS,
    SQUEUE_FORMAT,
    AccountedJob,
    QueuedJob,
    parse_sacct,
    parse_squeue,
)
from matterstack.core.errors import BackendError


@attrs.define
class Questions:
    """Asks; every method raises `BackendError` where there is no whole answer."""

    _run: commands.RunCommand
    _timeout_s: float
    _has_accounting: bool | None = None

    async def ask(self, argv: Sequence[str]) -> str:
        """What a command printed that ended well."""
        answer = await self._run(argv, timeout_s=self._timeout_s)
        if answer.exit_code != 0:
            raise BackendError(f"{argv[0]}: {answer.complaint}")
        return answer.stdout

    async def squeue(self) -> dict[str, QueuedJob]:
        """All jobs of this user that the controller knows of, by id."""
        answer = await self.ask(
            ("squeue", "--array", "--states=all", f"--user={os.getuid()}", f"--format={SQUEUE_FORMAT}")
        )
        table = parse_squeue(answer)
        if not table.is_whole:
            raise BackendError(_not_whole("squeue", answer))
        return {job.job_id: job for job in table.rows}

    async def sacct(self, *which: str) -> Sequence[AccountedJob]:
        """Records of the accounting."""
        answer = await self.ask(("sacct", "--parsable2", "--allocations", *which, f"--format={SACCT_FIELDS}"))
        table = parse_sacct(answer)
        if not table.is_whole:
            raise BackendError(_not_whole("sacct", answer))
        return table.rows

    async def scancel(self, job_ids: Sequence[str]) -> None:
        """End jobs.  That it exits well says nothing: only polling shows that a job has ended."""
        await self.ask(("scancel", *job_ids))

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
