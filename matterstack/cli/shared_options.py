"""Options and arguments that commands share, and the root they work on."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import asyncclick as click
from asyncclick.shell_completion import CompletionItem

from matterstack.cli.completion import propose_runs
from matterstack.core.errors import NotFoundError
from matterstack.core.ids import RunId
from matterstack.storage.layout import ROOT_VARIABLE, Root, find_root, require_run_id

_Command = TypeVar("_Command", bound=Callable[..., Any])


def json_option(command: _Command) -> _Command:
    """``--json``: one JSON document instead of text."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(command)


class RunIdType(click.ParamType[RunId]):
    """A run id as typed."""

    name = "RUN_ID"

    def convert(self, value: Any, _param: click.Parameter | None, _ctx: click.Context | None) -> RunId:  # noqa: ANN401
        """Check its form; a wrong one is a usage error."""
        return require_run_id(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[Any]]:
        """Propose the runs of the root."""
        return propose_runs(ctx, param, incomplete)


RUN_ID = RunIdType()


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
