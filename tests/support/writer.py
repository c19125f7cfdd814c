"""A process that writes a run's facts as fast as it can, until it is killed.

``python -m tests.support.writer ROOT RUN_ID``: prints the last sequence number after each commit.
"""

import os
import sys
from contextlib import closing
from pathlib import Path

from matterstack.core.errors import MatterStackError
from matterstack.core.ids import JobId, RunId
from matterstack.core.model.workflow import Workflow
from matterstack.core.run import messages as m
from matterstack.core.states import JobState, Phase, RunStatus
from matterstack.storage.layout import Root
from matterstack.storage.leases import acquire_lease
from matterstack.storage.schema import open_database
from tests.support.states import LOCAL, ToldRun, task
from tests.support.stored import StoredRun, require_loaded


def write(root: Root, run_id: RunId) -> None:
    """Take the run over and drive it from iteration to iteration, one commit a message."""
    with closing(open_database(root.database)) as connection:
        lease = acquire_lease(connection, root, run_id)
        if lease is None:
            raise SystemExit("the run is held")
        stored = StoredRun(connection, root, ToldRun(require_loaded(connection, run_id)), lease)
        while True:
            for message in _next(stored.run):
                if stored.run.tell(message):
                    _acknowledge(stored)


def _next(run: ToldRun) -> list[m.Message]:
    """What a backend and a campaign would say now."""
    state = run.state
    if state.status is RunStatus.PENDING:
        return [m.Start()]
    if state.status is RunStatus.PAUSED:
        return [m.Resume(by="w")]
    if state.live:
        token, attempt = next(iter(state.live.items()))
        if attempt.job_id is None:
            return [m.Accepted(token=token, job_id=JobId(f"job-{token}"))]
        return [m.Observed(token=token, state=JobState.COMPLETED_OK, exit_code=0)]
    if state.collecting:
        token = state.tasks[next(iter(state.collecting))].attempts[-1].token
        return [m.Collected(token=token, data={"n": len(state.tasks)})]
    if state.open_count:
        return [m.Pause(by="w"), m.Resume(by="w"), m.Prepare(backend=LOCAL, seats=1)]
    if state.phase is Phase.EXECUTING:
        return [m.Analyzed(iteration=state.iteration, state={"n": state.iteration})]
    number = state.iteration + 1
    names = [f"i{number}t{n}" for n in range(3)]
    return [
        m.Planned(iteration=number, workflow=Workflow([task(n, *names[:i]) for i, n in enumerate(names)]))
    ]


def _acknowledge(stored: StoredRun) -> None:
    try:
        seq = stored.commit()
    except MatterStackError as error:
        raise SystemExit(str(error)) from error
    os.write(1, f"{seq}\n".encode())


if __name__ == "__main__":
    write(Root(Path(sys.argv[1])), RunId(sys.argv[2]))
