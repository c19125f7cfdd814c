"""Why a question is asked once more: what whoever answers it now needs to know."""

from __future__ import annotations

from collections.abc import Iterator

from matterstack.core.operators import SENT_BACK
from matterstack.core.run.state import AttemptState, RunState
from matterstack.core.states import JobState


def why_again(state: RunState, attempt: AttemptState) -> str:
    """What became of the last time, in words; empty where nothing needs to be said."""
    if attempt.n == 1:
        return ""
    last = state.tasks[attempt.task_id].attempts[attempt.n - 2]
    comments = [_sent_back(gate) for gate in _gates_behind(state, last, attempt)]
    if last.raw_state == SENT_BACK:
        comments.append(_sent_back(last))
    elif last.state is not JobState.COMPLETED_OK and last.reason:
        comments.append(f"the last time it failed: {last.reason}")
    return "; ".join(comments)


def _gates_behind(state: RunState, last: AttemptState, attempt: AttemptState) -> Iterator[AttemptState]:
    """Gates that looked at the last answer, and sent it back before this question was asked."""
    if last.ended_at is None:
        return
    for task_id in state.dependents.get(attempt.task_id, ()):
        for gate in state.tasks[task_id].attempts:
            is_between = gate.ended_at is not None and last.ended_at <= gate.ended_at <= attempt.prepared_at
            if gate.raw_state == SENT_BACK and is_between:
                yield gate


def _sent_back(gate: AttemptState) -> str:
    return f"gate {gate.task_id} sent it back: {gate.reason}"
