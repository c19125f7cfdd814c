"""Real shells complete the command, once they were told to by the lines of the documentation."""

import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import attrs
import pytest

from tests.support.command import COMMAND, PATIENCE_S

pytestmark = pytest.mark.usefixtures("processes")

PAGE: Final = Path(__file__).parents[2] / "docs" / "how-to" / "shell-completion.md"
SHELLS: Final = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "--interactive"],
}
PREPARED: Final = {
    "bash": "bind 'set enable-bracketed-paste off'",
    "zsh": "autoload -U compinit && compinit -u -D",
    "fish": "function fish_prompt; end",
}
RUNS: Final = ("20260101T101500-k3v7qa", "20260102T093012-mfrggz")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two workspaces, one with two runs."""
    root = tmp_path / "root"
    for run in RUNS:
        for task in ("relax-1", "relax-2"):
            (root / "workspaces" / "screening" / "runs" / run / "tasks" / task).mkdir(parents=True)
    (root / "workspaces" / "screening" / "campaign.py").touch()
    (root / "workspaces" / "surfaces").mkdir()
    (root / "workspaces" / "surfaces" / "campaign.py").touch()
    return root


def environment(root: Path) -> dict[str, str]:
    return {
        "PATH": f"{COMMAND.parent}:/usr/bin:/bin",
        "HOME": str(root.parent),
        "LC_ALL": "C.UTF-8",
        "TERM": "dumb",
        "XDG_DATA_HOME": str(root.parent),
    }


# ---- what is proposed


def proposed(root: Path, line: str, **variables: str) -> list[str]:
    """What the command proposes to bash for the last word of a line."""
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    done = subprocess.run(
        [str(COMMAND)],
        env={**environment(root), "_MATTERSTACK_COMPLETE": "bash_complete", **words, **variables},
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return list(filter(None, done.stdout.splitlines()))


def test_names_of_the_root_are_proposed(root: Path) -> None:
    newest, oldest = reversed(RUNS)
    assert proposed(root, "matterstack run pause ") == [f"plain,{newest}", f"plain,{oldest}"]
    assert proposed(root, "matterstack respond 20260101") == [f"plain,{oldest}"]
    assert proposed(root, f"matterstack run loop {newest} ") == [f"plain,{oldest}"]
    assert proposed(root, f"matterstack run logs {newest} relax-") == ["plain,relax-1", "plain,relax-2"]
    assert proposed(root, f"matterstack run retry {newest} relax-1 ") == ["plain,relax-2"]
    assert proposed(root, "matterstack run start s") == ["plain,screening", "plain,surfaces"]
    assert proposed(root, "matterstack --root ") == ["dir,"]
    assert proposed(root, "matterstack monitor --certfile k") == ["file,k"]


def test_commands_and_options_are_proposed_beside_help(root: Path) -> None:
    assert "plain,export-evidence" in proposed(root, "matterstack run e")
    assert "plain,--show-script" in proposed(root, "matterstack run init --")
    assert proposed(root, "matterstack --help ru") == ["plain,run"]


def test_without_a_root_nothing_is_proposed(tmp_path: Path, root: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert proposed(elsewhere, "matterstack run pause ") == []
    assert proposed(elsewhere, "matterstack run start ") == []
    assert proposed(elsewhere, f"matterstack --root {root} run start ") == [
        "plain,screening",
        "plain,surfaces",
    ]
    assert proposed(elsewhere, "matterstack run start su", MATTERSTACK_ROOT=str(root)) == ["plain,surfaces"]


# ---- in a shell


@attrs.frozen
class Terminal:
    """A shell in a terminal."""

    descriptor: int
    seen: bytearray = attrs.field(factory=bytearray)

    def types(self, text: str) -> None:
        del self.seen[:]
        os.write(self.descriptor, text.encode())

    def shows(self, text: str) -> None:
        """Wait until the shell has written this, after what was typed last."""
        until = time.monotonic() + PATIENCE_S
        while text not in self.seen.decode(errors="replace"):
            left = until - time.monotonic()
            assert left > 0, f"{text!r} is not in {bytes(self.seen)!r}"
            if select.select([self.descriptor], [], [], left)[0]:
                self.seen.extend(os.read(self.descriptor, 4096))


@contextmanager
def terminal(command: list[str], folder: Path, variables: Mapping[str, str]) -> Iterator[Terminal]:
    """Start a shell in a terminal of its own; it is ended with the block."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", *command], cwd=folder, env=variables, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    try:
        yield Terminal(ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_line_of_the_documentation_lets_the_tab_key_complete(shell: str, root: Path) -> None:
    found = re.search(rf"^```{shell}\n(.*?)```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert found
    with terminal(SHELLS[shell], root, environment(root)) as shell_window:
        shell_window.types(f"{PREPARED[shell]}\n{found[1]}echo re''ady\n")
        shell_window.shows("ready")
        for begun, completed in (
            ("matterstack sel", "f-test"),
            ("matterstack run export-", "evidence"),
            ("matterstack run init --show-", "script"),
            ("matterstack run start surf", "aces"),
            ("matterstack run pause 20260102T", RUNS[1].removeprefix("20260102T")),
        ):
            shell_window.types(f"{begun}\t")
            shell_window.shows(completed)
            shell_window.types("\x15")  # the line is taken back


def test_what_is_kept_in_a_file_completes_in_bash(root: Path) -> None:
    line = PAGE.read_text().partition(" > ~/.matterstack-completion.bash")[0].splitlines()[-1]
    script = (
        f"{line} > ~/completion && . ~/completion && complete -p matterstack && "
        "COMP_WORDS=(matterstack run start s) COMP_CWORD=3 && _matterstack_completion matterstack && "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        cwd=root,
        env=environment(root),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[1:] == ["screening", "surfaces"]
