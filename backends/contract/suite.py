"""The tests of the contract, each for a fixture ``bench`` (`matterstack.backends.contract.bench.Bench`).

Import all of this into a test module, and pytest runs them there.
"""

from __future__ import annotations

import json
import stat
import sys

import attrs
import pytest

from matterstack.backends.contract.bench import (
    Bench,
    Deed,
    all_seen,
    live,
    nonce_of,
    plant,
    seen,
    write_claim,
    write_record,
)
from matterstack.backends.exit_record import read_claim, read_exit_record
from matterstack.core.errors import BackendError
from matterstack.core.ids import JobId, Token, utc_moment
from matterstack.core.model.workflow_check import SECRETS_FILE
from matterstack.core.states import JobState

__all__ = [
    "needs_others",
    "needs_secrets",
    "needs_shell",
    "test_a_backend_that_can_be_reached_tells_its_limits",
    "test_a_cancelled_job_that_runs_is_seen_cancelled_and_its_processes_are_gone",
    "test_a_cancelled_job_that_waits_never_works",
    "test_a_claim_and_a_record_that_do_not_bear_the_nonce_are_none",
    "test_a_command_that_cannot_be_found_or_is_killed_is_told_with_the_exit_code_of_a_shell",
    "test_a_command_that_ends_well_is_completed_and_its_exit_record_is_told",
    "test_a_command_that_fails_is_told_with_its_exit_code",
    "test_a_folder_that_was_deleted_by_hand_stops_nothing",
    "test_a_job_that_has_begun_is_not_touched_when_only_what_waits_is_cancelled",
    "test_a_job_that_left_no_trace_is_lost",
    "test_a_job_that_waits_is_cancelled_and_never_works",
    "test_a_job_that_worked_and_vanished_has_failed_but_is_not_lost",
    "test_a_new_engine_follows_the_jobs_of_the_last_one",
    "test_a_root_with_an_odd_name_is_no_trouble",
    "test_a_submitted_attempt_is_found_at_once_and_an_unknown_one_is_not",
    "test_an_attempt_is_found_after_its_job_has_ended",
    "test_an_attempt_that_is_submitted_twice_works_once",
    "test_an_element_that_waits_is_cancelled_and_the_others_of_its_batch_are_not",
    "test_cancelling_what_has_ended_changes_nothing",
    "test_cancelling_what_waits_changes_nothing_of_what_has_ended",
    "test_half_an_exit_record_is_none",
    "test_nothing_is_asked_about_no_jobs",
    "test_of_what_cannot_be_asked_nothing_is_concluded",
    "test_secrets_are_taken_away_from_an_attempt_that_has_no_job",
    "test_secrets_are_taken_away_when_a_job_is_cancelled_that_waits",
    "test_secrets_reach_a_job_and_lie_nowhere_when_it_works",
    "test_the_exit_record_of_another_job_is_none",
    "test_the_exit_record_tells_of_a_job_that_nobody_knows_any_more",
    "test_what_a_command_prints_is_in_its_logs_and_the_scheduler_has_nothing_to_say",
    "test_what_a_root_with_an_odd_name_is_told_by_its_scheduler_is_in_its_place",
    "test_what_another_clock_says_is_told_and_no_reason_to_disbelieve",
    "test_what_lay_in_the_folder_before_its_job_is_not_taken_for_the_jobs",
    "test_what_would_be_submitted_is_told_and_not_done",
    "test_words_and_variables_reach_the_command_as_they_are",
]

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


@pytest.fixture
def needs_shell(bench: Bench) -> None:
    """For what only the shell of a real job can do."""
    if not bench.has_shell:
        pytest.skip("its jobs have no shell")


@pytest.fixture
def needs_others(bench: Bench) -> None:
    """For what can only happen where others are asked."""
    if not bench.asks_others:
        pytest.skip("it asks nobody")


@pytest.fixture
def needs_secrets(bench: Bench) -> None:
    """For what holds of secrets, where there are any."""
    if not bench.gives_secrets:
        pytest.skip("it gives no secrets to jobs")


async def test_a_command_that_ends_well_is_completed_and_its_exit_record_is_told(bench: Bench) -> None:
    attempt = bench.prepare("well", Deed(writes={"result.json": "{}"}))

    async with bench.serving():
        (job,) = await bench.submitted(attempt)
        end = await seen(bench.backend, job)

    assert (end.state, end.raw_state, end.reason, end.exit_code) == (
        JobState.COMPLETED_OK,
        "COMPLETED",
        "",
        0,
    )
    record = read_exit_record(attempt.folder, job.job_id, job.nonce_sha256)
    assert record is not None
    assert (end.host, end.started_at, end.ended_at) == (record.host, record.started_at, record.ended_at)
    assert utc_moment(record.started_at) <= utc_moment(record.ended_at)
    assert (attempt.folder / "result.json").read_text() == "{}"
    assert read_claim(attempt.folder, attempt.nonce_sha256) == job.job_id
    assert bench.times_worked(attempt) == 1


@pytest.mark.usefixtures("needs_shell")
async def test_what_a_command_prints_is_in_its_logs_and_the_scheduler_has_nothing_to_say(
    bench: Bench,
) -> None:
    attempt = bench.prepare("prints", "echo out; echo err >&2; pwd")

    async with bench.serving():
        (job,) = await bench.submitted(attempt)
        await seen(bench.backend, job)

    assert (attempt.folder / "stdout.log").read_text() == f"out\n{bench.workplace(attempt)}\n"
    assert (attempt.folder / "stderr.log").read_text() == "err\n"
    assert (attempt.folder / "scheduler.log").read_text() == ""


async def test_a_command_that_fails_is_told_with_its_exit_code(bench: Bench) -> None:
    async with bench.serving():
        (job,) = await bench.submitted(bench.prepare("fails", Deed(exit_code=7)))
        end = await seen(bench.backend, job)

    assert (end.state, end.raw_state, end.exit_code) == (JobState.COMPLETED_ERROR, "FAILED", 7)


@pytest.mark.usefixtures("needs_shell")
@pytest.mark.parametrize(
    ("command", "exit_code"),
    [(("no-such-program",), 127), (("bash", "-c", "kill -9 $$"), 137)],
    ids=["no program", "signal"],
)
async def test_a_command_that_cannot_be_found_or_is_killed_is_told_with_the_exit_code_of_a_shell(
    bench: Bench, command: tuple[str, ...], exit_code: int
) -> None:
    async with bench.serving():
        (job,) = await bench.submitted(bench.prepare("fails", command=command))
        end = await seen(bench.backend, job)

    assert (end.state, end.raw_state, end.exit_code) == (JobState.COMPLETED_ERROR, "FAILED", exit_code)


@pytest.mark.usefixtures("needs_shell")
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
    attempt = bench.prepare('it\'s 100%j "odd" $HOME é', Deed(writes={"here": "here\n"}))

    async with bench.serving():
        (job,) = await bench.submitted(attempt)
        end = await seen(bench.backend, job)

    assert end.state is JobState.COMPLETED_OK
    assert (attempt.folder / "here").read_text() == "here\n"


@pytest.mark.usefixtures("needs_shell")
async def test_what_a_root_with_an_odd_name_is_told_by_its_scheduler_is_in_its_place(bench: Bench) -> None:
    attempt = bench.prepare('it\'s 100%j "odd" $HOME é', "echo late >&9")

    async with bench.serving():
        (job,) = await bench.submitted(attempt)
        end = await seen(bench.backend, job)

    assert end.state is JobState.COMPLETED_ERROR, "descriptor 9 must be closed in the command"
    assert (attempt.folder / "scheduler.log").read_text() == ""


async def test_a_cancelled_job_that_runs_is_seen_cancelled_and_its_processes_are_gone(bench: Bench) -> None:
    attempt = bench.prepare("runs", Deed(is_gated=True))

    async with bench.serving():
        (job,) = await bench.submitted(attempt)
        is_at_work = await bench.at_work(attempt)
        assert is_at_work()
        await bench.backend.cancel([job])
        end = await seen(bench.backend, job)

    assert end.state is JobState.CANCELLED
    assert not is_at_work()


async def test_a_cancelled_job_that_waits_never_works(bench: Bench) -> None:
    if bench.queued is None:
        async with bench.serving():
            report = await bench.backend.submit([bench.prepare("at-once")])
        assert report.state is JobState.RUNNING, "without a queue, a job runs as soon as it is accepted"
        return
    attempt = bench.prepare("waits", resources=bench.queued)

    async with bench.serving():
        (job,) = await bench.submitted(attempt)
        waiting = await seen(bench.backend, job, JobState.QUEUED)
        await bench.backend.cancel([job])
        end = await seen(bench.backend, job)

    assert waiting.reason, "a job that waits says why"
    assert end.state is JobState.CANCELLED
    assert bench.times_worked(attempt) == 0


async def test_a_job_that_waits_is_cancelled_and_never_works(bench: Bench) -> None:
    if bench.queued is None:
        pytest.skip("its jobs do not wait")
    attempt = bench.prepare("waits", resources=bench.queued)

    async with bench.serving():
        (job,) = await bench.submitted(attempt)
        await bench.backend.cancel_waiting([job])
        await bench.backend.cancel_waiting([job])
        end = await seen(bench.backend, job)

    assert end.state is JobState.CANCELLED
    assert bench.times_worked(attempt) == 0


async def test_an_element_that_waits_is_cancelled_and_the_others_of_its_batch_are_not(bench: Bench) -> None:
    if bench.queued is None or bench.most_in_batch == 1:
        pytest.skip("its jobs do not wait, or not together")
    await bench.backend.probe()
    alone = [bench.prepare(f"e{i}", resources=bench.queued) for i in range(5)]
    batch = [attrs.evolve(a, batch=alone[0].token, index=i) for i, a in enumerate(alone)]

    async with bench.serving():
        jobs = await bench.submitted(*batch)
        await bench.backend.cancel_waiting([jobs[1], jobs[3]])
        await all_seen(bench.backend, [jobs[1], jobs[3]], JobState.CANCELLED)
        rest = [jobs[0], jobs[2], jobs[4]]
        assert len(await all_seen(bench.backend, rest, JobState.QUEUED)) == len(rest)
        await bench.backend.cancel_waiting(jobs)  # the last ones too, some of which are gone
        await all_seen(bench.backend, rest, JobState.CANCELLED)

    assert [bench.times_worked(attempt) for attempt in batch] == [0] * 5


async def test_a_job_that_has_begun_is_not_touched_when_only_what_waits_is_cancelled(bench: Bench) -> None:
    attempt = bench.prepare("runs", Deed(is_gated=True, exit_code=3))

    async with bench.serving():
        (job,) = await bench.submitted(attempt)
        is_at_work = await bench.at_work(attempt)
        await bench.backend.cancel_waiting([job])
        assert is_at_work()
        await bench.open_gate(attempt)
        end = await seen(bench.backend, job)

    assert (end.state, end.exit_code) == (JobState.COMPLETED_ERROR, 3)
    assert bench.times_worked(attempt) == 1


async def test_cancelling_what_waits_changes_nothing_of_what_has_ended(bench: Bench) -> None:
    async with bench.serving():
        (job,) = await bench.submitted(bench.prepare("quick"))
        await seen(bench.backend, job)
        await bench.backend.cancel_waiting([job])
        again = await seen(bench.backend, job)

    assert again.state is JobState.COMPLETED_OK


async def test_cancelling_what_has_ended_changes_nothing(bench: Bench) -> None:
    async with bench.serving():
        (job,) = await bench.submitted(bench.prepare("quick"))
        await seen(bench.backend, job)
        await bench.backend.cancel([job])
        again = await seen(bench.backend, job)

    assert again.state is JobState.COMPLETED_OK


@pytest.mark.usefixtures("needs_secrets", "needs_shell")
async def test_secrets_reach_a_job_and_lie_nowhere_when_it_works(bench: Bench) -> None:
    value = "".join(ODD_WORDS)
    program = "import json, os; print(json.dumps([os.environ['HUSH'], os.listdir()]))"
    command = (sys.executable, "-c", program)
    attempt = bench.prepare("secret", command=command, secrets=bench.secrets(HUSH=value))

    async with bench.serving():
        (job,) = await bench.submitted(attempt)
        end = await seen(bench.backend, job)

    assert end.exit_code == 0, (attempt.folder / "stderr.log").read_text()
    found, names = json.loads((attempt.folder / "stdout.log").read_text())
    assert found == value
    assert SECRETS_FILE not in names
    assert value not in (attempt.folder / "job.sh").read_text()


@pytest.mark.usefixtures("needs_secrets")
async def test_secrets_are_taken_away_when_a_job_is_cancelled_that_waits(bench: Bench) -> None:
    if bench.queued is None:
        pytest.skip("its jobs do not wait")
    secrets = bench.secrets(HUSH="a value")
    attempt = bench.prepare("waiting", Deed(), resources=bench.queued, secrets=secrets)
    file = bench.workplace(attempt) / SECRETS_FILE

    async with bench.serving():
        (job,) = await bench.submitted(attempt)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        await bench.backend.cancel([job])
        await seen(bench.backend, job)

    assert not file.exists()
    assert bench.times_worked(attempt) == 0


@pytest.mark.usefixtures("needs_secrets")
async def test_secrets_are_taken_away_from_an_attempt_that_has_no_job(bench: Bench) -> None:
    attempt = bench.prepare("nobody", Deed(), secrets=bench.secrets(HUSH="a value"))
    file = bench.workplace(attempt) / SECRETS_FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("what an engine left that died before it submitted")

    async with bench.serving():
        assert await bench.backend.find([attempt]) == {}

    assert not file.exists()


async def test_what_would_be_submitted_is_told_and_not_done(bench: Bench) -> None:
    attempts = [bench.prepare(f"shown-{i}") for i in range(3)]

    told = bench.backend.describe(attempts)

    assert sorted(token for one in told for token in one.attempts) == sorted(a.token for a in attempts)
    assert all(one.command for one in told)
    assert await bench.backend.find(attempts) == {}


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
    attempt = bench.prepare("twice")

    async with bench.serving():
        (first,) = await bench.submitted(attempt)
        (second,) = await bench.submitted(attempt)
        ends = [await seen(bench.backend, job) for job in (first, second)]

    assert first.job_id != second.job_id
    assert bench.times_worked(attempt) == 1
    by_job = {job.job_id: end.state for job, end in zip((first, second), ends, strict=True)}
    worker = read_claim(attempt.folder, attempt.nonce_sha256)
    assert worker is not None
    assert by_job.pop(JobId(worker)) is JobState.COMPLETED_OK
    # Of the other one is told that it did nothing, or how that ended which works in its place.
    assert set(by_job.values()) <= {JobState.COMPLETED_OK, JobState.COMPLETED_ERROR}


async def test_a_new_engine_follows_the_jobs_of_the_last_one(bench: Bench) -> None:
    attempt = bench.prepare("survivor", Deed(is_gated=True, exit_code=3))

    async with bench.serving():
        (job,) = await bench.submitted(attempt)
        is_at_work = await bench.at_work(attempt)
    assert is_at_work(), "it goes on while nobody follows it"
    successor = bench.make()
    async with bench.serving(successor):
        await seen(successor, job, JobState.RUNNING, JobState.QUEUED)
        await bench.open_gate(attempt)
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
    write_record(job, 0)
    text = (job.folder / "exit.json").read_text()
    (job.folder / "exit.json").write_text(text.replace(job.job_id, "another"))

    assert (await seen(bench.backend, job)).state is JobState.LOST


@pytest.mark.parametrize("nonce", ["", "0" * 32, nonce_of(Token("of another attempt"))])
async def test_a_claim_and_a_record_that_do_not_bear_the_nonce_are_none(bench: Bench, nonce: str) -> None:
    attempt = bench.prepare("forged")
    job = live(attempt, bench.absent)
    write_claim(job, nonce=nonce)
    write_record(job, 0, nonce=nonce)

    assert await bench.backend.find([attempt]) == {}
    end = await seen(bench.backend, job)
    assert (end.state, end.exit_code) == (JobState.LOST, None)


async def test_what_another_clock_says_is_told_and_no_reason_to_disbelieve(bench: Bench) -> None:
    job = live(bench.prepare("slow-clock"), bench.absent)
    write_record(job, 0)
    text = (job.folder / "exit.json").read_text()
    (job.folder / "exit.json").write_text(text.replace("2026-01-02T", "1999-12-31T"))

    end = await seen(bench.backend, job)

    assert (end.state, end.ended_at) == (JobState.COMPLETED_OK, "1999-12-31T03:04:06.000000Z")


async def test_what_lay_in_the_folder_before_its_job_is_not_taken_for_the_jobs(bench: Bench) -> None:
    attempt = bench.prepare("victim", Deed(writes={"own.dat": "own"}, exit_code=3))
    plant(bench.workplace(attempt), bench.absent)

    async with bench.serving():
        (job,) = await bench.submitted(attempt)
        end = await seen(bench.backend, job)

    assert (end.state, end.exit_code) == (JobState.COMPLETED_ERROR, 3)
    assert read_claim(attempt.folder, attempt.nonce_sha256) == job.job_id
    assert bench.times_worked(attempt) == 1
    assert (bench.workplace(attempt) / "own.dat").exists()
    assert not (bench.workplace(attempt) / "forged.dat").exists()
    assert not (bench.workplace(attempt) / "result.json").exists()


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
    bench.cut_off(monkeypatch)

    assert await bench.backend.poll([]) == []
    await bench.backend.cancel([])
    await bench.backend.cancel_waiting([])
    assert (await bench.backend.submit([])).accepted == {}


@pytest.mark.usefixtures("needs_others")
async def test_of_what_cannot_be_asked_nothing_is_concluded(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = bench.prepare("unclear")
    job = live(bench.prepare("unknown"), bench.absent)
    bench.cut_off(monkeypatch)

    report = await bench.backend.submit([attempt])

    assert (set(report.unresolved), report.accepted, report.refused) == ({attempt.token}, {}, {})
    with pytest.raises(BackendError):
        await bench.backend.poll([job])
    with pytest.raises(BackendError):
        await bench.backend.cancel([job])
    with pytest.raises(BackendError):
        await bench.backend.cancel_waiting([job])
    with pytest.raises(BackendError):
        await bench.backend.find([attempt])
    with pytest.raises(BackendError):
        await bench.backend.probe()


async def test_a_backend_that_can_be_reached_tells_its_limits(bench: Bench) -> None:
    limits = await bench.backend.probe()

    assert limits.cpus == bench.most_cpus
    assert bench.backend.batch_limit == bench.most_in_batch
