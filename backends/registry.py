"""Find kinds of backend, by the word that stands as ``type`` in ``config.json``.

Those that come with MatterStack are found by their names.  Others are found by entry points of the group
`GROUP`, which any installed package may have; these are looked for only where a word is none of ours, since
that takes a look at all installed packages.  The one module that knows which kinds there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from matterstack.backends.kinds import BackendKind, Whereabouts
from matterstack.core.errors import BackendError, ConfigError
from matterstack.core.ids import SLUG_RULE, BackendName
from matterstack.core.model.resources import Resources
from matterstack.core.scheduler_words import PLAIN, SchedulerWords
from matterstack.storage.layout import Root

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from matterstack.backends.base import Backend
    from matterstack.core.documents.config import BackendConfig

GROUP: Final = "matterstack.backends"
BUILT_IN: Final[Mapping[str, str]] = {
    "local": "matterstack.backends.local_kind:LOCAL",
    "slurm": "matterstack.backends.slurm.kind:SLURM",
}
"""As pyproject.toml has them; each is imported where one of its kind is needed."""


@cache
def find_kind(type_: str) -> BackendKind | None:
    """The kind of a name; None when nobody has it.

    Raises:
        ConfigError: its package cannot be used; names the package and says why.
    """
    if type_ in BUILT_IN:
        module, _, name = BUILT_IN[type_].partition(":")
        kind: BackendKind = getattr(import_module(module), name)
        return kind
    for entry in _entry_points():
        if entry.name == type_:
            return _loaded(entry)
    return None


def _entry_points() -> Iterable[EntryPoint]:
    from importlib.metadata import entry_points

    return entry_points(group=GROUP)


def _loaded(entry: EntryPoint) -> BackendKind:
    try:
        kind = entry.load()
    except Exception as error:
        raise _unusable(entry, f"{type(error).__name__}: {error}") from error
    if not isinstance(kind, BackendKind):
        raise _unusable(entry, f"{entry.value} is no BackendKind but {type(kind).__name__}")
    return kind


def _unusable(entry: EntryPoint, why: str) -> ConfigError:
    package = f"package {entry.dist.name} {entry.dist.version}" if entry.dist else entry.value
    why = " ".join(why.split())
    return ConfigError(f"{entry.name!r} comes with {package}, which cannot be used: {why}")


class InstalledKinds:
    """All kinds of backend that are installed; see `matterstack.core.documents.config.Kinds`."""

    def config_model(self, type_: str) -> type[BackendConfig] | None:
        """What a backend of a kind is checked with; None when there is no such kind."""
        kind = find_kind(type_)
        return None if kind is None else kind.config_model()

    def names(self) -> Sequence[str]:
        """All kinds that are installed, whether they can be used or not."""
        return sorted({*BUILT_IN, *(entry.name for entry in _entry_points())})


KINDS: Final = InstalledKinds()


def make_backend(
    name: BackendName, config: Mapping[str, Any], root: Root, locks: Path | None = None
) -> Backend:
    """Make a backend from its part of a frozen config.

    One whose kind cannot make it any more cannot be asked, and says so: runs that have jobs on it wait.

    Args:
        locks: folder of lock files, where it is not that of the root.

    Raises:
        StoreError: the name of the root on clusters cannot be read or kept.
    """
    type_ = config["type"]
    if not _is_file_name(name):  # a run that an older version made: lock files have the name of their backend
        return _absent(name, f"{name!r} is no name of a backend: {SLUG_RULE}")
    try:
        kind = find_kind(type_)
    except ConfigError as error:
        problem = str(error)
    else:
        if kind is not None:
            return _made(kind, name, config, root, (locks or root.locks) / f"submit-{name}.lock")
        problem = f"{type_!r} is no type of backend any more: the package that it comes with is not installed"
    return _absent(name, problem)


def _is_file_name(name: str) -> bool:
    return name.isprintable() and "/" not in name and not name.startswith(".") and len(name.encode()) <= 200


def _made(
    kind: BackendKind, name: BackendName, config: Mapping[str, Any], root: Root, lock_file: Path
) -> Backend:
    from pydantic import ValidationError

    from matterstack.core.documents.config import describe

    try:
        return kind.make(name, config, root, lock_file)
    except ValidationError as error:  # another version of its package was there when the run was made
        return _absent(name, f"its config is no good for {config['type']!r} any more: {describe(error)}")


def _absent(name: BackendName, problem: str) -> Backend:
    from matterstack.backends.absent import AbsentBackend

    return AbsentBackend(name, BackendError(problem))


@attrs.frozen
class OptionRules:
    """What is wrong with the further options of jobs; see `matterstack.core.model.workflow_check`.

    Attributes:
        types: the kind of each backend of a run, by its name.
        default: the backend of tasks that name none.
    """

    types: Mapping[str, str]
    default: str

    def __call__(self, backend: str | None, wanted: Resources) -> Iterable[str]:
        """Of a job of this backend (None: the default one)."""
        kind = _usable(self.types.get(backend or self.default, ""))
        return () if kind is None else kind.option_problems(wanted)


def words_of(config: Mapping[str, Any]) -> SchedulerWords:
    """What to say of the jobs and troubles of a backend, from its part of a frozen config."""
    kind = _usable(config["type"])
    return PLAIN if kind is None else kind.words(config)


def whereabouts(config: Mapping[str, Any], root: Root, folder: Path) -> Whereabouts:
    """Where the jobs of a backend find a folder of the root."""
    kind = _usable(config["type"])
    return Whereabouts(path=folder) if kind is None else kind.whereabouts(config, root, folder)


def has_limits_to_ask_for(config: BackendConfig) -> bool:
    """Whether a new run is worth a look at the limits of this backend, before it is made."""
    kind = _usable(config.type)
    return kind is not None and kind.has_limits_to_ask_for


def without_secrets(backends: Mapping[str, BackendConfig]) -> list[str]:
    """Names of backends that cannot hand secrets to their jobs."""
    kinds = {name: _usable(config.type) for name, config in backends.items()}
    return sorted(name for name, kind in kinds.items() if kind is None or not kind.gives_secrets)


def moved_backends(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, str]:
    """Backends that would lose sight of their live jobs with another definition, and what does that."""
    moved: dict[str, str] = {}
    for name in before.keys() & after.keys():
        kind = _usable(after[name]["type"])
        for key in () if kind is None else kind.tied_keys:
            if _at(before[name], key) != _at(after[name], key):
                moved[name] = f"backends.{name}.{key} cannot be changed"
    return moved


def _at(config: Mapping[str, Any], dotted: str) -> object:
    part: Any = config
    for key in dotted.split("."):
        part = part.get(key) if isinstance(part, Mapping) else None
    return part


def kinds_to_examine(types: Iterable[str]) -> Mapping[str, BackendKind]:
    """Kinds to look at where backends of these types are set up; those of ours in any case."""
    found = ((type_, _usable(type_)) for type_ in sorted({*BUILT_IN, *types}))
    return {type_: kind for type_, kind in found if kind is not None}


def _usable(type_: str) -> BackendKind | None:
    """The kind of a name, where there is one that can be used."""
    try:
        return find_kind(type_)
    except ConfigError:
        return None
