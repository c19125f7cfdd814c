"""Hand attempts to sbatch: each alone, or as one array."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs
import trio

from matterstack.backends.base import PreparedAttempt, SubmitReport
from matterstack.backends.script import JobScript, render
from matterstack.backends.slurm import commands
from matterstack.backends.slurm.arrays import array_script, index_list, submissions
from matterstack.backends.slurm.options import directives, reserved_options, sbatch_options
from matterstack.backends.slurm.output import parse_sbatch
from matterstack.backends.submit_lock import SubmitLock
from matterstack.core.config import SlurmBackendConfig
from matterstack.core.errors import BackendError
from matterstack.core.ids import JobId
from matterstack.storage.crash_points import crash_point

SUBMISSIONS_AT_ONCE: Final = 4

_FIND_JOB_ID: Final = (
    "MATTERSTACK_JOB_ID=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}",
    "MATTERSTACK_JOB_ID=${MATTERSTACK_JOB_ID:-$SLURM_JOB_ID}",
)


@attrs.define
class Submission:
    """Submits under the submit lock, a few at a time."""

    _config: SlurmBackendConfig
    _lock: SubmitLock
    _run: commands.RunCommand
    _at_once: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(SUBMISSIONS_AT_ONCE))

    def script(self, attempt: PreparedAttempt) -> str:
        """The job script of an attempt, with its ``#SBATCH`` lines."""
        return render(
            JobScript(
                folder=str(attempt.folder),
                command=attempt.command,
                find_job_id=_FIND_JOB_ID,
                env=attempt.env,
                prologue=tuple(self._config.prologue),
                path=str(Path(sys.executable).parent),
            ),
            directives(sbatch_options(attempt.resources, self._config)),
        )

    async def submit(self, batch: Sequence[PreparedAttempt]) -> SubmitReport:
        """Run sbatch for each attempt, or for all attempts of a batch at once; a few at a time."""
        report = SubmitReport(accepted={}, refused={}, unresolved={})
        # In the order of the batch, which is that of the priorities: a queue serves the older job first.
        waiting = iter(submissions(batch))

        async def submit_in_turn() -> None:
            for group in waiting:
                part = await self._submit(group)
                report.accepted.update(part.accepted)
                report.refused.update(part.refused)
                report.unresolved.update(part.unresolved)

        async with trio.open_nursery() as nursery:
            for _ in range(min(SUBMISSIONS_AT_ONCE, len(batch))):
                nursery.start_soon(submit_in_turn)
        return report

    async def _submit(self, group: Sequence[PreparedAttempt]) -> SubmitReport:
        tokens = [attempt.token for attempt in group]
        if reserved := reserved_options(group[0].resources):
            reason = f"resources.extra: {', '.join(reserved)} cannot be set by a campaign"
            return SubmitReport(refused=dict.fromkeys(tokens, reason))
        async with self._at_once:
            try:
                outcome = await self._sbatch(group)
            except BackendError as error:
                return SubmitReport(unresolved=dict.fromkeys(tokens, str(error)))
        job_id = parse_sbatch(outcome.stdout)
        if job_id is not None and outcome.exit_code == 0:
            return SubmitReport(accepted={a.token: _job_id(job_id, a) for a in group})
        if job_id is None and outcome.is_refusal:
            reason = f"sbatch refused the job: {outcome.complaint}"
            return SubmitReport(refused=dict.fromkeys(tokens, reason))
        return SubmitReport(unresolved=dict.fromkeys(tokens, f"sbatch: {outcome.complaint}"))

    async def _sbatch(self, group: Sequence[PreparedAttempt]) -> commands.Finished:
        first = group[0]
        options = sbatch_options(first.resources, self._config)
        log = str(first.folder / "scheduler.log").replace("%", "%%")
        which: tuple[str, ...] = (f"--output={log}", str(first.folder / "job.sh"))
        script = ""
        if first.batch is not None:
            # The elements have folders of their own, which no pattern of --output can name.
            which = (f"--array={index_list(a.index for a in group)}", "--output=/dev/null")
            script = array_script(group, directives(options))
        argv = (
            "sbatch",
            # Here too, because SBATCH_* variables of the user overrule what stands in the script.
            *options,
            "--parsable",
            f"--job-name={first.batch or first.token}",
            "--open-mode=append",
            f"--chdir={first.folder}",
            *which,
        )
        async with self._lock.shared_async() as descriptor:
            crash_point("before_submit")
            done = await self._run(
                argv, timeout_s=self._config.command_timeout_s, inherit=descriptor, stdin=script
            )
            crash_point("after_submit")
            return done


def _job_id(submitted: str, attempt: PreparedAttempt) -> JobId:
    return JobId(submitted if attempt.batch is None else f"{submitted}_{attempt.index}")
