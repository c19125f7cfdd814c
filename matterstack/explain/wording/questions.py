"""Words for questions to people, laboratories and instruments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from matterstack.core.ids import UtcTime
from matterstack.explain.causes import Kind, Need
from matterstack.explain.situation import Situation
from matterstack.explain.wording.cause_text import (
    CauseText,
    CauseWriter,
    Group,
    attempts_of,
    earliest,
    tasks_of,
    wait,
)


def _answer_rejected(group: Group, situation: Situation) -> CauseText:
    message = f"the answer to {tasks_of(group)} was not taken: {group.key.detail}"
    return CauseText(Need.PERSON, _asked_since(group), message, _respond(group, situation))


def _waits_for_person(group: Group, situation: Situation) -> CauseText:
    message = f"{tasks_of(group)} {wait(group)} for the answer of a person"
    return CauseText(Need.PERSON, _asked_since(group), message, _respond(group, situation))


def _gate(group: Group, situation: Situation) -> CauseText:
    message = f"{tasks_of(group)} {wait(group)} for somebody to approve or reject what was done"
    return CauseText(Need.PERSON, _asked_since(group), message, _respond(group, situation, " --approve"))


def _waits_for_job_by_hand(group: Group, situation: Situation) -> CauseText:
    if group.key.detail:
        message = f"{tasks_of(group)} {wait(group)} for the end of {group.key.detail}, submitted by hand"
        return CauseText(Need.TIME, _asked_since(group), message)
    message = f"{tasks_of(group)} {wait(group)} for somebody to submit a job by hand"
    return CauseText(Need.PERSON, _asked_since(group), message, _respond(group, situation))


def _waits_for_instrument(group: Group, situation: Situation) -> CauseText:
    message = f"{tasks_of(group)} {wait(group)} for a laboratory or an instrument"
    if group.key.detail:
        return CauseText(Need.TIME, _asked_since(group), f"{message}: {group.key.detail}")
    message += ", which has not taken the request on yet"
    return CauseText(Need.PERSON, _asked_since(group), message, _respond(group, situation))


def _asked_since(group: Group) -> UtcTime | None:
    return earliest(attempt.prepared_at for attempt in attempts_of(group))


def _respond(group: Group, situation: Situation, option: str = "") -> str:
    return f"matterstack respond {situation.run.run_id} {group.tasks[0].task_id}{option}"


TELLERS: Final[Mapping[Kind, CauseWriter]] = {
    Kind.ANSWER_REJECTED: _answer_rejected,
    Kind.WAITS_FOR_PERSON: _waits_for_person,
    Kind.GATE: _gate,
    Kind.WAITS_FOR_JOB_BY_HAND: _waits_for_job_by_hand,
    Kind.WAITS_FOR_INSTRUMENT: _waits_for_instrument,
}
