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
from matterstack.core.documents.root_config import Share
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
ROOT_CONFIG: Final = "RootConfig"
"""Name of that of the root's own, which may say more."""
CONFIGS: Final = (CONFIG, ROOT_CONFIG)
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def schema_of(name: str, kinds: Kinds) -> dict[str, Any]:
    """JSON schema (draft 2020-12) of a document.

    Raises:
        KeyError: there is none of this name.
    """
    if name in CONFIGS:
        schema = _config_schema(kinds, name)
    else:
        schema = SCHEMAS[name].model_json_schema(by_alias=True)
    return {"$schema": _DIALECT, **schema}


def _config_schema(kinds: Kinds, title: str) -> dict[str, Any]:
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
    if title == ROOT_CONFIG:
        schema["properties"] = {"share": _share(), **schema["properties"]}
    return {**schema, "title": title, "$defs": found}


def _share() -> dict[str, Any]:
    """Who may use the root, as `parse_root_config` takes it."""
    return {"default": None, "enum": [*(one.value for one in Share), None], "title": "Share"}
