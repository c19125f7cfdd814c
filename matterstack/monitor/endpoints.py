"""What can be asked for with GET: the page's files, the documents that it shows, and the metrics."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec

import attrs
import trio

from matterstack.core.errors import NotFoundError, UsageError
from matterstack.core.ids import RunId, TaskId, utc_text
from matterstack.monitor.http_requests import Request
from matterstack.monitor.http_responses import Response, error_response, json_response
from matterstack.monitor.metrics import exposition, figures_of
from matterstack.monitor.views import events_view, log_view, run_view, runs_view
from matterstack.storage.layout import Root, require_run_id
from matterstack.storage.read.reader import Reader
from matterstack.usecases.explain import KeptSights, explain
from matterstack.usecases.questions import list_questions

PAGE_FILES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
MOST_RUNS_NAMED: Final = 500
_PAGE: Final = "/page/"
_PAGE_FILE: Final = re.compile(r"[a-z0-9][a-z0-9-]*(\.[a-z]+)+")
_RUN_PATH: Final = re.compile(r"/api/runs/([^/]+)(?:/(?:(explain|events|questions)|tasks/([^/]+)/log))?")

MOST_QUESTIONS: Final = 50

_P = ParamSpec("_P")


@attrs.frozen
class Documents:
    """Documents and pages of one root, by path.

    Attributes:
        count_clients: how many clients are connected at this moment.
    """

    root: Root
    _reader: Reader
    count_clients: Callable[[], int]
    _sights: KeptSights = attrs.field(factory=KeptSights)

    async def answer(self, request: Request) -> Response:
        """Answer a GET request of a client.

        Raises:
            NotFoundError: there is nothing at this path.
            UsageError: the query makes no sense.
            StoreError: the store cannot be read.
        """
        path = request.path
        if is_of_page(path):
            name = "index.html" if path == "/" else path.removeprefix(_PAGE)
            return await trio.to_thread.run_sync(page_file, name)
        if path == "/events":
            return error_response(426, "upgrade", "this is a websocket")
        if path == "/metrics":
            figures = await self._reader.read(figures_of, self.root, self.count_clients())
            body, kind = exposition(figures, request.headers.get("accept", ""))
            return Response(kind=kind, body=body)
        if path == "/api/runs":
            named = request.query.get("runs")
            return await self._json(runs_view, None if named is None else _run_ids(named))
        if found := _RUN_PATH.fullmatch(path):
            return await self._of_run(request, *found.groups())
        raise NotFoundError(f"there is nothing at {path[:100]}")

    async def _of_run(self, request: Request, run: str, what: str | None, task: str | None) -> Response:
        run_id = require_run_id(run)
        if task is not None:
            return await self._json(log_view, self.root, run_id, TaskId(task), request.query)
        if what == "explain":
            now = utc_text(datetime.now(UTC))
            explanation = await explain(self._reader, self.root, run_id, now, self._sights)
            return json_response({**explanation.as_json(), "as_of": now})
        if what == "questions":
            return await self._json(questions_view, self.root, run_id)
        if what == "events":
            return await self._json(events_view, run_id, _seq(request.query.get("before")))
        return await self._json(run_view, run_id)

    async def _json(
        self, view: Callable[Concatenate[Any, _P], object], *args: _P.args, **kwargs: _P.kwargs
    ) -> Response:
        # Written as JSON in the worker thread too: ten thousand tasks are megabytes.
        return await self._reader.read(lambda connection: json_response(view(connection, *args, **kwargs)))


def is_of_page(path: str) -> bool:
    """Whether a file of the page is asked for; see `page_file`."""
    return path == "/" or path.startswith(_PAGE)


def questions_view(connection: sqlite3.Connection, root: Root, run_id: RunId) -> dict[str, Any]:
    """What a run asks now, at most `MOST_QUESTIONS` of it.

    Raises:
        NotFoundError: there is no such run.
    """
    asked = list_questions(connection, root, run_id, MOST_QUESTIONS)
    return {"questions": [question.as_json() for question in asked.first], "count": asked.count}


def page_file(name: str) -> Response:
    """A file of the page.

    Raises:
        NotFoundError: it has none of this name.
    """
    kind = PAGE_FILES.get(Path(name).suffix)
    file = files("matterstack.monitor").joinpath("page", name)
    if kind is None or not _PAGE_FILE.fullmatch(name) or not file.is_file():
        raise NotFoundError(f"there is no page {name[:100]!r}")
    return Response(kind=kind, body=file.read_bytes())


def _run_ids(text: str) -> list[RunId]:
    names = text.split(",")
    if len(names) > MOST_RUNS_NAMED:
        raise UsageError(f"runs: names at most {MOST_RUNS_NAMED}")
    return [require_run_id(name) for name in names]


def _seq(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise UsageError(f"before: must be the sequence number of an event, not {text[:50]!r}")
    return int(text)
