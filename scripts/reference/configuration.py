"""The page of ``config.json``."""

from __future__ import annotations

from docstrings import told
from fields import rows_of_model
from markdown import code, page, table

from matterstack.backends.registry import BUILT_IN, KINDS
from matterstack.core.documents.config import RunConfig
from matterstack.core.documents.root_config import RootConfig, Share

INTRO = """`config.json` beside a `campaign.py` holds what is set for its runs; `config.json` of the root, beside
`workspaces/`, what is set for all runs of the root; `~/.config/matterstack/config.json` what is set for all of a user's.
Each lies over the next, all over the defaults, and `--set KEY=VALUE` of `run init` over all; objects are merged,
everything else is replaced. A key that stands twice in one object is refused. A run freezes what holds when it is made.
Names that end in `_s` are in seconds, those in `_mib` in MiB. `matterstack schema Config` prints the JSON schema, with
the keys of all kinds of backend that are installed, and `matterstack schema RootConfig` that of the root's own."""


def make() -> str:
    """The whole page."""
    head = ("key", "type", "default", "meaning")
    parts = []
    for name in BUILT_IN:
        model = KINDS.config_model(name)
        if model is not None:
            parts.append(f'## backends.NAME with "type": "{name}"\n\n' + table(head, rows_of_model(model)))
    return page(
        "config.json", INTRO, "## For a run\n\n" + table(head, rows_of_model(RunConfig)), _of_root(), *parts
    )


def _of_root() -> str:
    said = told(RootConfig).fields["share"]
    words = " or ".join(code(f'"{share.value}"') for share in Share)
    rows = [(code("share"), f"{words} or null", code("null"), said)]
    return (
        f"## For a root, in its own config.json alone\n\n{table(('key', 'type', 'default', 'meaning'), rows)}"
    )
