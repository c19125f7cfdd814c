"""Bundles that older versions made: what is in them says ``tests/fixtures/bundles/README.md``."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path
from typing import Final

import attrs
import pytest

from matterstack.evidence.picture_meaning import same_picture
from matterstack.evidence.strength import Strength
from matterstack.evidence.survey import FORMAT, TELLS_VERSIONS_FROM, UNBOUND_FORMAT, parse_survey
from matterstack.evidence.verify import examine_bundle
from tests.evidence.forger import Forger, swapped

KEPT: Final = Path(__file__).parents[1] / "fixtures" / "bundles"


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unchained")
    with tarfile.open(KEPT / "bundle_unchained.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def bundle(unpacked: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(unpacked, tmp_path / "bundle"))


def test_a_bundle_of_before_files_were_bound_verifies_and_it_is_said_how_strongly(bundle: Path) -> None:
    found = examine_bundle(bundle)
    assert found.findings == ()
    assert found.seq == 34
    strong = {Strength.BOUND, Strength.BYTES, Strength.RULES, Strength.MEANING}
    weak = {path for path, check in found.checks.items() if check not in strong}
    logs = {path for path in found.checks if path.startswith(("logs/", "used/"))}
    assert weak == {*logs, "answers/thickness.1/request.json", "outputs/flaky.1/part.dat"}
    for path in ("tasks.csv", "workflow.json", "config.json", "manifest-sha256.txt"):
        assert found.checks[path] is Strength.BYTES, path
    for path in ("outputs/measure.1/table.csv", "answers/thickness.1/response.json", "sources/campaign.py"):
        assert found.checks[path] is Strength.BOUND, path
    assert found.absent == (
        "measure, attempt 1: output lost.csv is missing",
        "large, attempt 1: output large.bin is referenced",
    )
    assert "measure, attempt 1: stdout.log: no hash of it was recorded when its job ended" in found.unbound


def test_a_bundle_of_a_changed_run_from_before_versions_were_told_is_what_it_was(tmp_path: Path) -> None:
    with tarfile.open(KEPT / "bundle_amended.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    survey = parse_survey((tmp_path / "evidence.json").read_bytes())
    assert survey.format == TELLS_VERSIONS_FROM - 1
    found = examine_bundle(tmp_path)
    assert found.findings == ()
    assert found.checks["report.md"] in {Strength.BYTES, Strength.MEANING}
    for path in ("tasks.csv", "workflow.json", "config.json", "README.md"):
        assert found.checks[path] is Strength.BYTES, path
    assert found.absent == ("which versions attempts were made under: an older version made this bundle",)


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("tasks.csv", b",4,ms-host,", b",5,ms-host,"),
        ("workflow.json", b"How thick", b"How thin"),
        ("config.json", b"0.2", b"0.3"),
        ("report.md", b"12.5", b"99.5"),
        ("report.html", b"12.5", b"99.5"),
        ("timeline.svg", b"#c52707", b"#2f8132"),
        ("ro-crate-metadata.json", b"ms-host", b"another"),
    ],
)
def test_what_follows_from_its_events_is_compared_although_another_version_made_it(
    path: str, old: bytes, new: bytes, bundle: Path
) -> None:
    forger = Forger.of(bundle)
    forger.survey = attrs.evolve(forger.survey, made_with=dict.fromkeys(forger.survey.made_with, "0.0.1"))
    forger.pen[path] = swapped(old, new)
    forger.rebuild()
    assert path in {finding.path for finding in examine_bundle(bundle).findings}


def test_a_newer_format_is_refused_and_an_older_one_stays_what_it_is(bundle: Path) -> None:
    survey = parse_survey((bundle / "evidence.json").read_bytes())
    assert survey.format == UNBOUND_FORMAT
    forger = Forger.of(bundle)
    forger.survey = attrs.evolve(survey, format=FORMAT + 1)
    forger.rebuild()
    (finding,) = (f for f in examine_bundle(bundle).findings if f.path == "evidence.json")
    assert f"its format is {FORMAT + 1}" in finding.problem


def test_pictures_of_an_older_matplotlib_show_what_those_of_this_one_do(bundle: Path, tmp_path: Path) -> None:
    with tarfile.open(KEPT / "pictures_matplotlib_3_9.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    for name in ("timeline.svg", "graph.svg"):
        older, newer = (tmp_path / name).read_bytes(), (bundle / name).read_bytes()
        assert older != newer
        assert same_picture(older, newer)
        assert same_picture(newer, older)
        assert not same_picture(older.replace(b"#2f8132", b"#c52707"), newer)
