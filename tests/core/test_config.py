"""``config.json``: each mistake has one clear message, with the file that holds it and the field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from matterstack.backends.local_config import LocalBackendConfig
from matterstack.backends.registry import KINDS
from matterstack.backends.slurm.config import SlurmBackendConfig
from matterstack.core.documents.config import RunConfig, merge, nested, parse_config
from matterstack.core.errors import ConfigError
from matterstack.storage.codec import dumps

NAMES = {"site": "site.json", "workspace": "config.json", "option": "--set"}


def parsed(**layers: Any) -> RunConfig:
    """Lay ``site``, ``workspace`` and ``option`` over each other; a str is the text of a file."""
    texts = {NAMES[key]: one if isinstance(one, str) else json.dumps(one) for key, one in layers.items()}
    return parse_config(texts, KINDS)


def message(**layers: Any) -> str:
    """The one line that says what is wrong."""
    with pytest.raises(ConfigError) as wrong:
        parsed(**layers)
    assert (wrong.value.code, wrong.value.exit_code) == ("config", 2)
    assert "\n" not in str(wrong.value)
    return str(wrong.value)


def slurm(**keys: Any) -> dict[str, Any]:
    return {"backends": {"cluster": {"type": "slurm", **keys}}}


# ---- what is right ----


def test_without_any_file_jobs_run_on_this_machine() -> None:
    config = parse_config({}, KINDS)
    assert config == RunConfig(backends={"local": LocalBackendConfig(type="local")})
    assert (config.max_hpc_jobs_per_run, config.default_backend, config.priority) == (10, "local", 1)


def test_layers_merge_object_by_object_and_the_last_one_wins() -> None:
    config = parsed(
        site={"priority": 2, **slurm(partition="main", account="a"), "params": {"g": {"a": 1, "b": 2}}},
        workspace={
            "default_backend": "cluster",
            **slurm(max_jobs=7, account=None),
            "params": {"g": {"b": 3}},
        },
        option={"params": {"list": [1]}, "priority": 5},
    )
    assert (config.priority, config.default_backend) == (5, "cluster")
    assert config.params == {"g": {"a": 1, "b": 3}, "list": [1]}
    cluster = config.backends["cluster"]
    assert isinstance(cluster, SlurmBackendConfig)
    assert (cluster.partition, cluster.account, cluster.max_jobs) == ("main", None, 7)
    assert sorted(config.backends) == ["cluster", "local"]


def test_a_config_comes_back_from_its_own_json() -> None:
    config = parsed(
        workspace={**slurm(poll_interval_s=2, prologue=["module load x"]), "params": {"Å": [1.5]}}
    )
    assert parsed(workspace=config.model_dump(mode="json")) == config
    assert parsed(workspace=dumps(config.model_dump(mode="json"))) == config


def test_merge_replaces_all_but_objects() -> None:
    under = {"a": {"x": 1, "y": [1]}, "b": {"z": 1}, "c": 1}
    over = {"a": {"y": [2]}, "b": 2, "c": {"d": 3}}
    assert merge(under, over) == {"a": {"x": 1, "y": [2]}, "b": 2, "c": {"d": 3}}
    assert under == {"a": {"x": 1, "y": [1]}, "b": {"z": 1}, "c": 1}


def test_a_dotted_key_makes_an_object_in_an_object() -> None:
    assert nested("priority", 3) == {"priority": 3}
    assert nested("params.a.b", [1]) == {"params": {"a": {"b": [1]}}}
    assert nested("params", {"a": 1}) == {"params": {"a": 1}}


@pytest.mark.parametrize("key", ["", ".", "params.", ".n", "a..b"])
@pytest.mark.parametrize("value", [1, {"x": 1}])
def test_a_dotted_key_with_an_empty_part_is_refused(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match="a key is empty"):
        nested(key, value)


# ---- what is wrong ----

LEAST = "input should be greater than or equal to 1, not 0"
NO_NAME = "is no name of a backend: it has letters"
SECONDS = "backends.cluster.poll_interval_s: input should be"
WRONG: dict[str, tuple[Any, str]] = {
    "unknown key": ({"priorty": 2}, "priorty: unknown key"),
    "two mistakes": ({"priorty": 2, "priority": 0}, f"priority: {LEAST}; priorty: unknown key"),
    "text": ({"max_hpc_jobs_per_run": "9"}, "max_hpc_jobs_per_run: input should be a valid integer, not '9'"),
    "true": ({"priority": True}, "priority: input should be a valid integer, not True"),
    "a fraction": ({"priority": 1.5}, "priority: input should be a valid integer, not 1.5"),
    "null": ({"priority": None}, "priority: input should be a valid integer, not None"),
    "too small": ({"max_hpc_jobs_per_run": 0}, f"max_hpc_jobs_per_run: {LEAST}"),
    "a list for an object": ({"params": [1]}, "params: input should be a valid dictionary, not [1]"),
    "backends is a list": ({"backends": []}, "backends: input should be a valid dictionary, not []"),
    "unknown default": ({"default_backend": "x"}, "default_backend: 'x' is not in backends (it has: local)"),
    "default is 1": ({"default_backend": 1}, "default_backend: input should be a valid string, not 1"),
    "unknown type": ({"backends": {"x": {"type": "pbs"}}}, "backends.x.type: 'pbs' is no type of backend"),
    "no type": ({"backends": {"x": {"max_jobs": 1}}}, "backends.x.type: is missing (there are: local, slurm"),
    "a type that is no text": ({"backends": {"x": {"type": []}}}, "backends.x"),
    "a backend's unknown key": (slurm(partitions="x"), "backends.cluster.partitions: unknown key"),
    "a backend's number": (slurm(max_jobs=0), f"backends.cluster.max_jobs: {LEAST}"),
    "text for seconds": (slurm(poll_interval_s="5"), f"{SECONDS} a valid number, not '5'"),
    "true for seconds": (slurm(poll_interval_s=True), f"{SECONDS} a valid number, not True"),
    "zero seconds": (slurm(poll_interval_s=0), f"{SECONDS} greater than 0, not 0"),
    "in a list": (
        slurm(prologue=["a", 1]),
        "backends.cluster.prologue.1: input should be a valid string, not 1",
    ),
    "a backend that is null": ({"backends": {"local": None}}, "backends.local: "),
    "a backend that is text": ({"backends": {"x": "local"}}, "backends.x: "),
    "slurm's key for local": (
        {"backends": {"local": {"partition": "x"}}},
        "backends.local.partition: unknown",
    ),
    "not JSON": ("{'a': 1}", "not valid JSON: line 1, column 2: names and texts stand"),
    "empty": ("", "not valid JSON: the file is empty"),
    "a trailing comma": ('{"priority": 1,}', "not valid JSON: "),
    "a key twice": ('{"priority": 2, "params": {}, "priority": 3}', "'priority' stands there twice"),
    "a key twice inside": ('{"params": {"n": 1, "n": 1}}', "'n' stands there twice"),
    "a key twice, written differently": (r'{"params": {"n": 1, "\u006e": 2}}', "'n' stands there twice"),
    "a way out for a name": ({"backends": {"../../x": {"type": "local"}}}, f"backends: '../../x' {NO_NAME}"),
    "a blank in a name": ({"backends": {"a b": {"type": "local"}}}, f"backends: 'a b' {NO_NAME}"),
    "an empty name": ({"backends": {"": {"type": "local"}}}, f"backends: '' {NO_NAME}"),
    "a long name": ({"backends": {"x" * 101: {"type": "local"}}}, f"backends: '{'x' * 101}' {NO_NAME}"),
    "the root's own key": ({"share": "group"}, "share: belongs into the config.json of the root"),
    "a list": ("[]", "must be a JSON object, not list"),
    "null as a whole": ("null", "must be a JSON object, not NoneType"),
    "NaN": ('{"params": {"x": NaN}}', "not valid JSON: NaN is no number that JSON knows"),
    "infinite seconds": ('{"planning_timeout_s": 1e999}', "not valid JSON: a number in it is too large"),
    "half a pair": (r'{"params": {"x": "\ud800"}}', "not valid JSON: a text in it holds half a character"),
    "deep": ('{"params": ' * 101 + "1" + "}" * 101, "not valid JSON: it is nested more than 100"),
    "very deep": ("[" * 100_000, "not valid JSON: too many brackets"),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("layer", ["site", "workspace", "option"])
def test_a_mistake_is_said_with_the_file_that_holds_it_and_the_field(case: str, layer: str) -> None:
    content, words = WRONG[case]
    layers: dict[str, Any] = {
        "site": {"planning_timeout_s": 60},
        "workspace": {},
        "option": {"planning_timeout_s": 9},
    }
    assert message(**{**layers, layer: content}).startswith(f"{NAMES[layer]}: {words}")


BLAME: dict[str, tuple[dict[str, Any], str]] = {
    "the topmost one that has the field": (
        {"site": {"priority": 2}, "workspace": {"priority": 0}},
        "workspace",
    ),
    "a null hides what is below": ({"site": {"priority": 2}, "workspace": {"priority": None}}, "workspace"),
    "of a backend that both have": (
        {"site": slurm(max_jobs=0), "workspace": slurm(poll_interval_s=5)},
        "site",
    ),
    "the default that was set over a good one": (
        {"site": {"default_backend": "local"}, "option": {"default_backend": "moon"}},
        "option",
    ),
    "an item of a list": ({"site": slurm(prologue=[1]), "workspace": slurm(max_jobs=2)}, "site"),
    "the first of two mistakes": ({"site": {"priority": 0}, "workspace": {"priorty": 1}}, "site"),
}


@pytest.mark.parametrize("case", BLAME)
def test_of_two_files_the_one_that_holds_the_mistake_is_blamed(case: str) -> None:
    layers, layer = BLAME[case]
    assert message(**layers).startswith(f"{NAMES[layer]}: ")


@pytest.mark.parametrize(
    "text",
    [
        '{"default_backend": "%s"}',
        '{"backends": {"%s": {"type": "local"}}}',
        '{"backends": {"local": {"type": "%s"}}}',
        '{"priority": "%s"}',
        '{"%s": 1}',
        '{"%s": 1, "%s": 2}',
    ],
)
def test_what_somebody_wrote_at_length_is_quoted_in_short(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_config({"config.json": text.replace("%s", "x" * 100_000)}, KINDS)
    assert len(str(refused.value)) < 400


def test_many_wrong_keys_are_one_sentence() -> None:
    text = json.dumps({f"key{n}": 1 for n in range(1000)})
    with pytest.raises(ConfigError, match=r"key0: unknown key; .*and 992 more$") as refused:
        parse_config({"config.json": text}, KINDS)
    assert len(str(refused.value)) < 400
