"""The user's own ssh and rsync: their config, keys and agent, and one connection for all commands.

Nothing is ever asked for and nothing is stored: where a password or a second factor is needed, a person logs
in once, in a terminal, and that connection is used for as long as it lasts.
"""

from __future__ import annotations

import math
import os
import re
import resource
import secrets
import shlex
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import IO, Final

import attrs
import trio

from matterstack.backends.slurm.ssh import shell
from matterstack.backends.slurm.ssh.control_socket import private_folder
from matterstack.backends.slurm.ssh.troubles import NO_ROOM, Troubles
from matterstack.core.errors import BackendError
from matterstack.storage.child_environment import child_environment
from matterstack.storage.modes import JOB_UMASK

CONNECT_TIMEOUT_S: Final = 15
KEPT_FOR_S: Final = 600
"""How long our own connection outlives the last command."""
MOST_ANSWER_BYTES: Final = 1 << 28
"""Of a command there: a list of a million outputs has less, and one without end must not fill the memory."""
SESSIONS: Final = 6
"""Most commands at once over one connection; sshd(8) allows ten, and the user may want some."""

_WATCHED: Final = ("-oServerAliveInterval=10",)
"""A connection that is lost without a word is given up after three times as many seconds."""
_ALWAYS: Final = (
    "-oBatchMode=yes",  # nobody is there who could answer a question
    f"-oConnectTimeout={CONNECT_TIMEOUT_S}",
    *_WATCHED,
    "-oClearAllForwardings=yes",  # those of the user's config are for people, and their ports may be taken
    "-oForwardX11=no",
    "-oRequestTTY=no",
    "-oRemoteCommand=none",
    "-oPermitLocalCommand=no",
    "-oLogLevel=ERROR",
)
_SHARED_BY_USER: Final = re.compile(r"^controlpath (?!none$)", re.MULTILINE)


@attrs.frozen
class _Ran:
    exit_code: int
    stdout: bytes
    stderr: bytes

    @property
    def complaint(self) -> str:
        return self.stderr.decode(errors="replace")


@attrs.define
class Connection:
    """To one host.  Every method raises BackendError where there is no whole answer, and says why.

    Attributes:
        host: as the user would give it to ssh.
        options: what else ssh is given.
    """

    host: str
    options: tuple[str, ...] = ()
    _sharing: tuple[str, ...] | None = None
    _sessions: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(SESSIONS))

    async def bash(
        self, lines: Sequence[str], *arguments: str, timeout_s: float, stdin: bytes = b"", what: str = ""
    ) -> shell.Reply:
        """Run lines of `shell` on the host; the reply has an exit code.

        Args:
            timeout_s: without the time that it takes to connect.  When it is over, what was begun there may
                go on.
            what: how people call it, for the error that it took too long.
        """
        mark = secrets.token_hex(8)
        words = await self._ssh()
        command = shell.command_line(mark, lines, arguments)
        async with self._sessions:
            limit_s = timeout_s + CONNECT_TIMEOUT_S
            ran = await self._execute((*words, "--", self.host, command), stdin, limit_s, MOST_ANSWER_BYTES)
        if ran is None:
            raise self._troubles(words).of_silence(what or "a command", timeout_s)
        reply = shell.read_reply(mark, ran.stdout, ran.stderr)
        if reply is None and shell.has_begun(mark, ran.stdout, ran.stderr):
            raise self._troubles(words).of_loss()
        if reply is None:
            raise self._troubles(words).of_ssh(ran.complaint)
        if reply.exit_code is None:
            raise self._troubles(words).of_refusal(reply.stderr)
        return reply

    async def copy(
        self,
        names: Sequence[bytes],
        source: str,
        target: str,
        *options: str,
        there: str,
        stall_s: float,
        most_bytes: float = math.inf,
    ) -> str:
        """Copy files with rsync, named below ``source``; returns what it complained about all the same.

        Args:
            source: a folder, absolute; on the host it begins with a colon, as ``target`` does.
            there: path of rsync on the host.
            stall_s: how long nothing may come; there is no limit for the whole.
            most_bytes: no file here becomes larger, whatever the other side said of its size.
        """
        words = await self._ssh()
        argv = (
            "rsync", "--times", "--from0", "--files-from=-", "--no-implied-dirs", "--protect-args", "--quiet",
            f"--timeout={max(1, round(stall_s))}", f"--rsync-path={there}",
            f"--rsh={' '.join(_rsh_quoted(word) for word in words)}", *options, "--",
            *(f"{self.host}{side}" if side.startswith(":") else side for side in (source, target)),
        )  # fmt: skip
        listed = b"".join(name + b"\0" for name in names)
        async with self._sessions:
            ran = await self._execute(argv, listed, math.inf, most_bytes)
        if ran is not None and ran.exit_code in _COPIED:
            return ""
        complaint, code = (ran.complaint, ran.exit_code) if ran is not None else ("", -1)
        trouble = self._troubles(words).of_rsync(code, complaint)
        if code == _SOME_FAILED and not any(sign in complaint for sign in NO_ROOM):
            return trouble.message
        raise trouble

    async def _ssh(self) -> tuple[str, ...]:
        """The command line of ssh without the host."""
        if self._sharing is None:
            shown = await self._execute(("ssh", *self.options, "-G", "--", self.host), b"", CONNECT_TIMEOUT_S)
            if shown is None or shown.exit_code != 0:
                raise self._troubles(()).of_ssh(shown.complaint if shown is not None else "")
            self._sharing = ()
            if not _SHARED_BY_USER.search(shown.stdout.decode(errors="replace")):
                socket = private_folder(os.environ) / "%C"
                self._sharing = ("-oControlMaster=auto", f"-oControlPath={socket}")
        kept = (f"-oControlPersist={KEPT_FOR_S}",) if self._sharing else ()
        return ("ssh", *_ALWAYS, *self._sharing, *kept, *self.options)

    def _troubles(self, words: Sequence[str]) -> Troubles:
        """For messages: how a person logs in so that the connection is then used."""
        shared = [word for word in words if word.startswith("-oControlPath=")]
        by_hand = ("ssh", "-fNM", *_WATCHED, *shared, *self.options, self.host)
        return Troubles(self.host, shlex.join(by_hand))

    async def _execute(
        self, argv: Sequence[str], stdin: bytes, timeout_s: float, most_bytes: float = MOST_ANSWER_BYTES
    ) -> _Ran | None:
        """Run a program of this machine; None when it took too long, and was killed.

        ``most_bytes``: no file that it writes becomes larger.
        """
        # Files, not pipes: a connection that is kept in the background would hold a pipe open.
        with _file("stdin", stdin) as given, _file("stdout") as out, _file("stderr") as err:
            execute = partial(
                trio.run_process,
                list(argv),
                stdin=given,
                stdout=out,
                stderr=err,
                check=False,
                task_status=_Limit(most_bytes),
                env=child_environment(),  # "SendEnv" in the user's config would send a secret
                start_new_session=True,  # Ctrl-C in the terminal is for the engine, and nobody is asked there
                umask=JOB_UMASK,  # of what rsync brings home
            )
            try:
                with trio.move_on_after(timeout_s):
                    done: subprocess.CompletedProcess[bytes] = await execute()
                    return _Ran(done.returncode, _content(out), _content(err))
            except FileNotFoundError:
                raise BackendError(f"{argv[0]} is missing on this machine: install its package") from None
            except OSError as error:
                raise BackendError(f"{argv[0]} cannot be started: {error.strerror or error}") from error
        return None


_SOME_FAILED: Final = 23
_COPIED: Final = frozenset({0, 24})
"""Also when files vanished while they were being copied, as those of a job may that cleans up: rsync(1)."""


@attrs.frozen
class _Limit:
    """Told of a process as soon as it has begun, limits the size of all files that it writes."""

    most_bytes: float

    def started(self, process: trio.Process) -> None:
        if not math.isinf(self.most_bytes):
            limit = math.floor(self.most_bytes)
            with suppress(ProcessLookupError):
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, limit))


def _file(name: str, content: bytes = b"") -> IO[bytes]:
    """A file without a name."""
    file = os.fdopen(os.memfd_create(name), "w+b")
    file.write(content)
    file.seek(0)
    return file


def _content(file: IO[bytes]) -> bytes:
    # By its descriptor: the child has moved the position that it shares with us.
    size = os.fstat(file.fileno()).st_size
    return os.pread(file.fileno(), size, 0)


def _rsh_quoted(word: str) -> str:
    """Quote a word for rsync's ``--rsh``, where a quote in quotes is doubled.

    >>> print(_rsh_quoted("it's"))
    'it''s'
    """
    return "'" + word.replace("'", "''") + "'"
