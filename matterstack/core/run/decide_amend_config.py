"""Decisions about another config for a run that is there already: what may be changed of it, and when.

What a config may hold is checked before it comes here, as for a new run.  Here it is about this run: its
live jobs must be followed on, and what is recorded of it must stay true.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from matterstack.core.errors import ChangedError, RefusedError
from matterstack.core.ids import BackendName
from matterstack.core.operators import ASKED, JOB_BY_HAND
from matterstack.core.run import facts as f
from matterstack.core.run import messages as m
from matterstack.core.run.agreed import LOOK_AGAIN
from matterstack.core.run.allowed import Standing, require_allowed
from matterstack.core.run.config_changes import all_changes_told, config_changes
from matterstack.core.run.decide_resubmission import resubmissions_elsewhere
from matterstack.core.run.state import AttemptState, RunState

UNCHANGEABLE: Final[Mapping[str, str]] = {
    "secrets": "what its jobs have left behind so far was looked through for those that it has",
    "campaign_object": "it is the campaign of this run",
}
"""Keys that stay as they were when the run was made, and why."""
NEW_RUN: Final = "make a new run with it: matterstack run init WORKSPACE"
ANOTHER_BACKEND: Final = (
    "add a further backend, and make it the default_backend, or wait until they have ended"
)


def decide_amend_config(state: RunState, message: m.AmendConfig) -> list[f.Fact]:
    """Take another config, unless the run has been cancelled, or changed since, or could not go on with it.

    A FAILED run stays FAILED: it is for a retry to reopen it.
    """
    require_allowed(Standing.of(state), "amend_config")
    if meanwhile := config_changes(message.before, state.config):
        raise ChangedError(
            f"the config of run {state.run_id} was changed meanwhile: {all_changes_told(meanwhile)}",
            hint=LOOK_AGAIN,
        )
    changes = config_changes(state.config, message.config)
    if not changes:
        return []
    for problem, hint in _problems(state, message.config, message.moved):
        raise RefusedError(problem, hint=hint)
    amended = f.ConfigAmended(
        by=message.by,
        changes=changes,
        config=message.config,
        overrides=message.overrides,
        reason=message.reason,
    )
    return [amended, *(resubmissions_elsewhere(state, message) if message.resubmit else [])]


def amendment_problem(state: RunState, fact: f.ConfigAmended) -> str:
    """What keeps an amendment from being one that was ever decided; empty when nothing does."""
    if fact.changes != config_changes(state.config, fact.config):
        return "its changes are not those between the config before it and its own"
    if not fact.changes:
        return "it changes nothing"
    return next((problem for problem, _ in _problems(state, fact.config, {})), "")


def _problems(
    state: RunState, config: Mapping[str, Any], moved: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """What must not be changed of this run now: a sentence, and what to do instead."""
    for key, why in UNCHANGEABLE.items():
        if config_changes(_part(state.config, key), _part(config, key)):
            yield f"{key} of run {state.run_id} cannot be changed: {why}", NEW_RUN
    before, after = state.config["backends"], config["backends"]
    for name in before:
        if name not in after:
            yield from _gone(state, name)
            continue
        live = _live_on(state, name)
        old, new = before[name]["type"], after[name]["type"]
        if live and old != new:
            kinds = f"backends.{name}.type cannot be changed from {old} to {new}"
            yield f"{kinds} while {_listed(live)}", ANOTHER_BACKEND
        elif live and name in moved:
            yield f"{moved[name]} while {_listed(live)}", ANOTHER_BACKEND
    if config["default_backend"] != state.config["default_backend"]:
        by_hand = [a for a in _live_on(state, state.config["default_backend"]) if _follows_default(state, a)]
        if by_hand:
            yield (
                f"default_backend cannot be changed while {_listed(by_hand)}",
                "wait until it is handed back",
            )


def _part(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A key with its value, where there is any: an empty list is as good as none."""
    return {key: config[key]} if config.get(key) else {}


def _gone(state: RunState, name: str) -> Iterator[tuple[str, str]]:
    cannot = f"backends.{name} cannot be taken away"
    if live := _live_on(state, name):
        yield (
            f"{cannot} while {_listed(live)}",
            "wait until they have ended; default_backend says where others run",
        )
    for task in state.tasks.values():
        if task.task.backend == name:
            yield f"{cannot}: task {task.task.id} is to run there", "leave it in the config"
        if any(attempt.backend == name for attempt in task.attempts):
            yield f"{cannot}: task {task.task.id} has run there", "leave it in the config"


def _live_on(state: RunState, name: str) -> list[AttemptState]:
    return [attempt for attempt in state.live.values() if _host_of(state, attempt) == name]


def _host_of(state: RunState, attempt: AttemptState) -> BackendName | None:
    """The backend that follows an attempt's job; None of a question that is no job."""
    if attempt.backend != ASKED:
        return attempt.backend
    task = state.definition_of(attempt)
    return state.job_backend_of(task) if task.operator == JOB_BY_HAND else None


def _follows_default(state: RunState, attempt: AttemptState) -> bool:
    return attempt.backend == ASKED and state.definition_of(attempt).backend is None


def _listed(live: list[AttemptState]) -> str:
    if len(live) == 1:
        return f"attempt {live[0].n} of task {live[0].task_id} is live there"
    return f"{len(live)} attempts are live there, that of task {live[0].task_id} first"
