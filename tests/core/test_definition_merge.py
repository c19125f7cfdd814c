"""What a plan and a person's amendments make together."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matterstack.core.model.amending import amended
from matterstack.core.model.definition_merge import Clash, differences, merged
from matterstack.core.model.resources import Growth, Resources
from matterstack.core.model.workflow import Task
from tests.support.states import task

BEFORE = task("a", resources=Resources(walltime_s=60), env={"A": "1"}, params={"grid": {"n": 1, "m": 1}})
VALUES = {
    "resources.walltime_s": st.sampled_from([60, 600]),
    "resources.extra.exclude": st.sampled_from([None, "n7"]),
    "env.A": st.sampled_from(["1", "2", None]),
    "params.grid.n": st.integers(1, 3),
    "params.x": st.sampled_from([None, 1, {"y": 1}]),
    "priority": st.integers(0, 1),
    "command": st.sampled_from([["true"], ["false"]]),
    "outputs": st.sampled_from([[], ["*.json"]]),
}
CHANGES = st.dictionaries(st.sampled_from(sorted(VALUES)), st.none()).flatmap(
    lambda paths: st.fixed_dictionaries({path: VALUES[path] for path in paths})
)


def changed(changes: dict[str, Any]) -> Task:
    return amended(BEFORE, changes)


@given(CHANGES, CHANGES, st.booleans())
def test_what_only_one_changed_is_as_that_one_said(
    ours: dict[str, Any], theirs: dict[str, Any], plan_wins: bool
) -> None:
    mine, planned = changed(ours), changed(theirs)
    new, clashes = merged(BEFORE, mine, planned, plan_wins=plan_wins)
    by_me, by_plan = differences(BEFORE, mine), differences(BEFORE, planned)
    for path, (_, value) in differences(BEFORE, new).items():
        assert (
            value
            in {repr(v): v for _, v in (by_me.get(path, (0, None)), by_plan.get(path, (0, None)))}.values()
        )
    for clash in clashes:
        assert clash.amended != clash.planned
    if not clashes:
        alone = {**by_me, **by_plan}
        assert differences(BEFORE, new) == {path: alone[path] for path in differences(BEFORE, new)}
        assert merged(BEFORE, planned, mine, plan_wins=plan_wins)[0] == new, "whoever said it"
    else:
        assert merged(BEFORE, mine, planned, plan_wins=not plan_wins)[0] != new


@given(CHANGES)
def test_a_plan_that_says_the_same_leaves_what_was_amended_and_one_without_amendments_is_taken(
    changes: dict[str, Any],
) -> None:
    other = changed(changes)
    assert merged(BEFORE, other, BEFORE, plan_wins=True) == (other, [])
    assert merged(BEFORE, BEFORE, other, plan_wins=False) == (other, [])
    assert merged(BEFORE, other, other, plan_wins=False) == (other, []), "both said so"


@given(CHANGES)
def test_differences_are_none_exactly_where_two_are_the_same(changes: dict[str, Any]) -> None:
    other = changed(changes)
    assert (differences(BEFORE, other) == {}) is (other == BEFORE)


def test_a_clash_is_the_amendments_unless_the_plan_is_to_win() -> None:
    mine = changed({"resources.walltime_s": 7200})
    planned = attrs.evolve(BEFORE, resources=Resources(walltime_s=600), priority=1)
    new, clashes = merged(BEFORE, mine, planned, plan_wins=False)
    assert clashes == [Clash(path="resources.walltime_s", amended=7200, planned=600)]
    assert (new.resources.walltime_s, new.priority) == (7200, 1)
    new, clashes = merged(BEFORE, mine, planned, plan_wins=True)
    assert (new.resources.walltime_s, new.priority, len(clashes)) == (600, 1, 1)


def test_what_one_removed_and_the_other_changed_is_a_clash() -> None:
    mine, planned = changed({"env.A": None}), changed({"env.A": "2"})
    assert merged(BEFORE, mine, planned, plan_wins=False) == (
        mine,
        [Clash(path="env.A", amended=None, planned="2")],
    )


@pytest.mark.parametrize("plan_wins", [True, False])
def test_growth_is_one_value_where_there_was_none(plan_wins: bool) -> None:
    mine = changed({"resources.grow.walltime": 2})
    planned = attrs.evolve(BEFORE, resources=Resources(walltime_s=60, grow=Growth(memory=2)))
    new, clashes = merged(BEFORE, mine, planned, plan_wins=plan_wins)
    assert [clash.path for clash in clashes] == ["resources.grow.walltime", "resources.grow.memory"]
    assert new.resources.grow == (Growth(memory=2) if plan_wins else Growth(walltime=2))
