"""The user's own ssh in front of a real sshd: what is told when it does not work, or only half of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from matterstack.backends.slurm.ssh import shell
from matterstack.backends.slurm.ssh.connection import Connection
from matterstack.core.errors import BackendError
from tests.support.polling import wait_until
from tests.support.sshd import HOST, Sshd

SAY = ('printf "%s." "$@"; echo oops >&2; (exit 7)',)


def _to(sshd: Sshd) -> Connection:
    options = sshd.config["options"]
    assert isinstance(options, list)
    return Connection(HOST, tuple(options))


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _is_private(folder: Path) -> bool:
    return folder.stat().st_mode & 0o077 == 0


async def _trouble(connection: Connection) -> str:
    with pytest.raises(BackendError) as caught:
        await connection.bash(SAY, timeout_s=10)
    assert "\n" not in str(caught.value)
    return str(caught.value)


async def test_words_arrive_as_they_are_and_what_profiles_print_does_not_count(bare_sshd: Sshd) -> None:
    bare_sshd.profile("echo Welcome; echo 'stty: not a terminal' >&2")
    words = ("two words", "it's", "$HOME `id`", "", "a;b", "ü\\")

    reply = await _to(bare_sshd).bash(SAY, *words, timeout_s=10)

    assert reply == shell.Reply(7, "".join(f"{word}." for word in words).encode(), "oops\n")


async def test_all_commands_share_one_connection_that_is_kept(bare_sshd: Sshd, ssh_sockets: Path) -> None:
    connection = _to(bare_sshd)

    async with trio.open_nursery() as nursery:
        await connection.bash(SAY, timeout_s=10)
        for _ in range(8):
            nursery.start_soon(lambda: connection.bash(SAY, timeout_s=10))

    assert len(_names(ssh_sockets)) == len(bare_sshd.carriers()) == 1
    assert _is_private(ssh_sockets)


async def test_a_connection_of_the_users_own_is_used(bare_sshd: Sshd, ssh_sockets: Path) -> None:
    own = ssh_sockets.parent / "own"
    config = bare_sshd.folder / "ssh_config"
    lines = ("ControlMaster auto", f"ControlPath {own}", "ControlPersist 60")
    config.write_text(config.read_text() + "".join(f"    {line}\n" for line in lines))

    await _to(bare_sshd).bash(SAY, timeout_s=10)

    assert _names(ssh_sockets.parent) == {"own"}
    assert len(bare_sshd.carriers()) == 1


def _know_not(sshd: Sshd) -> None:
    sshd.know_host(known=False)


def _change_key(sshd: Sshd) -> None:
    sshd.stop()
    sshd.new_host_key()
    sshd.go_on()


def _shut_out(sshd: Sshd) -> None:
    sshd.let_in(allowed=False)


UNKNOWN = "the host key of cluster is not known here: log in once in a terminal, and compare it: ssh "
CHANGED = "the host key of cluster has changed: nothing is sent to it; if the site says that this is right, "
REFUSED = "cluster asks for a password, a code or a key that is not at hand: log in once in a terminal, "
DOWN = "cluster takes no ssh connections: see to the network or the VPN; "


@pytest.mark.parametrize(
    ("happens", "told"),
    [
        (_know_not, UNKNOWN),
        (_change_key, CHANGED + "remove line 1 of {known_hosts}, then connect once in a terminal: ssh "),
        (_shut_out, REFUSED),
        (Sshd.stop, DOWN),
    ],
    ids=["unknown host", "changed host key", "refused", "down"],
)
async def test_each_trouble_is_told_in_one_line_with_what_to_do_and_ends_by_itself(
    bare_sshd: Sshd, happens: Callable[[Sshd], None], told: str
) -> None:
    connection = _to(bare_sshd)
    await connection.bash(SAY, timeout_s=10)
    happens(bare_sshd)
    bare_sshd.cut()

    said = await _trouble(connection)

    assert said.startswith(told.format(known_hosts=bare_sshd.folder / "known_hosts")), said
    bare_sshd.stop()
    bare_sshd.know_host()
    bare_sshd.let_in()
    bare_sshd.go_on()
    assert (await connection.bash(SAY, timeout_s=10)).exit_code == 7


async def test_the_command_for_a_terminal_makes_a_connection_that_is_then_used(bare_sshd: Sshd) -> None:
    bare_sshd.know_host(known=False)
    said = await _trouble(_to(bare_sshd))
    bare_sshd.know_host()
    by_hand = said.partition("compare it: ")[2]
    await trio.run_process(["bash", "-c", by_hand])
    bare_sshd.let_in(allowed=False)

    reply = await _to(bare_sshd).bash(SAY, timeout_s=10)

    assert reply.exit_code == 7


async def test_a_connection_that_is_cut_in_the_middle_gives_no_answer(bare_sshd: Sshd) -> None:
    connection = _to(bare_sshd)
    begun = bare_sshd.folder / "begun"
    lines = (f"touch {begun}; sleep 30; echo done",)

    async def cut() -> None:
        await trio.to_thread.run_sync(wait_until, begun.exists, 20)
        bare_sshd.cut()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cut)
        with pytest.raises(BackendError, match=r"^the connection to cluster was lost: "):
            await connection.bash(lines, timeout_s=20)


async def test_a_copy_that_is_cut_in_the_middle_is_told_as_such(bare_sshd: Sshd, tmp_path: Path) -> None:
    connection = _to(bare_sshd)
    await connection.bash(SAY, timeout_s=10)
    (bare_sshd.home / ".bashrc").write_text("rsync() { kill -9 $PPID; sleep 30; }\n")
    (tmp_path / "file").write_text("content")

    with pytest.raises(BackendError, match=r"^the connection to cluster was lost: "):
        await connection.copy([b"file"], f"{tmp_path}/", f":{bare_sshd.workdir}/", there="rsync", stall_s=10)


async def test_silence_is_given_up_in_time(bare_sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("matterstack.backends.slurm.ssh.connection.CONNECT_TIMEOUT_S", 1)

    with pytest.raises(BackendError, match=r"^squeue on cluster gave no answer within 0\.5 s$"):
        await _to(bare_sshd).bash(("sleep 30",), timeout_s=0.5, what="squeue")


async def test_a_machine_without_ssh_or_with_a_broken_config_is_told(
    bare_sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bare_sshd.folder / "ssh_config").write_text("Host *\n    Nonsense yes\n")
    assert (await _trouble(_to(bare_sshd))).startswith("ssh cannot be used: ")

    monkeypatch.setenv("PATH", "/nowhere")
    assert await _trouble(_to(bare_sshd)) == "ssh is missing on this machine: install its package"


async def test_files_that_cannot_take_their_place_are_told_and_the_others_come(
    bare_sshd: Sshd, tmp_path: Path
) -> None:
    there, here = bare_sshd.workdir, tmp_path / "here"
    for name in ("good", "bad"):
        (there / name).write_text(name)
    (here / "bad" / "inside").mkdir(parents=True)

    complaint = await _to(bare_sshd).copy(
        [b"good", b"bad"], f":{there}/", f"{here}/", there="rsync", stall_s=10
    )

    assert "bad" in complaint
    assert (here / "good").read_text() == "good"


@pytest.mark.parametrize(
    ("bashrc", "told"),
    [
        ("echo Welcome", "the shell on cluster prints something before rsync can speak: "),
        ("rsync() { echo 'rsync: write failed: No space left on device (28)' >&2; exit 11; }",
         "files cannot be copied, to or from cluster: rsync: write failed: No space left"),
        ("PATH=/nowhere", "rsync is missing on cluster"),
    ],
    ids=["chatty", "full", "missing"],
)  # fmt: skip
async def test_what_keeps_rsync_from_copying_is_told(
    bare_sshd: Sshd, tmp_path: Path, bashrc: str, told: str
) -> None:
    (bare_sshd.home / ".bashrc").write_text(f"{bashrc}\n")
    target = f":{bare_sshd.workdir}/"
    (tmp_path / "file").write_text("content")

    with pytest.raises(BackendError) as caught:
        await _to(bare_sshd).copy([b"file"], f"{tmp_path}/", target, there="rsync", stall_s=10)

    assert str(caught.value).startswith(told)
    assert _names(bare_sshd.workdir) == set()
