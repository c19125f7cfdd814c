"""Whole runs on a real Slurm behind a real sshd, through the installed command, and what may go wrong."""

from __future__ import annotations

import json
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from matterstack.backends.environment_probe import LEAST_MEMORY_MIB
from tests.battery_workspace import SLUG, check_quick, install_quick, quick_ranking
from tests.support.campaigns import Diary, write_tasks
from tests.support.command import PATIENCE_S, CommandLine, Running
from tests.support.polling import wait_until
from tests.support.slurm_cluster import SlurmCluster
from tests.support.sshd import Sshd

TIMES = {"poll_interval_s": 0.3, "grace_period_s": 0.5, "command_timeout_s": 20}


def _write(
    command_line: CommandLine,
    sshd: Sshd,
    tasks: Iterable[Mapping[str, Any]],
    cap: int = 100,
    memory_mib: int = 20,
) -> None:
    """A workspace ``campaign`` whose tasks run on the cluster behind ssh."""
    sized = [{"resources": {"memory_mib": memory_mib}, **task} for task in tasks]
    folder = write_tasks(command_line.root, "campaign", sized)
    cluster = {"type": "slurm", "ssh": sshd.config, **TIMES}
    config = {
        "max_hpc_jobs_per_run": cap,
        "default_backend": "cluster",
        "backends": {"cluster": cluster},
    }
    (folder / "config.json").write_text(json.dumps(config))


def _jobs(cluster: SlurmCluster) -> set[str]:
    """Ids of all jobs that the controller remembers."""
    return set(cluster.output("squeue", "--array", "--states=all", "--noheader", "--format=%i").split())


def _has_job(command_line: CommandLine, run_id: str, prefix: str) -> bool:
    """Whether a task whose id begins so has got a job."""
    attempts = (
        attempt
        for task_id, task in command_line.tasks(run_id).items()
        for attempt in task["attempts"]
        if task_id.startswith(prefix)
    )
    return any(attempt["job_id"] for attempt in attempts)


def _wait_for(engine: Running, words: str) -> None:
    wait_until(lambda: words in engine.stderr, PATIENCE_S, f"{words!r}")


def test_a_diamond_runs_and_only_what_is_declared_comes_home(
    command_line: CommandLine, sshd: Sshd, diary: Diary
) -> None:
    middle = [f"m{i}" for i in range(6)]
    made = "mkdir out && echo 41 > out/seed && ln -s /etc/passwd out/link && ln -s /etc up && echo 1 > kept"
    tasks = [
        diary.task("first", made, outputs=["out/*", "up/*"], allow_failure=True),
        diary.task(
            "seed",
            "mkdir out && echo 41 > out/seed && echo 1 > kept",
            outputs=["out/*"],
        ),
        *(
            diary.task(
                name,
                "expr $(cat given/seed) + 1 > sum; echo said",
                depends_on=["seed"],
                inputs={"given/seed": "seed/out/seed"},
                outputs=["sum"],
            )
            for name in middle
        ),
        diary.task("last", depends_on=middle),
    ]
    _write(command_line, sshd, tasks, memory_mib=LEAST_MEMORY_MIB)

    done = command_line.run("run", "start", "campaign", "--json")

    assert (done.exit_code, done.json["status"]) == (0, "COMPLETED"), done.stderr
    assert Counter(diary.started()) == Counter(["first", "seed", *middle, "last"])
    folders = command_line.run_folder("campaign", done.json["run_id"]) / "tasks"
    assert (folders / "m3" / "1" / "sum").read_text() == "42\n"
    assert (folders / "m3" / "1" / "stdout.log").read_text() == "said\n"
    assert not (folders / "seed" / "1" / "kept").exists()
    reason = command_line.tasks(done.json["run_id"])["first"]["reason"]
    assert reason == "its job ended well, but no file matches the output 'up/*'"
    assert [path.name for path in (folders / "first" / "1").rglob("*") if path.is_symlink()] == []
    assert [path.name for path in (folders / "first" / "1" / "out").iterdir()] == ["seed"]
    events = command_line.run("run", "events", done.json["run_id"]).stdout.splitlines()
    ends = [event["data"] for event in map(json.loads, events) if event["type"] == "JobEnded"]
    hashes = {end["environment"] for end in ends}
    assert "" not in hashes
    exported = command_line.json("run", "export-evidence", done.json["run_id"])
    found = {path.stem for path in (Path(exported["path"]) / "environments").iterdir()}
    assert found == hashes, "what jobs found of their software has come home"


def test_the_battery_campaign_completes_with_the_connection_cut_twice(
    command_line: CommandLine, sshd: Sshd
) -> None:
    cluster = {
        "type": "slurm",
        "ssh": sshd.config,
        "prologue": [f"export PATH={Path(sys.executable).parent}:$PATH"],
        **TIMES,
    }
    settings = install_quick(
        command_line.root,
        "default_backend=cluster",
        f"backends.cluster={json.dumps(cluster)}",
    )
    run_id = command_line.new_run(SLUG, *settings)
    engine = command_line.start("run", "loop", "--until-done", run_id)

    wait_until(
        lambda: "JobAccepted" in command_line.event_types(run_id),
        PATIENCE_S,
        "the first job",
    )
    assert sshd.cut() >= 1, "the engine has a connection"
    wait_until(lambda: _has_job(command_line, run_id, "refine"), PATIENCE_S, "a job of the second round")
    sshd.stop()
    _wait_for(engine, "cluster does not answer: cluster takes no ssh connections")
    before = command_line.status(run_id)["status"]
    sshd.go_on()

    assert engine.wait().exit_code == 0, engine.stderr
    assert before == "RUNNING"
    assert "cluster answers again" in engine.stderr
    check_quick(quick_ranking(command_line.run_folder(SLUG, run_id)))
    attempts = [task["attempts"] for task in command_line.tasks(run_id).values()]
    assert {len(tried) for tried in attempts} == {1}, "an outage costs no attempt"


def test_a_connection_that_is_cut_inside_of_sbatch_submits_nothing_twice(
    command_line: CommandLine,
    sshd: Sshd,
    slurm_env: SlurmCluster,
    diary: Diary,
    tmp_path: Path,
) -> None:
    before = _jobs(slurm_env)
    _write(command_line, sshd, [diary.task(f"t{i}") for i in range(4)])
    calls = tmp_path / "calls"
    sshd.wrap("sbatch", f'echo call >> {calls}; {diary.gate("submit")}; exec "$REAL" "$@"')
    run_id = command_line.new_run("campaign")
    engine = command_line.start("run", "loop", "--until-done", run_id)

    wait_until(calls.exists, PATIENCE_S, "sbatch")
    assert sshd.cut() >= 1
    _wait_for(engine, "is unclear: the connection to cluster was lost")
    diary.open("submit")

    assert engine.wait().exit_code == 0, engine.stderr
    assert Counter(diary.started()) == Counter(f"t{i}" for i in range(4))
    accepted = [e["data"]["job_id"] for e in command_line.events(run_id) if e["type"] == "JobAccepted"]
    assert Counter(accepted) == Counter(_jobs(slurm_env) - before), "one job for each attempt"
    assert calls.read_text() == "call\n"


def test_a_new_engine_adopts_the_jobs_of_one_that_was_killed(
    command_line: CommandLine, sshd: Sshd, slurm_env: SlurmCluster, diary: Diary
) -> None:
    before = _jobs(slurm_env)
    _write(command_line, sshd, [diary.task(f"t{i}", diary.gate()) for i in range(4)])
    run_id = command_line.new_run("campaign")
    engine = command_line.start("run", "loop", run_id)
    wait_until(lambda: len(diary.started()) == 4, PATIENCE_S, "the jobs")
    engine.kill()
    sshd.cut()
    diary.open()

    command_line.ok("run", "loop", "--until-done", run_id)

    assert Counter(diary.ended()) == Counter(f"t{i}" for i in range(4))
    assert len(_jobs(slurm_env) - before) == 4
    assert command_line.status(run_id)["status"] == "COMPLETED"


def test_logs_are_followed_while_the_job_runs_and_a_cancel_ends_it(
    command_line: CommandLine, sshd: Sshd, slurm_env: SlurmCluster, diary: Diary
) -> None:
    _write(command_line, sshd, [diary.task("talks", f"echo hello; {diary.gate()}")])
    run_id = command_line.new_run("campaign")
    engine = command_line.start("run", "loop", "--until-done", run_id)
    wait_until(lambda: diary.started() != [], PATIENCE_S, "the job")
    reader = command_line.start("run", "logs", "--follow", run_id, "talks")

    wait_until(lambda: reader.stdout == "hello\n", PATIENCE_S, "what it said")
    said = command_line.ok("run", "cancel", run_id)

    assert f"run {run_id} is CANCELLED" in said
    assert engine.wait().exit_code == 1
    assert slurm_env.output("squeue", "--noheader") == ""


def test_a_job_by_hand_is_submitted_where_its_script_says_and_its_outputs_come_home(
    command_line: CommandLine, sshd: Sshd, slurm_env: SlurmCluster
) -> None:
    hand = {
        "id": "hand",
        "operator": "manual_hpc",
        "command": ["sh", "-c", "expr $(cat given) + 1 > sum; exit 3"],
        "inputs": {"given": "seed/seed"},
        "depends_on": ["seed"],
        "outputs": ["sum"],
        "allow_failure": True,
    }
    seed = {"id": "seed", "command": ["sh", "-c", "echo 41 > seed"], "outputs": ["seed"]}
    _write(command_line, sshd, [seed, hand])
    run_id = command_line.new_run("campaign")
    engine = command_line.start("run", "loop", "--until-done", run_id)
    wait_until(lambda: _has_job(command_line, run_id, "hand"), PATIENCE_S, "the question")

    shown = command_line.run("respond", run_id, "hand")
    place = shown.stdout.partition("the script to submit: ")[2].splitlines()[0]
    script, host = place.split(" on ")
    handed_out = command_line.run_folder("campaign", run_id) / "tasks" / "hand" / "1"
    job_id = slurm_env.output("sbatch", "--parsable", script)
    command_line.ok("respond", run_id, "hand", "--set", f"job_id={job_id}")

    assert engine.wait().exit_code == 0, engine.stderr
    assert host == sshd.config["host"]
    assert Path(script).is_relative_to(sshd.workdir)
    assert (
        f"# To be submitted on {host}: sbatch {shlex.quote(script)}\n" in (handed_out / "job.sh").read_text()
    )
    assert (handed_out / "sum").read_text() == "42\n"
    task = command_line.tasks(run_id)["hand"]
    assert (task["status"], task["attempts"][0]["exit_code"]) == ("FAILED", 3)


def test_tasks_and_config_are_amended_behind_ssh_while_a_job_is_at_work_there(
    command_line: CommandLine, sshd: Sshd, diary: Diary
) -> None:
    tasks = [
        diary.task("works", diary.gate()),
        diary.task("waits", 'echo "$GIVEN $SITE" > out', depends_on=["works"], outputs=["out"]),
        diary.task("fails", '[ "$GIVEN" = enough ]'),
    ]
    _write(command_line, sshd, tasks)
    run_id = command_line.new_run("campaign")
    engine = command_line.start("run", "loop", "--until-done", run_id)
    wait_until(
        lambda: command_line.tasks(run_id).get("fails", {}).get("status") == "FAILED", PATIENCE_S, "a failure"
    )
    wait_until(lambda: "works" in diary.started(), PATIENCE_S, "a job at work")

    amend = ("run", "amend", run_id, "--yes")
    command_line.ok(*amend, "waits", "--set", "env.GIVEN=given")
    command_line.ok(*amend, "--config", 'backends.cluster.prologue=["export SITE=mended"]')
    command_line.ok("run", "retry", run_id, "fails", "--set", "env.GIVEN=enough", "--yes")
    elsewhere = command_line.run(*amend, "--config", "backends.cluster.ssh.host=elsewhere")
    refused = command_line.run(*amend, "--config", "backends.cluster.partition=nowhere")
    diary.open()

    assert engine.wait().exit_code == 0, engine.stderr
    assert (elsewhere.exit_code, "live there" in elsewhere.stderr) == (4, True), elsewhere
    assert (refused.exit_code, "partition='nowhere', which does not exist" in refused.stderr) == (4, True), (
        refused
    )
    assert Counter(diary.started()) == Counter({"works": 1, "waits": 1, "fails": 2})
    folder = command_line.run_folder("campaign", run_id) / "tasks" / "waits" / "1"
    assert (folder / "out").read_text() == "given mended\n"
    assert "SITE" not in (folder.parents[1] / "works" / "1" / "job.sh").read_text()
