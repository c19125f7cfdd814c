"""``matterstack monitor``: the page and the event stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import asyncclick as click
from asyncclick.core import ParameterSource

from matterstack.cli.log_options import LogOptions, log_options
from matterstack.cli.shared_options import current_root, json_option
from matterstack.core.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from matterstack.monitor.server import Address, Served
    from matterstack.storage.layout import Root

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@click.command(short_help="Serve the web page and the event stream.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0: any free one."
)
@click.option("--allow-host", "names", multiple=True, help="A further name under which it may be asked for.")
@click.option("--certfile", type=click.Path(path_type=Path), help="Certificate (PEM), for TLS.")
@click.option("--keyfile", type=click.Path(path_type=Path), help="Its key (PEM).")
@click.option(
    "--new-link", is_flag=True, help="Serve nothing: print a new link to the monitor that runs already."
)
@click.option(
    "--new-token",
    is_flag=True,
    help="Serve nothing: make a new token.  The old one, sessions and links are invalid from then on.",
)
@log_options
@json_option
@click.pass_context
async def monitor(
    context: click.Context,
    host: str,
    port: int,
    names: tuple[str, ...],
    certfile: Path | None,
    keyfile: Path | None,
    new_link: bool,
    new_token: bool,
    log_format: str,
    log_level: str,
    as_json: bool,
) -> None:
    """Serve the web page and the event stream of this root until stopped.

    It reads the store, so it works beside an engine and without one.  From another machine, use a tunnel:
    ssh -L 8765:127.0.0.1:8765 HOST

    The link that it prints lets one browser in, once.  For another one, or when the monitor was started anew:
    matterstack monitor --new-link
    """
    import trio

    from matterstack.cli.logs import log_to_file
    from matterstack.cli.signals import stop_on_signals
    from matterstack.monitor.server import Address, open_monitor

    if keyfile is not None and certfile is None:
        raise UsageError("--keyfile: needs a --certfile")
    address = Address(host=host, port=port, certificate=certfile, key=keyfile, names=names)
    root = current_root(context)
    if new_token or new_link:
        was_port_given = context.get_parameter_source("port") is not ParameterSource.DEFAULT
        await trio.to_thread.run_sync(
            partial(
                _give_secrets,
                root,
                port if was_port_given else None,
                new_link=new_link,
                new_token=new_token,
                as_json=as_json,
            )
        )
        return
    with log_to_file(root.monitor_log, LogOptions.given(log_format, log_level)):
        async with open_monitor(root, address) as served, _recorded(root, served):
            announce(address, served, as_json=as_json)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stop_on_signals, nursery.cancel_scope.cancel)


@asynccontextmanager
async def monitored(root: Root, where: str | None) -> AsyncIterator[None]:
    """Serve the monitor beside an engine, if ``where`` (HOST:PORT) says so.  The link goes to stderr.

    Raises:
        UsageError: that is no address, or it cannot be listened on.
    """
    if where is None:
        yield
        return
    from matterstack.monitor.server import open_monitor

    address = parse_address(where)
    async with open_monitor(root, address) as served, _recorded(root, served):
        click.echo(f"monitor: {served.link} (lets one browser in, once)", err=True)
        _warn(address)
        yield


@asynccontextmanager
async def _recorded(root: Root, served: Served) -> AsyncIterator[None]:
    """Let ``monitor --new-link`` find a monitor that runs."""
    from matterstack.monitor.running_monitors import recorded

    with recorded(root, served.url, served.port, served.monitor.access.key):
        yield


def _give_secrets(root: Root, port: int | None, *, new_link: bool, new_token: bool, as_json: bool) -> None:
    """Make a new token, a new link, or both.

    Raises:
        NotFoundError: no monitor listens for which a link could be.
        StoreError: the token cannot be kept.
    """
    from matterstack.cli.printing import print_json
    from matterstack.monitor import running_monitors as running
    from matterstack.monitor.secret import replace_token, token_file_of

    token_file = token_file_of(root)
    if new_token:
        replace_token(token_file)
    found = [one for one in running.running_monitors(root) if port in {None, one.port}] if new_link else []
    if new_link and not found:
        where = "" if port is None else f" on port {port}"
        raise NotFoundError(
            f"no monitor of {root.path} listens{where}",
            hint="start one: `matterstack monitor` prints a link, too",
        )
    links = [(running.new_link(root, one), one) for one in found]
    if as_json:
        told = [{"url": link, "port": one.port, "host": one.host} for link, one in links]
        print_json({"links": told, "token_file": str(token_file)})
        return
    for link, one in links:
        click.echo(link if one.is_here else f"{link} (on {one.host})")
    if new_link:
        click.echo("a link lets one browser in, once, within the hour", err=True)
    if new_token:
        click.echo(f"the new token is in {token_file}; who was let in before has to come in anew", err=True)


def parse_address(text: str) -> Address:
    """Read HOST:PORT; an IPv6 address stands in brackets, and without a host it is this machine alone.

    Raises:
        UsageError: it is something else.

    >>> parse_address("[::1]:0").host, parse_address(":8765").host
    ('::1', '127.0.0.1')
    """
    from matterstack.monitor.server import Address

    host, colon, port = text.rpartition(":")
    is_port = port.isascii() and port.isdecimal() and int(port) <= 65535
    in_brackets = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if in_brackets else host
    if not colon or not is_port or in_brackets != (":" in bare) or not set(bare).isdisjoint("[]"):
        raise UsageError(f"--serve {text!r}: must be HOST:PORT, such as 127.0.0.1:8765")
    return Address(host=bare or "127.0.0.1", port=int(port))


def announce(address: Address, served: Served, *, as_json: bool) -> None:
    """Say where it is, before anything else happens."""
    from matterstack.cli.printing import print_json

    if as_json:
        print_json({"url": served.link, "port": served.port, "token_file": str(served.token_file)})
    else:
        click.echo(served.link)
        click.echo("the link lets one browser in, once; for another one: matterstack monitor --new-link")
        click.echo(f"the token for programs is in {served.token_file}")
    _warn(address)


def _warn(address: Address) -> None:
    if address.host not in LOOPBACK and address.certificate is None:
        click.echo(
            f"warning: {address.host} can be reached from other machines, and what is sent is not encrypted: "
            "give --certfile and --keyfile, or use an ssh tunnel instead",
            err=True,
        )
