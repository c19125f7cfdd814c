"""The scheduler: it runs the jobs of a spool, the oldest first, as long as there are CPUs for them.

    python -m matterstack_toy.spool FOLDER

One at a time works on a spool; it ends when there is nothing more to do.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

FOLDERS = ("waiting", "running", "ended", "cancelled", "to-cancel")
INTERVAL_S = 0.05


def is_at_work(spool: Path) -> bool:
    """Whether a process works on this spool."""
    with (spool / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def work(spool: Path) -> None:
    """Run jobs until none is left."""
    free = os.cpu_count() or 1
    at_work: dict[Path, tuple[subprocess.Popen[bytes], int]] = {}
    while spool.is_dir():
        for job, (process, cpus) in list(at_work.items()):
            told = spool / "to-cancel" / job.name
            if process.poll() is None and told.exists():
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if process.returncode is not None:
                job.rename(spool / ("cancelled" if told.exists() else "ended") / job.name)
                del at_work[job]
                free += cpus
        waiting = sorted((spool / "waiting").iterdir(), key=lambda job: job.stat().st_ctime_ns)
        if not waiting and not at_work:
            return
        for job in waiting:
            order = json.loads(job.read_text())
            if order["cpus"] <= free:
                running = job.rename(spool / "running" / job.name)
                at_work[running] = (start(job.name, Path(order["folder"])), order["cpus"])
                free -= order["cpus"]
        time.sleep(INTERVAL_S)


def start(job_id: str, folder: Path) -> subprocess.Popen[bytes]:
    """Begin a job, in a session of its own."""
    with (folder / "scheduler.log").open("ab") as log:
        return subprocess.Popen(
            ("/bin/bash", str(folder / "job.sh")),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "TOY_JOB_ID": job_id},
            start_new_session=True,
        )


def main() -> None:
    """Work on the spool that is named, unless somebody does."""
    spool = Path(sys.argv[1])
    with (spool / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        work(spool)


if __name__ == "__main__":
    main()
