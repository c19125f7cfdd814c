"""JSON schemas: of what operators are handed and give back, of ``run.json``, and of ``config.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

from matterstack.core.documents.config import Kinds, RunConfig
from matterstack.core.documents.manifests import (
    ExperimentManifest,
    GateManifest,
    HumanOperatorManifest,
    ManualHPCManifest,
)
from matterstack.core.documents.operator_documents import (
    DirectHPCManifest,
    ExperimentAcknowledgement,
    ExperimentFailure,
    ExperimentResult,
    GateDecision,
    HandedBackJob,
    HandedBackResult,
    Request,
)
from matterstack.core.documents.run_document import RunDocument

SCHEMAS: Final[Mapping[str, type[BaseModel]]] = {
    model.__name__: model
    for model in (
        DirectHPCManifest, ManualHPCManifest, HumanOperatorManifest, ExperimentManifest, GateManifest,
        Request, ExperimentAcknowledgement, ExperimentResult, ExperimentFailure, GateDecision, HandedBackJob,
        HandedBackResult, RunDocument,
    )
}  # fmt: skip


CONFIG: Final = "Config"
"""Name of the schema of ``config.json``, which depends on the kinds of backend that are installed."""
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def schema_of(name: str, kinds: Kinds) -> dict[str, Any]:
    """JSON schema (draft 2020-12) of a document.

    Raises:
        KeyError: there is none of this name.
    """
    schema = _config_schema(kinds) if name == CONFIG else SCHEMAS[name].model_json_schema(by_alias=True)
    return {"$schema": _DIALECT, **schema}


def _config_schema(kinds: Kinds) -> dict[str, Any]:
    """Of one config file: no key of it is required, since another file below may have it."""
    schema = RunConfig.model_json_schema()
    found: dict[str, Any] = {}
    for name in kinds.names():
        model = kinds.config_model(name)
        if model is not None:
            own = model.model_json_schema()
            found.update(own.pop("$defs", {}))
            own.pop("required", None)
            found[model.__name__] = own
    kind_refs = [{"$ref": f"#/$defs/{name}"} for name, own in found.items() if "type" in own["properties"]]
    schema["properties"]["backends"]["additionalProperties"] = {"anyOf": kind_refs}
    return {**schema, "title": CONFIG, "$defs": found}
