"""How a job ended, as its script recorded it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from matterstack.core.ids import Token, UtcTime
from matterstack.core.run.messages import Observed
from matterstack.core.states import JobState
from matterstack.storage.small_files import read_small

MOST_BYTES: Final = 4096
"""No record or claim that a job script writes is longer."""
_TIME: Final = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$"


class ExitRecord(BaseModel):
    """Content of ``exit.json``, the last that a job writes."""

    model_config = ConfigDict(defer_build=True, frozen=True)
    exit_code: int = Field(ge=0, le=255)
    started_at: str = Field(pattern=_TIME)
    ended_at: str = Field(pattern=_TIME)
    host: str
    job_id: str
    timed_out: bool = False

    def observed(self, token: Token, raw_state: str = "", reason: str = "") -> Observed:
        """As an observation; ``raw_state`` is the scheduler's word, where it has one."""
        if self.timed_out:
            raw_state = raw_state or "TIMEOUT"
            reason = reason or "its job reached its walltime and was ended"
        return Observed(
            token=token,
            state=JobState.COMPLETED_OK if self.exit_code == 0 else JobState.COMPLETED_ERROR,
            raw_state=raw_state or ("COMPLETED" if self.exit_code == 0 else "FAILED"),
            reason=reason if self.exit_code else "",
            exit_code=self.exit_code,
            host=self.host,
            started_at=UtcTime(self.started_at),
            ended_at=UtcTime(self.ended_at),
        )


def read_exit_record(folder: Path, job_id: str) -> ExitRecord | None:
    """Read the exit record of this job; None when there is no whole one.

    A half-written, foreign or forged record is no record: the scheduler is asked instead.
    """
    try:
        text = read_small(folder / "exit.json", MOST_BYTES)
        record = ExitRecord.model_validate_json(text)
    except (OSError, ValidationError):
        return None
    return record if record.job_id == job_id else None


def read_claim(folder: Path) -> str | None:
    """Id of the job that claimed the folder; None when none has."""
    try:
        return read_small(folder / "claim" / "job_id", MOST_BYTES).decode().strip() or None
    except (OSError, UnicodeDecodeError):
        return None
