"""A question that waits for an answer, as every face shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from matterstack.core.documents.fields import AnyField
from matterstack.core.documents.manifests import (
    ExperimentManifest,
    GateManifest,
    HumanOperatorManifest,
    ManualHPCManifest,
    OperatorManifest,
)
from matterstack.core.ids import RunId, TaskId, UtcTime
from matterstack.core.states import TaskStatus

MOST_RESULTS: Final = 100
"""How many results of earlier tasks are shown with a question."""
MOST_DATA: Final = 2000
"""How many characters of JSON are shown of one of them."""


@attrs.frozen(kw_only=True)
class EarlierResult:
    """What came of a task that the question depends on.

    Attributes:
        data: its ``result.json``; None where it left none, or a long one.
        folder: where its outputs are.
        outputs: paths in that folder.
    """

    task_id: TaskId
    status: TaskStatus
    data: Any
    folder: Path
    outputs: Sequence[str]

    def as_json(self) -> dict[str, Any]:
        """The result as a JSON object for programs."""
        return {
            "task_id": self.task_id,
            "status": self.status.value,
            "data": self.data,
            "folder": str(self.folder),
            "outputs": list(self.outputs),
        }


@attrs.frozen(kw_only=True)
class OpenQuestion:
    """What a task waits for.

    Attributes:
        attempt: which time it is asked.
        manifest: None where the params of the task are none: then it is about to fail.
        folder: where the answer is put.
        script: where the script of a job by hand is, for whoever submits it.
        rejected: what was wrong with the last answer; empty when there was none.
        again: why it is asked once more; empty the first time.
        problem: what is wrong with the question or its folder, and what to do; empty when nothing is.
        results: of the tasks that it depends on, at most `MOST_RESULTS`: what a gate approves.
    """

    run_id: RunId
    task_id: TaskId
    attempt: int
    operator: str
    manifest: OperatorManifest | None
    folder: Path
    script: str
    expires_at: UtcTime | None
    rejected: str
    again: str = ""
    problem: str = ""
    results: Sequence[EarlierResult] = ()

    @property
    def fields(self) -> Mapping[str, AnyField]:
        """What is to be filled in; nothing for a gate or a job by hand."""
        if isinstance(self.manifest, HumanOperatorManifest | ExperimentManifest):
            return self.manifest.fields
        return {}

    @property
    def text(self) -> str:
        """What is asked, in words."""
        match self.manifest:
            case HumanOperatorManifest(question=text) | GateManifest(question=text):
                return text
            case ExperimentManifest(instructions=text):
                return text or "Measure this."
            case ManualHPCManifest(instructions=text):
                return text or "Submit this job, then hand it back."
            case None:
                return "This cannot be asked."

    def as_json(self) -> dict[str, Any]:
        """For programs, and for the page of the monitor."""
        manifest = self.manifest
        fields = [
            {"name": name, **field.model_dump(mode="json", exclude_none=True)}
            for name, field in self.fields.items()
        ]
        return {
            "run_id": self.run_id,
            "task_id": self.task_id,
            "attempt": self.attempt,
            "operator": self.operator,
            "manifest": {} if manifest is None else manifest.model_dump(mode="json", exclude_none=True),
            "text": self.text,
            "fields": fields,
            "folder": str(self.folder),
            "expires_at": self.expires_at,
            "rejected": self.rejected,
            "again": self.again,
            "problem": self.problem,
            "results": [result.as_json() for result in self.results],
        }
