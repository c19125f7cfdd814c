"""The daemons of a private Slurm: how each is started, and how all of them are ended.

Only processes that a pid file of the cluster's folder names, and its steps and jobs, are ever signalled.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs

from tests.support.polling import is_soon
from tests.support.process import Daemon, Process, killed
from tests.support.slurm_cluster.config import CGROUP_MOUNT, ClusterConfig, ClusterOptions, current_user
from tests.support.slurm_cluster.jobs import NODE_VARIABLE, OWNER_VARIABLE, job_processes

# Debian keeps daemons where a user's PATH does not look.
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PACKAGES: Final = ("slurmctld", "slurmd", "slurm-client", "munge")
_ACCOUNTING_PACKAGES: Final = ("slurmdbd", "mariadb-server-core", "slurm-wlm-mysql-plugin")
_PROGRAMS: Final = ("slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "sinfo", "scancel", "munged")
_ACCOUNTING_PROGRAMS: Final = ("slurmdbd", "mariadbd", "sacct", "sacctmgr")
_ACCOUNTING_PLUGIN: Final = "*/slurm*/accounting_storage_mysql.so"  # below /usr/lib
_DATABASE_SWITCHES: Final = (
    "--skip-grant-tables",
    "--skip-networking",
    "--skip-log-bin",
    "--skip-name-resolve",
)
_SYSTEM_TABLES: Final = Path("/usr/share/mysql/mysql_system_tables.sql")

# Variables by which a user, or a job that we run in, steers Slurm's commands, begin with these.
SLURM_VARIABLES: Final = (
    "SLURM",
    "SBATCH_",
    "SQUEUE_",
    "SACCT_",
    "SINFO_",
    "SCANCEL_",
    "SALLOC_",
    "SCONTROL_",
)


class ClusterError(Exception):
    """The private Slurm did not start, or does not do what it was told; the message says what to do."""


@attrs.frozen
class Daemons:
    """The daemons of one cluster.  ``start_…`` does nothing for one that is running."""

    config: ClusterConfig

    @property
    def munge(self) -> Daemon:
        return self._daemon("munged")

    @property
    def database(self) -> Daemon:
        return self._daemon("mariadbd")

    @property
    def accounting(self) -> Daemon:
        return self._daemon("slurmdbd")

    @property
    def controller(self) -> Daemon:
        return self._daemon("slurmctld")

    def node(self, node: str) -> Daemon:
        if node not in self.config.nodes:
            raise ClusterError(f"no node {node}; there are {', '.join(self.config.nodes)}")
        return self._daemon(f"slurmd-{node}")

    def _daemon(self, name: str) -> Daemon:
        run, log = self.config.run, self.config.log
        return Daemon(name, run / f"{name}.pid", log / f"{name}.out", log / f"{name}.log")

    @property
    def guard(self) -> Daemon:
        """Stops the cluster when the process that started it has ended."""
        return self._daemon("guard")

    def all(self) -> list[Daemon]:
        """All that a running cluster has, in the order in which they start."""
        accounting = [self.database, self.accounting] if self.config.options.accounting else []
        return [self.munge, *accounting, *map(self.node, self.config.nodes), self.controller]

    @property
    def is_any_running(self) -> bool:
        return any(daemon.process is not None for daemon in self.all())

    def start_guard(self) -> None:
        """Have another process stop and purge the cluster when this one has ended."""
        myself = Process.of(os.getpid())
        assert myself is not None
        command = [sys.executable, "-m", __package__, "guard"]
        command += [str(self.config.directory), str(myself.pid), str(myself.start_time)]
        project = str(Path(__file__).parents[3])
        self.guard.start(command, plain_environment() | {"PYTHONPATH": project})

    def start_munge(self) -> None:
        """Start munged, with a key of its own, and wait for its socket."""
        config, folder = self.config, self.config.directory / "munge"
        key = folder / "munge.key"
        if not key.exists():
            key.touch(mode=0o600)
            key.write_bytes(os.urandom(1024))
        options = {
            "socket": config.munge_socket,
            "key-file": key,
            "seed-file": folder / "seed",
            "log-file": config.log / "munged.log",
            "pid-file": config.run / "munged.own",
            "num-threads": 4,
        }
        # --force: the folders above are not as private as munged wants them for a system's key
        command = ["munged", "--foreground", "--force", *_long(options)]
        self.munge.start(command, self._environment())
        await_answer(self.munge, config.munge_socket.is_socket, 5)

    def start_database(self) -> None:
        """Make the database if there is none, start MariaDB, and wait for its socket."""
        command = ["mariadbd", "--no-defaults", *_long(self._database_options()), *_DATABASE_SWITCHES]
        self.config.database_scratch.mkdir(mode=0o700, exist_ok=True)
        if not self.config.database.exists():
            self._make_database(command)
        if self.database.process is None:
            self.config.database_socket.unlink(missing_ok=True)
        self.database.start(command, self._environment())
        await_answer(self.database, self.config.database_socket.is_socket, 15)

    def _make_database(self, command: Sequence[str]) -> None:
        self.config.database.mkdir(mode=0o700)
        made = subprocess.run(
            [*command, "--bootstrap"],
            env=self._environment(),
            input=f"create database mysql;\nuse mysql;\n{_SYSTEM_TABLES.read_text()}",
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode != 0:
            raise ClusterError(f"MariaDB made no database:\n{made.stderr}")

    def _database_options(self) -> dict[str, object]:
        return {
            "datadir": self.config.database,
            # One that starts removes what looks like a temporary table there, also another one's.
            "tmpdir": self.config.database_scratch,
            "user": current_user(),
            "socket": self.config.database_socket,
            "pid-file": self.config.run / "mariadbd.own",
            "innodb-buffer-pool-size": "64M",
            "innodb-log-file-size": "16M",
            "innodb-flush-log-at-trx-commit": 2,
            "innodb-flush-method": "O_DIRECT_NO_FSYNC",  # it need not outlive the machine
            "innodb-lock-wait-timeout": 900,
            "performance-schema": "OFF",
            "log-warnings": 1,
        }

    def start_accounting(self) -> None:
        """Start slurmdbd, without waiting for it."""
        self.accounting.start(["slurmdbd", "-D"], self._environment())

    def start_controller(self) -> None:
        """Start slurmctld, without waiting for it."""
        self.controller.start(["slurmctld", "-D"], self._environment())

    def start_node(self, node: str) -> None:
        """Start the slurmd of a node, without waiting for it."""
        self.config.spool(node).mkdir(mode=0o755, exist_ok=True)
        self.node(node).start(["slurmd", "-D", "-N", node], self._environment() | {NODE_VARIABLE: node})

    def kill_all(self) -> None:
        """End all processes of this cluster; its state is as after a power cut."""
        guard = self.guard.process
        if guard is not None and guard.pid != os.getpid():
            self.guard.stop(signal.SIGKILL)
        self.controller.stop(signal.SIGKILL)
        for node in self.config.nodes:
            self.node(node).stop(signal.SIGKILL)
        self.kill_jobs(self.config.nodes)
        for daemon in (self.accounting, self.database, self.munge):
            daemon.stop(signal.SIGKILL)
        # A cgroup is busy until init has taken note of the last death in it.
        if not is_soon(self._remove_cgroups, 10):
            raise ClusterError(f"cgroups of the cluster in {self.config.directory} are still busy")

    def _remove_cgroups(self) -> bool:
        for top in self.config.cgroups():
            for folder, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    Path(folder).rmdir()
        return not self.config.cgroups()

    def kill_jobs(self, nodes: Collection[str]) -> None:
        """SIGKILL all steps and jobs on some nodes: in rounds, as they may be starting more meanwhile.

        Steps first: one that outlived its job would tell the controller of that job's end.
        """
        daemons = (daemon.process for daemon in [*self.all(), self.guard])
        spared = {process.pid for process in daemons if process is not None} | {os.getpid()}
        doomed: set[Process] = set()
        for _ in range(20):
            doomed = job_processes(self.config, nodes, spared)
            if not doomed:
                return
            killed(sorted(doomed, key=lambda process: not _is_step(process)))
        raise ClusterError(f"still running after SIGKILL: {doomed}")

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": _PATH,
            "LC_ALL": "C",
            "SLURM_CONF": str(self.config.slurm_conf),
            "MYSQL_UNIX_PORT": str(self.config.database_socket),
            OWNER_VARIABLE: str(self.config.directory),
        }


def await_answer(daemon: Daemon, is_answering: Callable[[], bool], timeout_s: float) -> None:
    """Wait for what a daemon does once it has come up.

    Raises:
        ClusterError: it ended, or took longer than ``timeout_s``; the message holds the end of its log.
    """
    if is_soon(lambda: is_answering() or daemon.process is None, timeout_s) and daemon.process is not None:
        return
    what = "ended" if daemon.process is None else f"does not answer within {timeout_s:g} s"
    raise ClusterError(f"{daemon.name} {what}; it said last:\n{daemon.last_words()}")


def _is_step(process: Process) -> bool:
    return Path(process.executable).name.startswith("slurmstepd")  # Debian's is called slurmstepd-wlm


def _long(options: Mapping[str, object]) -> list[str]:
    return [f"--{name}={value}" for name, value in options.items()]


def plain_environment() -> dict[str, str]:
    """Our environment without what steers Slurm's commands, and with the real ones first on the PATH."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith(SLURM_VARIABLES)}
    return plain | {"PATH": f"{_PATH}:{os.environ.get('PATH', '')}"}


def require_programs(options: ClusterOptions) -> None:
    """Check that everything is installed.

    Raises:
        ClusterError: naming what is missing, and the line that installs it.
    """
    programs, packages = [*_PROGRAMS], [*_PACKAGES]
    if options.accounting:
        programs += _ACCOUNTING_PROGRAMS
        packages += _ACCOUNTING_PACKAGES
    missing = [program for program in programs if shutil.which(program, path=_PATH) is None]
    if options.accounting and not any(Path("/usr/lib").glob(_ACCOUNTING_PLUGIN)):
        missing.append(Path(_ACCOUNTING_PLUGIN).name)
    if missing:
        raise ClusterError(
            f"missing for a private Slurm: {', '.join(missing)}; as root:\n"
            "    apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes"
            f" --no-install-recommends {' '.join(packages)}"
        )
    if options.cgroup and not all((CGROUP_MOUNT / name).is_dir() for name in ("freezer", "memory")):
        raise ClusterError(f"no cgroup v1 controllers freezer and memory below {CGROUP_MOUNT}")
