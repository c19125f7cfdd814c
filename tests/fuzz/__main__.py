"""Try damaged documents by the thousand, or one of them again.

python -m tests.fuzz [--cases 100000] [--first 0]     on all processors
python -m tests.fuzz bundle:17                        one again, with all that it says
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from typing import Final

from tests.fuzz.cases import Failure, replay, try_portion

PORTION: Final = 500
"""Cases of one process: how much memory it has taken at most never becomes less."""


def main(words: list[str]) -> int:
    """Return the exit status: 1 when a case failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("case", nargs="?", help="replay this one, such as bundle:17")
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(words)
    if options.case:
        problem = replay(options.case)
        print(problem or "all is well")  # noqa: T201
        return 1 if problem else 0
    end = options.first + options.cases
    portions = [(n, min(PORTION, end - n)) for n in range(options.first, end, PORTION)]
    tried = 0
    failures: list[Failure] = []
    with multiprocessing.get_context("spawn").Pool(options.processes, maxtasksperchild=1) as pool:
        for count, failed in pool.imap_unordered(try_portion, portions):
            tried += count
            failures += failed
            for failure in failed:
                print(f"{failure.name}: {failure.problem}", flush=True)  # noqa: T201
    print(f"{tried} cases, {len(failures)} failures")  # noqa: T201
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
