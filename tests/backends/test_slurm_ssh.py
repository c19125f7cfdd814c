"""What is special about a Slurm behind ssh: late orders, what is missing there, and what comes home."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from matterstack.backends.base import PreparedAttempt
from matterstack.backends.contract.bench import Bench, Deed, all_seen, seen
from matterstack.backends.slurm.backend import SlurmBackend
from matterstack.backends.slurm.site import NotSubmittedError
from matterstack.core.errors import BackendError
from matterstack.core.model.resources import Resources
from matterstack.core.states import ENDED_JOBS, JobState
from tests.backends.bench import ssh_bench
from tests.support.polling import wait_until
from tests.support.slurm_cluster import SlurmCluster
from tests.support.sshd import Sshd

HELD = Resources(memory_mib=20, extra={"hold": ""})


@pytest.fixture
def far(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    """The real Slurm behind a real sshd."""
    return ssh_bench(request, tmp_path)


def _backend(bench: Bench) -> SlurmBackend:
    assert isinstance(bench.backend, SlurmBackend)
    return bench.backend


def _declare(attempt: PreparedAttempt, *outputs: str) -> None:
    manifest: dict[str, Any] = {"files": [], "inputs": [], "outputs": list(outputs)}
    (attempt.folder / "manifest.json").write_text(json.dumps(manifest))


def _names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


# ---- submission ----


async def test_an_order_that_comes_after_a_search_submits_nothing(
    far: Bench, slurm_env: SlurmCluster
) -> None:
    attempt = far.prepare("late")
    backend = _backend(far)
    (order,) = backend.orders([attempt])
    await backend._site.push([order])

    assert await backend.find([attempt]) == {}
    with pytest.raises(NotSubmittedError, match=r"^cluster: the submission was called off$"):
        await backend._site.submit(order, timeout_s=10)

    assert order.name not in slurm_env.output("squeue", "--states=all", "--noheader", "--format=%j")


async def test_a_search_that_cannot_call_orders_off_finds_nothing_out(far: Bench, sshd: Sshd) -> None:
    attempt = far.prepare("stuck")
    backend = _backend(far)
    await backend._site.push(backend.orders([attempt]))
    sshd.wrap("rm", "echo 'rm: Read-only file system' >&2; exit 1")

    with pytest.raises(BackendError, match=r"^cluster: submissions cannot be called off: rm: Read-only"):
        await backend.find([attempt])


async def test_an_order_is_carried_out_once_even_if_its_command_arrives_twice(
    far: Bench, slurm_env: SlurmCluster
) -> None:
    attempt = far.prepare("twice", resources=HELD)
    backend = _backend(far)
    (order,) = backend.orders([attempt])
    await backend._site.push([order])
    tickets = dict(backend._site._tickets)  # type: ignore[attr-defined]

    first = await backend._site.submit(order, timeout_s=10)
    backend._site._tickets.update(tickets)  # type: ignore[attr-defined]
    with pytest.raises(NotSubmittedError):
        await backend._site.submit(order, timeout_s=10)

    named = slurm_env.output("squeue", "--noheader", f"--name={order.name}", "--format=%i").split()
    assert [first.stdout.strip()] == named


async def test_a_search_waits_for_an_sbatch_whose_connection_is_gone(
    far: Bench, sshd: Sshd, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    sshd.wrap("sbatch", f'touch {begun}; sleep 1; exec "$REAL" "$@"')
    attempt = far.prepare("slow", resources=HELD)
    reports = []

    async def submit() -> None:
        reports.append(await far.backend.submit([attempt]))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(submit)
        await trio.to_thread.run_sync(wait_until, begun.exists, 20)
        sshd.cut()
    found = await far.make().find([attempt])

    assert set(reports[0].unresolved) == set(found) == {attempt.token}


async def test_a_refusal_of_sbatch_is_told_in_its_words_also_when_it_exits_like_ssh(far: Bench) -> None:
    bad_time = far.prepare("time", resources=Resources(memory_mib=20, extra={"time": "nonsense"}))
    bad_partition = far.prepare("partition", resources=Resources(partition="atlantis"))

    report = await far.backend.submit([bad_time, bad_partition])

    assert report.refused[bad_time.token] == "sbatch refused the job: Invalid --time specification"
    assert "invalid partition specified: atlantis" in report.refused[bad_partition.token]


async def test_what_cannot_be_copied_there_is_not_submitted_and_goes_out_later(
    far: Bench, sshd: Sshd
) -> None:
    attempt = far.prepare("later")
    sshd.stop()
    held_back = await far.backend.submit([attempt])
    sshd.go_on()
    (job,) = await far.submitted(attempt)
    end = await seen(far.backend, job)

    assert set(held_back.unresolved) == {attempt.token}
    assert held_back.unresolved[attempt.token].startswith("cluster takes no ssh connections")
    assert end.state is JobState.COMPLETED_OK


async def test_a_workdir_that_was_cleaned_is_made_again(far: Bench, sshd: Sshd) -> None:
    await far.backend.probe()
    await far.backend.find([far.prepare("unknown")])
    await trio.run_process(["rm", "-r", sshd.workdir / "matterstack"])

    with pytest.raises(BackendError, match="is gone"):
        await far.backend.find([far.prepare("unknown-too")])
    (job,) = await far.submitted(far.prepare("again"))

    assert (await seen(far.backend, job)).state is JobState.COMPLETED_OK


# ---- what is missing there ----


def _without_flock(sshd: Sshd) -> None:
    sshd.hide("flock")


def _without_workdir(sshd: Sshd) -> None:
    sshd.workdir.rmdir()


def _without_room(sshd: Sshd) -> None:
    sshd.wrap("mkdir", "echo 'mkdir: cannot create directory: Disk quota exceeded' >&2; exit 1")


@pytest.mark.parametrize(
    ("lacks", "told"),
    [
        (_without_flock, "flock is missing there: ask for its package (util-linux)"),
        (_without_workdir, "{workdir}, the workdir, is no folder there: make it first"),
        (_without_room, "the workdir cannot be used: mkdir: cannot create directory: Disk quota exceeded"),
    ],
    ids=["flock", "workdir", "room"],
)
async def test_a_login_node_that_lacks_something_is_told_with_what_to_do(
    far: Bench, sshd: Sshd, lacks: Callable[[Sshd], None], told: str
) -> None:
    lacks(sshd)
    attempt = far.prepare("never")

    report = await far.backend.submit([attempt])

    assert report.unresolved == {attempt.token: f"cluster: {told.format(workdir=sshd.workdir)}"}


async def test_a_login_node_without_slurm_is_told_with_what_to_do(far: Bench, sshd: Sshd) -> None:
    sshd.hide("sbatch", "squeue")
    attempt = far.prepare("never")

    report = await far.backend.submit([attempt])

    told = "no such command on cluster: have ~/.bash_profile there load Slurm's module"
    assert report.unresolved == {attempt.token: f"sbatch: {told}"}
    with pytest.raises(BackendError) as caught:
        await far.backend.find([attempt])
    assert str(caught.value) == f"squeue: {told}"


# ---- what comes home ----


async def test_only_regular_files_that_were_declared_come_home(far: Bench) -> None:
    lines = (
        "mkdir -p out/deep; echo 1 > out/one; echo 2 > out/deep/two",
        "echo 3 > $'out/odd\\n \"name\\'s\\303\\244'",
        "ln -s /etc/passwd out/link; ln -s /etc out/etc; ln -s ../../../.. out/up; mkfifo out/pipe",
        "echo no > secret; echo '{}' > result.json; echo told",
    )
    attempt = far.prepare("messy", "\n".join(lines))
    _declare(attempt, "out/**")

    (job,) = await far.submitted(attempt)
    end = await seen(far.backend, job)

    assert end.state is JobState.COMPLETED_OK
    outputs = {"out/one", "out/deep/two", "out/odd\n \"name'sä"}
    ours = {
        "job.sh",
        "manifest.json",
        "claim/job_id",
        "exit.json",
        "stdout.log",
        "stderr.log",
        "scheduler.log",
    }
    assert _names(attempt.folder) == {*ours, *outputs, "result.json"}
    assert (attempt.folder / "stdout.log").read_text() == "told\n"


async def test_a_job_that_puts_links_in_the_place_of_its_records_reaches_nothing_outside(
    far: Bench, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "log").write_text("private")
    lines = (
        f"rm -r claim; ln -s {outside} claim; rm stdout.log; ln -s {outside}/log stdout.log",
        f"ln -s {outside} out; rm manifest.json; ln -s {outside}/manifest manifest.json",
        f"echo x > {outside}/y",
    )
    attempt = far.prepare("hostile", "\n".join(lines))
    _declare(attempt, "out/*")

    (job,) = await far.submitted(attempt)
    await seen(far.backend, job)

    assert _names(outside) == {"y", "log"}
    assert "private" not in "".join(path.read_text() for path in attempt.folder.glob("*.log"))
    assert [path for path in attempt.folder.rglob("*") if path.is_symlink()] == []
    assert not (attempt.folder / "out").exists()


async def test_a_change_within_the_same_second_and_of_the_same_size_comes_home(far: Bench) -> None:
    attempt = far.prepare("quick", "touch -r in.txt time; printf new > in.txt; touch -r time in.txt")
    (attempt.folder / "in.txt").write_text("old")
    manifest = {"files": [{"name": "in.txt"}], "inputs": [], "outputs": ["in.txt"]}
    (attempt.folder / "manifest.json").write_text(json.dumps(manifest))

    (job,) = await far.submitted(attempt)
    await seen(far.backend, job)

    assert (attempt.folder / "in.txt").read_text() == "new"


async def test_nothing_is_concluded_while_the_workdir_is_not_there(far: Bench, sshd: Sshd) -> None:
    attempt = far.prepare("patient", Deed(is_gated=True, exit_code=3))
    (job,) = await far.submitted(attempt)
    await far.at_work(attempt)
    await far.open_gate(attempt)
    await trio.to_thread.run_sync(wait_until, (far.workplace(attempt) / "exit.json").exists, 20)
    away = sshd.workdir.rename(sshd.workdir.with_name("unmounted"))

    told = []
    with trio.move_on_after(4 * far.backend.grace_period_s):
        while True:
            try:
                states = {seen.state for seen in await far.backend.poll([job])}
                assert not states & ENDED_JOBS
            except BackendError as error:
                told.append(str(error))
    away.rename(sshd.workdir)

    assert (await seen(far.backend, job)).exit_code == 3
    assert told[-1] == f"cluster: {sshd.workdir}, the workdir, is no folder there: make it first"


async def test_many_jobs_need_few_commands(far: Bench, sshd: Sshd) -> None:
    sshd.profile("echo Welcome; echo to the cluster >&2")
    attempts = [far.prepare(f"job-{i}") for i in range(12)]

    async with far.serving():
        jobs = await far.submitted(*attempts)
        ends = await all_seen(far.backend, jobs)
        copied = far.backend.health().statistics["rsync"].count

    assert {end.state for end in ends.values()} == {JobState.COMPLETED_OK}
    assert copied < len(jobs)
