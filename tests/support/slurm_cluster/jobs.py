"""Finding the processes of a cluster's steps and jobs, and none of another cluster's."""

from collections.abc import Collection
from pathlib import Path
from typing import Final

from tests.support.process import Process, with_descendants
from tests.support.slurm_cluster.config import ClusterConfig

# The daemons of a cluster carry these in their environment, and what they start inherits them.
OWNER_VARIABLE: Final = "MATTERSTACK_TEST_CLUSTER"  # its folder
NODE_VARIABLE: Final = "MATTERSTACK_TEST_NODE"


def job_processes(config: ClusterConfig, nodes: Collection[str], spared: Collection[int]) -> set[Process]:
    """All living steps and jobs of a cluster on some of its nodes, with all that they have started.

    A process that has cleaned its environment *and* has lost its parent is not found.

    Args:
        spared: pids that are left out: the daemons.
    """
    roots = [
        process
        for process in Process.all()
        if process.pid not in spared and (_is_step(process, config, nodes) or _is_job(process, config, nodes))
    ]
    return {process for process in with_descendants(roots) if process.pid not in spared}


def _is_step(process: Process, config: ClusterConfig, nodes: Collection[str]) -> bool:
    # A slurmstepd writes its title over its environment, but holds the log of its slurmd open.
    if not Path(process.executable).name.startswith("slurmstepd"):  # Debian's is slurmstepd-wlm
        return False
    return any(str(config.node_log(node)) in process.open_files for node in nodes)


def _is_job(process: Process, config: ClusterConfig, nodes: Collection[str]) -> bool:
    # Slurm gives a job SLURM_CLUSTER_NAME, unique to us; a slurmstepd that has just started has the others.
    environment = process.environment
    if environment.isdisjoint({f"SLURM_CLUSTER_NAME={config.name}", f"{OWNER_VARIABLE}={config.directory}"}):
        return False
    if set(nodes) == set(config.nodes):
        return True
    here = {f"{name}={node}" for node in nodes for name in ("SLURMD_NODENAME", NODE_VARIABLE)}
    return not environment.isdisjoint(here)
