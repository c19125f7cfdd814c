"""Every state of Slurm, as one table.

Source: the section JOB STATE CODES of squeue(1) and sacct(1), Slurm 22.05, with the codes of older and
newer releases.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from matterstack.core.states import JobState

_Q, _R = JobState.QUEUED, JobState.RUNNING
STATES: Final[Mapping[str, tuple[str, JobState]]] = {
    # word: (short code, what it means to us)
    "BOOT_FAIL": ("BF", JobState.COMPLETED_ERROR),
    "CANCELLED": ("CA", JobState.CANCELLED),
    "COMPLETED": ("CD", JobState.COMPLETED_OK),
    "CONFIGURING": ("CF", _Q),
    "COMPLETING": ("CG", _R),  # it may still be working: followed until it says how it ended
    "DEADLINE": ("DL", JobState.COMPLETED_ERROR),
    "EXPEDITING": ("EX", _Q),
    "FAILED": ("F", JobState.COMPLETED_ERROR),
    "LAUNCH_FAILED": ("LF", _Q),
    "NODE_FAIL": ("NF", JobState.COMPLETED_ERROR),
    "OUT_OF_MEMORY": ("OOM", JobState.COMPLETED_ERROR),
    "PENDING": ("PD", _Q),
    "POWER_UP_NODE": ("PU", _Q),
    "PREEMPTED": ("PR", JobState.COMPLETED_ERROR),
    "RECONFIG_FAIL": ("RC", _Q),
    "REQUEUED": ("RQ", _Q),
    "REQUEUE_FED": ("RF", _Q),
    "REQUEUE_HOLD": ("RH", _Q),
    "RESIZING": ("RS", _R),
    "RESV_DEL_HOLD": ("RD", _Q),
    "REVOKED": ("RV", _R),  # its sibling in another cluster of the federation was started instead
    "RUNNING": ("R", _R),
    "SIGNALING": ("SI", _R),
    "SPECIAL_EXIT": ("SE", _Q),
    "STAGE_OUT": ("SO", _R),
    "STOPPED": ("ST", _R),
    "SUSPENDED": ("S", _R),
    "TIMEOUT": ("TO", JobState.COMPLETED_ERROR),
    "UPDATE_DB": ("UD", _R),
}
_BY_CODE: Final = {code: word for word, (code, _) in STATES.items()}


def state_word(raw: str) -> str:
    """Strip what Slurm puts around a state word.

    >>> state_word("CANCELLED by 1000"), state_word("OUT_OF_ME+"), state_word("PD")
    ('CANCELLED', 'OUT_OF_MEMORY', 'PENDING')
    """
    word = raw.split(maxsplit=1)[0].upper() if raw.strip() else ""
    if word.endswith("+"):
        # sacct cuts words at the column's width; enough is left when one word alone begins so.
        candidates = [full for full in STATES if full.startswith(word[:-1])]
        return candidates[0] if len(candidates) == 1 else word
    return _BY_CODE.get(word, word)


def job_state(raw: str) -> JobState | None:
    """Map a state word to ours; None when the word is unknown.

    None means *keep following and warn*.  It never means that the job has ended.

    >>> job_state("NODE_FAIL"), job_state("WARPED")
    (<JobState.COMPLETED_ERROR: 'COMPLETED_ERROR'>, None)
    """
    entry = STATES.get(state_word(raw))
    return entry[1] if entry is not None else None
