"""The page of events: every fact that can happen to a run, and what it carries."""

from __future__ import annotations

import typing
from typing import Any, Final

import attrs
from docstrings import told
from markdown import code, page, table

from matterstack.core.run import facts

INTRO = """Everything that has ever happened to a run is an event: `run events` prints them as JSON lines, the
monitor streams them, `events.jsonl` of a bundle holds them. Each is
`{"seq": 17, "at": "2026-01-01T10:15:00.000000Z", "run": "...", "type": "JobAccepted", "data": {...}}`; `seq` counts
without gaps over all runs of a root, times are UTC. `type` is one of these, and `data` holds its fields."""

SHARED: Final = {
    "adopted": "found by an engine that did not know whether it had been submitted",
    "attempt": "number of the attempt, from 1",
    "backend": "name of the backend in `config.json`",
    "by": "user name of the person who asked for it, or of whoever wrote the answer",
    "config": "the effective configuration, frozen",
    "data": "what `result.json`, or the answer, held",
    "ended_at": "when the job ended there (UTC)",
    "exit_code": "of the command",
    "host": "where the job ran",
    "iteration": "number of the round of planning, from 1",
    "index": "place in the job array",
    "batch": "name of the job array",
    "job_id": "id that the backend gave",
    "kind": "kind of failure, as in `retry_on`",
    "manifest_sha256": "SHA-256 of the attempt's `manifest.json`",
    "n": "number of the attempt, from 1",
    "name": "label of the workflow",
    "outputs": "files that it left: `path`, `size_bytes`, `sha256`",
    "position": "place in the order of all tasks of the run",
    "raw_state": "the backend's own word for the state",
    "reason": "why, in words",
    "about": "what people said of it, as `about.toml` has it",
    "commit": "where the workspace stood in git: `id`, and whether files were changed since (`is_changed`)",
    "environment": "SHA-256 of what its script found of the software that it ran in; empty: it did not look",
    "resources": "what the attempt asks for",
    "sha256": "SHA-256 of the file that says so",
    "software": "versions of what was installed, by name",
    "sources": "SHA-256 of the workspace's files, by path",
    "started_at": "when the job began there (UTC)",
    "state": "see [life cycles](../architecture.md#life-cycles); of an analysis: what it returned",
    "task": "the task as it was planned",
    "task_count": "how many tasks were planned",
    "task_id": "id of the task",
    "token": "name of the attempt, by which its job can be found",
    "workspace": "name of the workspace",
}
"""What fields mean that many facts have."""


def make() -> str:
    """The whole page."""
    return page("Events", INTRO, *(_of_fact(kind) for kind in typing.get_args(facts.Fact)))


def _of_fact(kind: type[Any]) -> str:
    said = told(kind)
    hints = typing.get_type_hints(kind)
    rows = [
        (code(one.name), code(_type(hints[one.name])), said.fields.get(one.name) or SHARED.get(one.name, ""))
        for one in attrs.fields(kind)
    ]
    shown = table(("field", "type", "meaning"), rows) if rows else ""
    return f"## {kind.__name__}\n\n{said.text}\n\n{shown}"


def _type(hint: Any) -> str:
    if isinstance(hint, typing.NewType):
        return str(hint.__name__)
    inside = typing.get_args(hint)
    if type(None) in inside:
        return f"{_type(inside[0])} or null"
    if typing.get_origin(hint) is tuple:
        return f"list of {_type(inside[0])}"
    if inside:
        return "object"
    return {"str": "text", "int": "number", "bool": "true or false", "Any": "JSON"}.get(
        getattr(hint, "__name__", str(hint)), getattr(hint, "__name__", str(hint))
    )
