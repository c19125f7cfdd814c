"""This machine: versions, the file system of the root, its room, the store's one host, the configs."""

from __future__ import annotations

import os
import platform
import sqlite3
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

import attrs

import matterstack
from matterstack.backends.examination import LEAST_FREE_BYTES, Finding, size_text
from matterstack.core.documents.config import RunConfig
from matterstack.core.errors import ConfigError
from matterstack.storage.filesystems import file_system_type, is_network
from matterstack.storage.layout import Root, Workspace
from matterstack.storage.leases import foreign_holder
from matterstack.storage.schema import journal_mode, open_database
from matterstack.usecases.configuration import effective_config, site_config_file

LEAST_FREE_INODES: Final = 10_000
"""A task takes about ten files."""


def versions() -> list[Finding]:
    """What this installation is made of; it would not start with versions that it cannot use."""
    return [
        Finding("python", True, f"{platform.python_version()} ({sys.executable})"),
        Finding("matterstack", True, matterstack.__version__),
        Finding("trio", True, version("trio")),
        Finding("sqlite", True, sqlite3.sqlite_version),
    ]


def no_root(problem: str, hint: str, *, was_named: bool) -> list[Finding]:
    """Without a root there is nothing to look at in it; that is fine, unless somebody named one."""
    if was_named:
        return [Finding("root", False, problem, hint)]
    return [Finding("root", True, "none here, so only this machine is looked at")]


def root_folder(root: Root) -> list[Finding]:
    """The file system of the root, how the store is kept on it, and whether it can be written."""
    place = root.database if root.database.exists() else root.path
    kind = file_system_type(place)
    mode = journal_mode(kind)
    detail = f"{root.path}: {mode.why}; journal mode {mode.journal}, synchronous {mode.synchronous}"
    folder = root.private if root.private.exists() else root.path
    if not os.access(folder, os.W_OK | os.X_OK):
        return [Finding("root", False, f"{folder} cannot be written", f"make it writable for you: {folder}")]
    return [Finding("root", True, detail)]


def one_host(root: Root) -> list[Finding]:
    """Whether a process of another machine uses the store, which only a local disk makes impossible."""
    if not root.database.exists():
        return [Finding("one host", True, "no store yet: no run was made")]
    connection = open_database(root.database)
    try:
        holder = foreign_holder(connection)
    finally:
        connection.close()
    if holder is None:
        return [Finding("one host", True, "no engine of another machine uses the store")]
    seen = f"process {holder.pid} on {holder.host} serves a run of this root"
    if not is_network(file_system_type(root.database)):
        return [Finding("one host", True, f"{seen}, or did before the root was moved here")]
    action = f"run engines on {holder.host} only; if it is dead: matterstack check --break-lease RUN_ID"
    return [Finding("one host", False, seen, action)]


def room(root: Root) -> list[Finding]:
    """Free space and inodes where the root lies."""
    disk = os.statvfs(root.path)
    free, size = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    space = Finding("disk space", True, f"{size_text(free)} free of {size_text(size)}")
    if free < LEAST_FREE_BYTES:
        space = Finding("disk space", False, space.detail, f"make room on the disk of {root.path}")
    if not disk.f_files:  # such as btrfs, which makes them as they are needed
        return [space, Finding("inodes", True, "without a limit")]
    inodes = Finding("inodes", True, f"{disk.f_favail:,} free of {disk.f_files:,}")
    if disk.f_favail < LEAST_FREE_INODES:
        inodes = Finding(
            "inodes", False, inodes.detail, f"remove old runs or other small files near {root.path}"
        )
    return [space, inodes]


def configs(root: Root | None) -> tuple[list[Finding], dict[str, RunConfig]]:
    """Check the config of the site, of the root and of each workspace; returns those usable, by workspace.

    What holds without a workspace has an empty name.
    """
    found: list[Finding] = []
    usable: dict[str, RunConfig] = {}
    slugs: Sequence[str] = root.slugs() if root is not None else ()
    layers = [_Layer("the site", "", site_config_file(), None, None)]
    if root is not None:
        if root.config_file.exists():
            layers.append(_Layer("the root", "", root.config_file, root, None))
        workspaces = [Workspace(root.workspaces / slug) for slug in slugs]
        layers += [_Layer(w.path.name, w.path.name, w.config_file, root, w) for w in workspaces]
    for layer in layers:
        name = f"config of {layer.name}"
        try:
            config = effective_config(layer.root, layer.workspace, {})
        except ConfigError as error:
            found.append(Finding(name, False, str(error), f"mend {_file_in(error, layer.file)}"))
            if layer.workspace is None:
                break  # every one above would tell the same mistake again
        else:
            usable[layer.slug] = config
            found.append(Finding(name, True, _told(layer, config)))
    return found, usable


@attrs.frozen
class _Layer:
    """A config that lies over those before it; ``slug`` is empty where it is not a workspace's."""

    name: str
    slug: str
    file: Path
    root: Root | None
    workspace: Workspace | None


def _told(layer: _Layer, config: RunConfig) -> str:
    there = str(layer.file) if layer.file.exists() else "none, which is fine"
    backends = ", ".join(f"{name} ({backend.type})" for name, backend in sorted(config.backends.items()))
    return there if layer.workspace is None else f"{there}: {backends}"


def _file_in(error: ConfigError, own: Path) -> Path | str:
    """The message begins with the file that is to blame."""
    named = str(error).partition(": ")[0]
    return named if named.startswith("/") else own
