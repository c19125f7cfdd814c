"""What a real cluster says of its partitions, and that it is right: what is called impossible never runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from matterstack.backends.slurm.backend import SlurmBackend
from matterstack.backends.slurm.config import SlurmBackendConfig
from matterstack.backends.slurm.partition_limits import Admission, ClusterLimits, NodeKind
from matterstack.backends.slurm.partitions import (
    Submitter,
    parse_nodes,
    parse_partitions,
    read_partitions,
)
from matterstack.backends.slurm.programs import Finished
from matterstack.backends.slurm.sbatch_options import sbatch_options
from matterstack.core.errors import BackendError
from matterstack.core.ids import BackendName
from matterstack.core.model.resources import Resources
from tests.support.polling import wait_until
from tests.support.slurm_cluster import SlurmCluster

NEW = {
    "narrow": "Nodes=n1,n2 MaxNodes=1 MaxCPUsPerNode=2 MaxMemPerNode=1000 MaxTime=2:00",
    "foreign": "Nodes=ALL AllowAccounts=test",
    "special": "Nodes=ALL AllowQos=paid",
    "booked": "Nodes=ALL ReqResv=YES",
}


@pytest.fixture
def cluster(slurm_env: SlurmCluster) -> Iterator[SlurmCluster]:
    """With some more partitions, which are gone after the test."""
    for name, options in NEW.items():
        slurm_env.run("scontrol", "create", f"PartitionName={name}", *options.split())
    yield slurm_env
    slurm_env.cancel_all_jobs()
    for name in NEW:
        wait_until(partial(is_deleted, slurm_env, name), 20, f"the end of partition {name}")


def is_deleted(cluster: SlurmCluster, name: str) -> bool:
    """Slurm deletes no partition that has jobs."""
    return cluster.run("scontrol", "delete", f"PartitionName={name}", check=False).returncode == 0


def backend(folder: Path, **config: Any) -> SlurmBackend:
    return SlurmBackend(
        BackendName("cluster"),
        SlurmBackendConfig(type="slurm", **config),
        folder / "lock",
    )


@pytest.mark.usefixtures("cluster")
async def test_partitions_and_nodes_are_read_as_they_are(tmp_path: Path) -> None:
    limits = await backend(tmp_path).probe()
    assert limits.unread == ""
    known = {"main", "short", "low", "lowcancel", "high", "closed", "rootless"}
    assert set(limits.partitions) == known | set(NEW)
    assert limits.defaults == {"partition": "main"}
    short, narrow = limits.partitions["short"], limits.partitions["narrow"]
    assert set(short.nodes) == {
        NodeKind(count=1, cpus=4, memory_mib=4000, features=frozenset({f"f{i}", "all"})) for i in (1, 2, 3)
    }
    assert (
        short.walltime_s,
        short.most_nodes,
        short.cpus_per_node,
        short.memory_per_node_mib,
    ) == (60, *[None] * 3)
    assert (narrow.walltime_s, narrow.most_nodes) == (120, 1)
    assert (narrow.cpus_per_node, narrow.memory_per_node_mib, len(narrow.nodes)) == (
        2,
        1000,
        2,
    )
    assert limits.partitions["foreign"].accounts == Admission(only=frozenset({"test"}))
    assert limits.partitions["special"].qos == Admission(only=frozenset({"paid"}))
    assert limits.partitions["booked"].needs_reservation
    assert limits.partitions["closed"].state == "DOWN"


IMPOSSIBLE: list[dict[str, Any]] = [
    {"cpus": 5},
    {"memory_mib": 4001},
    {"nodes": 4},
    {"nodes": 3, "ntasks": 13},
    {"ntasks": 3, "cpus": 2},
    {"gpus": 1},
    {"constraint": "f1", "nodes": 2},
    {"constraint": "f1&f2"},
    {"constraint": "avx"},
    {"partition": "none"},
    {"partition": "main,none"},
    {"partition": "short", "walltime_s": 61},
    {"partition": "narrow", "nodes": 2},
    {"partition": "narrow", "cpus": 3},
    {"partition": "narrow", "ntasks": 3},
    {"partition": "narrow", "memory_mib": 1001},
    {"partition": "narrow", "walltime_s": 121},
    {"partition": "foreign", "account": "root"},
    {"partition": "special", "qos": "normal"},
    {"partition": "booked"},
]
POSSIBLE: list[dict[str, Any]] = [
    {},
    {"cpus": 4, "memory_mib": 4000},
    {"nodes": 3, "cpus": 4},
    {"nodes": 3, "ntasks": 12},
    {"nodes": 2, "ntasks": 4, "cpus": 2},
    {"constraint": "f1"},
    {"constraint": "f1|f2", "nodes": 2},
    {"constraint": "all&f2"},
    {"partition": "short", "walltime_s": 60},
    {"partition": "short,main", "walltime_s": 120},
    {"partition": "narrow", "cpus": 2, "memory_mib": 1000, "walltime_s": 120},
    {"account": "root", "qos": "normal"},
    {"extra": {"exclusive": ""}},
]


async def test_what_is_called_impossible_never_runs(cluster: SlurmCluster, tmp_path: Path) -> None:
    limits = await backend(tmp_path).probe()
    for wanted in IMPOSSIBLE:
        assert limits.excess(Resources(**wanted)) is not None, wanted
    held_back = [job for wanted in IMPOSSIBLE if (job := submitted(cluster, **wanted)) is not None]
    ready = submitted(cluster)
    assert ready is not None
    # A job that came last has run by then, so the scheduler has looked at all of them.
    wait_until(partial(has_run, cluster, ready), 30, "a job that can run")
    assert {state_of(cluster, job) for job in held_back} <= {"PENDING"}


async def test_what_slurm_runs_is_not_called_impossible(cluster: SlurmCluster, tmp_path: Path) -> None:
    limits = await backend(tmp_path).probe()
    assert [limits.excess(Resources(**wanted)) for wanted in POSSIBLE] == [None] * len(POSSIBLE)
    jobs = {str(wanted): submitted(cluster, **wanted) for wanted in POSSIBLE}
    for wanted, job in jobs.items():
        assert job is not None, wanted
        wait_until(partial(has_run, cluster, job), 60, f"the end of a job with {wanted}")


def submitted(cluster: SlurmCluster, **wanted: Any) -> str | None:
    """The id of a real job; None when it is refused."""
    options = sbatch_options(Resources(**wanted), SlurmBackendConfig(type="slurm"))
    done = cluster.run(
        "sbatch",
        "--parsable",
        "--output=/dev/null",
        *options,
        "--wrap",
        "true",
        check=False,
    )
    return done.stdout.strip() if done.returncode == 0 else None


def state_of(cluster: SlurmCluster, job: str) -> str:
    return cluster.output("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T").strip()


def has_run(cluster: SlurmCluster, job: str) -> bool:
    return state_of(cluster, job) == "COMPLETED"


@pytest.mark.usefixtures("slurm_env")
async def test_a_closed_partition_is_told_apart_from_one_that_never_gives(tmp_path: Path) -> None:
    limits = await backend(tmp_path, partition="closed").probe()
    assert limits.excess(Resources()) is None
    assert limits.closed(Resources()) == "partition='closed', which starts no jobs: it is DOWN"
    assert limits.closed(Resources(partition="main")) is None


@pytest.mark.usefixtures("slurm_env")
async def test_the_config_and_the_users_own_variables_fill_in_what_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SBATCH_PARTITION", "short")
    assert (await backend(tmp_path).probe()).defaults == {"partition": "short"}
    configured = await backend(tmp_path, partition="low", qos="normal", constraint="f1").probe()
    assert configured.defaults == {
        "partition": "low",
        "qos": "normal",
        "constraint": "f1",
    }


async def test_a_qos_that_lifts_the_limit_of_time_is_heeded(slurm_env: SlurmCluster, tmp_path: Path) -> None:
    slurm_env.run("sacctmgr", "-i", "add", "qos", "marathon", "flags=PartitionTimeLimit")
    try:
        limits = await backend(tmp_path, partition="short").probe()
    finally:
        slurm_env.run("sacctmgr", "-i", "delete", "qos", "marathon")
    assert limits.excess(Resources(walltime_s=600)) is None, "it may be the job's"
    assert limits.excess(Resources(walltime_s=600, qos="marathon")) is None
    assert limits.excess(Resources(walltime_s=600, qos="normal")) == (
        "walltime_s=600, but a job in partition short gets at most 60"
    )


async def test_without_the_accounting_nothing_is_called_impossible_and_it_is_said(
    slurm_env: SlurmCluster, tmp_path: Path
) -> None:
    slurm_env.kill_accounting()
    limits = await backend(tmp_path, partition="short").probe()
    assert "Connection refused" in limits.unread
    assert limits.excess(Resources(walltime_s=600)) is None, "a QOS might lift it"


# ---- other users, other words ----

PARTITION = (
    "PartitionName=p AllowGroups={groups} AllowAccounts=ALL AllowQos=ALL Default=YES "
    "DisableRootJobs={disabled} MaxNodes=UNLIMITED MaxTime=7-00:00:00 MinNodes=2 MaxCPUsPerNode=UNLIMITED "
    "RootOnly={only} ReqResv=NO State=UP DenyAccounts=a,B MaxMemPerNode=UNLIMITED\n"
)
SINFO = (
    "PARTITION|NODES|CPUS|MEMORY|GRES|AVAIL_FEATURES\np|2|128|515000|gpu:a100:4(S:0-1),gpu:2,shard:8|x,y\n"
)


def told(partition: str, sinfo: str = SINFO) -> Any:
    async def answer(argv: Sequence[str]) -> str:
        return {"scontrol": partition, "sinfo": sinfo}[argv[0]]

    return answer


@pytest.mark.parametrize(
    ("values", "is_root", "groups", "refusal"),
    [
        ({}, False, {"users"}, ""),
        ({"groups": "chem,phys"}, False, {"users", "phys"}, ""),
        (
            {"groups": "chem,phys"},
            False,
            {"users"},
            "takes only users of the groups chem, phys",
        ),
        ({"groups": "chem"}, True, set(), ""),
        ({"disabled": "YES"}, True, set(), "takes no jobs of root"),
        ({"disabled": "YES"}, False, {"users"}, ""),
        ({"only": "YES"}, False, {"users"}, "takes jobs of root only"),
        ({"only": "YES"}, True, set(), ""),
    ],
)
async def test_a_partition_may_refuse_the_user(
    values: dict[str, str], is_root: bool, groups: set[str], refusal: str
) -> None:
    text = PARTITION.format(**{"groups": "ALL", "disabled": "NO", "only": "NO", **values})
    (read,) = await read_partitions(told(text), {}, Submitter(is_root, lambda: frozenset(groups)))
    assert read.refusal == refusal
    (of_nobody,) = await read_partitions(told(text), {}, None)
    assert of_nobody.refusal == ""


async def test_generic_resources_limits_and_denials_are_read() -> None:
    text = PARTITION.format(groups="ALL", disabled="NO", only="NO")
    settings = {
        "AccountingStorageType": "accounting_storage/slurmdbd",
        "MaxMemPerNode": "1000",
    }
    (read,) = await read_partitions(told(text), settings, None)
    assert read.nodes == (
        NodeKind(count=2, cpus=128, memory_mib=515000, gpus=6, features=frozenset({"x", "y"})),
    )
    assert (read.walltime_s, read.least_nodes, read.memory_per_node_mib) == (
        7 * 86400,
        2,
        1000,
    )
    assert read.accounts == Admission(denied=frozenset({"a", "b"}))
    (unchecked,) = await read_partitions(told(text), {}, None)
    assert unchecked.accounts == Admission(), "without accounting nobody asks for an account"


@pytest.mark.parametrize(
    ("partition", "sinfo", "words"),
    [
        ("", SINFO, "scontrol show partition printed no partition"),
        (
            "Welcome to the cluster!\n",
            SINFO,
            "scontrol show partition printed no partition",
        ),
        (
            "PartitionName=p AllowGro",
            SINFO,
            "scontrol show partition printed no partition",
        ),
        (PARTITION, "", "sinfo printed no whole table"),
        (PARTITION, SINFO[:-4], "sinfo printed no whole table"),
        (PARTITION, "p|2|128|515000|(null)|x\n", "sinfo printed no whole table"),
        (
            PARTITION,
            SINFO + "p|2|128+|515000|(null)|x\n",
            "sinfo printed a line that is not understood: 'p|2|128+",
        ),
    ],
)
async def test_what_is_not_whole_is_not_believed(partition: str, sinfo: str, words: str) -> None:
    with pytest.raises(BackendError) as wrong:
        await read_partitions(told(partition, sinfo), {}, None)
    assert words in str(wrong.value)


def test_banners_around_a_table_do_no_harm() -> None:
    assert parse_nodes(f"Maintenance on Friday | be warned\n{SINFO}Bye\n") == parse_nodes(SINFO)
    assert [p["PartitionName"] for p in parse_partitions(f"Hello\n{PARTITION}Bye State=UP\n")] == ["p"]


async def test_a_cluster_that_tells_nothing_of_partitions_is_used_all_the_same(
    tmp_path: Path,
) -> None:
    async def run(
        argv: Sequence[str],
        *,
        timeout_s: float,
        inherit: int | None = None,
        stdin: str = "",
    ) -> Finished:
        assert (timeout_s > 0, inherit, stdin) == (True, None, "")
        if argv[:3] == ("scontrol", "show", "config"):
            return Finished(
                0,
                "MaxArraySize = 11\nAccountingStorageType = accounting_storage/none\n",
                "",
            )
        return Finished(1, "", f"{argv[0]}: error: Access denied")

    config = SlurmBackendConfig(type="slurm")
    cluster = SlurmBackend(BackendName("c"), config, tmp_path / "lock", run=run)
    assert await cluster.probe() == ClusterLimits(unread="scontrol: Access denied")
    assert cluster.batch_limit == 11


def test_a_task_overrules_the_config_option_by_option() -> None:
    wanted = Resources(
        partition="p",
        account="a",
        qos="q",
        constraint="c",
        reservation="r",
        ntasks=4,
        nodes=2,
    )
    config = SlurmBackendConfig(
        type="slurm",
        partition="x",
        qos="y",
        extra={"exclusive": "", "mem-per-cpu": "5"},
    )
    assert sbatch_options(wanted, config) == [
        "--nodes=2", "--ntasks=4", "--cpus-per-task=1", "--partition=p", "--account=a", "--qos=q",
        "--constraint=c", "--reservation=r", "--exclusive", "--mem-per-cpu=5",
    ]  # fmt: skip
    few = Resources(memory_mib=100, extra={"exclusive": "user"})
    assert sbatch_options(few, config) == [
        "--nodes=1", "--ntasks-per-node=1", "--cpus-per-task=1", "--mem=100M", "--partition=x", "--qos=y",
        "--exclusive=user",
    ]  # fmt: skip
