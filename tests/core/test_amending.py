"""A task's definition with new values by path, and what is said of paths and values that cannot be."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import attrs
import pytest

from matterstack.core.errors import UsageError
from matterstack.core.ids import TaskId
from matterstack.core.model.amending import amended, paths, setting, value_at
from matterstack.core.model.resources import Growth, Resources
from matterstack.core.model.workflow import Task

TASK = Task(
    TaskId("relax"),
    command=["vasp_std"],
    depends_on=[TaskId("base")],
    inputs={"POSCAR": "base/CONTCAR"},
    outputs=["OUTCAR"],
    files={"INCAR.in": "inputs/INCAR", "KPOINTS": "KPOINTS"},
    resources=Resources(walltime_s=60, nodes=2, ntasks=2, extra={"exclude": "n1"}, grow=Growth(walltime=2)),
    env={"OMP_NUM_THREADS": "1"},
    params={"grid": {"n": 3}, "label": "x"},
    retries=1,
)


@pytest.mark.parametrize(
    ("typed", "path", "value", "old"),
    [
        ("resources.walltime_s=7200", "resources.walltime_s", 7200, 60),
        ("resources.memory_mib=null", "resources.memory_mib", None, None),
        ("resources.partition=123", "resources.partition", "123", None),
        ("resources.extra.exclude=n7,n8", "resources.extra.exclude", "n7,n8", "n1"),
        ("resources.extra.exclude=null", "resources.extra.exclude", None, "n1"),
        ("resources.extra.time-min=1", "resources.extra.time-min", "1", None),
        ("resources.grow.walltime=1.5", "resources.grow.walltime", 1.5, 2),
        ("command=vasp_gam -v 'a b'", "command", ["vasp_gam", "-v", "a b"], ["vasp_std"]),
        ('command=["sh", "-c", "x=1"]', "command", ["sh", "-c", "x=1"], ["vasp_std"]),
        ("env.OMP_NUM_THREADS=4", "env.OMP_NUM_THREADS", "4", "1"),
        ("env.A=b=c", "env.A", "b=c", None),
        ("env.OMP_NUM_THREADS=null", "env.OMP_NUM_THREADS", None, "1"),
        ("files.INCAR.in=inputs/INCAR.soft", "files.INCAR.in", "inputs/INCAR.soft", "inputs/INCAR"),
        ("inputs.POSCAR=base/OTHER", "inputs.POSCAR", "base/OTHER", "base/CONTCAR"),
        ("params.grid.n=5", "params.grid.n", 5, 3),
        ("params.new.deep=[1, 2.5]", "params.new.deep", [1, 2.5], None),
        ("params.label=soft", "params.label", "soft", "x"),
        ("backend=cluster", "backend", "cluster", None),
        ("retries=3", "retries", 3, 1),
        ("retry_on=timeout lost", "retry_on", ["timeout", "lost"], None),
        ("priority=-2", "priority", -2, 0),
        ("allow_failure=true", "allow_failure", True, False),
        ("outputs=*.json", "outputs", ["*.json"], ["OUTCAR"]),
        ('env={"A": "1"}', "env", {"A": "1"}, {"OMP_NUM_THREADS": "1"}),
    ],
)
def test_a_value_is_set_at_its_path_and_nothing_else_changes(
    typed: str, path: str, value: Any, old: Any
) -> None:
    read = setting(typed)
    assert read == (path, value)
    if old is not None:
        assert value_at(TASK, path) == old
    new = amended(TASK, dict([read]))
    assert value_at(new, path) == value
    others = {f.name for f in attrs.fields(Task)} - {path.partition(".")[0]}
    assert all(getattr(new, name) == getattr(TASK, name) for name in others)
    # It is kept as JSON, and applied again from that.
    kept = json.loads(json.dumps({path: value_at(new, path)}))
    assert amended(TASK, kept) == new


def test_values_that_are_right_only_together_are_set_together() -> None:
    new = amended(TASK, {"resources.nodes": 4, "resources.ntasks": 8})
    assert (new.resources.nodes, new.resources.ntasks) == (4, 8)
    with pytest.raises(UsageError, match="nodes: ntasks must be at least nodes"):
        amended(TASK, {"resources.nodes": 4})


def test_growth_may_be_given_to_a_task_without_and_taken_away() -> None:
    plain = Task(TaskId("a"), command=["true"])
    assert value_at(plain, "resources.grow.walltime") is None
    assert amended(plain, {"resources.grow.walltime": 2}).resources.grow == Growth(walltime=2)
    assert amended(TASK, {"resources.grow": None}).resources.grow is None


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("walltime_s=5", ["'walltime_s'", "did you mean resources.walltime_s?"]),
        ("resources.waltime_s=5", ["did you mean resources.walltime_s?"]),
        ("resource.walltime_s=5", ["did you mean resources.walltime_s?"]),
        ("envs.X=5", ["'envs.X'", "did you mean env.NAME?"]),
        ("zzzzzz=5", ["there are: ", "resources.walltime_s"]),
        ("retries.x=5", ["'retries.x'"]),
        ("resources.walltime_s.x=5", ["'resources.walltime_s.x'"]),
        ("id=b", ["id cannot be amended", "keeps its name"]),
        ("operator=gate", ["operator cannot be amended"]),
        ("depends_on=[]", ["depends_on cannot be amended", "the plan's"]),
        ("retries", ["'retries' is no PATH=VALUE", "resources.walltime_s=7200"]),
        ("=5", ["is no PATH=VALUE"]),
        ("command=a 'b", ["command: ", "cannot be split into words"]),
        ("resources.walltime_s=2h", ["resources.walltime_s: walltime_s must be a whole number, not '2h'"]),
        ("resources.walltime_s=0", ["must be at least 1"]),
        ("resources=5", ["name what of it is to change, such as resources.walltime_s"]),
        ("resources.extra.x=\0", ["resources.extra.x"]),
        ("env=5", ["env must be a dict"]),
        ("params=5", ["params must be a dict"]),
        ("params.label.x=5", ["params.label.x: label has no parts"]),
        ("retry_on=timeuot", ["retry_on holds 'timeuot'", "timeout"]),
        ("inputs.X=other/file", ["inputs: ", "the plan's"]),
        ("outputs={}", ["outputs must be a list"]),
    ],
)
def test_what_cannot_be_set_is_refused_with_its_path(typed: str, words: Sequence[str]) -> None:
    with pytest.raises(UsageError) as raised:
        amended(TASK, dict([setting(typed)]))
    told = f"{raised.value}; {raised.value.hint}"
    assert all(word in told for word in words), told


def test_every_path_that_is_told_of_can_be_set() -> None:
    for path in paths():
        here = f"{path}NAME" if path.endswith(".") else path
        value = value_at(TASK, here)
        if here == "inputs.NAME":
            continue
        amended(TASK, {here: value})
    assert "resources.walltime_s" in paths()
    assert not {"id", "operator", "depends_on"} & set(paths())
