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
