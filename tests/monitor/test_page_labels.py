"""Labels and notes of runs on the page: shown, found, and written in a form."""

from __future__ import annotations

from playwright.sync_api import Browser, expect

from tests.monitor.page_support import NAUGHTY, PATIENCE_S, Site, chain_of_three, go, visit

expect.set_options(timeout=PATIENCE_S * 1000)


def test_labels_and_a_note_are_written_shown_and_found(shared: Site, browser: Browser) -> None:
    where = chain_of_three(shared)
    chain_of_three(shared, "other")
    run_id = shared.runs["run"].run_id
    with visit(browser, shared) as visitor:
        page = visitor.page
        go(page, where)
        page.get_by_role("button", name="Add labels or a note").click()
        form = page.get_by_role("dialog", name="Labels and note")
        expect(form.get_by_label("Labels")).to_be_focused()
        form.get_by_label("Labels").fill("cathode <b>")
        form.get_by_role("button", name="Keep it").click()
        expect(form.get_by_role("alert")).to_contain_text("<b>")
        form.get_by_label("Labels").fill("cathode batch-7")
        form.get_by_label("Note").fill(f"see page 12 {NAUGHTY}")
        form.get_by_role("button", name="Keep it").click()
        expect(form).to_have_count(0)
        expect(page.locator(".said")).to_contain_text(f"see page 12 {NAUGHTY}")
        said = shared.command_line.status(run_id)
        assert (said["labels"], said["note"]) == (["batch-7", "cathode"], f"see page 12 {NAUGHTY}")

        # What somebody else has said meanwhile, and is not changed here, stays.
        shared.command_line.ok("run", "label", run_id, "+anode", "note=see page 13")
        page.get_by_role("button", name="Change labels and note").click()
        form.get_by_label("Labels").fill("batch-7")
        form.get_by_role("button", name="Keep it").click()
        expect(page.locator(".said")).to_contain_text("anodebatch-7Change labels and note")
        expect(page.locator(".said")).to_contain_text("see page 13")
        assert shared.command_line.status(run_id)["labels"] == ["anode", "batch-7"]

        go(page, "#/")
        grid = page.get_by_role("grid", name="Runs")
        page.get_by_role("searchbox").fill("anode")
        expect(grid.get_by_role("row", name=run_id)).to_contain_text("anode")
        expect(grid.locator(".grid-body [role=row]")).to_have_count(1)
        assert visitor.count("#content img, #content b") == 0
