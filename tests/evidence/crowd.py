"""A root with one run of many tasks, each with a script, an output and a record of what it had."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

from matterstack.core.ids import JobId, TaskId, attempt_token
from matterstack.core.model.workflow import Task, Workflow
from matterstack.core.run import messages as m
from matterstack.core.run.facts import OutputFile
from matterstack.core.states import JobState
from matterstack.storage.bound_files import bind_attempt
from matterstack.storage.layout import Root
from matterstack.storage.schema import open_database
from tests.evidence.stage import SCRIPT, sha256
from tests.support.states import LOCAL, RUN_ID
from tests.support.stored import StoredRun, new_root

FAILS_EVERY = 50
ABREAST = 500


def crowd(folder: Path, count: int) -> Root:
    """Make it; all tasks have ended, and one of so many has failed and was allowed to."""
    root = new_root(folder)
    with closing(open_database(root.database)) as connection:
        stored = StoredRun.create(connection, root, max_hpc_jobs_per_run=ABREAST, backends=_backends())
        told = stored.run
        told.tell(m.Start(), m.Planned(iteration=1, workflow=Workflow([_task(i) for i in range(count)])))
        place = 0
        while place < count:
            told.tell(m.Prepare(backend=LOCAL, seats=ABREAST))
            for number in range(place, min(place + ABREAST, count)):
                _carry_out(root, stored, number)
            place += ABREAST
        told.tell(m.Settle())
        stored.commit()
    return root


def _backends() -> dict[str, object]:
    return {"local": {"type": "local", "max_jobs": ABREAST}}


def _task(number: int) -> Task:
    return Task(
        TaskId(f"t{number:05d}"),
        command=["python", "run.py", str(number)],
        files={"run.py": "run.py"},
        outputs=["out.json"],
        params={"number": number, "kind": "crowd"},
        allow_failure=True,
        depends_on=[TaskId(f"t{number - ABREAST:05d}")] if number >= ABREAST else [],
    )


def _carry_out(root: Root, stored: StoredRun, number: int) -> None:
    task_id = TaskId(f"t{number:05d}")
    token = attempt_token(RUN_ID, task_id, 1)
    folder = root.run_folder("demo", RUN_ID).attempt(task_id, 1)
    folder.path.mkdir(parents=True)
    (folder.path / "run.py").write_bytes(SCRIPT)
    (folder.path / "out.json").write_bytes(b'{"n": %d}' % number)
    manifest = {"files": [{"name": "run.py", "from": "run.py", "sha256": sha256(SCRIPT)}], "inputs": []}
    folder.manifest.write_text(json.dumps(manifest))
    digest = sha256(folder.manifest.read_bytes())
    ended = JobState.COMPLETED_ERROR if number % FAILS_EVERY == FAILS_EVERY - 1 else JobState.COMPLETED_OK
    output = OutputFile("out.json", (folder.path / "out.json").stat().st_size, sha256(b'{"n": %d}' % number))
    bound = bind_attempt(folder.path, 1, is_asked=False)
    end = m.Observed(
        token=token,
        state=ended,
        exit_code=int(ended is not JobState.COMPLETED_OK),
        host="node1",
        logs=bound.logs,
        given=bound.given,
    )
    stored.run.tell(
        m.Accepted(token=token, job_id=JobId(str(number)), manifest_sha256=digest),
        m.Observed(token=token, state=JobState.RUNNING),
        end,
        m.Collected(token=token, outputs=(output,)),
    )
