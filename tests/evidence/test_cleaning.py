"""Cleaning frees what evidence does not need, and nothing before that evidence is there and whole."""

from contextlib import closing
from pathlib import Path

import pytest

from matterstack.core.errors import RefusedError
from matterstack.core.run import messages as m
from matterstack.evidence.cleaning import clean_run
from matterstack.evidence.verify import verify_bundle
from matterstack.storage.layout import Root
from matterstack.storage.leases import acquire_lease
from matterstack.storage.schema import open_database
from tests.evidence.bundles import content, export
from tests.evidence.stage import failed, stage, told
from tests.support.states import RUN_ID
from tests.support.stored import new_root

pytestmark = pytest.mark.usefixtures("drawn_once")

SCRATCH = ("WAVECAR", "tmp/deep/x y", "start.json")


@pytest.fixture
def root(tmp_path: Path) -> Root:
    root = told(tmp_path / "root", "COMPLETED")
    folder = root.run_folder("demo", RUN_ID).path / "tasks" / "relax" / "1"
    (folder / "tmp" / "deep").mkdir(parents=True)
    for name in SCRATCH[:2]:
        (folder / name).write_bytes(b"scratch")
    (folder / "link").symlink_to("/etc/hostname")
    return root


def test_scratch_files_and_copies_of_inputs_go_and_evidence_can_be_built_again(root: Root) -> None:
    bundle = export(root)
    before = content(bundle.path)
    folder = root.run_folder("demo", RUN_ID).path
    expected = {f"tasks/relax/1/{name}" for name in SCRATCH}

    files = content(folder)
    assert {leftover.path for leftover in clean_run(root, RUN_ID, delete=False)} == expected
    assert content(folder) == files, "only shown"
    freed = clean_run(root, RUN_ID, delete=True)
    assert {leftover.path for leftover in freed} == expected
    assert content(folder) == {path: data for path, data in files.items() if path not in expected}
    assert not (folder / "tasks" / "relax" / "1" / "tmp").exists()

    assert content(export(root).path) == before
    assert verify_bundle(bundle.path, root) == []
    assert clean_run(root, RUN_ID, delete=True) == []


def test_nothing_is_freed_without_evidence(root: Root) -> None:
    with pytest.raises(RefusedError, match="has no evidence"):
        clean_run(root, RUN_ID, delete=True)


def test_nothing_is_freed_when_evidence_is_not_whole(root: Root) -> None:
    (export(root).path / "report.md").write_text("all is well")
    with pytest.raises(RefusedError, match=r"not whole: report\.md"):
        clean_run(root, RUN_ID, delete=True)


@pytest.mark.parametrize("status", ["PENDING", "RUNNING", "PAUSED"])
def test_nothing_of_a_run_that_has_not_ended_is_freed(status: str, tmp_path: Path) -> None:
    root = told(tmp_path / "root", status)
    export(root)
    with pytest.raises(RefusedError, match="only runs that have ended"):
        clean_run(root, RUN_ID, delete=True)


def test_nothing_is_freed_when_the_run_went_on_since(tmp_path: Path) -> None:
    root = new_root(tmp_path / "root")
    with stage(root) as made:
        failed(made)
        export(root)
        made.tell(m.Retry(by="ann"), m.Cancel(by="ann"))
    with pytest.raises(RefusedError, match="went on to"):
        clean_run(root, RUN_ID, delete=True)


def test_nothing_of_a_run_that_is_served_is_freed(root: Root) -> None:
    export(root)
    with closing(open_database(root.database)) as connection:
        lease = acquire_lease(connection, root, RUN_ID)
        assert lease is not None
        with pytest.raises(RefusedError, match="served by an engine"):
            clean_run(root, RUN_ID, delete=True)
        lease.release(connection)
    assert len(clean_run(root, RUN_ID, delete=True)) == len(SCRATCH)
