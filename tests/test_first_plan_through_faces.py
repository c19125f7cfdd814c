"""A run whose first jobs could never run is made by no face, and each says the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
import trio

import matterstack
from matterstack import CampaignError, Resources, Task, Workflow
from matterstack.backends.slurm.partition_limits import ClusterLimits, Partition
from matterstack.core.ids import TaskId
from matterstack.core.model.workflow_check import without_drained
from tests.backends.conftest import Shims, shims
from tests.support.campaigns import ONE_ROUND, write_workspace
from tests.support.command import CommandLine

__all__ = ["shims"]

CLUSTER: Final = {"type": "slurm", "poll_interval_s": 0.3, "grace_period_s": 1.0}
CONFIG: Final = {"default_backend": "cluster", "backends": {"cluster": CLUSTER}}
TOO_MUCH: Final = {"cpus": 5, "memory_mib": 20}
REFUSAL: Final = (
    "task 'bad': resources: backend cluster can never give cpus=5, "
    "but a node of partition main gives at most 4"
)


@attrs.frozen
class Greedy:
    """A campaign of a host program that asks for more than there is."""

    def plan(self, state: Any, results: Any) -> Workflow | None:  # noqa: ARG002
        return Workflow([Task("bad", command=["true"], resources=Resources(**TOO_MUCH))])  # type: ignore[arg-type]

    def analyze(self, state: Any, results: Any) -> Any:  # noqa: ARG002
        return {}


def write(root: Path, *tasks: dict[str, Any]) -> None:
    write_workspace(root, "w", ONE_ROUND, config=CONFIG, files={"tasks.json": json.dumps(tasks)})


def by_command(command: str) -> Callable[[CommandLine], str]:
    def make(command_line: CommandLine) -> str:
        done = command_line.run("run", command, "w", "--json")
        assert (done.exit_code, done.stdout, done.error["code"]) == (2, "", "campaign")
        return done.error["message"]

    return make


def by_embedding(command_line: CommandLine) -> str:
    return _started(command_line.root, "w", {})


def by_object(command_line: CommandLine) -> str:
    said = _started(command_line.root, Greedy(), CONFIG)
    assert not (command_line.root / "workspaces" / "greedy").exists()
    return said


def _started(root: Path, campaign: Any, settings: dict[str, Any]) -> str:
    async def body() -> None:
        async with matterstack.open_engine(root) as engine:
            await engine.start(campaign, settings=settings)

    with pytest.raises(CampaignError) as refused:
        trio.run(body)
    return str(refused.value)


FACES: Final = {
    "run init": by_command("init"),
    "run start": by_command("start"),
    "embedding": by_embedding,
    "an object": by_object,
}


@pytest.mark.parametrize("make", FACES.values(), ids=FACES)
@pytest.mark.usefixtures("slurm_env")
def test_what_can_never_run_is_refused_by_each_face_and_no_run_is_left(
    command_line: CommandLine, make: Callable[[CommandLine], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(command_line.home))
    write(command_line.root, {"id": "bad", "command": ["true"], "resources": TOO_MUCH})
    assert make(command_line) == REFUSAL
    assert list(command_line.root.glob("workspaces/*/runs")) == []
    assert command_line.json("run", "list") == []


@pytest.mark.parametrize("face", ["run init", "run start", "embedding"])
@pytest.mark.parametrize("type_", ["local", "slurm"])
def test_a_campaign_that_cannot_be_loaded_is_refused_by_each_face_wherever_its_jobs_are(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch, face: str, type_: str
) -> None:
    monkeypatch.setenv("HOME", str(command_line.home))
    config = {"default_backend": "b", "backends": {"b": {"type": type_}}}
    folder = write_workspace(command_line.root, "w", "def get_campaing(): ...\n", config=config)
    assert FACES[face](command_line) == f"{folder / 'campaign.py'}: has no function get_campaign()"
    assert not (folder / "runs").exists()
    assert command_line.json("run", "list") == []


@pytest.mark.usefixtures("slurm_env")
def test_what_may_be_right_in_time_is_a_warning_and_what_stays_so_ends_its_task(
    command_line: CommandLine, shims: Shims
) -> None:
    shims.add("scontrol", 'exec "$REAL" "$@" | sed s/State=DOWN/State=DRAIN/')
    resources = {"memory_mib": 20}
    write(
        command_line.root,
        {"id": "a", "command": ["true"], "resources": {**resources, "partition": "closed"}},
        {"id": "b", "command": ["true"], "resources": resources, "files": {"x": "not-yet.dat"}},
    )
    done = command_line.run("run", "init", "w")
    assert done.exit_code == 0, done.stderr
    drained, missing = done.stderr.splitlines()
    assert drained.startswith("Warning: task 'a': resources: backend cluster cannot give partition='closed'")
    assert drained.endswith("which starts no jobs: it is DRAIN")
    assert missing == (
        "Warning: task b would fail: files: 'x' cannot be copied from not-yet.dat: No such file or directory"
    )
    write(command_line.root, {"id": "b", "command": ["true"], "files": {"x": "not-yet.dat"}})
    started = command_line.run("run", "start", "w")
    assert started.exit_code == 1
    assert "Warning: task b would fail: files: 'x' cannot be copied from not-yet.dat" in started.stderr
    run_id = command_line.json("run", "list")[-1]["run_id"]
    assert "'x' cannot be copied from not-yet.dat" in command_line.tasks(run_id)["b"]["reason"]


def test_only_a_partition_that_is_drained_is_left_out_and_tasks_like_it_are_counted() -> None:
    partitions = [
        Partition(name="up"), Partition(name="down", state="DOWN"), Partition(name="drain", state="DRAIN"),
    ]  # fmt: skip
    limits = ClusterLimits(partitions={partition.name: partition for partition in partitions})
    named = {"a": "up", "b": "down", "c": "drain", "d": "drain", "e": "down,drain", "f": "up,drain"}
    tasks = [
        Task(TaskId(name), command=["x"], resources=Resources(partition=partition))
        for name, partition in named.items()
    ]
    drained = without_drained(Workflow(tasks), {"cluster": limits}, "cluster")
    assert [task.id for task in drained.others.tasks] == ["a", "b", "f"]
    like_it, alone = drained.warnings
    start = "resources: backend cluster cannot give partition="
    drain = "'drain', which starts no jobs: it is DRAIN"
    assert like_it == f"task 'c': {start}{drain} (and 1 more tasks like it)"
    down = "'down', which starts no jobs: it is DOWN"
    assert alone == f"task 'e': {start}{down}; partition={drain}"
