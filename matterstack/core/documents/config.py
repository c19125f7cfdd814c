"""``config.json``: what people may set, checked, with one clear message for each mistake."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Final, Protocol

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from matterstack.core.documents.near_keys import key_meant
from matterstack.core.documents.root_config import ROOT_KEYS, config_object
from matterstack.core.errors import ConfigError
from matterstack.core.ids import SLUG_PATTERN, SLUG_RULE
from matterstack.core.model.size_limits import MOST_OUTPUT_GIB
from matterstack.core.operators import ASKED
from matterstack.core.secret_words import name_problem

STRICT = ConfigDict(defer_build=True, extra="forbid", strict=True, frozen=True)


class BackendConfig(BaseModel):
    """What is set of a backend, whatever its kind; each kind has a model of its own that adds to this.

    Attributes:
        type: its kind.
        max_jobs: most of its jobs at once, over all runs of a root.
        poll_interval_s: how often it is asked about its jobs, when nothing else is known.
    """

    model_config = STRICT
    type: str
    max_jobs: int = Field(default=2, ge=1)
    poll_interval_s: float = Field(default=5.0, gt=0)


class Kinds(Protocol):
    """Which kinds of backend there are; `matterstack.backends.registry` finds them."""

    def config_model(self, type_: str) -> type[BackendConfig] | None:
        """What a backend of a kind is checked with; None when there is no such kind.

        Raises:
            ConfigError: there is one, but it cannot be used; says why.
        """

    def names(self) -> Sequence[str]:
        """All kinds that are installed, in the order of the alphabet."""


def _of_its_kind(value: object, info: ValidationInfo) -> object:
    """Check a backend with the model of its kind."""
    if isinstance(value, BackendConfig):
        return value
    if not isinstance(value, Mapping):
        raise PydanticCustomError("backend", "input should be a JSON object")
    kinds: Kinds | None = info.context
    if kinds is None:
        return BackendConfig.model_validate(value)
    if "type" not in value:
        raise PydanticCustomError("type_missing", "{known}", {"known": ", ".join(kinds.names())})
    given = value["type"]
    try:
        model = kinds.config_model(given) if isinstance(given, str) else None
    except ConfigError as error:
        raise PydanticCustomError("type_unusable", "{why}", {"why": str(error)}) from None
    if model is None:
        known = ", ".join(kinds.names())
        raise PydanticCustomError("type_unknown", "{known}", {"given": given, "known": known})
    return model.model_validate(value)


class RunConfig(BaseModel):
    """The effective configuration of a run.

    Attributes:
        max_hpc_jobs_per_run: most jobs that the run has at once, over all backends.
        default_backend: where tasks run that name no backend.
        priority: the run's share of free seats beside that of others that wait for them: twice the number
            is twice as many.
        planning_timeout_s: how long one call of ``plan`` or ``analyze`` may take.
        pin_campaign: whether the run refuses to be planned by files that are others than when it was made.
        max_output_gib: how large one output of a task may be, by the size that ``ls`` shows: a task that
            leaves a larger one fails, with the reason, and the file stays where it is.
        hold_after_alike: how many tasks that fail alike within seconds of their start (the same exit code or
            reason, no success in between) hold the run; 0: it never is held.
        params: what ``get_campaign`` is given, if it takes an argument; any JSON.
        secrets: names of environment variables of all its jobs whose values are written down nowhere.
        backends: where jobs may run, by name; the keys of each kind stand below.
    """

    model_config = STRICT
    max_hpc_jobs_per_run: int = Field(default=10, ge=1)
    default_backend: str = "local"
    priority: int = Field(default=1, ge=1)
    planning_timeout_s: float = Field(default=3600.0, gt=0)
    pin_campaign: bool = False
    max_output_gib: float = Field(default=MOST_OUTPUT_GIB, gt=0)
    hold_after_alike: int = Field(default=10, ge=0)
    params: dict[str, Any] = {}
    secrets: list[str] = []
    backends: dict[str, Annotated[SerializeAsAny[BackendConfig], BeforeValidator(_of_its_kind)]] = {}

    @field_validator("backends")
    @classmethod
    def _backends_have_names(cls, backends: dict[str, BackendConfig]) -> dict[str, BackendConfig]:
        for name in backends:
            if not SLUG_PATTERN.fullmatch(name):
                raise ValueError(f"{_quoted(name)} is no name of a backend: {SLUG_RULE}")
        if ASKED in backends:
            raise ValueError(f"no backend may be called {ASKED!r}")
        return backends

    @field_validator("secrets")
    @classmethod
    def _secrets_are_names(cls, secrets: list[str]) -> list[str]:
        for name in secrets:
            if problem := name_problem(name):
                raise ValueError(problem)
            if secrets.count(name) > 1:
                raise ValueError(f"{name} stands there twice")
        return secrets

    @model_validator(mode="after")
    def _default_backend_is_known(self) -> RunConfig:
        if self.default_backend not in self.backends:
            known = ", ".join(sorted(self.backends))
            raise ValueError(
                f"default_backend: {_quoted(self.default_backend)} is not in backends (it has: {known})"
            )
        return self


MOST_QUOTED: Final = 120
"""Characters of what somebody wrote: a name may have a hundred."""
MOST_FINDINGS: Final = 8
"""In one message: who has more keys wrong has one thing wrong."""
DEFAULTS: Mapping[str, Any] = {"backends": {"local": {"type": "local"}}}


def parse_config(layers: Mapping[str, str], kinds: Kinds) -> RunConfig:
    """Lay config files over each other, the first one lowest, and check the whole.

    Args:
        layers: file name (as people should see it) to file content.
        kinds: of backends, each with its own keys.

    Raises:
        ConfigError: naming the file (where a single one is to blame) and the field.
    """
    effective: dict[str, Any] = dict(DEFAULTS)
    for name, text in layers.items():
        effective = merge(effective, _json_object(name, text))
    try:
        return RunConfig.model_validate(effective, context=kinds)
    except ValidationError as error:
        meant = partial(key_meant, RunConfig, effective, kinds)
        raise ConfigError(f"{_blame(layers, error)}: {describe(error, meant)}") from None


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


def _no_guess(_location: Sequence[str | int]) -> str:
    return ""


def describe(error: ValidationError, meant: Callable[[Sequence[str | int]], str] = _no_guess) -> str:
    """Put pydantic's findings into one line: each field by its dotted path, and what is wrong with it.

    Args:
        meant: what somebody may have meant with a key that is not known there.
    """
    found = [_finding(dict(item), meant) for item in error.errors(include_url=False)]
    more = [f"and {len(found) - MOST_FINDINGS} more"] if len(found) > MOST_FINDINGS else []
    return "; ".join([*found[:MOST_FINDINGS], *more])


def _finding(item: dict[str, Any], meant: Callable[[Sequence[str | int]], str]) -> str:
    field = ".".join(_cut(str(part)) for part in _location(item))
    kind, given = item["type"], item.get("input")
    if kind == "extra_forbidden" and field in ROOT_KEYS:
        return f"{field}: belongs into the config.json of the root, beside workspaces/"
    if kind == "extra_forbidden":
        return f"{field}: unknown key{_guessed(meant(item['loc']))}"
    if kind == "type_unknown":
        given = _quoted(item["ctx"]["given"])
        return f"{field}.type: {given} is no type of backend (there are: {item['msg']})"
    if kind == "type_missing":
        return f"{field}.type: is missing (there are: {item['msg']}){_guessed(meant(item['loc']))}"
    if kind == "type_unusable":
        return f"{field}.type: {item['msg']}"
    if kind == "value_error":
        return f"{field}: {item['ctx']['error']}" if item["loc"] else str(item["ctx"]["error"])
    return f"{field}: {item['msg'][0].lower()}{item['msg'][1:]}, not {_quoted(given)}"


def _guessed(key: str) -> str:
    return f"; did you mean {_cut(key)}?" if key else ""


def _quoted(value: object) -> str:
    return _cut(repr(value))


def _cut(text: str) -> str:
    """A text that somebody else wrote, short enough for a line."""
    return text if len(text) <= MOST_QUOTED else f"{text[:MOST_QUOTED]}..."


def _location(item: Mapping[str, Any]) -> list[str | int]:
    """Keys that lead to the wrong field."""
    return list(item["loc"]) or ["default_backend"]  # the one check of the whole


def _blame(layers: Mapping[str, str], error: ValidationError) -> str:
    return holder(layers, _location(dict(error.errors()[0])))


def holder(layers: Mapping[str, str], location: Sequence[str | int]) -> str:
    """Name the topmost file that holds a field; else the topmost file."""
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
    return config_object(name, text.encode(errors="surrogatepass"))
