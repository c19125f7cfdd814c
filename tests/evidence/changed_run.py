"""A run that is amended, held, cancelled in part, and given another config and another campaign."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from matterstack.core.ids import TaskId
from matterstack.core.model.workflow import Task
from matterstack.core.run import messages as m
from matterstack.core.states import JobState
from matterstack.storage.layout import Root
from tests.evidence.stage import Stage, stage
from tests.support.stored import new_root

HELD_AFTER: Final = 2
NEWER: Final = b"def get_campaign(): return 2\n"
ENERGIES: Final = b"scale = 1.5\n"


def relax(number: int) -> Task:
    return Task(
        TaskId(f"relax-{number}"), command=["relax", "--fast"], outputs=["relaxed.dat"], params={"n": number}
    )


def changed(made: Stage) -> None:
    """Tell the whole story, to its good end."""
    made.tell(m.Start())
    movie = Task(TaskId("movie"), command=["draw"], depends_on=["relax-3"])
    made.plan(*(relax(n) for n in (1, 2, 3)), movie, name="relax")
    _fail_at_once(made)
    made.tell(
        m.AmendTasks(
            by="ann", tasks=[TaskId("relax-3")], changes={"command": ["relax", "--slow"]}, reason="too <fast>"
        )
    )
    made.amend_config("a |quiet| night", priority=5)
    made.tell(m.CancelTasks(by="bob", tasks=["movie"], reason="nobody looks at it"), m.Resume(by="ann"))
    made.prepare()
    made.start("relax-3")
    made.end("relax-3", {"relaxed.dat": b"3\n"})
    again = [TaskId("relax-1"), TaskId("relax-2")]
    slow = {"command": ["relax", "--slow"], "resources.walltime_s": 60, "env.MODE": "good"}
    made.tell(m.Retry(by="ann", tasks=again, changes=slow, reason="like the third"))
    made.prepare()
    made.start("relax-1", "relax-2")
    made.end("relax-1", {"relaxed.dat": b"1\n"})
    made.end("relax-2", {"relaxed.dat": b"2\n"})
    made.analyze(made.used(campaign=NEWER, energies=ENERGIES), best="LiF")
    rank = Task(TaskId("rank"), command=["rank"])
    made.plan(rank, code=made.used(campaign=NEWER, energies=ENERGIES))
    made.prepare()
    made.start("rank")
    made.end("rank")
    made.tell(m.Rerun(by="bob", tasks=[TaskId("relax-3")]))
    made.prepare()
    made.start("relax-3")
    made.end("relax-3", {"relaxed.dat": b"3 again\n"})
    made.analyze(best="LiF")
    made.tell(m.Planned(iteration=3, workflow=None))


def _fail_at_once(made: Stage) -> None:
    """One after the other, until the engine holds the run."""
    for number in range(1, HELD_AFTER + 1):
        made.prepare(seats=1)
        made.start(f"relax-{number}")
        made.end(f"relax-{number}", state=JobState.COMPLETED_ERROR, stderr=b"no module\n")
    made.tell(m.Settle())


def changed_root(folder: Path) -> Root:
    root = new_root(folder)
    with stage(root, hold_after_alike=HELD_AFTER) as made:
        changed(made)
        assert made.stored.run.state.status == "COMPLETED"
    return root
