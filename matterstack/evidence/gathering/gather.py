"""Look at all files of all attempts that have ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import trio

from matterstack.core.operators import ASKED
from matterstack.evidence.gathering.answers import look_at_question
from matterstack.evidence.gathering.attempts import (
    Ended,
    FoundAttempt,
    look_at_folder,
    with_missing_logs,
)
from matterstack.evidence.gathering.copying import BundleWriteError, Gathering
from matterstack.evidence.gathering.environment_files import take_environments
from matterstack.evidence.gathering.given import copy_used, index_used
from matterstack.evidence.gathering.sources import take_campaign_object, take_sources, take_versions
from matterstack.evidence.history import History
from matterstack.evidence.survey import Survey

AT_ONCE: Final = 2
"""Threads that read files: one waits for the disk while the other works.  More only wake each other up."""
BATCH: Final = 64


async def gather(gathering: Gathering, history: History, made_with: dict[str, str]) -> Survey:
    """Look at all files of all attempts that have ended; copy what is to be copied.

    Raises:
        OSError: the bundle cannot be written.
    """
    limiter = trio.CapacityLimiter(AT_ONCE)
    found = await _look_at_attempts(gathering, history, limiter)
    finish = partial(_finish, gathering, history, made_with, found)
    return await trio.to_thread.run_sync(finish, limiter=limiter)


async def _look_at_attempts(
    gathering: Gathering, history: History, limiter: trio.CapacityLimiter
) -> list[FoundAttempt]:
    ended = list(_ended(history))
    found: dict[int, list[FoundAttempt]] = {}
    failures: list[OSError] = []

    async def look(start: int) -> None:
        call = partial(_look_at_all, gathering, ended[start : start + BATCH])
        try:
            found[start] = await trio.to_thread.run_sync(call, limiter=limiter)
        except OSError as error:
            failures.append(error)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for start in range(0, len(ended), BATCH):
            nursery.start_soon(look, start)
    if failures:
        raise failures[0]
    return [one for start in sorted(found) for one in found[start]]


def _finish(
    gathering: Gathering, history: History, made_with: dict[str, str], found: Sequence[FoundAttempt]
) -> Survey:
    used, makers = index_used((one.record, one.used) for one in found)
    place_of = {key: place for place, key in enumerate(used)}
    try:
        return Survey(
            run_id=history.run_id,
            seq=history.seq,
            made_with=made_with,
            copy_below_bytes=gathering.copy_below_bytes,
            has_folder=_has_files(gathering.folder.path),
            outputs=tuple(output for one in found for output in one.outputs),
            unclaimed=tuple(output for one in found for output in one.unclaimed),
            used=tuple(copy_used(gathering, history, used, makers)),
            sources=tuple(take_sources(gathering, history.created)),
            versions=tuple(take_versions(gathering, history)),
            campaign_object=take_campaign_object(gathering, history.created),
            answers=tuple(one.answer for one in found if one.answer is not None),
            environments=tuple(take_environments(gathering, history)),
            attempts=tuple(
                attrs.evolve(one.record, used=tuple(place_of[key] for key in one.used)) for one in found
            ),
        )
    except BundleWriteError as error:
        raise error.cause from None


def _has_files(folder: Path) -> bool:
    """Whether there is anything of a run, other than its evidence."""
    try:
        return any(not path.name.startswith(("evidence", ".evidence")) for path in folder.iterdir())
    except OSError:
        return False


def _ended(history: History) -> Iterator[Ended]:
    for task in history.state.tasks.values():
        for attempt in task.attempts:
            if attempt.ended_at is not None:
                key = (attempt.task_id, attempt.n)
                yield Ended(
                    task=history.state.definition_of(attempt),
                    attempt=attempt,
                    outputs=history.outputs.get(key, ()),
                    is_claimed=key in history.claimed,
                    answer=history.answers.get(key),
                    is_last=attempt is task.last_attempt,
                    end=history.ends.get(key),
                )


def _look_at_all(gathering: Gathering, batch: Sequence[Ended]) -> list[FoundAttempt]:
    try:
        return [_look_at(gathering, ended) for ended in batch]
    except BundleWriteError as error:
        raise error.cause from None


def _look_at(gathering: Gathering, ended: Ended) -> FoundAttempt:
    found = look_at_folder(gathering, ended)
    if ended.attempt.backend == ASKED:
        found = look_at_question(gathering, ended, found)
    return with_missing_logs(found, ended)
