"""All commands.  Their modules import what is heavy only when they run: ``--help`` is quick."""

from __future__ import annotations

import asyncclick as click

import matterstack
from matterstack.cli.check_command import check
from matterstack.cli.completion import propose_folders
from matterstack.cli.doctor_command import doctor
from matterstack.cli.evidence_command import archive, clean, evidence, export_evidence, import_run
from matterstack.cli.explain_command import explain
from matterstack.cli.init_command import init
from matterstack.cli.monitor_command import monitor
from matterstack.cli.respond_command import respond
from matterstack.cli.run_amend import amend
from matterstack.cli.run_cancel import cancel
from matterstack.cli.run_control import pause, rerun, resume, retry
from matterstack.cli.run_delete import delete, forget
from matterstack.cli.run_label import label
from matterstack.cli.run_replan import replan
from matterstack.cli.run_serve import run_init, run_loop, run_start
from matterstack.cli.run_show import events, list_runs, logs, status, tasks
from matterstack.cli.schema_command import schema
from matterstack.cli.self_test_command import self_test
from matterstack.cli.watch_command import watch

CONTEXT = {"help_option_names": ["-h", "--help"]}


@click.group(context_settings=CONTEXT)
@click.option(
    "--root",
    metavar="DIR",
    shell_complete=propose_folders,
    help="Folder with workspaces/ in it (default: found upwards from here).",
)
@click.version_option(matterstack.__version__, prog_name="matterstack")
async def main(root: str | None) -> None:
    """Run materials-science campaigns that survive restarts, on this machine or on Slurm.

    A workspace (workspaces/NAME/campaign.py) plans tasks in rounds; a run is one execution of it.
    """


@main.group()
async def run() -> None:
    """Make, serve, show and steer runs."""


main.add_command(init)
main.add_command(check)
main.add_command(doctor)
main.add_command(evidence)
main.add_command(monitor)
main.add_command(respond)
main.add_command(schema)
main.add_command(self_test)
main.add_command(watch)
for command in (
    run_init, run_loop, run_start, list_runs, status, tasks, logs, events, pause, resume, cancel, retry,
    rerun, amend, replan, label, explain, export_evidence, archive, clean, delete, forget, import_run,
):  # fmt: skip
    run.add_command(command)
