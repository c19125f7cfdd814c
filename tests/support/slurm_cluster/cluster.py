"""The private Slurm as a whole: start and stop it, ask it, break it and mend it."""

import fcntl
import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

import attrs

from tests.support.polling import is_soon
from tests.support.ports import release_ports, reserve_ports
from tests.support.slurm_cluster.config import ClusterConfig, ClusterOptions, check_directory, current_user
from tests.support.slurm_cluster.daemons import (
    ClusterError,
    Daemons,
    await_answer,
    plain_environment,
    require_programs,
)

_USABLE: Final = frozenset({"idle", "mixed", "allocated", "completing"})


@attrs.frozen
class ClusterStatus:
    """What lives and what answers."""

    daemons: Mapping[str, int | None]  # their pids; None for one that is down
    controller_answers: bool
    nodes: Mapping[str, str]  # their states in Slurm's words; empty when the controller does not answer

    @property
    def is_up(self) -> bool:
        """Whether every daemon lives and the controller answers; nodes may be down."""
        return self.controller_answers and None not in self.daemons.values()


@attrs.frozen
class SlurmCluster:
    """A cluster in a folder; every method takes effect before it returns.

    Nothing of it is kept in this process: another one may `open` the same folder, and a cluster goes on when
    the process that started it ends, unless it is guarded.
    """

    config: ClusterConfig

    @property
    def _daemons(self) -> Daemons:
        return Daemons(self.config)

    # ---- start and stop

    @classmethod
    def start(
        cls,
        directory: Path,
        *,
        nodes: int = 3,
        cpus: int = 4,
        memory_mib: int = 4000,
        accounting: bool = False,
        cgroup: bool = False,
        prefix: str = "n",
        settings: Mapping[str, str] | None = None,
        guarded: bool = False,
    ) -> Self:
        """Start a new cluster, with no job and job ids from 1, and wait until every node can be used.

        Args:
            directory: made if it does not exist; else it is empty, or holds a cluster that was stopped, of
                which nothing is kept.
            settings: keys of slurm.conf that replace ours or add to them.
            guarded: stop and purge the cluster when this process ends, however it ends.

        Raises:
            ClusterError: programs are missing (the message holds the line that installs them), or a daemon
                did not start (the message holds the end of its log).  Nothing is left running.
        """
        options = ClusterOptions(nodes, cpus, memory_mib, accounting, cgroup, prefix, dict(settings or {}))
        require_programs(options)
        directory = directory.resolve()
        check_directory(directory)
        directory.mkdir(parents=True, exist_ok=True)
        with _locked(directory):
            if ClusterConfig.exists(directory):
                previous = cls.open(directory)
                if previous._daemons.is_any_running:
                    raise ClusterError(f"{directory} holds a running cluster: stop it first")
                previous._remove_state()
            elif any(directory.iterdir()):
                raise ClusterError(f"{directory} is not empty, and holds no cluster")
            cluster = cls(ClusterConfig(directory, reserve_ports(directory, _is_in_use), options))
            cluster._bring_up(guarded)
        return cluster

    @classmethod
    def open(cls, directory: Path) -> Self:
        """The cluster that was started in a folder, running or not.

        Raises:
            ClusterError: there is none.
        """
        try:
            return cls(ClusterConfig.load(directory.resolve()))
        except FileNotFoundError:
            raise ClusterError(f"{directory} holds no cluster") from None

    def stop(self, *, purge: bool = False) -> None:
        """End every daemon, step and job, and free the ports; with ``purge``, delete the folder as well.

        Does nothing to a cluster that is down.
        """
        if not self.config.directory.exists():
            return
        with _locked(self.config.directory):
            self._daemons.kill_all()
            release_ports(self.config.directory, self.config.base_port)
            if purge:
                shutil.rmtree(self.config.directory)

    def restart(self) -> None:
        """Throw away all jobs and all state, and start again with the same ports and options."""
        with _locked(self.config.directory):
            guarded = self._daemons.guard.process is not None
            self._daemons.kill_all()
            self._remove_state()
            self._bring_up(guarded)

    # ---- use

    def environment(self) -> dict[str, str]:
        """The variables that make Slurm's commands ask this cluster."""
        return {"SLURM_CONF": str(self.config.slurm_conf)}

    def run(
        self, *command: str, timeout_s: float = 30.0, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command against this cluster.

        Raises:
            ClusterError: it failed, and ``check`` is set.
            subprocess.TimeoutExpired: it took longer than ``timeout_s``, and was killed.
        """
        done = subprocess.run(
            command,
            env=plain_environment() | self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if check and done.returncode != 0:
            said = (done.stderr or done.stdout).strip()
            raise ClusterError(f"{shlex.join(command)} ended with {done.returncode}: {said}")
        return done

    def output(self, *command: str) -> str:
        """What a command that succeeds prints, without white space around it."""
        return self.run(*command).stdout.strip()

    def status(self) -> ClusterStatus:
        """Look at every daemon, and ask the controller."""
        found = {daemon.name: daemon.process for daemon in self._daemons.all()}
        pids = {name: None if process is None else process.pid for name, process in found.items()}
        answers = found["slurmctld"] is not None and self._controller_answers()
        return ClusterStatus(pids, answers, self._node_states() if answers else {})

    def wait_idle(self, timeout_s: float = 30.0) -> None:
        """Wait until no job is left and every node is idle.

        Raises:
            ClusterError: that took longer than ``timeout_s``; the message shows what is left.
        """
        if not is_soon(self._is_idle, timeout_s):
            jobs = self.run("squeue", "--all", check=False)
            nodes = self.run("sinfo", "--Node", "--long", check=False)
            raise ClusterError(f"not idle after {timeout_s:g} s:\n{jobs.stdout}\n{nodes.stdout}")

    def cancel_all_jobs(self) -> None:
        """Ask Slurm to cancel every job of every user; `wait_idle` tells when they have ended."""
        jobs = sorted(set(self.output("squeue", "--noheader", "--all", "--format=%F").split()), key=int)
        if jobs:
            self.run("scancel", *jobs, check=False)  # it complains of a job that ends at this very moment

    def end_walltimes(self, jobs: Iterable[str]) -> None:
        """Have Slurm find that the walltimes of running jobs are over: it ends them within half a minute.

        A walltime has at least a minute, and is looked at every 30 s.
        """
        for job in jobs:
            self.run("scontrol", "update", f"JobId={job}", "EndTime=now+1")

    def repair(self) -> None:
        """Undo every outage: all daemons live, the controller answers, and all nodes can be used."""
        self.continue_controller()
        self._daemons.start_munge()
        if self.config.options.accounting:
            self._daemons.start_database()
            self.start_accounting()
        self.start_controller()
        states = self._node_states()
        for node in self.config.nodes:
            if self._daemons.node(node).process is None or states.get(node) not in _USABLE:
                self.resume_node(node)

    # ---- outages

    def kill_controller(self) -> None:
        """SIGKILL slurmctld: what it had not saved is lost.  Jobs go on."""
        self._daemons.controller.stop(signal.SIGKILL)

    def start_controller(self) -> None:
        """Start slurmctld from its saved state, and wait until it answers; nothing when it is running."""
        self._daemons.start_controller()
        await_answer(self._daemons.controller, self._controller_answers, 15)

    def stop_controller_answering(self) -> None:
        """SIGSTOP slurmctld: it takes connections and never answers."""
        process = self._daemons.controller.process
        if process is None:
            raise ClusterError("slurmctld is down: it cannot hang")
        process.send(signal.SIGSTOP)
        if not is_soon(lambda: process.is_stopped, 5):
            raise ClusterError(f"slurmctld, pid {process.pid}, did not stop")

    def continue_controller(self) -> None:
        """SIGCONT slurmctld: it answers what was asked in the meantime.  Nothing when it was not stopped."""
        process = self._daemons.controller.process
        if process is not None:
            process.send(signal.SIGCONT)

    def kill_munge(self) -> None:
        """SIGKILL munged: nobody can prove any more who they are, and every command is refused."""
        self._daemons.munge.stop(signal.SIGKILL)
        self.config.munge_socket.unlink(missing_ok=True)  # the next one is there when its socket is

    def start_munge(self) -> None:
        """Start munged, and wait for its socket; nothing when it is running."""
        self._daemons.start_munge()

    def save_jobs(self, timeout_s: float = 30.0) -> None:
        """Have the controller save its jobs as they are now: when it is killed it forgets what is newer.

        It does so within some seconds of a change; a job that comes and goes is one.
        """
        saved, now = self.config.state / "job_state", time.time()
        self.run(
            "scancel", self.output("sbatch", "--parsable", "--hold", "--output=/dev/null", "--wrap=true")
        )
        if not is_soon(lambda: saved.exists() and saved.stat().st_mtime > now, timeout_s):
            raise ClusterError(f"the controller saved nothing within {timeout_s:g} s")

    def kill_accounting(self) -> None:
        """SIGKILL slurmdbd: sacct fails, the controller keeps its records for later."""
        self._require_accounting()
        self._daemons.accounting.stop(signal.SIGKILL)

    def start_accounting(self) -> None:
        """Start slurmdbd, and wait until it answers; nothing when it is running."""
        self._require_accounting()
        self._daemons.start_accounting()
        daemon, port = self._daemons.accounting, self.config.accounting_port
        await_answer(daemon, lambda: _accepts_connections(port), 15)
        await_answer(daemon, lambda: self._succeeds("sacctmgr", "-n", "show", "cluster"), 10)

    def fail_node(self, node: str, *, silent: bool = False) -> None:
        """A node breaks: its slurmd, its steps and its jobs are gone.

        Slurm is told; with ``silent`` it finds out by itself, after SlurmdTimeout (15 s).
        """
        daemon = self._daemons.node(node)
        daemon.stop(signal.SIGKILL)
        self._daemons.kill_jobs([node])
        if not silent:
            self.run("scontrol", "update", f"nodename={node}", "state=down", "reason=broken on purpose")

    def resume_node(self, node: str) -> None:
        """Start a node's slurmd if it is down, and wait until Slurm uses the node again."""
        daemon, port = self._daemons.node(node), self.config.node_port(node)
        running = daemon.process
        if running is not None:
            running.send(signal.SIGHUP)  # it registers at once: a restarted controller may not know it yet
        self._daemons.start_node(node)
        await_answer(daemon, lambda: _accepts_connections(port), 5)

        def is_usable() -> bool:
            if self._node_states().get(node) in _USABLE:
                return True
            # Refused for as long as the controller has not heard of the node's slurmd.
            self.run("scontrol", "update", f"nodename={node}", "state=resume", check=False)
            return False

        await_answer(daemon, is_usable, 20)

    # ---- the rest

    def _bring_up(self, guarded: bool) -> None:
        """Make the folder and start everything in it, or leave nothing running."""
        config = self.config
        try:
            config.directory.chmod(0o755)  # jobs of other users read and write below it
            for name in ("etc", "run", "log", "spool", "state", "munge"):
                private = name in {"state", "munge"}
                (config.directory / name).mkdir(mode=0o700 if private else 0o755, exist_ok=True)
            config.write()
            config.save()
            if guarded:
                self._daemons.start_guard()
            self._daemons.start_munge()
            if config.options.accounting:
                self._daemons.start_database()
                self.start_accounting()
                self._register()
            self.start_controller()
            for node in config.nodes:
                self._daemons.start_node(node)
            await_answer(self._daemons.controller, self._all_nodes_are_usable, 20)
        except BaseException:
            self._daemons.kill_all()
            release_ports(config.directory, config.base_port)
            raise

    def _register(self) -> None:
        """Make the cluster, and the accounts whose users may run jobs, known to accounting."""
        self.run("sacctmgr", "-i", "add", "cluster", self.config.name)
        self.run("sacctmgr", "-i", "add", "account", "test", "Description=test", "Organization=test")
        users = sorted({"nobody", current_user()} - {"root"})  # root is there from the beginning
        self.run("sacctmgr", "-i", "add", "user", ",".join(users), "account=test")

    def _remove_state(self) -> None:
        for entry in self.config.directory.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def _require_accounting(self) -> None:
        if not self.config.options.accounting:
            raise ClusterError(f"the cluster in {self.config.directory} was started without accounting")

    def _succeeds(self, *command: str) -> bool:
        return self.run(*command, check=False).returncode == 0

    def _controller_answers(self) -> bool:
        return " is UP" in self.run("scontrol", "ping", check=False).stdout

    def _node_states(self) -> dict[str, str]:
        """Slurm's words for the nodes, such as ``idle`` or ``down*``; empty when nobody answers."""
        lines = self.run("sinfo", "-h", "-N", "-p", "main", "-o", "%N %T", check=False).stdout.splitlines()
        return dict(line.split() for line in lines)

    def _all_nodes_are_usable(self) -> bool:
        states = self._node_states()
        return len(states) == self.config.options.nodes and _USABLE.issuperset(states.values())

    def _is_idle(self) -> bool:
        jobs = self.run("squeue", "--noheader", "--all", "--format=%i", check=False)
        no_job = jobs.returncode == 0 and not jobs.stdout.strip()
        return no_job and set(self._node_states().values()) == {"idle"}


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """One command at a time; the lock is on the folder itself, so that none stays behind in it."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)

    def is_locked() -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    try:
        if not is_soon(is_locked, 60):
            raise ClusterError(f"another process is starting or stopping the cluster in {directory}")
        yield
    finally:
        os.close(descriptor)


def _is_in_use(directory: Path) -> bool:
    return ClusterConfig.exists(directory) and SlurmCluster.open(directory)._daemons.is_any_running


def _accepts_connections(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
