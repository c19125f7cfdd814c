"""A run as somebody has typed it: looked up in the store of the root, and said on standard error."""

from __future__ import annotations

import sys

import asyncclick as click

from matterstack.cli.shared_options import current_root
from matterstack.core.ids import RUN_ID_PATTERN, RunId


def typed_run(context: click.Context, name: str, *, takes_workspace: bool = True) -> RunId:
    """The run that a word of the command line means.  Blocking: there is nothing yet that it could keep.

    A whole id is given back as it is, whether there is such a run or not.

    Raises:
        UsageError, NotFoundError: as `matterstack.usecases.run_names.find_run`.
        StoreError: the store cannot be read.
    """
    if RUN_ID_PATTERN.fullmatch(name):
        return RunId(name)
    from matterstack.cli.glance import store_of
    from matterstack.usecases.run_names import find_run

    root = current_root(context)
    with store_of(root) as connection:
        found = find_run(connection, root, name, takes_workspace=takes_workspace)
    if "--json" not in sys.argv:  # there, standard error has nothing but an error's document
        click.echo(f"run {found}", err=True)
    return found.run_id
