"""What a bundle holds, made from the events, the survey and the copied files, and from nothing else.

An export makes the files of a bundle with this, and a verification makes them once more and compares.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import version
from typing import Final

from matterstack.evidence.citation import CITATION, citation_cff
from matterstack.evidence.crate.document import CRATE, crate_bytes
from matterstack.evidence.crate.file_entities import WORKFLOW, PayloadFile
from matterstack.evidence.environments import ENVIRONMENTS
from matterstack.evidence.figures import NARROW_IN, WIDE_IN
from matterstack.evidence.gathering.sources import CAMPAIGN_OBJECT, VERSIONS
from matterstack.evidence.graph.picture import GRAPH, graph_svg
from matterstack.evidence.manifest import MANIFEST, SEAL, SIGNATURE, manifest_bytes
from matterstack.evidence.presentation import View
from matterstack.evidence.report.pages import (
    README,
    REPORT_HTML,
    REPORT_MD,
    Pictures,
    readme_md,
    report_html,
    report_md,
)
from matterstack.evidence.survey import SURVEY, Survey, survey_bytes
from matterstack.evidence.tables import config_json, tasks_csv, workflow_json
from matterstack.evidence.timeline import TIMELINE, timeline_svg
from matterstack.evidence.version_tables import CHANGES, CONFIGS, DEFINITIONS, version_files

EVENTS: Final = "events.jsonl"
TASKS: Final = "tasks.csv"
CONFIG: Final = "config.json"
OUR_FILES: Final = frozenset(
    {
        EVENTS, SURVEY, TASKS, CONFIG, WORKFLOW, CAMPAIGN_OBJECT, TIMELINE, GRAPH, REPORT_MD, REPORT_HTML,
        CRATE, README, CITATION, CHANGES, DEFINITIONS, MANIFEST, SEAL, SIGNATURE,
    }
)  # fmt: skip
OUR_FOLDERS: Final = frozenset(
    {"outputs", "used", "logs", "answers", "sources", VERSIONS, CONFIGS, ENVIRONMENTS}
)

FOREIGN: Final = "foreign"
"""Folder of what was found in the bundle's place and is none of ours."""


@cache
def made_with() -> Mapping[str, str]:
    """Versions of what a bundle's bytes depend on."""
    return {
        name: version(name) for name in ("matterstack", "jinja2", "markdown-it-py", "matplotlib", "rocrate")
    }


LIBRARIES: Final[Mapping[str, tuple[str, ...]]] = {
    TIMELINE: ("matplotlib",),
    GRAPH: ("matplotlib",),
    REPORT_MD: ("jinja2",),
    README: ("jinja2",),
    REPORT_HTML: ("jinja2", "markdown-it-py", "matplotlib"),
    CRATE: ("rocrate",),
}
"""What writes a file.  Of all others, each byte follows from events, survey and its format."""


def other_libraries(path: str, survey: Survey) -> list[str]:
    """Libraries that have written a file, and whose versions are not the ones that are here."""
    return [name for name in LIBRARIES.get(path, ()) if survey.made_with.get(name) != made_with()[name]]


def derived_files(view: View) -> Iterator[tuple[str, bytes]]:
    """All files that say in another way what events and survey say, but for the crate."""
    yield SURVEY, survey_bytes(view.survey)
    yield CONFIG, config_json(view)
    yield WORKFLOW, workflow_json(view)
    yield TASKS, tasks_csv(view)
    yield from version_files(view)
    wide = {TIMELINE: timeline_svg(view, WIDE_IN), GRAPH: graph_svg(view, WIDE_IN)}
    yield from wide.items()
    yield REPORT_MD, report_md(view)
    narrow = {TIMELINE: timeline_svg(view, NARROW_IN), GRAPH: graph_svg(view, NARROW_IN)}
    yield REPORT_HTML, report_html(view, Pictures(wide, narrow))
    if view.survey.format > 1:
        yield README, readme_md(view)
        citation = citation_cff(view)
        if citation is not None:
            yield CITATION, citation


def copied_files(survey: Survey) -> Iterator[tuple[str, PayloadFile]]:
    """All files that are copies, by the survey."""
    for output in survey.outputs:
        if output.place is not None:
            yield output.place, PayloadFile(output.bytes, output.sha256)
    for found in (*survey.unclaimed, *survey.answers, *survey.campaign_files()):
        if found.place is not None:
            yield found.place, PayloadFile(found.bytes or 0, found.sha256)
    for used in survey.used:
        if used.place is not None:
            yield used.place, PayloadFile(used.bytes or 0, used.sha256)
    for attempt in survey.attempts:
        if attempt.manifest_file is not None:
            yield (
                attempt.manifest_file.place,
                PayloadFile(attempt.manifest_file.bytes, attempt.manifest_file.sha256),
            )
        for log in attempt.logs:
            if log.place is not None:
                yield log.place, PayloadFile(log.bytes, log.sha256)
    for environment in survey.environments:
        if environment.place is not None:
            yield environment.place, PayloadFile(environment.bytes or 0, environment.sha256)
    for foreign in survey.foreign:
        yield foreign.path, PayloadFile(foreign.bytes, foreign.sha256)


def payload_file(data: bytes) -> PayloadFile:
    """Size and hash of what is in memory."""
    return PayloadFile(len(data), hashlib.sha256(data).hexdigest())


def closing_files(view: View, payload: Mapping[str, PayloadFile]) -> Iterator[tuple[str, bytes]]:
    """The files that speak of all others: the crate, the manifest and its seal."""
    crate = crate_bytes(view, payload)
    yield CRATE, crate
    hashes = {path: found.sha256 for path, found in payload.items()}
    manifest = manifest_bytes({**hashes, CRATE: payload_file(crate).sha256})
    yield MANIFEST, manifest
    yield SEAL, seal_bytes(manifest)


def seal_bytes(manifest: bytes) -> bytes:
    """Content of the manifest's own hash file."""
    return manifest_bytes({MANIFEST: payload_file(manifest).sha256})
