"""RO-Crates under the published validator, which has an environment of its own."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Final

from matterstack.evidence.verify import verify_bundle
from matterstack.storage.layout import Root
from tests.support.command import CommandLine

PROJECT: Final = Path(__file__).parents[2]
PYTHON: Final = PROJECT / ".venv" / "validator" / "bin" / "python"
SCRIPT: Final = PROJECT / "tests" / "support" / "validate_crate.py"


def findings(*folders: Path, level: str = "REQUIRED") -> dict[str, list[str]]:
    """What the validator says, by folder; ``level`` may be RECOMMENDED."""
    assert PYTHON.is_file(), "the validator is not installed: make .venv/validator/installed"
    command: list[str | Path] = [PYTHON, SCRIPT, level, *folders]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def run_tool(name: str, *words: str | Path, cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program of the validator's environment."""
    program = PYTHON.parent / name
    assert program.is_file(), "it is not installed: make .venv/validator/installed"
    return subprocess.run(
        [program, *words], cwd=cwd, capture_output=True, text=True, check=False, timeout=120, **options
    )


def assert_evidence_is_whole(command_line: CommandLine, run_id: str) -> None:
    """The evidence of a completed run is complete, verified against the store, and a valid crate."""
    assert command_line.status(run_id)["status"] == "COMPLETED"
    exported = command_line.json("run", "export-evidence", run_id)
    assert exported["is_complete"], exported["missing"]
    assert findings(Path(exported["path"])) == {exported["path"]: []}
    assert verify_bundle(Path(exported["path"]), Root(command_line.root)) == []
