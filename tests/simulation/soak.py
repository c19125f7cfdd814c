"""Play many seeds on all processors, or replay one and print all that happened in it."""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import re
import signal
import time
import traceback
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

import attrs

from tests.simulation.world import BEGINNING, BrokenPromiseError, Outcome, play

TOO_LONG_S: Final = 120
"""Seconds of real time after which a seed counts as one that goes round in circles."""


@attrs.frozen
class Played:
    """What became of a seed; ``problem`` is empty when all was well."""

    seed: int
    problem: str
    cpu_s: float
    virtual_s: float = 0.0
    jobs: int = 0
    deaths: int = 0


class TooLongError(Exception):
    """A seed comes to no end."""


def main(words: list[str]) -> int:
    """Return the exit status: 1 when a seed failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("seed", type=int, nargs="?", help="replay this one")
    parser.add_argument("--seeds", type=int, default=1000, help="how many to play")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument(
        "--until", type=re.compile, help="play no more after one whose failure has these words"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(words)
    if options.seed is not None:
        return _replay(options.seed)
    seeds = range(options.first, options.first + options.seeds)
    return _soak(seeds, options.processes, options.until)


def _replay(seed: int) -> int:
    logging.basicConfig(level=logging.INFO, format="          %(name)s: %(message)s")
    outcomes: list[Outcome] = []
    try:
        play(seed, watch=outcomes.append)
    except BrokenPromiseError as error:
        problem = str(error)
    except Exception:  # noqa: BLE001  whatever it is, what came before it is worth seeing
        problem = traceback.format_exc()
    else:
        problem = ""
    for line in _lines(outcomes[0]):
        print(line)  # noqa: T201
    print(f"seed {seed}: {problem or 'all promises held'}")  # noqa: T201
    return 1 if problem else 0


def _lines(outcome: Outcome) -> Iterator[str]:
    """The events of the store and the diary, merged by their time."""
    day = BEGINNING.strftime("%Y-%m-%d")
    told = [
        (f"{BEGINNING + timedelta(seconds=at):%Y-%m-%dT%H:%M:%S.%fZ}", what) for at, what in outcome.diary
    ]
    stored = [(at, f"    {run} {kind} {data}") for at, run, kind, data in outcome.history]
    for at, what in sorted(told + stored, key=lambda line: line[0]):
        yield f"{at.removeprefix(day + 'T')} {what}"


def _soak(seeds: range, processes: int, until: re.Pattern[str] | None) -> int:
    begun = time.monotonic()
    all_of_them: list[Played] = []
    for played in _all_played(seeds, processes):
        all_of_them.append(played)
        if played.problem:
            _say(f"seed {played.seed} failed: {played.problem}\n  replay it: {replay_line(played.seed)}\n")
            if until is not None and until.search(played.problem):
                break
    days = sum(played.virtual_s for played in all_of_them) / 86400
    failed = sum(bool(played.problem) for played in all_of_them)
    _say(
        f"{len(all_of_them)} seeds, {failed} failed: {days:.0f} virtual days, "
        f"{sum(p.jobs for p in all_of_them)} jobs, {sum(p.deaths for p in all_of_them)} deaths of engines, "
        f"in {time.monotonic() - begun:.0f} s"
    )
    slowest = sorted(all_of_them, key=lambda played: -played.cpu_s)[:3]
    _say("slowest: " + ", ".join(f"seed {played.seed} {played.cpu_s:.1f} s" for played in slowest))
    return 1 if failed else 0


def _all_played(seeds: range, processes: int) -> Iterator[Played]:
    if processes == 1:
        _be_quiet()
        yield from map(_play, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(processes, initializer=_be_quiet) as pool:
        yield from pool.imap_unordered(_play, seeds)


def replay_line(seed: int) -> str:
    """The command that plays a seed again, exactly."""
    return f"python -m tests.simulation {seed}"


def _play(seed: int) -> Played:
    begun = time.process_time()
    signal.alarm(TOO_LONG_S)
    try:
        outcome = play(seed)
    except BrokenPromiseError as error:
        return Played(seed, str(error), time.process_time() - begun)
    except Exception:  # noqa: BLE001  whatever it is, it is told with its seed
        return Played(seed, traceback.format_exc(limit=-8), time.process_time() - begun)
    finally:
        signal.alarm(0)
    cpu_s = time.process_time() - begun
    return Played(seed, "", cpu_s, outcome.virtual_s, outcome.jobs, outcome.deaths)


def _be_quiet() -> None:
    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGALRM, _give_up)


def _give_up(*_args: Any) -> None:
    raise TooLongError(f"no end after {TOO_LONG_S} s")


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201
