"""Nothing that is recorded of a campaign's own files names the machine that they lay on."""

from pathlib import Path
from typing import Final

from tests.evidence.bundles import content
from tests.support.command import CommandLine

CAMPAIGN: Final = """
from pathlib import Path

from matterstack import Campaign, Task, Workflow

HERE = Path(__file__).parent


class OneTask(Campaign):
    def plan(self, state, results):
        if state:
            return None
        files = {
            "own.txt": HERE / "own.txt",
            "resolved.txt": HERE.resolve() / "data" / "deep.txt",
            "near.txt": HERE / "near-link.txt",
            "far.txt": HERE / "far-link.txt",
            "other.txt": HERE.parent.parent / "other.txt",
            "relative.txt": "own.txt",
        }
        command = ["sh", "-c", "cat own.txt resolved.txt near.txt far.txt other.txt relative.txt > all.txt"]
        return Workflow([Task("copy", command=command, files=files, outputs=["all.txt"])])

    def analyze(self, state, results):
        return {"done": True}


def get_campaign():
    return OneTask()
"""


def test_files_of_a_workspace_are_recorded_by_where_they_are_in_it(command_line: CommandLine) -> None:
    root = command_line.root
    folder = root / "workspaces" / "paths"
    (folder / "data").mkdir(parents=True)
    (folder / "campaign.py").write_text(CAMPAIGN)
    (folder / "own.txt").write_text("own ")
    (folder / "data" / "deep.txt").write_text("deep ")
    (root / "other.txt").write_text("other ")
    (folder / "near-link.txt").symlink_to("data/deep.txt")
    (folder / "far-link.txt").symlink_to(root / "other.txt")

    run_id = command_line.new_run("paths")
    command_line.ok("run", "loop", run_id, "--until-done")
    (made,) = (command_line.run_folder("paths", run_id) / "tasks").glob("*/1/all.txt")
    assert made.read_text() == "own deep deep other other own ", "every name still means the same file"
    (planned,) = (event for event in command_line.events(run_id) if event["type"] == "TaskPlanned")
    assert planned["data"]["task"]["files"] == {
        "own.txt": "own.txt",
        "resolved.txt": "data/deep.txt",
        "near.txt": "near-link.txt",
        "far.txt": str(folder / "far-link.txt"),  # it leads out: only the full path may be followed
        "other.txt": str(root / "other.txt"),
        "relative.txt": "own.txt",
    }


def test_a_bundle_names_no_folder_of_the_machine(command_line: CommandLine) -> None:
    root = command_line.root
    folder = root / "workspaces" / "paths"
    folder.mkdir(parents=True)
    plain = "\n".join(line for line in CAMPAIGN.splitlines() if "far" not in line or "cat" in line)
    plain = plain.replace("HERE.parent.parent", "HERE").replace("far.txt ", "")
    (folder / "campaign.py").write_text(plain)
    for name in ("own.txt", "other.txt", "near-link.txt", "data/deep.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)
    run_id = command_line.new_run("paths")
    command_line.ok("run", "loop", run_id, "--until-done")
    exported = command_line.json("run", "export-evidence", run_id)
    assert exported["is_complete"], exported["missing"]
    named = [path for path, data in content(Path(exported["path"])).items() if str(root).encode() in data]
    assert named == []
