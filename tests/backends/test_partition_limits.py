"""What the partitions of a cluster never give: each limit is named, and what may be possible passes."""

from __future__ import annotations

from typing import Any

import pytest

from matterstack.backends.slurm.partition_limits import Admission, ClusterLimits, NodeKind, Partition
from matterstack.core.errors import CampaignError
from matterstack.core.ids import TaskId
from matterstack.core.model.resources import Resources
from matterstack.core.model.workflow import Task, Workflow
from matterstack.core.model.workflow_check import check_limits

SMALL = NodeKind(count=3, cpus=4, memory_mib=4000, features=frozenset({"intel", "ib"}))
BIG = NodeKind(count=1, cpus=64, memory_mib=1000, gpus=2, features=frozenset({"amd"}))
MIXED = Partition(name="mixed", nodes=(SMALL, BIG))


def limits(*partitions: Partition, **keys: Any) -> ClusterLimits:
    defaults = {"partition": partitions[0].name, **keys.pop("defaults", {})}
    return ClusterLimits(partitions={p.name: p for p in partitions}, defaults=defaults, **keys)


def said(of: Partition, **wanted: Any) -> str | None:
    return limits(of).excess(Resources(**wanted))


NODES: list[tuple[dict[str, Any], str | None]] = [
    ({}, None),
    ({"cpus": 64}, None),
    ({"cpus": 65}, "cpus=65, but a node of partition mixed gives at most 64"),
    ({"memory_mib": 4000}, None),
    ({"memory_mib": 4001}, "memory_mib=4001, but a node of partition mixed gives at most 4000"),
    (
        {"cpus": 5, "memory_mib": 1001},
        "nodes=1 with cpus=5 and memory_mib=1001, but partition mixed has no such node",
    ),
    ({"nodes": 4}, None),
    ({"nodes": 5}, "nodes=5 with cpus=1, but partition mixed has only 4 such nodes"),
    ({"nodes": 2, "cpus": 5}, "nodes=2 with cpus=5, but partition mixed has only 1 such node"),
    ({"ntasks": 64}, None),
    ({"ntasks": 65}, "ntasks=65 with cpus=1, but a node of partition mixed gives room for at most 64"),
    ({"ntasks": 72, "nodes": 3}, None),
    ({"ntasks": 73, "nodes": 3},
     "ntasks=73 with cpus=1, but 3 nodes of partition mixed give room for at most 72"),
    ({"ntasks": 8, "cpus": 3, "nodes": 4}, None),
    ({"ntasks": 25, "cpus": 3, "nodes": 4},
     "ntasks=25 with cpus=3, but 4 nodes of partition mixed give room for at most 24"),
    ({"gpus": 2}, None),
    ({"gpus": 3, "nodes": 4}, "gpus=3, but 4 nodes of partition mixed give at most 2"),
    ({"gpus": 1, "memory_mib": 1001}, "gpus=1, but a node of partition mixed gives at most 0"),
    ({"constraint": "intel&ib", "nodes": 3}, None),
    ({"constraint": "intel,amd"}, "constraint='intel,amd', but no node of partition mixed has it"),
    ({"constraint": "amd", "nodes": 2},
     "nodes=2 with cpus=1, but partition mixed with constraint amd has only 1 such node"),
]  # fmt: skip


@pytest.mark.parametrize(("wanted", "words"), NODES, ids=lambda value: str(value)[:40])
def test_no_set_of_nodes_gives_more_than_its_nodes_have(wanted: dict[str, Any], words: str | None) -> None:
    assert said(MIXED, **wanted) == words


@pytest.mark.parametrize("constraint", ["nope|amd", "[rack1|rack2]", "nope*2", "(a&b)|c", "!amd"])
def test_a_constraint_that_cannot_be_weighed_forbids_nothing(constraint: str) -> None:
    assert said(MIXED, constraint=constraint, cpus=64) is None


def test_nodes_that_are_not_known_forbid_nothing() -> None:
    assert said(Partition(name="cloud"), cpus=1000, nodes=1000, gpus=1000) is None


def test_a_partition_may_give_less_of_a_node_than_the_node_has() -> None:
    part = Partition(name="part", nodes=(SMALL,), cpus_per_node=2, memory_per_node_mib=500)
    assert said(part, cpus=2, memory_mib=500, nodes=3, ntasks=3) is None
    assert said(part, cpus=3) == "cpus=3, but a node of partition part gives at most 2"
    assert said(part, memory_mib=501) == "memory_mib=501, but a node of partition part gives at most 500"
    assert (
        said(part, ntasks=3) == "ntasks=3 with cpus=1, but a node of partition part gives room for at most 2"
    )


def test_walltimes_are_held_against_the_limit_in_the_minutes_that_slurm_counts_in() -> None:
    short = Partition(name="short", walltime_s=120)
    assert [said(short, walltime_s=s) for s in (1, 119, 120)] == [None] * 3
    assert said(short, walltime_s=121) == "walltime_s=121, but a job in partition short gets at most 120"
    odd = Partition(name="odd", walltime_s=90)
    assert said(odd, walltime_s=61) == "walltime_s=61, but a job in partition odd gets at most 90"
    assert said(short, walltime_s=999, extra={"time-min": "1"}) is None, "it is content with less"


def test_numbers_of_nodes_have_two_bounds() -> None:
    wide = Partition(name="wide", least_nodes=2, most_nodes=4)
    assert [said(wide, nodes=n) for n in (2, 4)] == [None, None]
    assert said(wide, nodes=1) == "nodes=1, but a job in partition wide gets at least 2"
    assert said(wide, nodes=5) == "nodes=5, but a job in partition wide gets at most 4"


def test_a_qos_may_lift_limits_and_a_job_without_one_may_get_it() -> None:
    short = Partition(name="short", walltime_s=60, most_nodes=1)
    with_qos = limits(short, overruled={"long": frozenset({"walltime_s"})})
    long = Resources(walltime_s=600)
    assert with_qos.excess(long) is None
    assert with_qos.excess(Resources(walltime_s=600, qos="long")) is None
    assert with_qos.excess(Resources(walltime_s=600, qos="normal")) == (
        "walltime_s=600, but a job in partition short gets at most 60"
    )
    assert with_qos.excess(Resources(nodes=2, qos="long")) == (
        "nodes=2, but a job in partition short gets at most 1"
    )


def test_who_may_use_a_partition_is_said() -> None:
    p = Partition(
        name="p",
        accounts=Admission(only=frozenset({"chem", "phys"})),
        qos=Admission(denied=frozenset({"free"})),
    )
    assert said(p, account="CHEM", qos="paid") is None, "Slurm knows no case here"
    assert said(p) is None, "what the site fills in is not known"
    assert said(p, account="bio") == "account='bio': partition p takes only chem, phys"
    assert said(p, qos="free") == "qos='free': partition p refuses that one"
    assert (
        said(Partition(name="r", needs_reservation=True))
        == "partition='r' without a reservation, which it asks for"
    )
    assert said(Partition(name="r", needs_reservation=True), reservation="r1") is None
    assert (
        said(Partition(name="x", refusal="takes no jobs of root"))
        == "partition='x', which takes no jobs of root"
    )


def test_a_partition_that_does_not_exist_is_told_with_those_that_do() -> None:
    assert said(MIXED, partition="fixed") == "partition='fixed', which does not exist (there are: mixed)"
    assert (
        said(MIXED, partition="mixed,fixed") == "partition='fixed', which does not exist (there are: mixed)"
    )


def test_of_several_partitions_one_that_can_is_enough() -> None:
    both = limits(Partition(name="a", walltime_s=60), Partition(name="b", walltime_s=120))
    assert both.excess(Resources(partition="a,b", walltime_s=120)) is None
    assert both.excess(Resources(partition="a,b", walltime_s=180)) == (
        "walltime_s=180, but a job in partition a gets at most 60; "
        "walltime_s=180, but a job in partition b gets at most 120"
    )


def test_what_a_task_leaves_open_the_backend_fills_in() -> None:
    both = limits(
        Partition(name="a", walltime_s=60),
        Partition(name="b", accounts=Admission(denied=frozenset({"x"}))),
        defaults={"account": "x"},
    )
    assert both.excess(Resources(walltime_s=61)) == (
        "walltime_s=61, but a job in partition a gets at most 60"
    )
    assert both.excess(Resources(partition="b")) == "account='x': partition b refuses that one"
    assert both.excess(Resources(partition="b", account="y", walltime_s=61)) is None
    nowhere = ClusterLimits(partitions=both.partitions)
    assert nowhere.excess(Resources(walltime_s=10**6)) is None, "nobody knows where it would go"


def test_a_closed_partition_may_open_again_so_it_is_told_apart() -> None:
    closed = limits(Partition(name="a", state="DOWN"), Partition(name="b"))
    assert closed.excess(Resources()) is None
    assert closed.closed(Resources()) == "partition='a', which starts no jobs: it is DOWN"
    assert closed.closed(Resources(partition="a,b")) is None
    assert closed.closed(Resources(partition="b")) is None


def test_one_message_names_the_first_task_and_how_many_are_like_it() -> None:
    tasks = [
        Task(TaskId(f"t{i}"), command=["x"], resources=Resources(walltime_s=60 * i + 60)) for i in range(3)
    ]
    tasks.append(
        Task(
            TaskId("here"),
            command=["x"],
            backend="local",
            resources=Resources(walltime_s=10**6),
        )
    )
    with pytest.raises(CampaignError) as refused:
        check_limits(
            Workflow(tasks),
            {"cluster": limits(Partition(name="p", walltime_s=60))},
            "cluster",
        )
    assert str(refused.value) == (
        "task 't1': resources: backend cluster can never give walltime_s=120, "
        "but a job in partition p gets at most 60 (and 1 more tasks like it)"
    )


def test_only_a_person_who_asks_now_is_told_of_closed_partitions() -> None:
    task = Workflow([Task(TaskId("a"), command=["x"])])
    closed = {"cluster": limits(Partition(name="p", state="DRAIN"))}
    check_limits(task, closed, "cluster")
    with pytest.raises(
        CampaignError,
        match=r"^task 'a': resources: backend cluster cannot give partition='p', which",
    ):
        check_limits(task, closed, "cluster", now=True)
    check_limits(task, {}, "cluster", now=True)


def test_one_machine_counts_the_cpus_of_all_tasks() -> None:
    assert ClusterLimits(cpus=4).excess(Resources(cpus=2, ntasks=2)) is None
    assert ClusterLimits(cpus=4).excess(Resources(cpus=2, ntasks=3)) == (
        "ntasks=3 with cpus=2, but one job gets at most 4 cpus"
    )
