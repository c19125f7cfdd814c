"""What a private Slurm is told: its folders, and the text of its configuration files.

Everything lies in one folder and listens on loopback only, so several clusters and a system's own Slurm do
not meet.  Waits are cut to what a test can afford; states, limits and refusals are those of a real cluster.
"""

import hashlib
import json
import os
import pwd
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

import attrs

CGROUP_MOUNT: Final = Path("/sys/fs/cgroup")
_LONGEST_DIRECTORY: Final = (
    70  # characters; slurmstepd makes a unix socket below it, and such a path is short
)

_SETTINGS: Final = """
AuthType=auth/munge
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmSchedLogLevel=0
SlurmctldDebug=verbose
SlurmdDebug=verbose
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=100
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0,bf_interval=1,default_queue_depth=1000,bf_max_job_test=1000
PriorityType=priority/basic
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MinJobAge=300
KillWait=2
CompleteWait=0
WaitTime=0
InactiveLimit=0
OverTimeLimit=0
JobRequeue=1
MessageTimeout=5
TCPTimeout=2
SlurmctldTimeout=30
SlurmdTimeout=15
BatchStartTimeout=10
ReturnToService=2
MaxJobCount=20000
MaxArraySize=10001
JobCompType=jobcomp/filetxt
SlurmdParameters=config_overrides
SlurmctldParameters=node_reg_mem_percent=0
"""

# main: the default.  short: a limit of one minute.  high preempts low (requeues it) and lowcancel (cancels
# it).  closed takes jobs and never starts them.  rootless refuses root.
_PARTITIONS: Final = """\
PartitionName=DEFAULT Nodes=ALL MaxTime=INFINITE DefaultTime=60 State=UP PriorityTier=10 PreemptMode=OFF
PartitionName=main Default=YES
PartitionName=short MaxTime=1 DefaultTime=1
PartitionName=low PriorityTier=1 PreemptMode=REQUEUE
PartitionName=lowcancel PriorityTier=1 PreemptMode=CANCEL
PartitionName=high PriorityTier=100
PartitionName=closed State=DOWN
PartitionName=rootless DisableRootJobs=YES
"""

_CGROUP_CONF: Final = f"""\
CgroupPlugin=cgroup/v1
CgroupMountpoint={CGROUP_MOUNT}
ConstrainRAMSpace=yes
AllowedRAMSpace=100
"""


@attrs.frozen
class ClusterOptions:
    """What can be chosen about a cluster."""

    nodes: int = attrs.field(default=3, validator=[attrs.validators.ge(1), attrs.validators.le(38)])
    cpus: int = attrs.field(default=4, validator=attrs.validators.ge(1))  # of each node
    memory_mib: int = attrs.field(default=4000, validator=attrs.validators.ge(1))  # of each node
    accounting: bool = False  # slurmdbd and MariaDB, for sacct
    cgroup: bool = False  # real OUT_OF_MEMORY; needs cgroup v1, and clusters side by side need other prefixes
    prefix: str = attrs.field(
        default="n", validator=attrs.validators.matches_re("[a-z]+")
    )  # nodes: n1, n2, …
    settings: Mapping[str, str] = attrs.field(
        factory=dict
    )  # keys of slurm.conf that replace ours or add to them


@attrs.frozen
class ClusterConfig:
    """One cluster's folder, ports and options, and what follows from them."""

    directory: Path
    base_port: int
    options: ClusterOptions

    def save(self) -> None:
        self._file(self.directory).write_text(json.dumps([self.base_port, attrs.asdict(self.options)]))

    @classmethod
    def load(cls, directory: Path) -> Self:
        """The configuration that was saved in a folder.

        Raises:
            FileNotFoundError: the folder holds no cluster.
        """
        base_port, options = json.loads(cls._file(directory).read_text())
        return cls(directory, base_port, ClusterOptions(**options))

    @classmethod
    def exists(cls, directory: Path) -> bool:
        return cls._file(directory).is_file()

    @staticmethod
    def _file(directory: Path) -> Path:
        return directory / "cluster.json"

    @property
    def name(self) -> str:
        """Slurm's name of the cluster: unique to the folder, so that its jobs can be told from all others."""
        return "ms" + hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:12]

    @property
    def nodes(self) -> list[str]:
        return [f"{self.options.prefix}{i}" for i in range(1, self.options.nodes + 1)]

    @property
    def accounting_port(self) -> int:
        return self.base_port + 1

    def node_port(self, node: str) -> int:
        return self.base_port + 2 + self.nodes.index(node)

    @property
    def slurm_conf(self) -> Path:
        return self.directory / "etc" / "slurm.conf"

    @property
    def run(self) -> Path:
        return self.directory / "run"

    @property
    def log(self) -> Path:
        return self.directory / "log"

    def node_log(self, node: str) -> Path:
        return self.log / f"slurmd-{node}.log"

    def spool(self, node: str) -> Path:
        return self.directory / "spool" / node

    @property
    def state(self) -> Path:
        return self.directory / "state"

    @property
    def munge_socket(self) -> Path:
        return self.run / "munge.sock"

    @property
    def database(self) -> Path:
        return self.directory / "mysql"

    @property
    def database_scratch(self) -> Path:
        return self.directory / "mysql-tmp"

    @property
    def database_socket(self) -> Path:
        return self.run / "mysql.sock"

    def cgroups(self) -> list[Path]:
        """The cgroups that the nodes have now: one for each node and controller."""
        if not self.options.cgroup:
            return []
        return [path for node in self.nodes for path in CGROUP_MOUNT.glob(f"*/slurm_{node}")]

    def write(self) -> None:
        """Write the configuration files."""
        etc = self.slurm_conf.parent
        self.slurm_conf.write_text(slurm_conf_text(self))
        if self.options.accounting:
            slurmdbd_conf = etc / "slurmdbd.conf"
            slurmdbd_conf.touch(mode=0o600)  # slurmdbd refuses a file that others can read
            slurmdbd_conf.write_text(slurmdbd_conf_text(self))
        if self.options.cgroup:
            (etc / "cgroup.conf").write_text(_CGROUP_CONF)


def check_directory(directory: Path) -> None:
    """Refuse a folder whose name Slurm could not live with.

    Raises:
        ValueError: naming the folder and the rule.
    """
    if len(str(directory)) > _LONGEST_DIRECTORY:
        raise ValueError(
            f"{directory} is longer than {_LONGEST_DIRECTORY} characters; slurmstepd needs a short path"
        )
    if not re.fullmatch(r"[\w./+-]+", str(directory), re.ASCII):
        raise ValueError(f"{directory}: slurm.conf takes only letters, digits and ._+-/ in a path")


def slurm_conf_text(config: ClusterConfig) -> str:
    """The whole slurm.conf."""
    settings = _settings(config)
    ours = {key.lower(): key for key in settings}
    for key, value in config.options.settings.items():
        settings[ours.get(key.lower(), key)] = value
    options = config.options
    nodes = [
        f"NodeName={node} NodeHostname={node} NodeAddr=127.0.0.1 Port={config.node_port(node)}"
        f" CPUs={options.cpus} RealMemory={options.memory_mib} Feature=f{i},all State=UNKNOWN"
        for i, node in enumerate(config.nodes, 1)
    ]
    lines = [f"{key}={value}" for key, value in settings.items()]
    return "\n".join([*lines, *nodes, _PARTITIONS])


def slurmdbd_conf_text(config: ClusterConfig) -> str:
    """The whole slurmdbd.conf."""
    settings = {
        "AuthType": "auth/munge",
        "AuthInfo": _auth_info(config),
        "DbdHost": _host(),
        "DbdAddr": "127.0.0.1",
        "DbdPort": config.accounting_port,
        "SlurmUser": current_user(),
        "LogFile": config.log / "slurmdbd.log",
        "PidFile": config.run / "slurmdbd.own",
        "DebugLevel": "info",
        "CommitDelay": 0,
        "MessageTimeout": 5,
        "StorageType": "accounting_storage/mysql",
        "StorageHost": "localhost",
        "StorageUser": "root",
        "StorageLoc": "slurm_acct_db",
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def current_user() -> str:
    """Who runs the daemons."""
    return pwd.getpwuid(os.geteuid()).pw_name


def _settings(config: ClusterConfig) -> dict[str, str]:
    cgroup = config.options.cgroup
    settings = {
        "ClusterName": config.name,
        "SlurmctldHost": f"{_host()}(127.0.0.1)",
        "SlurmctldPort": str(config.base_port),
        "SlurmUser": current_user(),
        "SlurmdUser": current_user(),
        "AuthInfo": _auth_info(config),
        "StateSaveLocation": str(config.state),
        "SlurmdSpoolDir": str(config.spool("%n")),
        "SlurmctldPidFile": str(config.run / "slurmctld.own"),
        "SlurmdPidFile": str(config.run / "slurmd-%n.own"),
        "SlurmctldLogFile": str(config.log / "slurmctld.log"),
        "SlurmdLogFile": str(config.node_log("%n")),
        "JobCompLoc": str(config.directory / "jobcomp.log"),
        "ProctrackType": "proctrack/cgroup" if cgroup else "proctrack/linuxproc",
        "TaskPlugin": "task/cgroup" if cgroup else "task/none",
        **dict(line.split("=", 1) for line in _SETTINGS.split()),
    }
    if not cgroup:
        settings["JobAcctGatherParams"] = "OverMemoryKill"
    if config.options.accounting:
        settings |= {
            "AccountingStorageType": "accounting_storage/slurmdbd",
            "AccountingStorageHost": "127.0.0.1",
            "AccountingStoragePort": str(config.accounting_port),
            "AccountingStoragePass": str(config.munge_socket),
            "AccountingStorageEnforce": "associations,limits,qos",
            "AccountingStoreFlags": "job_comment,job_env,job_script",
        }
    else:
        settings["AccountingStorageType"] = "accounting_storage/none"
    return settings


def _host() -> str:
    return os.uname().nodename.partition(".")[0]


def _auth_info(config: ClusterConfig) -> str:
    return f"socket={config.munge_socket},ttl=300,cred_expire=5"
