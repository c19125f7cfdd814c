"""A forger: changes a bundle, and makes everything else fit with the code that makes and checks bundles."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import attrs

from matterstack.evidence.contents import EVENTS, closing_files, copied_files, derived_files, payload_file
from matterstack.evidence.crate.document import CRATE
from matterstack.evidence.history import fold_events, parse_lines
from matterstack.evidence.manifest import MANIFEST, SEAL, UNLISTED, manifest_bytes
from matterstack.evidence.presentation import View
from matterstack.evidence.survey import SURVEY, UNBOUND_FORMAT, Survey, parse_survey
from matterstack.storage.codec import dumps
from matterstack.storage.read.events import EventRow
from tests.evidence.bundles import content
from tests.evidence.stage import sha256

Event = dict[str, Any]


@attrs.define
class Forger:
    """A bundle that is being forged.

    Attributes:
        pen: files that are written at the very end over what follows from events and survey.
    """

    folder: Path
    events: list[Event]
    survey: Survey
    pen: dict[str, Callable[[bytes], bytes]] = attrs.field(factory=dict)

    @classmethod
    def of(cls, folder: Path) -> Self:
        """Read a bundle."""
        events = [json.loads(line) for line in (folder / EVENTS).read_bytes().splitlines()]
        return cls(folder, events, parse_survey((folder / SURVEY).read_bytes()))

    # ---- events ----

    def event(self, kind: str, **fields: Any) -> Event:
        """The data of the first event of a kind whose fields are these."""
        return self.whole_event(kind, **fields)["data"]  # type: ignore[no-any-return]

    def whole_event(self, kind: str, **fields: Any) -> Event:
        """The first event of a kind whose fields are these."""
        wanted = fields.items()
        return next(e for e in self.events if e["type"] == kind and wanted <= _flat(e["data"]).items())

    def task(self, task_id: str) -> Event:
        """A task as it was planned."""
        planned = (e["data"]["task"] for e in self.events if e["type"] == "TaskPlanned")
        return next(task for task in planned if task["id"] == task_id)

    def token(self, task_id: str, n: int = 1) -> str:
        """Of an attempt."""
        return str(self.event("AttemptPrepared", task_id=task_id, n=n)["token"])

    def end(self, task_id: str, n: int = 1) -> Event:
        """How a job ended."""
        return self.event("JobEnded", token=self.token(task_id, n))

    def drop(self, *dropped: Event) -> None:
        """Take events out, count the others anew, and have the survey be as of the last of them."""
        first = self.events[0]["seq"]
        self.events = [event for event in self.events if event not in dropped]
        for seq, event in enumerate(self.events, start=first):
            event["seq"] = seq
        self.survey = attrs.evolve(self.survey, seq=self.events[-1]["seq"])

    def insert(self, place: int, kind: str, **data: Any) -> None:
        """Put an event in, and have the survey be as of the last one."""
        before = self.events[place - 1]
        self.events.insert(place, {**before, "type": kind, "data": data})
        for seq, event in enumerate(self.events, start=self.events[0]["seq"]):
            event["seq"] = seq
        self.survey = attrs.evolve(self.survey, seq=self.events[-1]["seq"])

    # ---- files and what is said of them ----

    def read(self, place: str) -> bytes:
        """Content of a file."""
        return (self.folder / place).read_bytes()

    def write(self, place: str, data: bytes) -> None:
        """Write a file, and say everywhere in the survey that this is its hash."""
        (self.folder / place).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / place).write_bytes(data)
        self.say(lambda r: r.get("place", r.get("path")) == place, sha256=sha256(data), bytes=len(data))

    def take_out(self, place: str) -> None:
        """Remove a file, and the folder that is empty then."""
        path = self.folder / place
        path.unlink()
        while not any(path.parent.iterdir()):
            path = path.parent
            path.rmdir()

    def say(self, which: Callable[[Mapping[str, Any]], bool], **values: Any) -> None:
        """Change all records of the survey that are meant."""
        self.survey = _changed(self.survey, which, values)

    # ---- the end ----

    def write_events(self) -> bytes:
        """Write the events as MatterStack writes them."""
        rows = (EventRow(e["seq"], e["run"], e["at"], e["type"], dumps(e["data"])) for e in self.events)
        text = b"".join(row.line() for row in rows)
        (self.folder / EVENTS).write_bytes(text)
        return text

    def rebuild(self) -> None:
        """Make everything that follows from events and survey once more, and all hashes."""
        events = self.write_events()
        history = fold_events(parse_lines(events))
        is_older = self.survey.format == UNBOUND_FORMAT
        self.survey = attrs.evolve(self.survey, head="" if is_older else history.head)
        view = View(history, self.survey, self.read)
        payload = {**dict(copied_files(self.survey)), EVENTS: payload_file(events)}
        for path, data in derived_files(view):
            payload[path] = payload_file(self._written(path, data))
        for path, data in closing_files(view, payload):
            if path == CRATE or path not in UNLISTED:
                self._written(path, data)
        self.reseal()

    def _written(self, path: str, data: bytes) -> bytes:
        change = self.pen.get(path)
        changed = data if change is None else change(data)
        (self.folder / path).write_bytes(changed)
        return changed

    def reseal(self) -> None:
        """Make manifest and seal fit what is there."""
        hashes = {path: sha256(data) for path, data in content(self.folder).items() if path not in UNLISTED}
        manifest = manifest_bytes(hashes)
        (self.folder / MANIFEST).write_bytes(manifest)
        (self.folder / SEAL).write_bytes(manifest_bytes({MANIFEST: sha256(manifest)}))


def _flat(data: Event) -> Event:
    return {key: value for key, value in data.items() if isinstance(value, str | int | bool | None)}


def _changed(record: Any, which: Callable[[Mapping[str, Any]], bool], values: Mapping[str, Any]) -> Any:
    """The record with all records in it changed that are meant."""
    if isinstance(record, tuple):
        return tuple(_changed(inner, which, values) for inner in record)
    if not attrs.has(type(record)):
        return record
    fields = {a.name: getattr(record, a.name) for a in attrs.fields(type(record))}
    inner = {
        name: _changed(value, which, values)
        for name, value in fields.items()
        if isinstance(value, tuple) or attrs.has(type(value))
    }
    mine = {name: value for name, value in values.items() if name in fields} if which(fields) else {}
    return attrs.evolve(record, **{**inner, **mine})


def swapped(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    """Write one thing for another, once."""

    def change(text: bytes) -> bytes:
        assert old in text, f"{old!r} is not there"
        return text.replace(old, new, 1)

    return change
