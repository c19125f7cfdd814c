"""What somebody may have meant with a key of ``config.json`` that is not known where it stands."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel

from matterstack.core.errors import ConfigError

if TYPE_CHECKING:
    from matterstack.core.documents.config import Kinds


def key_meant(
    whole: type[BaseModel], config: Mapping[str, Any], kinds: Kinds, location: Sequence[str | int]
) -> str:
    """The nearest key that is known; empty where none is near.

    Args:
        whole: model of the whole config.
        config: what was written, all layers over each other.
        location: keys that lead to the wrong one, or to the backend that has no type.
    """
    *above, wrong = [str(key) for key in location]
    backends = config.get("backends")
    if not isinstance(backends, Mapping):
        backends = {}
    if above == ["backends"]:  # a name that nobody has defined, with keys as if somebody had
        return _near(wrong, [name for name in backends if name != wrong])
    if not above:
        return _near(wrong, whole.model_fields) or _of_a_backend(wrong, backends, kinds)
    model = _model_at(above, backends, kinds) if above[0] == "backends" else None
    return _near(wrong, model.model_fields) if model is not None else ""


def _near(wrong: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    near = difflib.get_close_matches(wrong[:200], list(known), n=1)
    return near[0] if near else ""


def _of_a_backend(wrong: str, backends: Mapping[str, Any], kinds: Kinds) -> str:
    """Where a key belongs that is one of a backend."""
    for name in sorted(backends):
        model = _model_at(["backends", name], backends, kinds)
        if model is not None and wrong in model.model_fields:
            return f"backends.{name}.{wrong}"
    return ""


def _model_at(path: Sequence[str], backends: Mapping[str, Any], kinds: Kinds) -> type[BaseModel] | None:
    _, name, *inside = path
    config = backends.get(name)
    type_ = config.get("type") if isinstance(config, Mapping) else None
    try:
        model: type[BaseModel] | None = kinds.config_model(type_) if isinstance(type_, str) else None
    except ConfigError:
        return None
    for key in inside:
        field = None if model is None else model.model_fields.get(key)
        model = None if field is None else _model_of(field.annotation)
    return model


def _model_of(annotation: Any) -> type[BaseModel] | None:  # noqa: ANN401  whatever a model says
    """The model that a field holds, perhaps beside None."""
    for one in (annotation, *get_args(annotation)):
        if isinstance(one, type) and issubclass(one, BaseModel):
            return one
    return None
