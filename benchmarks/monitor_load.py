"""What it costs an engine to be watched by many: its rate of tasks with clients and without, side by side.

One run of short tasks on the local backend, again and again in turns: watched by nobody; with the monitor in
the engine's process (``run loop --serve``) and 100 clients, one of which reads nothing; and with
``matterstack monitor`` in a process of its own and the same clients.  The clients are one more process of
this machine, as cheap as they can be: what they receive is compared, every byte of it.  Prints one table;
exits with 1 when a client has missed something, or the rate falls by more than is promised.

    python -m benchmarks.monitor_load [--tasks 1000] [--rounds 3] [--clients 100] [--at-once 8] [--rows]
"""

from __future__ import annotations

import argparse
import json
import re
import selectors
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Final, Protocol
from zlib import crc32

import attrs
from rich.console import Console
from rich.table import Table

from matterstack.actors.runtime import Runtime
from matterstack.core.ids import RunId, utc_moment
from matterstack.storage.layout import Root
from matterstack.storage.read.events import event_lines, last_seq
from matterstack.storage.schema import open_database
from matterstack.usecases.runs import create_run

MOST_FALL: Final = 0.10
PATIENCE_S: Final = 120.0
READ_BYTES: Final = 1 << 18
PLACES: Final = ("nobody", "in the engine's process", "in a process of its own")
CAMPAIGN: Final = """
import time
from pathlib import Path

from matterstack import Task, Workflow


class ManyTasks:
    def __init__(self, count, go):
        self.count = count
        self.go = Path(go)

    def plan(self, state, results):
        if results:
            return None
        while not self.go.exists():
            time.sleep(0.02)
        return Workflow([Task(f"t{i}", command=["true"]) for i in range(self.count)])

    def analyze(self, state, results):
        return {}


def get_campaign(params):
    return ManyTasks(params["count"], params["go"])
"""
_LINK: Final = re.compile(r"http://127\.0\.0\.1:(\d+)/#code=\S+(?=\s)")


# ---- clients, in a process of their own ----


class _Hash(Protocol):
    def __call__(self, data: bytes, value: int = 0, /) -> int: ...


@attrs.define
class _Client:
    """Reads events and keeps no more than their number of bytes and a hash of them; the first keeps all."""

    stream: socket.socket
    kept: bytearray | None
    size: int = 0
    digest: int = 0
    is_closed: bool = False
    hash: _Hash = crc32

    def take(self) -> None:
        data = self.stream.recv(READ_BYTES)
        self.is_closed = not data
        self.size += len(data)
        self.digest = self.hash(data, self.digest)
        if self.kept is not None:
            self.kept += data


def _connected(port: int, token: str, *, rows: bool, small: bool = False) -> socket.socket:
    """A websocket on which the greeting has been read."""
    stream = socket.socket()
    if small:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stream.connect(("127.0.0.1", port))
    stream.sendall(
        f"GET /events?after=0&token={token}{'&rows=1' if rows else ''} HTTP/1.1\r\n"
        "Host: 127.0.0.1\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
    )
    head = b""
    while b"\r\n\r\n" not in head:
        head += stream.recv(1)
    if not head.startswith(b"HTTP/1.1 101"):
        raise SystemExit(head.decode())
    size = stream.recv(2)[1]
    hello = stream.recv(size, socket.MSG_WAITALL)
    if not hello.startswith(b'{"type":"hello"'):
        raise SystemExit(f"no greeting: {hello!r}")
    return stream


def watch(port: int, token: str, count: int, *, rows: bool) -> None:
    """Let so many clients read, but for one, until a line on stdin says how many events there are."""
    stalled = _connected(port, token, rows=rows, small=True)
    clients = [
        _Client(_connected(port, token, rows=rows), bytearray() if i == 0 else None) for i in range(count - 1)
    ]
    watched = selectors.DefaultSelector()
    for client in clients:
        watched.register(client.stream, selectors.EVENT_READ, client)
    newest: list[int] = []
    threading.Thread(target=lambda: newest.append(int(sys.stdin.readline())), daemon=True).start()
    print("ready", flush=True)
    end = monotonic() + PATIENCE_S
    while not (newest and _has_all(clients, newest[0], rows=rows)) and monotonic() < end:
        for key, _ in watched.select(0.1):
            key.data.take()
            if key.data.is_closed:
                watched.unregister(key.fileobj)
    first = clients[0]
    # Where one catches up, what comes together differs, and with it where the rows stand among the events.
    same = sum(rows or (client.size, client.digest) == (first.size, first.digest) for client in clients)
    lines = [line for line in _lines(bytes(first.kept or b"")) if "data" in line]
    print(
        json.dumps({"same": same, "bytes": first.size, "seqs": [line["seq"] for line in lines]}), flush=True
    )
    stalled.close()


def _has_all(clients: Sequence[_Client], newest: int, *, rows: bool) -> bool:
    first = clients[0]
    if not first.kept or (not rows and any(client.size < first.size for client in clients)):
        return False
    end = f'{{"type":"as_of","seq":{newest}}}' if rows else f'"seq":{newest},'
    return end.encode() in first.kept[-2000:]


def _lines(data: bytes) -> list[dict[str, int]]:
    """Read the text frames of a server (RFC 6455, section 5.2)."""
    found, place = [], 0
    while place < len(data):
        size, start = data[place + 1], place + 2
        if size == 126:
            size, start = struct.unpack_from(">H", data, start)[0], start + 2
        elif size == 127:
            size, start = struct.unpack_from(">Q", data, start)[0], start + 8
        if data[place] == 0x81:
            found.append(json.loads(data[start : start + size]))
        place = start + size
    return found


# ---- the engine, with and without ----


@attrs.frozen
class Measured:
    """One run: tasks per second, and what the clients got."""

    rate: float
    problem: str = ""


def _measure(folder: Path, place: str, options: argparse.Namespace) -> Measured:
    workspace = folder / "workspaces" / "many"
    workspace.mkdir(parents=True)
    (workspace / "campaign.py").write_text(CAMPAIGN)
    go = folder / "go"
    config = {
        "max_hpc_jobs_per_run": options.at_once,
        "params": {"count": options.tasks, "go": str(go)},
        "backends": {"local": {"type": "local", "max_jobs": options.at_once}},
    }
    (workspace / "config.json").write_text(json.dumps(config))
    root = Root(folder)
    run_id = create_run(root, "many", {}, Runtime())
    serve = ("--serve", "127.0.0.1:0") if place == PLACES[1] else ()
    with _running(folder, "run", "loop", run_id, *serve) as engine:
        if place == PLACES[0]:
            go.touch()
            _wait_completed(root, run_id)
            return Measured(_rate(root, run_id, options.tasks))
        with _monitor(folder, engine, place) as port:
            clients = _start_clients(root, port, options)
            go.touch()
            _wait_completed(root, run_id)
            problem = _problem(root, clients, options.clients)
        return Measured(_rate(root, run_id, options.tasks), problem)


@contextmanager
def _running(folder: Path, *words: str) -> Iterator[Path]:
    """A command at work, and the file into which it prints."""
    command = [str(Path(sys.executable).with_name("matterstack")), "--root", str(folder), *words]
    told = folder / f"{words[0]}.txt"
    with told.open("w") as file, subprocess.Popen(command, stdout=file, stderr=file) as process:
        try:
            yield told
        finally:
            process.terminate()


@contextmanager
def _monitor(folder: Path, engine: Path, place: str) -> Iterator[int]:
    if place == PLACES[1]:
        yield _port(engine)
    else:
        with _running(folder, "monitor", "--port", "0") as monitor:
            yield _port(monitor)


def _port(told: Path) -> int:
    end = monotonic() + PATIENCE_S
    while (found := _LINK.search(told.read_text())) is None:
        if monotonic() > end:
            raise SystemExit("the monitor has not started")
        sleep(0.1)
    return int(found[1])


def _start_clients(root: Root, port: int, options: argparse.Namespace) -> subprocess.Popen[str]:
    token = (root.private / "monitor-token").read_text().strip()
    words = ["--watch", str(port), "--clients", str(options.clients), f"--token={token}"]
    words += ["--rows"] if options.rows else []
    clients = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.monitor_load", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    if clients.stdout is None or clients.stdout.readline() != "ready\n":
        raise SystemExit("the clients could not connect")
    return clients


def _wait_completed(root: Root, run_id: RunId) -> None:
    completed = "SELECT count(*) FROM events WHERE run_id = ? AND type = 'RunCompleted'"
    end = monotonic() + PATIENCE_S
    with closing(open_database(root.database)) as connection:
        while not connection.execute(completed, (run_id,)).fetchone()[0]:
            if monotonic() > end:
                raise SystemExit("the run did not end")
            sleep(0.2)


def _problem(root: Root, clients: subprocess.Popen[str], count: int) -> str:
    """What the clients missed."""
    with closing(open_database(root.database)) as connection:
        newest = last_seq(connection)
        stored = [seq for seq, _ in event_lines(connection, 0, None, most=newest)]
    told = json.loads(clients.communicate(f"{newest}\n", timeout=2 * PATIENCE_S)[0])
    if told["seqs"] != stored:
        return f"{len(told['seqs'])} events of {len(stored)} came"
    return "" if told["same"] == count - 1 else f"{count - 1 - told['same']} clients got something else"


def _rate(root: Root, run_id: RunId, tasks: int) -> float:
    with closing(open_database(root.database)) as connection:
        first, last = connection.execute(
            "SELECT min(at) FILTER (WHERE type = 'IterationPlanned'), "
            "max(at) FILTER (WHERE type = 'TaskSucceeded') FROM events WHERE run_id = ?",
            (run_id,),
        ).fetchone()
    return tasks / (utc_moment(last) - utc_moment(first)).total_seconds()


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument(
        "--rows", action="store_true", help="clients ask for the rows that events change, too"
    )
    parser.add_argument("--watch", type=int, metavar="PORT", help=argparse.SUPPRESS)
    parser.add_argument("--token", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.watch is not None:
        watch(options.watch, options.token, options.clients, rows=options.rows)
        return 0
    measured: dict[str, list[Measured]] = {place: [] for place in PLACES}
    with tempfile.TemporaryDirectory(prefix="matterstack-load-") as top:
        for turn in range(options.rounds):
            for number, place in enumerate(PLACES):
                measured[place].append(_measure(Path(top) / f"{turn}-{number}", place, options))
    return _report(measured, options)


def _report(measured: dict[str, list[Measured]], options: argparse.Namespace) -> int:
    what = f"{options.clients} clients{' with rows' if options.rows else ''} (one stalled)"
    table = Table(f"monitor, {what}", "tasks per second", "fall")
    alone = statistics.median(one.rate for one in measured[PLACES[0]])
    falls = {place: 1 - statistics.median(one.rate for one in measured[place]) / alone for place in PLACES}
    for place in PLACES:
        rate = statistics.median(one.rate for one in measured[place])
        table.add_row(place, f"{rate:.0f}", f"{falls[place]:.1%}")
    Console().print(table)
    problems = [f"{place}: {one.problem}" for place in PLACES for one in measured[place] if one.problem]
    print(
        "\n".join([*problems, f"promised: a fall of less than {MOST_FALL:.0%}, and nobody misses anything"])
    )
    return 1 if problems or max(falls.values()) >= MOST_FALL else 0


if __name__ == "__main__":
    sys.exit(main())
