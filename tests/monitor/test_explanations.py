"""Each face says the same of a run that does not go on, with what its scheduler says at this moment."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import pytest
import trio

import matterstack
from matterstack.backends.slurm.kind import SlurmKind
from matterstack.cli.app import main
from matterstack.core.ids import JobId, UtcTime
from matterstack.core.model.workflow import Workflow
from matterstack.core.run import messages as m
from matterstack.core.scheduler_words import JobSight
from matterstack.usecases.explain import SIGHTS_KEPT_S, KeptSights
from tests.monitor.conftest import Place
from tests.support.engine import on_virtual_clock
from tests.support.situations import SLURM, backend, job, situation, task
from tests.support.states import CLUSTER
from tests.support.states import task as planned

TOMORROW = UtcTime("2099-01-02T03:04:05.000000Z")


@attrs.define
class Scheduler:
    """Says of every job that it starts tomorrow, and counts how often it is asked."""

    jobs: Sequence[JobId]
    asked: int = 0
    takes_s: float = 0.0

    async def sights(self, _kind: object, configs: Sequence[Mapping[str, Any]]) -> Mapping[JobId, JobSight]:
        assert [config["type"] for config in configs] == ["slurm"]
        self.asked += 1
        await trio.sleep(self.takes_s)
        return {job_id: JobSight(TOMORROW) for job_id in self.jobs}


@pytest.fixture
def scheduler(monkeypatch: pytest.MonkeyPatch) -> Scheduler:
    made = Scheduler([JobId("17")])

    async def sights(kind: SlurmKind, configs: Sequence[Mapping[str, Any]]) -> Mapping[JobId, JobSight]:
        return await made.sights(kind, configs)

    monkeypatch.setattr(SlurmKind, "sights", sights)
    return made


async def test_all_faces_tell_when_a_job_is_expected_to_start(
    place: Place, scheduler: Scheduler, capsys: pytest.CaptureFixture[str]
) -> None:
    place.run.tell(m.Planned(iteration=1, workflow=Workflow([planned("a", backend=CLUSTER)])))
    place.run.run.prepare(backend=CLUSTER)
    place.run.run.submit("a")
    place.run.commit()
    run_id, root = place.run.run_id, str(place.root.path)
    scheduler.jobs = [JobId("job-a")]

    await main.main(["--root", root, "run", "explain", run_id, "--json"], standalone_mode=False)
    by_command = json.loads(capsys.readouterr().out)
    async with place.serving():
        on_the_page = (await place.ask(f"/api/runs/{run_id}/explain")).json
    async with matterstack.open_engine(root) as engine:
        by_program = await (await engine.run(run_id)).explain()

    del on_the_page["as_of"]
    assert by_command == on_the_page == by_program
    assert "expected to start at 2099-01-02 03:04 UTC" in by_command["causes"][0]["message"]
    assert scheduler.asked == 3


@on_virtual_clock
async def test_many_who_look_at_once_and_soon_after_have_it_asked_once(
    scheduler: Scheduler,
) -> None:
    scheduler.takes_s = 1.0
    queued, kept = situation(task("a", attempt=job("17"))), KeptSights()
    seen = []

    async def look() -> None:
        seen.append((await kept(queued)).context.sights)

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(look)
    await trio.sleep(SIGHTS_KEPT_S - 2)
    await look()
    assert scheduler.asked == 1
    await trio.sleep(2)
    await look()

    assert scheduler.asked == 2
    assert seen == [{"17": JobSight(TOMORROW)}] * 7


async def test_a_scheduler_whose_package_is_gone_is_not_asked(scheduler: Scheduler) -> None:
    gone = backend(type="gone", config={"type": "gone"})
    queued = situation(task("a", attempt=job("17")), backends={SLURM: gone})

    assert (await KeptSights()(queued)).context.sights == {}
    assert scheduler.asked == 0
