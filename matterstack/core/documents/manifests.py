"""What each operator is given: the ``params`` of its task.

They are checked when their task is reached: a bad manifest fails its own task, with the field and the reason,
and the run goes on by its rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BaseModel, Field, ValidationError, model_validator

from matterstack.core.documents.fields import STRICT, Fields, Problem, Text, Words, field_problems
from matterstack.core.documents.model_problems import model_problems
from matterstack.core.json_rules import json_problem

LONGEST_WAIT_S: Final = 10 * 366 * 86400.0

Seconds = Annotated[float, Field(gt=0, le=LONGEST_WAIT_S)]


class _Manifest(BaseModel):
    """Common to all who are asked something.

    Attributes:
        expires_in_s: seconds from when it is asked until it is too late for an answer; None: never.
    """

    model_config = STRICT
    expires_in_s: Seconds | None = None


class HumanOperatorManifest(_Manifest):
    """A question to a person.

    Attributes:
        question: what is asked, in words.
        default: the answer when nobody has given one in time.
        fields: what is to be answered.
        on_expiry: ``"fail"``: the task fails when nobody has answered in time; ``"default"``: it succeeds
            with ``default`` as the answer.
    """

    question: Text
    fields: Fields
    on_expiry: Literal["fail", "default"] = "fail"
    default: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _default_is_an_answer(self) -> HumanOperatorManifest:
        if (self.default is None) != (self.on_expiry == "fail"):
            raise ValueError('default is given exactly when on_expiry is "default"')
        if self.default is not None:
            problems = [f"default.{problem}" for problem in field_problems(self.fields, self.default)]
            if problems:
                raise ValueError("; ".join(problems))
        return self


class GateManifest(_Manifest):
    """A decision that the graph waits for.

    Attributes:
        question: what is to be decided, in words.
        on_expiry: what an unanswered gate comes to: ``"fail"``, ``"approve"`` or ``"reject"``.
    """

    question: Text
    on_expiry: Literal["fail", "approve", "reject"] = "fail"


class ExperimentManifest(_Manifest):
    """A request to a laboratory or an instrument, which works through the task's folder.

    Attributes:
        request: the conditions, in whatever words the instrument understands.
        instructions: for the people there.
        fields: what is to be measured.
        acknowledge_within_s: seconds until somebody must have said that the work is taken on; None: nobody
            needs to.
        on_expiry: the task fails when the result (or the acknowledgement) is late.
    """

    request: dict[str, Any]
    instructions: Words = ""
    fields: Fields
    acknowledge_within_s: Seconds | None = None
    on_expiry: Literal["fail"] = "fail"


class ManualHPCManifest(_Manifest):
    """A job that a person submits by hand, with the script and in the folder that stand ready.

    Attributes:
        instructions: for that person.
        on_expiry: the task fails when no job is handed back in time.
    """

    instructions: Words = ""
    on_expiry: Literal["fail"] = "fail"


OperatorManifest: TypeAlias = HumanOperatorManifest | ExperimentManifest | ManualHPCManifest | GateManifest

OPERATOR_MANIFESTS: Final[Mapping[str, type[OperatorManifest]]] = {
    "human": HumanOperatorManifest,
    "experiment": ExperimentManifest,
    "manual_hpc": ManualHPCManifest,
    "gate": GateManifest,
}
"""By the name of the operator, for all that answer through a file."""


class ManifestError(ValueError):
    """The params of a task are no manifest of its operator; ``str`` names each field."""


def read_manifest(operator: str, params: Mapping[str, Any]) -> OperatorManifest:
    """Check the params of a task.

    Raises:
        ManifestError: naming every field that is wrong.

    >>> read_manifest("gate", {"question": "Go on?", "expires_in_s": -1})
    Traceback (most recent call last):
    matterstack.core.documents.manifests.ManifestError: params.expires_in_s: must be greater than 0, not -1
    """
    if problem := json_problem(params):
        raise ManifestError(f"params: must be JSON ({problem})")
    try:
        return OPERATOR_MANIFESTS[operator].model_validate(dict(params))
    except ValidationError as error:
        raise ManifestError("; ".join(_named(problem) for problem in model_problems(error))) from None


def _named(problem: Problem) -> str:
    return f"params.{problem}" if problem.field else f"params: {problem}"
