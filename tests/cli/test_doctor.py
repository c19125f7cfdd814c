"""``matterstack doctor`` tells what works, names each problem with what to do, and always comes to an end."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.backends.conftest import Shims
from tests.cli.test_show_script import CLUSTER
from tests.support.campaigns import write_tasks, write_workspace
from tests.support.command import CommandLine
from tests.support.on_terminal import on_terminal
from tests.support.slurm_cluster import SlurmCluster
from tests.support.sshd import Sshd


def examined(command_line: CommandLine, *options: str, exit_code: int = 0, **keys: Any) -> dict[str, Any]:
    """The findings by check; those that are not ok each say what to do in one line, the others nothing."""
    done = command_line.run("doctor", "--json", *options, **keys)
    assert (done.exit_code, done.stderr) == (exit_code, "")
    findings = json.loads(done.stdout)
    for finding in findings:
        assert set(finding) == {"check", "ok", "detail", "action"}
        assert finding["detail"]
        assert finding["ok"] == (finding["action"] == ""), finding
        assert "\n" not in finding["action"]
    assert exit_code == (0 if all(finding["ok"] for finding in findings) else 1)
    by_check = {finding["check"]: finding for finding in findings}
    assert len(by_check) == len(findings)
    return by_check


def problems(found: dict[str, Any]) -> list[str]:
    return [check for check, finding in found.items() if not finding["ok"]]


def use_cluster(command_line: CommandLine, **cluster: Any) -> None:
    config = {"default_backend": "cluster", "backends": {"cluster": {**CLUSTER, **cluster}}}
    write_workspace(command_line.root, "w", "", config=config)


# ---- this machine ----


def test_without_slurm_a_root_of_this_machine_is_sound(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tasks(command_line.root, "w", [])
    monkeypatch.setenv("PATH", "/nowhere")
    found = examined(command_line)
    assert list(found) == [
        "python", "matterstack", "trio", "sqlite", "root", "one host", "disk space", "inodes", "access",
        "config of the site", "config of w", "slurm",
    ]  # fmt: skip
    assert "not installed here, and no workspace needs it" in found["slurm"]["detail"]
    assert "journal mode WAL, synchronous FULL" in found["root"]["detail"]
    assert "a local file system" in found["root"]["detail"]


def test_it_works_where_no_root_is_but_not_where_a_named_one_is_missing(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    found = examined(command_line, cwd=command_line.home)
    assert found["root"]["detail"] == "none here, so only this machine is looked at"
    environment = {"MATTERSTACK_ROOT": "/nowhere"}
    named = examined(command_line, cwd=command_line.home, env=environment, exit_code=1)
    assert problems(named) == ["root"]
    assert named["root"]["action"] == "make one with: matterstack init /nowhere"


def test_slurm_that_is_not_set_up_matters_only_where_a_workspace_needs_it(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURM_CONF", raising=False)
    config = {"backends": {"local": {"type": "local"}, "cluster": CLUSTER}}
    write_workspace(command_line.root, "w", "", config=config)
    told = "its commands are here, but no configuration (slurm.conf)"
    assert examined(command_line)["slurm"]["detail"].startswith(f"{told}, and no workspace needs it")
    use_cluster(command_line)
    needed = examined(command_line, exit_code=1)
    assert problems(needed) == ["slurm"]
    assert needed["slurm"]["detail"] == f"{told} (for: cluster)"


def test_a_missing_slurm_matters_only_where_a_workspace_needs_it(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    use_cluster(command_line)
    found = examined(command_line, exit_code=1)
    assert problems(found) == ["slurm"]
    assert found["slurm"]["detail"] == "sinfo: no such command on this machine (for: cluster)"
    assert "login node" in found["slurm"]["action"]


def test_every_config_is_looked_at_and_the_wrong_one_is_named(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    write_tasks(command_line.root, "good", [])
    bad = write_workspace(command_line.root, "bad", "", config={"priorty": 2})
    found = examined(command_line, exit_code=1)
    assert problems(found) == ["config of bad"]
    assert (
        found["config of bad"]["detail"] == f"{bad}/config.json: priorty: unknown key; did you mean priority?"
    )
    assert found["config of bad"]["action"] == f"mend {bad}/config.json"
    site = command_line.home / ".config" / "matterstack" / "config.json"
    site.parent.mkdir(parents=True)
    site.write_text("{")
    found = examined(command_line, exit_code=1)
    assert problems(found) == ["config of the site"], "and not each workspace again"
    assert found["config of the site"]["action"] == f"mend {site}"


def test_an_engine_of_another_host_is_told(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    write_tasks(command_line.root, "w", [])
    command_line.new_run("w")
    command_line.check_at_end = False
    store = command_line.root / ".matterstack" / "state.db"
    with contextlib.closing(sqlite3.connect(store)) as connection, connection:
        connection.execute("UPDATE runs SET lease_host = 'login7', lease_boot_id = 'x', lease_pid = 41")
    found = examined(command_line)
    assert "process 41 on login7 serves a run of this root, or did before" in found["one host"]["detail"]


# ---- a cluster ----


def test_a_sound_cluster_is_told_with_its_partitions_and_limits(
    command_line: CommandLine, slurm_env: SlurmCluster
) -> None:
    use_cluster(command_line, partition="short")
    slurm_env.run("sacctmgr", "-i", "modify", "qos", "normal", "set", "MaxSubmitJobsPerUser=700")
    try:
        found = examined(command_line)
    finally:
        slurm_env.run("sacctmgr", "-i", "modify", "qos", "normal", "set", "MaxSubmitJobsPerUser=-1")
    assert found["slurm"]["detail"] == "slurm-wlm 22.05.8"
    assert " is UP; squeue took " in found["controller"]["detail"]
    partitions = found["partitions"]["detail"].split("; ")
    assert "main* (3 x [4 cpus, 4000 MiB])" in partitions
    assert "short (3 x [4 cpus, 4000 MiB], at most 0:01:00)" in partitions
    assert "closed (3 x [4 cpus, 4000 MiB], DOWN)" in partitions
    assert found["backend cluster"]["detail"] == "jobs go to partition short"
    assert found["accounting"]["detail"].startswith("sacct took ")
    assert "qos normal: MaxSubmitJobsPerUser 700" in found["your limits"]["detail"]
    assert found["clock of the controller"]["detail"] == "the same as far as can be told"


@pytest.mark.usefixtures("slurm_env")
@pytest.mark.parametrize(
    ("cluster", "detail", "action"),
    [
        (
            {"partition": "mian"},
            "partition='mian', which does not exist",
            "change what backend cluster asks for",
        ),
        (
            {"partition": "closed"},
            "partition='closed', which starts no jobs: it is DOWN",
            "or name another partition",
        ),
        (
            {"constraint": "avx"},
            "constraint='avx', but no node of partition main has it",
            "change what backend",
        ),
    ],
)
def test_a_backend_that_asks_for_what_is_not_there_is_a_problem(
    command_line: CommandLine, cluster: dict[str, str], detail: str, action: str
) -> None:
    use_cluster(command_line, **cluster)
    found = examined(command_line, exit_code=1)
    assert problems(found) == ["backend cluster"]
    assert detail in found["backend cluster"]["detail"]
    assert action in found["backend cluster"]["action"]


def test_a_controller_that_is_down_is_one_problem(command_line: CommandLine, slurm_env: SlurmCluster) -> None:
    use_cluster(command_line)
    slurm_env.kill_controller()
    found = examined(command_line, "--submit", exit_code=1)
    assert problems(found) == ["controller", "shared folder (cluster)"]
    assert "is DOWN" in found["controller"]["detail"]
    assert "no job was submitted" in found["shared folder (cluster)"]["detail"]
    assert found["accounting"]["ok"]


def test_a_controller_that_hangs_does_not_hang_the_doctor(
    command_line: CommandLine, slurm_env: SlurmCluster
) -> None:
    use_cluster(command_line)
    slurm_env.stop_controller_answering()
    assert problems(examined(command_line, exit_code=1)) == ["controller"]


def test_a_munge_that_is_down_is_not_taken_for_a_controller_that_is(
    command_line: CommandLine, slurm_env: SlurmCluster
) -> None:
    use_cluster(command_line)
    slurm_env.kill_munge()
    found = examined(command_line, exit_code=1)
    assert problems(found) == ["controller", "accounting"]
    for check in ("controller", "accounting"):
        assert found[check]["detail"].startswith("Munge encode failed: ")
        assert found[check]["action"].startswith("munged must run on this machine")


def test_an_accounting_that_is_down_is_one_problem(
    command_line: CommandLine, slurm_env: SlurmCluster
) -> None:
    use_cluster(command_line)
    slurm_env.kill_accounting()
    found = examined(command_line, exit_code=1)
    assert problems(found) == ["accounting"]
    assert "Connection refused" in found["accounting"]["detail"]


@pytest.mark.usefixtures("slurm_env")
def test_a_cluster_without_accounting_is_sound(command_line: CommandLine, shims: Shims) -> None:
    use_cluster(command_line)
    shims.add("sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")
    assert "keeps none" in examined(command_line)["accounting"]["detail"]


@pytest.mark.usefixtures("slurm_env")
def test_commands_that_never_answer_are_given_up(command_line: CommandLine, shims: Shims) -> None:
    use_cluster(command_line)
    shims.add("squeue", "exec sleep 1000")
    shims.add("sacct", "exec sleep 1000")
    found = examined(command_line, exit_code=1)
    assert problems(found) == ["controller", "accounting"]
    assert found["controller"]["detail"] == "squeue gave no answer within 10 s"
    assert found["accounting"]["detail"] == "sacct gave no answer within 10 s"


@pytest.mark.usefixtures("slurm_env")
def test_a_clock_that_is_wrong_is_told(command_line: CommandLine, shims: Shims) -> None:
    use_cluster(command_line)
    shims.add("scontrol", _LATE)
    found = examined(command_line, exit_code=1)
    assert problems(found) == ["clock of the controller"]
    assert "ahead of that of this machine" in found["clock of the controller"]["detail"]


# The controller shows its clock in the first line; here it is a day ahead.
_LATE = """\
"$REAL" "$@" | while IFS= read -r line; do
    case $line in
        "Configuration data as of "*) date -d tomorrow '+Configuration data as of %Y-%m-%dT%H:%M:%S' ;;
        *) printf '%s\\n' "$line" ;;
    esac
done"""


# ---- a real job ----


def test_a_test_job_proves_that_nodes_see_the_folder_and_leaves_nothing(
    command_line: CommandLine, slurm_env: SlurmCluster
) -> None:
    use_cluster(command_line)
    found = examined(command_line, "--submit")
    assert "wrote into it, and it was seen here" in found["shared folder (cluster)"]["detail"]
    (clock,) = [check for check in found if check.startswith("clock of ") and "controller" not in check]
    assert found[clock]["detail"] == "the same as far as can be told"
    assert_nothing_is_left(command_line, slurm_env)


def test_a_job_that_writes_elsewhere_shows_that_the_folder_is_not_shared(
    command_line: CommandLine, slurm_env: SlurmCluster, shims: Shims
) -> None:
    use_cluster(command_line)
    # The job goes to its end, but on a disk that is not this one.
    shims.add("sbatch", 'exec "$REAL" "${@:1:$#-1}" --wrap true')
    found = examined(command_line, "--submit", exit_code=1)
    assert problems(found) == ["shared folder (cluster)"]
    told = found["shared folder (cluster)"]
    assert "ended (COMPLETED), but wrote nothing that is seen here" in told["detail"]
    assert "put the root on a file system that the compute nodes share" in told["action"]
    assert_nothing_is_left(command_line, slurm_env)


def test_a_job_that_gets_no_turn_is_cancelled(command_line: CommandLine, slurm_env: SlurmCluster) -> None:
    use_cluster(command_line, extra={"hold": ""})
    found = examined(command_line, "--submit", "--wait", "2", exit_code=1)
    assert problems(found) == ["shared folder (cluster)"]
    assert "it was PENDING (JobHeldUser); cancelled" in found["shared folder (cluster)"]["detail"]
    assert_nothing_is_left(command_line, slurm_env)


def test_a_job_that_sbatch_refuses_is_told_in_its_words(
    command_line: CommandLine, slurm_env: SlurmCluster
) -> None:
    use_cluster(command_line, account="nobodys")
    found = examined(command_line, "--submit", exit_code=1)
    assert "Invalid account" in found["shared folder (cluster)"]["detail"]
    assert_nothing_is_left(command_line, slurm_env)


def assert_nothing_is_left(command_line: CommandLine, cluster: SlurmCluster) -> None:
    assert cluster.output("squeue", "--noheader", "--all", "--format=%j %T").split() == []
    assert list((command_line.root / ".matterstack").iterdir()) == []


# ---- behind ssh ----


def test_a_cluster_behind_ssh_is_examined_there(command_line: CommandLine, sshd: Sshd) -> None:
    use_cluster(command_line, ssh=sshd.config)
    found = examined(command_line)
    assert found["ssh cluster"]["detail"].endswith("without a question (for cluster)")
    assert found["workdir on cluster"]["detail"].startswith(f"{sshd.workdir}: ")
    assert " is UP; squeue took " in found["controller on cluster"]["detail"]
    assert found["backend cluster"]["detail"] == "jobs go to partition main"
    assert "slurm" not in found, "none is expected here"


def test_what_is_wrong_with_ssh_is_told_apart(command_line: CommandLine, sshd: Sshd) -> None:
    use_cluster(command_line, ssh=sshd.config)
    sshd.new_host_key()
    sshd.stop()
    assert "takes no ssh connections" in examined(command_line, exit_code=1)["ssh cluster"]["detail"]
    sshd.go_on()
    changed = examined(command_line, exit_code=1)["ssh cluster"]
    assert "the host key of cluster has changed" in changed["detail"]
    assert "known_hosts" in changed["action"]


def test_a_workdir_that_is_not_there_is_told(command_line: CommandLine, sshd: Sshd) -> None:
    use_cluster(command_line, ssh={**sshd.config, "workdir": "/nowhere"})
    found = examined(command_line, exit_code=1)
    assert problems(found) == ["workdir on cluster"]
    assert found["workdir on cluster"]["action"] == "make it: ssh cluster mkdir -p /nowhere"


# ---- for people ----


def test_people_get_a_table_that_fits_and_a_line_for_each_problem(
    command_line: CommandLine, slurm_env: SlurmCluster
) -> None:
    use_cluster(command_line)
    slurm_env.kill_accounting()
    text = on_a_terminal(command_line, "doctor")
    lines = text.splitlines()
    assert max(len(line) for line in lines) <= 100
    assert "PROBLEM   accounting " in text
    assert lines[-2] == "What to do:"
    assert lines[-1].startswith("  accounting: runs go on without it")
    slurm_env.start_accounting()
    assert command_line.ok("doctor").endswith("\nEverything that was looked at works.\n")


def on_a_terminal(command_line: CommandLine, *words: str) -> str:
    """What a command prints on a terminal of 100 columns, without colours."""
    done = on_terminal(command_line, *words, NO_COLOR="1", TERM="dumb")
    return done.stdout.replace("\r\n", "\n")


# ---- self-test ----


def test_the_self_test_runs_a_campaign_here_and_leaves_nothing(
    command_line: CommandLine, tmp_path: Path
) -> None:
    done = command_line.run("self-test", env={"TMPDIR": str(tmp_path / "home")})
    assert done.exit_code == 0
    assert "on local: COMPLETED after 2 rounds" in done.stdout
    assert "8 succeeded, 0 failed" in done.stdout
    assert done.stdout.endswith("It works.\n")
    assert list((tmp_path / "home").iterdir()) == []


@pytest.mark.usefixtures("slurm_env")
def test_the_self_test_runs_on_a_backend_of_the_config(command_line: CommandLine) -> None:
    use_cluster(command_line)
    report = command_line.json("self-test", "--backend", "cluster")
    assert (report["ok"], report["backend"], report["problems"], report["root"]) == (
        True,
        "cluster",
        [],
        None,
    )
    assert report["run"]["tasks"]["SUCCEEDED"] == 8
    assert not list((command_line.root / ".matterstack").glob("self-test-*"))
    unknown = command_line.run("self-test", "--backend", "clutser", "--json")
    assert (unknown.exit_code, unknown.error["code"]) == (3, "not_found")
    assert "there are: cluster" in unknown.error["message"]


def test_a_self_test_that_gets_no_turn_leaves_no_job_and_says_where_to_look(
    command_line: CommandLine, slurm_env: SlurmCluster
) -> None:
    use_cluster(command_line, extra={"hold": ""})
    done = command_line.run("self-test", "--backend", "cluster", "--timeout", "3", "--json")
    report = json.loads(done.stdout)
    assert (done.exit_code, report["ok"], report["run"]["status"]) == (1, False, "CANCELLED")
    assert Path(report["root"]).is_relative_to(command_line.root)
    assert (Path(report["root"]) / "workspaces" / "quickstart" / "runs").is_dir()
    assert slurm_env.output("squeue", "--noheader", "--all", "--format=%i").split() == []
