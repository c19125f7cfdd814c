"""What every backend promises, shown on each of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio

from matterstack.backends.base import LiveJob
from matterstack.backends.exit_record import read_claim, read_exit_record
from matterstack.core.ids import utc_moment
from matterstack.core.states import JobState
from tests.backends.bench import Bench, all_seen, live, seen, write_claim, write_record
from tests.support.polling import wait_until
from tests.support.process import Process

ODD_WORDS = (
    "",
    "two words",
    "it's",
    'say "hi"',
    "$HOME `id` $(id) !!",
    "back\\slash \\n",
    "two\nlines",
    "carriage\r\nreturn",
    "tab\tand\x1bescape",
    "Ångström 电池 🔋",
    "* ? [a-z] {a,b} ~",
    "-x",
    "#no comment",
    "a=b;c&d|e>f<g",
    "%j %%",
)


async def test_a_command_that_ends_well_is_completed_and_its_exit_record_is_told(bench: Bench) -> None:
    attempt = bench.prepare("well", "echo out; echo err >&2; pwd")

    async with bench.serving():
        (job,) = await bench.submitted(attempt)
        end = await seen(bench.backend, job)

    assert (end.state, end.raw_state, end.reason, end.exit_code) == (
        JobState.COMPLETED_OK,
        "COMPLETED",
        "",
        0,
    )
    record = read_exit_record(attempt.folder, job.job_id)
    assert record is not None
    assert (end.host, end.started_at, end.ended_at) == (record.host, record.started_at, record.ended_at)
    assert utc_moment(record.started_at) <= utc_moment(record.ended_at)
    assert (attempt.folder / "stdout.log").read_text() == f"out\n{attempt.folder}\n"
    assert (attempt.folder / "stderr.log").read_text() == "err\n"
    assert (attempt.folder / "scheduler.log").read_text() == ""


@pytest.mark.parametrize(
    ("command", "exit_code"),
    [(("bash", "-c", "exit 7"), 7), (("no-such-program",), 127), (("bash", "-c", "kill -9 $$"), 137)],
    ids=["exit", "no program", "signal"],
)
async def test_a_command_that_fails_is_told_with_its_exit_code(
    bench: Bench, command: tuple[str, ...], exit_code: int
) -> None:
    async with bench.serving():
        (job,) = await bench.submitted(bench.prepare("fails", command=command))
        end = await seen(bench.backend, job)

    assert (end.state, end.raw_state, end.exit_code) == (JobState.COMPLETED_ERROR, "FAILED", exit_code)


async def test_words_and_variables_reach_the_command_as_they_are(bench: Bench) -> None:
    program = "import json, os, sys; print(json.dumps([sys.argv[1:], os.environ['ODD']]))"
    odd = "".join(ODD_WORDS)
    attempt = bench.prepare("odd", command=("python", "-c", program, *ODD_WORDS), env={"ODD": odd})

    async with bench.serving():
        (job,) = await bench.submitted(attempt)
        end = await seen(bench.backend, job)

    assert end.state is JobState.COMPLETED_OK, (attempt.folder / "stderr.log").read_text()
    assert json.loads((attempt.folder / "stdout.log").read_text()) == [list(ODD_WORDS), odd]


async def test_a_root_with_an_odd_name_is_no_trouble(bench: Bench) -> None:
    attempt = bench.prepare('it\'s 100%j "odd" $HOME é', "echo here > here; echo late >&9")

    async with bench.serving():
        (job,) = await bench.submitted(attempt)
        end = await seen(bench.backend, job)

    assert end.state is JobState.COMPLETED_ERROR, "descriptor 9 must be closed in the command"
    assert (attempt.folder / "here").read_text() == "here\n"
    assert (attempt.folder / "scheduler.log").exists()


async def test_a_cancelled_job_that_runs_is_seen_cancelled_and_its_processes_are_gone(bench: Bench) -> None:
    attempt = bench.prepare("runs", "sleep 600 & echo $! > pid.part; mv pid.part pid; wait")

    async with bench.serving():
        (job,) = await bench.submitted(attempt)
        process = await trio.to_thread.run_sync(_process_in, attempt.folder / "pid")
        await bench.backend.cancel([job])
        end = await seen(bench.backend, job)

    assert end.state is JobState.CANCELLED
    assert not process.is_alive


async def test_a_cancelled_job_that_waits_never_works(bench: Bench) -> None:
    if bench.queued is None:
        async with bench.serving():
            report = await bench.backend.submit([bench.prepare("at-once")])
        assert report.state is JobState.RUNNING, "without a queue, a job runs as soon as it is accepted"
        return
    attempt = bench.prepare("waits", "touch worked", resources=bench.queued)

    async with bench.serving():
        (job,) = await bench.submitted(attempt)
        waiting = await seen(bench.backend, job, JobState.QUEUED)
        await bench.backend.cancel([job])
        end = await seen(bench.backend, job)

    assert waiting.reason, "a job that waits says why"
    assert end.state is JobState.CANCELLED
    assert not (attempt.folder / "worked").exists()


async def test_cancelling_what_has_ended_changes_nothing(bench: Bench) -> None:
    async with bench.serving():
        (job,) = await bench.submitted(bench.prepare("quick"))
        await seen(bench.backend, job)
        await bench.backend.cancel([job])
        again = await seen(bench.backend, job)

    assert again.state is JobState.COMPLETED_OK


async def test_a_submitted_attempt_is_found_at_once_and_an_unknown_one_is_not(bench: Bench) -> None:
    submitted = [bench.prepare(f"known-{i}") for i in range(3)]
    never = bench.prepare("unknown")

    async with bench.serving():
        jobs = await bench.submitted(*submitted)
        found = await bench.make().find([*submitted, never])
        await all_seen(bench.backend, jobs)

    assert found == {job.token: job.job_id for job in jobs}


async def test_an_attempt_is_found_after_its_job_has_ended(bench: Bench) -> None:
    attempt = bench.prepare("ended")

    async with bench.serving():
        (job,) = await bench.submitted(attempt)
        await seen(bench.backend, job)
        found = await bench.make().find([attempt])

    assert found == {attempt.token: job.job_id}


async def test_an_attempt_that_is_submitted_twice_works_once(bench: Bench) -> None:
    attempt = bench.prepare("twice", "echo worked >> ../count")

    async with bench.serving():
        (first,) = await bench.submitted(attempt)
        (second,) = await bench.submitted(attempt)
        ends = [await seen(bench.backend, job) for job in (first, second)]

    assert first.job_id != second.job_id
    assert (attempt.folder.parent / "count").read_text() == "worked\n"
    worker = read_claim(attempt.folder)
    by_state = {end.state: job.job_id for end, job in zip(ends, (first, second), strict=True)}
    assert by_state[JobState.COMPLETED_OK] == worker
    assert set(by_state) == {JobState.COMPLETED_OK, JobState.COMPLETED_ERROR}


async def test_a_new_engine_follows_the_jobs_of_the_last_one(bench: Bench) -> None:
    attempt = bench.prepare("survivor", "while [ ! -e go ]; do sleep 0.05; done; exit 3")

    async with bench.serving():
        (job,) = await bench.submitted(attempt)
        await trio.to_thread.run_sync(wait_until, (attempt.folder / "claim" / "job_id").exists, 20)
    successor = bench.make()
    async with bench.serving(successor):
        await seen(successor, job, JobState.RUNNING, JobState.QUEUED)
        (attempt.folder / "go").touch()
        end = await seen(successor, job)

    assert (end.state, end.exit_code) == (JobState.COMPLETED_ERROR, 3)


@pytest.mark.parametrize(("exit_code", "state"), [(0, JobState.COMPLETED_OK), (4, JobState.COMPLETED_ERROR)])
async def test_the_exit_record_tells_of_a_job_that_nobody_knows_any_more(
    bench: Bench, exit_code: int, state: JobState
) -> None:
    job = live(bench.prepare("forgotten"), bench.absent)
    write_record(job, exit_code)

    end = await seen(bench.backend, job)

    assert (end.state, end.exit_code, end.host) == (state, exit_code, "n1")


@pytest.mark.parametrize("text", ["", '{"exit_code": 0, "star', '{"exit_code": "zero"}', "[]", "\0\xff"])
async def test_half_an_exit_record_is_none(bench: Bench, text: str) -> None:
    job = live(bench.prepare("half"), bench.absent)
    (job.folder / "exit.json").write_text(text)

    assert (await seen(bench.backend, job)).state is JobState.LOST


async def test_the_exit_record_of_another_job_is_none(bench: Bench) -> None:
    job = live(bench.prepare("foreign"), bench.absent)
    write_record(LiveJob(token=job.token, job_id=job.job_id, folder=job.folder), 0)
    text = (job.folder / "exit.json").read_text()
    (job.folder / "exit.json").write_text(text.replace(job.job_id, "another"))

    assert (await seen(bench.backend, job)).state is JobState.LOST


async def test_a_job_that_left_no_trace_is_lost(bench: Bench) -> None:
    end = await seen(bench.backend, live(bench.prepare("lost"), bench.absent))

    assert (end.state, end.exit_code) == (JobState.LOST, None)
    assert "never started working" in end.reason


async def test_a_job_that_worked_and_vanished_has_failed_but_is_not_lost(bench: Bench) -> None:
    job = live(bench.prepare("vanished"), bench.absent)
    write_claim(job)

    end = await seen(bench.backend, job)

    assert end.state is JobState.COMPLETED_ERROR
    assert "record" in end.reason


async def test_a_folder_that_was_deleted_by_hand_stops_nothing(bench: Bench) -> None:
    gone = live(bench.prepare("gone"), bench.absent)
    for path in sorted(gone.folder.rglob("*")):
        path.unlink()
    gone.folder.rmdir()

    async with bench.serving():
        (job,) = await bench.submitted(bench.prepare("here"))
        ends = await all_seen(bench.backend, [gone, job])

    assert ends[gone.token].state is JobState.LOST
    assert ends[job.token].state is JobState.COMPLETED_OK


async def test_nothing_is_asked_about_no_jobs(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    assert await bench.backend.poll([]) == []
    await bench.backend.cancel([])
    assert (await bench.backend.submit([])).accepted == {}


async def test_a_backend_that_can_be_reached_tells_its_limits(bench: Bench) -> None:
    limits = await bench.backend.probe()

    assert limits.cpus is None or limits.cpus >= 1


def _process_in(path: Path) -> Process:
    wait_until(path.exists, 20, f"{path} to be written")
    process = Process.of(int(path.read_text()))
    assert process is not None
    return process
