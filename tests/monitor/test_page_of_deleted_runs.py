"""What the page shows of a run that is deleted while somebody looks at it, and of one that was."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, expect

from matterstack.core.ids import RunId, UtcTime
from matterstack.core.run import messages as m
from matterstack.usecases.deleting_runs import delete, look_at
from tests.monitor.page_support import PATIENCE_S, Site, chain_of_three, go, visit
from tests.support.states import task

expect.set_options(timeout=PATIENCE_S * 1000)


def ended(site: Site, name: str) -> RunId:
    """A run that was cancelled, with its folder, which nobody serves."""
    run = site.new_run(name, task(f"{name}-1"), task(f"{name}-2"))
    run.tell(m.Cancel(by="bob"), m.Settle())
    site.root.run_folder("demo", run.run_id).path.mkdir(parents=True, exist_ok=True)
    site.let_go(name)
    return run.run_id


def erase(site: Site, run_id: RunId) -> None:
    """As ``run delete`` does."""
    candidates = look_at(site.connection, site.root, [run_id], with_evidence=False)
    delete(site.connection, site.root, candidates, "ann", lambda: UtcTime("2026-01-02T00:00:00.000000Z"))


def rows(page: Page) -> list[str]:
    return page.get_by_role("grid", name="Runs").locator(".grid-body .id").all_text_contents()


def test_a_run_that_is_deleted_leaves_the_list_and_the_keyboard_stays_in_it(
    site: Site, browser: Browser
) -> None:
    runs = [ended(site, name) for name in ("old", "middle", "new")]
    site.start()
    with visit(browser, site) as visitor:
        page = visitor.page
        grid = page.get_by_role("grid", name="Runs")
        expect(grid).to_have_attribute("aria-rowcount", "4")
        grid.get_by_role("row", name=runs[1]).focus()
        erase(site, runs[1])
        expect(grid).to_have_attribute("aria-rowcount", "3")
        expect(grid.get_by_role("row", name=runs[0])).to_be_focused()
        visitor.settle(1.5)  # what is asked for once a second does not bring it back
        assert rows(page) == [runs[2], runs[0]]
        expect(page.get_by_text("2 runs · 2 cancelled")).to_be_visible()


@pytest.mark.parametrize("part", ["tasks", "tasks/gone-1", "graph", "explain", "events"])
def test_an_open_page_of_a_run_says_that_it_was_deleted_and_offers_nothing_to_do(
    shared: Site, browser: Browser, part: str
) -> None:
    run_id = ended(shared, "gone")
    with visit(browser, shared) as visitor:
        visitor.may_complain = True  # of a document that is there no more
        page = visitor.page
        go(page, f"#/runs/{run_id}/{part}")
        expect(page.get_by_role("tab", name=part.partition("/")[0].capitalize())).to_be_visible()
        expect(page.locator(".run-state .badge")).to_have_text("CANCELLED")
        erase(shared, run_id)
        said = page.locator("#content").get_by_role("alert")
        expect(said).to_contain_text(f"no run {run_id}: it was deleted by ann at 2026-01-02")
        expect(said).to_contain_text("matterstack run import")
        for role in ("tab", "button", "grid", "complementary"):
            expect(page.locator("#content").get_by_role(role)).to_have_count(0)
        page.keyboard.press("y")
        expect(page.get_by_role("dialog")).to_have_count(0)
        page.get_by_role("link", name="All runs").click()
        expect(page.get_by_role("heading", name="Runs", level=1)).to_be_focused()


def test_a_link_to_a_run_that_was_deleted_says_by_whom(shared: Site, browser: Browser) -> None:
    run_id = ended(shared, "gone")
    erase(shared, run_id)
    with visit(browser, shared) as visitor:
        visitor.may_complain = True  # of a document that is there no more
        go(visitor.page, f"#/runs/{run_id}/graph")
        expect(visitor.page.locator("#content").get_by_role("alert")).to_contain_text("it was deleted by ann")
        expect(visitor.page.get_by_role("tab")).to_have_count(0)


def test_a_page_that_was_away_while_runs_came_and_went_is_live_again(site: Site, browser: Browser) -> None:
    where = chain_of_three(site, "kept")
    site.start()
    with visit(browser, site) as visitor:
        visitor.may_complain = True  # of connections that were refused
        page = visitor.page
        go(page, f"{where}/events")
        expect(page.locator(".events li").first).to_be_visible()
        site.kill()
        expect(page.locator("#connection")).to_contain_text("Not live")
        first = ended(site, "short")
        site.runs["kept"].tell(m.Pause(by="ann"))
        second = ended(site, "shorter")
        for run_id in (first, second):
            erase(site, run_id)
        site.start()
        page.goto(site.link)
        expect(page.locator("#connection")).to_have_text("Live")
        expect(page.locator(".events li").first).to_contain_text("ann")
        shown = page.eval_on_selector_all(".events li", "items => items.map((i) => Number(i.dataset.seq))")
        assert shown == site.seqs("kept")[::-1]
