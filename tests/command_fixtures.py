"""Fixtures of tests that use the installed command."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.campaigns import Diary
from tests.support.command import CommandLine, command_line_in


@pytest.fixture
def command_line(tmp_path: Path) -> Iterator[CommandLine]:
    """The command on a fresh root; whatever it started is gone after the test."""
    with command_line_in(tmp_path) as command_line:
        yield command_line


@pytest.fixture
def diary(tmp_path: Path) -> Diary:
    """Where tasks of this test note what they do."""
    folder = tmp_path / "diary"
    folder.mkdir()
    return Diary(folder)
