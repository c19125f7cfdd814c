"""What was mended in a workspace since a run was made, and does not reach it by itself: for who retries."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from matterstack.actors.runtime import Runtime
from matterstack.campaign.used_files import MOST_HASHED_BYTES
from matterstack.core.errors import MatterStackError
from matterstack.core.ids import RunId
from matterstack.core.run.campaign_code import KnownCode, changes_in_words
from matterstack.core.run.config_changes import config_changes
from matterstack.storage.layout import Root
from matterstack.storage.read.config_in_force import ConfigInForce, config_in_force
from matterstack.storage.read.known_code import files_of_tasks, known_code
from matterstack.storage.read.reader import Reader
from matterstack.storage.staging import sha256_of_file
from matterstack.usecases.config_amendment import config_of_files

MOST_NAMED: Final = 5


async def unused_changes(reader: Reader, run_id: RunId, runtime: Runtime | None = None) -> list[str]:
    """A sentence each, with the command that gives it to the run; what cannot be read now is left out."""
    runtime = runtime or Runtime()
    now = await reader.read(config_in_force, run_id)
    known = await reader.read(known_code, run_id)
    found: list[str] = []
    if keys := await runtime.files(_changed_keys, reader.root, now):
        named = ", ".join(keys[:MOST_NAMED]) + (" and more" if len(keys) > MOST_NAMED else "")
        found.append(
            f"the config files say something else now ({named}), and the run goes by what it has; to give it "
            f"that: matterstack run amend {run_id} --config-from-workspace"
        )
    code = await runtime.files(_changed_code, known, reader.root.workspaces / now.workspace)
    if code and (code := code - await reader.read(files_of_tasks, run_id)):
        found.append(
            f"{changes_in_words(code, code)} since it planned, and the tasks are as it planned them; to plan "
            f"them anew: matterstack run replan {run_id}"
        )
    return found


def _changed_keys(root: Root, now: ConfigInForce) -> list[str]:
    try:
        config = config_of_files(root, now)
    except MatterStackError:
        return []  # who gives it to the run is told what is wrong with it
    return [change.path for change in config_changes(now.config, config)]


def _changed_code(known: KnownCode, workspace: Path) -> frozenset[str]:
    """Python that calls of the campaign used; what tasks are given is copied as it is when they begin."""
    used = {path: known.files[path] for path in known.used if path.endswith(".py")}
    now = {path: sha256_of_file(path, workspace, MOST_HASHED_BYTES) for path in used}
    return frozenset(path for path, digest in now.items() if digest not in {None, used[path]})
