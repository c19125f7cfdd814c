"""What is read: a task with its output, the output alone, and why a run does not go on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from rich.text import Text

from matterstack.core.ids import UtcTime, utc_text
from matterstack.core.last_words import closing
from matterstack.core.states import TaskStatus
from matterstack.explain.words import count, duration, seconds_between
from matterstack.watch.colours import style_of
from matterstack.watch.known import log_path, run_path
from matterstack.watch.parts import (
    FAINT,
    HEAD,
    NARROWEST,
    PROBLEM,
    Body,
    Scene,
    causes_of,
    connection,
    title,
)
from matterstack.watch.run_screen import took
from matterstack.watch.tasks import WatchedAttempt, WatchedTask
from matterstack.watch.text import clean, fit, log_lines, rule, split, wrapped
from matterstack.watch.view import PRINTING, selected_run

MOST_ATTEMPTS: Final = 4
MOST_SAID: Final = 4
"""Lines of last words above the output, of which they are the end."""
MOST_DEPENDENCIES: Final = 12
LABEL_WIDTH: Final = 11


def task_body(scene: Scene, rows: int) -> Body:
    """A task: what became of its attempts, and the end of what the last one printed."""
    task = scene.known.task(scene.view.run_id, scene.view.task_id)
    if task is None:
        return Body(head=[_task_title(scene, None)], rows=[fit("reading its task…", scene.width)])
    facts = _facts(scene, task)
    # Something of the output is always in sight, where there is any.
    head = [_task_title(scene, task), *facts[: max(2, rows - 6)]]
    return _with_output(scene, task, head, rows)


def log_body(scene: Scene, rows: int) -> Body:
    """What its last attempt printed."""
    task = scene.known.task(scene.view.run_id, scene.view.task_id)
    if task is None:
        return Body(head=[_task_title(scene, None)], rows=[fit("reading its task…", scene.width)])
    return _with_output(scene, task, [_task_title(scene, task)], rows)


def _task_title(scene: Scene, task: WatchedTask | None) -> Text:
    text = Text(clean(scene.view.task_id or ""), style=HEAD, end="", no_wrap=True)
    if task is not None:
        text.append("  ").append(task.status, style=style_of(task.status) or "not bold")
        text.append(f"  {took(task, scene.now)}", style="not bold")
    run = scene.known.runs.get(scene.view.run_id or "")
    text.append(f"  of {clean(run['workspace'] if run else '')} {scene.view.run_id}", style="not bold")
    return split(text, connection(scene), scene.width)


def _facts(scene: Scene, task: WatchedTask) -> list[Text]:
    facts: list[tuple[str, str, str]] = []
    if task.reason:
        facts.append(("reason", task.reason, ""))
    if task.status is TaskStatus.FAILED and task.last is not None:
        said = closing(task.last.last_words, MOST_SAID)
        facts += [("last words" if number == 0 else "", line, PROBLEM) for number, line in enumerate(said)]
    if task.depends_on:
        named = ", ".join(task.depends_on[:MOST_DEPENDENCIES])
        more = len(task.depends_on) - MOST_DEPENDENCIES
        facts.append(("depends on", named + (f" and {more:,} more" if more > 0 else ""), ""))
    what = f"{task.operator}, round {task.iteration}" + (", may fail" if task.may_fail else "")
    facts.append(("operator", what, ""))
    for attempt in task.attempts[-MOST_ATTEMPTS:]:
        facts.append((f"attempt {attempt.n}", _attempt(scene, attempt), style_of(attempt.state or "")))
        if attempt.reason and attempt.reason != task.reason:
            facts.append(("", attempt.reason, ""))
    rows = []
    for label, text, style in facts:
        lines = wrapped(text, max(NARROWEST, scene.width - LABEL_WIDTH))
        for number, line in enumerate(lines[:4]):
            row = fit(label if number == 0 else "", LABEL_WIDTH, FAINT)
            rows.append(row.append_text(fit(line, max(0, scene.width - LABEL_WIDTH), style or "not dim")))
    return rows


def _attempt(scene: Scene, attempt: WatchedAttempt) -> str:
    state = str(attempt.state or "being submitted")
    if attempt.raw_state and attempt.raw_state != state:
        state += f" ({attempt.raw_state})"
    parts = [state, f"on {attempt.backend}" + (f" job {attempt.job_id}" if attempt.job_id else "")]
    if attempt.host:
        parts.append(f"host {attempt.host}")
    if attempt.exit_code is not None:
        parts.append(f"exit code {attempt.exit_code}")
    for word, at in (
        ("submitted", attempt.submitted_at),
        ("started", attempt.started_at),
        ("ended", attempt.ended_at),
    ):
        if at:
            parts.append(f"{word} {scene.clock(at)}")
    return ", ".join(parts)


def _with_output(scene: Scene, task: WatchedTask, head: Sequence[Text], rows: int) -> Body:
    view, width = scene.view, scene.width
    document = _output(scene, task)
    room = max(0, rows - len(head) - 1)
    lines = [] if document is None else log_lines(document.get("text", ""))
    most = max(0, len(lines) - room)
    below = min(view.scroll, most)
    shown = lines[len(lines) - below - room if len(lines) - below > room else 0 : len(lines) - below]
    drawn = [rule(f"{view.stream}{_extent(document, lines, below)}", width, FAINT)]
    if document is not None and "error" in document:
        drawn.append(fit(document["error"], width, PROBLEM))
    elif not lines:
        drawn.append(fit(_no_output(task, document), width, FAINT))
    drawn += [fit(line, width) for line in shown]
    return Body(head=head, rows=drawn, most_scroll=most)


def _output(scene: Scene, task: WatchedTask) -> dict[str, Any] | None:
    path = log_path(scene.view.run_id or "", task.task_id, scene.view.stream)
    return scene.known.documents.get(path)


def _extent(document: dict[str, Any] | None, lines: Sequence[str], below: int) -> str:
    if document is None or "size" not in document or not lines:
        return ""
    text = f" of attempt {document['attempt']}"
    if document["start"] > 0:
        text += f", the last {len(lines):,} lines"
    return text + (f", {below:,} lines further down" if below else "")


def _no_output(task: WatchedTask, document: dict[str, Any] | None) -> str:
    if not task.attempts:
        return "it has not been tried yet"
    if task.operator not in PRINTING:
        return f"{task.operator} waits for an answer, and prints nothing"
    return "reading…" if document is None else "nothing was printed"


# ---- why ----


def explain_body(scene: Scene, rows: int) -> Body:
    """Why a run does not go on, and what can be done about it."""
    run_id = selected_run(scene.view, scene.known) or ""
    run = scene.known.runs.get(run_id, {"workspace": "", "status": ""})
    head = [
        split(title(run["workspace"], run_id, run["status"]), connection(scene), scene.width),
        fit("", scene.width),
    ]
    lines = _explanation(scene, run_id)
    room = max(0, rows - len(head))
    most = max(0, len(lines) - room)
    first = min(scene.view.scroll, most)
    return Body(head=head, rows=lines[first : first + room], most_scroll=most)


def _explanation(scene: Scene, run_id: str) -> list[Text]:
    width = scene.width
    causes = causes_of(scene, run_id)
    if causes is None:
        document = scene.known.documents.get(run_path(run_id, "explain"), {})
        return [fit(document.get("error", "looking…"), width)]
    if not causes:
        return [fit("nothing keeps it from going on", width)]
    now = utc_text(scene.now)
    rows: list[Text] = []
    for number, cause in enumerate(causes, start=1):
        style = "bold magenta" if cause.get("needs_person") else HEAD
        message = wrapped(f"{number}. {clean(cause['message'])}", max(NARROWEST, width), "   ")
        rows += [fit(line, width, style) for line in message]
        for line in closing(cause.get("last_words") or "", MOST_SAID):
            rows.append(fit(f"   | {clean(line)}", width, PROBLEM))
        if facts := _cause_facts(scene, cause, now):
            rows += [fit(line, width, FAINT) for line in wrapped(f"   {facts}", max(NARROWEST, width), "   ")]
        # A command must be there to be copied: it is broken only where it does not fit.
        for line in (cause.get("action") or "").splitlines():
            rows += [
                fit(part, width, "cyan") for part in wrapped(f"     {line}", max(NARROWEST, width), "     ")
            ]
        rows.append(fit("", width))
    return rows[:-1]


def _cause_facts(scene: Scene, cause: dict[str, Any], now: UtcTime) -> str:
    parts = []
    if cause.get("since"):
        ago = duration(seconds_between(cause["since"], now))
        parts.append(f"since {scene.clock(cause['since'])} ({ago})")
    if cause.get("blocks"):
        parts.append(f"{count(cause['blocks'], 'task')} {'waits' if cause['blocks'] == 1 else 'wait'} for it")
    return "; ".join(parts)
