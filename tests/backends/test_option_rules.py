"""Further options of the scheduler overrule no field, and nothing that the following of jobs needs."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest

from matterstack.backends.registry import KINDS, OptionRules
from matterstack.backends.slurm.option_rules import (
    NAMED,
    RESERVED,
    extra_problems,
    option_meant,
)
from matterstack.core.documents.config import parse_config
from matterstack.core.errors import CampaignError, ConfigError
from matterstack.core.ids import TaskId
from matterstack.core.model.resources import Resources
from matterstack.core.model.workflow import Task, Workflow
from matterstack.core.model.workflow_check import check_workflow
from matterstack.storage.codec import decode, encode

SOUND = {
    "exclusive": "", "licenses": "vasp:1", "gpus-per-task": "1", "gres": "tmp:1", "time-min": "5", "hold": "",
    "mail-type": "END", "exclude": "n1", "wait-all-nodes": "1", "export-file": "x", "nodelist": "n1",
    "mem-per-cpu": "100",
}  # fmt: skip


def problems(**fields: Any) -> list[str]:
    try:
        check_workflow(
            Workflow([Task(TaskId("a"), command=["x"], resources=Resources(**fields))]),
            {},
            ["local"],
            OptionRules({"local": "local"}, "local"),
        )
    except CampaignError as error:
        return str(error).removeprefix("the planned workflow cannot run: ").split("; ")
    return []


def test_other_options_pass() -> None:
    assert problems(extra=SOUND) == []


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("partition", "'partition' has a field of its own: use partition"),
        (
            "part",
            "'part' is a form of 'partition', which has a field of its own: use partition",
        ),
        (
            "p",
            "'p' is a form of 'partition', which has a field of its own: use partition",
        ),
        (
            "-p",
            "'-p' is a form of 'partition', which has a field of its own: use partition",
        ),
        (
            "--partition",
            "'--partition' is a form of 'partition', which has a field of its own: use partition",
        ),
        ("mem", "'mem' has a field of its own: use memory_mib"),
        ("time", "'time' has a field of its own: use walltime_s"),
        ("n", "'n' is a form of 'ntasks', which has a field of its own: use ntasks"),
        ("ntasks-per-node", "'ntasks-per-node' has a field of its own: use ntasks"),
        (
            "c",
            "'c' is a form of 'cpus-per-task', which has a field of its own: use cpus",
        ),
        (
            "constr",
            "'constr' is a form of 'constraint', which has a field of its own: use constraint",
        ),
        ("output", "'output' cannot be set: MatterStack decides on 'output' itself"),
        ("J", "'J' cannot be set: MatterStack decides on 'job-name' itself"),
        ("job", "'job' cannot be set: MatterStack decides on 'job-name' itself"),
        ("arr", "'arr' cannot be set: MatterStack decides on 'array' itself"),
        ("test", "'test' cannot be set: MatterStack decides on 'test-only' itself"),
        (
            "clusters",
            "'clusters' cannot be set: MatterStack decides on 'clusters' itself",
        ),
        ("version", "'version' cannot be set: MatterStack decides on 'version' itself"),
        ("", "'' is no long name of an option of sbatch (such as 'exclusive')"),
        ("x y", "'x y' is no long name of an option of sbatch (such as 'exclusive')"),
        ("L", "'L' is no long name of an option of sbatch (such as 'exclusive')"),
        (
            "licenses=vasp",
            "'licenses=vasp' is no long name of an option of sbatch (such as 'exclusive')",
        ),
    ],
)
def test_an_option_of_ours_is_refused_in_every_form_that_sbatch_knows(key: str, words: str) -> None:
    assert problems(extra={key: "1"}) == [f"task 'a': resources: extra: {words}"]


def test_two_kinds_of_memory_contradict_each_other() -> None:
    words = "'mem-per-cpu' and memory_mib ask for the same thing: set one of them"
    assert problems(memory_mib=100, extra={"mem-per-cpu": "10"}) == [f"task 'a': resources: extra: {words}"]


def test_the_options_of_a_config_are_held_to_the_same_rules() -> None:
    text = '{"backends": {"c": {"type": "slurm", "extra": {"exclusive": "", "part": "x"}}}}'
    with pytest.raises(ConfigError) as wrong:
        parse_config({"config.json": text}, KINDS)
    assert str(wrong.value) == (
        "config.json: backends.c.extra: 'part' is a form of 'partition', which has a field of its own: "
        "use partition"
    )


@pytest.mark.usefixtures("processes")
@pytest.mark.usefixtures("slurm_env")
def test_no_other_option_of_the_real_sbatch_is_taken_for_one_of_ours() -> None:
    text = subprocess.run(["sbatch", "--help"], capture_output=True, text=True, check=True).stdout
    real = {name for name in re.findall(r"--([a-z][a-z-]+)", text) if not name.endswith("-")}
    assert len(real) > 60
    assert {name for name in real if option_meant(name) != name} == set()
    ours = {*NAMED, *RESERVED} - {"workdir"}  # of older versions
    assert {name for name in ours if name in real} >= ours - {
        "open-mode",
        "test-only",
        "chdir",
        "wait",
        "usage",
    }
    assert list(extra_problems(dict.fromkeys(real - ours, ""), has_memory=False)) == []


def test_each_node_needs_a_task() -> None:
    with pytest.raises(ValueError, match=r"ntasks must be at least nodes \(4\), not 3"):
        Resources(nodes=4, ntasks=3)
    assert Resources(nodes=4, ntasks=4).ntasks == 4
    with pytest.raises(ValueError, match="ntasks must be at least 1"):
        Resources(ntasks=0)


def test_resources_come_back_from_the_store_and_those_of_older_versions_too() -> None:
    asked = Resources(
        ntasks=8,
        nodes=2,
        qos="long",
        constraint="a&b",
        reservation="r1",
        extra={"hold": ""},
    )
    assert decode(encode(asked), Resources) == asked
    assert decode('{"cpus": 2, "memory_mib": null, "extra": {}}', Resources) == Resources(cpus=2)
