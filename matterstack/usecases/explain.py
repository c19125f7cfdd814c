"""Say why a run does not go on: the same for the command line, the monitor and host programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

import attrs
import trio

from matterstack.backends.registry import find_kind, words_of
from matterstack.core.errors import ConfigError, DiskFullError
from matterstack.core.ids import JobId, RunId, UtcTime
from matterstack.core.scheduler_words import JobSight
from matterstack.core.states import JobState
from matterstack.explain.frontier import Frontier, get_run_frontier
from matterstack.explain.load import load_on_full_disk, load_situation
from matterstack.explain.situation import Situation
from matterstack.storage.layout import Root
from matterstack.storage.read.reader import Reader

SIGHTS_KEPT_S: Final = 30.0
"""For how long what a scheduler said is told again, without asking it: many people may look at a run."""


@attrs.frozen
class Explanation:
    """Why a run does not go on, and what that was found from."""

    situation: Situation
    frontier: Frontier

    def as_json(self) -> dict[str, Any]:
        """The object that ``run explain --json`` prints."""
        run = self.situation.run
        return {
            "run_id": run.run_id,
            "status": run.status.value,
            "causes": [cause.as_json() for cause in self.frontier.causes],
        }


class AskSights(Protocol):
    """Asks schedulers about jobs; see `with_sights`."""

    async def __call__(self, situation: Situation) -> Situation:
        """The same situation, with what they say."""


async def explain(
    reader: Reader, root: Root, run_id: RunId, now: UtcTime, ask: AskSights | None = None
) -> Explanation:
    """Find out why a run does not go on.

    Args:
        ask: asks schedulers when jobs are expected to start; by default anew.

    Raises:
        NotFoundError: there is no such run.
    """
    situation = await reader.read(load_situation, root, run_id, now, words_of)
    return await _explained(situation, ask)


async def explain_on_full_disk(root: Root, run_id: RunId, now: UtcTime, error: DiskFullError) -> Explanation:
    """The same where the store cannot be opened; see `matterstack.explain.load.load_on_full_disk`.

    Raises:
        DiskFullError: ``error``, when the file of the store does not tell all.
    """
    situation = await trio.to_thread.run_sync(load_on_full_disk, root, run_id, now, error, words_of)
    return await _explained(situation, None)


async def _explained(situation: Situation, ask: AskSights | None) -> Explanation:
    situation = await (ask or with_sights)(situation)
    # Of ten thousand tasks it takes a while, and others wait for this thread.
    return Explanation(situation, await trio.to_thread.run_sync(get_run_frontier, situation))


async def with_sights(situation: Situation) -> Situation:
    """Add what schedulers say at this moment; without it, whatever goes wrong, the situation is as it was."""
    return _with(situation, [await _ask(type_, configs) for type_, configs in _asked(situation).items()])


@attrs.define
class KeptSights:
    """Like `with_sights`, for faces that many look at: a scheduler is asked once for all of them.

    What it said is kept for `SIGHTS_KEPT_S`, and so is that it said nothing.
    """

    _kept: dict[str, tuple[float, Mapping[JobId, JobSight]]] = attrs.field(factory=dict)
    _asking: trio.Lock = attrs.field(factory=trio.Lock)

    async def __call__(self, situation: Situation) -> Situation:
        """Add what is known, or what schedulers say now."""
        async with self._asking:
            told = [await self._of(type_, configs) for type_, configs in _asked(situation).items()]
        return _with(situation, told)

    async def _of(self, type_: str, configs: list[Mapping[str, Any]]) -> Mapping[JobId, JobSight]:
        key = f"{type_} {configs}"
        at, sights = self._kept.get(key, (-SIGHTS_KEPT_S, {}))
        if trio.current_time() - at >= SIGHTS_KEPT_S:
            sights = await _ask(type_, configs)
            # What nobody asked about for so long is forgotten.
            now = trio.current_time()
            self._kept = {k: v for k, v in self._kept.items() if now - v[0] < SIGHTS_KEPT_S}
            self._kept[key] = (now, sights)
        return sights


def _with(situation: Situation, told: list[Mapping[JobId, JobSight]]) -> Situation:
    sights = {job_id: sight for part in told for job_id, sight in part.items()}
    return attrs.evolve(situation, context=attrs.evolve(situation.context, sights=sights))


def _asked(situation: Situation) -> dict[str, list[Mapping[str, Any]]]:
    """Backends with live jobs that answer, by their type: one question to a scheduler may be enough."""
    live = {
        task.attempt.backend
        for task in situation.tasks
        if task.attempt is not None
        and task.attempt.is_live
        and task.attempt.state in {JobState.QUEUED, JobState.RUNNING}
        and task.attempt.job_id is not None
    }
    asked: dict[str, list[Mapping[str, Any]]] = {}
    for backend in situation.context.backends.values():
        if backend.name in live and backend.health.out_since is None:
            asked.setdefault(backend.type, []).append(backend.config)
    return asked


async def _ask(type_: str, configs: list[Mapping[str, Any]]) -> Mapping[JobId, JobSight]:
    try:
        kind = find_kind(type_)
    except ConfigError:
        return {}
    return {} if kind is None else await kind.sights(configs)
