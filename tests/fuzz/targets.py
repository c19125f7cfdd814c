"""What damaged documents are given to, and what must come of it: an answer, or one sentence."""

from __future__ import annotations

import json
import logging
import shutil
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any, Final
from unittest import mock

import attrs

from matterstack.backends import answers
from matterstack.backends.base import LiveJob, Question
from matterstack.backends.exit_record import MOST_BYTES, read_claim, read_exit_record
from matterstack.backends.questions import request_of
from matterstack.core.documents.manifests import read_manifest
from matterstack.core.errors import MatterStackError
from matterstack.core.ids import BackendName, JobId, TaskId, Token, UtcTime
from matterstack.evidence import contents
from matterstack.evidence.contents import seal_bytes
from matterstack.evidence.importing import import_archive, imported_events, imported_tasks, look_at_bundle
from matterstack.evidence.manifest import MANIFEST, SEAL, UNLISTED, manifest_bytes
from matterstack.evidence.presentation import View
from matterstack.evidence.verify import verify_bundle
from matterstack.storage.layout import Root, operator_folder
from matterstack.usecases.configuration import effective_config
from tests.evidence.bundles import content, export
from tests.evidence.stage import sha256, told
from tests.evidence.test_archive import made
from tests.fuzz.mutations import by_name, damage_file, damaged_bytes, damaged_json
from tests.support.states import RUN_ID
from tests.support.stored import new_root

NOW: Final = UtcTime("2026-01-01T00:00:10.000000Z")
MOST_CHARACTERS: Final = 2000
"""Of a message: what quotes a whole document is no sentence."""


class UnclearError(Exception):
    """A document was taken, or refused, in a way that helps nobody."""


@attrs.frozen
class Target:
    """Something that reads what others wrote.

    Attributes:
        share: how many of a hundred cases are given to it.
        try_one: damages something by way of a source of chance, in an empty folder, and has it read.
    """

    name: str
    share: int
    try_one: Callable[[Random, Path], None]


@contextmanager
def targets(folder: Path) -> Iterator[list[Target]]:
    """All that can be given damaged documents; ``folder`` is for what is whole."""
    root = told(folder / "root", "COMPLETED")
    bundle = export(root, copy_below_bytes=20).path
    archive = made(root, folder / "run.zip", copy_below_bytes=20).path
    with _drawn_once(), _quiet():
        yield [
            Target("bundle", 5, _Bundle(bundle).try_one),
            Target("archive", 5, _Archive(archive).try_one),
            Target("record", 30, _record),
            Target("answer", 30, _answer),
            Target("config", 30, _config),
        ]


@contextmanager
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("matterstack")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def _drawn_once() -> Iterator[None]:
    """Pictures are drawn once for what they show: they are most of the work, and none of what is tried."""
    known: dict[str, bytes] = {}
    with ExitStack() as stack:
        for name in ("timeline_svg", "graph_svg"):
            stack.enter_context(mock.patch.object(contents, name, _once(getattr(contents, name), known)))
        yield


def _once(draw: Callable[[View, float], bytes], known: dict[str, bytes]) -> Callable[[View, float], bytes]:
    def drawn(view: View, width_in: float) -> bytes:
        key = f"{draw.__name__} {width_in} {view.history} {view.survey}"
        if key not in known:
            if len(known) > 100:  # most are asked for once
                known.clear()
            known[key] = draw(view, width_in)
        return known[key]

    return drawn


def sentence(error: MatterStackError) -> None:
    """Check that an error is one clear message."""
    text = str(error)
    if not text.strip() or len(text) > MOST_CHARACTERS or "Traceback" in text:
        raise UnclearError(f"no sentence: {text[:500]!r}")


# ---- evidence ----


@attrs.frozen
class _Bundle:
    whole: Path

    def try_one(self, random: Random, folder: Path) -> None:
        bundle = folder / "bundle"
        shutil.copytree(self.whole, bundle)
        before = content(bundle)
        for _ in range(random.choice((1, 1, 2))):
            files = [path for path in sorted(bundle.rglob("*")) if _is_ordinary(path)]
            damage_file(random, random.choice(files))
        if random.randrange(2):
            _reseal(bundle)
        findings = verify_bundle(bundle)
        for finding in findings:
            if len(finding.problem) > MOST_CHARACTERS or not finding.problem:
                raise UnclearError(f"no sentence: {finding.problem[:500]!r}")
        if not findings and _content(bundle) != before:
            raise UnclearError("a bundle that was changed passes")
        for look in (look_at_bundle, imported_tasks, lambda bundle: imported_events(bundle, 0)):
            try:
                look(bundle)
            except MatterStackError as error:
                sentence(error)


def _is_ordinary(path: Path) -> bool:
    """Whether it is a file that a bundle may hold: none of those that were put in their place."""
    return path.is_file() and not path.is_symlink() and path.stat().st_size < 1 << 30


def _content(folder: Path) -> dict[str, bytes] | None:
    """All of a bundle; None where that is more, or something else, than any bundle holds."""
    if any(path.is_file() and path.stat().st_size > 1 << 30 for path in folder.rglob("*")):
        return None
    return content(folder)


def _reseal(bundle: Path) -> None:
    """Make the manifest fit what is there, where it can be read."""
    with suppress(OSError):
        small = {
            str(path.relative_to(bundle)): path.read_bytes()
            for path in bundle.rglob("*")
            if _is_ordinary(path)
        }
        hashes = {path: sha256(data) for path, data in small.items() if path not in UNLISTED}
        text = manifest_bytes(hashes)
        for path, data in ((bundle / MANIFEST, text), (bundle / SEAL, seal_bytes(text))):
            path.unlink(missing_ok=True)
            path.write_bytes(data)


class _Archive:
    def __init__(self, file: Path) -> None:
        self.bytes = file.read_bytes()
        with zipfile.ZipFile(file) as archive:
            self.files = {name: archive.read(name) for name in archive.namelist()}

    def try_one(self, random: Random, folder: Path) -> None:
        file = folder / "run.zip"
        if random.randrange(2):
            file.write_bytes(self._damaged_lists(random))
        else:
            self._write(random, file)
        root = new_root(folder / "root")
        before = set(content(root.path))
        try:
            imported = import_archive(root, file)
        except MatterStackError as error:
            sentence(error)
            if set(content(root.path)) != before:
                raise UnclearError("something of it was left") from error
        else:
            if verify_bundle(imported.path):
                raise UnclearError("what does not fit was taken")

    def _damaged_lists(self, random: Random) -> bytes:
        """Damage what is no content: headers and the list of files."""
        spoilt = bytearray(self.bytes)
        begin = random.choice((b"PK\1\2", b"PK\3\4", b"PK\5\6"))
        place = spoilt.find(begin, random.randrange(len(spoilt)))
        place = place if place >= 0 else spoilt.index(begin)
        for _ in range(random.choice((1, 2, 4))):
            at = min(place + random.randrange(60), len(spoilt) - 1)
            spoilt[at] = random.choice((0, 1, 0xFF, random.randrange(256)))
        return bytes(spoilt) if random.randrange(3) else damaged_bytes(random, self.bytes)

    def _write(self, random: Random, file: Path) -> None:
        files = dict(self.files)
        name = random.choice(sorted(files))
        match random.randrange(4):
            case 0:
                del files[name]
            case 1:
                files[f"{name}{random.choice(('/x', '.x', '/../../../x', chr(0), '/' * 300))}"] = files[name]
            case _:
                files[name] = by_name(name)(random, files[name])
        if random.randrange(2):
            prefix = f"{RUN_ID}/evidence/"
            hashes = {
                path.removeprefix(prefix): sha256(data)
                for path, data in files.items()
                if path.startswith(prefix) and path.removeprefix(prefix) not in UNLISTED
            }
            files[prefix + MANIFEST] = text = manifest_bytes(hashes)
            files[prefix + SEAL] = seal_bytes(text)
        with warnings.catch_warnings(), zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            warnings.simplefilter("ignore", UserWarning)  # a name that stands there twice is meant to
            for path, data in files.items():
                archive.writestr(path, data)


# ---- what jobs, people and instruments write ----


def _record(random: Random, folder: Path) -> None:
    job_id, nonce = "4711", "a" * 32
    record = {
        "exit_code": 0, "started_at": "2026-01-01T00:00:00Z", "ended_at": "2026-01-01T00:00:01Z",
        "host": "n1", "job_id": job_id, "nonce": nonce, "timed_out": False,
    }  # fmt: skip
    expected = sha256(nonce.encode()) if random.randrange(2) else None
    claim_file, record_file = folder / "claim" / "job_id", folder / "exit.json"
    claim_file.parent.mkdir()
    claim_file.write_text(f"{job_id} {nonce}\n")
    record_file.write_text(json.dumps(record))
    damage_file(random, random.choice((record_file, record_file, claim_file)))
    claim = read_claim(folder, expected)
    if claim is not None and len(claim) > MOST_BYTES:
        raise UnclearError("a claim that no job script writes was taken")
    found = read_exit_record(folder, job_id, expected)
    if found is None:
        return
    if found.job_id != job_id or not 0 <= found.exit_code <= 255 or (expected and found.nonce != nonce):
        raise UnclearError("a record that no job script writes was taken")


_FIELD: Final = {"type": "number", "min": 0}
_QUESTIONS: Final[tuple[tuple[str, dict[str, Any], dict[str, Any]], ...]] = (
    (
        "human",
        {"question": "Which?", "fields": {"a": _FIELD, "b": {"type": "string", "required": False}}},
        {"a": 1.5, "b": "x"},
    ),
    ("gate", {"question": "Go on?"}, {"attempt": 1, "decision": "approve", "comment": "go on"}),
    (
        "experiment",
        {"request": {"t_c": 400}, "fields": {"rate": _FIELD}},
        {"attempt": 1, "result": {"rate": 2.0}, "files": ["scan.dat"]},
    ),
    ("manual_hpc", {"instructions": "submit it"}, {"attempt": 1, "exit_code": 0}),
)
_ANSWERED: Final = ("response.json", "response.json", "acknowledgement.json", "scan.dat")
_TAKEN_ON: Final = {"by": "furnace", "expected_at": "2026-01-01T12:00:00Z"}


def _answer(random: Random, folder: Path) -> None:
    operator, params, answer = random.choice(_QUESTIONS)
    run = Root(folder).run_folder("demo", RUN_ID)
    question = Question(
        run_id=RUN_ID, task_id=TaskId("ask"), n=1, operator=operator, params=params,
        asked_at=UtcTime("2026-01-01T00:00:00.000000Z"), backend=BackendName("local"),
    )  # fmt: skip
    attempt = run.attempt(TaskId("ask"), 1).path
    job = LiveJob(token=Token("t"), job_id=JobId("question-1"), folder=attempt, question=question)
    try:
        request_of(question, read_manifest(operator, params))
    except ValueError as error:  # of these tests
        raise UnclearError(f"the question itself is none: {error}") from error
    attempt.mkdir(parents=True)
    place = operator_folder(attempt)
    place.mkdir(parents=True)
    (place / "scan.dat").write_bytes(b"1 2 3\n")
    (place / "acknowledgement.json").write_bytes(json.dumps(_TAKEN_ON).encode())
    (place / "response.json").write_bytes(json.dumps(answer).encode())
    damage_file(random, place / random.choice(_ANSWERED))
    if random.randrange(8) == 0:
        answers.look_at_all([job], frozenset(), NOW)
        damage_file(random, place / "request.json")
    for _ in range(2):
        (found,) = answers.look_at_all([job], frozenset(), NOW)
        if isinstance(found, answers.Doubtful):
            seen = answers.reject(job, found)
            if not seen.reason.strip() or len(seen.reason) > MOST_CHARACTERS:
                raise UnclearError(f"no sentence: {seen.reason[:500]!r}")


def _config(random: Random, folder: Path) -> None:
    config = {
        "default_backend": "cluster", "priority": 2, "planning_timeout_s": 60, "params": {"a": 1},
        "backends": {
            "local": {"type": "local", "max_jobs": 2},
            "cluster": {"type": "slurm", "max_jobs": 3, "partition": "main", "prologue": ["module load x"]},
        },
    }  # fmt: skip
    root = new_root(folder / "root")
    workspace = root.workspaces / "w"
    workspace.mkdir()
    (workspace / "campaign.py").write_text("def get_campaign(): pass\n")
    file = random.choice((workspace / "config.json", root.config_file))
    file.write_bytes(damaged_json(random, json.dumps(config).encode()))
    if random.randrange(4) == 0:
        damage_file(random, file)
    try:
        effective_config(root, root.workspace("w"), {})
    except MatterStackError as error:
        sentence(error)
