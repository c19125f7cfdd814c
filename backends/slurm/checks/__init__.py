"""How ``matterstack doctor`` looks at clusters: each once, from this machine or through its login node."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

from matterstack.backends.examination import CHECK_S, Check, Examined
from matterstack.backends.slurm.checks.cluster_checks import Cluster, examine_cluster
from matterstack.backends.slurm.checks.login_node import examine_host
from matterstack.backends.slurm.checks.trial_job import submit_test_job
from matterstack.backends.slurm.config import SlurmBackendConfig
from matterstack.backends.slurm.ssh.connection import Connection

_ACTION: Final = "ask the cluster's administrators: its commands do not come to an end"


def checks_of(examined: Examined) -> list[Check]:
    """All checks of all clusters that are set up; of the one of this machine, where none is."""
    backends = {
        label: config for label, config in examined.backends.items() if isinstance(config, SlurmBackendConfig)
    }
    here = {label: config for label, config in backends.items() if config.ssh is None}
    checks = [*_trial_jobs(examined, here), *_behind_ssh(backends)]
    if backends and not here:  # then this machine is not expected to have a cluster of its own
        return checks
    return [_cluster_check(Cluster(None, here, examined.needed & here.keys())), *checks]


def _trial_jobs(examined: Examined, here: Mapping[str, SlurmBackendConfig]) -> list[Check]:
    folder = examined.trial_folder
    if folder is None:
        return []
    checks = []
    for label, config in sorted((here or {"slurm": SlurmBackendConfig(type="slurm")}).items()):
        ask = partial(submit_test_job, Cluster(None, {}), label, config, folder, examined.trial_s)
        checks.append(Check(f"shared folder ({label})", ask, _ACTION, timeout_s=examined.trial_s + CHECK_S))
    return checks


def _behind_ssh(backends: Mapping[str, SlurmBackendConfig]) -> list[Check]:
    hosts: dict[str, dict[str, SlurmBackendConfig]] = {}
    for label, config in backends.items():
        if config.ssh is not None:
            hosts.setdefault(config.ssh.model_dump_json(), {})[label] = config
    checks = []
    for users in hosts.values():
        ssh = next(iter(users.values())).ssh
        if ssh is not None:
            action = f"try in a terminal: ssh {ssh.host} true"
            checks.append(Check(f"ssh {ssh.host}", partial(examine_host, ssh, users), action))
            checks.append(_cluster_check(Cluster(Connection(ssh.host, tuple(ssh.options)), users)))
    return checks


def _cluster_check(cluster: Cluster) -> Check:
    return Check(f"slurm{cluster.suffix}", partial(examine_cluster, cluster), _ACTION)
