"""Print when, of what and on what something is measured: the line that each entry of RESULTS.md begins with.

python -m benchmarks.circumstances
"""

from __future__ import annotations

import os
import platform
import re
import sqlite3
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent


def circumstances() -> str:
    """One sentence: date, commit and processor, then what else decides."""
    facts = [
        f"Measured on {datetime.now(UTC):%Y-%m-%d}",
        f"commit {_commit()}",
        f"processor {_processor()}",
        f"Python {platform.python_version()}",
        f"SQLite {sqlite3.sqlite_version}",
        *filter(None, [_line("sinfo", "--version")]),
    ]
    return ", ".join(facts) + "."


def _commit() -> str:
    name = _line("git", "rev-parse", "--short", "HEAD")
    changed = _line("git", "status", "--short", "--untracked-files=no")
    return f"`{name}`{' with changes' if changed else ''}" if name else "unknown"


def _processor() -> str:
    """Its name, as Linux has it, and how many of them this process may use."""
    try:
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    name = found[1].strip() if found else platform.machine() or "unknown"
    return f"{name} ({len(os.sched_getaffinity(0))} cores)"


def _line(*command: str) -> str:
    """The first line that a command prints; nothing, where it does not work."""
    try:
        done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.partition("\n")[0].strip() if done.returncode == 0 else ""


if __name__ == "__main__":
    print(circumstances())
