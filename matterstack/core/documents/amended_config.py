"""From the config that a run has to the one that it is to have, checked like that of a new run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

from matterstack.core.documents.config import RunConfig, merge

OBJECT_KEY: Final = "campaign_object"
"""What the config of a run has beside what people may set: the object that plans it."""


def with_settings(
    before: Mapping[str, Any], settings: Mapping[str, Any], *, before_name: str, settings_name: str
) -> dict[str, str]:
    """Settings over the config that a run has, as layers to be checked.

    A backend whose type is set begins anew: the keys of its former kind mean nothing for the other.

    Args:
        before_name, settings_name: what people know them by.
    """
    layers = {before_name: _under(before, settings), settings_name: settings}
    return {name: json.dumps(layer) for name, layer in layers.items()}


def _under(before: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    under = {key: value for key, value in before.items() if key != OBJECT_KEY}
    given = settings.get("backends")
    if isinstance(given, Mapping):
        retyped = {
            name for name, backend in given.items() if _is_retyped(before["backends"].get(name), backend)
        }
        under["backends"] = {name: one for name, one in before["backends"].items() if name not in retyped}
    return under


def _is_retyped(before: Mapping[str, Any] | None, given: object) -> bool:
    if before is None or not isinstance(given, Mapping):
        return False
    return bool(given.get("type", before["type"]) != before["type"])


def as_kept(config: RunConfig, before: Mapping[str, Any]) -> dict[str, Any]:
    """What a run has of a checked config; keys that are newer than the run only where they say something."""
    kept = _without_news(config, before)
    for name, backend in config.backends.items():
        old = before["backends"].get(name)
        if old is not None and old["type"] == backend.type:
            kept["backends"][name] = _without_news(backend, old)
    return kept | ({OBJECT_KEY: before[OBJECT_KEY]} if OBJECT_KEY in before else {})


def _without_news(model: BaseModel, before: Mapping[str, Any]) -> dict[str, Any]:
    fields = type(model).model_fields
    return {
        key: value
        for key, value in model.model_dump(mode="json").items()
        if key in before or getattr(model, key) != fields[key].get_default(call_default_factory=True)
    }


def on_top(overrides: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What was set for a run alone, with what is set now."""
    return merge(overrides, settings)
