"""What a scientist may write, and the one clear message for each mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from matterstack.core.ids import TaskId
from matterstack.core.model.resources import Limits, Resources
from matterstack.core.model.workflow import Result, Results, Task, Workflow
from matterstack.core.states import FailureKind, TaskStatus

A = TaskId("a")

WRONG_TASKS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"id": 7}, TypeError, "id must be text, not 7"),
    ({"operator": None}, TypeError, "operator must be text, not None"),
    ({"command": "python x.py"}, TypeError, "command must be a list of texts, not 'python x.py'"),
    ({"command": ["sleep", 5]}, TypeError, "command must hold only texts, but holds 5"),
    ({"command": ["a\0b"]}, TypeError, r"command must hold only texts, but holds 'a\x00b'"),
    ({"command": ["\ud800"]}, TypeError, r"command must hold only texts, but holds '\ud800'"),
    ({"command": None}, TypeError, "command must be a list of texts, not None"),
    ({"depends_on": "b"}, TypeError, "depends_on must be a list of texts, not 'b'"),
    ({"depends_on": {"b"}}, TypeError, "depends_on must be a list of texts, not {'b'}"),
    ({"depends_on": [Path("b")]}, TypeError, "depends_on must hold only texts, but holds PosixPath('b')"),
    ({"inputs": ["b/x"]}, TypeError, "inputs must be a dict of texts, not ['b/x']"),
    ({"inputs": {"x": 1}}, TypeError, "inputs must map text to text, but holds 'x': 1"),
    ({"inputs": {1: "b/x"}}, TypeError, "inputs must map text to text, but holds 1: 'b/x'"),
    ({"outputs": "*.json"}, TypeError, "outputs must be a list of texts, not '*.json'"),
    ({"outputs": [None]}, TypeError, "outputs must hold only texts, but holds None"),
    ({"files": ["x.py"]}, TypeError, "files must be a dict of texts, not ['x.py']"),
    ({"files": {"x.py": b"x"}}, TypeError, "files must map text to text, but holds 'x.py': b'x'"),
    ({"files": {"x": Path("\udce9")}}, TypeError, r"files must map text to text, but holds 'x': '\udce9'"),
    ({"resources": {"cpus": 2}}, TypeError, "resources must be Resources(...), not {'cpus': 2}"),
    ({"backend": 1}, TypeError, "backend must be text, not 1"),
    ({"env": {"N": 4}}, TypeError, "env must map text to text, but holds 'N': 4"),
    ({"env": {"N": "a\0"}}, TypeError, r"env must map text to text, but holds 'N': 'a\x00'"),
    ({"params": [1]}, TypeError, "params must be a dict with text keys, not [1]"),
    ({"params": {1: 2}}, TypeError, "params must be a dict with text keys, not {1: 2}"),
    ({"allow_failure": 1}, TypeError, "allow_failure must be True or False, not 1"),
    ({"retries": -1}, ValueError, "retries must be at least 0, not -1"),
    ({"retries": 1.0}, TypeError, "retries must be a whole number, not 1.0"),
    ({"retries": True}, TypeError, "retries must be a whole number, not True"),
    ({"retry_on": "timeout"}, TypeError, "retry_on must be a list, not 'timeout'"),
    ({"retry_on": None}, TypeError, "retry_on must be a list, not None"),
    ({"retry_on": ["oom"]}, ValueError,
     ("retry_on holds 'oom'; it may hold: error, timeout, out_of_memory, node_fail, preempted, lost, "
     "environment")),
    ({"priority": "high"}, TypeError, "priority must be a whole number, not 'high'"),
    ({"priority": -(2**40)}, ValueError, "priority must be at least -2147483648, not -1099511627776"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "error", "message"), WRONG_TASKS, ids=lambda value: str(value)[:40])
def test_a_wrong_field_of_a_task_is_named_with_its_value(
    fields: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as wrong:
        Task(**{"id": "a", **fields})
    assert str(wrong.value) == message


WRONG_RESOURCES: list[tuple[dict[str, Any], str]] = [
    ({"cpus": 0}, "cpus must be at least 1, not 0"),
    ({"cpus": None}, "cpus must be a whole number, not None"),
    ({"cpus": "4"}, "cpus must be a whole number, not '4'"),
    ({"memory_mib": 0}, "memory_mib must be at least 1, not 0"),
    ({"memory_mib": 1.5}, "memory_mib must be a whole number, not 1.5"),
    ({"walltime_s": -1}, "walltime_s must be at least 1, not -1"),
    ({"gpus": -1}, "gpus must be at least 0, not -1"),
    ({"gpus": True}, "gpus must be a whole number, not True"),
    ({"nodes": 0}, "nodes must be at least 1, not 0"),
    ({"partition": 5}, "partition must be text, not 5"),
    ({"account": ["a"]}, "account must be text, not ['a']"),
    ({"extra": {"constraint": None}}, "extra must map text to text, but holds 'constraint': None"),
    ({"extra": "x"}, "extra must be a dict of texts, not 'x'"),
]


@pytest.mark.parametrize(("fields", "message"), WRONG_RESOURCES, ids=lambda value: str(value)[:40])
def test_a_wrong_field_of_resources_is_named_with_its_value(fields: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError)) as wrong:
        Resources(**fields)
    assert str(wrong.value) == message


@pytest.mark.parametrize("tasks", ["ab", None, [1], Task(A), {"a": Task(A)}])
def test_a_workflow_is_a_list_of_tasks(tasks: Any) -> None:
    with pytest.raises(TypeError, match=r"^tasks must be a list of Task\(\.\.\.\), not "):
        Workflow(tasks)


def test_the_name_of_a_workflow_is_text() -> None:
    with pytest.raises(TypeError, match="name must be text, not 3"):
        Workflow([Task(A)], name=3)  # type: ignore[arg-type]


@pytest.mark.parametrize("field", [f.name for f in attrs.fields(Task) if f.name != "id"])
def test_all_fields_of_a_task_but_its_id_are_given_by_name(field: str) -> None:
    with pytest.raises(TypeError, match="positional"):
        Task(A, "compute")  # type: ignore[call-arg]
    assert getattr(Task(A), field) == getattr(Task(TaskId("b")), field), "and each has a default"


def test_lists_and_paths_are_taken_and_kept_unchangeable() -> None:
    command = ["a"]
    task = Task(A, command=command, files={"x.py": Path("s/x.py")}, retry_on=["lost", FailureKind.TIMEOUT])
    command.append("b")
    assert task.command == ("a",)
    assert task.files == {"x.py": "s/x.py"}
    assert task.retry_on == (FailureKind.LOST, FailureKind.TIMEOUT)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        task.retries = 3  # type: ignore[misc]


def test_dependencies_are_those_named_then_those_of_inputs_each_once() -> None:
    task = Task(A, depends_on=[TaskId("c"), TaskId("b")], inputs={"x": "b/x", "y": "d/e/y", "z": "d/z"})
    assert task.dependencies() == ("c", "b", "d")


@pytest.mark.parametrize(
    ("wanted", "limits", "words"),
    [
        ({"cpus": 8}, {"cpus": 4}, "cpus=8, but one job gets at most 4"),
        ({"memory_mib": 9}, {"memory_mib": 8, "cpus": 1}, "memory_mib=9, but one job gets at most 8"),
        ({"nodes": 3}, {"nodes": 2}, "nodes=3, but one job gets at most 2"),
        ({"gpus": 1}, {"gpus": 0}, "gpus=1, but one job gets at most 0"),
        ({"cpus": 4}, {"cpus": 4}, None),
        ({"gpus": 1}, {}, None),
        ({}, {"memory_mib": 1}, None),
    ],
)
def test_what_no_job_ever_gets_is_said(
    wanted: dict[str, Any], limits: dict[str, Any], words: str | None
) -> None:
    assert Limits(**limits).excess(Resources(**wanted)) == words


def test_results_are_read_by_task_and_outputs_by_name() -> None:
    done = Result(TaskStatus.SUCCEEDED, outputs=(Path("/r/a.json"), Path("/r/d/b.xyz")), data={"e": 1})
    results = Results({"a": done, "b": Result(TaskStatus.FAILED, "no", 3)})
    assert results["a"].output("b.xyz") == Path("/r/d/b.xyz")
    assert [results["a"].succeeded, results["b"].succeeded] == [True, False]
    assert (list(results), len(results), "c" in results) == (["a", "b"], 2, False)
    with pytest.raises(KeyError, match=r"no output is named 'c'; there are: \['a.json', 'b.xyz'\]"):
        done.output("c")
