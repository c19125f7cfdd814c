"""What the tests stand on: a private Slurm, processes by pid file, and waiting with a deadline."""
