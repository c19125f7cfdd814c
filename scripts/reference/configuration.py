"""The page of ``config.json``."""

from __future__ import annotations

from collections.abc import Mapping

from fields import rows_of_model
from markdown import page, table
from pydantic import BaseModel

from matterstack.core.documents.config import LocalBackendConfig, RunConfig, SlurmBackendConfig

INTRO = """`config.json` beside a `campaign.py` holds what is set for its runs; `~/.config/matterstack/config.json`
what is set for all of a user's. The first lies over the second, both over the defaults, and `--set KEY=VALUE` of
`run init` over all; objects are merged, everything else is replaced. A run freezes what holds when it is made.
Names that end in `_s` are in seconds, those in `_mib` in MiB."""


def make() -> str:
    """The whole page."""
    head = ("key", "type", "default", "meaning")
    kinds: Mapping[str, type[BaseModel]] = {"local": LocalBackendConfig, "slurm": SlurmBackendConfig}
    parts = [
        f'## backends.NAME with "type": "{name}"\n\n' + table(head, rows_of_model(model))
        for name, model in kinds.items()
    ]
    return page("config.json", INTRO, "## For a run\n\n" + table(head, rows_of_model(RunConfig)), *parts)
