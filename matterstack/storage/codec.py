"""Domain objects to JSON, and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cattrs import Converter

from matterstack.core.ids import UtcTime


def _make_converter() -> Converter:
    converter = Converter(forbid_extra_keys=True, detailed_validation=False)
    converter.register_structure_hook(str | Path, lambda value, _: value)
    converter.register_unstructure_hook(UtcTime, lambda value: value)
    return converter


CONVERTER = _make_converter()


def dumps(value: object) -> str:
    """Encode JSON compactly; NaN and infinity are refused (ValueError), since they are no JSON.

    In ASCII: a file name or message that is no valid Unicode must not stop the store.
    """
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def encode(value: object) -> str:
    """Encode an attrs object (or a tuple of them) as JSON."""
    return dumps(CONVERTER.unstructure(value))


def decode(text: str, kind: Any) -> Any:  # noqa: ANN401  the type is the argument
    """Rebuild an attrs object from its JSON."""
    return CONVERTER.structure(json.loads(text), kind)
