"""A cluster that is reached through the user's own ssh."""
