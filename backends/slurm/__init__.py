"""Jobs on a Slurm cluster, through its command line."""
