"""How a job ended, as its script recorded it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from matterstack.core.documents.strict_json import DocumentError, parse_document
from matterstack.core.ids import Token, UtcTime
from matterstack.core.nonces import is_believed, read_claim_text
from matterstack.core.run.messages import Observed
from matterstack.core.run.retry_rules import PROLOGUE_FAILED
from matterstack.core.states import JobState
from matterstack.storage.small_files import read_small

MOST_BYTES: Final = 4096
"""No record or claim that a job script writes is longer."""
_OF_ITSELF: Final = ("", "FAILED", "COMPLETED")
"""Words of a scheduler that say no more than the record does."""
_TIME: Final = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$"


class PrologueFailure(BaseModel):
    """An entry of its prologue that ended a job before its command began.

    Attributes:
        line: which one; the first is 1.
        exit_code: what it failed with; 0 where it left the shell.
        entry: how it begins.
        said_from: from where on in ``stderr.log`` stands what it printed; None where nobody could tell.
    """

    model_config = ConfigDict(defer_build=True, frozen=True)
    line: int = Field(ge=1)
    exit_code: int = Field(ge=0, le=255)
    entry: str
    said_from: int | None = Field(default=None, ge=0)

    def in_words(self) -> str:
        """The reason, without what it printed."""
        if self.exit_code:
            return f"prologue line {self.line} failed with {self.exit_code}: {self.entry}"
        return f"prologue line {self.line} ended the job before its command began: {self.entry}"


class ExitRecord(BaseModel):
    """Content of ``exit.json``, the last that a job writes.

    Attributes:
        nonce: of its attempt, from its script; empty where that has none.
        set_aside: how many things it found in its folder, before it began, that it had not been given.
        prologue: why its command never began; None where it did.
    """

    model_config = ConfigDict(defer_build=True, frozen=True)
    exit_code: int = Field(ge=0, le=255)
    started_at: str = Field(pattern=_TIME)
    ended_at: str = Field(pattern=_TIME)
    host: str
    job_id: str
    nonce: str = ""
    set_aside: int = Field(default=0, ge=0)
    timed_out: bool = False
    environment: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    prologue: PrologueFailure | None = None

    def observed(self, token: Token, raw_state: str = "", reason: str = "") -> Observed:
        """As an observation; ``raw_state`` is the scheduler's word, where it has one."""
        if self.prologue is not None and raw_state in _OF_ITSELF:
            raw_state, reason = PROLOGUE_FAILED, self.prologue.in_words()
        if self.timed_out:
            raw_state = raw_state or "TIMEOUT"
            reason = reason or "its job reached its walltime and was ended"
        if self.exit_code == 0:
            reason = self._found_before()
        return Observed(
            token=token,
            state=JobState.COMPLETED_OK if self.exit_code == 0 else JobState.COMPLETED_ERROR,
            raw_state=raw_state or ("COMPLETED" if self.exit_code == 0 else "FAILED"),
            reason=reason,
            exit_code=self.exit_code,
            host=self.host,
            started_at=UtcTime(self.started_at),
            ended_at=UtcTime(self.ended_at),
            environment=self.environment,
            said_from=None
            if raw_state != PROLOGUE_FAILED or self.prologue is None
            else self.prologue.said_from,
        )

    def _found_before(self) -> str:
        if not self.set_aside:
            return ""
        things = "one thing that lay" if self.set_aside == 1 else f"{self.set_aside} things that lay"
        return f"its job set aside {things} in its folder before it began (see scheduler.log)"


def read_exit_record(folder: Path, job_id: str, nonce_sha256: str | None) -> ExitRecord | None:
    """Read the exit record of this job; None when there is no whole one.

    A half-written, foreign or forged record is no record: the scheduler is asked instead.  What times it
    holds is no reason to disbelieve it: the clock of its host may be wrong.

    Args:
        nonce_sha256: of the attempt, as `LiveJob` has it; None: the id of the job alone decides.
    """
    try:
        text = read_small(folder / "exit.json", MOST_BYTES)
        record = ExitRecord.model_validate(parse_document(text, most_bytes=MOST_BYTES))
    except (OSError, DocumentError, ValidationError):
        return None
    return record if record.job_id == job_id and is_believed(record.nonce, nonce_sha256) else None


def read_claim(folder: Path, nonce_sha256: str | None) -> str | None:
    """Id of the job that claimed the folder; None when none has, or none that was submitted for the attempt.

    Args:
        nonce_sha256: as for `read_exit_record`.
    """
    try:
        text = read_small(folder / "claim" / "job_id", MOST_BYTES).decode()
    except (OSError, UnicodeDecodeError):
        return None
    job_id, nonce = read_claim_text(text)
    return job_id if job_id and is_believed(nonce, nonce_sha256) else None
