"""What every face of MatterStack does to runs: make one, and ask one for something."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import sqlite3
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio

from matterstack.actors.runtime import Runtime
from matterstack.campaign.origins import record_origins
from matterstack.campaign.pickled import PickledCampaign
from matterstack.core.errors import (
    CampaignError,
    ConfigError,
    InvariantError,
    MatterStackError,
    StoreError,
    error_of,
)
from matterstack.core.ids import SLUG_PATTERN, RunId, new_run_id
from matterstack.core.run.apply import Touched, new_run
from matterstack.core.run.facts import RunCreated
from matterstack.core.run.messages import Command
from matterstack.storage.codec import dumps
from matterstack.storage.commands import StoredCommand, command_outcome, insert_command, withdraw_command
from matterstack.storage.files import json_bytes, write_durable
from matterstack.storage.journal import Append, commit, make_append
from matterstack.storage.layout import Root, RunFolder, Workspace
from matterstack.storage.leases import Holder, is_held, lease_holder, this_process
from matterstack.storage.read.changes import Changes, data_version
from matterstack.storage.read.runs import require_run
from matterstack.storage.schema import open_database, translated_errors

if TYPE_CHECKING:
    from matterstack.core.documents.config import RunConfig

SITE_CONFIG: Final = "~/.config/matterstack/config.json"
ENGINE_INTERVAL_S: Final = 0.3
"""How often it is looked whether the engine that is to carry out a command still lives."""
PATIENCE_S: Final = 3.0


def user_name() -> str:
    """Who is asking, for the record."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def site_config_file() -> Path:
    """The config of all roots of this user."""
    return Path(SITE_CONFIG).expanduser()


def effective_config(
    workspace: Workspace | None, overrides: Mapping[str, Any], overrides_name: str = "--set"
) -> RunConfig:
    """Defaults, under the site's config, under the workspace's, under what was set for this run.

    Args:
        workspace: None: what holds for all of them.
        overrides_name: what people know the overrides by.

    Raises:
        ConfigError: naming the file and the field.
    """
    # pydantic: not for those who only ask a run
    from matterstack.backends.registry import KINDS
    from matterstack.core.documents.config import parse_config

    layers: dict[str, str] = {}
    for path in (site_config_file(), *([] if workspace is None else [workspace.config_file])):
        try:
            layers[str(path)] = path.read_text(encoding="utf-8-sig")  # editors may have put a mark in front
        except FileNotFoundError:
            continue
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: is no UTF-8 text ({error.reason} at byte {error.start})") from None
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    if overrides:
        layers[overrides_name] = dumps(overrides)
    return parse_config(layers, KINDS)


def config_of_new_run(root: Root, slug: str, overrides: Mapping[str, Any]) -> RunConfig:
    """What a run of a workspace would be made with.

    Raises:
        ConfigError, NotFoundError, CampaignError: as `create_run`.
    """
    workspace = root.workspace(slug)
    require_campaign(workspace)
    return effective_config(workspace, overrides)


def require_campaign(workspace: Workspace) -> None:
    """Check that a workspace has a campaign.

    Raises:
        CampaignError: it has no ``campaign.py``.
    """
    if not workspace.campaign_file.is_file():
        raise CampaignError(
            f"{workspace.campaign_file}: there is no such file",
            hint="a workspace needs a campaign.py with a function get_campaign()",
        )


def create_run(
    root: Root,
    slug: str,
    overrides: Mapping[str, Any],
    runtime: Runtime,
    *,
    campaign: PickledCampaign | None = None,
    overrides_name: str = "--set",
) -> RunId:
    """Make a PENDING run of a workspace, durably.  Blocking.

    Args:
        campaign: an object that is to plan it, instead of ``campaign.py``: the workspace is made where there
            is none of this name.  It is kept in the run's folder before the store knows the run.
        overrides_name: what people know the overrides by.

    Raises:
        NotFoundError: there is no such workspace.
        CampaignError: it has no ``campaign.py``.
        ConfigError: its config is wrong.
        StoreError: the store cannot be written.
    """
    if campaign is None:
        workspace = root.workspace(slug)
        require_campaign(workspace)
    else:
        workspace = _made_workspace(root, slug)
    config = effective_config(workspace, overrides, overrides_name).model_dump(mode="json")
    if campaign is not None:
        config["campaign_object"] = {"class": campaign.kind, "sha256": campaign.sha256}
    run_id = new_run_id(runtime.clock(), runtime.entropy(4))
    folder = root.run_folder(slug, run_id)
    try:
        # Before the store knows the run: one that cannot have a folder is not made.
        folder.path.mkdir(parents=True, exist_ok=True)
        write_durable(folder.config_file, json_bytes(config))
        if campaign is not None:
            write_durable(folder.campaign_object, campaign.content)
        origins = record_origins(workspace, folder, "" if campaign is None else campaign.source)
    except OSError as error:
        _remove_unborn(folder)
        raise StoreError(
            f"{folder.path}: {error.strerror or error}", hint="the workspace must be writable for you"
        ) from error
    created = RunCreated(
        workspace=slug, config=config, by=user_name(), software=origins.software, sources=origins.sources
    )
    at = runtime.now()
    state = new_run(run_id, created, at)
    try:
        _store_new_run(root, make_append(state, None, [(at, created)], Touched(run=True)))
    except MatterStackError:
        _remove_unborn(folder)
        raise
    return run_id


def _made_workspace(root: Root, slug: str) -> Workspace:
    if SLUG_PATTERN.fullmatch(slug):
        path = root.workspaces / slug
        try:
            path.mkdir(exist_ok=True)
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror or error}") from error
    return root.workspace(slug)


def _store_new_run(root: Root, append: Append) -> None:
    connection = open_database(root.database)
    try:
        for outcome in commit(connection, root.database, [append]):
            if isinstance(outcome, MatterStackError):
                raise outcome
    finally:
        connection.close()


def _remove_unborn(folder: RunFolder) -> None:
    """Take back what was written for a run that could not be made."""
    with contextlib.suppress(OSError):
        shutil.rmtree(folder.sources)
    with contextlib.suppress(OSError):
        for path in folder.path.iterdir():
            path.unlink()
        folder.path.rmdir()
        folder.path.parent.rmdir()  # only if it is empty: this would have been the first run


@attrs.frozen
class Outcome:
    """What became of a command.  ``by_engine``: an engine in another process carried it out."""

    by_engine: bool


async def send_command(
    root: Root,
    run_id: RunId,
    command: Command,
    runtime: Runtime,
    on_wait: Callable[[Holder], None] | None = None,
) -> Outcome:
    """Make a command durable, and wait until it is carried out.

    The engine that holds the run does it.  If there is none, this process takes the run's lease for as
    long as it takes; for a cancel, that is until none of its jobs is left.

    Args:
        on_wait: told once, after a few seconds, whom this waits for.  A process of another machine may have
            died with it: nobody can tell from here, so that may be for ever (see `break_lease`).

    Raises:
        NotFoundError: no such run or task.
        RefusedError: not possible in the run's state; names it.
        StoreError: nobody can carry it out now; nothing of it is left.
    """
    connection = await runtime.store(open_database, root.database)
    try:
        stored = await runtime.store(_insert, connection, root, run_id, command, runtime)
        patience = trio.current_time() + PATIENCE_S
        version = partial(runtime.store, data_version, connection)
        # That the engine has died shows in no commit, so it is looked for without such a sign, too.
        async for _ in Changes(version, at_least_every_s=ENGINE_INTERVAL_S):
            outcome = await runtime.store(command_outcome, connection, stored.id)
            if outcome is not None:
                _raise_refusal(outcome)
                return Outcome(by_engine=True)
            is_served, holder = await runtime.store(_server, connection, root, run_id)
            if not is_served:
                from matterstack.engine import open_engine  # half the time of a command would go into it

                try:
                    async with open_engine(root, runtime=Runtime(clock=runtime.clock)) as engine:
                        carried_out = await engine.carry_out_commands(run_id)
                except Exception:
                    # It must not be carried out later by whoever comes, when nobody thinks of it any more.
                    if await runtime.store(_withdraw, connection, root, stored):
                        raise
                    continue
                if carried_out:
                    outcome = await runtime.store(command_outcome, connection, stored.id)
                    if outcome is not None:
                        _raise_refusal(outcome)
                        return Outcome(by_engine=False)
            elif holder is not None and on_wait is not None and trio.current_time() >= patience:
                on_wait(holder)
                on_wait = None
        raise InvariantError("changes of the store have no end")
    finally:
        with trio.CancelScope(shield=True):
            await runtime.store(connection.close)


def _insert(
    connection: sqlite3.Connection, root: Root, run_id: RunId, command: Command, runtime: Runtime
) -> StoredCommand:
    with translated_errors(root.database):
        require_run(connection, run_id)
        return insert_command(connection, run_id, command, runtime.now())


def _server(connection: sqlite3.Connection, root: Root, run_id: RunId) -> tuple[bool, Holder | None]:
    """Whether the run is served, and by whom; one of this machine that has died does not serve."""
    with translated_errors(root.database):
        holder = lease_holder(connection, run_id)
    elsewhere = holder is not None and not holder.is_on(this_process())
    return elsewhere or is_held(root, run_id), holder


def _withdraw(connection: sqlite3.Connection, root: Root, command: StoredCommand) -> bool:
    with translated_errors(root.database):
        return withdraw_command(connection, command.id)


def _raise_refusal(outcome: Mapping[str, Any]) -> None:
    if not outcome["ok"]:
        raise error_of(outcome)


__all__ = [
    "Outcome",
    "config_of_new_run",
    "create_run",
    "effective_config",
    "require_campaign",
    "send_command",
    "site_config_file",
    "user_name",
]
