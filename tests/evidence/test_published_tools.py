"""What others have published reads a bundle, each program from its own package."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from matterstack.core.run import messages as m
from matterstack.evidence.citation import LICENSES
from tests.evidence.bundles import export
from tests.evidence.stage import ABOUT, completed, stage
from tests.support.crates import PROJECT, PYTHON, findings, run_tool
from tests.support.stored import new_root

pytestmark = pytest.mark.usefixtures("processes", "drawn_once")


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("key") / "ada"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(file)], check=True)
    return file


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, key: Path) -> Path:
    """Of a completed run of which all is said that can be, signed."""
    about: dict[str, Any] = {
        **ABOUT,
        "authors": ABOUT["authors"][:1],
        "funding": [
            {
                "funder": "Salt Fund",
                "ror": "https://ror.org/018mejw64",
                "award": "S-1",
                "url": "https://example.org/s-1",
            }
        ],
    }
    root = new_root(tmp_path_factory.mktemp("published") / "root")
    with stage(root) as made:
        completed(made)
        made.tell(m.AmendAbout(by="bea", about=about))
    return export(root, sign_with=key).path


def answered() -> set[str]:
    """The checks that the documentation answers instead of passing them."""
    text = (PROJECT / "docs" / "how-to" / "reviewers.md").read_text()
    return set(re.findall(r"^\| `([a-z0-9.-]+_[0-9.]+)` \|", text, re.MULTILINE))


def test_the_crate_passes_what_is_required_and_what_is_recommended_but_for_what_the_docs_answer(
    bundle: Path,
) -> None:
    assert findings(bundle) == {str(bundle): []}
    (found,) = findings(bundle, level="RECOMMENDED").values()
    assert {finding.partition(":")[0] for finding in found} == answered(), "\n".join(sorted(set(found)))


def test_runcrate_tells_what_was_run(bundle: Path) -> None:
    done = run_tool("runcrate", "report", bundle, cwd=bundle)
    assert done.returncode == 0, done.stderr
    assert "action: #attempt/mix/1" in done.stdout
    assert "outputs/mix.1/mix.json" in done.stdout


def test_the_library_of_ro_crates_reads_and_writes_it_again_without_a_change(
    bundle: Path, tmp_path: Path
) -> None:
    program = "import sys; from rocrate.rocrate import ROCrate; ROCrate(sys.argv[1]).write(sys.argv[2])"
    command = [str(PYTHON), "-c", program, str(bundle), str(tmp_path / "again")]
    subprocess.run(command, check=True, timeout=120)
    before, after = (
        {entity["@id"]: entity for entity in json.loads(file.read_bytes())["@graph"]}
        for file in (bundle / "ro-crate-metadata.json", tmp_path / "again" / "ro-crate-metadata.json")
    )
    assert after == before


def test_its_hashes_are_checked_without_matterstack(bundle: Path) -> None:
    for listed in ("manifest-sha256.txt.sha256", "manifest-sha256.txt"):
        command = ["sha256sum", "--strict", "-c", listed]
        done = subprocess.run(command, cwd=bundle, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count(": OK\n") == len((bundle / listed).read_text().splitlines()), "each is read"


def test_its_signature_is_checked_without_matterstack_as_its_readme_says(
    bundle: Path, key: Path, tmp_path: Path
) -> None:
    (tmp_path / "allowed_signers").write_text(f"ada {key.with_suffix('.pub').read_text()}")
    (line,) = re.findall(r"^    (ssh-keygen -Y verify .*)$", (bundle / "README.md").read_text(), re.MULTILINE)
    line = line.replace("allowed_signers", str(tmp_path / "allowed_signers")).replace("-I NAME", "-I ada")
    subprocess.run(["sh", "-c", line], cwd=bundle, check=True)
    (tmp_path / "allowed_signers").write_text("")
    assert subprocess.run(["sh", "-c", line], cwd=bundle, check=False).returncode != 0


def test_its_citation_is_valid_and_becomes_a_reference(bundle: Path) -> None:
    done = run_tool("cffconvert", "--validate", cwd=bundle)
    assert done.returncode == 0, done.stdout + done.stderr
    done = run_tool("cffconvert", "-f", "bibtex", cwd=bundle)
    assert "author = {de Groot, Bea}" in done.stdout
    assert "title = {Salts |that| <mix>}" in done.stdout


@pytest.mark.parametrize("license_", ["MIT", "https://example.org/terms", "Aladdin", "Zed"])
def test_a_citation_is_valid_under_any_licence(tmp_path: Path, license_: str) -> None:
    root = new_root(tmp_path / "root")
    with stage(root) as made:
        made.tell(m.AmendAbout(by="bea", about={"authors": [{"name": "Ng"}], "license": license_}))
    done = run_tool("cffconvert", "--validate", cwd=export(root).path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_licences_that_a_citation_names_by_their_ids_are_those_of_its_format() -> None:
    program = "import cffconvert, pathlib; print(pathlib.Path(cffconvert.__file__).parent)"
    done = subprocess.run([PYTHON, "-c", program], capture_output=True, text=True, check=True)
    (schema,) = Path(done.stdout.strip()).rglob("1.2.0/schema.json")
    known = json.loads(schema.read_bytes())["definitions"]["license-enum"]["enum"]
    assert set(known) >= LICENSES


def test_where_nobody_is_named_there_is_no_citation(tmp_path: Path) -> None:
    root = new_root(tmp_path / "root")
    with stage(root) as made:
        made.tell(m.AmendAbout(by="bea", about={}))
    folder = export(root).path
    assert not (folder / "CITATION.cff").exists()
    assert "No licence is stated" in (folder / "README.md").read_text()
    assert findings(folder) == {str(folder): []}
