"""Look at the outputs of jobs that have ended: many at once, some of each at a time.

Whatever is hashed, nothing is held up: a worker thread is asked for a few MiB, then others have their turn,
so that small outputs overtake large ones, and who gives up waits for one such piece at most.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, TypeAlias

import attrs
import trio

from matterstack.actors.binding import search_of_words
from matterstack.actors.services import Services
from matterstack.core.errors import InvariantError
from matterstack.core.ids import TaskId, Token
from matterstack.core.model.size_limits import most_output_gib
from matterstack.core.run.messages import Collected
from matterstack.core.run.state import RunState, TaskState
from matterstack.core.secret_words import Search
from matterstack.core.states import JobState
from matterstack.storage.finishing_reports import Finishing, FinishingNews
from matterstack.storage.known_hashes import FOLDER as HASHED
from matterstack.storage.known_hashes import KnownHashes
from matterstack.storage.layout import RunFolder
from matterstack.storage.log_ends import read_last_words
from matterstack.storage.outputs import FILE_COST_BYTES, OutputSearch

PIECE_BYTES: Final = 64 << 20
"""How much is hashed before others have their turn."""
TURN_BYTES: Final = 16 << 20
"""How much of that is one task's, while others wait."""
TOLD_EVERY_S: Final = 1.0

Tell: TypeAlias = Callable[[Sequence[Collected]], Awaitable[None]]


@attrs.define
class _Search:
    task_id: TaskId
    token: Token
    search: OutputSearch
    ended_well: bool


async def collect_all(services: Services, state: RunState, tasks: Sequence[TaskState], tell: Tell) -> None:
    """Collect what the last attempts of these tasks left behind, and tell of each as soon as it is known."""
    folder = services.root.run_folder(state.workspace, state.run_id)
    known = KnownHashes(services.root.private / HASHED)
    left = deque(_search(state, folder, task, known) for task in tasks)
    progress = _Progress(services, FinishingNews(services.root, state.run_id, tasks[0].task.id))
    try:
        while left:
            secrets = search_of_words(services, state)
            done = await services.runtime.hashing(_collect_each, secrets, left)
            if done:
                await tell(done)
            await progress.note(left)
    finally:
        await progress.end()


def _search(state: RunState, folder: RunFolder, task: TaskState, known: KnownHashes) -> _Search:
    attempt = task.last_attempt
    if attempt is None:
        raise InvariantError(f"task {task.task.id} has no attempt to collect from")
    path = folder.attempt(attempt.task_id, attempt.n).path
    definition = state.definition_of(attempt)
    given = {*definition.files, *definition.inputs}
    most_gib = most_output_gib(state.config)
    search = OutputSearch(path, definition.outputs, given, most_gib=most_gib, known=known)
    return _Search(attempt.task_id, attempt.token, search, attempt.state is JobState.COMPLETED_OK)


def _collect_each(secrets: Search | None, left: deque[_Search]) -> list[Collected]:
    """Look at one piece, in turns; returns what is known of those that are done.  Blocking for a moment."""
    done: list[Collected] = []
    read = 0
    for _ in range(len(left)):
        if read >= PIECE_BYTES:
            break
        one = left.popleft()
        try:
            read += max(FILE_COST_BYTES, one.search.advance(TURN_BYTES))
        except OSError as error:
            problem = f"the attempt's folder cannot be read: {error.strerror or error}"
            done.append(Collected(token=one.token, problem=problem))
        else:
            if one.search.is_done:
                done.append(_collected(one, secrets))
            else:
                left.append(one)
    return done


def _collected(one: _Search, secrets: Search | None) -> Collected:
    found = one.search.found()
    # Those of a job that did not end well stand in the fact of its end.
    has_words = found.problem is not None and one.ended_well
    words = read_last_words(one.search.folder, secrets) if has_words and secrets is not None else ""
    return Collected(
        token=one.token,
        outputs=found.files,
        data=found.data,
        problem=found.problem,
        may_get_better=found.may_get_better,
        given_up=found.given_up,
        last_words=words,
    )


@attrs.define
class _Progress:
    """Tells people how far the hashing is, now and then."""

    _services: Services
    _news: FinishingNews
    _told_at: float = -TOLD_EVERY_S

    async def note(self, left: Iterable[_Search]) -> None:
        now = trio.current_time()
        if now - self._told_at < TOLD_EVERY_S:
            return
        self._told_at = now
        far = {
            one.task_id: Finishing(one.search.done_bytes, one.search.total_bytes)
            for one in left
            if one.search.total_bytes
        }
        if far or self._news.is_told:
            await self._services.runtime.files(self._news.tell, far)

    async def end(self) -> None:
        if self._news.is_told:
            with trio.CancelScope(shield=True):
                await self._services.runtime.files(self._news.end)
