"""The crate as a whole: the run, its workflow, and what people did to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from matterstack.core.shown_text import shown
from matterstack.core.states import ENDED_RUNS, RunStatus
from matterstack.evidence.crate.credits import Credits
from matterstack.evidence.crate.file_entities import WORKFLOW, Files, PayloadFile
from matterstack.evidence.crate.graph import (
    ACTIVE,
    COMPLETED,
    ENGINE,
    FAILED,
    POTENTIAL,
    VERSION,
    Graph,
    file_id,
    local,
    moment,
    ref,
    refs,
)
from matterstack.evidence.crate.made_under import MadeUnder, campaign_id
from matterstack.evidence.crate.software import Environments, add_distribution, add_python
from matterstack.evidence.crate.tasks import Tasks, add_tools, step_id, task_id
from matterstack.evidence.durations import hours_text
from matterstack.evidence.environments import find_environments
from matterstack.evidence.history import CREATED, Iteration
from matterstack.evidence.lineage import FIRST
from matterstack.evidence.presentation import View, commit_words
from matterstack.evidence.report.change_rows import notes_told
from matterstack.evidence.report.version_rows import version_rows
from matterstack.evidence.version_tables import config_place

CRATE: Final = "ro-crate-metadata.json"
_BIOSCHEMAS: Final = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
_WORKFLOW_CRATE: Final = "https://w3id.org/workflowhub/workflow-ro-crate/1.0"
_PROFILES: Final = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/provenance/0.5": ("Provenance Run Crate", "0.5"),
    _WORKFLOW_CRATE: ("Workflow RO-Crate", "1.0"),
}


def crate_bytes(view: View, payload: Mapping[str, PayloadFile]) -> bytes:
    """Describe a bundle as an RO-Crate.

    Args:
        payload: all its files but this one and the manifest, by path.
    """
    crate = _Document(view, payload)
    crate.describe()
    return crate.graph.written()


class _Document:
    def __init__(self, view: View, payload: Mapping[str, PayloadFile]) -> None:
        self.view = view
        self.state = view.history.state
        self.made_from = view.history.created
        self.payload = payload
        self.graph = Graph()
        self.files = Files(self.graph, view, payload)
        self.environments = Environments(self.graph, find_environments(view))
        self.credits = Credits(self.graph, view.about)
        self.made_under = MadeUnder(self.graph, view, self.files)
        self.done = Tasks(self.graph, view, self.files, self.environments, self.made_under)
        self.tasks = list(self.state.tasks.values())

    def describe(self) -> None:
        for identifier, (name, version) in _PROFILES.items():
            self.graph.add(identifier, "CreativeWork", name=name, version=version)
        self.graph.add(
            ENGINE,
            "SoftwareApplication",
            name="MatterStack",
            softwareVersion=self.made_from.software.get("matterstack")
            or self.view.survey.made_with.get("matterstack"),
            description="plans, submits and follows the tasks of campaigns",
            url="pkg:pypi/matterstack",
        )
        self.files.describe()
        self.environments.describe()
        # Tools that were never started are those of steps only: a part of a workflow has been used in it.
        self.started = add_tools(self.view, self.graph, self.tasks, self.environments)
        self.made_under.describe()
        for task in self.tasks:
            self.done.describe(task)
        self._iterations()
        self._notes()
        self._workflow()
        self._creation()
        self._versions()
        self._run()
        self._root()

    def _iterations(self) -> None:
        of: dict[int, list[str]] = {}
        for task in self.tasks:
            if task.attempts:
                of.setdefault(task.iteration, []).append(task_id(task))
        unfinished = FAILED if self.state.status in ENDED_RUNS else ACTIVE
        for iteration in self.view.history.iterations:
            self.graph.add(
                local("iteration", iteration.number),
                "Action",
                name=shown(_iteration_name(iteration)),
                agent=ref(ENGINE),
                object=[ref(one) for one in of.get(iteration.number, ())],
                startTime=moment(iteration.planned_at),
                endTime=moment(iteration.analyzed_at),
                actionStatus=COMPLETED if iteration.analyzed_at else unfinished,
            )

    def _notes(self) -> None:
        """What people did to the run."""
        for number, note in enumerate(notes_told(self.view), start=1):
            if note.by and note.what != CREATED:  # that one is described as the run's creation
                self.graph.add(
                    local("intervention", number),
                    "Action",
                    name=note.what,
                    agent=ref(self.graph.add_person(note.by)),
                    object=ref("#run"),
                    description=shown(note.reason),
                    startTime=moment(note.at),
                    endTime=moment(note.at),
                    actionStatus=COMPLETED,
                )

    def _software(self) -> Iterator[str]:
        """What was installed when the run was made; an entity for each, by name and version."""
        for name, version in self.made_from.software.items():
            if name == "matterstack":
                yield ENGINE
            elif name == "python":
                yield add_python(self.graph, version)
            elif name == "platform":
                yield self.graph.add(
                    local("software", name),
                    "OperatingSystem",
                    name=shown(name),
                    softwareVersion=shown(version),
                )
            else:
                yield add_distribution(self.graph, name, version)

    def _workflow(self) -> None:
        found = self.payload[WORKFLOW]
        self.graph.add(
            "#workflow-json",
            "ComputerLanguage",
            name="MatterStack workflow",
            description="JSON: what a campaign planned, iteration by iteration",
        )
        self.graph.add(
            WORKFLOW,
            ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
            name=f"{self.state.workspace}: what was planned",
            programmingLanguage=ref("#workflow-json"),
            contentSize=str(found.bytes),
            encodingFormat="application/json",
            sha256=found.sha256,
            version=self.state.run_id,
            conformsTo=ref(_BIOSCHEMAS),
            author=refs(self.credits.authors()),
            license=ref(self.credits.license()),
            hasPart=refs(self.started or [ENGINE]),
            softwareRequirements=refs(self._software()),
            isBasedOn=refs([*self.files.sources(), *self._later_files()]),
            step=refs(step_id(task) for task in self.tasks),
        )

    def _creation(self) -> None:
        self.graph.add(
            "#creation",
            "CreateAction",
            name=f"run {self.state.run_id} was made from workspace {self.state.workspace}",
            instrument=ref(ENGINE),
            description="the workspace's files were kept, and its configuration frozen" + self._commit(),
            agent=ref(self._maker()) if self.made_from.by else None,
            object=refs(self.files.sources()),
            startTime=moment(self.state.created_at),
            endTime=moment(self.state.created_at),
            actionStatus=COMPLETED,
            result=refs(self._first_config()),
        )

    def _first_config(self) -> list[str]:
        if self.view.survey.tells_versions:
            return [file_id(config_place(self.view, FIRST))]
        # Of a run that was amended, older bundles have the last config; the events have them all.
        return [] if self.view.history.is_amended else [file_id("config.json")]

    def _later_files(self) -> list[str]:
        return self.files.later(list(self.view.history.later_code()))

    def _versions(self) -> None:
        """Each later version of the campaign: what changed, and which rounds it planned and analyzed."""
        rows = {row.number: row for row in version_rows(self.view)}
        for version in self.view.history.versions:
            row = rows[version.number]
            changed = self.files.later(list(version.files.items()))
            self.graph.add(
                local("campaign-version", version.number),
                "UpdateAction",
                name=f"version {version.number} of the campaign",
                description=shown(
                    f"{row.what}; planned iterations: {row.planned or 'none'}; "
                    f"analyzed iterations: {row.analyzed or 'none'}"
                ),
                instrument=ref(ENGINE),
                object=ref("#run"),
                result=refs([*changed, *self._campaign(version.number)]),
                startTime=moment(version.at),
                endTime=moment(version.at),
                actionStatus=COMPLETED,
            )

    def _campaign(self, number: int) -> list[str]:
        return [campaign_id(number)] if self.view.survey.tells_versions else []

    def _maker(self) -> str:
        """Who made the run, and in whose name all is done for it; the engine where that is not known."""
        return self.graph.add_person(self.made_from.by) if self.made_from.by else ENGINE

    def _commit(self) -> str:
        text = commit_words(self.made_from)
        return f"; {text}" if text else ""

    def _run(self) -> None:
        history = self.view.history
        status = _RUN_STATUS[self.state.status]
        latest = [
            self.files.output(output)
            for output in self.view.survey.outputs
            if output.n == len(self.state.tasks[output.task_id].attempts)
        ]
        settings = self.state.config.get("params", {}).items()
        common: dict[str, Any] = {
            "startTime": moment(history.started_at),
            "endTime": moment(history.ended_at),
            "actionStatus": status,
            "error": shown(self.state.status_reason) or "no reason was given" if status == FAILED else None,
        }
        self.graph.add(
            "#run",
            "CreateAction",
            name=f"run {self.state.run_id}",
            identifier=self.state.run_id,
            description=f"{self.state.status} as of event {history.seq} ({history.as_of})"
            + (f", head {self.view.survey.head}" if self.view.survey.head else ""),
            instrument=ref(WORKFLOW),
            agent=ref(self._maker()),
            object=refs(
                [
                    file_id("config.json"),
                    *(self.graph.add_value("setting", name, value) for name, value in settings),
                ]
            ),
            result=refs(latest),
            resourceUsage=refs(self._usage()),
            **common,
        )
        controlled = [ref(task_id(task)) for task in self.tasks if task.attempts]
        if controlled:
            self.graph.add(
                "#engine-run",
                "OrganizeAction",
                name=f"MatterStack carried out run {self.state.run_id}",
                instrument=ref(ENGINE),
                object=controlled,
                result=ref("#run"),
                **common,
            )

    def _usage(self) -> Iterator[str]:
        usage = self.view.usage
        for name, seconds in (
            ("core hours", usage.core_s),
            ("GPU hours", usage.gpu_s),
            ("waiting hours", usage.waiting_s),
        ):
            yield self.graph.add(
                local("usage", name),
                "PropertyValue",
                name=name,
                propertyID=local("usage", name),
                unitCode="HUR",
                value=hours_text(seconds),
            )

    def _root(self) -> None:
        history = self.view.history
        about = self.view.about
        complete = "complete" if self.view.is_complete else "not complete"
        standing = f"{self.state.status} as of event {history.seq}; this evidence is {complete}" + (
            "" if self.view.is_complete else ": " + shown("; ".join(self.view.missing[:20]))
        )
        self.graph.describe_root(
            [ref(f"https://w3id.org/ro/crate/{VERSION}"), ref(_WORKFLOW_CRATE)],
            name=about.title or f"Evidence of run {self.state.run_id} ({self.state.workspace})",
            description=f"{about.description}\n\n{standing}" if about.description else standing,
            datePublished=moment(history.as_of),
            **self.credits.of_root(self._maker() if self.made_from.by else ""),
            identifier=self.state.run_id,
            conformsTo=[ref(identifier) for identifier in _PROFILES],
            mainEntity=ref(WORKFLOW),
            mentions=refs(
                [
                    "#run",
                    "#creation",
                    *(local("campaign-version", v.number) for v in self.view.history.versions),
                    *self.done.attempts,
                ]
            ),
        )


def _iteration_name(iteration: Iteration) -> str:
    return f"iteration {iteration.number}" + (f": {iteration.name}" if iteration.name else "")


_RUN_STATUS: Final = {
    RunStatus.PENDING: POTENTIAL,
    RunStatus.RUNNING: ACTIVE,
    RunStatus.PAUSED: ACTIVE,
    RunStatus.COMPLETED: COMPLETED,
    RunStatus.FAILED: FAILED,
    RunStatus.CANCELLED: FAILED,
}
