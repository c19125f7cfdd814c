"""Kinds of backend are found by their names; our own without a look at what is installed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from matterstack.backends import registry
from matterstack.backends.absent import AbsentBackend
from matterstack.backends.kinds import BackendKind
from matterstack.backends.registry import BUILT_IN, GROUP, KINDS, OptionRules, find_kind, make_backend
from matterstack.core.errors import BackendError
from matterstack.core.ids import BackendName
from matterstack.core.model.resources import Resources
from matterstack.core.scheduler_words import PLAIN
from matterstack.storage.layout import Root


def test_the_kinds_of_matterstack_are_declared_as_those_of_others_are() -> None:
    declared = {entry.name: entry.value for entry in entry_points(group=GROUP) if entry.name in BUILT_IN}
    assert declared == dict(BUILT_IN), "after a change of pyproject.toml: pip install --no-deps -e ."


@pytest.mark.parametrize("type_", sorted(BUILT_IN))
def test_our_own_are_found_without_a_look_at_all_packages(
    type_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_entry_points", None)
    find_kind.cache_clear()
    assert isinstance(find_kind(type_), BackendKind)
    model = KINDS.config_model(type_)
    assert model is not None
    assert model.model_validate({"type": type_}).type == type_


def test_a_word_that_nobody_has_is_no_kind() -> None:
    assert find_kind("pbs") is None
    assert KINDS.config_model("pbs") is None
    assert set(KINDS.names()) >= {"local", "slurm"}


@pytest.mark.usefixtures("processes")
def test_an_engine_that_needs_no_cluster_imports_nothing_of_one() -> None:
    program = (
        "import sys\n"
        "import matterstack.engine, matterstack.usecases.explain, matterstack.campaign.process\n"
        "from matterstack.backends.registry import KINDS, OptionRules, words_of\n"
        "KINDS.config_model('local'); words_of({'type': 'local'})\n"
        "print([name for name in sys.modules if 'slurm' in name])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


async def test_a_backend_whose_kind_is_gone_can_be_asked_for_nothing(tmp_path: Path) -> None:
    backend = make_backend(BackendName("x"), {"type": "gone", "max_jobs": 1}, Root(tmp_path))

    assert isinstance(backend, AbsentBackend)
    with pytest.raises(BackendError, match="'gone' is no type of backend any more"):
        await backend.probe()
    with pytest.raises(BackendError):
        await backend.poll([])
    assert (await backend.submit([])).accepted == {}
    assert registry.words_of({"type": "gone"}) == PLAIN
    assert str(registry.whereabouts({"type": "gone"}, Root(tmp_path), tmp_path)) == str(tmp_path)


def test_options_are_held_to_the_rules_of_the_backend_that_the_job_goes_to() -> None:
    rules = OptionRules({"here": "slurm", "there": "gone"}, "here")
    wanted = Resources(extra={"partition": "x"})

    assert list(rules(None, wanted)) == list(rules("here", wanted)) != []
    assert list(rules("there", wanted)) == []


FROZEN: Mapping[str, Mapping[str, Any]] = {
    "local": {"type": "local", "max_jobs": 2, "poll_interval_s": 5.0, "prologue": []},
    "slurm": {
        "type": "slurm", "max_jobs": 100, "poll_interval_s": 10.0, "command_timeout_s": 60.0,
        "grace_period_s": 30.0, "runaway_after_s": 3600.0, "partition": "main", "account": None, "qos": None,
        "constraint": None, "reservation": None, "extra": {"exclusive": ""}, "prologue": ["module load vasp"],
        "ssh": {"host": "login", "workdir": "/scratch/ann", "options": ["-p", "2222"]},
    },
}  # fmt: skip
"""As runs of version 0.2.0 have them."""


@pytest.mark.parametrize("type_", FROZEN)
def test_what_runs_have_frozen_goes_on_making_their_backends(type_: str, tmp_path: Path) -> None:
    backend = make_backend(BackendName("x"), FROZEN[type_], Root(tmp_path))

    assert not isinstance(backend, AbsentBackend)
    assert backend.poll_interval_s == FROZEN[type_]["poll_interval_s"]
    model = KINDS.config_model(type_)
    assert model is not None
    added = {"prologue_may_fail": False}
    assert model.model_validate(FROZEN[type_]).model_dump(mode="json") == {**added, **FROZEN[type_]}


async def test_a_frozen_config_that_its_kind_refuses_now_is_told(tmp_path: Path) -> None:
    backend = make_backend(BackendName("x"), {"type": "local", "odd": 1}, Root(tmp_path))

    with pytest.raises(BackendError, match="its config is no good for 'local' any more: odd: unknown key"):
        await backend.probe()


@pytest.mark.parametrize("name", ["../../x", "a/b", ".x", "x\n", "x" * 201])
async def test_a_name_that_leads_elsewhere_is_used_for_no_file_in_a_run_of_an_older_version(
    name: str, tmp_path: Path
) -> None:
    backend = make_backend(BackendName(name), {"type": "local"}, Root(tmp_path))
    assert isinstance(backend, AbsentBackend)
    with pytest.raises(BackendError, match="is no name of a backend"):
        await backend.probe()
    assert not Root(tmp_path).private.exists()


def test_a_harmless_name_of_an_older_version_still_has_its_backend(tmp_path: Path) -> None:
    backend = make_backend(BackendName("my cluster"), {"type": "local"}, Root(tmp_path))
    assert not isinstance(backend, AbsentBackend)
