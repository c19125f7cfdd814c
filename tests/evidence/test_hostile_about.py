"""What people say of a campaign stays text in a bundle, whatever it holds."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest
from markdown_it import MarkdownIt

from matterstack.core.ids import TaskId
from matterstack.core.model.workflow import Task
from matterstack.core.run import messages as m
from matterstack.evidence.report.text import code_text, markdown_text, paragraphs_text
from tests.evidence.bundles import export
from tests.evidence.stage import SVG, Stage, stage
from tests.support.crates import findings, run_tool
from tests.support.stored import new_root

PLAIN: Final[dict[str, Any]] = {
    "title": "t",
    "description": "d",
    "authors": [{"name": "Ng", "affiliation": "a"}, {"name": "Ng"}, {"name": "Ng"}],
    "license": "https://example.org/l",
    "keywords": ["k"],
    "citation": "c",
    "funding": [{"funder": "f", "title": "g"}],
    "links": [{"url": "https://example.org/", "title": "l"}],
}
EVIL: Final = (
    "~~~ <script>alert(1)</script> [x](javascript:x) ![p](http://e/p) | \\ ``` &lt; \"' --> {{ 1 }} $(id)"
)
LINES: Final = [
    "# a",
    "1. a",
    "2) a",
    "- a",
    "+ a",
    "* a",
    "> a",
    "---",
    "===",
    "~~~",
    "```",
    "|a|",
    "|-|",
    "a",
    "===",
]
HOSTILE: Final[dict[str, Any]] = {
    "title": EVIL,
    "description": "\n".join([*LINES, "", *reversed(LINES), "[x]: http://e", "<!--", EVIL, "\tend"]),
    "authors": [{"name": f"{EVIL}, ~~~", "affiliation": EVIL}, {"name": "Ng"}, {"name": "Ng"}],
    "license": "https://example.org/*l*_l_&lt;?a='(1)'",
    "keywords": [EVIL, "no", "- a", "a: b", "#", "'", '"'],
    "citation": f"~~~\n\n# a\n{EVIL} 10.1000/a|b{{c}}",
    "funding": [{"funder": EVIL, "title": EVIL, "url": "https://example.org/*l*_l_&lt;?a='(1)'"}],
    "links": [{"url": "https://example.org/%zz'onx=(", "title": EVIL}],
}
READER: Final = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def made_of(text: str) -> Counter[str]:
    """What a reader of Markdown makes of a text, beside paragraphs and words."""
    words = {"inline", "text", "paragraph_open", "paragraph_close", "softbreak", "text_special"}
    tokens = READER.parse(text)
    kinds = [token.type for token in tokens] + [t.type for token in tokens for t in token.children or ()]
    return Counter(kind for kind in kinds if kind not in words)


def told(folder: Path, about: dict[str, Any], figure: str = "r.svg") -> Path:
    """A bundle of a run of which this is said, and that has made a picture of this name."""
    root = new_root(folder / "root")
    with stage(root) as made:
        made.tell(m.AmendAbout(by="bea", about=about))
        draw(made, figure)
    return export(root).path


def draw(made: Stage, figure: str) -> None:
    made.tell(m.Start())
    made.plan(Task(TaskId("draw"), command=["draw", figure], outputs=["*.svg"]))
    made.prepare()
    made.start("draw")
    made.end("draw", {figure: SVG})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return told(tmp_path_factory.mktemp("hostile"), HOSTILE, "``a>) <img src=x onerror=y> `.svg")


@pytest.mark.parametrize("name", ["README.md", "report.md"])
def test_no_text_is_read_as_markdown_of_the_report(bundle: Path, tmp_path: Path, name: str) -> None:
    plain = told(tmp_path, PLAIN)
    found, expected = made_of((bundle / name).read_text()), made_of((plain / name).read_text())
    # The blank line in the hostile description makes two paragraphs of it, and no block of any other kind.
    assert found == expected


def test_no_text_is_read_as_html_of_the_report(bundle: Path) -> None:
    page = (bundle / "report.html").read_text()
    assert "<script" not in page
    assert "<img src=x" not in page


@pytest.mark.parametrize("line", [*LINES, EVIL, "-", "12345678901. a", "a~~b~~"])
def test_a_paragraph_stays_one(line: str) -> None:
    assert not made_of(f"a\n{paragraphs_text(line)}\n")
    assert not made_of(paragraphs_text(line))


@pytest.mark.parametrize("text", ["a", "``", "`a", "a`", "a``b", "```a` ``", "<b>`` <i>"])
def test_code_stays_code(text: str) -> None:
    token = (READER.parse(code_text(text))[1].children or [])[0]
    assert (token.type, token.content) == ("code_inline", text)


def test_a_text_that_is_struck_out_nowhere_is_so_in_no_reader() -> None:
    assert not made_of(markdown_text("a ~~b~~ ~c~"))


@pytest.mark.usefixtures("processes")
def test_the_citation_and_the_crate_stay_valid(bundle: Path) -> None:
    done = run_tool("cffconvert", "--validate", cwd=bundle)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (bundle / "CITATION.cff").read_text().count('family-names: "Ng"') == 1, "namesakes: no two alike"
    assert findings(bundle) == {str(bundle): []}
    graph = json.loads((bundle / "ro-crate-metadata.json").read_bytes())["@graph"]
    (root,) = (entity for entity in graph if entity["@id"] == "./")
    assert root["name"] == EVIL
