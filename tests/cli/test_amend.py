"""What a run is about: said when it is made, and anew at any time."""

import json
import subprocess
from pathlib import Path

from tests.support.campaigns import write_tasks
from tests.support.command import CommandLine

TRUE = [{"id": "a", "command": ["true"]}]


def written(folder: Path, title: str) -> Path:
    file = folder / "about.toml"
    file.write_text(f'title = "{title}"\n[[authors]]\nname = "Ada Lovelace"\n')
    return file


def said(command_line: CommandLine, run_id: str) -> str:
    folder = Path(command_line.json("run", "export-evidence", run_id)["path"])
    assert command_line.json("evidence", "verify", str(folder), "--against-store")["ok"]
    return (folder / "CITATION.cff").read_text()


def test_what_a_run_is_about_is_frozen_with_it_and_said_anew_after_its_end(command_line: CommandLine) -> None:
    write_tasks(command_line.root, "demo", TRUE)
    workspace = command_line.root / "workspaces" / "demo"
    written(workspace, "First")
    run_id = command_line.new_run("demo")
    file = written(workspace, "Second")
    assert 'title: "First"' in said(command_line, run_id)

    command_line.ok("run", "loop", run_id, "--until-done")
    done = command_line.run("run", "amend", run_id, "--about", str(file), "--why", "typo", "--json")
    assert done.json["status"] == "COMPLETED"
    assert done.json["amended"]["about"]["title"] == "Second"
    assert 'title: "Second"' in said(command_line, run_id)
    events = [json.loads(line) for line in command_line.run("run", "events", run_id).stdout.splitlines()]
    assert events[-1]["type"] == "AboutChanged"
    assert events[-1]["data"]["reason"] == "typo"
    assert command_line.run("check").exit_code == 0
    page = (command_line.run_folder("demo", run_id) / "evidence" / "report.md").read_text()
    assert "said anew what the run is about" in page

    told = command_line.ok("run", "amend", run_id, "--about", str(file)).splitlines()
    assert told == ["what the run is about was said anew: Second", f"run {run_id} is COMPLETED"]


def test_an_about_that_is_wrong_makes_no_run_and_changes_none(command_line: CommandLine) -> None:
    write_tasks(command_line.root, "demo", TRUE)
    run_id = command_line.new_run("demo")
    file = command_line.root / "workspaces" / "demo" / "about.toml"
    file.write_text('licence = "MIT"')
    for words in (["run", "init", "demo"], ["run", "amend", run_id, "--about", str(file)]):
        done = command_line.run(*words)
        assert done.exit_code == 2
        assert done.stderr.splitlines() == [
            f"Error: {file}: licence: is no name that is known here",
            "Hint: did you mean 'license'?",
        ]
    assert len(command_line.json("run", "list")) == 1
    missing = command_line.run("run", "amend", run_id, "--about", "nowhere.toml")
    assert (missing.exit_code, missing.stderr) == (3, "Error: no file nowhere.toml\n")
    (file.parent / "folder").mkdir()
    assert command_line.run("run", "amend", run_id, "--about", str(file.parent / "folder")).exit_code == 2


def test_a_signature_is_made_kept_and_checked_through_the_commands(command_line: CommandLine) -> None:
    key = command_line.home / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    allowed = command_line.home / "allowed"
    allowed.write_text(f"ada {key.with_suffix('.pub').read_text()}")
    write_tasks(command_line.root, "demo", TRUE)
    run_id = command_line.new_run("demo")
    assert command_line.run("run", "export-evidence", run_id, "--key", str(key)).exit_code == 2

    unsigned = command_line.json("run", "export-evidence", run_id)
    verify = ("evidence", "verify", unsigned["path"])
    assert unsigned["signature"] == "none"
    assert command_line.run(*verify, "--allowed-signers", str(allowed)).exit_code == 1

    signed = command_line.json("run", "export-evidence", run_id, "--sign", "--key", str(key))
    assert signed["signature"] == "made"
    assert "it is signed, and the signature was not checked" in command_line.run(*verify).stdout
    done = command_line.run(*verify, "--allowed-signers", str(allowed))
    assert done.exit_code == 0
    assert "signed by ada (ED25519 SHA256:" in done.stdout
    told = command_line.json(*verify, "--allowed-signers", str(allowed))
    assert (told["ok"], told["signature"]["signer"]) == (True, "ada")
    assert command_line.json("run", "export-evidence", run_id)["signature"] == "kept"
