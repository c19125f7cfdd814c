"""Bind the end of a job to what it printed and was given: before the end itself becomes a fact."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import attrs

from matterstack.actors.services import Services
from matterstack.core.operators import ASKED
from matterstack.core.run.messages import Observed
from matterstack.core.run.state import AttemptState, RunState
from matterstack.core.states import ENDED_JOBS
from matterstack.storage.bound_files import Bound, bind_attempt
from matterstack.storage.layout import RunFolder

MOST_AT_ONCE_BYTES: Final = 256 << 20
"""So much of logs is read of all jobs that are seen to be over at the same moment: their run waits for it."""


async def bind_ends(
    services: Services, folder: RunFolder, state: RunState, observed: Sequence[Observed]
) -> list[Observed]:
    """Add to sightings of jobs that are over what was found in their folders.

    Nothing is lost when the process dies inside: such a job is seen to be over again.
    """
    ended = [
        state.live[seen.token] for seen in observed if seen.state in ENDED_JOBS and seen.token in state.live
    ]
    if not ended:
        return list(observed)
    found = await services.runtime.files(_bind_each, folder, ended)
    by_token = {attempt.token: bound for attempt, bound in zip(ended, found, strict=True)}
    return [_with(seen, by_token.get(seen.token)) for seen in observed]


def _with(seen: Observed, bound: Bound | None) -> Observed:
    if bound is None or seen.state not in ENDED_JOBS:
        return seen
    return attrs.evolve(seen, logs=bound.logs, given=bound.given)


def _bind_each(folder: RunFolder, ended: Iterable[AttemptState]) -> list[Bound]:
    left = MOST_AT_ONCE_BYTES
    found = []
    for a in ended:
        path = folder.attempt(a.task_id, a.n).path
        bound = bind_attempt(path, a.n, is_asked=a.backend == ASKED, most_bytes=left)
        left -= sum(log.size_bytes for log in bound.logs or () if log.sha256)
        found.append(bound)
    return found
