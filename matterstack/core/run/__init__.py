"""A run: its facts, its state, and the decisions about it.  Pure."""
