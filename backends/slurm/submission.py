"""Hand attempts to sbatch: each alone, or as one array."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import Final, TypeAlias

import attrs
import trio

from matterstack.backends.base import PreparedAttempt, SubmitReport
from matterstack.backends.prologue import Prologue
from matterstack.backends.script import JobScript, quoted, render
from matterstack.backends.slurm.arrays import array_script, index_list, submissions
from matterstack.backends.slurm.config import SlurmBackendConfig
from matterstack.backends.slurm.output import parse_sbatch
from matterstack.backends.slurm.sbatch_options import directives, reserved_options, sbatch_options
from matterstack.backends.slurm.search import Search
from matterstack.backends.slurm.secret_delivery import SecretDelivery
from matterstack.backends.slurm.site import Site, SubmissionOrder
from matterstack.core.errors import BackendError
from matterstack.core.ids import JobId
from matterstack.storage.modes import JOB_UMASK

SUBMISSIONS_AT_ONCE: Final = 4

_FIND_JOB_ID: Final = (
    "MATTERSTACK_JOB_ID=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}",
    "MATTERSTACK_JOB_ID=${MATTERSTACK_JOB_ID:-$SLURM_JOB_ID}",
)

_LimitKey: TypeAlias = tuple[object, ...]


@attrs.define
class Submission:
    """Submits under the submit lock, a few at a time."""

    _config: SlurmBackendConfig
    _site: Site
    _search: Search
    _secrets: SecretDelivery
    _job_umask: int = JOB_UMASK
    _at_once: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(SUBMISSIONS_AT_ONCE))

    def script(self, attempt: PreparedAttempt) -> str:
        """The job script of an attempt, with its ``#SBATCH`` lines."""
        folder = self._site.folder(attempt.folder)
        # The line names the file again, but a script that a person submits by hand has no such line.
        options = [*sbatch_options(attempt.resources, self._config), _scheduler_log(folder)]
        return render(
            JobScript(
                folder=str(folder),
                command=attempt.command,
                find_job_id=_FIND_JOB_ID,
                env=attempt.env,
                prologue=Prologue(entries=self._config.prologue, may_fail=self._config.prologue_may_fail),
                path=self._site.job_path,
                nonce=attempt.nonce,
                given=attempt.given,
                umask=self._job_umask,
                has_secrets=attempt.secrets is not None,
            ),
            [*self._where_to_submit(attempt, folder), *directives(options)],
        )

    def _where_to_submit(self, attempt: PreparedAttempt, folder: PurePath) -> list[str]:
        """For a person who is to do it, and sees this script on the machine where it cannot be done."""
        if attempt.question is None or self._site.host is None:
            return []
        line = f"# To be submitted on {self._site.host}: sbatch {quoted(str(folder / 'job.sh'))}"
        return [line] if line.isprintable() else []

    async def submit(self, batch: Sequence[PreparedAttempt]) -> SubmitReport:
        """Run sbatch for each attempt, or for all attempts of a batch at once; a few at a time."""
        report = SubmitReport()
        used_up: dict[_LimitKey, str] = {}
        for attempt in batch:
            if reserved := reserved_options(attempt.resources):
                reason = f"resources.extra: {', '.join(reserved)} cannot be set by a campaign"
                report.refused[attempt.token] = reason
        orders = self.orders([attempt for attempt in batch if attempt.token not in report.refused])
        try:
            await self._site.push(orders)
            without = await self._secrets.give(a for order in orders for a in order.attempts)
        except BackendError as error:
            report.unresolved.update((a.token, str(error)) for order in orders for a in order.attempts)
            return report
        for order in orders:
            if lacking := next((without[token] for token in order.tokens if token in without), None):
                report.deferred.update(dict.fromkeys(order.tokens, lacking))
        waiting = iter([order for order in orders if order.attempts[0].token not in report.deferred])

        async def submit_in_turn() -> None:
            for order in waiting:
                limit_key = _limit_key(order.attempts[0])
                if limit_key in used_up:  # the next question would get the same answer
                    report.deferred.update(dict.fromkeys(order.tokens, used_up[limit_key]))
                    continue
                part = await self._submit(order)
                report.accepted.update(part.accepted)
                report.refused.update(part.refused)
                report.unresolved.update(part.unresolved)
                report.deferred.update(part.deferred)
                for reason in part.deferred.values():
                    used_up[limit_key] = reason

        async with trio.open_nursery() as nursery:
            for _ in range(min(SUBMISSIONS_AT_ONCE, len(batch))):
                nursery.start_soon(submit_in_turn)
        no_job = report.refused.keys() | report.deferred.keys()
        await self._secrets.take_away(attempt for attempt in batch if attempt.token in no_job)
        return report

    async def _submit(self, order: SubmissionOrder) -> SubmitReport:
        tokens = order.tokens
        async with self._at_once:
            try:
                outcome = await self._site.submit(order, timeout_s=self._config.command_timeout_s)
            except BackendError as error:
                return SubmitReport(unresolved=dict.fromkeys(tokens, str(error)))
        job_id = parse_sbatch(outcome.stdout)
        if job_id is not None and outcome.exit_code == 0:
            return SubmitReport(accepted={a.token: _job_id(job_id, a) for a in order.attempts})
        if job_id is None and outcome.was_turned_away:
            return await self._after_being_turned_away(order, f"sbatch: {outcome.complaint}")
        if job_id is None and outcome.is_refusal:
            reason = f"sbatch refused the job: {outcome.complaint}"
            return SubmitReport(refused=dict.fromkeys(tokens, reason))
        if job_id is None and outcome.is_surely_not_done:
            return SubmitReport(deferred=dict.fromkeys(tokens, f"sbatch: {outcome.complaint}"))
        return SubmitReport(unresolved=dict.fromkeys(tokens, f"sbatch: {outcome.complaint}"))

    async def _after_being_turned_away(self, order: SubmissionOrder, reason: str) -> SubmitReport:
        """There is no room now, unless sbatch came again before its end."""
        try:
            found = await self._search.find(order.attempts)
        except BackendError as error:
            return SubmitReport(unresolved=dict.fromkeys(order.tokens, f"{reason}; {error}"))
        missing = [token for token in order.tokens if token not in found]
        return SubmitReport(accepted=dict(found), deferred=dict.fromkeys(missing, reason))

    def orders(self, batch: Sequence[PreparedAttempt]) -> list[SubmissionOrder]:
        """What sbatch is to be run for, each with its command line."""
        # In the order of the batch, which is that of the priorities: a queue serves the older job first.
        return [self._order(group) for group in submissions(batch)]

    def _order(self, group: Sequence[PreparedAttempt]) -> SubmissionOrder:
        there = [attrs.evolve(attempt, folder=self._site.folder(attempt.folder)) for attempt in group]
        first = there[0]
        options = sbatch_options(first.resources, self._config)
        which: tuple[str, ...] = (_scheduler_log(first.folder), str(first.folder / "job.sh"))
        script = ""
        if first.batch is not None:
            # The elements have folders of their own, which no pattern of --output can name.
            which = (f"--array={index_list(a.index for a in there)}", "--output=/dev/null")
            script = array_script(there, directives(options))
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
        return SubmissionOrder(
            name=first.batch or first.token, attempts=tuple(group), argv=argv, script=script
        )


def _limit_key(attempt: PreparedAttempt) -> _LimitKey:
    """What a job counts for: limits of others do not touch it."""
    wanted = attempt.resources
    return (wanted.partition, wanted.account, wanted.qos, tuple(sorted(wanted.extra.items())))


def _job_id(submitted: str, attempt: PreparedAttempt) -> JobId:
    return JobId(submitted if attempt.batch is None else f"{submitted}_{attempt.index}")


def _scheduler_log(folder: PurePath) -> str:
    log = str(folder / "scheduler.log").replace("%", "%%")
    return f"--output={log}"
