"""``matterstack init``: a root with one small workspace that runs."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import asyncclick as click

from matterstack.cli.shared_options import json_option
from matterstack.core.errors import RefusedError, StoreError
from matterstack.storage.modes import make_folders

TEMPLATE: Final = "quickstart"


@click.command()
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(path_type=Path))
@json_option
async def init(folder: Path, as_json: bool) -> None:
    """Make a root: a folder with one small workspace that runs."""
    import trio

    from matterstack.cli.printing import print_json

    workspace = await trio.to_thread.run_sync(make_root, folder)
    if as_json:
        print_json({"root": str(workspace.parent.parent), "workspace": workspace.name})
        return
    click.echo(f"made {workspace}")
    click.echo("run it with:")
    if str(folder) != ".":
        click.echo(f"  cd {folder}")
    click.echo(f"  matterstack run start {workspace.name}")


def make_root(folder: Path) -> Path:
    """Copy the template; returns the new workspace.  A root that is made is closed to others.

    Raises:
        RefusedError: the folder is a root already.
        StoreError: it cannot be written.
    """
    template = Path(__file__).parent.parent / "templates" / TEMPLATE
    workspaces = folder.resolve() / "workspaces"
    if workspaces.exists():
        raise RefusedError(
            f"{workspaces} is there already", hint="a root needs no init; add workspaces/NAME/campaign.py"
        )
    target = workspaces / TEMPLATE
    try:
        if not folder.exists():
            make_folders(folder.resolve())
        target.mkdir(parents=True)
        for source in sorted(template.iterdir()):
            if source.is_file():
                (target / source.name).write_bytes(source.read_bytes())
    except OSError as error:
        raise StoreError(f"{target}: {error.strerror or error}") from error
    return target
