"""Serve one run of a workspace, and post every event to a URL.

python webhook.py ROOT URL [WORKSPACE]

The hook may fail and be slow: the run goes on, and an event is posted again until the other side has taken
it.  So that may get one twice, and tells by ``seq``.
"""

import sys

import httpx
import trio

import matterstack


async def main(root: str, url: str, workspace: str = "quickstart") -> None:
    async with httpx.AsyncClient(timeout=10) as client:

        async def post(event: dict) -> None:
            response = await client.post(url, json=event)
            response.raise_for_status()

        async with matterstack.open_engine(root, on_event=post) as engine:
            run = await engine.start(workspace)
            status = await run.wait()
    print(run.id, status.status)


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
