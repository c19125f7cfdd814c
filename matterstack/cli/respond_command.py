"""``matterstack respond``: answer what a task asks."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import asyncclick as click

from matterstack.cli.options import RUN_ID, current_root, json_option
from matterstack.core.errors import NotFoundError, UsageError
from matterstack.core.ids import RunId, TaskId

if TYPE_CHECKING:
    from matterstack.answering import OpenQuestion
    from matterstack.core.fields import AnyField
    from matterstack.storage.reader import Reader

PATIENCE_S: Final = 10.0
"""How long an engine is given to take the answer."""


@click.command(short_help="Answer what a task asks.")
@click.argument("run_id", type=RUN_ID)
@click.argument("task_id", metavar="TASK")
@click.option("--set", "settings", metavar="NAME=VALUE", multiple=True, help="A field of the answer.")
@click.option("--file", "file", type=click.Path(path_type=Path), help="The whole answer, as JSON.")
@click.option("--approve", "decision", flag_value="approve", help="Let the graph go on.")
@click.option("--reject", "decision", flag_value="reject", help="Skip what depends on this gate.")
@click.option("--send-back", "decision", flag_value="send_back", help="Have it done again; needs --comment.")
@click.option("--failure", metavar="TEXT", help="The experiment failed, and why.")
@click.option("--comment", metavar="TEXT", help="Kept with the answer.")
@json_option
@click.pass_context
async def respond(
    context: click.Context,
    run_id: RunId,
    task_id: str,
    settings: tuple[str, ...],
    file: Path | None,
    decision: str | None,
    failure: str | None,
    comment: str | None,
    as_json: bool,
) -> None:
    """Show what TASK of a run asks, and answer it: in a terminal field by field, else with the options."""
    import trio

    from matterstack.answering import hand_over, hand_over_text, open_question
    from matterstack.cli.printing import print_json
    from matterstack.storage.queries import require_run
    from matterstack.storage.reader import open_reader
    from matterstack.storage.snapshot import load_run

    root = current_root(context)
    given = [bool(settings), file is not None, decision is not None, failure is not None]
    if sum(given) > 1:
        raise UsageError("give one of --set, --file, --approve, --reject, --send-back, --failure")
    async with open_reader(root) as reader:
        await reader.read(require_run, run_id)
        state = await reader.read(load_run, run_id)
        if state is None:
            raise NotFoundError(f"no run {run_id}")
        question = await trio.to_thread.run_sync(open_question, root, state, TaskId(task_id))
        if not any(given):
            if as_json:
                print_json(question.as_json())
                return
            _show(question)
            if not sys.stdin.isatty():
                raise UsageError("no answer was given", hint=_hint(question))
        if file is not None:
            hand_over_text(question, _content(file))
        else:
            hand_over(question, await _document(question, settings, decision, failure, comment))
        status = await _wait(reader, question)
    if as_json:
        print_json({"run_id": run_id, "task_id": task_id, "status": status})
    elif status == "ACTIVE":
        click.echo(f"the answer is there; an engine takes it when one runs: matterstack run loop {run_id}")
    else:
        click.echo(f"the answer was taken; task {task_id} is {status}")


def _content(file: Path) -> bytes:
    from matterstack.core.strict_json import MOST_BYTES

    try:
        with file.open("rb") as opened:
            return opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"--file {file}: {error.strerror}") from None


async def _document(
    question: OpenQuestion,
    settings: Sequence[str],
    decision: str | None,
    failure: str | None,
    comment: str | None,
) -> dict[str, Any]:
    from matterstack.answering import document_of

    if decision is not None:
        _require(question, "gate", f"--{decision.replace('_', '-')}")
        document: dict[str, Any] = {"decision": decision}
    elif failure is not None:
        _require(question, "experiment", "--failure")
        document = {"failure": failure}
    elif settings:
        document = document_of(question, _pairs(settings))
    else:
        document = await _asked(question)
    if comment is not None:
        if question.operator == "human":
            raise UsageError("--comment: the answer to this question has only its fields")
        document["comment"] = comment
    return document


def _require(question: OpenQuestion, operator: str, option: str) -> None:
    if question.operator != operator:
        raise UsageError(
            f"{option}: task {question.task_id} is a {question.operator} task", hint=_hint(question)
        )


def _pairs(settings: Sequence[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or name in pairs:
            what = "given twice" if name in pairs else "not of the form NAME=VALUE"
            raise UsageError(f"--set {setting} is {what}")
        pairs[name] = value
    return pairs


def _show(question: OpenQuestion) -> None:
    from matterstack.core.fields import describe_field

    click.echo(f"{question.text}\n")
    for name, field in question.fields.items():
        optional = "" if field.required else " (may be left out)"
        click.echo(f"  {name}: {describe_field(field)}{optional}")
        if field.help:
            click.echo(f"      {field.help}")
    if question.operator == "experiment":
        click.echo(f"  what is asked for: {question.as_json()['manifest']['request']}")
    if question.operator == "manual_hpc":
        click.echo(f"  the script to submit: {question.work / 'job.sh'}")
    if question.expires_at is not None:
        click.echo(f"  to be answered before {question.expires_at}")
    if question.rejected:
        click.echo(f"  the last answer was not taken: {question.rejected}")


def _hint(question: OpenQuestion) -> str:
    start = f"matterstack respond {question.run_id} {question.task_id}"
    match question.operator:
        case "gate":
            return f"{start} --approve | --reject | --send-back --comment TEXT"
        case "manual_hpc":
            return f"{start} --set job_id=ID | --set exit_code=0"
        case _:
            return " ".join([start, *(f"--set {name}=VALUE" for name in question.fields)])


async def _asked(question: OpenQuestion) -> dict[str, Any]:
    """Ask for each field in turn, again until it is right."""
    from matterstack.answering import document_of

    if question.operator == "gate":
        decision = await click.prompt("decision", type=click.Choice(["approve", "reject", "send_back"]))
        said = await click.prompt("comment", default="", show_default=False)
        return {"decision": decision, "comment": said}
    if question.operator == "manual_hpc":
        job_id = await click.prompt("id of the job that you submitted")
        return {"job_id": job_id}
    typed = {name: await _asked_field(name, field) for name, field in question.fields.items()}
    return document_of(question, {name: text for name, text in typed.items() if text is not None})


async def _asked_field(name: str, field: AnyField) -> str | None:
    from matterstack.answering import typed_value
    from matterstack.core.fields import describe_field, value_problem

    while True:
        asked = await click.prompt(f"{name} ({describe_field(field)})", default="", show_default=False)
        text = str(asked).strip()
        if not text and not field.required:
            return None
        try:
            problem = value_problem(field, typed_value(field, text, name))
        except UsageError as error:
            problem = str(error)
        if problem is None:
            return text
        click.echo(f"  {problem}")


async def _wait(reader: Reader, question: OpenQuestion) -> str:
    """What became of the task, as far as an engine has got to it after a while."""
    import trio

    from matterstack.cli.waiting import changes
    from matterstack.storage.leases import is_held
    from matterstack.storage.snapshot import load_run

    status = "ACTIVE"
    with trio.move_on_after(PATIENCE_S):
        async for _ in changes(reader):
            state = await reader.read(load_run, question.run_id)
            task = state.tasks[question.task_id] if state is not None else None
            if task is not None:
                status = task.status.value
                if status != "ACTIVE" or len(task.attempts) != question.attempt:
                    break
            if not await trio.to_thread.run_sync(is_held, reader.root, question.run_id):
                break
    return status
