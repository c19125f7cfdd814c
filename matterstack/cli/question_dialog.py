"""Show a question in a terminal, and ask for its answer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import asyncclick as click

from matterstack.cli.printing import prompt
from matterstack.core.documents.fields import describe_field, value_problem
from matterstack.core.errors import UsageError
from matterstack.core.shown_text import shown
from matterstack.usecases.open_question import MOST_RESULTS, EarlierResult, OpenQuestion
from matterstack.usecases.questions import problems_of
from matterstack.usecases.typed_answer import document_of, typed_value

if TYPE_CHECKING:
    from matterstack.core.documents.fields import AnyField

MOST_OUTPUTS: Final = 5
"""How many files of an earlier result are named."""
SEND_BACK: Final = "send_back"
_OVER: Final = "over"


def show(question: OpenQuestion) -> None:
    """Print what is asked, about what, and what is to be filled in."""
    click.echo(f"{question.text}\n")
    if question.results:
        click.echo("  what it is about:")
    for result in question.results:
        for line in _result_lines(result):
            click.echo(f"    {line}")
    if len(question.results) == MOST_RESULTS:
        click.echo(f"    (only {MOST_RESULTS} are shown; all: matterstack run tasks {question.run_id})")
    if question.operator == "experiment":
        asked_for = json.dumps(question.as_json()["manifest"]["request"], ensure_ascii=False)
        click.echo(f"  what is asked for: {asked_for}")
    if question.operator == "manual_hpc":
        click.echo(f"  the script to submit: {question.script}")
    if question.fields:
        click.echo("  what is to be filled in:")
    for name, field in question.fields.items():
        optional = "" if field.required else " (may be left out)"
        click.echo(f"    {name}: {describe_field(field)}{optional}")
        if field.help:
            click.echo(f"        {field.help}")
    if question.expires_at is not None:
        click.echo(f"  to be answered before {question.expires_at}")
    if question.again:
        click.echo(f"  asked again: {question.again}")
    if question.problem:
        click.echo(f"  {question.problem}")
    if question.rejected:
        click.echo(f"  the last answer was not taken: {question.rejected}")
    click.echo()


def _result_lines(result: EarlierResult) -> Iterator[str]:
    yield f"{result.task_id} {result.status}"
    if result.data is not None:
        yield f"    data: {json.dumps(result.data, ensure_ascii=False)}"
    if result.outputs:
        names = ", ".join(shown(name) for name in result.outputs[:MOST_OUTPUTS])
        more = len(result.outputs) - MOST_OUTPUTS
        yield f"    files: {names}{f' and {more} more' if more > 0 else ''} in {result.folder}"


def usage(question: OpenQuestion) -> str:
    """How it is answered without a terminal."""
    start = f"matterstack respond {question.run_id} {question.task_id}"
    match question.operator:
        case "gate":
            return f"{start} --approve | --reject | --send-back --comment TEXT"
        case "manual_hpc":
            return f"{start} --set job_id=ID | --set exit_code=0"
        case _:
            return " ".join([start, *(f"--set {name}=VALUE" for name in question.fields)])


async def ask(question: OpenQuestion, comment: str | None) -> dict[str, Any]:
    """Ask for the answer, each part again until it is right; ``comment``: what was said already."""
    match question.operator:
        case "gate":
            return await _decision(comment)
        case "manual_hpc":
            return await _job(question)
    if question.operator == "experiment":
        click.echo("(if it failed, press Ctrl-C and answer with --failure TEXT)")
    typed = {name: await _field(name, field) for name, field in question.fields.items()}
    return document_of(question, {name: text for name, text in typed.items() if text is not None})


async def _decision(comment: str | None) -> dict[str, Any]:
    decisions = click.Choice(["approve", "reject", SEND_BACK])
    decision = await prompt("decision", type=decisions)
    must_say = decision == SEND_BACK
    while comment is None or (must_say and not comment.strip()):
        text = "comment: what is to be done again" if must_say else "comment (may be left out)"
        comment = str(await prompt(text, default="", show_default=False)).strip()
        if must_say and not comment:
            click.echo("  whoever does it again has to know what was wrong")
    return {"decision": decision, **({"comment": comment} if comment else {})}


async def _job(question: OpenQuestion) -> dict[str, Any]:
    """The id of a job that is followed from here on, or how one ended that is over."""
    while True:
        try:
            document = document_of(question, await _job_settings())
        except UsageError as error:
            click.echo(f"  {error}")
            continue
        problems = problems_of(question, document)
        if not problems:
            return document
        click.echo(f"  {problems}")


async def _job_settings() -> Mapping[str, str]:
    asked = f"id of the job that you submitted ({_OVER!r} when it has ended already)"
    job_id = str(await prompt(asked)).strip()
    if job_id != _OVER:
        return {"job_id": job_id}
    return {"exit_code": str(await prompt("its exit code", default="0")).strip()}


async def _field(name: str, field: AnyField) -> str | None:
    while True:
        text = str(await prompt(_asked_for(name, field), default="", show_default=False)).strip()
        if not text and not field.required:
            return None
        try:
            problem = value_problem(field, typed_value(field, text, name))
        except UsageError as error:
            problem = str(error)
        if problem is None:
            return text
        click.echo(f"  {problem}")


def _asked_for(name: str, field: AnyField) -> str:
    return f"{name} ({describe_field(field)}{'' if field.required else '; Enter to leave it out'})"
