"""The script of a job: claim the attempt's folder, run the command, record how it ended.

The claim is what makes an attempt work at most once: a second job for the same attempt finds the folder
``claim`` of the first and leaves; the same job, requeued by its scheduler, finds its own id there and
goes on.  The exit record tells how it ended without asking any scheduler.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Final

import attrs

SHELL: Final = "/bin/bash"
LOCK_DESCRIPTOR: Final = 9
"""Where a local job finds the submit lock that it inherits, until it has claimed its folder."""


@attrs.frozen(kw_only=True)
class JobScript:
    """What goes into a script.

    Attributes:
        folder: the attempt's folder, absolute.
        find_job_id: shell lines that set ``MATTERSTACK_JOB_ID``.
        walltime_s: the script itself ends the command after so long; None where a scheduler does that.
        prologue: shell lines that prepare the environment, such as ``module load``.
        path: folder put in front of ``PATH``, or None.
    """

    folder: str
    command: Sequence[str]
    find_job_id: Sequence[str]
    env: Mapping[str, str]
    walltime_s: int | None = None
    prologue: Sequence[str] = ()
    path: str | None = None


# Only builtins of bash(1), so that a job costs few processes.  mkdir lets exactly one job in, on network
# file systems too; the file inside is made with O_EXCL (noclobber), so that a claim whose maker died
# before it wrote its id can be taken over, again by exactly one.  A job that leaves because another works
# ends well; one that cannot claim (no room, no permission) fails, and says so in scheduler.log.
_CLAIM: Final = f"""\
claim() {{
    local failed
    set -C; {{ printf '%s\\n' "$MATTERSTACK_JOB_ID" > claim/job_id; }} 2>/dev/null; failed=$?; set +C
    return $failed
}}
leave() {{ echo "job $MATTERSTACK_JOB_ID does no work: $2" >&2; exit "$1"; }}
owner=
if mkdir claim 2>/dev/null || {{ [ ! -e claim ] && mkdir claim; }}; then
    claim && owner=$MATTERSTACK_JOB_ID
elif [ -d claim ]; then
    for i in 1 2 3 4 5; do
        {{ read -r owner < claim/job_id; }} 2>/dev/null
        [ -n "$owner" ] && break
        sleep 1
    done
    [ -z "$owner" ] && claim && owner=$MATTERSTACK_JOB_ID
else
    leave 1 "it cannot claim $PWD"
fi
if [ "$owner" != "$MATTERSTACK_JOB_ID" ]; then
    [ -s claim/job_id ] && leave 0 "another job has claimed $PWD"
    leave 1 "it cannot write to $PWD/claim"
fi
[ -e exit.json ] && rm -f exit.json
exec {LOCK_DESCRIPTOR}>&- >>stdout.log 2>>stderr.log </dev/null"""

# bash before 5 has no EPOCHREALTIME.
_NOW: Final = """\
now() {
    local t=${EPOCHREALTIME:-$(date +%s.%6N)} s
    TZ=UTC0 printf -v s '%(%Y-%m-%dT%H:%M:%S)T' "${t%[.,]*}"
    printf -v "$1" '%s.%sZ' "$s" "${t#*[.,]}"
}
now started"""

_RECORD: Final = """\
now ended
printf '{"exit_code": %d, "started_at": "%s", "ended_at": "%s", "host": "%s", "job_id": "%s"%s}\\n' \\
    "$code" "$started" "$ended" "$HOSTNAME" "$MATTERSTACK_JOB_ID" "$timed_out" > .exit.json.part &&
    mv -f .exit.json.part exit.json
exit "$code\""""


def render(script: JobScript, directives: Sequence[str] = ()) -> str:
    """Write the script; ``directives`` are comment lines for a scheduler.

    The prologue and the command run in a subshell: whatever they set, and however they exit, how they
    ended is recorded.
    """
    command = " ".join(_quoted(word) for word in script.command)
    late: tuple[str, ...] = ()
    if script.walltime_s is not None:
        # timeout(1) exits with 124 when it ended the command, with 137 when it had to kill it.
        command = f"timeout -k 10 {script.walltime_s} {command}"
        is_late = f'[ "$SECONDS" -ge {script.walltime_s} ]'
        late = (f"case $code in 124|137) {is_late} && timed_out=', \"timed_out\": true';; esac",)
    lines = [
        f"#!{SHELL}",
        *directives,
        f"cd {_quoted(script.folder)} || exit 1",
        *script.find_job_id,
        _CLAIM,
        _NOW,
        "timed_out= SECONDS=0",
        "(",
        *([f"export PATH={_quoted(script.path)}:$PATH"] if script.path else []),
        *script.prologue,
        *(f"export {_quoted(f'{name}={value}')}" for name, value in script.env.items()),
        # exec runs programs only: a command called "exit" or "now" is none of the shell's own words.
        f"exec -- {command}",
        ")",
        "code=$?",
        *late,
        _RECORD,
    ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    r"""Quote a word for bash(1), without a bare carriage return: sbatch(1) takes no script with one.

    >>> print(_quoted("it's"), _quoted("a\r\n'"))
    'it'"'"'s' $'a\r\n\''
    """
    if "\r" not in text:
        return shlex.quote(text)
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\r", "\\r").replace("\n", "\\n")
    return f"$'{escaped}'"
