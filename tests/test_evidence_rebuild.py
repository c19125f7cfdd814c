"""Evidence is the same to the byte whenever and wherever it is built, and is never there by half."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import pytest

from matterstack.core.ids import RunId
from matterstack.evidence.verify import verify_bundle
from matterstack.storage.layout import Root
from tests.evidence.bundles import content, export
from tests.evidence.stage import STORIES, completed, stage, told
from tests.support.states import RUN_ID

EXPORT_EACH: Final = """
import sys, trio
from pathlib import Path
from matterstack.evidence.export import build_evidence_bundle
from matterstack.storage.layout import Root
for root in sys.argv[2:]:
    trio.run(build_evidence_bundle, Root(Path(root)), sys.argv[1])
"""


def export_elsewhere(roots: Iterable[Root], **environment: str) -> None:
    """Export from each root, in a process of its own."""
    command = [sys.executable, "-c", EXPORT_EACH, RUN_ID, *(str(root.path) for root in roots)]
    subprocess.run(command, env={**os.environ, **environment}, check=True, timeout=120)


@pytest.mark.parametrize("status", STORIES)
def test_a_bundle_is_the_same_again_after_it_was_removed_and_in_a_root_copied_elsewhere(
    status: str, tmp_path: Path
) -> None:
    root = told(tmp_path / "root", status)
    bundle = export(root)
    first = content(bundle.path)
    assert bundle.status == status

    shutil.rmtree(bundle.path)
    assert content(export(root).path) == first
    assert content(export(root).path) == first, "over the old bundle"

    shutil.copytree(root.path, tmp_path / "far" / "away")
    moved = Root(tmp_path / "far" / "away")
    shutil.rmtree(moved.run_folder("demo", RUN_ID).path / "evidence")
    assert content(export(moved, tmp_path / "out").path) == first


@pytest.mark.usefixtures("processes")
def test_neither_time_zone_nor_language_nor_settings_of_a_user_get_into_a_bundle(tmp_path: Path) -> None:
    roots = {status: told(tmp_path / status, status) for status in STORIES}
    places = {status: root.run_folder("demo", RUN_ID).path / "evidence" for status, root in roots.items()}
    (tmp_path / "matplotlibrc").write_text("font.size: 30\naxes.grid: True\nsvg.fonttype: none\n")
    export_elsewhere(roots.values(), TZ="UTC", LC_ALL="C.UTF-8", PYTHONHASHSEED="1")
    first = {status: content(place) for status, place in places.items()}
    for place in places.values():
        shutil.rmtree(place)
    settings = str(tmp_path / "matplotlibrc")
    export_elsewhere(roots.values(), TZ="Asia/Kolkata", LC_ALL="C", PYTHONHASHSEED="2", MATPLOTLIBRC=settings)
    for status, place in places.items():
        assert content(place) == first[status], status


@pytest.mark.parametrize("status", STORIES)
def test_a_bundle_names_no_place_of_the_machine_and_no_other_moment_than_those_of_the_run(
    status: str, tmp_path: Path
) -> None:
    root = told(tmp_path / "root", status)
    for path, data in content(export(root).path).items():
        assert str(tmp_path).encode() not in data, path
        moments = set(re.findall(rb"\d{4}-\d\d-\d\d(?=[T ]\d\d:)", data))
        assert moments <= {b"2026-01-01"}, path


@pytest.mark.parametrize("status", STORIES)
def test_an_untouched_bundle_is_verified_also_as_a_copy(status: str, tmp_path: Path) -> None:
    root = told(tmp_path / "root", status)
    shutil.copytree(export(root).path, tmp_path / "copy")
    assert verify_bundle(tmp_path / "copy") == []
    assert verify_bundle(tmp_path / "copy", root) == []


def test_a_bundle_of_a_running_run_is_as_of_the_event_that_it_names(tmp_path: Path) -> None:
    root = told(tmp_path / "root", "RUNNING")
    bundle = export(root)
    lines = (bundle.path / "events.jsonl").read_bytes().splitlines()
    assert len(lines) == bundle.seq
    assert f"| as of | event {bundle.seq}," in (bundle.path / "report.md").read_text()
    assert not bundle.is_complete


def test_a_bundle_beside_another_run_of_the_store_holds_only_its_own_events(tmp_path: Path) -> None:
    root = told(tmp_path / "root", "RUNNING")
    other = RunId("20260102T000000-bcdefg")
    with stage(root, other) as made:
        completed(made)
    bundle = export(root, run_id=other)
    assert bundle.is_complete, bundle.missing
    assert RUN_ID.encode() not in (bundle.path / "events.jsonl").read_bytes()
    assert verify_bundle(bundle.path, root) == []


DYING: Final = """
import os, signal, sys, trio
from pathlib import Path
from matterstack.core.ids import RunId
from matterstack.evidence.export import build_evidence_bundle
from matterstack.storage.layout import Root
import matterstack.evidence.contents, matterstack.evidence.gathering.gather

EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}

def export_and_die(left):
    def count(event, arguments):
        nonlocal left
        if event in EVENTS:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(count)
    trio.run(build_evidence_bundle, Root(Path(sys.argv[1])), RunId(sys.argv[2]))

for line in sys.stdin:
    child = os.fork()
    if not child:
        export_and_die(int(line))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture
def die_at(tmp_path: Path) -> Iterator[Callable[[int], int]]:
    """Exports in processes of their own (all that they import was imported before): each dies somewhere.

    Takes the number of the change of a file at which it dies, and returns its exit code.
    """
    command = [sys.executable, "-c", DYING, str(tmp_path / "root"), RUN_ID]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        write, read = parent.stdin.write, parent.stdout.readline

        def die(place: int) -> int:
            write(f"{place}\n")
            return int(read())

        yield die


@pytest.mark.parametrize(("old", "step"), [(True, 23), (False, 41)])
def test_a_kill_at_any_moment_leaves_the_old_bundle_or_the_new_one(
    old: bool, step: int, die_at: Callable[[int], int], tmp_path: Path
) -> None:
    root = told(tmp_path / "root", "COMPLETED")
    run_folder = root.run_folder("demo", RUN_ID).path
    folder = run_folder / "evidence"
    new = content(export(root).path)
    shutil.rmtree(folder)
    if old:
        export(root, copy_below_bytes=0)
    before = content(folder)
    died, place = 0, 1
    while die_at(place) == -signal.SIGKILL:
        found = content(folder)
        assert found in (before, new), f"place {place}: {sorted(found)}"
        if found == new:
            before = new
        died += 1
        place += step
    assert died > 3
    assert content(folder) == new
    assert content(export(root).path) == new
    assert sorted(path.name for path in run_folder.iterdir() if path.name.startswith(".evidence.")) == []
