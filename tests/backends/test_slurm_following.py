"""When a job counts as ended, and whose job it is that Slurm speaks of: no state changes on a doubt."""

from __future__ import annotations

import logging
from pathlib import Path

import attrs
import pytest
import trio

from matterstack.backends.base import Backend, LiveJob
from matterstack.backends.contract.bench import live, write_claim, write_record
from matterstack.core.ids import JobId
from matterstack.core.run.messages import Observed
from matterstack.core.states import JobState
from tests.backends.fake_slurm import FakeSlurm, accounted, queued, token
from tests.support.engine import on_virtual_clock

A = token("a")
HOUR_S = 3600.0


@pytest.fixture
def fake(tmp_path: Path) -> FakeSlurm:
    """A Slurm that answers, and knows of nothing."""
    return FakeSlurm(tmp_path)


async def _first_end(backend: Backend, job: LiveJob, within_s: float) -> tuple[float, Observed | None]:
    """Poll every 10 s; when the first observation came, and what it was."""
    began = trio.current_time()
    while trio.current_time() - began <= within_s:
        for observed in await backend.poll([job]):
            return trio.current_time() - began, observed
        await trio.sleep(10)
    return within_s, None


def _as(job: LiveJob, job_id: str) -> LiveJob:
    return attrs.evolve(job, job_id=JobId(job_id))


# ---- jobs that nobody knows ----


@on_virtual_clock
async def test_a_job_is_lost_when_both_answered_without_it_twice_and_the_grace_period_is_over(
    fake: FakeSlurm,
) -> None:
    after_s, end = await _first_end(fake.backend(), fake.job(), HOUR_S)

    assert end is not None
    assert (after_s, end.state) == (30, JobState.LOST)


@on_virtual_clock
async def test_one_answer_without_a_job_is_never_enough(fake: FakeSlurm) -> None:
    backend, job = fake.backend(grace_period_s=0.0), fake.job()

    first, second = await backend.poll([job]), await backend.poll([job])

    assert (first, [end.state for end in second]) == ([], [JobState.LOST])


@on_virtual_clock
@pytest.mark.parametrize(("recorded", "exit_code"), [("0:0", None), ("0:15", 143), ("7:0", 7)])
async def test_a_job_that_was_ended_has_no_exit_code_of_a_job_that_ended_well(
    fake: FakeSlurm, recorded: str, exit_code: int | None
) -> None:
    fake.sacct = accounted("7", "TIMEOUT", A, recorded)

    (end,) = await fake.backend().poll([fake.job()])

    assert (end.state, end.raw_state, end.exit_code) == (JobState.COMPLETED_ERROR, "TIMEOUT", exit_code)


@on_virtual_clock
async def test_while_the_accounting_is_silent_a_missing_job_is_not_concluded(fake: FakeSlurm) -> None:
    backend, job = fake.backend(), fake.job()
    assert await backend.poll([job]) == []
    fake.sacct = None

    assert (await _first_end(backend, job, 5 * HOUR_S))[1] is None

    fake.sacct = ""
    (end,) = await backend.poll([job])
    assert end.state is JobState.LOST, "the first answer without the job still counts"


@on_virtual_clock
async def test_a_missing_job_that_the_accounting_has_as_running_is_not_concluded(fake: FakeSlurm) -> None:
    # Its records come late: the controller tells it of starts and ends when it finds the time.
    backend, job = fake.backend(), fake.job()
    fake.sacct = accounted("7", "RUNNING", A)
    write_claim(job)

    assert (await _first_end(backend, job, HOUR_S - 20))[1] is None

    fake.sacct = accounted("7", "TIMEOUT", A, "0:15")
    (end,) = await backend.poll([job])
    assert (end.state, end.raw_state) == (JobState.COMPLETED_ERROR, "TIMEOUT")


@on_virtual_clock
@pytest.mark.parametrize("word", ["RUNNING", "PENDING", "SUSPENDED", "REQUEUED", "WARPED"])
async def test_a_record_that_stays_alive_for_ever_is_given_up_after_the_time_that_is_configured(
    fake: FakeSlurm, word: str
) -> None:
    backend, job = fake.backend(runaway_after_s=7200.0), fake.job()
    fake.sacct = accounted("7", word, A)

    after_s, end = await _first_end(backend, job, 5 * HOUR_S)

    assert end is not None
    assert (after_s, end.state, end.raw_state) == (7200, JobState.COMPLETED_ERROR, "UNKNOWN")
    assert f"the accounting has it as {word} all the same" in end.reason
    assert "sacctmgr show runawayjobs" in end.reason


@on_virtual_clock
async def test_the_grace_period_begins_when_the_accounting_has_dropped_its_record(fake: FakeSlurm) -> None:
    backend, job = fake.backend(), fake.job()
    fake.sacct = accounted("7", "PENDING", A)
    await _first_end(backend, job, HOUR_S / 2)
    fake.sacct = ""

    after_s, end = await _first_end(backend, job, HOUR_S)

    assert end is not None
    assert (after_s, end.state) == (30, JobState.LOST)


@on_virtual_clock
async def test_a_job_that_comes_back_was_never_gone(fake: FakeSlurm) -> None:
    backend, job = fake.backend(), fake.job()
    assert await backend.poll([job]) == []
    await trio.sleep(20)
    fake.squeue = queued("7", "RUNNING", A)
    (back,) = await backend.poll([job])
    fake.squeue = ""
    await trio.sleep(20)

    after_s, end = await _first_end(backend, job, HOUR_S)

    assert end is not None
    assert (back.state, after_s, end.state) == (JobState.RUNNING, 30, JobState.LOST)


@on_virtual_clock
async def test_a_job_that_was_cancelled_here_is_not_waited_for_like_a_runaway(fake: FakeSlurm) -> None:
    backend, job = fake.backend(), fake.job()
    fake.sacct = accounted("7", "RUNNING", A)
    await backend.cancel([job])

    after_s, end = await _first_end(backend, job, HOUR_S)

    assert end is not None
    assert (after_s, end.state) == (30, JobState.CANCELLED)


@on_virtual_clock
async def test_without_accounting_the_controller_alone_is_asked(fake: FakeSlurm) -> None:
    fake.has_accounting, fake.sacct = False, None

    after_s, end = await _first_end(fake.backend(), fake.job(), HOUR_S)

    assert end is not None
    assert (after_s, end.state) == (30, JobState.LOST)


# ---- jobs that go on ----


@on_virtual_clock
@pytest.mark.parametrize("first", ["NODE_FAIL", "PREEMPTED", "REQUEUED", "CANCELLED by 0", "COMPLETED"])
async def test_of_a_requeued_job_the_newest_record_counts(fake: FakeSlurm, first: str) -> None:
    job = fake.job()
    fake.sacct = accounted("7", first, A) + accounted("7", "PENDING", A)

    assert (await _first_end(fake.backend(), job, HOUR_S - 20))[1] is None


@on_virtual_clock
@pytest.mark.parametrize(
    "state", ["REVOKED", "SPECIAL_EXIT", "REQUEUED", "REQUEUE_HOLD", "STAGE_OUT", "CG", "WARPED"]
)
async def test_what_is_no_end_is_followed_for_ever(fake: FakeSlurm, state: str) -> None:
    backend, job = fake.backend(), fake.job()
    fake.squeue = queued("7", state, A)

    for _ in range(5):
        (observed,) = await backend.poll([job])
        assert observed.state in {JobState.QUEUED, JobState.RUNNING}
        await trio.sleep(10 * HOUR_S)


@on_virtual_clock
async def test_a_word_that_is_unknown_is_warned_of_once(
    fake: FakeSlurm, caplog: pytest.LogCaptureFixture
) -> None:
    backend, job = fake.backend(), fake.job()
    fake.squeue = queued("7", "WARPED", A)

    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            await backend.poll([job])

    assert [record.levelname for record in caplog.records if "'WARPED'" in record.message] == ["WARNING"]


@on_virtual_clock
@pytest.mark.parametrize("order", [1, -1])
async def test_of_two_lines_of_one_element_the_living_one_counts(fake: FakeSlurm, order: int) -> None:
    job = fake.job("12_3", batch=A)
    fake.squeue = "".join([queued("12_3", "PENDING", A), queued("12_3", "NODE_FAIL", A)][::order])

    (observed,) = await fake.backend().poll([job])

    assert observed.state is JobState.QUEUED


@on_virtual_clock
async def test_the_rest_of_a_cancelled_array_speaks_only_of_elements_that_never_started(
    fake: FakeSlurm,
) -> None:
    never, worked = fake.job("12_3", "a", batch=A), fake.job("12_4", "b", batch=A)
    write_claim(worked)
    fake.squeue = queued("12", "CANCELLED", A)
    fake.sacct = accounted("12", "CANCELLED by 0", A)
    backend = fake.backend()

    ends = await backend.poll([never, worked])
    assert [(end.token, end.state) for end in ends] == [(never.token, JobState.CANCELLED)]

    fake.sacct += accounted("12_4", "TIMEOUT", A, "0:15")
    (end,) = await backend.poll([worked])
    assert end.raw_state == "TIMEOUT"


# ---- whose job it is ----


@on_virtual_clock
async def test_an_id_that_was_given_again_is_not_taken_for_the_lost_job(fake: FakeSlurm) -> None:
    # A controller that is killed forgets its newest jobs, and gives their ids to the next ones.
    backend, lost, newer = fake.backend(), fake.job("7", "a"), fake.job("7", "b")
    fake.squeue = queued("7", "RUNNING", token("b"))

    states = [{o.token: o.state for o in await backend.poll([lost, newer])}]
    await trio.sleep(40)
    states.append({o.token: o.state for o in await backend.poll([lost, newer])})

    assert states == [
        {newer.token: JobState.RUNNING},
        {lost.token: JobState.LOST, newer.token: JobState.RUNNING},
    ]


@on_virtual_clock
async def test_the_record_of_an_attempt_that_had_the_same_id_is_not_the_jobs(
    fake: FakeSlurm,
) -> None:
    fake.sacct = accounted("7", "FAILED", token("b"), "3:0")

    _, end = await _first_end(fake.backend(), fake.job(), HOUR_S)

    assert end is not None
    assert (end.state, end.exit_code) == (JobState.LOST, None)


@on_virtual_clock
@pytest.mark.parametrize("name", ["renamed", "", "ms-short", "a|b\x0b", "ms-" + "1" * 20])
async def test_a_job_that_was_renamed_is_still_followed(fake: FakeSlurm, name: str) -> None:
    job = fake.job()
    fake.squeue = queued("7", "RUNNING", name)

    (observed,) = await fake.backend().poll([job])

    assert observed.state is JobState.RUNNING


@on_virtual_clock
async def test_an_element_is_followed_under_the_name_of_its_array(fake: FakeSlurm) -> None:
    known, unknown = fake.job("12_1", "b", batch=A), fake.job("12_2", "c")
    fake.squeue = queued("12_1", "RUNNING", A) + queued("12_2", "RUNNING", A)

    assert len(await fake.backend().poll([known, unknown])) == 2


@on_virtual_clock
async def test_parts_of_heterogeneous_jobs_are_not_taken_for_a_job(fake: FakeSlurm) -> None:
    fake.squeue = "".join(queued(job_id, "COMPLETED", "x") for job_id in ("7+0", "7+1", "7.batch", "7_[1-3]"))

    assert await fake.backend().poll([fake.job()]) == []


# ---- second jobs of an attempt ----


@on_virtual_clock
async def test_the_job_that_claimed_the_folder_is_followed_in_place_of_the_one_that_gave_way(
    fake: FakeSlurm,
) -> None:
    backend, job = fake.backend(), fake.job("7")
    write_claim(job, by="5")
    fake.squeue = queued("7", "COMPLETED", A) + queued("5", "RUNNING", A)

    (working,) = await backend.poll([job])
    assert (working.state, working.raw_state) == (JobState.RUNNING, "RUNNING")
    assert working.reason == "job 5, a second one of this attempt, has taken the place of 7"

    write_record(_as(job, "5"), 0)
    fake.squeue = queued("7", "COMPLETED", A)
    (end,) = await backend.poll([job])
    assert (end.state, end.exit_code) == (JobState.COMPLETED_OK, 0)


@on_virtual_clock
async def test_a_claimant_that_left_no_record_ends_the_attempt_as_slurm_says(fake: FakeSlurm) -> None:
    backend, job = fake.backend(), fake.job("7")
    write_claim(job, by="5")
    fake.squeue = queued("7", "COMPLETED", A)
    fake.sacct = accounted("7", "COMPLETED", A) + accounted("5", "TIMEOUT", A, "0:15")

    (end,) = await backend.poll([job])

    assert (end.state, end.raw_state, end.exit_code) == (JobState.COMPLETED_ERROR, "TIMEOUT", 143)


@on_virtual_clock
async def test_a_claimant_of_which_nothing_is_known_is_waited_for_and_then_named(fake: FakeSlurm) -> None:
    job = fake.job("7")
    write_claim(job, by="5")
    fake.squeue = queued("7", "COMPLETED", A)

    after_s, end = await _first_end(fake.backend(), job, HOUR_S)

    assert end is not None
    assert (after_s, end.state, end.raw_state) == (30, JobState.COMPLETED_ERROR, "UNKNOWN")
    assert "its job 7 found the folder claimed by another job, and did no work" in end.reason
    assert "that one, 5, ended without recording how" in end.reason


@on_virtual_clock
async def test_with_an_attempt_its_second_job_is_cancelled(fake: FakeSlurm) -> None:
    backend, job = fake.backend(), fake.job("7")
    write_claim(job, by="5")
    fake.squeue = queued("7", "COMPLETED", A) + queued("5", "RUNNING", A)
    await backend.poll([job])

    await backend.cancel([job])
    fake.squeue = queued("7", "COMPLETED", A) + queued("5", "CANCELLED", A)
    (end,) = await backend.poll([job])

    assert fake.ended == ["7", "5"]
    assert end.state is JobState.CANCELLED


@on_virtual_clock
async def test_a_second_job_that_still_waits_is_followed_when_the_own_one_is_gone(fake: FakeSlurm) -> None:
    # Else a cancelled run would leave it behind, and it would work.
    backend, job = fake.backend(), fake.job("7")
    fake.squeue = queued("7", "CANCELLED", A) + queued("9", "PENDING", A, "Priority")

    (waiting,) = await backend.poll([job])
    await backend.cancel([job])

    assert (waiting.state, fake.ended) == (JobState.QUEUED, ["7", "9"])
    assert waiting.reason == "job 9, a second one of this attempt, has taken the place of 7: Priority"


@on_virtual_clock
async def test_another_element_of_the_array_is_no_second_job(fake: FakeSlurm) -> None:
    job = fake.job("12_3", batch=A)
    fake.squeue = queued("12_3", "CANCELLED", A) + queued("12_4", "RUNNING", A)

    (end,) = await fake.backend().poll([job])

    assert end.state is JobState.CANCELLED


@on_virtual_clock
async def test_a_claim_by_another_element_of_the_array_is_not_followed(fake: FakeSlurm) -> None:
    job = fake.job("12_3", batch=A)
    write_claim(job, by="12_4")
    fake.squeue = queued("12_3", "COMPLETED", A) + queued("12_4", "RUNNING", A)

    _, end = await _first_end(fake.backend(), job, HOUR_S)

    assert end is not None
    assert end.state is JobState.COMPLETED_ERROR


@on_virtual_clock
@pytest.mark.parametrize("claimant", ["5", "7_1", "4711.99.0a1b2c3d", "../8"])
async def test_a_claim_that_names_a_strangers_job_makes_nothing_of_that_job(
    fake: FakeSlurm, claimant: str
) -> None:
    backend, job = fake.backend(), fake.job("7")
    write_claim(job, by=claimant)
    fake.squeue = queued("7", "COMPLETED", A) + queued(claimant, "RUNNING", token("b"))

    _, end = await _first_end(backend, job, HOUR_S)
    await backend.cancel([job])

    assert end is not None
    assert end.state is JobState.COMPLETED_ERROR
    assert "claimed by another job, and did no work" in end.reason
    assert fake.ended == ["7"]


@on_virtual_clock
async def test_the_own_record_counts_whatever_the_claim_says(fake: FakeSlurm) -> None:
    job = fake.job("7")
    write_claim(job, by="5")
    write_record(job, 0)
    fake.squeue = queued("7", "COMPLETED", A) + queued("5", "RUNNING", A)

    (end,) = await fake.backend().poll([job])

    assert end.state is JobState.COMPLETED_OK


# ---- looking for jobs ----


@on_virtual_clock
async def test_a_second_job_that_claims_while_it_is_being_ended_is_the_one_that_counts(
    fake: FakeSlurm,
) -> None:
    attempt = fake.attempt()
    job = live(attempt, "5")
    fake.squeue = queued("5", "PENDING", A) + queued("7", "PENDING", A)
    fake.on_scancel = lambda: write_claim(job, by="7")

    found = await fake.backend().find([attempt])

    assert (found, fake.ended) == ({attempt.token: "7"}, ["7"])


@on_virtual_clock
@pytest.mark.parametrize(("first", "second", "kept"), [
    ("PENDING", "PENDING", "5"), ("PENDING", "RUNNING", "7"), ("RUNNING", "RUNNING", "5"),
    ("CANCELLED", "PENDING", "7"), ("COMPLETED", "FAILED", "5"), ("CANCELLED", "RUNNING", "7"),
])  # fmt: skip
async def test_of_two_jobs_the_one_is_kept_that_is_most_likely_to_work(
    fake: FakeSlurm, first: str, second: str, kept: str
) -> None:
    attempt = fake.attempt()
    fake.squeue = queued("5", first, A) + queued("7", second, A)

    assert await fake.backend().find([attempt]) == {attempt.token: kept}


# ---- claims that are looked at in a search ----


@on_virtual_clock
async def test_a_claim_that_names_another_attempts_job_is_not_believed(
    fake: FakeSlurm, caplog: pytest.LogCaptureFixture
) -> None:
    attempt = fake.attempt("a")
    write_claim(live(attempt, "7"))
    fake.squeue = queued("7", "RUNNING", token("b")) + queued("9", "PENDING", A)

    with caplog.at_level(logging.WARNING):
        found = await fake.backend().find([attempt])

    assert (found, fake.ended) == ({attempt.token: "9"}, [])
    assert f"names job 7, which is not its own but {token('b')}" in caplog.text


@on_virtual_clock
async def test_a_claim_that_names_another_element_of_the_array_is_not_believed(fake: FakeSlurm) -> None:
    attempt = fake.attempt("a", batch=A, index=4)
    write_claim(live(attempt, "12_3"))
    fake.squeue = queued("12_3", "RUNNING", A) + queued("12_4", "PENDING", A)

    assert await fake.backend().find([attempt]) == {attempt.token: "12_4"}


@on_virtual_clock
@pytest.mark.parametrize("name", ["job.sh", "renamed"])
async def test_a_claim_by_a_job_that_somebody_submitted_by_hand_is_believed(
    fake: FakeSlurm, name: str
) -> None:
    attempt = fake.attempt("a")
    write_claim(live(attempt, "7"))
    fake.squeue = queued("7", "RUNNING", name)

    assert await fake.backend().find([attempt]) == {attempt.token: "7"}


@on_virtual_clock
async def test_a_claim_with_an_exit_record_is_believed_although_its_id_was_given_again(
    fake: FakeSlurm,
) -> None:
    attempt = fake.attempt("a")
    write_claim(live(attempt, "7"))
    write_record(live(attempt, "7"), 3)
    fake.squeue = queued("7", "RUNNING", token("b"))

    assert await fake.backend().find([attempt]) == {attempt.token: "7"}


@on_virtual_clock
async def test_a_cancel_spares_the_job_that_was_given_the_id_of_a_lost_one(fake: FakeSlurm) -> None:
    backend, lost, own = fake.backend(), fake.job("7", "a"), fake.job("8", "c")
    fake.squeue = queued("7", "RUNNING", token("b")) + queued("8", "RUNNING", token("c"))
    await backend.poll([lost, own])

    await backend.cancel([lost, own])
    (end,) = [o for o in await backend.poll([lost, own]) if o.token == lost.token]

    assert fake.ended == ["8"]
    assert end.state is JobState.CANCELLED
