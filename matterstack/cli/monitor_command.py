"""``matterstack monitor``: the page and the event stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import asyncclick as click

from matterstack.cli.log_options import LogOptions, log_options
from matterstack.cli.shared_options import current_root, json_option
from matterstack.core.errors import UsageError

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
    log_format: str,
    log_level: str,
    as_json: bool,
) -> None:
    """Serve the web page and the event stream of this root until stopped.

    It reads the store, so it works beside an engine and without one.  From another machine, use a tunnel:
    ssh -L 8765:127.0.0.1:8765 HOST
    """
    import trio

    from matterstack.cli.logs import log_to_file
    from matterstack.cli.signals import stop_on_signals
    from matterstack.monitor.server import Address, open_monitor

    if keyfile is not None and certfile is None:
        raise UsageError("--keyfile: needs a --certfile")
    address = Address(host=host, port=port, certificate=certfile, key=keyfile, names=names)
    root = current_root(context)
    with log_to_file(root.monitor_log, LogOptions.given(log_format, log_level)):
        async with open_monitor(root, address) as served:
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
    async with open_monitor(root, address) as served:
        click.echo(f"monitor: {served.link} (lets one browser in, once)", err=True)
        _warn(address)
        yield


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
        click.echo(f"the link lets one browser in, once; the token for programs is in {served.token_file}")
    _warn(address)


def _warn(address: Address) -> None:
    if address.host not in LOOPBACK and address.certificate is None:
        click.echo(
            f"warning: {address.host} can be reached from other machines, and what is sent is not encrypted: "
            "give --certfile and --keyfile, or use an ssh tunnel instead",
            err=True,
        )
