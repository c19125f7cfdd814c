"""Outputs that no task claims: of attempts that were tried again or cancelled, before they were hashed."""

from __future__ import annotations

import os

from matterstack.core.model.workflow import Task
from matterstack.storage.confine import Confined
from matterstack.storage.outputs import RESULT, matching_outputs


def unclaimed_names(folder: Confined, task: Task) -> list[str]:
    """Declared outputs, and the result, that lie in the folder of an attempt that was not enough."""
    given = {*task.files, *task.inputs}
    return sorted(matching_outputs(folder, (*task.outputs, RESULT), given), key=os.fsencode)
