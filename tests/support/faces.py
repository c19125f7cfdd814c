"""The command line, the monitor and an embedded engine, each asked for the same: what a person would see.

``python -m tests.support.faces FACE ROOT RUN TASK...`` does it in a process of its own.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final, Protocol

import attrs
import trio

import matterstack
from matterstack.cli import respond_command
from matterstack.cli.app import main
from matterstack.cli.errors import report
from matterstack.client import Client, connect
from matterstack.core.errors import MatterStackError
from matterstack.monitor.server import Address, open_monitor
from matterstack.storage.layout import Root

ANSWER: Final = {"n": 3}
AN_ORDINARY_USER: Final = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]
"""The same user, without the right of root to read and write everything."""


@attrs.frozen
class Told:
    """What one face says.

    Attributes:
        problems: of each question that it lists, by task.
        error: code, message and hint of what came of the answer to the first task; None where it was taken.
    """

    problems: Mapping[str, str]
    error: Mapping[str, str] | None


class Face(Protocol):
    """Lists the questions of tasks, then answers the first."""

    def __call__(self, root: Path, run_id: str, tasks: Sequence[str]) -> Told: ...


def command_line(root: Path, run_id: str, tasks: Sequence[str]) -> Told:
    problems: dict[str, str] = {}
    for task in tasks:
        output, error = _command(root, "respond", run_id, task, "--json")
        if error is None:
            problems[task] = json.loads(output)["problem"]
    settings = [word for name, value in ANSWER.items() for word in ("--set", f"{name}={value}")]
    return Told(problems, _command(root, "respond", run_id, tasks[0], *settings, "--json")[1])


def _command(root: Path, *words: str) -> tuple[str, Mapping[str, str] | None]:
    said, complained = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(complained), contextlib.redirect_stdout(said):
        try:
            main(["--root", str(root), *words], _anyio_backend="trio", standalone_mode=False)
        except BaseException as error:  # noqa: BLE001  as `matterstack.cli.run_command_line` does
            report(error, as_json=True)
    lines = [line for line in complained.getvalue().splitlines() if line.startswith('{"error"')]
    return said.getvalue(), json.loads(lines[-1])["error"] if lines else None


def monitor(root: Path, run_id: str, tasks: Sequence[str]) -> Told:
    async def body() -> Told:
        async with open_monitor(Root(root), Address(port=0)) as served:
            token = served.token_file.read_text().strip()
            async with connect(f"http://127.0.0.1:{served.port}", token) as client:
                return await _told(client, run_id, tasks)

    return trio.run(body)


async def _told(client: Client, run_id: str, tasks: Sequence[str]) -> Told:
    async def answer() -> None:
        await client.respond(run_id, tasks[0], ANSWER, attempt=1)

    return await _asked_and_answered(lambda: client.questions(run_id), answer)


def embedding(root: Path, run_id: str, tasks: Sequence[str]) -> Told:
    async def body() -> Told:
        opened: AbstractAsyncContextManager[Any] = matterstack.open_engine(root)
        async with opened as engine:
            try:
                run = await engine.run(run_id)
            except MatterStackError as error:
                return Told({}, _error(error))
            return await _asked_and_answered(run.questions, lambda: run.respond(tasks[0], ANSWER))

    return trio.run(body)


async def _asked_and_answered(
    questions: Callable[[], Awaitable[Sequence[Mapping[str, Any]]]], answer: Callable[[], Awaitable[None]]
) -> Told:
    problems: dict[str, str] = {}
    # Anything else that is raised here is what no face may let through.
    with contextlib.suppress(MatterStackError):
        problems = {question["task_id"]: question["problem"] for question in await questions()}
    try:
        await answer()
    except MatterStackError as error:
        return Told(problems, _error(error))
    return Told(problems, None)


def _error(error: MatterStackError) -> Mapping[str, str]:
    return {"code": error.code, "message": str(error), "hint": error.hint}


FACES: Final[Mapping[str, Face]] = {
    "command line": command_line,
    "monitor": monitor,
    "embedding": embedding,
}


def in_a_process(wrapper: Sequence[str], name: str, root: Path, run_id: str, tasks: Sequence[str]) -> Told:
    """The same in a process that is started by something, which has other rights or another disk."""
    words = [*wrapper, sys.executable, "-m", "tests.support.faces", name, str(root), run_id, *tasks]
    done = subprocess.run(
        words, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return Told(**json.loads(done.stdout.splitlines()[-1]))


def _main() -> None:
    name, root, run_id, *tasks = sys.argv[1:]
    respond_command.__dict__["PATIENCE_S"] = 0.0
    print(json.dumps(attrs.asdict(FACES[name](Path(root), run_id, tasks))))  # noqa: T201


if __name__ == "__main__":
    _main()
