"""What the report says, in words and pictures, and how it looks in a browser."""

import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import pytest
from playwright.sync_api import Browser, sync_playwright

from matterstack.evidence.timeline import MOST_NAMED, MOST_ROWS
from tests.evidence.bundles import export
from tests.evidence.crowd import crowd
from tests.evidence.stage import STORIES, told

WIDTHS: Final = {"desktop": 1280, "phone": 390}
MOST_SVG_BYTES: Final = 1 << 19

BundleOf = Callable[[str], Path]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The machine's own Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def bundle_of(tmp_path_factory: pytest.TempPathFactory) -> BundleOf:
    """The bundle of a run in a status; the same one for all who only read it."""
    folder = tmp_path_factory.mktemp("told")
    return cache(lambda status: export(told(folder / status, status)).path)


@pytest.mark.parametrize("status", STORIES)
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_fits_its_window_and_asks_for_nothing_else(
    status: str, width: str, bundle_of: BundleOf, browser: Browser
) -> None:
    page = browser.new_page(viewport={"width": WIDTHS[width], "height": 900})
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.goto((bundle_of(status) / "report.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == WIDTHS[width]
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert len([url for url in asked if url.startswith("file:")]) == 1
    assert complaints == []
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    assert status in page.inner_text(".facts")
    page.close()


@pytest.mark.parametrize("status", STORIES)
def test_on_a_phone_no_table_and_no_picture_is_wider_than_the_screen(
    status: str, bundle_of: BundleOf, browser: Browser
) -> None:
    page = browser.new_page(viewport={"width": WIDTHS["phone"], "height": 900})
    page.goto((bundle_of(status) / "report.html").as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(it => { it.open = true; })")
    scrolled = "[...document.querySelectorAll('.wide')].filter(it => it.scrollWidth > it.clientWidth + 1)"
    assert page.evaluate(f"{scrolled}.map(it => it.innerText)") == []
    shrunk = page.evaluate(
        "[...document.querySelectorAll('.drawn img')].map(it => it.clientWidth / it.naturalWidth)"
    )
    assert len(shrunk) == 2
    assert all(factor > 0.75 for factor in shrunk), "text of 8 points is to be read"
    if status != "PENDING":
        said = page.locator(".of-tasks td").evaluate_all(
            "cells => cells.map(it => getComputedStyle(it, '::before').content)"
        )
        assert {'"task"', '"iteration"', '"status"'} <= set(said)
    shown = page.locator(".stacked td:empty").evaluate_all(
        "all => all.filter(it => it.offsetHeight > 0).length"
    )
    assert shown == 0, "a cell without text is a label of nothing"
    page.close()


@pytest.mark.parametrize(("status", "complete"), [(status, status == "COMPLETED") for status in STORIES])
def test_both_reports_say_the_status_and_whether_the_evidence_is_complete(
    status: str, complete: bool, bundle_of: BundleOf
) -> None:
    folder = bundle_of(status)
    word = "true" if complete else "false"
    text, page = (folder / "report.md").read_text(), (folder / "report.html").read_text()
    assert f"| status | **{status}**" in text
    assert f"| is_complete | **{word}** |" in text
    assert f'<meta name="matterstack-status" content="{status}">' in page
    assert f'<meta name="matterstack-is-complete" content="{word}">' in page


def test_every_failure_is_told_with_its_reason_and_what_it_wrote_last(
    bundle_of: BundleOf,
) -> None:
    folder = bundle_of("FAILED")
    text = (folder / "report.md").read_text()
    assert "| flaky | FAILED | its job ended with exit code 1 |" in text
    assert "| flaky | attempt 1 was followed by another | error: its job ended with exit code 1 |" in text
    assert "    this time <script>" in text, "as a block, which no reader takes for HTML"
    page = (folder / "report.html").read_text()
    assert "this time &lt;script&gt;" in page
    assert "<script" not in page


def test_what_people_wrote_is_shown_as_text(bundle_of: BundleOf) -> None:
    folder = bundle_of("COMPLETED")
    page = (folder / "report.html").read_text()
    assert "round one: &lt;b&gt;all&lt;/b&gt; &amp; |more|" in page
    assert "<td>&lt;i&gt;2&lt;/i&gt;</td>" in page, "a table of a Markdown output, without its HTML"
    text = (folder / "report.md").read_text()
    assert "round one: &lt;b&gt;all&lt;/b&gt; &amp; \\|more\\|" in text


def test_the_campaign_s_own_pictures_are_in_the_page_and_linked_from_the_text(
    bundle_of: BundleOf,
) -> None:
    folder = bundle_of("COMPLETED")
    text = (folder / "report.md").read_text()
    linked = re.findall(r"!\[[^]]*\]\(<(outputs/[^>]*)>\)", text)
    assert linked == ["outputs/rank.1/r.svg", "outputs/mix.1/mix.svg"]
    assert all((folder / place).is_file() for place in linked)
    assert (folder / "report.html").read_text().count("data:image/svg+xml;base64,") == 6


def test_the_provenance_of_an_output_is_its_command_inputs_host_job_and_times(
    bundle_of: BundleOf,
) -> None:
    text = (bundle_of("COMPLETED") / "report.md").read_text()
    section = text[text.index("### relax, attempt 1") :]
    section = section[: section.index("###", 10)]
    assert "- command: `bash -c 'cat start.json \\| sort > out.txt'`" in section
    assert re.search(r"ran on local · node1, job job-relax, from 2026-01-01 .* to 2026-01-01", section)
    assert re.search(r"was given: `start.json` \([0-9a-f]{16}\)", section)
    assert re.search(r"output `out.txt`: 7 B, SHA-256 [0-9a-f]{64}, copied", section)


def test_resources_are_added_up_over_all_attempts(bundle_of: BundleOf) -> None:
    text = (bundle_of("COMPLETED") / "report.md").read_text()
    text = text[text.index("## Caps and resources") : text.index("## Timeline and graph")]
    rows = dict(re.findall(r"^\| ([a-zA-Z][^|]*) \| ([^|]*) \|$", text, flags=re.MULTILINE))
    assert rows["attempts"] == "6"
    assert rows["cap: jobs of this run at the same time"] == "10"
    assert rows["jobs of this run at the same time, at most"] == "3"
    assert float(rows["core hours"]) > float(rows["GPU hours"]) > 0


@pytest.mark.parametrize("count", [10, MOST_NAMED + 1, MOST_ROWS + 1, 1000])
def test_pictures_stay_small_and_well_formed_however_many_tasks_there_are(count: int, tmp_path: Path) -> None:
    folder = export(crowd(tmp_path / "root", count)).path
    for name in ("timeline.svg", "graph.svg"):
        picture = (folder / name).read_bytes()
        assert len(picture) < MOST_SVG_BYTES, name
        assert ET.fromstring(picture).tag.endswith("svg")  # noqa: S314  our own file
