"""What people answered is in the bundle, with their name and the hash of what they wrote."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from matterstack.core.ids import JobId, TaskId
from matterstack.core.model.workflow import Task
from matterstack.core.operators import ASKED
from matterstack.core.run import messages as m
from matterstack.core.states import JobState
from matterstack.evidence.survey import FileState, parse_survey
from matterstack.evidence.verify import verify_bundle
from matterstack.storage.layout import operator_folder
from tests.evidence.bundles import export
from tests.evidence.stage import Stage, sha256, stage
from tests.evidence.test_crate import graph
from tests.support.crates import findings
from tests.support.stored import new_root

pytestmark = pytest.mark.usefixtures("drawn_once")

QUESTION = "Which <sample> is blue?"
ANSWER = b'{"sample": "B | 7"}\n'


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Stage]:
    """A person was asked, answered something that was set aside, and then well."""
    with stage(new_root(tmp_path / "root")) as made:
        made.tell(m.Start())
        params = {"question": QUESTION, "fields": {"sample": {"type": "string"}}}
        made.plan(Task(TaskId("look"), operator="human", params=params))
        made.tell(m.Prepare(backend=ASKED, seats=1))
        token = made.stored.run.token("look")
        made.tell(m.Accepted(token=token, job_id=JobId("look"), state=JobState.RUNNING))
        folder(made).mkdir(parents=True)
        (folder(made) / "request.json").write_text(json.dumps({"attempt": 1, "manifest": params}))
        (folder(made) / "response.rejected-1.json").write_bytes(b"{")
        (folder(made) / "response.json").write_bytes(ANSWER)
        ended = m.Observed(token=token, state=JobState.COMPLETED_OK, by="maria", sha256=sha256(ANSWER))
        made.tell(ended, m.Collected(token=token, data=json.loads(ANSWER)))
        made.analyze(blue="B | 7")
        made.tell(m.Planned(iteration=2, workflow=None))
        yield made


def folder(made: Stage) -> Path:
    return operator_folder(made.folder.attempt(TaskId("look"), 1).path)


def test_an_answer_is_kept_with_its_question_and_who_gave_it(asked: Stage) -> None:
    bundle = export(asked.root)
    assert bundle.is_complete, bundle.missing
    answers = bundle.path / "answers" / "look.1"
    assert (answers / "response.json").read_bytes() == ANSWER
    assert {path.name for path in answers.iterdir()} == {
        "request.json",
        "response.json",
        "response.rejected-1.json",
    }
    text = (bundle.path / "report.md").read_text()
    assert "Asked: Which &lt;sample&gt; is blue?" in text
    assert "Answered by maria at 2026-01-01" in text
    assert '    {"sample": "B | 7"}' in text
    assert "Which &lt;sample&gt; is blue?" in (bundle.path / "report.html").read_text()
    assert verify_bundle(bundle.path, asked.root) == []


@pytest.mark.usefixtures("processes")
def test_who_answered_is_the_agent_of_the_action_in_the_crate(asked: Stage) -> None:
    bundle = export(asked.root)
    entities = graph(bundle.path)
    action = entities["#attempt/look/1"]
    assert entities[action["agent"]["@id"]]["name"] == "maria"
    assert {"@id": "answers/look.1/response.json"} in action["result"]
    assert findings(bundle.path) == {str(bundle.path): []}


@pytest.mark.parametrize(
    ("then", "state"), [(b'{"sample": "C"}\n', FileState.CHANGED), (None, FileState.MISSING)]
)
def test_an_answer_that_is_not_there_as_it_was_given_is_said_to_be_so(
    then: bytes | None, state: FileState, asked: Stage
) -> None:
    if then is None:
        (folder(asked) / "response.json").unlink()
    else:
        (folder(asked) / "response.json").write_bytes(then)
    bundle = export(asked.root)
    (record,) = parse_survey((bundle.path / "evidence.json").read_bytes()).answers
    assert (record.state, record.by, record.sha256) == (state, "maria", sha256(ANSWER))
    assert not (bundle.path / "answers" / "look.1" / "response.json").exists()
    assert any("the answer is" in text for text in bundle.missing)
    assert verify_bundle(bundle.path) == []


def test_an_answer_to_an_earlier_question_is_found_under_its_later_name(asked: Stage) -> None:
    for name in ("request", "response"):
        (folder(asked) / f"{name}.json").rename(folder(asked) / f"{name}-1.json")
    (folder(asked) / "request.json").write_text(json.dumps({"attempt": 2}))
    (folder(asked) / "response.json").write_text("another")
    bundle = export(asked.root)
    assert bundle.is_complete
    kept = bundle.path / "answers" / "look.1"
    assert (kept / "response.json").read_bytes() == ANSWER
    assert json.loads((kept / "request.json").read_text())["attempt"] == 1


def test_a_forged_answer_in_a_bundle_is_found(asked: Stage) -> None:
    bundle = export(asked.root)
    (bundle.path / "answers" / "look.1" / "response.json").write_bytes(b'{"sample": "C"}\n')
    assert [finding.path for finding in verify_bundle(bundle.path)] == ["answers/look.1/response.json"]
