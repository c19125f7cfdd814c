"""Facts to JSON, and back."""

from __future__ import annotations

import json

from matterstack.core.run.facts import FACT_TYPES, Fact
from matterstack.storage.codec import CONVERTER, encode


def encode_fact(fact: Fact) -> tuple[str, str]:
    """Return a fact's type and its JSON."""
    return type(fact).__name__, encode(fact)


def decode_fact(type_name: str, data: str) -> Fact:
    """Rebuild a fact from what `encode_fact` made."""
    fact: Fact = CONVERTER.structure(json.loads(data), FACT_TYPES[type_name])
    return fact
