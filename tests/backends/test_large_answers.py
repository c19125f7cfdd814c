"""Files beside answers, of any size: they delay no other answer, and nobody waits for them in vain."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trio

from matterstack.backends import taking_over
from matterstack.backends.answer_watch import AnswerWatch
from matterstack.backends.base import Backend, LiveJob, Question
from matterstack.backends.operators import OperatorBackend
from matterstack.core.ids import BackendName, JobId, RunId, TaskId, Token, UtcTime
from matterstack.core.run.messages import Observed
from matterstack.core.states import JobState
from matterstack.storage.finishing_reports import read_finishing
from matterstack.storage.layout import Root, operator_folder
from matterstack.storage.threads import WorkerThreads

RUN = RunId("20260101T101500-k3v7qa")
HUGE = 900 << 30
MANIFEST = {
    "request": {"t_k": 620},
    "fields": {"thickness_nm": {"type": "number", "min": 0}},
}


def _no_host(name: BackendName) -> Backend:
    raise AssertionError(f"nobody submits a job by hand to {name} here")


@pytest.fixture
def backend() -> OperatorBackend:
    return OperatorBackend(
        poll_interval_s=1e9,
        now=lambda: datetime.now(UTC),
        blocking=WorkerThreads(1),
        hosts=_no_host,
        watch=AnswerWatch(is_on=False),
    )


def _job(tmp_path: Path, task: str, most_gib: float | None = None) -> LiveJob:
    folder = tmp_path / "runs" / RUN / "tasks" / task / "1"
    folder.mkdir(parents=True)
    question = Question(
        run_id=RUN,
        task_id=TaskId(task),
        n=1,
        operator="experiment",
        params=MANIFEST,
        asked_at=UtcTime("2026-01-01T10:15:00.000000Z"),
        backend=BackendName("local"),
        max_output_gib=most_gib,
    )
    return LiveJob(token=Token(f"ms-{task}"), job_id=JobId("question-1"), folder=folder, question=question)


def _answer(job: LiveJob, files: dict[str, int | bytes]) -> None:
    """Have an instrument answer with files: their content, or the size of a hole."""
    place = operator_folder(job.folder)
    for name, content in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        with (place / name).open("wb") as file:
            file.truncate(content) if isinstance(content, int) else file.write(content)
    answer = {"result": {"thickness_nm": 1}, "files": list(files)}
    (place / "response.json").write_text(json.dumps(answer))


@asynccontextmanager
async def _serving(backend: OperatorBackend) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(backend.serve)
        await trio.testing.wait_all_tasks_blocked(0.01)
        yield
        nursery.cancel_scope.cancel()


async def _states(backend: OperatorBackend, jobs: Sequence[LiveJob]) -> dict[str, Observed]:
    return {seen.token: seen for seen in await backend.poll(jobs)}


async def _until(backend: OperatorBackend, job: LiveJob, state: JobState) -> Observed:
    while True:
        seen = (await _states(backend, [job])).get(job.token)
        if seen is not None and seen.state is state:
            return seen
        await backend.wait_change()


async def test_a_huge_file_of_one_instrument_delays_no_other_answer(
    backend: OperatorBackend, tmp_path: Path
) -> None:
    huge = [_job(tmp_path, f"huge{n}") for n in range(4)]
    small = _job(tmp_path, "small")
    with trio.fail_after(60):
        async with _serving(backend):
            await backend.poll([*huge, small])
            for job in huge:
                _answer(job, {"raw.dat": os.urandom(3 << 20), "scan.raw": HUGE})
            first = await _states(backend, [*huge, small])
            _answer(small, {"out/raw.dat": b"measured"})
            second = await _states(backend, [*huge, small])

    assert {first[job.token].reason for job in huge} == {"it was answered; 900 GiB of files are taken over"}
    assert {first[job.token].state for job in huge} == {JobState.QUEUED}
    assert second[small.token].state is JobState.COMPLETED_OK
    assert (small.folder / "out/raw.dat").read_bytes() == b"measured"
    assert not (huge[0].folder / "scan.raw").exists(), "nothing has its name before it is whole"


async def test_people_are_told_how_much_of_a_huge_file_was_taken_over(
    backend: OperatorBackend, tmp_path: Path
) -> None:
    backend.root = Root(tmp_path)
    job = _job(tmp_path, "huge")
    with trio.fail_after(60):
        async with _serving(backend):
            await backend.poll([job])
            _answer(job, {"raw.dat": os.urandom(3 << 20), "scan.raw": HUGE})
            await backend.poll([job])
            while not (told := await trio.to_thread.run_sync(read_finishing, backend.root, RUN)):
                pass

    assert told[TaskId("huge")].total_bytes == HUGE + (3 << 20)
    assert read_finishing(backend.root, RUN) == {}


async def test_large_files_are_there_whole_when_the_answer_is_taken(
    backend: OperatorBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taking_over, "PIECE_BYTES", 1 << 20)
    job, content = _job(tmp_path, "large"), os.urandom(5 << 20)
    with trio.fail_after(60):
        async with _serving(backend):
            await backend.poll([job])
            _answer(job, {"./raw//a.dat": content, "hole": 64 << 20})
            await _until(backend, job, JobState.COMPLETED_OK)

    assert (job.folder / "raw/a.dat").read_bytes() == content
    hole = (job.folder / "hole").stat()
    assert hole.st_size == 64 << 20
    assert hole.st_blocks * 512 < 1 << 20
    assert sorted(path.name for path in job.folder.iterdir()) == ["hole", "raw", "result.json"]


async def test_a_question_that_is_withdrawn_waits_for_no_file(
    backend: OperatorBackend, tmp_path: Path
) -> None:
    job = _job(tmp_path, "huge")
    with trio.fail_after(60):
        async with _serving(backend):
            await backend.poll([job])
            _answer(job, {"raw.dat": os.urandom(3 << 20), "scan.raw": HUGE})
            await backend.poll([job])
            await backend.cancel([job])
            seen = await _states(backend, [job])

    assert seen[job.token].state is JobState.CANCELLED


async def test_a_file_that_is_larger_than_it_may_be_is_refused_with_both_sizes(
    backend: OperatorBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("matterstack.backends.operators.SETTLE_S", 0.0)
    job = _job(tmp_path, "huge", most_gib=2)
    await backend.poll([job])
    _answer(job, {"scan.raw": 8 << 40})

    seen: dict[str, Any] = await _states(backend, [job])

    assert seen[job.token].reason == (
        "response.rejected-1.json: files.0: scan.raw: has 8192 GiB, and max_output_gib is 2"
    )


async def test_a_file_that_changes_meanwhile_is_not_taken_for_whole(tmp_path: Path) -> None:
    job = _job(tmp_path, "growing")
    place = operator_folder(job.folder)
    place.mkdir(parents=True)
    (place / "raw").write_bytes(os.urandom(3 << 20))
    taking = taking_over.files_beside(place, job.folder, ["raw"], (), None)

    taking.advance(1 << 20)
    with (place / "raw").open("ab") as file:
        file.write(b"more")
    while not taking.is_done:
        taking.advance(1 << 20)

    assert [problem.message for problem in taking.problems] == [
        "raw: changed while it was taken over; answer when it is whole"
    ]
    assert not (job.folder / "raw").exists()
