"""``run.json`` is what its schema says, and the same as what ``run status`` says."""

import json

import pytest
from pydantic import ValidationError

from matterstack.core.run_document import RunDocument
from tests.support.campaigns import write_tasks
from tests.support.command import CommandLine


def test_run_json_fits_its_schema_and_the_store(command_line: CommandLine) -> None:
    write_tasks(command_line.root, "demo", [{"id": "a", "command": ["true"]}])
    run_id = command_line.new_run("demo")
    command_line.ok("run", "loop", run_id, "--until-done")
    text = (command_line.run_folder("demo", run_id) / "run.json").read_text()
    document = RunDocument.model_validate_json(text)
    assert document.model_dump(mode="json") == json.loads(text) == command_line.status(run_id)
    schema = command_line.json("schema", "RunDocument")
    assert set(schema["required"]) == set(json.loads(text))


@pytest.mark.parametrize(("key", "value"), [("status", "DONE"), ("iteration", -1), ("created_at", "today")])
def test_what_is_no_run_json_does_not_fit_its_schema(key: str, value: object) -> None:
    good = {
        "run_id": "20260101T000000-abcdef",
        "workspace": "demo",
        "status": "RUNNING",
        "status_reason": "",
        "iteration": 1,
        "tasks": {"READY": 2},
        "created_at": "2026-01-01T00:00:00.000000Z",
        "updated_at": "2026-01-01T00:00:00.000000Z",
    }
    assert RunDocument.model_validate_json(json.dumps(good)).tasks == {"READY": 2}
    with pytest.raises(ValidationError):
        RunDocument.model_validate_json(json.dumps({**good, key: value}))
