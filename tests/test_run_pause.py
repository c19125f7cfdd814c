"""``run pause``: once it is acknowledged no new job starts; those that run are followed."""

import signal

from tests.support.campaigns import Diary, write_tasks
from tests.support.command import PATIENCE_S, CommandLine
from tests.support.polling import wait_until


def _started_run(command_line: CommandLine, diary: Diary, tasks: int = 6) -> str:
    """A run of which two tasks wait at the gate, and the others for a seat."""
    write_tasks(command_line.root, "campaign", [diary.task(f"t{i}", diary.gate()) for i in range(tasks)])
    return command_line.new_run("campaign")


def _wait_for_jobs(diary: Diary, count: int = 2) -> None:
    wait_until(lambda: len(diary.started()) >= count, PATIENCE_S, "the start of the jobs")


def test_after_a_pause_no_job_starts_and_those_that_run_are_followed_to_their_end(
    command_line: CommandLine, diary: Diary
) -> None:
    run_id = _started_run(command_line, diary)
    engine = command_line.start("run", "loop", "--until-done", run_id)
    _wait_for_jobs(diary)

    said = command_line.ok("run", "pause", run_id, "--reason", "the beamline is down")
    diary.open()
    wait_until(
        lambda: command_line.status(run_id)["tasks"]["SUCCEEDED"] == 2, PATIENCE_S, "the end of both jobs"
    )

    assert said.startswith(f"run {run_id} is PAUSED: paused by ")
    assert said.endswith(": the beamline is down\n")
    assert sorted(diary.started()) == ["t0", "t1"]
    status = command_line.status(run_id)
    assert (status["status"], status["tasks"]["READY"]) == ("PAUSED", 4)
    assert status["status_reason"].endswith("the beamline is down")
    assert engine.process.poll() is None, "the engine goes on serving a paused run"

    command_line.ok("run", "resume", run_id)

    assert engine.wait().exit_code == 0
    assert sorted(diary.ended()) == [f"t{i}" for i in range(6)]
    assert command_line.status(run_id)["status"] == "COMPLETED"
    types = command_line.event_types(run_id)
    paused, resumed = types.index("RunPaused"), types.index("RunResumed")
    assert not {"AttemptPrepared", "JobAccepted"} & set(types[paused:resumed])
    (event,) = (e for e in command_line.events(run_id) if e["type"] == "RunPaused")
    assert event["data"]["reason"] == "the beamline is down"


def test_pause_and_resume_without_an_engine_hold_for_the_next_one(
    command_line: CommandLine, diary: Diary
) -> None:
    run_id = _started_run(command_line, diary)
    engine = command_line.start("run", "loop")
    _wait_for_jobs(diary)
    engine.signal(signal.SIGTERM)
    engine.wait(timeout_s=10)

    assert command_line.json("run", "pause", run_id)["status"] == "PAUSED"
    diary.open()
    engine = command_line.start("run", "loop", "--until-done", run_id)
    wait_until(
        lambda: command_line.status(run_id)["tasks"]["SUCCEEDED"] == 2, PATIENCE_S, "adopted jobs to be seen"
    )
    assert sorted(diary.started()) == ["t0", "t1"]
    engine.signal(signal.SIGINT)
    assert engine.wait(timeout_s=10).exit_code == 0

    said = command_line.ok("run", "resume", run_id)
    assert f"matterstack run loop {run_id}" in said, "it says that nobody serves the run"
    command_line.ok("run", "loop", "--until-done", run_id)

    assert sorted(diary.started()) == [f"t{i}" for i in range(6)], "no task ran twice"
    assert command_line.status(run_id)["status"] == "COMPLETED"


def test_a_paused_run_is_not_planned_any_further(command_line: CommandLine, diary: Diary) -> None:
    run_id = _started_run(command_line, diary, tasks=2)
    command_line.start("run", "loop")
    _wait_for_jobs(diary)
    command_line.ok("run", "pause", run_id)
    diary.open()
    wait_until(lambda: command_line.status(run_id)["tasks"]["SUCCEEDED"] == 2, PATIENCE_S)

    assert "IterationAnalyzed" not in command_line.event_types(run_id)
    command_line.ok("run", "resume", run_id)
    wait_until(lambda: command_line.status(run_id)["status"] == "COMPLETED", PATIENCE_S)


def test_what_is_not_possible_is_refused_with_both_states_named(
    command_line: CommandLine, diary: Diary
) -> None:
    run_id = _started_run(command_line, diary, tasks=1)

    for request, wanted, hint in (
        ("pause", "PAUSED", "it has not begun, and submits nothing before an engine serves it\n"),
        ("resume", "RUNNING", "only a PAUSED run can be resumed\n"),
    ):
        refused = command_line.run("run", request, run_id)
        assert refused.exit_code == 4
        assert refused.stdout == ""
        assert refused.stderr.startswith(
            f"Error: run {run_id} is PENDING and cannot become {wanted}\nHint: {hint}"
        )

    engine = command_line.start("run", "loop", "--until-done", run_id)
    _wait_for_jobs(diary, count=1)
    refused = command_line.run("run", "resume", run_id, "--json")
    assert refused.exit_code == 4
    assert refused.error["message"] == f"run {run_id} is RUNNING and cannot become RUNNING"
    command_line.ok("run", "pause", run_id)
    refused = command_line.run("run", "pause", run_id, "--json")
    assert refused.exit_code == 4
    assert refused.error["message"] == f"run {run_id} is PAUSED and cannot become PAUSED"
    assert refused.error["hint"].endswith(f"matterstack run resume {run_id}")

    command_line.ok("run", "resume", run_id)
    diary.open()
    assert engine.wait().exit_code == 0
    refused = command_line.run("run", "pause", run_id)
    assert refused.exit_code == 4
    assert "is COMPLETED and cannot become PAUSED" in refused.stderr
