"""``report.md`` and ``report.html``: a run for people, without anything from a network."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

import attrs
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markdown_it import MarkdownIt
from markupsafe import Markup

from matterstack.core.run_state import AttemptState, TaskState
from matterstack.core.states import TaskStatus
from matterstack.evidence.durations import bytes_text, duration_text, hours_text, seconds_between
from matterstack.evidence.survey import FileState, LogRecord, OutputRecord, shown
from matterstack.evidence.view import View, attempt_word, cores_of, operator_line

REPORT_MD: Final = "report.md"
REPORT_HTML: Final = "report.html"
MOST_FIGURE_BYTES: Final = 2 << 20
MOST_FIGURES: Final = 24
MOST_TEXT_BYTES: Final = 20_000
MOST_TEXTS: Final = 6
MOST_DATA: Final = 24
LAST_LINES: Final = 15
MOST_ERRORS: Final = 20
"""Failed attempts of which the end of stderr is shown."""
FOLDED_OVER: Final = 60
"""Longer tables of the page are folded away until they are asked for."""
_SHORT_JSON: Final = 80
_PICTURE_TYPES: Final = {
    "svg": "image/svg+xml",
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
}


@attrs.frozen(kw_only=True)
class Picture:
    """A picture, in the bundle and as the page holds it."""

    title: str
    place: str
    source: str


@attrs.frozen(kw_only=True)
class AttemptRow:
    """An attempt in words."""

    task_id: str
    n: int
    word: str
    where: str
    job_id: str
    prepared_at: str
    started_at: str
    ended_at: str
    waited: str
    ran: str
    exit_code: str
    outcome: str


@attrs.frozen(kw_only=True)
class TaskRow:
    """A task in words, with the row of its last attempt."""

    task_id: str
    iteration: int
    status: str
    reason: str
    attempts: int
    last: AttemptRow | None


@attrs.frozen(kw_only=True)
class Provenance:
    """Where the outputs of an attempt come from."""

    attempt: AttemptRow
    command: str
    superseded: bool
    outputs: list[OutputRecord]
    used: list[int]


@attrs.frozen(kw_only=True)
class AnswerRow:
    """What a person or an instrument answered."""

    task_id: str
    n: int
    operator: str
    question: str
    by: str
    at: str
    sha256: str
    state: str
    text: str


@attrs.frozen(kw_only=True)
class Failure:
    """A task that did not succeed, or an attempt that was not enough."""

    task_id: str
    n: int
    what: str
    reason: str
    last_lines: str


def report_md(view: View) -> bytes:
    """The report as text, for any reader of Markdown."""
    return _rendered("report.md", view, {})


def report_html(view: View, pictures: Mapping[str, bytes]) -> bytes:
    """The report as one page that needs nothing else."""
    return _rendered("report.html", view, pictures)


def _rendered(name: str, view: View, pictures: Mapping[str, bytes]) -> bytes:
    template = _environment().get_template(f"{name}.j2")
    return template.render(_context(view, pictures)).encode("utf-8")


@cache
def _markdown_reader() -> MarkdownIt:
    # No HTML of the text's own, and no pictures: the page must need nothing from anywhere, nor run anything.
    rules = ["html_inline", "html_block", "image", "autolink", "link", "reference"]
    return MarkdownIt("commonmark", {"html": False}).enable("table").disable(rules)


def _page_text(text: str) -> Markup:
    return Markup(_markdown_reader().render(text))  # noqa: S704  the reader escapes what is not its own


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("matterstack.evidence", "templates"),
        autoescape=select_autoescape(("html.j2",), default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        shown=shown, md=_markdown, size=bytes_text, code=_code, time=_time, block=_block, markdown=_page_text
    )
    return environment


def _context(view: View, pictures: Mapping[str, bytes]) -> dict[str, Any]:
    state = view.history.state
    tasks = [_task_row(view, task) for task in state.tasks.values()]
    return {
        "run_id": state.run_id,
        "workspace": state.workspace,
        "status": state.status.value,
        "reason": shown(state.status_reason),
        "is_complete": view.is_complete,
        "missing": [shown(text) for text in view.missing],
        "seq": view.history.seq,
        "as_of": view.history.as_of,
        "created_at": state.created_at,
        "started_at": view.history.started_at or "",
        "took": duration_text(seconds_between(view.history.started_at, view.history.as_of)),
        "params": [(name, _json(value)) for name, value in state.config.get("params", {}).items()],
        "iterations": view.history.iterations,
        "counts": [(status.value, state.counts[status]) for status in TaskStatus if state.counts[status]],
        "tasks": tasks,
        "failures": list(_failures(view)),
        "provenance": list(_provenance(view)),
        "used": view.survey.used,
        "figures": list(_figures(view)),
        "texts": list(_texts(view)),
        "data": list(_data(view)),
        "found": _json(state.campaign_state) if state.campaign_state else "",
        "answers": list(_answers(view)),
        "notes": view.history.notes,
        "caps": _caps(view),
        "usage": _usage(view),
        "timeline": _inline("timeline.svg", pictures),
        "graph": _inline("graph.svg", pictures),
        "foreign": view.survey.foreign,
        "created_by": shown(view.history.created.by),
        "sources": view.survey.sources,
        "software": list(view.history.created.software.items()),
        "made_with": sorted(view.survey.made_with.items()),
        "folded_over": FOLDED_OVER,
        "states": FileState,
    }


# ---- words ----


def _markdown(text: object) -> str:
    r"""Text for a cell of a table, or a line, of Markdown.

    >>> print(_markdown("a|b <i> *c*"))
    a\|b &lt;i&gt; \*c\*
    """
    escaped = shown(str(text)).replace("\\", "\\\\")
    for character in "`*_|[]#":
        escaped = escaped.replace(character, f"\\{character}")
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _code(text: object) -> str:
    """Text as inline code in a cell of Markdown; empty for nothing."""
    plain = shown(str(text)).replace("|", "\\|")
    fence = "``" if "`" in plain else "`"
    return f"{fence}{plain}{fence}" if plain else ""


def _block(text: str) -> str:
    """Text as an indented block of Markdown, which nothing in it can end."""
    return "\n".join(f"    {line}" for line in text.splitlines())


def _time(moment: str) -> str:
    """A stored time without its fractions.

    >>> _time("2026-01-02T03:04:05.123456Z")
    '2026-01-02 03:04:05'
    """
    return moment[:19].replace("T", " ")


def _json(value: Any) -> str:  # noqa: ANN401  any JSON
    text = json.dumps(value, ensure_ascii=False)
    if len(text) > _SHORT_JSON:
        text = json.dumps(value, indent=2, ensure_ascii=False)
    return "\n".join(shown(line) for line in text.split("\n"))


def _lines(text: bytes) -> str:
    return "\n".join(shown(line) for line in text.decode("utf-8", "surrogateescape").splitlines())


# ---- tasks ----


def _task_row(view: View, task: TaskState) -> TaskRow:
    last = task.last_attempt
    return TaskRow(
        task_id=task.task.id,
        iteration=task.iteration,
        status=task.status.value,
        reason=shown(task.reason),
        attempts=len(task.attempts),
        last=_attempt_row(view, last) if last is not None else None,
    )


def _attempt_row(view: View, attempt: AttemptState) -> AttemptRow:
    return AttemptRow(
        task_id=attempt.task_id,
        n=attempt.n,
        word=attempt.raw_state if attempt.raw_state and attempt.ended_at else attempt_word(attempt),
        where=shown(attempt.backend + (f" · {attempt.host}" if attempt.host else "")),
        job_id=attempt.job_id or "",
        prepared_at=attempt.prepared_at,
        started_at=attempt.started_at or "",
        ended_at=attempt.ended_at or "",
        waited=duration_text(view.waiting_s(attempt)),
        ran=duration_text(view.running_s(attempt)),
        exit_code="" if attempt.exit_code is None else str(attempt.exit_code),
        outcome=shown(view.outcome(attempt)),
    )


def _failures(view: View) -> Iterator[Failure]:
    """Every task that did not succeed, then every attempt of others that had to be tried again."""
    left = MOST_ERRORS
    for task in view.failures:
        last = task.last_attempt
        text = ""
        if last is not None and left and task.status is TaskStatus.FAILED:
            text = _end_of_stderr(view, last)
            left -= 1
        allowed = " (allowed to fail)" if task.status is TaskStatus.FAILED and task.task.allow_failure else ""
        reason = task.reason or (view.outcome(last) if last is not None else "")
        yield Failure(
            task_id=task.task.id,
            n=len(task.attempts),
            what=task.status.value + allowed,
            reason=shown(reason or "no reason was given"),
            last_lines=text,
        )
    for attempt in view.history.attempts():
        task = view.history.state.tasks[attempt.task_id]
        if attempt is not task.last_attempt and (outcome := view.outcome(attempt)):
            text = _end_of_stderr(view, attempt) if left else ""
            left -= bool(text)
            yield Failure(
                task_id=attempt.task_id,
                n=attempt.n,
                what=f"attempt {attempt.n} was followed by another",
                reason=shown(outcome),
                last_lines=text,
            )


def _end_of_stderr(view: View, attempt: AttemptState) -> str:
    log = _log(view, attempt, "stderr.log")
    if log is None or log.place is None:
        return ""
    return "\n".join(_lines(view.content(log.place)[-MOST_TEXT_BYTES:]).split("\n")[-LAST_LINES:])


def _log(view: View, attempt: AttemptState, name: str) -> LogRecord | None:
    record = view.records.get((attempt.task_id, attempt.n))
    logs = record.logs if record is not None else ()
    return next((log for log in logs if log.name == name), None)


def _answers(view: View) -> Iterator[AnswerRow]:
    for (task_id, n), answer in view.history.answers.items():
        task = view.history.state.tasks[task_id]
        found = view.answers.get((task_id, n))
        text = ""
        if found is not None and found.place is not None and (found.bytes or 0) <= MOST_TEXT_BYTES:
            text = _lines(view.content(found.place))
        question = task.task.params.get("question", "")
        yield AnswerRow(
            task_id=task_id,
            n=n,
            operator=task.task.operator,
            question=shown(str(question)),
            by=shown(answer.by),
            at=answer.at,
            sha256=answer.sha256,
            state=found.state.value if found is not None else "",
            text=text,
        )


def _provenance(view: View) -> Iterator[Provenance]:
    for task in view.history.state.tasks.values():
        for attempt in task.attempts:
            outputs = view.outputs.get((attempt.task_id, attempt.n), [])
            record = view.records.get((attempt.task_id, attempt.n))
            if outputs:
                yield Provenance(
                    attempt=_attempt_row(view, attempt),
                    command=shown(operator_line(task)),
                    superseded=attempt is not task.last_attempt,
                    outputs=outputs,
                    used=list(record.used) if record is not None else [],
                )


# ---- what was found ----


def _figures(view: View) -> Iterator[Picture]:
    """The campaign's own pictures, the newest tasks' first."""
    figures = view.figures(MOST_FIGURE_BYTES)
    figures.sort(key=lambda output: -view.history.state.tasks[output.task_id].position)
    for output in figures[:MOST_FIGURES]:
        if output.place is not None:
            kind = _PICTURE_TYPES[output.path.rpartition(".")[2].lower()]
            yield Picture(
                title=shown(f"{output.path} of {output.task_id}"),
                place=output.place,
                source=_data_uri(kind, view.content(output.place)),
            )


def _data_uri(kind: str, content: bytes) -> str:
    # In an <img> nothing of a picture is carried out, whatever it holds.
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _inline(name: str, pictures: Mapping[str, bytes]) -> str:
    return _data_uri("image/svg+xml", pictures[name]) if name in pictures else name


def _last_tasks(view: View) -> list[TaskState]:
    """Tasks of the last iteration that succeeded."""
    state = view.history.state
    return [
        task
        for task in state.tasks.values()
        if task.iteration == state.iteration and task.status is TaskStatus.SUCCEEDED
    ]


def _texts(view: View) -> Iterator[tuple[str, str, bool]]:
    """Texts for people that the last tasks wrote, and whether they are Markdown."""
    left = MOST_TEXTS
    for task in _last_tasks(view):
        for output in view.outputs.get((task.task.id, len(task.attempts)), ()):
            is_text = output.path.lower().endswith((".md", ".txt")) and output.bytes <= MOST_TEXT_BYTES
            if is_text and output.place is not None and left:
                left -= 1
                title, text = shown(f"{output.path} of {task.task.id}"), _lines(view.content(output.place))
                yield title, text, output.path.lower().endswith(".md")


def _data(view: View) -> Iterator[tuple[str, str]]:
    """What the last tasks handed to the campaign."""
    with_data = [task for task in _last_tasks(view) if task.data is not None]
    if len(with_data) <= MOST_DATA:
        for task in with_data:
            text = _json(task.data)
            if len(text) <= MOST_TEXT_BYTES:
                yield task.task.id, text


# ---- caps and resources ----


def _caps(view: View) -> list[tuple[str, str]]:
    config = view.history.state.config
    rows = [("cap: jobs of this run at the same time", str(config.get("max_hpc_jobs_per_run", "")))]
    rows += [
        (
            f"cap: jobs on backend {name} ({backend.get('type', '')}), of all runs together",
            str(backend["max_jobs"]),
        )
        for name, backend in config.get("backends", {}).items()
    ]
    return [*rows, ("jobs of this run at the same time, at most", str(view.history.most_live))]


def _usage(view: View) -> list[tuple[str, str]]:
    usage = view.usage
    rows = [
        ("attempts", str(usage.attempts)),
        ("core hours", hours_text(usage.core_s)),
        ("GPU hours", hours_text(usage.gpu_s)),
        ("running, all attempts together", duration_text(usage.running_s)),
        ("waiting, all attempts together", duration_text(usage.waiting_s)),
        ("most cores of one attempt", str(max((cores_of(a) for a in view.history.attempts()), default=0))),
    ]
    if usage.unknown:
        rows.append(("attempts whose start is not known (not counted)", str(usage.unknown)))
    return rows
