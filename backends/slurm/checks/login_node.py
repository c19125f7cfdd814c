"""The login nodes behind ssh: can they be reached without a question, and can jobs work in the workdir."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import trio

from matterstack.backends.examination import COMMAND_S, LEAST_FREE_BYTES, Finding, size_text
from matterstack.backends.slurm.config import SshConfig
from matterstack.backends.slurm.ssh.connection import Connection
from matterstack.core.errors import BackendError

_LOOK: Final = (
    'if [ ! -d "$1" ]; then echo missing',
    'elif [ ! -w "$1" ] || [ ! -x "$1" ]; then echo unwritable',
    'else echo "$(stat -f -c %T -- "$1") $(df -Pk -- "$1" | tail -n 1)"; fi',
)
"""One word about a folder, or the type of its file system and a line of df(1)."""
_PROGRAMS: Final = ("for p in rsync flock; do type -P $p >/dev/null || echo $p; done",)


async def examine_host(config: SshConfig, backends: Mapping[str, object]) -> list[Finding]:
    """Connect as a backend does: with the user's own ssh, and never with a question."""
    connection = Connection(config.host, tuple(config.options))
    name = f"ssh {config.host}"
    asked = trio.current_time()
    try:
        missing = (await connection.bash(_PROGRAMS, timeout_s=COMMAND_S, what="the first question")).stdout
    except BackendError as error:
        detail, _, action = str(error).partition(": ")
        return [Finding(name, False, detail, action or f"try in a terminal: ssh {config.host} true")]
    took_s = trio.current_time() - asked
    if words := missing.decode(errors="replace").split():
        return [Finding(name, False, f"{' and '.join(words)} missing there", "ask for its package there")]
    users = ", ".join(sorted(backends))
    reached = Finding(name, True, f"answers in {took_s * 1000:.0f} ms, without a question (for {users})")
    return [reached, await _workdir(connection, config)]


async def _workdir(connection: Connection, config: SshConfig) -> Finding:
    name = f"workdir on {config.host}"
    try:
        reply = await connection.bash(_LOOK, config.workdir, timeout_s=COMMAND_S, what="stat")
    except BackendError as error:
        return Finding(name, False, str(error), f"look there: ssh {config.host} ls {config.workdir}")
    words = reply.stdout.decode(errors="replace").split()
    match words:
        case ["missing"]:
            action = f"make it: ssh {config.host} mkdir -p {config.workdir}"
            return Finding(name, False, f"{config.workdir} is no folder there", action)
        case ["unwritable"]:
            action = "name a folder of your own as ssh.workdir in config.json"
            return Finding(name, False, f"{config.workdir} cannot be written there", action)
        case [kind, _device, _blocks, _used, free_kib, *_] if free_kib.isdecimal():
            free = int(free_kib) << 10
            detail = f"{config.workdir}: {kind}, {size_text(free)} free"
            if free < LEAST_FREE_BYTES:
                return Finding(
                    name, False, detail, f"make room there: ssh {config.host} du -sh {config.workdir}"
                )
            return Finding(name, True, detail)
        case _:
            return Finding(name, True, f"{config.workdir}: can be written; its file system cannot be told")
