"""A workflow that could never run as written is refused, with every problem named."""

from __future__ import annotations

from typing import Any

import pytest

from matterstack.core.errors import CampaignError
from matterstack.core.ids import TaskId
from matterstack.core.json_rules import DEEPEST
from matterstack.core.model.workflow import Task, Workflow
from matterstack.core.model.workflow_check import RESERVED_NAMES, check_workflow, find_cycle, unsafe_name
from tests.support.states import chain, task

BACKENDS = ["local", "cluster"]
EARLIER = {TaskId("coarse"): ["*.json", "out/best.xyz"], TaskId("bare"): []}


def problems(*tasks: Task) -> list[str]:
    """What is wrong; empty when nothing is."""
    try:
        check_workflow(Workflow(tasks), EARLIER, BACKENDS)
    except CampaignError as error:
        return str(error).removeprefix("the planned workflow cannot run: ").split("; ")
    return []


def of_a(**fields: Any) -> list[str]:
    """What is wrong with a task of these fields."""
    return [problem.removeprefix("task 'a': ") for problem in problems(task("a", **fields))]


def nested(levels: int) -> dict[str, Any]:
    value: Any = 1
    for _ in range(levels - 1):
        value = [value]
    return {"x": value}


def test_a_workflow_that_can_run_is_accepted() -> None:
    maker = task("make", outputs=["*.xyz", "d/**"], backend="cluster", params={"n": [1, {"ü": None}]})
    user = task(
        "use",
        "make",
        "coarse",
        inputs={"a.xyz": "make/a.xyz", "d/b": "make/d/e/b", "c": "coarse/out/best.xyz"},
    )
    assert problems(user, maker) == [], "in any order"


def test_an_empty_workflow_is_refused() -> None:
    assert problems() == ["it has no tasks (return None from plan when the goal is met)"]


def test_an_id_is_used_once_in_a_run() -> None:
    assert problems(task("a"), task("b"), task("a")) == ["task 'a': the id is already that of another task"]
    assert problems(task("coarse")) == ["task 'coarse': the id is already that of an earlier iteration"]


@pytest.mark.parametrize("name", ["", "..", "a/b", "-a", "ä", "a b", "x" * 101, "a\n"])
def test_an_id_is_a_plain_name(name: str) -> None:
    rule = "id must be 1 to 100 letters, digits, '.', '_' or '-', and start with a letter or digit"
    assert problems(task(name)) == [f"task {name!r}: {rule}"]


def test_dependencies_must_be_tasks_of_the_run() -> None:
    assert problems(task("a", "b", "coarse", "c")) == [
        "task 'a': depends_on names 'b', which is no task of this run",
        "task 'a': depends_on names 'c', which is no task of this run",
    ]


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("nobody/x", "input 'x': 'nobody' is no task of this run"),
        ("coarse", "input 'x': 'coarse' must be TASK/FILE"),
        ("coarse/", "input 'x': 'coarse/' must be TASK/FILE"),
        ("", "input 'x': '' must be TASK/FILE"),
        ("/etc/passwd", "input 'x': '' is no task of this run"),
        ("coarse/b", "input 'x': 'b' matches no output of 'coarse' (it has: *.json, out/best.xyz)"),
        (
            "coarse/d/a.json",
            "input 'x': 'd/a.json' matches no output of 'coarse' (it has: *.json, out/best.xyz)",
        ),
        ("bare/a", "input 'x': 'a' matches no output of 'bare' (it has: none)"),
        ("coarse/../a.json", "input 'x': 'coarse/../a.json' must not hold '..'"),
        ("coarse//etc/a.json", "input 'x': 'coarse//etc/a.json' must not be absolute"),
        ("coarse/stdout.log", "input 'x': 'coarse/stdout.log' is a name that MatterStack itself uses"),
    ],
)
def test_an_input_must_name_an_output_of_a_task(source: str, problem: str) -> None:
    assert of_a(inputs={"x": source}) == [problem]


UNSAFE = {
    "": "must be a non-empty single line",
    "a\nb": "must be a non-empty single line",
    "/etc/passwd": "must not be absolute",
    "//x": "must not be absolute",
    "..": "must not hold '..'",
    "../x": "must not hold '..'",
    "a/../../x": "must not hold '..'",
    "a/..": "must not hold '..'",
    ".": "is no file name",
    "./": "is no file name",
    "x" * 256: "is no file name",
    "a/" + "ü" * 128: "is no file name",
    **dict.fromkeys(sorted(RESERVED_NAMES), "is a name that MatterStack itself uses"),
    "./manifest.json": "is a name that MatterStack itself uses",
    "claim/job_id": "is a name that MatterStack itself uses",
}
SAFE = [
    "a",
    "a/b",
    ".hidden",
    "..a",
    "a..",
    "sub/manifest.json",
    "x" * 255,
    "ü" * 127,
    "a b",
    "result.json",
    "-rf",
]


@pytest.mark.parametrize("path", ["../x.py", "..", "../w/x.py"])
def test_a_relative_file_starts_in_the_workspace_and_does_not_leave_it(path: str) -> None:
    assert of_a(files={"x": path}) == [
        f"files: 'x': {path!r} leads out of the workspace (give its full path instead)"
    ]
    assert of_a(files={"x": "a/../x.py", "y": "/opt/../x.py"}) == []


@pytest.mark.parametrize("name", UNSAFE, ids=lambda name: repr(name[:20]))
def test_a_name_that_could_leave_the_folder_or_break_our_own_files_is_unsafe(name: str) -> None:
    assert unsafe_name(name) == UNSAFE[name]
    assert of_a(files={name: "x"}) == [f"file name {name!r} {UNSAFE[name]}"]
    assert of_a(inputs={name: "coarse/a.json"}) == [f"file name {name!r} {UNSAFE[name]}"]
    assert of_a(outputs=[name]) == [f"output pattern {name!r} {UNSAFE[name]}"]


@pytest.mark.parametrize("name", SAFE, ids=lambda name: repr(name[:20]))
def test_a_plain_name_is_safe(name: str) -> None:
    assert unsafe_name(name) is None
    assert of_a(files={name: "x"}, outputs=[name]) == []


def test_a_nul_is_unsafe() -> None:
    assert unsafe_name("a\0b") == "must be a non-empty single line"


def test_a_name_is_either_an_input_or_a_file() -> None:
    assert of_a(files={"x": "x"}, inputs={"x": "coarse/a.json"}) == [
        "file name 'x' is both in inputs and in files"
    ]


@pytest.mark.parametrize("name", ["", "A B", "A=B", "1A", "A-B", "A;touch x", "Ä", "A\n"])
def test_a_name_of_the_environment_is_one_that_a_shell_takes(name: str) -> None:
    assert of_a(env={name: "x"}) == [f"env: {name!r} is no name of an environment variable"]
    assert of_a(env={"_OMP_NUM_THREADS2": "any\nvalue; $(x)"}) == []


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"x": {1, 2}}, "Object of type set is not JSON serializable"),
        ({"x": float("nan")}, "Out of range float values are not JSON compliant"),
        ({"x": [float("inf")]}, "Out of range float values are not JSON compliant"),
        ({"x": nested}, "Object of type function is not JSON serializable"),
        ({"x": {(1, 2): 3}}, "keys must be str, int, float, bool or None, not tuple"),
        ({"x": "\ud800"}, "'utf-8' codec can't encode character"),
        (nested(DEEPEST + 1), "it is nested more than 100 levels deep"),
        (nested(10_000), "maximum recursion depth exceeded"),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, str) else "",
)
def test_params_must_be_json_that_can_be_kept(params: dict[str, Any], words: str) -> None:
    (problem,) = of_a(params=params)
    assert problem.startswith(f"params: must be JSON ({words}")


def test_params_may_be_as_deep_as_is_allowed_and_no_circle() -> None:
    assert of_a(params=nested(DEEPEST)) == []
    circle: dict[str, Any] = {}
    circle["x"] = circle
    assert of_a(params=circle) == ["params: must be JSON (Circular reference detected)"]


def test_command_operator_and_backend_are_checked() -> None:
    assert of_a(command=[]) == ["command is empty"]
    known = "compute, experiment, gate, human, manual_hpc"
    assert of_a(operator="magic") == [f"operator 'magic' is not one of: {known}"]
    [no_name] = of_a(backend="../../x")
    assert no_name.startswith("backend '../../x' is no name of a backend: it has letters, digits")
    assert of_a(backend="moon") == ["backend 'moon' is not in config.json (it has: cluster, local)"]


def test_a_question_has_no_use_for_what_only_a_job_has() -> None:
    for operator in ("human", "gate", "experiment"):
        assert of_a(operator=operator, command=[]) == []
        assert of_a(operator=operator, backend="local") == [
            f"operator {operator} runs no command",
            f"operator {operator} uses no backend",
        ]
    assert of_a(operator="experiment", command=[], outputs=["*.csv"]) == []
    assert of_a(operator="gate", command=[], outputs=["*.csv"]) == ["operator gate leaves no outputs"]
    assert of_a(operator="manual_hpc", backend="cluster", outputs=["*.csv"]) == []
    assert of_a(operator="manual_hpc", command=[]) == ["command is empty"]


def test_a_bad_manifest_is_no_reason_to_refuse_a_workflow() -> None:
    assert of_a(operator="human", command=[], params={"question": 5}) == []


# ---- circles ----


def test_a_circle_is_named_task_by_task() -> None:
    ring = [task("a", "b"), task("b", "c"), task("c", "a"), task("free"), task("behind", "a")]
    assert problems(*ring) == ["the tasks wait for each other in a circle: a -> b -> c -> a"]


def test_a_task_that_waits_for_itself_is_a_circle() -> None:
    assert problems(task("a", "a")) == ["the tasks wait for each other in a circle: a -> a"]
    circle = task("a", inputs={"x": "a/x"}, outputs=["x"])
    assert problems(circle) == ["the tasks wait for each other in a circle: a -> a"]


def test_a_circle_through_inputs_is_found() -> None:
    ring = [task("a", inputs={"x": "b/x"}, outputs=["x"]), task("b", "a", outputs=["x"])]
    assert problems(*ring) == ["the tasks wait for each other in a circle: a -> b -> a"]


def test_a_circle_behind_a_long_way_in_names_only_its_own_tasks() -> None:
    tasks = [task("way", "in"), task("in", "a"), task("a", "b"), task("b", "a")]
    assert find_cycle(tasks) == ["a", "b"]


def test_two_ways_to_the_same_task_are_no_circle() -> None:
    assert find_cycle([task("d", "b", "c"), task("b", "a"), task("c", "a"), task("a")]) == []


@pytest.mark.parametrize("backwards", [False, True])
def test_a_chain_of_ten_thousand_tasks_is_checked_without_recursion(backwards: bool) -> None:
    tasks = chain(10_000)
    assert problems(*(reversed(tasks) if backwards else tasks)) == []
    ring = [task("t0", "t9999"), *tasks[1:]]
    assert len(find_cycle(ring)) == 10_000


def test_all_problems_are_named_up_to_twenty() -> None:
    found = problems(*(task(f"t{n}", "nobody", command=[]) for n in range(12)))
    assert len(found) == 21
    assert found[0] == "task 't0': command is empty"
    assert found[-1] == "and 4 more"
