"""What helps tasks that failed alike: the command that retries them and no others, with what they lacked."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from matterstack.core.ids import BackendName
from matterstack.core.model.resources import Resources
from matterstack.core.run.selection import KINDS, Selectable, Selection, end_kind
from matterstack.core.states import FailureKind, TaskStatus
from matterstack.explain.situation import AttemptView, Situation, TaskView
from matterstack.explain.wording.cause_text import MOST_IN_COMMAND
from matterstack.explain.words import duration, named, seconds_between

_FACTOR: Final = 2
_NO_FILE: Final = "files: "
_MINUTE_S: Final = 60


@attrs.frozen
class Lack:
    """What tasks lacked: the ``--set`` that gives it, and why that value.

    ``setting`` empty: no value was seen, or the tasks ask for more by themselves.
    """

    setting: str
    why: str


def retry_of(tasks: Sequence[TaskView], situation: Situation) -> str:
    """The command that retries these failed tasks and no others; comments say what it gives them.

    After a prologue that failed, the command before it gives the mended one to the run.
    """
    command = f"matterstack run retry {situation.run.run_id} {selected(tasks, situation)}"
    if replan := replan_of(tasks, situation):
        return replan
    lack = _lack(tasks, situation)
    if lack is None and (backends := failed_prologues(tasks)):
        return f"{mended_prologue(backends, situation)}\n{command}"
    if lack is None:
        return command
    setting = f" --set {shlex.quote(lack.setting)} --yes" if lack.setting else ""
    return f"# {lack.why}:\n{command}{setting}"


def replan_of(tasks: Sequence[TaskView], situation: Situation) -> str:
    """The command that plans tasks anew that all lack files; a comment says what to do before; else empty."""
    if not _lack_files(tasks) or situation.run.campaign_class:
        return ""
    campaign = f"workspaces/{situation.run.workspace}/campaign.py"
    return (
        f"# put the file there, or name another one in {campaign}; this shows what changes by that:\n"
        f"matterstack run replan {situation.run.run_id}"
    )


def failed_prologues(tasks: Sequence[TaskView]) -> tuple[BackendName, ...]:
    """The backends whose prologue failed, where that is how all of these tasks ended; else none."""
    ended = [task.attempt for task in tasks if task.attempt is not None]
    if len(ended) < len(tasks) or any(_kind(attempt) != FailureKind.ENVIRONMENT for attempt in ended):
        return ()
    return tuple(sorted({attempt.backend for attempt in ended}))


def mended_prologue(backends: Sequence[BackendName], situation: Situation) -> str:
    """The command that gives a run the prologue as somebody has mended it; comments say where to do that."""
    amend = f"matterstack run amend {situation.run.run_id}"
    one = f"{amend} --config 'backends.{backends[0]}.prologue=[...]'"
    return (
        f"# mend the prologue of {named(backends, 'backend')} in config.json, and give it to the run\n"
        f"# (if it was set for this run alone: {one}):\n"
        f"{amend} --config-from-workspace --yes"
    )


# ---- which ----


def selected(tasks: Sequence[TaskView], situation: Situation) -> str:
    """A selection that means these tasks exactly: as short as one can be, or all their names."""
    names = " ".join(task.task_id for task in tasks)
    if len(tasks) <= MOST_IN_COMMAND:
        return names
    meant = {task.task_id for task in tasks}
    failed = [_selectable(task) for task in situation.tasks if task.status is TaskStatus.FAILED]
    for selection in _candidates(_selectable(tasks[0])):
        if {task.task_id for task in failed if selection.takes(task)} == meant:
            return str(selection)
    return names


def _candidates(first: Selectable) -> Iterator[Selection]:
    """Selections by what the first of them has, the plainest ones first."""
    yield Selection(failed=True)
    kinds = [first.kind] if first.kind in KINDS else []
    codes = [] if first.exit_code is None else [first.exit_code]
    reason = first.reasons[0] if first.reasons else ""
    for kind, code, said in ((kinds, [], ""), ([], codes, ""), (kinds, codes, ""), ([], [], reason)):
        if kind or code or said:
            yield Selection(failed=True, kinds=kind, exit_codes=code, reason=said)


def _selectable(task: TaskView) -> Selectable:
    attempt = task.attempt
    if attempt is None or attempt.is_live:
        return Selectable(task_id=task.task_id, status=task.status, reasons=(task.reason,))
    return Selectable(
        task_id=task.task_id,
        status=task.status,
        kind=_kind(attempt),
        exit_code=attempt.exit_code,
        reasons=(task.reason, attempt.reason, attempt.last_words),
    )


def _kind(attempt: AttemptView) -> str:
    return end_kind(attempt.state, attempt.raw_state, has_job=attempt.job_id is not None)


# ---- what they lacked ----


def _lack_files(tasks: Sequence[TaskView]) -> bool:
    """Whether no job was submitted since what the campaign names in ``files`` could not be copied."""
    return bool(tasks) and all(
        task.attempt is not None and task.attempt.job_id is None and task.reason.startswith(_NO_FILE)
        for task in tasks
    )


def _lack(tasks: Sequence[TaskView], situation: Situation) -> Lack | None:
    attempts = [task.attempt for task in tasks if task.attempt is not None]
    kinds = {_kind(attempt) for attempt in attempts}
    if len(attempts) < len(tasks):
        return None
    if kinds == {FailureKind.TIMEOUT}:
        return _longer(attempts)
    if kinds == {FailureKind.OUT_OF_MEMORY}:
        return _larger(attempts)
    return elsewhere(attempts, situation)


def _longer(attempts: Sequence[AttemptView]) -> Lack:
    asked = [attempt.asked for attempt in attempts if attempt.asked is not None]
    if len(asked) == len(attempts) and all(_grows(one, walltime=True) for one in asked):
        return Lack("", "each asks for more walltime by itself (grow)")
    walltimes = [one.walltime_s for one in asked if one.walltime_s is not None]
    if walltimes:
        most = max(walltimes)
        return Lack(
            f"resources.walltime_s={most * _FACTOR}",
            f"twice the walltime that {_they(attempts)} had ({duration(most)})",
        )
    ran = [seconds_between(a.started_at, a.ended_at) for a in attempts if a.started_at and a.ended_at]
    if ran:
        longest = max(ran)
        more_s = math.ceil(longest * _FACTOR / _MINUTE_S) * _MINUTE_S
        return Lack(
            f"resources.walltime_s={more_s}", f"twice as long as {_they(attempts)} ran ({duration(longest)})"
        )
    return Lack("", f"{_they(attempts)} needed more walltime: --set resources.walltime_s=SECONDS")


def _larger(attempts: Sequence[AttemptView]) -> Lack:
    asked = [attempt.asked for attempt in attempts if attempt.asked is not None]
    if len(asked) == len(attempts) and all(_grows(one, memory=True) for one in asked):
        return Lack("", "each asks for more memory by itself (grow)")
    memories = [one.memory_mib for one in asked if one.memory_mib is not None]
    if memories:
        most = max(memories)
        return Lack(
            f"resources.memory_mib={most * _FACTOR}",
            f"twice the memory that {_they(attempts)} had ({most} MiB)",
        )
    return Lack(
        "",
        f"{_they(attempts)} needed more memory than the site gives unasked: --set resources.memory_mib=MIB",
    )


def _they(attempts: Sequence[AttemptView]) -> str:
    return "it" if len(attempts) == 1 else "they"


def _grows(asked: Resources, *, walltime: bool = False, memory: bool = False) -> bool:
    return asked.grown(walltime=walltime, memory=memory) != asked


def elsewhere(attempts: Sequence[AttemptView], situation: Situation) -> Lack | None:
    """Leave a node out that failed; or on which several tasks did, and none of the run's has ended well."""
    hosts = sorted({attempt.host for attempt in attempts if attempt.host})
    paths = {situation.words_of(attempt.backend).exclude for attempt in attempts}
    is_node = {_kind(attempt) for attempt in attempts} == {FailureKind.NODE_FAIL}
    if len(paths) != 1 or not (path := paths.pop()) or not hosts:
        return None
    worked = situation.run.worked_on
    if not is_node and (len(hosts) > 1 or len(attempts) < 2 or not worked or hosts[0] in worked):
        return None
    name = path.rpartition(".")[2]
    before = {host for a in attempts if a.asked for host in a.asked.extra.get(name, "").split(",") if host}
    nodes = ",".join(sorted({*before, *hosts}))
    where = ", ".join(hosts)
    why = (
        f"without {where}, which failed"
        if is_node
        else f"all of them failed on {where}, where nothing ended well, and others did elsewhere; without it"
    )
    return Lack(f"{path}={nodes}", why)
