"""How a job ended, as its script recorded it."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from matterstack.core.ids import Token, UtcTime
from matterstack.core.messages import Observed
from matterstack.core.states import JobState


class ExitRecord(BaseModel):
    """Content of ``exit.json``."""

    model_config = ConfigDict(frozen=True)
    exit_code: int
    started_at: str
    ended_at: str
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

    A half-written or foreign record is no record: the scheduler is asked instead.
    """
    try:
        text = (folder / "exit.json").read_bytes()
        record = ExitRecord.model_validate_json(text)
    except (OSError, ValidationError):
        return None
    return record if record.job_id == job_id else None


def read_claim(folder: Path) -> str | None:
    """Id of the job that claimed the folder; None when none has."""
    try:
        return (folder / "claim" / "job_id").read_text().strip() or None
    except (OSError, UnicodeDecodeError):
        return None
