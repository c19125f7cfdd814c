"""What survives: the SQLite store, files, leases.  Blocking; callers run it in worker threads."""
