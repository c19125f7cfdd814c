"""The fake cluster keeps to what the protocol of backends says, so that it may stand for a real one."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from matterstack.backends.base import Backend, LiveJob, PreparedAttempt
from matterstack.core.errors import BackendError
from matterstack.core.ids import BackendName, RunId, TaskId, Token
from matterstack.core.model.resources import Resources
from matterstack.core.states import JobState
from tests.support.engine import World
from tests.support.fake_backend import Behaviour, FakeBackend


def attempt(folder: Path, name: str = "t") -> PreparedAttempt:
    """An attempt that is ready to be submitted."""
    return PreparedAttempt(
        run_id=RunId("r"),
        task_id=TaskId(name),
        n=1,
        token=Token(f"token-{name}"),
        folder=folder,
        command=["true"],
        env={},
        resources=Resources(),
    )


def backend_of(world: World) -> Backend:
    """A way to the cluster."""
    return FakeBackend(BackendName("fake"), world.cluster)


async def start(backend: Backend, prepared: PreparedAttempt) -> LiveJob:
    """Submit one attempt that is accepted."""
    report = await backend.submit([prepared])
    return LiveJob(token=prepared.token, job_id=report.accepted[prepared.token], folder=prepared.folder)


async def test_a_job_is_queued_then_runs_then_ends_and_stays_ended(world: World, tmp_path: Path) -> None:
    backend = backend_of(world)
    world.cluster.behave = lambda _: Behaviour(queue_s=2, duration_s=3, exit_code=4)
    job = await start(backend, attempt(tmp_path))
    seen = []
    for _ in range(4):
        await trio.sleep(1.9)
        (observed,) = await backend.poll([job])
        seen.append((observed.state, observed.exit_code))
    assert seen == [
        (JobState.QUEUED, None),
        (JobState.RUNNING, None),
        (JobState.COMPLETED_ERROR, 4),
        (JobState.COMPLETED_ERROR, 4),
    ]


async def test_every_attempt_of_a_batch_is_in_exactly_one_place_of_the_report(
    world: World, tmp_path: Path
) -> None:
    behaviours = {
        "a": Behaviour(),
        "b": Behaviour(refused="no"),
        "c": Behaviour(reply_lost=True),
        "d": Behaviour(never_arrives=True),
    }
    world.cluster.behave = lambda prepared: behaviours[prepared.task_id]
    batch = [attempt(tmp_path, name) for name in "abcd"]
    backend = backend_of(world)

    report = await backend.submit(batch)

    assert [*report.accepted, *report.refused, *report.unresolved] == [a.token for a in batch]
    assert set(await backend.find(batch)) == {Token("token-a"), Token("token-c")}


async def test_what_cannot_be_asked_raises_and_does_nothing(world: World, tmp_path: Path) -> None:
    backend = backend_of(world)
    job = await start(backend, attempt(tmp_path))
    world.cluster.outage = "no route to host"
    with pytest.raises(BackendError, match="no route"):
        await backend.submit([attempt(tmp_path, "other")])
    with pytest.raises(BackendError):
        await backend.poll([job])
    with pytest.raises(BackendError):
        await backend.cancel([job])
    with pytest.raises(BackendError):
        await backend.find([attempt(tmp_path)])
    assert [job.task_id for job in world.cluster.live()] == ["t"]


@pytest.mark.parametrize(("submit_s", "reply_s", "jobs"), [(5, 0, 0), (0, 5, 1)])
async def test_find_tells_what_became_of_a_submission_that_was_cancelled(
    world: World, tmp_path: Path, submit_s: float, reply_s: float, jobs: int
) -> None:
    backend = backend_of(world)
    world.cluster.submit_s, world.cluster.reply_s = submit_s, reply_s
    with trio.move_on_after(1):
        await backend.submit([attempt(tmp_path)])

    assert len(await backend.find([attempt(tmp_path)])) == jobs == len(world.cluster.jobs)


async def test_find_waits_for_a_submission_under_way(world: World, tmp_path: Path) -> None:
    backend = backend_of(world)
    world.cluster.submit_s = 5
    async with trio.open_nursery() as nursery:
        nursery.start_soon(backend.submit, [attempt(tmp_path)])
        await trio.sleep(1)
        assert len(await backend.find([attempt(tmp_path)])) == 1
        assert trio.current_time() == 5


async def test_cancel_asks_and_poll_says_when_the_job_has_ended(world: World, tmp_path: Path) -> None:
    backend = backend_of(world)
    world.cluster.behave = lambda _: Behaviour(duration_s=1000)
    world.cluster.cancel_s = 10
    job = await start(backend, attempt(tmp_path))
    await backend.cancel([job])
    await trio.sleep(9)
    assert [o.state for o in await backend.poll([job])] == [JobState.RUNNING]
    await trio.sleep(2)
    assert [o.state for o in await backend.poll([job])] == [JobState.CANCELLED]
    await backend.cancel([job])
    assert [o.state for o in await backend.poll([job])] == [JobState.CANCELLED]


async def test_a_second_job_for_an_attempt_is_started_and_told(world: World, tmp_path: Path) -> None:
    backend = backend_of(world)
    await start(backend, attempt(tmp_path))
    await start(backend, attempt(tmp_path))
    assert world.cluster.tokens_with_two_jobs() == [Token("token-t")]
