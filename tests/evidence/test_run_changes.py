"""What was changed of a run: told in its report, and named by each attempt; as its events have it."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest

from matterstack.core.ids import TaskId
from matterstack.core.model.workflow import Task, Workflow
from matterstack.core.run import messages as m
from matterstack.core.run.replan_steps import seen_of
from matterstack.core.states import JobState
from matterstack.evidence.crate.graph import file_id
from matterstack.evidence.history import History, fold_events, parse_lines
from matterstack.evidence.report.change_rows import MOST_NAMED
from matterstack.evidence.run_changes import ChangeKind
from matterstack.evidence.verify import examine_bundle
from tests.evidence.bundles import export
from tests.evidence.changed_run import ENERGIES, NEWER, changed_root
from tests.evidence.stage import sha256, stage, told
from tests.support.crates import findings
from tests.support.stored import new_root

pytestmark = pytest.mark.usefixtures("drawn_once", "processes")

MANY = 200


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the run that was changed; for all who only read it."""
    return export(changed_root(tmp_path_factory.mktemp("changed") / "root")).path


def rows(bundle: Path, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((bundle / name).read_bytes().decode(), newline="")))


def history(bundle: Path) -> History:
    return fold_events(parse_lines((bundle / "events.jsonl").read_bytes()))


def entities(bundle: Path) -> dict[str, Any]:
    document = json.loads((bundle / "ro-crate-metadata.json").read_bytes())
    return {entity["@id"]: entity for entity in document["@graph"]}


def _section(report: str) -> str:
    return report.partition("## What was changed\n")[2].partition("\n### ")[0].partition("\n## ")[0]


def ids(value: Any) -> set[str]:
    return {one["@id"] for one in (value if isinstance(value, list) else [value])}


def test_the_bundle_of_a_changed_run_fits_its_events(bundle: Path) -> None:
    found = examine_bundle(bundle)
    assert found.findings == ()
    assert found.absent == ()


def test_each_attempt_names_the_versions_that_it_was_made_under(bundle: Path) -> None:
    made = {
        (row["task_id"], row["attempt"]): (row["definition"], row["config"], row["campaign"])
        for row in rows(bundle, "tasks.csv")
        if row["attempt"]
    }
    assert made == {
        ("relax-1", "1"): ("1", "1", "1"),
        ("relax-1", "2"): ("2", "2", "1"),
        ("relax-2", "1"): ("1", "1", "1"),
        ("relax-2", "2"): ("2", "2", "1"),
        ("relax-3", "1"): ("2", "2", "1"),
        ("relax-3", "2"): ("2", "2", "1"),
        ("rank", "1"): ("1", "2", "2"),
    }
    commands = {(r["task_id"], r["attempt"]): r["command"] for r in rows(bundle, "tasks.csv")}
    assert commands["relax-1", "1"] == "relax --fast", "what it really ran with"
    assert commands["relax-1", "2"] == "relax --slow"


def test_the_hash_of_a_definition_is_that_of_its_text_in_the_bundle(bundle: Path) -> None:
    texts = {}
    for line in (bundle / "workflow.json").read_text().splitlines():
        if line.startswith('   {"id"'):
            text = line.strip().removesuffix(",")
            texts[hashlib.sha256(text.encode()).hexdigest()] = json.loads(text)
    for line in (bundle / "definitions.jsonl").read_text().splitlines():
        known = json.loads(line)
        text = line.partition('"definition": ')[2].removesuffix("}")
        assert hashlib.sha256(text.encode()).hexdigest() == known["sha256"]
        texts[known["sha256"]] = known["definition"]
    for row in rows(bundle, "tasks.csv"):
        if row["attempt"]:
            definition = texts[row["definition_sha256"]]
            assert " ".join(definition["command"]) == row["command"]


def test_changes_are_told_in_order_each_command_as_one(bundle: Path) -> None:
    changes = history(bundle).changes.all
    assert [(change.kind, change.by, [*change.tasks]) for change in changes] == [
        (ChangeKind.HELD, "the engine", []),
        (ChangeKind.AMENDED, "ann", ["relax-3"]),
        (ChangeKind.CONFIG, "ann", []),
        (ChangeKind.CANCELLED, "bob", ["movie"]),
        (ChangeKind.RESUMED, "ann", []),
        (ChangeKind.AMENDED, "ann", ["relax-1", "relax-2"]),
        (ChangeKind.RETRIED, "ann", ["relax-1", "relax-2"]),
        (ChangeKind.CAMPAIGN, "", []),
        (ChangeKind.RERAN, "bob", ["relax-3"]),
    ]


def test_the_report_tells_who_changed_what_when_why_and_what_was_made_under_it(bundle: Path) -> None:
    text = (bundle / "report.md").read_text()
    cells = [[c.strip() for c in line.split(" | ")] for line in _section(text).splitlines() if " | " in line]
    told = {row[0].removeprefix("| "): row[2:] for row in cells if row[0].removeprefix("| ").isdecimal()}
    assert told["2"][0] == "amended relax-3, which gave version 2 of its definition"
    assert told["2"][1] == r'command: \["relax", "--fast"\] -&gt; \["relax", "--slow"\]'
    assert told["2"][2:4] == ["ann", "too &lt;fast&gt;"]
    assert told["2"][4] == "relax-3 (attempt 1), relax-3 (attempt 2) |"
    assert told["3"][1] == "priority: 1 -&gt; 5"
    assert "resources.walltime\\_s: nothing -&gt; 60" in told["6"][1]
    assert told["7"][0] == "retried 2 tasks (relax-1, relax-2)"
    assert told["7"][4] == "relax-1 (attempt 2), relax-2 (attempt 2) |"
    assert told["9"][4] == "relax-3 (attempt 2) |"
    assert told["8"][4] == "rank (attempt 1) |"
    assert sha256(NEWER)[:16] in told["8"][1]
    assert "energies.py: not there" in told["8"][1]


def test_the_crate_has_the_definition_that_an_attempt_ran_with_and_the_campaign_that_planned_it(
    bundle: Path,
) -> None:
    known = entities(bundle)
    first, second = known["#attempt/relax-1/1"], known["#attempt/relax-1/2"]
    assert first["description"] == "relax --fast"
    assert second["description"] == "relax --slow"
    assert "environment" not in first
    assert known[second["environment"]["@id"]]["value"] == "good"
    assert {"#definition/relax-1/1", "configs/1.json", "#campaign/1"} <= ids(first["object"])
    assert {"#definition/relax-1/2", "config.json", "#campaign/1"} <= ids(second["object"])
    assert {"config.json", "#campaign/2"} <= ids(known["#attempt/rank/1"]["object"])
    assert known["#step/relax-1"]["version"] == "2"
    assert known["#step/relax-1"]["identifier"] == known["#definition/relax-1/2"]["value"]
    campaign = known["#campaign/2"]
    assert campaign["@type"] == "SoftwareSourceCode"
    newer = {
        file_id(f"versions/{sha256(c)[:16]}/{n}.py") for n, c in (("campaign", NEWER), ("energies", ENERGIES))
    }
    assert newer <= ids(campaign["hasPart"])
    assert "sources/campaign.py" not in ids(campaign["hasPart"])
    assert "sources/campaign.py" in ids(known["#campaign/1"]["hasPart"])


def test_the_crate_of_a_changed_run_is_valid(bundle: Path) -> None:
    assert findings(bundle) == {str(bundle): []}


def test_the_config_that_was_before_is_in_the_bundle_and_its_hash_is_told(bundle: Path) -> None:
    assert json.loads((bundle / "configs" / "1.json").read_text())["priority"] == 1
    assert json.loads((bundle / "config.json").read_text())["priority"] == 5
    for path in ("configs/1.json", "config.json"):
        assert f"| {sha256((bundle / path).read_bytes())} | `{path}` |" in (bundle / "report.md").read_text()


def test_a_run_that_nobody_changed_says_so_and_has_no_more_files(tmp_path: Path) -> None:
    bundle = export(told(tmp_path / "root", "COMPLETED")).path
    assert "Nothing was changed while the run lived" in (bundle / "report.md").read_text()
    assert "Nothing was changed while the run lived" in (bundle / "report.html").read_text()
    assert {"changes.csv", "definitions.jsonl", "configs"}.isdisjoint(p.name for p in bundle.iterdir())
    assert {(r["definition"], r["config"], r["campaign"]) for r in rows(bundle, "tasks.csv")} == {
        ("1", "1", "1")
    }


def test_an_amendment_of_very_many_tasks_is_one_line_and_a_table_beside_it(tmp_path: Path) -> None:
    root = new_root(tmp_path / "root")
    names = [TaskId(f"t{n:03d}") for n in range(MANY)]
    with stage(root) as made:
        made.tell(m.Start())
        made.plan(*(Task(t, command=["true"], params={"n": place % 3}) for place, t in enumerate(names)))
        made.tell(m.AmendTasks(by="ann", tasks=names, changes={"params.n": 7}))
    bundle = export(root).path
    assert examine_bundle(bundle).findings == ()
    report = (bundle / "report.md").read_text()
    (line,) = (one for one in _section(report).splitlines() if one.startswith("| 1 |"))
    assert f"amended {MANY} tasks (t000, t001, t002, t003, t004 and {MANY - MOST_NAMED} more)" in line
    assert "params.n: 0 -&gt; 7 (67 tasks)" in line
    assert report.partition("## What happened to the run")[2].count("amended") == 1
    assert len(rows(bundle, "changes.csv")) == MANY
    assert f"{2 * MANY - 100} more are in `definitions.jsonl`." in report
    actions = [one for one in entities(bundle) if one.startswith("#intervention/")]
    assert len(actions) == 1


def relaxed(name: str, how: str) -> Task:
    return Task(TaskId(name), command=["relax", how])


@pytest.fixture(scope="module")
def replanned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a run whose round was planned anew, after one of its tasks had been amended and one had failed."""
    root = new_root(tmp_path_factory.mktemp("replanned") / "root")
    with stage(root) as made:
        made.tell(m.Start())
        made.plan(*(relaxed(name, "--fast") for name in ("first", "second", "third", "fourth")))
        second = [TaskId("second")]
        made.tell(m.AmendTasks(by="bob", tasks=second, changes={"priority": 3}, reason="sooner"))
        made.prepare(seats=2)
        made.start("first", "second")
        made.end("first", state=JobState.COMPLETED_ERROR)
        anew = (relaxed("first", "--slow"), relaxed("second", "--fast"), relaxed("third", "--fast"))
        made.tell(
            m.Replan(
                by="ann",
                iteration=1,
                workflow=Workflow([*anew, relaxed("fifth", "--slow")]),
                basis=seen_of(made.stored.run.state),
                code=made.used(campaign=NEWER),
                reason="mended",
            )
        )
        made.end("second")
        made.prepare()
        made.start("first", "third", "fifth")
        for name in ("first", "third", "fifth"):
            made.end(name)
        made.analyze(best="LiF")
        made.tell(m.Planned(iteration=2, workflow=None))
    return export(root).path


def test_a_round_that_was_planned_anew_is_one_change_with_all_that_came_of_it(replanned: Path) -> None:
    found = examine_bundle(replanned)
    assert found.findings == ()
    report = (replanned / "report.md").read_text()
    (line,) = (one for one in _section(report).splitlines() if "planned anew round" in one)
    cells = [cell.strip() for cell in line.split(" | ")]
    assert cells[2] == (
        "planned anew round 1: 1 changed (first), 1 done again (first), 1 new (fifth), 1 gone (fourth)"
    )
    assert cells[3] == r'command: \["relax", "--fast"\] -&gt; \["relax", "--slow"\]'
    assert cells[4:6] == ["ann", "mended"]
    assert cells[6] == "first (attempt 2), fifth (attempt 1) |"
    made = {
        (row["task_id"], row["attempt"]): (row["definition"], row["config"], row["campaign"])
        for row in rows(replanned, "tasks.csv")
        if row["attempt"]
    }
    assert made == {
        ("first", "1"): ("1", "1", "1"),
        ("first", "2"): ("2", "1", "2"),
        ("second", "1"): ("2", "1", "1"),
        ("third", "1"): ("1", "1", "1"),
        ("fifth", "1"): ("1", "1", "2"),
    }
    whats = [(row["what"], row["task_id"]) for row in rows(replanned, "changes.csv") if row["by"] == "ann"]
    assert ("planned anew: gone", "fourth") in whats
    assert ("planned anew: new", "fifth") in whats
    assert report.partition("## What happened to the run")[2].count("planned anew round 1") == 1
    assert "| 1 | 2026-01-01 00:00:00 | as it was when the run was made | 1 |" in report
    assert "| campaign.py changed | 1 | 1 |" in report


def test_the_crate_of_a_run_that_was_planned_anew_is_valid(replanned: Path) -> None:
    assert findings(replanned) == {str(replanned): []}
    known = entities(replanned)
    assert {"#definition/first/1", "#campaign/1"} <= ids(known["#attempt/first/1"]["object"])
    assert {"#definition/first/2", "#campaign/2"} <= ids(known["#attempt/first/2"]["object"])


def test_a_job_that_was_submitted_anew_is_a_change_with_the_attempt_that_followed(tmp_path: Path) -> None:
    root = new_root(tmp_path / "root")
    with stage(root) as made:
        made.tell(m.Start())
        made.plan(relaxed("first", "--fast"))
        made.prepare()
        slower = {"command": ["relax", "--slow"]}
        first = [TaskId("first")]
        made.tell(m.AmendTasks(by="ann", tasks=first, changes=slower, resubmit=True, reason="too fast"))
        made.tell(m.Withdrawn(token=made.stored.run.token("first"), reason="given up"))
        made.prepare()
    bundle = export(root).path
    assert examine_bundle(bundle).findings == ()
    kinds = [change.kind for change in history(bundle).changes.all]
    assert kinds == [ChangeKind.AMENDED, ChangeKind.RESUBMITTED]
    (line,) = (one for one in _section((bundle / "report.md").read_text()).splitlines() if "anew" in one)
    assert "had jobs submitted anew that had not begun: first" in line
    assert line.endswith("| first (attempt 2) |")
