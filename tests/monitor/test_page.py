"""The page, in a real browser, beside a real monitor and a real store."""

from __future__ import annotations

import json
from random import Random
from typing import Any, Literal

from playwright.sync_api import Browser, Page, expect

from matterstack.core.operators import ASKED
from matterstack.core.run import messages as m
from matterstack.core.states import JobState
from tests.monitor.page_support import NAUGHTY, PATIENCE_S, Site, chain_of_three, crowd, go, site_on, visit
from tests.support import random_runs
from tests.support.campaigns import Diary, write_tasks
from tests.support.command import CommandLine
from tests.support.states import ToldRun, task
from tests.watch.scenes import change_of, document_of

expect.set_options(timeout=PATIENCE_S * 1000)
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
TABS = ("tasks", "graph", "timeline", "explain", "events")
MOST_ELEMENTS = 2500
"""In the whole document, whatever the number of runs and tasks."""


def connection(page: Page) -> Any:
    return page.locator("#connection")


def test_all_runs_are_there_at_a_glance_and_change_by_themselves(site: Site, browser: Browser) -> None:
    chain_of_three(site)
    site.new_run("paused")
    site.runs["paused"].tell(m.Pause(by="ann", reason="the cluster is serviced"))
    site.start()
    with visit(browser, site) as visitor:
        rows = visitor.page.get_by_role("grid", name="Runs").get_by_role("row")
        expect(rows).to_have_count(3)
        expect(rows.nth(1)).to_contain_text("paused by ann: the cluster is serviced")
        expect(rows.nth(2)).to_contain_text("1 of 10 jobs")
        time = rows.nth(2).locator("time")
        expect(time).to_have_text("1 Jan, 09:00")  # in Tokyo
        expect(time).to_have_attribute("datetime", "2026-01-01T00:00:07.000000Z")
        expect(time).to_have_attribute("title", "2026-01-01 00:00:07 UTC (shown: Asia/Tokyo)")
        expect(rows.nth(2).get_by_role("img")).to_have_attribute(
            "aria-label", "0 of 3 tasks ended: 2 waiting, 1 active"
        )
        expect(visitor.page.get_by_role("list", name="Seats of the backends")).to_contain_text(
            "local: 1 of 500 seats taken"
        )
        site.end("run", "a")
        site.runs["paused"].tell(m.Resume(by="ann"))
        site.new_run("new")
        expect(rows).to_have_count(4)
        expect(rows.nth(1)).to_contain_text("000002-abcdef")
        expect(rows.nth(2)).to_contain_text("RUNNING")
        expect(rows.nth(3)).to_contain_text("1 of 3")
        visitor.page.get_by_role("searchbox").fill("000001")
        expect(rows).to_have_count(2)


def test_what_rows_make_of_the_tasks_is_what_the_store_makes_of_them(shared: Site, browser: Browser) -> None:
    random = Random(7)  # noqa: S311  no secrets here
    with visit(browser, shared) as visitor:
        for number in range(12):
            run = ToldRun.new()
            # What ends a run early leaves little to see: it comes in every third of them.
            kinds = (
                random_runs._KINDS if number % 3 == 0 else [k for k in random_runs._KINDS if k not in ENDING]
            )
            program = [random_runs.Step(random.choice(kinds), random.randrange(2**16)) for _ in range(150)]
            view = document_of(run)
            rows, stages, known = [], [], rows_of(run)
            for _told in random_runs.steps(run, program):
                now = rows_of(run)
                parts = ("tasks", "attempts")
                rows.append({**now, **{p: [one for one in now[p] if one not in known[p]] for p in parts}})
                stages.append(run.statuses())
                known = now
            seen = visitor.page.evaluate(SET_ROWS, [view, rows])
            assert seen["stages"] == stages
            assert seen["tasks"] == {
                task_id: [one.status.value, one.reason, [_shown(attempt) for attempt in one.attempts]]
                for task_id, one in run.state.tasks.items()
            }
            assert seen["order"] == [one["task_id"] for one in document_of(run)["tasks"]]
            assert {s: n for s, n in seen["counts"].items() if n} == {
                s.value: n for s, n in run.state.counts.items() if n
            }
            assert sorted(seen["live"]) == sorted(run.state.live)


def rows_of(run: ToldRun) -> dict[str, Any]:
    (rows,) = change_of(run)["rows"]
    return dict(rows)


ENDING = {"cancel", "fail", "planning failed", "goal met"}
SET_ROWS = """async ([view, rows]) => {
    const { RunTasks } = await import("/page/run-tasks.js");
    const known = new RunTasks(view);
    const statuses = () => Object.fromEntries(known.tasks.map((task) => [task.task_id, task.status]));
    const stages = [];
    for (const changed of rows) {
        known.setRows(changed);
        known.setRows(changed);  // what comes again changes nothing
        stages.push(statuses());
    }
    const shown = (a) => [a.n, a.token, a.job_id ?? null, a.state ?? null, a.reason ?? "",
        a.submitted_at ?? null, a.started_at ?? null, a.ended_at ?? null, a.exit_code ?? null];
    return {
        stages,
        tasks: Object.fromEntries(
            known.tasks.map((t) => [t.task_id, [t.status, t.reason, t.attempts.map(shown)]]),
        ),
        order: known.tasks.map((task) => task.task_id),
        counts: known.counts,
        live: [...known.live.keys()],
    };
}"""


def _shown(attempt: Any) -> list[Any]:
    state = attempt.state.value if attempt.state is not None else None
    return [
        attempt.n, attempt.token, attempt.job_id, state, attempt.reason,
        attempt.submitted_at, attempt.started_at, attempt.ended_at, attempt.exit_code,
    ]  # fmt: skip


def test_ten_thousand_tasks_are_there_and_only_those_in_sight_are_in_the_document(
    site: Site, browser: Browser
) -> None:
    run = site.new_run("big", *crowd(10_000))
    site.activate("big", "relax-00000")
    site.start()
    with visit(browser, site) as visitor:
        page = visitor.page
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        go(page, f"#/runs/{run.run_id}/tasks")
        grid = page.get_by_role("grid", name="Tasks")
        expect(grid).to_have_attribute("aria-rowcount", "10001")
        grid.get_by_role("row").nth(1).press("End")
        expect(page.locator(":focus")).to_have_attribute("aria-rowindex", "10001")
        expect(page.locator(":focus")).to_contain_text("sum")
        assert visitor.count("*") < MOST_ELEMENTS
        page.get_by_role("searchbox").fill("relax-049")
        expect(grid).to_have_attribute("aria-rowcount", "100")
        expect(grid.get_by_role("row", name="relax-04998")).to_be_visible()
        page.get_by_role("searchbox").fill("")

        site.end("big", "relax-00000")
        site.activate("big", "energy-00000", "relax-00001")
        expect(page.get_by_text("1 of 10,000 tasks ended", exact=False)).to_be_visible()
        assert page.locator(".graph-frame svg").count() == 0, "what is not shown is not drawn"

        for tab in TABS[1:]:
            go(page, f"#/runs/{run.run_id}/{tab}")
            page.get_by_role("tabpanel", name=tab.capitalize()).wait_for()
            visitor.settle()
            assert visitor.count("*") < MOST_ELEMENTS, tab
        go(page, f"#/runs/{run.run_id}/graph")
        group = page.get_by_role("button", name="energy-*", exact=False)
        expect(group).to_have_attribute("aria-label", "energy-*, 4,999 tasks: 4,998 waiting, 1 ready")
        group.press("Enter")
        expect(grid).to_have_attribute("aria-rowcount", "5000")
        documents = [url for url in asked if url.endswith(f"/api/runs/{run.run_id}")]
        assert len(documents) == 1, "what has changed is told by events, and nothing is read again"


def test_two_hundred_runs_are_there_and_only_those_in_sight_are_in_the_document(
    site: Site, browser: Browser
) -> None:
    for number in range(200):
        site.new_run(f"run {number}")
    site.start()
    with visit(browser, site) as visitor:
        grid = visitor.page.get_by_role("grid", name="Runs")
        expect(grid).to_have_attribute("aria-rowcount", "201")
        assert visitor.count("*") < 500
        asked: list[str] = []
        visitor.page.on("request", lambda request: asked.append(request.url))
        for number in range(200):
            site.runs[f"run {number}"].tell(m.Pause(by="ann"))
        expect(visitor.page.get_by_text("200 runs · 200 paused")).to_be_visible()
        visitor.settle(1.5)
        assert len([url for url in asked if "/api/" in url]) <= 4, "asked for together, not one by one"


def test_a_monitor_that_is_killed_and_started_again_costs_no_event_and_repeats_none(
    site: Site, browser: Browser
) -> None:
    where = chain_of_three(site)
    site.start()
    with visit(browser, site) as visitor:
        visitor.may_complain = True  # of connections that were refused
        page = visitor.page
        go(page, f"{where}/events")
        for number in range(2):
            site.runs["run"].tell(m.Pause(by=f"ann {number}"), m.Resume(by="bob"))
            expect(page.locator(".events li").first).to_contain_text("bob")
            site.kill()
            expect(connection(page)).to_contain_text("Not live")
            expect(page.get_by_role("button", name="Pause")).to_be_disabled()
            site.runs["run"].tell(m.Pause(by="while it was away"), m.Resume(by=f"cat {number}"))
            site.start()
            page.goto(site.link)  # a session is of one start; the page goes on where it was
            expect(connection(page)).to_have_text("Live")
            expect(page.locator(".events li").first).to_contain_text(f"cat {number}")
        shown = page.eval_on_selector_all(".events li", "items => items.map((i) => Number(i.dataset.seq))")
        assert shown == site.seqs("run")[::-1]
        assert shown[0] > 12


def test_a_run_is_paused_only_when_that_was_confirmed_and_its_reason_is_kept(
    shared: Site, browser: Browser
) -> None:
    run = shared.new_run("run")
    shared.let_go("run")
    with visit(browser, shared) as visitor:
        page = visitor.page
        go(page, f"#/runs/{run.run_id}")
        before = shared.seqs("run")
        page.get_by_role("button", name="Pause").click()
        dialog = page.get_by_role("dialog", name="Pause this run?")
        dialog.press("Escape")
        expect(dialog).to_have_count(0)
        expect(page.get_by_role("button", name="Pause")).to_be_focused()
        page.get_by_role("button", name="Pause").click()
        dialog.get_by_role("button", name="Leave it").click()
        assert shared.seqs("run") == before
        page.get_by_role("button", name="Pause").click()
        dialog.get_by_label("Reason").fill("tea & <b>cake</b>")
        dialog.get_by_role("button", name="Pause").click()
        expect(page.locator(".run-reason")).to_contain_text(": tea & <b>cake</b>")
        expect(page.locator("#notice")).to_have_text("demo was paused.")
        expect(page.get_by_role("button", name="Resume")).to_be_visible()

        page.keyboard.press("p")
        page.get_by_role("dialog", name="Resume this run?").get_by_role("button", name="Resume").click()
        expect(page.locator(".run-state .badge")).to_have_text("RUNNING")
        page.get_by_role("button", name="Cancel run").click()
        page.get_by_role("dialog").get_by_role("button", name="Cancel the run").click()
        expect(page.locator(".run-state .badge")).to_have_text("CANCELLED")
        expect(page.get_by_role("button", name="Cancel run")).to_be_hidden()


def test_failed_tasks_are_tried_again_all_or_one(shared: Site, browser: Browser) -> None:
    run = shared.new_run("run", task("a"), task("b"), task("after", "a"))
    for one in ("a", "b"):
        run.run.fail(one)
    run.commit()
    shared.let_go("run")
    with visit(browser, shared) as visitor:
        page = visitor.page
        go(page, f"#/runs/{run.run_id}/tasks/a")
        page.get_by_role("complementary", name="a").get_by_role("button", name="Retry task").click()
        page.get_by_role("dialog").get_by_role("button", name="Retry 1 task").click()
        expect(page.locator(".task-panel .badge")).to_have_text("READY")
        expect(page.get_by_role("row", name="after WAITING")).to_be_visible()
        expect(page.get_by_role("row", name="b FAILED")).to_be_visible()
        page.get_by_role("button", name="Retry failed tasks").click()
        page.get_by_role("dialog").get_by_role("button", name="Retry 1 task").click()
        expect(page.get_by_role("row", name="b READY")).to_be_visible()


def test_a_refused_command_is_told_in_words(shared: Site, browser: Browser) -> None:
    where = chain_of_three(shared)
    with visit(browser, shared) as visitor:
        page = visitor.page
        go(page, where)
        page.get_by_role("button", name="Pause").click()
        # While the question stands there, somebody else ends the run.
        shared.runs["run"].tell(m.Cancel(by="bob"))
        run = shared.runs["run"].run
        run.end("a", JobState.CANCELLED)
        shared.runs["run"].commit()
        shared.let_go("run")
        page.get_by_role("dialog").get_by_role("button", name="Pause").click()
        expect(page.get_by_role("alert").filter(has_text="It was not paused")).to_contain_text("CANCELLED")


def test_what_users_and_jobs_wrote_stays_text(site: Site, browser: Browser) -> None:
    where = chain_of_three(site)
    run = site.runs["run"]
    run.run.end("a", JobState.COMPLETED_ERROR, reason=NAUGHTY)
    run.run.collect("a")
    run.commit()
    site.connection.execute("UPDATE runs SET workspace = ? ", (NAUGHTY,))
    for table in ("tasks", "attempts"):
        site.connection.execute(f"UPDATE {table} SET task_id = ? WHERE task_id = 'a'", (NAUGHTY,))  # noqa: S608
    site.start()
    with visit(browser, site) as visitor:
        page = visitor.page
        expect(page.get_by_role("row").nth(1)).to_contain_text(NAUGHTY)
        for tab in TABS:
            go(page, f"{where}/{tab}")
            expect(page.get_by_role("tabpanel")).to_contain_text("onerror" if tab != "explain" else "As of")
            visitor.settle()
            assert visitor.count("#content img, #content script, body > script") == 0, tab
        run.tell(m.Pause(by=NAUGHTY, reason=NAUGHTY))
        expect(page.locator(".run-reason")).to_contain_text(NAUGHTY)
        assert visitor.count("img, body script") == 0
        assert page.evaluate("window.hit") is None


def test_output_comes_as_it_is_printed_whatever_it_holds(shared: Site, browser: Browser) -> None:
    where = chain_of_three(shared)
    log = shared.log_file("run", "a")
    hostile = f"\x1b[31mred\x1b[0m plain\n{NAUGHTY}\n\x1b]0;a title\x07\x1b[2J\x1b[1;1Hover\n"
    log.write_bytes(
        f"{hostile}1 %\r50 %\r99 %\n{'x' * 300_000}\n".encode() + b"\xff\x00\xe2\x80\xaebytes\n\xc3"
    )
    with visit(browser, shared) as visitor:
        page = visitor.page
        go(page, f"{where}/tasks/a")
        shown = page.get_by_role("log")
        expect(shown).to_contain_text("bytes")
        expect(shown).to_contain_text("and 260,131 characters")
        assert {"\x1b", "\0", "\u202e"}.isdisjoint(shown.text_content() or "")
        with log.open("ab") as file:
            file.write(
                b"\xbc is whole\n\x1b[32mgreen\x1b[0m\n" + "".join(f"{i}\n" for i in range(5000)).encode()
            )
        expect(shown).to_contain_text("4999")
        assert visitor.count(".log .line") <= 2000
        log.write_bytes(hostile.encode())
        expect(shown).to_contain_text("the file was written anew")
        expect(shown).to_contain_text(NAUGHTY)
        expect(shown.locator(".ansi-red")).to_have_text("red")
        assert "a title" not in (shown.text_content() or "")
        page.get_by_label("Stream").select_option("stderr")
        expect(page.get_by_text("Nothing was printed yet.")).to_be_visible()
        assert page.evaluate("window.hit") is None


def test_everything_can_be_reached_with_the_keyboard_alone(site: Site, browser: Browser) -> None:
    for number in range(3):
        chain_of_three(site, f"run {number}")
    site.start()
    with visit(browser, site) as visitor:
        page = visitor.page
        reached = []
        for _ in range(6):
            page.keyboard.press("Tab")
            visitor.require_visible_focus()
            reached.append(
                page.evaluate(
                    "document.activeElement.textContent.trim().slice(0, 20) || document.activeElement.id"
                )
            )
        assert reached[:5] == ["Skip to content", "MatterStack", "Keys", "search", "any statusnot endedP"]
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        expect(page.locator(":focus")).to_contain_text("000000-abcdef")
        visitor.require_visible_focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("tab", name="Tasks")).to_have_attribute("aria-selected", "true")
        expect(page.get_by_role("heading", level=1)).to_be_focused()
        page.keyboard.press("2")
        page.get_by_role("button", name="a, ACTIVE").focus()
        page.keyboard.press("ArrowRight")
        expect(page.get_by_role("button", name="b, WAITING")).to_be_focused()
        visitor.require_visible_focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="b", level=2)).to_be_focused()
        page.keyboard.press("Escape")
        expect(page.get_by_role("complementary")).to_have_count(0)
        page.get_by_role("tab", name="Graph").focus()
        page.keyboard.press("ArrowRight")
        expect(page.get_by_role("tab", name="Timeline")).to_be_focused()
        page.keyboard.press("?")
        page.get_by_role("dialog", name="Keys").get_by_label("single keys work").press("Space")
        page.get_by_role("dialog").get_by_role("button", name="Close").press("Enter")
        page.keyboard.press("1")
        expect(page.get_by_role("tab", name="Timeline")).to_have_attribute("aria-selected", "true")
        page.keyboard.press("Escape")
        expect(page.get_by_role("heading", name="Runs", level=1)).to_be_focused()


def test_a_screen_reader_is_told_what_things_are(shared: Site, browser: Browser) -> None:
    where = chain_of_three(shared)
    with visit(browser, shared) as visitor:
        page = visitor.page
        assert {"banner", "main"} <= set(visitor.landmarks())
        expect(page.get_by_role("search")).to_be_visible()
        for path in ("#/", *(f"{where}/{tab}/a" for tab in TABS)):
            go(page, path)
            visitor.settle()
            assert visitor.nameless() == [], path
            assert page.get_by_role("heading", level=1).count() == 1
        go(page, f"{where}/tasks")
        snapshot = page.get_by_role("grid", name="Tasks").aria_snapshot()
        assert 'columnheader "State"' in snapshot
        assert 'row "Tick a a ACTIVE 1 local job-a QUEUED' in snapshot
        expect(page.get_by_role("grid", name="Tasks").get_by_role("row").nth(2)).to_have_attribute(
            "aria-rowindex", "3"
        )
        assert page.locator("#connection").get_attribute("aria-live") == "polite"


def test_every_text_can_be_read_in_light_and_dark(shared: Site, browser: Browser) -> None:
    where = chain_of_three(shared)
    run = shared.runs["run"]
    messages: tuple[m.Message, ...] = (m.Pause(by="ann"), m.Cancel(by="bob"))
    for number, message in enumerate(messages):
        shared.new_run(f"other {number}", task("x")).tell(message)
    run.run.end("a", JobState.COMPLETED_ERROR, reason="it broke")
    run.run.collect("a")
    run.commit()
    shared.log_file("run", "a").write_text("".join(f"\x1b[{code}mcolour\x1b[0m\n" for code in range(30, 38)))
    with visit(browser, shared) as visitor:
        page = visitor.page
        faint: list[str] = []

        def look() -> None:
            visitor.settle()
            for scheme in SCHEMES:
                page.emulate_media(color_scheme=scheme)
                faint.extend(f"{scheme}: {text}" for text in visitor.faint_texts())

        look()
        for tab in TABS:
            go(page, f"{where}/{tab}/a")
            expect(page.get_by_role("log")).to_contain_text("colour")
            look()
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("?")
        look()
        assert faint == []


def test_nothing_is_wider_than_a_phone(shared: Site, browser: Browser) -> None:
    where = chain_of_three(shared)
    shared.new_run("long", task("x" * 100)).tell(m.Pause(by="ann", reason="w" * 500))
    shared.log_file("run", "a").write_text("y" * 3000)
    phone = {"width": 360, "height": 740}
    with visit(browser, shared, viewport=phone, is_mobile=True, has_touch=True) as visitor:
        page = visitor.page
        long = f"#/runs/{shared.runs['long'].run_id}"
        for path in ("#/", *(f"{base}/{tab}" for tab in TABS for base in (long, f"{where}"))):
            go(page, path)
            visitor.settle()
            assert visitor.width() == 360, path
        go(page, f"{long}/tasks/{'x' * 100}")
        visitor.settle()
        assert visitor.width() == 360
        go(page, f"{where}/tasks/a")
        expect(page.get_by_role("log")).to_contain_text("yyy")
        assert visitor.width() == 360
        page.get_by_role("button", name="Pause").click()
        assert visitor.width() == 360


def test_why_it_does_not_go_on_is_said_in_words(shared: Site, browser: Browser) -> None:
    where = chain_of_three(shared)
    shared.runs["run"].tell(m.Pause(by="ann", reason="lunch"))
    with visit(browser, shared) as visitor:
        go(visitor.page, f"{where}/explain")
        cause = visitor.page.get_by_role("tabpanel").get_by_role("listitem").first
        expect(cause).to_contain_text("Needs you:")
        expect(cause).to_contain_text("ann")
        expect(cause).to_contain_text("matterstack run resume")
        shared.runs["run"].tell(m.Resume(by="ann"))
        expect(visitor.page.get_by_role("tabpanel")).not_to_contain_text("run resume")


QUESTION = {
    "question": f"How dense is it? {NAUGHTY}",
    "fields": {
        "density": {"type": "number", "unit": "g/cm³", "min": 0, "help": "by pycnometer"},
        "count": {"type": "integer", "required": False},
        "phase": {"type": "choice", "choices": ["fcc", "bcc"]},
        "is_clean": {"type": "boolean"},
        "note": {"type": "string", "required": False},
    },
}


EVIL = "e\x1b]52;c;x\x07v\x9b1A\u202ei\u2066l"


def test_what_turns_text_around_or_controls_is_seen_and_does_nothing(shared: Site, browser: Browser) -> None:
    params = {"question": f"Is it {EVIL}?", "fields": {"size": {"type": "number", "help": EVIL}}}
    run = shared.new_run("run", task("ask", operator="human", command=[], params=params))
    run.run.prepare(backend=ASKED)
    run.run.submit("ask")
    run.commit()
    run.tell(m.Pause(by=f"ann{EVIL}", reason=EVIL))
    with visit(browser, shared) as visitor:
        page = visitor.page
        for where in ("#/", f"#/runs/{run.run_id}", *(f"#/runs/{run.run_id}/{tab}" for tab in TABS)):
            go(page, where)
            expect(page.locator("#content")).to_contain_text(r"\x1b]52;c;x\x07v\x9b1A\u202ei\u2066l")
            visitor.settle()
            written = page.evaluate(
                "() => [...document.querySelectorAll('*')]"
                ".flatMap((e) => [...e.attributes].map((a) => a.value))"
                ".concat(document.body.textContent, document.title).join(' ')"
            )
            assert not set("\x1b\x07\x9b\u202e\u2066") & set(written), where


def test_a_question_has_a_form_and_a_wrong_answer_is_told_in_words(shared: Site, browser: Browser) -> None:
    run = shared.new_run("run", task("ask", operator="human", command=[], params=QUESTION))
    run.run.prepare(backend=ASKED)
    run.run.submit("ask")
    run.commit()
    with visit(browser, shared) as visitor:
        page = visitor.page
        expect(page.get_by_role("row").nth(1)).to_contain_text("1 question")
        go(page, f"#/runs/{run.run_id}")
        form = page.get_by_role("form", name="ask")
        expect(form).to_contain_text(f"How dense is it? {NAUGHTY}")
        form.get_by_role("textbox", name="density (g/cm³)").fill("-1")
        form.get_by_role("button", name="Answer").click()
        expect(form.get_by_role("alert")).to_contain_text("density: must be at least 0 g/cm³, not -1")
        expect(form.get_by_role("alert")).to_contain_text("phase: is missing")
        form.get_by_role("textbox", name="density (g/cm³)").fill("7.8")
        form.get_by_label("count").fill("many")
        form.get_by_role("button", name="Answer").click()
        expect(form.get_by_role("alert")).to_contain_text('count: "many" is no whole number')
        form.get_by_label("count").fill("")
        form.get_by_label("phase").select_option("bcc")
        form.get_by_label("is_clean").select_option("no")
        form.get_by_role("button", name="Answer").click()
        expect(page.locator("#notice")).to_contain_text("The answer to ask is handed over")
        (answer,) = shared.root.path.glob("workspaces/demo/runs/*/operators/ask/response.json")
        assert json.loads(answer.read_text()) == {"density": 7.8, "phase": "bcc", "is_clean": False}
        form.get_by_role("button", name="Answer").click()
        expect(form.get_by_role("alert")).to_contain_text("has an answer already")
        assert visitor.count("#content img, #content script") == 0


def test_a_real_run_is_watched_steered_answered_and_cancelled_though_its_engine_is_killed(
    command_line: CommandLine, diary: Diary, browser: Browser
) -> None:
    tasks = [
        diary.task("first", diary.gate("gate")),
        {"id": "ask", "operator": "human", "command": [], "depends_on": ["first"], "params": QUESTION},
        diary.task("second", diary.gate("later"), depends_on=["ask"]),
    ]
    write_tasks(command_line.root, "trial", tasks)
    run_id = command_line.new_run("trial")
    with site_on(command_line) as site:

        def start_engine() -> None:
            site.start("run", "loop", run_id, "--serve", f"127.0.0.1:{site.port}")

        start_engine()
        with visit(browser, site) as visitor:
            visitor.may_complain = True  # of connections that were refused
            page = visitor.page
            go(page, f"#/runs/{run_id}")
            expect(page.get_by_role("row", name="first ACTIVE")).to_be_visible()
            page.get_by_role("button", name="Pause").click()
            page.get_by_role("dialog").get_by_role("button", name="Pause").click()
            expect(page.locator(".run-state .badge")).to_have_text("PAUSED")
            site.kill()
            expect(connection(page)).to_contain_text("Not live")
            diary.open("gate")
            start_engine()
            page.goto(site.link)
            expect(connection(page)).to_have_text("Live")
            expect(page.get_by_role("row", name="first SUCCEEDED")).to_be_visible()
            page.get_by_role("button", name="Resume").click()
            page.get_by_role("dialog").get_by_role("button", name="Resume").click()
            form = page.get_by_role("form", name="ask")
            expect(form).to_contain_text("The result it is about")
            expect(form.get_by_role("term")).to_have_text("first: SUCCEEDED")
            form.get_by_role("textbox", name="density (g/cm³)").fill("7.8")
            form.get_by_label("phase").select_option("bcc")
            form.get_by_label("is_clean").select_option("yes")
            form.get_by_role("button", name="Answer").click()
            expect(page.get_by_role("row", name="second ACTIVE")).to_be_visible()
            page.get_by_role("button", name="Cancel run").click()
            page.get_by_role("dialog").get_by_role("button", name="Cancel the run").click()
            expect(page.locator(".run-state .badge")).to_have_text("CANCELLED")
            go(page, f"#/runs/{run_id}/events")
            expect(page.locator(".events li").first).to_contain_text("RunCancelled")
            shown = page.eval_on_selector_all(".events li", "all => all.map((i) => Number(i.dataset.seq))")
            assert shown == [event["seq"] for event in command_line.events(run_id)][::-1]
    assert diary.started() == ["first", "second"]
    assert diary.ended() == ["first"]


def test_another_store_behind_the_same_address_is_read_anew(site: Site, browser: Browser) -> None:
    chain_of_three(site)
    site.start()
    with visit(browser, site) as visitor:
        visitor.may_complain = True
        site.kill()
        site.connection.execute("DELETE FROM events WHERE seq > 2")
        site.connection.execute("UPDATE sqlite_sequence SET seq = 2")
        site.start()
        visitor.page.goto(site.link)
        expect(connection(visitor.page)).to_have_text("Live")
        site.new_run("new")
        expect(visitor.page.get_by_role("row").nth(1)).to_contain_text("000001-abcdef")
