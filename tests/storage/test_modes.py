"""How open what is made is, whatever the umask of the program that MatterStack is a part of."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from matterstack.actors.runtime import Runtime
from matterstack.core.errors import ConfigError
from matterstack.core.ids import RunId
from matterstack.core.model.workflow_check import SECRETS_FILE
from matterstack.storage.confine import confined
from matterstack.storage.files import write_derived, write_durable
from matterstack.storage.layout import Root
from matterstack.storage.leases import acquire_lease
from matterstack.storage.modes import change, job_umask, make_folders, open_shared
from matterstack.storage.openness import closed_ways, is_own, settle
from matterstack.storage.schema import open_database
from matterstack.usecases.runs import create_run

RUN = "20260102T030405-abcdef"


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=lambda mask: f"{mask:03o}")
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """That of the host program."""
    was = os.umask(request.param)
    yield request.param
    assert os.umask(was) == request.param, "nobody has changed it"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Root:
    monkeypatch.setenv("HOME", str(tmp_path))
    workspace = tmp_path / "root" / "workspaces" / "w"
    workspace.mkdir(parents=True, mode=0o755)
    workspace.chmod(0o755)
    (workspace / "campaign.py").write_text("")
    return Root(tmp_path / "root")


def mode(path: Path) -> str:
    return f"{path.stat().st_mode & 0o7777:o}"


def test_a_host_program_makes_a_run_that_is_its_users_alone(root: Root, umask: int) -> None:  # noqa: ARG001
    run_id = create_run(root, "w", {}, Runtime())
    connection = open_database(root.database)
    lease = acquire_lease(connection, root, run_id)
    assert lease is not None
    beside = {path.name: mode(path) for path in root.private.iterdir()}
    lease.release(connection)
    connection.close()
    assert mode(root.private) == "700"
    assert beside == {"state.db": "600", "state.db-wal": "600", "state.db-shm": "600", "locks": "700"}
    assert {mode(path) for path in root.locks.iterdir()} == {"600"}
    folder = root.run_folder("w", run_id)
    assert [mode(folder.path), mode(folder.path.parent)] == ["750", "750"]
    assert [mode(folder.config_file), mode(folder.sources / "campaign.py")] == ["640", "640"]


def test_what_is_made_is_as_open_as_its_folder_and_never_open_to_others(tmp_path: Path, umask: int) -> None:  # noqa: ARG001
    made = {0o700: "700 600", 0o750: "750 640", 0o755: "750 640", 0o2770: "2770 660", 0o2775: "2770 660"}
    for folder_mode, expected in made.items():
        place = tmp_path / f"{folder_mode:o}"
        place.mkdir()
        place.chmod(folder_mode)
        write_durable(place / "durable", b"")
        write_derived(place / "derived", b"")
        os.close(open_shared(place / "log", os.O_APPEND))
        with confined(place) as inside:
            inside.write("a/b/file", b"")
            inside.replace("replaced", b"")
            inside.write("a/script", b"", mode=0o777)
            inside.write("a/read-only", b"", mode=0o444)
        folder, file = expected.split()
        assert [mode(place / "a"), mode(place / "a" / "b")] == [folder, folder]
        files = {mode(place / name) for name in ("durable", "derived", "log", "a/b/file", "replaced")}
        assert files == {file}
        assert mode(place / "a" / "script") == folder[-3:]
        assert mode(place / "a" / "read-only") == f"{int(file, 8) & 0o444:o}"


def test_of_a_folder_that_is_none_of_ours_nothing_is_taken_over(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    make_folders(tmp_path / "a" / "b")
    assert [mode(tmp_path / "a"), mode(tmp_path / "a" / "b")] == ["750", "750"]


def test_a_shared_root_has_the_group_of_its_folder(root: Root) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may give a file to any group")
    os.chown(root.path, -1, 23100)
    root.config_file.write_text(json.dumps({"share": "group"}))
    run_id = create_run(root, "w", {}, Runtime())
    folder = root.run_folder("w", run_id)
    for path in (root.private, folder.path, folder.path.parent, folder.sources):
        assert (mode(path), path.stat().st_gid) == ("2770", 23100)
    for path in (root.database, folder.config_file, folder.sources / "campaign.py"):
        assert (mode(path), path.stat().st_gid) == ("660", 23100)
    assert (job_umask(root.private), settle(root)) == (0o007, [])


def test_a_config_of_the_root_that_cannot_be_used_is_named_before_anything_is_made(root: Root) -> None:
    root.config_file.write_text('{"share": "all"}')
    with pytest.raises(ConfigError, match=f"{root.config_file}: share: must be "):
        create_run(root, "w", {}, Runtime())
    assert not root.private.exists()
    root.config_file.write_text('{"prority": 1}')
    with pytest.raises(ConfigError, match=f"{root.config_file}: prority: unknown key"):
        create_run(root, "w", {}, Runtime())


def test_the_config_of_the_root_lies_between_that_of_the_site_and_of_the_workspace(root: Root) -> None:
    site = Path.home() / ".config" / "matterstack" / "config.json"
    site.parent.mkdir(parents=True)
    site.write_text('{"priority": 2, "max_hpc_jobs_per_run": 2, "params": {"a": 1}}')
    root.config_file.write_text(
        '{"share": null, "priority": 3, "max_hpc_jobs_per_run": 3, "params": {"b": 1}}'
    )
    (root.workspaces / "w" / "config.json").write_text('{"priority": 4}')
    frozen = json.loads(root.run_folder("w", create_run(root, "w", {}, Runtime())).config_file.read_text())
    assert (frozen["priority"], frozen["max_hpc_jobs_per_run"], frozen["params"]) == (4, 3, {"a": 1, "b": 1})
    assert "share" not in frozen


def test_nothing_is_changed_through_a_link_or_by_another_name(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("")
    outside.chmod(0o644)
    (tmp_path / "link").symlink_to(outside)
    assert not change(tmp_path / "link", 0o600)
    os.link(outside, tmp_path / "hard")
    assert not change(tmp_path / "hard", 0o600)
    os.mkfifo(tmp_path / "fifo")
    assert not change(tmp_path / "fifo", 0o600)
    assert mode(outside) == "644"


def test_what_lies_on_another_disk_is_closed_there_and_a_link_in_the_place_of_a_run_is_not(
    root: Root, tmp_path: Path
) -> None:
    run_id = create_run(root, "w", {}, Runtime())
    runs = root.workspaces / "w" / "runs"
    for place, elsewhere in ((root.private, tmp_path / "fast"), (runs, tmp_path / "large")):
        place.rename(elsewhere)
        place.symlink_to(elsewhere)
        elsewhere.chmod(0o755)
    (tmp_path / "large" / run_id).chmod(0o755)
    (tmp_path / "other").mkdir(mode=0o755)
    (tmp_path / "other").chmod(0o755)
    (runs / RUN).symlink_to(tmp_path / "other")
    [told] = settle(root)
    assert "was open to others (mode 755)" in told
    assert settle(root) == []
    assert [mode(tmp_path / name) for name in ("fast", "large", "other")] == ["700", "750", "755"]
    assert mode(runs / run_id) == "750"


def test_a_run_of_an_open_root_is_made_closed(root: Root) -> None:
    runs = root.workspaces / "w" / "runs"
    runs.mkdir()
    runs.chmod(0o777)
    with confined(root.run_folder("w", RunId(RUN)).path, make=True):
        pass
    assert mode(runs / RUN) in {"750", "770"}


def test_what_keeps_a_group_out_is_found_on_the_whole_way(tmp_path: Path) -> None:
    root = Root(tmp_path / "a" / "root")
    (root.workspaces / "w").mkdir(parents=True)
    for path in (root.path, root.workspaces, root.workspaces / "w", tmp_path / "a"):
        path.chmod(0o755)
    before = closed_ways(root, 23100)
    (tmp_path / "a").chmod(0o750)
    [way] = [way for way in closed_ways(root, 23100) if way not in before]
    assert (way.path, way.mends) == (tmp_path / "a", f"chmod o+x {tmp_path / 'a'}")
    assert is_own(tmp_path)


def test_a_root_that_is_shared_shares_no_secret(root: Root) -> None:
    run_id = create_run(root, "w", {}, Runtime())
    open_database(root.database).close()
    make_folders(root.secrets)
    waiting = root.run_folder("w", run_id).path / "tasks" / "t" / "1" / SECRETS_FILE
    make_folders(waiting.parent)
    for path in (root.secrets / "API_TOKEN", waiting):
        path.write_text("a value")
        path.chmod(0o600)
    root.config_file.write_text('{"share": "group"}')

    settle(root)

    assert mode(root.private) == "2770"
    assert (mode(root.secrets), mode(root.secrets / "API_TOKEN"), mode(waiting)) == ("700", "600", "600")
