"""SQL stands in `matterstack.storage` alone, so that a change of the schema is made in one room."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
SQL = re.compile(
    r"\b(SELECT\b.+\bFROM\b|INSERT\s+(OR\s+\w+\s+)?INTO\b|UPDATE\s+\w+\s+SET\b|DELETE\s+FROM\b|PRAGMA\s+\w+"
    r"|BEGIN(\s+IMMEDIATE)?$|CREATE\s+TABLE\b)",
    re.DOTALL,
)


def statements(path: Path) -> Iterator[int]:
    """Lines of a module that hold SQL, docstrings apart."""
    tree = ast.parse(path.read_text())
    told = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or id(node) in told:
            continue
        if SQL.search(node.value):
            yield node.lineno


def modules() -> list[Path]:
    found = [*PROJECT.glob("actors/**/*.py"), *PROJECT.glob("backends/**/*.py"), *_package()]
    return sorted(path for path in found if not path.is_relative_to(PROJECT / "matterstack" / "storage"))


def _package() -> Iterator[Path]:
    for folder in (PROJECT / "matterstack").iterdir():
        if not folder.is_symlink():
            yield from [folder] if folder.suffix == ".py" else folder.rglob("*.py")


def test_only_the_storage_holds_sql() -> None:
    found = [f"{path.relative_to(PROJECT)}:{line}" for path in modules() for line in statements(path)]
    assert found == []


def test_sql_is_recognised_where_it_stands() -> None:
    storage = PROJECT / "matterstack" / "storage"
    assert {path.name for path in storage.rglob("*.py") if any(statements(path))} >= {
        "journal.py", "leases.py", "claims.py", "runs.py", "tasks.py", "events.py", "changes.py", "schema.py",
    }  # fmt: skip


@pytest.mark.parametrize("path", ["core", "storage/read"])
def test_readers_write_nothing(path: str) -> None:
    writing = re.compile(r"\b(INSERT|UPDATE|DELETE|REPLACE|IMMEDIATE)\b")
    for module in (PROJECT / "matterstack" / path).rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not writing.search(node.value), f"{module.name}:{node.lineno}"
