"""``run init --show-script`` shows what would be submitted; ``run init`` refuses what could never run."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.backends.conftest import Shims
from tests.support.campaigns import ONE_ROUND, write_tasks, write_workspace
from tests.support.command import CommandLine
from tests.support.slurm_cluster import SlurmCluster

CLUSTER = {"type": "slurm", "poll_interval_s": 0.3, "grace_period_s": 1.0}


def write_slurm_tasks(root: Path, *tasks: dict[str, Any], **config: Any) -> None:
    """The workspace ``w``, with the cluster as its default."""
    backends = {"local": {"type": "local"}, "cluster": {**CLUSTER, **config.pop("cluster", {})}}
    files = {"tasks.json": json.dumps(tasks)}
    config = {"default_backend": "cluster", "backends": backends, **config}
    write_workspace(root, "w", ONE_ROUND, config=config, files=files)


def task(name: str, **fields: Any) -> dict[str, Any]:
    resources = {"memory_mib": 20, **fields.pop("resources", {})}
    return {"id": name, "command": ["true"], "resources": resources, **fields}


def everything_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


# ---- what is shown ----


@pytest.mark.usefixtures("slurm_env")
def test_what_is_shown_is_what_sbatch_gets_in_the_end(
    command_line: CommandLine, shims: Shims, tmp_path: Path
) -> None:
    # Each sbatch leaves its arguments and its input; only then the real one sees them.
    shims.add(
        "sbatch",
        f'n=$(ls {tmp_path} | grep -c ^argv-); printf "%s\\0" sbatch "$@" > {tmp_path}/argv-$n\n'
        f'cat > {tmp_path}/stdin-$n; exec "$REAL" "$@" < {tmp_path}/stdin-$n',
    )
    asked = {"cpus": 2, "ntasks": 2, "walltime_s": 90, "constraint": "f1", "extra": {"comment": "it's"}}
    write_slurm_tasks(
        command_line.root,
        task("a"),
        task("b"),
        task("c", resources=asked, depends_on=["a"]),
        cluster={"partition": "main", "qos": "normal", "prologue": ["export FROM_PROLOGUE=1"]},
    )
    shown = command_line.json("run", "init", "w", "--show-script")
    run_id = command_line.new_run("w")
    command_line.ok("run", "loop", run_id, "--until-done")

    def told(number: int) -> tuple[list[str], str]:
        argv = (tmp_path / f"argv-{number}").read_text().split("\0")[:-1]
        return argv, (tmp_path / f"stdin-{number}").read_text()

    def real(text: str) -> str:
        return re.sub(r"(?<!MATTERSTACK_)RUN_ID", run_id, text)

    def expected(submission: dict[str, Any], name: str) -> tuple[list[str], str]:
        words = [f"--job-name={name}" if w.startswith("--job-name=") else w for w in submission["command"]]
        return [real(word) for word in words], real(submission["stdin"])

    tasks = command_line.tasks(run_id)
    tokens = {name: tasks[name]["attempts"][0]["token"] for name in tasks}
    assert [s["tasks"] for s in shown["submissions"]] == [["a", "b"], ["c"]]
    assert told(0) == expected(shown["submissions"][0], tokens["a"])
    assert told(1) == expected(shown["submissions"][1], tokens["c"])
    folder = command_line.run_folder("w", run_id)
    for one in shown["tasks"]:
        written = (folder / "tasks" / one["task_id"] / "1" / "job.sh").read_text()
        written = re.sub(r"^nonce=\w{32}$", "nonce=NONCE", written, flags=re.MULTILINE)
        assert written == real(one["script"])
        assert real(one["folder"]) == str(folder / "tasks" / one["task_id"] / "1")
    assert "#SBATCH --constraint=f1" in shown["tasks"][2]["script"]
    assert {"--ntasks=2", "--cpus-per-task=2", "--time=0-00:02:00", "--comment=it's"} <= set(
        shown["submissions"][1]["command"]
    )


@pytest.mark.usefixtures("slurm_env")
def test_it_stores_and_submits_nothing(command_line: CommandLine, shims: Shims) -> None:
    shims.add("sbatch", "exit 1")
    write_slurm_tasks(command_line.root, task("a"), task("b", backend="local"))
    before = everything_below(command_line.root)
    text = command_line.ok("run", "init", "w", "--show-script")
    assert everything_below(command_line.root) == before
    assert shims.calls("sbatch") == 0
    assert "Nothing was stored or submitted." in text
    assert "== 1. on cluster: a\n" in text
    assert "== 2. on local: b\n" in text


@pytest.mark.usefixtures("slurm_env")
def test_the_line_that_is_shown_can_be_pasted_into_a_shell(command_line: CommandLine) -> None:
    write_slurm_tasks(command_line.root, task("a", resources={"extra": {"comment": "two 'words'"}}))
    text = command_line.ok("run", "init", "w", "--show-script")
    (line,) = [line for line in text.splitlines() if line.startswith("sbatch ")]
    words = shlex.split(line)
    assert "--comment=two 'words'" in words
    assert words[-1].endswith("/workspaces/w/runs/RUN_ID/tasks/a/1/job.sh")
    assert "#SBATCH '--comment=two '\"'\"'words'\"'\"''" in text.splitlines()


def test_a_local_job_is_shown_as_it_would_be_started(command_line: CommandLine) -> None:
    write_tasks(command_line.root, "w", [task("a"), task("b", command=["echo", "b"])])
    shown = command_line.json("run", "init", "w", "--show-script")
    shell, script = shown["submissions"][0]["command"]
    assert (shell, script) == ("/bin/sh", shown["tasks"][0]["folder"] + "/job.sh")
    assert "exec echo b\n" in shown["tasks"][1]["script"]


def test_many_tasks_share_what_is_printed(command_line: CommandLine) -> None:
    many = [
        task(f"t{n}", command=["echo", str(n)], resources={"memory_mib": 10 + n % 12}) for n in range(1200)
    ]
    write_tasks(command_line.root, "w", many)
    text = command_line.ok("run", "init", "w", "--show-script")
    assert text.startswith("The first iteration has 1,200 jobs, of 12 kinds by backend and resources.")
    assert "== 1. on local: t0, t12, t24, t36, t48, t60 and 94 more\n" in text
    assert "The scripts of these 100 tasks differ only in folder, names, command and env." in text
    assert "\n4 more kinds: t8, t20, t32, t44, t56, t68 and 394 more (--json shows each)\n" in text
    assert text.count("#!/bin/sh") == 8
    assert len(command_line.json("run", "init", "w", "--show-script")["tasks"]) == 1200


def test_a_question_that_its_operator_does_not_know_is_warned_of(command_line: CommandLine) -> None:
    write_tasks(command_line.root, "w", [{"id": "gate", "operator": "gate", "params": {"questoin": "?"}}])
    done = command_line.run("run", "init", "w", "--show-script")
    assert done.exit_code == 0
    assert done.stderr.startswith("Warning: task gate would fail: params.question: is missing; ")


def test_a_goal_that_is_met_from_the_start_is_said(command_line: CommandLine) -> None:
    campaign = """\
    class Done:
        def plan(self, state, results):
            return None

        def analyze(self, state, results):
            return {}

    get_campaign = Done
    """
    write_workspace(command_line.root, "w", campaign)
    assert "has no tasks: the goal is met" in command_line.ok("run", "init", "w", "--show-script")
    assert command_line.json("run", "init", "w", "--show-script") == {
        "tasks": [],
        "submissions": [],
        "others": [],
    }


def test_a_campaign_that_cannot_plan_is_told_as_by_the_engine(command_line: CommandLine) -> None:
    write_workspace(command_line.root, "w", "def get_campaign():\n    raise RuntimeError('no licence')\n")
    done = command_line.run("run", "init", "w", "--show-script", "--json")
    assert (done.exit_code, done.stdout, done.error["code"]) == (2, "", "campaign")
    run_id = command_line.new_run("w")
    command_line.run("run", "loop", run_id, "--until-done")
    assert done.error["message"] == command_line.status(run_id)["status_reason"]


# ---- what is refused ----


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"cpus": 5}, "can never give cpus=5, but a node of partition main gives at most 4"),
        (
            {"nodes": 4},
            "can never give nodes=4 with cpus=1 and memory_mib=20, but partition main has only 3 such nodes",
        ),
        (
            {"partition": "short", "walltime_s": 120},
            "can never give walltime_s=120, but a job in partition short gets at most 60",
        ),
        ({"partition": "closed"}, "cannot give partition='closed', which starts no jobs: it is DOWN"),
    ],
)
@pytest.mark.usefixtures("slurm_env")
def test_what_the_partition_never_gives_is_refused_and_no_run_is_made(
    command_line: CommandLine, wanted: dict[str, Any], words: str
) -> None:
    write_slurm_tasks(command_line.root, task("good"), task("bad", resources=wanted))
    done = command_line.run("run", "init", "w", "--json")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.error["code"] == "campaign"
    assert done.error["message"] == f"task 'bad': resources: backend cluster {words}"
    assert not (command_line.root / "workspaces" / "w" / "runs").exists()
    assert command_line.json("run", "list") == []


@pytest.mark.usefixtures("slurm_env")
def test_the_partition_of_the_config_counts(command_line: CommandLine) -> None:
    write_slurm_tasks(
        command_line.root, task("a", resources={"walltime_s": 120}), cluster={"partition": "short"}
    )
    done = command_line.run("run", "init", "w")
    assert (done.exit_code, "partition short gets at most 60" in done.stderr) == (2, True)
    assert command_line.run("run", "init", "w", "--set", "backends.cluster.partition=main").exit_code == 0
    unknown = command_line.run("run", "init", "w", "--set", "backends.cluster.partition=mian")
    assert unknown.exit_code == 2
    there = "closed, high, low, lowcancel, main, rootless, short"
    assert f"partition='mian', which does not exist (there are: {there})" in unknown.stderr


@pytest.mark.usefixtures("slurm_env")
def test_the_engine_refuses_the_same_in_later_iterations(command_line: CommandLine) -> None:
    campaign = """\
    from matterstack import Resources, Task, Workflow

    class Grows:
        def plan(self, state, results):
            n = state.get("n", 1)
            return Workflow([Task(f"t{n}", command=["true"], resources=Resources(cpus=4 * n, memory_mib=20))])

        def analyze(self, state, results):
            return {"n": 2}

    get_campaign = Grows
    """
    config = {"default_backend": "cluster", "backends": {"cluster": CLUSTER}}
    write_workspace(command_line.root, "w", campaign, config=config)
    run_id = command_line.new_run("w")
    done = command_line.run("run", "loop", run_id, "--until-done")
    assert (done.exit_code, command_line.status(run_id)["iteration"]) == (1, 1)
    assert command_line.status(run_id)["status_reason"] == (
        "task 't2': resources: backend cluster can never give cpus=8, "
        "but a node of partition main gives at most 4"
    )


# ---- what cannot be known yet ----


def assert_made_with_warning(command_line: CommandLine, words: str) -> None:
    done = command_line.run("run", "init", "w")
    assert done.exit_code == 0
    assert command_line.status(done.stdout.strip())["status"] == "PENDING"
    (line,) = done.stderr.splitlines()
    assert line.startswith("Warning: the limits of ")
    assert words in line


def test_a_controller_that_is_down_keeps_no_run_from_being_made(
    command_line: CommandLine, slurm_env: SlurmCluster
) -> None:
    write_slurm_tasks(command_line.root, task("a", resources={"cpus": 99}))
    slurm_env.kill_controller()
    assert_made_with_warning(command_line, "Unable to contact slurm controller")


def test_without_slurm_the_run_is_made_all_the_same(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_slurm_tasks(command_line.root, task("a"))
    monkeypatch.setenv("PATH", "/nowhere")
    assert_made_with_warning(
        command_line, "backend cluster could not be checked: scontrol: no such command on this machine"
    )


@pytest.mark.usefixtures("slurm_env")
def test_a_campaign_that_cannot_plan_yet_is_made_all_the_same(command_line: CommandLine) -> None:
    campaign = """\
    from pathlib import Path

    class Later:
        def plan(self, state, results):
            return Path("structures.json").read_text()

        def analyze(self, state, results):
            return {}

    get_campaign = Later
    """
    config = {"default_backend": "cluster", "backends": {"cluster": CLUSTER}}
    write_workspace(command_line.root, "w", campaign, config=config)
    assert_made_with_warning(command_line, "structures.json")


@pytest.mark.usefixtures("slurm_env")
def test_a_campaign_that_cannot_be_loaded_is_refused_before_any_limit_is_asked_for(
    command_line: CommandLine,
) -> None:
    write_slurm_tasks(command_line.root)
    (command_line.root / "workspaces" / "w" / "tasks.json").unlink()
    done = command_line.run("run", "init", "w")
    assert (done.exit_code, "tasks.json" in done.stderr) == (2, True)
    assert command_line.json("run", "list") == []


def test_where_all_jobs_run_here_the_campaign_is_loaded_and_not_asked_before_its_time(
    command_line: CommandLine,
) -> None:
    campaign = """\
    from pathlib import Path

    class Asked:
        def plan(self, state, results):
            Path("asked").touch()

        analyze = plan

    get_campaign = Asked
    """
    write_workspace(command_line.root, "w", campaign, config={"backends": {"local": {"type": "local"}}})
    done = command_line.run("run", "init", "w")
    assert (done.exit_code, done.stderr) == (0, "")
    assert not (command_line.root / "workspaces" / "w" / "asked").exists()
