"""A campaign's code: where it came from, how it is kept, and the process that calls it."""
