"""The folder in which something is asked, and answered: ``operators/<task_id>`` of a run.

Whoever answers may be a person with an editor, or a program on another machine, so anything may lie there at
any time.  What is written here is written whole; what is read is read once, as it is at that moment.
"""

from __future__ import annotations

import hashlib
import json
import os
import pwd
from collections.abc import Sequence
from typing import Final

import attrs

from matterstack.core.documents.operator_documents import Request
from matterstack.core.documents.strict_json import MOST_BYTES, without_twins
from matterstack.storage.confine import Confined, ConfinementError
from matterstack.storage.files import chunks, json_bytes

REQUEST: Final = "request.json"
RESPONSE: Final = "response.json"
ACKNOWLEDGEMENT: Final = "acknowledgement.json"
ERROR: Final = "response.error.txt"
_MOST_REQUEST_BYTES: Final = 16 << 20
_MOST_ERROR_BYTES: Final = 1 << 16
_MOST_REASON: Final = 2000
_BULLET: Final = "- "


@attrs.frozen(kw_only=True)
class Seen:
    """A file as it was found.

    Attributes:
        text: its content, at most one byte more than any answer may have; None where that cannot be read.
        problem: why not, in words; else empty.
        by: name of its owner, as far as that is known.
        sha256: of its content; empty where it cannot be read or is too large.
        version: changes whenever the file does.
    """

    text: bytes | None = None
    problem: str = ""
    by: str = ""
    sha256: str = ""
    version: tuple[object, ...] = ()


def ask(folder: Confined, request: Request) -> None:
    """Ask once: nothing is done when this very question has been asked already.

    What was asked before, and the answer to it, is kept under other names.  An answer that was there before
    anything was asked is no answer to this.
    """
    # Looked at first: whoever hands an answer over puts a question that is missing in its place before it.
    has_answer = folder.exists(RESPONSE)
    asked = asked_attempt(folder)
    if has_asked(folder, request.attempt, request.asked_at):
        return
    if asked is None or asked == request.attempt:
        if has_answer:
            set_aside(folder, ["it was there before anything was asked"])
        for name in (ACKNOWLEDGEMENT, REQUEST) if asked is not None else ():
            if folder.exists(name):
                stem, dot, suffix = name.rpartition(".")
                folder.rename(name, _free_name(folder, f"{stem}.rejected-", f"{dot}{suffix}", first=1))
    else:
        for name in (RESPONSE, ACKNOWLEDGEMENT, ERROR, REQUEST):
            if folder.exists(name):
                stem, dot, suffix = name.rpartition(".")
                folder.rename(name, _free_name(folder, f"{stem}-{asked}", f"{dot}{suffix}"))
    folder.replace(REQUEST, json_bytes(request.model_dump(mode="json")))


def withdraw(folder: Confined) -> None:
    """Nobody needs to answer any more."""
    asked = asked_attempt(folder)
    if asked is not None:
        folder.rename(REQUEST, _free_name(folder, f"request-{asked}.withdrawn", ".json"))


def asked_attempt(folder: Confined) -> int | None:
    """Which attempt the question that lies there belongs to; None when there is no whole one."""
    try:
        text = folder.read(REQUEST, _MOST_REQUEST_BYTES)
    except OSError:
        return None
    return _attempt_of(text)


def has_asked(folder: Confined, attempt: int, asked_at: str) -> bool:
    """Whether the question that lies there is this one; one that is older than that is another's."""
    try:
        request = json.loads(folder.read(REQUEST, _MOST_REQUEST_BYTES), object_pairs_hook=without_twins)
    except (OSError, ValueError, RecursionError):
        return False
    if not isinstance(request, dict) or isinstance(request.get("attempt"), bool):
        return False
    return (request.get("attempt"), request.get("asked_at")) == (attempt, asked_at)


def _attempt_of(text: bytes) -> int | None:
    try:
        request = json.loads(text, object_pairs_hook=without_twins)
    except (ValueError, RecursionError):
        return None
    attempt = request.get("attempt") if isinstance(request, dict) else None
    return attempt if isinstance(attempt, int) and not isinstance(attempt, bool) else None


def request_problem(folder: Confined) -> str:
    """What is wrong with the question that lies there, in words; empty where it is whole."""
    try:
        text = folder.read(REQUEST, _MOST_REQUEST_BYTES + 1)
    except FileNotFoundError:
        return "is not there"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    if len(text) > _MOST_REQUEST_BYTES:
        return f"is no question: it has more than {_MOST_REQUEST_BYTES >> 20} MiB"
    return "" if _attempt_of(text) is not None else "is no question: it is no JSON object with an attempt"


def look_at(folder: Confined, name: str) -> Seen | None:
    """Read a file that somebody may have left; None when there is none.

    Raises:
        OSError: the disk does not answer, so that nothing is known.
    """
    try:
        descriptor = folder.open_file(name)
    except FileNotFoundError:
        return None
    except ConfinementError as error:
        return Seen(problem=f"it {error.strerror}; put a plain file in its place", version=(error.strerror,))
    except PermissionError:
        return Seen(problem="it may not be read; change its permissions (chmod a+r)", version=("closed",))
    try:
        found = os.fstat(descriptor)
        text = b"".join(chunks(descriptor, MOST_BYTES + 1))
    finally:
        os.close(descriptor)
    sha256 = hashlib.sha256(text).hexdigest() if len(text) <= MOST_BYTES else ""
    version = (found.st_ino, found.st_size, found.st_mtime_ns, sha256)
    return Seen(text=text, by=_owner(found.st_uid), sha256=sha256, version=version)


def _owner(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def set_aside(folder: Confined, problems: Sequence[str]) -> None:
    """Keep an answer that cannot be used under another name, and say beside it why."""
    kept = _free_name(folder, "response.rejected-", ".json", first=1)
    lines = [
        f"{RESPONSE} was not taken (it is kept as {kept}):",
        *(f"{_BULLET}{problem}" for problem in problems),
        f"Nothing is lost. Write a new {RESPONSE}; this file goes away when it is taken.",
    ]
    # First the reason: whoever finds the answer gone finds out why.
    folder.replace(ERROR, ("\n".join(lines) + "\n").encode())
    folder.rename(RESPONSE, kept)


def last_rejection(folder: Confined) -> tuple[int, str]:
    """How many answers to what is asked now were set aside, and what was wrong with the last one."""
    try:
        text = folder.read(ERROR, _MOST_ERROR_BYTES).decode(errors="replace")
    except OSError:
        return 0, ""
    first, _, rest = text.partition("\n")
    _, _, kept = first.partition("response.rejected-")
    number = kept.partition(".")[0]
    problems = [line.removeprefix(_BULLET) for line in rest.splitlines() if line.startswith(_BULLET)]
    return (int(number) if number.isdecimal() else 1), "; ".join(problems)[:_MOST_REASON]


def clear_rejection(folder: Confined) -> None:
    """The answer was taken: what was wrong with an earlier one matters to nobody any more."""
    if folder.exists(ERROR):
        folder.rename(ERROR, _free_name(folder, "response.error-", ".txt", first=1))


def _free_name(folder: Confined, stem: str, suffix: str, first: int | None = None) -> str:
    number = first
    while True:
        name = f"{stem}{'' if number is None else number}{suffix}"
        if not folder.exists(name):
            return name
        stem, number = (f"{stem}.", 2) if number is None else (stem, number + 1)
