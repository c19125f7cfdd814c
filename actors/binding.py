"""Bind the end of a job to what it printed and was given: before the end itself becomes a fact."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from matterstack.actors.services import Services
from matterstack.core.operators import ASKED
from matterstack.core.run.messages import Observed
from matterstack.core.run.state import AttemptState, RunState
from matterstack.core.states import ENDED_JOBS
from matterstack.storage.bound_files import Bound, bind_attempt
from matterstack.storage.layout import RunFolder


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
    return [
        bind_attempt(folder.attempt(a.task_id, a.n).path, a.n, is_asked=a.backend == ASKED) for a in ended
    ]
