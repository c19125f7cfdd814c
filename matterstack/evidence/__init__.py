"""Evidence: what exactly was run, with what, and whether it is still as it was.

A bundle is made from the store and the run's files alone, and can be checked without either.
"""

from __future__ import annotations
