"""Values of secrets: from the engine's environment, or from a file of the root that is its owner's alone.

They are kept in memory and nowhere else.  What was known once is looked for as long as the process lives,
also when another value has taken its place.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Final

import attrs

from matterstack.core.secret_words import LONGEST_VALUE, Search, value_problem
from matterstack.storage.child_environment import hide_from_children
from matterstack.storage.layout import Root

FORMER: Final = ".former"
"""Ending of files with values that are looked for, and given to no job any more: ``NAME.former``."""
_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class MissingSecretError(Exception):
    """A value is not known here; the text says of which secret, and why."""


@attrs.frozen
class LookedUp:
    """What is known now: values by name, and why the others have none."""

    values: Mapping[str, bytes] = attrs.field(repr=False)
    missing: Mapping[str, str]


@attrs.define(eq=False)
class SecretVault:
    """Finds values for one root, and remembers them."""

    root: Root
    _current: dict[str, bytes] = attrs.field(factory=dict, repr=False)
    _ever: dict[str, frozenset[bytes]] = attrs.field(factory=dict, repr=False)
    _search: Search = attrs.field(factory=Search, repr=False)
    _lock: Lock = attrs.field(factory=Lock, repr=False)

    def look_up(self, names: Iterable[str]) -> LookedUp:
        """Look for values: in the environment, then in files.  Blocking.

        From here on nothing that this process starts finds these names in its environment.
        """
        names = list(names)
        hide_from_children(names)
        with self._lock:  # runs look in worker threads, and what one has found must not be lost to another
            return self._looked_up(names)

    def _looked_up(self, names: Sequence[str]) -> LookedUp:
        missing: dict[str, str] = {}
        for name in names:
            try:
                value = self._found(name)
            except MissingSecretError as error:
                missing[name] = str(error)
                self._current.pop(name, None)
            else:
                self._current[name] = value
                self._remember(name, value)
            for former in self._former(name):
                self._remember(name, former)
        return LookedUp({name: self._current[name] for name in names if name not in missing}, missing)

    def search(self, names: Iterable[str] | None = None) -> Search:
        """Looks for all values that are known by now; of these secrets only, where they are named."""
        if names is None:
            return self._search
        return Search(values={name: self._ever[name] for name in names if name in self._ever})

    def _remember(self, name: str, value: bytes) -> None:
        known = self._ever.get(name, frozenset())
        if value not in known:
            self._ever[name] = known | {value}
            self._search = Search(values=dict(self._ever))
            _OF_THIS_PROCESS.add(name, value)

    def _found(self, name: str) -> bytes:
        value = os.environb.get(name.encode())
        if value:
            where = "the environment of this process"
        else:
            path = self.file(name)
            value, where = _read(path), str(path)
        if problem := value_problem(value):
            raise MissingSecretError(f"the value in {where} {problem}")
        return value

    def _former(self, name: str) -> list[bytes]:
        try:
            value = _read(self.file(name + FORMER))
        except MissingSecretError:
            return []
        return [] if value_problem(value) else [value]

    def file(self, name: str) -> Path:
        """Where a value may be put."""
        return self.root.secrets / name


@attrs.frozen(eq=False)
class RunSecrets:
    """The secrets of one run, for the jobs that it submits."""

    names: tuple[str, ...]
    _vault: SecretVault

    def values(self) -> Mapping[str, bytes]:
        """Their values at this moment.  Blocking.

        Raises:
            MissingSecretError: not all of them are known.
        """
        found = self._vault.look_up(self.names)
        if found.missing:
            raise MissingSecretError(words_of_missing(found.missing))
        return found.values


@attrs.define
class _Known:
    """All values that a process has come to know, in all roots: one search, in which the longest counts."""

    search: Search = attrs.field(factory=Search)
    _lock: Lock = attrs.field(factory=Lock)

    def add(self, name: str, value: bytes) -> None:
        with self._lock:
            known = self.search.values
            self.search = Search(values={**known, name: known.get(name, frozenset()) | {value}})


_OF_THIS_PROCESS: Final = _Known()


def free_of_secrets(text: str) -> str:
    """A text without the values of any secret that this process has come to know."""
    return _OF_THIS_PROCESS.search.scrubbed(text)


def words_of_missing(missing: Mapping[str, str]) -> str:
    """Which secrets have no value, and why, on one line."""
    return "; ".join(f"the secret {name} has no value: {why}" for name, why in sorted(missing.items()))


def how_to_give(path: Path) -> str:
    """A line of shell that takes a value from the terminal and puts it where an engine finds it."""
    folder = shlex.quote(str(path.parent))
    return f"(umask 077; mkdir -p {folder}; cat > {shlex.quote(str(path))})"


def _read(path: Path) -> bytes:
    """The value in a file that only its owner can read; one line break at its end is no part of it."""
    try:
        descriptor = os.open(path, _FLAGS)
    except FileNotFoundError:
        raise MissingSecretError(f"it is neither in the environment of the engine nor in {path}") from None
    except OSError as error:
        raise MissingSecretError(f"{path} cannot be read: {error.strerror or error}") from None
    try:
        _require_private(os.fstat(descriptor), path)
        data = b""
        while len(data) <= LONGEST_VALUE + 1 and (part := os.read(descriptor, LONGEST_VALUE + 2)):
            data += part
    except OSError as error:
        raise MissingSecretError(f"{path} cannot be read: {error.strerror or error}") from None
    finally:
        os.close(descriptor)
    return data.removesuffix(b"\n")


def _require_private(found: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise MissingSecretError(f"{path} is no regular file")
    if found.st_uid != os.geteuid():
        raise MissingSecretError(
            f"{path} belongs to another user: chown {os.geteuid()} {shlex.quote(str(path))}"
        )
    if found.st_mode & 0o077:
        raise MissingSecretError(f"others may read {path}: chmod 600 {shlex.quote(str(path))}")
