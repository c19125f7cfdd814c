"""What a job script adds to find out which software its command runs in, once for each different environment.

Between its preparations and its command the script writes down, with builtins of the shell alone, what tells
one environment from another: search paths, loaded modules, the system, the scheduler's variables.  Where the
run's folder ``environments`` knows that text, the job notes the hash that stands there.  Otherwise it asks
the Python that its command will find, and keeps the answer as ``claim/environment.json``; jobs that begin
at the same moment may all ask, and keep the same.

Whatever goes wrong here, the command starts: then there is no hash, and the evidence says that nobody looked.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

import attrs

VARIABLES: Final = (
    "PATH",
    "PYTHONPATH",
    "PYTHONHOME",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "LD_LIBRARY_PATH",
    "LOADEDMODULES",
)
"""What changes which programs and packages a command finds."""
SCHEDULER_VARIABLES: Final = (
    "SLURM_CLUSTER_NAME",
    "SLURM_JOB_PARTITION",
    "SLURM_JOB_QOS",
    "SLURM_JOB_ACCOUNT",
    "SLURM_JOB_NUM_NODES",
    "SLURM_NTASKS",
    "SLURM_CPUS_PER_TASK",
    "SLURM_CPUS_ON_NODE",
    "SLURM_MEM_PER_NODE",
    "SLURM_MEM_PER_CPU",
    "SLURM_GPUS_ON_NODE",
)
"""Of Slurm's, those that say what a job was given; none could hold a secret, or names a single job."""
MOST_KNOWN: Final = 64
"""In a run with more environments than this, further ones are not looked at."""
PATIENCE_S: Final = 20
LEAST_MEMORY_MIB: Final = 64
"""In a job with less memory nobody looks: Python alone takes half of that."""
ROOM_MIB: Final = 16
"""How much of a job's memory is left to the shells around the Python that looks."""

_PYTHON: Final = re.compile(r"(?:.*/)?python(?:[23](?:\.[0-9]+)?)?")

# Of a Python that the user has installed, from 3.8 on: it must run there as it stands.  Its own first folder
# on the path would be the attempt's, where files of the campaign may be called like modules of Python.
_LOOK: Final = r"""
import sys
if sys.path and sys.path[0] == "":
    del sys.path[0]
import hashlib, json, os, platform, shutil
from importlib import metadata
key, known, program, variables, scheduler = sys.argv[1:6]
found, folders = {}, set()
for one in metadata.distributions():
    try:
        name, version = one.metadata["Name"], one.version
    except Exception:
        continue
    if name and version and name not in found:
        found[name] = version
        folders.add(str(one.locate_file("")))
def values(names):
    return {name: os.environ[name] for name in names.split() if os.environ.get(name)}
def system():
    for file in ("/etc/os-release", "/usr/lib/os-release"):
        try:
            with open(file, encoding="utf-8") as lines:
                for line in lines:
                    if line.startswith("PRETTY_NAME="):
                        return line.partition("=")[2].strip().strip("\"'")
        except OSError:
            pass
    return platform.system()
def used():
    path = shutil.which(program)
    if path is None or not os.path.isabs(path) or os.path.realpath(path).startswith(os.getcwd() + "/"):
        return None
    told = {"name": program, "path": path, "bytes": os.path.getsize(path)}
    if told["bytes"] <= 64 << 20:
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            for part in iter(lambda: file.read(1 << 18), b""):
                digest.update(part)
        told["sha256"] = digest.hexdigest()
    folders.add(os.path.realpath(path))
    return told
def conda():
    meta = os.path.join(os.environ.get("CONDA_PREFIX", ""), "conda-meta")
    if not os.path.isabs(meta) or not os.path.isdir(meta):
        return []
    folders.add(meta)
    return sorted(name[:-5] for name in os.listdir(meta) if name.endswith(".json"))
told = {
    "format": 1,
    "python": {
        "executable": sys.executable,
        "implementation": platform.python_implementation(),
        "version": platform.python_version(),
        "prefix": sys.prefix,
    },
    "distributions": found,
    "conda": conda(),
    "modules": [name for name in os.environ.get("LOADEDMODULES", "").split(":") if name],
    "system": {"name": system(), "kernel": platform.release(), "machine": platform.machine()},
    "program": used(),
    "variables": values(variables),
    "scheduler": values(scheduler),
}
text = (json.dumps(told, sort_keys=True, indent=1) + "\n").encode()
digest = hashlib.sha256(text).hexdigest()
mark = "." + str(os.getpid()) + "." + platform.node() + ".part"
def put(path, content):
    with open(path + mark, "wb") as file:
        file.write(content)
    os.replace(path + mark, path)
put("claim/environment.json", text)
put("claim/environment", (digest + "\n").encode())
os.makedirs(known, exist_ok=True)
with open(os.path.join(known, mark), "wb") as file:
    file.write(digest.encode() + b"\n")
    now = os.fstat(file.fileno()).st_mtime
    for folder in sorted(folders):
        if "\n" not in folder and os.path.exists(folder) and os.stat(folder).st_mtime <= now:
            file.write(os.fsencode(folder) + b"\n")
    file.write(b"\n" + os.fsencode(key) + b"\n")
name = hashlib.sha256(os.fsencode(key)).hexdigest()
os.replace(os.path.join(known, mark), os.path.join(known, name + ".known"))
"""

# Each of these files: the hash, what is newer than the file only if something was installed since, an empty
# line, and the text that tells this environment from others.  A scheduler ends a job as a whole that takes
# more memory than it has: what looks is bound to less than that, and fails alone.  Of what is given for each
# CPU or GPU there is one at least.  POSIX but for -nt and ulimit: dash(1) and bash(1) have them.
_FIND: Final = """\
_ms_find() {{
    set -- ../../../environments/*.known
    for _ms_file do
        {{
            IFS= read -r _ms_sha256 || continue
            while IFS= read -r _ms_line && [ -n "$_ms_line" ]; do
                if [ "$_ms_line" -nt "$_ms_file" ]; then continue 2; fi
            done
            IFS= read -r _ms_line && [ "$_ms_line" = "$_ms_key" ]
        }} < "$_ms_file" && printf '%s\\n' "$_ms_sha256" > claim/environment && return 0
    done
    [ $# -ge {most} ]
}}
_ms_keep_room() {{
    ulimit -c 0
    _ms_mib=${{SLURM_MEM_PER_NODE:-${{SLURM_MEM_PER_GPU:-${{SLURM_MEM_PER_CPU:-0}}}}}}
    case $_ms_mib in *[!0-9]*) return 1;; esac
    [ "$_ms_mib" -gt 0 ] || return 0
    [ "$_ms_mib" -ge {least} ] || return 1
    ulimit -v $(((_ms_mib - {room}) * 1024)) || :
}}
_ms_look() {{
    for _ms_python in {pythons}; do
        command -v "$_ms_python" && break
    done && (
        _ms_keep_room && exec timeout -k 2 {patience} \\
            "$_ms_python" -B -c "$1" "$_ms_key" ../../../environments {program} '{variables}' '{scheduler}'
    )
}}
_ms_probe() {{
    : > claim/environment
    _ms_kernel= _ms_os= _ms_release=
    IFS= read -r _ms_kernel < /proc/sys/kernel/osrelease
    {{ IFS= read -r _ms_os; IFS= read -r _ms_release; }} < /etc/os-release
    _ms_key={key}
    case $_ms_key in *'
'*) return;; esac
    _ms_find || _ms_look {look}
}}
[ -n "$noted" ] || _ms_probe </dev/null >/dev/null 2>&1"""

# Outside of the subshell: nothing is to be written, and nothing to be read again.
_FORESEEN: Final = """\
noted=
if [ {now} = {base} ]; then
    {{
        read -r noted && while IFS= read -r line && [ -n "$line" ]; do
            if [ "$line" -nt {known} ]; then noted=; fi
        done
    }} < {known}
fi 2>/dev/null"""

_NOTED: Final = """\
[ -n "$noted" ] || { read -r noted < claim/environment; } 2>/dev/null
case $noted in *[!0-9a-f]*) noted=;; esac
[ ${#noted} = 64 ] && bears="$bears, \\"environment\\": \\"$noted\\"\""""

Quoted = Callable[[str], str]
"""Makes of a word what the shell reads as that word."""


@attrs.frozen(kw_only=True)
class Surroundings:
    """What is known beforehand of the environment of a job on this machine.

    Attributes:
        variables: those of `VARIABLES` and `SCHEDULER_VARIABLES` that the job's shell inherits.
        system: the kernel, and the first two lines of ``/etc/os-release``, as `_FIND` has them.
    """

    variables: Mapping[str, str]
    system: str


def surroundings() -> Surroundings:
    """What a job would inherit from this process."""
    lines = ["", ""]
    with suppress(OSError):
        text = Path("/etc/os-release").read_text("utf-8", "surrogateescape")
        lines = [line.rstrip("\n") for line in text.split("\n")[:2]]
    names = (*VARIABLES, *SCHEDULER_VARIABLES)
    return Surroundings(
        variables={name: os.environ[name] for name in names if name in os.environ},
        system="|".join([platform.release(), *lines]),
    )


def foreseen(script: ProbedScript, surroundings: Surroundings | None, quoted: Quoted) -> str:
    """Lines before the subshell: ``noted`` is the hash where the environment is the one that is foreseen.

    Looked for in this way it costs a job a twentieth of a millisecond, and else a third of one.
    """
    if surroundings is None:
        return "noted="
    base = surroundings.variables
    inside = dict(base)
    if script.path:
        inside["PATH"] = f"{script.path}:{base.get('PATH', '')}"
    inside |= {name: value for name, value in script.env.items() if name in VARIABLES + SCHEDULER_VARIABLES}
    key = "|".join([surroundings.system, _joined(inside), _words(script.command)])
    if "\n" in key or "\n" in _joined(base):
        return "noted="
    digest = hashlib.sha256(os.fsencode(key)).hexdigest()
    return _FORESEEN.format(
        now=f'"{_SHELL_JOINED}"', base=quoted(_joined(base)), known=f"../../../environments/{digest}.known"
    )


def probe(script: ProbedScript, quoted: Quoted) -> str:
    """Lines between the preparations and the command."""
    own = _own_python(script.command)
    words = [quoted(word) for word in (*own, "python", "python3")]
    return _FIND.format(
        most=MOST_KNOWN,
        pythons=" ".join(dict.fromkeys(words)),
        patience=PATIENCE_S,
        least=LEAST_MEMORY_MIB,
        room=ROOM_MIB,
        program=quoted(script.command[0]),
        variables=" ".join(VARIABLES),
        scheduler=" ".join(SCHEDULER_VARIABLES),
        key=f'"$_ms_kernel|$_ms_os|$_ms_release|{_SHELL_JOINED}|"{quoted(_words(script.command))}',
        look=quoted(_LOOK),
    )


def noted() -> str:
    """Lines after the command: what was found goes into the exit record."""
    return _NOTED


class ProbedScript(Protocol):
    """What of a script tells what it runs in."""

    @property
    def command(self) -> Sequence[str]: ...

    @property
    def env(self) -> Mapping[str, str]: ...

    @property
    def path(self) -> str | None: ...


_SHELL_JOINED: Final = "|".join(f"${{{name}-}}" for name in (*VARIABLES, *SCHEDULER_VARIABLES))


def _joined(variables: Mapping[str, str]) -> str:
    return "|".join(variables.get(name, "") for name in (*VARIABLES, *SCHEDULER_VARIABLES))


def _words(command: Sequence[str]) -> str:
    """What of a command tells one environment from another."""
    return " ".join((command[0], *_own_python(command)))


def _own_python(command: Sequence[str]) -> list[str]:
    return [word for word in command if _PYTHON.fullmatch(word)][:1]
