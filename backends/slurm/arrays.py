"""Job arrays: attempts that ask for the same are submitted as one, under one name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from matterstack.backends.base import PreparedAttempt
from matterstack.backends.prologue import BASH
from matterstack.backends.script import quoted

MOST_AT_ONCE: Final = 1000
"""Most elements of one array."""
_RANGE: Final = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")
_ELEMENT: Final = re.compile(r"([0-9]{1,18})_([0-9]{1,9})")


def submissions(batch: Iterable[PreparedAttempt]) -> list[list[PreparedAttempt]]:
    """What goes into one sbatch each, in the order of the first attempt of each."""
    groups: dict[str, list[PreparedAttempt]] = {}
    for attempt in batch:
        groups.setdefault(attempt.batch or attempt.token, []).append(attempt)
    return list(groups.values())


def array_script(attempts: Sequence[PreparedAttempt], directives: Sequence[str]) -> str:
    """The script of an array: each element goes on with the script in the folder of its attempt."""
    cases = (f"{attempt.index}) folder={quoted(str(attempt.folder))} ;;" for attempt in attempts)
    lines = [
        f"#!{BASH}",
        *directives,
        "folder=",
        "case $SLURM_ARRAY_TASK_ID in",
        *cases,
        "esac",
        f'exec {BASH} "$folder/job.sh" >>"$folder/scheduler.log" 2>&1',
    ]
    return "\n".join(lines) + "\n"


def index_list(indices: Iterable[int]) -> str:
    """Indices as sbatch and scancel take them.

    >>> index_list([3, 0, 1, 2, 7])
    '0-3,7'
    """
    runs: list[list[int]] = []
    for index in sorted(indices):
        if runs and runs[-1][1] == index - 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def element_of(job_id: str) -> tuple[str, int | None]:
    """Array and index of a job; the index is None when it is no element of an array.

    >>> element_of("12_3"), element_of("12")
    (('12', 3), ('12', None))
    """
    found = _ELEMENT.fullmatch(job_id)
    return (found[1], int(found[2])) if found else (job_id, None)


def covers(record_id: str, job_id: str) -> bool:
    """Whether Slurm's record of the rest of an array speaks of this element of it.

    Elements that never started have no record of their own; once they are cancelled together, squeue and
    sacct show them as ``12_[3-5]`` or, the last of them, as ``12``.

    >>> covers("12_[1,3-5%2]", "12_4"), covers("12", "12_4"), covers("12_[1]", "12_4"), covers("13", "12_4")
    (True, True, False, False)
    """
    array, index = element_of(job_id)
    base, _, rest = record_id.partition("_")
    if index is None or base != array:
        return False
    return not rest or any(
        int(first) <= index <= int(last or first) for first, last in _RANGE.findall(rest.partition("%")[0])
    )


def merged(job_ids: Iterable[str]) -> list[str]:
    """The same jobs in few words: one for each array.

    >>> merged(["7", "12_0", "12_1", "12_5"])
    ['7', '12_[0-1,5]']
    """
    arrays: dict[str, list[int]] = {}
    words: dict[str, None] = {}
    for job_id in job_ids:
        array, index = element_of(job_id)
        words[array] = None
        if index is not None:
            arrays.setdefault(array, []).append(index)
    return [f"{word}_[{index_list(arrays[word])}]" if word in arrays else word for word in words]
