"""``matterstack self-test``: does this installation work, from plan to result."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncclick as click

from matterstack.cli.shared_options import current_root, json_option
from matterstack.core.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from matterstack.doctor.selftest import Report


@click.command("self-test", short_help="Run a small campaign, and check it.")
@click.option(
    "--backend", metavar="NAME", help="On a backend of this root's or the site's config (default: here)."
)
@click.option(
    "--timeout",
    "timeout_s",
    metavar="SECONDS",
    type=click.FloatRange(min=1),
    default=300.0,
    show_default=True,
    help="How long the campaign may take.",
)
@json_option
@click.pass_context
async def self_test(context: click.Context, backend: str | None, timeout_s: float, as_json: bool) -> None:
    """Run a small built-in campaign in a folder of its own, check all that it leaves, and remove it.

    Exits with 1 if it did not go as it should; its folder is kept then.
    """
    import trio

    from matterstack.cli.logs import log_to_file
    from matterstack.cli.signals import stop_on_signals
    from matterstack.doctor.selftest import SelfTest

    name, config, below = "local", {"type": "local"}, Path(tempfile.gettempdir())
    if backend is not None:
        name, (config, below) = backend, _configured(context, backend)
    test = SelfTest(name, config, below, timeout_s)
    root = await trio.to_thread.run_sync(test.make_root)
    with log_to_file(root.engine_log):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop_on_signals, test.stop)
            report = await test.run(root)
            nursery.cancel_scope.cancel()
    _print(report, name, as_json)
    if not report.ok:
        raise click.exceptions.Exit(1)


def _configured(context: click.Context, backend: str) -> tuple[dict[str, Any], Path]:
    """The backend of this name, and a folder that its jobs can see: one below this root."""
    from matterstack.doctor.machine import configs

    root = current_root(context)
    found, usable = configs(root)
    for config in usable.values():
        if backend in config.backends:
            return config.backends[backend].model_dump(mode="json"), root.private
    wrong = next((finding.detail for finding in found if not finding.ok), "")
    if wrong:
        raise UsageError(f"no backend {backend!r} in the configs that can be read; one cannot: {wrong}")
    have = {name for config in usable.values() for name in config.backends}
    raise NotFoundError(f"no backend {backend!r} in any config (there are: {', '.join(sorted(have))})")


def _print(report: Report, backend: str, as_json: bool) -> None:
    from matterstack.cli.printing import print_json
    from matterstack.core.states import TaskStatus

    summary = report.summary
    if as_json:
        print_json(
            {
                "ok": report.ok,
                "backend": backend,
                "took_s": round(report.took_s, 3),
                "run": summary.as_json(),
                "problems": [problem.problem for problem in report.problems],
                "root": None if report.root is None else str(report.root),
            }
        )
        return
    done, failed = summary.count(TaskStatus.SUCCEEDED), summary.count(TaskStatus.FAILED)
    click.echo(f"on {backend}: {summary.status} after {summary.iteration} rounds and {report.took_s:.1f} s")
    click.echo(f"  tasks: {done} succeeded, {failed} failed")
    if summary.status_reason:
        click.echo(f"  reason: {summary.status_reason}")
    if "bond_length_angstrom" in report.result:
        click.echo(f"  result: an argon dimer of {report.result['bond_length_angstrom']:.2f} angstrom")
    click.echo("  history, snapshots and files fit" if not report.problems else "  what does not fit:")
    for problem in report.problems:
        click.echo(f"    {problem.rule}: {problem.problem}")
    click.echo("It works." if report.ok else f"It does not work; all of it is kept in {report.root}")
