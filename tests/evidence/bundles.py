"""Build and compare bundles."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import trio

from matterstack.core.ids import RunId
from matterstack.evidence.export import Bundle, build_evidence_bundle
from matterstack.storage.layout import Root
from tests.support.states import RUN_ID


def export(root: Root, output: Path | None = None, run_id: RunId = RUN_ID, **options: Any) -> Bundle:
    """Build a bundle."""

    async def build() -> Bundle:
        return await build_evidence_bundle(root, run_id, output, **options)

    return trio.run(build)


def content(folder: Path) -> dict[str, bytes]:
    """All files of a folder, by their path in it; of a link, where it leads."""
    files: dict[str, bytes] = {}
    for top, _, names in os.walk(folder):
        for name in names:
            path = Path(top) / name
            is_link = path.is_symlink()
            files[str(path.relative_to(folder))] = (
                os.fsencode(path.readlink()) if is_link else path.read_bytes()
            )
    return files
