"""``matterstack watch``: the monitor in a terminal."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncclick as click

from matterstack.cli.completion import propose_runs
from matterstack.cli.shared_options import current_root, json_option
from matterstack.core.errors import UsageError

if TYPE_CHECKING:
    from matterstack.client import Site
    from matterstack.core.ids import RunId


@click.command(short_help="Watch and steer runs in this terminal.")
@click.argument("name", metavar="[RUN_ID]", required=False, shell_complete=propose_runs)
@click.option(
    "--url", metavar="URL", help="Watch through a monitor that runs elsewhere: the link it printed."
)
@click.option(
    "--token-file",
    metavar="FILE",
    help="With --url: where the token is, in place of a link (-: the first line of standard input).",
)
@json_option
@click.pass_context
async def watch(
    context: click.Context, name: str | None, url: str | None, token_file: str | None, as_json: bool
) -> None:
    """Watch all runs of this root, or one of them, in this terminal, and steer them with keys.

    It needs no engine and no monitor.  With --url it watches what a monitor elsewhere serves, also through a
    tunnel: ssh -L 8765:127.0.0.1:8765 HOST.  A link lets in once, for as long as that monitor runs; the token
    in --token-file lets in again and again, and is seen by nobody who lists the processes of this machine.

    Where there is no terminal, each event is a line, until the run has ended (exit code 1: not COMPLETED).
    With --json each event is a JSON object.
    """
    from matterstack.watch.lines import watch_in_lines
    from matterstack.watch.screen import watch_on_screen
    from matterstack.watch.terminal import Terminal, is_screen

    if token_file is not None and url is None:
        raise UsageError("--token-file: needs a --url")
    run_id = None if name is None else _run(context, name, url)
    on_screen = is_screen() and not as_json
    async with _site(context, url, token_file, on_screen=on_screen) as site:
        if on_screen:
            await watch_on_screen(site, run_id, Terminal)
            return
        status = await watch_in_lines(site, run_id, click.echo, _complain, as_json=as_json)
    if status is not None and status != "COMPLETED":
        raise click.exceptions.Exit(1)


def _run(context: click.Context, name: str, url: str | None) -> RunId:
    """The run that is meant; what lies elsewhere has to be called by its whole id."""
    from matterstack.cli.typed_run import typed_run
    from matterstack.storage.layout import require_run_id

    return typed_run(context, name) if url is None else require_run_id(name)


def _complain(text: str) -> None:
    click.echo(text, err=True)


@asynccontextmanager
async def _site(
    context: click.Context, url: str | None, token_file: str | None, *, on_screen: bool
) -> AsyncIterator[Site]:
    """The monitor: that of the link, or one in this process."""
    from matterstack.client import Site

    if url is not None and token_file is not None:
        yield Site.parse(url, await _token(token_file), None)
        return
    if url is not None:
        yield await Site.parse_link(url).with_link()
        return
    from matterstack.cli.logs import log_to_file
    from matterstack.monitor.server import Address, open_monitor

    root = current_root(context)
    with log_to_file(root.monitor_log, has_terminal=on_screen):
        async with open_monitor(root, Address(port=0), is_private=True) as served:
            yield Site.parse(served.url, served.monitor.access.token, None)


async def _token(file: str) -> str:
    import trio

    from matterstack.cli.printing import prompt
    from matterstack.client.token_file import STANDARD_INPUT, read_token

    if file == STANDARD_INPUT and sys.stdin.isatty():
        return str(await prompt("token", hide_input=True, err=True))
    return await trio.to_thread.run_sync(read_token, file, abandon_on_cancel=True)
