"""A head that was written down finds every change of the events up to it, with nothing else."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from matterstack.core.errors import DatabaseCorruptError, NotFoundError, UsageError
from matterstack.core.run import messages as m
from matterstack.core.run.chain import chain_of
from matterstack.evidence.head_search import LaterEvent, later_in_store, search_head
from matterstack.evidence.history import read_history
from matterstack.evidence.survey import parse_survey, survey_bytes
from matterstack.evidence.verify import verify_bundle
from matterstack.storage.codec import dumps
from matterstack.storage.heads import head_of
from matterstack.storage.layout import Root
from tests.evidence.bundles import export
from tests.evidence.stage import half_done, stage, told
from tests.support.states import RUN_ID
from tests.support.stored import chain_again, new_root

pytestmark = pytest.mark.usefixtures("drawn_once")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that nobody touches."""
    return export(told(tmp_path_factory.mktemp("told") / "root", "COMPLETED")).path


@pytest.fixture
def bundle(whole: Path, tmp_path: Path) -> Path:
    """A copy of it, to be spoilt."""
    return Path(shutil.copytree(whole, tmp_path / "bundle"))


def lines_of(folder: Path) -> list[bytes]:
    return (folder / "events.jsonl").read_bytes().splitlines(keepends=True)


def write_lines(folder: Path, lines: list[bytes]) -> None:
    (folder / "events.jsonl").write_bytes(b"".join(lines))


def test_the_head_of_the_store_is_that_of_the_last_event_of_a_bundle(tmp_path: Path) -> None:
    root = new_root(tmp_path / "root")
    with stage(root) as made:
        half_done(made)
        folder = export(root).path
        head = head_of(made.stored.connection, RUN_ID)
        history, _ = read_history(made.stored.connection, RUN_ID)
    assert head is not None
    assert (history.head, history.seq) == (head.head, head.seq)
    found = search_head(folder, head.head)
    assert (found.seq, found.at, found.later) == (head.seq, history.as_of, ())
    assert found.events == len(lines_of(folder))


def test_a_head_of_earlier_is_found_with_all_that_came_after_it(tmp_path: Path) -> None:
    root = new_root(tmp_path / "root")
    with stage(root) as made:
        half_done(made)
        then = head_of(made.stored.connection, RUN_ID)
        made.tell(m.Pause(by="ann"), m.Resume(by="ann"))
        folder = export(root).path
    assert then is not None
    found = search_head(folder, then.head)
    later = [json.loads(line) for line in lines_of(folder)[-2:]]
    assert found.seq == then.seq
    assert found.later == tuple(LaterEvent(e["seq"], e["at"], e["type"]) for e in later)
    assert [event.type for event in found.later] == ["RunPaused", "RunResumed"]


def test_the_head_of_every_event_is_found(whole: Path) -> None:
    lines = lines_of(whole)
    for place, head in enumerate(chain_of(lines)):
        found = search_head(whole, head.upper())
        assert found.is_found
        assert (found.seq, len(found.later)) == (json.loads(lines[place])["seq"], len(lines) - place - 1)


def changed(line: bytes) -> bytes:
    event = json.loads(line)
    event["at"] = f"{event['at'][:-2]}{(int(event['at'][-2]) + 1) % 10}Z"
    return dumps(event).encode() + b"\n"


FORGERIES: dict[str, Callable[[list[bytes], int], list[bytes]]] = {
    "another time": lambda lines, n: [*lines[:n], changed(lines[n]), *lines[n + 1 :]],
    "one that is left out": lambda lines, n: [*lines[:n], *lines[n + 1 :]],
    "one that comes twice": lambda lines, n: [*lines[:n], lines[0], *lines[n:]],
    "one in another place": lambda lines, n: [lines[n], *lines[:n], *lines[n + 1 :]] if n else lines[1:],
    "a space": lambda lines, n: [*lines[:n], lines[n].replace(b",", b", ", 1), *lines[n + 1 :]],
    "what comes after it as well": lambda lines, n: lines[:n],
}


@pytest.mark.parametrize("name", FORGERIES)
def test_no_event_up_to_the_head_can_be_forged(bundle: Path, name: str) -> None:
    """The dropped last event among them: everything else can be made to fit, and the head cannot."""
    lines = lines_of(bundle)
    *_, head = chain_of(lines)
    for place in range(len(lines)):
        write_lines(bundle, FORGERIES[name](lines, place))
        found = search_head(bundle, head)
        assert not found.is_found, place
        assert head in found.problem
    write_lines(bundle, lines)
    assert search_head(bundle, head).is_found


@pytest.mark.parametrize("tail", [b"\xff\n", b"[]\n", b"no newline", b'{"seq":"x"}\n', b"[" * 100_000])
def test_what_came_after_the_head_may_be_anything(bundle: Path, tail: bytes) -> None:
    lines = lines_of(bundle)
    *_, head = chain_of(lines)
    write_lines(bundle, [*lines, tail])
    found = search_head(bundle, head)
    assert (found.is_found, found.later) == (True, (LaterEvent(None, "", ""),))


@pytest.mark.parametrize("head", ["", "f" * 63, "f" * 65, "g" * 64, "--"])
def test_what_is_no_head_is_refused(whole: Path, head: str) -> None:
    with pytest.raises(UsageError, match="64 hexadecimal digits"):
        search_head(whole, head)


def test_where_there_are_no_events_there_is_no_head(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        search_head(tmp_path / "nowhere", "f" * 64)
    with pytest.raises(NotFoundError, match=r"events\.jsonl"):
        search_head(tmp_path, "f" * 64)


def test_the_events_of_a_changed_store_become_no_evidence(tmp_path: Path) -> None:
    """It would fit itself."""
    root = new_root(tmp_path / "root")
    with stage(root) as made:
        half_done(made)
        made.stored.connection.execute("UPDATE events SET at = '2026-01-01T00:00:01.500000Z' WHERE seq = 3")
        with pytest.raises(DatabaseCorruptError, match="are not those that were stored"):
            export(Root(root.path))


def test_a_bundle_of_earlier_is_told_from_one_of_now_by_the_store(tmp_path: Path) -> None:
    """Whose last events were dropped is one of earlier: everything in it can be made to fit."""
    root = new_root(tmp_path / "root")
    with stage(root) as made:
        half_done(made)
        folder = export(root).path
        assert later_in_store(folder, root) == ()
        made.tell(m.Pause(by="ann"), m.Resume(by="ann"))
        assert [event.type for event in later_in_store(folder, root)] == ["RunPaused", "RunResumed"]
        (folder / "evidence.json").write_text("{}")
        assert later_in_store(folder, root) == ()


def test_a_bundle_of_a_store_that_was_changed_does_not_fit_that_store(tmp_path: Path) -> None:
    root = new_root(tmp_path / "root")
    with stage(root) as made:
        half_done(made)
        store = made.stored.connection
        store.execute("UPDATE events SET at = '2026-01-01T00:00:01.500000Z' WHERE seq = 3")
        kept = store.execute("SELECT seq, previous FROM events").fetchall()
        heads = store.execute("SELECT head, run_id FROM heads").fetchall()
        chain_again(store)
        folder = export(root).path
        assert verify_bundle(folder, root) == []
        for seq, previous in kept:
            store.execute("UPDATE events SET previous = ? WHERE seq = ?", (previous, seq))
        store.executemany("UPDATE heads SET head = ? WHERE run_id = ?", heads)
        assert verify_bundle(folder) == []
        (finding,) = verify_bundle(folder, root)
        assert "is not what was stored in it" in finding.problem


def test_a_bundle_says_its_head_and_what_that_cannot_speak_for(tmp_path: Path) -> None:
    root = new_root(tmp_path / "root")
    with stage(root) as made:
        half_done(made)
        folder = export(root).path
        survey = parse_survey((folder / "evidence.json").read_bytes())
        head = head_of(made.stored.connection, RUN_ID)
        assert head is not None
        assert (survey.head, survey.chained_to) == (head.head, 0)
        for name in ("report.md", "report.html", "ro-crate-metadata.json"):
            assert head.head in (folder / name).read_text()
            assert "from before there were heads" not in (folder / name).read_text()
        assert verify_bundle(folder, root) == []
        chain_again(made.stored.connection)  # as when an older store is brought up to date
        folder = export(root).path
    assert parse_survey((folder / "evidence.json").read_bytes()).chained_to == head.seq
    assert f"events up to {head.seq} are from before there were heads" in (folder / "report.md").read_text()
    assert verify_bundle(folder, root) == []


def test_a_bundle_that_says_another_head_than_its_events_is_found(bundle: Path) -> None:
    *_, head = chain_of(lines_of(bundle))
    text = (bundle / "evidence.json").read_text()
    (bundle / "evidence.json").write_text(text.replace(head, "0" * 64))
    problems = {f.problem for f in verify_bundle(bundle) if f.path == "evidence.json"}
    assert f"has the head {'0' * 64}, and events.jsonl gives {head}" in problems


def test_the_survey_of_a_bundle_of_before_there_were_heads_is_the_same_once_more(bundle: Path) -> None:
    survey = json.loads((bundle / "evidence.json").read_bytes())
    del survey["head"]
    old = parse_survey(json.dumps(survey).encode())
    assert json.loads(survey_bytes(old)) == survey


@pytest.mark.usefixtures("processes")
def test_the_lines_of_python_in_the_manual_give_the_head_of_a_bundle(bundle: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "evidence.md").read_text()
    (script,) = re.findall(r"events\.jsonl <<'EOF'\n(.*?)EOF\n", page, re.DOTALL)
    assert len(script.splitlines()) <= 10
    command = [sys.executable, "-", str(bundle / "events.jsonl")]
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=True)
    *_, head = chain_of(lines_of(bundle))
    assert done.stdout.strip() == head
    assert search_head(bundle, done.stdout).is_found
