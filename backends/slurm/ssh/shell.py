"""What is run on a cluster's login node: lines of bash, and how to tell a whole answer from a cut one.

A login shell runs them: it finds Slurm's commands where the user finds them, and a job inherits from it what
a job that is submitted by hand inherits.  Whatever the user's profile prints comes before the first mark.
The end is marked on both streams: what lacks a mark was cut off, and nothing may be concluded from it.

No line holds a line break or an exclamation mark: csh(1), if that is the user's shell, would not hand it on.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Final

import attrs

_FRAME: Final = (
    "mark=$1; shift; umask 027",
    # Some people have functions of these names that print.  Others are kept: jobs may inherit `module`.
    "unset -f cd flock id mkdir mv rm xargs",
    'say() { printf "\\n%s %s\\n" "$mark" "$1"; printf "\\n%s %s\\n" "$mark" "$1" >&2; }',
    'refuse() { printf "%s\\n" "$1" >&2; say refused; exit 0; }',
    "say begin",
)
_LOCK: Final = (
    'lock() { local said; said=$(flock -w "$2" "$1" "$3" 2>&1) || refuse '
    '"${said:-the submit lock in $PWD was taken for more than $2 s}"; }'
)

RUN: Final = (
    # They hide jobs from a question, or spare them from a scancel.
    "for prefix in SQUEUE_ SACCT_ SCANCEL_ SINFO_; do unset $(compgen -v $prefix); done",
    "export LC_ALL=C SLURM_TIME_FORMAT=standard",
    '"$@" </dev/null',
)
"""A command and its arguments."""

GREET: Final = (
    'need() { command -v $1 >/dev/null || refuse "$1 is missing there: ask for its package ($2)"; }',
    "need flock util-linux; need rsync rsync; need xargs findutils",
    '[ -d "$1" ] || refuse "$1, the workdir, is no folder there: make it first"',
    'try() { local said; said=$("$@" 2>&1) || refuse "the workdir cannot be used: $said"; }',
    'write() { echo x >"$1"; }',
    # Nobody else needs anything there: Slurm's nodes run jobs as their user.
    'orders=$1/$2/$3; try mkdir -p -- "$orders"; try chmod 700 -- "$1/$2"',
    'try write "$orders/.probe-$$"; rm -f -- "$orders/.probe-$$"',
    "id -u; id -un 2>/dev/null || id -u",
    "type -P rsync",
)
"""The workdir, our folder in it, and the one for orders in that: make them; tell who we are there."""

SUBMIT: Final = (
    _LOCK,
    'cd -- "$1" || refuse "our folder in the workdir is gone"',
    '{ exec 8>>"$2.turn" 9>>"$2"; } || refuse "the submit lock cannot be made"',
    'lock -s "$3" 8; lock -s "$3" 9; exec 8>&-',
    # Exactly one takes an order, and only while no search has called it off.
    'order=$4.taken; mv -- "$4" "$order" 2>/dev/null || refuse "the submission was called off"',
    # What the user's profile exports under the name of a secret would go to the controller, and to all jobs.
    "unset $5 SBATCH_ARRAY_INX SBATCH_ERROR SBATCH_INPUT SBATCH_WAIT",
    "shift 5",
    # The connection may be gone by now, but sbatch must come to its end.
    'trap "" HUP',
    '"$@" <"$order"; code=$?; rm -f -- "$order"; (exit $code)',
)
"""Our folder, the lock, how long to wait for it, the order, variables to unset, and sbatch with its options.

What sbatch reads lies there as a whole file: it would take half a script for a whole one.
"""

SETTLE: Final = (
    _LOCK,
    'cd -- "$1" || refuse "our folder in the workdir is gone"',
    '{ exec 8>>"$2.turn" 9>>"$2"; } || refuse "the submit lock cannot be made"',
    'lock -x "$3" 8; lock -x "$3" 9',
    'cd -- "$4" || refuse "the folder of orders is gone"',
    "shopt -s nullglob; off=()",
    'while IFS= read -r -d "" name; do off+=("$name".*); done',
    '[ ${#off[@]} -eq 0 ] || printf "%s\\0" "${off[@]}" | xargs -0 rm -f --',
)
"""Our folder, the lock, how long to wait for it, the folder of orders; on stdin the names to call off."""

GIVE_SECRETS: Final = (
    'cd -- "$1" || refuse "our folder in the workdir is gone"',
    # No byte of a value may be taken for a part of a character.
    "export LC_ALL=C; umask 077",
    'failed() { refuse "secrets cannot be written to $PWD/$1"; }',
    'move() { mv -f -- "$1/$2.part" "$1/$2" && rm -f -- "$1/$3"; }',
    # With noclobber: through no link that somebody has put there.
    'write() { rm -f -- "$1/$2.part"; set -C; printf "%s" "$4" >"$1/$2.part"; }',
    'put() { { write "$@" && move "$@"; } || failed "$1"; }',
    'while IFS= read -r -d "" folder && IFS= read -r -d "" text; do put "$folder" "$2" "$3" "$text"; done',
)
"""Our folder, the name of the file, that of the sign that it is asked for; on stdin pairs of folder and text.

Through stdin, and through a builtin of the shell: no list of processes shows it.
"""

TAKE_SECRETS_AWAY: Final = (
    'cd -- "$1" || refuse "our folder in the workdir is gone"',
    'while IFS= read -r -d "" folder; do rm -f -- "$folder/$2" "$folder/$2.part" "$folder/$3"; done; true',
)
"""The same names; on stdin folders."""

ASKING_FOR_SECRETS: Final = (
    'cd -- "$1" || refuse "our folder in the workdir is gone"',
    'while IFS= read -r -d "" folder; do [ -e "$folder/$2" ] && printf "%s\\0" "$folder"; done; true',
)
"""Our folder, the name of the sign; on stdin folders, of which it tells those that have it."""

LIST: Final = (
    'cd -- "$1" || refuse "our folder in the workdir is gone"',
    # A job may have removed its folder: then there is nothing to list.
    "form='%H\\0%P\\0%s\\0'; export form",
    'xargs -0 -r sh -c "find \\"\\$@\\" -type f -readable -printf \\"\\$form\\"" sh 2>/dev/null; true',
)
"""Our folder; on stdin folders below it.  Tells all regular files in these: folder, name, size."""


def command_line(mark: str, lines: Sequence[str], arguments: Sequence[str]) -> str:
    """What the user's shell on the login node is given."""
    script = "; ".join((*_FRAME, *lines, "say $?"))
    return " ".join(shlex.quote(word) for word in ("exec", "bash", "-lc", script, "sh", mark, *arguments))


@attrs.frozen
class Reply:
    """A whole answer.  ``exit_code`` is None when it was refused, and ``stderr`` says why."""

    exit_code: int | None
    stdout: bytes
    stderr: str


def read_reply(mark: str, stdout: bytes, stderr: bytes) -> Reply | None:
    """Take what lies between the marks; None when one of them is missing."""
    out, err = _between(mark, stdout), _between(mark, stderr)
    if out is None or err is None or out[0] != err[0]:
        return None
    code = None if out[0] == b"refused" else int(out[0])
    return Reply(code, out[1], err[1].decode(errors="replace"))


def has_begun(mark: str, stdout: bytes, stderr: bytes) -> bool:
    """Whether the lines were run at all, as far as was heard."""
    begin = f"\n{mark} begin\n".encode()
    return begin in stdout or begin in stderr


def _between(mark: str, stream: bytes) -> tuple[bytes, bytes] | None:
    pattern = rb"\n%s begin\n(.*)\n%s (refused|[0-9]{1,3})\n" % (mark.encode(), mark.encode())
    found = re.search(pattern, stream, re.DOTALL)
    return (found[2], found[1]) if found else None
