"""Change the config of a run that is there already, for every face: what would change, and the command."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs

from matterstack.actors.runtime import Runtime
from matterstack.core.errors import ConfigError
from matterstack.core.ids import RunId, TaskId, Token
from matterstack.core.run.config_changes import config_changes, told_change
from matterstack.core.run.decide_resubmission import is_elsewhere, resubmissions_elsewhere
from matterstack.core.run.facts import ConfigChange
from matterstack.core.run.messages import AmendConfig
from matterstack.core.run.state import RunState
from matterstack.core.secret_words import listed
from matterstack.core.states import JobState
from matterstack.storage.layout import Root
from matterstack.storage.read.config_in_force import ConfigInForce, config_in_force
from matterstack.storage.read.reader import open_reader
from matterstack.storage.snapshot import load_run
from matterstack.usecases.configuration import checked, config_of_new_run
from matterstack.usecases.runs import known_secrets, user_name

if TYPE_CHECKING:
    from matterstack.core.documents.config import RunConfig

SETTINGS_NAME: Final = "--config"


@attrs.frozen(kw_only=True)
class Amendment:
    """Another config for a run, ready to be asked for.

    Attributes:
        command: what to send; where there are no changes, it would change nothing.
        notes: what people should know of it, a line each.
        resubmitted: tasks whose job waits on a backend that is another one then, or defined in another way:
            it is cancelled and submitted anew, where that was asked for; with that attempt of each.
        queued: the same where it was not: such a job keeps what it was submitted with.
        running: tasks with a job that runs on such a backend.
    """

    command: AmendConfig
    changes: tuple[ConfigChange, ...]
    resubmitted: Mapping[TaskId, Token] = attrs.field(factory=dict)
    queued: tuple[TaskId, ...] = ()
    running: tuple[TaskId, ...] = ()
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The object that commands print."""
        return {
            "config": [attrs.asdict(change) for change in self.changes],
            "resubmitted": list(self.resubmitted),
            "queued": list(self.queued),
            "running": list(self.running),
            "notes": list(self.notes),
        }


async def proposed_amendment(
    root: Root,
    run_id: RunId,
    settings: Mapping[str, Any],
    *,
    from_workspace: bool = False,
    reason: str = "",
    resubmit: bool = False,
    runtime: Runtime | None = None,
) -> Amendment:
    """Work out what the config of a run would be, and check it like that of a new run.  Changes nothing.

    Args:
        settings: what is set for this run alone, as by ``--set`` when it was made.
        from_workspace: begin with the files as they are now (of the site, the root and the workspace) instead
            of with what the run has; what was set for this run alone stays on top of them.
        resubmit: as in `AmendConfig`.

    Raises:
        NotFoundError: there is no such run, or its workspace has gone.
        ConfigError, CampaignError: the config would be wrong; names the file and the field.
        RefusedError: a task that waits could never run so.
    """
    runtime = runtime or Runtime()
    async with open_reader(root) as reader:
        now = await reader.read(config_in_force, run_id)
        proposed = await runtime.files(_proposed, root, run_id, now, settings, from_workspace, reason)
        command = attrs.evolve(proposed.command, resubmit=resubmit)
        state = await reader.read(load_run, run_id) if proposed.changes else None
    proposed = attrs.evolve(proposed, command=command)
    if state is None:
        return proposed
    warnings = await _limit_warnings(root, state, command)
    return _with_jobs(attrs.evolve(proposed, notes=(*proposed.notes, *warnings)), state)


async def _limit_warnings(root: Root, state: RunState, command: AmendConfig) -> list[str]:
    # Backends: not for those who only ask a run.
    from matterstack.usecases.limits_of_amended import check_amended_limits

    return [f"warning: {warning}" for warning in await check_amended_limits(root, state, command.config)]


def _with_jobs(proposed: Amendment, state: RunState) -> Amendment:
    """The same, with what becomes of jobs whose backend is another one then, or defined in another way."""
    command, live = proposed.command, state.live.values()
    waiting = {fact.task_id: fact.token for fact in resubmissions_elsewhere(state, command)}
    return attrs.evolve(
        proposed,
        resubmitted=waiting if command.resubmit else {},
        queued=() if command.resubmit else tuple(waiting),
        running=tuple(
            a.task_id for a in live if a.state is JobState.RUNNING and is_elsewhere(state, a, command)
        ),
    )


def _proposed(
    root: Root,
    run_id: RunId,
    now: ConfigInForce,
    settings: Mapping[str, Any],
    from_workspace: bool,
    reason: str,
) -> Amendment:
    # pydantic: not for those who only ask a run
    from matterstack.backends.registry import moved_backends
    from matterstack.core.documents.amended_config import as_kept, on_top, with_settings

    overrides = on_top(now.overrides, settings)
    notes: tuple[str, ...] = ()
    if from_workspace:
        config = _of_files(root, now, overrides, f"{SETTINGS_NAME}, or what was set for this run")
        notes = _overridden(root, now, config)
    else:
        named = f"the config of run {run_id}"
        config = checked(with_settings(now.config, settings, before_name=named, settings_name=SETTINGS_NAME))
    kept = as_kept(config, now.config)
    if names := known_secrets(root, [*config.secrets]).names_in_json(kept):
        raise ConfigError(
            f"the config of the run holds the value of {listed(names)}: nothing that is kept may"
        )
    command = AmendConfig(
        by=user_name(),
        before=now.config,
        config=kept,
        overrides=overrides,
        moved=moved_backends(now.config["backends"], kept["backends"]),
        reason=reason,
    )
    return Amendment(command=command, changes=config_changes(now.config, kept), notes=notes)


def config_of_files(root: Root, now: ConfigInForce) -> Mapping[str, Any]:
    """What a run would go by if it were given the config files as they are now.  Blocking.

    Raises:
        ConfigError, NotFoundError: they are wrong, or the workspace has gone.
    """
    from matterstack.core.documents.amended_config import as_kept

    return as_kept(_of_files(root, now, now.overrides, SETTINGS_NAME), now.config)


def _of_files(root: Root, now: ConfigInForce, overrides: Mapping[str, Any], name: str) -> RunConfig:
    has_object = "campaign_object" in now.config
    return config_of_new_run(root, now.workspace, overrides, name, has_object=has_object)


def _overridden(root: Root, now: ConfigInForce, config: RunConfig) -> tuple[str, ...]:
    """What the files say and the run does not get, since it has something of its own."""
    try:
        files = _of_files(root, now, {}, "")
    except ConfigError:
        return ()  # the files alone are no config; what is set for the run makes them one
    differing = config_changes(files.model_dump(mode="json"), config.model_dump(mode="json"))
    return tuple(f"set for this run alone, over the files: {told_change(change)}" for change in differing)
