"""Damaged bundles, archives, records, answers and configs end in one sentence, whatever was done to them.

2,000 of them here; `make fuzz` tries 100,000.
"""

import re
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from tests.fuzz.cases import HANGS_AFTER_S, replay, try_cases
from tests.fuzz.mutations import damage_file, damaged_json, damaged_lines

PORTIONS = 4
CASES = 500
PROJECT = Path(__file__).parents[2]


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("portion", range(PORTIONS))
def test_damaged_documents_end_in_one_sentence(portion: int) -> None:
    """In a process of its own, whose memory is bounded."""
    command = (
        *("-m", "tests.fuzz", "--processes", "1", "--cases", str(CASES)),
        *("--first", str(portion * CASES)),
    )
    done = subprocess.run(
        (sys.executable, *command), cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert re.search(rf"^{CASES} cases, 0 failures$", done.stdout, re.MULTILINE), done.stdout + done.stderr
    assert done.returncode == 0


def test_a_reader_that_raises_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("exit_code")

    monkeypatch.setattr("tests.fuzz.targets.read_exit_record", broken)
    tried, failures = try_cases(0, 10)
    assert tried == 10
    found = {failure.name for failure in failures}
    assert found
    assert {name.partition(":")[0] for name in found} == {"record"}
    assert all("KeyError: 'exit_code'" in failure.problem for failure in failures)
    monkeypatch.undo()
    assert replay(found.pop()) == ""


def test_a_reader_that_hangs_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object) -> None:
        while True:
            pass

    assert HANGS_AFTER_S > 1
    monkeypatch.setattr("tests.fuzz.cases.HANGS_AFTER_S", 1)
    monkeypatch.setattr("tests.fuzz.targets.read_exit_record", hang)
    assert replay("record:0").startswith("it is at work for more than 1 s")


def test_a_case_is_the_same_again(tmp_path: Path) -> None:
    for name, text in (("a.json", b'{"a": [1, 2, {"b": null}], "c": "d"}'), ("b.jsonl", b'{"a": 1}\n' * 9)):
        made = []
        for folder in (tmp_path / "one", tmp_path / "two"):
            folder.mkdir(exist_ok=True)
            for seed in range(50):
                file = folder / f"{seed}-{name}"
                file.write_bytes(text)
                damage_file(Random(seed), file)  # noqa: S311  no secrets here
            made.append(sorted(path.name for path in folder.iterdir()))
        assert made[0] == made[1]
    assert len({damaged_json(Random(seed), b'{"a": [1, 2]}') for seed in range(100)}) > 50  # noqa: S311
    assert len({damaged_lines(Random(seed), b"1\n2\n3\n") for seed in range(100)}) > 20  # noqa: S311
