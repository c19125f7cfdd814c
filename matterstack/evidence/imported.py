"""Which runs of elsewhere were imported into a root, and where their bundles are.

Apart from what imports and reads them: commands that only ask must not load what bundles are made with.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from matterstack.core.ids import RUN_ID_PATTERN, RunId
from matterstack.storage.layout import Root

IMPORTED: Final = "imported"


def imported_bundle(root: Root, run_id: RunId) -> Path:
    """Where the bundle of an imported run is (or would be)."""
    return root.path / IMPORTED / run_id / "evidence"


def imported_runs(root: Root) -> list[RunId]:
    """Runs that were imported into a root, the oldest first."""
    folder = root.path / IMPORTED
    if not folder.is_dir():
        return []
    return sorted(RunId(path.name) for path in folder.iterdir() if RUN_ID_PATTERN.fullmatch(path.name))
