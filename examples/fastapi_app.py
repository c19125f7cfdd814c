"""Start campaigns over HTTP, and stream their events to browsers.

MATTERSTACK_ROOT=ROOT uvicorn --factory --app-dir examples fastapi_app:make_app

It lets everybody in who reaches it: put what your site uses for logins in front.
"""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import FastAPI, Header, Request
from fastapi.responses import JSONResponse, StreamingResponse

import matterstack
from matterstack import MatterStackError

STATUSES = {"not_found": 404, "refused": 409, "illegal_transition": 409, "store": 503, "closed": 503}


def make_app(root: str | None = None) -> FastAPI:
    """The application; ``root``: else from the environment."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with matterstack.aio.open_engine(root or os.environ["MATTERSTACK_ROOT"]) as engine:
            for run in await engine.runs():  # what an earlier process left goes on
                await engine.run(run.run_id)
            app.state.engine = engine
            yield

    app = FastAPI(title="Campaigns", lifespan=lifespan)

    @app.exception_handler(MatterStackError)
    async def refuse(_request: Request, error: MatterStackError) -> JSONResponse:
        body = {"error": {"code": error.code, "message": str(error), "hint": error.hint}}
        return JSONResponse(body, STATUSES.get(error.code, 400))

    @app.post("/campaigns/{workspace}", status_code=201)
    async def start(workspace: str, settings: dict | None = None) -> dict:
        run = await app.state.engine.start(workspace, settings=settings)
        return {"run_id": run.id}

    @app.get("/runs")
    async def runs() -> list[dict]:
        return [run.as_json() for run in await app.state.engine.runs()]

    @app.post("/runs/{run_id}/cancel", status_code=202)
    async def cancel(run_id: str, reason: str = "") -> dict:
        run = await app.state.engine.run(run_id)
        await run.cancel(reason=reason)
        return (await run.status()).as_json()

    @app.get("/runs/{run_id}/events")
    async def events(run_id: str, last_event_id: Annotated[int, Header()] = 0) -> StreamingResponse:
        """Server-sent events: a browser that reconnects says itself where it was."""
        run = await app.state.engine.run(run_id)

        async def lines() -> AsyncIterator[str]:
            async for event in run.events(after=last_event_id):
                yield f"id: {event['seq']}\nevent: {event['type']}\ndata: {json.dumps(event)}\n\n"

        return StreamingResponse(lines(), media_type="text/event-stream")

    return app
