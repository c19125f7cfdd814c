"""``run cancel``: once it says CANCELLED, none of the run's jobs is left."""

import signal

from tests.support.campaigns import Diary, write_tasks
from tests.support.command import PATIENCE_S, CommandLine
from tests.support.polling import wait_until

STUBBORN = "trap '' TERM INT HUP; (while :; do sleep 0.1; done) & wait; while :; do sleep 0.1; done"
"""A job with a child, both of which do not listen to SIGTERM."""


def _run_with_jobs(command_line: CommandLine, diary: Diary, then: str, tasks: int = 4) -> str:
    write_tasks(command_line.root, "campaign", [diary.task(f"t{i}", then) for i in range(tasks)])
    return command_line.new_run("campaign")


def _wait_for_jobs(diary: Diary, count: int = 2) -> None:
    wait_until(lambda: len(diary.started()) == count, PATIENCE_S, "the start of the jobs")


def test_cancel_beside_an_engine_ends_the_jobs_with_all_their_processes(
    command_line: CommandLine, diary: Diary
) -> None:
    run_id = _run_with_jobs(command_line, diary, STUBBORN)
    engine = command_line.start("run", "loop", "--until-done", run_id)
    _wait_for_jobs(diary)
    assert command_line.job_processes(run_id)

    first = command_line.start("run", "cancel", run_id, "--reason", "wrong potential")
    wait_until(
        lambda: "RunCancelRequested" in command_line.event_types(run_id), PATIENCE_S, "the durable request"
    )
    assert command_line.status(run_id)["status_reason"].endswith(": wrong potential")
    second = command_line.run("run", "cancel", run_id, "--reason", "never mind the reason")

    assert second.exit_code in {0, 4}, "refused only if the run had been CANCELLED by then"
    assert not command_line.job_processes(run_id)
    said = first.wait().stdout
    assert said.startswith(f"run {run_id} is CANCELLED: cancelled by ")
    assert said.endswith(": wrong potential\n")
    assert command_line.event_types(run_id).count("RunCancelRequested") == 1
    assert engine.wait().exit_code == 1
    assert diary.ended() == []
    assert sorted(diary.started()) == ["t0", "t1"]
    status = command_line.status(run_id)
    assert status["status"] == "CANCELLED"
    assert status["tasks"]["CANCELLED"] == 4
    tasks = command_line.tasks(run_id).values()
    states = [attempt["state"] for task in tasks for attempt in task["attempts"]]
    assert states == ["CANCELLED", "CANCELLED"]


def test_cancel_without_an_engine_ends_the_jobs_that_the_last_one_left(
    command_line: CommandLine, diary: Diary
) -> None:
    run_id = _run_with_jobs(command_line, diary, diary.gate())
    engine = command_line.start("run", "loop")
    _wait_for_jobs(diary)
    engine.signal(signal.SIGTERM)
    assert engine.wait(timeout_s=10).exit_code == 0
    assert command_line.job_processes(run_id), "jobs outlive their engine"

    cancelled = command_line.json("run", "cancel", run_id)

    assert cancelled["status"] == "CANCELLED"
    assert not command_line.job_processes(run_id)
    assert command_line.ok("run", "loop", "--until-done") == ""
    assert sorted(diary.started()) == ["t0", "t1"]


def test_cancel_after_a_killed_engine_ends_the_jobs(command_line: CommandLine, diary: Diary) -> None:
    run_id = _run_with_jobs(command_line, diary, diary.gate())
    engine = command_line.start("run", "loop")
    _wait_for_jobs(diary)
    engine.kill()

    command_line.ok("run", "cancel", run_id)

    assert not command_line.job_processes(run_id)
    assert command_line.status(run_id)["status"] == "CANCELLED"
    assert diary.ended() == []


def test_a_cancellation_that_was_interrupted_is_carried_out_by_the_next_engine(
    command_line: CommandLine, diary: Diary
) -> None:
    run_id = _run_with_jobs(command_line, diary, STUBBORN)
    engine = command_line.start("run", "loop")
    _wait_for_jobs(diary)
    engine.kill()
    asked = command_line.start("run", "cancel", run_id)
    wait_until(
        lambda: "RunCancelRequested" in command_line.event_types(run_id), PATIENCE_S, "the durable request"
    )
    asked.kill()

    command_line.run("run", "loop", "--until-done", run_id)

    assert command_line.status(run_id)["status"] == "CANCELLED"
    assert not command_line.job_processes(run_id)
    assert sorted(diary.started()) == ["t0", "t1"]


def test_a_run_that_never_started_can_be_cancelled(command_line: CommandLine, diary: Diary) -> None:
    run_id = _run_with_jobs(command_line, diary, ":")

    command_line.ok("run", "cancel", run_id, "--reason", "a typo")

    status = command_line.status(run_id)
    assert status["status"] == "CANCELLED"
    assert status["status_reason"].endswith(": a typo")
    assert command_line.ok("run", "loop", "--until-done") == ""
    assert diary.started() == []


def test_cancelling_twice_is_refused_and_names_both_states(command_line: CommandLine, diary: Diary) -> None:
    run_id = _run_with_jobs(command_line, diary, ":")
    command_line.ok("run", "cancel", run_id)
    events = command_line.events(run_id)

    again = command_line.run("run", "cancel", run_id, "--json")

    assert again.exit_code == 4
    assert again.stdout == ""
    assert again.error["code"] == "illegal_transition"
    assert again.error["message"] == f"run {run_id} is CANCELLED and cannot become CANCELLED"
    assert command_line.events(run_id) == events


def test_a_paused_run_can_be_cancelled(command_line: CommandLine, diary: Diary) -> None:
    run_id = _run_with_jobs(command_line, diary, diary.gate())
    command_line.start("run", "loop")
    _wait_for_jobs(diary)
    command_line.ok("run", "pause", run_id)

    command_line.ok("run", "cancel", run_id)

    assert not command_line.job_processes(run_id)
    assert command_line.status(run_id)["status"] == "CANCELLED"


def test_cancel_does_not_wait_for_a_campaign_that_plans(command_line: CommandLine, diary: Diary) -> None:
    folder = write_tasks(command_line.root, "thoughtful", [])
    (folder / "campaign.py").write_text(
        f"open({str(diary.folder / 'planning')!r}, 'w').close()\nimport time\nwhile True: time.sleep(0.1)\n"
    )
    run_id = command_line.new_run("thoughtful")
    engine = command_line.start("run", "loop", "--until-done", run_id)
    wait_until((diary.folder / "planning").exists, PATIENCE_S)

    command_line.ok("run", "cancel", run_id)

    assert engine.wait(timeout_s=10).exit_code == 1
    assert command_line.status(run_id)["status"] == "CANCELLED"
    assert not command_line.processes(), "the planning process is gone as well"


def test_a_task_that_ended_before_the_cancellation_keeps_its_result(
    command_line: CommandLine, diary: Diary
) -> None:
    tasks = [diary.task("quick"), diary.task("slow", diary.gate(), depends_on=["quick"])]
    write_tasks(command_line.root, "campaign", tasks)
    run_id = command_line.new_run("campaign")
    command_line.start("run", "loop")
    _wait_for_jobs(diary, count=2)

    command_line.ok("run", "cancel", run_id)

    statuses = {task_id: task["status"] for task_id, task in command_line.tasks(run_id).items()}
    assert statuses == {"quick": "SUCCEEDED", "slow": "CANCELLED"}
