"""Whatever lies in the folder of a question: each face says the same, lists the others, and stops nothing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
import trio

from matterstack.actors.preparing import prepared_attempt
from matterstack.backends import questions
from matterstack.cli import respond_command
from matterstack.client import connect
from matterstack.core.documents.manifests import read_manifest
from matterstack.core.errors import MatterStackError
from matterstack.core.ids import TaskId
from matterstack.core.model.workflow import Workflow
from matterstack.core.operators import ASKED
from matterstack.core.run import messages as m
from matterstack.core.states import JobState
from matterstack.monitor.server import Address, open_monitor
from matterstack.storage.layout import RunFolder, operator_folder
from matterstack.storage.leases import acquire_lease
from matterstack.storage.operator_files import REQUEST, RESPONSE
from matterstack.storage.schema import open_database
from tests.support.disks import small_disk
from tests.support.faces import AN_ORDINARY_USER, ANSWER, FACES, Told, in_a_process
from tests.support.states import task
from tests.support.stored import StoredRun, new_root

ASKS: Final = {"question": "How many?", "fields": {"n": {"type": "integer", "min": 0}}}
NO_MANIFEST: Final = {"questoin": "How many?"}


@attrs.frozen
class Desk:
    """A run that has asked in ``ask`` and in ``other``, in a store that nobody else serves."""

    stored: StoredRun

    @property
    def root(self) -> Path:
        return self.stored.root.path

    @property
    def run_folder(self) -> RunFolder:
        return self.stored.root.run_folder("demo", self.stored.run_id)

    @property
    def folder(self) -> Path:
        return self.run_folder.operator(TaskId("ask"))

    def told(self, face: str, *tasks: str) -> Told:
        return FACES[face](self.root, self.stored.run_id, tasks or ("ask", "other"))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setattr(respond_command, "PATIENCE_S", 0.0)
    monkeypatch.setenv("HOME", str(tmp_path))
    root = new_root(tmp_path / "root")
    with closing(open_database(root.database)) as connection:
        # Its lease stays taken: no engine of a face takes the run up, and mends what is looked at here.
        stored = StoredRun.create(connection, root)
        asking = [
            task(name, operator="human", command=[], params=params)
            for name, params in (("ask", ASKS), ("other", ASKS), ("vague", NO_MANIFEST))
        ]
        over = task("over", operator="human", command=[], params=ASKS)
        workflow = Workflow([*asking, over, task("work")])
        stored.tell(m.Start(), m.Planned(iteration=1, workflow=workflow))
        stored.run.prepare(backend=ASKED)
        stored.run.submit("ask", "other", "vague", "over")
        stored.run.end("over", JobState.COMPLETED_OK)
        stored.run.collect("over")
        stored.commit()
        desk = Desk(stored)
        for name in ("ask", "other"):
            attempt = stored.run.state.tasks[TaskId(name)].last_attempt
            assert attempt is not None
            prepared = prepared_attempt(stored.run.state, desk.run_folder, attempt)
            request = questions.request_of(questions.question_of(prepared), read_manifest("human", ASKS))
            questions.ask(operator_folder(prepared.folder), request)
        yield desk
        assert stored.lease is not None
        stored.lease.release(connection)


def _link(folder: Path) -> None:
    shutil.move(folder, folder.parents[3] / "elsewhere")
    folder.symlink_to(folder.parents[3] / "elsewhere")


def _file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("")


def _request(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / REQUEST).write_text(text)


def _fifo(folder: Path) -> None:
    (folder / REQUEST).unlink()
    os.mkfifo(folder / REQUEST)


def _large(folder: Path) -> None:
    os.truncate(folder / REQUEST, 17 << 20)


def _inner_folder(folder: Path) -> None:
    (folder / REQUEST).unlink()
    (folder / REQUEST).mkdir()


AGAIN: Final = "the question is put there again by the engine that serves the run, and by an answer"


@attrs.frozen
class Case:
    """What somebody does to the folder, and what each face says then.

    Attributes:
        problem: begins with the file that is meant, below ``operators``.
        refusal: code and words where the answer is refused; None: it is taken.
    """

    do: Callable[[Path], object]
    problem: str
    refusal: tuple[str, str] | None = None


CASES: Final = {
    "a link": Case(_link, "ask: 'ask' is a symbolic link (take it away", ("refused", "is a symbolic link")),
    "a file": Case(_file, "ask: 'ask' is no folder (take it away", ("refused", "'ask' is no folder")),
    "gone": Case(shutil.rmtree, f"ask: is not there; {AGAIN}"),
    "gone question": Case(
        lambda folder: (folder / REQUEST).unlink(), f"ask/request.json: is not there; {AGAIN}"
    ),
    "no JSON": Case(
        _request('{"attempt": 1'),
        f"ask/request.json: is no question: it is no JSON object with an attempt; {AGAIN}",
    ),
    "earlier": Case(
        _request('{"attempt": 0}'),
        f"ask/request.json: is the question of attempt 0, and attempt 1 is asked; {AGAIN}",
    ),
    "later": Case(
        _request('{"attempt": 7}'),
        "ask/request.json: is the question of attempt 7, and attempt 1 is asked; delete it: the engine that",
        ("refused", "was asked anew"),
    ),
    "FIFO": Case(_fifo, f"ask/request.json: cannot be read: is no regular file; {AGAIN}"),
    "too large": Case(_large, f"ask/request.json: is no question: it has more than 16 MiB; {AGAIN}"),
    "a folder": Case(
        _inner_folder,
        "ask/request.json: cannot be read: is no regular file",
        ("store", "request.json: Is a dir"),
    ),
    "answered": Case(
        lambda folder: (folder / RESPONSE).write_text("{}"), "", ("refused", "has an answer already")
    ),
    "odd answer": Case(lambda folder: os.mkfifo(folder / RESPONSE), "", ("refused", "has an answer already")),
}  # fmt: skip


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_lies_in_the_folder_is_told_in_words_and_the_others_are_listed(
    desk: Desk, face: str, case: Case
) -> None:
    case.do(desk.folder)
    assert_told(desk, desk.told(face), case)


def assert_told(desk: Desk, told: Told, case: Case) -> None:
    operators = f"{desk.folder.parent}/"
    assert told.problems["ask"].startswith(operators + case.problem if case.problem else "")
    assert bool(told.problems["ask"]) == bool(case.problem)
    assert told.problems["other"] == ""
    if case.refusal is None:
        assert told.error is None, told.error
        assert json.loads((desk.folder / RESPONSE).read_text()) == ANSWER
        assert json.loads((desk.folder / REQUEST).read_text())["attempt"] == 1
        return
    assert told.error is not None
    code, words = case.refusal
    assert (told.error["code"], words in told.error["message"]) == (code, True), told.error
    assert str(desk.folder) in told.error["message"] + told.error["hint"], "the file is named"
    assert told.error["hint"], "and what to do"


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("work", "refused", "task work is a compute task and asks nobody"),
        ("over", "refused", "task over is SUCCEEDED and waits for no answer"),
        ("vague", "refused", "task vague is about to fail: params.question: is missing"),
        ("nobody", "not_found", "has no task 'nobody'"),
    ],
)
def test_what_is_no_open_question_takes_no_answer(
    desk: Desk, face: str, name: str, code: str, words: str
) -> None:
    error = desk.told(face, name).error
    assert error is not None
    assert (error["code"], words in error["message"]) == (code, True), error


@pytest.mark.parametrize("face", FACES)
def test_of_a_run_that_is_not_there_nothing_is_answered(desk: Desk, face: str) -> None:
    told = FACES[face](desk.root, "20260102T030405-nobody", ["ask"])
    assert told.problems == {}
    assert told.error is not None
    assert (told.error["code"], told.error["message"]) == ("not_found", "no run 20260102T030405-nobody")


def test_a_command_that_cannot_be_carried_out_is_told_and_the_connection_goes_on(desk: Desk) -> None:
    lease, run_id = desk.stored.lease, desk.stored.run_id
    assert lease is not None
    lease.release(desk.stored.connection)
    lock = desk.stored.root.locks / f"{run_id}.lock"
    lock.unlink()
    lock.mkdir()  # so that nobody can serve the run

    async def body() -> list[str]:
        async with open_monitor(desk.stored.root, Address(port=0)) as served:
            token = served.token_file.read_text().strip()
            async with connect(f"http://127.0.0.1:{served.port}", token) as client:
                said: list[str] = []
                for run in (run_id, "20260102T030405-nobody", run_id):
                    with pytest.raises(MatterStackError) as refused:
                        await client.pause(run)
                    said.append(f"{refused.value.code}: {refused.value}")
                return said

    unserved = f"store: {lock}: Is a directory"
    assert trio.run(body) == [unserved, "not_found: no run 20260102T030405-nobody", unserved]
    lock.rmdir()
    desk.stored.lease = acquire_lease(desk.stored.connection, desk.stored.root, run_id)


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("face", FACES)
def test_rights_that_are_missing_are_told_and_named(desk: Desk, face: str) -> None:
    (desk.folder / REQUEST).chmod(0)
    wrapper = AN_ORDINARY_USER if os.geteuid() == 0 else []
    closed = f"ask/request.json: cannot be read: Permission denied; {AGAIN}"

    def told() -> Told:
        return in_a_process(wrapper, face, desk.root, desk.stored.run_id, ["ask", "other"])

    desk.folder.chmod(0o500)
    assert_told(desk, told(), Case(os.stat, closed, ("store", "request.json: Permission denied")))
    desk.folder.chmod(0)
    assert_told(
        desk, told(), Case(os.stat, "ask: Permission denied (it must be", ("store", "ask: Permission denied"))
    )
    desk.folder.chmod(0o700)
    assert_told(desk, told(), Case(os.stat, closed))


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("face", FACES)
def test_a_full_disk_is_told_and_leaves_no_part_of_an_answer(desk: Desk, face: str) -> None:
    operators = desk.folder.parent
    kept = {path: path.read_bytes() for path in operators.rglob("request.json")}
    with small_disk(operators, "256k") as disk:
        for path, text in kept.items():
            inside = disk.path / path.relative_to(operators)
            inside.parent.mkdir()
            inside.write_bytes(text)
        disk.fill()
        told = in_a_process(disk.wrapper, face, desk.root, desk.stored.run_id, ["ask", "other"])
        left: list[Any] = sorted(path.name for path in (disk.path / "ask").iterdir())
    assert_told(desk, told, Case(os.stat, "", ("disk_full", "response.json: the disk is full")))
    assert left == [REQUEST]
