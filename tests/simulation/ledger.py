"""Keep, apart from the product, what every task and run was defined to be at each moment.

It reads the events as JSON and knows what people asked for: what is done must be that, once, and what a job
is given must be what its task was when the attempt was prepared.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import attrs

from matterstack.core.ids import RunId, TaskId
from matterstack.core.run.messages import AmendConfig, AmendTasks, Command, Replan, ReplanChoices, Retry
from tests.simulated_cluster.cluster import SimulatedJob, Word
from tests.simulation.changes import marked

_READ: Final = (
    "RunCreated", "ConfigAmended", "IterationPlanned", "TaskPlanned", "TaskAmended", "TaskReopened",
    "TaskSucceeded", "AttemptPrepared", "Replanned", "TaskReplanned", "TaskWithdrawn",
    "TaskResubmitRequested", "TaskResubmitted",
)  # fmt: skip
_NEW: Final = (
    f"SELECT seq, run_id, type, data FROM events "  # noqa: S608  only our own words
    f"WHERE seq > ? AND type IN ({', '.join('?' * len(_READ))}) ORDER BY seq"
)
_GROWS: Final = ("walltime_s", "memory_mib")
_OWN: Final = "MATTERSTACK_"
_NOTHING: Final = object()


@attrs.frozen
class Asked:
    """A change that a person asked a run for."""

    run_id: RunId
    command: Command
    command_id: str


@attrs.frozen
class Intent:
    """An attempt as it was prepared.

    Attributes:
        seq: number of the event.
        definition: of its task, at that moment.
        config: of its run, at that moment.
    """

    run_id: RunId
    task_id: TaskId
    n: int
    token: str
    seq: int
    backend: str
    resources: Mapping[str, Any]
    definition: Mapping[str, Any]
    config: Mapping[str, Any]

    @property
    def name(self) -> str:
        """How it is called in what is blamed."""
        return f"attempt {self.n} of {self.task_id} of {self.run_id}"

    @property
    def own_cap(self) -> int:
        """Most jobs of its run."""
        return int(self.config["max_hpc_jobs_per_run"])

    @property
    def shared_cap(self) -> int:
        """Most jobs of its backend, over all runs."""
        return int(self.config["backends"][self.backend]["max_jobs"])


@attrs.define(eq=False)
class Ledger:
    """What was defined, by the events so far.

    Attributes:
        folder: where the attempt of a run is.
        blame: told what was promised and does not hold.
        jobs_of: the jobs of an attempt, by its folder.
        plans: what each version of a campaign planned, by workspace, iteration and hash of ``campaign.py``.
        asked: changes that people asked for, by the reason that they gave.
        intents: attempts, by their folders.
    """

    connection: sqlite3.Connection
    folder: Callable[[RunId, TaskId, int], Path]
    blame: Callable[[str], None]
    jobs_of: Callable[[Path], Sequence[SimulatedJob]]
    plans: Mapping[tuple[str, int, str], Mapping[str, Any]]
    asked: dict[str, Asked] = attrs.field(factory=dict)
    intents: dict[Path, Intent] = attrs.field(factory=dict)
    _last_seq: int = 0
    _workspaces: dict[RunId, str] = attrs.field(factory=dict)
    _configs: dict[RunId, list[tuple[int, Mapping[str, Any]]]] = attrs.field(factory=dict)
    _definitions: dict[tuple[RunId, TaskId], dict[str, Any]] = attrs.field(factory=dict)
    _as_planned: dict[tuple[RunId, TaskId], Mapping[str, Any]] = attrs.field(factory=dict)
    _choices: dict[RunId, ReplanChoices] = attrs.field(factory=dict)
    _succeeded: set[tuple[RunId, TaskId]] = attrs.field(factory=set)
    _planned: dict[RunId, Mapping[str, Any]] = attrs.field(factory=dict)
    _done: set[tuple[str, str, str]] = attrs.field(factory=set)

    # ---- what is stored ----

    def read(self) -> None:
        """Take in what was stored since, and blame what nobody asked for."""
        for seq, run_id, kind, text in self.connection.execute(_NEW, (self._last_seq, *_READ)).fetchall():
            self._last_seq = seq
            self._take(seq, RunId(run_id), kind, json.loads(text))

    def _take(self, seq: int, run_id: RunId, kind: str, data: dict[str, Any]) -> None:
        task_id = TaskId(data.get("task_id", ""))
        match kind:
            case "RunCreated":
                self._workspaces[run_id] = data["workspace"]
                self._configs[run_id] = [(seq, data["config"])]
            case "ConfigAmended":
                self._do_once(run_id, kind, "", data["reason"])
                self._take_config(run_id, data)
                self._configs[run_id].append((seq, data["config"]))
            case "IterationPlanned":
                self._take_plan(run_id, data)
            case "TaskPlanned":
                self._take_task(run_id, data["task"])
            case "TaskAmended":
                self._do_once(run_id, kind, task_id, data["reason"])
                self._amend(run_id, task_id, data)
            case "TaskReopened":
                self._do_once(run_id, kind, task_id, data["reason"])
                self._reopen(run_id, task_id, data["reason"])
            case "Replanned":
                self._do_once(run_id, kind, "", data["reason"])
                self._replan(run_id, data)
            case "TaskReplanned":
                self._plan_anew(run_id, task_id, data)
            case "TaskWithdrawn":
                self._do_once(run_id, kind, task_id, data["reason"])
                self._withdraw(run_id, task_id, data)
            case "TaskResubmitRequested":
                self._do_once(run_id, kind, task_id, data["reason"])
            case "TaskResubmitted":
                self._resubmit(run_id, task_id, data["token"])
            case "TaskSucceeded":
                self._succeeded.add((run_id, task_id))
            case _:
                self._prepare(seq, run_id, task_id, data)

    def _do_once(self, run_id: RunId, kind: str, task_id: str, reason: str) -> None:
        if reason not in self.asked:
            return
        if (kind, task_id, reason) in self._done:
            self.blame(f"{reason} was done twice: {kind} {task_id} of {run_id}")
        self._done.add((kind, task_id, reason))

    def _take_config(self, run_id: RunId, data: Mapping[str, Any]) -> None:
        asked = self.asked.get(data["reason"])
        if asked is None or not isinstance(asked.command, AmendConfig):
            self.blame(f"the config of {run_id} was amended, and nobody asked for that")
            return
        if data["config"] != asked.command.config:
            self.blame(f"{data['reason']} made another config of {run_id} than was asked for")
        if self._configs[run_id][-1][1] != asked.command.before:
            self.blame(f"{data['reason']} changed a config of {run_id} that the person had not seen")

    def _take_plan(self, run_id: RunId, data: Mapping[str, Any]) -> None:
        digest = data["code"].get("campaign.py", "")
        self._planned[run_id] = self.plans.get((self._workspaces[run_id], data["iteration"], digest), {})

    def _take_task(self, run_id: RunId, task: dict[str, Any]) -> None:
        if self._planned[run_id].get(task["id"]) != task:
            self.blame(f"task {task['id']} of {run_id} is not what the campaign planned that is said to have")
        self._definitions[run_id, task["id"]] = task
        self._as_planned[run_id, task["id"]] = deepcopy(task)

    def _amend(self, run_id: RunId, task_id: TaskId, data: Mapping[str, Any]) -> None:
        asked, definition = self.asked.get(data["reason"]), self._definitions[run_id, task_id]
        if asked is None or not isinstance(asked.command, AmendTasks | Retry):
            self.blame(f"{task_id} of {run_id} was amended, and nobody asked for that")
            return
        if (run_id, task_id) in self._succeeded:
            self.blame(f"{task_id} of {run_id} had succeeded, and was amended")
        for path, change in data["changes"].items():
            if change["new"] != asked.command.changes[path] or change["old"] != _value_at(definition, path):
                self.blame(f"{data['reason']} says of {task_id} of {run_id} what is not so: {path} {change}")
            _set(definition, path, asked.command.changes[path])

    def _reopen(self, run_id: RunId, task_id: TaskId, reason: str) -> None:
        asked = self.asked.get(reason)
        is_replan = asked is not None and isinstance(asked.command, Replan)
        if is_replan and (run_id, task_id) in self._succeeded and not self._choices[run_id].redo_changed:
            self.blame(f"{reason} took the result of {task_id} of {run_id}, which had succeeded")
        self._succeeded.discard((run_id, task_id))

    def _replan(self, run_id: RunId, data: Mapping[str, Any]) -> None:
        self._take_plan(run_id, data)
        asked = self.asked.get(data["reason"])
        if asked is None or not isinstance(asked.command, Replan):
            self.blame(f"{run_id} was planned anew, and nobody asked for that")
            return
        self._choices[run_id] = asked.command.choices

    def _plan_anew(self, run_id: RunId, task_id: TaskId, data: Mapping[str, Any]) -> None:
        key, planned = (run_id, task_id), data["planned"]
        if self._planned[run_id].get(task_id) != planned:
            self.blame(f"task {task_id} of {run_id} is not what the campaign plans now")
        if key in self._succeeded:
            self.blame(f"{task_id} of {run_id} had succeeded, and was planned anew")
        wins = self._choices[run_id].yes_plan
        wanted = _on_top(self._as_planned[key], self._definitions[key], planned, plan_wins=wins)
        got = planned if data["task"] is None else data["task"]
        if got != wanted:
            what = [name for name in wanted if wanted[name] != got.get(name)]
            self.blame(
                f"{task_id} of {run_id} was planned anew: its {what} should be "
                f"{[wanted[name] for name in what]}, and is {[got.get(name) for name in what]}"
            )
        self._as_planned[key], self._definitions[key] = planned, deepcopy(got)

    def _withdraw(self, run_id: RunId, task_id: TaskId, data: Mapping[str, Any]) -> None:
        if task_id in self._planned[run_id]:
            self.blame(f"{task_id} of {run_id} was withdrawn, and the campaign plans it")
        if data["ends_job"] and not self._choices[run_id].cancel_gone:
            self.blame(f"the job of {task_id} of {run_id} is ended, and nobody asked for that")
        mine = [folder for folder, i in self.intents.items() if (i.run_id, i.task_id) == (run_id, task_id)]
        for job in self.jobs_of(mine[-1]) if mine else ():
            if self._choices[run_id].cancel_gone and not data["ends_job"] and job.is_alive:
                self.blame(f"job {job.job_id} of {task_id} of {run_id} goes on, and was to be ended")

    def _resubmit(self, run_id: RunId, task_id: TaskId, token: str) -> None:
        """Only what waits is given up."""
        for intent in [
            i for i in self.intents.values() if (i.run_id, i.task_id, i.token) == (run_id, task_id, token)
        ]:
            for job in self.jobs_of(self.folder(run_id, task_id, intent.n)):
                if job.end_word is None and job.word is Word.CANCELLED and job.node:
                    self.blame(f"job {job.job_id} of {intent.name} was given up while it was at work")
                if job.is_alive and job.first is None:
                    self.blame(f"{intent.name} was given up, and its job {job.job_id} is {job.word}")

    def _prepare(self, seq: int, run_id: RunId, task_id: TaskId, data: Mapping[str, Any]) -> None:
        intent = Intent(
            run_id=run_id,
            task_id=task_id,
            n=data["n"],
            token=data["token"],
            seq=seq,
            backend=data["backend"],
            resources=data["resources"],
            definition=deepcopy(self._definitions[run_id, task_id]),
            config=self._configs[run_id][-1][1],
        )
        self.intents[self.folder(run_id, task_id, data["n"])] = intent
        if intent.backend != (intent.definition["backend"] or intent.config["default_backend"]):
            self.blame(f"{intent.name} was prepared for {intent.backend}, where its task is not to run")
        for what, value in intent.definition["resources"].items():
            got = intent.resources[what]
            is_more = what in _GROWS and value is not None and got is not None and got >= value
            if got != value and not is_more and value is not None:
                self.blame(f"{intent.name} asks for {what} {got}, and its definition says {value}")

    # ---- what is done ----

    def saw_job(self, job: SimulatedJob) -> None:
        """A job came into being, or begins to work: is it what its task was when it was prepared?"""
        self.read()
        intent = self.intents.get(job.folder)
        if intent is None:
            return
        for what, got, wanted in _compared(job, intent):
            if got != wanted:
                self.blame(
                    f"job {job.job_id} of {intent.name} has {what} {got!r}, "
                    f"and when that was prepared its definition said {wanted!r}"
                )
        script = job.folder / "job.sh"
        prologue = marked(script.read_text()) if script.exists() else None
        if script.exists() and prologue not in self._prologues(intent):
            self.blame(f"job {job.job_id} of {intent.name} has the prologue {prologue}, of another config")

    def _prologues(self, intent: Intent) -> set[str | None]:
        """What may stand in front of a job, by the configs since it was prepared."""
        configs = [
            intent.config,
            *(config for seq, config in self._configs[intent.run_id] if seq > intent.seq),
        ]
        return {marked(" ".join(c["backends"].get(intent.backend, {}).get("prologue", []))) for c in configs}

    def config_of(self, run_id: RunId) -> Mapping[str, Any]:
        """The config in force."""
        return self._configs[run_id][-1][1]

    def backend_of(self, job: SimulatedJob) -> str:
        """Where a job was to run; empty where nobody had prepared it."""
        intent = self.intents.get(job.folder)
        return intent.backend if intent else ""

    def newest(self, jobs: Iterable[SimulatedJob]) -> Intent | None:
        """The intent among those of these jobs that was stored last."""
        found = (self.intents[job.folder] for job in jobs if job.folder in self.intents)
        return max(found, key=lambda intent: intent.seq, default=None)

    # ---- at the end ----

    def judge_answers(self, outcome_of: Callable[[str], Mapping[str, Any] | None]) -> None:
        """What was answered must be what was done."""
        self.read()
        done = {reason for _, _, reason in self._done}
        for reason, asked in self.asked.items():
            outcome = outcome_of(asked.command_id)
            is_told = outcome is not None and bool(outcome["ok"])
            if reason in done and not is_told:
                self.blame(f"{reason} of {asked.run_id} was done, and the answer was {outcome}")
            if is_told and reason not in done and _changes_something(asked.command):
                self.blame(f"{reason} of {asked.run_id} was not done, and the answer was {outcome}")
            if is_told and isinstance(asked.command, AmendConfig):
                is_same = asked.command.config == asked.command.before
                if is_same == (reason in done):
                    self.blame(f"{reason} of {asked.run_id} changes {is_same=}, and was it done?")


def _changes_something(command: Command) -> bool:
    """Not where the plan may be what it was, or what waits be on its way to be submitted anew already."""
    return isinstance(command, AmendTasks | Retry) and bool(command.changes)


def _compared(job: SimulatedJob, intent: Intent) -> Iterator[tuple[str, Any, Any]]:
    """What a job has, and what it should have."""
    definition, resources = intent.definition, intent.resources
    yield "cpus", job.cpus, resources["cpus"] * resources["nodes"]
    if resources["walltime_s"] is not None:
        yield "walltime_s", job.walltime_s, resources["walltime_s"]
    yield "memory_mib", job.memory_mib, resources["memory_mib"]
    path = job.folder / "manifest.json"
    if not path.exists():
        return
    manifest = json.loads(path.read_text())
    yield "backend", manifest["backend"], intent.backend
    yield "resources", manifest["resources"], resources
    for what in ("command", "params", "outputs"):
        yield what, manifest[what], definition[what]
    env = {name: value for name, value in manifest["env"].items() if not name.startswith(_OWN)}
    yield "env", env, definition["env"]


def _on_top(before: Any, amended: Any, planned: Any, *, plan_wins: bool) -> Any:
    """What a plan says now, with what a person amended since the last one on top."""
    if planned == before:
        return amended
    if amended in (before, planned):
        return planned
    if isinstance(amended, dict) and isinstance(planned, dict):
        old = before if isinstance(before, dict) else {}
        both = {
            name: _on_top(old.get(name, _NOTHING), amended.get(name, _NOTHING), planned.get(name, _NOTHING),
                          plan_wins=plan_wins)
            for name in {**planned, **amended}
        }  # fmt: skip
        return {name: value for name, value in both.items() if value is not _NOTHING}
    return planned if plan_wins else amended


def _value_at(definition: Mapping[str, Any], path: str) -> Any:
    part: Any = definition
    for name in path.split("."):
        part = part.get(name) if isinstance(part, Mapping) else None
    return part


def _set(definition: dict[str, Any], path: str, value: Any) -> None:
    *names, last = path.split(".")
    part = definition
    for name in names:
        part = part.setdefault(name, {})
    if value is None and names == ["env"]:
        part.pop(last, None)
    else:
        part[last] = value
