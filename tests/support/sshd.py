"""A real sshd on loopback, with keys, a home and a configuration of its own: start it, cut it, stop it."""

import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

import attrs

from tests.support.polling import wait_until
from tests.support.ports import release_ports, reserve_ports
from tests.support.process import Process, killed

HOST: Final = "cluster"
"""What the configuration of ssh calls it."""
_PROGRAM: Final = "/usr/sbin/sshd"
_PRIVILEGES: Final = Path("/run/sshd")
"""sshd wants this folder where it runs as root; the package's own start script makes it."""


@attrs.define
class Sshd:
    """One server for this user.  All that ssh and the server need to know of each other is in its folder."""

    folder: Path
    port: int
    environment: Mapping[str, str]
    _process: "subprocess.Popen[bytes] | None" = None

    @classmethod
    def start(cls, folder: Path, environment: Mapping[str, str]) -> Self:
        """Start one, with a folder for MatterStack whose name has blanks.

        Args:
            folder: is made.
            environment: what its sessions find, but for their home, which is in the folder.
        """
        sshd = cls(folder, reserve_ports(folder, lambda _other: True), environment)
        for place in (sshd.home, sshd.workdir):
            place.mkdir(parents=True)
        _make_key(folder / "user_key")
        sshd.let_in()
        sshd.new_host_key()
        sshd.know_host()
        sshd._write_configs()
        sshd.go_on()
        return sshd

    @property
    def home(self) -> Path:
        """Of the user, there."""
        return self.folder / "home"

    @property
    def workdir(self) -> Path:
        """Where MatterStack may work."""
        return self.folder / "scratch of me"

    @property
    def config(self) -> dict[str, object]:
        """The ``ssh`` part of a backend's config."""
        options = ["-F", str(self.folder / "ssh_config")]
        return {"host": HOST, "workdir": str(self.workdir), "options": options}

    def wrap(self, command: str, script: str) -> None:
        """Have another command found in place of one, in which ``$REAL`` is that one."""
        folder = self.folder / "wrapped"
        folder.mkdir(exist_ok=True)
        path = folder / command
        path.write_text(f"#!/bin/bash\nREAL={shutil.which(command)}\n{script}\n")
        path.chmod(0o755)
        self.profile(f"PATH={folder}:$PATH")

    def hide(self, *commands: str) -> None:
        """Have everything found but these commands."""
        folder = self.folder / "others"
        folder.mkdir()
        for program in Path("/usr/bin").iterdir():
            if program.name not in commands:
                (folder / program.name).symlink_to(program)
        self.profile(f"PATH={folder}")

    def profile(self, text: str) -> None:
        """What a login shell does first."""
        (self.home / ".bash_profile").write_text(f"{text}\n")

    # ---- outages ----

    def stop(self) -> None:
        """End the server and every connection; nothing when it is down."""
        carriers = self.carriers()
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None
        assert killed(carriers, 10)

    def go_on(self) -> None:
        """Start the server (again)."""
        if os.geteuid() == 0:
            _PRIVILEGES.mkdir(exist_ok=True)
        with (self.folder / "sshd.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", _PROGRAM, "-D", "-e", "-f", self.folder / "sshd_config"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._answers, 10, f"sshd: {(self.folder / 'sshd.log').read_text()}")

    def cut(self) -> int:
        """Kill what carries the connections; returns how many.  Commands that run there go on."""
        carriers = self.carriers()
        assert killed(carriers, 10)
        return len(carriers)

    def carriers(self) -> list[Process]:
        """The server's processes that each carry a connection."""
        if self._process is None:
            return []
        return [process for process in Process.all() if process.parent == self._process.pid]

    def close(self) -> None:
        """Stop, and end the shared connections of this machine that were made to it."""
        self.stop()
        release_ports(self.folder, self.port)

    # ---- keys ----

    def new_host_key(self) -> None:
        """Be another machine, from the next start on."""
        for name in ("host_key", "host_key.pub"):
            (self.folder / name).unlink(missing_ok=True)
        _make_key(self.folder / "host_key")

    def know_host(self, *, known: bool = True) -> None:
        """Have the user trust the host, or not know it."""
        line = f"[127.0.0.1]:{self.port} {(self.folder / 'host_key.pub').read_text()}" if known else ""
        (self.folder / "known_hosts").write_text(line)

    def let_in(self, *, allowed: bool = True) -> None:
        """Take the user's key, or take it no more."""
        text = (self.folder / "user_key.pub").read_text() if allowed else ""
        (self.folder / "authorized_keys").write_text(text)

    # ---- the rest ----

    def _write_configs(self) -> None:
        variables = " ".join(f'"{k}={v}"' for k, v in {**self.environment, "HOME": self.home}.items())
        (self.folder / "sshd_config").write_text(
            f"""\
ListenAddress 127.0.0.1
Port {self.port}
HostKey {self.folder}/host_key
AuthorizedKeysFile {self.folder}/authorized_keys
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
SetEnv {variables}
"""
        )
        (self.folder / "ssh_config").write_text(
            f"""\
Host {HOST}
    HostName 127.0.0.1
    Port {self.port}
    User {getpass.getuser()}
    IdentityFile {self.folder}/user_key
    IdentitiesOnly yes
    UserKnownHostsFile {self.folder}/known_hosts
    GlobalKnownHostsFile /dev/null
"""
        )

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                return connection.recv(8).startswith(b"SSH-")
        except OSError:
            return False


def _make_key(path: Path) -> None:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path],
        check=True,
    )
