"""What Slurm, its jobs, ssh and rsync make is open to nobody else either, whatever the umask."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.campaigns import write_tasks
from tests.support.command import CommandLine
from tests.support.slurm_cluster import SlurmCluster
from tests.support.sshd import Sshd
from tests.support.users import modes_below

TIMES = {"poll_interval_s": 0.3, "grace_period_s": 0.5, "command_timeout_s": 20}
OPEN = ["sh", "-c", 'umask 000; exec "$@"', "sh"]


def _run(command_line: CommandLine, **cluster: object) -> Path:
    """Run a job of a root that was made without any umask; returns the folder of its run."""
    made = "mkdir out && echo 1 > out/file"
    size = {"memory_mib": 20}
    task = {"id": "a", "command": ["sh", "-c", made], "outputs": ["out/*"], "resources": size}
    folder = write_tasks(command_line.root, "w", [task])
    backends = {"cluster": {"type": "slurm", **TIMES, **cluster}}
    (folder / "config.json").write_text(json.dumps({"default_backend": "cluster", "backends": backends}))
    command_line.wrapper = OPEN
    command_line.ok("run", "start", "w")
    return next((folder / "runs").iterdir())


def _assert_closed(folder: Path) -> None:
    for name, mode in modes_below(folder).items():
        allowed = {"750"} if (folder / name).is_dir() else {"640", "600", "750"}
        assert mode in allowed, (name, mode)


def test_jobs_of_a_cluster_leave_nothing_that_others_can_open(
    command_line: CommandLine, slurm_env: SlurmCluster
) -> None:
    assert slurm_env.output("sinfo")
    run = _run(command_line)
    _assert_closed(run)
    assert {"scheduler.log", "stdout.log", "exit.json", "claim", "out"} <= set(
        modes_below(run / "tasks" / "a" / "1")
    )
    assert set(modes_below(command_line.root / ".matterstack").values()) == {"700", "600"}


def test_behind_ssh_neither_side_has_anything_that_others_can_open(
    command_line: CommandLine, sshd: Sshd
) -> None:
    run = _run(command_line, ssh=sshd.config)
    _assert_closed(run)
    assert (run / "tasks" / "a" / "1" / "out" / "file").exists()
    [there] = [path for path in Path(str(sshd.config["workdir"])).glob("matterstack/*") if path.is_dir()]
    assert modes_below(there)["."] == "700"
    private = modes_below(command_line.root / ".matterstack")
    assert private["."] == "700"
    # rsync makes folders in it where things land, as open as they are to be in the run.
    assert [name for name, mode in private.items() if int(mode, 8) & 0o027] == []


def test_in_a_root_that_is_shared_what_comes_home_is_the_group_s_too(
    command_line: CommandLine, sshd: Sshd
) -> None:
    (command_line.root / "config.json").write_text('{"share": "group"}')
    run = _run(command_line, ssh=sshd.config)
    modes = modes_below(run)
    attempt = run / "tasks" / "a" / "1"
    came = [attempt / name for name in ("claim/job_id", "exit.json", "stdout.log", "out/file")]
    assert [name for name in came if str(name.relative_to(run)) not in modes] == []
    wrong = {n: m for n, m in modes.items() if m != ("2770" if (run / n).is_dir() else "660")}
    assert {n: m for n, m in wrong.items() if m != "770"} == {}
