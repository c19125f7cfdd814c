"""The commands that serve: ``monitor``, and ``run loop --serve``."""

from __future__ import annotations

import json
import signal

import pytest
import trio

from matterstack.cli.monitor_command import parse_address
from matterstack.client import connect
from matterstack.core.errors import UsageError
from tests.monitor.conftest import PATIENCE_S
from tests.monitor.page_support import site_on
from tests.support.campaigns import Diary, write_tasks
from tests.support.command import CommandLine
from tests.support.polling import wait_until


async def test_an_event_that_another_process_commits_reaches_who_listens(command_line: CommandLine) -> None:
    command_line.check_at_end = False  # the run has no folder
    with site_on(command_line) as site:
        run = site.new_run("run")
        site.start()
        async with connect(site.url, site.token, after=0) as client:
            for number in range(1, 20):
                with trio.fail_after(PATIENCE_S):
                    while (await anext(client))["seq"] < len(site.seqs("run")):
                        pass
                run.tell(*site.turn("run", by=f"ann {number}"))
            with trio.fail_after(PATIENCE_S):
                event = await anext(client)
            assert (event["data"]["by"], event["seq"]) == ("ann 19", site.seqs("run")[-1])


async def test_an_engine_tells_of_its_own_events_and_takes_commands(
    command_line: CommandLine, diary: Diary
) -> None:
    write_tasks(command_line.root, "trial", [diary.task("a", diary.gate())])
    run_id = command_line.new_run("trial")
    with site_on(command_line) as site:
        site.start("run", "loop", "--json", "--until-done", "--serve", "127.0.0.1:0", run_id)
        heard: list[str] = []
        async with connect(site.url, site.token, after=0) as client:
            with trio.fail_after(PATIENCE_S):
                while "JobAccepted" not in heard:
                    heard.append((await anext(client))["type"])
                await client.pause(run_id, reason="tea")
                while "RunPaused" not in heard:
                    heard.append((await anext(client))["type"])
                await client.resume(run_id)
        assert heard == command_line.event_types(run_id)[: len(heard)]
        diary.open()
        done = await trio.to_thread.run_sync(site.running.wait)
    assert done.exit_code == 0
    assert [run["status"] for run in json.loads(done.stdout)] == ["COMPLETED"], (
        "and nothing else is on stdout"
    )


async def test_a_monitor_that_is_stopped_says_farewell_to_its_clients(command_line: CommandLine) -> None:
    command_line.check_at_end = False  # the run has no folder
    with site_on(command_line) as site:
        site.new_run("run")
        site.start()
        async with connect(site.url, site.token, after=0) as client:
            assert (await anext(client))["type"] == "RunCreated"
            site.running.signal(signal.SIGTERM)
            done = await trio.to_thread.run_sync(site.running.wait)
    assert done.exit_code == 0, done.stderr


def test_a_monitor_closes_a_root_of_an_older_version_and_tells_once(command_line: CommandLine) -> None:
    write_tasks(command_line.root, "trial", [])
    run_id = command_line.new_run("trial")
    private, runs = command_line.root / ".matterstack", command_line.root / "workspaces" / "trial" / "runs"
    for place in (private, runs, runs / run_id):
        place.chmod(0o755)
    told = []
    for _ in range(2):
        running = command_line.start("monitor", "--port", "0", "--json")
        wait_until(lambda: running.stdout.endswith("}\n"), PATIENCE_S)  # noqa: B023  it is of this turn
        running.signal(signal.SIGTERM)
        told.append(running.wait().stderr.count("was open to others (mode 755)"))
    assert told == [1, 0]
    assert [oct(place.stat().st_mode & 0o777) for place in (private, runs, runs / run_id)] == [
        "0o700", "0o750", "0o750"
    ]  # fmt: skip


def test_a_monitor_says_where_it_is_and_warns_where_others_can_listen(command_line: CommandLine) -> None:
    running = command_line.start("monitor", "--host", "0.0.0.0", "--port", "0", "--json")  # noqa: S104  it is about that
    wait_until(lambda: running.stdout.endswith("}\n"), PATIENCE_S)
    told = json.loads(running.stdout)
    assert told["url"].startswith(f"http://0.0.0.0:{told['port']}/#code=")
    wait_until(lambda: "--certfile and --keyfile" in running.stderr, PATIENCE_S)


@pytest.mark.parametrize(
    "where", ["8765", "localhost", "localhost:", ":x", "[::1:8765", "::1:8765", "x:99999"]
)
def test_what_is_no_address_is_refused(where: str) -> None:
    with pytest.raises(UsageError, match="must be HOST:PORT"):
        parse_address(where)


def test_addresses_are_read() -> None:
    texts = ("127.0.0.1:1", ":8765", "[::1]:0", "node1.example.org:80")
    read = [parse_address(text) for text in texts]
    assert [(address.host, address.port) for address in read] == [
        ("127.0.0.1", 1),
        ("127.0.0.1", 8765),
        ("::1", 0),
        ("node1.example.org", 80),
    ]


def test_an_engine_that_cannot_serve_the_monitor_does_not_start(command_line: CommandLine) -> None:
    done = command_line.run("run", "loop", "--json", "--serve", "nowhere")
    assert (done.exit_code, done.error["code"]) == (2, "usage")
