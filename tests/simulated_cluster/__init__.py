"""A Slurm cluster that exists in virtual time only.

What is simulated are the commands (``sbatch``, ``squeue``, ``sacct``, ``scancel``, ``scontrol``, ``sinfo``)
with the answers, delays and faults of real ones, and what a job does in its folder.  The backend in front of
them is the one for real clusters, so its protocol is what runs in a simulation.
"""
