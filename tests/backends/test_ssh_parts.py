"""What the ssh backend is made of, piece by piece: answers, lists of files, names, and when files come."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from matterstack.backends.base import PreparedAttempt
from matterstack.backends.registry import KINDS, make_backend
from matterstack.backends.slurm.backend import SlurmBackend
from matterstack.backends.slurm.config import SlurmBackendConfig
from matterstack.backends.slurm.ssh import shell
from matterstack.backends.slurm.ssh import transfers as files
from matterstack.backends.slurm.ssh.control_socket import private_folder
from matterstack.backends.slurm.ssh.fetching import GIVE_UP_S, LOGS_EVERY_S, PATIENCE_S, OutputFetcher
from matterstack.backends.slurm.ssh.root_id import root_id
from matterstack.backends.slurm.ssh.troubles import Troubles
from matterstack.core.documents.config import parse_config
from matterstack.core.errors import BackendError, ConfigError, StoreError
from matterstack.core.ids import BackendName, RunId, TaskId, Token
from matterstack.core.model.resources import Resources
from matterstack.storage.layout import Root
from tests.support.engine import on_virtual_clock

# ---- answers ----

OUT = b"motd\n\nm4rk begin\n1|PENDING|\nm4rk 5\n\nm4rk 7\nbye\n"
ERR = b"\nm4rk begin\nerror: no\n\nm4rk 7\n"


def test_an_answer_is_what_lies_between_the_marks() -> None:
    assert shell.read_reply("m4rk", OUT, ERR) == shell.Reply(7, b"1|PENDING|\nm4rk 5\n", "error: no\n")


def test_an_answer_that_was_cut_anywhere_is_none() -> None:
    whole_out, whole_err = len(OUT) - len(b"bye\n"), len(ERR)

    assert {shell.read_reply("m4rk", OUT[:n], ERR) for n in range(whole_out)} == {None}
    assert {shell.read_reply("m4rk", OUT, ERR[:n]) for n in range(whole_err)} == {None}


def test_lines_of_shell_pass_through_every_shell() -> None:
    lines = (shell.RUN, shell.GREET, shell.SUBMIT, shell.SETTLE, shell.LIST)
    sent = [shell.command_line("m4rk", each, ("a", "b")) for each in lines]

    assert all(word not in line for line in sent for word in ("\n", "!"))


@pytest.mark.parametrize(
    ("stderr", "told"),
    [
        ("", "the connection to h was lost: "),
        (
            "rsync error: unexplained error (code 255) at main.c(1394) [sender=3.5.0]\n",
            "the connection to h was",
        ),
        (
            "ssh: connect to host h port 22: Connection timed out\r\nrsync error: x (code 255)\n",
            "h cannot be rea",
        ),
        (
            "me@h: Permission denied (publickey,keyboard-interactive).\r\n",
            "h asks for a password, a code or a",
        ),
        (
            "ssh: Could not resolve hostname h: Name or service not known\r\n",
            "the name h is not known in this",
        ),
    ],
)
def test_what_ssh_says_below_rsync_is_told(stderr: str, told: str) -> None:
    assert str(Troubles("h", "ssh -fNM h").of_rsync(255, stderr)).startswith(told)


# ---- files ----

RUN = RunId("20260102T030405-abcdef")


def _attempt(folder: Path) -> PreparedAttempt:
    return PreparedAttempt(
        run_id=RUN,
        task_id=TaskId("t"),
        n=1,
        token=Token("ms-t"),
        folder=folder,
        command=("true",),
        env={},
        resources=Resources(),
    )


CONTENTS = files.Contents(given=("in.xyz", "kept.json"), outputs=("*.xyz", "kept.json", "out/**", "**/*.log"))


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("final.xyz", True),
        ("in.xyz", False),
        ("kept.json", True),
        ("out/a/b\nc", True),
        ("out/../../../../etc/passwd", False),
        ("/out/x", False),
        ("../x.xyz", False),
        ("", False),
        ("claim/x.log", False),
        ("stdout.log", False),
        ("other", False),
    ],
)
def test_only_declared_outputs_inside_of_the_folder_are_wanted(name: str, wanted: bool) -> None:
    told = f"./f\0{name}\0001\0".encode()
    found = files.wanted(told, {b"./f": CONTENTS})

    assert (found[b"./f"].names == [name]) is wanted


def test_what_goes_out_is_what_was_staged_and_nothing_that_a_job_left(tmp_path: Path) -> None:
    manifest = {"files": [{"name": "a/run.py"}], "inputs": [{"name": "in.xyz"}], "outputs": ["*"]}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "a").mkdir()
    for name in ("job.sh", "a/run.py", "in.xyz", "stdout.log", "exit.json", "result.json"):
        (tmp_path / name).touch()

    assert files.to_push(tmp_path) == ["job.sh", "manifest.json", "a/run.py", "in.xyz"]


@pytest.mark.parametrize("text", ["", "[]", '{"files": 3}', '{"files": [{}], "inputs": [], "outputs": []}'])
def test_a_manifest_that_is_damaged_declares_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)

    assert files.read_contents(tmp_path) == files.Contents()


# ---- names ----


def test_a_root_keeps_its_name_and_no_other_root_has_it(tmp_path: Path) -> None:
    first, second = tmp_path / "a" / ".matterstack", tmp_path / "b" / ".matterstack"

    names = [root_id(first), root_id(second), root_id(first)]

    assert names[0] == names[2] != names[1]
    assert [path.name for path in first.iterdir()] == ["root-id"]


def test_two_roots_share_a_workdir_and_never_a_folder(tmp_path: Path) -> None:
    ssh = {"host": "h", "workdir": "/scratch/me"}
    places = []
    for name in ("a", "b"):
        root = Root(tmp_path / name)
        backend = make_backend(BackendName("cluster"), {"type": "slurm", "ssh": ssh}, root)
        assert isinstance(backend, SlurmBackend)
        folder = root.run_folder("w", RUN).attempt(TaskId("t"), 1).path
        (order,) = backend.orders([_attempt(folder)])
        places.append(order.argv[-1])

    script, other = places
    own = root_id(Root(tmp_path / "a").private)
    assert script == f"/scratch/me/matterstack/{own}/workspaces/w/runs/{RUN}/tasks/t/1/job.sh"
    assert script.split("/")[:4] == other.split("/")[:4]
    assert script.split("/")[4] != other.split("/")[4]


@pytest.mark.parametrize("text", ["", "../../up", "0123456789abcdeg"])
def test_a_damaged_name_of_a_root_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "root-id").write_text(text)

    with pytest.raises(StoreError, match=r"root-id: is damaged"):
        root_id(tmp_path)


def test_sockets_are_in_a_private_folder_with_a_short_path(tmp_path: Path, ssh_sockets: Path) -> None:
    runtime = str(ssh_sockets.parent)
    long = tmp_path / ("long" * 20)
    long.mkdir()

    assert private_folder({"XDG_RUNTIME_DIR": runtime}) == ssh_sockets
    assert ssh_sockets.stat().st_mode & 0o777 == 0o700
    for environment in ({}, {"XDG_RUNTIME_DIR": str(long)}, {"XDG_RUNTIME_DIR": "/nowhere"}):
        assert private_folder(environment, tmp_path) == tmp_path / f"matterstack-{os.getuid()}"


def test_a_folder_that_others_can_enter_is_not_used(ssh_sockets: Path) -> None:
    ssh_sockets.mkdir(mode=0o755)
    ssh_sockets.chmod(0o755)

    with pytest.raises(BackendError, match="is not this user's alone: remove it"):
        private_folder({"XDG_RUNTIME_DIR": str(ssh_sockets.parent)})


# ---- config ----


@pytest.mark.parametrize(
    ("ssh", "told"),
    [
        (
            {"host": "-oProxyCommand=evil", "workdir": "/w"},
            "ssh.host: '-oProxyCommand=evil' is no name of a host",
        ),
        ({"host": "a b", "workdir": "/w"}, "ssh.host: 'a b' is no name of a host"),
        ({"host": "h", "workdir": "~/w"}, "ssh.workdir: '~/w' is no absolute path"),
        ({"host": "h", "workdir": "/w/../.."}, "ssh.workdir: '/w/../..' is no absolute path"),
        ({"host": "h", "workdir": "/w", "password": "secret"}, "ssh.password: unknown key"),
        ({"host": "h"}, "ssh.workdir: field required"),
    ],
)
def test_an_ssh_part_that_cannot_be_is_refused_by_name(ssh: object, told: str) -> None:
    text = json.dumps({"backends": {"cluster": {"type": "slurm", "ssh": ssh}}})

    with pytest.raises(ConfigError) as caught:
        parse_config({"config.json": text}, KINDS)

    assert told in str(caught.value)


def test_an_ssh_part_needs_a_host_and_a_workdir_only() -> None:
    ssh = {"host": "me@login.example.org", "workdir": "/scratch/me"}

    config = SlurmBackendConfig.model_validate({"type": "slurm", "ssh": ssh})

    assert config.model_dump()["ssh"] == {**ssh, "options": []}


# ---- what is fetched when ----

A, B = Path("/a"), Path("/b")


class _Far:
    """Takes its time for what is fetched from it."""

    def __init__(self) -> None:
        self.fetched: list[Path] = []
        self.records: list[Path] = []
        self.logs: list[tuple[float, list[Path]]] = []
        self.takes_s: dict[Path, float] = {}
        self.trouble: BackendError | None = None

    async def fetch(self, folders: Sequence[Path]) -> None:
        self.fetched += folders
        await trio.sleep(sum(self.takes_s.get(folder, 0) for folder in folders))
        if self.trouble is not None:
            raise self.trouble

    async def fetch_logs(self, folders: Sequence[Path]) -> None:
        self.logs.append((trio.current_time(), sorted(folders)))
        await self.fetch([])

    async def fetch_records(self, folders: Sequence[Path]) -> None:
        self.records += folders

    def fetcher(self) -> OutputFetcher:
        return OutputFetcher(self.fetch, self.fetch_logs, self.fetch_records)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[OutputFetcher]:
        home = self.fetcher()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(home.serve)
            await trio.testing.wait_all_tasks_blocked()
            yield home
            nursery.cancel_scope.cancel()


@on_virtual_clock
async def test_a_large_output_keeps_no_other_job_waiting() -> None:
    far = _Far()
    far.takes_s = {A: 3600.0}
    async with far.serving() as home:
        start = trio.current_time()
        first = await home.pull([A])
        waited_s = trio.current_time() - start
        second = await home.pull([A, B])
        await trio.sleep(3600)
        third = await home.pull([A])

    assert [sorted(first), sorted(second), sorted(third)] == [[], [B], [A]]
    assert waited_s == pytest.approx(PATIENCE_S)
    assert far.fetched == [A, B], "nothing is copied twice"


@on_virtual_clock
async def test_nobody_waits_for_what_is_large_once_it_is_given_up() -> None:
    far = _Far()
    far.takes_s = {A: 3600.0}
    async with far.serving() as home:
        assert await home.pull([A, B]) == set()
        start = trio.current_time()
        home.give_up([A])
        seen: set[Path] = set()
        while A not in seen:
            seen |= await home.pull([A])
        waited_s = trio.current_time() - start
        far.takes_s = {}
        assert await home.pull([B]) == {B}, "what was to come with it comes all the same"

    assert waited_s == pytest.approx(GIVE_UP_S)
    assert far.records == [A]
    assert far.fetched == [A, B, B]


@on_virtual_clock
async def test_what_cannot_be_fetched_is_told_and_fetched_again() -> None:
    far = _Far()
    far.trouble = BackendError("out")
    async with far.serving() as home:
        with pytest.raises(BackendError, match="out"):
            await home.pull([A])
        far.trouble = None
        assert await home.pull([A]) == {A}

    assert far.fetched == [A, A]


@on_virtual_clock
async def test_logs_of_running_jobs_come_now_and_then_and_those_of_ended_ones_no_more() -> None:
    far = _Far()
    home = far.fetcher()
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(home.serve)
        for _ in range(4):
            home.watch([A, B])
            await trio.sleep(LOGS_EVERY_S / 4)
        await home.pull([B])
        home.watch([A])
        await trio.sleep(LOGS_EVERY_S)
        home.watch([])
        await trio.sleep(3 * LOGS_EVERY_S)
        nursery.cancel_scope.cancel()

    at = [round(when - start) for when, _ in far.logs]
    assert [folders for _, folders in far.logs] == [[A, B], [A]]
    assert at == [0, LOGS_EVERY_S]


@on_virtual_clock
async def test_a_copy_that_was_interrupted_is_made_again() -> None:
    far = _Far()
    far.takes_s = {A: 100.0}
    home = far.fetcher()
    with trio.move_on_after(50):
        await _serve_and_pull(home)
    far.takes_s = {}

    with pytest.raises(BackendError, match="interrupted"):
        await home.pull([A])
    assert await home.pull([A]) == {A}


async def _serve_and_pull(home: OutputFetcher) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(home.serve)
        await trio.testing.wait_all_tasks_blocked()
        await home.pull([A])
        await trio.sleep_forever()
