"""The script of a job: claim the attempt's folder, run the command, record how it ended.

The claim is what makes an attempt work at most once: a second job for the same attempt finds the claim of
the first and leaves; the same job, requeued by its scheduler, finds its own id there and
goes on.  The exit record tells how it ended without asking any scheduler.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Final

import attrs

from matterstack.backends import environment_probe
from matterstack.backends.prologue import BASH, Prologue
from matterstack.backends.secrets_file import ASKED_FOR, AWAITED_S
from matterstack.core.model.workflow_check import SECRETS_FILE
from matterstack.storage.modes import JOB_UMASK

SH: Final = "/bin/sh"
"""Where this is dash(1), a job costs two thirds of what it costs with bash."""
LOCK_DESCRIPTOR: Final = 9
"""Where a local job finds the submit lock that it inherits, until it has claimed its folder."""


@attrs.frozen(kw_only=True)
class LocalClock:
    """What a plain sh(1) of this machine needs to be told, and bash knows by itself.

    Attributes:
        host: name of the machine.
        booted_cs: when it was started, in hundredths of a second since 1970 (UTC).
        surroundings: what its jobs inherit; None where that is not known.
    """

    host: str
    booted_cs: int
    surroundings: environment_probe.Surroundings | None = None


@attrs.frozen(kw_only=True)
class JobScript:
    """What goes into a script.

    Attributes:
        folder: the attempt's folder, absolute.
        find_job_id: shell lines that set ``MATTERSTACK_JOB_ID``.
        walltime_s: the script itself ends the command after so long; None where a scheduler does that.
        prologue: what prepares the environment, such as ``module load``.
        path: folder put in front of ``PATH``, or None.
        local_clock: of a job that runs on this machine, in a folder where ``claim`` is made before it starts,
            and whose exit record is read only after its end: a plain sh(1) is enough for it, and the record
            need not be renamed into its place.
        nonce: what the claim and the record are to bear; with one, whatever else lies in the folder when its
            job begins was put there by somebody else.  Empty: of a job that a person may submit.
        given: names of the files that lie in the folder when its job begins.
        umask: what others may not do with what the job makes; see `matterstack.storage.modes`.
        has_secrets: it finds some in a file beside it.
    """

    folder: str
    command: Sequence[str]
    find_job_id: Sequence[str]
    env: Mapping[str, str]
    walltime_s: int | None = None
    prologue: Prologue = attrs.field(factory=Prologue)
    path: str | None = None
    local_clock: LocalClock | None = None
    nonce: str = attrs.field(default="", repr=False)
    given: Sequence[str] = ()
    umask: int = JOB_UMASK
    has_secrets: bool = False

    @property
    def shell(self) -> str:
        """The shell that it is written for; a prologue may use all that bash has."""
        words = (*self.command, *self.env.values(), *self.given, self.folder, self.path or "")
        needs_bash = self.prologue or self.command[0].startswith("-") or any("\r" in word for word in words)
        return BASH if self.local_clock is None or needs_bash else SH


# Only builtins of the shell, so that a job costs few processes.  mkdir lets exactly one job in, on network
# file systems too; the file inside is made with O_EXCL (noclobber), so that a claim whose maker died
# before it wrote its id can be taken over, again by exactly one.  A job that leaves because another works
# ends well; one that cannot claim (no room, no permission) fails, and says so in scheduler.log.
_CLAIM: Final = """\
claim() {
    local failed
    set -C; { printf '%s\\n' "$me" > claim/job_id; } 2>/dev/null; failed=$?; set +C
    [ $failed = 0 ] && owner=$me is_first=yes
    return $failed
}
await_owner() {
    local i
    for i in 1 2 3 4 5; do
        { read -r owner < claim/job_id; } 2>/dev/null
        [ -n "$owner" ] && break
        sleep 1
    done
    [ -n "$owner" ]
}
leave() { echo "job $MATTERSTACK_JOB_ID does no work: $2" >&2; exit "$1"; }
me="$MATTERSTACK_JOB_ID${nonce:+ $nonce}" owner= is_first= before=0"""

# Jobs of others may have put something in the place of the claim.  A folder that one only can make lets one
# at a time look once more and move that away; it stays until the claim is made, and goes with the rest.
_DISOWN: Final = """\
is_foreign() {
    if [ -L claim ] || { [ -e claim ] && [ ! -d claim ]; }; then return 0; fi
    if [ -L claim/job_id ] || { [ -e claim/job_id ] && [ ! -f claim/job_id ]; }; then return 0; fi
    [ -e claim/job_id ] && await_owner && [ "${owner##* }" != "$nonce" ]
}
set_aside() {
    echo "job $MATTERSTACK_JOB_ID: ${1#"claim-$nonce/"} lay in $PWD before it began; see claim/before" >&2
    { [ -d claim/before ] || mkdir claim/before; } && mv -- "$1" "claim/before/$before-${1##*/}" ||
        leave 1 "it cannot set $1 aside"
    before=$((before + 1))
}
for i in 1 2 3 4 5; do
    is_foreign || break
    if mkdir "claim-$nonce" 2>/dev/null; then
        is_foreign && mv claim "claim-$nonce/claim"
        break
    fi
    sleep 1
done
owner="""

_MAKE_CLAIM: Final = """\
if mkdir claim 2>/dev/null || { [ ! -e claim ] && mkdir claim; }; then
    claim
elif [ -d claim ]; then
    await_owner || claim
else
    leave 1 "it cannot claim $PWD"
fi"""

# A third of the cost of a local job would be the process of mkdir(1): its backend made the folder, and on
# this machine it is the file inside that lets exactly one job in.
_FILL_CLAIM: Final = """\
[ -d claim ] || mkdir claim 2>/dev/null
claim || { [ -e claim/job_id ] && await_owner; }"""

_BEGIN_WORK: Final = """\
if [ "$owner" != "$me" ]; then
    [ -s claim/job_id ] || leave 1 "it cannot write to $PWD/claim"
    case $owner in *"$nonce") leave 0 "another job has claimed $PWD" ;; esac
    leave 1 "what no job of its attempt has made lies in the place of its claim in $PWD"
fi"""

_SET_ASIDE: Final = """\
if [ -n "$is_first" ] && [ -d "claim-$nonce" ]; then
    [ ! -e "claim-$nonce/claim" ] && [ ! -L "claim-$nonce/claim" ] || set_aside "claim-$nonce/claim"
    rmdir "claim-$nonce"
fi
[ -z "$is_first" ] || for name in {places}; do
    case $name in
    {own}) ;;
    *) if [ -e "$name" ] || [ -L "$name" ]; then set_aside "$name"; fi ;;
    esac
done"""

_UP: Final = (".", "..", "*/.", "*/..")
"""What the pattern of hidden files names as well."""
_OWN: Final = ("claim", "job.sh", "manifest.json", "scheduler.log")
_BEARS: Final = """bears=", \\"nonce\\": \\"$nonce\\", \\"set_aside\\": $before\""""

_BEGIN_OUTPUT: Final = f"""\
[ -e exit.json ] && rm -f exit.json
exec {LOCK_DESCRIPTOR}>&- >>stdout.log 2>>stderr.log </dev/null"""

# A job that was requeued finds that its first start has removed the file: it asks for it, and waits.
_AWAIT_SECRETS: Final = f"""\
await_secrets() {{
    local i=0
    [ -e {SECRETS_FILE} ] && return
    : > {ASKED_FOR}
    while [ ! -e {SECRETS_FILE} ]; do
        i=$((i + 1))
        if [ $i -gt {AWAITED_S} ]; then
            echo "its secrets did not come within {AWAITED_S} s: no engine was there to give them again" >&2
            return 1
        fi
        sleep 1
    done
}}"""

# In the subshell: the shell around it, which writes the record, never has them.
_READ_SECRETS: Final = f"await_secrets && . ./{SECRETS_FILE} && rm -f {SECRETS_FILE} || exit 1"

# bash before 5 has no EPOCHREALTIME.
_BASH_NOW: Final = """\
now() {
    local t=${EPOCHREALTIME:-$(date +%s.%6N)} s
    TZ=UTC0 printf -v s '%(%Y-%m-%dT%H:%M:%S)T' "${t%[.,]*}"
    printf -v "$1" '%s.%sZ' "$s" "${t#*[.,]}"
}
now started"""

# proc(5): the time since boot, in seconds with two digits after the point.  From days to dates: H. Hinnant,
# "chrono-Compatible Low-Level Date Algorithms" (2014), civil_from_days.
_SH_NOW: Final = """\
now() {{
    read -r up idle < /proc/uptime
    eval "$1=\\$(({booted_cs} + ${{up%.*}} * 100 + 1${{up#*.}} - 100))"
}}
utc() {{
    t=$(($1 / 100)) z=$(($1 / 8640000 + 719468))
    e=$((z % 146097)) y=$(((e - e / 1460 + e / 36524 - e / 146096) / 365))
    d=$((e - 365 * y - y / 4 + y / 100)) m=$(((5 * d + 2) / 153))
    printf '%04d-%02d-%02dT%02d:%02d:%02d.%02d0000Z' \\
        $((y + z / 146097 * 400 + m / 10)) $(((m + 2) % 12 + 1)) $((d - (153 * m + 2) / 5 + 1)) \\
        $((t / 3600 % 24)) $((t / 60 % 60)) $((t % 60)) $(($1 % 100))
}}
now started"""

_BASH_RECORD: Final = """\
printf '{"exit_code": %d, "started_at": "%s", "ended_at": "%s", "host": "%s", "job_id": "%s"%s%s}\\n' \\
    "$code" "$started" "$ended" "$HOSTNAME" "$MATTERSTACK_JOB_ID" "$bears" "$timed_out" > .exit.json.part &&
    mv -f .exit.json.part exit.json
exit "$code\""""

# In place: who reads it has seen the end of this process, and takes half a record for none.
_SH_RECORD: Final = """\
{{
    printf '{{"exit_code": %d, "started_at": "' "$code"
    utc "$started"
    printf '", "ended_at": "'
    utc "$ended"
    printf '", "host": "%s", "job_id": "%s"%s%s}}\\n' {host} "$MATTERSTACK_JOB_ID" "$bears" "$timed_out"
}} > exit.json
exit "$code\""""


def render(script: JobScript, directives: Sequence[str] = ()) -> str:
    """Write the script; ``directives`` are comment lines for a scheduler.

    The prologue and the command run in a subshell: whatever they set, and however they exit, how they
    ended is recorded.
    """
    command = " ".join(quoted(word) for word in script.command)
    late: tuple[str, ...] = ()
    surroundings: environment_probe.Surroundings | None = None
    now, record, exec_, late_by = _BASH_NOW, _BASH_RECORD, "exec --", '"$SECONDS" -ge {}'
    if script.local_clock is not None and script.shell == SH:
        # dash knows no exec --, but no command with a dash comes here.
        exec_, late_by = "exec", "$((ended - started)) -ge {}00"
        now = _SH_NOW.format(booted_cs=script.local_clock.booted_cs)
        surroundings = script.local_clock.surroundings
        record = _SH_RECORD.format(host=quoted(script.local_clock.host))
    if script.walltime_s is not None:
        # timeout(1) exits with 124 when it ended the command, with 137 when it had to kill it.
        command = f"timeout -k 10 {script.walltime_s} {command}"
        is_late = f"[ {late_by.format(script.walltime_s)} ]"
        late = (f"case $code in 124|137) {is_late} && timed_out=', \"timed_out\": true';; esac",)
    secrets_file = [SECRETS_FILE] if script.has_secrets else []
    lines = [
        f"#!{script.shell}",
        *directives,
        f"cd {quoted(script.folder)} || exit 1",
        # Whatever that of the engine is, or of a shell that a person submits it from.
        f"umask {script.umask:03o}",
        *script.find_job_id,
        f"nonce={script.nonce}",
        _CLAIM,
        *([_DISOWN] if script.nonce else []),
        _MAKE_CLAIM if script.local_clock is None else _FILL_CLAIM,
        _BEGIN_WORK,
        *([_set_aside([*script.given, *secrets_file])] if script.nonce else []),
        _BEGIN_OUTPUT,
        now,
        "timed_out= bears= SECONDS=0",
        *([_BEARS] if script.nonce else []),
        environment_probe.foreseen(script, surroundings, quoted),
        *script.prologue.before(),
        *([_AWAIT_SECRETS] if script.has_secrets else []),
        "(",
        *([_READ_SECRETS] if script.has_secrets else []),
        *([f"export PATH={quoted(script.path)}:$PATH"] if script.path else []),
        *script.prologue.lines(),
        *(f"export {quoted(f'{name}={value}')}" for name, value in script.env.items()),
        environment_probe.probe(script, quoted),
        # exec runs programs only: a command called "exit" or "now" is none of the shell's own words.
        f"{exec_} {command}",
        ")",
        "code=$?",
        "now ended",
        *late,
        *script.prologue.after(),
        environment_probe.noted(),
        record,
    ]
    return "\n".join(lines) + "\n"


def _set_aside(given: Sequence[str]) -> str:
    """Shell lines that set aside what is none of the files that were put into the folder."""
    names = [PurePosixPath(name) for name in given]
    folders = dict.fromkeys(str(folder) for name in names for folder in [*name.parents][:-1])
    own = [*_OWN, *folders, *map(str, names)]
    hidden_too = ("*", ".*")
    places = [*hidden_too, *(f"{quoted(folder)}/{every}" for folder in folders for every in hidden_too)]
    return _SET_ASIDE.format(
        places=" ".join(places), own="|".join([*_UP, *(quoted(name) for name in dict.fromkeys(own))])
    )


def quoted(text: str) -> str:
    r"""Quote a word for bash(1), without a bare carriage return: sbatch(1) takes no script with one.

    >>> print(quoted("it's"), quoted("a\r\n'"))
    'it'"'"'s' $'a\r\n\''
    """
    if "\r" not in text:
        return shlex.quote(text)
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\r", "\\r").replace("\n", "\\n")
    return f"$'{escaped}'"
