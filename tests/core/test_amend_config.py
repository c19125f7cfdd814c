"""Another config for a run: what may be changed of it, when, and what is told of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import attrs
import pytest

from matterstack.backends.registry import KINDS
from matterstack.core.documents.amended_config import as_kept, with_settings
from matterstack.core.documents.config import merge, parse_config
from matterstack.core.errors import ConfigError, RefusedError
from matterstack.core.operators import ASKED
from matterstack.core.run import facts as f
from matterstack.core.run import messages as m
from matterstack.core.run.config_changes import config_changes, told_change
from matterstack.core.run.scrubbing import scrubbed
from matterstack.core.secret_words import Search
from matterstack.core.states import RunStatus
from tests.core.test_history import found
from tests.support.states import CLUSTER, LOCAL, ToldRun, comparable, task


def amendment(run: ToldRun, changes: Mapping[str, Any], **fields: Any) -> m.AmendConfig:
    """What asks for these changes of the config that the run has."""
    before = run.state.config
    return m.AmendConfig(by="ann", before=before, config=merge(before, changes), **fields)


def without(run: ToldRun, backend: str, **changes: Any) -> m.AmendConfig:
    asked = amendment(run, changes)
    backends = {name: one for name, one in asked.config["backends"].items() if name != backend}
    return attrs.evolve(asked, config={**asked.config, "backends": backends})


def with_a_job() -> ToldRun:
    run = ToldRun.running(task("a"), task("b", "a"))
    run.activate("a")
    return run


def test_from_the_amendment_on_the_state_has_the_new_config_and_the_fact_tells_old_and_new() -> None:
    run = ToldRun.running(task("a"))
    asked = amendment(run, {"priority": 3, "backends": {"cluster": {"max_jobs": 7}}}, reason="Christmas")
    [fact] = run.tell(asked)
    assert isinstance(fact, f.ConfigAmended)
    assert [told_change(change) for change in fact.changes] == [
        "priority: 1 -> 3",
        "backends.cluster.max_jobs: 100 -> 7",
    ]
    assert (fact.by, fact.reason) == ("ann", "Christmas")
    assert (run.state.priority, run.state.backend_cap(CLUSTER)) == (3, 7)
    assert run.tell(amendment(run, {"priority": 3})) == [], "what is so already is no change"


def test_a_lowered_cap_ends_nothing_and_lets_nothing_new_begin() -> None:
    run = ToldRun.running(*(task(f"t{n}") for n in range(6)))
    run.prepare(seats=4)
    run.tell(amendment(run, {"max_hpc_jobs_per_run": 2}))
    assert len(run.state.live) == 4
    assert run.tell(m.Prepare(backend=LOCAL, seats=4)) == []
    assert found([fact for _, fact in run.facts]) == []


def test_tasks_that_wait_for_a_seat_go_to_the_new_default_backend() -> None:
    run = ToldRun.running(task("a"), task("b", backend="local"), task("c", "a"))
    run.tell(amendment(run, {"default_backend": "cluster"}))
    assert (run.state.ready_count(LOCAL), run.state.ready_count(CLUSTER)) == (1, 1)
    assert comparable(run.refolded()) == comparable(run.state)


def test_of_two_who_amend_at_once_the_second_is_told_what_the_first_has_changed() -> None:
    run = ToldRun.running(task("a"))
    first, second = amendment(run, {"priority": 3}), amendment(run, {"max_hpc_jobs_per_run": 5})
    run.tell(first)
    with pytest.raises(RefusedError, match="changed meanwhile: priority: 1 -> 3"):
        run.tell(second)
    assert run.state.job_cap == 10


@pytest.mark.parametrize("ends", [[m.Cancel(by="bob")], [m.Cancel(by="bob"), m.Settle()]])
def test_a_run_that_is_cancelled_takes_no_amendment(ends: list[m.Message]) -> None:
    run = with_a_job() if len(ends) == 1 else ToldRun.running(task("a"))
    run.tell(*ends)
    with pytest.raises(RefusedError, match=r"is (CANCELLED|being cancelled): nothing"):
        run.tell(amendment(run, {"priority": 3}))


def test_a_failed_run_takes_amendments_and_stays_failed_until_it_is_retried() -> None:
    run = ToldRun.running(task("a"))
    run.fail("a")
    run.tell(m.Settle())
    run.tell(amendment(run, {"priority": 3}))
    assert run.state.status is RunStatus.FAILED
    run.tell(m.Retry(by="ann"))
    assert (run.state.status, run.state.priority) == (RunStatus.RUNNING, 3)
    assert found([fact for _, fact in run.facts]) == []


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (
            lambda run: amendment(run, {"backends": {"local": {"type": "slurm"}}}),
            "backends.local.type cannot be changed from local to slurm while attempt 1 of task a is live",
        ),
        (lambda run: without(run, "local", default_backend="cluster"), "backends.local cannot be taken away"),
        (lambda run: amendment(run, {"secrets": ["TOKEN"]}), "secrets of run .* cannot be changed"),
        (lambda run: amendment(run, {"campaign_object": {"sha256": "x"}}), "campaign_object of run"),
        (
            lambda run: amendment(
                run, {"priority": 2}, moved={"local": "backends.local.ssh.host cannot change"}
            ),
            "backends.local.ssh.host cannot change while attempt 1 of task a",
        ),
    ],
)
def test_what_a_run_with_live_jobs_cannot_go_on_with_is_refused_in_one_sentence(
    asked: Any, words: str
) -> None:
    run = with_a_job()
    facts = len(run.facts)
    with pytest.raises(RefusedError, match=words) as refused:
        run.tell(asked(run))
    assert "\n" not in str(refused.value)
    assert refused.value.hint
    assert len(run.facts) == facts


def test_a_backend_goes_only_when_no_task_has_run_there_or_is_to_run_there() -> None:
    named = ToldRun.running(task("a", backend="cluster"))
    with pytest.raises(RefusedError, match="task a is to run there"):
        named.tell(without(named, "cluster"))
    used = with_a_job()
    used.end("a")
    with pytest.raises(RefusedError, match="task a has run there"):
        used.tell(without(used, "local", default_backend="cluster"))
    free = ToldRun.running(task("a"))
    [fact] = free.tell(without(free, "cluster"))
    assert isinstance(fact, f.ConfigAmended)
    assert [change.path for change in fact.changes if change.is_gone] == ["backends.cluster"]


def test_a_job_by_hand_keeps_the_backend_that_it_was_asked_for() -> None:
    params = {"instructions": "submit it"}
    run = ToldRun.running(task("a", operator="manual_hpc", params=params))
    run.prepare(backend=ASKED)
    assert run.state.asking == 1
    with pytest.raises(RefusedError, match="default_backend cannot be changed"):
        run.tell(amendment(run, {"default_backend": "cluster"}))
    with pytest.raises(RefusedError, match=r"backends\.local\.type"):
        run.tell(amendment(run, {"backends": {"local": {"type": "slurm"}}}))


def test_check_knows_an_amendment_that_was_never_decided() -> None:
    run = with_a_job()
    run.tell(amendment(run, {"priority": 3}))
    facts = [fact for _, fact in run.facts]
    [amended] = [fact for fact in facts if isinstance(fact, f.ConfigAmended)]
    place = facts.index(amended)

    def problems(fact: f.ConfigAmended) -> list[str]:
        return [problem.rule for problem in found([*facts[:place], fact])]

    assert problems(amended) == []
    assert problems(attrs.evolve(amended, changes=())) == ["amended"]
    silent = {**amended.config, "max_hpc_jobs_per_run": 99}
    assert problems(attrs.evolve(amended, config=silent)) == ["amended"]
    gone = {**amended.config, "backends": {"cluster": amended.config["backends"]["cluster"]}}
    told = config_changes(facts[0].config, gone)  # type: ignore[union-attr]
    assert problems(attrs.evolve(amended, config=gone, changes=told)) == ["amended"]

    run.tell(m.Cancel(by="bob"))
    run.end("a")
    run.tell(m.Collected(token=run.token("a")), m.Settle())
    ended = [fact for _, fact in run.facts]
    further = {**run.state.config, "priority": 4}
    late = attrs.evolve(amended, config=further, changes=config_changes(run.state.config, further))
    assert [problem.rule for problem in found([*ended, late])] == ["ended"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "it changes nothing"),
        ({"backends": {"local": {"type": "slurm"}}}, "type cannot be changed"),
        ({"secrets": ["API_TOKEN"]}, "secrets of run .* cannot be changed"),
    ],
)
def test_check_knows_an_amendment_that_the_run_could_not_go_on_with(
    changes: dict[str, Any], words: str
) -> None:
    run = with_a_job()
    config = merge(run.state.config, changes)
    told = config_changes(run.state.config, config)
    forged = f.ConfigAmended(by="x", changes=told, config=config)
    (problem,) = found([*(fact for _, fact in run.facts), forged])
    assert problem.rule == "amended"
    assert re.search(words, problem.problem)


def test_check_knows_an_attempt_that_is_not_where_the_config_in_force_says() -> None:
    run = ToldRun.running(task("a"))
    run.tell(amendment(run, {"default_backend": "cluster"}))
    run.prepare(backend=CLUSTER)
    facts = [fact for _, fact in run.facts]
    assert found(facts) == []
    (prepared,) = [fact for fact in facts if isinstance(fact, f.AttemptPrepared)]
    forged = attrs.evolve(prepared, backend=LOCAL)
    (problem,) = found([forged if fact is prepared else fact for fact in facts])
    assert problem.rule == "amended"
    assert "is on backend local, and its task is to run on cluster" in problem.problem


def test_a_config_with_the_value_of_a_secret_is_refused_by_its_name() -> None:
    run = ToldRun.running(task("a"))
    asked = amendment(run, {"params": {"key": "hunter2-hunter2"}})
    search = Search(values={"API_TOKEN": frozenset({b"hunter2-hunter2"})})
    with pytest.raises(RefusedError, match="API_TOKEN") as refused:
        scrubbed(asked, search)
    assert "hunter2" not in str(refused.value)


# ---- the config itself ----

OLD: Mapping[str, Any] = {
    "max_hpc_jobs_per_run": 10,
    "default_backend": "cluster",
    "priority": 1,
    "planning_timeout_s": 3600.0,
    "params": {},
    "backends": {
        "cluster": {"type": "slurm", "max_jobs": 9, "partition": "main"},
        "local": {"type": "local", "max_jobs": 2},
    },
    "campaign_object": {"class": "Screening", "sha256": "ab"},
}


def set_in(before: Mapping[str, Any], **settings: Any) -> dict[str, Any]:
    layers = with_settings(before, settings, before_name="the config of run x", settings_name="--config")
    return as_kept(parse_config(layers, KINDS), before)


def test_a_run_that_is_older_than_a_key_shows_no_change_of_it() -> None:
    told = [told_change(change) for change in config_changes(OLD, set_in(OLD, priority=2))]
    assert told == ["priority: 1 -> 2"]
    told = [told_change(change) for change in config_changes(OLD, set_in(OLD, max_output_gib=5.0))]
    assert told == ["max_output_gib: not set -> 5.0"]


def test_a_backend_of_another_type_begins_anew() -> None:
    made = set_in(OLD, backends={"cluster": {"type": "local", "max_jobs": 3}})
    assert made["backends"]["cluster"] == {
        "prologue_may_fail": False,
        "type": "local",
        "max_jobs": 3,
        "poll_interval_s": 5.0,
        "prologue": [],
    }
    assert made["campaign_object"] == OLD["campaign_object"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"prioriti": 2}, "--config: prioriti: unknown key; did you mean priority?"),
        ({"prologue": []}, "--config: prologue: unknown key; did you mean backends.cluster.prologue?"),
        (
            {"backends": {"cluster": {"partiton": "x"}}},
            "--config: backends.cluster.partiton: unknown key; did you mean partition?",
        ),
        (
            {"backends": {"cluster": {"ssh": {"host": "h", "workdir": "/w", "hots": "x"}}}},
            "--config: backends.cluster.ssh.hots: unknown key; did you mean host?",
        ),
        (
            {"backends": {"clustr": {"max_jobs": 1}}},
            "--config: backends.clustr.type: is missing (there are: local, slurm); did you mean cluster?",
        ),
        ({"share": "group"}, "--config: share: belongs into the config.json of the root, beside workspaces/"),
        ({"campaign_object": {}}, "--config: campaign_object: unknown key"),
        ({"zzz": 1}, "--config: zzz: unknown key"),
        ({"priority": {"x": 1}}, "--config: priority: input should be a valid integer, not {'x': 1}"),
    ],
)
def test_a_key_that_is_not_known_is_named_with_what_was_perhaps_meant(settings: Any, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        set_in(OLD, **settings)
    assert str(error.value) == words


def test_true_is_not_one_and_a_list_is_compared_by_what_is_in_it() -> None:
    before, after = {"a": 1, "b": [1, {"c": 2}], "d": 2}, {"a": True, "b": [1, {"c": 2.0}], "d": 2.0}
    assert [change.path for change in config_changes(before, after)] == ["a"]
