"""Why nothing moves: from what the store and the machine say to causes, and what a person can do."""
