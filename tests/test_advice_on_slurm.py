"""What `run explain` prints after failures on a real Slurm is pasted as it stands, and the run COMPLETES."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.slurm_fixtures import StartCluster, point_to
from tests.support.campaigns import Diary, write_tasks, write_workspace
from tests.support.command import COMMAND, PATIENCE_S, CommandLine
from tests.support.polling import wait_until

CLUSTER = {"type": "slurm", "poll_interval_s": 0.3, "grace_period_s": 0.5, "command_timeout_s": 20}
SMALL = {"memory_mib": 20, "walltime_s": 60}


def new_run(command_line: CommandLine, tasks: list[dict[str, Any]], jobs: int = 40, **cluster: Any) -> str:
    """A run of these tasks on the cluster."""
    folder = write_tasks(command_line.root, "w", [{"resources": SMALL, **task} for task in tasks])
    config = {
        "default_backend": "cluster",
        "max_hpc_jobs_per_run": jobs,
        "backends": {"cluster": {**CLUSTER, "max_jobs": jobs, **cluster}},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return command_line.new_run("w")


def advice(command_line: CommandLine, run_id: str) -> list[str]:
    """The lines with commands of the first cause, as people see them."""
    first = command_line.ok("run", "explain", run_id).split("\n\n")[1]
    return [line.strip() for line in first.splitlines() if line.strip().startswith("matterstack ")]


def paste(command_line: CommandLine, *lines: str) -> None:
    """Give lines to a shell in the root, as somebody at a terminal does."""
    path = f"{COMMAND.parent}:{command_line.environment['PATH']}"
    done = subprocess.run(
        ["bash", "-ec", "\n".join(lines)],
        cwd=command_line.root,
        env={**command_line.environment, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def files_of(command_line: CommandLine, run_id: str, tasks: Mapping[str, Any]) -> dict[str, str]:
    """Hashes of all that the first attempts of tasks left."""
    folder = command_line.run_folder("w", run_id) / "tasks"
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for task in tasks
        for path in sorted((folder / task / "1").rglob("*"))
        if path.is_file()
    }


def assert_only_these_ran_again(
    before: Mapping[str, Any], after: Mapping[str, Any], failed: set[str]
) -> None:
    """All have succeeded; of what had succeeded before, everything is as it was."""
    assert {task["status"] for task in after.values()} == {"SUCCEEDED"}
    assert {name for name, task in after.items() if task != before[name]} == failed
    assert {len(after[name]["attempts"]) for name in failed} == {2}


def test_what_timed_out_runs_again_longer_and_nothing_else_does(
    command_line: CommandLine,
    start_slurm_cluster: StartCluster,
    monkeypatch: pytest.MonkeyPatch,
    diary: Diary,
) -> None:
    cluster = start_slurm_cluster(cpus=8)
    point_to(cluster, monkeypatch)
    slow = {f"slow{n:02}" for n in range(20)}
    quick = {f"quick{n:02}" for n in range(20)}
    tasks = [
        diary.task(name, f"{diary.gate() if name in slow else ':'} && echo {name} > out", outputs=["out"])
        for name in sorted(quick | slow)
    ]
    run_id = new_run(command_line, tasks)
    engine = command_line.start("run", "loop", "--until-done", run_id)

    def only_the_slow_are_left() -> bool:
        return command_line.status(run_id)["tasks"]["SUCCEEDED"] == 20 and slow <= {*diary.started()}

    wait_until(only_the_slow_are_left, PATIENCE_S, "twenty results, and twenty jobs that go on")
    before = command_line.tasks(run_id)
    cluster.end_walltimes(before[name]["attempts"][0]["job_id"] for name in slow)
    assert engine.wait().exit_code == 1
    before = command_line.tasks(run_id)
    assert {before[name]["attempts"][0]["raw_state"] for name in slow} == {"TIMEOUT"}
    kept = files_of(command_line, run_id, {**before})

    lines = advice(command_line, run_id)
    assert lines[-1] == f"matterstack run retry {run_id} --failed --set resources.walltime_s=120 --yes"
    paste(command_line, lines[-1])
    diary.open()
    command_line.ok("run", "loop", "--until-done", run_id)

    assert command_line.status(run_id)["status"] == "COMPLETED"
    after = command_line.tasks(run_id)
    assert_only_these_ran_again(before, after, slow)
    assert files_of(command_line, run_id, {**after}) == kept
    limits = dict(line.split() for line in cluster.output("squeue", "-hrtall", "-o%i %l").splitlines())
    asked = [
        {limits[task["attempts"][n]["job_id"]] for t, task in after.items() if t in slow} for n in (0, 1)
    ]
    assert asked == [{"1:00"}, {"2:00"}]


@pytest.mark.usefixtures("slurm_env")
@pytest.mark.parametrize("where", ["command", "prologue"])
def test_a_node_on_which_all_failed_is_left_out_and_the_others_do_its_work(
    command_line: CommandLine, diary: Diary, where: str
) -> None:
    sick = f"[ $SLURMD_NODENAME != n2 ] || {{ echo sick >> {diary.folder}/notes; (exit 5); }}"
    # Two nodes have 8 processors: at least four of twelve tasks are for the third one.
    others = f"until [ $(grep -c sick {diary.folder}/notes) -ge 2 ]; do sleep 0.05; done"
    line = f"{sick if where == 'command' else ':'} && {others} && hostname > out"
    tasks = [diary.task(f"t{n:02}", line, outputs=["out"]) for n in range(12)]
    run_id = new_run(command_line, tasks, prologue=[sick] if where == "prologue" else [])
    command_line.run("run", "loop", "--until-done", run_id)
    before = command_line.tasks(run_id)
    failed = {name for name, task in before.items() if task["status"] == "FAILED"}
    assert {before[name]["attempts"][0]["host"] for name in failed} == {"n2"}

    lines = advice(command_line, run_id)
    assert lines[-1].endswith("--set resources.extra.exclude=n2 --yes")
    paste(command_line, lines[-1])
    command_line.ok("run", "loop", "--until-done", run_id)

    assert command_line.status(run_id)["status"] == "COMPLETED"
    after = command_line.tasks(run_id)
    assert_only_these_ran_again(before, after, failed)
    assert not {after[name]["attempts"][1]["host"] for name in failed} & {"n2"}


CAMPAIGN = """\
from matterstack import Resources, Task, Workflow

class Relax:
    def plan(self, state, results):
        if state:
            return None
        small = Resources(memory_mib=20, walltime_s=60)
        command = ["cp", "relax.in", "out"]
        return Workflow([
            Task(
                f"t{n:02}",
                command=command,
                files={"relax.in": self.file(n)},
                outputs=["out"],
                resources=small,
            )
            for n in range(40)
        ])

    def file(self, n):
        return "relx.in" if n % 2 else "relax.in"

    def analyze(self, state, results):
        return {"done": len(results)}

get_campaign = Relax
"""


@pytest.mark.usefixtures("slurm_env")
@pytest.mark.parametrize("hold_after", [0, 10], ids=["failed", "held"])
def test_wrong_files_are_mended_in_the_campaign_which_is_asked_once_more(
    command_line: CommandLine, hold_after: int
) -> None:
    config = {
        "default_backend": "cluster",
        "hold_after_alike": hold_after,
        "backends": {"cluster": {**CLUSTER, "max_jobs": 40}},
        "max_hpc_jobs_per_run": 12 if hold_after else 40,
    }
    # Where it is held, all are wrong: a success in between would let it go on.
    source = CAMPAIGN.replace("if n % 2 else", "if True else") if hold_after else CAMPAIGN
    folder = write_workspace(command_line.root, "w", source, config=config, files={"relax.in": "ecut 30"})
    run_id = command_line.new_run("w")
    assert command_line.run("run", "loop", "--until-done", run_id).exit_code == 1
    before = command_line.tasks(run_id)
    failed = {name for name, task in before.items() if task["status"] == "FAILED"}
    status = command_line.status(run_id)["status"]
    assert (status, len(failed) >= 10) == ("PAUSED" if hold_after else "FAILED", True)
    kept = files_of(command_line, run_id, before)

    (folder / "campaign.py").write_text(source.replace("relx.in", "relax.in"))
    first, *others = advice(command_line, run_id)
    assert first == f"matterstack run replan {run_id}"
    paste(command_line, f"{first} --yes", *others)
    command_line.ok("run", "loop", "--until-done", run_id)

    assert command_line.status(run_id)["status"] == "COMPLETED"
    after = command_line.tasks(run_id)
    assert files_of(command_line, run_id, before).items() >= kept.items()
    if not hold_after:
        assert_only_these_ran_again(before, after, failed)
    assert [event["type"] for event in command_line.events(run_id)].count("CampaignChanged") == 1


@pytest.mark.usefixtures("slurm_env")
def test_three_hundred_tasks_with_a_broken_prologue_are_held_and_all_succeed_when_it_is_mended(
    command_line: CommandLine, tmp_path: Path
) -> None:
    code = tmp_path / "bin" / "mycode"
    code.parent.mkdir()
    code.write_text("#!/bin/sh\necho ok > out.txt\n")
    code.chmod(0o755)
    tasks = [{"id": f"t{n:03}", "command": ["mycode"], "outputs": ["out.txt"]} for n in range(300)]
    run_id = new_run(command_line, tasks, prologue=["module load mycode/1.O"])

    left = command_line.run("run", "loop", "--until-done", run_id)

    assert left.exit_code == 1, left.stdout + left.stderr
    reason = "prologue line 1 failed with 127: module load mycode/1.O: module: command not found"
    status = command_line.status(run_id)
    assert status["status"] == "PAUSED"
    assert reason in status["status_reason"], "as the page and all documents say it"
    assert 10 <= status["tasks"]["FAILED"] <= 10 + 40
    assert left.stdout.count(reason) == 1, "as explain says it"

    lines = advice(command_line, run_id)
    assert [line.split()[2] for line in lines] == ["logs", "amend", "retry", "resume"]
    file = command_line.root / "workspaces" / "w" / "config.json"
    file.write_text(file.read_text().replace("module load mycode/1.O", f"export PATH={code.parent}:$PATH"))
    paste(command_line, *lines)
    command_line.ok("run", "loop", "--until-done", run_id)

    status = command_line.status(run_id)
    assert (status["status"], status["tasks"]["SUCCEEDED"]) == ("COMPLETED", 300)
    assert command_line.event_types(run_id).count("RunPaused") == 1
