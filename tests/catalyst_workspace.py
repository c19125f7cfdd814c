"""The modules of the catalyst workspace, for its tests."""

import json
import shutil
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from tests.support.workspace_modules import load

WORKSPACE: Final = Path(__file__).parents[1] / "workspaces" / "catalyst_human_in_loop"
SLUG: Final = "catalyst_human_in_loop"


def module(name: str) -> ModuleType:
    """A module of the workspace."""
    return load(WORKSPACE)[name]


PUBLISHED: Final = json.loads((WORKSPACE / "published.json").read_text())


@cache
def screened(metal: str) -> dict[str, Any]:
    """What the task reports of a metal, with the model of the default screening."""
    surfaces, screen = module("surfaces"), module("screen")
    model = surfaces.Model(**module("campaign").Settings().model(0))
    report: dict[str, Any]
    report, _ = screen.compute(metal, surfaces.ADSORBATES, model)
    return report


# ---- a run that takes seconds

QUICK: Final = {
    "metals": '["Ni", "Cu", "Pt"]',
    "adsorbates": '["O", "H"]',
    "layers": "[3, 4, 5]",
    "cells": "[2, 3, 4]",
    "fmax": "[0.05, 0.02, 0.01]",
}
"""Three metals, two atoms, and at most two rounds on small slabs."""


def install_quick(root: Path, *settings: str) -> list[str]:
    """Copy the workspace into a root; returns the settings of a quick run, and those that are given."""
    shutil.copytree(
        WORKSPACE, root / "workspaces" / SLUG, ignore=shutil.ignore_patterns("runs", "__pycache__")
    )
    return [*(f"params.{key}={value}" for key, value in QUICK.items()), *settings]
