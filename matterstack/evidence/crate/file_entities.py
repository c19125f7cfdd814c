"""The files of a bundle in its crate, and those that are named by their hash alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import attrs

from matterstack.core.shown_text import shown
from matterstack.evidence.crate.graph import Graph, file_id, local, ref
from matterstack.evidence.history import AttemptKey
from matterstack.evidence.presentation import View, campaign_versions
from matterstack.evidence.survey import (
    FileState,
    LogRecord,
    OutputRecord,
    SourceRecord,
    UnclaimedRecord,
    UsedRecord,
)

WORKFLOW: Final = "workflow.json"
README: Final = "README.md"

_TYPES: Final = {
    "json": "application/json", "jsonl": "application/jsonl", "csv": "text/csv", "md": "text/markdown",
    "html": "text/html", "svg": "image/svg+xml", "png": "image/png", "jpg": "image/jpeg",
    "jpeg": "image/jpeg", "txt": "text/plain", "log": "text/plain", "py": "text/x-python",
    "sh": "application/x-sh", "pdf": "application/pdf", "xml": "application/xml", "zip": "application/zip",
    "cff": "application/yaml", "toml": "application/toml",
    "h5": "application/x-hdf5", "yaml": "application/yaml", "yml": "application/yaml",
}  # fmt: skip
"""A table of our own: that of the machine differs from machine to machine."""

_OURS: Final = {
    "events.jsonl": "Everything that ever changed the run, in order",
    "evidence.json": "What was found of the run's files",
    "tasks.csv": "Tasks and their attempts, as a table",
    "report.md": "The report, as text",
    "report.html": "The report, for a browser",
    "config.json": "The configuration that the run was made with",
    "timeline.svg": "When attempts waited and ran",
    "graph.svg": "The tasks and what they depend on",
    README: "What this is, and how to check it",
    "CITATION.cff": "How to cite this",
    "changes.csv": "What was changed while the run lived, value by value",
    "definitions.jsonl": "All definitions of the tasks that have had more than one",
}


_MADE_FROM: Final = "Of the campaign, when the run was made"


@attrs.frozen
class PayloadFile:
    """A file of the bundle."""

    bytes: int
    sha256: str


class Files:
    """Describes files, and knows what they are called then."""

    def __init__(self, graph: Graph, view: View, payload: Mapping[str, PayloadFile]) -> None:
        self._graph = graph
        self._view = view
        self._payload = payload
        self._output_ids: dict[tuple[str, str], str] = {}
        self._unclaimed_ids: dict[AttemptKey, list[str]] = {}

    def describe(self) -> None:
        """All that are in the bundle, and all outputs."""
        from_campaign = {record.place: record for record in self._view.survey.campaign_files()}
        self._later = {record.place for record in self._view.survey.versions}
        for path in sorted(self._payload, key=file_id):
            if path != WORKFLOW:  # it is described as the main workflow
                self._file(path, from_campaign.get(path))
        for output in self._view.survey.outputs:
            self._output_ids[f"{output.task_id}/{output.path}", output.sha256] = self._output(output)
        for unclaimed in self._view.survey.unclaimed:
            key = (unclaimed.task_id, unclaimed.n)
            self._unclaimed_ids.setdefault(key, []).append(self._output(unclaimed))

    def _said_of(self, path: str) -> str | None:
        if path == "config.json" and self._view.history.is_amended:
            return "The configuration of the run, as it was amended last"
        if path.startswith("configs/"):
            number = path.removeprefix("configs/").removesuffix(".json")
            return f"The configuration of the run, version {number}"
        return _OURS.get(path)

    def _file(self, path: str, source: SourceRecord | None) -> None:
        found = self._payload[path]
        is_code = source is not None and path.endswith(".py")
        commit = self._view.history.created.commit
        is_committed = commit is not None and commit.is_changed is False and path not in self._later
        unchanged = commit.id if commit is not None and is_committed else None
        self._graph.add(
            file_id(path),
            ["File", "SoftwareSourceCode"] if is_code else "File",
            name=shown(path if source is None else source.path),
            description=self._said_of(path) if source is None else self._of_campaign(path),
            programmingLanguage=ref(self._python()) if is_code else None,
            version=(unchanged or f"sha256:{found.sha256}") if is_code else None,
            about=ref("./") if path == README else None,
            contentSize=str(found.bytes),
            encodingFormat=media_type(path),
            sha256=found.sha256,
        )

    def _of_campaign(self, path: str) -> str:
        return "Of the campaign, as it was later" if path in self._later else _MADE_FROM

    def _python(self) -> str:
        version = self._view.history.created.software.get("python")
        return self._graph.add(
            local("language", "python"), "ComputerLanguage", name="Python", version=version
        )

    def _output(self, output: OutputRecord | UnclaimedRecord) -> str:
        if output.place is not None:
            return file_id(output.place)
        return self._graph.add(
            local("output", output.task_id, output.n, output.path),
            "CreativeWork",
            name=shown(output.path),
            contentSize=None if output.bytes is None else str(output.bytes),
            encodingFormat=media_type(output.path),
            sha256=output.sha256,
            description=shown(_absence(output.state, output.detail)),
        )

    def sources(self) -> list[str]:
        """What the campaign was, as far as it is here."""
        return [file_id(record.place) for record in self._view.survey.made_from() if record.place is not None]

    def later(self, code: Collection[tuple[str, str]]) -> list[str]:
        """Files of the campaign, as they were later, as far as they are here."""
        found = self._view.survey.versions
        return [file_id(r.place) for r in found if r.place is not None and (r.path, r.sha256) in code]

    def of_campaign(self) -> list[list[str]]:
        """Files of each version of the campaign, as far as they are here."""
        places = {(r.path, r.sha256): r.place for r in self._view.survey.campaign_files()}
        return [
            [file_id(place) for key in files.items() if (place := places.get(key)) is not None]
            for files in campaign_versions(self._view.history)
        ]

    def output(self, output: OutputRecord) -> str:
        """An output of an attempt."""
        return self._output_ids[f"{output.task_id}/{output.path}", output.sha256]

    def made_by(self, key: AttemptKey) -> list[str]:
        """What an attempt made, answers apart."""
        record = self._view.records.get(key)
        return [
            *(self.output(output) for output in self._view.outputs.get(key, ())),
            *self._unclaimed_ids.get(key, ()),
            *(self._log(key, log) for log in (record.logs if record is not None else ())),
        ]

    def _log(self, key: AttemptKey, log: LogRecord) -> str:
        if log.place is not None:
            return file_id(log.place)
        return self._graph.add(
            local("log", *key, log.name),
            "CreativeWork",
            name=shown(log.name),
            contentSize=str(log.bytes),
            encodingFormat=media_type(log.name),
            sha256=log.sha256,
            description=_absence(FileState.WITHHELD if log.withheld else FileState.REFERENCED, log.withheld),
        )

    def used(self, used: UsedRecord) -> str:
        """What a job was given: where it can be, the very file that another attempt made."""
        if used.is_input and (known := self._output_ids.get((used.origin, used.sha256))) is not None:
            return known
        if used.place is not None:
            return file_id(used.place)
        return self._graph.add(
            local("used", used.sha256[:16], used.name),
            "CreativeWork",
            name=shown(used.name),
            description=shown(
                f"given to jobs, from {used.origin}; {used.withheld or 'no copy with this content was found'}"
            ),
            sha256=used.sha256,
        )


def media_type(path: str) -> str:
    """What a file holds, by its name."""
    return _TYPES.get(path.rpartition(".")[2].lower(), "application/octet-stream")


def _absence(state: FileState, detail: str) -> str:
    if state is FileState.REFERENCED:
        return "too large to be copied into this bundle; it is named by its hash"
    return f"not in this bundle: {state}: {detail}"
