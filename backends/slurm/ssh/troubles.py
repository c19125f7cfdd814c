"""What went wrong between here and the login node, in one line that says what to do.

ssh(1) exits with 255 for all of its own failures; what it prints tells them apart.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import attrs

from matterstack.core.errors import BackendError

_UNREACHABLE: Final = "see to the network or the VPN; it is tried again until it answers"
_LOST: Final = "the connection to {host} was lost: " + _UNREACHABLE
_THEN_USED: Final = "and that connection is used from then on: {by_hand}"
_SIGNS: Final[Sequence[tuple[Sequence[str], str]]] = (
    (
        ("Host key verification failed", "host key is known for"),
        "the host key of {host} is not known here: log in once in a terminal, and compare it: {by_hand}",
    ),
    (
        ("Permission denied (", "Too many authentication failures", "Authentication failed", "sign_and_send"),
        "{host} asks for a password, a code or a key that is not at hand: log in once in a terminal, "
        + _THEN_USED,
    ),
    (
        ("Could not resolve hostname", "Name or service not known"),
        "the name {host} is not known in this network: " + _UNREACHABLE,
    ),
    (("Connection refused",), "{host} takes no ssh connections: " + _UNREACHABLE),
    (
        ("Connection timed out", "Operation timed out", "No route to host", "Network is unreachable"),
        "{host} cannot be reached: " + _UNREACHABLE,
    ),
    (
        (
            "Connection closed", "Connection reset", "Broken pipe", "not responding", "closed by remote host",
            "kex_exchange_identification", "ssh_exchange_identification", "Connection to",
            "read from master failed", "client_loop", "connection unexpectedly closed",
        ),
        _LOST,
    ),
)  # fmt: skip
_CHANGED: Final = "REMOTE HOST IDENTIFICATION HAS CHANGED"
_OFFENDING: Final = re.compile(r"^Offending .*key in (.+):([0-9]+)\s*$", re.MULTILINE)
_SSH_ITSELF: Final = re.compile(
    r"Bad configuration option|Can't open user config file|terminating, \d+ bad|Bad owner or permissions"
)
NO_ROOM: Final = ("No space left on device", "Disk quota exceeded", "Read-only file system")
SSH_FAILED: Final = 255


class RefusedThereError(BackendError):
    """Our own lines of shell found something amiss there, and did nothing."""


@attrs.frozen
class Troubles:
    """Names the host and the command that logs in by hand."""

    host: str
    by_hand: str

    def of_ssh(self, stderr: str) -> BackendError:
        """Why ssh gave no whole answer."""
        if _CHANGED in stderr:
            place = _OFFENDING.search(stderr)
            old = f"line {place[2]} of {place[1]}" if place else "its line in known_hosts"
            return BackendError(
                f"the host key of {self.host} has changed: nothing is sent to it; if the site says that this "
                f"is right, remove {old}, then connect once in a terminal: {self.by_hand}"
            )
        if _SSH_ITSELF.search(stderr):
            return BackendError(f"ssh cannot be used: {_one_line(stderr)}")
        for signs, told in _SIGNS:
            if any(sign in stderr for sign in signs):
                return BackendError(told.format(host=self.host, by_hand=self.by_hand))
        said = _one_line(stderr)
        return BackendError(f"{self.host} gave no whole answer" + (f": {said}" if said else ""))

    def of_loss(self) -> BackendError:
        """It was there, and then it was not any more."""
        return BackendError(_LOST.format(host=self.host))

    def of_rsync(self, exit_code: int, stderr: str) -> BackendError:
        """Why files could not be copied."""
        if any(sign in stderr for sign in NO_ROOM):
            return BackendError(f"files cannot be copied, to or from {self.host}: {_one_line(stderr)}")
        if "is your shell clean" in stderr:
            return BackendError(
                f"the shell on {self.host} prints something before rsync can speak: have ~/.bashrc print "
                "only in a terminal"
            )
        if "command not found" in stderr or "rsync: not found" in stderr:
            return BackendError(f"rsync is missing on {self.host}: ask for its package")
        if exit_code == SSH_FAILED or "code 255" in stderr:
            of_ssh = "\n".join(line for line in stderr.splitlines() if not line.startswith("rsync"))
            return self.of_ssh(of_ssh) if of_ssh else self.of_loss()
        if "connection unexpectedly closed" in stderr or "timeout in data send/receive" in stderr:
            return self.of_loss()
        return BackendError(f"rsync with {self.host} ended with {exit_code}: {_one_line(stderr)}")

    def of_refusal(self, said: str) -> RefusedThereError:
        """What our own lines of shell found there."""
        return RefusedThereError(f"{self.host}: {_one_line(said)}")

    def of_silence(self, what: str, timeout_s: float) -> BackendError:
        """The error of a command that gave no answer in time."""
        return BackendError(f"{what} on {self.host} gave no answer within {timeout_s:g} s")


def _one_line(text: str, most: int = 400) -> str:
    lines = (line.strip() for line in text.splitlines())
    return "; ".join(dict.fromkeys(line for line in lines if line))[:most]
