"""The page of exit codes and errors, from the tree of errors."""

from __future__ import annotations

from collections.abc import Iterator

from docstrings import told
from markdown import code, page, table

from matterstack.core.errors import MatterStackError

MEANINGS = {
    0: "done",
    1: "the run, the check or the verification failed; or MatterStack did (then it says where its log is)",
    2: "usage: an argument, a config file or a `campaign.py` makes no sense",
    3: "not found: no such root, workspace, run or task",
    4: "refused in this state",
    5: "a backend, the store or a monitor cannot be reached",
    6: "`evidence verify --strict`: everything fits, and something was checked less strongly than it can be",
    130: "ended by a second Ctrl-C; nothing is lost",
}

INTRO = """Every command ends with one of these. With `--json` an error is one JSON object on standard error,
`{"error": {"code", "message", "hint"}}`; its `code` is the word below, and does not change."""


def make() -> str:
    """The whole page."""
    codes = table(("exit code", "meaning"), [(str(number), text) for number, text in MEANINGS.items()])
    rows = [
        (code(kind.__name__), code(kind.code), str(kind.exit_code), told(kind).text.split("\n\n")[0])
        for kind in errors(MatterStackError)
    ]
    tree = table(("error in Python", "code", "exit code", "meaning"), rows)
    return page(
        "Exit codes and errors",
        INTRO,
        f"## Exit codes\n\n{codes}",
        f"## Errors\n\nIn Python all of them are "
        f"`matterstack.MatterStackError`, with `message`, `hint`, `code` and `exit_code`.\n\n{tree}",
    )


def errors(kind: type[MatterStackError]) -> Iterator[type[MatterStackError]]:
    """An error and all that are kinds of it, as the tree has them."""
    yield kind
    for below in kind.__subclasses__():
        if below.__module__.startswith("matterstack."):
            yield from errors(below)
