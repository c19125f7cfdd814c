"""What the page's scripts say of states is what core says, and all that they name is there."""

from __future__ import annotations

import re
from pathlib import Path

import matterstack.monitor
from matterstack.core.ids import TaskId
from matterstack.core.model.amending import value_at
from matterstack.core.model.workflow import Task
from matterstack.core.run.replan_steps import Step
from matterstack.core.run.selection import KINDS
from matterstack.core.states import ENDED_RUNS, ENDED_TASKS, RunStatus, TaskStatus
from matterstack.monitor.endpoints import PAGE_FILES

PAGE = Path(matterstack.monitor.__file__).parent / "page"
TABLES = {
    "TASK_STATES": frozenset(TaskStatus),
    "RUN_STATES": frozenset(RunStatus),
    "ENDED_TASKS": ENDED_TASKS,
    "ENDED_RUNS": ENDED_RUNS,
    "FAILURE_KINDS": frozenset(KINDS),
}


def test_states_are_those_of_the_core() -> None:
    found = re.findall(r"export const (\w+) = (?:new Set\()?\[(.*?)\]", (PAGE / "states.js").read_text())
    assert {name: frozenset(re.findall(r'"(\w+)"', states)) for name, states in found} == TABLES


def test_whatever_becomes_of_a_task_by_a_new_plan_has_words() -> None:
    (table,) = re.findall(r"const STEPS = \{(.*?)\};", (PAGE / "replan-form.js").read_text(), re.DOTALL)
    assert set(re.findall(r"^  (\w+): ", table, re.MULTILINE)) == {*Step} - {Step.SAME}


def test_fields_that_are_proposed_for_tasks_are_those_that_can_be_amended() -> None:
    (listed,) = re.findall(
        r"export const TASK_PATHS = \[(.*?)\];", (PAGE / "proposals.js").read_text(), re.DOTALL
    )
    one = Task(TaskId("a"), command=["true"])
    for path in re.findall(r'"([\w.]+)"', listed):
        value_at(one, path)  # refuses what a task does not have


def test_every_module_is_used_and_every_one_that_is_used_is_there() -> None:
    modules = {path.name: path.read_text() for path in PAGE.glob("*.js")}
    imported = {
        (name, wanted)
        for name, text in modules.items()
        for wanted in re.findall(r'^import .* from "\./([\w.-]+)";$', text, re.MULTILINE)
    }
    assert {wanted for _, wanted in imported} | {"main.js"} == set(modules)


def test_no_script_repeats_a_rule_or_reads_a_sentence() -> None:
    """What a run can be told comes with it, and so does whether a task can be tried again."""
    for path in PAGE.glob("*.js"):
        text = path.read_text()
        assert not re.search(r"status_reason\s*(\?\?[^)]*)?\)?\.|\.test\(|being cancelled", text), path.name
        if path.name not in {"states.js", "graph-tab.js", "parts.js"}:
            assert not re.search(r'"(RUNNING|PAUSED|SKIPPED|FAILED)"', text), path.name


def test_every_text_goes_through_the_one_place_where_it_is_made_visible() -> None:
    for path in PAGE.glob("*.js"):
        if path.name == "dom.js":
            continue
        text = path.read_text()
        assert not re.search(r"textContent = |innerHTML|insertAdjacent|createTextNode|\.title = `", text), (
            path.name
        )
        assert not re.search(r'setAttribute\("(aria-label|title|placeholder)"', text), path.name


def test_types_are_not_served() -> None:
    assert {path.suffix for path in PAGE.iterdir()} - set(PAGE_FILES) == {".ts"}
