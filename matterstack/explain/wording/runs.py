"""Words for causes that lie in the run itself, in its engine, its campaign and its failed tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from matterstack.core.states import RunStatus
from matterstack.explain.causes import Kind, Need
from matterstack.explain.rules import OTHERS, is_hard_failure, is_held_for
from matterstack.explain.situation import Condition, RunView, Situation, TaskView
from matterstack.explain.wording.advice import (
    elsewhere,
    failed_prologues,
    mended_prologue,
    replan_of,
    retry_of,
    selected,
)
from matterstack.explain.wording.cause_text import (
    CauseText,
    CauseWriter,
    Group,
    are,
    earliest,
)
from matterstack.explain.words import count, duration, named, some
from matterstack.storage.layout import Root
from matterstack.storage.secret_values import how_to_give


def _full_disk(_group: Group, situation: Situation) -> CauseText:
    where = situation.context.full_disk
    message = f"the disk is full ({where}): nothing can be written, so nothing is begun; nothing is lost"
    return CauseText(Need.PERSON, None, message, f"df -h {situation.context.root}")


def _secret_missing(group: Group, situation: Situation) -> CauseText:
    name, context = group.key.detail, situation.context
    if name == OTHERS:
        message = "other secrets of the run have no value either; they are named in secrets of config.json"
        return CauseText(Need.PERSON, context.missing_since, message)
    message = (
        f"the secret {name} has no value in the engine that serves the run ({context.engine}): "
        f"{context.missing_secrets.get(name, 'it did not say why')}; its jobs wait, and go on as soon as "
        "it is given"
    )
    path = Root(Path(context.root)).secrets / name
    action = (
        f"# type or paste it, then Enter and Ctrl-D:\n{how_to_give(path)}\n"
        f"# or stop the engine, and start it where the variable {name} is set"
    )
    return CauseText(Need.PERSON, context.missing_since, message, action)


def _paused(_group: Group, situation: Situation) -> CauseText:
    run = situation.run
    live = situation.live_jobs
    served = situation.context.engine.condition.serves
    followed = f"; {count(live, 'job')} of it {are(live)} followed meanwhile" if live and served else ""
    message = f"the run is {run.status_reason or 'paused'}{followed}"
    return CauseText(Need.PERSON, run.since, message, f"matterstack run resume {run.run_id}")


def _held(_group: Group, situation: Situation) -> CauseText:
    run, alike = situation.run, situation.run.held
    if alike is None:
        return _paused(_group, situation)
    live = situation.live_jobs
    followed = f"; {count(live, 'job')} of it {are(live)} followed meanwhile" if live else ""
    on_nodes = f" on {named(alike.nodes, 'node')}" if alike.nodes else ""
    failed = [task for task in situation.tasks if is_hard_failure(task) and is_held_for(task, run)]
    message = (
        f"the engine holds the run, since {count(alike.count, 'task')} ({some(alike.tasks, alike.count)}) "
        f"failed alike{on_nodes} within seconds of their start, and none succeeded in between: "
        f"{alike.told}{followed}"
    )
    if replan := replan_of(failed, situation):
        # By it they are tried again, and the others wait with what it plans.
        action = f"{replan}\n{_going_on((), situation)}"
    else:
        log = f"matterstack run logs {run.run_id} {alike.tasks[0]} --stderr"
        action = f"{log}\n{_mending_held(failed, situation)}\n{_going_on(failed, situation)}"
    return CauseText(Need.PERSON, run.since, message, action, last_words=alike.last_words)


def _going_on(failed: Sequence[TaskView], situation: Situation) -> str:
    """Retry those for whose sake the run is held, unless somebody has, and let it go on."""
    run = situation.run
    resume = f"matterstack run resume {run.run_id}"
    if not failed:
        return f"# then let the run go on:\n{resume}"
    are_all = len(failed) == sum(map(is_hard_failure, situation.tasks))
    which = "" if are_all else f" {selected(failed, situation)}"
    again = f"matterstack run retry {run.run_id}{which}"
    return f"# then do those that failed again, and let the run go on:\n{again}\n{resume}"


def _mending_held(failed: Sequence[TaskView], situation: Situation) -> str:
    run = situation.run
    attempts = [task.attempt for task in failed if task.attempt is not None]
    if attempts and (lack := elsewhere(attempts, situation)):
        # Those too that have not begun: they would come to that node.
        return f"# {lack.why}:\nmatterstack run amend {run.run_id} '*' --set {lack.setting} --yes"
    if backends := failed_prologues(failed):
        return mended_prologue(backends, situation)
    campaign = (
        ""
        if run.campaign_class
        else f"\n# what stands in campaign.py, by:\n# matterstack run replan {run.run_id}"
    )
    return (
        "# mend what they share; what stands in config.json is given to the run by:\n"
        f"# matterstack run amend {run.run_id} --config-from-workspace --yes\n"
        "# what stands in the tasks themselves, also in those that have not begun, by:\n"
        f"# matterstack run amend {run.run_id} '*' --set PATH=VALUE{campaign}"
    )


def _no_engine(_group: Group, situation: Situation) -> CauseText:
    run, engine = situation.run, situation.context.engine
    was = "; it has not begun" if run.status is RunStatus.PENDING else ""
    if engine.condition is Condition.DEAD:
        was = f"; the last one ({engine}) has died"
    live = situation.live_jobs
    jobs = f"; {count(live, 'job')} of it may still be at work, and will be found again" if live else ""
    message = f"no engine serves the run{was}{jobs}"
    return CauseText(Need.PERSON, run.updated_at, message, f"matterstack run loop {run.run_id}")


def _lease_held(_group: Group, situation: Situation) -> CauseText:
    run, engine = situation.run, situation.context.engine
    if engine.condition is Condition.STOPPED:
        message = (
            f"the engine that serves the run ({engine}) lives, but was stopped (Ctrl-Z or SIGSTOP does that)"
        )
        return CauseText(Need.PERSON, run.updated_at, message, f"kill -CONT {engine.pid}")
    if engine.condition is Condition.SEIZED:
        message = (
            f"{engine} is no engine of this run, and holds its lock: no engine can take the run up until it "
            "lets that go"
        )
        action = f"# whose process it is, or root, ends it:\nkill {engine.pid}"
        return CauseText(Need.PERSON, run.updated_at, message, action)
    message = (
        f"an engine on another machine ({engine}) holds the run, and from here nobody can tell whether it "
        "lives; no other engine takes the run up"
    )
    action = f"# if that machine is dead, or its engine is:\nmatterstack check --break-lease {run.run_id}"
    return CauseText(Need.PERSON, run.updated_at, message, action)


def _command_waiting(_group: Group, situation: Situation) -> CauseText:
    command, engine = situation.context.command, situation.context.engine
    if command is None:
        return CauseText(Need.TIME, None, "a command waits to be carried out")
    message = (
        f"the {command.type} that {command.by} asked for is not carried out yet: the engine ({engine}) first "
        "waits for submissions that are under way"
    )
    return CauseText(Need.TIME, command.at, message)


def _planning_failed(_group: Group, situation: Situation) -> CauseText:
    run = situation.run
    action = f"tail {run.planning_log}\n{_mending(run)}"
    message = f"the campaign could not plan: {run.status_reason}"
    return CauseText(Need.PERSON, run.since or run.updated_at, message, action)


def _mending(run: RunView) -> str:
    # Where it is pinned, what was mended is taken by a plan that a person looks at first.
    retry = f"matterstack run {'replan' if run.is_pinned else 'retry'} {run.run_id}"
    if not run.campaign_class:
        return f"# mend workspaces/{run.workspace}/campaign.py, then:\n{retry}"
    if "__main__" in run.campaign_class or "<locals>" in run.campaign_class:
        return (
            f"# the campaign is an object of {run.campaign_class}, whose code was kept with the run and "
            "stays as it is: mend that class in the program that started the run, and start a new one there"
        )
    return f"# mend {run.campaign_class}, of which the campaign is an object, then:\n{retry}"


def _planner(run: RunView) -> str:
    return f"the campaign {run.campaign_class}" if run.campaign_class else "campaign.py"


def _run_failed(_group: Group, situation: Situation) -> CauseText:
    run = situation.run
    action = f"matterstack run retry {run.run_id}"
    return CauseText(Need.PERSON, run.since or run.updated_at, f"the run FAILED: {run.status_reason}", action)


def _ending(_group: Group, situation: Situation) -> CauseText:
    run = situation.run
    live = situation.live_jobs
    left = f"{count(live, 'job')} of it {are(live)} being ended" if live else "no job is left"
    why = (
        f"being {run.ending_reason}" if run.ending is RunStatus.CANCELLED else f"failing: {run.ending_reason}"
    )
    return CauseText(Need.NOTHING, run.since, f"the run is {why}; {left}")


def _task_ending(group: Group, _situation: Situation) -> CauseText:
    names = [task.task_id for task in group.tasks]
    reason = group.tasks[0].reason.partition(": ")[2]
    ends = "its job is" if len(names) == 1 else "their jobs are"
    return CauseText(
        Need.NOTHING, None, f"{named(names)} {are(len(names))} to end, {ends} being ended: {reason}"
    )


def _planning(_group: Group, situation: Situation) -> CauseText:
    run = situation.run
    message = f"{_planner(run)} is planning iteration {run.iteration + 1}; {_patience(situation)}"
    return CauseText(Need.NOTHING, run.updated_at, message, f"tail {run.planning_log}")


def _analysis(_group: Group, situation: Situation) -> CauseText:
    run = situation.run
    message = f"{_planner(run)} is analyzing iteration {run.iteration}; {_patience(situation)}"
    return CauseText(Need.NOTHING, run.updated_at, message, f"tail {run.planning_log}")


def _patience(situation: Situation) -> str:
    limit = duration(situation.run.planning_timeout_s)
    return f"it may take {limit} (planning_timeout_s)"


def _completed(_group: Group, situation: Situation) -> CauseText:
    run = situation.run
    message = f"the run COMPLETED after {count(run.iteration, 'iteration')}: the campaign's goal is met"
    ended = [task for task in situation.tasks if task.is_cancelled]
    if cancelled := [task.task_id for task in ended if not task.is_withdrawn]:
        message += f", without {named(cancelled)}, cancelled by a person"
    if gone := [task.task_id for task in ended if task.is_withdrawn]:
        message += f", without {named(gone)}, which the plan has no more"
    return CauseText(Need.NOTHING, run.since or run.updated_at, message)


def _cancelled(_group: Group, situation: Situation) -> CauseText:
    run = situation.run
    message = f"the run was {run.status_reason or 'cancelled'}; that is for ever"
    action = f"# a new run of the same campaign:\nmatterstack run init {run.workspace}"
    return CauseText(Need.NOTHING, run.since or run.updated_at, message, action)


def _task_failed(group: Group, situation: Situation) -> CauseText:
    run, tasks = situation.run, group.tasks
    names = [task.task_id for task in tasks]
    since = earliest(task.attempt.ended_at for task in tasks if task.attempt is not None)
    log = f"matterstack run logs {run.run_id} {names[0]} --stderr"
    again = retry_of(tasks, situation)
    ran = any(task.attempt is not None and task.attempt.started_at is not None for task in tasks)
    alike = {task.reason for task in tasks}
    reason = tasks[0].reason if len(alike) == 1 else f"for {len(alike)} different reasons"
    said = next((t.attempt.last_words for t in tasks if t.attempt is not None and t.attempt.last_words), "")
    return CauseText(
        Need.PERSON, since, f"{named(names)} failed: {reason}", f"{log}\n{again}" if ran else again, said
    )


def _waits_in_vain(group: Group, situation: Situation) -> CauseText:
    names = [task.task_id for task in group.tasks]
    message = f"{named(names)} waits for tasks that have ended without success"
    return CauseText(Need.PERSON, None, message, f"matterstack run retry {situation.run.run_id}")


TELLERS: Final[Mapping[Kind, CauseWriter]] = {
    Kind.DISK_FULL: _full_disk,
    Kind.SECRET_MISSING: _secret_missing,
    Kind.PAUSED: _paused,
    Kind.HELD: _held,
    Kind.NO_ENGINE: _no_engine,
    Kind.LEASE_HELD: _lease_held,
    Kind.COMMAND_WAITING: _command_waiting,
    Kind.PLANNING_FAILED: _planning_failed,
    Kind.TASK_FAILED: _task_failed,
    Kind.RUN_FAILED: _run_failed,
    Kind.WAITS_IN_VAIN: _waits_in_vain,
    Kind.ENDING: _ending,
    Kind.TASK_ENDING: _task_ending,
    Kind.PLANNING: _planning,
    Kind.ANALYSIS: _analysis,
    Kind.COMPLETED: _completed,
    Kind.CANCELLED: _cancelled,
}
