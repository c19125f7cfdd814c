"""What a run is changed by on the page: each form shows what would change before anything is sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from matterstack.core.model.resources import Resources
from matterstack.core.run import messages as m
from matterstack.core.states import JobState
from matterstack.storage.read.events import event_lines
from tests.monitor.page_support import NAUGHTY, PATIENCE_S, Site, go, site_on, visit
from tests.support.campaigns import write_tasks
from tests.support.command import CommandLine
from tests.support.states import task

expect.set_options(timeout=PATIENCE_S * 1000)
SHORT = Resources(walltime_s=60)
PHONE = {"width": 360, "height": 740}


def failed_run(site: Site) -> str:
    """Three of five tasks have failed, one of them out of time, and nobody serves the run; returns its id."""
    run = site.new_run("run", *(task(name, resources=SHORT) for name in ("a", "b", "c", "d")), task("e", "a"))
    for name, raw_state in (("a", "TIMEOUT"), ("b", "FAILED"), ("c", "FAILED")):
        run.run.activate(name)
        run.run.end(name, JobState.COMPLETED_ERROR, raw_state=raw_state, exit_code=3)
        run.run.collect(name, last_words="no licence" if name == "b" else "")
    run.commit()
    site.let_go("run")
    return run.run_id


def waiting_run(site: Site, **config: Any) -> str:
    """One task has succeeded, one has a job in a queue, the others wait; returns the id of the run."""
    run = site.new_run(
        "run",
        task("done"),
        task("queued", resources=SHORT),
        task("next", "queued"),
        task("last", "next"),
        **config,
    )
    run.run.succeed("done")
    run.run.activate("queued")
    run.commit()
    site.let_go("run")
    return run.run_id


def facts(site: Site, run_id: str, kind: str) -> list[dict[str, Any]]:
    """What the store has of that kind."""
    lines = [line for _, line in event_lines(site.connection, 0, run_id, most=100_000)]  # type: ignore[arg-type]
    return [line["data"] for line in lines if line["type"] == kind]


def opened(page: Page, run_id: str, button: str) -> Locator:
    """The form behind a button of a run."""
    go(page, f"#/runs/{run_id}/tasks")
    page.get_by_role("group", name="Actions").get_by_role("button", name=button).click()
    return page.get_by_role("dialog")


def change(form: Locator, path: str, value: str) -> None:
    form.get_by_label("Field").last.fill(path)
    form.get_by_label("New value").last.fill(value)


def look(form: Locator) -> None:
    form.get_by_role("button", name="Show what changes").click()


def rows(form: Locator) -> list[list[str]]:
    """The table of differences."""
    table = form.get_by_role("table")
    table.first.wait_for()
    return [row.locator("th, td").all_inner_texts() for row in table.locator("tbody tr").all()]


def test_tasks_are_amended_when_somebody_has_seen_what_changes(shared: Site, browser: Browser) -> None:
    run_id = failed_run(shared)
    with visit(browser, shared) as visitor:
        page = visitor.page
        form = opened(page, run_id, "Amend tasks")
        form.get_by_label("that failed").check()
        form.get_by_label("Kind of failure").select_option("error")
        change(form, "resources.walltime_s", "7200")
        form.get_by_role("button", name="Add another").click()
        change(form, "env.NOTE", NAUGHTY)
        look(form)
        assert rows(form) == [
            ["resources.walltime_s", "60", "7200", "2 tasks"],
            ["env.NOTE", "nothing", f'"{NAUGHTY}"', "2 tasks"],
        ]
        form.locator("summary").first.click()
        expect(form.get_by_role("region", name="This changes for 2 tasks")).to_contain_text("b, c")
        assert facts(shared, run_id, "TaskAmended") == []

        # What is shown is what is sent: who types on has to look once more.
        form.get_by_label("New value").first.fill("600")
        expect(form.get_by_role("button", name="Amend 2 tasks")).to_be_hidden()
        expect(form.get_by_role("table")).to_be_hidden()
        look(form)
        assert rows(form)[0] == ["resources.walltime_s", "60", "600", "2 tasks"]
        form.get_by_label("Reason").fill("tea & <b>cake</b>")
        form.get_by_role("button", name="Amend 2 tasks").click()
        expect(form).to_have_count(0)
        expect(page.locator("#notice")).to_have_text("2 tasks of demo were amended.")
        told = facts(shared, run_id, "TaskAmended")
        assert [one["task_id"] for one in told] == ["b", "c"]
        assert told[0]["changes"]["resources.walltime_s"] == {"old": 60, "new": 600}
        assert told[0]["changes"]["env.NOTE"]["new"] == NAUGHTY
        assert {one["reason"] for one in told} == {"tea & <b>cake</b>"}
        go(page, f"#/runs/{run_id}/events")
        expect(page.locator(".events li").first).to_contain_text(
            "c resources.walltime_s: 60 → 600; env.NOTE: null →"
        )
        assert visitor.count("img, body script, .events b") == 0


def test_what_cannot_be_amended_is_refused_in_words_and_the_form_stays(
    shared: Site, browser: Browser
) -> None:
    run_id = failed_run(shared)
    with visit(browser, shared) as visitor:
        form = opened(visitor.page, run_id, "Amend tasks")
        problem = form.get_by_role("alert")

        def refused(text: str) -> None:
            look(form)
            expect(problem).to_contain_text(text)
            expect(form.get_by_role("button", name="Amend")).to_be_hidden()

        refused("say what is to change")
        change(form, "resources.walltime_s", "7200")
        refused("name the tasks")
        form.get_by_label("Names or patterns").fill("a, x")
        refused("has no task 'x'")
        form.get_by_label("Names or patterns").fill("a")
        change(form, "resources.waltime_s", "7200")
        refused("did you mean resources.walltime_s?")
        change(form, "resources.walltime_s", "60")
        refused("nothing would change")
        form.get_by_label("Exit code").fill("three")
        refused('exit code: "three" is no whole number')
        form.get_by_label("Exit code").fill("4")
        refused("no task that is meant by")
        form.get_by_label("Exit code").fill("")
        change(form, "", "60")
        refused('say of which field "60" is to be the value')
        form.press("Escape")
        expect(form).to_have_count(0)
        expect(visitor.page.get_by_role("button", name="Amend tasks")).to_be_focused()
        assert facts(shared, run_id, "TaskAmended") == []


def test_who_was_shown_what_is_no_longer_so_is_shown_how_it_is_now(shared: Site, browser: Browser) -> None:
    run_id = failed_run(shared)
    with visit(browser, shared) as visitor:
        page = visitor.page
        form = opened(page, run_id, "Amend tasks")
        form.get_by_label("Names or patterns").fill("a b")
        change(form, "resources.walltime_s", "7200")
        look(form)
        assert rows(form) == [["resources.walltime_s", "60", "7200", "2 tasks"]]
        shared.command_line.run(
            "run", "amend", run_id, "a", "--set", "resources.walltime_s=999", "--yes", "--why", "I was first"
        )
        form.get_by_role("button", name="Amend 2 tasks").click()
        expect(form.get_by_role("alert")).to_contain_text("changed meanwhile")
        expect(form.get_by_role("alert")).to_contain_text("999")
        assert rows(form) == [
            ["resources.walltime_s", "999", "7200", "a"],
            ["resources.walltime_s", "60", "7200", "b"],
        ]
        assert len(facts(shared, run_id, "TaskAmended")) == 1
        form.get_by_role("button", name="Amend 2 tasks").click()
        expect(page.locator("#notice")).to_have_text("2 tasks of demo were amended.")
        assert [
            one["changes"]["resources.walltime_s"]["old"] for one in facts(shared, run_id, "TaskAmended")
        ] == [60, 999, 60]


def test_a_reason_that_comes_last_is_kept_and_sends_nothing_that_was_not_seen(
    shared: Site, browser: Browser
) -> None:
    run_id = failed_run(shared)
    with visit(browser, shared) as visitor:
        form = opened(visitor.page, run_id, "Amend tasks")
        form.get_by_label("Names or patterns").fill("a")
        change(form, "retries", "2")
        look(form)
        assert rows(form) == [["retries", "0", "2", "a"]]
        shared.command_line.run("run", "amend", run_id, "a", "--set", "retries=1", "--yes")
        form.get_by_label("Reason").fill("last")
        form.get_by_role("button", name="Amend 1 task").click()
        expect(form.get_by_role("alert")).to_contain_text("somebody else changed it meanwhile")
        assert rows(form) == [["retries", "1", "2", "a"]]
        form.get_by_role("button", name="Amend 1 task").click()
        expect(form).to_have_count(0)
        assert [one["reason"] for one in facts(shared, run_id, "TaskAmended")] == ["", "last"]


def test_ticked_tasks_are_amended_and_what_cannot_be_is_left_out(shared: Site, browser: Browser) -> None:
    run_id = waiting_run(shared)
    with visit(browser, shared) as visitor:
        page = visitor.page
        go(page, f"#/runs/{run_id}/tasks")
        ticked = page.get_by_role("group", name="Ticked tasks")
        expect(page.get_by_role("row", name="done SUCCEEDED")).to_be_visible()
        expect(ticked).to_be_hidden()
        page.get_by_label("Tick done").click()
        expect(ticked).to_contain_text("1 task ticked")
        expect(page.get_by_role("complementary")).to_have_count(0)
        expect(ticked.get_by_role("button")).to_have_text(["Tick none"])
        page.get_by_role("row", name="queued ACTIVE").press(" ")
        expect(page.get_by_label("Tick queued")).to_be_checked()
        page.get_by_label("State").select_option("WAITING")
        page.get_by_role("button", name="Tick the 2 tasks that are shown").click()
        expect(ticked).to_contain_text("4 tasks ticked")
        ticked.get_by_role("button", name="Amend").click()
        form = page.get_by_role("dialog")
        expect(form).to_contain_text("3 tasks: queued, next, last (left out: 1 ticked task")
        expect(form.get_by_label("Field")).to_be_focused()
        change(form, "resources.walltime_s", "120")
        look(form)
        expect(form.get_by_role("region")).to_contain_text("Submitted already, and left as it is: queued.")
        form.get_by_role("button", name="Amend 3 tasks").click()
        expect(form).to_have_count(0)
        expect(ticked.get_by_role("button", name="Amend")).to_be_focused()
        assert [one["task_id"] for one in facts(shared, run_id, "TaskAmended")] == ["queued", "next", "last"]
        ticked.get_by_role("button", name="Tick none").click()
        expect(ticked).to_be_hidden()
        expect(page.get_by_role("button", name="Tick the 2 tasks")).to_be_focused()


def test_one_task_is_amended_where_it_is_shown(shared: Site, browser: Browser) -> None:
    run_id = waiting_run(shared)
    with visit(browser, shared) as visitor:
        page = visitor.page
        go(page, f"#/runs/{run_id}/tasks/done")
        panel = page.get_by_role("complementary")
        expect(panel.get_by_role("button")).to_have_text(["✕"])
        go(page, f"#/runs/{run_id}/tasks/next")
        panel.get_by_role("button", name="Amend task").click()
        form = page.get_by_role("dialog", name="Amend this task")
        change(form, "command", "vasp_std -v")
        look(form)
        assert rows(form) == [["command", '["true"]', '["vasp_std","-v"]', "next"]]
        form.get_by_role("button", name="Amend 1 task").click()
        expect(page.locator("#notice")).to_have_text("1 task of demo was amended.")
        (told,) = facts(shared, run_id, "TaskAmended")
        assert told["changes"] == {"command": {"old": ["true"], "new": ["vasp_std", "-v"]}}


def test_failed_tasks_are_tried_again_as_selected_and_changed(shared: Site, browser: Browser) -> None:
    run_id = failed_run(shared)
    with visit(browser, shared) as visitor:
        page = visitor.page
        form = opened(page, run_id, "Retry failed tasks")
        # What is tried again where nothing is said is shown at once.
        expect(form.get_by_role("region")).to_contain_text("a, b, c, e")
        expect(form.get_by_label("Names or patterns")).to_be_focused()
        form.get_by_label("Failed with the words").fill("LICENCE")
        change(form, "env.LICENCE", "b")
        look(form)
        expect(form.get_by_role("region", name="1 task is tried again")).to_be_visible()
        assert rows(form) == [["env.LICENCE", "nothing", '"b"', "b"]]
        form.get_by_label("Reason").fill("it was renewed")
        form.get_by_role("button", name="Retry 1 task").click()
        expect(page.get_by_role("row", name="b READY")).to_be_visible()
        expect(page.get_by_role("row", name="c FAILED")).to_be_visible()
        (amended,) = facts(shared, run_id, "TaskAmended")
        assert (amended["task_id"], amended["reason"]) == ("b", "it was renewed")
        assert [one["task_id"] for one in facts(shared, run_id, "TaskReopened")] == ["b"]
        form = opened(page, run_id, "Retry failed tasks")
        form.get_by_label("Names or patterns").fill("d")
        look(form)
        expect(form.get_by_role("alert")).to_contain_text("only failed tasks can be retried")


def test_the_config_is_changed_when_somebody_has_seen_what_changes(shared: Site, browser: Browser) -> None:
    run_id = waiting_run(shared)
    with visit(browser, shared) as visitor:
        page = visitor.page
        form = opened(page, run_id, "Change config")
        expect(form.get_by_label("Field")).to_be_focused()
        problem = form.get_by_role("alert")
        look(form)
        expect(problem).to_contain_text("say what is to change")
        change(form, "max_hpc_jobs_per_run", "10")
        look(form)
        expect(form.get_by_role("region", name="Nothing would change")).to_be_visible()
        expect(form.get_by_role("button", name="Change the config")).to_be_hidden()
        change(form, "max_hpc_jobs_per_rum", "20")
        look(form)
        expect(problem).to_contain_text("max_hpc_jobs_per_run")
        change(form, "max_hpc_jobs_per_run", "20")
        form.get_by_role("button", name="Add another").click()
        change(form, "backends.local.prologue", '["module load vasp", "ulimit -s unlimited"]')
        look(form)
        assert rows(form)[0] == ["max_hpc_jobs_per_run", "10", "20"]
        assert rows(form)[1][0] == "backends.local.prologue"
        assert facts(shared, run_id, "ConfigAmended") == []

        shared.command_line.run("run", "amend", run_id, "--config", "max_hpc_jobs_per_run=15", "--yes")
        form.get_by_label("Reason").fill("Christmas")
        form.get_by_role("button", name="Change the config").click()
        expect(problem).to_contain_text("changed")
        assert rows(form)[0] == ["max_hpc_jobs_per_run", "15", "20"]
        form.get_by_role("button", name="Change the config").click()
        expect(page.locator("#notice")).to_have_text("The config of demo was changed.")
        expect(page.locator(".run-state")).to_contain_text("1 of 20 jobs")
        go(page, f"#/runs/{run_id}/events")
        event = page.locator(".events li").first
        expect(event).to_contain_text(
            "ConfigAmended max_hpc_jobs_per_run: 15 → 20; backends.local.prologue: null → "
        )
        expect(event).not_to_contain_text("overrides=")
        told = facts(shared, run_id, "ConfigAmended")
        assert [one["reason"] for one in told] == ["", "Christmas"]
        assert told[1]["config"]["backends"]["local"]["prologue"] == [
            "module load vasp",
            "ulimit -s unlimited",
        ]


def test_tasks_are_cancelled_with_what_depends_on_them_and_the_run_goes_on(
    shared: Site, browser: Browser
) -> None:
    run_id = waiting_run(shared)
    with visit(browser, shared) as visitor:
        page = visitor.page
        go(page, f"#/runs/{run_id}/tasks/next")
        page.get_by_role("complementary").get_by_role("button", name="Cancel task").click()
        form = page.get_by_role("dialog", name="Cancel this task?")
        expect(form.get_by_role("region", name="2 tasks end")).to_contain_text(
            "With next, on which they depend: last"
        )
        form.get_by_label("Reason").fill("too hot")
        assert facts(shared, run_id, "TaskCancelled") == []
        form.get_by_role("button", name="Cancel 2 tasks").click()
        expect(page.get_by_role("row", name="next CANCELLED")).to_be_visible()
        expect(page.get_by_role("row", name="last CANCELLED")).to_be_visible()
        expect(page.get_by_role("row", name="queued ACTIVE")).to_be_visible()
        # The button that was used is there no more, and the keyboard stays with the task.
        expect(page.get_by_role("heading", name="next", level=2)).to_be_focused()
        assert [(one["task_id"], one["reason"]) for one in facts(shared, run_id, "TaskCancelled")] == [
            ("next", "too hot"),
            ("last", "too hot"),
        ]
        expect(page.locator(".run-state .badge")).to_have_text("RUNNING")


def test_a_held_run_says_why_and_goes_on_when_somebody_lets_it(shared: Site, browser: Browser) -> None:
    run = shared.new_run(
        "run", *(task(f"t{n}") for n in range(5)), hold_after_alike=2, max_hpc_jobs_per_run=1
    )
    for name in ("t0", "t1"):
        run.run.activate(name)
        run.run.tell(m.Observed(token=run.run.token(name), state=JobState.RUNNING))
        run.run.end(name, JobState.COMPLETED_ERROR)
        run.run.collect(name)
    run.tell(m.Settle())
    shared.let_go("run")
    with visit(browser, shared) as visitor:
        page = visitor.page
        go(page, f"#/runs/{run.run_id}/events")
        expect(page.locator(".run-reason")).to_contain_text("paused by the engine: 2 tasks failed alike")
        held = page.locator(".events li").first
        expect(held).to_contain_text("RunPaused by=the engine reason=2 tasks failed alike")
        expect(held).not_to_contain_text("alike=")
        page.get_by_role("button", name="Resume").click()
        dialog = page.get_by_role("dialog", name="Resume this run?")
        expect(dialog).to_contain_text("It is paused by the engine: 2 tasks failed alike")
        dialog.get_by_role("button", name="Resume").click()
        expect(page.locator(".run-state .badge")).to_have_text("RUNNING")
        assert len(facts(shared, run.run_id, "RunResumed")) == 1


def test_forms_are_filled_in_with_the_keyboard_alone(shared: Site, browser: Browser) -> None:
    run_id = failed_run(shared)
    with visit(browser, shared) as visitor:
        page = visitor.page
        go(page, f"#/runs/{run_id}/tasks")
        expect(page.get_by_role("row", name="a FAILED")).to_be_visible()
        page.keyboard.press("m")
        form = page.get_by_role("dialog", name="Amend tasks")
        expect(form.get_by_label("Names or patterns")).to_be_focused()
        page.keyboard.type("a")
        seen = set()
        for _ in range(13):
            page.keyboard.press("Tab")
            visitor.require_visible_focus()
            seen.add(page.evaluate("document.activeElement.textContent || document.activeElement.type"))
        assert {"Add another", "Show what changes", "Leave it", "checkbox"} <= seen
        form.get_by_label("Field").focus()
        page.keyboard.type("retries")
        page.keyboard.press("Tab")
        page.keyboard.type("1")
        page.keyboard.press("Enter")
        heading = form.get_by_role("heading", name="This changes for 1 task")
        expect(heading).to_be_focused()
        form.get_by_label("New value").press("Enter")
        visitor.settle(1.0)  # in which it would have been sent
        assert facts(shared, run_id, "TaskAmended") == [], "the enter key shows, and sends nothing"
        expect(heading).to_be_focused()
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        expect(form.get_by_role("button", name="Amend 1 task")).to_be_focused()
        visitor.require_visible_focus()
        page.keyboard.press("Enter")
        expect(form).to_have_count(0)
        assert len(facts(shared, run_id, "TaskAmended")) == 1


def test_a_real_run_that_failed_is_mended_on_the_page_and_completes(
    command_line: CommandLine, browser: Browser
) -> None:
    asks = ["sh", "-c", 'test "$STRENGTH" = 7 || { echo no strength >&2; exit 3; }']
    tasks = [{"id": name, "command": asks} for name in ("x", "y")]
    write_tasks(command_line.root, "trial", [*tasks, {"id": "after", "command": asks, "depends_on": ["x"]}])
    run_id = command_line.new_run("trial")
    with site_on(command_line) as site:
        command_line.check_at_end = True
        site.start("run", "loop", run_id, "--serve", "127.0.0.1:0")
        with visit(browser, site) as visitor:
            page = visitor.page
            go(page, f"#/runs/{run_id}")
            expect(page.locator(".run-state .badge")).to_have_text("FAILED")
            page.get_by_role("group", name="Actions").get_by_role("button", name="Amend tasks").click()
            form = page.get_by_role("dialog")
            form.get_by_label("Names or patterns").fill("*")
            change(form, "env.STRENGTH", "7")
            look(form)
            assert rows(form) == [["env.STRENGTH", "nothing", '"7"', "3 tasks"]]
            form.get_by_role("button", name="Amend 3 tasks").click()
            expect(form).to_have_count(0)
            expect(page.locator(".run-state .badge")).to_have_text("FAILED")
            page.get_by_role("button", name="Retry failed tasks").click()
            form.get_by_role("button", name="Retry 3 tasks").click()
            expect(page.locator(".run-state .badge")).to_have_text("COMPLETED")
            assert set(command_line.tasks(run_id)) == {"x", "y", "after"}


def test_a_form_outlives_the_monitor_and_sends_nothing_to_one_that_has_not_shown_it(
    site: Site, browser: Browser
) -> None:
    site.start()
    run_id = failed_run(site)
    with visit(browser, site) as visitor:
        visitor.may_complain = True  # of connections that were refused
        page = visitor.page
        form = opened(page, run_id, "Amend tasks")
        form.get_by_label("Names or patterns").fill("a")
        change(form, "retries", "1")
        look(form)
        assert rows(form) == [["retries", "0", "1", "a"]]
        site.kill()
        expect(page.locator("#connection")).to_contain_text("Not live")
        form.get_by_role("button", name="Amend 1 task").click()
        expect(form.get_by_role("alert")).to_contain_text("not connected: nothing was sent")
        site.start()
        page.goto(site.link)
        expect(page.locator("#connection")).to_have_text("Live")
        form.get_by_role("button", name="Amend 1 task").click()
        expect(form.get_by_role("alert")).to_contain_text("Nothing was changed yet")
        assert rows(form) == [["retries", "0", "1", "a"]]
        assert facts(site, run_id, "TaskAmended") == []
        form.get_by_role("button", name="Amend 1 task").click()
        expect(form).to_have_count(0)
        assert len(facts(site, run_id, "TaskAmended")) == 1


def test_jobs_that_wait_are_submitted_anew_where_that_is_ticked(shared: Site, browser: Browser) -> None:
    run_id = waiting_run(shared)
    with visit(browser, shared) as visitor:
        form = opened(visitor.page, run_id, "Amend tasks")
        form.get_by_label("Names or patterns").fill("queued next")
        change(form, "resources.walltime_s", "120")
        look(form)
        preview = form.get_by_role("region")
        expect(preview).to_contain_text("Submitted already, and left as it is: queued.")
        form.get_by_label("Cancel jobs that still wait").check()
        expect(preview).to_be_hidden()
        look(form)
        expect(preview).to_contain_text("Waiting: cancelled, and submitted anew: queued.")
        form.get_by_label("Field").fill("")
        form.get_by_label("New value").fill("")
        look(form)
        expect(form.get_by_role("region", name="1 job is submitted anew")).to_be_visible()
        form.get_by_role("button", name="Resubmit 1 job").click()
        expect(visitor.page.locator("#notice")).to_have_text("1 job of demo is submitted anew.")
        assert [one["task_id"] for one in facts(shared, run_id, "TaskResubmitRequested")] == ["queued"]
        assert facts(shared, run_id, "TaskAmended") == []


def test_a_mended_campaign_is_planned_once_more_when_somebody_has_seen_what_changes(
    command_line: CommandLine, browser: Browser
) -> None:
    wrong = {"id": "x", "command": ["sh", "-c", "exit 3"]}
    folder = write_tasks(command_line.root, "trial", [wrong, {"id": "y", "command": ["true"]}])
    run_id = command_line.new_run("trial")
    with site_on(command_line) as site:
        command_line.check_at_end = True
        site.start("run", "loop", run_id, "--serve", "127.0.0.1:0")
        with visit(browser, site) as visitor:
            page = visitor.page
            go(page, f"#/runs/{run_id}")
            expect(page.locator(".run-state .badge")).to_have_text("FAILED")
            (folder / "tasks.json").write_text("{")
            form = opened(page, run_id, "Replan")
            expect(form.get_by_role("alert")).to_contain_text("JSONDecodeError")
            mended = [
                {**wrong, "command": ["true"]},
                {"id": "y", "command": ["true", "again"]},
                {"id": "z", "command": ["true"], "depends_on": ["x"]},
            ]
            (folder / "tasks.json").write_text(json.dumps(mended))
            look(form)
            preview = form.get_by_role(
                "region", name="Iteration 1: 1 new, 2 changed, 0 gone, 0 tasks as before"
            )
            expect(preview).to_contain_text("changed; failed, and tried again: x")
            expect(preview).to_contain_text("changed; succeeded, and stays as it is, stale: y")
            expect(preview).to_contain_text("new: z")
            assert rows(form)[0] == ["command", '["sh","-c","exit 3"]', '["true"]']
            form.get_by_label("Do what succeeded again").check()
            form.get_by_label("Reason").fill("a wrong command")
            look(form)
            expect(preview).to_contain_text("changed; succeeded, and done again: y")

            command_line.ok("run", "amend", run_id, "x", "--set", "env.NOTE=mine", "--yes")
            form.get_by_role("button", name="Take this plan").click()
            expect(form.get_by_role("alert")).to_contain_text("changed")
            expect(preview).to_contain_text("done again: y")
            form.get_by_role("button", name="Take this plan").click()
            expect(page.locator("#notice")).to_have_text("trial goes by its new plan.")
            expect(page.locator(".run-state .badge")).to_have_text("COMPLETED")
            assert set(command_line.tasks(run_id)) == {"x", "y", "z"}
            (told,) = [e["data"] for e in command_line.events(run_id) if e["type"] == "Replanned"]
            assert told["reason"] == "a wrong command"


FORMS = ("Amend tasks", "Retry failed tasks", "Change config")


@pytest.mark.parametrize("button", FORMS)
def test_forms_fit_on_a_phone_can_be_read_and_say_what_things_are(
    shared: Site, browser: Browser, button: str
) -> None:
    run_id = failed_run(shared)
    with visit(browser, shared, viewport=PHONE, is_mobile=True, has_touch=True) as visitor:
        page = visitor.page
        form = opened(page, run_id, button)
        if button != "Change config":
            form.get_by_label("Names or patterns").fill("a")
            change(form, "params.text", "w" * 400)
        else:
            change(form, "params.text", "w" * 400)
        look(form)
        assert rows(form)[0][0] == "params.text"
        visitor.settle()
        assert visitor.width() == PHONE["width"]
        assert form.evaluate("e => e.scrollWidth <= e.clientWidth")
        assert visitor.nameless() == []
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert visitor.faint_texts() == []


def test_more_tasks_than_a_message_holds_are_said_so(shared: Site, browser: Browser) -> None:
    run = shared.new_run("run", *(task(f"{'relax' * 20}-{n:04d}") for n in range(700)))
    shared.let_go("run")
    with visit(browser, shared) as visitor:
        page = visitor.page
        go(page, f"#/runs/{run.run_id}/tasks")
        page.get_by_role("button", name="Tick the 700 tasks").click()
        page.get_by_role("group", name="Ticked tasks").get_by_role("button", name="Amend").click()
        form = page.get_by_role("dialog")
        change(form, "retries", "1")
        look(form)
        expect(form.get_by_role("alert")).to_contain_text(
            "say which tasks by a pattern, or by how they stand"
        )
        expect(page.locator("#connection")).to_have_text("Live")
