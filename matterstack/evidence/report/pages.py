"""Write both reports, from one context."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

import attrs
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from matterstack.core.shown_text import shown
from matterstack.core.states import TaskStatus
from matterstack.evidence.durations import bytes_text, duration_text, seconds_between
from matterstack.evidence.environments import find_environments
from matterstack.evidence.presentation import View, commit_words
from matterstack.evidence.report.campaign_results import data, data_uri, figures, texts
from matterstack.evidence.report.change_rows import change_rows, notes_told
from matterstack.evidence.report.environment_rows import environment_rows
from matterstack.evidence.report.rows import answers, believed_by_id, failures, provenance, task_row
from matterstack.evidence.report.text import (
    block_text,
    code_text,
    json_text,
    markdown_text,
    page_text,
    paragraphs_text,
    target_text,
    time_text,
)
from matterstack.evidence.report.usage import cap_rows, usage_rows
from matterstack.evidence.report.version_rows import config_rows, definition_rows, version_rows
from matterstack.evidence.survey import UNBOUND_FORMAT, FileState, summed, withheld_files

REPORT_MD: Final = "report.md"
README: Final = "README.md"
REPORT_HTML: Final = "report.html"
_DRAWN: Final = {
    "timeline.svg": "When attempts waited and ran",
    "graph.svg": "Tasks and what they depend on",
}
_FOLDERS: Final = {
    "outputs": "what tasks left behind, a folder for each attempt",
    "used": "files that jobs were given",
    "logs": "what jobs printed",
    "answers": "what people and instruments answered",
    "sources": "the campaign's files, as they were when the run was made",
    "versions": "the campaign's files that changed or came later, by their hashes",
    "configs": "the configuration, as it was before it was changed",
    "environments": "the software that jobs ran in, as their own scripts found it",
    "foreign": "files that were found here and that no export made",
}
FOLDED_OVER: Final = 60
"""Longer tables of the page are folded away until they are asked for."""
FOLDED_CARDS_OVER: Final = 20
"""So are more cards: each of them is as high as many rows."""


@attrs.frozen
class Pictures:
    """SVG files by name, for a window and for a phone."""

    wide: Mapping[str, bytes]
    narrow: Mapping[str, bytes]


def readme_md(view: View) -> bytes:
    """What the bundle is, to who finds it on a shelf."""
    return _rendered("README.md", _readme_context(view))


def report_md(view: View) -> bytes:
    """The report as text, for any reader of Markdown."""
    return _rendered("report.md", _context(view))


def report_html(view: View, pictures: Pictures) -> bytes:
    """The report as one page that needs nothing else."""
    drawn = [
        {
            "id": name.removesuffix(".svg"),
            "says": says,
            "wide": data_uri("image/svg+xml", pictures.wide[name]),
            "narrow": data_uri("image/svg+xml", pictures.narrow[name]),
        }
        for name, says in _DRAWN.items()
    ]
    return _rendered("report.html", _context(view) | {"drawn": drawn})


def _rendered(name: str, context: Mapping[str, Any]) -> bytes:
    return _environment().get_template(f"{name}.j2").render(context).encode("utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("matterstack.evidence", "templates"),
        autoescape=select_autoescape(("html.j2",), default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        shown=shown,
        md=markdown_text,
        paragraphs=paragraphs_text,
        size=bytes_text,
        code=code_text,
        target=target_text,
        time=time_text,
        block=block_text,
        markdown=page_text,
    )
    return environment


def _readme_context(view: View) -> dict[str, Any]:
    state = view.history.state
    return {
        "run_id": state.run_id,
        "workspace": state.workspace,
        "status": state.status.value,
        "reason": shown(state.status_reason),
        "is_complete": view.is_complete,
        "seq": view.history.seq,
        "as_of": view.history.as_of,
        "about": view.about,
        "head": view.survey.head,
        "version": view.survey.made_with.get("matterstack", ""),
        "has_large": next(view.survey.large(), None) is not None,
        "folders": sorted({place.partition("/")[0] for place in _places(view) if "/" in place}),
        "has_changes": view.survey.tells_versions and bool(view.history.changes.all),
        "has_definitions": view.survey.tells_versions and bool(view.history.lineage.definitions),
        "has_citation": bool(view.about.authors),
        "says": _FOLDERS,
    }


def _places(view: View) -> Iterator[str]:
    survey = view.survey
    found = (
        *survey.found_outputs(),
        *survey.used,
        *survey.answers,
        *survey.campaign_files(),
        *survey.environments,
    )
    yield from (record.place for record in found if record.place is not None)
    yield from (log.place for attempt in survey.attempts for log in attempt.logs if log.place is not None)
    yield from (record.path for record in survey.foreign)
    if survey.tells_versions:
        yield from (row.place for row in config_rows(view))


def _changes(view: View) -> dict[str, Any]:
    tells = view.survey.tells_versions
    history = view.history
    return {
        "changes": change_rows(view) if tells else [],
        "change_count": len(history.changes.all),
        "definitions": list(definition_rows(view)) if tells else [],
        "definition_count": sum(map(len, history.lineage.definitions.values())),
        "configs": config_rows(view) if tells else [],
    }


def _context(view: View) -> dict[str, Any]:
    state = view.history.state
    tasks = [task_row(view, task) for task in state.tasks.values()]
    return {
        "run_id": state.run_id,
        "workspace": state.workspace,
        "status": state.status.value,
        "reason": shown(state.status_reason),
        "is_complete": view.is_complete,
        "missing": [shown(text) for text in view.missing],
        "seq": view.history.seq,
        "run_head": view.survey.head,
        "chained_to": view.survey.chained_to,
        "as_of": view.history.as_of,
        "created_at": state.created_at,
        "started_at": view.history.started_at or "",
        "took": duration_text(seconds_between(view.history.started_at, view.until)),
        "params": [(name, json_text(value)) for name, value in state.config.get("params", {}).items()],
        "iterations": view.history.iterations,
        "counts": [(status.value, state.counts[status]) for status in TaskStatus if state.counts[status]],
        "tasks": tasks,
        "failures": list(failures(view)),
        "provenance": list(provenance(view)),
        "used": view.survey.used,
        "figures": list(figures(view)),
        "texts": list(texts(view)),
        "data": list(data(view)),
        "found": json_text(state.campaign_state) if state.campaign_state else "",
        "answers": list(answers(view)),
        "notes": notes_told(view),
        "tells_versions": view.survey.tells_versions,
        "is_changed": view.survey.tells_versions and view.is_changed,
        **_changes(view),
        "caps": cap_rows(view),
        "usage": usage_rows(view),
        "by_id": [] if view.survey.format == UNBOUND_FORMAT else list(believed_by_id(view)),
        "foreign": view.survey.foreign,
        "withheld": list(withheld_files(view.survey)),
        "unbound": [] if view.survey.format == UNBOUND_FORMAT else summed(view.survey.unbound()),
        "created_by": shown(view.history.created.by),
        "sources": list(view.survey.made_from()),
        "versions": version_rows(view),
        "later": view.survey.versions,
        "software": list(view.history.created.software.items()),
        "about": view.about,
        "commit": commit_words(view.history.created),
        "environments": list(environment_rows(view)),
        "unknown_environments": 0
        if view.survey.format == UNBOUND_FORMAT
        else find_environments(view).unknown,
        "made_with": sorted(view.survey.made_with.items()),
        "folded_over": FOLDED_OVER,
        "folded_cards_over": FOLDED_CARDS_OVER,
        "states": FileState,
    }
