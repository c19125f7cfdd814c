"""What a forger may do to what lies beside events and outputs: software, secrets, and what a run is about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from matterstack.evidence.survey import EnvironmentRecord, FileState
from tests.evidence.forger import Forger
from tests.evidence.stage import ENVIRONMENT, sha256
from tests.evidence.tampered_run import ELSEWHERE, KEY, VALUE
from tests.evidence.tamperings import GROUPS, Tampering, retold, several, tampering

__all__ = ["GROUPS", "Tampering"]

# ---- what jobs ran in ----

RAN_IN: Final = "What jobs ran in is changed, and everything is made again"
HERE: Final = sha256(ENVIRONMENT)
THERE: Final = sha256(ELSEWHERE)
FORGED: Final = ENVIRONMENT.replace(b"2.2.0", b"9.9.9")
MADE_UP: Final = sha256(FORGED)


def place_of(digest: str) -> str:
    return f"environments/{digest}.json"


def is_environment(digest: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda record: record.get("place") == place_of(digest)


@tampering(RAN_IN, "an environment says something else, under the name that it had")
def _same_name(f: Forger) -> None:
    (f.folder / place_of(HERE)).write_bytes(FORGED)
    f.rebuild()


@tampering(RAN_IN, "an environment says something else, and the survey has its hash")
def _other_content(f: Forger) -> None:
    f.write(place_of(HERE), FORGED)
    f.rebuild()


@tampering(RAN_IN, "an environment says something else, and has another name")
def _other_name(f: Forger) -> None:
    f.take_out(place_of(HERE))
    f.say(is_environment(HERE), sha256=MADE_UP, place=place_of(MADE_UP), bytes=len(FORGED))
    (f.folder / place_of(MADE_UP)).write_bytes(FORGED)
    f.rebuild()


@tampering(RAN_IN, "two environments change places")
def _swapped(f: Forger) -> None:
    (f.folder / place_of(HERE)).write_bytes(ELSEWHERE)
    (f.folder / place_of(THERE)).write_bytes(ENVIRONMENT)
    f.rebuild()


@tampering(RAN_IN, "two environments change places, and the survey has their hashes")
def _swapped_in_survey(f: Forger) -> None:
    f.write(place_of(HERE), ELSEWHERE)
    f.write(place_of(THERE), ENVIRONMENT)
    f.rebuild()


@tampering(RAN_IN, "an environment is taken out, and said to be missing")
def _missing(f: Forger) -> None:
    f.take_out(place_of(HERE))
    f.say(is_environment(HERE), state=FileState.MISSING, place=None, bytes=None, detail="it is not there")
    f.rebuild()


@tampering(RAN_IN, "an environment is taken out, and not spoken of")
def _left_out(f: Forger) -> None:
    f.take_out(place_of(HERE))
    kept = tuple(e for e in f.survey.environments if e.sha256 != HERE)
    f.survey = attrs.evolve(f.survey, environments=kept)
    f.rebuild()


@tampering(RAN_IN, "an environment is put in that no job ran in")
def _put_in(f: Forger) -> None:
    record = EnvironmentRecord(
        sha256=MADE_UP, state=FileState.COPIED, bytes=len(FORGED), place=place_of(MADE_UP)
    )
    f.survey = attrs.evolve(f.survey, environments=(*f.survey.environments, record))
    (f.folder / place_of(MADE_UP)).write_bytes(FORGED)
    f.rebuild()


@tampering(RAN_IN, "an environment is said to be withheld, and taken out")
def _withheld(f: Forger) -> None:
    f.take_out(place_of(THERE))
    detail = f"it holds the value of the secret {KEY}"
    f.say(is_environment(THERE), state=FileState.WITHHELD, place=None, detail=detail)
    f.rebuild()


several(
    RAN_IN,
    {
        "by the events a job ran in what another one ran in": retold(
            lambda f: f.end("mix").update(environment=THERE)
        ),
        "by the events a job ran in nothing that is known": retold(
            lambda f: f.end("fetch").update(environment="")
        ),
    },
)


@tampering(RAN_IN, "an environment says something else, and the events have its hash")
def _in_events(f: Forger) -> None:
    f.take_out(place_of(HERE))
    f.say(is_environment(HERE), sha256=MADE_UP, place=place_of(MADE_UP), bytes=len(FORGED))
    (f.folder / place_of(MADE_UP)).write_bytes(FORGED)
    for task in ("mix", "fetch"):
        f.end(task).update(environment=MADE_UP)
    f.survey = attrs.evolve(
        f.survey, environments=tuple(sorted(f.survey.environments, key=lambda e: e.sha256))
    )
    f.rebuild()


# ---- what is withheld for the sake of a secret ----

WITHHELD: Final = "What is withheld for the sake of a secret is changed, and everything is made again"
RAW: Final = b"{" + VALUE + b"}\n"
SENT: Final = b"sent " + VALUE + b"\n"
HOLDS: Final = f"it holds the value of the secret {KEY}"
LATTICE: Final = "data/lattice constants.json"


def of(task_id: str, **fields: Any) -> Callable[[Mapping[str, Any]], bool]:
    """A record of a task, or one that has no task, with these values."""
    return lambda record: (
        record.get("task_id", task_id) == task_id and all(record.get(k) == v for k, v in fields.items())
    )


raw: Final = of("fetch", path="raw.txt")
clean: Final = of("fetch", path="clean.txt")
sent: Final = of("fetch", name="stdout.log", sha256=sha256(SENT))
given: Final = of("fetch", name="fetch.py")
lattice: Final = of("", path=LATTICE)


def put_in(which: Callable[[Mapping[str, Any]], bool], place: str, data: bytes, **said: Any) -> Tampering:
    def forge(f: Forger) -> None:
        (f.folder / place).parent.mkdir(parents=True, exist_ok=True)
        (f.folder / place).write_bytes(data)
        f.say(which, place=place, bytes=len(data), **said)
        f.rebuild()

    return forge


def said(which: Callable[[Mapping[str, Any]], bool], **values: Any) -> Tampering:
    def forge(f: Forger) -> None:
        f.say(which, **values)
        f.rebuild()

    return forge


def taken_out(which: Callable[[Mapping[str, Any]], bool], place: str, **values: Any) -> Tampering:
    def forge(f: Forger) -> None:
        f.take_out(place)
        f.say(which, place=None, **values)
        f.rebuild()

    return forge


IS_COPIED: Final[Mapping[str, Any]] = {"state": FileState.COPIED, "detail": ""}
IS_WITHHELD: Final[Mapping[str, Any]] = {"state": FileState.WITHHELD, "detail": HOLDS}
several(
    WITHHELD,
    {
        "an output is put in, as it was": put_in(raw, "outputs/fetch.1/raw.txt", RAW, **IS_COPIED),
        "an output is put in, as it never was": put_in(
            raw, "outputs/fetch.1/raw.txt", b"{}\n", sha256=sha256(b"{}\n"), **IS_COPIED
        ),
        "a log is put in, as it was": put_in(sent, "logs/fetch.1/stdout.log", SENT, withheld=""),
        "a log is put in, as it never was": put_in(
            sent, "logs/fetch.1/stdout.log", b"sent\n", sha256=sha256(b"sent\n"), withheld=""
        ),
        "a file that a job was given is put in, as it was": put_in(
            given, "used/0123456789abcdef/fetch.py", b'lattice = {"LiF": 4.03}\n', withheld=""
        ),
        "a file of the campaign is put in, as it was": put_in(
            lattice, f"sources/{LATTICE}", b'{"LiF": 4.03}\n', **IS_COPIED
        ),
        "a file of the campaign is put in, as it never was": put_in(
            lattice, f"sources/{LATTICE}", b"{}\n", sha256=sha256(b"{}\n"), **IS_COPIED
        ),
        "an output is said to be withheld, and taken out": taken_out(
            of("mix", path="mix.json"), "outputs/mix.1/mix.json", **IS_WITHHELD
        ),
        "an output in which nothing was found is said to be withheld, and taken out": taken_out(
            clean, "outputs/fetch.1/clean.txt", **IS_WITHHELD
        ),
        "a log is said to be withheld, and taken out": taken_out(
            of("mix", place="logs/mix.1/stdout.log"), "logs/mix.1/stdout.log", withheld=HOLDS
        ),
        "why an output is withheld is left out": said(raw, detail=""),
        "why an output is withheld is something else": said(raw, detail="it is dull"),
        "an output is withheld for a secret that the run has not": said(
            raw, detail="it holds the value of the secret OTHER_KEY"
        ),
        "an output is withheld as if nobody had looked through it": said(
            raw,
            detail=f"nobody could look for the value of the secret {KEY} in it, which is not known here",
        ),
        "an output in which nothing was found is withheld as if nobody had looked through it": taken_out(
            clean,
            "outputs/fetch.1/clean.txt",
            state=FileState.WITHHELD,
            detail=f"nobody could look for the value of the secret {KEY} in it, which is not known here",
        ),
        "why a log is withheld is left out": said(sent, withheld=""),
        "why a file that a job was given is withheld is left out": said(given, withheld=""),
        "why a file of the campaign is withheld is left out": said(lattice, detail=""),
        "a withheld output is said to be missing": said(
            raw, state=FileState.MISSING, detail="it is not there"
        ),
    },
)


@tampering(WITHHELD, "by the events nothing was found in an output, which is put in")
def _not_found(f: Forger) -> None:
    f.event("SecretsSought", token=f.token("fetch"))["found"].pop("raw.txt")
    put_in(raw, "outputs/fetch.1/raw.txt", RAW, **IS_COPIED)(f)


# ---- what the run is about ----

ABOUT: Final = "What the run is about is changed, and everything is made again"
CITATION: Final = "CITATION.cff"


@tampering(ABOUT, "CITATION.cff is taken out")
def _no_citation(f: Forger) -> None:
    f.rebuild()
    f.take_out(CITATION)
    f.reseal()


@tampering(ABOUT, "README.md is taken out")
def _no_readme(f: Forger) -> None:
    f.rebuild()
    f.take_out("README.md")
    f.reseal()


@tampering(ABOUT, "README.md and CITATION.cff are those of another run")
def _exchanged(f: Forger) -> None:
    f.rebuild()
    for name in ("README.md", CITATION):
        text = f.read(name).replace(f.survey.run_id.encode(), b"20200101T000000-aaaaaa")
        (f.folder / name).write_bytes(text)
    f.reseal()


@tampering(ABOUT, "by the events it was said anew, after the end")
def _said_anew(f: Forger) -> None:
    last = f.events[-1]
    about = {**f.event("RunCreated")["about"], "authors": [{"name": "Eve"}]}
    f.insert(len(f.events), "AboutChanged", by="eve", about=about, reason="")
    f.events[-1]["at"] = last["at"]
    f.rebuild()


def told(change: Callable[[dict[str, Any]], Any]) -> Tampering:
    return retold(lambda f: change(f.event("RunCreated")["about"]))


several(
    ABOUT,
    {
        "by the events it has another title": told(lambda about: about.update(title="Sugars")),
        "by the events somebody else made it": told(lambda about: about["authors"][1].update(name="Eve")),
        "by the events an author is left out": told(lambda about: about["authors"].pop()),
        "by the events it has another licence": told(lambda about: about.update(license="CC0-1.0")),
        "by the events its workspace stood elsewhere in git": retold(
            lambda f: f.event("RunCreated")["commit"].update(id="cd" * 20)
        ),
        "by the events its workspace was not changed": retold(
            lambda f: f.event("RunCreated")["commit"].update(is_changed=False)
        ),
    },
)
