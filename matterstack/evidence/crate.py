"""``ro-crate-metadata.json``: the run as a Provenance Run Crate.

Profiles (w3id.org/ro/wfrun): process, workflow and provenance 0.5, on RO-Crate 1.1.  How the words fit:

    campaign as carried out   main workflow (``workflow.json``), instrument of the CreateAction of the run
    engine                    SoftwareApplication; what it did is an OrganizeAction
    iteration                 Action, over the ControlActions of its tasks
    task                      HowToStep of the workflow, and a ControlAction over its attempts
    attempt                   CreateAction: instrument is the tool, object what it used, result what it made
"""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import attrs
from rocrate.model.contextentity import ContextEntity  # type: ignore[import-untyped]
from rocrate.model.data_entity import DataEntity  # type: ignore[import-untyped]
from rocrate.rocrate import ROCrate  # type: ignore[import-untyped]

from matterstack.core.ids import TaskId
from matterstack.core.run_state import AttemptState, TaskState
from matterstack.core.states import ENDED_RUNS, JobState, RunStatus, TaskStatus
from matterstack.evidence.durations import hours_text
from matterstack.evidence.history import CREATED, Iteration
from matterstack.evidence.survey import FileState, OutputRecord, UsedRecord, shown
from matterstack.evidence.view import View, attempt_word, operator_line
from matterstack.storage.codec import CONVERTER, dumps

CRATE: Final = "ro-crate-metadata.json"
VERSION: Final = "1.1"
"""Of RO-Crate: what the profiles are made for; the library writes a newer one unless told."""
WORKFLOW: Final = "workflow.json"
LICENSE: Final = "The campaign states no licence; ask its authors before you use this further."

_PROFILES: Final = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/provenance/0.5": ("Provenance Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
_WORKFLOW_CRATE: Final = "https://w3id.org/workflowhub/workflow-ro-crate/1.0"
_RUN_TERMS: Final = "https://w3id.org/ro/terms/workflow-run/context"

_TYPES: Final = {
    "json": "application/json", "jsonl": "application/jsonl", "csv": "text/csv", "md": "text/markdown",
    "html": "text/html", "svg": "image/svg+xml", "png": "image/png", "jpg": "image/jpeg",
    "jpeg": "image/jpeg", "txt": "text/plain", "log": "text/plain", "py": "text/x-python",
    "sh": "application/x-sh", "pdf": "application/pdf", "xml": "application/xml", "zip": "application/zip",
    "h5": "application/x-hdf5", "yaml": "application/yaml", "yml": "application/yaml",
}  # fmt: skip
"""A table of our own: that of the machine differs from machine to machine."""

_OURS: Final = {
    "events.jsonl": "Everything that ever changed the run, in order",
    "evidence.json": "What was found of the run's files",
    "tasks.csv": "Tasks and their attempts, as a table",
    "report.md": "The report, as text",
    "report.html": "The report, for a browser",
    "config.json": "The configuration that the run was made with",
    "timeline.svg": "When attempts waited and ran",
    "graph.svg": "The tasks and what they depend on",
}

_COMPLETED: Final = "http://schema.org/CompletedActionStatus"
_FAILED: Final = "http://schema.org/FailedActionStatus"
_ACTIVE: Final = "http://schema.org/ActiveActionStatus"
_POTENTIAL: Final = "http://schema.org/PotentialActionStatus"

Ref = dict[str, str]


@attrs.frozen
class PayloadFile:
    """A file of the bundle."""

    bytes: int
    sha256: str


def crate_bytes(view: View, payload: Mapping[str, PayloadFile]) -> bytes:
    """Describe a bundle.

    Args:
        payload: all its files but this one and the manifest, by path.
    """
    crate = _Crate(view, payload)
    crate.describe()
    return crate.written()


def file_id(path: str) -> str:
    """A path as an identifier: a relative URI, whatever the name holds.

    >>> print(file_id("outputs/a/1/x y"), file_id("b\\udcff"))
    outputs/a/1/x%20y b%FF
    """
    return quote(path.encode("utf-8", "surrogateescape"))


def _local(*parts: object) -> str:
    return "#" + "/".join(quote(str(part).encode("utf-8", "surrogateescape"), safe="") for part in parts)


def _ref(identifier: str) -> Ref:
    return {"@id": identifier}


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class _Crate:
    """Makes entities in the order in which they are written: the same for the same run."""

    def __init__(self, view: View, payload: Mapping[str, PayloadFile]) -> None:
        self.view = view
        self.state = view.history.state
        self.made_from = view.history.created
        self.payload = payload
        self.crate = ROCrate(version=VERSION)
        self.known: set[str] = set()
        self.actions: list[str] = []
        self.output_ids: dict[tuple[str, str], str] = {}
        self.source_paths = {record.place: record for record in view.survey.sources}

    def add(self, identifier: str, kind: str | list[str], /, **properties: Any) -> str:  # noqa: ANN401  any JSON
        """Describe something once, however often it is named; what is None is left out."""
        if identifier not in self.known:
            self.known.add(identifier)
            given = {name: value for name, value in properties.items() if value not in (None, "", [])}
            is_file = kind == "File" or (isinstance(kind, list) and "File" in kind)
            entity = DataEntity if is_file and not identifier.startswith("#") else ContextEntity
            self.crate.add(entity(self.crate, identifier, {"@type": kind, **given}))
        return identifier

    def describe(self) -> None:
        self.crate.metadata.extra_contexts.append(_RUN_TERMS)
        for identifier, (name, version) in _PROFILES.items():
            self.add(identifier, "CreativeWork", name=name, version=version)
        self.add(
            "#matterstack",
            "SoftwareApplication",
            name="MatterStack",
            softwareVersion=self.made_from.software.get("matterstack")
            or self.view.survey.made_with.get("matterstack"),
            description="plans, submits and follows the tasks of campaigns",
        )
        for path in sorted(self.payload, key=file_id):
            self._file(path)
        for output in self.view.survey.outputs:
            self._output(output)
        tasks = list(self.state.tasks.values())
        for task in tasks:
            self._task(task)
        self._iterations(tasks)
        self._notes()
        self._workflow(tasks)
        self._run(tasks)
        self._root()

    def written(self) -> bytes:
        """A line for each entity: large crates can be read and compared.  Uses the entities up."""
        document = self.crate.metadata.generate()
        graph = document["@graph"]
        graph.reverse()
        # Of a large crate there is no room for both: entities go while their text grows.  They and the
        # library's crate refer to each other.
        del self.crate
        gc.collect()
        text = bytearray(f'{{"@context": {json.dumps(document["@context"])},\n"@graph": [\n'.encode())
        while graph:
            text += json.dumps(graph.pop()).encode()
            text += b",\n" if graph else b"\n"
        text += b"]}\n"
        return bytes(text)

    # ---- files ----

    def _file(self, path: str) -> None:
        if path == WORKFLOW:
            return  # it is described as the main workflow
        found = self.payload[path]
        source = self.source_paths.get(path)
        is_code = source is not None and path.endswith(".py")
        self.add(
            file_id(path),
            ["File", "SoftwareSourceCode"] if is_code else "File",
            name=shown(path if source is None else source.path),
            description=_OURS.get(path) if source is None else "A file of the campaign when the run was made",
            programmingLanguage=_ref(self._python()) if is_code else None,
            contentSize=str(found.bytes),
            encodingFormat=_media_type(path),
            sha256=found.sha256,
        )

    def _python(self) -> str:
        version = self.made_from.software.get("python")
        return self.add(_local("language", "python"), "ComputerLanguage", name="Python", version=version)

    def _software(self) -> Iterator[str]:
        """What was installed when the run was made; an entity for each, by name and version."""
        for name, version in self.made_from.software.items():
            if name == "matterstack":
                yield "#matterstack"
            else:
                yield self.add(
                    _local("software", name),
                    "OperatingSystem" if name == "platform" else "SoftwareApplication",
                    name=shown(name),
                    softwareVersion=shown(version),
                )

    def _source_ids(self) -> list[str]:
        return [file_id(source.place) for source in self.view.survey.sources if source.place is not None]

    def _output(self, output: OutputRecord) -> None:
        if output.place is not None:
            identifier = file_id(output.place)
        else:
            identifier = self.add(
                _local("output", output.task_id, output.n, output.path),
                "CreativeWork",
                name=shown(output.path),
                contentSize=str(output.bytes),
                encodingFormat=_media_type(output.path),
                sha256=output.sha256,
                description=shown(_absence(output)),
            )
        self.output_ids[f"{output.task_id}/{output.path}", output.sha256] = identifier

    def _used(self, used: UsedRecord) -> str:
        if used.is_input and (known := self.output_ids.get((used.origin, used.sha256))) is not None:
            return known
        if used.place is not None:
            return file_id(used.place)
        return self.add(
            _local("used", used.sha256[:16], used.name),
            "CreativeWork",
            name=shown(used.name),
            description=shown(f"given to jobs, from {used.origin}; no copy with this content was found"),
            sha256=used.sha256,
        )

    def _value(self, kind: str, name: str, value: Any) -> str:  # noqa: ANN401  any JSON
        text = dumps(value)
        identifier = _local(kind, name, _short_hash(text))
        if not isinstance(value, bool | int | float | str):
            value = text
        elif isinstance(value, str):
            value = shown(value)
        self.add(identifier, "PropertyValue", name=shown(name), propertyID=_local(kind, name), value=value)
        return identifier

    # ---- tasks and attempts ----

    def _task(self, task: TaskState) -> None:
        step = _local("step", task.task.id)
        tool = self._tool(task)
        self.add(
            step,
            "HowToStep",
            name=task.task.id,
            position=str(task.position),
            description=shown(operator_line(task)),
            workExample=_ref(tool),
        )
        done = [self._attempt(task, attempt, tool) for attempt in task.attempts]
        if done:
            self.add(
                _local("task", task.task.id),
                "ControlAction",
                name=f"{task.task.id} has {task.status}",
                instrument=_ref(step),
                object=[_ref(one) for one in done],
                startTime=task.attempts[0].prepared_at,
                endTime=task.attempts[-1].ended_at,
                actionStatus=_TASK_STATUS[task.status],
                error=shown(task.reason) if _TASK_STATUS[task.status] == _FAILED else None,
            )

    def _tool(self, task: TaskState) -> str:
        command = task.task.command
        if not command:
            return self.add(
                _local("operator", task.task.operator), "SoftwareApplication", name=task.task.operator
            )
        words = [command[0]]
        if len(command) > 1 and command[1] in task.task.files:
            words.append(command[1])
        name = shown(" ".join(words))
        return self.add(_local("tool", name), "SoftwareApplication", name=name)

    def _attempt(self, task: TaskState, attempt: AttemptState, tool: str) -> str:
        key = (attempt.task_id, attempt.n)
        record = self.view.records.get(key)
        identifier = _local("attempt", *key)
        used = [self.view.survey.used[place] for place in record.used] if record is not None else []
        given = [
            *(self._used(one) for one in used),
            *(self._value("param", name, value) for name, value in task.task.params.items()),
            self._value("resources", "resources", CONVERTER.unstructure(attempt.resources)),
        ]
        made = [
            *(self.output_ids[f"{o.task_id}/{o.path}", o.sha256] for o in self.view.outputs.get(key, ())),
            *(file_id(log.place) for log in (record.logs if record is not None else ()) if log.place),
        ]
        answer = self.view.answers.get(key)
        if answer is not None and answer.place is not None:
            made.insert(0, file_id(answer.place))
        status = _attempt_status(attempt)
        self.add(
            identifier,
            "CreateAction",
            name=f"attempt {attempt.n} of {attempt.task_id}",
            description=shown(operator_line(task)),
            instrument=_ref(tool),
            agent=_ref(self._person(answer.by) if answer is not None and answer.by else "#matterstack"),
            startTime=attempt.started_at,
            endTime=attempt.ended_at,
            actionStatus=status,
            error=shown(self._error(attempt)) if status == _FAILED else None,
            identifier=[attempt.token, *([f"job {attempt.job_id}"] if attempt.job_id else [])],
            location=_ref(self._place(attempt)),
            object=_refs(given),
            result=_refs(made),
            environment=_refs([self._value("env", name, value) for name, value in task.task.env.items()]),
        )
        self.actions.append(identifier)
        return identifier

    def _person(self, name: str) -> str:
        return self.add(_local("person", name), "Person", name=shown(name))

    def _error(self, attempt: AttemptState) -> str:
        word = attempt.raw_state or attempt_word(attempt)
        code = f", exit code {attempt.exit_code}" if attempt.exit_code is not None else ""
        why = self.view.outcome(attempt)
        return f"{word}{code}" + (f": {why}" if why else "")

    def _place(self, attempt: AttemptState) -> str:
        host = f", host {shown(attempt.host)}" if attempt.host else ""
        name = f"backend {attempt.backend}{host}"
        return self.add(_local("place", attempt.backend, attempt.host or ""), "Place", name=name)

    # ---- the run ----

    def _iterations(self, tasks: Sequence[TaskState]) -> None:
        of: dict[int, list[TaskId]] = {}
        for task in tasks:
            if task.attempts:
                of.setdefault(task.iteration, []).append(task.task.id)
        for iteration in self.view.history.iterations:
            self.add(
                _local("iteration", iteration.number),
                "Action",
                name=shown(_iteration_name(iteration)),
                agent=_ref("#matterstack"),
                object=[_ref(_local("task", task_id)) for task_id in of.get(iteration.number, ())],
                startTime=iteration.planned_at,
                endTime=iteration.analyzed_at,
                actionStatus=_COMPLETED if iteration.analyzed_at else self._open_status(),
            )

    def _open_status(self) -> str:
        return _FAILED if self.state.status in ENDED_RUNS else _ACTIVE

    def _notes(self) -> None:
        """What people did to the run."""
        for number, note in enumerate(self.view.history.notes, start=1):
            if note.by and note.what != CREATED:  # that one is described as the run's creation
                person = self._person(note.by)
                self.add(
                    _local("intervention", number),
                    "Action",
                    name=note.what,
                    agent=_ref(person),
                    object=_ref("#run"),
                    description=shown(note.reason),
                    startTime=note.at,
                    endTime=note.at,
                    actionStatus=_COMPLETED,
                )

    def _workflow(self, tasks: Sequence[TaskState]) -> None:
        found = self.payload[WORKFLOW]
        self.add(
            "#workflow-json",
            "ComputerLanguage",
            name="MatterStack workflow",
            description="JSON: what a campaign planned, iteration by iteration",
        )
        # Tools that were never started are those of steps only: a part of a workflow has been used in it.
        started = dict.fromkeys(self._tool(task) for task in tasks if task.attempts)
        self.add(
            WORKFLOW,
            ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
            name=f"{self.state.workspace}: what was planned",
            programmingLanguage=_ref("#workflow-json"),
            contentSize=str(found.bytes),
            encodingFormat="application/json",
            sha256=found.sha256,
            version=self.state.run_id,
            hasPart=_refs(started or ["#matterstack"]),
            softwareRequirements=_refs(self._software()),
            isBasedOn=_refs(self._source_ids()),
            step=_refs([_local("step", task.task.id) for task in tasks]),
        )

    def _run(self, tasks: Sequence[TaskState]) -> None:
        history = self.view.history
        self.actions[:0] = ["#run", "#creation"]
        self.add(
            "#creation",
            "CreateAction",
            name=f"run {self.state.run_id} was made from workspace {self.state.workspace}",
            instrument=_ref("#matterstack"),
            agent=_ref(self._person(self.made_from.by)) if self.made_from.by else None,
            object=_refs(self._source_ids()),
            startTime=self.state.created_at,
            endTime=self.state.created_at,
            actionStatus=_COMPLETED,
            result=_refs([file_id("config.json")]),
        )
        status = _RUN_STATUS[self.state.status]
        latest = [
            self.output_ids[f"{o.task_id}/{o.path}", o.sha256]
            for o in self.view.survey.outputs
            if o.n == len(self.state.tasks[o.task_id].attempts)
        ]
        common: dict[str, Any] = {
            "startTime": history.started_at,
            "endTime": history.as_of if self.state.has_ended else None,
            "actionStatus": status,
            "error": shown(self.state.status_reason) or "no reason was given" if status == _FAILED else None,
        }
        self.add(
            "#run",
            "CreateAction",
            name=f"run {self.state.run_id}",
            identifier=self.state.run_id,
            description=f"{self.state.status} as of event {history.seq} ({history.as_of})",
            instrument=_ref(WORKFLOW),
            agent=_ref("#matterstack"),
            object=_refs(
                [
                    file_id("config.json"),
                    *(self._value("setting", k, v) for k, v in self.state.config.get("params", {}).items()),
                ]
            ),
            result=_refs(latest),
            resourceUsage=_refs(self._usage()),
            **common,
        )
        controlled = [_ref(_local("task", task.task.id)) for task in tasks if task.attempts]
        if controlled:
            self.add(
                "#engine-run",
                "OrganizeAction",
                name=f"MatterStack carried out run {self.state.run_id}",
                instrument=_ref("#matterstack"),
                object=controlled,
                result=_ref("#run"),
                **common,
            )

    def _usage(self) -> Iterator[str]:
        usage = self.view.usage
        for name, seconds in (
            ("core hours", usage.core_s),
            ("GPU hours", usage.gpu_s),
            ("waiting hours", usage.waiting_s),
        ):
            yield self.add(
                _local("usage", name),
                "PropertyValue",
                name=name,
                propertyID=_local("usage", name),
                unitCode="HUR",
                value=hours_text(seconds),
            )

    def _root(self) -> None:
        root = self.crate.root_dataset
        history = self.view.history
        complete = "complete" if self.view.is_complete else "not complete"
        root["name"] = f"Evidence of run {self.state.run_id} ({self.state.workspace})"
        root["description"] = (
            f"{self.state.status} as of event {history.seq}; this evidence is {complete}"
            + ("" if self.view.is_complete else ": " + shown("; ".join(self.view.missing[:20])))
        )
        root["datePublished"] = history.as_of
        root["license"] = LICENSE
        root["identifier"] = self.state.run_id
        root["conformsTo"] = [_ref(identifier) for identifier in _PROFILES]
        root["mainEntity"] = _ref(WORKFLOW)
        root["mentions"] = [_ref(identifier) for identifier in self.actions]
        self.crate.metadata["conformsTo"] = [
            _ref(f"https://w3id.org/ro/crate/{VERSION}"),
            _ref(_WORKFLOW_CRATE),
        ]


def _refs(identifiers: Any) -> list[Ref]:  # noqa: ANN401  any iterable of text
    return [_ref(identifier) for identifier in dict.fromkeys(identifiers)]


def _media_type(path: str) -> str:
    return _TYPES.get(path.rpartition(".")[2].lower(), "application/octet-stream")


def _absence(output: OutputRecord) -> str:
    if output.state is FileState.REFERENCED:
        return "too large to be copied into this bundle; it is named by its hash"
    return f"not in this bundle: {output.state}: {output.detail}"


def _attempt_status(attempt: AttemptState) -> str:
    if attempt.ended_at is not None:
        return _COMPLETED if attempt.state is JobState.COMPLETED_OK else _FAILED
    return _ACTIVE if attempt.started_at is not None else _POTENTIAL


def _iteration_name(iteration: Iteration) -> str:
    return f"iteration {iteration.number}" + (f": {iteration.name}" if iteration.name else "")


_TASK_STATUS: Final = {
    TaskStatus.WAITING: _POTENTIAL,
    TaskStatus.READY: _POTENTIAL,
    TaskStatus.ACTIVE: _ACTIVE,
    TaskStatus.SUCCEEDED: _COMPLETED,
    TaskStatus.FAILED: _FAILED,
    TaskStatus.CANCELLED: _FAILED,
    TaskStatus.SKIPPED: _FAILED,
}
_RUN_STATUS: Final = {
    RunStatus.PENDING: _POTENTIAL,
    RunStatus.RUNNING: _ACTIVE,
    RunStatus.PAUSED: _ACTIVE,
    RunStatus.COMPLETED: _COMPLETED,
    RunStatus.FAILED: _FAILED,
    RunStatus.CANCELLED: _FAILED,
}
