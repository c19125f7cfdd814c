"""What a forger may do to what is said of changes, and to versions of campaign, config and definitions."""

from __future__ import annotations

import shutil
from typing import Any, Final

import attrs

from matterstack.evidence.gathering.sources import place_of_version
from matterstack.evidence.survey import FileState, SourceRecord
from tests.evidence.beside_tamperings import GROUPS, Tampering
from tests.evidence.forger import Forger
from tests.evidence.stage import sha256
from tests.evidence.tampered_run import SECOND, THIRD
from tests.evidence.tamperings import penned, retold, several, tampering

__all__ = ["GROUPS", "Tampering"]

# ---- versions of the campaign ----

CAMPAIGN: Final = "The campaign as it was later is changed, and everything is made again"
CODE: Final = "campaign.py"
SECOND_AT: Final = place_of_version(CODE, sha256(SECOND))
THIRD_AT: Final = place_of_version(CODE, sha256(THIRD))
FORGED: Final = b"def get_campaign(): return 9\n"
FORGED_AT: Final = place_of_version(CODE, sha256(FORGED))


@tampering(CAMPAIGN, "a version says something else, under the name that it had")
def _same_name(f: Forger) -> None:
    (f.folder / SECOND_AT).write_bytes(FORGED)
    f.rebuild()


@tampering(CAMPAIGN, "a version says something else, and the survey has its hash")
def _other_content(f: Forger) -> None:
    f.write(SECOND_AT, FORGED)
    f.rebuild()


def move(f: Forger) -> None:
    """A version says something else, and lies where that belongs."""
    f.take_out(SECOND_AT)
    f.say(lambda r: r.get("place") == SECOND_AT, place=FORGED_AT)
    f.write(FORGED_AT, FORGED)


@tampering(CAMPAIGN, "a version says something else, and has another name")
def _other_name(f: Forger) -> None:
    move(f)
    f.rebuild()


@tampering(CAMPAIGN, "two versions change places")
def _swapped(f: Forger) -> None:
    (f.folder / SECOND_AT).write_bytes(THIRD)
    (f.folder / THIRD_AT).write_bytes(SECOND)
    f.rebuild()


@tampering(CAMPAIGN, "two versions change places, and the survey has their hashes")
def _swapped_in_survey(f: Forger) -> None:
    f.write(SECOND_AT, THIRD)
    f.write(THIRD_AT, SECOND)
    f.rebuild()


@tampering(CAMPAIGN, "two versions change their order in the survey")
def _swapped_records(f: Forger) -> None:
    f.survey = attrs.evolve(f.survey, versions=f.survey.versions[::-1])
    f.rebuild()


@tampering(CAMPAIGN, "a version is taken out, and said to be missing")
def _missing(f: Forger) -> None:
    f.take_out(SECOND_AT)
    f.say(
        lambda r: r.get("place") == SECOND_AT, state=FileState.MISSING, place=None, bytes=None, detail="gone"
    )
    f.rebuild()


@tampering(CAMPAIGN, "a version is taken out, and not spoken of")
def _left_out(f: Forger) -> None:
    f.take_out(SECOND_AT)
    f.survey = attrs.evolve(f.survey, versions=f.survey.versions[1:])
    f.rebuild()


@tampering(CAMPAIGN, "a version is put in that nothing was planned with")
def _put_in(f: Forger) -> None:
    place = f.folder / FORGED_AT
    place.parent.mkdir()
    place.write_bytes(FORGED)
    record = SourceRecord(
        path=CODE, sha256=sha256(FORGED), state=FileState.COPIED, bytes=len(FORGED), place=FORGED_AT
    )
    f.survey = attrs.evolve(f.survey, versions=(*f.survey.versions, record))
    f.rebuild()


def say_in_events(f: Forger, before: bytes, after: bytes) -> None:
    """Name another hash wherever the events have that of a version."""
    for event in f.events:
        for field in ("code", "files", "before"):
            if event["data"].get(field, {}).get(CODE) == sha256(before):
                event["data"][field][CODE] = sha256(after)


@tampering(CAMPAIGN, "a version says something else, and the events have its hash")
def _in_events(f: Forger) -> None:
    move(f)
    say_in_events(f, SECOND, FORGED)
    f.rebuild()


def used_by(f: Forger, kind: str) -> dict[str, Any]:
    code: dict[str, Any] = f.event(kind)["code"]
    return code


several(
    CAMPAIGN,
    {
        "by the events an analysis used another version than the newest": retold(
            lambda f: used_by(f, "IterationAnalyzed").update({CODE: sha256(SECOND)})
        ),
        "by the events a version followed on another one": retold(
            lambda f: f.event("CampaignChanged")["before"].update({CODE: sha256(THIRD)})
        ),
    },
)


@tampering(CAMPAIGN, "by the events the last version never was")
def _never_was(f: Forger) -> None:
    f.take_out(THIRD_AT)
    f.drop(f.whole_event("CampaignChanged", action="analyze"))
    used_by(f, "IterationAnalyzed")[CODE] = sha256(SECOND)
    f.survey = attrs.evolve(f.survey, versions=f.survey.versions[:1])
    f.rebuild()


# ---- what was changed, and under what attempts were made ----

CHANGES: Final = "What is said of changes is changed, and all hashes fit it"


def without_line(path: str, words: bytes) -> Tampering:
    def write(f: Forger) -> None:
        def drop(text: bytes) -> bytes:
            lines = text.splitlines(keepends=True)
            kept = [line for line in lines if words not in line]
            assert len(kept) == len(lines) - 1, f"{words!r} stands in {len(lines) - len(kept)} lines"
            return b"".join(kept)

        f.pen[path] = drop
        f.rebuild()

    return write


def prepared(f: Forger, task_id: str) -> dict[str, Any]:
    data: dict[str, Any] = f.event("AttemptPrepared", task_id=task_id)
    return data


def format_of_before(f: Forger) -> None:
    for place in ("changes.csv", "definitions.jsonl", "configs/1.json"):
        f.take_out(place)
    f.survey = attrs.evolve(f.survey, format=2)
    f.rebuild()


several(
    CHANGES,
    {
        "report.md: a change is left out": without_line("report.md", b"their definitions | env"),
        "report.html: a change is left out": without_line("report.html", b"amended the config, which gave"),
        "report.md: who changed something": penned(
            "report.md", b"| ann | to be sure |", b"| eve | to be sure |"
        ),
        "report.html: why something was changed": penned("report.html", b"to be sure", b"to be rich"),
        "report.md: an attempt was made under another version": penned(
            "report.md", b"made under: definition 2", b"made under: definition 1"
        ),
        "report.html: an attempt was made under another version": penned(
            "report.html", b"made under: definition 2", b"made under: definition 1"
        ),
        "changes.csv: a row is left out": without_line("changes.csv", b",fetch,2,env.LC_ALL,"),
        "changes.csv: a value": penned("changes.csv", b",,600", b",,900"),
        "definitions.jsonl: a command": penned("definitions.jsonl", b"fetch.py", b"patch.py"),
        "definitions.jsonl is taken out": lambda f: taken_out(f, "definitions.jsonl"),
        "changes.csv is taken out": lambda f: taken_out(f, "changes.csv"),
        "the config of before says something else": penned(
            "configs/1.json", b'"priority": 1', b'"priority": 2'
        ),
        "the config of before is taken out": lambda f: taken_out(f, "configs/1.json"),
        "a further config is put in": lambda f: put_in(f, "configs/3.json"),
        "tasks.csv: an attempt was made under another version": penned("tasks.csv", b",2,2\r\n", b",1,2\r\n"),
        "the crate: an attempt was made under another definition": penned(
            "ro-crate-metadata.json", b'{"@id": "#definition/relax/2"}', b'{"@id": "#definition/relax/1"}'
        ),
        "the crate: an attempt was made under another campaign": penned(
            "ro-crate-metadata.json", b'{"@id": "#campaign/2"}', b'{"@id": "#campaign/1"}'
        ),
        "its format is said to be the one of before, which does not tell of changes": format_of_before,
    },
)


def taken_out(f: Forger, place: str) -> None:
    f.rebuild()
    f.take_out(place)
    f.reseal()


def put_in(f: Forger, place: str) -> None:
    shutil.copy(f.folder / "config.json", f.folder / place)
    f.rebuild()


RETOLD: Final = "The events of changes are changed, and everything else is made to follow from them"


def amended(f: Forger, task_id: str) -> dict[str, Any]:
    data: dict[str, Any] = f.event("TaskAmended", task_id=task_id)
    return data


def amend_without(f: Forger, task_id: str) -> None:
    """As if nobody had amended a task."""
    f.drop(f.whole_event("TaskAmended", task_id=task_id))


def unamended(f: Forger) -> None:
    """As if nobody had amended a task, and its attempt had been made so."""
    amend_without(f, "relax")
    prepared(f, "relax").update(version=1)
    prepared(f, "relax")["resources"].update(walltime_s=None)


def amended_and_given(f: Forger) -> None:
    """An amendment set another value, and so says the record of what the job was given."""
    place = "used/relax.1/manifest.json"
    f.write(place, f.read(place).replace(b'"LC_ALL": "C"', b'"LC_ALL": "D"'))
    digest = sha256(f.read(place))
    f.event("JobAccepted", token=f.token("relax")).update(manifest_sha256=digest)
    f.end("relax")["given"][0].update(sha256=digest)
    amended(f, "relax")["changes"]["env.LC_ALL"].update(new="D")


several(
    RETOLD,
    {
        "an attempt names an older version": retold(lambda f: prepared(f, "relax").update(version=1)),
        "an attempt names a version that never was": retold(lambda f: prepared(f, "relax").update(version=3)),
        "an attempt of a task that nobody amended names a second version": retold(
            lambda f: prepared(f, "mix").update(version=2)
        ),
        "an attempt had other resources than its definition": retold(
            lambda f: prepared(f, "relax")["resources"].update(walltime_s=60)
        ),
        "an amendment is left out": retold(lambda f: amend_without(f, "relax")),
        "an amendment is left out, and the attempt names the older version": retold(unamended),
        "an amendment changed something else": retold(
            lambda f: amended(f, "fetch")["changes"]["env.LC_ALL"].update(new="de_DE")
        ),
        "an amendment changed something else, and so says the record of what the job was given": retold(
            amended_and_given
        ),
        "who amended a task": retold(lambda f: amended(f, "fetch").update(by="eve")),
        "why a task was amended": retold(lambda f: amended(f, "fetch").update(reason="no reason")),
        "an amendment of the config tells of another value": retold(
            lambda f: f.event("ConfigAmended")["changes"][0].update(new=9)
        ),
        "the config is another one than its amendment tells": retold(
            lambda f: f.event("ConfigAmended")["config"].update(planning_timeout_s=9.0)
        ),
        "an amendment of the config is left out": retold(lambda f: f.drop(f.whole_event("ConfigAmended"))),
    },
)
