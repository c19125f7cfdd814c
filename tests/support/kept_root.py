"""A root that an earlier release left, kept as a file, and what it takes to go on with it on this machine.

What is in it, and how it was made: ``tests/fixtures/roots/README.md``.  A process that was at work when it
was packed cannot be at work now.  `KeptRoot.resume` brings back as many as a machine would still have, and
this is all that it changes:

- The root is said to be served by this machine, in its rows and in what its engines last said.
- Processes of local jobs are started from the scripts that lie in their folders, in which the folder and the
  time of the machine's start are replaced.  Their numbers are new, so that the history says these.
- Jobs of Slurm are started from their scripts, in the same way, under the numbers that they have; they find
  their own claims.
- What such a job has noted before is taken out of the notes, since it notes it again.
"""

from __future__ import annotations

import io
import json
import re
import sqlite3
import tarfile
from collections import Counter
from collections.abc import Mapping
from contextlib import closing, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, Final

import attrs

from matterstack.backends.local import local_clock
from matterstack.backends.processes import ProcessName, start_time
from matterstack.cli.app import main
from matterstack.cli.errors import report
from matterstack.storage.leases import boot_id, this_process
from tests.support import slurm_stand_in
from tests.support.command import PATIENCE_S, CommandLine
from tests.support.polling import wait_until

ROOTS: Final = Path(__file__).parents[1] / "fixtures" / "roots"
MADE_AT: Final = "/tmp/ms-020/root"  # noqa: S108  in scripts of jobs
_BOOTED: Final = re.compile(r"\$\(\(\d{12,} \+")
_LIVE: Final = """
    SELECT runs.workspace, attempts.run_id, task_id, n, token, backend, job_id FROM attempts
    JOIN runs USING (run_id) WHERE ended_at IS NULL AND backend != 'operators'
"""


@attrs.frozen(kw_only=True)
class Attempt:
    """One that the store has as live."""

    run: str
    task: str
    n: int
    token: str
    backend: str
    job_id: str | None
    folder: Path

    @property
    def has_begun(self) -> bool:
        """Whether a job has claimed its folder."""
        return (self.folder / "claim" / "job_id").exists()

    @property
    def note(self) -> str:
        """What its job notes when it begins."""
        return f"{self.run} {self.task} {self.n}"


@attrs.define
class KeptRoot:
    """Unpacked, with commands that find its host's modules and its Slurm.

    Attributes:
        runs: ids by the names that README.md has for them.
        environment: of its engines.
    """

    folder: Path
    command_line: CommandLine
    runs: Mapping[str, str]
    environment: Mapping[str, str]

    @classmethod
    def unpacked(cls, name: str, folder: Path) -> KeptRoot:
        """Unpack it into an empty folder."""
        with tarfile.open(ROOTS / f"{name}.tar.gz") as tar:
            tar.extractall(folder, filter="data")
        (folder / "home").mkdir()
        path = slurm_stand_in.install(folder / "slurm")
        found = {"PYTHONPATH": str(folder / "host"), "PATH": f"{path}:/usr/bin:/bin"}
        wrapper = ("env", *(f"{key}={value}" for key, value in found.items()))
        command_line = CommandLine(folder / "root", folder / "home", wrapper=wrapper)
        runs = json.loads((folder / "runs.json").read_text())
        return cls(folder, command_line, runs, command_line.environment | found)

    @property
    def root(self) -> Path:
        """The folder with ``workspaces/`` in it."""
        return self.folder / "root"

    @property
    def slurm(self) -> Path:
        """Where the jobs of its Slurm are."""
        return self.folder / "slurm"

    # ---- looking ----

    def command(self, *arguments: str) -> tuple[int, str]:
        """Exit code and output of a command, carried out in this process, which saves its start."""
        said = io.StringIO()
        words = ["--root", str(self.root), *arguments]
        with redirect_stdout(said), redirect_stderr(said):
            try:
                code = main(words, _anyio_backend="trio", standalone_mode=False)
            except BaseException as error:  # noqa: BLE001  as `matterstack.cli.run_command_line` does
                code = report(error, as_json=False)
        return code if isinstance(code, int) else 0, said.getvalue()

    def notes(self) -> Counter[str]:
        """How often each attempt's job has begun: ``RUN TASK ATTEMPT``."""
        return Counter((self.root / "marks").read_text().splitlines())

    def status(self, name: str) -> str:
        """Of a run."""
        return str(self.command_line.status(self.runs[name])["status"])

    def live(self) -> list[Attempt]:
        """Attempts of jobs that the store has as live."""
        with closing(self._store()) as store:
            found = store.execute(_LIVE).fetchall()
        return [
            Attempt(
                run=run,
                task=task,
                n=n,
                token=token,
                backend=backend,
                job_id=job_id,
                folder=self.root / "workspaces" / slug / "runs" / run / "tasks" / task / str(n),
            )
            for slug, run, task, n, token, backend, job_id in found
        ]

    def attempt(self, name: str, task: str) -> Attempt:
        """The live one of a task."""
        return next(a for a in self.live() if (a.run, a.task) == (self.runs[name], task))

    # ---- going on ----

    def open_gates(self, *names: str) -> None:
        """Let jobs end that wait."""
        for name in names:
            (self.root / "gates" / name).touch()

    def resume(self) -> None:
        """Bring back what this machine would still have: see the module."""
        self._belongs_to_this_machine()
        dead = {(self.runs["at_work"], "recorded"), (self.runs["at_work"], "killed")}
        for attempt in self.live():
            if not attempt.has_begun or (attempt.folder / "exit.json").exists():
                continue
            if (attempt.run, attempt.task) in dead:
                assert attempt.job_id is not None
                name = ProcessName.parse(attempt.job_id)
                assert name is not None
                self._rename_job(attempt, attrs.evolve(name, boot=boot_id()[:8]).job_id())
            elif attempt.backend == "cluster":
                self._start_on_slurm(attempt)
            else:
                self._start_here(attempt)

    def _start_here(self, attempt: Attempt) -> None:
        self._move_script(attempt)
        claim = attempt.folder / "claim" / "job_id"
        claim.unlink()
        script = attempt.folder / "job.sh"
        shell = script.read_text().partition("\n")[0].removeprefix("#!")
        pid = slurm_stand_in.started_apart([shell, str(script)], self.root, self.command_line.environment)
        wait_until(lambda: self.notes()[attempt.note] == 1, PATIENCE_S, f"the job of {attempt.note}")
        job_id = claim.read_text().strip()
        assert job_id == ProcessName(pid, start_time(pid), boot_id()[:8]).job_id()
        if attempt.job_id is not None:  # else nobody has heard of it
            self._rename_job(attempt, job_id)

    def _start_on_slurm(self, attempt: Attempt) -> None:
        self._move_script(attempt)
        job_id = int((attempt.folder / "claim" / "job_id").read_text())
        slurm_stand_in.start_job(
            self.slurm, job_id, attempt.token, attempt.folder / "job.sh", self.command_line.environment
        )
        wait_until(lambda: self.notes()[attempt.note] == 1, PATIENCE_S, f"the job of {attempt.note}")

    def _move_script(self, attempt: Attempt) -> None:
        script = attempt.folder / "job.sh"
        moved = script.read_text().replace(MADE_AT, str(self.root))
        script.write_text(_BOOTED.sub(f"$(({local_clock().booted_cs} +", moved))
        marks = self.root / "marks"
        kept = [line for line in marks.read_text().splitlines(keepends=True) if line.strip() != attempt.note]
        marks.write_text("".join(kept))

    def _rename_job(self, attempt: Attempt, job_id: str) -> None:
        for name in ("claim/job_id", "exit.json"):
            file = attempt.folder / name
            if file.exists():
                file.write_text(file.read_text().replace(str(attempt.job_id), job_id))
        with closing(self._store()) as store:
            store.execute("UPDATE attempts SET job_id = ? WHERE token = ?", (job_id, attempt.token))
            store.execute(
                "UPDATE events SET data = json_set(data, '$.job_id', ?) "
                "WHERE type = 'JobAccepted' AND data ->> '$.token' = ?",
                (job_id, attempt.token),
            )

    def _belongs_to_this_machine(self) -> None:
        me = this_process()
        with closing(self._store()) as store:
            store.execute(
                "UPDATE runs SET lease_host = ?, lease_boot_id = ? WHERE lease_host IS NOT NULL",
                (me.host, me.boot_id),
            )
        for file in self.reports():
            said: dict[str, Any] = json.loads(file.read_text())
            file.write_text(json.dumps({**said, "host": me.host, "boot_id": me.boot_id}))

    def reports(self) -> list[Path]:
        """What engines said of their backends."""
        return sorted((self.root / ".matterstack" / "backends").glob("*.json"))

    def _store(self) -> sqlite3.Connection:
        return sqlite3.connect(self.root / ".matterstack" / "state.db", isolation_level=None)

    # ---- the end ----

    def shut_down(self) -> None:
        """Nothing goes on running."""
        self.command_line.shut_down()
