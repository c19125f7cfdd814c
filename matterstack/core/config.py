"""``config.json``: what people may set, checked, with one clear message for each mistake."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from matterstack.core.errors import ConfigError

_STRICT = ConfigDict(extra="forbid", strict=True, frozen=True)


class LocalBackendConfig(BaseModel):
    """Jobs as processes on this machine."""

    model_config = _STRICT
    type: Literal["local"]
    max_jobs: int = Field(default=2, ge=1)
    poll_interval_s: float = Field(default=5.0, gt=0, strict=False)
    prologue: list[str] = []


class SlurmBackendConfig(BaseModel):
    """Jobs on a Slurm cluster, through its command line."""

    model_config = _STRICT
    type: Literal["slurm"]
    max_jobs: int = Field(default=100, ge=1)
    poll_interval_s: float = Field(default=10.0, gt=0, strict=False)
    command_timeout_s: float = Field(default=60.0, gt=0, strict=False)
    grace_period_s: float = Field(default=30.0, ge=0, strict=False)
    partition: str | None = None
    account: str | None = None
    prologue: list[str] = []
    ssh: None = None


BackendConfig = Annotated[LocalBackendConfig | SlurmBackendConfig, Field(discriminator="type")]


class RunConfig(BaseModel):
    """The effective configuration of a run."""

    model_config = _STRICT
    max_hpc_jobs_per_run: int = Field(default=10, ge=1)
    default_backend: str = "local"
    priority: int = Field(default=1, ge=1)
    planning_timeout_s: float = Field(default=3600.0, gt=0, strict=False)
    params: dict[str, Any] = {}
    backends: dict[str, BackendConfig] = {}

    @model_validator(mode="after")
    def _default_backend_is_known(self) -> RunConfig:
        if self.default_backend not in self.backends:
            known = ", ".join(sorted(self.backends))
            raise ValueError(
                f"default_backend: {self.default_backend!r} is not in backends (it has: {known})"
            )
        return self


DEFAULTS: Mapping[str, Any] = {"backends": {"local": {"type": "local"}}}


def parse_config(layers: Mapping[str, str]) -> RunConfig:
    """Lay config files over each other, the first one lowest, and check the whole.

    Args:
        layers: file name (as people should see it) to file content.

    Raises:
        ConfigError: naming the file (where a single one is to blame) and the field.
    """
    effective: dict[str, Any] = dict(DEFAULTS)
    for name, text in layers.items():
        effective = merge(effective, _json_object(name, text))
    try:
        return RunConfig.model_validate(effective)
    except ValidationError as error:
        raise ConfigError(f"{_blame(layers, error)}: {describe(error)}") from None


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one JSON object over another; objects are merged, everything else is replaced."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def nested(dotted: str, value: object) -> dict[str, Any]:
    """Make an object with one value at a dotted path.

    >>> nested("params.n", 5)
    {'params': {'n': 5}}
    """
    for key in reversed(dotted.split(".")):
        value = {key: value}
    if not isinstance(value, dict):
        raise ConfigError(f"--set {dotted}: the key is empty")
    return value


def describe(error: ValidationError) -> str:
    """Put pydantic's findings into one line: each field by its dotted path, and what is wrong with it."""
    return "; ".join(_finding(dict(item)) for item in error.errors(include_url=False))


def _finding(item: dict[str, Any]) -> str:
    # The discriminator ("local", "slurm") stands in pydantic's path, but not in the file.
    location = list(item["loc"])
    if len(location) > 2 and location[0] == "backends" and location[2] in {"local", "slurm"}:
        del location[2]
    field = ".".join(str(part) for part in location)
    kind, given = item["type"], item.get("input")
    if kind == "extra_forbidden":
        return f"{field}: unknown key"
    if kind == "union_tag_invalid":
        return f"{field}.type: {item['ctx']['tag']!r} is no type of backend (there are: local, slurm)"
    if kind == "union_tag_not_found":
        return f"{field}.type: is missing (there are: local, slurm)"
    if kind == "value_error":
        return str(item["ctx"]["error"])
    return f"{field}: {item['msg'][0].lower()}{item['msg'][1:]}, not {given!r}"


def _blame(layers: Mapping[str, str], error: ValidationError) -> str:
    """Name the topmost file that holds the first wrong field; else the topmost file."""
    location = error.errors()[0]["loc"][:2]
    names = list(layers)
    for name in reversed(names):
        part: Any = _json_object(name, layers[name])
        for key in location:
            part = part.get(str(key)) if isinstance(part, dict) else None
        if location and part is not None:
            return name
    return names[-1] if names else "config.json"


def _json_object(name: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{name}: not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{name}: must be a JSON object, not {type(value).__name__}")
    return value
