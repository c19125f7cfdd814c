"""Every state of Slurm: the codes of its manual, and each state provoked on a real cluster.

One private cluster is brought into all the states at once, while the backend follows its jobs and an engine
serves a run on it; the tests then look at what was seen.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
import trio

from matterstack.backends.base import LiveJob, PreparedAttempt
from matterstack.backends.slurm import programs
from matterstack.backends.slurm.backend import SlurmBackend
from matterstack.backends.slurm.config import SlurmBackendConfig
from matterstack.backends.slurm.states import STATES, job_state, state_word
from matterstack.core.ids import BackendName, JobId, RunId, TaskId, attempt_token
from matterstack.core.model.resources import Resources
from matterstack.core.run.messages import Observed
from matterstack.core.states import ENDED_JOBS, JobState
from tests.support.campaigns import Diary, write_tasks
from tests.support.command import PATIENCE_S, CommandLine, command_line_in
from tests.support.polling import wait_until
from tests.support.slurm_cluster import SLURM_VARIABLES, SlurmCluster
from tests.support.slurm_cluster.config import CGROUP_MOUNT, current_user

Q, R, OK = JobState.QUEUED, JobState.RUNNING, JobState.COMPLETED_OK
ERROR, CANCELLED = JobState.COMPLETED_ERROR, JobState.CANCELLED

# ---- the manual ----

MANUAL: Final[Mapping[JobState, str]] = {
    # squeue(1) and sacct(1), JOB STATE CODES, of 17.11 to 24.11; scontrol(1) and job_state_string() of slurm.
    Q: "PD PENDING, CF CONFIGURING, RD RESV_DEL_HOLD, RF REQUEUE_FED, RH REQUEUE_HOLD, RQ REQUEUED,"
    " SE SPECIAL_EXIT, LF LAUNCH_FAILED, PU POWER_UP_NODE, RC RECONFIG_FAIL, EX EXPEDITING",
    R: "R RUNNING, CG COMPLETING, RS RESIZING, RV REVOKED, SI SIGNALING, SO STAGE_OUT, ST STOPPED,"
    " S SUSPENDED, UD UPDATE_DB",
    OK: "CD COMPLETED",
    CANCELLED: "CA CANCELLED",
    ERROR: "BF BOOT_FAIL, DL DEADLINE, F FAILED, NF NODE_FAIL, OOM OUT_OF_MEMORY, PR PREEMPTED, TO TIMEOUT",
}
CODES: Final = [
    (code, word, state)
    for state, codes in MANUAL.items()
    for code, word in (pair.split() for pair in codes.split(", "))
]


@pytest.mark.parametrize(("code", "word", "state"), CODES)
def test_every_code_of_the_manual_pages_means_what_the_table_says(
    code: str, word: str, state: JobState
) -> None:
    assert {job_state(raw) for raw in (code, word, word.lower(), f"{word} by 1000", f" {word}+")} == {state}
    assert state_word(code) == word


def test_the_table_has_no_code_that_is_not_in_the_manual() -> None:
    assert {(code, word, state) for word, (code, state) in STATES.items()} == set(CODES)


# ---- the cluster ----

HAS_CGROUPS: Final = all((CGROUP_MOUNT / name).is_dir() for name in ("freezer", "memory"))
"""Only cgroups make Slurm say OUT_OF_MEMORY; else it kills the job like any other process would."""
ELSEWHERE: Final = {"exclude": "map[4-7]"}
"""The nodes to which something happens are for those to whose jobs it shall."""
SMALL: Final = Resources(memory_mib=20, extra=ELSEWHERE)
STAYS: Final = "while [ ! -e go ]; do sleep 0.1; done"
FILLS_MEMORY: Final = "python3 -c 'x = bytearray(400 << 20); import time; time.sleep(20)'"


@attrs.frozen
class Seen:
    """What the backend must say of a job.

    Attributes:
        by_chance: an exit code that may be there or not: a dying node may still tell of one.
    """

    state: JobState
    raw_state: str
    reason: str = ""
    exit_code: int | None = None
    by_chance: int | None = None

    def fits(self, observed: Observed) -> bool:
        """Whether it says so; ``reason`` is a pattern of all that it says."""
        return (
            (observed.state, observed.raw_state) == (self.state, self.raw_state)
            and observed.exit_code in {self.exit_code, self.by_chance or self.exit_code}
            and re.fullmatch(self.reason, observed.reason) is not None
        )


@attrs.frozen
class Case:
    """A job, what must be seen of it, and what the accounting alone must tell of its end."""

    seen: Seen
    line: str = STAYS
    resources: Resources = SMALL
    accounted: Seen | None = None


def _on(node: str, cpus: int = 1, partition: str | None = None, **extra: str) -> Resources:
    options = {"nodelist": node} | {key.replace("_", "-"): value for key, value in extra.items()}
    return Resources(cpus=cpus, memory_mib=20, partition=partition, extra=options)


def _extra(**extra: str) -> Resources:
    return Resources(memory_mib=20, extra=ELSEWHERE | extra)


SIGKILLED: Final = "Slurm says FAILED: JobLaunchFailure"
OOM: Final = (
    Case(
        Seen(ERROR, "OUT_OF_MEMORY", "its job used more memory than it asked for, .*", 137),
        FILLS_MEMORY,
        Resources(memory_mib=60, extra=ELSEWHERE),
        Seen(ERROR, "OUT_OF_MEMORY", "its job used more memory than it asked for, .*", 137),
    )
    if HAS_CGROUPS
    else Case(Seen(ERROR, "FAILED", SIGKILLED), FILLS_MEMORY, Resources(memory_mib=60, extra=ELSEWHERE))
)

ENDS: Final[Mapping[str, Case]] = {
    "completed": Case(Seen(OK, "COMPLETED", "", 0), "true", accounted=Seen(OK, "COMPLETED", "", 0)),
    "failed": Case(Seen(ERROR, "FAILED", "", 3), "exit 3", accounted=Seen(ERROR, "FAILED", "", 3)),
    "no-such-command": Case(Seen(ERROR, "FAILED", "", 127), "no-such-command"),
    "killed": Case(
        Seen(ERROR, "FAILED", SIGKILLED),
        "kill -9 $PPID; sleep 60",
        accounted=Seen(ERROR, "FAILED", "", 137),
    ),
    "unwritable": Case(
        Seen(ERROR, "FAILED", f"{SIGKILLED}; its job could not start working .*"),
        accounted=Seen(ERROR, "FAILED", "its job could not start working .*", 181),
    ),
    "out-of-memory": OOM,
    "timeout": Case(
        Seen(ERROR, "TIMEOUT", "its job reached its walltime .*"),
        accounted=Seen(ERROR, "TIMEOUT", "its job reached its walltime .*"),
    ),
    "cancelled-pending": Case(
        Seen(CANCELLED, "CANCELLED", "Slurm says CANCELLED: JobHeldUser"),
        resources=_extra(hold=""),
        accounted=Seen(CANCELLED, "CANCELLED"),
    ),
    "cancelled-running": Case(Seen(CANCELLED, "CANCELLED"), accounted=Seen(CANCELLED, "CANCELLED")),
    "node-fail": Case(
        Seen(ERROR, "NODE_FAIL", "the node of its job failed", by_chance=137),
        resources=_on("map4", no_requeue=""),
        accounted=Seen(ERROR, "NODE_FAIL", "the node of its job failed", by_chance=137),
    ),
    "preempted-by-cancel": Case(
        Seen(ERROR, "PREEMPTED", "its job was preempted by another one"),
        resources=_on("map6", partition="lowcancel"),
        accounted=Seen(ERROR, "PREEMPTED", "its job was preempted by another one"),
    ),
}
GOES_ON: Final[Mapping[str, Case]] = {
    # Followed, and COMPLETED_OK once what is in the way is gone.
    "held": Case(Seen(Q, "PENDING", "JobHeldUser"), resources=_extra(hold="")),
    "held-later": Case(Seen(Q, "PENDING", "JobHeld(User|Admin)"), resources=_extra(begin="now+1hour")),
    "begin-time": Case(Seen(Q, "PENDING", "BeginTime"), resources=_extra(begin="now+1hour")),
    "node-fail-requeued": Case(Seen(Q, "PENDING", "BeginTime|None|"), resources=_on("map4")),
    "preempted-by-requeue": Case(
        Seen(Q, "PENDING", "BeginTime|None|"), resources=_on("map5", partition="low")
    ),
    "requeued": Case(Seen(Q, "PENDING", "BeginTime|None|")),
    "requeued-and-held": Case(Seen(Q, "PENDING", "JobHeld(User|Admin)|job requeued in held state")),
    "special-exit": Case(Seen(Q, "SPECIAL_EXIT", "job requeued in held state")),
    "suspended": Case(Seen(R, "SUSPENDED")),
    "launch-failed": Case(Seen(Q, "PENDING", "launch failed requeued held"), resources=_on("map7")),
    "completing": Case(Seen(R, "COMPLETING"), line="true"),
}
NEVER: Final[Mapping[str, Case]] = {
    # Queued for as long as nobody changes the cluster or the job.
    "no-such-size": Case(
        Seen(Q, "PENDING", "PartitionConfig|PartitionNodeLimit"), resources=Resources(nodes=99)
    ),
    "too-long": Case(
        Seen(Q, "PENDING", "PartitionTimeLimit|PartitionConfig"),
        resources=Resources(walltime_s=36000, partition="short"),
    ),
    "closed": Case(Seen(Q, "PENDING", "PartitionDown"), resources=Resources(partition="closed")),
    "quota": Case(Seen(Q, "PENDING", "QOSMaxJobsPerUserLimit"), resources=_extra(qos="none-at-all")),
    "dependency": Case(Seen(Q, "PENDING", "DependencyNeverSatisfied")),
}
ALL: Final = {**ENDS, **GOES_ON, **NEVER}
AT_WORK_FIRST: Final = (
    "timeout", "cancelled-running", "node-fail", "preempted-by-cancel", "node-fail-requeued",
    "preempted-by-requeue", "requeued", "requeued-and-held", "special-exit", "suspended",
)  # fmt: skip
RUN: Final = RunId("20260102T030405-abcdef")
CLUSTER_CONFIG: Final = {
    "type": "slurm",
    "poll_interval_s": 0.3,
    "grace_period_s": 0.5,
    "command_timeout_s": 20,
}


@attrs.frozen
class Witness:
    """All that was seen."""

    seen: Mapping[str, Observed]
    at_last: Mapping[str, Observed]
    accounted: Mapping[str, Observed]
    tasks: Mapping[str, Any]
    status: Mapping[str, Any]
    starts: Sequence[str]


@pytest.fixture(scope="module")
def witness() -> Iterator[Witness]:
    """Bring a cluster into all states."""
    with tempfile.TemporaryDirectory(prefix="ms-", dir="/tmp") as directory:
        yield _witness(Path(directory))


def _witness(top: Path) -> Witness:
    with _cluster(top) as cluster, command_line_in(top) as command_line:
        diary = Diary(top / "diary")
        diary.folder.mkdir()
        stage = _Stage(top, cluster, command_line, diary)
        stage.start_run()
        seen, at_last, accounted = trio.run(stage.play)
        status, tasks = stage.end_of_run()
        return Witness(seen, at_last, accounted, tasks, status, diary.started())


@contextmanager
def _cluster(top: Path) -> Iterator[SlurmCluster]:
    """Its nodes wait before a job ends, or refuse to start one, for as long as a file says so."""
    (top / "hooks").mkdir()
    hooks = {
        "Prolog": f"[ ! -e {top}/refuse-$SLURMD_NODENAME ]",
        "Epilog": f"while [ -e {top}/linger-$SLURM_JOB_ID ]; do sleep 0.1; done",
    }
    for name, line in hooks.items():
        (top / "hooks" / name).write_text(f"#!/bin/bash\n{line}\n")
        (top / "hooks" / name).chmod(0o755)
    cluster = SlurmCluster.start(
        top / "c",
        nodes=7,
        prefix="map",  # cgroups are named after nodes, and other clusters have theirs
        accounting=True,
        cgroup=HAS_CGROUPS,
        guarded=True,
        settings={name: str(top / "hooks" / name) for name in hooks},
    )
    try:
        cluster.run("sacctmgr", "-i", "add", "qos", "none-at-all", "set", "MaxJobsPerUser=0")
        cluster.run("sacctmgr", "-i", "modify", "user", current_user(), "set", "qos+=none-at-all")
        with pytest.MonkeyPatch.context() as patch:
            for name in [name for name in os.environ if name.startswith(SLURM_VARIABLES)]:
                patch.delenv(name)
            for name, value in cluster.environment().items():
                patch.setenv(name, value)
            yield cluster
    finally:
        cluster.stop(purge=True)


@attrs.define
class _Stage:
    """Provokes the states, and takes down what is seen."""

    top: Path
    cluster: SlurmCluster
    command_line: CommandLine
    diary: Diary
    jobs: dict[str, LiveJob] = attrs.field(factory=dict)
    run_id: str = ""
    preemptors: list[str] = attrs.field(factory=list)

    # ---- the run ----

    def start_run(self) -> None:
        """Start an engine on a run whose jobs meet the same fates."""
        first_try = "[ $MATTERSTACK_ATTEMPT = 2 ] || sleep 600"
        plan: dict[str, tuple[str, dict[str, Any]]] = {
            "completed": (":", {}),
            "failed": ("exit 3", {"allow_failure": True}),
            "timeout": ("sleep 600", {"allow_failure": True}),
            "cancelled": ("sleep 600", {"allow_failure": True}),
            "requeued": (f"[ -e {self.diary.folder}/was-requeued ] || sleep 600", {}),
            "node-fail": (
                first_try,
                {"retries": 1, "retry_on": ["node_fail"], "resources": _on("map4", no_requeue="")},
            ),
            "preempted": (
                first_try,
                {"retries": 1, "retry_on": ["preempted"], "resources": _on("map6", partition="lowcancel")},
            ),
        }
        tasks = []
        for name, (shell, fields) in plan.items():
            resources = attrs.asdict(fields.pop("resources", SMALL))
            given = {key: value for key, value in resources.items() if value is not None}
            tasks.append(self.diary.task(name, shell, resources=given, **fields))
        folder = write_tasks(self.command_line.root, "campaign", tasks)
        config = {"default_backend": "cluster", "backends": {"cluster": CLUSTER_CONFIG}}
        (folder / "config.json").write_text(json.dumps(config))
        self.run_id = self.command_line.new_run("campaign")
        self.command_line.start("run", "loop", "--until-done", self.run_id)

    def job_of_task(self, name: str) -> str:
        """Id of the job of a task that is at work."""
        wait_until(lambda: name in self.diary.started(), PATIENCE_S, f"the start of {name}")
        job_id: str = self.command_line.tasks(self.run_id)[name]["attempts"][0]["job_id"]
        return job_id

    def end_of_run(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Wait for it; what then is in the store."""
        wait_until(
            lambda: self.command_line.status(self.run_id)["status"] not in {"PENDING", "RUNNING"},
            PATIENCE_S,
            f"the end of the run: {self.command_line.tasks(self.run_id)}",
        )
        return self.command_line.status(self.run_id), self.command_line.tasks(self.run_id)

    # ---- the jobs ----

    async def play(self) -> tuple[dict[str, Observed], dict[str, Observed], dict[str, Observed]]:
        """Submit, provoke, look; mend, look again; then ask the accounting alone."""
        backend = self.backend()
        (self.top / "refuse-map7").touch()
        await self.submit(backend)
        await self.look(backend, {name: Seen(R, "RUNNING") for name in AT_WORK_FIRST})
        self.provoke()
        seen = await self.look(backend, {name: case.seen for name, case in ALL.items()})
        self.mend()
        at_last = await self.look(backend, {name: Seen(OK, "COMPLETED", "", 0) for name in GOES_ON})
        alone = self.backend(run=_without_squeue)
        accounted = {name: case.accounted for name, case in ENDS.items() if case.accounted is not None}
        return seen, at_last, await self.look(alone, accounted)

    def backend(self, run: programs.RunCommand = programs.run) -> SlurmBackend:
        """A backend of its own."""
        config = SlurmBackendConfig.model_validate(CLUSTER_CONFIG)
        return SlurmBackend(BackendName("cluster"), config, self.top / "locks" / "submit", run=run)

    async def submit(self, backend: SlurmBackend) -> None:
        """Submit all jobs; the last one depends on one that fails."""
        attempts = {
            name: self.prepare(backend, name, case) for name, case in ALL.items() if name != "dependency"
        }
        (attempts["unwritable"].folder / "scheduler.log").mkdir()
        await self.accept(backend, attempts)
        (self.top / f"linger-{self.jobs['completing'].job_id}").touch()
        depends = attrs.evolve(
            ALL["dependency"], resources=_extra(dependency=f"afterok:{self.jobs['failed'].job_id}")
        )
        await self.accept(backend, {"dependency": self.prepare(backend, "dependency", depends)})

    def prepare(self, backend: SlurmBackend, name: str, case: Case) -> PreparedAttempt:
        """Write an attempt's folder."""
        attempt = PreparedAttempt(
            run_id=RUN,
            task_id=TaskId(name),
            n=1,
            token=attempt_token(RUN, TaskId(name), 1),
            folder=self.top / "jobs" / name,
            command=("bash", "-c", case.line),
            env={},
            resources=case.resources,
        )
        attempt.folder.mkdir(parents=True)
        (attempt.folder / "job.sh").write_text(backend.script(attempt))
        return attempt

    async def accept(self, backend: SlurmBackend, attempts: Mapping[str, PreparedAttempt]) -> None:
        """Submit attempts that must be accepted."""
        report = await backend.submit(list(attempts.values()))
        assert set(report.accepted) == {attempt.token for attempt in attempts.values()}, report
        for name, attempt in attempts.items():
            job_id = JobId(report.accepted[attempt.token])
            self.jobs[name] = LiveJob(token=attempt.token, job_id=job_id, folder=attempt.folder)

    def provoke(self) -> None:
        """Do to each job, and to its like in the run, what brings it into its state."""
        ids = {name: job.job_id for name, job in self.jobs.items()}
        for job_id in (ids["timeout"], self.job_of_task("timeout")):
            self.cluster.run("scontrol", "update", f"jobid={job_id}", "endtime=now+1")
        self.cluster.run(
            "scancel", ids["cancelled-pending"], ids["cancelled-running"], self.job_of_task("cancelled")
        )
        self.cluster.run("scontrol", "hold", ids["held-later"])
        requeued = self.job_of_task("requeued")
        (self.diary.folder / "was-requeued").touch()
        self.cluster.run("scontrol", "requeue", f"{ids['requeued']},{requeued}")
        self.cluster.run("scontrol", "requeuehold", ids["requeued-and-held"])
        self.cluster.run("scontrol", "requeuehold", "State=SpecialExit", ids["special-exit"])
        self.cluster.run("scontrol", "suspend", ids["suspended"])
        for name in ("node-fail", "preempted"):
            self.job_of_task(name)
        for node in ("map5", "map6"):
            words = ("--parsable", "-p", "high", "-w", node, "-c", "4", "--mem=20", "-o", "/dev/null")
            self.preemptors.append(self.cluster.output("sbatch", *words, "--wrap", "sleep 600"))
        self.cluster.fail_node("map4")

    def mend(self) -> None:
        """Take away what keeps jobs from going on."""
        ids = {name: self.jobs[name].job_id for name in GOES_ON}
        for name in GOES_ON:
            (self.jobs[name].folder / "go").touch()
        (self.top / "refuse-map7").unlink()
        (self.top / f"linger-{ids['completing']}").unlink()
        self.cluster.run("scancel", *self.preemptors)
        for node in ("map4", "map7"):
            self.cluster.resume_node(node)
        self.cluster.run("scontrol", "resume", ids["suspended"])
        attempts = self.command_line.tasks(self.run_id)["requeued"]["attempts"]
        waiting = [ids[name] for name in GOES_ON if name not in {"completing", "suspended"}]
        for job_id in [*waiting, attempts[0]["job_id"]]:
            # A requeued job would wait for two minutes; but not before its old credential, revoked for a
            # second, is good again.  Some of them run already.
            self.cluster.run("scontrol", "update", f"jobid={job_id}", "starttime=now+2", check=False)
            self.cluster.run("scontrol", "release", job_id, check=False)

    async def look(self, backend: SlurmBackend, awaited: Mapping[str, Seen]) -> dict[str, Observed]:
        """Poll until each job is what it must be, or has ended, or there is no more patience."""
        names = {self.jobs[name].token: name for name in awaited}
        last: dict[str, Observed] = {}
        left = dict(awaited)
        with trio.move_on_after(PATIENCE_S):
            while left:
                for observed in await backend.poll([self.jobs[name] for name in left]):
                    name = names[observed.token]
                    last[name] = observed
                    if observed.state in ENDED_JOBS or awaited[name].fits(observed):
                        del left[name]
                await trio.sleep(0.1)
        return last


async def _without_squeue(
    argv: Sequence[str], *, timeout_s: float, inherit: int | None = None, stdin: str = ""
) -> programs.Finished:
    """As after MinJobAge: squeue answers, and knows of no job."""
    done = await programs.run(argv, timeout_s=timeout_s, inherit=inherit, stdin=stdin)
    if argv[0] != "squeue":
        return done
    return attrs.evolve(done, stdout=done.stdout.partition("\n")[0] + "\n")


# ---- what was seen ----


@pytest.mark.parametrize("name", ALL)
def test_each_state_on_a_real_cluster_is_what_it_is_called(witness: Witness, name: str) -> None:
    expected = ALL[name].seen

    assert expected.fits(witness.seen[name]), f"{witness.seen[name]} is not {expected}"


@pytest.mark.parametrize("name", GOES_ON)
def test_a_job_that_was_held_up_ends_well_when_it_can_go_on(witness: Witness, name: str) -> None:
    end = witness.at_last[name]

    assert (end.state, end.raw_state, end.exit_code) == (OK, "COMPLETED", 0)


@pytest.mark.parametrize("name", [name for name, case in ENDS.items() if case.accounted is not None])
def test_the_accounting_alone_tells_the_same_end(witness: Witness, name: str) -> None:
    expected = ENDS[name].accounted

    assert expected is not None
    assert expected.fits(witness.accounted[name]), f"{witness.accounted[name]} is not {expected}"


def test_only_a_job_that_had_a_node_names_one(witness: Witness) -> None:
    told = [witness.seen, witness.accounted]

    assert [ends["cancelled-pending"].host for ends in told] == [None, None]
    assert [ends["node-fail"].host for ends in told] == ["map4", "map4"]


def test_the_run_completes_though_its_jobs_met_all_these_fates(witness: Witness) -> None:
    ends = {name: (task["status"], len(task["attempts"])) for name, task in witness.tasks.items()}

    assert witness.status["status"] == "COMPLETED"
    assert ends == {
        "completed": ("SUCCEEDED", 1),
        "failed": ("FAILED", 1),
        "timeout": ("FAILED", 1),
        "cancelled": ("FAILED", 1),
        "requeued": ("SUCCEEDED", 1),
        "node-fail": ("SUCCEEDED", 2),
        "preempted": ("SUCCEEDED", 2),
    }
    assert (witness.starts.count("requeued"), witness.starts.count("node-fail")) == (2, 2)


@pytest.mark.parametrize(
    ("name", "raw_state", "reason"),
    [
        ("failed", "FAILED", "its job ended with exit code 3"),
        ("timeout", "TIMEOUT", "its job reached its walltime and was ended by Slurm"),
        ("cancelled", "CANCELLED", "its job was cancelled outside of MatterStack"),
    ],
)
def test_a_task_says_what_became_of_its_job(witness: Witness, name: str, raw_state: str, reason: str) -> None:
    task = witness.tasks[name]

    assert task["attempts"][0]["raw_state"] == raw_state
    assert reason in task["reason"]


@pytest.mark.parametrize(("name", "raw_state"), [("node-fail", "NODE_FAIL"), ("preempted", "PREEMPTED")])
def test_an_attempt_that_the_cluster_ended_is_kept_beside_the_one_that_succeeded(
    witness: Witness, name: str, raw_state: str
) -> None:
    first, second = witness.tasks[name]["attempts"]

    assert (first["state"], first["raw_state"]) == ("COMPLETED_ERROR", raw_state)
    assert (second["state"], second["raw_state"]) == ("COMPLETED_OK", "COMPLETED")
