"""A root with an empty store."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from matterstack.storage.layout import Root
from matterstack.storage.schema import open_database
from tests.support.stored import new_root


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return new_root(tmp_path / "root")


@pytest.fixture
def connection(root: Root) -> Iterator[sqlite3.Connection]:
    connection = open_database(root.database)
    yield connection
    connection.close()
