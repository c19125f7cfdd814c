"""A root is its owner's alone, unless it is shared with a group: tried by other users of the same machine."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from matterstack.core.errors import StoreError
from matterstack.storage import schema
from matterstack.storage.schema import open_database, translated_errors
from tests.support.campaigns import write_tasks
from tests.support.command import PATIENCE_S, CommandLine
from tests.support.polling import wait_until
from tests.support.users import ALICE, BOB, CHEMISTS, MALLORY, Machine, machine_with_users, modes_below

LOCK = """
import fcntl
file = open({path!r})
fcntl.flock(file, fcntl.LOCK_SH)
print("locked")
input()
"""
READ = """
import sqlite3
store = sqlite3.connect({path!r})
store.execute("BEGIN")
print(store.execute("SELECT count(*) FROM events").fetchone())
input()
"""


LOCK_FOR_WRITERS = """
import fcntl
file = open({path!r})
fcntl.lockf(file, fcntl.LOCK_SH, 1, 120)  # sqlite.org/walformat.html: who writes has this byte alone
print("locked")
input()
"""
NEEDED = (
    "run.json", "config.json", "planning.log", "sources/campaign.py", "operators/q/request.json",
    "tasks/a/1/claim/job_id", "tasks/a/1/exit.json", "tasks/a/1/stdout.log", "tasks/a/1/scheduler.log",
    "tasks/a/1/out.txt", "evidence/report.html", "{run}.zip",
)  # fmt: skip
SLEEP = {"id": "s", "command": ["sleep", "600"]}
FIELDS = {"e": {"type": "number"}}
QUESTION = {"id": "q", "operator": "human", "params": {"question": "?", "fields": FIELDS}}


@pytest.fixture
def machine(processes: None) -> Iterator[Machine]:  # noqa: ARG001  it starts some
    with machine_with_users() as made:
        yield made


def tasks(machine: Machine, *added: dict[str, Any], slug: str = "w", share: str | None = None) -> None:
    write_tasks(machine.root, slug, [{"id": "a", "command": ["sh", "-c", "echo hello > out.txt"]}, *added])
    if share is not None:
        (machine.root / "config.json").write_text(json.dumps({"share": share}))
    machine.give_all(ALICE)


def ended_run(alice: CommandLine) -> str:
    alice.ok("run", "start", "w")
    return str(alice.json("run", "list")[0]["run_id"])


def make_old(machine: Machine, folder: int = 0o755, file: int = 0o644) -> None:
    """As 0.2.0 left it under the usual umask."""
    for top in (machine.root / ".matterstack", machine.root / "workspaces" / "w" / "runs"):
        for path in (top, *top.rglob("*")) if top.exists() else ():
            path.chmod(folder if path.is_dir() else file)


# ---- the owner's alone ----


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077], ids=lambda mask: f"{mask:03o}")
def test_whatever_the_umask_nobody_else_gets_at_anything(machine: Machine, umask: int) -> None:
    tasks(machine, QUESTION)
    alice = machine.command_line(ALICE, umask)
    run_id = alice.ok("run", "init", "w").strip()
    engine = alice.start("run", "loop", run_id, "--until-done")
    folder = machine.root / "workspaces" / "w" / "runs" / run_id
    wait_until((folder / "operators" / "q" / "request.json").exists, PATIENCE_S, "the question")
    alice.ok("respond", run_id, "q", "--set", "e=1")
    assert engine.wait().exit_code == 0
    alice.ok("run", "export-evidence", run_id)
    alice.ok("run", "archive", run_id)
    alice.ok("run", "export-evidence", run_id, "--output", str(alice.home / "bundle"))

    private = modes_below(machine.root / ".matterstack")
    assert {"700", "600"} == set(private.values()), private
    assert {"state.db", "engine.log", f"locks/{run_id}.lock", "locks/submit-local.lock"} <= set(private)
    assert modes_below(folder.parent)["."] == "750"
    run = modes_below(folder)
    for name, mode in run.items():
        place = folder / name
        expected = {"750"} if place.is_dir() else {"640", "750"} if name.endswith("job.sh") else {"640"}
        assert mode in expected, (name, mode)
    for needed in NEEDED:
        assert needed.format(run=run_id) in run
    outside = modes_below(alice.home / "bundle")
    assert all(int(mode, 8) & 0o027 == 0 for mode in outside.values()), outside


def test_another_user_neither_reads_nor_locks_nor_learns_anything(machine: Machine) -> None:
    tasks(machine)
    run_id = ended_run(machine.command_line(ALICE))
    mallory = machine.command_line(MALLORY)
    store, lock = machine.root / ".matterstack" / "state.db", f".matterstack/locks/{run_id}.lock"

    for path in (store, lock, f"workspaces/w/runs/{run_id}/run.json"):
        assert machine.as_user(MALLORY, "cat", str(path)).returncode != 0
    assert machine.as_user(MALLORY, "flock", "-n", lock, "true").returncode != 0
    for command in (["run", "list"], ["run", "pause", run_id], ["check"], ["run", "loop", "--until-done"]):
        done = mallory.run(*command, "--json")
        assert done.exit_code in {4, 5}, done
        said = done.error["message"] + done.error["hint"]
        assert "alice" in said, said
        assert "readonly" not in said


def test_a_root_of_an_older_version_is_closed_at_the_next_start_and_that_is_told_once(
    machine: Machine,
) -> None:
    tasks(machine)
    alice = machine.command_line(ALICE)
    run_id = ended_run(alice)
    make_old(machine)

    first, second = (alice.run("run", "loop", "--until-done") for _ in range(2))

    private = machine.root / ".matterstack"
    assert f"{private} was open to others (mode 755); from now on it is yours alone (700)" in first.stderr
    assert "the folders of its 1 runs (750)" in first.stderr
    assert "open to others" not in second.stderr
    assert set(modes_below(private).values()) == {"700", "600"}
    run = machine.root / "workspaces" / "w" / "runs" / run_id
    assert [modes_below(place)["."] for place in (run, run.parent)] == ["750", "750"]
    assert machine.as_user(MALLORY, "cat", str(run / "run.json")).returncode != 0


def test_nothing_is_changed_through_a_link_that_a_job_left(machine: Machine) -> None:
    tasks(machine)
    alice = machine.command_line(ALICE)
    ended_run(alice)
    make_old(machine)
    outside = machine.folder / "outside"
    outside.write_text("")
    outside.chmod(0o644)
    machine.give_all(ALICE, outside)
    (machine.root / ".matterstack" / "link").symlink_to(outside)
    os.link(outside, machine.root / ".matterstack" / "hard")

    alice.ok("run", "loop", "--until-done")

    assert outside.stat().st_mode & 0o777 == 0o644


def test_a_root_that_a_group_may_write_is_kept_and_told_until_somebody_says_what_it_is_to_be(
    machine: Machine,
) -> None:
    tasks(machine)
    alice = machine.command_line(ALICE)
    run_id = ended_run(alice)
    machine.give_all(ALICE)
    make_old(machine, folder=0o2775, file=0o664)
    private = machine.root / ".matterstack"

    for _ in range(2):
        told = alice.run("run", "loop", "--until-done").stderr
        assert f"{private} may be written by the group chemists (mode 2775), and is kept so" in told
        assert str(machine.root / "config.json") in told
        assert modes_below(private)["."] == "2775"
    (machine.root / "config.json").write_text('{"share": "nobody"}')
    assert "(mode 2775)" in alice.run("run", "loop", "--until-done").stderr
    assert set(modes_below(private).values()) == {"700", "600"}
    assert modes_below(machine.root / "workspaces" / "w" / "runs" / run_id)["."] == "750"


def test_what_an_instrument_may_write_into_is_kept_too(machine: Machine) -> None:
    tasks(machine)
    alice = machine.command_line(ALICE)
    run_id = ended_run(alice)
    make_old(machine)
    run = machine.root / "workspaces" / "w" / "runs" / run_id
    (run / "operators").mkdir(mode=0o775)
    (run / "operators").chmod(0o775)
    machine.give_all(ALICE, run / "operators")

    told = alice.run("run", "loop", "--until-done").stderr

    assert f"{run / 'operators'} may be written by the group chemists (mode 775), and is kept so" in told
    assert modes_below(run)["."] == "755"
    assert modes_below(machine.root / ".matterstack")["."] == "700"


# ---- what a process of somebody else holds ----


@pytest.mark.parametrize("kind", ["LOCK_SH", "LOCK_EX"])
def test_who_holds_a_lock_from_before_it_was_closed_is_named(machine: Machine, kind: str) -> None:
    tasks(machine)
    alice = machine.command_line(ALICE)
    run_id = alice.ok("run", "init", "w").strip()
    (machine.root / ".matterstack" / "locks").mkdir(exist_ok=True)
    (machine.root / ".matterstack" / "locks" / f"{run_id}.lock").touch()
    make_old(machine)
    machine.give_all(ALICE)
    lock = machine.root / ".matterstack" / "locks" / f"{run_id}.lock"
    code = LOCK.format(path=str(lock)).replace("LOCK_SH", kind)
    with machine.busy(MALLORY, code) as holder:
        mallory = holder.pid
        [cause, *_] = alice.json("run", "explain", run_id)["causes"]
        refused = alice.run("run", "cancel", run_id, "--json")
    assert cause["kind"] == "lease_held"
    assert f"process {mallory} (python3" in cause["message"]
    assert "of mallory is no engine of this run, and holds its lock" in cause["message"]
    assert f"kill {mallory}" in cause["action"]
    assert refused.exit_code == 5
    assert "of mallory holds its lock, and is no engine" in refused.error["message"]
    assert alice.status(run_id)["status"] == "PENDING"
    assert alice.json("run", "cancel", run_id)["status"] == "CANCELLED"


def test_a_file_beside_the_store_that_a_reader_left_is_named_with_the_line_that_mends_it(
    machine: Machine,
) -> None:
    tasks(machine)
    alice = machine.command_line(ALICE)
    ended_run(alice)
    left = machine.root / ".matterstack" / "state.db-shm"
    left.write_bytes(b"")
    os.chown(left, MALLORY.uid, MALLORY.uid)
    left.chmod(0o644)

    done = alice.run("run", "init", "w", "--json")

    assert done.exit_code == 5
    assert done.error["hint"].startswith(f"{left} belongs to mallory, who read the store")
    assert machine.as_user(ALICE, "sh", "-c", done.error["hint"].rpartition("then: ")[2]).returncode == 0
    alice.ok("run", "init", "w")


def test_who_keeps_the_store_locked_is_named(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks(machine)
    monkeypatch.setattr(schema, "BUSY_TIMEOUT_S", 0.1)
    store = machine.root / ".matterstack" / "state.db"
    with contextlib.closing(open_database(store)) as connection:
        make_old(machine)
        with (
            machine.busy(MALLORY, LOCK_FOR_WRITERS.format(path=f"{store}-shm")) as holder,
            pytest.raises(StoreError) as refused,
            translated_errors(store),
        ):
            connection.execute("BEGIN IMMEDIATE")
    assert f"process {holder.pid} (python3" in refused.value.message
    assert f"of user {MALLORY.uid} kept it locked" in refused.value.message
    assert refused.value.hint == f"whose process it is, or root, ends it: kill {holder.pid}"


# ---- shared with a group ----


def test_two_users_of_a_group_watch_and_steer_and_the_history_says_who(machine: Machine) -> None:
    tasks(machine, SLEEP, share="group")
    alice, bob = machine.command_line(ALICE), machine.command_line(BOB)
    run_id = alice.ok("run", "init", "w").strip()
    engine = alice.start("run", "loop")
    wait_until(lambda: "JobAccepted" in alice.event_types(run_id), PATIENCE_S, "a job")

    assert bob.json("run", "list")[0]["run_id"] == run_id
    assert bob.json("run", "pause", run_id)["status"] == "PAUSED"
    assert bob.ok("run", "logs", run_id, "a") == ""
    assert bob.json("run", "explain", run_id)["status"] == "PAUSED"
    assert bob.json("run", "resume", run_id)["status"] == "RUNNING"
    assert bob.json("run", "cancel", run_id, "--reason", "enough")["status"] == "CANCELLED"
    engine.signal(signal.SIGTERM)
    assert engine.wait().exit_code == 0

    by = {event["type"]: event["data"].get("by") for event in alice.events(run_id)}
    assert [by[name] for name in ("RunCreated", "RunPaused", "RunResumed", "RunCancelRequested")] == [
        "alice", "bob", "bob", "bob",
    ]  # fmt: skip
    for top in (machine.root / ".matterstack", machine.root / "workspaces" / "w" / "runs"):
        for name, mode in modes_below(top).items():
            place = top / name
            assert place.stat().st_gid == CHEMISTS, name
            assert mode in ({"2770"} if place.is_dir() else {"660", "770", "640"}), (name, mode)
    assert machine.as_user(MALLORY, "ls", str(machine.root / ".matterstack")).returncode != 0


def test_a_reader_of_the_group_that_is_killed_leaves_a_store_that_its_owner_can_write(
    machine: Machine,
) -> None:
    tasks(machine, share="group")
    alice = machine.command_line(ALICE)
    ended_run(alice)
    with machine.busy(BOB, READ.format(path=str(machine.root / ".matterstack" / "state.db"))) as reader:
        beside = modes_below(machine.root / ".matterstack", ["state.db-shm", "state.db-wal"])
        reader.kill()
    assert beside == {"state.db-shm": "660", "state.db-wal": "660"}
    alice.ok("run", "init", "w")


def test_what_cannot_be_done_for_somebody_else_is_refused_before_anything_is_begun(machine: Machine) -> None:
    tasks(machine, SLEEP, share="group")
    alice, bob = machine.command_line(ALICE), machine.command_line(BOB)
    run_id = alice.ok("run", "init", "w").strip()
    engine = alice.start("run", "loop")
    wait_until(lambda: "JobAccepted" in alice.event_types(run_id), PATIENCE_S, "a job")

    for command in (["run", "loop"], ["run", "start", "w"], ["monitor", "--port", "0"]):
        done = bob.run(*command)
        assert done.exit_code == 4, done
        assert "belongs to alice" in done.stderr
    assert len(bob.json("run", "list")) == 1
    engine.kill()
    done = bob.run("run", "cancel", run_id, "--json")
    assert (done.exit_code, done.error["code"]) == (4, "refused")
    assert f"no engine serves run {run_id}, and its jobs are alice's" in done.error["message"]
    assert alice.status(run_id)["status"] == "RUNNING"
    assert alice.json("run", "cancel", run_id)["status"] == "CANCELLED"


def test_without_an_engine_the_other_user_steers_what_needs_none_of_the_owners_jobs(machine: Machine) -> None:
    tasks(machine, share="group")
    alice, bob = machine.command_line(ALICE), machine.command_line(BOB)
    run_id = alice.ok("run", "init", "w").strip()
    assert bob.json("run", "cancel", run_id)["status"] == "CANCELLED"
    other = bob.ok("run", "init", "w").strip()
    alice.ok("run", "loop", "--until-done")
    states = {run["run_id"]: run["status"] for run in bob.json("run", "list")}
    assert states == {run_id: "CANCELLED", other: "COMPLETED"}
    assert alice.events(other)[0]["data"]["by"] == "bob"
    assert bob.run("check").exit_code == 0


def test_an_instrument_of_the_group_answers_with_a_file_of_its_own_and_a_person_with_the_command(
    machine: Machine,
) -> None:
    tasks(machine, QUESTION, {**QUESTION, "id": "p"}, share="group")
    alice, bob = machine.command_line(ALICE), machine.command_line(BOB)
    run_id = alice.ok("run", "init", "w").strip()
    engine = alice.start("run", "loop", run_id, "--until-done")
    folder = machine.root / "workspaces" / "w" / "runs" / run_id / "operators" / "q"
    wait_until((folder / "request.json").exists, PATIENCE_S, "the question")

    assert machine.as_user(BOB, "cat", str(folder / "request.json")).returncode == 0
    answer = f"""echo '{{"e": 1}}' > {folder}/new && mv {folder}/new {folder}/response.json"""
    assert machine.as_user(BOB, "sh", "-c", answer).returncode == 0
    bob.ok("respond", run_id, "p", "--set", "e=2")

    assert engine.wait().exit_code == 0
    by = [event["data"]["by"] for event in alice.events(run_id) if event["type"] == "JobEnded"]
    assert sorted(by) == ["", "bob", "bob"]


def test_a_root_that_was_its_owners_alone_is_opened_when_its_config_says_so(machine: Machine) -> None:
    tasks(machine)
    alice, bob = machine.command_line(ALICE), machine.command_line(BOB)
    run_id = ended_run(alice)
    (machine.root / "config.json").write_text('{"share": "group"}')
    (machine.root / ".matterstack" / "monitor-token").write_text("secret")
    (machine.root / ".matterstack" / "monitor-token").chmod(0o600)
    assert bob.run("run", "list").exit_code == 5

    told = alice.run("run", "loop", "--until-done").stderr

    assert f"{machine.root} is shared with the group chemists" in told
    assert bob.ok("run", "logs", run_id, "a") == ""
    assert bob.json("run", "export-evidence", run_id)["is_complete"]
    assert machine.as_user(BOB, "cat", ".matterstack/monitor-token").returncode != 0
    assert machine.as_user(MALLORY, "ls", ".matterstack").returncode != 0


def test_links_to_the_owners_monitor_are_the_owners_in_a_root_that_is_shared(machine: Machine) -> None:
    tasks(machine)
    alice, bob = machine.command_line(ALICE), machine.command_line(BOB)
    alice.ok("run", "init", "w")
    before = alice.start("monitor", "--port", "0", "--json")
    monitors = machine.root / ".matterstack" / "monitors"
    wait_until(lambda: any(monitors.glob("*.json")), PATIENCE_S, "a monitor")
    (machine.root / "config.json").write_text('{"share": "group"}')
    alice.ok("run", "loop", "--until-done")
    after = alice.start("monitor", "--port", "0", "--json")
    wait_until(lambda: len(list(monitors.glob("*.json"))) == 2, PATIENCE_S, "another one")

    assert bob.json("run", "list")
    assert monitors.stat().st_mode & 0o077 == 0, "they hold keys of links"
    assert {path.stat().st_mode & 0o777 for path in monitors.iterdir()} == {0o600}
    assert len(alice.json("monitor", "--new-link")["links"]) == 2
    assert bob.run("monitor", "--new-link").exit_code == 3
    assert machine.as_user(BOB, "sh", "-c", "mv .matterstack/monitors .matterstack/gone").returncode == 0
    planted = json.dumps({"url": "http://127.0.0.1:1", "port": 1, "host": "elsewhere", "key": "k"})
    plant = "cd .matterstack && mkdir -m 777 monitors && echo '{}' > monitors/1.json && chmod 666 monitors/*"
    assert machine.as_user(BOB, "sh", "-c", plant.format(planted)).returncode == 0
    done = alice.run("monitor", "--new-link")
    assert (done.exit_code, done.stdout) == (3, ""), "a link to where a member of the group listens"
    for monitor in (before, after):
        monitor.kill()


def test_a_group_that_its_owner_is_not_in_is_refused(machine: Machine) -> None:
    tasks(machine, share="group")
    os.chown(machine.root, ALICE.uid, MALLORY.uid)
    done = machine.command_line(ALICE).run("run", "init", "w", "--json")
    assert (done.exit_code, done.error["code"]) == (4, "refused")
    assert "alice is no member of the group mallory" in done.error["message"]
    assert not (machine.root / ".matterstack").exists()


def test_what_root_makes_in_it_belongs_to_its_owner(machine: Machine, command_line: CommandLine) -> None:
    tasks(machine)
    alice = machine.command_line(ALICE)
    run_id = alice.ok("run", "init", "w").strip()
    command_line.root = machine.root
    command_line.check_at_end = False
    command_line.ok("run", "cancel", run_id)
    refused = command_line.run("run", "loop", "--until-done")
    assert (refused.exit_code, "belongs to user 23001" in refused.stderr) == (4, True)
    for path in (machine.root / ".matterstack").rglob("*"):
        assert path.stat().st_uid == ALICE.uid, path
    assert ended_run(alice)


# ---- what the doctor says ----


def troubles(alice: CommandLine) -> dict[str, tuple[str, str]]:
    found = json.loads(alice.run("doctor", "--json").stdout)
    names = {"open to others", "open to a group", "owners", "shared with", "workspaces", "access"}
    return {f["check"]: (f["detail"], f["action"]) for f in found if f["check"] in names}


def test_the_doctor_tells_what_others_get_at_with_the_line_that_mends_it(machine: Machine) -> None:
    tasks(machine)
    alice = machine.command_line(ALICE)
    run_id = ended_run(alice)
    machine.root.chmod(0o750)
    assert troubles(alice) == {"access": ("nobody but alice reads, writes or locks anything", "")}

    machine.root.chmod(0o755)
    make_old(machine)
    foreign = machine.root / ".matterstack" / "state.db-wal"
    foreign.write_bytes(b"")
    os.chown(foreign, MALLORY.uid, MALLORY.uid)
    run = machine.root / "workspaces" / "w" / "runs" / run_id
    run.chmod(0o775)
    (machine.root / "workspaces" / "w").chmod(0o777)
    told = troubles(alice)
    assert set(told) == {"open to others", "open to a group", "owners", "workspaces"}
    for detail, action in told.values():
        assert str(machine.root) in detail
        if action.startswith("as root: chown -R alice "):
            machine.give_all(ALICE, *map(Path, action.split()[5:]))
        else:
            mended = machine.as_user(ALICE, "sh", "-c", action.rpartition("close it: ")[2])
            assert mended.returncode == 0, (action, mended.stderr)
    assert set(troubles(alice)) == {"workspaces"}, "what may only be read, now"
    machine.as_user(ALICE, "sh", "-c", troubles(alice)["workspaces"][1])
    assert set(troubles(alice)) == {"access"}


def test_the_doctor_says_why_a_group_does_not_get_to_the_questions(machine: Machine) -> None:
    tasks(machine, share="group")
    alice = machine.command_line(ALICE)
    ended_run(alice)
    machine.root.chmod(0o750)
    assert troubles(alice)["access"][0].startswith("shared with the group chemists, and with nobody else")
    (machine.root / "workspaces" / "w").chmod(0o700)
    detail, action = troubles(alice)["shared with"]
    assert "so that operators/TASK is closed to it" in detail
    assert machine.as_user(ALICE, "sh", "-c", action).returncode == 0
    assert set(troubles(alice)) == {"access"}
