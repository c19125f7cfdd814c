"""The engine dies at each of the named places while people change its runs: each change is made, and once.

What each job is given is what its task was when the attempt was prepared: the ledger says so.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, Final

import pytest

from matterstack.core.documents.config import merge
from matterstack.core.errors import CampaignError
from matterstack.core.ids import RunId
from matterstack.core.model.workflow import Workflow
from matterstack.core.run.messages import AmendConfig, AmendTasks, Command
from matterstack.core.states import OPEN_TASKS, TaskStatus
from matterstack.storage.crash_points import CRASH_POINTS
from tests.simulation.changes import PREPARED, WHY, campaign_text, workflow_of
from tests.simulation.scenario import Action, Crash
from tests.simulation.walk import RUNS, TASKS, Late, Quick, walk
from tests.simulation.world import Outcome

AT_S: Final = 300.0
WORK_S: Final = 600.0
CANCELLING: Final = ("before_cancel", "after_cancel")
NEVER: Final = ("before_removal", "after_search", "after_plan_answered", *CANCELLING)
"""No engine passes these while it makes such a change, or not without another crash before."""
POINTS: Final = sorted(CRASH_POINTS.difference(NEVER))
ONCE_PER_RUN: Final = ("after_lease", "before_release")
COMMITTING: Final = ("before_commit", "inside_commit", "after_commit")


class Changing(Quick):
    """People change all tasks that have not succeeded, and how the cluster is asked."""

    def _amendment(self, run_id: RunId, _which: int) -> Command:
        left = self._tasks(run_id, *(status for status in TaskStatus if status is not TaskStatus.SUCCEEDED))
        changes = {"resources.walltime_s": 90_000, "command": ["simulate", "--longer"], "env.LONGER": "1"}
        reason = WHY.format(self._next_change())
        return AmendTasks(by="sim", tasks=left, changes=changes, reason=reason)

    def _config_amendment(self, run_id: RunId) -> Command:
        (text,) = self.connection.execute("SELECT config FROM runs WHERE run_id = ?", (run_id,)).fetchone()
        before = json.loads(text)
        cluster = {"prologue": [f"export {PREPARED}=1"], "max_jobs": 2}
        config = merge(before, {"backends": {"cluster": cluster}})
        reason = WHY.format(self._next_change())
        return AmendConfig(by="sim", before=before, config=config, reason=reason)

    def _resubmission(self, run_id: RunId, _which: int) -> Command:
        tasks = self._tasks(run_id, *OPEN_TASKS)
        reason = WHY.format(self._next_change())
        return AmendTasks(by="sim", tasks=tasks, changes={"env.ANEW": "1"}, reason=reason, resubmit=True)

    def _replan(self, run_id: RunId, _which: int) -> Command | None:
        """Mend the campaign first, into a version that has the same tasks, some of them as others."""
        slug = f"run{self.runs.index(run_id)}"
        first = self.planner.workflows[slug][0]
        version = next(n for n in range(1, 1000) if _has_the_same_tasks(n, first, f"{slug}, iteration 1"))
        (self.root.workspaces / slug / "campaign.py").write_bytes(campaign_text(version))
        return super()._replan(run_id, 0)


def _has_the_same_tasks(version: int, first: Workflow, name: str) -> bool:
    try:
        planned = workflow_of(version, first, name)
    except CampaignError:
        return False
    # What others wait for comes later than the change.
    is_other = planned.tasks[-2:] != first.tasks[-2:]
    return is_other and [task.id for task in planned.tasks] == [task.id for task in first.tasks]


class ChangingLate(Changing, Late):
    """The same, and an engine that died is started again when those who asked have gone."""


def _actions() -> list[Action]:
    """Two runs have their tasks amended, and all of them their config, at the same moment."""
    tasks = [Action(AT_S, "amend", _which(number), 0.0) for number in (0, 2)]
    return [*tasks, *(Action(AT_S, "amend_config", _which(number), 0.0) for number in range(RUNS))]


def _which(number: int) -> int:
    """A number that means this run and one person, who is not killed: see `World.do`."""
    return next(w for w in range(number, 1 << 10, RUNS) if w % 8 and w % 3)


def _assert_each_change_was_made_once(outcome: Outcome, deaths: int) -> None:
    assert outcome.crashes_left == (), "it was never there so often"
    assert outcome.deaths == deaths
    assert outcome.statuses == ("COMPLETED",) * RUNS
    assert Counter(outcome.worked.values()) == {1: RUNS * len(TASKS)}
    assert outcome.jobs == RUNS * len(TASKS), "no second job was ever submitted for an attempt"
    amended = Counter(_of_tasks(outcome, "TaskAmended"))
    assert set(amended.values()) == {1}
    assert len(amended) == 2 * len(TASKS), "at that moment none has succeeded"
    assert sum(kind == "ConfigAmended" for _, _, kind, _ in outcome.history) == RUNS
    versions = [
        json.loads(data)["version"] for _, _, kind, data in outcome.history if kind == "AttemptPrepared"
    ]
    assert Counter(versions)[2] >= 2 * 2, "what waits for another one was prepared later"


def _of_tasks(outcome: Outcome, kind: str) -> list[tuple[str, Any]]:
    facts = (fact for fact in outcome.history if fact[2] == kind)
    return [(run_id, json.loads(data)["task_id"]) for _, run_id, _, data in facts]


@pytest.mark.parametrize("point", POINTS)
def test_an_engine_that_dies_while_runs_are_changed_makes_each_change_once(point: str) -> None:
    # Leases are taken by the engine that comes after one that died.
    before = [Crash("after_commit", 1, AT_S)] if point == "after_lease" else []
    crashes = [*before, Crash(point, 1, AT_S), Crash(point, 1 if point in ONCE_PER_RUN else 3, AT_S)]

    outcome = walk(crashes, work_s=WORK_S, actions=_actions(), world_type=Changing)

    _assert_each_change_was_made_once(outcome, len(crashes))


@pytest.mark.parametrize("point", COMMITTING)
def test_a_changing_command_that_dies_itself_leaves_a_change_that_is_made_once(point: str) -> None:
    actions = [Action(AT_S - 60, "crash", 0, 0.0), *_actions()]

    outcome = walk([Crash(point, 1, AT_S)], work_s=WORK_S, actions=actions, world_type=ChangingLate)

    _assert_each_change_was_made_once(outcome, deaths=2)


@pytest.mark.parametrize("point", [*POINTS, *CANCELLING])
def test_an_engine_that_dies_while_jobs_are_submitted_and_plans_made_anew_does_each_once(point: str) -> None:
    kinds = {"resubmit": AT_S, "replan": AT_S + 60}
    actions = [Action(at_s, kind, _which(n), 0.0) for kind, at_s in kinds.items() for n in range(RUNS)]
    before = [Crash("after_commit", 1, AT_S)] if point == "after_lease" else []
    further = [] if point in {*ONCE_PER_RUN, *CANCELLING} else [Crash(point, 2, AT_S + 60)]
    crashes = [*before, Crash(point, 1, AT_S), *further]

    outcome = walk(crashes, work_s=WORK_S, cpus=4, actions=actions, world_type=Changing)

    kinds_of = Counter(kind for _, _, kind, _ in outcome.history)
    assert outcome.crashes_left == (), "it was never there so often"
    assert outcome.deaths == len(crashes)
    assert outcome.statuses == ("COMPLETED",) * RUNS
    assert kinds_of["Replanned"] == RUNS
    assert set(Counter(_of_tasks(outcome, "TaskReplanned")).values()) == {1}
    assert kinds_of["TaskResubmitted"] >= 1, "two nodes are full, and one job waits"
    assert kinds_of["TaskResubmitRequested"] == kinds_of["TaskResubmitted"] + kinds_of["TaskResubmitMissed"]
    assert Counter(outcome.worked.values()) == {1: RUNS * len(TASKS)}
    assert kinds_of["TaskRetried"] == 0, "what was given up counts as no try"
