"""The simulation finds bugs: each planted one breaks a promise within a few seeds, and is named.

Without it the same seeds are silent.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.simulation.planted import MOST_SEEDS, PLANTED, Planted, is_found, plant, search
from tests.simulation.world import play
from tests.test_simulation import SEEDS


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("bug", PLANTED, ids=lambda bug: bug.name.replace(" ", "-"))
def test_a_planted_bug_is_found_and_can_be_replayed(bug: Planted, tmp_path: Path) -> None:
    plant(bug, tmp_path)

    said = search(bug, tmp_path)

    assert is_found(bug, said), f"not found within {MOST_SEEDS} seeds: {bug.name}\n{said}"
    assert "replay it: python -m tests.simulation" in said
    for seed in map(int, re.findall(r"^seed (\d+) failed", said, re.MULTILINE)):
        if seed >= SEEDS:  # those before it are played without bugs by `tests.test_simulation`
            play(seed)


def test_a_bug_that_does_not_fit_the_sources_any_more_is_refused(tmp_path: Path) -> None:
    bug = PLANTED[0]
    stale = Planted(bug.name, bug.promise, [*bug.edits, *bug.edits])

    with pytest.raises(ValueError, match="has 0 times"):
        plant(stale, tmp_path)
