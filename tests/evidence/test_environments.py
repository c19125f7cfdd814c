"""What jobs ran in, in a bundle: as their scripts found it, or that nobody looked."""

import json
from pathlib import Path

import pytest

from matterstack.evidence.survey import SURVEY
from matterstack.evidence.verify import verify_bundle
from tests.evidence.bundles import content, export
from tests.evidence.stage import ENVIRONMENT, begun, completed, sha256, stage, told
from tests.evidence.test_crate import graph
from tests.support.stored import new_root

pytestmark = pytest.mark.usefixtures("drawn_once")
NAME = f"environments/{sha256(ENVIRONMENT)}.json"


def test_each_environment_is_there_once_and_each_attempt_says_which_it_ran_in(tmp_path: Path) -> None:
    root = told(tmp_path / "root", "COMPLETED")
    folder = export(root).path
    assert [name for name in content(folder) if name.startswith("environments/")] == [NAME]
    assert (folder / NAME).read_bytes() == ENVIRONMENT
    entities = graph(folder)
    for attempt in ("mix/1", "rank/1"):
        assert entities[f"#attempt/{attempt}"]["subjectOf"] == {"@id": NAME}
    assert "subjectOf" not in entities["#attempt/relax/1"]
    environment = entities[f"#environment/{sha256(ENVIRONMENT)[:16]}"]
    needs = [entities[one["@id"]] for one in environment["softwareRequirements"]]
    versions = {one["name"]: one["softwareVersion"] for one in needs}
    assert versions == {
        "Python": "CPython 3.12.1",
        "numpy": "2.2.0",
        "odd |name|": "1",
        "gcc": "13.2",
        "lammps": "2023",
        "fftw": "3.3.10",
    }
    assert environment["operatingSystem"] == "Rocky Linux 9.4, kernel 5.14.0, x86_64"
    assert entities["#tool/python%20mix.py"]["softwareVersion"] == "CPython 3.12.1"
    report = (folder / "report.md").read_text()
    assert "| Python | CPython 3.12.1 |" in report
    assert "| modules | gcc/13.2 lammps/2023 |" in report
    assert "Of 4 attempts it is not known what software they ran in" in report
    assert "/opt/&lt;b&gt;/python" in (folder / "report.html").read_text()
    assert verify_bundle(folder, root) == []


def test_what_was_changed_in_a_bundle_is_found(tmp_path: Path) -> None:
    folder = export(told(tmp_path / "root", "COMPLETED")).path
    (folder / NAME).write_bytes(ENVIRONMENT.replace(b"2.2.0", b"2.2.1"))
    assert [finding.path for finding in verify_bundle(folder)] == [NAME]


def test_an_environment_that_no_event_speaks_of_is_found(tmp_path: Path) -> None:
    folder = export(told(tmp_path / "root", "COMPLETED")).path
    survey = json.loads((folder / SURVEY).read_bytes())
    survey["environments"] = []
    (folder / SURVEY).write_text(json.dumps(survey))
    problems = [f.problem for f in verify_bundle(folder) if f.path == SURVEY]
    assert "does not have the environments of jobs that events.jsonl has" in problems


@pytest.mark.parametrize("left", [None, b"{}", b"x" * (5 << 20)], ids=["nothing", "another", "large"])
def test_what_is_not_there_any_more_as_it_was_is_told(tmp_path: Path, left: bytes | None) -> None:
    root = new_root(tmp_path / "root")
    with stage(root) as made:
        completed(made)
        file = made.attempt_folder("mix").path / "claim" / "environment.json"
    file.unlink()
    if left is not None:
        file.write_bytes(left)
    bundle = export(root)
    assert not bundle.is_complete
    assert any("software that jobs ran in" in text for text in bundle.missing)
    assert "not here: no attempt's folder holds what was found" in (bundle.path / "report.md").read_text()
    assert verify_bundle(bundle.path, root) == []


@pytest.mark.parametrize(
    "said",
    [
        b"", b"\xff", b"null", b"[]", b"{}", b'{"python": 3}', b'{"conda": {"a": null}}', b"[" * 100_000,
        b'{"modules": ["\\u0007\\u202e"], "python": {"version": "<script>"}}',
        b'{"modules": ["\\ud800"]}',
        b'{"modules": ["a/1"], "modules": ["b/2"]}',
    ],
    ids=range(11),
)  # fmt: skip
def test_a_job_may_say_anything_of_what_it_ran_in(tmp_path: Path, said: bytes) -> None:
    root = new_root(tmp_path / "root")
    with stage(root) as made:
        begun(made)
        made.end("odd", dict.fromkeys(["a.dat"], b"x"), environment=said or b" ")
    folder = export(root).path
    assert verify_bundle(folder, root) == []
    page = (folder / "report.html").read_text()
    assert "<script>" not in page
    assert "\u202e" not in page
    assert "b/2" not in page
