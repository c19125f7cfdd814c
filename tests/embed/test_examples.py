"""The examples run as they stand."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import attrs
import httpx
import pytest
import uvicorn

from tests.embed.conftest import Home
from tests.embed.hosts import ASYNCIO, PATIENCE_S

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
EXECUTE: Final = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
where = {"metadata": {"path": sys.argv[3]}}
NotebookClient(notebook, timeout=60, kernel_name="python3", resources=where).execute()
nbformat.write(notebook, sys.argv[2])
"""


def run(*words: str | Path, **variables: str) -> str:
    """Run a Python program to its end; returns what it printed."""
    done = subprocess.run(
        [sys.executable, *words],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_names_every_example() -> None:
    text = (EXAMPLES / "README.md").read_text()
    names = [path.name for path in EXAMPLES.iterdir() if path.suffix in {".py", ".ipynb"}]
    assert len(names) == 4
    assert [name for name in names if name not in text and f"{Path(name).stem}:" not in text] == []


def test_the_trio_program_finds_the_lattice_constant(home: Home) -> None:
    printed = run(EXAMPLES / "trio_program.py", home.root)
    assert printed.splitlines()[-1] == "COMPLETED {'best': 4.05, 'step': 0.025}"
    assert printed.count("step-0.2-a-") == 3


# ---- the notebook ----


def test_the_committed_notebook_holds_nothing_of_the_machine_it_ran_on() -> None:
    text = (EXAMPLES / "notebook.ipynb").read_text()
    cells = json.loads(text)["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert not re.search(r"/(?:home|root|Users|work|tmp)/", text)


def test_the_notebook_runs_in_a_kernel(home: Home, tmp_path: Path) -> None:
    script, executed = tmp_path / "execute.py", tmp_path / "executed.ipynb"
    script.write_text(EXECUTE)
    run(script, EXAMPLES / "notebook.ipynb", executed, tmp_path, MATTERSTACK_ROOT=str(home.root))
    cells = {cell["id"]: cell for cell in json.loads(executed.read_text())["cells"]}
    printed = "".join(text for output in cells["events"]["outputs"] for text in output["text"])
    assert printed.count("TaskSucceeded v-") == 4
    assert printed.splitlines()[-1].split()[1] == "RunCompleted"
    (energies,) = cells["state"]["outputs"]
    assert "'16.5': 0.0" in "".join(energies["data"]["text/plain"])
    assert cells["close"]["outputs"] == []


# ---- the webhook ----


@attrs.define
class Receiver:
    """Takes what is posted; says no to the first posts."""

    url: str
    refusals: int = 2
    taken: list[dict[str, Any]] = attrs.field(factory=list)
    posts: int = 0


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.posts += 1
            if told.posts <= told.refusals:
                self.send_response(503)
            else:
                told.taken.append(json.loads(body))
                self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Into no test's output."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        told = Receiver(f"http://127.0.0.1:{server.server_port}/events")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield told
        finally:
            server.shutdown()
            thread.join()


def test_the_webhook_posts_every_event_in_order_though_some_posts_fail(
    home: Home, receiver: Receiver
) -> None:
    home.write("one", home.diary.task("a"))
    printed = run(EXAMPLES / "webhook.py", home.root, receiver.url, "one")
    assert printed.endswith(" COMPLETED\n")
    assert receiver.taken == home.events()
    assert receiver.posts == len(receiver.taken) + receiver.refusals


# ---- FastAPI ----


@asynccontextmanager
async def served(root: Path) -> AsyncIterator[httpx.AsyncClient]:
    """The application on a real server, and a client."""
    app = load("fastapi_app").make_app(str(root))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        assert not serving.done()
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S, trust_env=False
        ) as client:
            yield client
    finally:
        server.should_exit = True
        await serving


async def streamed(client: httpx.AsyncClient, run_id: str, most: int, last: int = 0) -> list[dict[str, Any]]:
    """Events that the application streams: so many, or all until it ends."""
    found: list[dict[str, Any]] = []
    headers = {"Last-Event-ID": str(last)} if last else {}
    async with client.stream("GET", f"/runs/{run_id}/events", headers=headers) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                found.append(json.loads(line.removeprefix("data: ")))
                if len(found) == most:
                    break
    return found


def test_the_application_starts_campaigns_and_streams_their_events(home: Home) -> None:
    home.write("one", home.diary.task("a", home.diary.gate()))

    async def main() -> None:
        async with served(home.root) as client:
            made = await client.post("/campaigns/one", json={"priority": 2})
            assert made.status_code == 201
            run_id = made.json()["run_id"]
            first = await streamed(client, run_id, 3)
            home.diary.open()
            rest = await streamed(client, run_id, 1000, last=first[-1]["seq"])
            assert first + rest == home.events()
            runs = (await client.get("/runs")).json()
            assert [(run["run_id"], run["status"]) for run in runs] == [(run_id, "COMPLETED")]
            refused = await client.post(f"/runs/{run_id}/cancel")
            assert (refused.status_code, refused.json()["error"]["code"]) == (409, "illegal_transition")
            unknown = await client.post("/campaigns/two")
            assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "not_found")
            wrong = await client.post("/campaigns/one", json={"prio": 2})
            assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "config")

    ASYNCIO.run(main)


def test_the_application_goes_on_with_what_it_left(home: Home) -> None:
    home.write("one", home.diary.task("a", home.diary.gate()))

    async def main() -> None:
        async with served(home.root) as client:
            run_id = (await client.post("/campaigns/one")).json()["run_id"]
            while not home.diary.started():  # noqa: ASYNC110  it happens in another process
                await asyncio.sleep(0.01)
        home.diary.open()
        async with served(home.root) as client:
            events = await streamed(client, run_id, 1000)
        assert events == home.events()
        assert events[-1]["type"] == "RunCompleted"

    ASYNCIO.run(main)
    assert home.diary.started() == ["a"]


# ---- the guide ----


def test_the_first_program_of_the_guide_runs(home: Home, tmp_path: Path) -> None:
    text = (EXAMPLES.parent / "docs" / "how-to" / "embedding.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (program,) = (block for block in blocks if "open_engine" in block)
    head, _, body = program.partition("\n\n")
    script = tmp_path / "program.py"
    script.write_text(
        f"{head}\nimport trio\nasync def main():\n" + "".join(f"    {line}\n" for line in body.splitlines())
        + "    print(status.status, bundle.is_complete)\ntrio.run(main)\n"
    )  # fmt: skip
    subprocess.run(
        [Path(sys.executable).parent / "matterstack", "init", "my-project"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    done = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "COMPLETED True"
    assert not home.root.joinpath(".matterstack").exists()
