"""Modules of a workspace, as a job finds them: by their bare names."""

from __future__ import annotations

import importlib
import sys
from functools import cache
from pathlib import Path
from types import ModuleType


@cache
def load(workspace: Path) -> dict[str, ModuleType]:
    """All modules of a workspace, by name.

    Several workspaces have modules of the same names: none of them stays in ``sys.modules``.
    """
    names = sorted(path.stem for path in workspace.glob("*.py"))
    others = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    sys.path.insert(0, str(workspace))
    try:
        return {name: importlib.import_module(name) for name in names}
    finally:
        sys.path.remove(str(workspace))
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update(others)
