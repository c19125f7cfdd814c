"""The run whose bundle is tampered with: a little of everything that a bundle can hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from matterstack.core.ids import JobId, TaskId
from matterstack.core.model.workflow import Task
from matterstack.core.operators import ASKED
from matterstack.core.run import messages as m
from matterstack.core.states import JobState
from matterstack.storage.layout import Root, operator_folder
from tests.evidence.bundles import export
from tests.evidence.stage import ENVIRONMENT, Stage, sha256, stage
from tests.support.stored import new_root

COPY_BELOW: Final = 4000
KEY: Final = "LATTICE_KEY"
VALUE: Final = b'"LiF": 4.03'
"""It stands in a file of the campaign, in what a job was given, and in what that has left."""
ELSEWHERE: Final = ENVIRONMENT.replace(b"2.2.0", b"2.1.0")
"""Another one of those that jobs ran in."""
AMENDED: Final = (TaskId("relax"), TaskId("fetch"))
AMENDMENT: Final = {"env.LC_ALL": "C", "resources.walltime_s": 600}
SECOND: Final = b"def get_campaign(): return 2\n"
THIRD: Final = b"def get_campaign(): return 3\n"
"""The campaign, as it was changed twice."""
ANSWER: Final = b'{"thickness": 12.5}\n'
LOOK: Final = {"question": "How thick is the film?", "fields": {"thickness": {"type": "number"}}}
HOLDING: Final = ("fetch.py", "raw.txt", "stdout.log")
TASKS: Final = (
    Task(
        TaskId("mix"),
        command=["python", "mix.py", "--ratio", "1 to 2"],
        files={"mix.py": "/somewhere/workspaces/demo/mix.py"},
        outputs=["*.json"],
        params={"ratio": [1, 2], "name": "LiF"},
        env={"OMP_NUM_THREADS": "1"},
    ),
    Task(TaskId("flaky"), command=["true"], outputs=["part*.dat"], retries=1),
    Task(
        TaskId("relax"),
        command=["bash", "-c", "cat start.json | sort > out.txt"],
        inputs={"start.json": "mix/mix.json"},
        outputs=["*.txt"],
    ),
    Task(
        TaskId("fetch"),
        command=["python", "fetch.py"],
        files={"fetch.py": "/somewhere/workspaces/demo/fetch.py"},
        outputs=["*.txt"],
        depends_on=["mix"],
    ),
    Task(TaskId("large"), command=["grow"], outputs=["large.bin", "lost.csv"]),
    Task(TaskId("bad"), command=["false"], allow_failure=True),
    Task(TaskId("look"), operator="human", params=LOOK),
)


def tampered_run(folder: Path) -> tuple[Root, Path]:
    """A root with the run, and its bundle."""
    root = new_root(folder)
    with stage(root, secrets=[KEY]) as made:
        root.secrets.mkdir(mode=0o700)
        (root.secrets / KEY).touch(mode=0o600)
        (root.secrets / KEY).write_bytes(VALUE)
        tell(made)
        (made.folder.attempt(TaskId("relax"), 1).path / "stdout.log").write_bytes(b"sorted\nand more\n")
        (made.folder.attempt(TaskId("large"), 1).path / "lost.csv").unlink()
    bundle = export(root, copy_below_bytes=COPY_BELOW).path
    (bundle / "notes.txt").write_text("remember the milk\n")
    return root, export(root, copy_below_bytes=COPY_BELOW).path


def tell(made: Stage) -> None:
    made.tell(m.Start())
    made.plan(*TASKS, name="round one", code=made.used(campaign=SECOND))
    made.prepare()
    made.start("mix", "flaky", "large", "bad")
    made.end(
        "mix",
        {"mix.json": b'{"ratio": 2}'},
        data={"energy_ev": -1.5},
        stdout=b"mixed at 900 K\n",
        environment=ENVIRONMENT,
        holding=(),
    )
    left = {"part1.dat": b"half of it\n", "part2.dat": b"nothing\n"}
    made.end("flaky", left, state=JobState.COMPLETED_ERROR, stderr=b"no luck\n")
    made.end("large", {"large.bin": b"\0" * 5000, "lost.csv": b"1,2\n"}, stdout=b"grown\n")
    made.end("bad", state=JobState.COMPLETED_ERROR, stderr=b"cannot\n", environment=ELSEWHERE)
    _ask(made)
    made.tell(m.Pause(by="ann", reason="lunch"), m.Resume(by="ann"))
    made.tell(m.AmendTasks(by="ann", tasks=AMENDED, changes=AMENDMENT, reason="to be sure"))
    made.amend_config("nobody else is here", priority=5)
    made.prepare()
    made.start("flaky", "fetch", "relax")
    fetched = {"raw.txt": b"{" + VALUE + b"}\n", "clean.txt": b"1 lattice\n"}
    said = b"sent " + VALUE + b"\n"
    made.end("fetch", fetched, stdout=said, knows=sha256(ENVIRONMENT), holding=HOLDING)
    made.end("flaky", {"part1.dat": b"all of it\n"})
    made.end("relax", {"out.txt": b"sorted\n", "log.txt": b"2 lines\n" * 300}, stdout=b"sorted\n")
    made.analyze(made.used(campaign=THIRD), best="LiF", energy_ev=-1.5)
    made.tell(m.Planned(iteration=2, workflow=None))


def _ask(made: Stage) -> None:
    made.tell(m.Prepare(backend=ASKED, seats=1))
    token = made.stored.run.token("look")
    attempt = made.attempt_folder("look").path
    attempt.mkdir(parents=True)
    (attempt / "manifest.json").write_text(json.dumps({"files": [], "inputs": []}))
    manifest = sha256((attempt / "manifest.json").read_bytes())
    made.tell(m.Accepted(token=token, job_id=JobId("look"), state=JobState.RUNNING, manifest_sha256=manifest))
    asked = operator_folder(attempt)
    asked.mkdir(parents=True)
    (asked / "request.json").write_text(json.dumps({"attempt": 1, "manifest": LOOK}))
    (asked / "response.json").write_bytes(ANSWER)
    ended = m.Observed(token=token, state=JobState.COMPLETED_OK, by="maria", sha256=sha256(ANSWER))
    made.tell(made.bound("look", ended, is_asked=True), m.Collected(token=token, data=json.loads(ANSWER)))
