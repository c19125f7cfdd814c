"""``matterstack watch`` in a real terminal, beside engines and monitors; and where there is no terminal."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from matterstack.core.run import messages as m
from tests.monitor.page_support import Site, site_on
from tests.support.campaigns import Diary, write_tasks
from tests.support.command import COMMAND, PATIENCE_S, CommandLine
from tests.support.polling import wait_until
from tests.support.process import Process
from tests.support.states import task
from tests.watch.windows import Window, window

NOWHERE = "http://127.0.0.1:1/?token=x"


@pytest.fixture
def terminal() -> Iterator[Window]:
    with window() as opened:
        yield opened


@pytest.fixture
def site(command_line: CommandLine) -> Iterator[Site]:
    with site_on(command_line) as site:
        yield site


def watch(
    terminal: Window, command_line: CommandLine, *arguments: str, size: tuple[int, int] = (100, 30)
) -> None:
    """Run it in the terminal."""
    names = ("HOME", "LC_ALL", command_line_mark(command_line))
    environment = {name: command_line.environment[name] for name in names}
    terminal.open(
        [str(COMMAND), "watch", *arguments], {**environment, "COLUMNS": ""}, command_line.root, size
    )


def command_line_mark(command_line: CommandLine) -> str:
    """The variable by which what the test leaves behind is found."""
    return next(name for name, value in command_line.environment.items() if value == command_line.mark)


def watching(command_line: CommandLine) -> Process:
    """The process that draws."""
    (found,) = [one for one in command_line.processes() if "python" in one.executable]
    return found


def test_a_run_is_watched_paused_resumed_explained_and_cancelled(
    command_line: CommandLine, diary: Diary, terminal: Window
) -> None:
    one = diary.task("one", r"printf 'h\033[31mello\033[0m\n'; " + diary.gate("first"))
    write_tasks(command_line.root, "demo", [one, diary.task("two", diary.gate("never"), depends_on=["one"])])
    run_id = command_line.new_run("demo")
    engine = command_line.start("run", "loop", run_id)
    watch(terminal, command_line)
    terminal.wait_for("● live", f"▸ demo      {run_id} RUNNING", "0/2")
    terminal.press("Enter")
    terminal.wait_for("one  ACTIVE", "two  WAITING", "one job ")
    terminal.press("l")
    terminal.wait_for("stdout of attempt 1", "hello")
    terminal.press("Escape")
    terminal.wait_for("esc all runs")
    diary.open("first")
    terminal.wait_for(" 1 of 2: ", "two  ACTIVE", "one  SUCCEEDED")

    terminal.press("p")
    terminal.wait_for(f"Pause demo {run_id}?")
    terminal.press("n")
    terminal.wait_for("q quit")
    terminal.press("p", "y")
    terminal.wait_for("PAUSED", f"demo {run_id} was paused", "the run was paused by")
    assert command_line.status(run_id)["status"] == "PAUSED"
    terminal.press("e")
    terminal.wait_for("1. the run is paused by", f"matterstack run resume {run_id}")
    terminal.press("r", "y")
    terminal.wait_for("RUNNING", f"demo {run_id} was resumed")
    assert command_line.status(run_id)["status"] == "RUNNING"
    terminal.press("Escape")
    terminal.wait_for("LATEST EVENTS", "the run was resumed by")

    terminal.resize(70, 20)
    terminal.wait(
        lambda shown: len(shown.splitlines()) == 20 and "q quit" in shown.splitlines()[-1], "20 rows"
    )
    terminal.press("c", "y")
    terminal.wait_for("CANCELLED")
    wait_until(lambda: command_line.status(run_id)["status"] == "CANCELLED", PATIENCE_S, "the end of the run")
    assert command_line.job_processes(run_id) == set()
    engine.signal(signal.SIGTERM)
    assert engine.wait().exit_code == 0

    # Without an engine its commands are carried out as well.
    waiting = command_line.new_run("demo")
    terminal.press("BSpace")
    terminal.wait_for("2 runs", f"demo      {waiting} PENDING")
    terminal.press("Up")
    terminal.wait_for(f"▸ demo      {waiting}")
    terminal.press("c", "y")
    terminal.wait_for(f"▸ demo      {waiting} CANCELLED")
    terminal.press("q")
    assert terminal.wait_for_end() == 0


def test_a_monitor_that_is_killed_and_started_again_costs_no_event(site: Site, terminal: Window) -> None:
    run = site.new_run("run", task("a"), task("b"))
    site.start()
    # A link is for one start of a monitor; the token outlives it.
    by_token = ("--url", site.url, "--token-file", str(site.token_file))
    watch(terminal, site.command_line, run.run_id, *by_token, size=(110, 40))
    terminal.wait_for("● live", "▸ a    READY")
    site.kill()
    terminal.wait_for("○ not live since ", "trying again")
    site.activate("run", "a", "b")
    site.end("run", "a")
    site.start()
    terminal.wait_for("● live", "1 of 2", "a SUCCEEDED")
    site.end("run", "b")
    shown = terminal.wait_for("2 of 2", "b SUCCEEDED")
    told = [line[17:] for line in shown.partition("LATEST EVENTS")[2].splitlines() if line[:4] == "2026"]
    everything = [
        "b was planned", "a took a seat on local", "b took a seat on local", "a job job-a is QUEUED",
        "b job job-b is QUEUED", "a ended COMPLETED_OK, exit code 0", "a SUCCEEDED",
        "b ended COMPLETED_OK, exit code 0", "b SUCCEEDED",
    ]  # fmt: skip
    assert told == everything


def test_the_terminal_is_given_back_on_sigterm(command_line: CommandLine, terminal: Window) -> None:
    watch(terminal, command_line)
    terminal.wait_for("no runs yet", "● live")
    watching(command_line).send(signal.SIGTERM)
    assert terminal.wait_for_end() == 0
    assert "MatterStack" not in terminal.text, "the other screen is still there"


def test_it_can_be_stopped_and_brought_back_and_ends_on_control_c(
    command_line: CommandLine, terminal: Window
) -> None:
    watch(terminal, command_line)
    terminal.wait_for("no runs yet", "● live")
    terminal.press("C-z")
    shown = terminal.wait_for("STOPPED")
    assert "MatterStack" not in shown
    terminal.press("Enter")
    terminal.wait_for("no runs yet", "● live")
    terminal.press("C-c")
    assert terminal.wait_for_end() == 0


def test_what_went_wrong_at_first_is_said_on_the_screen_that_was_there(
    command_line: CommandLine, terminal: Window
) -> None:
    watch(terminal, command_line, "--url", NOWHERE)
    assert terminal.wait_for_end() == 5
    assert "Error: 127.0.0.1:1 cannot be reached" in terminal.text


# ---- without a terminal


def test_each_event_is_a_line_until_the_run_has_ended(command_line: CommandLine, diary: Diary) -> None:
    write_tasks(command_line.root, "demo", [diary.task("one")])
    run_id = command_line.new_run("demo")
    watching = command_line.start("watch", run_id)
    wait_until(lambda: "demo is PENDING" in watching.stdout, PATIENCE_S, "the first line")
    command_line.start("run", "loop", run_id, "--until-done")
    done = watching.wait()
    assert (done.exit_code, done.stderr) == (0, "")
    first, *lines = done.stdout.splitlines()
    assert first.endswith(f"{run_id} demo is PENDING, 0 of 0 tasks have ended: no engine has taken it up yet")
    events = command_line.events(run_id)[1:]
    assert [line.split()[0] for line in lines] == [f"{event['at'][:19]}Z" for event in events]
    assert [line.split(maxsplit=2)[2] for line in lines if line.endswith("SUCCEEDED")] == ["one SUCCEEDED"]
    assert lines[-1].endswith("the run is COMPLETED")


def test_a_link_lets_in_once_and_the_exit_code_says_what_became_of_the_run(site: Site) -> None:
    run = site.new_run("run")
    run.tell(m.Cancel(by="ann"), m.Settle())
    site.start()
    ask = partial(site.command_line.run, "watch", run.run_id, "--url")
    cancelled = ask(site.link)
    assert (cancelled.exit_code, cancelled.stdout.count("demo is CANCELLED")) == (1, 1)
    used = ask(site.link)
    assert used.exit_code == 5
    assert "did not let this client in: this link was used before" in used.stderr
    assert "matterstack monitor --new-link" in used.stderr
    assert ask(site.new_link()).exit_code == 1


def test_a_token_is_taken_from_a_file_or_from_standard_input(site: Site) -> None:
    run = site.new_run("run")
    run.tell(m.Cancel(by="ann"), m.Settle())
    site.start()
    ask = partial(site.command_line.run, "watch", run.run_id, "--url", site.url, "--token-file")
    assert "demo is CANCELLED" in ask(str(site.token_file)).stdout
    told = subprocess.run(
        [COMMAND, "watch", run.run_id, "--url", site.url, "--token-file", "-"],
        input=f"{site.token}\n",
        env=site.command_line.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "demo is CANCELLED" in told.stdout, told.stderr
    missing = ask("nowhere")
    assert (missing.exit_code, missing.stderr.splitlines()[0]) == (
        2,
        "Error: nowhere: the token cannot be read: No such file or directory",
    )
    empty = ask("-")  # nothing is there to be read
    assert (empty.exit_code, empty.stderr.splitlines()[0]) == (2, "Error: -: there is no token in it")
    alone = site.command_line.run("watch", "--token-file", "x")
    assert "--token-file: needs a --url" in alone.stderr


def test_tasks_are_amended_tried_again_and_cancelled_with_keys_and_only_after_a_yes(
    command_line: CommandLine, diary: Diary, terminal: Window
) -> None:
    fails = [diary.task(name, '[ "$MODE" = good ]') for name in ("fails-1", "fails-2")]
    write_tasks(
        command_line.root,
        "demo",
        [*fails, diary.task("stays", diary.gate("never")), diary.task("after", depends_on=["stays"])],
    )
    run_id = command_line.new_run("demo")
    engine = command_line.start("run", "loop", run_id)
    watch(terminal, command_line, run_id, size=(110, 30))
    terminal.wait_for("● live", "fails-1 FAILED", "fails-2 FAILED", "stays   ACTIVE")

    # What makes no sense is typed on, and nothing is asked of the run before a yes.
    terminal.press("t")
    terminal.wait_for("retry: --failed ▏", "esc: leave it")
    terminal.press("e", "n", "v", "s", ".", "M", "O", "D", "E", "=", "x", "Enter")
    terminal.wait_for("is nothing that a task has", "retry: --failed envs.MODE=x▏")
    terminal.press("C-w", *"env.MODE=good", "Enter")
    terminal.wait_for(
        f"demo {run_id}: tasks fails-1 and fails-2 will be tried again, amended before:",
        "env.MODE: nothing -> 'good'   (2 tasks)",
        "Try them again?  y: yes, any other key: no",
    )
    terminal.press("n")
    terminal.wait_for("t try again")
    assert not [event for event in command_line.events(run_id) if event["type"] == "TaskAmended"]
    terminal.press("t", *"env.MODE=good", "Enter")
    terminal.wait_for("Try them again?")
    terminal.press("y")
    terminal.wait_for("tried again as shown", "fails-1 SUCCEEDED", "fails-2 SUCCEEDED")

    terminal.press("Home", "a")
    terminal.wait_for("amend: stays ▏")
    terminal.press(*"priority=3", "Enter")
    terminal.wait_for(
        "task stays will be amended:", "priority: 0 -> 3", "task stays at work now: not touched"
    )
    terminal.press("y")
    terminal.wait_for("amended as shown")

    # Who was shown something else is told so.
    terminal.press("a", *"priority=4", "Enter")
    terminal.wait_for("priority: 3 -> 4", "Change it?")
    command_line.run("run", "amend", run_id, "stays", "--set", "priority=7", "--yes")
    terminal.press("y")
    terminal.wait_for("changed meanwhile: priority of task stays is 7, not 3 as", "was shown (look at")

    terminal.press("x")
    terminal.wait_for(
        "tasks stays and after will be cancelled, 1 of them with jobs",
        "task after: since a task before it is",
    )
    terminal.press("y")
    terminal.wait_for("stays   CANCELLED", "after   CANCELLED", "COMPLETED")
    assert command_line.job_processes(run_id) == set()
    engine.signal(signal.SIGTERM)
    assert engine.wait().exit_code == 0
    terminal.press("q")
    assert terminal.wait_for_end() == 0


def test_config_and_plan_are_changed_with_keys_and_only_after_what_changes_was_shown(
    command_line: CommandLine, diary: Diary, terminal: Window
) -> None:
    tasks = [diary.task("fails", "false"), diary.task("good"), diary.task("stays", diary.gate("never"))]
    workspace = write_tasks(command_line.root, "demo", tasks)
    run_id = command_line.new_run("demo")
    engine = command_line.start("run", "loop", run_id)
    watch(terminal, command_line, run_id, size=(110, 30))
    terminal.wait_for("● live", "fails FAILED", "good  SUCCEEDED", "stays ACTIVE", "f config  n replan")

    # What makes no sense is typed on, and nothing is asked of the run before a yes.
    terminal.press("f")
    terminal.wait_for("config: ▏", "from-workspace: the config files as they are now")
    terminal.press(*"pririty=3", "Enter")
    terminal.wait_for("did you mean priority?", "config: pririty=3▏")
    terminal.press("C-w", *"priority=3", "Enter")
    config = (f"demo {run_id}: its config, from now on:", "priority: 1 -> 3", "Change it?  y: yes")
    terminal.wait_for(*config)
    terminal.press("n")
    terminal.wait_for("f config")
    assert "ConfigAmended" not in kinds(command_line, run_id)
    terminal.press("f", *"priority=3", "Enter")
    terminal.wait_for(*config)
    terminal.press("y")
    terminal.wait_for("its config was changed as shown")
    write_tasks(command_line.root, "demo", tasks, cap=7)
    terminal.press("f", *"from-workspace --why fewer", "Enter")
    terminal.wait_for(
        "max_hpc_jobs_per_run: 10 -> 7", "set for this run alone, over the files: priority: 1 -> 3"
    )
    terminal.press("y")
    terminal.wait_for("of 7 jobs")

    # A plan that does not fit the terminal is read line by line, and asked about all the same.
    (workspace / "campaign.py").write_text((workspace / "campaign.py").read_text() + "# mended\n")
    mended = [diary.task("fails"), diary.task("good", "true"), diary.task("more")]
    write_tasks_of(workspace, mended)
    terminal.resize(80, 10)
    terminal.press("n")
    terminal.wait_for("replan: ▏")
    terminal.press(*"cancel-gone", "Enter")
    terminal.wait_for(
        f"demo {run_id}: iteration 1 as it is planned now",
        "fails: changed; failed: tried again",
        "Take this plan (1 new, 1 changed, 1 stale, 1 gone, 1 job ended)?  ↑↓: read on",
        "any other key: no",
    )
    terminal.press("End")
    terminal.wait_for(
        "more: new", "stays: gone: its job is ended", "0 tasks as planned before", "Take this plan (1 new"
    )
    terminal.press("Home")
    terminal.wait_for("as it is planned now (campaign.py", "─ lines 1-6 of ")
    terminal.press("n")
    terminal.wait_for("n replan")
    assert "Replanned" not in kinds(command_line, run_id)
    terminal.resize(110, 30)
    terminal.press("n", *"cancel-gone", "Enter")
    terminal.wait_for(
        "good: stale: succeeded with another definition, and stays",
        "stays: gone: its job is ended",
        "Take this plan (1 new, 1 changed, 1 stale, 1 gone, 1 job ended)?  y: yes, any other key: no",
    )
    terminal.press("y")
    terminal.wait_for("it goes by the plan that was shown", "more  SUCCEEDED", "stays CANCELLED", "COMPLETED")
    assert command_line.job_processes(run_id) == set()
    assert {"ConfigAmended", "Replanned", "TaskReplanned"} <= kinds(command_line, run_id)
    engine.signal(signal.SIGTERM)
    assert engine.wait().exit_code == 0
    terminal.press("q")
    assert terminal.wait_for_end() == 0


def kinds(command_line: CommandLine, run_id: str) -> set[str]:
    """Types of all events of a run."""
    return {event["type"] for event in command_line.events(run_id)}


def write_tasks_of(workspace: Path, tasks: list[dict[str, Any]]) -> None:
    """Change what the campaign plans, and nothing else of the workspace."""
    (workspace / "tasks.json").write_text(json.dumps(tasks))
