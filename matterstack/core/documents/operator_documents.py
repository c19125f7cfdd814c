"""Documents that MatterStack and people, laboratories, instruments and jobs leave for each other."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, Field, model_validator

from matterstack.core.documents.fields import STRICT, Text, Words

JsonObject = dict[str, Any]
Utc = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$")]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^\S(.*\S)?$")]


JOB_ID: Final = r"^[0-9]{1,18}(_[0-9]{1,9})?$"


def _job_id(text: str) -> str:
    if re.fullmatch(JOB_ID, text, re.ASCII) is None:
        raise ValueError("must be the id of a job, such as 4711 or 4711_3")
    return text


class GivenFile(BaseModel):
    """A file that was copied into the folder of a job.

    Attributes:
        name: in that folder.
        source: the output of another task, or the path in the workspace.
        sha256: of what was copied.
    """

    model_config = STRICT
    name: str
    source: str = Field(alias="from")
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class GivenGrowth(BaseModel):
    """How much more a retry asks for: factors, and bounds."""

    model_config = STRICT
    walltime: float
    memory: float
    most_walltime_s: int | None
    most_memory_mib: int | None


class GivenResources(BaseModel):
    """What a job was given; None where that was left to the backend."""

    model_config = STRICT
    cpus: int
    memory_mib: int | None
    walltime_s: int | None
    gpus: int
    nodes: int
    ntasks: int | None
    partition: str | None
    account: str | None
    qos: str | None
    constraint: str | None
    reservation: str | None
    extra: dict[str, str]
    grow: GivenGrowth | None


class DirectHPCManifest(BaseModel):
    """``manifest.json``: what a ``compute`` job finds in its folder.

    Attributes:
        run_id: id of the run.
        task_id: id of the task.
        attempt: its number, from 1.
        token: name of the attempt, by which its job can be found.
        nonce_sha256: of what its claim and exit record must bear to be believed.
        operator: always ``"compute"``.
        backend: name of the backend.
        command: what the job runs, a word each.
        env: environment variables of the task.
        params: those of the task, any JSON.
        resources: what the job asks for.
        outputs: patterns of the files that it must leave behind.
        max_output_gib: how large each of them may be.
        files: copied in from the workspace.
        inputs: copied in from other tasks.
    """

    model_config = STRICT
    run_id: str
    task_id: str
    attempt: int = Field(ge=1)
    token: str
    nonce_sha256: str | None = None
    operator: str
    backend: str
    command: list[str] = Field(min_length=1)
    env: dict[str, str]
    params: JsonObject
    resources: GivenResources
    outputs: list[str]
    max_output_gib: float | None = None
    files: list[GivenFile]
    inputs: list[GivenFile]


class Request(BaseModel):
    """``request.json``: what is asked, written once for each time that it is asked.

    Attributes:
        protocol: version of this document.
        run_id: id of the run.
        task_id: id of the task.
        operator: who is asked.
        asked_at: when (UTC).
        expires_at: until when it may be answered (UTC); None: for ever.
        attempt: which time; an answer that names another one is refused.
        again: why it is asked once more; empty the first time.
        manifest: the params of the task.
        answer: name of the file that is waited for.
    """

    model_config = STRICT
    protocol: Literal[1] = 1
    run_id: str
    task_id: str
    attempt: int = Field(ge=1)
    operator: Annotated[str, Field(pattern=r"^(human|experiment|manual_hpc|gate)$")]
    asked_at: Utc
    expires_at: Utc | None = None
    again: str = ""
    manifest: JsonObject
    answer: Literal["response.json"] = "response.json"


class Reply(BaseModel):
    """Common to all that comes back.

    Attributes:
        attempt: the one that is answered; may be left out.
    """

    model_config = STRICT
    attempt: int | None = Field(default=None, ge=1)


class ExperimentAcknowledgement(Reply):
    """``acknowledgement.json``: the instrument took the request on.

    Attributes:
        by: the instrument, or the person.
        expected_at: when a result is to be expected (UTC).
        comment: for people.
    """

    by: Name
    expected_at: Utc | None = None
    comment: Words = ""


class ExperimentResult(Reply):
    """``response.json`` of an experiment that worked.

    Attributes:
        result: a value for each field of the request.
        files: names of the files with raw data, which lie beside it.
        comment: for people.
    """

    result: JsonObject
    files: list[Annotated[str, Field(min_length=1, max_length=1000)]] = Field(default=[], max_length=10_000)
    comment: Words = ""


class ExperimentFailure(Reply):
    """``response.json`` of an experiment that did not work.

    Attributes:
        failure: why; the task fails with this reason.
        comment: for people.
    """

    failure: Text
    comment: Words = ""


class GateDecision(Reply):
    """``response.json`` of a gate: the decision and its comment.

    Attributes:
        decision: ``"send_back"`` asks those tasks again that the gate depends on.
        comment: why; ``"send_back"`` needs one.
    """

    decision: Literal["approve", "reject", "send_back"]
    comment: Words = ""

    @model_validator(mode="after")
    def _sending_back_needs_a_reason(self) -> GateDecision:
        if self.decision == "send_back" and not self.comment.strip():
            raise ValueError("send_back needs a comment that says what is to be done again")
        return self


class HandedBackJob(Reply):
    """``response.json`` of a job by hand whose end is still to come: it is followed like one's own.

    Attributes:
        job_id: what the scheduler called it.
        comment: for people.
    """

    job_id: Annotated[str, AfterValidator(_job_id), Field(json_schema_extra={"pattern": JOB_ID})]
    comment: Words = ""


class HandedBackResult(Reply):
    """``response.json`` of a job by hand that is over, and whose result files lie in its folder.

    Attributes:
        exit_code: of the job; 0: it worked.
        comment: for people.
    """

    exit_code: int = Field(ge=0, le=255)
    comment: Words = ""
