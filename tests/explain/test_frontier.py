"""One stall per cause: it is named, with since when, what waits for it, and what to do."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from matterstack.core.ids import JobId, TaskId, UtcTime
from matterstack.core.run.facts import AlikeFailures
from matterstack.core.scheduler_words import JobSight
from matterstack.core.states import JobState, Phase, RunStatus, TaskStatus
from matterstack.explain.causes import Cause, Kind, Need
from matterstack.explain.frontier import MOST_ALIKE, get_run_frontier
from matterstack.explain.situation import Condition, EngineView, Health, OpenCommand, TaskView
from tests.support.situations import (
    ALIVE,
    DEAD,
    NOBODY,
    NOW,
    OTHER,
    RUN,
    SLURM,
    at,
    attempt,
    backend,
    causes,
    failed,
    job,
    running,
    seats,
    situation,
    task,
)


def only(found: tuple[Cause, ...]) -> Cause:
    (cause,) = found
    return cause


def kinds(found: tuple[Cause, ...]) -> list[str]:
    return [cause.kind.value for cause in found]


def ill(**fields: Any) -> dict[str, Any]:
    """A context in which the cluster is not well, and has two jobs of the run."""
    return {"backends": {SLURM: backend(seats(2), health=Health(**fields))}}


# ---- the run and its surroundings ----


def test_a_pause_names_who_and_why_and_holds_up_all_that_would_be_submitted() -> None:
    tasks = [task("a", attempt=running("1")), task("b"), task("c", "a")]
    paused = {
        "status": RunStatus.PAUSED,
        "status_reason": "paused by ann: lunch",
        "since": at("11:15"),
    }

    pause, job = causes(*tasks, run=paused)

    assert (pause.kind, pause.need, pause.since, pause.blocks) == ("paused", Need.PERSON, at("11:15"), 2)
    assert pause.message == "the run is paused by ann: lunch; 1 job of it is followed meanwhile"
    assert pause.action == f"matterstack run resume {RUN}"
    assert (job.kind, job.blocks) == ("job_running", 2)


def held_for(count: int, *tasks: str) -> dict[str, Any]:
    names = tuple(map(TaskId, tasks))
    return {"status": RunStatus.PAUSED, "held": AlikeFailures(common="exit code 3", tasks=names, count=count)}


def at_once(name: str, exit_code: int = 3, **fields: Any) -> TaskView:
    """A task whose job failed as soon as it had started."""
    end = {"started_at": at("11:30"), "ended_at": at("11:30"), **fields}
    ended = job("7", JobState.COMPLETED_ERROR, "FAILED", exit_code=exit_code, **end)
    return failed(name, f"its job ended with exit code {exit_code}", attempt=ended)


def test_a_hold_is_one_cause_with_the_failures_that_it_is_for() -> None:
    alike = [at_once(f"t{n:02}") for n in range(12)]
    tasks = [*alike, task("waits"), task("behind", "t00")]

    hold = only(causes(*tasks, run=held_for(12, "t00", "t01", "t02", "t03")))

    assert (hold.kind, hold.need, hold.blocks) == (Kind.HELD, Need.PERSON, 2)
    assert "since 12 tasks (t00, t01, t02 and 9 more) failed alike within" in hold.message
    assert hold.action.splitlines()[-2:] == [
        f"matterstack run retry {RUN}",
        f"matterstack run resume {RUN}",
    ]


def test_a_hold_retries_no_other_failures_and_they_are_causes_of_their_own() -> None:
    tasks = [
        *(at_once(f"t{n}") for n in range(3)),
        at_once("other", exit_code=4),
        at_once("late", ended_at=at("11:40")),
        task("waits"),
    ]

    hold, *others = causes(*tasks, run=held_for(3, "t0", "t1", "t2"))

    assert hold.action.splitlines()[-2] == f"matterstack run retry {RUN} t0 t1 t2"
    assert sorted(cause.tasks for cause in others) == [("late",), ("other",)]


def test_when_what_failed_was_retried_a_hold_only_has_to_be_let_go() -> None:
    hold = only(causes(task("t0"), task("waits"), run=held_for(12, "t0")))

    assert hold.action.splitlines()[-1] == f"matterstack run resume {RUN}"
    assert "run retry" not in hold.action


def test_a_hold_for_files_that_are_missing_is_ended_by_a_new_plan_that_tries_them_again() -> None:
    reason = "files: 'x.in' cannot be copied from x.in: No such file or directory"
    ended = attempt(state=JobState.COMPLETED_ERROR, ended_at=at("11:30"))
    tasks = [failed(f"t{n}", reason, attempt=ended) for n in range(3)]
    held = {**held_for(3, "t0", "t1", "t2"), "workspace": "w"}
    held["held"] = attrs.evolve(held["held"], common=reason)

    hold = only(causes(*tasks, task("waits"), run=held))

    assert [line for line in hold.action.splitlines() if not line.startswith("#")] == [
        f"matterstack run replan {RUN}",
        f"matterstack run resume {RUN}",
    ]


def test_without_an_engine_every_unfinished_task_waits_for_one() -> None:
    tasks = [task("a", attempt=running("1")), task("b"), task("c", "a")]

    missing, job = causes(*tasks, engine=DEAD)

    assert (missing.kind, missing.need, missing.since, missing.blocks) == (
        "no_engine", Need.PERSON, at("11:50"), 3,
    )  # fmt: skip
    assert "the last one (process 811 on node7) has died; 1 job of it may still be at work" in missing.message
    assert missing.action == f"matterstack run loop {RUN}"
    assert "as an engine last saw" in job.message


def test_a_run_that_was_never_served_says_so() -> None:
    cause = only(causes(run={"status": RunStatus.PENDING, "phase": Phase.PLANNING}, engine=NOBODY))

    assert cause.message == "no engine serves the run; it has not begun"
    assert cause.blocks == 0


def test_an_engine_that_was_stopped_by_a_signal_is_named_with_the_signal_that_continues_it() -> None:
    cause = causes(task("a"), engine=EngineView(Condition.STOPPED, "node7", 812))[0]

    assert (cause.kind, cause.need, cause.blocks) == ("lease_held", Need.PERSON, 1)
    assert "process 812 on node7" in cause.message
    assert cause.action == "kill -CONT 812"


def test_a_lease_of_another_machine_is_named_with_the_way_to_break_it() -> None:
    cause = causes(task("a"), engine=EngineView(Condition.ELSEWHERE, "login2", 99))[0]

    assert (cause.kind, cause.blocks) == ("lease_held", 1)
    assert "process 99 on login2" in cause.message
    assert cause.action.splitlines()[-1] == f"matterstack check --break-lease {RUN}"


def test_a_full_disk_comes_before_all_else() -> None:
    disk, engine = causes(task("a"), full_disk="0 KiB are free at /r/.matterstack", engine=NOBODY)

    assert (disk.kind, disk.need, disk.blocks) == ("disk_full", Need.PERSON, 1)
    assert "0 KiB are free at /r/.matterstack" in disk.message
    assert disk.action == "df -h /r"
    assert engine.kind == "no_engine"


def test_a_command_that_nobody_answers_is_told_after_a_while() -> None:
    pause = OpenCommand("pause", "ann", at("11:59"))

    told = causes(task("a"), command=pause)
    soon = causes(task("a"), command=attrs.evolve(pause, at=UtcTime("2026-01-01T11:59:57.000000Z")))

    (waiting,) = [cause for cause in told if cause.kind == "command_waiting"]
    assert "the pause that ann asked for" in waiting.message
    assert (waiting.since, waiting.blocks) == (at("11:59"), 1)
    assert "command_waiting" not in kinds(soon)


# ---- planning and the end ----


@pytest.mark.parametrize(
    ("phase", "kind", "words"),
    [
        (Phase.PLANNING, "planning", "planning iteration 2"),
        (Phase.EXECUTING, "analysis", "analyzing iteration 1"),
    ],
)
def test_a_campaign_that_thinks_is_named_with_since_when_and_how_long_it_may(
    phase: Phase, kind: str, words: str
) -> None:
    cause = only(causes(run={"phase": phase}))

    assert (cause.kind, cause.need, cause.since) == (kind, Need.NOTHING, at("11:50"))
    assert words in cause.message
    assert "1 h" in cause.message
    assert cause.action == "tail /r/planning.log"


def test_a_campaign_that_failed_to_plan_is_named_with_its_words_and_its_file() -> None:
    run = {"status": RunStatus.FAILED, "status_reason": "plan raised ValueError: no", "since": at("11:10")}

    cause = only(causes(run=run, engine=NOBODY))

    assert (cause.kind, cause.need, cause.since) == ("planning_failed", Need.PERSON, at("11:10"))
    assert cause.message == "the campaign could not plan: plan raised ValueError: no"
    assert "workspaces/w/campaign.py" in cause.action
    assert cause.action.splitlines()[-1] == f"matterstack run retry {RUN}"


@pytest.mark.parametrize(
    ("campaign_class", "words", "can_be_retried"),
    [
        ("physics.Relaxation", "# mend physics.Relaxation, of which the campaign is an object, then:", True),
        ("__main__.Relaxation", "start a new one there", False),
        ("physics.make.<locals>.Relaxation", "start a new one there", False),
    ],
)
def test_what_there_is_to_mend_of_a_campaign_object_depends_on_where_its_code_is(
    campaign_class: str, words: str, can_be_retried: bool
) -> None:
    run = {"status": RunStatus.FAILED, "status_reason": "no", "campaign_class": campaign_class}
    action = only(causes(run=run, engine=NOBODY)).action
    assert action.startswith("tail /r/planning.log\n")
    assert words in action
    assert "campaign.py" not in action
    assert (f"matterstack run retry {RUN}" in action) is can_be_retried
    planning = only(causes(run={"phase": Phase.PLANNING, "campaign_class": campaign_class}))
    assert planning.message.startswith(f"the campaign {campaign_class} is planning iteration 2")


def test_a_run_that_no_engine_could_serve_says_what_happened() -> None:
    run = {"status": RunStatus.FAILED, "status_reason": "its actor crashed", "was_given_up": True}

    found = causes(failed("a"), run=run, engine=NOBODY)

    assert kinds(found) == ["task_failed", "run_failed"]
    assert found[1].message == "the run FAILED: its actor crashed"


def test_a_run_that_is_over_is_explained_in_one_line() -> None:
    completed = only(causes(run={"status": RunStatus.COMPLETED, "since": at("11:10")}, engine=NOBODY))
    cancelled = only(
        causes(
            failed("a"),
            task("b", status=TaskStatus.CANCELLED),
            run={"status": RunStatus.CANCELLED, "status_reason": "cancelled by ann: no"},
            engine=NOBODY,
        )
    )

    assert (completed.kind, completed.since, completed.action) == ("completed", at("11:10"), "")
    assert completed.message == "the run COMPLETED after 1 iteration: the campaign's goal is met"
    assert cancelled.message == "the run was cancelled by ann: no; that is for ever"


def test_a_run_that_is_being_ended_counts_its_jobs() -> None:
    ending = {"ending": RunStatus.CANCELLED, "ending_reason": "cancelled by ann", "since": at("11:55")}

    found = causes(task("a", attempt=running("1")), task("b"), run=ending)

    assert kinds(found) == ["ending", "job_running"]
    assert found[0].message == "the run is being cancelled by ann; 1 job of it is being ended"
    assert (found[0].since, found[0].blocks) == (at("11:55"), 2)


def test_a_task_that_a_person_cancelled_is_ended_and_the_others_go_on() -> None:
    reason = "its job is being ended: cancelled by ann: too hot"
    tasks = [
        task("a", attempt=running("1"), is_cancelled=True, reason=reason),
        task("b", attempt=running("2")),
    ]

    found = causes(*tasks)
    unreachable = causes(*tasks, **ill(out_since=at("11:50")))

    assert kinds(found) == ["task_ending", "job_running"]
    assert found[0].message == "task a is to end, its job is being ended: cancelled by ann: too hot"
    assert (found[0].need, found[0].blocks) == (Need.NOTHING, 1)
    assert unreachable[0].kind == "backend_out"


# ---- failures ----


def test_a_failed_task_is_named_with_its_reason_and_blocks_all_that_were_skipped_for_it() -> None:
    skipped = [task("b", "a", status=TaskStatus.SKIPPED), task("c", "b", status=TaskStatus.SKIPPED)]

    cause = only(causes(failed("a"), *skipped, run={"status": RunStatus.FAILED}, engine=NOBODY))

    assert (cause.kind, cause.need, cause.since, cause.blocks) == ("task_failed", Need.PERSON, at("11:40"), 2)
    assert cause.message == "task a failed: its job ended with exit code 3"
    assert cause.action == f"matterstack run logs {RUN} a --stderr\nmatterstack run retry {RUN} a"


def test_tasks_that_failed_alike_are_one_cause_and_others_are_another() -> None:
    alike = [failed(f"a{n}") for n in range(30)]

    many, one = causes(*alike, failed("b", "no output matches *.xyz", attempt=None), task("c"))[:2]

    assert many.message == "tasks a0, a1, a2 and 27 more failed: its job ended with exit code 3"
    assert many.action.splitlines()[-1] == f"matterstack run retry {RUN} --failed --kind error"
    assert one.message == "task b failed: no output matches *.xyz"
    assert one.action == f"matterstack run retry {RUN} b"


def test_a_skipped_task_waits_for_the_failure_and_for_nothing_else() -> None:
    tasks = [
        failed("a"),
        task("b", attempt=running("1")),
        task("c", "a", "b", status=TaskStatus.SKIPPED),
        task("d", "c", status=TaskStatus.SKIPPED),
    ]

    assert [(c.kind, c.blocks) for c in causes(*tasks)] == [("task_failed", 2), ("job_running", 1)]


def test_a_failure_that_is_allowed_is_no_cause() -> None:
    assert kinds(causes(failed("a", allow_failure=True), task("b", attempt=running("1")))) == ["job_running"]


def test_any_number_of_different_failures_stays_readable_and_forgets_none() -> None:
    tasks = [failed(f"a{n}", f"reason {n}") for n in range(200)]

    found = causes(*tasks, run={"status": RunStatus.FAILED}, engine=NOBODY)

    assert len(found) == MOST_ALIKE + 1
    assert sum(len(cause.tasks) for cause in found) == 200
    (rest,) = [cause for cause in found if len(cause.tasks) > 1]
    assert f"{200 - MOST_ALIKE} different reasons" in rest.message


# ---- caps ----


def test_the_cap_of_the_run_is_named_with_its_number_and_since_when_it_is_reached() -> None:
    tasks = [task("a", attempt=running("1")), task("b", attempt=running("2")), task("c"), task("d", "c")]

    cap = next(c for c in causes(*tasks, run={"job_cap": 2}) if c.kind == "run_cap")

    assert (cap.need, cap.since, cap.blocks) == (Need.TIME, at("11:20"), 2)
    assert "2 jobs, and may have no more than 2 at once (max_hpc_jobs_per_run)" in cap.message


def test_the_cap_of_a_backend_names_who_has_the_seats() -> None:
    other = EngineView(Condition.ALIVE, "node8", 44)
    full = backend(seats(1), seats(3, OTHER, other, last="11:25"), max_jobs=4)

    found = causes(task("a", attempt=running("1")), task("b"), backends={SLURM: full})

    cap = next(c for c in found if c.kind == "backend_cap")
    assert (cap.need, cap.since, cap.blocks) == (Need.TIME, at("11:25"), 1)
    assert cap.message == (
        f"all 4 seats of backend cluster (max_jobs) are taken: 3 by run {OTHER} (process 44 on node8), "
        "1 by this run"
    )


def test_seats_of_runs_that_nobody_serves_need_a_person() -> None:
    full = backend(seats(4, OTHER, DEAD), max_jobs=4)

    cap = only(causes(task("b"), run={"job_cap": 4}, backends={SLURM: full}))

    assert (cap.kind, cap.need) == ("backend_cap", Need.PERSON)
    assert f"4 by run {OTHER}, which no engine serves" in cap.message
    assert cap.action == f"matterstack run loop {OTHER}"


def test_both_caps_count_when_both_are_reached() -> None:
    full = backend(seats(2), max_jobs=2)

    found = causes(task("a"), run={"job_cap": 2}, backends={SLURM: full})

    assert {c.kind: c.blocks for c in found} == {"backend_cap": 1, "run_cap": 1}


# ---- backends ----


def test_a_controller_that_is_out_holds_up_its_jobs_and_what_would_be_submitted() -> None:
    tasks = [task("a", attempt=running("1")), task("b"), task("c", "b"), task("d", backend="local")]
    out = ill(out_since=at("11:45"), problem="squeue: Unable to contact slurm controller")

    cause = causes(*tasks, **out)[0]

    assert (cause.kind, cause.need, cause.since, cause.blocks) == (
        "backend_out", Need.REPAIR, at("11:45"), 3,
    )  # fmt: skip
    assert "backend cluster does not answer: squeue: Unable to contact slurm controller" in cause.message
    assert cause.action == "matterstack doctor"


@pytest.mark.parametrize(
    ("problem", "kind", "need"),
    [
        ("login1 asks for a code: log in once in a terminal: ssh login1", "ssh_out", Need.PERSON),
        ("login1 cannot be reached: see to the network", "ssh_out", Need.REPAIR),
        ("squeue: Unable to contact slurm controller", "backend_out", Need.REPAIR),
    ],
)
def test_a_login_node_that_cannot_be_used_is_told_from_a_controller_that_is_out(
    problem: str, kind: str, need: Need
) -> None:
    health = Health(out_since=at("11:45"), problem=problem)
    behind = backend(seats(1), ssh_host="login1", health=health)

    cause = causes(task("a", attempt=running("1")), backends={SLURM: behind})[0]

    assert (cause.kind, cause.need, cause.since) == (kind, need, at("11:45"))
    assert problem in cause.message
    assert cause.action == ("ssh login1" if kind == "ssh_out" else "matterstack doctor")


def test_an_accounting_that_is_out_holds_up_the_jobs_that_may_have_failed() -> None:
    out = ill(accounting_out_since=at("11:45"), accounting_problem="sacct: Connection refused")

    accounting, job = causes(task("a", attempt=running("1")), task("b", "a"), **out)

    assert (accounting.kind, accounting.need, accounting.since, accounting.blocks) == (
        "accounting_out", Need.REPAIR, at("11:45"), 2,
    )  # fmt: skip
    assert "sacct: Connection refused" in accounting.message
    assert job.kind == "job_running"


def test_a_limit_of_the_site_is_named_in_its_own_words() -> None:
    limited = ill(limited_since=at("11:45"), limit="QOSMaxSubmitJobPerUserLimit")

    cause = only(causes(task("a"), task("b", attempt=attempt(prepared_at=at("11:59"))), **limited)[:1])

    assert (cause.kind, cause.need, cause.since, cause.blocks) == (
        "site_limit", Need.REPAIR, at("11:45"), 2,
    )  # fmt: skip
    assert "QOSMaxSubmitJobPerUserLimit" in cause.message


def test_an_attempt_that_a_limit_keeps_waiting_is_not_unclear_however_long_that_takes() -> None:
    limited = ill(limited_since=at("11:45"), limit="QOSMaxSubmitJobPerUserLimit")

    found = causes(task("a", attempt=attempt(prepared_at=at("11:00"))), task("b"), **limited)

    assert [(cause.kind, cause.blocks) for cause in found] == [("site_limit", 2)]


def test_an_unclear_submission_holds_up_the_others_of_the_run_too() -> None:
    unclear = task("a", attempt=attempt(prepared_at=at("11:50")))

    cause = only(causes(unclear, task("b"), task("c", "a")))

    assert (cause.kind, cause.need, cause.since, cause.blocks) == (
        "submission_unclear", Need.TIME, at("11:50"), 3,
    )  # fmt: skip
    assert "whether task a was submitted to cluster: the engine looks for the job" in cause.message


def test_a_submission_under_way_is_nothing_to_worry_about() -> None:
    cause = only(causes(task("a", attempt=attempt(prepared_at=NOW)), task("b")))

    assert (cause.kind, cause.need, cause.blocks) == ("submitting", Need.NOTHING, 2)


def test_without_an_engine_any_prepared_attempt_is_unclear() -> None:
    found = causes(task("a", attempt=attempt(prepared_at=NOW)), engine=NOBODY)

    assert kinds(found) == ["no_engine", "submission_unclear"]
    assert "the next engine looks for the job" in found[1].message


# ---- jobs ----


def test_a_job_in_the_queue_says_why_it_waits_and_when_it_is_expected_to_start() -> None:
    tasks = [task("a", attempt=job("17", reason="Priority")), task("b", attempt=job("18", reason="Priority"))]
    sights = {JobId("17"): JobSight(at("15:30")), JobId("18"): JobSight(at("14:00"))}

    cause = only(causes(*tasks, task("c", "a", "b"), sights=sights))

    assert (cause.kind, cause.need, cause.since, cause.blocks) == (
        "job_pending", Need.TIME, at("11:01"), 3,
    )  # fmt: skip
    assert cause.message == (
        "jobs 17 and 18 (tasks a and b) wait in the queue of cluster: jobs with a higher priority come first "
        "(Priority); the first expected to start at 14:00 UTC"
    )
    assert cause.action == ""


@pytest.mark.parametrize(
    ("reason", "raw", "kind", "words", "action"),
    [
        ("JobHeldUser", "PENDING", "job_held", "held by you", "scontrol release 17"),
        ("JobHeldAdmin", "PENDING", "job_held", "an administrator", "# ask the administrators"),
        ("launch failed requeued held", "PENDING", "job_held", "node failed", "scontrol release 17"),
        ("job requeued in held state", "SPECIAL_EXIT", "job_held", "requeued", "scontrol release 17"),
        ("PartitionNodeLimit", "PENDING", "job_never_starts", "nodes", "scontrol update JobId=17 NumNodes=N"),
        ("PartitionDown", "PENDING", "job_never_starts", "is down", "scontrol update JobId=17 Partition="),
        ("BadConstraints", "PENDING", "job_never_starts", "features", "sinfo"),
        ("ReqNodeNotAvail, UnavailableNodes:n2", "PENDING", "job_never_starts", "n2", "sinfo --list-reasons"),
        ("DependencyNeverSatisfied", "PENDING", "job_never_starts", "end first", "scontrol update JobId=17"),
        ("AssocMaxWallDurationPerJobLimit", "PENDING", "job_never_starts", "walltime", "scontrol update"),
        ("QOSMaxCpuPerJobLimit", "PENDING", "job_never_starts", "CPUs", "scontrol update JobId=17 NumCPUs=N"),
    ],
)  # fmt: skip
def test_a_job_that_does_not_start_by_itself_needs_a_person(
    reason: str, raw: str, kind: str, words: str, action: str
) -> None:
    stuck = task("a", attempt=job("17", raw=raw, reason=reason))

    cause = causes(stuck, task("b", "a"), task("c", attempt=running("3")))[0]

    assert (cause.kind, cause.need, cause.blocks) == (kind, Need.PERSON, 2)
    assert words in cause.message
    assert reason.partition(",")[0] in cause.message
    assert cause.action.startswith(action)
    if kind == "job_never_starts":
        assert cause.action.splitlines()[-1] == "scancel --state=PENDING 17"


def test_an_element_that_never_starts_is_given_up_without_the_others_of_its_array() -> None:
    cause = only(causes(task("a", attempt=job("17_3", reason="PartitionDown"))))

    assert cause.action.splitlines()[-1] == "scancel 17_3"


def test_a_job_that_waits_as_it_was_before_an_amendment_names_what_submits_it_anew() -> None:
    old = task("a", attempt=job("17", reason="Priority", is_outdated=True))
    new = task("b", attempt=job("18", reason="Priority"))

    cause = only(causes(old, new))

    assert cause.message.endswith("; task a was amended since")
    assert cause.action == (f"# to submit it anew, as amended:\nmatterstack run amend {RUN} a --resubmit")


def test_a_job_that_is_being_submitted_anew_says_so_and_asks_for_nothing() -> None:
    cause = only(
        causes(task("a", attempt=job("17", reason="Priority", is_outdated=True, is_resubmitted=True)))
    )

    assert cause.message.endswith("; task a is being submitted anew")
    assert cause.action == ""


def test_a_limit_that_other_jobs_use_up_is_only_a_wait() -> None:
    cause = only(causes(task("a", attempt=job("17", reason="QOSMaxJobsPerUserLimit"))))

    assert (cause.kind, cause.need) == ("job_pending", Need.TIME)


def test_commands_for_a_cluster_behind_ssh_are_run_there() -> None:
    behind = backend(seats(1), ssh_host="login1")

    held = task("a", attempt=job("17", reason="JobHeldUser"))

    assert causes(held, backends={SLURM: behind})[0].action == "ssh login1 scontrol release 17"


def test_a_held_array_is_released_as_a_whole() -> None:
    held = [task(f"t{n}", attempt=job(f"40_{n}", reason="JobHeldUser")) for n in range(50)]

    cause = only(causes(*held))

    assert cause.action == "scontrol release 40"
    assert "jobs 40_0, 40_1, 40_2 and 47 more" in cause.message


def test_a_suspended_job_is_told_from_one_that_runs() -> None:
    suspended = task("a", attempt=job("17", JobState.RUNNING, "SUSPENDED", started_at=at("11:30")))

    found = causes(suspended, task("b", attempt=running("3")))

    assert kinds(found) == ["job_suspended", "job_running"]
    assert found[0].action.startswith("scontrol resume 17\n")


def test_a_run_that_goes_well_says_so_and_needs_nobody() -> None:
    tasks = [
        task("a", attempt=running("1", walltime_s=3600)),
        task("b", attempt=running("2", started_at=at("11:58"))),
        task("c", "a"),
    ]

    cause = only(causes(*tasks, sights={JobId("1"): JobSight(None, "n3")}))

    assert (cause.kind, cause.need, cause.since, cause.blocks) == (
        "job_running", Need.NOTHING, at("11:30"), 3,
    )  # fmt: skip
    assert cause.message == (
        "2 jobs run on cluster: task a, the longest, for 30 min, with 30 min of its walltime left "
        "(job 1 on n3)"
    )
    assert cause.action == ""


def test_a_job_beyond_its_walltime_is_told() -> None:
    cause = only(causes(task("a", attempt=running("1", walltime_s=60))))

    assert "29 min longer than its walltime" in cause.message


def test_outputs_that_are_looked_at_are_a_cause_of_their_own() -> None:
    cause = only(causes(task("a", attempt=running("1", ended_at=at("11:59"))), task("b", "a")))

    assert (cause.kind, cause.since, cause.blocks) == ("collecting", at("11:59"), 2)


def test_a_retry_names_the_try_and_what_went_wrong() -> None:
    again = task(
        "a",
        status=TaskStatus.READY,
        reason="tried again after timeout: its job ended",
        tries=1,
        retries=2,
        attempt=running("1", ended_at=at("11:40")),
    )

    retry = next(c for c in causes(again) if c.kind == "retry_waiting")

    assert (retry.need, retry.since, retry.blocks) == (Need.TIME, at("11:40"), 1)
    assert retry.message == ("task a waits for try 2 of 3 after timeout: its job ended")


# ---- what is more important, and what waits for what ----


def test_what_needs_a_person_comes_first_and_then_what_blocks_most() -> None:
    tasks = [
        task("runs", attempt=running("1")),
        *[task(f"r{n}", "runs") for n in range(9)],
        task("waits", attempt=job("2", reason="Resources")),
        task("held", attempt=job("3", reason="JobHeldUser")),
        failed("bad"),
        task("s1", "bad", status=TaskStatus.SKIPPED),
        task("s2", "bad", status=TaskStatus.SKIPPED),
    ]

    assert kinds(causes(*tasks)) == ["task_failed", "job_held", "job_pending", "job_running"]


def test_a_task_counts_for_every_cause_that_it_waits_for_once() -> None:
    tasks = [
        task("end", "left", "right"),  # planned before what it depends on
        task("left", "a"),
        task("right", "a", "b"),
        task("a", attempt=running("1")),
        task("b", attempt=job("2", reason="JobHeldUser")),
    ]

    found = get_run_frontier(situation(*tasks))

    assert {c.kind: c.blocks for c in found.causes} == {"job_held": 3, "job_running": 4}
    assert [c.kind for c in found.causes_of(TaskId("end"))] == ["job_held", "job_running"]
    assert [c.kind for c in found.causes_of(TaskId("left"))] == ["job_running"]


def test_a_job_that_runs_although_its_dependency_was_reopened_waits_for_nothing_else() -> None:
    tasks = [task("a"), task("b", "a", status=TaskStatus.ACTIVE, attempt=running("1"))]

    assert {c.kind: c.blocks for c in causes(*tasks)} == {"submitting": 1, "job_running": 1}


def test_a_task_that_waits_for_what_will_never_be_is_not_passed_over() -> None:
    cause = only(causes(task("a", status=TaskStatus.CANCELLED), task("b", "a")))

    assert (cause.kind, cause.need, cause.blocks) == ("waits_in_vain", Need.PERSON, 1)


def test_every_kind_has_words() -> None:
    from matterstack.explain.wording import _TELLERS

    assert set(_TELLERS) == set(Kind)


def test_an_engine_that_serves_is_no_cause() -> None:
    assert "no_engine" not in kinds(causes(task("a"), engine=ALIVE))
