"""A root for host programs, from which nothing is left running."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

from matterstack.storage.layout import Root
from matterstack.storage.read.events import event_lines
from matterstack.storage.schema import open_database
from tests.embed.hosts import PATIENCE_S
from tests.support.campaigns import Diary, write_tasks
from tests.support.command import MARK
from tests.support.history import assert_history
from tests.support.polling import wait_until
from tests.support.process import Process, killed


@attrs.frozen
class Home:
    """A root, and where its tasks note what they do."""

    root: Path
    diary: Diary

    def write(self, slug: str, *tasks: Mapping[str, Any], root: Path | None = None) -> str:
        """Write a workspace that plans these tasks once; returns its name."""
        write_tasks(root or self.root, slug, tasks)
        return slug

    def events(self, root: Path | None = None, run: str | None = None) -> list[dict[str, Any]]:
        """What the store has."""
        store = open_database(Root(root or self.root).database)
        try:
            lines = [line for _, line in event_lines(store, 0, None, most=100_000)]
        finally:
            store.close()
        return [line for line in lines if run in {None, line["run"]}]


def _left(mark: str) -> set[Process]:
    return {p for p in Process.all() if p.pid != os.getpid() and f"{MARK}={mark}" in p.environment}


@pytest.fixture
def home(tmp_path: Path, diary: Diary, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    root, mark = tmp_path / "root", uuid.uuid4().hex
    (root / "workspaces").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path))  # without its user's own configuration
    monkeypatch.setenv(MARK, mark)
    yield Home(root, diary)
    wait_until(lambda: killed(_left(mark)) and not _left(mark), PATIENCE_S, "the end of all jobs")
    if Root(root).database.exists():
        assert_history(Root(root))
