"""The log of a serving command: for people, or one JSON object in each line."""

from __future__ import annotations

import fcntl
import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import trio

from matterstack.cli import logs
from matterstack.cli.log_options import LogOptions
from matterstack.cli.logs import log_to_file
from matterstack.core.errors import BackendError
from matterstack.core.log_context import about_backend, about_run, log_about, log_fields, log_place
from tests.support.campaigns import Diary, write_tasks
from tests.support.command import CommandLine
from tests.support.engine import flat, make_world, on_virtual_clock

LOGGER = logging.getLogger("matterstack.test")


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _log() -> None:
    LOGGER.debug("small")
    with log_about(run="r1", backend="b1"):
        LOGGER.info("of %s", "something")
    with log_about(run="r2"):
        try:
            raise ValueError("two\nlines \udcff")
        except ValueError:
            LOGGER.exception("run r2 broke")


def test_json_lines_have_all_fields_and_stay_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with log_to_file(tmp_path / "log", LogOptions(as_json=True, level="debug")):
        _log()
    small, plain, broken = lines_of(tmp_path / "log")
    assert (small["level"], small["message"]) == ("debug", "small")
    assert "run" not in small
    assert plain == {
        "at": plain["at"],
        "level": "info",
        "logger": "matterstack.test",
        "message": "of something",
        "run": "r1",
        "backend": "b1",
        "pid": plain["pid"],
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", plain["at"])
    assert (broken["level"], broken["run"]) == ("error", "r2")
    assert broken["traceback"].endswith("ValueError: two\nlines \udcff")
    assert [json.loads(line) for line in capsys.readouterr().err.splitlines()] == [broken]


def test_people_get_text_and_no_traceback_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with log_to_file(tmp_path / "log"), pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        LOGGER.debug("small")
        with log_about(run="r1", backend="b1"):
            LOGGER.info("of b1")
        try:
            raise ValueError("bad")
        except ValueError:
            LOGGER.exception("it broke")
    first, second, *trace = (tmp_path / "log").read_text().splitlines()
    assert re.fullmatch(r"\S+T\S+Z \d+ INFO matterstack.test \[run r1\]: of b1", first)
    assert second.endswith("ERROR matterstack.test: it broke")
    assert trace[-1] == "ValueError: bad"
    assert capsys.readouterr().err == "error: it broke\n"


@pytest.mark.parametrize(("level", "count"), [("debug", 3), ("info", 2), ("warning", 1), ("error", 1)])
def test_levels_are_what_is_least_written(tmp_path: Path, level: str, count: int) -> None:
    with log_to_file(tmp_path / "log", LogOptions(as_json=True, level=level)):
        _log()
    assert len(lines_of(tmp_path / "log")) == count
    logger = logging.getLogger("matterstack")
    assert (logger.level, logger.propagate, logger.handlers) == (logging.NOTSET, True, [])


def test_engines_that_share_a_log_rotate_it_once_and_lose_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "MOST_BYTES", 1000)
    log, rotated, before = tmp_path / "log", tmp_path / "log.1", tmp_path / "log.2"
    mine, others = (
        logs._SharedFile(log, maxBytes=1000, backupCount=2, encoding="utf-8") for _engine in range(2)
    )

    def tell(engine: logging.Handler, text: str) -> None:
        engine.emit(logging.makeLogRecord({"msg": text}))

    tell(mine, "x" * 900)
    with log.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        tell(others, "y" * 200)
    assert len(log.read_text().split()) == 2, "whoever cannot rotate it now writes on"
    assert not rotated.exists()
    tell(mine, "first")
    tell(others, "second")
    assert rotated.read_text().split() == ["x" * 900, "y" * 200]
    assert log.read_text().split() == ["first", "second"]
    # As after a look at the size that came before the other's rotation.
    tell(mine, "z" * 1000)
    others.doRollover()
    assert before.read_text().split() == ["x" * 900, "y" * 200]
    assert rotated.read_text().split() == ["first", "second"]
    assert log.read_text().split() == ["z" * 1000]
    log.unlink()
    tell(mine, "u" * 900)
    tell(mine, "v" * 200)
    tell(others, "small enough for the one that was put aside")
    assert log.read_text() == "v" * 200 + "\nsmall enough for the one that was put aside\n"
    log.unlink()
    tell(others, "after somebody removed it")
    assert log.read_text() == "after somebody removed it\n"
    mine.close()
    others.close()


def test_where_tracebacks_are_is_known_from_how_the_program_logs(tmp_path: Path) -> None:
    with log_to_file(tmp_path / "engine.log"):
        assert log_place() == str(tmp_path / "engine.log")
    assert log_place() == "the log of the program that served it"
    of_host = logging.FileHandler(tmp_path / "host.log", delay=True)
    logging.getLogger().addHandler(of_host)
    try:
        assert log_place() == str(tmp_path / "host.log")
        logging.getLogger("matterstack").propagate = False
        assert log_place() == "the log of the program that served it"
    finally:
        logging.getLogger("matterstack").propagate = True
        logging.getLogger().removeHandler(of_host)


async def test_what_work_is_about_is_known_in_its_tasks_and_threads_and_nowhere_else() -> None:
    seen: dict[str, dict[str, str]] = {}

    async def note(name: str) -> None:
        seen[name] = await trio.to_thread.run_sync(log_fields)

    async def run() -> None:
        await note("run")
        nursery.start_soon(about_backend("b", lambda: note("backend")))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(about_run("r", run))
    await about_run("r", note, "inside")()
    await note("outside")
    assert seen == {"run": {"run": "r"}, "backend": {"backend": "b"}, "inside": {"run": "r"}, "outside": {}}


def test_an_engine_logs_as_it_is_told(command_line: CommandLine, diary: Diary) -> None:
    write_tasks(command_line.root, "one", [diary.task("a")])
    log = command_line.root / ".matterstack" / "engine.log"
    command_line.ok("run", "start", "one", "--log-format", "json")
    (line,) = lines_of(log)
    assert line["message"].startswith(f"{command_line.root}/.matterstack/state.db: journal mode")
    command_line.ok("run", "start", "one", "--log-level", "warning")
    assert len(lines_of(log)) == 1
    command_line.ok("run", "loop", "--until-done")
    assert " INFO matterstack.engine: " in log.read_text().splitlines()[-1]
    assert command_line.run("run", "loop", "--log-level", "loud").exit_code == 2


@on_virtual_clock
async def test_an_engine_knows_which_run_or_backend_its_lines_are_about(tmp_path: Path) -> None:
    world = make_world(tmp_path / "root")
    seen: set[tuple[str, str, str]] = set()

    class Noting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            fields = log_fields()
            seen.add((record.name, fields.get("run", ""), fields.get("backend", "")))

    logger, noting = logging.getLogger("matterstack"), Noting()
    logger.addHandler(noting)
    try:
        world.campaign("broken", flat(1), crashes=[KeyError("x")])
        run_id = world.create("broken")
        world.cluster.faults["submit"] = [BackendError("it is down")]
        await world.serve_until_done()
    finally:
        logger.removeHandler(noting)
        world.connection.close()
    assert ("matterstack.actors.supervisor", run_id, "") in seen
    assert ("matterstack.actors.backend", "", "fake") in seen
    assert all(not (run and backend) for _, run, backend in seen)
