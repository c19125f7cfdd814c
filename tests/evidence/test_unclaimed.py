"""What an attempt left that was tried again is kept, though no task claims it."""

import zipfile
from pathlib import Path
from typing import Final

import pytest
import trio

from matterstack.core.run import messages as m
from matterstack.core.states import JobState
from matterstack.evidence.archive import archive_run
from matterstack.evidence.cleaning import clean_run
from matterstack.evidence.importing import import_archive
from matterstack.evidence.survey import FileState, UnclaimedRecord
from matterstack.evidence.verify import verify_bundle
from matterstack.storage.confine import Confined
from matterstack.storage.layout import Root
from tests.evidence.bundles import content, export
from tests.evidence.stage import begun, sha256, stage, told
from tests.evidence.test_bad_input import survey_of
from tests.evidence.test_crate import graph
from tests.support.states import RUN_ID
from tests.support.stored import new_root

pytestmark = pytest.mark.usefixtures("drawn_once")

LEFT: Final = {"part 1.dat": b"half of it\n", "result.json": b"{}"}
"""By the first attempt of task flaky."""


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return told(tmp_path / "root", "COMPLETED")


@pytest.fixture
def attempt(root: Root) -> Path:
    """The folder of the attempt that was not enough."""
    return root.run_folder("demo", RUN_ID).path / "tasks" / "flaky" / "1"


def unclaimed(folder: Path) -> dict[str, UnclaimedRecord]:
    return {f"{record.task_id}.{record.n}/{record.path}": record for record in survey_of(folder).unclaimed}


def test_what_an_attempt_left_that_was_tried_again_is_in_the_evidence(root: Root, attempt: Path) -> None:
    (attempt / "scratch.tmp").write_bytes(b"nobody asked for it")
    bundle = export(root)
    assert bundle.is_complete, bundle.missing
    assert content(bundle.path / "outputs" / "flaky.1") == LEFT
    records = unclaimed(bundle.path)
    assert {path: (record.state, record.sha256, record.bytes) for path, record in records.items()} == {
        f"flaky.1/{name}": (FileState.COPIED, sha256(data), len(data)) for name, data in LEFT.items()
    }
    result = graph(bundle.path)["#attempt/flaky/1"]["result"]
    assert [one["@id"] for one in result] == [
        "outputs/flaky.1/part%201.dat",
        "outputs/flaky.1/result.json",
        "logs/flaky.1/stderr.log",
    ]
    line = f"- left behind `part 1.dat`: 11 B, SHA-256 {sha256(LEFT['part 1.dat'])} as found, copied\n"
    text = (bundle.path / "report.md").read_text()
    assert line in text[text.index("### flaky, attempt 1 (replaced by a later one)") :]
    assert sha256(LEFT["part 1.dat"]) in (bundle.path / "report.html").read_text()
    assert verify_bundle(bundle.path, root) == []
    (attempt / "part 1.dat").write_bytes(b"forged\n")
    (finding,) = verify_bundle(bundle.path, root)
    assert finding.path == "outputs/flaky.1/part 1.dat"
    assert "is not what it was when this bundle was made" in finding.problem


def test_what_a_cancelled_attempt_left_is_in_the_evidence(tmp_path: Path) -> None:
    root = new_root(tmp_path / "root")
    with stage(root) as made:
        begun(made)
        (made.attempt_folder("mix").path / "mix.json").write_bytes(b'{"ratio":')
        made.tell(m.Cancel(by="ann"))
        for task_id in ("mix", "flaky", "odd"):
            made.tell(m.Observed(token=made.stored.run.token(task_id), state=JobState.CANCELLED))
    folder = export(root).path
    assert list(unclaimed(folder)) == ["mix.1/mix.json"]
    assert (folder / "outputs" / "mix.1" / "mix.json").read_bytes() == b'{"ratio":'
    assert verify_bundle(folder, root) == []


def test_over_the_limit_it_is_named_by_its_hash_and_is_in_an_archive(root: Root, tmp_path: Path) -> None:
    folder = export(root, copy_below_bytes=0).path
    records = unclaimed(folder)
    assert {record.state for record in records.values()} == {FileState.REFERENCED}
    entity = graph(folder)["#output/flaky/1/part%201.dat"]
    assert (entity["sha256"], entity["contentSize"]) == (sha256(LEFT["part 1.dat"]), "11")

    async def archive() -> Path:
        made = await archive_run(root, RUN_ID, tmp_path / "run.zip", copy_below_bytes=0)
        return made.path

    with zipfile.ZipFile(trio.run(archive)) as file:
        assert file.read(f"{RUN_ID}/outputs/flaky.1/part 1.dat") == LEFT["part 1.dat"]
    assert import_archive(new_root(tmp_path / "other"), tmp_path / "run.zip").is_complete


def test_when_it_cannot_be_read_it_is_listed_as_such(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Confined.open_file

    def refused(self: Confined, name: str) -> int:
        if name == "part 1.dat":
            raise PermissionError(13, "Permission denied", name)
        return opened(self, name)

    monkeypatch.setattr(Confined, "open_file", refused)
    folder = export(root).path
    record = unclaimed(folder)["flaky.1/part 1.dat"]
    assert (record.state, record.sha256, record.place) == (FileState.UNREADABLE, "", None)
    line = "- left behind `part 1.dat`: unreadable: it cannot be read: Permission denied\n"
    assert line in (folder / "report.md").read_text()
    assert verify_bundle(folder) == []


def test_cleaning_leaves_it(root: Root, attempt: Path) -> None:
    (attempt / "scratch.tmp").write_bytes(b"nobody asked for it")
    before = content(export(root).path)
    assert [leftover.path for leftover in clean_run(root, RUN_ID, delete=True)] == [
        "tasks/flaky/1/scratch.tmp",
        "tasks/relax/1/start.json",
    ]
    assert content(export(root).path) == before
