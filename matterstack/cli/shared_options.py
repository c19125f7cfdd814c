"""Options and arguments that commands share, and the root they work on."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import asyncclick as click
from asyncclick.shell_completion import CompletionItem

from matterstack.cli.completion import propose_runs, run_while_completing
from matterstack.core.errors import NotFoundError
from matterstack.core.ids import RunId
from matterstack.storage.layout import ROOT_VARIABLE, Root, find_root, require_run_id

_Command = TypeVar("_Command", bound=Callable[..., Any])


def json_option(command: _Command) -> _Command:
    """``--json``: one JSON document instead of text."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(command)


class RunIdType(click.ParamType[RunId]):
    """A run as typed: its id, how it begins, ``@last``, or a workspace, which stands for its newest run."""

    name = "RUN_ID"

    def __init__(self, *, takes_workspace: bool = True) -> None:
        self.takes_workspace = takes_workspace

    def convert(self, value: Any, _param: click.Parameter | None, ctx: click.Context | None) -> RunId:  # noqa: ANN401
        """Find the one run that is meant; what is none, or may be several, is a usage error."""
        if ctx is None:
            return require_run_id(value)
        if ctx.resilient_parsing:
            return run_while_completing(ctx, value)
        from matterstack.cli.typed_run import typed_run

        return typed_run(ctx, value, takes_workspace=self.takes_workspace)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[Any]]:
        """Propose the runs of the root."""
        return propose_runs(ctx, param, incomplete)


RUN_ID = RunIdType()
RUN_ID_ALONE = RunIdType(takes_workspace=False)
"""For what cannot be undone: of a workspace, the newest run may be another one than somebody thinks."""


def current_root(context: click.Context) -> Root:
    """The root that ``--root``, the environment or the working directory names."""
    option, environment = context.find_root().params.get("root"), os.environ.get(ROOT_VARIABLE)
    try:
        here = Path.cwd()
    except OSError as error:
        if not (option or environment):
            raise NotFoundError(
                f"the working directory cannot be used: {error.strerror}", hint="give --root DIR"
            ) from None
        here = Path("/")
    return find_root(option, environment, here)
