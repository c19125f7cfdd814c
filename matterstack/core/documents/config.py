"""``config.json``: what people may set, checked, with one clear message for each mistake."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from matterstack.core.errors import ConfigError
from matterstack.core.json_rules import json_problem
from matterstack.core.model.scheduler_options import extra_problems
from matterstack.core.operators import ASKED

_STRICT = ConfigDict(defer_build=True, extra="forbid", strict=True, frozen=True)
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+@-]*")


class LocalBackendConfig(BaseModel):
    """Jobs as processes on this machine."""

    model_config = _STRICT
    type: Literal["local"]
    max_jobs: int = Field(default=2, ge=1)
    poll_interval_s: float = Field(default=5.0, gt=0)
    prologue: list[str] = []


class SshConfig(BaseModel):
    """A login node that is reached through the user's own ssh.

    Attributes:
        host: as it is given to ssh: a name of the user's ``~/.ssh/config``, or ``user@name``.
        workdir: a folder there that the compute nodes see, such as a scratch folder; absolute.
        options: what else ssh is given, one word each.
    """

    model_config = _STRICT
    host: str
    workdir: str
    options: list[str] = []

    @field_validator("host")
    @classmethod
    def _host_is_one_word(cls, host: str) -> str:
        if not _HOST.fullmatch(host):
            raise ValueError(f"ssh.host: {host!r} is no name of a host (set its port in ~/.ssh/config)")
        return host

    @field_validator("workdir")
    @classmethod
    def _workdir_is_absolute(cls, workdir: str) -> str:
        if not workdir.startswith("/") or not workdir.isprintable() or ".." in workdir.split("/"):
            raise ValueError(f"ssh.workdir: {workdir!r} is no absolute path; give one that begins with /")
        return workdir


class SlurmBackendConfig(BaseModel):
    """Jobs on a Slurm cluster, through its command line."""

    model_config = _STRICT
    type: Literal["slurm"]
    max_jobs: int = Field(default=100, ge=1)
    poll_interval_s: float = Field(default=10.0, gt=0)
    command_timeout_s: float = Field(default=60.0, gt=0)
    grace_period_s: float = Field(default=30.0, ge=0)
    runaway_after_s: float = Field(default=3600.0, ge=0)
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    reservation: str | None = None
    extra: dict[str, str] = {}
    prologue: list[str] = []
    ssh: SshConfig | None = None

    @field_validator("extra")
    @classmethod
    def _extra_overrules_nothing(cls, extra: dict[str, str]) -> dict[str, str]:
        if problems := list(extra_problems(extra)):
            raise ValueError("; ".join(problems))
        return extra


BackendConfig = Annotated[LocalBackendConfig | SlurmBackendConfig, Field(discriminator="type")]


class RunConfig(BaseModel):
    """The effective configuration of a run."""

    model_config = _STRICT
    max_hpc_jobs_per_run: int = Field(default=10, ge=1)
    default_backend: str = "local"
    priority: int = Field(default=1, ge=1)
    planning_timeout_s: float = Field(default=3600.0, gt=0)
    params: dict[str, Any] = {}
    backends: dict[str, BackendConfig] = {}

    @property
    def uses_slurm(self) -> bool:
        """Whether any of its backends is a cluster."""
        return any(isinstance(backend, SlurmBackendConfig) for backend in self.backends.values())

    @field_validator("backends")
    @classmethod
    def _no_backend_is_called_like_ours(cls, backends: dict[str, BackendConfig]) -> dict[str, BackendConfig]:
        if ASKED in backends:
            raise ValueError(f"no backend may be called {ASKED!r}")
        return backends

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
    keys = dotted.split(".")
    if not all(keys):
        raise ConfigError(f"--set {dotted}: a key is empty")
    made: dict[str, Any] = {keys[-1]: value}
    for key in reversed(keys[:-1]):
        made = {key: made}
    return made


def describe(error: ValidationError) -> str:
    """Put pydantic's findings into one line: each field by its dotted path, and what is wrong with it."""
    return "; ".join(_finding(dict(item)) for item in error.errors(include_url=False))


def _finding(item: dict[str, Any]) -> str:
    field = ".".join(str(part) for part in _location(item))
    kind, given = item["type"], item.get("input")
    if kind == "extra_forbidden":
        return f"{field}: unknown key"
    if kind == "union_tag_invalid":
        return f"{field}.type: {item['ctx']['tag']!r} is no type of backend (there are: local, slurm)"
    if kind == "union_tag_not_found":
        return f"{field}.type: is missing (there are: local, slurm)"
    if kind == "value_error":
        return f"{field}: {item['ctx']['error']}" if item["loc"] else str(item["ctx"]["error"])
    return f"{field}: {item['msg'][0].lower()}{item['msg'][1:]}, not {given!r}"


def _location(item: Mapping[str, Any]) -> list[str | int]:
    """Keys that lead to the wrong field."""
    location = list(item["loc"]) or ["default_backend"]  # the one check of the whole
    if len(location) > 2 and location[0] == "backends" and location[2] in {"local", "slurm"}:
        del location[2]  # the type stands in pydantic's path, but not in the file
    return location


def _blame(layers: Mapping[str, str], error: ValidationError) -> str:
    """Name the topmost file that holds the first wrong field; else the topmost file."""
    location = _location(dict(error.errors()[0]))
    names = list(layers)
    held = {name: _keys_held(_json_object(name, layers[name]), location) for name in reversed(names)}
    # A field that is missing stands in no file: then it is the one that holds what is around it.
    return max(held, key=lambda name: held[name], default="config.json")


def _keys_held(part: object, location: Sequence[str | int]) -> int:
    for count, key in enumerate(location):
        if not isinstance(part, dict) or key not in part:
            return len(location) if isinstance(part, list) else count
        part = part[key]
    return len(location)


def _json_object(name: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{name}: not valid JSON: {error}") from None
    if problem := json_problem(value):
        raise ConfigError(f"{name}: cannot be kept as JSON: {problem}")
    if not isinstance(value, dict):
        raise ConfigError(f"{name}: must be a JSON object, not {type(value).__name__}")
    return value
