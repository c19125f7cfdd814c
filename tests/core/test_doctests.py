"""Examples in docstrings are true."""

import doctest
import importlib
from pathlib import Path
from typing import Final

import pytest

import matterstack

PACKAGE: Final = Path(matterstack.__file__).parent


def modules_with_examples() -> list[str]:
    """Names of all modules (those behind the links ``actors`` and ``backends`` too) that hold an example."""
    folders = (PACKAGE, PACKAGE / "actors", PACKAGE / "backends")  # rglob does not follow links
    files = {file for folder in folders for file in folder.rglob("*.py") if ">>> " in file.read_text()}
    return sorted(".".join(f.relative_to(PACKAGE.parent).with_suffix("").parts) for f in files)


@pytest.mark.parametrize("name", modules_with_examples())
def test_the_examples_of_a_module_are_true(name: str) -> None:
    module = importlib.import_module(name.removesuffix(".__init__"))
    said: list[str] = []
    runner = doctest.DocTestRunner()
    for one in doctest.DocTestFinder().find(module):
        runner.run(one, out=said.append)
    assert runner.tries > 0, "the text holds an example that is in no docstring"
    assert runner.failures == 0, "".join(said)


def test_examples_are_found_in_the_core_and_behind_the_links() -> None:
    names = modules_with_examples()
    assert {"matterstack.core.ids", "matterstack.core.model.patterns", "matterstack.core.states"} <= set(
        names
    )
    assert any(name.startswith("matterstack.backends.") for name in names)
