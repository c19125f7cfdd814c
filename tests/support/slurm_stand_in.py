"""A stand-in for Slurm's commands, as small as the jobs of a stored root need it: files in one folder.

python slurm_stand_in.py FOLDER COMMAND [ARGUMENT]...

Jobs are processes of this machine.  What Slurm itself does is proven with Slurm elsewhere; here it is only
asked about jobs that an earlier engine left.  Used by `make_root_020.py` and by the tests of its root.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

COMMANDS = ("sbatch", "squeue", "sacct", "scancel", "scontrol")
SQUEUE = "JOBID|STATE|REASON|NODELIST|NAME"
SACCT = "JobID|State|ExitCode|NodeList|Start|End|JobName"
FIRST_JOB = 4711
NODE = "node1"


def install(folder: Path) -> Path:
    """Make the commands; returns the folder for ``PATH``."""
    (folder / "jobs").mkdir(parents=True)
    bin_folder = folder / "bin"
    bin_folder.mkdir()
    for name in COMMANDS:
        program = bin_folder / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {folder} {name} "$@"\n')
        program.chmod(0o755)
    return bin_folder


def start_job(
    folder: Path, job_id: int, name: str, script: Path, environment: Mapping[str, str] = os.environ
) -> None:
    """Run a job's script as the job of this number."""
    _take_number(folder, job_id)
    ended = folder / "jobs" / f"{job_id}.ended"
    line = f'/bin/bash "$0" >>scheduler.log 2>&1; echo $? >{ended}.part; mv {ended}.part {ended}'
    pid = started_apart(
        ["/bin/bash", "-c", line, str(script)], script.parent, {**environment, "SLURM_JOB_ID": str(job_id)}
    )
    job = {"id": job_id, "name": name, "pid": pid}
    part = folder / "jobs" / f".{job_id}"
    part.write_text(json.dumps(job))
    part.rename(folder / "jobs" / f"{job_id}.json")


def started_apart(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> int:
    """Start a program in a session of its own, and as nobody's child, as jobs are whose engine is gone."""
    # A shell starts what it does not wait for with these ignored.
    line = 'exec setsid env --default-signal=INT,QUIT -- "$0" "$@" </dev/null >/dev/null 2>&1 & echo $!'
    started = subprocess.run(
        ["/bin/sh", "-c", line, *command],
        cwd=folder,
        env=dict(environment),
        stdout=subprocess.PIPE,
        check=True,
    )
    return int(started.stdout)


def jobs(folder: Path) -> list[dict[str, Any]]:
    """All jobs that there ever were."""
    return [json.loads(path.read_text()) for path in sorted((folder / "jobs").glob("*.json"))]


def submit(folder: Path, arguments: Sequence[str]) -> int:
    """Run ``sbatch``: a name in ``hang-before`` or ``hang-after`` hears nothing of what became of it."""
    options = dict(word.partition("=")[::2] for word in arguments)
    if "--array" in options:
        print("sbatch: error: no arrays here", file=sys.stderr)
        return 1
    script = Path(arguments[-1])
    task = script.parents[1].name
    _hang_if_listed(folder / "hang-before", task)
    job_id = next(number for number in itertools.count(FIRST_JOB) if _take_number(folder, number))
    start_job(folder, job_id, options["--job-name"], script)
    _hang_if_listed(folder / "hang-after", task)
    print(job_id)
    return 0


def _take_number(folder: Path, job_id: int) -> bool:
    try:
        (folder / "jobs" / f"{job_id}.taken").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _hang_if_listed(file: Path, task: str) -> None:
    if file.exists() and task in file.read_text().split():
        file.with_name(f"{file.name}.{task}").touch()
        time.sleep(3600)


def _exit_code(folder: Path, job_id: int) -> int | None:
    try:
        return int((folder / "jobs" / f"{job_id}.ended").read_text())
    except FileNotFoundError:
        return None


def main(folder: Path, command: str, arguments: Sequence[str]) -> int:
    """Run one command."""
    ended = {job["id"]: _exit_code(folder, job["id"]) for job in jobs(folder)}
    match command, list(arguments):
        case "sbatch", _:
            return submit(folder, arguments)
        case "squeue", _:
            alive = [job for job in jobs(folder) if ended[job["id"]] is None]
            print(SQUEUE, *(f"{job['id']}|RUNNING|None|{NODE}|{job['name']}" for job in alive), sep="\n")
        case "sacct", _:
            print(SACCT)
            for job in jobs(folder):
                code = ended[job["id"]]
                state = "RUNNING" if code is None else "FAILED" if code else "COMPLETED"
                print(f"{job['id']}|{state}|{code or 0}:0|{NODE}|Unknown|Unknown|{job['name']}")
        case "scancel", job_ids:
            for job in jobs(folder):
                if str(job["id"]) in job_ids and ended[job["id"]] is None:
                    os.killpg(job["pid"], 9)
                    (folder / "jobs" / f"{job['id']}.ended").write_text("137")
        case "scontrol", ["show", "config"]:
            print("AccountingStorageType = accounting_storage/slurmdbd")
        case _:
            print(f"{command}: error: not here", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
