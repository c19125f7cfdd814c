"""Watch and steer runs of a root from elsewhere, through its monitor.

    async with matterstack.connect("http://127.0.0.1:8765", token, after=0) as client:
        async for event in client:
            print(event["seq"], event["run"], event["type"])

Lost connections are made again, from the event on that was read last: none is skipped and none comes twice.
For programs on asyncio, `matterstack.aio.connect` is the same.
"""

from matterstack.client.address import Site
from matterstack.client.handle import Client, connect
from matterstack.client.link import Connection, Event, Link, open_link

__all__ = ["Client", "Connection", "Event", "Link", "Site", "connect", "open_link"]
