"""A bundle costs what its tasks cost: twice the tasks, twice the work, and no more memory than there must be.

Counted, not timed: calls of functions, and the memory of a process of its own.
"""

from functools import partial
from pathlib import Path
from typing import Final

import pytest

from matterstack.evidence.contents import closing_files, copied_files, derived_files, payload_file
from matterstack.evidence.history import fold_events, parse_lines
from matterstack.evidence.presentation import View
from matterstack.evidence.survey import parse_survey
from tests.evidence.bundles import export
from tests.evidence.crowd import crowd
from tests.evidence.processes import EXPORT, peak_kib
from tests.support.counting import calls_of
from tests.support.states import RUN_ID

MOST_MIB: Final = 300
PROMISED: Final = 10_000
"""Tasks for which that much memory must do."""


def make_again(folder: Path) -> None:
    """Make everything in a bundle from its events and its survey."""
    history = fold_events(parse_lines((folder / "events.jsonl").read_bytes()))
    survey = parse_survey((folder / "evidence.json").read_bytes())
    view = View(history, survey, lambda place: (folder / place).read_bytes())
    payload = {**dict(copied_files(survey)), "events.jsonl": payload_file(b"")}
    payload |= {path: payload_file(data) for path, data in derived_files(view)}
    list(closing_files(view, payload))


def test_the_cost_of_a_bundle_grows_linearly_with_its_tasks(tmp_path: Path) -> None:
    # All of them are drawn in the same way: as a crowd.
    folders = [export(crowd(tmp_path / str(n), n)).path for n in (450, 550, 650)]
    calls = [calls_of(partial(make_again, folder)) for folder in folders]
    first, second = calls[1] - calls[0], calls[2] - calls[1]
    assert 0.8 < second / first < 1.2


@pytest.mark.usefixtures("processes")
def test_ten_thousand_tasks_need_less_memory_than_promised(tmp_path: Path) -> None:
    peak = peak_kib(EXPORT, str(crowd(tmp_path / "root", PROMISED).path), RUN_ID)
    assert 1 << 16 < peak < MOST_MIB * 1024, f"{peak} KiB"
