"""``matterstack doctor``: what works here, and what to do about what does not."""

from __future__ import annotations

import os

import asyncclick as click

from matterstack.cli.shared_options import current_root, json_option


@click.command(short_help="Say what works here, and what to do.")
@click.option(
    "--submit", is_flag=True, help="Run a small job to see whether compute nodes share this folder."
)
@click.option(
    "--wait",
    "wait_s",
    metavar="SECONDS",
    type=click.FloatRange(min=1),
    default=120.0,
    show_default=True,
    help="How long that job may wait for its turn.",
)
@json_option
@click.pass_context
async def doctor(context: click.Context, submit: bool, wait_s: float, as_json: bool) -> None:
    """Look at versions, disks, configs, Slurm, ssh and clocks; exit with 1 if something does not work.

    Works without a root and without Slurm, and comes to an end whatever does not answer.
    """
    import attrs

    from matterstack.cli.printing import print_json, print_table
    from matterstack.core.errors import NotFoundError
    from matterstack.doctor.examination import Scope, examine_all
    from matterstack.storage.layout import ROOT_VARIABLE

    try:
        scope = Scope(root=current_root(context), submit=submit, wait_s=wait_s)
    except NotFoundError as error:
        named = bool(context.find_root().params.get("root") or os.environ.get(ROOT_VARIABLE))
        scope = Scope(root=None, no_root=error, was_named=named)
    findings = await examine_all(scope)
    problems = [finding for finding in findings if not finding.ok]
    if as_json:
        print_json([attrs.asdict(finding) for finding in findings])
    else:
        rows = (("ok" if f.ok else "PROBLEM", f.check, f.detail.replace("; ", ";\n")) for f in findings)
        print_table(("", "check", "what was found"), rows)
        click.echo("\nWhat to do:" if problems else "\nEverything that was looked at works.")
        for finding in problems:
            click.echo(f"  {finding.check}: {finding.action}")
    if problems:
        raise click.exceptions.Exit(1)
