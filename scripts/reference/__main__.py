"""Make the pages of ``docs/reference/`` from the code: ``python scripts/reference [FOLDER]``."""

from __future__ import annotations

import sys
from pathlib import Path

import campaigns
import commands
import configuration
import environment
import exit_codes
import facts
import printed
import python_api

PAGES = {
    "cli.md": commands.make,
    "config.md": configuration.make,
    "campaign.md": campaigns.make,
    "python.md": python_api.make,
    "events.md": facts.make,
    "documents.md": printed.make,
    "exit-codes.md": exit_codes.make,
    "environment.md": environment.make,
}


def write_pages(folder: Path) -> None:
    """Write all pages into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in PAGES.items():
        (folder / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    write_pages(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/reference"))
