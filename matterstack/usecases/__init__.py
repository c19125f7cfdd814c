"""Use cases: what every face does with a root, once for all of them."""
