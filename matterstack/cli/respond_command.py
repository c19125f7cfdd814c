"""``matterstack respond``: answer what a task asks."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import asyncclick as click
import attrs

from matterstack.cli.completion import propose_tasks
from matterstack.cli.shared_options import RUN_ID, current_root, json_option
from matterstack.core.errors import UsageError
from matterstack.core.ids import RunId, TaskId
from matterstack.core.operators import REJECTED

if TYPE_CHECKING:
    from matterstack.core.run.state import TaskState
    from matterstack.storage.read.reader import Reader
    from matterstack.usecases.open_question import OpenQuestion

PATIENCE_S: Final = 10.0
"""How long an engine is given to take the answer."""


@attrs.frozen
class _Outcome:
    """What became of a task; ``said``: what that means, empty while nobody has taken the answer."""

    status: str
    said: str


@click.command(short_help="Answer what a task asks.")
@click.argument("run_id", type=RUN_ID)
@click.argument("task_id", metavar="TASK", shell_complete=propose_tasks)
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

    from matterstack.cli.printing import print_json
    from matterstack.cli.question_dialog import show, usage
    from matterstack.storage.read.reader import open_reader
    from matterstack.usecases.questions import answer_question, find_question

    root = current_root(context)
    given = [bool(settings), file is not None, decision is not None, failure is not None]
    if sum(given) > 1:
        raise UsageError("give one of --set, --file, --approve, --reject, --send-back, --failure")
    async with open_reader(root) as reader:
        question = await reader.read(find_question, root, run_id, TaskId(task_id))
        if not any(given):
            if as_json:
                print_json(question.as_json())
                return
            show(question)
            if not sys.stdin.isatty():
                raise UsageError("no answer was given", hint=usage(question))
        answer: object
        if file is not None:
            answer = await trio.to_thread.run_sync(_content, file)
        else:
            answer = await _document(question, settings, decision, failure, comment)
        put = partial(answer_question, attempt=question.attempt)
        await reader.read(put, root, run_id, question.task_id, answer)
        outcome = await _wait(reader, question)
    if as_json:
        print_json({"run_id": run_id, "task_id": task_id, "status": outcome.status})
    elif outcome.said:
        click.echo(f"the answer was taken; {outcome.said}")
    else:
        click.echo(f"the answer is there; an engine takes it when one runs: matterstack run loop {run_id}")


def _content(file: Path) -> bytes:
    from matterstack.core.documents.strict_json import MOST_BYTES

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
    from matterstack.cli.question_dialog import ask
    from matterstack.usecases.typed_answer import document_of

    if decision is not None:
        _require(question, "gate", f"--{decision.replace('_', '-')}")
        document: dict[str, Any] = {"decision": decision}
    elif failure is not None:
        _require(question, "experiment", "--failure")
        document = {"failure": failure}
    elif settings:
        document = document_of(question, _pairs(settings))
    else:
        try:
            document = await ask(question, comment)
        except click.Abort:
            click.echo("\nnothing was answered; the question goes on waiting", err=True)
            raise
    if comment is not None:
        if question.operator == "human":
            raise UsageError("--comment: the answer to this question has only its fields")
        document["comment"] = comment
    return document


def _require(question: OpenQuestion, operator: str, option: str) -> None:
    from matterstack.cli.question_dialog import usage

    if question.operator != operator:
        raise UsageError(
            f"{option}: task {question.task_id} is a {question.operator} task", hint=usage(question)
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


async def _wait(reader: Reader, question: OpenQuestion) -> _Outcome:
    """What became of the task, as far as an engine has got to it after a while."""
    import trio

    from matterstack.storage.leases import is_held
    from matterstack.storage.snapshot import load_run

    outcome = _Outcome("ACTIVE", "")
    with trio.move_on_after(PATIENCE_S):
        async for _ in reader.changes():
            state = await reader.read(load_run, question.run_id)
            if state is not None:
                outcome = _outcome(question, state.tasks[question.task_id])
            if outcome.said or not await trio.to_thread.run_sync(is_held, reader.root, question.run_id):
                break
    return outcome


def _outcome(question: OpenQuestion, task: TaskState) -> _Outcome:
    status, attempt = task.status.value, task.last_attempt
    if status in {"WAITING", "READY"} or len(task.attempts) != question.attempt:
        first = ", when what it depends on is done again" if status == "WAITING" else ""
        return _Outcome(status, f"task {question.task_id} asks again{first}")
    if status != "ACTIVE":
        return _Outcome(status, f"task {question.task_id} is {status}")
    if attempt is not None and question.operator == "manual_hpc" and attempt.raw_state not in {"", REJECTED}:
        job = attempt.reason.partition(":")[0]
        return _Outcome(status, f"{job} is followed from here on")
    return _Outcome(status, "")
