"""A campaign that is changed while its run lives: what planned is kept and told, or refused where pinned."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from matterstack.evidence.verify import examine_bundle
from tests.evidence.forger import Forger
from tests.support.campaigns import write_workspace
from tests.support.command import CommandLine

CAMPAIGN: Final = """\
from pathlib import Path

from matterstack import Task, Workflow
import energy

try:
    import extra
except Exception:
    extra = None

HERE = Path(__file__).parent

class Rounds:
    def plan(self, state, results):
        n = state.get("n", 0)
        if n == 2:
            return None
        command = ["sh", "work.sh", str(HERE)] if n == 0 else ["true"]
        return Workflow([Task(f"t{n}", command=command, files={"work.sh": "work.sh", "in.dat": "in.dat"})])

    def analyze(self, state, results):
        return {"n": state.get("n", 0) + 1, "energy": energy.OF}

def get_campaign():
    return Rounds()
"""
ENERGY: Final = "OF = 1\n"
USED: Final = {"campaign.py", "energy.py", "work.sh", "in.dat"}


def made(command_line: CommandLine, job: str, files: Mapping[str, str] | None = None, *settings: str) -> str:
    """A run whose first job does to the workspace (``$1``) what somebody does to it who works on."""
    everything = {"energy.py": ENERGY, "work.sh": job, "in.dat": "1 2 3\n", "README.md": "Rounds\n"}
    write_workspace(command_line.root, "w", CAMPAIGN, files=everything | dict(files or {}))
    return command_line.new_run("w", *settings)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def told(command_line: CommandLine, run_id: str, kind: str) -> list[dict[str, Any]]:
    return [event["data"] for event in command_line.events(run_id) if event["type"] == kind]


def test_each_plan_and_analysis_names_the_files_that_it_used_and_no_other(command_line: CommandLine) -> None:
    run_id = made(command_line, 'echo more >> "$1/README.md"; touch "$1/notebook.ipynb" "$1/unused.py"')
    command_line.ok("run", "loop", "--until-done", run_id)
    hashes = {"campaign.py": sha256(CAMPAIGN), "energy.py": sha256(ENERGY), "in.dat": sha256("1 2 3\n")}
    planned = told(command_line, run_id, "IterationPlanned")
    for fact in planned:
        assert set(fact["code"]) == USED
        assert hashes.items() <= fact["code"].items()
    assert len(planned) == 2
    for fact in (
        *told(command_line, run_id, "IterationAnalyzed"),
        *told(command_line, run_id, "RunCompleted"),
    ):
        assert set(fact["code"]) == {"campaign.py", "energy.py"}
    assert told(command_line, run_id, "CampaignChanged") == []
    assert not (command_line.run_folder("w", run_id) / "versions").exists()
    command_line.ok("check")


def test_a_changed_module_is_told_kept_and_known_before_what_it_analyzed(command_line: CommandLine) -> None:
    job = 'echo "from shift import BY; OF = 2 + BY" > "$1/energy.py"; echo "BY = 5" > "$1/shift.py"'
    run_id = made(command_line, job)
    done = command_line.run("run", "loop", "--until-done", run_id)
    assert done.exit_code == 0
    assert done.stderr.count("energy.py changed, shift.py is new") == 1
    new = {"energy.py": sha256("from shift import BY; OF = 2 + BY\n"), "shift.py": sha256("BY = 5\n")}
    (changed,) = told(command_line, run_id, "CampaignChanged")
    assert changed == {
        "action": "analyze", "iteration": 1, "files": new, "before": {"energy.py": sha256(ENERGY)},
        "unkept": [],
    }  # fmt: skip
    kinds = [event["type"] for event in command_line.events(run_id)]
    assert kinds[kinds.index("CampaignChanged") + 1] == "IterationAnalyzed"
    first, second = told(command_line, run_id, "IterationAnalyzed")
    assert first["state"] == {"n": 1, "energy": 7}
    assert first["code"] == second["code"] == {"campaign.py": sha256(CAMPAIGN), **new}
    versions = command_line.run_folder("w", run_id) / "versions"
    assert {path.name: path.read_text() for path in versions.iterdir()} == {
        new["energy.py"]: "from shift import BY; OF = 2 + BY\n", new["shift.py"]: "BY = 5\n",
    }  # fmt: skip
    command_line.ok("check")


def test_a_changed_file_of_a_task_is_told_and_kept(command_line: CommandLine) -> None:
    run_id = made(command_line, 'echo "4 5 6" > "$1/in.dat"')
    command_line.ok("run", "loop", "--until-done", run_id)
    (changed,) = told(command_line, run_id, "CampaignChanged")
    assert (changed["action"], changed["iteration"]) == ("plan", 2)
    assert changed["files"] == {"in.dat": sha256("4 5 6\n")}
    versions = command_line.run_folder("w", run_id) / "versions"
    assert (versions / sha256("4 5 6\n")).read_text() == "4 5 6\n"


def test_a_large_file_is_named_by_its_hash_and_changes_all_the_same(command_line: CommandLine) -> None:
    large = "x" * ((1 << 20) + 1)
    run_id = made(command_line, 'echo more >> "$1/in.dat"', {"in.dat": large})
    command_line.ok("run", "loop", "--until-done", run_id)
    (changed,) = told(command_line, run_id, "CampaignChanged")
    assert changed["files"] == {"in.dat": sha256(large + "more\n")}
    assert changed["before"] == {"in.dat": sha256(large)}
    first, second = told(command_line, run_id, "IterationPlanned")
    assert first["unkept"] == second["unkept"] == changed["unkept"] == ["in.dat"]
    command_line.ok("check")


def test_a_mended_campaign_that_raises_is_told_as_well(command_line: CommandLine) -> None:
    run_id = made(command_line, """echo "raise ValueError('no')" >> "$1/energy.py" """)
    command_line.run("run", "loop", "--until-done", run_id)
    assert command_line.status(run_id)["status"] == "FAILED"
    assert "ValueError: no" in command_line.status(run_id)["status_reason"]
    (changed,) = told(command_line, run_id, "CampaignChanged")
    digest = sha256(ENERGY + "raise ValueError('no')\n")
    assert changed["files"] == {"energy.py": digest}
    assert (command_line.run_folder("w", run_id) / "versions" / digest).exists()
    # Put back, it is another version once more, and the run goes on.
    (command_line.root / "workspaces" / "w" / "energy.py").write_text(ENERGY)
    command_line.ok("run", "retry", run_id)
    command_line.ok("run", "loop", "--until-done", run_id)
    back = told(command_line, run_id, "CampaignChanged")[1]
    assert (back["files"], back["before"]) == ({"energy.py": sha256(ENERGY)}, {"energy.py": digest})


def test_a_value_of_a_secret_in_a_changed_campaign_is_refused_and_not_kept(
    command_line: CommandLine,
) -> None:
    value = "correct-horse-battery"
    run_id = made(
        command_line, 'echo "TOKEN = \\"$MY_TOKEN\\"" >> "$1/energy.py"', {}, 'secrets=["MY_TOKEN"]'
    )
    command_line.run("run", "loop", "--until-done", run_id, env={"MY_TOKEN": value})
    status = command_line.status(run_id)
    assert status["status"] == "FAILED"
    assert "energy.py holds the value of the secret MY_TOKEN" in status["status_reason"]
    folder = command_line.run_folder("w", run_id)
    assert not (folder / "versions").exists()
    assert value not in json.dumps(command_line.events(run_id))


def test_a_pinned_run_refuses_another_campaign_before_it_is_called(command_line: CommandLine) -> None:
    marks = 'echo "open(\'$1/called\', \'w\')" | tee -a "$1/energy.py" >> "$1/campaign.py"'
    run_id = made(command_line, marks, {}, "pin_campaign=true")
    command_line.run("run", "loop", "--until-done", run_id)
    workspace = command_line.root / "workspaces" / "w"
    status = command_line.status(run_id)
    assert status["status"] == "FAILED"
    reason = status["status_reason"]
    assert "campaign.py, energy.py are not what the run was last planned with" in reason
    assert "pin_campaign" in reason
    assert "matterstack run retry" in reason
    assert not (workspace / "called").exists()
    assert told(command_line, run_id, "CampaignChanged") == []
    # Still refused: what was refused has not become what is known.
    command_line.ok("run", "retry", run_id)
    command_line.run("run", "loop", "--until-done", run_id)
    assert command_line.status(run_id)["status_reason"] == reason
    (workspace / "campaign.py").write_text(CAMPAIGN)
    (workspace / "energy.py").write_text(ENERGY)
    command_line.ok("run", "retry", run_id)
    command_line.ok("run", "loop", "--until-done", run_id)


def test_a_pinned_run_takes_a_new_notebook_and_a_module_that_is_not_used(command_line: CommandLine) -> None:
    run_id = made(command_line, 'touch "$1/notebook.ipynb" "$1/unused.py"', {}, "pin_campaign=true")
    command_line.ok("run", "loop", "--until-done", run_id)
    assert told(command_line, run_id, "CampaignChanged") == []


def test_code_that_is_new_is_a_change_though_all_else_is_as_it_was(command_line: CommandLine) -> None:
    run_id = made(command_line, 'echo "BY = 1" > "$1/extra.py"')
    command_line.ok("run", "loop", "--until-done", run_id)
    (changed,) = told(command_line, run_id, "CampaignChanged")
    assert (changed["files"], changed["before"]) == ({"extra.py": sha256("BY = 1\n")}, {})


def test_a_pinned_run_refuses_code_that_is_new_whatever_catches_that(command_line: CommandLine) -> None:
    run_id = made(command_line, "echo \"open('$1/called', 'w')\" > \"$1/extra.py\"", {}, "pin_campaign=true")
    command_line.run("run", "loop", "--until-done", run_id)
    assert (
        "extra.py is not what the run was last planned with" in command_line.status(run_id)["status_reason"]
    )
    assert not (command_line.root / "workspaces" / "w" / "called").exists()


def test_evidence_has_every_version_and_says_which_planned_what(command_line: CommandLine) -> None:
    energy = "OF = 7\n"
    run_id = made(command_line, 'echo "OF = 7" > "$1/energy.py"')
    command_line.ok("run", "loop", "--until-done", run_id)
    command_line.ok("run", "export-evidence", run_id)
    bundle = command_line.run_folder("w", run_id) / "evidence"
    place = f"versions/{sha256(energy)[:16]}/energy.py"
    assert (bundle / place).read_text() == energy
    assert (bundle / "sources" / "energy.py").read_text() == ENERGY
    report = (bundle / "report.md").read_text()
    assert "| as it was when the run was made | 1 |  |" in report
    assert "| energy.py changed | 2 | 1, 2 |" in report
    assert sha256(energy) in report
    page = (bundle / "report.html").read_text()
    assert "Versions of the campaign" in page
    crate = json.loads((bundle / "ro-crate-metadata.json").read_text())["@graph"]
    (version,) = [entity for entity in crate if entity["@id"] == "#campaign-version/2"]
    assert version["result"] == [{"@id": place}, {"@id": "#campaign/2"}]
    (code,) = [entity for entity in crate if entity["@id"] == "#campaign/2"]
    assert {"@id": place} in code["hasPart"]
    assert "planned iterations: 2; analyzed iterations: 1, 2" in version["description"]
    (creation,) = [entity for entity in crate if entity["@id"] == "#creation"]
    assert {"@id": place} not in creation["object"]
    said = command_line.ok("evidence", "verify", str(bundle))
    assert "bound" in said
    command_line.ok("evidence", "verify", str(bundle), "--against-store")


def test_a_version_that_has_gone_from_the_runs_folder_is_missed(command_line: CommandLine) -> None:
    run_id = made(command_line, 'echo "OF = 7" > "$1/energy.py"')
    command_line.ok("run", "loop", "--until-done", run_id)
    (kept,) = (command_line.run_folder("w", run_id) / "versions").iterdir()
    kept.unlink()
    done = command_line.run("run", "export-evidence", run_id)
    report = (command_line.run_folder("w", run_id) / "evidence" / "report.md").read_text()
    assert "which the campaign used later, is missing" in report
    assert "which the campaign used later, is missing" in done.stdout + done.stderr


def test_a_version_that_a_forger_leaves_out_or_moves_is_missed(command_line: CommandLine) -> None:
    run_id = made(command_line, 'echo "OF = 7" > "$1/energy.py"')
    command_line.ok("run", "loop", "--until-done", run_id)
    command_line.ok("run", "export-evidence", run_id)
    bundle = command_line.run_folder("w", run_id) / "evidence"
    (version,) = Forger.of(bundle).survey.versions
    assert version.place is not None
    forgeries = {
        "does not have what events.jsonl has of the campaign as it was later": (),
        "as it was later, lies at": (attrs.evolve(version, place="versions/energy.py"),),
    }
    for number, (problem, versions) in enumerate(forgeries.items()):
        folder = Path(shutil.copytree(bundle, bundle.with_name(f"forged-{number}")))
        forger = Forger.of(folder)
        for forged in versions:
            (folder / "versions/energy.py").write_bytes(forger.read(version.place))
            assert forged.place is not None
        forger.take_out(version.place)
        forger.survey = attrs.evolve(forger.survey, versions=versions)
        forger.rebuild()
        assert any(problem in str(finding) for finding in examine_bundle(folder).findings), problem
