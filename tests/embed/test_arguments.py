"""What a host gives that makes no sense is refused in words, and named."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest

from matterstack import UsageError
from matterstack.embed.handles import Engine, Run
from tests.embed.campaigns import Rounds
from tests.embed.conftest import Home
from tests.embed.hosts import Host, on_both

HALF: Final = "\ud800"
GIVEN: Final[list[tuple[Callable[[Any, Any], Awaitable[object]], str]]] = [
    (lambda engine, _: engine.run(5), "run_id: must be text, not 5"),
    (lambda engine, _: engine.run(HALF), "is no run id"),
    (lambda engine, _: engine.start(HALF), "is no workspace name"),
    (lambda engine, _: engine.start(Rounds([]), workspace=5), "workspace: must be text, not 5"),
    (lambda engine, _: engine.start("w", settings={"params.n": HALF}), "settings: cannot be kept as JSON"),
    (lambda _, run: run.pause(reason=b"x"), "reason: must be text, not b'x'"),
    (lambda _, run: run.pause(reason=HALF), "cannot be kept as JSON"),
    (lambda _, run: run.retry(5), "tasks: must be a list of task ids, not 5"),
    (lambda _, run: run.retry("a"), "tasks: must be a list of task ids, not 'a'"),
    (lambda _, run: run.rerun([None]), "tasks: must be task ids, not [None]"),
    (lambda _, run: run.respond(["ask"], {}), "task: must be text, not ['ask']"),
    (lambda _, run: run.respond("ask", 5), "it must be a JSON object, not 5"),
    (lambda _, run: run.respond("ask", {"n": object()}), "the answer cannot be used: Object of type object"),
    (lambda _, run: run.respond("ask", {"n": HALF}), "the answer cannot be used"),
    (lambda _, run: run.export_evidence(5), "output: must be a path, not 5"),
]


@on_both
async def test_what_makes_no_sense_is_named(host: Host, home: Home) -> None:
    params = {"question": "How many?", "fields": {"n": {"type": "integer"}}}
    home.write("w", {"id": "ask", "operator": "human", "params": params})
    engine: Engine
    async with host.open_engine(home.root) as engine:
        run: Run = await engine.start("w")
        async for event in run.events():
            if event["type"] == "JobAccepted":
                break
        for call, words in GIVEN:
            with pytest.raises(UsageError, match=re.escape(words)):
                await call(engine, run)
        await run.respond("ask", {"n": 1})
        assert (await run.wait()).status == "COMPLETED"
