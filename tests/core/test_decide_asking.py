"""Decisions about attempts that ask instead of running a job."""

from __future__ import annotations

from typing import Any

import pytest

from matterstack.backends.registry import KINDS
from matterstack.core.documents.config import RunConfig, parse_config
from matterstack.core.errors import ConfigError
from matterstack.core.ids import TaskId
from matterstack.core.model.workflow import Workflow
from matterstack.core.operators import ASKED
from matterstack.core.run import facts as f
from matterstack.core.run import messages as m
from matterstack.core.run.decide_jobs import wanted_seats
from matterstack.core.run.history_rules import HistoryChecker
from matterstack.core.states import JobState, RunStatus
from tests.support.states import LOCAL, RUN_ID, ToldRun, task


def asks(name: str, *depends_on: str, operator: str = "human", **options: Any) -> Any:
    return task(name, *depends_on, operator=operator, command=[], params={"question": "?"}, **options)


def answer(run: ToldRun, name: str, raw_state: str = "ANSWERED", **seen: Any) -> list[f.Fact]:
    state = JobState.COMPLETED_OK if raw_state == "ANSWERED" else JobState.COMPLETED_ERROR
    end = m.Observed(token=run.token(name), state=state, raw_state=raw_state, by="eva", **seen)
    facts = run.tell(end)
    if any(TaskId(name) == task_id for task_id in run.state.collecting):
        facts += run.tell(m.Collected(token=run.token(name)))
    return facts


def test_questions_are_asked_whatever_the_cap_of_jobs_and_leave_all_of_it_to_jobs() -> None:
    run = ToldRun.running(*(asks(f"q{n}") for n in range(5)), *(task(f"t{n}") for n in range(3)),
                          max_hpc_jobs_per_run=1)  # fmt: skip
    assert (wanted_seats(run.state, ASKED), wanted_seats(run.state, LOCAL)) == (5, 1)
    assert len(run.prepare(seats=10, backend=ASKED)) == 5
    assert (run.state.asking, wanted_seats(run.state, LOCAL)) == (5, 1)
    assert len(run.prepare(seats=10)) == 1
    assert (len(run.state.live), wanted_seats(run.state, LOCAL)) == (6, 0)
    run.submit("q0")
    answer(run, "q0")
    assert run.state.asking == 4
    checker = HistoryChecker()
    events = (f.Event(seq=n, run_id=RUN_ID, at=at, fact=fact) for n, (at, fact) in enumerate(run.facts, 1))
    assert [problem for event in events for problem in checker.check(event)] == []


def test_who_answered_with_which_file_stands_in_the_facts() -> None:
    run = ToldRun.running(asks("q"))
    run.prepare(seats=1, backend=ASKED)
    rejected = m.Observed(
        token=run.token("q"), state=JobState.QUEUED, raw_state="REJECTED", reason="x", by="eva", sha256="1f"
    )
    (changed,) = run.tell(rejected)
    assert isinstance(changed, f.JobStateChanged)
    assert (changed.by, changed.sha256) == ("eva", "1f")
    ended = answer(run, "q", sha256="2e")[0]
    assert isinstance(ended, f.JobEnded)
    assert (ended.by, ended.sha256) == ("eva", "2e")


@pytest.mark.parametrize(("may_fail", "end"), [(False, RunStatus.FAILED), (True, RunStatus.RUNNING)])
def test_nothing_goes_on_behind_a_gate_that_was_closed(may_fail: bool, end: RunStatus) -> None:
    gate = asks("gate", operator="gate", allow_failure=may_fail)
    run = ToldRun.running(gate, task("a", "gate"), task("b", "a"))
    run.prepare(seats=1, backend=ASKED)
    answer(run, "gate", "DECLINED", reason="it was rejected")
    run.tell(m.Settle())
    assert run.statuses() == {"gate": "FAILED", "a": "SKIPPED", "b": "SKIPPED"}
    assert run.state.status is end


def test_nothing_of_a_later_iteration_goes_on_behind_a_gate_that_was_closed() -> None:
    run = ToldRun.running(asks("gate", operator="gate", allow_failure=True))
    run.prepare(seats=1, backend=ASKED)
    answer(run, "gate", "DECLINED", reason="it was rejected")
    later = Workflow([task("later", "gate"), task("free")])
    run.tell(m.Analyzed(iteration=1, state={}), m.Planned(iteration=2, workflow=later))
    assert run.statuses() == {"gate": "FAILED", "later": "SKIPPED", "free": "READY"}


def test_a_gate_that_is_sent_back_waits_again_for_what_it_depends_on() -> None:
    run = ToldRun.running(
        task("a"), task("b"), asks("gate", "a", "b", operator="gate"), task("after", "gate")
    )
    run.succeed("a", "b")
    run.prepare(seats=1, backend=ASKED)
    answer(run, "gate", "SENT_BACK", reason="k-points!")
    assert run.statuses() == {"a": "READY", "b": "READY", "gate": "WAITING", "after": "WAITING"}
    assert {t.reason for t in run.state.tasks.values() if t.reason} == {"sent back by eva: k-points!"}
    run.succeed("a", "b")
    assert len(run.prepare(seats=1, backend=ASKED)) == 1
    answer(run, "gate")
    assert run.statuses()["after"] == "READY"


def test_a_gate_with_nothing_before_it_cannot_be_sent_back() -> None:
    run = ToldRun.running(asks("gate", operator="gate"), task("after", "gate"))
    run.prepare(seats=1, backend=ASKED)
    answer(run, "gate", "SENT_BACK", reason="again")
    assert run.statuses() == {"gate": "FAILED", "after": "SKIPPED"}
    assert run.state.tasks[TaskId("gate")].reason == (
        "sent back by eva: again (there is nothing before it that could be done again)"
    )


def test_a_job_whose_scheduler_says_sent_back_is_no_gate() -> None:
    run = ToldRun.running(task("a"), task("b", "a"))
    run.succeed("a")
    run.prepare(seats=1)
    answer(run, "b", "SENT_BACK")
    assert run.statuses() == {"a": "SUCCEEDED", "b": "FAILED"}


def test_no_backend_of_a_config_has_the_name_of_where_questions_are_kept() -> None:
    assert isinstance(parse_config({"config.json": "{}"}, KINDS), RunConfig)
    with pytest.raises(ConfigError, match="no backend may be called 'operators'"):
        parse_config({"config.json": '{"backends": {"operators": {"type": "local"}}}'}, KINDS)
