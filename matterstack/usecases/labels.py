"""Say something of a run, from any face: ``+label``, ``-label``, ``note=TEXT``."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from typing import Any, Final

import attrs

from matterstack.core.errors import UsageError
from matterstack.core.ids import RunId, UtcTime
from matterstack.core.json_rules import json_problem
from matterstack.storage.labelling import Labelling, Said, change_labels, read_labelling
from matterstack.storage.read.runs import require_run

LABEL_PATTERN: Final = re.compile(r"\w[\w.:/@+-]{0,63}")
MOST_NOTE_LENGTH: Final = 4000
_NOTE: Final = "note="
_HOW: Final = '+LABEL adds a label, -LABEL removes it, note="TEXT" is the note (note= removes it)'


@attrs.frozen
class LabelChange:
    """What is to be said of a run; ``note`` is None where it stays as it is."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    note: str | None = None


def read_change(words: Sequence[str]) -> LabelChange:
    """Understand the words of `run label`.

    >>> read_change(["+cathode", "-old", "note=see page 12"])
    LabelChange(added=('cathode',), removed=('old',), note='see page 12')

    Raises:
        UsageError: a word is none of these, contradicts another, or cannot be kept.
    """
    added: dict[str, None] = {}
    removed: dict[str, None] = {}
    note: str | None = None
    for word in words:
        if word.startswith(_NOTE):
            if note is not None:
                raise UsageError("note= stands there twice", hint="keep one")
            note = _note(word.removeprefix(_NOTE))
        elif word[:1] in {"+", "-"}:
            (added if word[0] == "+" else removed)[_label(word[1:])] = None
        else:
            raise UsageError(f"{word!r} is neither +LABEL nor -LABEL nor note=TEXT", hint=_HOW)
    if both := sorted(added.keys() & removed.keys()):
        raise UsageError(f"label {both[0]!r} cannot be added and removed at once")
    return LabelChange(tuple(added), tuple(removed), note)


def change_of(added: Sequence[str], removed: Sequence[str], note: str | None) -> LabelChange:
    """The same, as a program gives it; ``note``: empty takes it away, None leaves it.

    Raises:
        UsageError: a label is none, or contradicts another.
    """
    words = [f"+{label}" for label in added] + [f"-{label}" for label in removed]
    return read_change([*words, *([] if note is None else [f"{_NOTE}{note}"])])


def require_label(text: str) -> str:
    """Check the form of a label.

    Raises:
        UsageError: it is none.
    """
    return _label(text.removeprefix("+"))


def _label(text: str) -> str:
    if not LABEL_PATTERN.fullmatch(text) or json_problem(text):
        raise UsageError(
            f"{text!r} is no label: it has letters, digits and _ . : / @ + -, at most 64, and begins with a "
            "letter, a digit or _"
        )
    return text


def _note(text: str) -> str:
    if problem := json_problem(text):
        raise UsageError(f"note: cannot be kept: {problem}")
    if len(text) > MOST_NOTE_LENGTH:
        raise UsageError(f"note: has {len(text)} characters; {MOST_NOTE_LENGTH} is the most")
    return text


def label_run(
    connection: sqlite3.Connection, run_id: RunId, change: LabelChange, by: str, at: UtcTime
) -> Labelling:
    """Change what is said of a run, whatever its state; returns what is said of it then.

    It is no event of the run, and no evidence has it: who says it, and when, is kept with each.

    Raises:
        NotFoundError: there is no such run.
        RefusedError: it would have too many labels.
    """
    if change == LabelChange():
        require_run(connection, run_id)
        return read_labelling(connection, run_id)
    added = [Said(label, by, at) for label in change.added]
    note = None if change.note is None else Said(change.note, by, at)
    return change_labels(connection, run_id, added, change.removed, note)


def labelling_document(run_id: RunId, said: Labelling) -> dict[str, Any]:
    """What is said of a run, as JSON."""
    note = said.note
    return {
        "run_id": run_id,
        "labels": [one.text for one in said.labels],
        "label_records": [{"label": one.text, "by": one.by, "at": one.at} for one in said.labels],
        "note": None if note is None else {"note": note.text, "by": note.by, "at": note.at},
    }
