"""A real, private Slurm of several nodes on this machine: start it, break it, mend it, stop it.

    cluster = SlurmCluster.start(Path("/tmp/ms-1"), accounting=True)
    cluster.output("sbatch", "--parsable", "--wrap", "hostname")
    cluster.stop(purge=True)

By hand:

    python -m tests.support.slurm_cluster up DIR [--accounting]
    eval "$(python -m tests.support.slurm_cluster env DIR)"
    python -m tests.support.slurm_cluster down DIR --purge
"""

from tests.support.slurm_cluster.cluster import ClusterStatus, SlurmCluster
from tests.support.slurm_cluster.daemons import SLURM_VARIABLES, ClusterError

__all__ = ["SLURM_VARIABLES", "ClusterError", "ClusterStatus", "SlurmCluster"]
