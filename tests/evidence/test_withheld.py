"""Files that hold the value of a secret are named in a bundle, which is whole all the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from matterstack.evidence.verify import verify_bundle
from matterstack.storage.layout import Root
from tests.evidence.bundles import content, export
from tests.evidence.stage import SCRIPTS, completed, stage
from tests.evidence.tampered_run import COPY_BELOW, KEY, tampered_run, tell
from tests.support.crates import findings, run_tool
from tests.support.stored import new_root

NAME: Final = "TOKEN"
KINDS: Final = {
    "outputs": b"# Best",
    "logs": b"this time",
    "sources": b"def get_campaign",
    "used": b"print('mixed')",
    "environments": b"gcc/13.2",
    "answers": b'"thickness": 12.5',
}
"""What stands in a file of each kind."""


def told(folder: Path, kind: str) -> Root:
    root = new_root(folder / "root")
    with stage(root, secrets=[NAME]) as made:
        root.secrets.mkdir(mode=0o700)
        value = root.secrets / NAME
        value.touch(mode=0o600)
        value.write_bytes(KINDS[kind])
        (tell if kind == "answers" else completed)(made)
    return root


def withheld(document: Any) -> Iterator[str]:
    if isinstance(document, dict):
        if document.get("state") == "withheld" or document.get("withheld"):
            yield document["sha256"]
        document = list(document.values())
    if isinstance(document, list):
        for item in document:
            yield from withheld(item)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_any_kind_is_named_and_nowhere_and_the_bundle_is_whole(kind: str, tmp_path: Path) -> None:
    root = told(tmp_path, kind)
    folder = export(root).path
    survey = json.loads((folder / "evidence.json").read_bytes())
    (digest,) = withheld(survey[kind if kind != "logs" else "attempts"])
    here = {place: data for place, data in content(folder).items() if place.startswith(f"{kind}/")}
    assert [place for place, data in here.items() if KINDS[kind] in data] == []
    for report in ("report.md", "report.html"):
        text = (folder / report).read_text()
        assert digest in text
        assert f"it holds the value of the secret {NAME}" in text
    assert verify_bundle(folder) == []
    assert verify_bundle(folder, root) == []


@pytest.mark.usefixtures("processes")
def test_published_tools_read_a_bundle_from_which_files_are_withheld(tmp_path: Path) -> None:
    folders = [export(told(tmp_path / kind, kind)).path for kind in KINDS]
    assert findings(*folders) == {str(folder): [] for folder in folders}
    for folder in folders:
        done = run_tool("runcrate", "report", folder, cwd=folder)
        assert done.returncode == 0, done.stderr


def test_what_a_job_was_given_is_withheld_as_the_events_say_where_the_value_is_not_known_any_more(
    tmp_path: Path,
) -> None:
    root, _ = tampered_run(tmp_path / "root")
    (root.secrets / KEY).unlink()

    folder = export(root, tmp_path / "later", copy_below_bytes=COPY_BELOW).path

    survey = json.loads((folder / "evidence.json").read_bytes())
    (given,) = (used for used in survey["used"] if used["name"] == "fetch.py")
    assert (given["place"], given["withheld"]) == (None, f"it holds the value of the secret {KEY}")
    assert SCRIPTS["fetch.py"] not in content(folder).values()
    assert verify_bundle(folder) == []
