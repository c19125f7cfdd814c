"""The crate is valid for the published validator, and tells where every output comes from.

Crates of runs of the workspaces that come with MatterStack are validated where those runs are told.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from matterstack.core.ids import TaskId
from matterstack.core.run import messages as m
from matterstack.evidence.crate.graph import file_id
from matterstack.evidence.survey import portable
from matterstack.evidence.verify import verify_bundle
from tests.evidence.bundles import export
from tests.evidence.stage import ODD_NAMES, STORIES, completed, stage, told
from tests.support.crates import findings
from tests.support.stored import new_root

pytestmark = pytest.mark.usefixtures("drawn_once")


def graph(folder: Path) -> dict[str, Any]:
    """Entities by their ids."""
    document = json.loads((folder / "ro-crate-metadata.json").read_bytes())
    return {entity["@id"]: entity for entity in document["@graph"]}


@pytest.fixture(scope="module")
def completed_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a run that met its goal; for all who only read it."""
    return export(told(tmp_path_factory.mktemp("told") / "root", "COMPLETED")).path


@pytest.mark.usefixtures("processes")
def test_crates_of_runs_in_every_state_are_valid(tmp_path: Path) -> None:
    folders = {status: export(told(tmp_path / status, status)).path for status in STORIES}
    assert findings(*folders.values()) == {str(folder): [] for folder in folders.values()}


@pytest.mark.usefixtures("processes")
def test_the_validator_finds_what_is_wrong_with_a_crate(tmp_path: Path) -> None:
    folder = export(told(tmp_path / "root", "COMPLETED")).path
    path = folder / "ro-crate-metadata.json"
    document = json.loads(path.read_bytes())
    for entity in document["@graph"]:
        if entity["@id"] == "#attempt/mix/1":
            del entity["instrument"]
    path.write_text(json.dumps(document))
    (problems,) = findings(folder).values()
    assert any("instrument" in problem for problem in problems)


def test_an_attempt_tells_what_it_was_given_where_it_ran_and_what_it_made(completed_bundle: Path) -> None:
    entities = graph(completed_bundle)
    mix = entities["#attempt/mix/1"]
    assert mix["description"] == "python mix.py --ratio '1 to 2'"
    assert mix["identifier"][1] == "job job-mix"
    assert entities[mix["location"]["@id"]]["name"] == "backend local, host node1"
    assert mix["startTime"] < mix["endTime"]
    given = [entities[one["@id"]] for one in mix["object"]]
    assert {one["name"]: one.get("value") for one in given if one["@type"] == "PropertyValue"} == {
        "ratio": "[1,2]",
        "name": "LiF",
        "warm": True,
        "resources": next(one["value"] for one in given if one["name"] == "resources"),
    }
    step = entities["#step/mix"]
    assert mix["identifier"][2] == f"definition {step['version']}, {step['identifier']}"
    files = [one["@id"].rpartition("/")[2] for one in given if one["@type"] == "File"]
    assert files == ["mix.py", "config.json"]
    assert {one["@id"] for one in mix["result"]} == {"outputs/mix.1/mix.json", "outputs/mix.1/mix.svg"}
    assert entities[mix["environment"]["@id"]]["name"] == "OMP_NUM_THREADS"

    relax = entities["#attempt/relax/1"]
    assert {"@id": "outputs/mix.1/mix.json"} in relax["object"], "the very file that another attempt made"
    first, second = entities["#attempt/flaky/1"], entities["#attempt/flaky/2"]
    assert first["actionStatus"].endswith("FailedActionStatus")
    assert "exit code 1" in first["error"]
    assert second["actionStatus"].endswith("CompletedActionStatus")
    assert entities["#task/flaky"]["object"] == [{"@id": "#attempt/flaky/1"}, {"@id": "#attempt/flaky/2"}]
    assert entities["#iteration/2"]["object"] == {"@id": "#task/rank"}


def test_people_are_the_agents_of_what_they_did(tmp_path: Path) -> None:
    entities = graph(export(told(tmp_path / "root", "CANCELLED")).path)
    acts = [e for e in entities.values() if e.get("agent") == {"@id": "#person/ann"}]
    assert [(act["name"], act["description"]) for act in acts] == [("asked to cancel", "no |time| left")]
    assert entities["#run"]["error"].startswith("cancelled by ann")


def test_a_rerun_keeps_what_the_first_attempt_made_and_says_who_asked(tmp_path: Path) -> None:
    root = new_root(tmp_path / "root")
    with stage(root) as made:
        completed(made)
        made.tell(m.Rerun(by="ann", tasks=[TaskId("rank")]))
        made.prepare()
        made.start("rank")
        made.end("rank", {"ranking.md": b"another\n"})
    folder = export(root).path
    entities = graph(folder)
    assert (folder / "outputs" / "rank.1" / "r.svg").is_file()
    assert entities["#attempt/rank/1"]["result"][0] == {"@id": "outputs/rank.1/r.svg"}
    assert entities["#attempt/rank/2"]["result"] == {"@id": "outputs/rank.2/ranking.md"}
    asked = [e["name"] for e in entities.values() if e.get("agent") == {"@id": "#person/ann"}]
    assert asked == ["reopened", "asked for more attempts of rank"]
    assert "### rank, attempt 1 (replaced by a later one)" in (folder / "report.md").read_text()
    assert verify_bundle(folder, root) == []


@pytest.mark.parametrize("name", ODD_NAMES)
def test_files_of_any_name_are_described_by_their_place_in_the_bundle(
    name: str, completed_bundle: Path
) -> None:
    folder = completed_bundle
    entity = graph(folder)[file_id(f"outputs/odd.1/{portable(name)}")]
    assert entity["@type"] == "File"
    assert entity["contentSize"] == str((folder / "outputs" / "odd.1" / portable(name)).stat().st_size)
