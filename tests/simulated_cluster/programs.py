"""Slurm's commands in front of a simulated cluster: words in, words out, with the delays of real ones.

A command is a process of its own: it lives in the cluster's nursery, holds the descriptor that it inherited,
and goes on when the one who started it has died.
"""

from __future__ import annotations

import math
import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from matterstack.backends.slurm.programs import Finished
from matterstack.core.errors import BackendError
from tests.simulated_cluster.cluster import SimulatedCluster, SimulatedJob, Word

UNREACHABLE: Final = "error: Unable to contact slurm controller (connect failure)\n"
SOCKET_TIMEOUT: Final = "error: Batch job submission failed: Socket timed out on send/recv operation\n"
LIMIT_USED_UP: Final = "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy\n"
GIVES_UP_S: Final = (100.0, 300.0)
"""When a command that hangs gives up by itself."""
SLOW_MOST_S: Final = 240.0
LANDS_AFTER_DEATH_S: Final = 10.0
"""How long what a killed sbatch has asked for may still be on its way."""
STALE_MOST_S: Final = 30.0
"""How old an answer of squeue can be, where something in front of the controller keeps answers."""
TRUTHS_BETWEEN_LIES: Final = 2
"""A search and the next question about all jobs: an engine that was told the truth by both doubts no more."""
DEFAULT_WALLTIME_S: Final = 24 * 3600.0
_SETTINGS: Final = "AccountingStorageType   = accounting_storage/slurmdbd\nMaxArraySize = 1001\n"
_PARTITION: Final = (
    "PartitionName=main Default=YES MaxNodes=UNLIMITED MaxTime=UNLIMITED MinNodes=0 State=UP\n"
)
_FOLDER: Final = re.compile(r"^(\d+)\) folder=(.*) ;;$", re.MULTILINE)


@attrs.define(eq=False)
class _Process:
    """A command under way."""

    argv: Sequence[str]
    script: str
    lock: int | None
    ended: trio.Event = attrs.field(factory=trio.Event)
    killed: trio.Event = attrs.field(factory=trio.Event)
    answer: Finished | None = None

    def let_go(self) -> None:
        if self.lock is not None:
            os.close(self.lock)
            self.lock = None

    def kill(self) -> None:
        """As SIGKILL: what it asked for may be on its way all the same."""
        self.killed.set()
        self.let_go()


@attrs.define(eq=False)
class SimulatedCommands:
    """Runs commands.  `run` has the signature of `matterstack.backends.slurm.programs.run`.

    Attributes:
        counts: how often each command was run.
        next_is_slow: the next sbatch takes long, whatever the faults are.
        client_is_dead: the one who runs commands was killed, and cannot kill them any more.
    """

    cluster: SimulatedCluster
    next_is_slow: bool = False
    client_is_dead: bool = False
    counts: dict[str, int] = attrs.field(factory=dict)
    _last_queue: str = ""
    _last_queue_at: float = -math.inf
    _truths: int = TRUTHS_BETWEEN_LIES

    async def run(
        self, argv: Sequence[str], *, timeout_s: float, inherit: int | None = None, stdin: str = ""
    ) -> Finished:
        """Run a command to its end.

        Raises:
            BackendError: it took longer than ``timeout_s``, and was killed.
        """
        self.counts[argv[0]] = self.counts.get(argv[0], 0) + 1
        process = _Process(argv, stdin, None if inherit is None else os.dup(inherit))
        self.cluster.nursery.start_soon(self._execute, process)
        try:
            with trio.move_on_after(timeout_s):
                await process.ended.wait()
        except trio.Cancelled:
            if not self.client_is_dead:
                process.kill()
            raise
        if process.answer is None:
            process.kill()
            raise BackendError(f"{argv[0]} gave no answer within {timeout_s:g} s")
        return process.answer

    async def _execute(self, process: _Process) -> None:
        command: Callable[[_Process], Any] = getattr(self, f"_{process.argv[0]}")
        try:
            process.answer = await command(process)
        finally:
            process.let_go()
            process.ended.set()

    def _perhaps(self) -> bool:
        return self.cluster.random.random() < 0.5

    async def _ask_controller(self, usual_s: float) -> bool:
        """Wait as long as an answer takes; whether there is one."""
        uniform = self.cluster.random.uniform
        await trio.sleep(uniform(0.5, 2) * usual_s if self.cluster.controller_is_up else uniform(3.5, 4.5))
        return self.cluster.controller_is_up

    async def _hang(self) -> Finished:
        """Give no answer for longer than anybody waits."""
        await trio.sleep(self.cluster.random.uniform(*GIVES_UP_S))
        return Finished(1, "", SOCKET_TIMEOUT)

    # ---- submission ----

    async def _sbatch(self, process: _Process) -> Finished:
        happens, uniform = self.cluster.happens, self.cluster.random.uniform
        is_slow, self.next_is_slow = self.next_is_slow, False
        if is_slow or happens("sbatch_is_slow"):
            with trio.move_on_after(uniform(1, SLOW_MOST_S)):
                await process.killed.wait()
        if process.killed.is_set():
            if self._perhaps():
                return Finished(-9, "", "")
            await trio.sleep(uniform(0, LANDS_AFTER_DEATH_S))
        if not await self._ask_controller(0.01) or happens("sbatch_fails"):
            return Finished(1, "", f"sbatch: {UNREACHABLE}")
        if happens("limit_is_used_up"):
            return Finished(1, "", LIMIT_USED_UP)
        if happens("sbatch_hangs"):
            if self._perhaps():
                self._submit(process)
            return await self._hang()
        job_id = self._submit(process)
        await trio.sleep(uniform(0, 0.05))
        if is_repeated := happens("sbatch_repeats"):
            self._submit(process, self.cluster.take_twin)
        if is_repeated or happens("sbatch_lies"):
            return Finished(1, "", f"sbatch: {SOCKET_TIMEOUT}")
        return Finished(0, f"{job_id}\n", "")

    def _submit(self, process: _Process, take: Callable[..., str] | None = None) -> str:
        options = _options(process.argv[1:])
        folders: Mapping[int | None, Path]
        if "array" in options:
            named = {int(index): Path(*shlex.split(path)) for index, path in _FOLDER.findall(process.script)}
            folders = {index: named[index] for index in _indices(options["array"])}
        else:
            folders = {None: Path(process.argv[-1]).parent}
        asked = {
            "cpus": int(options.get("cpus-per-task", 1)) * int(options.get("nodes", 1)),
            "memory_mib": int(options["mem"].rstrip("M")) if "mem" in options else None,
            "walltime_s": _seconds(options["time"]) if "time" in options else DEFAULT_WALLTIME_S,
        }
        return (take or self.cluster.take)(options["job-name"], folders, asked)

    async def _scancel(self, process: _Process) -> Finished:
        if not await self._ask_controller(0.01):
            return Finished(8, "", f"scancel: {UNREACHABLE}")
        if "--state=PENDING" in process.argv:
            for job_id in process.argv[2:]:
                self.cluster.end_pending(job_id)
            return Finished(0, "", "")
        for word in process.argv[1:]:
            array, is_array, indices = word.partition("_")
            ids = [f"{array}_{index}" for index in _indices(indices.strip("[]"))] if is_array else [array]
            for job_id in ids:
                self.cluster.end(job_id)
        return Finished(0, "", "")

    # ---- questions ----

    async def _squeue(self, process: _Process) -> Finished:
        happens = self.cluster.happens
        if happens("question_hangs"):
            return await self._hang()
        if not await self._ask_controller(0.02) or happens("question_fails"):
            return Finished(1, "", f"squeue: {UNREACHABLE}")
        heading = "JOBID|STATE|REASON|NODELIST|NAME\n"
        if "--states=PENDING" in process.argv:
            pending = (job for job in self.cluster.queue() if job.word is Word.PENDING)
            return Finished(0, heading + "".join(map(_record_line, pending)), "")
        text = heading + "".join(map(_queue_line, self.cluster.queue()))
        may_lie = trio.current_time() >= self.cluster.told_truly_until
        is_kept = trio.current_time() - self._last_queue_at <= STALE_MOST_S
        if may_lie and is_kept and happens("squeue_is_stale"):
            self._truths = 0
            return Finished(0, self._last_queue, "")
        if may_lie and self._truths >= TRUTHS_BETWEEN_LIES and happens("squeue_is_empty"):
            self._truths = 0
            return Finished(0, heading, "")
        if happens("squeue_is_cut"):
            # At the end of a line nobody could see that something is missing.
            return Finished(0, text[: self.cluster.random.randrange(len(text))].rstrip("\n"), "")
        self._last_queue, self._last_queue_at = text, trio.current_time()
        self._truths += 1
        return Finished(0, text, "")

    async def _sacct(self, process: _Process) -> Finished:
        happens, now = self.cluster.happens, trio.current_time()
        if happens("question_hangs"):
            return await self._hang()
        await trio.sleep(self.cluster.random.uniform(0.05, 0.2))
        if not self.cluster.accounting_is_up or happens("question_fails"):
            return Finished(1, "", "sacct: error: Problem talking to the database: Connection refused\n")
        options = _options(process.argv[1:])
        ids = set(options["jobs"].split(",")) if "jobs" in options else None
        names = set(options["name"].split(",")) if "name" in options else None
        lines = []
        for job in self.cluster.jobs.values():
            word = job.accounted_word(now)
            is_asked = ids is None or not ids.isdisjoint({job.job_id, job.job_id.partition("_")[0]})
            if word is not None and is_asked and (names is None or job.name in names):
                lines.append(_account_line(job, word))
        return Finished(0, "JobID|State|ExitCode|NodeList|Start|End|JobName\n" + "".join(lines), "")

    async def _scontrol(self, process: _Process) -> Finished:
        if not await self._ask_controller(0.01):
            return Finished(1, "", f"scontrol: {UNREACHABLE}")
        if process.argv[1] == "update":
            ids = process.argv[2].partition("=")[2].split(",")
            late = [job_id for job_id in ids if not self.cluster.delay(job_id)]
            return Finished(
                bool(late), "", "".join(f"{i}: Job is no longer pending execution\n" for i in late)
            )
        return Finished(0, _PARTITION if process.argv[-1] == "partition" else _SETTINGS, "")

    async def _sinfo(self, _process: _Process) -> Finished:
        if not await self._ask_controller(0.01):
            return Finished(1, "", f"sinfo: {UNREACHABLE}")
        cluster = self.cluster
        nodes = f"main|{cluster.nodes}|{cluster.cpus_per_node}|{cluster.memory_per_node_mib}|(null)|(null)\n"
        return Finished(0, f"PARTITION|NODES|CPUS|MEMORY|GRES|AVAIL_FEATURES\n{nodes}", "")


def _queue_line(job: SimulatedJob) -> str:
    return f"{job.job_id}|{job.word}|{job.reason}|{job.node}|{job.name}\n"


def _record_line(job: SimulatedJob) -> str:
    record = job.job_id if job.is_by_itself else job.job_id.partition("_")[0]
    return f"{job.job_id}|{job.word}|{job.reason}|{record}|{job.name}\n"


def _account_line(job: SimulatedJob, word: Word) -> str:
    state = f"{word} by 1000" if word is Word.CANCELLED else word
    exit_code = f"{job.exit_code or 0}:0"
    return f"{job.job_id}|{state}|{exit_code}|{job.node}|Unknown|Unknown|{job.name}\n"


def _options(words: Sequence[str]) -> dict[str, str]:
    pairs = (word[2:].partition("=") for word in words if word.startswith("--"))
    return {name: value for name, _, value in pairs}


def _indices(text: str) -> list[int]:
    """Indices of ``--array``: ``0-4,7``."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found.extend(range(int(first), int(last or first) + 1))
    return found


def _seconds(text: str) -> float:
    """Seconds of ``D-HH:MM:SS``."""
    days, _, clock = text.partition("-")
    hours, minutes, seconds = (int(part) for part in clock.split(":"))
    return float(int(days) * 86400 + hours * 3600 + minutes * 60 + seconds)
