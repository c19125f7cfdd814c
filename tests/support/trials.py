"""Runs on any backend, put to trials, and what must be true of them whatever was done to the engine."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import attrs

from matterstack.storage.schema import open_database
from tests.support.campaigns import ONE_ROUND, Diary, write_workspace
from tests.support.command import CommandLine
from tests.support.places import Job, Place, turned_away

SLUG: Final = "campaign"
SMALL: Final = {"memory_mib": 20}


@attrs.frozen
class Lease:
    """Who says in the store that it serves a run."""

    epoch: int
    pid: int | None


@attrs.frozen(kw_only=True)
class Trial:
    """Runs of one campaign whose tasks note each start and each end, and all that can be seen of them."""

    command_line: CommandLine
    diary: Diary
    place: Place

    def task(self, task_id: str, then: str = ":", **fields: Any) -> dict[str, Any]:
        """A task of which each run notes its own start and end, as ``RUN/TASK``."""
        noted = self.diary.task(f"$MATTERSTACK_RUN_ID/{task_id}", then, resources=SMALL, **fields)
        return {**noted, "id": task_id}

    def write(
        self, tasks: Iterable[Mapping[str, Any]], *, max_jobs: int, cap: int = 100, slug: str = SLUG
    ) -> Path:
        """Write a campaign; returns the folder of its workspace.

        As long as a run of it has not ended, it stays as it is.
        """
        config = {
            "max_hpc_jobs_per_run": cap,
            "default_backend": self.place.name,
            "backends": {self.place.name: self.place.config(max_jobs)},
        }
        files = {"tasks.json": json.dumps(list(tasks))}
        return write_workspace(self.command_line.root, slug, ONE_ROUND, config=config, files=files)

    def new_run(self, *settings: str, slug: str = SLUG) -> str:
        """Make a run; returns its id."""
        return self.command_line.new_run(slug, *settings)

    def finish(self, *, expected: int = 0) -> None:
        """Let an engine serve all runs to their ends."""
        engine = self.command_line.start("run", "loop", "--until-done")
        assert engine.wait().exit_code == expected, engine.stderr

    # ---- what can be seen ----

    def leases(self) -> dict[str, Lease]:
        """The lease of each run, as the store has it."""
        with closing(open_database(self.command_line.root / ".matterstack" / "state.db")) as store:
            rows = store.execute("SELECT run_id, lease_epoch, lease_pid FROM runs").fetchall()
        return {run_id: Lease(epoch, pid) for run_id, epoch, pid in rows}

    def attempts(self, run_ids: Iterable[str]) -> list[dict[str, Any]]:
        """All attempts of all tasks."""
        tasks = (task for run_id in run_ids for task in self.command_line.tasks(run_id).values())
        return [attempt for task in tasks for attempt in task["attempts"]]

    def most_live_in_the_store(self, run_ids: Sequence[str]) -> int:
        """The largest number of attempts of these runs together that held a seat."""
        events = sorted(
            (event for run_id in run_ids for event in self.command_line.events(run_id)),
            key=lambda event: int(event["seq"]),
        )
        live: set[str] = set()
        most = 0
        for event in events:
            if event["type"] == "AttemptPrepared":
                live.add(event["data"]["token"])
            elif event["type"] in {"JobEnded", "SubmissionRefused", "SubmissionWithdrawn"}:
                live.discard(event["data"]["token"])
            most = max(most, len(live))
        return most

    def forgotten(self, run_ids: Iterable[str]) -> list[Job]:
        """Jobs that the store does not know, and that were neither turned away nor ended as spare ones."""
        known = {attempt["job_id"] for attempt in self.attempts(run_ids)}
        folders = self.command_line.root.glob("workspaces/*/runs/*/tasks/*/*")
        away = {job_id for folder in folders for job_id in turned_away(folder)}
        return [
            job
            for job in self.place.jobs()
            if job.job_id not in known | away
            and (job.folder is not None or (job.is_ours and not job.was_cancelled))
        ]

    # ---- what must be true ----

    def assert_completed(self, run_ids: Sequence[str], task_ids: Iterable[str], *, max_jobs: int) -> None:
        """All is done, once; nothing is left; no cap was exceeded; and the store proves it."""
        statuses = {run_id: self.command_line.status(run_id)["status"] for run_id in run_ids}
        assert statuses == dict.fromkeys(run_ids, "COMPLETED")
        once = Counter(f"{run_id}/{task_id}" for run_id in run_ids for task_id in task_ids)
        assert Counter(self.diary.started()) == once
        assert Counter(self.diary.ended()) == once
        assert len(self.attempts(run_ids)) == once.total()
        self.assert_nothing_is_left(run_ids, max_jobs=max_jobs)

    def assert_nothing_is_left(self, run_ids: Sequence[str], *, max_jobs: int) -> None:
        """No job is there or was forgotten, no cap was exceeded, and the store proves it."""
        assert self.place.live() == 0
        assert self.forgotten(run_ids) == []
        assert not any(self.command_line.job_processes(run_id) for run_id in run_ids)
        assert self.diary.most_at_once() <= max_jobs
        assert self.most_live_in_the_store(run_ids) <= max_jobs
        check = self.command_line.run("check")
        assert check.exit_code == 0, check.stdout + check.stderr
