"""Bind the end of a job to what it printed and was given: before the end itself becomes a fact.

Of a job that did not end well, its last words are read as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs

from matterstack.actors.services import Services
from matterstack.core.ids import Token
from matterstack.core.operators import ASKED
from matterstack.core.run.messages import Observed
from matterstack.core.run.state import AttemptState, RunState
from matterstack.core.secret_words import Search
from matterstack.core.states import ENDED_JOBS, JobState
from matterstack.storage.bound_files import bind_attempt
from matterstack.storage.layout import RunFolder
from matterstack.storage.log_ends import read_last_words, read_said

MOST_AT_ONCE_BYTES: Final = 256 << 20
"""So much of logs is read of all jobs that are seen to be over at the same moment: their run waits for it."""


async def bind_ends(
    services: Services, folder: RunFolder, state: RunState, observed: Sequence[Observed]
) -> list[Observed]:
    """Add to sightings of jobs that are over what was found in their folders.

    Nothing is lost when the process dies inside: such a job is seen to be over again.
    """
    ended = {
        seen.token: state.live[seen.token]
        for seen in observed
        if seen.state in ENDED_JOBS and seen.token in state.live
    }
    if not ended:
        return list(observed)
    search = search_of_words(services, state)
    return await services.runtime.files(_bind_each, folder, ended, observed, search)


def search_of_words(services: Services, state: RunState) -> Search | None:
    """What last words are looked through for; None where a secret of the run might stand in them unseen."""
    search = services.vault.search()
    return search if all(name in search.values for name in state.secrets) else None


def _bind_each(
    folder: RunFolder,
    ended: Mapping[Token, AttemptState],
    observed: Iterable[Observed],
    search: Search | None,
) -> list[Observed]:
    left = MOST_AT_ONCE_BYTES
    found = []
    for seen in observed:
        attempt = ended.get(seen.token) if seen.state in ENDED_JOBS else None
        if attempt is None:
            found.append(seen)
            continue
        path = folder.attempt(attempt.task_id, attempt.n).path
        bound = bind_attempt(path, attempt.n, is_asked=attempt.backend == ASKED, most_bytes=left)
        left -= sum(log.size_bytes for log in bound.logs or () if log.sha256)
        told = attrs.evolve(seen, logs=bound.logs, given=bound.given)
        if seen.state is not JobState.COMPLETED_OK and search is not None:
            told = _with_words(told, path, search)
        found.append(told)
    return found


def _with_words(seen: Observed, folder: Path, search: Search) -> Observed:
    reason = seen.reason
    if seen.said_from is not None and (words := read_said(folder, seen.said_from, search)):
        reason = f"{reason}: {words}"
    return attrs.evolve(seen, reason=reason, last_words=read_last_words(folder, search))
