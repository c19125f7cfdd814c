"""The whole examination: which checks there are for a root and its configs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import attrs

from matterstack.backends.slurm.ssh.connection import Connection
from matterstack.core.documents.config import RunConfig, SlurmBackendConfig
from matterstack.core.errors import NotFoundError
from matterstack.doctor.findings import CHECK_S, Check, Finding, examine, in_thread
from matterstack.doctor.machine import configs, no_root, one_host, room, root_folder, versions
from matterstack.doctor.shared_folder import submit_test_job
from matterstack.doctor.slurm import Cluster, examine_cluster
from matterstack.doctor.ssh import examine_host
from matterstack.storage.layout import Root

STORAGE_ACTION = "see to the disk that the root lies on: it does not answer"
CLUSTER_ACTION = "ask the cluster's administrators: its commands do not come to an end"


@attrs.frozen(kw_only=True)
class Scope:
    """What is examined.

    Attributes:
        root: None where there is none.
        no_root: why there is none.
        was_named: somebody named the root that is not there.
        submit: run a test job on each cluster of this machine.
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
    needed = frozenset(config.default_backend for config in usable.values())
    others = await examine([*_here(scope), *_clusters(scope, slurm_backends(usable), needed)])
    return [*versions(), *others[: _root_count(others)], *first, *others[_root_count(others) :]]


def _root_count(findings: list[Finding]) -> int:
    """The findings about the root come first."""
    about_root = {"root", "one host", "disk space", "inodes"}
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
    ]


def slurm_backends(usable: Mapping[str, RunConfig]) -> dict[str, SlurmBackendConfig]:
    """All that are set up, each once, by their names; with the workspace where one name has two meanings."""
    by_name: dict[str, dict[str, tuple[str, SlurmBackendConfig]]] = {}
    for slug, config in usable.items():
        for name, backend in config.backends.items():
            if isinstance(backend, SlurmBackendConfig):
                # How many jobs it may have, and how often it is asked, makes no difference here.
                meaning = backend.model_dump_json(exclude={"max_jobs", "poll_interval_s", "prologue"})
                by_name.setdefault(name, {}).setdefault(meaning, (slug, backend))
    return {
        name if len(meanings) == 1 else f"{name} of {slug or 'the site'}": backend
        for name, meanings in by_name.items()
        for slug, backend in meanings.values()
    }


def _clusters(
    scope: Scope, backends: Mapping[str, SlurmBackendConfig], needed: frozenset[str]
) -> list[Check]:
    here = {label: backend for label, backend in backends.items() if backend.ssh is None}
    defaults = frozenset(label for label in here if label.partition(" of ")[0] in needed)
    # A machine whose clusters are all behind ssh is not expected to have one of its own.
    checks = [_cluster_check(Cluster(None, here, defaults))] if here or not backends else []
    if scope.submit and scope.root is not None:
        cluster, private, wait_s = Cluster(None, {}), scope.root.private, scope.wait_s
        for label, backend in sorted((here or {"slurm": SlurmBackendConfig(type="slurm")}).items()):
            ask = partial(submit_test_job, cluster, label, backend, private, wait_s)
            name = f"shared folder ({label})"
            checks.append(Check(name, ask, CLUSTER_ACTION, timeout_s=wait_s + CHECK_S))
    hosts: dict[str, dict[str, SlurmBackendConfig]] = {}
    for label, backend in backends.items():
        if backend.ssh is not None:
            hosts.setdefault(backend.ssh.model_dump_json(), {})[label] = backend
    for users in hosts.values():
        ssh = next(iter(users.values())).ssh
        if ssh is not None:
            action = f"try in a terminal: ssh {ssh.host} true"
            checks.append(Check(f"ssh {ssh.host}", partial(examine_host, ssh, users), action))
            cluster = Cluster(Connection(ssh.host, tuple(ssh.options)), users)
            checks.append(_cluster_check(cluster))
    return checks


def _cluster_check(cluster: Cluster) -> Check:
    return Check(f"slurm{cluster.suffix}", partial(examine_cluster, cluster), CLUSTER_ACTION)
