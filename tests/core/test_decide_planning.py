"""Decisions about plans and analyses, and when to ask for them."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from matterstack.core.ids import TaskId
from matterstack.core.model.workflow import Workflow
from matterstack.core.run import facts as f
from matterstack.core.run import messages as m
from matterstack.core.run.campaign_code import UsedCode
from matterstack.core.run.decide_planning import wants_analysis, wants_plan
from matterstack.core.states import Phase, RunStatus
from tests.support.states import ToldRun, chain, kinds, task

GOAL_MET = m.Planned(iteration=1, workflow=None)
PLAN = m.Planned(iteration=1, workflow=Workflow(chain(2), name="coarse"))
PAUSE = m.Pause(by="ann")
RESUME = m.Resume(by="ann")


def analyzed(run: ToldRun, iteration: int = 1) -> list[str]:
    return kinds(run.tell(m.Analyzed(iteration=iteration, state={"best": "LiCoO2"})))


def test_a_plan_makes_tasks_in_its_order_and_readies_those_without_dependencies() -> None:
    run = ToldRun.running()
    assert wants_plan(run.state)
    assert kinds(run.tell(PLAN)) == ["IterationPlanned", "TaskPlanned", "TaskPlanned"]
    assert run.statuses() == {"t0": "READY", "t1": "WAITING"}
    assert (run.state.iteration, run.state.phase, run.state.stage_names) == (1, Phase.EXECUTING, ["coarse"])
    assert [one.position for one in run.state.tasks.values()] == [0, 1]
    assert not wants_plan(run.state)
    assert not wants_analysis(run.state)


def test_what_a_plan_is_warned_of_is_kept_and_changes_nothing() -> None:
    warned, plain = ToldRun.running(), ToldRun.running()
    warnings = ("task t0 would fail: files: 'a' cannot be copied from a: No such file or directory",)
    facts = warned.tell(m.Planned(iteration=1, workflow=Workflow(chain(2)), warnings=warnings))
    assert kinds(facts) == ["IterationPlanned", "PlanWarned", "TaskPlanned", "TaskPlanned"]
    assert facts[1] == f.PlanWarned(iteration=1, warnings=warnings)
    plain.tell(m.Planned(iteration=1, workflow=Workflow(chain(2))))
    assert warned.state == plain.state


def test_a_plan_that_comes_too_late_warns_of_nothing() -> None:
    run = ToldRun.running()
    run.tell(PLAN)
    late = m.Planned(iteration=1, workflow=Workflow(chain(2)), warnings=("task t0 would fail",))
    assert run.tell(late) == []


def test_positions_go_on_over_iterations() -> None:
    run = ToldRun.running(*chain(2))
    run.succeed("t0", "t1")
    assert wants_analysis(run.state)
    assert analyzed(run) == ["IterationAnalyzed"]
    assert wants_plan(run.state)
    run.tell(m.Planned(iteration=2, workflow=Workflow([task("fine", "t1")])))
    fine = run.state.tasks[TaskId("fine")]
    assert (fine.position, fine.iteration, fine.status) == (2, 2, "READY")
    assert run.state.base_state == {"best": "LiCoO2"}


def test_a_plan_of_none_completes_the_run() -> None:
    run = ToldRun.running()
    assert kinds(run.tell(GOAL_MET)) == ["RunCompleted"]
    assert run.state.status is RunStatus.COMPLETED


def test_a_paused_run_takes_a_plan_in_but_does_not_complete_until_it_is_resumed() -> None:
    run = ToldRun.running()
    run.tell(PAUSE)
    assert not wants_plan(run.state)
    assert run.tell(GOAL_MET) == []
    run.tell(RESUME)
    assert wants_plan(run.state), "it is asked once more"

    run = ToldRun.running()
    run.tell(PAUSE, PLAN)
    assert run.statuses() == {"t0": "READY", "t1": "WAITING"}


def test_a_paused_run_takes_an_analysis_in() -> None:
    run = ToldRun.running(task("a"))
    run.succeed("a")
    run.tell(PAUSE)
    assert not wants_analysis(run.state)
    assert analyzed(run) == ["IterationAnalyzed"]


@pytest.mark.parametrize("iteration", [0, 2, 3])
def test_a_plan_of_another_iteration_is_late(iteration: int) -> None:
    run = ToldRun.running()
    assert run.tell(m.Planned(iteration=iteration, workflow=PLAN.workflow)) == []


def test_a_second_plan_of_the_same_iteration_is_late() -> None:
    run = ToldRun.running()
    run.tell(PLAN)
    assert run.tell(PLAN) == []
    assert run.tell(m.Planned(iteration=2, workflow=None)) == [], "the first is still being executed"


ANSWERS: list[Any] = [PLAN, GOAL_MET, m.Analyzed(iteration=0, state={}), m.PlanningFailed(reason="raised")]


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("end", [m.Cancel(by="ann"), m.Fail(reason="crashed")])
@pytest.mark.parametrize("settled", [False, True])
def test_whatever_a_campaign_answers_to_a_run_that_is_ending_is_late(
    answer: m.Message, end: m.Message, settled: bool
) -> None:
    run = ToldRun.running()
    run.tell(end, *([m.Settle()] if settled else []))
    assert run.tell(answer) == []


def test_an_analysis_is_wanted_only_when_all_tasks_have_ended_and_none_in_vain() -> None:
    run = ToldRun.running(task("a"), task("b", allow_failure=True), task("c"))
    run.fail("b")
    run.succeed("a")
    assert not wants_analysis(run.state)
    assert analyzed(run) == [], "c has not ended"
    run.fail("c")
    assert not wants_analysis(run.state)
    run.tell(m.Retry(by="ann", tasks=[TaskId("c")]))
    run.succeed("c")
    assert wants_analysis(run.state), "a failure that is allowed is no obstacle"


@pytest.mark.parametrize("iteration", [0, 2])
def test_an_analysis_of_another_iteration_is_late(iteration: int) -> None:
    run = ToldRun.running(task("a"))
    run.succeed("a")
    assert analyzed(run, iteration) == []
    assert run.state.campaign_state == {}


def test_an_analysis_is_taken_in_once() -> None:
    run = ToldRun.running(task("a"))
    run.succeed("a")
    assert analyzed(run) == ["IterationAnalyzed"]
    assert analyzed(run) == []


@pytest.mark.parametrize("paused", [pytest.param([], id="running"), pytest.param([PAUSE], id="paused")])
def test_a_campaign_that_cannot_plan_fails_its_run(paused: list[m.Message]) -> None:
    run = ToldRun.running()
    run.tell(*paused)
    assert kinds(run.tell(m.PlanningFailed(reason="campaign.py, line 3: KeyError"))) == ["RunFailed"]
    assert run.state.status_reason == "campaign.py, line 3: KeyError"


def reopened_in(phase: Phase) -> ToldRun:
    """A run whose task was reopened while its campaign was asked, and whose job runs again."""
    run = ToldRun.running(task("a", allow_failure=True))
    run.fail("a")
    if phase is Phase.PLANNING:
        run.tell(m.Analyzed(iteration=1, state={}))
    run.tell(m.Retry(by="ann", tasks=[TaskId("a")]))
    run.activate("a")
    return run


LATE_ANSWERS: list[tuple[Phase, Any]] = [
    (Phase.EXECUTING, m.Analyzed(iteration=1, state={"x": 1})),
    (Phase.EXECUTING, m.PlanningFailed(reason="raised")),
    (Phase.PLANNING, m.Planned(iteration=2, workflow=None)),
    (Phase.PLANNING, m.Planned(iteration=2, workflow=Workflow([task("b")]))),
    (Phase.PLANNING, m.PlanningFailed(reason="raised")),
]


@pytest.mark.parametrize(("phase", "answer"), LATE_ANSWERS)
def test_no_answer_of_a_campaign_ends_a_run_while_one_of_its_jobs_runs(
    phase: Phase, answer: m.Message
) -> None:
    run = reopened_in(phase)
    assert not wants_plan(run.state)
    assert not wants_analysis(run.state)
    assert run.tell(answer, m.Settle()) == []
    assert (run.state.status, len(run.state.live)) == (RunStatus.RUNNING, 1)
    run.end("a")
    run.collect("a")
    assert wants_analysis(run.state), "its new result is analyzed, whatever had been asked before"


def test_a_failure_that_is_allowed_holds_nothing_back_in_later_iterations() -> None:
    run = ToldRun.running(task("a", allow_failure=True))
    run.fail("a")
    run.tell(m.Analyzed(iteration=1, state={}))
    run.tell(m.Planned(iteration=2, workflow=Workflow([task("b", "a")])))
    assert run.statuses() == {"a": "FAILED", "b": "READY"}


# ---- the code that planned ----


def using(**files: str) -> UsedCode:
    """Files of Python by their names and hashes."""
    return UsedCode(files={f"{name}.py": digest for name, digest in files.items()})


def test_what_a_plan_used_is_kept_with_it_and_known_from_then_on() -> None:
    run = ToldRun.running()
    (planned, *_) = run.tell(attrs.evolve(PLAN, code=using(campaign="1a", energy="2b")))
    assert isinstance(planned, f.IterationPlanned)
    assert planned.code == {"campaign.py": "1a", "energy.py": "2b"}
    assert run.state.code.files == planned.code


def test_a_campaign_that_changed_is_told_before_whatever_it_answered() -> None:
    answers: list[tuple[m.Message, str]] = [
        (m.Analyzed(iteration=1, state={}, code=using(campaign="3c")), "IterationAnalyzed"),
        (
            m.PlanningFailed(reason="x", action="analyze", iteration=1, code=using(campaign="3c")),
            "RunFailed",
        ),
    ]
    for message, kind in answers:
        run = ToldRun.running()
        run.tell(attrs.evolve(PLAN, code=using(campaign="1a")))
        run.succeed("t0", "t1")
        changed, answered = run.tell(message)
        assert kinds([answered]) == [kind]
        assert changed == f.CampaignChanged(
            action="analyze", iteration=1, files={"campaign.py": "3c"}, before={"campaign.py": "1a"}
        )
        assert run.state.code.files == {"campaign.py": "3c"}


def test_a_goal_that_a_changed_campaign_has_met_is_told_with_the_change() -> None:
    run = ToldRun.running()
    run.tell(attrs.evolve(PLAN, code=using(campaign="1a")))
    run.succeed("t0", "t1")
    analyzed(run)
    facts = run.tell(m.Planned(iteration=2, workflow=None, code=using(campaign="3c")))
    assert kinds(facts) == ["CampaignChanged", "RunCompleted"]


def test_an_answer_that_comes_too_late_tells_of_no_change() -> None:
    run = ToldRun.running()
    run.tell(attrs.evolve(PLAN, code=using(campaign="1a")))
    assert run.tell(attrs.evolve(PLAN, code=using(campaign="3c"))) == []
    assert run.state.code.files == {"campaign.py": "1a"}
