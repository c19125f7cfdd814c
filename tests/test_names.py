"""One name for each thing: a file name stands twice only where both are about the same subject."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).parents[1]
PACKAGES: Final = ("matterstack", "actors", "backends")
SAME_SUBJECT: Final = {
    "answers.py": "answers of people and instruments: looked for while the run lives, gathered as evidence",
    "backend.py": "a backend: the actor that drives any, and that of Slurm",
    "commands.py": "what a person asks of a run: sent to the monitor, sent by any face, kept in the store",
    "config.py": "`config.json`: that of a run, and what it says of a cluster",
    "errors.py": "our errors: what they are, and how a terminal tells them",
    "examination.py": "what the doctor finds: its report, and how each backend finds its part",
    "journal.py": "the one way into the store: the actor that everybody asks, and what it does",
    "operators.py": "tasks that ask somebody: their names, and how they are followed",
    "questions.py": "what people and instruments are asked: written, shown by all faces, put into words",
    "runs.py": "whole runs: how one is made, how they are read, and words for what keeps one",
    "seats.py": "seats of a backend: who has them, and who gets the free ones",
    "states.py": "states of a job: ours, and those of Slurm as a table onto them",
    "tasks.py": "the tasks of a run: read, shown live, and described in a bundle",
    "text.py": "text of others that must stay text: in a terminal, and in a report",
    "words.py": "how things are put for people: numbers and times, and what a cluster says",
}
"""File names that stand in several rooms, and what all of them are about."""
EVERYWHERE: Final = {"__init__.py", "__main__.py"}


def _rooms() -> dict[str, list[str]]:
    rooms: dict[str, list[str]] = defaultdict(list)
    for package in PACKAGES:
        for path in (PROJECT / package).rglob("*.py"):
            place = path.relative_to(PROJECT)
            is_link = any((PROJECT / parent).is_symlink() for parent in place.parents)
            if not is_link and place.parts[:2] != ("matterstack", "templates"):
                rooms[path.name].append(str(place.parent))
    return rooms


def test_a_file_name_stands_twice_only_for_one_subject() -> None:
    several = {name for name, places in _rooms().items() if len(places) > 1} - EVERYWHERE
    assert several - SAME_SUBJECT.keys() == set(), "give the new one a name of its own"
    assert SAME_SUBJECT.keys() - several == set(), "these stand once now: take them off the list"
