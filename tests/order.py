"""The order of files: those that take longest first, as what their tests start tells.

A process that is given a long one last runs on alone.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Final

import pytest

from tests.tiers import LONG, Tier, file_of, tier_of

USUAL_S: Final = {
    Tier.starts_nothing: 0.05,
    Tier.starts_process: 3.0,
    Tier.starts_slurm: 6.0,
    Tier.starts_browser: 4.0,
}
"""How long a test takes, roughly, by the most that it starts: nothing depends on it but this order."""
LONG_FILE_S: Final = 30.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests by how long their file may take."""
    expected_s: defaultdict[Path, float] = defaultdict(float)
    for item in items:
        expected_s[item.path] += USUAL_S[tier_of(item)]
    for path in {item.path for item in items if file_of(item) in LONG}:
        expected_s[path] += LONG_FILE_S
    items.sort(key=lambda item: (-expected_s[item.path], item.path))
