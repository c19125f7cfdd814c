"""``config.json`` of a root: a layer of every run's config, and what holds for the root itself."""

from __future__ import annotations

import enum
import reprlib
from collections.abc import Mapping
from typing import Any, Final

import attrs

from matterstack.core.documents.strict_json import DocumentError, TwinKeyError, parse_document
from matterstack.core.errors import ConfigError
from matterstack.core.shown_text import brief


class Share(enum.Enum):
    """Who may use a root beside its owner."""

    NOBODY = "nobody"
    GROUP = "group"


@attrs.frozen
class RootConfig:
    """What the config of a root says.

    Attributes:
        share: who may use the root beside its owner: `"group"` is all members of the group of its folder,
            `"nobody"` nobody; None where nothing is said: nobody, unless it was open to a group before.
        for_runs: the rest, which lies over the config of the site and under that of each workspace.
    """

    share: Share | None = None
    for_runs: Mapping[str, Any] = attrs.field(factory=dict)


MOST_BYTES: Final = 16 << 20
ROOT_KEYS: Final = frozenset({"share"})
"""What may stand in no other config.json."""


def config_object(name: str, text: bytes) -> dict[str, Any]:
    """Parse a config file, strictly: a key that stands there twice is refused, too.

    Raises:
        ConfigError: naming the file, and the place in it.
    """
    try:
        value = parse_document(text, most_bytes=MOST_BYTES)
    except TwinKeyError as error:
        raise ConfigError(f"{name}: {error}") from None
    except DocumentError as error:
        raise ConfigError(f"{name}: not valid JSON: {brief(error)}") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{name}: must be a JSON object, not {type(value).__name__}")
    return value


def parse_root_config(name: str, text: bytes) -> RootConfig:
    """Check what is only the root's own; the rest is checked where it is a part of a run's config.

    Raises:
        ConfigError: naming the file and the field.

    >>> parse_root_config("config.json", b'{"share": "everybody"}')
    Traceback (most recent call last):
    matterstack.core.errors.ConfigError: config.json: share: must be "group" or "nobody", not 'everybody'
    """
    value = config_object(name, text)
    share = value.pop("share", None)
    known = {one.value: one for one in Share}
    if share is not None and (not isinstance(share, str) or share not in known):
        raise ConfigError(f'{name}: share: must be "group" or "nobody", not {reprlib.repr(share)}')
    return RootConfig(None if share is None else known[share], value)
