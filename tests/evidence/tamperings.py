"""What a forger may do to a bundle; each of them ends with as much made to fit as the forger can."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import attrs

from matterstack.core.ids import TaskId
from matterstack.evidence.contents import made_with
from matterstack.evidence.manifest import MANIFEST, SEAL
from matterstack.evidence.survey import (
    FileState,
    ForeignRecord,
    LogRecord,
    LogState,
    ManifestState,
    UnclaimedRecord,
)
from tests.evidence.forger import Forger, swapped
from tests.evidence.stage import sha256

Tampering = Callable[[Forger], None]
GROUPS: Final[dict[str, dict[str, Tampering]]] = {}
OTHERS: Final = dict.fromkeys(made_with(), "99.0")
STDOUT: Final = "logs/mix.1/stdout.log"
MIX: Final = "outputs/mix.1/mix.json"
SCRIPT: Final = "used/mix.1/manifest.json"


def tampering(group: str, what: str) -> Callable[[Tampering], Tampering]:
    """Enter a tampering into the table."""

    def enter(function: Tampering) -> Tampering:
        GROUPS.setdefault(group, {})[what] = function
        return function

    return enter


def several(group: str, made: Mapping[str, Tampering]) -> None:
    """Enter some that are alike."""
    GROUPS.setdefault(group, {}).update(made)


# ---- one file, and nothing else ----

PLAIN: Final = "One file is changed, and nothing else"


def flipped(place: str) -> Tampering:
    def flip(f: Forger) -> None:
        data = bytearray(f.read(place))
        data[len(data) // 2] ^= 1
        (f.folder / place).write_bytes(data)

    return flip


def added(f: Forger) -> None:
    (f.folder / "more.txt").write_text("more")


several(
    PLAIN,
    {
        "an output": flipped(MIX),
        "a log": flipped(STDOUT),
        "an answer": flipped("answers/look.1/response.json"),
        "a file of the campaign": flipped("sources/campaign.py"),
        "the record of what a job was given": flipped(SCRIPT),
        "a file that a job was given": lambda f: flipped(used_place(f))(f),
        "the report": flipped("report.html"),
        "an event": flipped("events.jsonl"),
        "the manifest": flipped(MANIFEST),
        "the hash of the manifest": flipped(SEAL),
        "the crate": flipped("ro-crate-metadata.json"),
        "README.md": flipped("README.md"),
        "CITATION.cff": flipped("CITATION.cff"),
        "what jobs ran in": lambda f: flipped(next(e.place for e in f.survey.environments if e.place))(f),
        "a file is taken away": lambda f: f.take_out(MIX),
        "a file is added": added,
        "an empty folder is added": lambda f: (f.folder / "more").mkdir(),
    },
)


@tampering(PLAIN, "a link takes the place of a file")
def _link(f: Forger) -> None:
    outside = f.folder.parent / "outside"
    shutil.copy(f.folder / MIX, outside)
    (f.folder / MIX).unlink()
    (f.folder / MIX).symlink_to(outside)


def used_place(f: Forger) -> str:
    return next(used.place for used in f.survey.used if used.place is not None)


# ---- what follows from events and survey ----

DERIVED: Final = "A file that follows from the events says something else, and all hashes fit it"


def penned(path: str, old: bytes, new: bytes) -> Tampering:
    def write(f: Forger) -> None:
        f.pen[path] = swapped(old, new)
        f.rebuild()

    return write


SAID: Final = {
    "report.md: the status": ("report.md", b"**COMPLETED**", b"**FAILED**"),
    "report.md: a number": ("report.md", b"-1.5", b"-9.5"),
    "report.md: why an attempt failed": ("report.md", b"no luck", b"bad luck"),
    "report.html: the host": ("report.html", b"node1", b"node9"),
    "report.html: a script": ("report.html", b"</main>", b"<script>alert(1)</script></main>"),
    "report.html: words are hidden": ("report.html", b"<main", b"<div hidden></div><main"),
    "tasks.csv: an exit code": ("tasks.csv", b",0,node1,", b",7,node1,"),
    "workflow.json: a parameter": ("workflow.json", b"LiF", b"LiI"),
    "config.json": ("config.json", b"{", b'{"more": 1,'),
    "timeline.svg: a colour": ("timeline.svg", b"#2f8132", b"#c52707"),
    "graph.svg: a word": ("graph.svg", b"<!-- mix -->", b"<!-- max -->"),
    "the crate: who made the run": ("ro-crate-metadata.json", b'"bea"', b'"eve"'),
    "README.md: the run": ("README.md", b"20", b"21"),
    "README.md: a word that is hidden": ("README.md", b"\n\n", b"\n\n<!-- trust me -->\n\n"),
    "CITATION.cff: an author": ("CITATION.cff", b"Groot", b"Klein"),
    "CITATION.cff: a comment": ("CITATION.cff", b"type:", b"# trust me\ntype:"),
    "evidence.json: a key twice": ("evidence.json", b"{\n", b'{\n "seq": 1,\n'),
}
several(DERIVED, {what: penned(*change) for what, change in SAID.items()})

VERSIONS: Final = "The same, and `made_with` names other versions of every library"


def with_versions(change: Tampering) -> Tampering:
    def forge(f: Forger) -> None:
        f.survey = attrs.evolve(f.survey, made_with=dict(OTHERS))
        change(f)

    return forge


several(VERSIONS, {what: with_versions(penned(*change)) for what, change in SAID.items()})


@tampering(VERSIONS, "timeline.svg: a bar is longer")
def _longer_bar(f: Forger) -> None:
    def stretch(picture: bytes) -> bytes:
        head, bar, rest = picture.partition(b'style="fill: #2f8132')
        assert bar, "no bar of what ended well"
        path = head.rindex(b'd="M ')
        x = head[path + 5 :].split()[0]
        wider = str(float(x) + 40).encode()
        return head[:path] + head[path:].replace(x, wider) + bar + rest

    f.survey = attrs.evolve(f.survey, made_with=dict(OTHERS))
    f.pen["timeline.svg"] = stretch
    f.rebuild()


@tampering(VERSIONS, "graph.svg: the letters of a name are others, and its comment is not")
def _other_letters(f: Forger) -> None:
    def mirror(picture: bytes) -> bytes:
        head, comment, rest = picture.partition(b"<!-- mix -->")
        assert comment, "no such name"
        first = rest.index(b"<use ")
        end = rest.index(b"/>", first) + 2
        letter = rest[first:end]
        second = rest.index(b"<use ", end)
        other = rest[second : rest.index(b"/>", second) + 2]
        shown = other.split(b'href="')[1].split(b'"')[0]
        was = letter.split(b'href="')[1].split(b'"')[0]
        return head + comment + rest[:first] + letter.replace(was, shown) + rest[end:]

    f.survey = attrs.evolve(f.survey, made_with=dict(OTHERS))
    f.pen["graph.svg"] = mirror
    f.rebuild()


@tampering(VERSIONS, "nothing else: all that follows is made again")
def _versions_alone(f: Forger) -> None:
    f.survey = attrs.evolve(f.survey, made_with=dict(OTHERS))
    f.rebuild()


# ---- the survey, or files and the survey ----

FILES: Final = (
    "A file and all that is said of it are changed, the events are not, and everything is made again"
)


def rewritten(place: str, data: bytes = b"forged\n") -> Tampering:
    def forge(f: Forger) -> None:
        f.write(place, data)
        f.rebuild()

    return forge


def is_log(log: Mapping[str, Any]) -> bool:
    return log.get("place") == STDOUT


def relogged(data: bytes, state: LogState) -> Tampering:
    def forge(f: Forger) -> None:
        f.write(STDOUT, data)
        f.say(is_log, state=state)
        f.rebuild()

    return forge


several(
    FILES,
    {
        "an output": rewritten(MIX),
        "an answer": rewritten("answers/look.1/response.json"),
        "the question that was answered": rewritten("answers/look.1/request.json"),
        "a file of the campaign": rewritten("sources/campaign.py"),
        "the record of what a job was given": rewritten(SCRIPT, b'{"files": [], "inputs": []}'),
        "a file that a job was given": lambda f: rewritten(used_place(f))(f),
        "a log": relogged(b"forged\n", LogState.AS_IT_WAS),
        "a log, said to have grown": relogged(b"forged, and longer than it was\n", LogState.LONGER),
        "a log, said not to be bound": relogged(b"forged\n", LogState.UNBOUND),
        "a log, said to have been changed by others": relogged(b"forged\n", LogState.CHANGED),
        "a log, to which something is added": relogged(b"mixed at 900 K\nmore\n", LogState.LONGER),
        "what an attempt that failed has left": rewritten("outputs/flaky.1/part1.dat"),
        "a file that no export made": rewritten("foreign/notes.txt"),
    },
)


@tampering(FILES, "two outputs change places")
def _exchanged(f: Forger) -> None:
    first, second = "outputs/relax.1/out.txt", "outputs/relax.1/log.txt"
    one, other = f.read(first), f.read(second)
    f.write(first, other)
    f.write(second, one)
    f.rebuild()


@tampering(FILES, "a log is taken out, and not spoken of")
def _log_out(f: Forger) -> None:
    f.take_out(STDOUT)
    f.survey = attrs.evolve(
        f.survey,
        attempts=tuple(
            attrs.evolve(a, logs=tuple(log for log in a.logs if log.place != STDOUT))
            for a in f.survey.attempts
        ),
    )
    f.rebuild()


@tampering(FILES, "a log is taken out, and said to be missing")
def _log_missing(f: Forger) -> None:
    f.take_out(STDOUT)
    f.say(is_log, state=LogState.MISSING, place=None)
    f.rebuild()


@tampering(FILES, "a log is put in, said to have been written after the job")
def _log_in(f: Forger) -> None:
    place = "logs/mix.1/stderr.log"
    data = b"a warning that never was\n"
    record = LogRecord(
        name="stderr.log", bytes=len(data), sha256=sha256(data), place=place, state=LogState.LONGER
    )
    f.survey = attrs.evolve(
        f.survey,
        attempts=tuple(
            attrs.evolve(a, logs=(*a.logs, record)) if (a.task_id, a.n) == ("mix", 1) else a
            for a in f.survey.attempts
        ),
    )
    (f.folder / place).write_bytes(data)
    f.rebuild()


SURVEY_ONLY: Final = "The survey says something else, and everything is made again"


def is_mix(record: Mapping[str, Any]) -> bool:
    return record.get("path") == "mix.json" and record.get("task_id") == "mix"


@tampering(SURVEY_ONLY, "an output is said to be missing, and taken out")
def _missing(f: Forger) -> None:
    f.take_out(MIX)
    f.say(is_mix, state=FileState.MISSING, place=None, detail="it is not there")
    f.rebuild()


@tampering(SURVEY_ONLY, "an output is said to be referenced, and taken out")
def _referenced(f: Forger) -> None:
    f.take_out(MIX)
    f.say(is_mix, state=FileState.REFERENCED, place=None)
    f.rebuild()


@tampering(SURVEY_ONLY, "the largest output is said to be referenced, by a lower limit")
def _referenced_by_limit(f: Forger) -> None:
    copies = [(o.place, o.bytes or 0) for o in f.survey.outputs]
    copies += [(u.place, u.bytes or 0) for u in f.survey.unclaimed]
    limit = max(size for place, size in copies if place is not None) - 1
    f.survey = attrs.evolve(f.survey, copy_below_bytes=limit)
    for place, size in copies:
        if place is not None and size > limit:
            f.take_out(place)
            f.say(partial(lies_at, place), state=FileState.REFERENCED, place=None)
    f.rebuild()


def lies_at(place: str, record: Mapping[str, Any]) -> bool:
    return record.get("place") == place and "path" in record


@tampering(SURVEY_ONLY, "an output is left out")
def _left_out(f: Forger) -> None:
    f.take_out(MIX)
    f.survey = attrs.evolve(f.survey, outputs=f.survey.outputs[1:])
    f.rebuild()


@tampering(SURVEY_ONLY, "an output is said to lie where another one lies")
def _same_place(f: Forger) -> None:
    f.take_out("outputs/relax.1/log.txt")
    f.say(lambda r: r.get("path") == "log.txt", place="outputs/relax.1/out.txt")
    f.rebuild()


@tampering(SURVEY_ONLY, "an answer is said to be missing, and taken out")
def _answer_missing(f: Forger) -> None:
    f.take_out("answers/look.1/response.json")
    f.say(lambda r: "by" in r, state=FileState.MISSING, place=None, detail="it is not there")
    f.rebuild()


@tampering(SURVEY_ONLY, "who answered")
def _answerer(f: Forger) -> None:
    f.say(lambda r: "by" in r, by="eve")
    f.rebuild()


@tampering(SURVEY_ONLY, "a file of the campaign is said to be missing, and taken out")
def _source_missing(f: Forger) -> None:
    f.take_out("sources/campaign.py")
    f.say(
        lambda r: r.get("place") == "sources/campaign.py", state=FileState.MISSING, place=None, detail="gone"
    )
    f.rebuild()


@tampering(SURVEY_ONLY, "the record of what a job was given is said to be missing, and taken out")
def _manifest_missing(f: Forger) -> None:
    f.take_out(SCRIPT)
    f.take_out(used_place(f))
    gone = next(place for place, used in enumerate(f.survey.used) if used.name == "mix.py")
    f.say(
        lambda r: r.get("task_id") == "mix" and "manifest_file" in r,
        manifest=ManifestState.MISSING,
        manifest_file=None,
        detail="it is not there",
        used=(),
    )
    f.survey = attrs.evolve(
        f.survey,
        used=tuple(used for place, used in enumerate(f.survey.used) if place != gone),
        attempts=tuple(
            attrs.evolve(a, used=tuple(u - (u > gone) for u in a.used)) for a in f.survey.attempts
        ),
    )
    f.rebuild()


@tampering(SURVEY_ONLY, "which job used which file")
def _other_user(f: Forger) -> None:
    mine = next(a.used for a in f.survey.attempts if a.task_id == "mix")
    f.say(lambda r: r.get("task_id") == "bad" and "manifest_file" in r, used=mine)
    f.rebuild()


@tampering(SURVEY_ONLY, "where a file that jobs were given came from")
def _other_origin(f: Forger) -> None:
    f.say(lambda r: "origin" in r and r["name"] == "mix.py", origin="other.py")
    f.rebuild()


@tampering(SURVEY_ONLY, "what an attempt that failed has left is left out")
def _unclaimed_out(f: Forger) -> None:
    f.take_out("outputs/flaky.1/part1.dat")
    f.survey = attrs.evolve(f.survey, unclaimed=f.survey.unclaimed[1:])
    f.rebuild()


def invented(task_id: str, n: int, path: str) -> Tampering:
    def forge(f: Forger) -> None:
        place, data = f"outputs/{task_id}.{n}/{path}", b"invented\n"
        record = UnclaimedRecord(
            task_id=TaskId(task_id), n=n, path=path, sha256=sha256(data), bytes=len(data), place=place,
            state=FileState.COPIED,
        )  # fmt: skip
        (f.folder / place).parent.mkdir(parents=True, exist_ok=True)
        (f.folder / place).write_bytes(data)
        f.survey = attrs.evolve(f.survey, unclaimed=(*f.survey.unclaimed, record))
        f.rebuild()

    return forge


def declared(path: str) -> Tampering:
    def forge(f: Forger) -> None:
        data = b"put in\n"
        (f.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (f.folder / path).write_bytes(data)
        record = ForeignRecord(path=path, bytes=len(data), sha256=sha256(data))
        f.survey = attrs.evolve(f.survey, foreign=(*f.survey.foreign, record))
        f.rebuild()

    return forge


def surveyed(**values: Any) -> Tampering:
    def forge(f: Forger) -> None:
        f.survey = attrs.evolve(f.survey, **values)
        f.rebuild()

    return forge


several(
    SURVEY_ONLY,
    {
        "something is put in, as left by a failed attempt": invented("flaky", 1, "part9.dat"),
        "something is put in, as left by an attempt that did well": invented("mix", 1, "more.json"),
        "something is put in, as left by a failed attempt that declares no such output": invented(
            "flaky", 1, "more.json"
        ),
        "a file is put in, as one that no export made": declared("foreign/more.txt"),
        "a file is put in among the outputs, as one that no export made": declared("outputs/mix.1/x.json"),
        "the run's folder is said not to have been there": surveyed(has_folder=False),
        "its format is said to be the older one": surveyed(format=1),
        "it is of another run": surveyed(run_id="20200101T000000-aaaaaa"),
        "it is as of another event": surveyed(seq=7),
        "from which event on they were chained as they came": surveyed(chained_to=3),
    },
)


@tampering(SURVEY_ONLY, "an attempt is left out")
def _attempt_out(f: Forger) -> None:
    for place in ("logs/bad.1/stderr.log", "used/bad.1/manifest.json"):
        f.take_out(place)
    f.survey = attrs.evolve(f.survey, attempts=tuple(a for a in f.survey.attempts if a.task_id != "bad"))
    f.rebuild()


# ---- the events ----

EVENTS: Final = "The events are changed, and everything else is made to follow from them"


def put_in_pause(f: Forger) -> None:
    place = next(n for n, event in enumerate(f.events) if event["type"] == "IterationAnalyzed")
    f.insert(place, "RunPaused", by="eve", reason="never")
    f.insert(place + 1, "RunResumed", by="eve")


def exchange(f: Forger) -> None:
    """Two jobs that were accepted one after the other."""
    place = next(n for n, event in enumerate(f.events) if event["type"] == "JobAccepted")
    other = next(n for n, e in enumerate(f.events) if n > place and e["type"] == "JobAccepted")
    one, two = f.events[place], f.events[other]
    f.events[place], f.events[other] = {**two, "seq": one["seq"]}, {**one, "seq": two["seq"]}


def configure(f: Forger) -> None:
    """Also as it was amended later."""
    for kind in ("RunCreated", "ConfigAmended"):
        f.event(kind)["config"].update(job_cap=99)


def retold(change: Callable[[Forger], Any]) -> Tampering:
    def forge(f: Forger) -> None:
        change(f)
        f.rebuild()

    return forge


several(
    EVENTS,
    {
        "how a job ended": retold(lambda f: f.end("bad").update(exit_code=7)),
        "where a job ran": retold(lambda f: f.end("mix").update(host="node9")),
        "when a job ended": retold(lambda f: f.end("mix").update(ended_at="2026-01-01T00:00:09.000000Z")),
        "when something happened": retold(lambda f: f.events[-1].update(at="2027-01-01T00:00:00.000000Z")),
        "a result": retold(
            lambda f: f.event("TaskSucceeded", task_id="mix").update(data={"energy_ev": -9.5})
        ),
        "why a task failed": retold(lambda f: f.event("TaskFailed", task_id="bad").update(reason="a storm")),
        "a command": retold(lambda f: f.task("mix").update(command=["python", "max.py"])),
        "a parameter": retold(lambda f: f.task("mix")["params"].update(name="LiI")),
        "an environment variable": retold(lambda f: f.task("mix")["env"].update(OMP_NUM_THREADS="8")),
        "who made the run": retold(lambda f: f.event("RunCreated").update(by="eve")),
        "the configuration": retold(configure),
        "a version of the software": retold(lambda f: f.event("RunCreated")["software"].update(numpy="1.0")),
        "what the campaign found": retold(
            lambda f: f.event("IterationAnalyzed").update(state={"best": "LiI"})
        ),
        "who paused": retold(lambda f: f.event("RunPaused").update(by="eve")),
        "a pause is left out": retold(
            lambda f: f.drop(f.whole_event("RunPaused"), f.whole_event("RunResumed"))
        ),
        "the last event is left out": retold(lambda f: f.drop(f.events[-1])),
        "the last two events are left out": retold(lambda f: f.drop(*f.events[-2:])),
        "an event is put in": retold(put_in_pause),
        "two events change places": retold(exchange),
    },
)


@tampering(EVENTS, "the last event is left out, and the survey is not made to fit")
def _survey_of_before(f: Forger) -> None:
    before = f.survey
    f.drop(f.events[-1])
    f.survey = before
    f.rebuild()


@tampering(EVENTS, "who answered")
def _answered(f: Forger) -> None:
    f.end("look").update(by="eve")
    f.say(lambda r: "by" in r, by="eve")
    f.rebuild()


@tampering(EVENTS, "an answer, and its file")
def _answer(f: Forger) -> None:
    data = b'{"thickness": 99}\n'
    f.write("answers/look.1/response.json", data)
    f.end("look").update(sha256=sha256(data))
    f.event("TaskSucceeded", task_id="look").update(data={"thickness": 99})
    f.rebuild()


@tampering(EVENTS, "an output, and its file")
def _output(f: Forger) -> None:
    data = b'{"ratio": 9}'
    f.write(MIX, data)
    (output,) = f.event("TaskSucceeded", task_id="mix")["outputs"]
    output.update(sha256=sha256(data), size_bytes=len(data))
    f.rebuild()


@tampering(EVENTS, "a log, and its file")
def _log(f: Forger) -> None:
    data = b"mixed at 300 K\n"
    f.write(STDOUT, data)
    (log,) = f.end("mix")["logs"]
    log.update(sha256=sha256(data), size_bytes=len(data))
    f.rebuild()


@tampering(EVENTS, "the logs of an attempt are said never to have been bound")
def _never_bound(f: Forger) -> None:
    f.write(STDOUT, b"forged\n")
    f.end("mix").update(logs=None)
    f.say(is_log, state=LogState.UNBOUND)
    f.rebuild()


@tampering(EVENTS, "the record of what a job was given, and its file")
def _given(f: Forger) -> None:
    data = f.read(SCRIPT).replace(b'"name": "mix.py"', b'"name": "max.py"').replace(b"/mix.py", b"/max.py")
    f.write(SCRIPT, data)
    f.event("JobAccepted", token=f.token("mix")).update(manifest_sha256=sha256(data))
    given = f.end("mix")["given"]
    given[0].update(sha256=sha256(data))
    given[1].update(path="max.py")
    f.say(lambda r: "origin" in r and r["name"] == "mix.py", name="max.py", origin="max.py")
    f.rebuild()


@tampering(EVENTS, "what a job was given, in its end alone")
def _given_in_end(f: Forger) -> None:
    f.end("mix")["given"][1].update(sha256="0" * 64)
    f.rebuild()


@tampering(EVENTS, "a file of the campaign, and its copy")
def _source(f: Forger) -> None:
    data = b"def get_campaign(): return 1\n"
    f.write("sources/campaign.py", data)
    f.event("RunCreated")["sources"]["campaign.py"] = sha256(data)
    f.event("CampaignChanged")["before"]["campaign.py"] = sha256(data)
    f.rebuild()


@tampering(EVENTS, "a failure becomes a success")
def _success(f: Forger) -> None:
    f.end("bad").update(state="COMPLETED_OK", raw_state="COMPLETED", exit_code=0)
    failed = f.whole_event("TaskFailed", task_id="bad")
    failed.update(type="TaskSucceeded", data={"task_id": "bad", "outputs": [], "data": None})
    f.rebuild()


@tampering(EVENTS, "an attempt that failed is left out, as if the second had been the first")
def _one_attempt(f: Forger) -> None:
    first, second = f.token("flaky", 1), f.token("flaky", 2)
    f.drop(
        *(e for e in f.events if e["data"].get("token") == first),
        *(e for e in f.events if e["type"] == "TaskRetried"),
    )
    for event in f.events:
        if event["data"].get("token") == second:
            event["data"]["token"] = first
            if event["type"] == "AttemptPrepared":
                event["data"]["n"] = 1
    for folder in ("outputs/flaky.1", "logs/flaky.1", "used/flaky.1"):
        shutil.rmtree(f.folder / folder)
    for top in ("outputs", "used"):
        (f.folder / top / "flaky.2").rename(f.folder / top / "flaky.1")
    f.survey = attrs.evolve(
        f.survey,
        unclaimed=(),
        outputs=tuple(moved(o) for o in f.survey.outputs),
        attempts=tuple(
            attrs.evolve(moved(a), token=first) if (a.task_id, a.n) == ("flaky", 2) else a
            for a in f.survey.attempts
            if (a.task_id, a.n) != ("flaky", 1)
        ),
    )
    f.say(lambda r: r.get("place") == "used/flaky.2/manifest.json", place="used/flaky.1/manifest.json")
    f.rebuild()


def moved(record: Any) -> Any:
    if (record.task_id, record.n) != ("flaky", 2):
        return record
    place = getattr(record, "place", None)
    changes = {"n": 1} if place is None else {"n": 1, "place": place.replace("flaky.2", "flaky.1")}
    return attrs.evolve(record, **changes)


@tampering(EVENTS, "an event is written in another way")
def _other_writing(f: Forger) -> None:
    f.rebuild()
    path = f.folder / "events.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"seq":', b'"seq": ', 1))
    f.reseal()
