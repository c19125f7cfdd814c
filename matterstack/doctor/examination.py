"""The whole examination: which checks there are for a root and its configs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import attrs
import trio

from matterstack.backends.examination import Check, Examined, Finding, in_thread
from matterstack.backends.registry import kinds_to_examine
from matterstack.core.documents.config import BackendConfig, RunConfig
from matterstack.core.errors import MatterStackError, NotFoundError
from matterstack.doctor.exposure import EXPOSURE, exposure
from matterstack.doctor.machine import configs, no_root, one_host, room, root_folder, versions
from matterstack.storage.layout import Root

STORAGE_ACTION = "see to the disk that the root lies on: it does not answer"


@attrs.frozen(kw_only=True)
class Scope:
    """What is examined: which root, and how thoroughly.

    Attributes:
        root: None where there is none.
        no_root: why there is none.
        was_named: somebody named the root that is not there.
        submit: run a test job on each cluster of this machine; needs a root.
        wait_s: how long that may take.
    """

    root: Root | None
    no_root: NotFoundError | None = None
    was_named: bool = False
    submit: bool = False
    wait_s: float = 120.0


async def examine_all(scope: Scope) -> list[Finding]:
    """Everything at once; ends within about a minute (and ``wait_s``), whatever does not answer."""
    usable: dict[str, RunConfig] = {}

    async def read_configs() -> list[Finding]:
        found, read = await in_thread(lambda: configs(scope.root))
        usable.update(read)
        return found

    first = await examine([Check("config", read_configs, STORAGE_ACTION)])
    others = await examine([*_here(scope), *_of_backends(scope, usable)])
    return [*versions(), *others[: _root_count(others)], *first, *others[_root_count(others) :]]


async def examine(checks: Sequence[Check]) -> list[Finding]:
    """Ask all checks at once; their findings in the order of the checks."""
    found: list[Sequence[Finding]] = [()] * len(checks)

    async def ask(place: int, check: Check) -> None:
        late = Finding(check.name, False, f"no answer within {check.timeout_s:g} s", check.action)
        found[place] = [late]
        with trio.move_on_after(check.timeout_s):
            try:
                found[place] = await check.ask()
            except (MatterStackError, OSError) as error:
                found[place] = [Finding(check.name, False, str(error), check.action)]

    async with trio.open_nursery() as nursery:
        for place, check in enumerate(checks):
            nursery.start_soon(ask, place, check)
    return [finding for findings in found for finding in findings]


def _root_count(findings: list[Finding]) -> int:
    """The findings about the root come first."""
    about_root = {"root", "one host", "disk space", "inodes", *EXPOSURE}
    return sum(finding.check in about_root for finding in findings)


def _here(scope: Scope) -> list[Check]:
    root = scope.root
    if root is None:
        error = scope.no_root or NotFoundError("no root here")

        async def tell() -> list[Finding]:
            return no_root(str(error), error.hint, was_named=scope.was_named)

        return [Check("root", tell, STORAGE_ACTION)]
    return [
        Check("root", partial(in_thread, partial(root_folder, root)), STORAGE_ACTION),
        Check("one host", partial(in_thread, partial(one_host, root)), "see: matterstack check"),
        Check("disk space", partial(in_thread, partial(room, root)), STORAGE_ACTION),
        Check("access", partial(in_thread, partial(exposure, root)), STORAGE_ACTION),
    ]


def _of_backends(scope: Scope, usable: Mapping[str, RunConfig]) -> list[Check]:
    """What each kind of backend has to check, of those that are set up."""
    types = {backend.type for config in usable.values() for backend in config.backends.values()}
    needed = frozenset(config.default_backend for config in usable.values())
    trial_folder = scope.root.private if scope.submit and scope.root is not None else None
    checks: list[Check] = []
    for type_, kind in kinds_to_examine(types).items():
        backends = by_label(usable, type_)
        examined = Examined(
            backends=backends,
            needed=frozenset(label for label in backends if label.partition(" of ")[0] in needed),
            trial_folder=trial_folder,
            trial_s=scope.wait_s,
        )
        checks += kind.checks(examined)
    return checks


def by_label(usable: Mapping[str, RunConfig], type_: str) -> dict[str, BackendConfig]:
    """All of a type, each once, by their names; with the workspace where one name has two meanings."""
    by_name: dict[str, dict[str, tuple[str, BackendConfig]]] = {}
    for slug, config in usable.items():
        for name, backend in config.backends.items():
            if backend.type != type_:
                continue
            # How many jobs it may have, and how often it is asked, makes no difference here.
            meaning = backend.model_dump_json(
                exclude={"max_jobs", "poll_interval_s", "prologue", "prologue_may_fail"}
            )
            by_name.setdefault(name, {}).setdefault(meaning, (slug, backend))
    return {
        name if len(meanings) == 1 else f"{name} of {slug or 'the site'}": backend
        for name, meanings in by_name.items()
        for slug, backend in meanings.values()
    }
