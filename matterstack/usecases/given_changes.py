"""Understand what people and programs give to be set: typed words, or values by their dotted paths."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from matterstack.core.errors import ConfigError, UsageError
from matterstack.core.json_rules import json_problem


def typed_changes(words: Sequence[str], option: str = "--set") -> dict[str, Any]:
    """What of tasks is to change, by path: each word is ``PATH=VALUE``.

    Raises:
        UsageError: one is none, or a path is there twice.
    """
    from matterstack.core.model.amending import setting

    changes: dict[str, Any] = {}
    for word in words:
        path, value = setting(word)
        if path in changes:
            raise UsageError(f"{option} {path}: is given twice")
        changes[path] = value
    return changes


def given_changes(changes: object, name: str) -> dict[str, Any]:
    """The same, as a program gives it.

    Raises:
        UsageError: it is no mapping of paths to what JSON can hold.
    """
    if not isinstance(changes, Mapping) or not all(isinstance(path, str) for path in changes):
        raise UsageError(f"{name}: must be a dict of values by path, not {changes!r}"[:500])
    if problem := json_problem(dict(changes)):
        raise UsageError(f"{name}: cannot be kept as JSON: {problem}")
    return dict(changes)


def typed_settings(words: Sequence[str], option: str = "--set") -> dict[str, Any]:
    """A config of words ``KEY=VALUE``; a value that is no JSON is text.

    >>> typed_settings(["params.n=5", "default_backend=cluster"])
    {'params': {'n': 5}, 'default_backend': 'cluster'}

    Raises:
        UsageError: a word is none.
    """
    from matterstack.core.documents.config import merge, nested
    from matterstack.core.documents.strict_json import TwinKeyError, without_twins

    merged: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not all(key.split(".")):
            raise UsageError(f"{option} {word!r}: must be KEY=VALUE, with a dotted path as the key")
        try:
            value = json.loads(text, object_pairs_hook=without_twins)
        except TwinKeyError as error:
            raise UsageError(f"{option} {word!r}: {error}") from None
        except (ValueError, RecursionError):
            value = text
        if problem := json_problem(value):
            raise UsageError(f"{option} {word!r}: cannot be kept as JSON: {problem}")
        merged = merge(merged, nested(key, value))
    return merged


def given_settings(settings: object, name: str) -> dict[str, Any]:
    """A config as a program gives it; a key may be a dotted path.

    >>> given_settings({"params.n": 5, "params": {"m": 6}}, "settings")
    {'params': {'n': 5, 'm': 6}}

    Raises:
        UsageError: it is no mapping, or has something that no JSON can hold.
    """
    from matterstack.core.documents.config import merge, nested

    if not isinstance(settings, Mapping) or not all(isinstance(key, str) for key in settings):
        raise UsageError(f"{name}: must be a dict with text keys, not {settings!r}")
    if problem := json_problem(settings):
        raise ConfigError(f"{name}: cannot be kept as JSON: {problem}")
    merged: dict[str, Any] = {}
    for key, value in settings.items():
        if not all(key.split(".")):
            raise ConfigError(f"{name}: a part of {key!r} is empty")
        merged = merge(merged, nested(key, value))
    return merged
