"""Events in words."""

from __future__ import annotations

import pytest

from matterstack.watch.sentences import MOST_LENGTH, sentence


def test_a_warning_is_told_with_its_round() -> None:
    data = {"iteration": 2, "warnings": ["task b would fail: a", "task c would fail: b"]}
    words = sentence({"type": "PlanWarned", "data": data}, None)
    assert words == "round 2 has a warning: task b would fail: a; task c would fail: b"


@pytest.mark.parametrize("length", [10, 10_000])
def test_a_line_stays_a_line(length: int) -> None:
    data = {"iteration": 1, "warnings": ["x" * length]}
    assert len(sentence({"type": "PlanWarned", "data": data}, None)) <= MOST_LENGTH


def test_a_changed_campaign_is_told_in_one_line() -> None:
    data = {
        "action": "plan",
        "iteration": 3,
        "files": {"campaign.py": "2b", "x.py": "3c"},
        "before": {"campaign.py": "1a"},
    }
    words = sentence({"type": "CampaignChanged", "data": data}, None)
    assert words == "the campaign has changed: campaign.py changed, x.py is new; round 3 is planned with it"


def test_a_plan_that_was_asked_for_once_more_is_told_with_what_it_changes() -> None:
    plan = {"iteration": 2, "by": "ann", "task_count": 3, "name": "fine", "reason": "a typo"}
    words = sentence({"type": "Replanned", "data": plan}, None)
    assert words == "round 2 (fine) was planned anew, with 3 tasks, by ann: a typo"
    changes = {"files.in": {"old": "wrong.dat", "new": "right.dat"}}
    data = {"task_id": "a", "changes": changes, "contents": {"energy.py": {"old": "1a", "new": "2b"}}}
    words = sentence({"type": "TaskReplanned", "data": data}, "a")
    what = "files.in: 'wrong.dat' -> 'right.dat'; files.energy.py has another content"
    assert words == f"a is planned in another way ({what})"
    gone = {"task_id": "b", "by": "ann", "ends_job": False, "reason": ""}
    words = sentence({"type": "TaskWithdrawn", "data": gone}, "b")
    assert words == "b is planned no more, and was withdrawn by ann"
