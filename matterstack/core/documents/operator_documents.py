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
    """A file that was copied into the folder of a job."""

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

    ``params`` are those of its task, any JSON.
    """

    model_config = STRICT
    run_id: str
    task_id: str
    attempt: int = Field(ge=1)
    token: str
    operator: str
    backend: str
    command: list[str] = Field(min_length=1)
    env: dict[str, str]
    params: JsonObject
    resources: GivenResources
    outputs: list[str]
    files: list[GivenFile]
    inputs: list[GivenFile]


class Request(BaseModel):
    """``request.json``: what is asked, written once for each time that it is asked.

    Attributes:
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
    """``acknowledgement.json``: the instrument took the request on."""

    by: Name
    expected_at: Utc | None = None
    comment: Words = ""


class ExperimentResult(Reply):
    """``response.json`` of an experiment that worked.

    Attributes:
        result: a value for each field of the request.
        files: names of the files with raw data, which lie beside it.
    """

    result: JsonObject
    files: list[Annotated[str, Field(min_length=1, max_length=1000)]] = Field(default=[], max_length=10_000)
    comment: Words = ""


class ExperimentFailure(Reply):
    """``response.json`` of an experiment that did not: the task fails with this reason."""

    failure: Text
    comment: Words = ""


class GateDecision(Reply):
    """``response.json`` of a gate.

    ``"send_back"`` asks those tasks again that the gate depends on, and needs a comment that says why.
    """

    decision: Literal["approve", "reject", "send_back"]
    comment: Words = ""

    @model_validator(mode="after")
    def _sending_back_needs_a_reason(self) -> GateDecision:
        if self.decision == "send_back" and not self.comment.strip():
            raise ValueError("send_back needs a comment that says what is to be done again")
        return self


class HandedBackJob(Reply):
    """``response.json`` of a job by hand whose end is still to come: it is followed like one's own."""

    job_id: Annotated[str, AfterValidator(_job_id), Field(json_schema_extra={"pattern": JOB_ID})]
    comment: Words = ""


class HandedBackResult(Reply):
    """``response.json`` of a job by hand that is over, and whose result files lie in its folder."""

    exit_code: int = Field(ge=0, le=255)
    comment: Words = ""
