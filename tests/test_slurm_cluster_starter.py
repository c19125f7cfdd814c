"""The private Slurm that other tests rely on: it runs jobs, breaks and mends as told, and leaves nothing."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.slurm_fixtures import StartCluster, make_idle, point_to
from tests.support.command import PATIENCE_S
from tests.support.polling import wait_until
from tests.support.ports import release_ports, reserve_ports, reserved_ports
from tests.support.process import Process
from tests.support.slurm_cluster import ClusterError, SlurmCluster, daemons
from tests.support.slurm_cluster.__main__ import main

PROJECT = Path(__file__).parents[1]


def submit(cluster: SlurmCluster, script: str, *options: str) -> str:
    return cluster.output("sbatch", "--parsable", "--output=/dev/null", *options, "--wrap", script)


def job_state(cluster: SlurmCluster, job: str) -> str:
    return cluster.output("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T")


def wait_for_state(cluster: SlurmCluster, job: str, state: str) -> None:
    wait_until(lambda: job_state(cluster, job) == state, PATIENCE_S, f"job {job} is {state}")


def processes_that_know(directory: Path) -> list[str]:
    """The command lines of all processes with a folder's name in arguments, environment or open files."""
    known = str(directory).encode()
    found = []
    for process in Process.all():
        folder = Path(f"/proc/{process.pid}")
        try:
            texts = [(folder / name).read_bytes() for name in ("cmdline", "environ")]
        except OSError:
            continue
        files = " ".join(process.open_files).encode()
        if process.pid != os.getpid() and any(known in text for text in [*texts, files]):
            found.append(texts[0].decode(errors="replace"))
    return found


def test_a_job_completes_in_squeue_and_in_sacct(slurm_env: SlurmCluster) -> None:
    job = submit(slurm_env, "exit 3", "--nodelist=n2")
    wait_for_state(slurm_env, job, "FAILED")

    def record() -> str:
        return slurm_env.output("sacct", "-X", "-n", "-P", "-j", job, "-o", "State,ExitCode,NodeList")

    wait_until(lambda: record() == "FAILED|3:0|n2", 10, "sacct knows the end of the job")


def test_the_environment_points_slurm_commands_to_the_cluster(
    slurm_cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SBATCH_PARTITION", "nowhere")
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    point_to(slurm_cluster, monkeypatch)
    shown = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, check=True).stdout
    assert slurm_cluster.config.name in shown
    assert {name for name in os.environ if name.startswith(("SLURM", "SBATCH"))} == {"SLURM_CONF"}


@pytest.mark.parametrize(
    ("partition", "reason"), [("closed", "PartitionDown"), ("short", "PartitionTimeLimit")]
)
def test_partitions_hold_what_they_cannot_run(slurm_env: SlurmCluster, partition: str, reason: str) -> None:
    job = submit(slurm_env, "true", f"--partition={partition}", "--time=5")
    state = ("squeue", "--noheader", f"--jobs={job}", "--format=%T %r")
    wait_until(lambda: slurm_env.output(*state) == f"PENDING {reason}", 10, reason)


def test_the_rootless_partition_refuses_root_alone(slurm_env: SlurmCluster) -> None:
    command = ("sbatch", "--partition=rootless", "--output=/dev/null", "--wrap=true")
    assert slurm_env.run(*command, check=False).returncode == (1 if os.geteuid() == 0 else 0)


def test_a_killed_controller_comes_back_with_its_nodes(slurm_env: SlurmCluster) -> None:
    slurm_env.kill_controller()
    down = slurm_env.status()
    assert not down.controller_answers
    assert down.daemons["slurmctld"] is None
    assert down.daemons["slurmd-n1"] is not None

    slurm_env.start_controller()
    assert slurm_env.status().is_up
    slurm_env.repair()  # without it, nodes that the controller forgot come back some seconds later
    wait_for_state(slurm_env, submit(slurm_env, "true"), "COMPLETED")


def test_a_hung_controller_takes_questions_and_answers_them_later(slurm_env: SlurmCluster) -> None:
    slurm_env.stop_controller_answering()
    with pytest.raises(subprocess.TimeoutExpired):
        slurm_env.run("squeue", timeout_s=0.5)
    slurm_env.continue_controller()
    assert slurm_env.run("squeue").returncode == 0


def test_sacct_fails_while_accounting_is_down(slurm_env: SlurmCluster) -> None:
    slurm_env.kill_accounting()
    refused = slurm_env.run("sacct", check=False)
    assert refused.returncode == 1
    # Refused, or cut off in the moment of the daemon's death.
    assert re.search("Connection refused|not connected", refused.stderr)
    slurm_env.start_accounting()
    assert slurm_env.run("sacct").returncode == 0


def test_a_broken_node_takes_its_jobs_along_and_can_be_resumed(slurm_env: SlurmCluster) -> None:
    script = "echo $$ >pid; exec sleep 600"
    folder = f"--chdir={slurm_env.config.directory}"
    doomed = submit(slurm_env, script, "--nodelist=n2", "--no-requeue", folder)
    spared = submit(slurm_env, "sleep 600", "--nodelist=n1")
    pid_file = slurm_env.config.directory / "pid"
    wait_until(lambda: pid_file.exists() and pid_file.read_text() != "", 10, "the job runs")
    wait_for_state(slurm_env, spared, "RUNNING")
    process = Process.of(int(pid_file.read_text()))

    slurm_env.fail_node("n2")
    assert process is not None
    assert not process.is_alive
    wait_for_state(slurm_env, doomed, "NODE_FAIL")
    assert job_state(slurm_env, spared) == "RUNNING"
    assert slurm_env.status().nodes["n2"].startswith("down")

    slurm_env.resume_node("n2")
    assert slurm_env.status().nodes["n2"] == "idle"


def test_slurm_is_not_told_of_a_node_that_breaks_silently(slurm_env: SlurmCluster) -> None:
    job = submit(slurm_env, "sleep 600", "--nodelist=n3")
    wait_for_state(slurm_env, job, "RUNNING")
    slurm_env.fail_node("n3", silent=True)
    assert job_state(slurm_env, job) == "RUNNING"


def test_whatever_a_test_broke_the_next_one_finds_the_cluster_whole_and_idle(
    slurm_env: SlurmCluster,
) -> None:
    submit(slurm_env, "trap '' TERM; while :; do sleep 1; done")
    submit(slurm_env, "true", "--hold", "--array=1-50")
    submit(slurm_env, "sleep 600", "--partition=low", "--exclusive", "--nodes=3")
    slurm_env.fail_node("n1")
    slurm_env.kill_accounting()
    slurm_env.kill_controller()
    make_idle(slurm_env)
    assert slurm_env.status().is_up
    assert set(slurm_env.status().nodes.values()) == {"idle"}
    assert slurm_env.output("squeue", "--noheader") == ""


def test_clusters_side_by_side_do_not_meet(
    slurm_env: SlurmCluster, start_slurm_cluster: StartCluster
) -> None:
    other = start_slurm_cluster(nodes=1, cpus=2, memory_mib=500, settings={"maxarraysize": "11"})
    assert other.config.directory != slurm_env.config.directory
    assert other.config.base_port != slurm_env.config.base_port
    ours, theirs = submit(slurm_env, "sleep 600"), submit(other, "sleep 600")
    wait_for_state(slurm_env, ours, "RUNNING")
    wait_for_state(other, theirs, "RUNNING")
    assert "MaxArraySize            = 11\n" in other.run("scontrol", "show", "config").stdout
    with pytest.raises(ClusterError, match="without accounting"):
        other.kill_accounting()

    other.stop()
    assert job_state(slurm_env, ours) == "RUNNING"
    assert slurm_env.status().is_up
    assert not other.status().is_up


def test_a_stopped_cluster_leaves_no_process_no_port_and_no_file(start_slurm_cluster: StartCluster) -> None:
    cluster = start_slurm_cluster(nodes=2)
    directory = cluster.config.directory
    escaped = "setsid sh -c 'trap \"\" TERM; while :; do sleep 1; done' & echo $! >pid; sleep 600"
    submit(cluster, escaped, f"--chdir={directory}")
    wait_until((directory / "pid").exists, 10, "the job runs")
    assert processes_that_know(directory)
    assert reserved_ports(directory) == [cluster.config.base_port]

    cluster.stop(purge=True)
    assert processes_that_know(directory) == []
    assert reserved_ports(directory) == []
    assert not directory.exists()
    cluster.stop(purge=True)  # once more does no harm


@pytest.mark.usefixtures("processes")
def test_a_guarded_cluster_does_not_outlive_a_killed_session() -> None:
    session = (
        "import signal\n"
        "from tests.slurm_fixtures import _temporary_cluster\n"
        "with _temporary_cluster(nodes=1) as cluster:\n"
        "    cluster.run('sbatch', '--output=/dev/null', '--wrap', 'sleep 600')\n"
        "    print(cluster.config.directory, flush=True)\n"
        "    signal.pause()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", session], stdout=subprocess.PIPE, text=True, cwd=PROJECT
    ) as child:
        assert child.stdout is not None
        directory = Path(child.stdout.readline().strip())
        assert SlurmCluster.open(directory).status().is_up
        child.send_signal(signal.SIGKILL)
    wait_until(lambda: not directory.exists(), 15, "the folder is gone")
    wait_until(lambda: processes_that_know(directory) == [], 5, "the guard has ended as well")
    assert reserved_ports(directory) == []


@pytest.mark.usefixtures("processes")
def test_a_developer_drives_a_cluster_by_hand(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    directory = str(tmp_path)
    assert main(["status", directory]) == 1
    assert "holds no cluster" in capsys.readouterr().err
    try:
        assert main(["up", directory, "--nodes", "1", "--set", "KillWait=1"]) == 0
        assert main(["up", directory]) == 1
        assert "running cluster" in capsys.readouterr().err
        assert main(["env", directory]) == 0
        assert capsys.readouterr().out == f"export SLURM_CONF={directory}/etc/slurm.conf\n"
        assert main(["kill-controller", directory]) == 0
        assert main(["status", directory]) == 1
        assert "slurmctld down\n" in capsys.readouterr().out
        assert main(["repair", directory]) == 0
        assert main(["wait-idle", directory]) == 0
        assert main(["status", directory]) == 0
    finally:
        assert main(["down", directory, "--purge"]) == 0
    assert not tmp_path.exists()


def test_missing_programs_are_named_with_the_line_that_installs_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(daemons, "_PATH", str(tmp_path))
    with pytest.raises(
        ClusterError, match=r"slurmctld, .*slurmdbd(.|\n)*apt-get install .* slurmctld .* slurmdbd"
    ):
        SlurmCluster.start(tmp_path, accounting=True)


@pytest.mark.parametrize(("name", "complaint"), [("a" * 80, "characters"), ("a b", "letters, digits")])
def test_a_folder_that_slurm_could_not_use_is_refused(tmp_path: Path, name: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        SlurmCluster.start(tmp_path / name)
    assert not (tmp_path / name).exists()


def test_a_folder_with_other_things_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(ClusterError, match="not empty"):
        SlurmCluster.start(tmp_path)
    assert reserved_ports(tmp_path) == []


@pytest.mark.usefixtures("processes")
def test_a_daemon_that_does_not_start_is_reported_with_its_log_and_nothing_stays(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"(?i)slurm(.|\n)*nonsense"):
        SlurmCluster.start(tmp_path, nodes=1, settings={"SelectType": "select/nonsense"})
    assert processes_that_know(tmp_path) == []
    assert reserved_ports(tmp_path) == []


@pytest.mark.usefixtures("processes")
def test_a_block_of_ports_has_one_owner_until_it_is_released_or_abandoned(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    base = reserve_ports(one, lambda _: False)
    try:
        assert reserve_ports(one, lambda _: False) != base, "its process lives, so it is not void"
        release_ports(two, base)
        assert base in reserved_ports(one), "only the owner releases"
    finally:
        for reserved in reserved_ports(one):
            release_ports(one, reserved)
    assert reserved_ports(one) == []

    reserve = (
        "import sys, pathlib, tests.support.ports\n"
        "print(tests.support.ports.reserve_ports(pathlib.Path(sys.argv[1]), bool))"
    )
    done = subprocess.run(
        [sys.executable, "-c", reserve, str(one)], capture_output=True, text=True, check=True, cwd=PROJECT
    )
    try:
        assert done.stdout == f"{base}\n"
        assert reserve_ports(one, lambda _: True) != base, "something runs in the folder of its owner"
        release_ports(one, reserved_ports(one)[-1])
        assert reserve_ports(one, lambda _: False) == base, "abandoned: its process has ended"
    finally:
        for reserved in reserved_ports(one):
            release_ports(one, reserved)


@pytest.mark.usefixtures("processes")
def test_a_process_with_another_start_time_is_never_signalled() -> None:
    with subprocess.Popen(["sleep", "600"]) as child:
        real = Process.of(child.pid)
        assert real is not None
        Process(child.pid, real.start_time + 1).send(signal.SIGKILL)
        assert real.is_alive
        real.send(signal.SIGTERM)
        assert real.wait(10)
    assert child.returncode == -signal.SIGTERM


def test_waiting_in_vain_tells_for_what() -> None:
    with pytest.raises(TimeoutError, match="waited 0 s in vain for: snow in June"):
        wait_until(lambda: False, 0, "snow in June")
