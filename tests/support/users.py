"""Several users of one machine, with a group that some of them share: only root can act as all of them.

Their commands see names for their numbers, and find Python, the project and its packages wherever these are:
in a mount namespace of their own (mount_namespaces(7)), since what is root's may be closed to others.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import attrs
import pytest

from tests.support.command import CommandLine

PROJECT: Final = Path(__file__).parents[2]
CHEMISTS: Final = 23100
_INSIDE: Final = """\
set -e
mount --bind {base} {there}/python
mount --bind {project} {there}/project
mount --bind {packages} {there}/packages
mount --bind {there}/passwd /etc/passwd
mount --bind {there}/group /etc/group
umask {umask}
export PYTHONHOME={there}/python PYTHONPATH={there}/project:{there}/packages PYTHONDONTWRITEBYTECODE=1
export PATH={there}/python/bin:$PATH LD_LIBRARY_PATH={there}/python/lib
exec setpriv --reuid {uid} --regid {gid} --groups {groups} --inh-caps=-all "$@"
"""


@attrs.frozen
class User:
    """Somebody with an account on the machine."""

    name: str
    uid: int
    groups: tuple[int, ...] = ()


ALICE: Final = User("alice", 23001, (CHEMISTS,))
BOB: Final = User("bob", 23002, (CHEMISTS,))
MALLORY: Final = User("mallory", 23003)
USERS: Final = (ALICE, BOB, MALLORY)


@attrs.define
class Machine:
    """A folder that all users may enter, with a root of Alice's in it."""

    folder: Path
    _lines: list[CommandLine] = attrs.field(factory=list)

    @property
    def root(self) -> Path:
        """Alice's; its group is that of the chemists."""
        return self.folder / "root"

    def wrapper(self, user: User, umask: int = 0o022) -> list[str]:
        """What a command is started by, so that it is this user's."""
        script = _INSIDE.format(
            base=sys.base_prefix,
            project=PROJECT,
            packages=sysconfig.get_path("purelib"),
            there=self.folder / "there",
            umask=f"{umask:03o}",
            uid=user.uid,
            gid=user.uid,
            groups=",".join(str(gid) for gid in (user.uid, *user.groups)),
        )
        return ["unshare", "--mount", "sh", "-c", script, "sh"]

    def command_line(self, user: User, umask: int = 0o022) -> CommandLine:
        """The command of a user, on Alice's root."""
        home = self.folder / f"{user.name}-{len(self._lines)}"
        home.mkdir()
        os.chown(home, user.uid, user.uid)
        # Whatever the name of the command that comes next.
        there = [f"{self.folder / 'there' / 'python' / 'bin' / 'python3'}", "-c", _RUN]
        line = CommandLine(self.root, home, wrapper=[*self.wrapper(user, umask), *there], check_at_end=False)
        self._lines.append(line)
        return line

    def as_user(self, user: User, *words: str, umask: int = 0o022) -> subprocess.CompletedProcess[str]:
        """Run a program as somebody, in the root."""
        command = [*self.wrapper(user, umask), *words]
        return subprocess.run(
            command, cwd=self.root, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )

    @contextlib.contextmanager
    def busy(self, user: User, code: str) -> Iterator[subprocess.Popen[str]]:
        """A Python program of somebody that has said a line, until the block is left: then it is killed."""
        python = str(self.folder / "there" / "python" / "bin" / "python3")
        with subprocess.Popen(
            [*self.wrapper(user), python, "-uc", code],
            cwd=self.root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline()
                yield process
            finally:
                process.kill()

    def give_all(self, user: User, *paths: Path) -> None:
        """Make somebody the owner of what was made by the test."""
        for top in paths or (self.root,):
            for path in (top, *top.rglob("*")):
                os.chown(
                    path, user.uid, CHEMISTS if CHEMISTS in user.groups else user.uid, follow_symlinks=False
                )

    def shut_down(self) -> None:
        """End what was left."""
        for line in self._lines:
            line.shut_down()


_RUN: Final = "import sys; del sys.argv[:1]; from matterstack.cli import run_command_line; run_command_line()"


@contextlib.contextmanager
def machine_with_users() -> Iterator[Machine]:
    """Make it, and in the end take it away."""
    if os.geteuid() != 0 or shutil.which("unshare") is None or not _can_unshare():
        pytest.skip("only root can act as several users, and mount what they see")
    folder = Path(tempfile.mkdtemp(prefix="ms-users-"))
    folder.chmod(0o755)
    there = folder / "there"
    for name in ("python", "project", "packages"):
        (there / name).mkdir(parents=True)
    accounts = "".join(f"{user.name}:x:{user.uid}:{user.uid}::/:/bin/sh\n" for user in USERS)
    (there / "passwd").write_text(Path("/etc/passwd").read_text() + accounts)
    groups = "".join(f"{user.name}:x:{user.uid}:\n" for user in USERS) + f"chemists:x:{CHEMISTS}:\n"
    (there / "group").write_text(Path("/etc/group").read_text() + groups)
    machine = Machine(folder)
    (machine.root / "workspaces").mkdir(parents=True)
    machine.give_all(ALICE)
    try:
        yield machine
    finally:
        machine.shut_down()
        shutil.rmtree(folder)


def _can_unshare() -> bool:
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0


def modes_below(folder: Path, names: Sequence[str] = ()) -> dict[str, str]:
    """Mode of all that lies in a folder, and of itself, by its path from there; or only of these names."""
    paths = [folder, *folder.rglob("*")]
    return {
        str(path.relative_to(folder)): f"{path.lstat().st_mode & 0o7777:o}"
        for path in paths
        if not path.is_symlink() and (not names or path.name in names)
    }
