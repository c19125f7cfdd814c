"""The picture of a run's tasks: what to draw (frames), where (places), and the drawing (picture)."""
