"""An engine that is stopped loses nothing: its jobs go on, and the next engine adopts them.

Engines that are killed are in `tests.test_sigkill`, and two at once in `tests.test_two_engine_processes`.
"""

import signal

import pytest

from tests.support.campaigns import Diary, write_tasks
from tests.support.command import PATIENCE_S, CommandLine, Running
from tests.support.polling import wait_until

TASKS = [f"t{i}" for i in range(5)]


def _run_at_the_gate(command_line: CommandLine, diary: Diary) -> tuple[str, Running]:
    """A run under an engine, with two jobs that wait at the gate."""
    write_tasks(command_line.root, "campaign", [diary.task(task, diary.gate()) for task in TASKS])
    run_id = command_line.new_run("campaign")
    engine = command_line.start("run", "loop")
    wait_until(lambda: len(diary.started()) == 2, PATIENCE_S, "the start of the jobs")
    return run_id, engine


def _finish(command_line: CommandLine, diary: Diary, run_id: str) -> None:
    """Serve the run to its end by another engine; nothing is done twice."""
    diary.open()
    command_line.ok("run", "loop", "--until-done", run_id)
    assert command_line.status(run_id)["status"] == "COMPLETED"
    assert sorted(diary.started()) == TASKS
    assert sorted(diary.ended()) == TASKS
    assert [len(task["attempts"]) for task in command_line.tasks(run_id).values()] == [1] * len(TASKS)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_engine_in_order_and_its_jobs_are_adopted(
    command_line: CommandLine, diary: Diary, number: signal.Signals
) -> None:
    run_id, engine = _run_at_the_gate(command_line, diary)

    engine.signal(number)
    done = engine.wait(timeout_s=10)

    assert done.exit_code == 0
    assert done.stderr.strip() == "stopping; jobs go on running (once more: stop at once)"
    assert len(command_line.job_processes(run_id)) >= 2
    assert command_line.status(run_id)["status"] == "RUNNING"
    _finish(command_line, diary, run_id)


def test_jobs_that_end_without_an_engine_are_not_forgotten(command_line: CommandLine, diary: Diary) -> None:
    run_id, engine = _run_at_the_gate(command_line, diary)
    engine.signal(signal.SIGTERM)
    engine.wait(timeout_s=10)
    diary.open()
    wait_until(lambda: not command_line.job_processes(run_id), PATIENCE_S, "the end of the jobs")
    assert command_line.status(run_id)["tasks"]["ACTIVE"] == 2

    _finish(command_line, diary, run_id)


def test_a_second_signal_ends_the_engine_at_once_and_loses_nothing(
    command_line: CommandLine, diary: Diary
) -> None:
    run_id, engine = _run_at_the_gate(command_line, diary)
    # Stopped before it can act on the first one, so that both arrive together.
    engine.signal(signal.SIGSTOP)
    engine.signal(signal.SIGINT)
    engine.signal(signal.SIGTERM)
    engine.signal(signal.SIGCONT)

    assert engine.wait(timeout_s=10).exit_code in {0, 130, -signal.SIGTERM}
    _finish(command_line, diary, run_id)


def test_run_start_that_is_interrupted_says_how_to_go_on(command_line: CommandLine, diary: Diary) -> None:
    write_tasks(command_line.root, "campaign", [diary.task(task, diary.gate()) for task in TASKS])
    started = command_line.start("run", "start", "campaign")
    wait_until(lambda: len(diary.started()) == 2, PATIENCE_S, "the start of the jobs")

    started.signal(signal.SIGINT)
    done = started.wait(timeout_s=10)

    assert done.exit_code == 0
    (run,) = command_line.json("run", "list")
    assert f"The run is not finished.  Go on with: matterstack run loop {run['run_id']}" in done.stdout
    _finish(command_line, diary, run["run_id"])


def test_a_loop_takes_up_runs_that_are_made_while_it_runs(command_line: CommandLine, diary: Diary) -> None:
    write_tasks(command_line.root, "campaign", [diary.task("only")])
    engine = command_line.start("run", "loop")
    wait_until((command_line.root / ".matterstack" / "state.db").exists, PATIENCE_S)

    run_id = command_line.new_run("campaign")

    wait_until(lambda: command_line.status(run_id)["status"] == "COMPLETED", PATIENCE_S)
    engine.signal(signal.SIGTERM)
    assert engine.wait(timeout_s=10).exit_code == 0


def test_a_campaign_that_raises_fails_alone(command_line: CommandLine, diary: Diary) -> None:
    write_tasks(command_line.root, "good", [diary.task(task) for task in TASKS])
    broken = write_tasks(command_line.root, "broken", [])
    (broken / "campaign.py").write_text(
        "class Broken:\n"
        "    def plan(self, state, results):\n"
        "        raise KeyError('no such element: Xx')\n"
        "    def analyze(self, state, results):\n"
        "        return {}\n"
        "def get_campaign():\n"
        "    return Broken()\n"
    )
    bad, good = command_line.new_run("broken"), command_line.new_run("good")

    assert command_line.run("run", "loop", "--until-done").exit_code == 1

    status = command_line.status(bad)
    assert status["status"] == "FAILED"
    where = f"{broken / 'campaign.py'}, line 3 in plan"
    assert status["status_reason"] == f"{where}: KeyError: 'no such element: Xx'"
    assert command_line.status(good)["status"] == "COMPLETED"
    assert sorted(diary.ended()) == TASKS
