"""Make a run, for every face: check its first plan against what its backends can give, then store it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import attrs

from matterstack.actors.runtime import Runtime
from matterstack.actors.secret_warnings import params_that_look_like_secrets, source_looks_like_secrets
from matterstack.campaign.origins import Origins, record_origins
from matterstack.campaign.pickled import PickledCampaign, pickled
from matterstack.core.errors import ConfigError, MatterStackError, StoreError
from matterstack.core.ids import SLUG_PATTERN, RunId, new_run_id
from matterstack.core.run.apply import Touched, new_run
from matterstack.core.run.facts import RunCreated
from matterstack.core.secret_words import Search, listed
from matterstack.storage.files import json_bytes, write_durable
from matterstack.storage.journal import Append, commit, make_append
from matterstack.storage.layout import Root, RunFolder, Workspace
from matterstack.storage.modes import make_folders
from matterstack.storage.openness import settle, user_called
from matterstack.storage.run_keys import KeyTakenError, RunKey
from matterstack.storage.schema import open_database
from matterstack.storage.secret_values import SecretVault
from matterstack.usecases.about_file import about_of_workspace
from matterstack.usecases.configuration import config_of_new_run, effective_config, require_campaign
from matterstack.usecases.keyed_runs import find_keyed, require_key

logger: Final = logging.getLogger(__name__)


def user_name() -> str:
    """Who is asking, for the record."""
    return user_called(os.getuid())


async def make_run(
    root: Root,
    slug: str,
    overrides: Mapping[str, Any],
    runtime: Runtime | None = None,
    *,
    warn: Callable[[str], None],
    campaign: object = None,
    overrides_name: str = "--set",
    key: str | None = None,
    on_known: Callable[[RunId], None] | None = None,
) -> RunId:
    """Make a PENDING run of a workspace, unless its first jobs could never run; every face makes runs so.

    Its campaign is loaded, and where it uses a cluster its first plan is made, once more for that.  This is
    waited for at most `matterstack.usecases.first_plan.PLANNING_S`.  What takes longer, and what is planned
    to run on this machine only, the engine checks in its own first planning, and fails the run with the same
    sentence.

    Args:
        warn: told, a line each, what could not be checked, and of tasks that would fail.
        campaign: an object with ``plan`` and ``analyze`` that is to plan it, instead of ``campaign.py``.
        overrides_name: as of `create_run`.
        key: where a run has it, that one is returned, whatever its state, and none is made.
        on_known: called in that case.

    Raises:
        UsageError, RefusedError: the key is no text, or that of a run of another workspace.
        CampaignError: a job could never run: names task, field, value and limit.  Or as `create_run`; or the
            campaign cannot be loaded where it is called, or an object not be pickled.
        ConfigError, NotFoundError, StoreError: as `create_run`.
    """
    runtime = runtime or Runtime()
    if key is None:
        return await _make_new_run(root, slug, overrides, runtime, warn, campaign, overrides_name, None)
    require_key(key)
    run_key = RunKey(key, json.dumps(overrides, sort_keys=True))
    known = await runtime.files(find_keyed, root, slug, run_key, warn)
    if known is None:
        try:
            return await _make_new_run(
                root, slug, overrides, runtime, warn, campaign, overrides_name, run_key
            )
        except KeyTakenError:  # meanwhile: to plan takes its time
            known = await runtime.files(find_keyed, root, slug, run_key, warn)
            if known is None:
                raise
    if on_known is not None:
        on_known(known)
    return known


async def _make_new_run(
    root: Root,
    slug: str,
    overrides: Mapping[str, Any],
    runtime: Runtime,
    warn: Callable[[str], None],
    campaign: object,
    overrides_name: str,
    key: RunKey | None,
) -> RunId:
    pickle = None if campaign is None else pickled(campaign)
    create = partial(
        create_run, root, slug, overrides, runtime, campaign=pickle, overrides_name=overrides_name, key=key
    )
    config = await runtime.files(
        config_of_new_run, root, slug, overrides, overrides_name, has_object=pickle is not None
    )
    if pickle is None:
        await runtime.files(about_of_workspace, root.workspace(slug))  # before anything is waited for
    for warning in params_that_look_like_secrets(config.params):
        warn(warning)
    from matterstack.backends.registry import has_limits_to_ask_for

    is_checked = any(map(has_limits_to_ask_for, config.backends.values()))
    # Loads what plans, which takes its time.
    from matterstack.usecases.first_plan import check_first_plan, kept_aside, require_loadable

    if pickle is None and is_checked:
        warnings = await check_first_plan(root, slug, config, runtime)
    elif pickle is None:
        await require_loadable(root, slug, config, runtime)
        campaign_file = root.workspace(slug).campaign_file
        warnings = await runtime.files(source_looks_like_secrets, campaign_file)
    else:
        async with kept_aside(pickle, slug, runtime) as kept:
            await require_loadable(root, slug, config, runtime, kept)
            warnings = await check_first_plan(root, slug, config, runtime, kept) if is_checked else []
    for warning in warnings:
        warn(warning)
    return await runtime.files(create)


def create_run(
    root: Root,
    slug: str,
    overrides: Mapping[str, Any],
    runtime: Runtime,
    *,
    campaign: PickledCampaign | None = None,
    overrides_name: str = "--set",
    key: RunKey | None = None,
) -> RunId:
    """Make a PENDING run of a workspace, durably, whatever it plans.  Blocking.

    Args:
        campaign: an object that is to plan it, instead of ``campaign.py``: the workspace is made where there
            is none of this name.  It is kept in the run's folder before the store knows the run.
        overrides_name: what people know the overrides by.
        key: what no other run of the root may have.

    Raises:
        KeyTakenError: one has it; nothing of this run is left.
        NotFoundError: there is no such workspace.
        CampaignError: it has no ``campaign.py``.
        ConfigError: its config, or its ``about.toml``, is wrong.
        StoreError: the store cannot be written.
    """
    for sentence in settle(root):
        logger.warning("%s", sentence)
    if campaign is None:
        workspace = root.workspace(slug)
        require_campaign(workspace)
    else:
        workspace = _made_workspace(root, slug)
    config = effective_config(root, workspace, overrides, overrides_name).model_dump(mode="json")
    about = about_of_workspace(workspace).as_kept()
    search = known_secrets(root, config["secrets"])
    _require_no_secret_in_config(search, config, campaign)
    if campaign is not None:
        config["campaign_object"] = {"class": campaign.kind, "sha256": campaign.sha256}
    run_id = new_run_id(runtime.clock(), runtime.entropy(4))
    folder = root.run_folder(slug, run_id)
    try:
        # Before the store knows the run: one that cannot have a folder is not made.
        origins = _write_folder(folder, workspace, config, campaign)
        _require_no_secret_in_sources(search, workspace, folder, origins)
        created = RunCreated(
            workspace=slug,
            config=config,
            by=user_name(),
            software=origins.software,
            sources=origins.sources,
            about=about,
            commit=origins.commit,
            overrides=overrides,
        )
        at = runtime.now()
        state = new_run(run_id, created, at)
        append = make_append(state, None, [(at, created)], Touched(run=True))
        _store_new_run(root, attrs.evolve(append, key=key))
    except MatterStackError:
        _remove_unborn(folder)
        raise
    return run_id


def known_secrets(root: Root, names: Sequence[str]) -> Search:
    """Looks for the values that are known where the run is made; an engine may know more."""
    vault = SecretVault(root)
    vault.look_up(names)
    return vault.search()


def _require_no_secret_in_config(
    search: Search, config: Mapping[str, Any], campaign: PickledCampaign | None
) -> None:
    if names := search.names_in_json(config):
        raise ConfigError(
            f"the config of the run holds the value of {listed(names)}: nothing that is kept may"
        )
    if campaign is not None and (names := search.names_in(campaign.content)):
        raise ConfigError(f"the campaign object holds the value of {listed(names)}: nothing that is kept may")


def _require_no_secret_in_sources(
    search: Search, workspace: Workspace, folder: RunFolder, origins: Origins
) -> None:
    for path in origins.sources if search else ():
        if names := search.names_in((folder.sources / path).read_bytes()):
            raise ConfigError(
                f"{workspace.path / path} holds the value of {listed(names)}, and is kept with each run: "
                "take it out, and read the variable of that name in the job"
            )


def _write_folder(
    folder: RunFolder, workspace: Workspace, config: Mapping[str, Any], campaign: PickledCampaign | None
) -> Origins:
    """Write what a run keeps from its first moment, durably, and give where it came from."""
    try:
        make_folders(folder.path)
        write_durable(folder.config_file, json_bytes(config))
        if campaign is not None:
            write_durable(folder.campaign_object, campaign.content)
        return record_origins(workspace, folder, "" if campaign is None else campaign.source)
    except OSError as error:
        raise StoreError(
            f"{folder.path}: {error.strerror or error}", hint="the workspace must be writable for you"
        ) from error


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
