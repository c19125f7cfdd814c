"""The pages of the documentation, and a reader who does what stands on them.

What a test reads is marked by a comment above the block: ``<!-- run -->`` for commands, ``<!-- file: PATH
-->`` for a file that they need, ``<!-- unit: NAME -->`` for a unit of systemd, ``<!-- not run: REASON -->``
for commands that no test can run. A page is one session, from its first block to its last. ``<!-- session:
... -->`` near its top says what it finds: a project (made by ``matterstack init``), a cluster, a login
node.
"""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs

from tests.support.command import COMMAND, PATIENCE_S, CommandLine, Running
from tests.support.polling import wait_until

PROJECT: Final = Path(__file__).parents[2]
DOCS: Final = PROJECT / "docs"
PAGES: Final = (
    "../README.md",
    *sorted(
        str(path.relative_to(DOCS))
        for path in DOCS.rglob("*.md")
        if path.relative_to(DOCS).parts[0] != "reference"  # which a script writes, and other tests read
    ),
)
MARKED: Final = re.compile(
    r"^<!-- (?P<mark>[^>]+) -->\n(?:```(?P<language>\w*)\n(?P<block>.*?)^```$|(?P<table>(?:\|[^\n]*\n)+))",
    re.DOTALL | re.MULTILINE,
)
FENCED: Final = re.compile(r"^```(?P<language>\w*)\n(?P<block>.*?)^```$", re.DOTALL | re.MULTILINE)
SESSION: Final = re.compile(r"^<!-- session: (?P<needs>[^>]+) -->$", re.MULTILINE)
RUN_ID: Final = re.compile(r"\b\d{8}T\d{6}-[a-z2-7]{6}\b")
BLOCK_S: Final = 3 * PATIENCE_S
"""How long the commands of a block may take, together."""
VARIABLE: Final = re.compile(r"^([A-Z_]+)=", re.MULTILINE)


@attrs.frozen
class Marked:
    """A block with the comment above it."""

    mark: str
    text: str

    @property
    def kind(self) -> str:
        """The word that says what it is."""
        return self.mark.partition(":")[0]

    @property
    def name(self) -> str:
        """What stands behind that word."""
        return self.mark.partition(": ")[2]

    @property
    def is_done(self) -> bool:
        """Whether a reader does something with it."""
        return self.kind.split()[0].rstrip(",") in {"run", "file", "unit"}

    @property
    def rows(self) -> list[list[str]]:
        """Rows of a table, without its head."""
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in self.text.splitlines()[2:]]


def page(name: str) -> str:
    """Text of a page."""
    return (DOCS / name).read_text()


def marked(name: str) -> list[Marked]:
    """Blocks of a page that have a mark."""
    return [Marked(found["mark"], found["block"] or found["table"]) for found in MARKED.finditer(page(name))]


def needs(name: str) -> set[str]:
    """What the session of a page finds."""
    found = SESSION.search(page(name))
    return set(found["needs"].split(", ")) if found else set()


@attrs.define
class Reader:
    """Somebody who types what stands on a page, in one terminal (and in another, where it says so).

    Attributes:
        words: what stands on the page, and is another word on this machine.
        path: folders whose programs are found first.
        others: commands in other terminals.
    """

    command_line: CommandLine
    folder: Path
    variables: Path
    words: Mapping[str, str] = attrs.field(factory=dict)
    path: str = ""
    others: list[Running] = attrs.field(factory=list)

    def does(self, block: Marked) -> None:
        """Do what a block asks for; what it says must go well, unless the mark says otherwise."""
        text = block.text
        for word, here in self.words.items():
            text = text.replace(word, here)
        if block.kind == "file":
            self.writes(block.name, text)
            return
        if block.kind == "unit":
            self.verifies(block.name, text)
            return
        *when, exit_code = block.mark.split(", exit ") if ", exit " in block.mark else (block.mark, "0")
        match " ".join(when).split():
            case ["run"]:
                pass
            case ["run", "in", "another", "terminal"]:
                self.starts(text)
                return
            case ["run", "in", "another", "terminal", "after", "a", "kill"]:
                self.kills()
                self.starts(text)
                return
            case ["run", "after", "a", "kill"]:
                self.kills()
            case ["run", "after", "Ctrl-C"]:
                self.interrupts()
            case ["run", "when", "the", "monitor", "answers"]:
                wait_until(lambda: "http" in self.others[-1].stdout, PATIENCE_S, "the link of the monitor")
            case ["run", "when", "no", "task", "works"]:
                wait_until(lambda: not self.is_busy(), PATIENCE_S, "the end of all jobs")
            case ["run", "when", task, ("waits" | "works")]:
                wait_until(lambda: self.is_asked(task), PATIENCE_S, f"the attempt of {task}")
            case ["run", "when", status]:
                wait_until(
                    lambda: self.command_line.status(self.run_id)["status"] == status,
                    PATIENCE_S,
                    f"{status}, instead of {self.command_line.status(self.run_id)['status']}",
                )
            case _:
                raise AssertionError(f"nobody knows what to do with {block.mark!r}")
        self.types(text, int(exit_code))

    def writes(self, path: str, text: str) -> None:
        """Save a file, where the path says, from the root on."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def types(self, commands: str, exit_code: int = 0) -> None:
        """Run commands in a shell that has the variables, and is in the folder, of those before."""
        known = {"RUN_ID", *VARIABLE.findall(commands)}
        if self.variables.exists():
            known |= set(re.findall(r"^declare -- ([A-Z_]+)=", self.variables.read_text(), re.MULTILINE))
        before = f"set -e\n[ ! -e {self.variables} ] || . {self.variables}\n"
        after = (
            f'(declare -p {" ".join(known)} || :; printf "cd %q\\n" "$PWD") >{self.variables} 2>/dev/null\n'
        )
        done = subprocess.run(
            ["bash", "-c", f"{before}{commands}\n{after}"],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=BLOCK_S,
        )
        assert done.returncode == exit_code, f"{commands}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stdout + done.stderr
        here = Path(re.findall(r"^cd (.*)$", self.variables.read_text(), re.MULTILINE)[-1])
        if (here / "workspaces").is_dir():
            self.command_line.root = here

    def starts(self, text: str) -> None:
        """Run one command in another terminal."""
        (words,) = (line.split() for line in text.splitlines())
        assert words[0] == "matterstack"
        self.others.append(self.command_line.start(*words[1:]))

    def interrupts(self) -> None:
        """Press Ctrl-C in all other terminals."""
        for running in self.others:
            running.signal(signal.SIGINT)
        for running in self.others:
            done = running.wait()
            assert done.exit_code == 0, done.stderr
        self.others.clear()

    def kills(self) -> None:
        """Have all other terminals die, as with the machine."""
        for running in self.others:
            running.kill()
        self.others.clear()

    def verifies(self, name: str, text: str) -> None:
        """Have systemd read a unit of a user."""
        folder = self.home / ".config" / "systemd" / "user"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
        done = subprocess.run(
            ["systemd-analyze", "--user", "verify", str(folder / name)],
            env={**self.environment, "XDG_RUNTIME_DIR": str(self.home)},
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr

    @property
    def environment(self) -> dict[str, str]:
        """What its shells find."""
        path = f"{self.path}{COMMAND.parent}:/usr/sbin:/usr/bin:/sbin:/bin"
        return {**self.command_line.environment, "PATH": path}

    @property
    def root(self) -> Path:
        """The root that the page is about."""
        return self.command_line.root

    @property
    def home(self) -> Path:
        """Home of the reader."""
        return self.command_line.home

    @property
    def run_id(self) -> str:
        """The run that the page is about at this moment."""
        found = re.search(rf'RUN_ID="({RUN_ID.pattern})"', self.variables.read_text())
        assert found, "no RUN_ID was set"
        return found[1]

    def is_busy(self) -> bool:
        """Whether any attempt of the run is at work, or on its way."""
        return any(task["status"] == "ACTIVE" for task in self.command_line.tasks(self.run_id).values())

    def is_asked(self, task: str) -> bool:
        """Whether a task has been handed to a backend, or to somebody."""
        found = self.command_line.tasks(self.run_id).get(task)
        return found is not None and found["status"] == "ACTIVE" and bool(found["attempts"][-1]["job_id"])
