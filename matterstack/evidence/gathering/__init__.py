"""Look at a run's files, and copy into a bundle what belongs there."""
