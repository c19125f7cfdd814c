"""One run: how it stands, its tasks, what it asks, and what happens."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from rich.text import Text

from matterstack.core.ids import utc_moment
from matterstack.core.operators import COMPUTE
from matterstack.core.states import JobState
from matterstack.explain.words import duration
from matterstack.watch.colours import style_of
from matterstack.watch.known import Json, is_ending, is_open, run_path, why_not
from matterstack.watch.parts import (
    FAINT,
    HEAD,
    PROBLEM,
    STATUS_WIDTH,
    Body,
    Scene,
    bar,
    caps_text,
    causes_of,
    connection,
    counts_of,
    counts_text,
    done_and_total,
    table_row,
    title,
    why_lines,
    window,
)
from matterstack.watch.sentences import sentence
from matterstack.watch.tasks import WatchedTask, WatchedTasks
from matterstack.watch.text import clean, fit, rule, split, wrapped
from matterstack.watch.view import FILTERS, selected_task

TALL: Final = 30
TRIES_WIDTH: Final = 3
TIME_WIDTH: Final = 11
LEAST_TASKS: Final = 4
MOST_STAGES: Final = 4


def run_body(scene: Scene, rows: int) -> Body:
    """A run in so many rows."""
    known, width = scene.known, scene.width
    run = known.runs.get(scene.view.run_id or "")
    if run is None:
        gone = f"there is no run {scene.view.run_id}"
        return Body(
            head=[split(Text("MatterStack", end=""), connection(scene), width)], rows=[fit(gone, width)]
        )
    tasks = known.tasks_of(run["run_id"])
    is_tall = rows >= TALL
    head = [
        split(title(run["workspace"], run["run_id"], run["status"]), connection(scene), width),
        *_reason(run, width),
        *_progress(run, tasks, width),
        fit(caps_text(run, known.jobs) + _round(run), width, FAINT),
        *(_stages(run, width) if is_tall else []),
        *_why(scene, run, 3 if is_tall else 2),
        *_questions(scene, run, 4 if is_tall else 1),
    ]
    if tasks is None:
        error = known.documents.get(run_path(run["run_id"]), {}).get("error")
        return Body(head=head, rows=[fit(error or "reading its tasks…", width)])
    room = max(0, rows - len(head))
    events = _events(scene, min(room // 3, 10) if room >= 2 * LEAST_TASKS else 0)
    return Body(head=head, rows=[*_tasks(scene, tasks, room - len(events)), *events])


def _reason(run: Json, width: int) -> list[Text]:
    reason = run["status_reason"]
    return [fit(line, width) for line in wrapped(reason, width)[:2]] if reason else []


def _why(scene: Scene, run: Json, most: int) -> list[Text]:
    if not is_open(run) or is_ending(run):
        return []  # its reason, which stands above, says it all
    return why_lines(scene, causes_of(scene, run["run_id"]), why_not(run, scene.known.jobs), most)


def _progress(run: Json, tasks: WatchedTasks | None, width: int) -> list[Text]:
    is_whole = tasks is not None and sum(tasks.counts.values()) >= sum(run["tasks"].values())
    counts = tasks.counts if tasks is not None and is_whole else counts_of(run["tasks"])
    done, total = done_and_total(counts)
    if not total:
        return [fit("nothing is planned yet", width)]
    words = f" {done:,} of {total:,}: {counts_text(counts)}"
    room = max(10, min(40, width - len(words)))
    line = bar(counts, room)
    line.append(words)
    line.truncate(width, overflow="ellipsis", pad=True)
    return [line]


def _round(run: Json) -> str:
    if not run["stages"]:
        return ""
    stage = run["stages"][-1]
    return f" · round {stage['iteration']}" + (f" ({stage['name']})" if stage["name"] else "")


def _stages(run: Json, width: int) -> list[Text]:
    """The last rounds, where there was more than one."""
    stages = run["stages"] if len(run["stages"]) > 1 else []
    rows = []
    for stage in stages[-MOST_STAGES:]:
        counts = counts_of(stage["tasks"])
        done, total = done_and_total(counts)
        line = fit(f"  {stage['iteration']} {stage['name'] or ''}", 24)
        line.append(" ").append_text(bar(counts, 20)).append(f" {done:,} of {total:,}")
        line.truncate(width, overflow="ellipsis", pad=True)
        rows.append(line)
    return rows


def _questions(scene: Scene, run: Json, most: int) -> list[Text]:
    """What it asks people, and how it is answered."""
    document = scene.known.documents.get(run_path(run["run_id"], "questions"))
    if not run["questions"] or document is None or "questions" not in document:
        return []
    rows = []
    for question in document["questions"][:most]:
        how = clean(f"  →  matterstack respond {run['run_id']} {question['task_id']}")
        text = f"{question['task_id']} asks: {question['text']}"
        if scene.width < 110:
            rows += [fit(text, scene.width, "bold magenta"), fit(how, scene.width)]
        else:
            room = scene.width - len(how)
            row = fit(text, room, "bold magenta").append(how, style="not bold")
            row.truncate(scene.width, overflow="ellipsis", pad=True)
            rows.append(row)
        if question.get("problem"):  # an older monitor does not say
            rows.append(fit(f"  {question['problem']}", scene.width))
    if document["count"] > most:
        rows.append(fit(f"and {document['count'] - most} more questions", scene.width, FAINT))
    return rows


# ---- tasks ----


def _tasks(scene: Scene, tasks: WatchedTasks, rows: int) -> list[Text]:
    name, statuses = FILTERS[scene.view.only]
    listed = tasks.sorted(statuses)
    chosen = selected_task(scene.view, scene.known)
    selected = next((index for index, task in enumerate(listed) if task.task_id == chosen), 0)
    room = max(0, rows - 1)
    shown = window(len(listed), selected, room)
    widths = _widths(scene.width, [listed[index] for index in shown])
    drawn = [_heading(scene, widths, name, len(listed), len(tasks.by_id), shown)]
    drawn += [_task_row(scene, listed[index], widths, is_selected=index == selected) for index in shown]
    return (drawn + [fit("", scene.width)] * (rows - len(drawn)))[:rows]


def _widths(width: int, shown: Sequence[WatchedTask]) -> tuple[int, int, int]:
    """Columns of the name, the job and the reason."""
    rest = width - 2 - STATUS_WIDTH - TRIES_WIDTH - TIME_WIDTH - 5
    longest = max((len(task.task_id) for task in shown), default=4)
    jobs = max((len(_job(task)) for task in shown), default=3)
    name = max(4, min(longest, rest // 2))
    job = max(3, min(jobs, rest - name, 44 if width >= 110 else 26))
    return name, job, max(0, rest - name - job)


def _heading(
    scene: Scene, widths: tuple[int, int, int], only: str, count: int, of: int, shown: range
) -> Text:
    name, job, reason = widths
    # What is listed stands in the last column, and where that is narrow, in the place of the reason.
    where = f"{shown.start + 1:,}-{shown.stop:,} of {count:,}" if count else "none"
    listed = f"{where} {only}" if only != "all" or count != of else where
    cells = [
        fit("TASK", name),
        fit("STATUS", STATUS_WIDTH),
        fit("TRY", TRIES_WIDTH, align="right"),
        fit("TIME", TIME_WIDTH, align="right"),
        fit("JOB", job),
        fit("REASON" if reason > len(listed) + len("REASON") else "", reason),
    ]
    row = table_row(cells, scene.width, is_selected=False)
    row.stylize(FAINT)
    return split(row[: scene.width - len(listed) - 1], Text(listed, style=HEAD, end=""), scene.width)


def _task_row(scene: Scene, task: WatchedTask, widths: tuple[int, int, int], *, is_selected: bool) -> Text:
    name, job, reason = widths
    last = task.last
    cells = [
        fit(task.task_id, name),
        fit(task.status, STATUS_WIDTH, style_of(task.status)),
        fit(len(task.attempts) or "", TRIES_WIDTH, align="right"),
        fit(took(task, scene.now), TIME_WIDTH, align="right"),
        fit(_job(task), job),
        fit(task.reason or (last.reason if last is not None else ""), reason, FAINT),
    ]
    return table_row(cells, scene.width, is_selected=is_selected)


def took(task: WatchedTask, now: datetime) -> str:
    """How long its last attempt runs, or ran, or waits; empty where there was none."""
    last = task.last
    if last is None:
        return ""
    since = last.started_at or last.submitted_at or last.prepared_at
    if since is None:
        return ""
    until = now if last.ended_at is None else utc_moment(last.ended_at)
    return duration((until - utc_moment(since)).total_seconds())


def _job(task: WatchedTask) -> str:
    last = task.last
    if last is None:
        return "" if task.operator == COMPUTE else task.operator
    if task.operator != COMPUTE:
        return f"{task.operator} {'asks' if last.ended_at is None else 'asked'}"
    state = last.state or ("being submitted" if last.ended_at is None else "")
    ended_well = last.state is JobState.COMPLETED_OK
    # The state before the id, which may be long.
    parts = [last.backend, "" if ended_well else last.raw_state or state, last.job_id or ""]
    return " ".join(part for part in parts if part)


# ---- events ----


def _events(scene: Scene, rows: int) -> list[Text]:
    opened = scene.known.open
    if opened is None or rows < 2:
        return []
    drawn = [rule("LATEST EVENTS", scene.width, FAINT)]
    newest = list(opened.events)[-(rows - 1) :]
    for event in newest:
        task_id = None if opened.tasks is None else opened.tasks.task_of(event)
        line = Text(f"{scene.clock(event['at'])} ", style=FAINT, end="", no_wrap=True)
        words = clean(sentence(event, task_id))
        line.append(words, style=PROBLEM if event["type"] in {"TaskFailed", "RunFailed"} else "not dim")
        line.truncate(scene.width, overflow="ellipsis", pad=True)
        drawn.append(line)
    return drawn + [fit("", scene.width)] * (rows - len(drawn))
