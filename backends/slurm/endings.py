"""How a job that has left the queue ended: its own traces and Slurm's word, put together.

Measured with Slurm 22.05: TIMEOUT comes up to 60 s late, and keeps the exit code of a script that traps
SIGTERM; without cgroups a job that is killed for memory shows as FAILED 0:9; an unwritable log as FAILED
0:53; a requeued job keeps its id and has two records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from matterstack.backends.base import LiveJob
from matterstack.backends.exit_record import ExitRecord, read_claim, read_exit_record
from matterstack.backends.slurm.output import AccountedJob, QueuedJob
from matterstack.backends.slurm.owners import may_stand_in
from matterstack.backends.slurm.states import job_state, state_word
from matterstack.core.ids import JobId, Token
from matterstack.core.run.messages import Observed
from matterstack.core.run.retry_rules import PROLOGUE_FAILED
from matterstack.core.states import ENDED_JOBS, JobState


@attrs.frozen
class Traces:
    """What a job left in its folder.

    Attributes:
        worker: the job that worked, or may yet work, for the attempt: its own one, or a second one that was
            submitted for it and has claimed the folder.
        record: how the worker ended.
    """

    worker: JobId
    record: ExitRecord | None
    claimant: str | None


@attrs.frozen
class Ending:
    """What Slurm says about the end of a job."""

    raw_state: str
    state: JobState
    reason: str = ""
    exit_code: int | None = None
    nodes: str = ""


def read_traces(jobs: Sequence[LiveJob]) -> Mapping[Token, Traces]:
    """Look into the folders of jobs.  Blocking."""
    return {job.token: _read(job) for job in jobs}


def _read(job: LiveJob) -> Traces:
    nonce_sha256 = job.nonce_sha256
    claimant = read_claim(job.folder, nonce_sha256)
    own = read_exit_record(job.folder, job.job_id, nonce_sha256)
    if own is not None or claimant is None or not may_stand_in(claimant, job):
        return Traces(job.job_id, own, claimant)
    worker = JobId(claimant)
    return Traces(worker, read_exit_record(job.folder, worker, nonce_sha256), claimant)


def queued_ending(line: QueuedJob) -> Ending | None:
    """The end that squeue tells; None while the job lives, and for a word that is unknown."""
    state = job_state(line.state)
    if state is None or state not in ENDED_JOBS:
        return None
    return Ending(state_word(line.state), state, told_reason(line.reason), nodes=line.nodes)


def accounted_ending(record: AccountedJob) -> Ending | None:
    """The end that sacct tells; None as in `queued_ending`."""
    state = job_state(record.state)
    if state is None or state not in ENDED_JOBS:
        return None
    exit_code = 128 + record.signal if record.signal else record.exit_code
    if exit_code == 0 and state is not JobState.COMPLETED_OK:
        exit_code = None  # it was ended before it could exit
    nodes = "" if record.nodes == "None assigned" else record.nodes
    return Ending(state_word(record.state), state, "", exit_code, nodes)


def observed_alive(job: LiveJob, line: QueuedJob) -> Observed:
    """Say what a job does that is in the queue; one of an unknown state is followed."""
    state, word = job_state(line.state), state_word(line.state)
    raw_state, reason = word, told_reason(line.reason) if state is JobState.QUEUED else ""
    if state is None:
        state, raw_state = JobState.RUNNING, line.state
        reason = f"Slurm says {line.state!r}, which is unknown here; following it"
    if line.job_id != job.job_id:
        second = f"job {line.job_id}, a second one of this attempt, has taken the place of {job.job_id}"
        reason = f"{second}: {reason}" if reason else second
    return Observed(token=job.token, state=state, raw_state=raw_state, reason=reason, host=line.nodes or None)


def told_reason(raw: str) -> str:
    """Slurm's reason; empty when it has none."""
    return "" if raw in {"None", "(null)", ""} else raw


def is_in_doubt(traces: Traces, ending: Ending | None) -> bool:
    """Whether more may come to be known: a folder shows its files late where it is on a network.

    That is so of a job that nobody knows of, and of one that ended well and left no exit record.
    """
    if traces.record is not None:
        return False
    if ending is None:
        return True
    return ending.state is JobState.COMPLETED_OK and traces.claimant in {None, traces.worker}


def observed_end(
    job: LiveJob, traces: Traces, ending: Ending | None, *, told_to_end: bool = False
) -> Observed:
    """Say how a job ended.  ``told_to_end``: it was cancelled by MatterStack itself.

    A command that ended well has ended well, whatever came after it.  For everything else Slurm's word
    tells more: TIMEOUT or PREEMPTED rather than an exit code of 143.
    """
    record = traces.record
    if record is not None:
        observed = record.observed(job.token, raw_state=ending.raw_state if ending else "")
        if ending is None or record.exit_code == 0 or observed.raw_state == PROLOGUE_FAILED:
            return observed
        return attrs.evolve(observed, state=_failed(ending.state), reason=_words(ending))
    if ending is None and told_to_end:
        return Observed(token=job.token, state=JobState.CANCELLED, raw_state="CANCELLED")
    if ending is None:
        return _vanished(job, traces)
    reason = _words(ending)
    if ending.state is JobState.COMPLETED_OK:
        reason = _did_nothing(job) if traces.claimant not in {None, traces.worker} else _NO_RECORD
    elif (
        traces.claimant is None and ending.state is JobState.COMPLETED_ERROR and ending.raw_state not in _TOLD
    ):
        reason = "; ".join(word for word in (reason, _never_started(job)) if word)
    return Observed(
        token=job.token,
        state=_failed(ending.state),
        raw_state=ending.raw_state,
        reason=reason,
        exit_code=ending.exit_code,
        host=ending.nodes or None,
    )


def runaway_end(job: LiveJob, traces: Traces, word: str) -> Observed:
    """Give up a job that the accounting has as alive, and the controller has not known for very long."""
    reason = (
        f"nobody knows how its job ended: the controller does not know job {traces.worker} any more, and the "
        f"accounting has it as {word} all the same ('sacctmgr show runawayjobs' finds and mends that)"
    )
    return Observed(token=job.token, state=JobState.COMPLETED_ERROR, raw_state="UNKNOWN", reason=reason)


def _failed(state: JobState) -> JobState:
    """Slurm's COMPLETED is not enough where the command did not end well."""
    return JobState.COMPLETED_ERROR if state is JobState.COMPLETED_OK else state


def _vanished(job: LiveJob, traces: Traces) -> Observed:
    if traces.claimant is None:
        reason = "Slurm does not know its job any more, and the job never started working"
        return Observed(token=job.token, state=JobState.LOST, reason=reason)
    if traces.claimant != traces.worker:
        reason = _did_nothing(job)
    elif traces.worker != job.job_id:
        reason = (
            f"{_did_nothing(job)}; that one, {traces.worker}, ended without recording how, and Slurm does "
            "not know it any more"
        )
    else:
        reason = "its job started, but ended without recording how, and Slurm does not know it any more"
    return Observed(token=job.token, state=JobState.COMPLETED_ERROR, raw_state="UNKNOWN", reason=reason)


_NO_RECORD: Final = (
    "its job ended without an exit record: do the compute nodes see this folder, and has its disk room?"
)

_TOLD: Final[Mapping[str, str]] = {
    "TIMEOUT": "its job reached its walltime and was ended by Slurm",
    "OUT_OF_MEMORY": "its job used more memory than it asked for, and was ended by Slurm",
    "NODE_FAIL": "the node of its job failed",
    "BOOT_FAIL": "the node of its job did not boot",
    "PREEMPTED": "its job was preempted by another one",
    "DEADLINE": "its job reached its deadline",
}


def _did_nothing(job: LiveJob) -> str:
    return f"its job {job.job_id} found the folder claimed by another job, and did no work"


def _never_started(job: LiveJob) -> str:
    return (
        f"its job could not start working (see {job.folder / 'scheduler.log'}; where that is missing, "
        "compute nodes do not see the folder or may not write to it)"
    )


def _words(ending: Ending) -> str:
    """Say in words why Slurm ended a job; empty when the exit code says it all."""
    if ending.raw_state in _TOLD:
        return _TOLD[ending.raw_state]
    if ending.reason in {"", "NonZeroExitCode"}:
        return ""
    return f"Slurm says {ending.raw_state}: {ending.reason}"
