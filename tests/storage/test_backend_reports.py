"""What engines say of their backends, and who may still be believed."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

from matterstack.core.ids import BackendName, utc_text
from matterstack.storage.backend_reports import (
    BackendReport,
    CommandStatistics,
    blank_report,
    by_backend,
    clean_reports,
    read_reports,
    remove_report,
    troubles,
    write_report,
)
from matterstack.storage.layout import Root
from matterstack.storage.living_reports import TRUSTED_S

CLUSTER = BackendName("clus/ter ü")
SINCE = utc_text(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))


def a_report(**changes: Any) -> BackendReport:
    """Of this process."""
    squeue = CommandStatistics().after(0.5, failed=False).after(0.25, failed=True)
    return attrs.evolve(blank_report(CLUSTER), statistics={"squeue": squeue}, **changes)


def the_file(root: Root) -> Path:
    """The one report that was written."""
    (path,) = (root.private / "backends").iterdir()
    return path


def test_a_report_is_read_as_it_was_written_and_replaced_by_the_next(root: Root) -> None:
    write_report(root, a_report())
    second = a_report(out_since=SINCE, problem="no route to host")
    write_report(root, second)
    assert read_reports(root) == [second]
    assert second.statistics["squeue"] == CommandStatistics(
        count=2, failed=1, total_s=0.75, max_s=0.5, last_s=0.25
    )


def test_without_any_report_there_is_none(root: Root) -> None:
    assert read_reports(root) == []
    clean_reports(root)


def test_a_removed_report_is_gone_and_can_be_removed_again(root: Root) -> None:
    write_report(root, a_report())
    write_report(root, a_report(definition="another"))
    remove_report(root, a_report())
    remove_report(root, a_report())
    assert [r.definition for r in read_reports(root)] == ["another"]


@pytest.mark.usefixtures("processes")
def test_what_a_killed_engine_left_is_not_shown_and_cleaned(root: Root) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from matterstack.storage.backend_reports import blank_report, write_report\n"
        "from matterstack.storage.layout import Root\n"
        "write_report(Root(Path(sys.argv[1])), blank_report('cluster'))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(root.path)], check=False)
    assert json.loads(the_file(root).read_text())["backend"] == "cluster"
    assert read_reports(root) == []
    write_report(root, a_report())
    clean_reports(root)
    assert len(list((root.private / "backends").iterdir())) == 1
    assert read_reports(root) == [a_report(written_at=read_reports(root)[0].written_at)]


@pytest.mark.parametrize(
    "changes",
    [{"started": 1}, {"boot_id": "another"}, {"pid": 1 << 29}],
    ids=["a process with the same number", "before this machine was started anew", "no process"],
)
def test_a_report_of_a_process_that_is_gone_is_not_shown(root: Root, changes: dict[str, Any]) -> None:
    write_report(root, a_report(**changes))
    assert read_reports(root) == []


@pytest.mark.parametrize(("age_s", "is_shown"), [(0, True), (TRUSTED_S - 9, True), (TRUSTED_S + 9, False)])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_report_of_another_host_is_believed_while_it_is_young(
    root: Root, age_s: float, is_shown: bool, sign: int
) -> None:
    written_at = utc_text(datetime.now(UTC) - sign * timedelta(seconds=age_s))
    there = a_report(host="elsewhere", boot_id="theirs", written_at=written_at)
    write_report(root, there)
    assert read_reports(root) == ([there] if is_shown else [])


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: "",
        lambda text: text[: len(text) // 2],
        lambda _: "[]",
        lambda _: "{}",
        lambda _: "[" * 100_000,
        lambda text: text.replace('"count": 2', '"count": "2"'),
        lambda text: text.replace('"statistics": {', '"statistics": [{').replace("\n}", "]\n}"),
        lambda text: text.replace('"problem": ""', '"problem": null'),
        lambda text: json.dumps({**json.loads(text), "written_at": "yesterday"}),
        lambda text: json.dumps({**json.loads(text), "pid": 1e400}),
        lambda text: json.dumps({**json.loads(text), "pid": "17"}),
    ],
)
def test_garbage_is_no_report(root: Root, damage: Any) -> None:
    write_report(root, a_report())
    path = the_file(root)
    path.write_text(damage(path.read_text()))
    assert read_reports(root) == []
    clean_reports(root)


def test_what_is_no_file_is_no_report(root: Root) -> None:
    folder = root.private / "backends"
    (folder / "a.json").mkdir(parents=True)
    (folder / "b.json").symlink_to("/dev/zero")
    assert read_reports(root) == []


def test_keys_of_a_newer_version_are_left_alone(root: Root) -> None:
    write_report(root, a_report())
    path = the_file(root)
    path.write_text(json.dumps({**json.loads(path.read_text()), "mood": "good"}))
    assert [r.backend for r in read_reports(root)] == [CLUSTER]


def test_engines_are_told_of_together_with_the_earliest_outage_and_all_commands() -> None:
    later = utc_text(datetime(2026, 1, 2, 4, tzinfo=UTC))
    told = by_backend(
        [
            a_report(),
            a_report(out_since=later, problem="down", limited_since=later, limit="100 jobs"),
            a_report(out_since=SINCE, problem="hung", accounting_out_since=SINCE, accounting_problem="no"),
        ]
    )[CLUSTER]
    assert (told["out_since"], told["problem"]) == (SINCE, "hung")
    assert (told["limited_since"], told["limit"]) == (later, "100 jobs")
    assert told["accounting_out_since"] == SINCE
    assert told["statistics"]["squeue"] == {
        "count": 6, "failed": 3, "total_s": 2.25, "max_s": 0.5, "last_s": 0.25,
    }  # fmt: skip


def test_people_are_told_what_is_out_since_when_and_nothing_else() -> None:
    assert troubles([a_report()]) == []
    assert troubles([a_report(out_since=SINCE, problem="no route")]) == [
        f"backend {CLUSTER} has not answered since {SINCE}: no route"
    ]
    assert len(troubles([a_report(limited_since=SINCE, limit="x", accounting_out_since=SINCE)])) == 2
