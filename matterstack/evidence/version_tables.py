"""What a bundle has of changes beside its report: ``changes.csv``, ``definitions.jsonl``, earlier configs.

They are there only where something was changed.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any, Final

from matterstack.core.run import facts as f
from matterstack.evidence.lineage import Definition, definition_text, text_sha256
from matterstack.evidence.presentation import View, pretty_json
from matterstack.evidence.run_changes import RunChange
from matterstack.evidence.tables import cell

CHANGES: Final = "changes.csv"
DEFINITIONS: Final = "definitions.jsonl"
CONFIGS: Final = "configs"
COLUMNS: Final = ("change", "at", "what", "by", "reason", "task_id", "version", "path", "old", "new")


def version_files(view: View) -> Iterator[tuple[str, bytes]]:
    """All of them that the bundle has."""
    if not view.survey.tells_versions:
        return
    history = view.history
    if history.changes.all:
        yield CHANGES, _changes_csv(view)
    if history.lineage.definitions:
        yield DEFINITIONS, _definitions_jsonl(view)
    for version in history.lineage.configs[:-1]:
        yield config_place(view, version.number), pretty_json(version.config)


def config_place(view: View, number: int) -> str:
    """Where a config is in the bundle; the newest one where it always is."""
    return "config.json" if number == view.history.lineage.config else f"{CONFIGS}/{number}.json"


def _definitions_jsonl(view: View) -> bytes:
    """A line for each definition of tasks that have had more than one."""
    text = io.StringIO()
    for task_id, known in view.history.definitions():
        for definition in known:
            text.write(_definition_line(task_id, definition))
    return text.getvalue().encode()


def _definition_line(task_id: str, definition: Definition) -> str:
    text = definition_text(definition.task)
    head = {
        "task_id": task_id,
        "version": definition.number,
        "since": definition.at,
        "campaign": definition.campaign,
        "sha256": text_sha256(text),
    }
    return f'{json.dumps(head)[:-1]}, "definition": {text}}}\n'


def _changes_csv(view: View) -> bytes:
    """A row for each value of a task or the config, and each file of the campaign, that changed."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for change in view.history.changes.all:
        by = [cell(change.by), cell(change.reason)]
        head = [change.number, change.at]
        writer.writerows([*head, change.kind.value, *by, *row] for row in _rows(change))
        for became, tasks in change.became.items():
            what = f"{change.kind}: {became}"
            writer.writerows([*head, what, *by, task_id, "", "", "", ""] for task_id in tasks)
    return text.getvalue().encode()


def _rows(change: RunChange) -> Iterator[list[object]]:
    fact = change.fact
    if isinstance(fact, f.ConfigAmended):
        for one in fact.changes:
            old, new = "" if one.is_new else _json(one.old), "" if one.is_gone else _json(one.new)
            yield ["", change.version, cell(one.path), old, new]
    elif isinstance(fact, f.CampaignChanged):
        for path, digest in fact.files.items():
            yield ["", change.version, cell(path), fact.before.get(path, ""), digest]
    elif change.values:
        for (task_id, version), values in zip(change.tasks.items(), change.values, strict=True):
            for path, value in values.items():
                yield [task_id, version, cell(path), _json(value.old), _json(value.new)]
    elif change.tasks:
        for task_id in change.tasks:
            yield [task_id, "", "", "", ""]
    else:
        yield ["", "", "", "", ""]


def _json(value: Any) -> str:  # noqa: ANN401  any JSON
    return cell(json.dumps(value, ensure_ascii=False)) if value is not None else ""
