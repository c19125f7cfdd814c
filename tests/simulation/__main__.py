"""Replay a seed, or play many.

python -m tests.simulation SEED                          replay one, and print all that happened in it
python -m tests.simulation --seeds 1000 [--first 0]      play many, on all processors
"""

from __future__ import annotations

import os
import sys
from typing import Final

from tests.simulation.soak import main

HASH_SEED: Final = "0"

if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != HASH_SEED:
        # The order of sets of words must be the same again in a replay.
        os.environ["PYTHONHASHSEED"] = HASH_SEED
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])  # noqa: S606
    sys.exit(main(sys.argv[1:]))
