"""From what a person typed, field by field, to an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from matterstack.core.documents.fields import AnyField, BooleanField, Fields, IntegerField, NumberField
from matterstack.core.documents.manifests import (
    ExperimentManifest,
    GateManifest,
    HumanOperatorManifest,
    ManualHPCManifest,
)
from matterstack.core.errors import RefusedError, UsageError
from matterstack.usecases.open_question import OpenQuestion

_FLAGS: Final = {
    **dict.fromkeys(("true", "yes", "y"), True),
    **dict.fromkeys(("false", "no", "n"), False),
}


def document_of(question: OpenQuestion, settings: Mapping[str, str]) -> dict[str, Any]:
    """Make an answer of what was typed: ``{NAME: TEXT}``.

    Raises:
        UsageError: a text is no value of its field.
    """
    match question.manifest:
        case HumanOperatorManifest(fields=fields):
            return _typed_values(fields, settings)
        case ExperimentManifest(fields=fields):
            return {"result": _typed_values(fields, settings)}
        case ManualHPCManifest():
            return {k: _whole(k, v) if k == "exit_code" else v for k, v in settings.items()}
        case GateManifest():
            raise UsageError("a gate is answered with --approve, --reject or --send-back")
        case None:
            raise RefusedError(question.problem)


def _typed_values(fields: Fields, settings: Mapping[str, str]) -> dict[str, Any]:
    # A name that is not asked for is found, with all other problems, when the answer is checked.
    return {name: typed_value(fields[name], text, name) if name in fields else text
            for name, text in settings.items()}  # fmt: skip


def typed_value(field: AnyField, text: str, name: str) -> Any:  # noqa: ANN401  any JSON
    """Read what a person typed as the value of a field.

    Raises:
        UsageError: it is none.
    """
    match field:
        case IntegerField():
            return _whole(name, text)
        case NumberField():
            try:
                return float(text)
            except ValueError:
                raise UsageError(f"{name}: {text!r} is no number") from None
        case BooleanField():
            if text.strip().lower() not in _FLAGS:
                raise UsageError(f"{name}: {text!r} is neither true nor false")
            return _FLAGS[text.strip().lower()]
        case _:
            return text


def _whole(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{name}: {text!r} is no whole number") from None
