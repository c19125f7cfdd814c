"""Where a workspace stands in git, if it is in git at all.

A repository may be anybody's, and its configuration can name programs: none of them is started, nothing is
written into it, and nothing is fetched.  Whatever git does not say within a few seconds is not known.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from matterstack.core.run.facts import Commit
from matterstack.storage.child_environment import child_environment

PATIENCE_S: Final = 5.0
"""For each question."""
_ID: Final = re.compile(rb"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_FILTER: Final = re.compile(rb"(local|worktree)\0filter\.(.+)\.[^.]+", re.DOTALL)
_SAFE: Final = (
    "--no-optional-locks",
    "--no-pager",
    "--literal-pathspecs",
    "-c", "core.fsmonitor=false",
    "-c", "core.hooksPath=/dev/null",
    "-c", "core.untrackedCache=false",
    "-c", "core.preloadIndex=false",
    "-c", "submodule.recurse=false",
    "-c", "protocol.allow=never",
)  # fmt: skip
_KEPT: Final = ("HOME", "XDG_CONFIG_HOME", "PATH", "GIT_CEILING_DIRECTORIES")


def workspace_commit(workspace: Path) -> Commit | None:
    """Ask git which commit a workspace stands at, and whether its files differ from it.

    What lies in ``runs``, and what Python compiled, is none of the workspace.  None where there is no git, or
    no commit.
    """
    if not _lies_in_a_repository(workspace):
        return None
    head = _git(workspace, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if head is None or not _ID.fullmatch(head.strip()):
        return None
    return Commit(id=head.strip().decode(), is_changed=_is_changed(workspace))


def _lies_in_a_repository(workspace: Path) -> bool:
    """Whether it is worth the while of a process to ask."""
    folder = workspace.absolute()
    marks = [above / ".git" for above in (folder, *folder.parents)]
    try:
        return any(mark.is_file() or (mark / "HEAD").exists() for mark in marks)
    except OSError:
        return False


def _is_changed(workspace: Path) -> bool | None:
    harmless = _without_filters(workspace)
    if harmless is None:
        return None
    found = _git(
        workspace,
        *harmless,
        "status", "--porcelain=v1", "-z", "--untracked-files=normal", "--ignore-submodules=all",
        "--no-renames", "--", ".",
    )  # fmt: skip
    if found is None:
        return None
    inside = _git(workspace, "rev-parse", "--show-prefix")
    if inside is None:
        return None
    runs = inside.removesuffix(b"\n") + b"runs/"
    changed = (entry[3:] for entry in found.split(b"\0") if entry)
    return any(not path.startswith(runs) and b"__pycache__/" not in path for path in changed)


def _without_filters(workspace: Path) -> list[str] | None:
    """Options that take the programs away with which this repository would have files filtered.

    Those of the user's own configuration stay: git-lfs is one of them.
    """
    listed = _git(workspace, "config", "--show-scope", "--null", "--list", "--name-only")
    if listed is None:
        return None
    options: list[str] = []
    for scope, name in _pairs(listed):
        match = _FILTER.fullmatch(scope + b"\0" + name)
        if match is not None:
            driver = os.fsdecode(match[2])
            if "=" in driver or not driver.isprintable():
                return None  # no option can take this one away
            for key in ("clean", "process", "smudge"):
                options += ["-c", f"filter.{driver}.{key}="]
            options += ["-c", f"filter.{driver}.required=false"]
    return options


def _pairs(listed: bytes) -> Iterator[tuple[bytes, bytes]]:
    words = listed.split(b"\0")
    return zip(words[::2], words[1::2], strict=False)


def _git(workspace: Path, *arguments: str) -> bytes | None:
    """What git prints; None where it is not there, refuses, or takes too long."""
    # Variables of the caller, such as GIT_DIR in a hook, would answer for another repository.
    ours = {
        "LC_ALL": "C",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ASKPASS": "true",
    }
    try:
        done = subprocess.run(
            ["git", *_SAFE, *arguments],
            cwd=workspace,
            env={name: value for name, value in child_environment().items() if name in _KEPT} | ours,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
