"""The same key twice is one run: what is asked before a run is made, and of who came second."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Final

from matterstack.core.errors import RefusedError, UsageError
from matterstack.core.ids import RunId
from matterstack.core.json_rules import json_problem
from matterstack.storage.layout import Root
from matterstack.storage.run_keys import KeyedRun, RunKey, run_with_key
from matterstack.storage.schema import open_database, reading

MOST_KEY_LENGTH: Final = 200


def require_key(key: object) -> None:
    """Check what somebody gave as a key.

    Raises:
        UsageError: it is no text that can be kept and shown.
    """
    if not isinstance(key, str):
        raise UsageError(f"key: must be text, not {key!r}")
    if not (0 < len(key) <= MOST_KEY_LENGTH and key.isprintable()) or json_problem(key):
        raise UsageError(
            f"key {key[:80]!r}: must be one line of text, of at most {MOST_KEY_LENGTH} characters"
        )


def find_keyed(root: Root, slug: str, key: RunKey, warn: Callable[[str], None]) -> RunId | None:
    """The run that has a key, if there is one; then none is to be made.  Blocking.

    Args:
        warn: told where that run was made with other settings than those given now.

    Raises:
        RefusedError: it is a run of another workspace.
        StoreError: the store cannot be read.
    """
    if not root.database.exists():
        return None
    with closing(open_database(root.database)) as connection, reading(root.database, connection):
        known = run_with_key(connection, key.text)
    if known is None:
        return None
    _require_same(known, slug, key)
    if known.overrides != key.overrides:
        warn(f"run {known.run_id} has the key {key.text!r} and was made with other settings, which it keeps")
    return known.run_id


def _require_same(known: KeyedRun, slug: str, key: RunKey) -> None:
    if known.workspace != slug:
        raise RefusedError(
            f"the key {key.text!r} is that of run {known.run_id} of workspace {known.workspace}",
            hint="take another key for this workspace",
        )
