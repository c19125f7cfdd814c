"""``run.json``: what a run's folder says of it, for people and scripts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from matterstack.core.documents.fields import STRICT
from matterstack.core.documents.operator_documents import Utc
from matterstack.core.ids import RUN_ID_PATTERN
from matterstack.core.states import RunStatus, TaskStatus

Count = Annotated[int, Field(ge=0)]
Command = Literal[
    "pause",
    "resume",
    "cancel",
    "cancel_tasks",
    "retry",
    "rerun",
    "amend_config",
    "amend",
    "replan",
    "respond",
]


class RunDocument(BaseModel):
    """What ``run status --json`` begins with, but for labels and note; replaced at most once a second.

    Attributes:
        run_id: id of the run.
        workspace: name of its workspace.
        status: where the run stands.
        status_reason: why, in words; may be empty.
        iteration: rounds of planning so far.
        created_at: when it was made.
        tasks: how many there are in each status, over all iterations.
        updated_at: when the last event happened that it takes into account.
        ending: what it is about to be, while its last jobs are being ended.
        allowed: for each command true, or why it would be refused or change nothing: "the run is" REASON.
        head: hash of its last event, which speaks for all of them: `evidence verify --head` takes it.
    """

    model_config = STRICT
    run_id: Annotated[str, Field(pattern=f"^{RUN_ID_PATTERN.pattern}$")]
    workspace: str
    status: RunStatus
    status_reason: str
    iteration: Count
    tasks: dict[TaskStatus, Count]
    created_at: Utc
    updated_at: Utc
    ending: Literal[RunStatus.FAILED, RunStatus.CANCELLED] | None
    allowed: dict[Command, Literal[True] | str]
    head: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
