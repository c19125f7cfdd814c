"""Look for a head that somebody wrote down in the events of a bundle; nothing else of it is believed."""

from __future__ import annotations

import json
import os
import re
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import attrs

from matterstack.core.errors import NotFoundError, UsageError
from matterstack.core.run.chain import UNCHAINED, chained
from matterstack.evidence.confined_reading import opened_document, read_document
from matterstack.evidence.contents import EVENTS
from matterstack.evidence.survey import SURVEY, parse_survey
from matterstack.storage.confine import confined
from matterstack.storage.layout import Root
from matterstack.storage.read.events import event_lines
from matterstack.storage.schema import open_database, translated_errors

_HEAD: Final = re.compile("[0-9a-f]{64}")


@attrs.frozen
class LaterEvent:
    """An event that came after the head; what cannot be read of it is empty."""

    seq: int | None
    at: str
    type: str


@attrs.frozen(kw_only=True)
class HeadSearch:
    """What became of the search.

    Attributes:
        seq: number of the event that has the head; None where none has it.
        at: when that was.
        events: how many there are in all.
        later: those that came after it.
    """

    head: str
    seq: int | None
    at: str = ""
    events: int
    later: tuple[LaterEvent, ...] = ()

    @property
    def is_found(self) -> bool:
        """Whether all events up to the one with the head are what they were when it was written down."""
        return self.seq is not None

    @property
    def problem(self) -> str:
        """What is wrong, where it was not found."""
        return (
            f"none of its {self.events} events has the head {self.head}: one of them was changed, left out "
            "or added, or the bundle is older than the head, or of another run"
        )


def search_head(folder: Path, head: str) -> HeadSearch:
    """Follow the chain of a bundle's events to a head, and past it.

    Raises:
        UsageError: it is no head.
        NotFoundError: there is no such folder, or no events in it.
    """
    head = head.strip().lower()
    if not _HEAD.fullmatch(head):
        raise UsageError(f"--head {head!r}: a head is 64 hexadecimal digits", hint="give all of them")
    if not folder.is_dir():
        raise NotFoundError(f"no folder {folder}", hint="name the folder of a bundle")
    count, reached, found = 0, UNCHAINED, LaterEvent(None, "", "")
    later: list[LaterEvent] | None = None
    try:
        with (
            confined(folder) as bundle,
            opened_document(bundle, EVENTS) as descriptor,
            os.fdopen(descriptor, "rb", closefd=False) as lines,
        ):
            for line in lines:
                count, reached = count + 1, chained(reached, line)
                if later is not None:
                    later.append(_event(line))
                elif reached == head:
                    found, later = _event(line), []
    except OSError as error:
        raise NotFoundError(f"{folder / EVENTS}: {error.strerror or error}") from None
    return HeadSearch(
        head=head,
        seq=None if later is None else found.seq or count,
        at=found.at,
        events=count,
        later=tuple(later or ()),
    )


def later_in_store(folder: Path, store: Root) -> tuple[LaterEvent, ...]:
    """What came after the last event of a bundle, as far as a store knows.

    So a bundle of earlier, or one whose last events were dropped, is told from one of now.  Nothing where the
    bundle does not say whose it is, which is found by `matterstack.evidence.verify`.

    Raises:
        StoreError: the store cannot be read.
    """
    try:
        survey = parse_survey(read_document(folder, SURVEY))
    except (OSError, ValueError):
        return ()
    later: list[LaterEvent] = []
    last = survey.seq
    with translated_errors(store.database), closing(open_database(store.database)) as connection:
        while found := event_lines(connection, last, survey.run_id):
            later += [LaterEvent(event["seq"], event["at"], event["type"]) for _, event in found]
            last = found[-1][0]
    return tuple(later)


def _event(line: bytes) -> LaterEvent:
    try:
        event: Any = json.loads(line)
        return LaterEvent(int(event["seq"]), str(event["at"]), str(event["type"]))
    except (ValueError, TypeError, LookupError, RecursionError):
        return LaterEvent(None, "", "")
