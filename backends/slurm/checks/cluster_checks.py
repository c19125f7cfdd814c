"""A Slurm cluster: does it answer, how fast, and what can this user have of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import attrs
import trio

from matterstack.backends.examination import COMMAND_S, Finding
from matterstack.backends.slurm import programs
from matterstack.backends.slurm.config import SlurmBackendConfig
from matterstack.backends.slurm.partition_limits import ClusterLimits, NodeKind, Partition
from matterstack.backends.slurm.partitions import Submitter, read_limits, read_partitions, this_user
from matterstack.backends.slurm.ssh import shell
from matterstack.backends.slurm.ssh.connection import Connection
from matterstack.core.errors import BackendError
from matterstack.core.model.resources import Resources

MOST_SKEW_S: Final = 5.0
"""Between two clocks, in seconds; munge refuses at 300, and times in histories are confusing long before."""
NOT_SET_UP: Final = "Could not establish a configuration source"
MUNGE_ACTION: Final = (
    "munged must run on this machine, with the cluster's key: tell its administrators; runs wait"
)
_AS_OF: Final = re.compile(r"Configuration data as of (\S+)")
_SLOW_S: Final = 5.0


@attrs.frozen
class Cluster:
    """A Slurm as seen from this machine, or from a host behind ssh.

    Attributes:
        connection: to where its commands run; None: they run here.
        backends: those of the configs that use it, by a name for people.
        needed: those of them without which some workspace cannot run at all.
    """

    connection: Connection | None
    backends: Mapping[str, SlurmBackendConfig]
    needed: frozenset[str] = frozenset()

    @property
    def suffix(self) -> str:
        """What tells its checks from those of others."""
        return "" if self.connection is None else f" on {self.connection.host}"

    @property
    def submitter(self) -> Submitter | None:
        """Whose jobs they would be, where that is known."""
        return this_user() if self.connection is None else None

    async def run(self, *argv: str) -> programs.Finished:
        """Run a command of Slurm on that cluster."""
        if self.connection is None:
            return await programs.run(argv, timeout_s=COMMAND_S)
        reply = await self.connection.bash(shell.RUN, *argv, timeout_s=COMMAND_S, what=argv[0])
        return programs.Finished(reply.exit_code or 0, reply.stdout.decode(errors="replace"), reply.stderr)

    async def ask(self, argv: Sequence[str]) -> str:
        """What it printed; raises BackendError."""
        done = await self.run(*argv)
        if done.exit_code != 0:
            raise BackendError(f"{argv[0]}: {done.complaint}")
        return done.stdout


async def examine_cluster(cluster: Cluster) -> list[Finding]:
    """All that can be asked of it, a few questions at once."""
    version = await _version(cluster)
    if not version.ok or not version.detail.startswith("slurm"):
        return [version]
    parts: dict[str, list[Finding]] = {}

    async def controller() -> None:
        parts["controller"] = await _controller(cluster)

    async def accounting() -> None:
        parts["accounting"] = await _accounting(cluster)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(controller)
        nursery.start_soon(accounting)
    return [version, *parts["controller"], *parts["accounting"]]


async def _version(cluster: Cluster) -> Finding:
    name = f"slurm{cluster.suffix}"
    users = ", ".join(sorted(cluster.needed))
    spared = f"no workspace needs it (backends of it: {', '.join(sorted(cluster.backends)) or 'none'})"
    try:
        done = await cluster.run("sinfo", "--version")
    except BackendError as error:
        if not users:
            told = "not installed here" if error.hint else str(error)  # there is no such command
            return Finding(name, True, f"{told}, and {spared}")
        action = "run MatterStack where Slurm's commands are (a login node), or load its module first"
        return Finding(name, False, f"{error} (for: {users})", action)
    if NOT_SET_UP in done.stderr:
        told = "its commands are here, but no configuration (slurm.conf)"
        if not users:
            return Finding(name, True, f"{told}, and {spared}")
        return Finding(name, False, f"{told} (for: {users})", "set SLURM_CONF, or run on a login node")
    lines = done.stdout.split("\n")
    word = next((line.strip() for line in lines if line.startswith("slurm")), "")
    if not word:
        return Finding(
            name, False, f"sinfo --version: {done.complaint}", "see whether sinfo is that of Slurm"
        )
    return Finding(name, True, word)


async def answers(cluster: Cluster) -> bool:
    """Whether the controller takes queries."""
    return " is UP" in (await cluster.run("scontrol", "ping")).stdout


async def _controller(cluster: Cluster) -> list[Finding]:
    name = f"controller{cluster.suffix}"
    action = "runs wait and go on when it is back; if it lasts, tell the cluster's administrators"
    try:
        ping = await cluster.run("scontrol", "ping")
        states = [line.strip() for line in ping.stdout.split("\n") if line.startswith("Slurmctld")]
        if not any(state.endswith(" is UP") for state in states):
            if munge := _about_munge(ping):
                return [Finding(name, False, munge, MUNGE_ACTION)]
            return [Finding(name, False, "; ".join(states) or ping.complaint, action)]
        asked = trio.current_time()
        await cluster.ask(("squeue", "--me", "--noheader", "--format=%i"))
        took_s = trio.current_time() - asked
    except BackendError as error:
        return [Finding(name, False, str(error), action)]
    up = next(state for state in states if state.endswith(" is UP"))
    answers = Finding(name, True, f"{up}; squeue took {took_s * 1000:.0f} ms")
    if took_s > _SLOW_S:
        slow = "set poll_interval_s of the backend to a minute or more: the controller is busy"
        answers = Finding(name, False, answers.detail, slow)
    return [answers, *await _setup(cluster)]


async def _setup(cluster: Cluster) -> list[Finding]:
    """What the controller tells of itself: its clock, its partitions, and what backends make of them."""
    name = f"partitions{cluster.suffix}"
    try:
        settings_text = await cluster.ask(("scontrol", "show", "config"))
        now = datetime.now().astimezone()
        settings = _settings(settings_text)
        partitions = await read_partitions(cluster.ask, settings, cluster.submitter)
    except BackendError as error:
        return [Finding(name, False, str(error), "see whether a wrapper of the site changes what is printed")]
    found = [] if cluster.connection is not None else _clock(settings_text, now)
    found.append(Finding(name, True, "; ".join(described(partition) for partition in partitions)))
    for label, config in sorted(cluster.backends.items()):
        limits = await read_limits(cluster.ask, settings, config)
        found.append(_backend(f"backend {label}", limits))
    return found


def _settings(text: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in text.split("\n"))
    return {key.strip(): value.strip() for key, _, value in pairs}


def _clock(settings: str, now: datetime) -> list[Finding]:
    """The controller's clock, which it shows in whole seconds."""
    told = _AS_OF.search(settings)
    try:
        moment = datetime.fromisoformat(told[1]) if told else None
    except ValueError:
        moment = None
    if moment is None:
        return [Finding("clock of the controller", True, "it does not tell")]
    skew_s = (moment.astimezone() - now).total_seconds()
    return [skew_finding("clock of the controller", skew_s if abs(skew_s) > 1 else 0.0)]


def skew_finding(name: str, skew_s: float) -> Finding:
    """How far a clock is from that of this machine, in seconds; positive: ahead."""
    if abs(skew_s) <= MOST_SKEW_S:
        seen = f"{abs(skew_s):.0f} s {'ahead' if skew_s > 0 else 'behind'}" if round(skew_s) else "the same"
        return Finding(name, True, f"{seen} as far as can be told")
    seen = f"{abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} that of this machine"
    return Finding(name, False, seen, "have both set their clocks by NTP: see timedatectl")


def _backend(name: str, limits: ClusterLimits) -> Finding:
    """Whether a job that asks for nothing special could run with the defaults of a config."""
    if limits.unread:
        return Finding(name, True, f"its limits cannot be read: {limits.unread}")
    least = Resources()
    wrong = limits.excess(least)
    if wrong is not None:
        return Finding(
            name, False, f"it can never give {wrong}", f"change what {name} asks for in config.json"
        )
    partition = limits.defaults.get("partition")
    if partition is None:
        action = f'set "partition" of {name} in config.json, or of each task'
        return Finding(name, False, "it names no partition, and the cluster has no default one", action)
    closed = limits.closed(least)
    if closed is not None:
        return Finding(name, False, closed, "wait until it is up again, or name another partition")
    asked = ", ".join(f"{field} {value}" for field, value in limits.defaults.items())
    return Finding(name, True, f"jobs go to {asked}")


def described(partition: Partition) -> str:
    """One partition in a few words."""
    words = [" + ".join(_nodes(partition.nodes)) or "no nodes"]
    if partition.walltime_s is not None:
        words.append(f"at most {_duration(partition.walltime_s)}")
    if partition.most_nodes is not None:
        words.append(f"at most {partition.most_nodes} nodes")
    if partition.refusal:
        words.append(partition.refusal)
    if partition.state != "UP":
        words.append(partition.state)
    return f"{partition.name}{'*' if partition.is_default else ''} ({', '.join(words)})"


def _nodes(kinds: Sequence[NodeKind]) -> list[str]:
    counts: dict[str, int] = {}
    for kind in kinds:
        gpus = f", {kind.gpus} gpus" if kind.gpus else ""
        each = f"{kind.cpus} cpus, {kind.memory_mib} MiB{gpus}"
        counts[each] = counts.get(each, 0) + kind.count
    return [f"{count} x [{each}]" for each, count in counts.items()]


def _duration(seconds: int) -> str:
    days, rest = divmod(seconds, 86400)
    clock = f"{rest // 3600}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days} d {clock}" if days else clock


def _about_munge(done: programs.Finished) -> str:
    """What a command complained of that could not prove who asks; empty when that is not its trouble."""
    said = (part.strip() for part in done.complaint.split(";"))
    return next((part for part in said if part.startswith("Munge ")), "")


async def _accounting(cluster: Cluster) -> list[Finding]:
    name = f"accounting{cluster.suffix}"
    asked = trio.current_time()
    try:
        done = await cluster.run("sacct", "--allocations", "--parsable2", "--noheader", "--format=JobID")
    except BackendError as error:
        done = programs.Finished(1, "", str(error))
    took_s = trio.current_time() - asked
    if "accounting storage is disabled" in done.stderr:
        told = "the cluster keeps none; how jobs ended is read from their folders"
        return [Finding(name, True, told)]
    if done.exit_code != 0:
        if munge := _about_munge(done):
            return [Finding(name, False, munge, MUNGE_ACTION)]
        action = "runs go on without it; if it lasts, tell the cluster's administrators (slurmdbd)"
        return [Finding(name, False, done.complaint, action)]
    return [
        Finding(name, True, f"sacct took {took_s * 1000:.0f} ms"),
        *await _limits_of_user(cluster),
    ]


_ASSOCIATION: Final = (
    "Account",
    "Partition",
    "QOS",
    "MaxJobs",
    "MaxSubmitJobs",
    "MaxWall",
    "MaxTRES",
    "GrpSubmitJobs",
)
_QOS: Final = ("Name", "MaxJobsPerUser", "MaxSubmitJobsPerUser", "MaxWall", "MaxTRESPerUser")


async def _limits_of_user(cluster: Cluster) -> list[Finding]:
    """What associations and QOS allow; at some sites users may not read them, which is no problem."""
    name = f"your limits{cluster.suffix}"
    try:
        user = (await cluster.ask(("id", "-un"))).strip()
        show = ("sacctmgr", "--noheader", "--parsable2", "show")
        associations = await cluster.ask((*show, "assoc", f"user={user}", f"format={','.join(_ASSOCIATION)}"))
        qos = await cluster.ask((*show, "qos", f"format={','.join(_QOS)}"))
    except BackendError as error:
        return [Finding(name, True, f"cannot be read: {error}")]
    rows = [_row(_ASSOCIATION, line) for line in associations.splitlines() if "|" in line]
    if not rows:
        action = "ask the cluster's administrators for an account (sacctmgr add user)"
        return [Finding(name, False, f"user {user} has no account in the accounting", action)]
    own = {word for row in rows for word in row.get("QOS", "").split(",")}
    levels = (_row(_QOS, line) for line in qos.splitlines() if "|" in line)
    said = [
        *(f"account {row['Account']}: {_limits(row, _ASSOCIATION[3:])}" for row in rows),
        *(f"qos {row['Name']}: {_limits(row, _QOS[1:])}" for row in levels if row["Name"] in own),
    ]
    return [Finding(name, True, "; ".join(said))]


def _row(fields: Sequence[str], line: str) -> dict[str, str]:
    return dict(zip(fields, line.split("|"), strict=False))


def _limits(row: Mapping[str, str], fields: Sequence[str]) -> str:
    return ", ".join(f"{field} {row[field]}" for field in fields if row.get(field)) or "no limits"
