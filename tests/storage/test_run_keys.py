"""Of two that are about to make a run with one key, the store takes one, and leaves nothing of the other."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from matterstack.actors.runtime import Runtime
from matterstack.core.ids import RunId
from matterstack.storage.layout import Root
from matterstack.storage.run_keys import KeyTakenError, RunKey, run_with_key
from matterstack.usecases import runs
from matterstack.usecases.runs import create_run, make_run
from tests.support.campaigns import write_tasks
from tests.support.stored import dump

KEY = RunKey("k", "{}")


@pytest.fixture
def root(root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Root:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_tasks(root.path, "relax", [{"id": "a", "command": ["true"]}])
    return root


def test_the_second_is_refused_with_the_run_of_the_first(connection: sqlite3.Connection, root: Root) -> None:
    first = create_run(root, "relax", {}, Runtime(), key=KEY)
    before = dump(connection)
    with pytest.raises(KeyTakenError) as refused:
        create_run(root, "relax", {}, Runtime(), key=KEY)
    assert refused.value.run_id == first
    assert dump(connection) == before
    assert [path.name for path in (root.workspaces / "relax" / "runs").iterdir()] == [first]
    known = run_with_key(connection, "k")
    assert known is not None
    assert known.run_id == first


@pytest.mark.usefixtures("processes")
async def test_one_who_looked_before_the_other_stored_gets_the_others_run(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[RunId] = []
    known: list[RunId] = []

    def overtaken(*arguments: object, **options: object) -> RunId:
        if not made:
            made.append(create_run(root, "relax", {}, Runtime(), key=KEY))
        return create_run(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(runs, "create_run", overtaken)
    found = await make_run(root, "relax", {}, warn=pytest.fail, key="k", on_known=known.append)
    assert [found] == made == known
