"""Words for backends: outages, and caps that are reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from matterstack.explain.causes import Kind, Need
from matterstack.explain.situation import Condition, SeatHolder, Situation
from matterstack.explain.wording.cause_text import (
    MOST_IN_COMMAND,
    CauseText,
    CauseWriter,
    Group,
    backend_of,
    health_of,
)
from matterstack.explain.words import count

MOST_SUMMED_UP: Final = 5


def _backend_out(group: Group, situation: Situation) -> CauseText:
    health = health_of(group, situation)
    message = (
        f"backend {group.key.backend} does not answer: {health.problem or 'no word from it'}; jobs that run "
        "go on, and so does the run as soon as it answers"
    )
    return CauseText(Need.REPAIR, health.out_since, message, "matterstack doctor")


def _ssh_out(group: Group, situation: Situation) -> CauseText:
    backend = backend_of(group, situation)
    problem = backend.health.problem or "no word from it"
    message = f"the login node of backend {backend.name} cannot be used: {problem}; jobs that run go on"
    # Keys, codes and passwords are asked for in a terminal; a network mends itself.
    need = Need.PERSON if "in a terminal" in problem else Need.REPAIR
    return CauseText(need, backend.health.out_since, message, f"ssh {backend.words.host}")


def _accounting_out(group: Group, situation: Situation) -> CauseText:
    health = health_of(group, situation)
    problem = health.accounting_problem or "no word from it"
    message = (
        f"the accounting of {group.key.backend} does not answer: {problem}; jobs that fail are concluded "
        "when it does"
    )
    return CauseText(Need.REPAIR, health.accounting_out_since, message, "matterstack doctor")


def _site_limit(group: Group, situation: Situation) -> CauseText:
    health = health_of(group, situation)
    message = (
        f"backend {group.key.backend} takes no more jobs for now, a limit of the site is used up: "
        f"{health.limit or 'it did not say which'}; submitted again when other jobs have ended"
    )
    action = backend_of(group, situation).words.own_jobs
    return CauseText(Need.REPAIR, health.limited_since, message, action)


def _run_cap(_group: Group, situation: Situation) -> CauseText:
    run = situation.run
    live = situation.live_jobs
    message = (
        f"the run has {count(live, 'job')}, and may have no more than {run.job_cap} at once "
        "(max_hpc_jobs_per_run); the next ones follow as these end"
    )
    backends = situation.context.backends.values()
    mine = (h.last_at for b in backends for h in b.holders if h.run_id == run.run_id)
    action = f"matterstack run amend {run.run_id} --config max_hpc_jobs_per_run={2 * run.job_cap}"
    return CauseText(Need.TIME, max(mine, default=None), message, action)


def _backend_cap(group: Group, situation: Situation) -> CauseText:
    backend = backend_of(group, situation)
    mine = situation.run.run_id
    others = sorted(backend.holders, key=lambda h: (-h.seats, h.run_id))
    told = [_seats_of(h, mine) for h in others[:MOST_SUMMED_UP]]
    if len(others) > MOST_SUMMED_UP:
        rest = others[MOST_SUMMED_UP:]
        told.append(f"{sum(h.seats for h in rest)} by {len(rest)} more runs")
    all_seats, are = (
        (f"all {backend.max_jobs} seats", "are") if backend.max_jobs > 1 else ("the only seat", "is")
    )
    message = f"{all_seats} of backend {backend.name} (max_jobs) {are} taken: {', '.join(told)}"
    unserved = [h.run_id for h in others if h.run_id != mine and _is_left_alone(h)]
    if unserved:
        ids = unserved if len(unserved) <= MOST_IN_COMMAND else []
        action = " ".join(["matterstack run loop", *ids])
        message += "; a seat is free only when an engine has seen the end of its job"
        return CauseText(Need.PERSON, backend.full_since, message, action)
    key = f"backends.{backend.name}.max_jobs"
    action = f"matterstack run amend {mine} --config {key}={2 * backend.max_jobs}"
    return CauseText(Need.TIME, backend.full_since, message, action)


def _is_left_alone(holder: SeatHolder) -> bool:
    return holder.engine.condition in {Condition.NONE, Condition.DEAD}


def _seats_of(holder: SeatHolder, mine: str) -> str:
    if holder.run_id == mine:
        return f"{holder.seats} by this run"
    if _is_left_alone(holder):
        return f"{holder.seats} by run {holder.run_id}, which no engine serves"
    return f"{holder.seats} by run {holder.run_id} ({holder.engine})"


TELLERS: Final[Mapping[Kind, CauseWriter]] = {
    Kind.SSH_OUT: _ssh_out,
    Kind.BACKEND_OUT: _backend_out,
    Kind.ACCOUNTING_OUT: _accounting_out,
    Kind.SITE_LIMIT: _site_limit,
    Kind.BACKEND_CAP: _backend_cap,
    Kind.RUN_CAP: _run_cap,
}
