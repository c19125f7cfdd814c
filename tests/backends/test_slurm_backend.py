"""What is special about Slurm: its outages, its refusals, and what sites do to its commands."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import attrs
import pytest
import trio

from matterstack.backends.base import LiveJob, SubmitReport
from matterstack.backends.contract.bench import (
    PATIENCE_S,
    Bench,
    all_seen,
    live,
    seen,
    write_claim,
    write_record,
)
from matterstack.backends.exit_record import read_claim
from matterstack.backends.slurm.submission import SUBMISSIONS_AT_ONCE
from matterstack.core.errors import BackendError
from matterstack.core.model.resources import Resources
from matterstack.core.states import ENDED_JOBS, JobState
from tests.backends.bench import slurm_backend
from tests.backends.conftest import Shims
from tests.support.polling import wait_until
from tests.support.slurm_cluster import SlurmCluster

CROWDED = "Slurm temporarily unable to accept job, sleeping and retrying"
HELD = Resources(memory_mib=20, extra={"hold": ""})


# ---- submission ----


async def test_a_refused_submission_is_told_in_the_words_of_sbatch(slurm: Bench) -> None:
    bad = slurm.prepare("bad", resources=Resources(partition="no-such-partition"))
    good = slurm.prepare("good")

    report = await slurm.backend.submit([bad, good])

    assert "invalid partition specified: no-such-partition" in report.refused[bad.token]
    assert set(report.accepted) == {good.token}
    assert report.unresolved == {}


async def test_jobs_enter_the_queue_in_the_order_of_the_batch(slurm: Bench) -> None:
    # A few sbatch run side by side: a job may overtake those that are submitted with it, and no others.
    attempts = [slurm.prepare(f"job-{i}", resources=HELD) for i in range(24)]

    jobs = await slurm.submitted(*attempts)

    ids = [int(job.job_id) for job in jobs]
    places = [sorted(ids).index(mine) for mine in ids]
    assert all(place >= i - SUBMISSIONS_AT_ONCE + 1 for i, place in enumerate(places)), places


@pytest.mark.parametrize("key", ["array", "wrap", "job-name", "wait", "output"])
async def test_options_that_would_make_a_job_untraceable_are_refused(slurm: Bench, key: str) -> None:
    attempt = slurm.prepare("odd", resources=Resources(extra={key: "1"}))

    report = await slurm.backend.submit([attempt])

    assert report.refused == {attempt.token: f"resources.extra: {key} cannot be set by a campaign"}


async def test_a_job_gets_the_resources_that_it_asks_for(
    slurm: Bench, slurm_env: SlurmCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Variables of sbatch(1) in the user's profile overrule what stands in a script.
    monkeypatch.setenv("SBATCH_PARTITION", "closed")
    monkeypatch.setenv("SBATCH_TIMELIMIT", "1")
    comment = 'it\'s "odd" #1 \\ \n two'
    wanted = Resources(
        cpus=2,
        nodes=2,
        memory_mib=64,
        walltime_s=3601,
        partition="high",
        extra={"comment": comment, "hold": ""},
    )
    (job,) = await slurm.submitted(slurm.prepare("wide", resources=wanted))

    shown = slurm_env.output("squeue", "-h", "-j", job.job_id, "-o", "%D|%C|%m|%l|%P|%k")

    assert shown == f"2|4|64M|1:01:00|high|{comment}"


async def test_a_job_runs_in_the_language_of_the_user(slurm: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("SLURM_TIME_FORMAT", "relative")
    attempt = slurm.prepare("language", 'echo "$LC_ALL $SLURM_TIME_FORMAT"')

    (job,) = await slurm.submitted(attempt)
    await seen(slurm.backend, job)

    assert (attempt.folder / "stdout.log").read_text() == "C.UTF-8 relative\n"


async def test_an_engine_that_is_a_job_itself_submits_jobs_of_their_own(
    slurm: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Slurm sets most variables of a job anew, but not those that belong to options it does not use.
    for name, value in {"JOB_ID": "1", "MEM_PER_CPU": "10", "NTASKS_PER_CORE": "7"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    attempt = slurm.prepare("inner", 'echo "$SLURM_MEM_PER_NODE,$SLURM_MEM_PER_CPU,$SLURM_NTASKS_PER_CORE"')

    (job,) = await slurm.submitted(attempt)
    await seen(slurm.backend, job)

    assert (attempt.folder / "stdout.log").read_text() == "20,,\n"


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("kill -9 $$", "killed by signal 9"),
        ('"$REAL" "$@"; kill -9 $$', "killed by signal 9"),
        ("exit 137", "exit code 137"),
        ("echo 'bash: sbatch: command not found' >&2; exit 127", "command not found"),
        ('"$REAL" "$@" > /dev/null', "without a word"),
        ('"$REAL" "$@"; exit 1', "exit code 1"),
        (
            'echo "sbatch: error: Batch job submission failed: Socket timed out" >&2; exit 1',
            "Socket timed out",
        ),
    ],
)
async def test_a_submission_that_may_have_happened_is_no_refusal(
    slurm: Bench, shims: Shims, script: str, told: str
) -> None:
    attempt = slurm.prepare("unclear", resources=HELD)
    shims.add("sbatch", script)

    report = await slurm.backend.submit([attempt])

    assert (report.accepted, report.refused) == ({}, {})
    assert told in report.unresolved[attempt.token]
    assert len(await slurm.backend.find([attempt])) == ("REAL" in script)


async def test_a_submission_that_a_used_up_limit_holds_back_is_deferred(slurm: Bench, shims: Shims) -> None:
    attempt = slurm.prepare("later", resources=HELD)
    shims.add("sbatch", "echo 'error: QOSMaxSubmitJobPerUserLimit' >&2; exit 1")

    report = await slurm.backend.submit([attempt])

    assert (report.accepted, report.refused, report.unresolved) == ({}, {}, {})
    assert "QOSMaxSubmitJobPerUserLimit" in report.deferred[attempt.token]


@pytest.mark.parametrize("landed", [False, True])
async def test_an_sbatch_that_is_told_to_come_again_is_ended_and_looked_after(
    slurm: Bench, shims: Shims, landed: bool
) -> None:
    attempt = slurm.prepare("crowded", resources=HELD)
    before = '"$REAL" "$@" > /dev/null; ' if landed else ""
    shims.add("sbatch", f"{before}echo 'sbatch: error: {CROWDED}' >&2; sleep 600")

    report = await slurm.backend.submit([attempt])

    assert report.unresolved == report.refused == {}
    assert set(report.accepted) == ({attempt.token} if landed else set())
    assert report.deferred == ({} if landed else {attempt.token: f"sbatch: {CROWDED}"})
    assert set(await slurm.backend.find([attempt])) == set(report.accepted)


async def test_an_sbatch_that_is_told_to_come_again_is_unclear_while_nobody_answers(
    slurm: Bench, shims: Shims
) -> None:
    attempt = slurm.prepare("crowded", resources=HELD)
    shims.add("sbatch", f"echo 'sbatch: error: {CROWDED}' >&2; sleep 600")
    shims.add("squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")

    report = await slurm.backend.submit([attempt])

    assert report.accepted == report.refused == report.deferred == {}
    assert CROWDED in report.unresolved[attempt.token]
    assert "Unable to contact" in report.unresolved[attempt.token]


async def test_an_sbatch_that_hangs_is_given_up_in_time_and_its_job_is_found(
    slurm: Bench, shims: Shims, tmp_path: Path
) -> None:
    attempt = slurm.prepare("slow", resources=HELD)
    shims.add("sbatch", '"$REAL" "$@"; exec sleep 60')
    backend = slurm_backend(tmp_path, command_timeout_s=2)

    report = await backend.submit([attempt])

    assert report.unresolved == {attempt.token: "sbatch gave no answer within 2 s"}
    assert set(await backend.find([attempt])) == {attempt.token}


@pytest.mark.parametrize("text", ["#!/no/such/interpreter\n", "\x7fELF nonsense"])
async def test_a_broken_command_is_told(
    slurm: Bench, shims: Shims, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in ("sbatch", "squeue"):
        shims.add(command)
        (shims.folder / command).write_text(text)
    monkeypatch.setenv("PATH", str(shims.folder))
    attempt = slurm.prepare("never")

    report = await slurm.backend.submit([attempt])

    assert "sbatch" in report.unresolved[attempt.token]
    with pytest.raises(BackendError, match="squeue"):
        await slurm.backend.poll([live(attempt, "1")])


async def test_a_machine_without_slurm_is_told_with_what_to_do(
    slurm: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = slurm.prepare("nowhere")
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(BackendError, match="scontrol: no such command on this machine") as caught:
        await slurm.backend.probe()
    assert "login node" in str(caught.value.hint)
    with pytest.raises(BackendError, match="squeue: no such command on this machine"):
        await slurm.backend.poll([live(attempt, "1")])
    report = await slurm.backend.submit([attempt])
    assert report.unresolved == {attempt.token: "sbatch: no such command on this machine"}


# ---- finding ----


async def test_a_search_waits_for_a_submission_that_is_under_way(slurm: Bench, shims: Shims) -> None:
    attempt = slurm.prepare("late", resources=HELD)
    shims.add("sbatch", 'sleep 0.3; exec "$REAL" "$@"')

    async with trio.open_nursery() as nursery:
        nursery.start_soon(slurm.submitted, attempt)
        await trio.to_thread.run_sync(wait_until, lambda: shims.calls("sbatch") == 1, 10)
        found = await slurm.make().find([attempt])

    assert set(found) == {attempt.token}


async def test_a_search_waits_for_the_sbatch_of_an_engine_that_gave_up(slurm: Bench, shims: Shims) -> None:
    # The wrapper is ended with its engine's submission; the sbatch that it started is not.
    attempt = slurm.prepare("orphan", resources=HELD)
    shims.add("sbatch", '(sleep 0.3; "$REAL" "$@") & wait')

    async with trio.open_nursery() as nursery:
        nursery.start_soon(slurm.backend.submit, [attempt])
        await trio.to_thread.run_sync(wait_until, lambda: shims.calls("sbatch") == 1, 10)
        nursery.cancel_scope.cancel()
    found = await slurm.make().find([attempt])

    assert set(found) == {attempt.token}


async def test_of_two_queued_jobs_of_an_attempt_one_is_kept(slurm: Bench, slurm_env: SlurmCluster) -> None:
    attempt = slurm.prepare("double", "echo worked >> count", resources=HELD)
    (first,) = await slurm.submitted(attempt)
    (second,) = await slurm.submitted(attempt)

    found = await slurm.backend.find([attempt])
    slurm_env.run("scontrol", "release", first.job_id)
    end = await seen(slurm.backend, first)

    assert found == {attempt.token: first.job_id}
    assert end.state is JobState.COMPLETED_OK
    assert _word(slurm_env, second) == "CANCELLED"


async def test_of_two_jobs_of_an_attempt_the_one_that_works_is_kept(
    slurm: Bench, slurm_env: SlurmCluster
) -> None:
    attempt = slurm.prepare("worker", "while [ ! -e go ]; do sleep 0.05; done", resources=HELD)
    (first,) = await slurm.submitted(attempt)
    (second,) = await slurm.submitted(attempt)
    slurm_env.run("scontrol", "release", second.job_id)
    await trio.to_thread.run_sync(wait_until, lambda: read_claim(attempt.folder, None) is not None, 20)

    found = await slurm.backend.find([attempt])
    (attempt.folder / "go").touch()

    assert found == {attempt.token: second.job_id}
    assert (await seen(slurm.backend, second)).state is JobState.COMPLETED_OK
    assert _word(slurm_env, first) == "CANCELLED"


async def test_an_attempt_goes_on_as_long_as_the_job_works_that_claimed_its_folder(
    slurm: Bench, slurm_env: SlurmCluster
) -> None:
    attempt = slurm.prepare("stolen", "while [ ! -e go ]; do sleep 0.05; done; exit 3", resources=HELD)
    (known,) = await slurm.submitted(attempt)
    (second,) = await slurm.submitted(attempt)
    slurm_env.run("scontrol", "release", second.job_id)
    await trio.to_thread.run_sync(wait_until, lambda: read_claim(attempt.folder, None) is not None, 20)
    slurm_env.run("scontrol", "release", known.job_id)
    with trio.fail_after(20):
        while _word(slurm_env, known) != "COMPLETED":
            await trio.lowlevel.checkpoint()

    working = await seen(slurm.backend, known, JobState.RUNNING)
    (attempt.folder / "go").touch()
    end = await seen(slurm.backend, known)

    assert (
        working.reason
        == f"job {second.job_id}, a second one of this attempt, has taken the place of {known.job_id}"
    )
    assert (end.state, end.exit_code) == (JobState.COMPLETED_ERROR, 3)


async def test_with_a_cancelled_attempt_its_second_job_is_ended_too(
    slurm: Bench, slurm_env: SlurmCluster
) -> None:
    attempt = slurm.prepare("both", "sleep 600", resources=HELD)
    (known,) = await slurm.submitted(attempt)
    (second,) = await slurm.submitted(attempt)
    slurm_env.run("scontrol", "release", second.job_id)
    await trio.to_thread.run_sync(wait_until, lambda: read_claim(attempt.folder, None) is not None, 20)

    await slurm.backend.cancel([known])
    await seen(slurm.backend, known, JobState.RUNNING)
    await slurm.backend.cancel([known])
    end = await seen(slurm.backend, known)

    assert end.state is JobState.CANCELLED
    assert [_word(slurm_env, job) for job in (known, second)] == ["CANCELLED"] * 2


async def test_a_job_that_the_controller_has_forgotten_is_found_in_the_accounting(
    slurm: Bench, shims: Shims
) -> None:
    attempt = slurm.prepare("old")
    (job,) = await slurm.submitted(attempt)
    await seen(slurm.backend, job)
    for path in (attempt.folder / "claim" / "job_id", attempt.folder / "exit.json"):
        path.unlink()
    _forget_jobs(shims)

    unknown = slurm.prepare("unknown")
    found = await slurm.backend.find([attempt, unknown])
    with trio.fail_after(10):  # the accounting hears of a job a little later
        while not found:
            found = await slurm.backend.find([attempt, unknown])

    assert found == {attempt.token: job.job_id}


# ---- polling ----


async def test_one_squeue_tells_of_all_jobs(slurm: Bench, shims: Shims) -> None:
    attempts = [slurm.prepare(f"job-{i}") for i in range(20)]
    jobs = await slurm.submitted(*attempts)
    held = await slurm.submitted(slurm.prepare("held", resources=HELD))
    for command in ("squeue", "sacct", "scontrol"):
        shims.add(command)

    polls, ended = 0, set[JobState]()
    with trio.fail_after(PATIENCE_S):
        while jobs:
            polls += 1
            ends = {o.token: o.state for o in await slurm.backend.poll([*jobs, *held])}
            ended |= {state for state in ends.values() if state in ENDED_JOBS}
            jobs = [job for job in jobs if ends.get(job.token) not in ENDED_JOBS]

    assert ended == {JobState.COMPLETED_OK}
    assert shims.calls("squeue") == polls
    assert shims.calls("sacct") == 0, "an exit record tells enough of a job that ended well"


async def test_a_job_waits_then_runs(slurm: Bench, slurm_env: SlurmCluster) -> None:
    attempt = slurm.prepare("steps", "while [ ! -e go ]; do sleep 0.05; done", resources=HELD)
    (job,) = await slurm.submitted(attempt)

    queued = await seen(slurm.backend, job, JobState.QUEUED)
    slurm_env.run("scontrol", "release", job.job_id)
    running = await seen(slurm.backend, job, JobState.RUNNING)
    # What lies there before its command begins is set aside.
    await trio.to_thread.run_sync(wait_until, (attempt.folder / "stdout.log").exists, 20)
    (attempt.folder / "go").touch()
    await seen(slurm.backend, job)

    assert (queued.raw_state, queued.reason) == ("PENDING", "JobHeldUser")
    assert (running.raw_state, running.reason, running.host) == ("RUNNING", "", "n1")


async def test_a_requeued_job_is_queued_again_and_then_works_again(
    slurm: Bench, slurm_env: SlurmCluster
) -> None:
    attempt = slurm.prepare("again", "echo try >> tries; while [ ! -e go ]; do sleep 0.05; done")
    (job,) = await slurm.submitted(attempt)
    await trio.to_thread.run_sync(wait_until, (attempt.folder / "tries").exists, 20)

    slurm_env.run("scontrol", "requeuehold", job.job_id)
    requeued = await seen(slurm.backend, job, JobState.QUEUED)
    (attempt.folder / "go").touch()
    with trio.fail_after(20):
        while slurm_env.output("squeue", "-h", "-j", job.job_id, "-o", "%T") != "PENDING":
            await trio.lowlevel.checkpoint()
    # Its old credential counts as revoked until the second in which that was done is over.
    slurm_env.run("scontrol", "update", f"jobid={job.job_id}", "starttime=now+2")
    slurm_env.run("scontrol", "release", job.job_id)
    end = await seen(slurm.backend, job)

    assert requeued.state is JobState.QUEUED
    assert end.state is JobState.COMPLETED_OK
    assert (attempt.folder / "tries").read_text() == "try\n" * 2


async def test_what_hides_jobs_from_squeue_is_kept_from_it(
    slurm: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "SQUEUE_PARTITION": "high",
        "SQUEUE_STATES": "RUNNING",
        "SQUEUE_NAMES": "other",
        "SQUEUE_FORMAT": "%N",
        "SQUEUE_USERS": "nobody",
        "SCANCEL_PARTITION": "high",
    }.items():
        monkeypatch.setenv(name, value)
    attempt = slurm.prepare("hidden", resources=HELD)
    (job,) = await slurm.submitted(attempt)

    assert await slurm.backend.find([attempt]) == {attempt.token: job.job_id}
    (waiting,) = await slurm.backend.poll([job])
    assert waiting.state is JobState.QUEUED
    await slurm.backend.cancel([job])
    assert (await seen(slurm.backend, job)).state is JobState.CANCELLED


async def test_the_banner_of_a_wrapper_is_no_trouble(slurm: Bench, shims: Shims) -> None:
    banner = (
        'echo "*** Welcome | to | the | cluster | 7 ***"; "$REAL" "$@"; code=$?; echo "12 jobs"; exit $code'
    )
    for command in ("sbatch", "squeue", "sacct", "scancel"):
        shims.add(command, banner)
    attempt = slurm.prepare("banner")

    (job,) = await slurm.submitted(attempt)

    assert (await seen(slurm.backend, job)).state is JobState.COMPLETED_OK
    assert await slurm.backend.find([attempt]) == {attempt.token: job.job_id}


@pytest.mark.parametrize(
    "script",
    [
        "true",
        "echo 'slurm_load_jobs error: try again later'",
        '"$REAL" "$@" | head -c 40',
        "head -c 300 /dev/urandom",
    ],
    ids=["nothing", "a word", "half a table", "garbage"],
)
async def test_an_answer_that_is_no_whole_table_changes_no_state(
    slurm: Bench, shims: Shims, script: str
) -> None:
    attempt = slurm.prepare("doubt", resources=HELD)
    (job,) = await slurm.submitted(attempt)
    shims.add("squeue", script)

    for _ in range(3):
        with pytest.raises(BackendError, match="squeue printed no whole table"):
            await slurm.backend.poll([job])
        with pytest.raises(BackendError, match="squeue printed no whole table"):
            await slurm.backend.find([attempt])


async def test_a_state_that_is_unknown_is_followed_with_one_warning(
    slurm: Bench, shims: Shims, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = await slurm.submitted(*(slurm.prepare(f"warped-{i}", resources=HELD) for i in range(2)))
    shims.add("squeue", '"$REAL" "$@" | sed "s/PENDING/WARPED/"')

    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            await slurm.backend.poll(jobs)
        observed = await slurm.backend.poll(jobs)

    assert [(o.state, o.raw_state) for o in observed] == [(JobState.RUNNING, "WARPED")] * 2
    assert "WARPED" in observed[0].reason
    assert [record.message for record in caplog.records] == [
        "cluster: unknown job state 'WARPED': such jobs are followed"
    ]


# ---- endings ----


async def test_a_job_is_lost_only_after_a_second_answer_and_the_grace_period(
    slurm: Bench, tmp_path: Path
) -> None:
    job = live(slurm.prepare("lost"), slurm.absent)
    patient = slurm_backend(tmp_path, grace_period_s=3600)
    hasty = slurm_backend(tmp_path, grace_period_s=0)

    assert [await hasty.poll([job]), await patient.poll([job]), await patient.poll([job])] == [[], [], []]
    (end,) = await hasty.poll([job])

    assert end.state is JobState.LOST


async def test_a_record_that_comes_late_over_the_network_still_counts(slurm: Bench, tmp_path: Path) -> None:
    attempt = slurm.prepare("late")
    (job,) = await slurm.submitted(attempt)
    await seen(slurm.backend, job)
    record = (attempt.folder / "exit.json").rename(tmp_path / "on-its-way")
    patient = slurm_backend(tmp_path, grace_period_s=3600)

    before = [await patient.poll([job]) for _ in range(3)]
    record.rename(attempt.folder / "exit.json")
    (end,) = await patient.poll([job])

    assert before == [[], [], []]
    assert end.state is JobState.COMPLETED_OK


async def test_a_record_that_never_comes_is_asked_after(slurm: Bench) -> None:
    attempt = slurm.prepare("mute", "rm -rf claim; chmod a-w .; mkdir .exit.json.part")
    (job,) = await slurm.submitted(attempt)

    end = await seen(slurm.backend, job)

    assert (end.state, end.raw_state) == (JobState.COMPLETED_ERROR, "COMPLETED")
    assert "without an exit record: do the compute nodes see this folder" in end.reason


async def test_a_job_that_cannot_enter_its_folder_says_where_to_look(
    slurm: Bench, slurm_env: SlurmCluster
) -> None:
    # As one of 0.2.0, or one that a person may submit: with a nonce, what lies there would be set aside.
    attempt = attrs.evolve(slurm.prepare("closed", resources=HELD), nonce="")
    (attempt.folder / "job.sh").write_text(slurm.backend.script(attempt))
    (attempt.folder / "claim").write_text("a file where a folder should be")
    (job,) = await slurm.submitted(attempt)
    slurm_env.run("scontrol", "release", job.job_id)

    end = await seen(slurm.backend, job)

    assert (end.state, end.raw_state) == (JobState.COMPLETED_ERROR, "FAILED")
    assert f"see {attempt.folder / 'scheduler.log'}" in end.reason
    assert "does no work: it cannot claim" in (attempt.folder / "scheduler.log").read_text()


async def test_the_accounting_tells_why_a_job_failed_that_the_controller_has_forgotten(
    slurm: Bench, shims: Shims
) -> None:
    attempt = slurm.prepare("killed", "kill -9 $PPID; sleep 60")
    fails = slurm.prepare("fails", "exit 5")
    jobs = await slurm.submitted(attempt, fails)
    await all_seen(slurm.backend, jobs)
    _forget_jobs(shims)
    shims.add("sacct")

    ends = await all_seen(slurm.make(), jobs)

    assert (ends[attempt.token].state, ends[attempt.token].exit_code) == (JobState.COMPLETED_ERROR, 137)
    assert (ends[fails.token].raw_state, ends[fails.token].exit_code) == ("FAILED", 5)
    assert shims.calls("sacct") <= 2


# ---- outages ----


async def test_while_the_controller_is_down_nothing_is_concluded(
    slurm: Bench, slurm_env: SlurmCluster
) -> None:
    attempt = slurm.prepare("patient", resources=HELD)
    late = slurm.prepare("late")
    (job,) = await slurm.submitted(attempt)
    forgotten = live(slurm.prepare("forgotten"), slurm.absent)
    write_record(forgotten, 0)
    slurm_env.run("scontrol", "shutdown", "slurmctld")  # in order: a killed one forgets its newest jobs
    wait_until(lambda: slurm_env.status().daemons["slurmctld"] is None, 10)
    reports: list[SubmitReport] = []

    async def submit() -> None:
        reports.append(await slurm.backend.submit([late]))

    async def ask(question: Callable[[Sequence[LiveJob]], Awaitable[object]]) -> None:
        with pytest.raises(BackendError, match="Unable to contact slurm controller"):
            await question([job, forgotten])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(submit)
        nursery.start_soon(ask, slurm.backend.poll)
        nursery.start_soon(ask, slurm.backend.cancel)
    slurm_env.start_controller()

    (report,) = reports
    assert (report.accepted, report.refused) == ({}, {})
    assert "Unable to contact slurm controller" in report.unresolved[late.token]
    assert await slurm.backend.find([attempt, late]) == {attempt.token: job.job_id}
    (waiting,) = await slurm.backend.poll([job])
    assert waiting.state is JobState.QUEUED


async def test_a_controller_that_hangs_is_given_up_in_time(
    slurm: Bench, slurm_env: SlurmCluster, tmp_path: Path
) -> None:
    attempt = slurm.prepare("hung", resources=HELD)
    (job,) = await slurm.submitted(attempt)
    backend = slurm_backend(tmp_path, command_timeout_s=0.5)
    slurm_env.stop_controller_answering()

    for question in (backend.poll, backend.cancel):
        began = trio.current_time()
        with pytest.raises(BackendError, match=r"gave no answer within 0\.5 s"):
            await question([job])
        assert trio.current_time() - began < 4
    report = await backend.submit([slurm.prepare("late")])
    assert list(report.unresolved.values()) == ["sbatch gave no answer within 0.5 s"]
    slurm_env.continue_controller()

    assert (await seen(slurm.backend, job, JobState.QUEUED, JobState.CANCELLED)).token == job.token


async def test_an_outage_of_the_accounting_stops_only_what_needs_it(
    slurm: Bench, slurm_env: SlurmCluster, caplog: pytest.LogCaptureFixture
) -> None:
    unknown = live(slurm.prepare("unknown"), slurm.absent)
    failed = live(slurm.prepare("failed"), "999998")
    write_record(failed, 3)
    (job,) = await slurm.submitted(slurm.prepare("goes-on"))
    slurm_env.kill_accounting()

    ends = await all_seen(slurm.backend, [job])
    rest = [await slurm.backend.poll([unknown, failed]) for _ in range(4)]
    slurm_env.start_accounting()
    later = await all_seen(slurm.backend, [unknown, failed])

    assert ends[job.token].state is JobState.COMPLETED_OK
    assert rest == [[], [], [], []], "what is not known is not decided"
    assert later[unknown.token].state is JobState.LOST
    assert (later[failed.token].state, later[failed.token].exit_code) == (JobState.COMPLETED_ERROR, 3)
    told = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert [("does not answer" in text, "answers again" in text) for text in told] == [
        (True, False),
        (False, True),
    ]


async def test_a_claim_by_no_job_of_slurm_is_not_followed(slurm: Bench) -> None:
    attempt = slurm.prepare("stranger")
    write_claim(live(attempt, "1"), by="4711.99.0a1b2c3d")

    assert await slurm.backend.find([attempt]) == {}


async def test_an_id_that_is_none_does_not_keep_others_from_being_followed(slurm: Bench) -> None:
    strange = live(slurm.prepare("strange"), "4711.99.0a1b2c3d")
    lost = live(slurm.prepare("lost"), slurm.absent)

    ends = await all_seen(slurm.backend, [strange, lost])

    assert {end.state for end in ends.values()} == {JobState.LOST}


# ---- helpers ----


def _word(cluster: SlurmCluster, job: LiveJob) -> str:
    """The state of a job, in Slurm's word."""
    return cluster.output("squeue", "--noheader", "--states=all", f"--jobs={job.job_id}", "--format=%T")


def _forget_jobs(shims: Shims) -> None:
    """As after MinJobAge: squeue answers, and knows of no job."""
    shims.add("squeue", '"$REAL" "$@" | head -n 1')
