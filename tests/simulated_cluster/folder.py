"""What a simulated job does in its folder: the same as `matterstack.backends.script`, step for step."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from matterstack.core.ids import UtcTime


@attrs.frozen(kw_only=True)
class Work:
    """What the command of a job would do.

    Attributes:
        duration_s: how long it takes, if nothing ends it before.
        exit_code: how it ends.
        memory_mib: how much it uses; more than it asked for is the end of it.
        result: content of ``result.json``; None writes none.
        files: further files that it leaves, by name.
    """

    duration_s: float
    exit_code: int = 0
    memory_mib: int = 0
    result: Any = None
    files: Mapping[str, str] = attrs.field(factory=dict)


def claim(folder: Path, job_id: str) -> bool:
    """Claim the folder for a job, as ``mkdir claim`` does; False when another job has it."""
    nonce = nonce_of(folder)
    found = sorted(folder.iterdir())
    try:
        (folder / "claim").mkdir()
    except FileExistsError:
        owner, _, theirs = (folder / "claim" / "job_id").read_text().strip().partition(" ")
        if nonce and theirs != nonce:
            (folder / "claim").rename(folder / "claim-forged")
            return claim(folder, job_id)
        if owner != job_id:
            return False
        (folder / "exit.json").unlink(missing_ok=True)
        return True
    (folder / "claim" / "job_id").write_text(f"{job_id} {nonce}".rstrip() + "\n")
    for path in found if nonce else ():
        if path.name not in {"manifest.json", "job.sh", "scheduler.log", *_given(folder)}:
            (folder / "claim" / "before").mkdir(exist_ok=True)
            path.rename(folder / "claim" / "before" / path.name)
    return True


def nonce_of(folder: Path) -> str:
    """What the script there bears; empty where it bears none."""
    script = folder / "job.sh"
    found = re.search(r"^nonce=(\w+)$", script.read_text(), re.MULTILINE) if script.exists() else None
    return found[1] if found else ""


def _given(folder: Path) -> set[str]:
    manifest = json.loads((folder / "manifest.json").read_text())
    copies = [*manifest.get("files", ()), *manifest.get("inputs", ())]
    return {copy["name"].partition("/")[0] for copy in copies}


def leave_results(folder: Path, work: Work) -> None:
    """Write what the command leaves behind."""
    (folder / "stdout.log").touch()
    (folder / "stderr.log").touch()
    for name, text in work.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    if work.result is not None:
        (folder / "result.json").write_text(json.dumps(work.result))


@attrs.frozen(kw_only=True)
class Record:
    """Content of an exit record."""

    exit_code: int
    started_at: UtcTime
    ended_at: UtcTime
    host: str
    job_id: str
    nonce: str = ""


def leave_record(folder: Path, record: Record) -> None:
    """Write ``exit.json``, whole or not at all."""
    part = folder / ".exit.json.part"
    part.write_text(json.dumps(attrs.asdict(record)) + "\n")
    os.replace(part, folder / "exit.json")  # noqa: PTH105  the same call as in the script's mv
