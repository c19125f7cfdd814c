"""What a run was made from is recorded when it is made, and shown whatever becomes of it afterwards."""

import getpass
import json
import os
from contextlib import AbstractContextManager, closing
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import pytest

from matterstack.actors.runtime import Runtime
from matterstack.campaign import origins
from matterstack.campaign.origins import MOST_SOURCE_BYTES, installed_software
from matterstack.campaign.pickled import pickled
from matterstack.core.errors import StoreError
from matterstack.core.ids import RunId
from matterstack.core.run.facts import RunCreated
from matterstack.evidence.history import read_history
from matterstack.evidence.survey import FileState
from matterstack.evidence.verify import verify_bundle
from matterstack.storage.confine import Confined
from matterstack.storage.fact_codec import decode_fact
from matterstack.storage.layout import Root
from matterstack.storage.schema import open_database
from matterstack.usecases.runs import create_run
from tests.embed.campaigns import Rounds
from tests.evidence.bundles import content, export
from tests.evidence.stage import MAKER, SOFTWARE, SOURCES, sha256, told
from tests.evidence.test_bad_input import assert_told_everywhere, survey_of
from tests.evidence.test_crate import graph
from tests.support.states import RUN_ID
from tests.support.stored import new_root

pytestmark = pytest.mark.usefixtures("drawn_once")

FILES: Final = {
    "campaign.py": b"def get_campaign():\n    return None\n",
    "config.json": b"{}",
    "structures/Li F.json": b"{}",
    "full.dat": bytes(MOST_SOURCE_BYTES),
}
OTHERS: Final = {
    "large.dat": bytes(MOST_SOURCE_BYTES + 1),
    ".env": b"TOKEN=1",
    ".git/config": b"x",
    "__pycache__/campaign.pyc": b"x",
    "structures/__pycache__/s.pyc": b"x",
    "runs/20200101T000000-aaaaaa/config.json": b"{}",
}


@pytest.fixture
def root(tmp_path: Path) -> Root:
    root = new_root(tmp_path / "root")
    workspace = root.workspaces / "demo"
    for path, data in {**FILES, **OTHERS}.items():
        (workspace / path).parent.mkdir(parents=True, exist_ok=True)
        (workspace / path).write_bytes(data)
    (workspace / "link.py").symlink_to("/etc/hostname")
    return root


def created(root: Root, run_id: RunId) -> RunCreated:
    with closing(open_database(root.database)) as connection:
        return read_history(connection, run_id)[0].created


def test_a_run_knows_who_made_it_with_what_software_and_from_which_files(root: Root) -> None:
    run_id = create_run(root, "demo", {}, Runtime())
    made = created(root, run_id)
    assert made.by == getpass.getuser()
    assert made.software == installed_software()
    assert made.sources == {path: sha256(data) for path, data in FILES.items()}
    assert content(root.run_folder("demo", run_id).sources) == FILES


def test_the_campaign_comes_before_all_other_files_where_there_are_too_many(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(origins, "MOST_SOURCES", 2)
    (root.workspaces / "demo" / "a.py").write_text("before it in the alphabet\n")
    run_id = create_run(root, "demo", {}, Runtime())
    assert list(created(root, run_id).sources) == ["campaign.py", "a.py"]


def test_an_object_that_plans_a_run_is_in_its_evidence_with_its_code(root: Root) -> None:
    (root.workspaces / "demo" / "campaign_object.py").write_text("another\n")
    kept = pickled(Rounds(["a"]))
    run_id = create_run(root, "demo", {}, Runtime(), campaign=kept)
    assert created(root, run_id).sources["another_campaign_object.py"] == sha256(kept.source.encode())
    folder = export(root, run_id=run_id).path
    assert (folder / "sources" / "another_campaign_object.py").read_text() == kept.source
    assert (folder / "campaign.pickle").read_bytes() == kept.content
    assert f"| `campaign.pickle` | {kept.sha256} | `campaign.pickle` |" in (folder / "report.md").read_text()
    entities = graph(folder)
    assert {"@id": "campaign.pickle"} in entities["workflow.json"]["isBasedOn"]
    assert entities["campaign.pickle"]["sha256"] == kept.sha256
    assert verify_bundle(folder, root) == []

    root.run_folder("demo", run_id).campaign_object.write_bytes(b"forged")
    assert not (export(root, run_id=run_id).path / "campaign.pickle").exists()
    assert_told_everywhere(
        folder, "campaign.pickle, as the campaign had it when the run was made, is changed"
    )

    survey = json.loads((folder / "evidence.json").read_bytes())
    survey["campaign_object"] = None
    (folder / "evidence.json").write_text(json.dumps(survey))
    problems = {finding.problem for finding in verify_bundle(folder)}
    assert "does not have the campaign's object that events.jsonl has" in problems


def test_software_is_all_that_is_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = installed_software()
    assert list(found)[:3] == ["python", "platform", "matterstack"]
    assert {name: found[name] for name in ("attrs", "trio", "numpy", "matterstack")} == {
        name: version(name) for name in ("attrs", "trio", "numpy", "matterstack")
    }
    (tmp_path / "fresh-7.0.dist-info").mkdir()
    (tmp_path / "fresh-7.0.dist-info" / "METADATA").write_text("Name: fresh\nVersion: 7.0\n\nVersion: 8\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert installed_software() == {**found, "fresh": "7.0"}, "what was installed since is seen"
    (tmp_path / "trio-0.1.dist-info").mkdir()
    (tmp_path / "trio-0.1.dist-info" / "METADATA").write_text("Name: trio\nVersion: 0.1\n")
    assert installed_software()["trio"] == "0.1", "the first one on the path: it is imported"


def test_runs_that_were_made_before_this_was_recorded_can_still_be_read() -> None:
    old = decode_fact("RunCreated", '{"workspace":"demo","config":{}}')
    assert old == RunCreated(workspace="demo", config={}, by="", software={}, sources={})


def test_a_run_that_cannot_be_stored_leaves_no_copies(root: Root) -> None:
    root.private.mkdir()
    root.database.write_bytes(b"this is no database" * 100)
    before = content(root.path)
    with pytest.raises(StoreError):
        create_run(root, "demo", {}, Runtime())
    assert content(root.path) == before
    assert [path.name for path in (root.workspaces / "demo" / "runs").iterdir()] == ["20200101T000000-aaaaaa"]


def test_a_campaign_that_is_changed_afterwards_changes_no_evidence(root: Root) -> None:
    run_id = create_run(root, "demo", {}, Runtime())
    bundle = export(root, run_id=run_id)
    before = content(bundle.path)
    assert {p.removeprefix("sources/"): d for p, d in before.items() if p.startswith("sources/")} == FILES
    workspace = root.workspaces / "demo"
    (workspace / "campaign.py").write_text("raise SystemExit\n")
    (workspace / "structures" / "Li F.json").unlink()
    (workspace / "new.py").write_text("1\n")
    assert content(export(root, run_id=run_id).path) == before
    assert verify_bundle(bundle.path, root) == []


def test_the_crate_has_maker_software_and_sources(tmp_path: Path) -> None:
    entities = graph(export(told(tmp_path / "root", "COMPLETED")).path)
    creation, workflow = entities["#creation"], entities["workflow.json"]
    assert entities[creation["agent"]["@id"]] == {"@id": f"#person/{MAKER}", "@type": "Person", "name": MAKER}
    assert len(creation["object"]) == len(SOURCES)
    campaign = entities["sources/campaign.py"]
    assert campaign["@type"] == ["File", "SoftwareSourceCode"]
    assert campaign["sha256"] == sha256(SOURCES["campaign.py"])
    assert {"@id": "sources/campaign.py"} in workflow["isBasedOn"]
    required = [entities[one["@id"]] for one in workflow["softwareRequirements"]]
    assert {one["name"].lower(): one["softwareVersion"] for one in required} == SOFTWARE


def test_both_reports_have_maker_software_and_sources(tmp_path: Path) -> None:
    folder = export(told(tmp_path / "root", "COMPLETED")).path
    text, page = (folder / "report.md").read_text(), (folder / "report.html").read_text()
    assert f"UTC by {MAKER} |" in text
    assert f"made by {MAKER}" not in text
    assert "- numpy 2.1.3\n" in text
    assert f"| `campaign.py` | {sha256(SOURCES['campaign.py'])} | `sources/campaign.py` |" in text
    for part in ("CPython 3.11.7", "numpy 2.1.3", "odd &lt;b&gt;|name| 1.0+local", "sources/campaign.py"):
        assert part in page
    assert f"<td>{MAKER}</td>" in page


@pytest.mark.parametrize(("harm", "state"), [("gone", FileState.MISSING), ("forged", FileState.CHANGED)])
def test_a_kept_copy_that_is_not_as_it_was_is_missed(harm: str, state: FileState, tmp_path: Path) -> None:
    root = told(tmp_path / "root", "COMPLETED")
    kept = root.run_folder("demo", RUN_ID).sources / "campaign.py"
    kept.unlink()
    if harm == "forged":
        kept.write_bytes(b"forged\n")
    bundle = export(root)
    record = next(source for source in survey_of(bundle.path).sources if source.path == "campaign.py")
    assert (record.state, record.place) == (state, None)
    assert not (bundle.path / "sources" / "campaign.py").exists()
    assert_told_everywhere(
        bundle.path, f"campaign.py, as the campaign had it when the run was made, is {state}"
    )


def test_verify_finds_a_bundle_whose_survey_leaves_out_a_source(tmp_path: Path) -> None:
    folder = export(told(tmp_path / "root", "COMPLETED")).path
    document: dict[str, Any] = json.loads((folder / "evidence.json").read_bytes())
    document["sources"] = document["sources"][1:]
    (folder / "evidence.json").write_text(json.dumps(document))
    (folder / "sources" / "campaign.py").write_bytes(b"forged\n")
    problems = {(finding.path, finding.problem) for finding in verify_bundle(folder)}
    assert ("evidence.json", "does not have the campaign's files that events.jsonl has") in problems
    assert any(path == "sources/campaign.py" for path, _ in problems)


def test_files_of_any_size_and_kind_beside_a_campaign_do_not_stop_a_run(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = root.workspaces / "demo"
    os.mkfifo(workspace / "pipe")
    for number in range(3):
        (workspace / "deep" / str(number)).mkdir(parents=True)

    def refused(self: Confined, name: str = "", *, make: bool = False) -> AbstractContextManager[Confined]:
        if name == "deep/1/":
            raise PermissionError(13, os.strerror(13), name)
        return opened(self, name, make=make)

    opened = Confined.folder
    monkeypatch.setattr(Confined, "folder", refused)
    run_id = create_run(root, "demo", {}, Runtime())
    assert set(created(root, run_id).sources) == set(FILES)
