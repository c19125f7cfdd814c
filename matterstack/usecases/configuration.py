"""The configuration of a run: what is set for it, over that of its workspace, of the root, of the site."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from matterstack.core.documents.root_config import MOST_BYTES
from matterstack.core.errors import CampaignError, ConfigError
from matterstack.core.ids import SLUG_PATTERN
from matterstack.storage.child_environment import hide_from_children
from matterstack.storage.codec import dumps
from matterstack.storage.file_errors import file_errors
from matterstack.storage.layout import Root, Workspace, is_folder
from matterstack.storage.small_files import read_given

if TYPE_CHECKING:
    from matterstack.core.documents.config import RunConfig

SITE_CONFIG: Final = "~/.config/matterstack/config.json"


def site_config_file() -> Path:
    """The config of all roots of this user."""
    return Path(SITE_CONFIG).expanduser()


def effective_config(
    root: Root | None,
    workspace: Workspace | None,
    overrides: Mapping[str, Any],
    overrides_name: str = "--set",
) -> RunConfig:
    """Defaults, under the site's config, the root's, the workspace's, and what was set for this run.

    Args:
        root: None: what holds for all roots.
        workspace: None: what holds for all of them.
        overrides_name: what people know the overrides by.

    Raises:
        ConfigError: naming the file and the field.
    """
    # pydantic: not for those who only ask a run
    from matterstack.core.documents.root_config import parse_root_config

    layers: dict[str, str] = {}
    own = None if root is None else root.config_file
    for path in (site_config_file(), own, None if workspace is None else workspace.config_file):
        text = None if path is None else _text_of(path)
        if text is not None and path == own:
            text = dumps(parse_root_config(str(path), text.encode()).for_runs)
        if text is not None:
            layers[str(path)] = text
    if overrides:
        layers[overrides_name] = dumps(overrides)
    return checked(layers)


def checked(layers: Mapping[str, str]) -> RunConfig:
    """Lay config files over each other, and check the whole; its secrets are hidden from here on.

    Args:
        layers: file name (as people should see it) to file content, the lowest one first.

    Raises:
        ConfigError: naming the file and the field.
    """
    from matterstack.backends.registry import KINDS, without_secrets
    from matterstack.core.documents.config import parse_config

    config = parse_config(layers, KINDS)
    if config.secrets and (unable := without_secrets(config.backends)):
        raise ConfigError(
            f"secrets: a backend of type {config.backends[unable[0]].type!r} hands none to its jobs: take "
            f"{unable[0]} out of backends, or secrets out of the config"
        )
    _require_whole_prologues(config, layers)
    # Whoever reads this may start something: the campaign, for its first plan, or ssh.
    hide_from_children(config.secrets)
    return config


def _require_whole_prologues(config: RunConfig, layers: Mapping[str, str]) -> None:
    from matterstack.backends.prologue import first_line, parsing_problem
    from matterstack.core.documents.config import holder

    for name, backend in config.backends.items():
        entries = getattr(backend, "prologue", ())  # not every kind has one
        found = parsing_problem(entries)
        if found is None:
            continue
        index, problem, whole = found
        place = ("backends", name, "prologue", index)
        where = f"{holder(layers, place)}: {'.'.join(map(str, place))}"
        raise ConfigError(
            f"{where}: {first_line(entries[index])!r} cannot stand alone: {problem}",
            hint="each entry is run by itself; what belongs together is one entry, with \\n between its lines"
            + (f": {dumps(whole)}" if whole else ""),
        )


def _text_of(path: Path) -> str | None:
    try:
        # One byte more, so that what is too long is refused.  Editors may have put a mark in front.
        return read_given(path, MOST_BYTES + 1).decode("utf-8-sig")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is no UTF-8 text ({error.reason} at byte {error.start})") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None


def config_of_new_run(
    root: Root,
    slug: str,
    overrides: Mapping[str, Any],
    overrides_name: str = "--set",
    *,
    has_object: bool = False,
) -> RunConfig:
    """What a run of a workspace would be made with.  Blocking.

    Args:
        has_object: an object of a host program plans it: the workspace need not be there yet.

    Raises:
        ConfigError, NotFoundError, CampaignError: as `matterstack.usecases.runs.create_run`.
    """
    if has_object and not is_folder(root.workspaces / slug) and SLUG_PATTERN.fullmatch(slug):
        return effective_config(root, None, overrides, overrides_name)
    workspace = root.workspace(slug)
    if not has_object:
        require_campaign(workspace)
    return effective_config(root, workspace, overrides, overrides_name)


def require_campaign(workspace: Workspace) -> None:
    """Check that a workspace has a campaign.

    Raises:
        CampaignError: it has no ``campaign.py``.
        StoreError: that cannot be found out.
    """
    with file_errors(workspace.campaign_file):
        is_there = workspace.campaign_file.is_file()
    if not is_there:
        raise CampaignError(
            f"{workspace.campaign_file}: there is no such file",
            hint="a workspace needs a campaign.py with a function get_campaign()",
        )


def installed_schema(name: str) -> dict[str, Any]:
    """JSON schema of a document; that of ``config.json`` knows all kinds of backend that are installed.

    Raises:
        KeyError: there is none of this name.
    """
    from matterstack.backends.registry import KINDS
    from matterstack.core.documents.schemas import schema_of  # builds a dozen models

    return schema_of(name, KINDS)
