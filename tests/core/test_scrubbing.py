"""Values of secrets: found in whatever form, and kept out of facts."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote

import pytest

from matterstack.core.documents.config import parse_config
from matterstack.core.errors import ConfigError, RefusedError
from matterstack.core.ids import TaskId, Token
from matterstack.core.model.workflow import Task, Workflow
from matterstack.core.run import messages as m
from matterstack.core.run.facts import OutputFile
from matterstack.core.run.scrubbing import plan_problem, scrubbed
from matterstack.core.secret_words import Search, looks_secret, value_problem
from matterstack.core.states import JobState

VALUE = b'p\xc3\xa4ss "word"/\\+\n'
LINES = b"MIIEvQIBADANBgkqhkiG9w0\nBAQEFAASCBKcwggSjAgEAAo\n"
KEY = b"-----BEGIN PRIVATE KEY-----\n" + LINES + b"-----END PRIVATE KEY-----\n"
SEARCH = Search(
    values={"TOKEN": frozenset({VALUE}), "KEY": frozenset({KEY}), "ODD": frozenset({b"\xff\xfeodd!"})}
)
TEXT = VALUE.decode()
TOKEN = Token("ms-x")


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        TEXT.strip(),
        json.dumps(TEXT),
        json.dumps(TEXT, ensure_ascii=False),
        f"https://x/?token={quote(VALUE, safe='')}&more",
        f"Basic {base64.b64encode(VALUE).decode()}",
    ],
)
def test_a_value_is_found_as_it_is_and_as_programs_write_it(text: str) -> None:
    assert SEARCH.names_in_text(f"before {text} after") == {"TOKEN"}
    assert SEARCH.names_in(f"before {text} after".encode()) == {"TOKEN"}
    assert "ss" not in SEARCH.scrubbed(text).replace("ss]", "").replace("https", "")


def test_one_line_of_a_key_is_found_and_its_frame_is_not() -> None:
    assert SEARCH.names_in(b"line: MIIEvQIBADANBgkqhkiG9w0 ...") == {"KEY"}
    assert SEARCH.names_in(b"-----BEGIN PRIVATE KEY-----") == frozenset()


def test_a_definition_is_amended_to_no_value_of_a_secret() -> None:
    for changes in ({"params.x": {"deep": [TEXT]}}, {"env.X": TEXT}, {"command": ["sh", TEXT]}):
        for message in (
            m.AmendTasks(by="ann", tasks=[TaskId("a")], changes=changes),
            m.Retry(by="ann", changes=changes),
        ):
            with pytest.raises(RefusedError, match="the amendment holds the value of the secret TOKEN"):
                scrubbed(message, SEARCH)
    told = scrubbed(m.Retry(by="ann", changes={"priority": 1}, reason=f"for {TEXT}"), SEARCH)
    assert isinstance(told, m.Retry)
    assert TEXT not in told.reason


def test_what_is_no_text_is_found_in_what_others_made_text_of_it() -> None:
    assert SEARCH.scrubbed(b"x \xff\xfeodd! y".decode(errors="replace")) == "x [secret ODD] y"
    assert SEARCH.scrubbed(b"x \xff\xfeodd! y".decode(errors="surrogateescape")) == "x [secret ODD] y"


def test_a_value_is_found_across_the_parts_of_a_file() -> None:
    data = b"." * 100 + VALUE + b"." * 100
    for size in (1, 3, 7, 50, 101):
        parts = [data[i : i + size] for i in range(0, len(data), size)]
        assert SEARCH.names_in_all(parts) == {"TOKEN"}, size


def test_what_a_cut_has_left_of_a_value_is_hidden_too() -> None:
    assert SEARCH.scrubbed('it said: päss "word"') == "it said: [secret TOKEN]"
    assert SEARCH.scrubbed('it said: päss "wo…') == "it said: [secret TOKEN]"
    assert SEARCH.scrubbed("a long pä") == "a long pä"


def test_a_search_shows_no_value_of_its_own() -> None:
    assert "word" not in repr(SEARCH)


@pytest.mark.parametrize("value", [b"", b"abc", b"with \0 in it", b"x" * 100_000])
def test_not_everything_can_be_kept_secret(value: bytes) -> None:
    assert value_problem(value)


@pytest.mark.parametrize(
    "message",
    [
        m.Refused(token=TOKEN, reason=f"sbatch: {TEXT}"),
        m.Withdrawn(token=TOKEN, reason=TEXT),
        m.PlanningFailed(reason=f"ValueError: {TEXT}"),
        m.Fail(reason=TEXT),
        m.Cancel(by="ann", reason=TEXT),
        m.Collected(token=TOKEN, problem=TEXT),
        m.Collected(token=TOKEN, data={"a": [TEXT]}),
        m.Collected(token=TOKEN, data={TEXT: 1}),
        m.Collected(token=TOKEN, outputs=(OutputFile(f"out/{TEXT}", 1, "00"),)),
        m.Observed(
            token=TOKEN, state=JobState.COMPLETED_ERROR, reason=TEXT, host=TEXT, raw_state=TEXT, by=TEXT
        ),
        m.Analyzed(iteration=1, state={"kept": TEXT}),
        m.Planned(iteration=1, workflow=Workflow([Task(TaskId("a"), command=["curl", TEXT])])),
        m.Planned(iteration=1, workflow=Workflow([Task(TaskId("a"), command=["x"], env={"A": TEXT})])),
        m.Planned(iteration=1, workflow=Workflow([Task(TaskId("a"), command=["x"])]), warnings=(TEXT,)),
    ],
)
def test_no_message_brings_a_value_into_a_fact(message: m.Message) -> None:
    clean = scrubbed(message, SEARCH)

    assert '"word"' not in repr(clean).replace("\\", "")
    assert scrubbed(clean, SEARCH) == clean


def test_data_with_a_value_are_refused_and_the_rest_of_what_was_collected_is_kept() -> None:
    kept = OutputFile("fine.txt", 1, "00")
    clean = scrubbed(m.Collected(token=TOKEN, outputs=(kept,), data={"a": TEXT}, problem="no file"), SEARCH)

    assert clean == m.Collected(
        token=TOKEN,
        outputs=(kept,),
        problem="no file; result.json: holds the value of the secret TOKEN, and is not kept",
    )


def test_a_message_without_a_value_is_as_it_was() -> None:
    message = m.Collected(token=TOKEN, data={"energy": 1.5}, problem=None)
    assert scrubbed(message, SEARCH) is message


def test_a_variable_of_a_task_is_none_of_the_secrets() -> None:
    workflow = Workflow([Task(TaskId("a"), command=["x"], env={"TOKEN": "abc"})])
    assert "task a: env: TOKEN is a secret of config.json" in plan_problem(workflow, ["TOKEN"], Search())


@pytest.mark.parametrize("name", ["API_TOKEN", "password", "accessKey", "SECRET", "db_passwd2", "apikey"])
def test_names_that_look_like_secrets(name: str) -> None:
    assert looks_secret(name)


@pytest.mark.parametrize("name", ["tokens", "KEYBOARD", "monkey", "n_steps", "secretary", "spin"])
def test_names_that_do_not(name: str) -> None:
    assert not looks_secret(name)


@pytest.mark.parametrize(
    ("secrets", "problem"),
    [
        (["A B"], "is no name of an environment variable"),
        (["PATH"], "PATH is needed by every job as it is"),
        (["SLURM_CONF"], "SLURM_CONF is needed"),
        (["A_TOKEN", "A_TOKEN"], "A_TOKEN stands there twice"),
        ("A_TOKEN", "should be a valid list"),
    ],
)
def test_secrets_of_a_config_are_names(secrets: Any, problem: str) -> None:
    from matterstack.backends.registry import KINDS

    with pytest.raises(ConfigError, match=problem):
        parse_config({"config.json": json.dumps({"secrets": secrets})}, KINDS)
