"""What ``run explain`` asks Slurm itself: with little patience, and never in need of an answer."""

from __future__ import annotations

import os
from pathlib import Path

import attrs
import pytest

from matterstack.backends.slurm.expected_starts import parse_sights
from matterstack.core.ids import BackendName, JobId
from matterstack.core.scheduler_words import JobSight
from matterstack.explain.situation import Health, Situation
from matterstack.usecases.explain import with_sights
from tests.support.situations import (
    SLURM,
    at,
    backend,
    job,
    running,
    seats,
    situation,
    task,
)


@attrs.frozen
class FakeSqueue:
    """A squeue in front of the real one, which notes that it was called."""

    folder: Path

    def does(self, script: str) -> None:
        path = self.folder / "squeue"
        path.write_text(f"#!/bin/sh\ntouch {self.folder}/called\n{script}\n")
        path.chmod(0o755)

    @property
    def was_called(self) -> bool:
        return (self.folder / "called").exists()


@pytest.fixture
def squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSqueue:
    folder = tmp_path / "shims"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("TZ", "UTC")
    return FakeSqueue(folder)


QUEUED = task("a", attempt=job("17", reason="Resources"))


@pytest.mark.usefixtures("processes")
async def test_starts_and_nodes_are_added(squeue: FakeSqueue) -> None:
    squeue.does("printf '17|2026-01-01T14:00:00|\\n18|2026-01-01T11:30:00|n2\\n19|N/A|\\n'")
    jobs = [QUEUED, task("b", attempt=running("18")), task("c", attempt=job("19"))]

    sights = (await with_sights(situation(*jobs))).context.sights

    assert sights == {
        "17": JobSight(at("14:00"), ""),
        "18": JobSight(at("11:30"), "n2"),
        "19": JobSight(None, ""),
    }


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    "script",
    [
        "exit 1",
        "echo 'Welcome to the cluster!'",
        "exec sleep 600",
        "printf '17|2026-01-01T14:00:00'; exit 1",
    ],
)
async def test_without_a_whole_answer_soon_the_situation_is_as_it_was(
    squeue: FakeSqueue, script: str
) -> None:
    squeue.does(script)
    before = situation(QUEUED)

    after = await with_sights(before)

    assert squeue.was_called
    assert after == before


@pytest.mark.usefixtures("processes")
async def test_a_missing_squeue_is_no_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert await with_sights(situation(QUEUED)) == situation(QUEUED)


@pytest.mark.parametrize(
    "silent",
    [
        situation(task("a")),
        situation(task("a", attempt=running("1", ended_at=at("11:59")))),
        situation(
            QUEUED,
            backends={SLURM: backend(seats(1), health=Health(out_since=at("11:00")))},
        ),
        situation(QUEUED, backends={SLURM: backend(seats(1), ssh_host="login1")}),
        situation(task("a", attempt=running("1", backend=BackendName("local")))),
    ],
    ids=[
        "no job",
        "a job that has ended",
        "a controller that is out",
        "a cluster behind ssh",
        "a local job",
    ],
)
async def test_nothing_is_asked_where_no_answer_would_help(squeue: FakeSqueue, silent: Situation) -> None:
    squeue.does("printf '17|2026-01-01T14:00:00|\\n'")

    assert await with_sights(silent) == silent
    assert not squeue.was_called


def test_times_are_those_of_this_machines_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "CET-1")
    time.tzset()
    try:
        sights = parse_sights("17|2026-01-01T14:00:00|\n")
    finally:
        monkeypatch.undo()
        time.tzset()

    assert sights == {JobId("17"): JobSight(at("13:00"), "")}
