"""What operators are given and what comes back is checked; each finding names the field and what to do."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matterstack.core.documents import responses as r
from matterstack.core.documents.manifests import (
    OPERATOR_MANIFESTS,
    ManifestError,
    OperatorManifest,
    read_manifest,
)
from matterstack.core.documents.operator_documents import (
    DirectHPCManifest,
    ExperimentAcknowledgement,
    GivenResources,
)
from matterstack.core.documents.root_config import ROOT_KEYS, parse_root_config
from matterstack.core.documents.schemas import CONFIG, CONFIGS, ROOT_CONFIG, SCHEMAS
from matterstack.core.documents.strict_json import MOST_BYTES, DocumentError, parse_document
from matterstack.core.model.resources import Growth, Resources
from matterstack.storage.codec import CONVERTER
from matterstack.usecases.configuration import installed_schema
from tests.support.campaigns import write_tasks
from tests.support.command import CommandLine

QUESTION: Final[dict[str, Any]] = {
    "question": "Which site does CO prefer?",
    "fields": {
        "energy": {"type": "number", "unit": "eV", "min": -10, "max": 10.5},
        "layers": {"type": "integer", "min": 1, "required": False},
        "site": {"type": "choice", "choices": ["top", "bridge"]},
        "stable": {"type": "boolean", "required": False},
        "why": {"type": "string", "required": False},
    },
}
GATE: Final[dict[str, Any]] = {"question": "Refine these five?"}
EXPERIMENT: Final[dict[str, Any]] = {
    "request": {"substrate_temperature_k": 620},
    "fields": {"thickness_nm": {"type": "number", "min": 0}},
}
GOOD: Final = {"human": QUESTION, "gate": GATE, "experiment": EXPERIMENT, "manual_hpc": {}}


# ---- manifests ----


@pytest.mark.parametrize("operator", GOOD)
def test_the_smallest_manifest_of_each_operator_is_taken_and_never_expires(operator: str) -> None:
    manifest = read_manifest(operator, GOOD[operator])
    assert type(manifest) is OPERATOR_MANIFESTS[operator]
    assert (manifest.expires_in_s, manifest.on_expiry) == (None, "fail")


def with_field(**field: Any) -> dict[str, Any]:
    return {"question": "?", "fields": {"x": field}}


BAD_MANIFESTS: Final[list[tuple[str, dict[str, Any], str]]] = [
    ("human", {}, "params.question: is missing; params.fields: is missing"),
    ("human", {**QUESTION, "question": " \n"}, "params.question: must not be blank"),
    ("human", {**QUESTION, "question": 5}, "params.question: must be a text in double quotes, not 5"),
    ("human", {**QUESTION, "fields": {}}, "params.fields: must have at least 1 item"),
    ("human", {**QUESTION, "fields": ["x"]}, "params.fields: must be an object {...}, not ['x']"),
    ("human", {**QUESTION, "colour": 1}, "params.colour: is no name that is known here"),
    ("human", {**QUESTION, "expires_in_s": 0}, "params.expires_in_s: must be greater than 0, not 0"),
    ("human", {**QUESTION, "expires_in_s": "60"}, "params.expires_in_s: must be a number, not '60'"),
    ("human", {**QUESTION, "expires_in_s": True}, "params.expires_in_s: must be a number, not True"),
    ("human", {**QUESTION, "expires_in_s": 1e12}, "params.expires_in_s: must be less than or equal to"),
    ("human", {**QUESTION, "expires_in_s": math.inf}, "params: must be JSON (Out of range"),
    ("human", {**QUESTION, "on_expiry": "approve"}, "params.on_expiry: must be 'fail' or 'default'"),
    (
        "human",
        {**QUESTION, "on_expiry": "default"},
        'params: default is given exactly when on_expiry is "default"',
    ),
    ("human", {**QUESTION, "default": {}}, 'params: default is given exactly when on_expiry is "default"'),
    (
        "human",
        {**QUESTION, "on_expiry": "default", "default": {"energy": 11, "site": "fcc"}},
        "params: default.energy: must be at most 10.5 eV, not 11; default.site: must be one of: top, bridge",
    ),
    ("human", with_field(), "params.fields.x.type: is missing (there are: number, integer, string"),
    ("human", with_field(type="colour"), "params.fields.x.type: colour is none of: number, integer"),
    ("human", with_field(type="number", min=2, max=1), "params.fields.x: min (2.0) is larger than max (1.0)"),
    ("human", with_field(type="integer", min=1.5), "params.fields.x.min: must be a whole number"),
    ("human", with_field(type="string", unit="eV"), "params.fields.x.unit: is no name that is known here"),
    ("human", with_field(type="number", choices=["a"]), "params.fields.x.choices: is no name that is known"),
    ("human", with_field(type="choice"), "params.fields.x.choices: is missing"),
    ("human", with_field(type="choice", choices=[]), "params.fields.x.choices: must have at least 1 item"),
    (
        "human",
        with_field(type="choice", choices=["a", "a"]),
        "params.fields.x.choices: 'a' stands there twice",
    ),
    ("human", with_field(type="choice", choices=["a", 1]), "params.fields.x.choices.1: must be a text"),
    ("human", with_field(type="number", required="no"), "params.fields.x.required: must be true or false"),
    (
        "human",
        {"question": "?", "fields": {"a b": {"type": "number"}}},
        "params.fields.a b: a name has letters",
    ),
    ("human", {"question": "?", "fields": {"": {"type": "number"}}}, "params.fields.'': a name has letters"),
    (
        "human",
        {"question": "?", "fields": {"x\n": {"type": "number"}}},
        r"params.fields.'x\n': a name has letters",
    ),
    ("human", {"question": "?", "fields": {"x" * 300: {"type": "number"}}}, "...: a name has letters"),
    ("gate", {}, "params.question: is missing"),
    ("gate", {**GATE, "on_expiry": "default"}, "params.on_expiry: must be 'fail', 'approve' or 'reject'"),
    ("gate", {**GATE, "fields": {}}, "params.fields: is no name that is known here"),
    ("experiment", {"fields": EXPERIMENT["fields"]}, "params.request: is missing"),
    ("experiment", {**EXPERIMENT, "request": [1]}, "params.request: must be an object {...}, not [1]"),
    (
        "experiment",
        {**EXPERIMENT, "acknowledge_within_s": -1},
        "params.acknowledge_within_s: must be greater",
    ),
    ("manual_hpc", {"backend": "x"}, "params.backend: is no name that is known here"),
    ("manual_hpc", {"on_expiry": "approve"}, "params.on_expiry: must be 'fail'"),
]


@pytest.mark.parametrize(("operator", "params", "words"), BAD_MANIFESTS)
def test_a_bad_manifest_names_the_field_and_what_it_must_be(
    operator: str, params: dict[str, Any], words: str
) -> None:
    with pytest.raises(ManifestError) as bad:
        read_manifest(operator, params)
    assert words in str(bad.value)
    assert "\n" not in str(bad.value)
    assert "pydantic" not in str(bad.value)


# ---- any answer ----

HUMAN: Final = read_manifest("human", QUESTION)


def answer(text: str | bytes, manifest: OperatorManifest = HUMAN, attempt: int = 1) -> r.Answer:
    return r.read_response(manifest, attempt, text.encode() if isinstance(text, str) else text)


def deep(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


BROKEN: Final[dict[str, tuple[str | bytes, str]]] = {
    "empty": ("", "the file is empty"),
    "blank": (" \n\t", "the file is empty"),
    "cut short": ('{"energy": 1', "the document ends too early: a quote or a bracket is missing"),
    "cut inside of a text": ('{"ener', "line 1, column 2: the document ends too early"),
    "two documents": ("{} {}", "line 1, column 4: the document has ended, but more follows"),
    "a list": ("[1]", 'the answer must be an object: {"NAME": VALUE, ...}'),
    "null": ("null", "the answer must be an object"),
    "a number": ("5", "the answer must be an object"),
    "NaN": ('{"energy": NaN}', "NaN is no number that JSON knows; leave the field out, or write null"),
    "Infinity": ('{"energy": -Infinity}', "-Infinity is no number that JSON knows"),
    "1e999": ('{"energy": 1e999}', "a number in it is too large"),
    "500 digits": (
        f'{{"energy": {"9" * 500}}}',
        "the number 999999999999... has 500 digits, which is too many",
    ),
    "a key twice": ('{"energy": 1, "energy": 2}', "'energy' stands there twice; keep one of them"),
    "a key twice inside": ('{"a": [{"b": 1, "b": 1}]}', "'b' stands there twice"),
    "a long key twice": (f'{{"{"k" * 5000}": 1, "{"k" * 5000}": 1}}', "... stands there twice"),
    "deep": (deep(101), "it is nested more than 100 levels deep"),
    "very deep": (deep(100_000), "too many brackets lie inside of one another"),
    "very deep lists": ("[" * 500_000, "too many brackets lie inside of one another"),
    "a comment": ('{"energy": 1 // per atom\n}', "line 1, column 14: JSON knows no comments; take it out"),
    "a hash comment": ('# mine\n{"energy": 1}', "line 1, column 1: JSON knows no comments"),
    "single quotes": ("{'energy': 1}", 'line 1, column 2: names and texts stand in double quotes (")'),
    "no quotes": ("{energy: 1}", "line 1, column 2: a name in double quotes is missing here"),
    "a trailing comma": ('{"energy": 1,\n}', "line 2, column 1: there is a comma too many"),
    "a decimal comma": ('{"energy": 1,5}', "a number has a point, not a comma, before its decimals"),
    "a unit": ('{"energy": 1.5 eV}', "a comma or a closing bracket is missing here"),
    "a word of Python": ('{"stable": True}', "line 1, column 12: write true instead of True"),
    "no zero": ('{"energy": .5}', "line 1, column 12: a value is missing here, or is none"),
    "half a character": (r'{"why": "\ud800"}', "a text in it holds half a character"),
    "Latin-1": (
        b'{\n"why": "\xe9"}',
        "line 2: byte 0xe9 is no UTF-8; choose the encoding UTF-8 where you save",
    ),
    "UTF-16": (
        '{"energy": 1}'.encode("utf-16"),
        "the file is not saved as UTF-8 text; choose the encoding UTF-8",
    ),
    "UTF-16 without a mark": ('{"energy": 1}'.encode("utf-16-le"), "the file is not saved as UTF-8 text"),
    "UTF-32": ('{"energy": 1}'.encode("utf-32"), "the file is not saved as UTF-8 text"),
    "zeros after a power cut": (b"\0" * 512, "the file is not saved as UTF-8 text"),
    "a picture": (b"\x89PNG\r\n\x1a\n", "line 1: byte 0x89 is no UTF-8"),
    "10 MB": (b'{"why": "' + b"x" * 10_000_000 + b'"}', "the file is larger than 1 MiB"),
    "one byte too many": (b" " * MOST_BYTES + b"1", "the file is larger than 1 MiB"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_an_answer_that_is_no_document_is_unusable_and_says_why(case: str) -> None:
    text, words = BROKEN[case]
    found = answer(text)
    assert isinstance(found, r.Unusable)
    assert len(found.problems) == 1
    assert words in str(found)
    assert len(str(found)) < 300


def test_a_mark_of_a_windows_editor_does_no_harm() -> None:
    assert parse_document(b"\xef\xbb\xbf" + '{"ü": 1}\r\n'.encode()) == {"ü": 1}
    assert parse_document(b" " * (MOST_BYTES - 1) + b"1") == 1


@given(st.binary(max_size=200) | st.text().map(str.encode))
def test_no_bytes_are_more_than_a_document_error(text: bytes) -> None:
    with suppress(DocumentError):
        value = parse_document(text)
        assert json.loads(json.dumps(value, allow_nan=False)) == value


# ---- answers of people ----


def test_an_answer_comes_in_the_order_of_the_question_without_what_was_left_open() -> None:
    found = answer('{"site": "top", "layers": null, "energy": -1, "why": "ü"}')
    assert isinstance(found, r.Answered)
    assert list(found.data.items()) == [("energy", -1), ("site", "top"), ("why", "ü")]


VALUES: Final[list[tuple[str, Any, str]]] = [
    ("energy", "1.5", "energy: must be a number, not '1.5'; write it without quotes"),
    ("energy", "high", "energy: must be a number, not 'high'"),
    ("energy", True, "energy: must be a number, not true"),
    ("energy", [1], "energy: must be a number, not a list [...]"),
    ("energy", {"value": 1}, "energy: must be a number, not an object {...}"),
    ("energy", -10.1, "energy: must be at least -10 eV, not -10.1"),
    ("energy", 11, "energy: must be at most 10.5 eV, not 11"),
    ("energy", 10**399, "energy: is too large for a number"),
    ("energy", None, "energy: is missing; give a number in eV, from -10 to 10.5"),
    ("layers", 2.0, "layers: must be a whole number, not 2"),
    ("layers", "2", "layers: must be a whole number, not '2'; write it without quotes"),
    ("layers", 0, "layers: must be at least 1, not 0"),
    ("layers", 2**63, "layers: is too large for a whole number of 64 bits"),
    ("site", "hollow", "site: must be one of: top, bridge; not 'hollow'"),
    ("site", 0, "site: must be one of: top, bridge; not 0"),
    ("site", ["top"], "site: must be one of: top, bridge; not a list [...]"),
    ("stable", "yes", "stable: must be true or false, not 'yes'"),
    ("stable", 1, "stable: must be true or false, not 1"),
    ("why", 5, "why: must be a text in double quotes, not 5"),
    ("why", "x" * 100_001, "why: must have at most 100000 characters, not 100001"),
    ("enrgy", 1, "enrgy: is not asked for; do you mean 'energy'?"),
    ("zzz", 1, "zzz: is not asked for (there are: energy, layers, site, stable, why)"),
    ("a\nb", 1, r"'a\nb': is not asked for"),
    ("k" * 5000, 1, "...: is not asked for"),
]


@pytest.mark.parametrize(("name", "value", "words"), VALUES)
def test_a_wrong_value_says_what_the_field_takes(name: str, value: Any, words: str) -> None:
    found = answer(json.dumps({"energy": 1, "site": "top", name: value}))
    assert isinstance(found, r.Unusable)
    (problem,) = found.problems
    assert words in str(problem)
    assert len(str(problem)) < 200


def test_all_problems_of_an_answer_are_told_at_once_and_not_thousands() -> None:
    found = answer('{"energy": "x", "site": "y", "stable": 3}')
    assert isinstance(found, r.Unusable)
    assert [problem.field for problem in found.problems] == ["energy", "site", "stable"]
    lines = str(answer(json.dumps({f"k{i}": 1 for i in range(5000)}))).splitlines()
    assert len(lines) == r.MOST_PROBLEMS_SHOWN + 1
    assert lines[-1] == "and 4982 more"


def test_a_text_that_is_required_is_not_blank() -> None:
    manifest = read_manifest("human", with_field(type="string"))
    assert str(answer('{"x": " "}', manifest)) == "x: must not be blank"
    assert answer('{"x": "-"}', manifest) == r.Answered({"x": "-"})


# ---- answers of gates, instruments and jobs by hand ----


@pytest.mark.parametrize(
    ("document", "meaning"),
    [
        ({"decision": "approve"}, r.Answered({"decision": "approve"})),
        (
            {"decision": "approve", "comment": "all five"},
            r.Answered({"decision": "approve", "comment": "all five"}),
        ),
        ({"decision": "reject"}, r.Declined("it was rejected", {"decision": "reject"})),
        (
            {"decision": "reject", "comment": " too coarse "},
            r.Declined("it was rejected: too coarse", {"decision": "reject", "comment": " too coarse "}),
        ),
        ({"decision": "send_back", "comment": "k-points!"}, r.SentBack("k-points!")),
        ({"decision": "approve", "attempt": 2}, r.Answered({"decision": "approve"})),
    ],
)
def test_a_gate_is_approved_rejected_or_sent_back(document: dict[str, Any], meaning: r.Answer) -> None:
    assert answer(json.dumps(document), read_manifest("gate", GATE), attempt=2) == meaning


@pytest.mark.parametrize(
    ("operator", "document", "words"),
    [
        ("gate", {}, "decision: is missing"),
        ("gate", {"decision": "yes"}, "decision: must be 'approve', 'reject' or 'send_back', not 'yes'"),
        ("gate", {"decision": "send_back"}, "send_back needs a comment that says what is to be done again"),
        (
            "gate",
            {"decision": "approve", "attempt": 1},
            "attempt: 1 is not the attempt that waits now, which is 2",
        ),
        ("gate", {"decision": "approve", "by": "me"}, "by: is no name that is known here"),
        ("experiment", {}, 'give either "result" or "failure"'),
        ("experiment", {"result": {"thickness_nm": 5}, "failure": "x"}, 'give either "result" or "failure"'),
        ("experiment", {"result": 5}, "result: must be an object {...}, not 5"),
        ("experiment", {"result": {"thickness_nm": -5}}, "result.thickness_nm: must be at least 0, not -5"),
        ("experiment", {"result": {}}, "result.thickness_nm: is missing; give a number, at least 0"),
        ("experiment", {"failure": " "}, "failure: must not be blank"),
        ("experiment", {"result": {"thickness_nm": 5}, "attempt": 3}, "attempt: 3 is not the attempt"),
        ("experiment", {"result": {"thickness_nm": 5}, "files": "raw.csv"}, "files: must be a list [...]"),
        ("manual_hpc", {}, 'give either "job_id" (of the job that you submitted) or "exit_code"'),
        ("manual_hpc", {"job_id": "1", "exit_code": 0}, 'give either "job_id"'),
        ("manual_hpc", {"job_id": 17}, "job_id: must be a text in double quotes, not 17"),
        ("manual_hpc", {"job_id": "17; rm -rf /"}, "job_id: must be the id of a job, such as 4711 or 4711_3"),
        ("manual_hpc", {"job_id": "--help"}, "job_id: must be the id of a job, such as 4711 or 4711_3"),
        ("manual_hpc", {"job_id": "17\n"}, "job_id: must be the id of a job, such as 4711 or 4711_3"),
        ("manual_hpc", {"exit_code": -1}, "exit_code: must be greater than or equal to 0, not -1"),
        ("manual_hpc", {"exit_code": 256}, "exit_code: must be less than or equal to 255, not 256"),
    ],
)
def test_an_answer_that_means_nothing_is_unusable(
    operator: str, document: dict[str, Any], words: str
) -> None:
    found = answer(json.dumps(document), read_manifest(operator, GOOD[operator]), attempt=2)
    assert isinstance(found, r.Unusable)
    assert words in str(found)


def test_an_instrument_acknowledges_and_then_succeeds_or_fails() -> None:
    manifest = read_manifest("experiment", EXPERIMENT)
    taken_on = r.read_acknowledgement(1, b'{"by": "sputter-2", "expected_at": "2026-01-02T03:04:05Z"}')
    assert taken_on == ExperimentAcknowledgement(by="sputter-2", expected_at="2026-01-02T03:04:05Z")
    assert answer('{"result": {"thickness_nm": 5.5}, "files": ["xrr.csv"]}', manifest) == r.Answered(
        {"thickness_nm": 5.5}, ["xrr.csv"]
    )
    assert answer('{"failure": "target is used up"}', manifest) == r.Declined(
        "the experiment failed: target is used up", {"failure": "target is used up"}
    )
    assert str(r.read_acknowledgement(1, b"{}")) == "by: is missing"
    assert "'now'" in str(r.read_acknowledgement(1, b'{"by": "x", "expected_at": "now"}'))


def test_a_job_by_hand_is_handed_back_while_it_runs_or_when_it_is_over() -> None:
    manifest = read_manifest("manual_hpc", {})
    assert answer('{"job_id": "17"}', manifest) == r.JobHandedBack("17")
    assert answer('{"job_id": "17_3"}', manifest) == r.JobHandedBack("17_3")
    assert answer('{"exit_code": 0}', manifest) == r.JobFinished(0)


# ---- schemas ----


@pytest.mark.parametrize("name", [*CONFIGS, *SCHEMAS])
def test_every_schema_is_strict_and_names_its_fields(name: str) -> None:
    schema = installed_schema(name)
    assert schema["title"] == name
    assert schema["additionalProperties"] is False
    assert set(schema.get("required", ())) <= set(schema["properties"])
    # What a program in any language must be able to compile: no pattern that only Python knows.
    assert r"\Z" not in json.dumps(schema)


def test_a_schema_says_what_python_calls_otherwise() -> None:
    assert set(installed_schema("DirectHPCManifest")["$defs"]["GivenFile"]["properties"]) == {
        "name",
        "from",
        "sha256",
    }
    fields = installed_schema("HumanOperatorManifest")["properties"]["fields"]
    assert set(fields["patternProperties"].popitem()[1]["discriminator"]["mapping"]) == {
        "number", "integer", "string", "boolean", "choice"
    }  # fmt: skip


def test_the_schema_of_a_config_knows_the_keys_of_each_kind_of_backend() -> None:
    schema = installed_schema(CONFIG)
    assert not schema.get("required")
    kinds = {
        one["properties"]["type"]["const"]: one for one in schema["$defs"].values() if "const" in str(one)
    }
    assert {"local", "slurm"} <= set(kinds)
    assert {"partition", "ssh", "max_jobs", "poll_interval_s"} <= set(kinds["slurm"]["properties"])
    offered = schema["properties"]["backends"]["additionalProperties"]["anyOf"]
    assert {one["$ref"].rpartition("/")[2] for one in offered} >= {"LocalBackendConfig", "SlurmBackendConfig"}
    assert "SshConfig" in schema["$defs"]


def test_the_schema_of_a_root_s_config_knows_what_only_that_may_say() -> None:
    others, root = installed_schema(CONFIG), installed_schema(ROOT_CONFIG)
    assert root["properties"].keys() - others["properties"].keys() == ROOT_KEYS == {"share"}
    assert {**root["properties"], **others["properties"]} == root["properties"]
    offered = root["properties"]["share"]["enum"]
    for share in offered:
        found = parse_root_config("config.json", json.dumps({"share": share}).encode()).share
        assert share == (found and found.value)
    assert {*offered} == {"group", "nobody", None}


def test_schemas_are_printed_and_listed(command_line: CommandLine) -> None:
    assert json.loads(command_line.ok("schema", "GateManifest")) == installed_schema("GateManifest")
    assert command_line.ok("schema", "--list").split() == [*CONFIGS, *SCHEMAS]
    assert command_line.json("schema", "--list") == [*CONFIGS, *SCHEMAS]
    for words, exit_code in (((), 2), (("GateManifest", "--list"), 2), (("Nothing",), 3)):
        assert command_line.run("schema", *words).exit_code == exit_code


def test_the_schema_of_a_job_knows_all_that_can_be_asked_for() -> None:
    everything = CONVERTER.unstructure(Resources(walltime_s=1, grow=Growth(walltime=2), extra={"x": ""}))
    given = GivenResources.model_validate(everything)
    assert given.model_dump() == everything


def test_what_a_job_finds_is_what_its_schema_says(command_line: CommandLine) -> None:
    write_tasks(command_line.root, "campaign", [{"id": "a", "command": ["true"], "params": {"n": 1}}])
    run_id = command_line.new_run("campaign")
    command_line.ok("run", "loop", run_id, "--until-done")
    (manifest,) = command_line.root.glob(f"workspaces/*/runs/{run_id}/tasks/a/1/manifest.json")
    found = DirectHPCManifest.model_validate_json(manifest.read_bytes())
    assert (found.task_id, found.attempt, found.command, found.params) == ("a", 1, ["true"], {"n": 1})
