"""``CITATION.cff``: how a bundle is to be cited, in version 1.2.0 of the Citation File Format."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from matterstack.core.documents.about import ORCID, About, Author
from matterstack.evidence.presentation import View

CITATION: Final = "CITATION.cff"
LICENSES: Final = frozenset(
    {
        "0BSD", "AGPL-3.0-only", "AGPL-3.0-or-later", "Apache-2.0", "Artistic-2.0", "BSD-2-Clause",
        "BSD-3-Clause", "BSL-1.0", "CC-BY-4.0", "CC-BY-NC-4.0", "CC-BY-NC-ND-4.0", "CC-BY-NC-SA-4.0",
        "CC-BY-ND-4.0", "CC-BY-SA-4.0", "CC0-1.0", "CECILL-2.1", "ECL-2.0", "EPL-2.0", "EUPL-1.2",
        "GPL-2.0-only",
        "GPL-2.0-or-later", "GPL-3.0-only", "GPL-3.0-or-later", "ISC", "LGPL-2.1-only", "LGPL-2.1-or-later",
        "LGPL-3.0-only", "LGPL-3.0-or-later", "MIT", "MPL-2.0", "ODC-By-1.0", "ODbL-1.0", "PDDL-1.0",
        "Unlicense", "Zlib",
    }
)  # fmt: skip
"""Those of the SPDX list that are usual; the format knows only those that were in it in 2021."""


def citation_cff(view: View) -> bytes | None:
    """How to cite a bundle; None where nobody is named who could be.

    What is written is YAML: each text is quoted as in JSON, which YAML reads alike.
    """
    if not view.about.authors:
        return None
    return ("\n".join(_lines(view)) + "\n").encode()


def _lines(view: View) -> Iterator[str]:
    about, state = view.about, view.history.state
    asked = f"If you use this, please cite: {about.citation}" if about.citation else ""
    yield "cff-version: 1.2.0"
    yield f"message: {_quoted(asked or 'If you use this, please cite it as below.')}"
    yield "type: dataset"
    yield f"title: {_quoted(about.title or f'Evidence of run {state.run_id} ({state.workspace})')}"
    if about.description:
        yield f"abstract: {_quoted(about.description)}"
    yield "authors:"
    # The format wants no two that are alike, which namesakes are.
    for lines in dict.fromkeys(tuple(_author(author)) for author in about.authors):
        yield from lines
    yield f"version: {_quoted(state.run_id)}"
    yield f"date-released: {_quoted(view.until[:10])}"
    yield from _license(about)
    yield from _list("keywords", dict.fromkeys(about.keywords))
    if about.links:
        yield f"url: {_quoted(about.links[0].url)}"


def _author(author: Author) -> Iterator[str]:
    given, family = author.given_and_family()
    fields = {
        "family-names": family,
        "given-names": given,
        "orcid": f"{ORCID}{author.orcid}" if author.orcid else "",
        "affiliation": author.affiliation or "",
    }
    mark = "  - "
    for name, value in fields.items():
        if value:
            yield f"{mark}{name}: {_quoted(value)}"
            mark = "    "


def _license(about: About) -> Iterator[str]:
    if about.license in LICENSES:
        yield f"license: {_quoted(about.license or '')}"
    elif about.license is not None:
        yield f"license-url: {_quoted(about.license_url() or '')}"


def _list(name: str, words: dict[str, None]) -> Iterator[str]:
    if words:
        yield f"{name}:"
        yield from (f"  - {_quoted(word)}" for word in words)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
