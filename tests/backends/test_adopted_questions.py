"""Questions that an engine asked, and did not confirm before it died: the next one finds them answered."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
import trio

from matterstack.backends.answer_watch import AnswerWatch
from matterstack.backends.base import Backend, PreparedAttempt, Question
from matterstack.backends.operators import OperatorBackend
from matterstack.core.ids import BackendName, RunId, TaskId, Token, UtcTime
from matterstack.core.model.resources import Resources
from matterstack.storage.layout import operator_folder
from matterstack.storage.threads import run_inline

PATIENCE_S = 30.0


def _no_host(name: BackendName) -> Backend:
    raise AssertionError(f"nobody submits a job by hand to {name} here")


def _backend() -> OperatorBackend:
    return OperatorBackend(
        poll_interval_s=1e9,
        now=lambda: datetime.now(UTC),
        blocking=run_inline,
        hosts=_no_host,
        watch=AnswerWatch(),
    )


@pytest.fixture
def attempt(tmp_path: Path) -> PreparedAttempt:
    folder = tmp_path / "runs" / "20260101T101500-k3v7qa" / "tasks" / "go-on" / "1"
    folder.mkdir(parents=True)
    question = Question(
        run_id=RunId("20260101T101500-k3v7qa"),
        task_id=TaskId("go-on"),
        n=1,
        operator="gate",
        params={"question": "Go on?"},
        asked_at=UtcTime("2026-01-01T10:15:00.000000Z"),
        backend=BackendName("local"),
    )
    return PreparedAttempt(
        run_id=question.run_id,
        task_id=question.task_id,
        n=question.n,
        token=Token("ms-1"),
        folder=folder,
        command=(),
        env={},
        resources=Resources(),
        question=question,
    )


async def test_an_answer_that_came_before_its_question_was_found_again_is_looked_at_soon(
    attempt: PreparedAttempt,
) -> None:
    """Without waiting for the next look at all questions, which comes only now and then."""
    await _backend().submit([attempt])
    (operator_folder(attempt.folder) / "response.json").write_text('{"decision": "approve"}')
    after = _backend()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(after.serve)
        assert set(await after.find([attempt])) == {attempt.token}
        with trio.fail_after(PATIENCE_S):
            await after.wait_change()
        nursery.cancel_scope.cancel()


async def test_a_question_that_was_not_asked_is_not_found(attempt: PreparedAttempt) -> None:
    assert await _backend().find([attempt]) == {}
