"""The command line of the private Slurm, for a developer who wants to drive one by hand."""

import argparse
import shlex
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.support.process import Process
from tests.support.slurm_cluster.cluster import SlurmCluster
from tests.support.slurm_cluster.config import ClusterOptions
from tests.support.slurm_cluster.daemons import ClusterError

_PROGRAM: Final = "tests.support.slurm_cluster"


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return _COMMANDS[options.command](options)
    except (ClusterError, OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _up(options: argparse.Namespace) -> int:
    cluster = SlurmCluster.start(
        options.directory,
        nodes=options.nodes,
        cpus=options.cpus,
        memory_mib=options.memory_mib,
        accounting=options.accounting,
        cgroup=options.cgroup,
        prefix=options.prefix,
        settings=dict(options.set),
    )
    sys.stderr.write(
        f'up; eval "$({shlex.join(["python", "-m", _PROGRAM, "env", str(options.directory)])})"\n'
    )
    return 0 if cluster.status().is_up else 1


def _env(options: argparse.Namespace) -> int:
    for key, value in SlurmCluster.open(options.directory).environment().items():
        sys.stdout.write(f"export {key}={shlex.quote(value)}\n")
    return 0


def _status(options: argparse.Namespace) -> int:
    status = SlurmCluster.open(options.directory).status()
    for name, pid in status.daemons.items():
        sys.stdout.write(f"{name} {'down' if pid is None else f'up, pid {pid}'}\n")
    sys.stdout.write(f"the controller {'answers' if status.controller_answers else 'does not answer'}\n")
    for node, state in status.nodes.items():
        sys.stdout.write(f"{node} {state}\n")
    return 0 if status.is_up else 1


def _guard(options: argparse.Namespace) -> int:
    """Wait until a process has ended, then stop and purge: run by a cluster that is guarded."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    Process(options.pid, options.start_time).wait(None)
    SlurmCluster.open(options.directory).stop(purge=True)
    return 0


def _on_cluster(
    act: Callable[[SlurmCluster, argparse.Namespace], None],
) -> Callable[[argparse.Namespace], int]:
    def command(options: argparse.Namespace) -> int:
        act(SlurmCluster.open(options.directory), options)
        return 0

    return command


_COMMANDS: Final[Mapping[str, Callable[[argparse.Namespace], int]]] = {
    "up": _up,
    "down": _on_cluster(lambda cluster, options: cluster.stop(purge=options.purge)),
    "env": _env,
    "status": _status,
    "wait-idle": _on_cluster(lambda cluster, options: cluster.wait_idle(options.timeout_s)),
    "kill-controller": _on_cluster(lambda cluster, _: cluster.kill_controller()),
    "start-controller": _on_cluster(lambda cluster, _: cluster.start_controller()),
    "stop-controller-answering": _on_cluster(lambda cluster, _: cluster.stop_controller_answering()),
    "continue-controller": _on_cluster(lambda cluster, _: cluster.continue_controller()),
    "kill-munge": _on_cluster(lambda cluster, _: cluster.kill_munge()),
    "start-munge": _on_cluster(lambda cluster, _: cluster.start_munge()),
    "kill-accounting": _on_cluster(lambda cluster, _: cluster.kill_accounting()),
    "start-accounting": _on_cluster(lambda cluster, _: cluster.start_accounting()),
    "fail-node": _on_cluster(lambda cluster, options: cluster.fail_node(options.node, silent=options.silent)),
    "resume-node": _on_cluster(lambda cluster, options: cluster.resume_node(options.node)),
    "repair": _on_cluster(lambda cluster, _: cluster.repair()),
    "guard": _guard,
}


def _parser() -> argparse.ArgumentParser:
    defaults = ClusterOptions()
    parser = argparse.ArgumentParser(prog=f"python -m {_PROGRAM}", description="A private Slurm for tests.")
    commands = parser.add_subparsers(dest="command", required=True)
    by_name = {name: commands.add_parser(name) for name in _COMMANDS}
    for command in by_name.values():
        command.add_argument("directory", type=Path)
    up = by_name["up"]
    up.add_argument("--nodes", type=int, default=defaults.nodes)
    up.add_argument("--cpus", type=int, default=defaults.cpus, help="of each node")
    up.add_argument("--memory-mib", type=int, default=defaults.memory_mib, help="of each node")
    up.add_argument("--accounting", action="store_true", help="with slurmdbd and MariaDB, for sacct")
    up.add_argument("--cgroup", action="store_true", help="memory limits that are kept by the kernel")
    up.add_argument("--prefix", default=defaults.prefix, help="of the names of the nodes")
    up.add_argument("--set", action="append", default=[], type=_key_and_value, metavar="KEY=VALUE")
    by_name["down"].add_argument("--purge", action="store_true", help="delete the folder as well")
    by_name["wait-idle"].add_argument("timeout_s", type=float, nargs="?", default=30.0)
    by_name["fail-node"].add_argument("node")
    by_name["fail-node"].add_argument("--silent", action="store_true", help="let Slurm find out by itself")
    by_name["resume-node"].add_argument("node")
    by_name["guard"].add_argument("pid", type=int)
    by_name["guard"].add_argument("start_time", type=int)
    return parser


def _key_and_value(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


if __name__ == "__main__":
    sys.exit(main())
