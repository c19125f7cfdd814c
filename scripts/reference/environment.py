"""The page of environment variables."""

from __future__ import annotations

from typing import Final

from markdown import code, page, table

READ: Final = {
    "MATTERSTACK_ROOT": "the root to work on, where no `--root` is given",
    "XDG_STATE_HOME": "where the log of an error of MatterStack itself goes, in `matterstack/`; else `~/.local/state`",
    "XDG_RUNTIME_DIR": "where the socket of a shared ssh connection lies; else a private folder below `/tmp`",
    "TERM": "`dumb` or empty: `watch` prints lines instead of a screen",
    "NO_COLOR": "no colours in a terminal",
    "XDG_CONFIG_HOME": "where git finds its own config, when it is asked for the commit of a workspace",
    "HOME": "whose `.config/matterstack/config.json` is the config of the site",
    "PATH": "where Slurm's commands, ssh and rsync are found, and what jobs on this machine find",
    "SLURM_CONF": "which cluster Slurm's own commands talk to",
}
"""By commands and engines."""
GIVEN: Final = {
    "MATTERSTACK_RUN_ID": "id of the run",
    "MATTERSTACK_TASK_ID": "id of the task",
    "MATTERSTACK_ATTEMPT": "number of the attempt, from 1",
    "MATTERSTACK_JOB_ID": "id that the backend gave the job",
}
"""To each job."""
INNER: Final = {
    "MATTERSTACK_ANSWER_DESCRIPTOR": "where the process that calls a campaign writes its answer",
    "MATTERSTACK_CRASH_AT": "ends a process at a named point, as a power cut would, in tests of MatterStack",
}
"""For MatterStack alone: listed so that nobody takes them for something else."""

INTRO = """Jobs on this machine get the environment of the engine, with the `env` of their task over it. Jobs on a
cluster get what their site gives them, and `env`."""


def make() -> str:
    """The whole page."""
    parts = [
        ("Read by commands and engines", READ),
        ("Given to each job", GIVEN),
        ("Of MatterStack alone", INNER),
    ]
    shown = [
        f"## {title}\n\n" + table(("variable", "meaning"), [(code(name), why) for name, why in names.items()])
        for title, names in parts
    ]
    return page("Environment variables", INTRO, *shown)
