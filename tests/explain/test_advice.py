"""What is advised for failures: the tasks that failed alike and no others, with what they lacked."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from matterstack.core.model.amending import setting
from matterstack.core.model.resources import Growth, Resources
from matterstack.core.run.selection import Selection
from matterstack.core.states import JobState, TaskStatus
from matterstack.explain.situation import TaskView
from matterstack.explain.wording.advice import retry_of
from tests.support.situations import RUN, at, failed, job, situation, task

WORD = f"matterstack run retry {RUN}"


def ended(name: str, raw: str = "FAILED", asked: Resources | None = None, **fields: Any) -> TaskView:
    times = {"started_at": at("11:30"), "ended_at": at("11:40")}
    given = {**times, "exit_code": 1, "asked": asked or Resources(), **fields}
    reason = f"its job ended with exit code {given['exit_code']} ({raw})"
    return failed(name, reason, attempt=job("7", JobState.COMPLETED_ERROR, raw, **given))


def several(count: int, name: str = "a", **fields: Any) -> list[TaskView]:
    return [ended(f"{name}{i}", **fields) for i in range(count)]


def advised(tasks: Sequence[TaskView], *others: TaskView, worked_on: Iterable[str] = ()) -> str:
    return retry_of(tasks, situation(*tasks, *others, run={"worked_on": frozenset(worked_on)}))


OTHERS = [
    ended("tolerated", exit_code=9),
    ended("b0", exit_code=4),
    ended("c0", "NODE_FAIL", host="n7"),
    task("waits"),
    task("runs", attempt=job("9", JobState.RUNNING)),
    task("skipped", "b0", status=TaskStatus.SKIPPED, reason="task b0, which it depends on, failed"),
]


def test_a_few_are_named() -> None:
    assert advised(several(2), *OTHERS) == f"{WORD} a0 a1"


@pytest.mark.parametrize(
    ("tasks", "others", "words"),
    [
        (several(40), [], "--failed"),
        (several(40), [task("x")], "--failed"),
        (several(40, raw="TIMEOUT", asked=Resources(walltime_s=60)), OTHERS, "--failed --kind timeout"),
        (several(40, exit_code=3), OTHERS, "--failed --exit-code 3"),
        (
            several(40, exit_code=3),
            [*OTHERS, ended("t", "TIMEOUT", exit_code=3)],
            "--failed --kind error --exit-code 3",
        ),
    ],
)
def test_many_are_selected_by_what_they_alone_have(
    tasks: Sequence[TaskView], others: Sequence[TaskView], words: str
) -> None:
    line = advised(tasks, *others).splitlines()[-1]
    assert line.partition(" --set ")[0] == f"{WORD} {words}"


def test_many_that_share_everything_with_another_are_all_named() -> None:
    tasks = several(40)
    line = advised(tasks, ended("other"))
    assert line.split()[4:] == [one.task_id for one in tasks]


def lacked(tasks: Sequence[TaskView], **run: Iterable[str]) -> tuple[str, str]:
    """What is said of it, and what is set."""
    comment, line = advised(tasks, *OTHERS, **run).splitlines()
    words = shlex.split(line)
    assert comment.startswith("# ")
    assert ("--set" in words) is ("--yes" in words)
    return comment.strip("# :"), words[words.index("--set") + 1] if "--set" in words else ""


def test_after_a_timeout_it_is_twice_the_longest_walltime() -> None:
    tasks = [ended(f"a{n}", "TIMEOUT", Resources(walltime_s=3600 * n)) for n in (1, 2)]
    assert lacked(tasks) == ("twice the walltime that they had (2 h)", "resources.walltime_s=14400")


def test_without_a_walltime_of_its_own_it_is_twice_as_long_as_it_ran() -> None:
    assert lacked([ended("a", "TIMEOUT")]) == (
        "twice as long as it ran (10 min)",
        "resources.walltime_s=1200",
    )


def test_out_of_memory_it_is_twice_the_memory() -> None:
    tasks = [ended("a", "OUT_OF_MEMORY", Resources(memory_mib=4000))]
    assert lacked(tasks) == ("twice the memory that it had (4000 MiB)", "resources.memory_mib=8000")
    said, value = lacked([ended("a", "OUT_OF_MEMORY")])
    assert ("--set resources.memory_mib=" in said, value) == (True, "")


def test_what_grows_by_itself_is_only_retried() -> None:
    grow = Growth(walltime=2, memory=2)
    for raw in ("TIMEOUT", "OUT_OF_MEMORY"):
        said, value = lacked([ended("a", raw, Resources(walltime_s=60, memory_mib=100, grow=grow))])
        assert ("by itself (grow)" in said, value) == (True, "")
    bounded = Resources(walltime_s=60, grow=Growth(walltime=2, most_walltime_s=60))
    assert lacked([ended("a", "TIMEOUT", bounded)])[1] == "resources.walltime_s=120"


def test_nodes_that_failed_are_left_out_beside_those_that_were() -> None:
    tasks = [ended(f"a{n}", "NODE_FAIL", Resources(extra={"exclude": "n1"}), host=f"n{n}") for n in (7, 8)]
    assert lacked(tasks) == ("without n7, n8, which failed", "resources.extra.exclude=n1,n7,n8")


def test_a_node_on_which_all_failed_alike_is_left_out() -> None:
    for tasks in (several(3, host="n7"), several(3, host="n7", raw="PROLOGUE_FAILED")):
        assert lacked(tasks, worked_on={"n1", "n2"}) == (
            "all of them failed on n7, where nothing ended well, and others did elsewhere; without it",
            "resources.extra.exclude=n7",
        )
    alone = several(1, host="n7")
    assert advised(alone, *OTHERS, worked_on={"n1"}) == f"{WORD} a0", "one alone says nothing of its node"


@pytest.mark.parametrize("worked_on", [(), ("n7",), ("n1", "n7")])
def test_a_node_is_not_blamed_where_others_ended_well_or_none_did_anywhere(worked_on: Sequence[str]) -> None:
    assert advised(several(3, host="n7"), *OTHERS, worked_on=worked_on) == f"{WORD} a0 a1 a2"


def test_every_advice_can_be_typed() -> None:
    for raw in ("TIMEOUT", "OUT_OF_MEMORY"):
        value = lacked([ended("a", raw, Resources(walltime_s=60, memory_mib=100))])[1]
        assert setting(value)[1] in {120, 200}


def test_a_selection_is_written_as_a_shell_takes_it() -> None:
    selection = Selection(names=["a*"], failed=True, kinds=["exit:3"], reason="it's no $HOME", exit_codes=[3])
    words = shlex.split(str(selection))
    assert words == ["a*", "--failed", "--kind", "exit:3", "--exit-code", "3", "--reason", "it's no $HOME"]


def test_after_a_prologue_that_failed_the_mended_one_is_given_to_the_run_first() -> None:
    commands = [
        line
        for line in advised(several(40, raw="PROLOGUE_FAILED", host="n7"), *OTHERS).splitlines()
        if not line.startswith("#")
    ]
    assert commands == [
        f"matterstack run amend {RUN} --config-from-workspace --yes",
        f"{WORD} --failed --kind environment",
    ]


def test_a_prologue_is_not_blamed_for_what_only_some_of_them_died_of() -> None:
    mixed = [*several(1, raw="PROLOGUE_FAILED"), *several(1, "b")]
    assert advised(mixed) == f"{WORD} a0 b0"
