"""The cluster itself: nodes, a queue, jobs that run in virtual time, and what happens to them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Any, Final

import attrs
import trio

from matterstack.core.ids import utc_text
from tests.simulated_cluster.faults import NO_FAULTS, Faults
from tests.simulated_cluster.folder import Record, Work, claim, leave_record, leave_results, nonce_of

REMEMBERED_S: Final = 300.0
"""How long squeue still shows a job that has ended: MinJobAge of slurm.conf(5)."""
ACCOUNTED_AFTER_S: Final = 0.4
"""When the accounting knows of a job at the earliest; one that is held it does not know at all."""
REQUEUE_DELAY_S: Final = 120.0
TWIN_DELAY_S: Final = (1.0, 60.0)
TOLD_TRULY_S: Final = 900.0
DELAY_S: Final = 7 * 86400.0
HELD_MOST_S: Final = 6 * 3600.0


class Word(StrEnum):
    """The states that jobs get here, in Slurm's words."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETING = "COMPLETING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    TIMEOUT = "TIMEOUT"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    NODE_FAIL = "NODE_FAIL"
    PREEMPTED = "PREEMPTED"
    CANCELLED = "CANCELLED"


ALIVE: Final = frozenset({Word.PENDING, Word.RUNNING, Word.COMPLETING})


@attrs.define(kw_only=True, eq=False)
class SimulatedJob:
    """One job, an element of an array too.

    Attributes:
        recorded: exit code that it left in its folder, at the end of its work.
        first: the job that the cluster itself has doubled with this one.
        is_by_itself: it has a record of its own; what waits of an array has one together.
    """

    job_id: str
    name: str
    folder: Path
    cpus: int
    memory_mib: int | None
    walltime_s: float
    submitted_at: float
    word: Word = Word.PENDING
    reason: str = "Priority"
    may_start_at: float = 0.0
    node: str = ""
    exit_code: int | None = None
    ended_at: float = math.inf
    accounted_at: float = math.inf
    end_accounted_at: float = math.inf
    ending: trio.CancelScope | None = None
    end_word: Word | None = None
    is_forgotten: bool = False
    recorded: int | None = None
    first: SimulatedJob | None = None
    is_by_itself: bool = True

    @property
    def is_alive(self) -> bool:
        """Whether it may still do something."""
        return self.word in ALIVE and not self.is_forgotten

    def accounted_word(self, now: float) -> Word | None:
        """Its state as the accounting has it; None when it has none yet."""
        if self.is_forgotten or now < self.accounted_at:
            return None
        return self.word if self.is_alive or now >= self.end_accounted_at else Word.RUNNING


@attrs.define
class _Node:
    name: str
    free_cpus: int
    is_up: bool = True


def work_of_manifest(manifest: Mapping[str, Any], random: Random) -> Work:
    """What a task's ``params`` say under ``simulate``; up to an hour of work where they say nothing."""
    told = manifest.get("params", {}).get("simulate", {})
    return Work(
        duration_s=told.get("duration_s", random.uniform(1, 3600)),
        exit_code=told.get("exit_code", 0),
        memory_mib=told.get("memory_mib", 0),
        result=told.get("result"),
        files=told.get("files", {}),
    )


@attrs.define(eq=False)
class SimulatedCluster:
    """Runs jobs in the virtual time of the trio loop that `serve` is in.

    Attributes:
        worked: by folder, the ids of the jobs that did work there: the truth that tests compare with.
        jobs: all jobs ever taken, by id.
        told_truly_until: before that moment squeue tells no lies.
        on_submission: called with each job that comes into being.
        on_fault: called with the name of each fault that happens (see `Faults`), and the word where it stops.
        on_work: called with each job that begins to work, also again after a requeue.
    """

    random: Random
    clock: Callable[[], datetime]
    nodes: int = 3
    cpus_per_node: int = 4
    memory_per_node_mib: int = 64000
    faults: Faults = NO_FAULTS
    work: Callable[[Mapping[str, Any], Random], Work] = work_of_manifest
    on_submission: Callable[[SimulatedJob], None] = lambda _job: None
    on_work: Callable[[SimulatedJob], None] = lambda _job: None
    on_fault: Callable[[str], None] = lambda _fault: None
    jobs: dict[str, SimulatedJob] = attrs.field(factory=dict)
    worked: dict[Path, list[str]] = attrs.field(factory=dict)
    controller_is_up: bool = True
    accounting_is_up: bool = True
    told_truly_until: float = -math.inf
    _machines: list[_Node] = attrs.field(factory=list)
    _last_id: int = 1000
    _nursery: trio.Nursery | None = None

    async def serve(self) -> None:
        """Be there until cancelled."""
        self._machines = [_Node(f"n{i + 1}", self.cpus_per_node) for i in range(self.nodes)]
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._break_controller)
            nursery.start_soon(self._break_accounting)
            nursery.start_soon(self._break_nodes)
            await trio.sleep_forever()

    @property
    def nursery(self) -> trio.Nursery:
        """Where everything of the cluster lives, whatever becomes of its clients."""
        if self._nursery is None:
            raise RuntimeError("the cluster is not served")
        return self._nursery

    # ---- what the commands do ----

    def take(self, name: str, folders: Mapping[int | None, Path], options: Mapping[str, Any]) -> str:
        """Queue a job, or an array of jobs by index; returns its id."""
        return self._take(name, folders, options, is_twin=False)

    def take_twin(self, name: str, folders: Mapping[int | None, Path], options: Mapping[str, Any]) -> str:
        """Queue second jobs of the same attempts; none of them starts before the first has begun to work."""
        self.told_truly_until = trio.current_time() + TOLD_TRULY_S
        return self._take(name, folders, options, is_twin=True)

    def _take(
        self,
        name: str,
        folders: Mapping[int | None, Path],
        options: Mapping[str, Any],
        *,
        is_twin: bool,
    ) -> str:
        doubled = {job.folder: job for job in self.jobs.values()} if is_twin else {}
        self._last_id += 1
        for index, folder in folders.items():
            job_id = str(self._last_id) if index is None else f"{self._last_id}_{index}"
            job = SimulatedJob(
                job_id=job_id,
                name=name,
                folder=folder,
                cpus=options["cpus"],
                memory_mib=options["memory_mib"],
                walltime_s=options["walltime_s"],
                submitted_at=trio.current_time(),
                first=doubled.get(folder),
                is_by_itself=index is None,
            )
            if self.happens("held"):
                job.may_start_at = trio.current_time() + self.random.uniform(0, HELD_MOST_S)
                job.reason = "JobHeldAdmin"
            else:
                job.accounted_at = trio.current_time() + ACCOUNTED_AFTER_S + self._lag_s()
            self.jobs[job_id] = job
            self.on_submission(job)
            if job.cpus > self.cpus_per_node:
                job.may_start_at, job.reason = math.inf, "Resources"
            self._look_again_at(job.may_start_at)
        self._schedule()
        return str(self._last_id)

    def end(self, job_id: str) -> None:
        """Cancel a job; one that has ended, or is unknown, stays as it is."""
        job = self.jobs.get(job_id)
        if job is None or not job.is_alive:
            return
        if job.word is Word.PENDING:
            self._finish(job, Word.CANCELLED)
        elif job.ending is not None:
            job.end_word = Word.CANCELLED
            job.ending.cancel()

    def end_pending(self, job_id: str) -> None:
        """Cancel a job that waits; as Slurm does, with it all others that have one record with it."""
        job = self.jobs.get(job_id)
        if job is None or job.word is not Word.PENDING:
            return
        array = job_id.partition("_")[0]
        alike = [j for j in self.jobs.values() if j.job_id.partition("_")[0] == array and not j.is_by_itself]
        for one in [job] if job.is_by_itself else alike:
            self.end(one.job_id)

    def delay(self, job_id: str) -> bool:
        """Let a job begin much later, if it waits; whether it does."""
        job = self.jobs.get(job_id)
        if job is None or job.word is not Word.PENDING or job.is_forgotten:
            return False
        job.may_start_at, job.reason, job.is_by_itself = trio.current_time() + DELAY_S, "BeginTime", True
        self._look_again_at(job.may_start_at)
        return True

    def queue(self) -> Iterator[SimulatedJob]:
        """What squeue shows."""
        now = trio.current_time()
        return (
            job
            for job in self.jobs.values()
            if not job.is_forgotten and (job.is_alive or now - job.ended_at < REMEMBERED_S)
        )

    # ---- scheduling ----

    def _schedule(self) -> None:
        now = trio.current_time()
        for job in self.jobs.values() if self.controller_is_up else ():
            if job.word is not Word.PENDING or job.is_forgotten or job.may_start_at > now:
                continue
            if job.first is not None and job.first.is_alive and not self._has_worked(job.first):
                continue
            node = next((n for n in self._machines if n.is_up and n.free_cpus >= job.cpus), None)
            if node is None:
                job.reason = "Resources"
                continue
            node.free_cpus -= job.cpus
            job.word, job.reason, job.node, job.end_word = Word.RUNNING, "None", node.name, None
            job.is_by_itself = True
            self.nursery.start_soon(self._run, job, node)

    def _has_worked(self, job: SimulatedJob) -> bool:
        return job.job_id in self.worked.get(job.folder, ())

    def _look_again_at(self, moment: float) -> None:
        if trio.current_time() < moment < math.inf:
            self.nursery.start_soon(self._schedule_at, moment)

    async def _schedule_at(self, moment: float) -> None:
        await trio.sleep_until(moment)
        self._schedule()

    async def _run(self, job: SimulatedJob, node: _Node) -> None:
        with trio.CancelScope() as job.ending:
            await self._work(job)
        if job.ending.cancelled_caught:
            self._interrupted(job)
        job.ending = None
        node.free_cpus += job.cpus
        self._schedule()

    async def _work(self, job: SimulatedJob) -> None:
        await trio.sleep(self.random.uniform(0.05, 0.5))
        job.accounted_at = min(job.accounted_at, trio.current_time() + self._lag_s())
        if not job.folder.is_dir():
            self._finish(job, Word.FAILED, 1)
            return
        if not claim(job.folder, job.job_id):
            self._finish(job, Word.COMPLETED, 0)
            return
        started = utc_text(self.clock())
        self.worked.setdefault(job.folder, []).append(job.job_id)
        self.on_work(job)
        if any(other.first is job for other in self.jobs.values()):
            self._look_again_at(trio.current_time() + self.random.uniform(*TWIN_DELAY_S))
        work = self.work(json.loads((job.folder / "manifest.json").read_text()), self.random)
        if self.happens("preempted"):
            self.nursery.start_soon(self._preempt, job, self.random.uniform(0, work.duration_s))
        if self.happens("vanishes"):
            await trio.sleep(self.random.uniform(0, work.duration_s))
            job.is_forgotten = True
            return
        if job.memory_mib is not None and work.memory_mib > job.memory_mib:
            await trio.sleep(min(work.duration_s, job.walltime_s) / 2)
            self._finish(job, Word.OUT_OF_MEMORY, 125)
            return
        await trio.sleep(min(work.duration_s, job.walltime_s))
        if work.duration_s > job.walltime_s:
            self._finish(job, Word.TIMEOUT, 0)
            return
        leave_results(job.folder, work)
        record = Record(
            exit_code=work.exit_code,
            started_at=started,
            ended_at=utc_text(self.clock()),
            host=job.node,
            job_id=job.job_id,
            nonce=nonce_of(job.folder),
        )
        leave_record(job.folder, record)
        job.recorded = work.exit_code
        job.word = Word.COMPLETING
        await trio.sleep(self.random.uniform(0, 2))
        self._finish(job, Word.COMPLETED if work.exit_code == 0 else Word.FAILED, work.exit_code)

    def _interrupted(self, job: SimulatedJob) -> None:
        """Something ended the job from outside."""
        word, job.end_word = job.end_word or Word.CANCELLED, None
        if word is Word.PENDING:
            job.word, job.reason, job.node = Word.PENDING, "BeginTime", ""
            job.may_start_at = trio.current_time() + self.random.uniform(1, REQUEUE_DELAY_S)
            self._look_again_at(job.may_start_at)
        elif not job.is_forgotten:
            self._finish(job, word)

    def _finish(self, job: SimulatedJob, word: Word, exit_code: int | None = None) -> None:
        job.word, job.exit_code, job.ended_at = word, exit_code, trio.current_time()
        job.reason = "None" if word in {Word.COMPLETED, Word.CANCELLED} else "NonZeroExitCode"
        job.end_accounted_at = trio.current_time() + self._lag_s()
        job.accounted_at = min(job.accounted_at, job.end_accounted_at)

    def _lag_s(self) -> float:
        return self.random.uniform(0, self.faults.accounting_lag_most_s)

    # ---- what goes wrong ----

    def happens(self, fault: str) -> bool:
        """Whether a fault of this name happens now."""
        probability: float = getattr(self.faults, fault)
        does = probability > 0 and self.random.random() < probability
        if does:
            self.on_fault(fault)
        return does

    async def _preempt(self, job: SimulatedJob, after_s: float) -> None:
        await trio.sleep(after_s)
        if job.word is Word.RUNNING and job.ending is not None and not job.is_forgotten:
            job.end_word = Word.PENDING if self.random.random() < 0.5 else Word.PREEMPTED
            job.ending.cancel()

    async def _break_controller(self) -> None:
        while self.faults.outage_every_s < math.inf:
            await trio.sleep(self.random.expovariate(1 / self.faults.outage_every_s))
            self.controller_is_up = False
            self.on_fault("controller is down")
            await trio.sleep(self.random.uniform(1, self.faults.outage_most_s))
            self.controller_is_up = True
            self.on_fault("controller is up")
            newest = max(self.jobs.values(), key=lambda job: job.submitted_at, default=None)
            if newest is not None and newest.word is Word.PENDING and self.happens("controller_forgets"):
                newest.is_forgotten = True
            self._schedule()

    async def _break_accounting(self) -> None:
        while self.faults.accounting_outage_every_s < math.inf:
            await trio.sleep(self.random.expovariate(1 / self.faults.accounting_outage_every_s))
            self.accounting_is_up = False
            self.on_fault("accounting is down")
            await trio.sleep(self.random.uniform(1, self.faults.outage_most_s))
            self.accounting_is_up = True
            self.on_fault("accounting is up")

    async def _break_nodes(self) -> None:
        while self.faults.node_fails_every_s < math.inf:
            await trio.sleep(self.random.expovariate(1 / self.faults.node_fails_every_s))
            node = self.random.choice(self._machines)
            node.is_up = False
            self.on_fault(f"node {node.name} fails")
            for job in self.jobs.values():
                if job.node == node.name and job.word is Word.RUNNING and job.ending is not None:
                    requeued = self.happens("requeued_on_failure")
                    job.end_word = Word.PENDING if requeued else Word.NODE_FAIL
                    job.ending.cancel()
            await trio.sleep(self.random.uniform(1, self.faults.node_repair_most_s))
            node.is_up = True
            self._schedule()
