"""``run cancel RUN_ID TASK...``: the jobs of these tasks end, the others are untouched, the run completes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.campaigns import Diary, write_tasks
from tests.support.command import PATIENCE_S, CommandLine
from tests.support.on_terminal import on_terminal
from tests.support.polling import wait_until
from tests.support.trials import Trial


def test_the_jobs_of_named_tasks_end_and_the_others_are_untouched(trial: Trial) -> None:
    command_line, diary = trial.command_line, trial.diary
    names = ["hot-1", "hot-2", "mild"]
    trial.write(
        [*(trial.task(name, diary.gate()) for name in names), trial.task("after", depends_on=["hot-1"])],
        max_jobs=4,
    )
    run = trial.new_run()
    engine = command_line.start("run", "loop", "--until-done", run)
    wait_until(lambda: len(diary.started()) == 3, PATIENCE_S, "the jobs")

    said = command_line.ok("run", "cancel", run, "hot-*", "--reason", "they melt")

    assert said.startswith("3 tasks are CANCELLED: hot-1, hot-2, after\n")
    assert f"matterstack run retry {run} hot-1" in said
    assert said.endswith(f"run {run} is RUNNING\n")
    assert trial.place.live() == 1, "the job of the third one"
    diary.open()
    assert engine.wait().exit_code == 0
    assert command_line.status(run)["status"] == "COMPLETED"
    tasks = command_line.tasks(run)
    assert {name: task["status"] for name, task in tasks.items()} == {
        "hot-1": "CANCELLED", "hot-2": "CANCELLED", "mild": "SUCCEEDED", "after": "CANCELLED",
    }  # fmt: skip
    states = {name: [a["state"] for a in task["attempts"]] for name, task in tasks.items()}
    assert states == {
        "hot-1": ["CANCELLED"], "hot-2": ["CANCELLED"], "mild": ["COMPLETED_OK"], "after": [],
    }  # fmt: skip
    assert re.fullmatch(r"cancelled by \S+: they melt", tasks["hot-2"]["reason"])
    assert re.fullmatch(
        r"task hot-1, which it depends on, was cancelled by \S+: they melt", tasks["after"]["reason"]
    )
    assert diary.ended() == [f"{run}/mild"]
    analyzed = next(e["data"] for e in command_line.events(run) if e["type"] == "IterationAnalyzed")
    assert analyzed["state"]["ended"]["hot-1"] == "CANCELLED"
    trial.assert_nothing_is_left([run], max_jobs=4)


def run_with_jobs(command_line: CommandLine, diary: Diary) -> str:
    tasks = [*(diary.task(f"t{n}", diary.gate()) for n in range(3)), diary.task("last", depends_on=["t0"])]
    write_tasks(command_line.root, "campaign", tasks, max_jobs=2)
    run = command_line.new_run("campaign")
    engine = command_line.start("run", "loop", run)
    wait_until(lambda: len(diary.started()) == 2, PATIENCE_S, "the jobs")
    engine.kill()
    return run


def statuses(command_line: CommandLine, run: str) -> dict[str, str]:
    return {name: task["status"] for name, task in command_line.tasks(run).items()}


def test_without_an_engine_it_ends_the_jobs_itself_and_the_run_goes_on_later(
    command_line: CommandLine, diary: Diary
) -> None:
    run = run_with_jobs(command_line, diary)

    status = command_line.json("run", "cancel", run, "t0")

    assert status["status"] == "RUNNING"
    assert status["tasks"]["CANCELLED"] == 2
    assert statuses(command_line, run) == {
        "t0": "CANCELLED", "t1": "ACTIVE", "t2": "READY", "last": "CANCELLED",
    }  # fmt: skip
    again = command_line.ok("run", "cancel", run, "t0", "last")
    assert again.startswith("these tasks are cancelled already\n")
    diary.open()
    command_line.ok("run", "loop", "--until-done", run)
    assert command_line.status(run)["status"] == "COMPLETED"
    causes = command_line.json("run", "explain", run)["causes"]
    assert causes[0]["message"].endswith("is met, without tasks t0 and last, cancelled by a person")
    command_line.ok("run", "rerun", run, "t0")
    command_line.ok("run", "loop", "--until-done", run)
    assert set(statuses(command_line, run).values()) == {"SUCCEEDED"}
    command_line.ok("check")


def test_what_cannot_be_cancelled_is_refused_in_a_sentence(command_line: CommandLine, diary: Diary) -> None:
    run = run_with_jobs(command_line, diary)
    diary.open()
    command_line.ok("run", "loop", "--until-done", run)

    def refused(*words: str) -> tuple[int, str, str]:
        done = command_line.run("run", "cancel", *words, "--json")
        return done.exit_code, done.error["message"], done.error["hint"] or ""

    events = command_line.events(run)
    assert refused(run, "t0")[:2] == (4, f"run {run} is COMPLETED and cannot become CANCELLED")
    command_line.ok("run", "rerun", run, "t1")
    assert refused(run, "t0")[:2] == (
        4, "task t0 is SUCCEEDED already: only what has not ended can be cancelled",
    )  # fmt: skip
    assert refused(run, "t1", "t0")[0] == 4, "whoever names a task that has ended should know"
    assert refused(run, "t11")[1:] == (f"run {run} has no task 't11'", "did you mean 't1'?")
    assert refused(run, "x*")[:2] == (3, f"run {run} has no task that fits 'x*'")
    kinds = [event["type"] for event in command_line.events(run)[len(events) :]]
    assert not {"TaskCancelled", "TaskCancelRequested"}.intersection(kinds)


@pytest.mark.parametrize(("typed", "is_done"), [("\n", False), ("no\n", False), ("y\n", True)])
def test_on_a_terminal_it_shows_what_would_end_and_asks_for_more_than_one_job(
    command_line: CommandLine, diary: Diary, typed: str, is_done: bool
) -> None:
    run = run_with_jobs(command_line, diary)

    said = on_terminal(command_line, "run", "cancel", run, "t*", typed=typed).stdout
    said = said.replace("\r\n", "\n")

    assert "these tasks end:\n  t0 (its job is ended)\n  t1 (its job is ended)\n  t2\n" in said
    assert "  last (depends on t0)\n" in said
    assert "End these 4 tasks, 2 of them with jobs? [y/N]" in said
    assert ("nothing was cancelled" in said) is not is_done
    assert (set(statuses(command_line, run).values()) == {"CANCELLED"}) is is_done
    assert bool(command_line.job_processes(run)) is not is_done


def test_one_job_or_a_person_who_is_sure_is_not_asked(command_line: CommandLine, diary: Diary) -> None:
    run = run_with_jobs(command_line, diary)
    assert "[y/N]" not in on_terminal(command_line, "run", "cancel", run, "t0").stdout
    assert "[y/N]" not in on_terminal(command_line, "run", "cancel", run, "t*", "--yes").stdout
    assert set(statuses(command_line, run).values()) == {"CANCELLED"}


def test_evidence_tells_who_cancelled_what_and_why_and_is_verified(
    command_line: CommandLine, diary: Diary
) -> None:
    run = run_with_jobs(command_line, diary)
    command_line.ok("run", "cancel", run, "t0", "--reason", "they melt")
    diary.open()
    command_line.ok("run", "loop", "--until-done", run)

    exported = command_line.json("run", "export-evidence", run)

    command_line.ok("evidence", "verify", exported["path"], "--against-store")
    report = (Path(exported["path"]) / "report.md").read_text()
    assert re.search(
        r"cancelled 2 tasks \(t0, last\), 1 of them since they depend on others.*they melt", report
    )
    assert re.search(
        r"\| last \| CANCELLED \| task t0, which it depends on, was cancelled by \S+: they melt", report
    )
