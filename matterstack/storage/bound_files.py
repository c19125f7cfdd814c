"""What an attempt printed and was given, hashed when its job is seen to be over: what its end is bound to."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import attrs

from matterstack.core.documents.strict_json import without_twins
from matterstack.core.run.facts import BoundFile
from matterstack.storage.confine import Confined, confined
from matterstack.storage.files import chunks
from matterstack.storage.layout import operator_folder
from matterstack.storage.question_files import asked_files

LOGS: Final = ("stdout.log", "stderr.log")
MANIFEST_NAME: Final = "manifest.json"
MOST_LOG_BYTES: Final = 64 << 20
"""Of a larger log only the size is bound: a run waits for this."""
MOST_MANIFEST_BYTES: Final = 16 << 20
MOST_GIVEN: Final = 1000
"""Of more files than this the manifest alone, which has their hashes, is bound."""


@attrs.frozen(kw_only=True)
class Bound:
    """What was found; fields as in `matterstack.core.run.facts.JobEnded`."""

    logs: tuple[BoundFile, ...] | None = None
    given: tuple[BoundFile, ...] | None = None


def bind_attempt(folder: Path, n: int, *, is_asked: bool, most_bytes: int | None = None) -> Bound:
    """Hash the logs in an attempt's folder, and read what it was given; what cannot be read is told.

    Args:
        is_asked: it asked somebody: what lies beside the answer counts as its logs.
        most_bytes: of logs that are larger than this, too, only the size is bound.
    """
    most = MOST_LOG_BYTES if most_bytes is None else min(most_bytes, MOST_LOG_BYTES)
    try:
        with confined(folder) as inside:
            logs = list(_logs(inside, [(name, name) for name in LOGS], most))
            given = tuple(_given(inside))
    except OSError:
        return Bound()
    if is_asked:
        with suppress(OSError), confined(operator_folder(folder)) as inside:
            logs += _logs(inside, asked_files(inside, n, is_last=True), most)
    return Bound(logs=tuple(logs), given=given)


def _logs(folder: Confined, names: Iterable[tuple[str, str]], most: int) -> Iterator[BoundFile]:
    for name, found in names:
        try:
            descriptor = folder.open_file(found)
        except FileNotFoundError:
            continue
        except OSError:
            yield BoundFile(name, 0, "")
            continue
        try:
            size = os.fstat(descriptor).st_size
            if size:
                yield BoundFile(name, size, _sha256(descriptor, size) if size <= most else "")
        except OSError:
            yield BoundFile(name, 0, "")
        finally:
            os.close(descriptor)


def _sha256(descriptor: int, size: int) -> str:
    """Hash so much of an open file; empty when there is less of it by now."""
    digest = hashlib.sha256()
    for chunk in chunks(descriptor, size):
        digest.update(chunk)
        size -= len(chunk)
    return "" if size else digest.hexdigest()


def _given(folder: Confined) -> Iterator[BoundFile]:
    try:
        text = folder.read(MANIFEST_NAME, MOST_MANIFEST_BYTES + 1)
    except FileNotFoundError:
        return
    except OSError:
        yield BoundFile(MANIFEST_NAME, 0, "")
        return
    if len(text) > MOST_MANIFEST_BYTES:
        yield BoundFile(MANIFEST_NAME, len(text), "")
        return
    yield BoundFile(MANIFEST_NAME, len(text), hashlib.sha256(text).hexdigest())
    with suppress(ValueError, LookupError, TypeError, AttributeError, RecursionError):
        # A job may have written anything over it: its hash, above, tells.
        yield from _listed(json.loads(text, object_pairs_hook=without_twins))


def _listed(manifest: Any) -> tuple[BoundFile, ...]:  # noqa: ANN401  any JSON
    listed = [*manifest.get("files", ()), *manifest.get("inputs", ())]
    if len(listed) > MOST_GIVEN:
        return ()
    return tuple(BoundFile(str(e["name"]), int(e.get("bytes", 0)), str(e["sha256"])) for e in listed)
