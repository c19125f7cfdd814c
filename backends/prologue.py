"""The prologue of a job: shell that prepares the environment of its command, entry by entry.

Entries run in the shell that becomes the command, so that they can set variables, define functions, load
modules and change the folder.  The first one that fails ends the job before its command begins, unless
failures are allowed; so does one that leaves the shell, by ``exit`` or ``exec``.

Which entry is at work, that shell tells the one around it through a pipe that is closed before the command
begins: no command can say that its prologue had failed.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import attrs

BASH: Final = "/bin/bash"
MOST_SHOWN: Final = 120
"""Characters of an entry in the exit record, and in messages."""
_PATIENCE_S: Final = 10.0
_PLACE: Final = re.compile(r"^.*?line \d+: ")

# The position of a log that is only added to is where it ends: proc_pid_fdinfo(5).  What the entry prints to
# its standard error from there on says why it failed.
_WATCH: Final = """\
exec {_ms_told}<> <(:)
_ms_prologue() {
    [ "$1" = 0 ] || exit "$1"
    local IFS=$' \\t\\n' from=
    if [ -r /proc/self/fdinfo/2 ]; then read -r _ from < /proc/self/fdinfo/2; fi
    printf '%s %s\\n' "$2" "$from" >&"$_ms_told"
    return 0
}"""
_DONE: Final = "done"
_BEGIN_COMMAND: Final = f"""\
_ms_prologue {{status}} {_DONE}
exec {{{{_ms_told}}}}>&-
set +e"""
_ENDED: Final = """\
_ms_line= _ms_from=
while read -r -t 0 -u "$_ms_told"; do read -r -u "$_ms_told" _ms_line _ms_from; done
case $_ms_line in
{cases}
*) _ms_entry= ;;
esac
if [ -n "$_ms_entry" ]; then
    timed_out= bears="$bears, \\"prologue\\": {{\\"line\\": $_ms_line, \\"exit_code\\": $code"
    bears="$bears, \\"said_from\\": ${{_ms_from:-null}}, \\"entry\\": $_ms_entry}}"
    [ "$code" != 0 ] || code=1
fi"""


@attrs.frozen(kw_only=True)
class Prologue:
    """Entries of shell in front of each command of a backend.

    Attributes:
        may_fail: one that ends with another status than 0 is passed over.
    """

    entries: Sequence[str] = ()
    may_fail: bool = False

    def __bool__(self) -> bool:
        return bool(self.entries)

    def before(self) -> list[str]:
        """Lines of the shell around it, before it begins."""
        return [_WATCH] if self else []

    def lines(self) -> list[str]:
        """The entries, and what tells which of them is at work.

        >>> Prologue(entries=["module load vasp"]).lines()[:2]
        ['_ms_prologue 0 1', 'module load vasp']
        """
        if not self:
            return []
        status = "0" if self.may_fail else '"$?"'
        found = []
        for number, entry in enumerate(self.entries, start=1):
            found += [f"_ms_prologue {status if number > 1 else 0} {number}", entry]
        return [*found, _BEGIN_COMMAND.format(status=status)]

    def after(self) -> list[str]:
        """Lines of the shell around it, once ``code`` is how the other one ended."""
        if not self:
            return []
        cases = (
            f"{number}) _ms_entry={_quoted(json.dumps(first_line(entry)))} ;;"
            for number, entry in enumerate(self.entries, start=1)
        )
        return [_ENDED.format(cases="\n".join(cases))]


def first_line(entry: str) -> str:
    r"""An entry in few words.

    >>> first_line("if true; then\n  module load vasp\nfi")
    'if true; then …'
    """
    text = entry.strip()
    line = text.split("\n", 1)[0].strip()
    if len(line) > MOST_SHOWN:
        return f"{line[:MOST_SHOWN]}…"
    return line if line == text else f"{line} …"


def parsing_problem(entries: Sequence[str]) -> tuple[int, str, str] | None:
    """The first entry that is no whole piece of shell: its index, what is wrong, and what would be whole.

    The latter is empty where nothing that follows it makes it so.  Blocking: bash(1) is asked.
    """
    for index, entry in enumerate(entries):
        if problem := _problem(entry):
            longer = ("\n".join(entries[index : end + 1]) for end in range(index + 1, len(entries)))
            return index, problem, next((text for text in longer if not _problem(text)), "")
    return None


@lru_cache(maxsize=256)
def _problem(entry: str) -> str:
    last = entry.rsplit("\n", 1)[-1]
    if (len(last) - len(last.rstrip("\\"))) % 2 and not last.lstrip().startswith("#"):
        return "it ends with a backslash, which joins it to what follows"
    try:
        asked = subprocess.run(
            [BASH, "-O", "extglob", "-n"],
            input=entry.encode(errors="replace") + b"\n",
            capture_output=True,
            env={"LC_ALL": "C.UTF-8"},
            timeout=_PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""  # nobody can tell here; where jobs run, an entry that is broken fails
    said = asked.stderr.decode(errors="replace").strip()
    if not said and not asked.returncode:
        return ""
    return _PLACE.sub("", said.split("\n", 1)[0]) or "bash cannot parse it"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
