"""Where on this machine the value of a secret can be seen: in files, in lists of processes, in Slurm."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path


def files_with(folder: Path, value: bytes) -> list[str]:
    """Files below a folder that hold a value, as it is or in base64."""
    forms = (value, base64.b64encode(value))
    return sorted(str(path) for path in _files(folder) if any(form in _content(path) for form in forms))


def _files(folder: Path) -> Iterator[Path]:
    for top, _, names in os.walk(folder):
        yield from (Path(top) / name for name in names)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes() if path.is_file() else b""
    except OSError:
        return b""  # it came and went


def all_pids() -> frozenset[int]:
    """Every process that there is now."""
    return frozenset(int(name) for name in os.listdir("/proc") if name.isdecimal())  # noqa: PTH208


def processes_with(value: bytes, *, engine: int, run_id: str, earlier: frozenset[int]) -> list[str]:
    """What ``ps axe`` shows of a value: all command lines, and the environments of who may not have it.

    Who may: who was there earlier, the engine that was started with it, and the jobs of the run.
    """
    of_job = f"MATTERSTACK_RUN_ID={run_id}\0".encode()
    found = []
    for pid in all_pids():
        shown = {name: _content_of(pid, name) for name in ("cmdline", "environ")}
        may = pid == engine or pid in earlier or of_job in shown["environ"]
        if value in shown["cmdline"] or (value in shown["environ"] and not may):
            found.append(f"{pid} {shown['cmdline']!r}")
    return found


def _content_of(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
