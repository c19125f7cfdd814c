"""Runs in a real store with real files, told step by step, without an engine: the same each time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import attrs

from matterstack.core.ids import JobId, RunId, TaskId
from matterstack.core.model.resources import Resources
from matterstack.core.model.workflow import Task, Workflow
from matterstack.core.run import facts as f
from matterstack.core.run import messages as m
from matterstack.core.run.apply import new_run
from matterstack.core.run.campaign_code import NOTHING_USED, UsedCode
from matterstack.core.run.facts import OutputFile
from matterstack.core.states import JobState
from matterstack.storage.bound_files import bind_attempt
from matterstack.storage.layout import AttemptFolder, Root, RunFolder
from matterstack.storage.leases import acquire_lease
from matterstack.storage.schema import open_database
from tests.support.states import LOCAL, RUN_ID, ToldRun
from tests.support.stored import StoredRun, new_root

SVG: Final = (
    b'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"><rect width="40" height="20"/></svg>'
)
ODD_NAMES: Final = (
    "a b.dat",
    "\u00fcber \u6f22.dat",
    "two\nlines.dat",
    "per%cent#?.dat",
    "-=formula.dat",
    "raw\udcff.dat",
)
SCRIPT: Final = b"print('mixed')\n"
SCRIPTS: Final = {"fetch.py": b'lattice = {"LiF": 4.03}\n'}
"""Files of tasks that are not this one."""
SOURCES: Final = {
    "campaign.py": b"def get_campaign(): ...\n",
    "data/lattice constants.json": b'{"LiF": 4.03}\n',
    **{f"odd/{name}": name.encode("utf-8", "surrogateescape") for name in ODD_NAMES},
}
"""The campaign's files when the run was made."""
SOFTWARE: Final = {
    "python": "CPython 3.11.7",
    "platform": "Linux-6.1-x86_64",
    "matterstack": "0.1.0",
    "numpy": "2.1.3",
    "odd <b>|name|": "1.0+local",
}
MAKER: Final = "bea"
ABOUT: Final = {
    "title": "Salts |that| <mix>",
    "description": "Why: to see.\n\n# No heading of ours",
    "authors": [
        {
            "name": "Bea de Groot",
            "orcid": "0000-0002-1694-233X",
            "affiliation": 'Salt "Works"',
            "ror": "https://ror.org/05a28rw58",
        },
        {"name": "Ng"},
    ],
    "license": "CC-BY-4.0",
    "keywords": ["salt", "yes"],
    "citation": "B. de Groot, Salts 1, 2 (2025), doi:10.1000/xyz-1.",
    "funding": [{"funder": "Salt Fund", "award": "S-1", "title": "Salts"}, {"funder": "A friend"}],
    "links": [{"url": "https://example.org/salts?a=1&b=2", "title": "Data"}],
}
ENVIRONMENT: Final = json.dumps(
    {
        "python": {"implementation": "CPython", "version": "3.12.1", "executable": "/opt/<b>/python"},
        "distributions": {"numpy": "2.2.0", "odd |name|": "1"},
        "modules": ["gcc/13.2", "lammps/2023"],
        "conda": ["fftw-3.3.10-nompi_h1"],
        "system": {"name": "Rocky Linux 9.4", "kernel": "5.14.0", "machine": "x86_64"},
        "program": {"name": "python", "path": "/opt/<b>/python", "sha256": "cd" * 32},
        "scheduler": {"SLURM_JOB_PARTITION": "main"},
    }
).encode()


@attrs.frozen
class Stage:
    """A run that is told, and its files."""

    stored: StoredRun

    @property
    def root(self) -> Root:
        return self.stored.root

    @property
    def run_id(self) -> RunId:
        return self.stored.run_id

    @property
    def folder(self) -> RunFolder:
        return self.root.run_folder("demo", self.run_id)

    def attempt_folder(self, task_id: str) -> AttemptFolder:
        """Of the newest attempt."""
        attempts = self.stored.run.state.tasks[TaskId(task_id)].attempts
        return self.folder.attempt(TaskId(task_id), len(attempts))

    def tell(self, *messages: m.Message) -> None:
        """Tell the run something, and let it conclude."""
        for message in messages:
            self.stored.tell(message, m.Settle())

    def plan(self, *tasks: Task, name: str | None = None, code: UsedCode = NOTHING_USED) -> None:
        """The campaign plans an iteration."""
        number = self.stored.run.state.iteration + 1
        self.tell(m.Planned(iteration=number, workflow=Workflow(tasks, name=name), code=code))

    def prepare(self, seats: int = 100) -> None:
        """Take seats for what is ready, and write the folders."""
        state = self.stored.run.state
        before = {task_id: len(task.attempts) for task_id, task in state.tasks.items()}
        self.tell(m.Prepare(backend=LOCAL, seats=seats))
        for task_id, task in state.tasks.items():
            if len(task.attempts) > before[task_id]:
                self._write_folder(task.task)

    def _write_folder(self, task: Task) -> None:
        folder = self.attempt_folder(task.id)
        folder.path.mkdir(parents=True)
        scripts = {name: SCRIPTS.get(name, SCRIPT) for name in task.files}
        files = [{"name": n, "from": str(p), "sha256": sha256(scripts[n])} for n, p in task.files.items()]
        for name, script in scripts.items():
            (folder.path / name).write_bytes(script)
        inputs = []
        for name, source in task.inputs.items():
            maker, _, path = source.partition("/")
            content = (self.attempt_folder(maker).path / path).read_bytes()
            (folder.path / name).write_bytes(content)
            inputs.append({"name": name, "from": source, "sha256": sha256(content)})
        resources = self.stored.run.state.tasks[task.id].attempts[-1].resources
        manifest = {
            "command": list(task.command),
            "env": {"MATTERSTACK_TASK_ID": task.id, **task.env},
            "params": task.params,
            "resources": attrs.asdict(resources),
            "files": files,
            "inputs": inputs,
        }
        folder.manifest.write_text(json.dumps(manifest))

    def start(self, *task_ids: str) -> None:
        """The jobs of prepared tasks are accepted, and run."""
        for task_id in task_ids:
            digest = sha256(self.attempt_folder(task_id).manifest.read_bytes())
            token = self.stored.run.token(task_id)
            self.tell(
                m.Accepted(token=token, job_id=JobId(f"job-{task_id}"), manifest_sha256=digest),
                m.Observed(token=token, state=JobState.RUNNING),
            )

    def start_adopted(self, task_id: str) -> None:
        """The job of a prepared task is found, by an engine that did not submit it."""
        token = self.stored.run.token(task_id)
        self.tell(m.Accepted(token=token, job_id=JobId(f"job-{task_id}"), adopted=True))

    def end(
        self,
        task_id: str,
        outputs: Mapping[str, bytes] | None = None,
        *,
        state: JobState = JobState.COMPLETED_OK,
        data: Any = None,
        stdout: bytes = b"",
        stderr: bytes = b"",
        problem: str | None = None,
        environment: bytes = b"",
        knows: str = "",
        holding: Sequence[str] | None = None,
    ) -> None:
        """A job ends, and its outputs are collected.

        Args:
            holding: files that hold the values of all secrets; None where nobody has looked.
            environment: what its script found of the software that it ran in.
            knows: hash of what another's script had found.
        """
        folder = self.attempt_folder(task_id).path
        if environment:
            (folder / "claim").mkdir()
            (folder / "claim" / "environment.json").write_bytes(environment)
            knows = sha256(environment)
        if stdout:
            (folder / "stdout.log").write_bytes(stdout)
        made = outputs or {}
        for name, content in made.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        if stderr:
            (folder / "stderr.log").write_bytes(stderr)
        token = self.stored.run.token(task_id)
        code = 0 if state is JobState.COMPLETED_OK else 1
        files = tuple(
            OutputFile(name, len(content), sha256(content)) for name, content in sorted(made.items())
        )
        self.tell(
            self.bound(
                task_id,
                m.Observed(token=token, state=state, exit_code=code, host="node1", environment=knows),
            ),
            m.Collected(
                token=token, outputs=files, data=data, problem=problem, sought=self._sought(task_id, holding)
            ),
        )

    def _sought(self, task_id: str, holding: Sequence[str] | None) -> f.SecretsSought | None:
        names = self.stored.run.state.secrets
        if not names or holding is None:
            return None
        token = self.stored.run.token(task_id)
        return f.SecretsSought(token=token, names=names, found=dict.fromkeys(holding, names))

    def bound(self, task_id: str, end: m.Observed, *, is_asked: bool = False) -> m.Observed:
        """The end of a job, bound to what is in its folder, as an engine binds it."""
        n = len(self.stored.run.state.tasks[TaskId(task_id)].attempts)
        found = bind_attempt(self.attempt_folder(task_id).path, n, is_asked=is_asked)
        return attrs.evolve(end, logs=found.logs, given=found.given)

    def end_with_hole(self, task_id: str, name: str, size_bytes: int) -> Path:
        """A job ends well, and has left a file that is large, but takes no room."""
        path = self.attempt_folder(task_id).path / name
        with path.open("wb") as file:
            file.truncate(size_bytes)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        token = self.stored.run.token(task_id)
        self.tell(
            m.Observed(token=token, state=JobState.COMPLETED_OK, exit_code=0),
            m.Collected(token=token, outputs=(OutputFile(name, size_bytes, digest),)),
        )
        return path

    def analyze(self, code: UsedCode = NOTHING_USED, **state: Any) -> None:
        """The campaign analyzes the iteration."""
        self.tell(m.Analyzed(iteration=self.stored.run.state.iteration, state=state, code=code))

    def used(self, **changed: bytes) -> UsedCode:
        """What a call of the campaign used that has other modules now, by name; they are kept as they are."""
        files: dict[str, str] = {}
        for name, content in changed.items():
            files[f"{name}.py"] = digest = sha256(content)
            self.folder.versions.mkdir(exist_ok=True)
            (self.folder.versions / digest).write_bytes(content)
        return UsedCode(files=files, added=tuple(files))

    def amend_config(self, reason: str = "", **values: Any) -> None:
        """A person gives the run another config."""
        config = self.stored.run.state.config
        self.tell(m.AmendConfig(by="ann", before=config, config={**config, **values}, reason=reason))


def sha256(content: bytes) -> str:
    """Hash of content."""
    return hashlib.sha256(content).hexdigest()


@contextmanager
def stage(root: Root, run_id: RunId = RUN_ID, **config: Any) -> Iterator[Stage]:
    """A PENDING run in a root; more may be staged in the same."""
    with closing(open_database(root.database)) as connection:
        stored = StoredRun(connection, root, _told_run(run_id, config))
        stored.commit()
        stored.lease = acquire_lease(connection, root, run_id)
        made = Stage(stored)
        for path, content in SOURCES.items():
            (made.folder.sources / path).parent.mkdir(parents=True, exist_ok=True)
            (made.folder.sources / path).write_bytes(content)
        made.folder.config_file.write_text(json.dumps(stored.run.state.config))
        yield made
        if stored.lease is not None:
            stored.lease.release(connection)


def _told_run(run_id: RunId, config: Mapping[str, Any]) -> ToldRun:
    """A run of which it is known what it was made from."""
    run = ToldRun.new(run_id, **config)
    ((at, _),) = run.facts
    hashes = {path: sha256(content) for path, content in SOURCES.items()}
    made = f.RunCreated(
        workspace=run.state.workspace,
        config=run.state.config,
        by=MAKER,
        software=SOFTWARE,
        sources=hashes,
        about=ABOUT,
        commit=f.Commit(id="ab" * 20, is_changed=True),
    )
    run.facts[:] = [(at, made)]
    run.state = new_run(run_id, made, at)
    return run


def first_round() -> list[Task]:
    """Tasks of which one uses another's output, one is tried twice, and one writes odd names."""
    return [
        Task(
            TaskId("mix"),
            command=["python", "mix.py", "--ratio", "1 to 2"],
            files={"mix.py": "/somewhere/workspaces/demo/mix.py"},
            outputs=["*.json", "*.svg"],
            params={"ratio": [1, 2], "name": "LiF", "warm": True},
            env={"OMP_NUM_THREADS": "1"},
            resources=Resources(cpus=2, gpus=1),
        ),
        Task(TaskId("flaky"), command=["true"], outputs=["part*.dat"], retries=1),
        Task(
            TaskId("relax"),
            command=["bash", "-c", "cat start.json | sort > out.txt"],
            inputs={"start.json": "mix/mix.json"},
            outputs=["out.txt"],
        ),
        Task(TaskId("odd"), command=["touch", *ODD_NAMES[:2]], outputs=["*.dat"]),
    ]


def begun(made: Stage) -> None:
    """Until the first two jobs run."""
    made.tell(m.Start())
    made.plan(*first_round(), name="round one: <b>all</b> & |more|")
    made.prepare()
    made.start("mix", "flaky", "odd")


def half_done(made: Stage) -> None:
    """One task has succeeded, one is tried again, others are still to come."""
    begun(made)
    made.end(
        "mix",
        {"mix.json": b'{"ratio": 2}', "mix.svg": SVG},
        data={"energy_ev": -1.5},
        environment=ENVIRONMENT,
    )
    left = {"part 1.dat": b"half of it\n", "result.json": b"{}"}
    made.end("flaky", left, state=JobState.COMPLETED_ERROR, stderr=b"no luck\nthis time <script>\n")


def all_done(made: Stage) -> None:
    """The first round has ended well."""
    half_done(made)
    made.end("odd", {name: name.encode("utf-8", "surrogateescape") for name in ODD_NAMES})
    made.prepare()
    made.start("flaky", "relax")
    made.end("flaky")
    made.end("relax", {"out.txt": b"sorted\n"})


def completed(made: Stage) -> None:
    all_done(made)
    made.analyze(best="LiF")
    made.plan(Task(TaskId("rank"), command=["python"], outputs=["*.md", "*.svg"]), name="ranking")
    made.prepare()
    made.start("rank")
    ranking = b"# Best\n\n| a | b |\n|---|---|\n| 1 | <i>2</i> |\n"
    made.end("rank", {"ranking.md": ranking, "r.svg": SVG}, knows=sha256(ENVIRONMENT))
    made.analyze(best="LiF", written=True)
    made.tell(m.Planned(iteration=3, workflow=None))


def failed(made: Stage) -> None:
    half_done(made)
    made.end("odd", dict.fromkeys(ODD_NAMES, b"x"))
    made.prepare()
    made.start("flaky", "relax")
    made.end("flaky", state=JobState.COMPLETED_ERROR, stderr=b"never\n")
    made.end("relax", {"out.txt": b"sorted\n"})


def cancelled(made: Stage) -> None:
    half_done(made)
    made.tell(m.Cancel(by="ann", reason="no |time| left"))
    token = made.stored.run.token("odd")
    made.tell(m.Observed(token=token, state=JobState.CANCELLED))


def paused(made: Stage) -> None:
    half_done(made)
    made.tell(m.Pause(by="ann", reason="lunch"))


def pending(_made: Stage) -> None:
    """Nothing has happened."""


STORIES: Final[Mapping[str, Callable[[Stage], None]]] = {
    "PENDING": pending,
    "RUNNING": half_done,
    "PAUSED": paused,
    "COMPLETED": completed,
    "FAILED": failed,
    "CANCELLED": cancelled,
}


def told(folder: Path, status: str) -> Root:
    """A root of its own with one run in this status."""
    root = new_root(folder)
    with stage(root) as made:
        STORIES[status](made)
        assert made.stored.run.state.status == status
    return root
