"""What the report, the tables and the crate say, worked out once from the history and the survey."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import attrs

from matterstack.core.documents.about import About, kept_about
from matterstack.core.errors import ConfigError
from matterstack.core.ids import TaskId, UtcTime
from matterstack.core.model.workflow import Task
from matterstack.core.run.facts import RunCreated
from matterstack.core.run.state import AttemptState, TaskState
from matterstack.core.states import ENDED_RUNS, JobState, RunStatus, TaskStatus
from matterstack.evidence.durations import seconds_between
from matterstack.evidence.history import AttemptKey, History
from matterstack.evidence.lineage import FIRST, Definition, definition_text, text_sha256
from matterstack.evidence.manifest import manifest_bytes
from matterstack.evidence.survey import (
    AnswerRecord,
    AttemptRecord,
    FileState,
    OutputRecord,
    Survey,
    UnclaimedRecord,
)

Content = Callable[[str], bytes]
"""Reads a file of the bundle."""


@attrs.frozen(kw_only=True)
class Usage:
    """What was used, in seconds; of attempts whose start and end are known."""

    core_s: float = 0.0
    gpu_s: float = 0.0
    waiting_s: float = 0.0
    running_s: float = 0.0
    attempts: int = 0
    unknown: int = 0
    """Attempts that ended after a job was accepted, but of which it is not known how long they ran."""


@attrs.define(slots=False)
class View:
    """A run as a bundle shows it."""

    history: History
    survey: Survey
    content: Content

    @property
    def status(self) -> RunStatus:
        """Status of the run as of the last event."""
        return self.history.state.status

    @cached_property
    def about(self) -> About:
        """What was last said of what the run is about; nothing where that cannot be read."""
        try:
            return kept_about(self.history.about)
        except ConfigError:
            return About()

    @property
    def until(self) -> UtcTime:
        """When the run ended, or where it has not, the time of its last event."""
        return self.history.ended_at or self.history.as_of

    @cached_property
    def missing(self) -> list[str]:
        """Why this is not the whole story, in words; empty when it is."""
        state = self.history.state
        reasons: list[str] = []
        if state.status in ENDED_RUNS and state.status is not RunStatus.COMPLETED:
            reasons.append(f"the run has {state.status}: {state.status_reason or 'no reason was given'}")
        elif state.status is not RunStatus.COMPLETED:
            reasons.append(f"the run is {state.status} and has not come to its end")
        if state.open_count:
            reasons.append(f"{state.open_count} of its {len(state.tasks)} tasks have not ended")
        return reasons + self.survey.problems()

    @property
    def is_complete(self) -> bool:
        """Whether the run met its goal, and every file that the store knows is there as it was."""
        return not self.missing

    @cached_property
    def records(self) -> Mapping[AttemptKey, AttemptRecord]:
        """What was found of each attempt that has ended."""
        return {(record.task_id, record.n): record for record in self.survey.attempts}

    @cached_property
    def outputs(self) -> Mapping[AttemptKey, list[OutputRecord]]:
        """What was found of the outputs of each attempt."""
        found: dict[AttemptKey, list[OutputRecord]] = {}
        for output in self.survey.outputs:
            found.setdefault((output.task_id, output.n), []).append(output)
        return found

    @cached_property
    def unclaimed(self) -> Mapping[AttemptKey, list[UnclaimedRecord]]:
        """What was found of what each attempt left that was not enough."""
        found: dict[AttemptKey, list[UnclaimedRecord]] = {}
        for output in self.survey.unclaimed:
            found.setdefault((output.task_id, output.n), []).append(output)
        return found

    @cached_property
    def answers(self) -> Mapping[AttemptKey, AnswerRecord]:
        """What was found of the answer to each attempt that asked for one."""
        return {(answer.task_id, answer.n): answer for answer in self.survey.answers}

    @cached_property
    def usage(self) -> Usage:
        """What all attempts used, added up."""
        core = gpu = waiting = running = 0.0
        unknown = count = 0
        for attempt in self.history.attempts():
            count += 1
            ran = self.running_s(attempt)
            waiting += self.waiting_s(attempt) or 0.0
            if ran is None:
                unknown += attempt.job_id is not None and attempt.ended_at is not None
                continue
            running += ran
            core += ran * cores_of(attempt)
            gpu += ran * attempt.resources.gpus
        return Usage(
            core_s=core, gpu_s=gpu, waiting_s=waiting, running_s=running, attempts=count, unknown=unknown
        )

    def running_s(self, attempt: AttemptState) -> float | None:
        """How long an attempt ran, until the last event where it still does."""
        if attempt.started_at is None:
            return None
        return seconds_between(attempt.started_at, attempt.ended_at or self.history.as_of)

    def waiting_s(self, attempt: AttemptState) -> float | None:
        """From the intent to submit an attempt to its start (or to its end, when it never started)."""
        until = attempt.started_at or attempt.ended_at or self.history.as_of
        return seconds_between(attempt.prepared_at, until)

    def made_with(self, attempt: AttemptState) -> Task:
        """The definition that an attempt was made with; older bundles show the newest one for all."""
        if self.survey.tells_versions:
            return self.history.lineage.definition_of(self.history.state, attempt).task
        return self.history.state.tasks[attempt.task_id].task

    def definition_sha256(self, task_id: TaskId, definition: Definition) -> str:
        """Hash of a definition, as its text stands in the bundle; worked out once."""
        key = task_id if definition.number == FIRST else (task_id, definition.number)
        known = self._definition_hashes.get(key)
        if known is None:
            known = self._definition_hashes[key] = text_sha256(definition_text(definition.task))
        return known

    @cached_property
    def _definition_hashes(self) -> dict[TaskId | tuple[TaskId, int], str]:
        return {}

    @property
    def is_changed(self) -> bool:
        """Whether there is a second version of anything that attempts follow from."""
        lineage = self.history.lineage
        return bool(lineage.definitions or self.history.versions or len(lineage.configs) > 1)

    @cached_property
    def config_sha256s(self) -> Sequence[str]:
        """Hashes of the config's versions, each as it stands in the bundle."""
        return [text_sha256(pretty_json(version.config)) for version in self.history.lineage.configs]

    @cached_property
    def campaign_sha256s(self) -> Sequence[str]:
        """Hashes of the campaign's versions, each over the list of all its files."""
        return [text_sha256(manifest_bytes(files)) for files in campaign_versions(self.history)]

    @cached_property
    def job_states(self) -> Counter[str]:
        """How many attempts are in which state."""
        return Counter(attempt_word(attempt) for attempt in self.history.attempts())

    def outcome(self, attempt: AttemptState) -> str:
        """Why an attempt was not enough; empty when it was, or when it has not ended."""
        return self.history.outcomes.get((attempt.task_id, attempt.n), "") or (
            attempt.reason if attempt.state is not JobState.COMPLETED_OK and attempt.ended_at else ""
        )

    @cached_property
    def failures(self) -> list[TaskState]:
        """Tasks that did not succeed and never will."""
        bad = {TaskStatus.FAILED, TaskStatus.CANCELLED, TaskStatus.SKIPPED}
        return [task for task in self.history.state.tasks.values() if task.status in bad]

    @cached_property
    def makers(self) -> Mapping[str, OutputRecord]:
        """An output by ``TASK/PATH``, as tasks that use it name it."""
        return {f"{output.task_id}/{output.path}": output for output in self.survey.outputs}

    def figures(self, most_bytes: int) -> list[OutputRecord]:
        """Pictures that the campaign made itself and that no later attempt replaced."""
        return [
            output
            for output in self.survey.outputs
            if output.state is FileState.COPIED
            and output.bytes <= most_bytes
            and output.path.lower().endswith((".svg", ".png", ".jpg", ".jpeg"))
            and output.n == len(self.history.state.tasks[output.task_id].attempts)
        ]


def cores_of(attempt: AttemptState) -> int:
    """How many cores an attempt held."""
    resources = attempt.resources
    return resources.cpus * (resources.ntasks or resources.nodes)


def attempt_word(attempt: AttemptState) -> str:
    """State of an attempt in one word."""
    return attempt.state.value if attempt.state is not None else ("ENDED" if attempt.ended_at else "PREPARED")


def campaign_versions(history: History) -> Iterator[Mapping[str, str]]:
    """All files of each version of the campaign, with their hashes."""
    files = dict(history.created.sources)
    pickled = history.created.config.get("campaign_object")
    if pickled is not None:
        files["campaign.pickle"] = pickled["sha256"]
    yield files
    for version in history.versions:
        files = {**files, **version.files}
        yield files


def commit_words(created: RunCreated) -> str:
    """Where the workspace stood in git; empty where it was in none."""
    commit = created.commit
    if commit is None:
        return ""
    changed = {None: "git did not say whether its files were those of the commit", True: "changed since"}
    return f"git commit {commit.id} ({changed.get(commit.is_changed, 'unchanged')})"


def pretty_json(value: Any) -> bytes:  # noqa: ANN401  any JSON
    """JSON for people; in ASCII, since texts of jobs may be no valid Unicode."""
    return json.dumps(value, indent=2).encode() + b"\n"


def command_line(task: Task) -> str:
    """The command as one would type it."""
    return shlex.join(task.command)


def operator_line(task: Task) -> str:
    """What a task did: its command, or who was asked."""
    return command_line(task) or f"({task.operator})"
