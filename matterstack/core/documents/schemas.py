"""JSON schemas of all that is handed to operators and comes back from them, and of ``run.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

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


def schema_of(name: str) -> dict[str, Any]:
    """JSON schema (draft 2020-12) of a model.

    Raises:
        KeyError: there is none of this name.
    """
    schema = SCHEMAS[name].model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
