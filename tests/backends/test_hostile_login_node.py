"""A login node that is hostile or broken: what it tells and sends stays in the folders it was asked about."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from matterstack.backends.slurm.ssh import homecoming
from matterstack.backends.slurm.ssh import transfers as files
from matterstack.backends.slurm.ssh.connection import Connection
from matterstack.backends.slurm.ssh.homecoming import Landing
from matterstack.backends.slurm.ssh.ssh_site import SshSite
from matterstack.core.errors import BackendError
from matterstack.core.ids import BackendName, RunId, TaskId
from matterstack.storage.finishing_reports import read_finishing
from matterstack.storage.layout import Root
from matterstack.storage.modes import make_folders
from matterstack.storage.outputs import collect_outputs
from matterstack.storage.threads import WorkerThreads
from tests.support.sshd import HOST, Sshd

RUN = RunId("20260102T030405-abcdef")
OWN = "0123456789abcdef"


@attrs.frozen
class Far:
    """A root here, and the same tree on a machine behind ssh."""

    sshd: Sshd
    root: Root
    site: SshSite

    def attempt(self, task: str = "t", outputs: Sequence[str] = ("out/**",), **manifest: Any) -> Path:
        folder = self.root.run_folder("w", RUN).attempt(TaskId(task), 1).path
        folder.mkdir(parents=True)
        document = {"files": [], "inputs": [], "outputs": list(outputs), **manifest}
        (folder / "manifest.json").write_text(json.dumps(document))
        self.there(folder).mkdir(parents=True)
        return folder

    def there(self, folder: Path) -> Path:
        return self.sshd.workdir / "matterstack" / OWN / folder.relative_to(self.root.path)

    def left(self, folder: Path, name: str, content: str) -> Path:
        """Have a job leave a file there."""
        path = self.there(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path

    def told(self, folder: Path, *names: str, size: int = 4) -> None:
        """Have the other side tell of these files, and of no others."""
        relative = f"./{folder.relative_to(self.root.path)}"
        words = " ".join(shlex.quote(word) for name in names for word in (relative, name, str(size)))
        # Told twice: as today's lines and yesterday's want it.
        pairs = " ".join(shlex.quote(word) for name in names for word in (relative, name))
        self.sshd.wrap(
            "find", f"case \"$*\" in *%s*) printf '%s\\0' {words};; *) printf '%s\\0' {pairs};; esac"
        )

    @property
    def landings(self) -> Path:
        return self.root.private / homecoming.FOLDER / "cluster"


@pytest.fixture
def far(bare_sshd: Sshd, tmp_path: Path) -> Far:
    root = Root(tmp_path / "root")
    (root.workspaces / "w").mkdir(parents=True)
    (root.workspaces / "w" / "campaign.py").write_text("mine\n")
    options = bare_sshd.config["options"]
    assert isinstance(options, list)
    connection = Connection(HOST, tuple(options))
    site = SshSite(
        BackendName("cluster"), root.path, str(bare_sshd.workdir), OWN, 20.0, connection, WorkerThreads(2)
    )
    return Far(bare_sshd, root, site)


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


async def test_a_name_with_a_mark_of_rsync_puts_nothing_beside_the_run(far: Far) -> None:
    attempt = far.attempt()
    far.left(attempt, "out/workspaces/w/campaign.py", "theirs\n")
    far.left(attempt, "out/good", "good")
    far.told(attempt, "out/./workspaces/w/campaign.py", "out/good", size=7)

    assert await far.site.pull([attempt]) == {attempt}

    assert (far.root.workspaces / "w" / "campaign.py").read_text() == "mine\n"
    assert _files(attempt) == {"manifest.json", "not_fetched.json", "out/good"}
    assert collect_outputs(attempt, ["out/**"], ()).problem == (
        "output 'out/./workspaces/w/campaign.py' must be written as 'out/workspaces/w/campaign.py'; "
        "it was left on the cluster"
    )


@pytest.mark.parametrize(
    "name",
    [
        "out/../../../../../../campaign.py",
        "out//x",
        "out/x/",
        "./out/x",
        "out/./x",
        "/out/x",
        "out/" + "d/" * 64 + "x",
    ],
)
async def test_names_that_are_not_in_their_normal_form_are_not_asked_for(far: Far, name: str) -> None:
    attempt = far.attempt(outputs=["**"])
    far.left(attempt, "out/x", "made")
    far.told(attempt, name)

    await far.site.pull([attempt])

    assert _files(attempt) == {"manifest.json", "not_fetched.json"}
    assert (far.root.workspaces / "w" / "campaign.py").read_text() == "mine\n"


async def test_a_folder_that_was_not_asked_about_gets_nothing(far: Far) -> None:
    attempt, other = far.attempt(), far.attempt("other")
    far.left(other, "out/planted", "planted")
    far.told(other, "out/planted")

    await far.site.pull([attempt])

    assert _files(other) == {"manifest.json"}


async def test_a_hard_link_in_the_place_of_a_log_is_not_written_through(far: Far) -> None:
    attempt = far.attempt()
    campaign = far.root.workspaces / "w" / "campaign.py"
    for name in ("stdout.log", "stderr.log", "exit.json"):
        os.link(campaign, attempt / name)
        far.left(attempt, name, "theirs\n")

    await far.site._fetch_logs([attempt])
    assert campaign.read_text() == "mine\n"
    assert (attempt / "stdout.log").read_text() == "theirs\n"
    await far.site.pull([attempt])

    assert campaign.read_text() == "mine\n"
    assert campaign.stat().st_nlink == 1
    assert (attempt / "exit.json").read_text() == "theirs\n"


async def test_links_on_the_way_to_an_output_lead_nowhere(far: Far, tmp_path: Path) -> None:
    attempt, outside = far.attempt(), tmp_path / "outside"
    outside.mkdir()
    (attempt / "out").symlink_to(outside)
    (attempt / "stdout.log").symlink_to(outside / "log")
    far.left(attempt, "out/x", "made")
    far.left(attempt, "stdout.log", "said")

    await far.site.pull([attempt])

    assert _files(outside) == set()
    assert (attempt / "stdout.log").read_text() == "said"
    assert not (attempt / "stdout.log").is_symlink()


async def test_nothing_stays_where_files_have_landed(far: Far) -> None:
    attempt = far.attempt()
    far.left(attempt, "out/x", "made")
    far.left(attempt, "stdout.log", "said")

    await far.site._fetch_logs([attempt])
    assert far.landings.stat().st_mode & 0o777 == 0o700
    await far.site.pull([attempt])

    assert list(far.landings.glob("workspaces/w/runs/*/tasks/*")) == []
    assert (attempt / "out/x").read_text() == "made"
    Landing(far.root.path, far.landings).sweep()
    assert list(far.landings.glob("workspaces/w/runs/*")) == []


async def test_a_log_that_grows_is_shown_as_far_as_it_came_and_is_whole_in_the_end(far: Far) -> None:
    attempt = far.attempt()
    log = far.left(attempt, "stdout.log", "one\n")
    await far.site._fetch_logs([attempt])
    first = (attempt / "stdout.log").read_text()
    with log.open("a") as file:
        file.write("two\n")
    await far.site._fetch_logs([attempt])
    second = (attempt / "stdout.log").read_text()
    log.write_text("written anew, and longer than before\n")
    await far.site._fetch_logs([attempt])

    await far.site.pull([attempt])

    assert [first, second] == ["one\n", "one\ntwo\n"]
    assert (attempt / "stdout.log").read_text() == "written anew, and longer than before\n"


async def test_what_was_asked_for_and_nothing_else_takes_its_place(far: Far) -> None:
    attempt, landing = far.attempt(), Landing(far.root.path, far.landings)
    landed = far.landings / attempt.relative_to(far.root.path)
    for name in ("stdout.log", "extra", "out/extra"):
        (landed / name).parent.mkdir(parents=True, exist_ok=True)
        (landed / name).write_text("sent")
    (landed / "link").symlink_to("/etc/passwd")
    (landed / "folder").mkdir()

    complaints = landing.settle(attempt, ["stdout.log", "link", "folder", "missing"]).complaints

    assert _files(attempt) == {"manifest.json", "stdout.log"}
    assert [complaint.rpartition(": ")[2] for complaint in complaints] == [
        "is a symbolic link",
        "is no regular file",
    ]


async def test_what_others_put_here_is_none_of_what_the_job_left_there(far: Far) -> None:
    attempt = far.attempt(files=[{"name": "in/given"}])
    for name in ("in/given", "in/planted", "result.json", "out/planted", "out/deep/planted", "out/both"):
        (attempt / name).parent.mkdir(parents=True, exist_ok=True)
        (attempt / name).write_text("here")
    (attempt / "out" / "link").symlink_to("/etc/passwd")
    (attempt / "out" / "in_the_way").mkdir()
    (attempt / "exit.json").write_text("{}")
    for name in ("claim/job_id", "out/both", "out/in_the_way"):
        far.left(attempt, name, "there")

    await far.site.pull([attempt])

    kept = {name for name in _files(attempt) if name.startswith("claim/before/")}
    records = {"manifest.json", "claim/job_id", "exit.json"}
    assert _files(attempt) - kept == {*records, "in/given", "out/both", "out/in_the_way"}
    assert [(attempt / "out" / name).read_text() for name in ("both", "in_the_way")] == ["there", "there"]
    aside = ["deep/planted", "link", "planted", "planted", "result.json"]
    assert sorted(name.partition("-")[2] for name in kept) == aside


@pytest.mark.parametrize("gives_up", [False, True])
async def test_in_a_shared_root_a_log_is_the_group_s_from_the_moment_it_is_shown(
    far: Far, *, gives_up: bool
) -> None:
    (far.root.path / "config.json").write_text('{"share": "group"}')
    make_folders(far.root.run_folder("w", RUN).path)
    attempt = far.attempt()
    attempt.chmod(0o2770)
    log = far.left(attempt, "stdout.log", "one\n")
    log.chmod(0o600)
    await far.site._fetch_logs([attempt])
    modes = [(attempt / "stdout.log").stat().st_mode & 0o777]
    with log.open("a") as file:
        file.write("two\n")
    await far.site._fetch_logs([attempt])
    modes.append((attempt / "stdout.log").stat().st_mode & 0o777)

    await (far.site._fetch_records if gives_up else far.site.pull)([attempt])

    modes.append((attempt / "stdout.log").stat().st_mode & 0o777)
    assert modes == [0o660] * 3


@pytest.mark.parametrize(
    "planted", ["claim", "claim/before", "claim/job_id", "exit.json", "not_fetched.json", "stdout.log"]
)
@pytest.mark.parametrize("kind", ["file", "link", "folder"])
async def test_whatever_is_planted_here_where_records_are_to_lie_gives_way_to_them(
    far: Far, planted: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    attempt = far.attempt()
    (attempt / planted).parent.mkdir(exist_ok=True)
    match kind:
        case "file":
            (attempt / planted).write_text("here")
        case "link":
            (attempt / planted).symlink_to(far.root.workspaces)
        case _:
            (attempt / planted / "within").mkdir(parents=True)
    (attempt / "result.json").write_text("here")
    for name in ("claim/job_id", "exit.json", "stdout.log", "out/made"):
        far.left(attempt, name, "there")
    far.told(attempt, "out/made", "out/large", size=5 << 50)

    for _ in range(3):
        await far.site.pull_claims([attempt])
        await far.site.pull([attempt])

    assert [(attempt / name).read_text() for name in ("claim/job_id", "exit.json", "stdout.log")] == [
        "there"
    ] * 3
    assert not (attempt / "result.json").exists()
    assert "did not come home" not in caplog.text
    told = [record for record in caplog.records if f"has put {planted} there" in record.getMessage()]
    assert len(told) <= 1
    assert [path.name for path in far.root.workspaces.iterdir()] == ["w"]


async def test_what_has_come_home_stays_when_the_folder_there_was_cleaned(far: Far) -> None:
    attempt = far.attempt()
    for name in ("claim/job_id", "exit.json", "result.json", "out/made"):
        far.left(attempt, name, "there")
    await far.site.pull([attempt])
    home = _files(attempt)
    shutil.rmtree(far.there(attempt))

    await far.site.pull([attempt])

    assert {"exit.json", "result.json", "out/made"} < home == _files(attempt)


async def test_a_file_lands_on_another_disk_than_its_place_and_stays_sparse(
    far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt, landing = far.attempt(), Landing(far.root.path, far.landings)
    landed = far.landings / attempt.relative_to(far.root.path)
    landed.mkdir(parents=True)
    with (landed / "big").open("wb") as file:
        file.truncate(64 << 20)
        file.seek(32 << 20)
        file.write(b"data")
    rename = os.rename

    def another_disk(old: Any, new: Any, **folders: Any) -> None:
        if old == "big":
            raise OSError(18, "Invalid cross-device link")
        rename(old, new, **folders)

    monkeypatch.setattr(os, "rename", another_disk)

    assert landing.settle(attempt, ["big"]).names == ["big"]

    found = (attempt / "big").stat()
    assert found.st_size == 64 << 20
    assert found.st_blocks * 512 < 8 << 20
    assert not (landed / "big").exists()


async def test_what_is_too_large_is_left_there_and_the_task_says_so(far: Far) -> None:
    attempt = far.attempt(outputs=["big", "small"], max_output_gib=2)
    with far.left(attempt, "big", "").open("wb") as file:
        file.truncate(3 << 30)
    far.left(attempt, "small", "small")

    await far.site.pull([attempt])

    assert _files(attempt) == {"manifest.json", "not_fetched.json", "small"}
    found = collect_outputs(attempt, ["big", "small"], (), 2)
    assert found.problem == ("output 'big' has 3 GiB, and max_output_gib is 2; it was left on the cluster")
    assert [file.path for file in found.files] == ["small"]
    assert not found.may_get_better


async def test_a_size_that_was_a_lie_fills_no_disk(far: Far) -> None:
    attempt = far.attempt(outputs=["big"], max_output_gib=1 / 1024)
    far.left(attempt, "big", "x" * (2 << 20))
    far.told(attempt, "big", size=4)

    await far.site.pull([attempt])

    assert _files(attempt) == {"manifest.json"}
    assert _files(far.landings) == set()


async def test_no_file_becomes_larger_than_it_may_whatever_the_other_side_sends(
    bare_sshd: Sshd, tmp_path: Path
) -> None:
    (bare_sshd.workdir / "big").write_bytes(bytes(8 << 20))
    options = bare_sshd.config["options"]
    assert isinstance(options, list)

    with pytest.raises(BackendError):
        await Connection(HOST, tuple(options)).copy(
            [b"big"], f":{bare_sshd.workdir}/", f"{tmp_path}/", there="rsync", stall_s=10, most_bytes=1 << 20
        )

    assert not (tmp_path / "big").exists()


async def test_a_list_without_an_end_is_broken_off(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("matterstack.backends.slurm.ssh.connection.MOST_ANSWER_BYTES", 1 << 20)
    attempt = far.attempt()
    far.sshd.wrap("find", "yes")

    with pytest.raises(BackendError, match="cluster"):
        await far.site.pull([attempt])


async def test_a_copy_that_was_broken_off_goes_on_where_it_was(far: Far) -> None:
    attempt = far.attempt()
    content = os.urandom(1 << 20)
    (far.there(attempt) / "out").mkdir()
    (far.there(attempt) / "out/x").write_bytes(content)
    landed = far.landings / attempt.relative_to(far.root.path) / "out"
    partial = landed / homecoming.PARTIAL
    partial.mkdir(parents=True)
    (partial / "x").write_bytes(content[: 3 << 18])
    sent = far.sshd.folder / "sent"
    far.sshd.wrap("rsync", f'"$REAL" "$@" | tee {shlex.quote(str(sent))}')

    await far.site.pull([attempt])

    assert (attempt / "out/x").read_bytes() == content
    assert sent.stat().st_size < (1 << 19), "most of it was there already"
    assert _files(far.landings) == set()


async def test_a_hole_comes_home_as_one(far: Far) -> None:
    attempt = far.attempt()
    with far.left(attempt, "out/x", "begin").open("r+b") as file:
        file.truncate(64 << 20)

    await far.site.pull([attempt])

    found = (attempt / "out/x").stat()
    assert found.st_size == 64 << 20
    assert found.st_blocks * 512 < 1 << 20


async def test_a_run_that_is_to_end_waits_for_no_transfer(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PATIENCE_S", "GIVE_UP_S"):
        monkeypatch.setattr(f"matterstack.backends.slurm.ssh.fetching.{name}", 0.5)
    monkeypatch.setattr("matterstack.backends.slurm.ssh.ssh_site.TOLD_EVERY_S", 0.1)
    attempt = far.attempt(outputs=["out/huge"])
    with far.left(attempt, "out/huge", "").open("wb") as file:
        file.truncate(900 << 30)
    far.left(attempt, "exit.json", "{}")

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(far.site.serve)
            await trio.testing.wait_all_tasks_blocked(0.01)
            while not (told := await trio.to_thread.run_sync(read_finishing, far.root, RUN)):
                assert await far.site.pull([attempt]) == set()
            far.site.give_up([attempt])
            while attempt not in await far.site.pull([attempt]):
                pass
            nursery.cancel_scope.cancel()

    assert told[TaskId("t")].total_bytes == 900 << 30
    assert read_finishing(far.root, RUN) == {}
    found = collect_outputs(attempt, ["out/huge"], ())
    assert found.given_up
    assert found.problem == "output 'out/huge' was not waited for; it was left on the cluster"
    assert _files(attempt) == {"manifest.json", "not_fetched.json", "exit.json"}
    assert _files(far.landings) == set()


@pytest.mark.parametrize("outputs", [(), ("out/x",), ("result.json",)])
async def test_of_a_run_that_is_to_end_nothing_that_lies_here_is_a_result(
    far: Far, outputs: Sequence[str]
) -> None:
    attempt = far.attempt(outputs=outputs)
    (attempt / "result.json").write_text('{"energy": "planted"}')
    far.left(attempt, "exit.json", "{}")
    far.left(attempt, "result.json", '{"energy": 1}')

    await far.site._fetch_records([attempt])

    found = collect_outputs(attempt, outputs, ())
    assert (found.given_up, found.data) == (True, None)
    name = outputs[0] if outputs else "result.json"
    assert found.problem == f"output '{name}' was not waited for; it was left on the cluster"

    await far.site.pull([attempt])
    assert (attempt / "result.json").read_text() == '{"energy": 1}'
    assert collect_outputs(attempt, (), ()).data == {"energy": 1}


async def test_what_a_killed_engine_left_and_nobody_wants_is_removed(far: Far) -> None:
    attempt, landing = far.attempt(), Landing(far.root.path, far.landings)
    for name, age_s in (("old", homecoming.KEPT_S + 60), ("young", 0)):
        path = far.landings / attempt.relative_to(far.root.path).parent.with_name(name) / "1" / "x"
        path.parent.mkdir(parents=True)
        path.write_text("")
        then = path.stat().st_mtime - age_s
        for each in (path, path.parent):
            os.utime(each, (then, then))

    landing.sweep()

    assert {path.parent.parent.name for path in far.landings.rglob("x")} == {"young"}


def test_nothing_goes_out_that_lies_elsewhere(tmp_path: Path) -> None:
    folder, outside = tmp_path / "1", tmp_path / "secret"
    folder.mkdir()
    outside.write_text("secret")
    (folder / "link").symlink_to(outside)
    (folder / "job.sh").touch()
    names = ["../secret", "link", str(outside)]
    manifest = {"files": [{"name": name} for name in names], "inputs": [], "outputs": []}
    (folder / "manifest.json").write_text(json.dumps(manifest))

    assert files.to_push(folder) == ["job.sh", "manifest.json"]
