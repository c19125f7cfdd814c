"""A small disk of its own for one folder, seen by the commands that are started inside."""

import contextlib
import errno
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import attrs

BLOCK: Final = bytes(4096)
# A mount namespace of its own: the machine sees no mount, and it is gone with the process.
_HOLD: Final = 'mount -t tmpfs -o size="$1" none "$0" && echo ready && exec cat'


@attrs.frozen
class SmallDisk:
    """A memory file system that is mounted on a folder, for processes inside only.

    Attributes:
        path: the folder, as the test sees its content.
    """

    path: Path
    wrapper: Sequence[str]

    def fill(self) -> None:
        """Leave not a single block free."""
        with (self.path / "filler").open("ab", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(BLOCK)

    def make_room(self) -> None:
        """Undo `fill`."""
        (self.path / "filler").unlink()

    def make_read_only(self) -> None:
        """Refuse every further write."""
        self._mount("remount,ro")

    def make_writable(self) -> None:
        """Undo `make_read_only`."""
        self._mount("remount,rw")

    def _mount(self, option: str) -> None:
        folder = Path("/", *self.path.parts[4:])
        subprocess.run([*self.wrapper, "mount", "-o", option, folder], check=True)


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[SmallDisk]:
    """Mount a disk of ``size`` (such as ``2m``) on a folder."""
    holder = subprocess.Popen(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", _HOLD, folder, size],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:  # its end of input is its end
        assert holder.stdout is not None
        if holder.stdout.readline() != b"ready\n":
            raise OSError(errno.EPERM, "no file system can be mounted in a namespace", str(folder))
        inside = Path(f"/proc/{holder.pid}/root", *folder.parts[1:])
        enter = ["nsenter", f"--target={holder.pid}", "--user", "--mount", "--preserve-credentials"]
        yield SmallDisk(inside, enter)
