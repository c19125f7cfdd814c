"""Whatever lies in a run's folder, nothing outside of it is opened, read or changed, and nothing blocks.

Each way out is tried with each operation, and a watch of the kernel on all that lies outside tells whether
anything there was so much as opened.
"""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import attrs
import pytest
import trio

from matterstack.actors.planner import _open_log
from matterstack.backends.base import PreparedAttempt
from matterstack.backends.exit_record import read_claim, read_exit_record
from matterstack.backends.local import LocalBackend
from matterstack.backends.local_config import LocalBackendConfig
from matterstack.core.errors import CampaignError, StagingError
from matterstack.core.ids import BackendName, RunId, TaskId, Token
from matterstack.core.model.resources import Resources
from matterstack.storage.confine import ConfinementError, confined
from matterstack.storage.layout import AttemptFolder
from matterstack.storage.operator_files import RESPONSE, look_at
from matterstack.storage.outputs import Outputs, collect_outputs, read_result
from matterstack.storage.small_files import read_small
from matterstack.storage.staging import Copy, Staging, stage
from tests.support.intrusion import Watch, at_most, before_call, exchange, watching

NOBODY: Final = 65534
SECRET: Final = b'{"secret": 1, "job_id": "17", "exit_code": 0}'
INSIDE: Final = b'{"inside": 1}'
RUN: Final = "workspaces/w/runs/20260102T030405-abcdef"
NAME: Final = "out.json"
MOST: Final = 1 << 16


@attrs.frozen
class Ground:
    """A run with one attempt, and a folder outside that is laid out in the same way and is watched."""

    run: Path
    outside: Path
    watch: Watch
    cleanup: ExitStack

    @property
    def attempt(self) -> Path:
        return self.run / "tasks" / "a" / "1"

    @property
    def secret(self) -> Path:
        return self.outside / "tasks" / "a" / "1" / NAME

    def listing(self) -> dict[str, tuple[int, int, bytes]]:
        """All that lies outside, as it is."""
        found = {}
        for path in sorted(self.outside.rglob("*")):
            about = path.lstat()
            content = path.read_bytes() if path.is_file() else b""
            found[str(path)] = (about.st_mode, about.st_nlink, content)
        return found


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    run, outside = tmp_path / "root" / RUN, tmp_path / "outside"
    for top, content in ((run, INSIDE), (outside, SECRET)):
        folder = top / "tasks" / "a" / "1"
        (folder / "claim").mkdir(parents=True)
        for name in (NAME, "exit.json", "result.json", "claim/job_id"):
            (folder / name).write_bytes(content)
    (run / "tasks" / "a" / "1" / "claim" / "job_id").unlink()  # a folder that was claimed is not written
    with watching(outside) as watch, ExitStack() as cleanup:
        yield Ground(run, outside, watch, cleanup)


# ---- ways out: each prepares the attempt's folder and returns the name to use there ----


def _link(
    target: Callable[[Ground], str | Path], name: str = "x", use: str | None = None
) -> Callable[[Ground], str]:
    def make(ground: Ground) -> str:
        (ground.attempt / name).symlink_to(target(ground))
        return use or name

    return make


def _is(name: str) -> Callable[[Ground], str]:
    return lambda _ground: name


def _fifo(ground: Ground) -> str:
    os.mkfifo(ground.attempt / "x")
    return "x"


def _fifo_with_both_ends(ground: Ground) -> str:
    os.mkfifo(ground.attempt / "x")
    descriptor = os.open(ground.attempt / "x", os.O_RDWR)
    ground.cleanup.callback(os.close, descriptor)
    return "x"


def _socket(ground: Ground) -> str:
    here = os.open(".", os.O_RDONLY)
    ground.cleanup.callback(os.close, here)
    listener = socket.socket(socket.AF_UNIX)
    ground.cleanup.callback(listener.close)
    os.chdir(ground.attempt)  # the name of a socket is at most 108 bytes long
    try:
        listener.bind("x")
    finally:
        os.fchdir(here)
    return "x"


def _chain(ground: Ground) -> str:
    (ground.attempt / "y").symlink_to(ground.secret)
    (ground.attempt / "x").symlink_to("y")
    return "x"


def _loop_of_two(ground: Ground) -> str:
    (ground.attempt / "y").symlink_to("x")
    (ground.attempt / "x").symlink_to("y")
    return "x"


def _descriptor_link(ground: Ground) -> str:
    descriptor = os.open(ground.outside, os.O_RDONLY)
    ground.cleanup.callback(os.close, descriptor)
    ground.watch.events()
    (ground.attempt / "x").symlink_to(f"/proc/self/fd/{descriptor}")
    return "x/tasks/a/1/" + NAME


def _swapped(levels: int) -> Callable[[Ground], str]:
    """The attempt's folder, or one above it, is a link to its counterpart outside."""

    def make(ground: Ground) -> str:
        inside = (ground.attempt, *ground.attempt.parents)[levels]
        inside.rename(inside.with_name("aside"))
        inside.symlink_to(ground.outside / inside.relative_to(ground.run))
        return NAME

    return make


def _up(ground: Ground) -> str:
    return os.path.relpath(ground.secret, ground.attempt)


WAYS_OUT: Final[dict[str, Callable[[Ground], str]]] = {
    "..": _is(".."),
    ".. to a file": _up,
    ".. in the middle": lambda g: f"claim/../{_up(g)}",
    ".. behind dots": lambda g: f"./././{_up(g)}",
    ".. with empty parts": lambda g: _up(g).replace("/", "//"),
    ".. at the end": _is("claim/.."),
    "many ..": lambda g: "../" * 40 + str(g.secret).lstrip("/"),
    "absolute": lambda g: str(g.secret),
    "absolute with two slashes": lambda g: f"/{g.secret}",
    "absolute, into the run": lambda g: str(g.attempt / NAME),
    "/proc/self/root": lambda g: f"/proc/self/root{g.secret}",
    "/dev/zero": _is("/dev/zero"),
    "/dev/stdin": _is("/dev/stdin"),
    "link to a file": _link(lambda g: g.secret),
    "relative link to a file": _link(_up),
    "link to a folder": _link(lambda g: g.secret.parent, use=f"x/{NAME}"),
    "relative link to a folder": _link(
        lambda g: os.path.relpath(g.secret.parent, g.attempt), use=f"x/{NAME}"
    ),
    "link to a folder, with a slash": _link(lambda g: g.secret.parent, use="x/"),
    "link to a folder, with a dot": _link(lambda g: g.secret.parent, use=f"x/./{NAME}"),
    "link to a folder above": _link(lambda g: g.outside, use=f"x/tasks/a/1/{NAME}"),
    "link deep inside": _link(lambda g: g.secret.parent, "claim/x", use=f"claim/x/{NAME}"),
    "link to the root": _link(lambda _: "/", use="x/etc/hostname"),
    "link to /proc/self/root": _link(lambda _: "/proc/self/root", use="x/etc/hostname"),
    "link to /proc/self/cwd": _link(lambda _: "/proc/self/cwd", use="x/pyproject.toml"),
    "link to /proc/self/exe": _link(lambda _: "/proc/self/exe"),
    "link to an open folder": _descriptor_link,
    "link to /dev/zero": _link(lambda _: "/dev/zero"),
    "link to /dev/tty": _link(lambda _: "/dev/tty"),
    "link to a link": _chain,
    "link that dangles": _link(lambda g: g.outside / "nothing"),
    "link that dangles relatively": _link(lambda g: os.path.relpath(g.outside / "nothing", g.attempt)),
    "link to itself": _link(lambda _: "x"),
    "links in a circle": _loop_of_two,
    "link to its own folder": _link(lambda _: ".", use="x/x/x/x/" + "../" * 12 + "outside"),
    ".. behind a link": _link(lambda g: g.secret.parent / "claim", use=f"x/../{NAME}"),
    ".. behind a link inside": _link(lambda _: "claim", use=f"x/../../../../{NAME}"),
    "link with a line break": _link(lambda g: g.secret, "x\ny"),
    "link with a space": _link(lambda g: g.secret, " x "),
    "link in unicode": _link(lambda g: g.secret, "Ångström ⁺"),
    "link in no encoding": _link(lambda g: g.secret, os.fsdecode(b"caf\xe9")),
    "link with a colon": _link(lambda g: g.secret, "http:", use="http:"),
    "link with 255 bytes": _link(lambda g: g.secret, "x" * 255),
    "link like an option": _link(lambda g: g.secret, "--help"),
    "link like a home": _link(lambda g: g.secret, "~"),
    "link to a pattern": _link(lambda g: g.secret, "*"),
    "nothing": _is(""),
    "a dot": _is("."),
    "a slash": _is("/"),
    "NUL": lambda g: f"x\0{g.secret}",
    "NUL after ..": lambda g: f"{_up(g)}\0.json",
    "a name of 300 bytes": _is("x" * 300),
    "a path of 5,000 bytes": _is("/".join(["x" * 99] * 50)),
    "a file as a folder": _is(f"{NAME}/x"),
    "a folder as a file": _is("claim"),
    "FIFO": _fifo,
    "FIFO that is written to": _fifo_with_both_ends,
    "FIFO as a folder": lambda g: f"{_fifo(g)}/x",
    "socket": _socket,
    "the attempt's folder is a link": _swapped(0),
    "the task's folder is a link": _swapped(1),
    "the folder of tasks is a link": _swapped(2),
}  # fmt: skip


# ---- operations ----


def _read(ground: Ground, name: str) -> object:
    with confined(ground.attempt) as folder:
        return folder.read(name, MOST)


def _read_linked(ground: Ground, name: str) -> object:
    with confined(ground.run) as folder:
        descriptor = folder.open_linked_file(name if name.startswith("/") else f"tasks/a/1/{name}")
        try:
            return os.read(descriptor, MOST)
        finally:
            os.close(descriptor)


def _read_small(ground: Ground, name: str) -> object:
    if name.startswith("/") or ".." in name:
        raise OSError("what a path of a caller means is not for this function to judge")
    return read_small(ground.attempt / name, MOST)


def _stage(ground: Ground, *, source: str = NAME, name: str = "copied", inside: str = "b") -> object:
    folder = AttemptFolder(ground.run / "tasks" / inside / "1")
    copy = Copy(name=name, source=source, origin=source, within=ground.attempt)
    stage(Staging(folder=folder, manifest={}, files=[], inputs=[copy], script="#!/bin/sh\n"))
    return (folder.path / "copied").read_bytes() if name == "copied" else b""


def _copy_from(ground: Ground, name: str) -> object:
    if name.startswith("/"):
        raise OSError("inputs are never absolute: their task's folder comes first")
    return _stage(ground, source=name)


def _copy_to(ground: Ground, name: str) -> object:
    (ground.run / "source").write_bytes(INSIDE)
    folder = AttemptFolder(ground.attempt)
    copy = Copy(name=name, source="source", origin="source", within=ground.run)
    return stage(Staging(folder=folder, manifest={}, files=[copy], inputs=[], script="#!/bin/sh\n"))


def _collect(ground: Ground, name: str) -> object:
    return collect_outputs(ground.attempt, [name, "**", "**/*", "*/*", NAME], ())


def _read_traces(ground: Ground, _name: str) -> object:
    return (
        read_claim(ground.attempt, None),
        read_exit_record(ground.attempt, "17", None),
        read_result(ground.attempt / "result.json"),
    )


def _write(ground: Ground, name: str) -> None:
    with confined(ground.attempt) as folder:
        folder.write(name, b"written")


def _replace(ground: Ground, name: str) -> None:
    with confined(ground.attempt) as folder:
        folder.replace(name, b"written")


def _append(ground: Ground, name: str) -> object:
    with confined(ground.attempt) as folder:
        descriptor = folder.append_to(name)
        try:
            return os.write(descriptor, b"written")
        finally:
            os.close(descriptor)


def _make_folder(ground: Ground, name: str) -> None:
    with confined(ground.attempt) as folder, folder.folder(name, make=True) as inner:
        inner.write("new", b"written")


def _rename_to(ground: Ground, name: str) -> None:
    with confined(ground.attempt) as folder:
        folder.write("old", b"written")
        folder.rename("old", name)


def _rename_from(ground: Ground, name: str) -> None:
    with confined(ground.attempt) as folder:
        folder.rename(name, "new")


READING: Final = (_read, _read_linked, _read_small, _copy_from, _collect, _read_traces)
WRITING: Final = (_copy_to, _write, _replace, _append, _make_folder, _rename_to, _rename_from)


def _try(ground: Ground, operation: Callable[[Ground, str], object], name: str) -> object:
    """Returns what came of it; None when it was refused."""
    try:
        with at_most(20):
            return operation(ground, name)
    except (OSError, StagingError, ValueError):
        return None


@pytest.mark.parametrize("operation", READING, ids=lambda op: op.__name__.strip("_"))
@pytest.mark.parametrize("way", WAYS_OUT)
def test_nothing_outside_is_read(
    ground: Ground, way: str, operation: Callable[[Ground, str], object]
) -> None:
    before = ground.listing()
    name = WAYS_OUT[way](ground)
    ground.watch.events()
    found = _try(ground, operation, name)
    assert ground.watch.events() == 0, "something outside was opened"
    assert "secret" not in repr(found)
    assert ground.listing() == before
    for file in found.files if isinstance(found, Outputs) else ():
        path = ground.attempt / file.path
        assert path.resolve() == path
        assert path.is_file()


@pytest.mark.parametrize("operation", WRITING, ids=lambda op: op.__name__.strip("_"))
@pytest.mark.parametrize("way", WAYS_OUT)
def test_nothing_outside_is_written(
    ground: Ground, way: str, operation: Callable[[Ground, str], object]
) -> None:
    before = ground.listing()
    name = WAYS_OUT[way](ground)
    ground.watch.events()
    _try(ground, operation, name)
    assert ground.watch.events() == 0, "something outside was opened"
    assert ground.listing() == before


def test_the_watch_sees_who_opens_anything_outside(ground: Ground) -> None:
    assert ground.watch.events() == 0
    ground.secret.read_bytes()
    assert ground.watch.events() > 0
    os.close(os.open(ground.outside, os.O_RDONLY))
    assert ground.watch.events() > 0


# ---- what is allowed ----

PLAIN: Final = (
    "x",
    "a b",
    "x\ny",
    "Ångström ⁺",
    os.fsdecode(b"caf\xe9"),
    "*",
    "~",
    "--help",
    "a:b",
    "x" * 255,
)


@pytest.mark.parametrize("name", [*PLAIN, "deep/er/x", "./x", "deep//x"])
def test_a_regular_file_of_any_name_is_read_copied_collected_and_written(ground: Ground, name: str) -> None:
    path = ground.attempt / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(INSIDE)
    assert _read(ground, name) == _read_linked(ground, name) == _read_small(ground, name) == INSIDE
    assert _copy_from(ground, name) == INSIDE
    relative = os.path.normpath(name)
    assert relative in [file.path for file in collect_outputs(ground.attempt, ["**"], ()).files]
    for write in (_write, _replace):
        write(ground, name)
        assert path.read_bytes() == b"written"
    _append(ground, name)
    assert path.read_bytes() == b"written" * 2


def test_the_folder_of_runs_may_lie_on_another_disk(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    (scratch / "20260102T030405-abcdef" / "tasks").mkdir(parents=True)
    (scratch / "20260102T030405-abcdef" / "tasks" / "x").write_bytes(INSIDE)
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "runs").symlink_to(scratch)
    assert read_small(tmp_path / "w" / "runs" / "20260102T030405-abcdef" / "tasks" / "x", MOST) == INSIDE


def test_a_hard_link_is_the_file_and_is_read_but_never_written_through(ground: Ground) -> None:
    target = ground.outside / "linked"
    target.write_bytes(b"as it was")
    for name in ("x", "y", "z"):
        os.link(target, ground.attempt / name)
    assert _read(ground, "x") == b"as it was"
    _write(ground, "x")
    _replace(ground, "y")
    with pytest.raises(ConfinementError, match="has another name"):
        _append(ground, "z")
    assert target.read_bytes() == b"as it was"
    assert [(ground.attempt / name).read_bytes() for name in "xyz"] == [b"written", b"written", b"as it was"]


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("elsewhere")])
def test_what_is_no_file_is_refused_in_the_place_of_one_that_is_written(
    ground: Ground, make: Callable[[Path], object]
) -> None:
    make(ground.attempt / "x")
    before = (ground.attempt / "x").lstat()
    for write in (_write, _append):
        with pytest.raises(ConfinementError, match=r"regular file|symbolic link"):
            write(ground, "x")
    assert (ground.attempt / "x").lstat().st_ino == before.st_ino


def test_a_device_is_not_even_opened(ground: Ground) -> None:
    device = ground.attempt / "x"
    try:
        os.mknod(device, stat.S_IFCHR | 0o600, os.makedev(1, 5))  # /dev/zero
    except PermissionError:  # only root makes devices
        device.symlink_to("/dev/zero")
    with before_call(-1, lambda: None) as calls, pytest.raises(ConfinementError):
        _read(ground, "x")
    assert calls[-1] == "stat"
    assert "x" not in [file.path for file in collect_outputs(ground.attempt, ["*"], ()).files]


@contextmanager
def _without_privileges() -> Iterator[None]:
    """Root reads everything: be somebody else for a moment."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(was)


def test_an_answer_that_may_not_be_read_says_what_to_do(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / RESPONSE).write_text("{}")
    (tmp_path / RESPONSE).chmod(0)
    with confined(tmp_path) as folder, _without_privileges():
        seen = look_at(folder, RESPONSE)
    assert seen is not None
    assert seen.text is None
    assert seen.problem == "it may not be read; change its permissions (chmod a+r)"


@pytest.mark.parametrize(("uid", "name"), [(NOBODY, "nobody"), (4_000_000, "user 4000000")])
def test_an_answer_of_somebody_else_is_read_and_its_owner_is_named(
    tmp_path: Path, uid: int, name: str
) -> None:
    (tmp_path / RESPONSE).write_text("{}")
    os.chown(tmp_path / RESPONSE, uid, -1)  # as root, which the tests are: others may not
    with confined(tmp_path) as folder:
        seen = look_at(folder, RESPONSE)
    assert seen is not None
    assert (seen.text, seen.by) == (b"{}", name)


def test_a_huge_file_is_read_no_further_than_allowed(ground: Ground) -> None:
    with (ground.attempt / "x").open("wb") as file:
        file.truncate(1 << 40)
    with confined(ground.attempt) as folder:
        assert folder.read("x", 100) == bytes(100)


def test_a_file_that_grows_while_it_is_read_comes_to_an_end(ground: Ground) -> None:
    path = ground.attempt / "log"
    path.write_bytes(b"x" * (3 << 20))
    read = os.read

    def read_and_grow(descriptor: int, count: int) -> bytes:
        with path.open("ab") as file:
            file.write(b"y" * (2 << 20))
        return read(descriptor, count)

    os.read = read_and_grow
    try:
        with at_most(20):
            (output,) = collect_outputs(ground.attempt, ["log"], ()).files
    finally:
        os.read = read
    assert output.size_bytes == 3 << 20


# ---- files of a workspace ----


def _staged(ground: Ground, source: str, workspace: Path) -> bytes:
    folder = AttemptFolder(ground.run / "tasks" / "b" / "1")
    copy = Copy(name="copied", source=source, origin=source, within=workspace, may_link=True)
    stage(Staging(folder=folder, manifest={}, files=[copy], inputs=[], script="#!/bin/sh\n"))
    return (folder.path / "copied").read_bytes()


@pytest.fixture
def workspace(ground: Ground) -> Path:
    folder = ground.run.parents[1]
    (folder / "v2" / "in").mkdir(parents=True)
    (folder / "v2" / "relax.py").write_bytes(INSIDE)
    (folder / "scripts").symlink_to("v2")
    (folder / "v2" / "in" / "latest.py").symlink_to("../relax.py")
    (folder / "far").symlink_to(ground.outside)
    (folder / "v2" / "far").symlink_to(os.path.relpath(ground.outside, folder / "v2"))
    (folder / "whole").symlink_to(folder / "v2")
    (folder / "circle").symlink_to("v2/../circle")
    return folder


@pytest.mark.parametrize(
    "source",
    [
        "v2/relax.py",
        "scripts/relax.py",
        "scripts/in/latest.py",
        "v2/in/../relax.py",
        "./scripts/../v2/relax.py",
    ],
)
def test_links_of_a_workspace_are_followed_within_it(ground: Ground, workspace: Path, source: str) -> None:
    assert _staged(ground, source, workspace) == INSIDE


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("far/tasks/a/1/out.json", "leads out of the folder"),
        ("v2/far/tasks/a/1/out.json", "leads out of the folder"),
        ("../../../outside/tasks/a/1/out.json", "leads out of the folder"),
        ("v2/../../w/v2/relax.py", "leads out of the folder"),
        ("whole/relax.py", "leads out of the folder"),
        ("circle", "leads nowhere"),
        ("circle/x", "leads nowhere"),
        ("v2", "no regular file"),
        ("v2/..", "no regular file"),
        ("", "no regular file"),
        ("nothing", "No such file"),
    ],
)
def test_a_relative_file_does_not_leave_the_workspace(
    ground: Ground, workspace: Path, source: str, words: str
) -> None:
    with pytest.raises(StagingError, match=words):
        _staged(ground, source, workspace)
    assert ground.watch.events() == 0


def test_a_full_path_is_the_authority_of_who_wrote_the_campaign(ground: Ground, workspace: Path) -> None:
    assert _staged(ground, str(ground.secret), workspace) == SECRET
    assert _staged(ground, str(workspace / "far/tasks/a/1/out.json"), workspace) == SECRET
    assert _staged(ground, "/proc/self/cmdline", workspace) != b"", "files of /proc say that they are empty"
    for odd in ("/dev/zero", "/dev/tty", "/proc/self", str(ground.outside)):
        with pytest.raises(StagingError, match="is no regular file"), at_most(20):
            _staged(ground, odd, workspace)


# ---- logs that the engine itself opens ----

ODD: Final[dict[str, Callable[[Path, Path], object]]] = {
    "a link": lambda path, secret: path.symlink_to(secret),
    "a FIFO": lambda path, _: os.mkfifo(path),
    "a folder": lambda path, _: path.mkdir(),
    "a hard link": lambda path, secret: os.link(secret, path),
}


@pytest.mark.parametrize("kind", ODD)
def test_a_log_of_planning_that_a_job_replaced_fails_its_run_and_blocks_nothing(
    ground: Ground, kind: str
) -> None:
    log = ground.run / "planning.log"
    ODD[kind](log, ground.secret)
    before = ground.secret.read_bytes()
    with at_most(20), pytest.raises(CampaignError, match=r"planning\.log cannot be written: "):
        _open_log(log)
    assert ground.secret.read_bytes() == before


@pytest.mark.parametrize("kind", ODD)
async def test_a_log_of_a_local_job_that_another_job_replaced_refuses_the_job(
    ground: Ground, kind: str
) -> None:
    backend = LocalBackend(BackendName("local"), LocalBackendConfig(type="local"), ground.run / "lock")
    ODD[kind](ground.attempt / "scheduler.log", ground.secret)
    before = ground.secret.read_bytes()
    attempt = PreparedAttempt(
        run_id=RunId("r"),
        task_id=TaskId("a"),
        n=1,
        token=Token("t"),
        folder=ground.attempt,
        command=["true"],
        env={},
        resources=Resources(),
    )
    with trio.fail_after(20):
        report = await backend.submit([attempt])
    assert report.refused[Token("t")].startswith("the job could not be started: ")
    assert ground.secret.read_bytes() == before


# ---- swaps between the steps ----

SWAPPED: Final = (
    "tasks",
    "tasks/a",
    "tasks/a/1",
    f"tasks/a/1/{NAME}",
    "tasks/a/1/result.json",
    "tasks/a/1/claim",
)


@pytest.mark.parametrize("operation", [*READING, *WRITING], ids=lambda op: op.__name__.strip("_"))
@pytest.mark.parametrize("place", SWAPPED)
@pytest.mark.parametrize("back", [False, True], ids=["file to link", "link to file"])
def test_a_swap_right_before_any_of_its_steps_lets_nothing_out(
    ground: Ground, tmp_path: Path, place: str, operation: Callable[[Ground, str], object], back: bool
) -> None:
    other = tmp_path / "other"
    other.symlink_to(ground.outside / place)
    if back:
        exchange(ground.run / place, other)
    before = ground.listing()
    ground.watch.events()

    def swap() -> None:
        if os.path.lexists(ground.run / place):  # what is written takes it away for a moment
            exchange(ground.run / place, other)

    number, is_swapped = 0, True
    while is_swapped:
        with before_call(number, swap) as calls:
            found = _try(ground, operation, NAME)
        is_swapped = number < len(calls)
        assert ground.watch.events() == 0, f"step {number} of {calls} opened something outside"
        assert "secret" not in repr(found)
        if operation is _rename_from and os.path.lexists(ground.attempt / "new"):
            (ground.attempt / "new").rename(ground.attempt / NAME)
        if is_swapped:
            swap()
        number += 1
    assert number > 1
    assert ground.listing() == before


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir], ids=["FIFO", "folder"])
def test_what_becomes_something_else_right_before_it_is_opened_is_refused(
    ground: Ground, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    other = tmp_path / "other"
    make(other)

    def swap() -> None:
        exchange(ground.attempt / NAME, other)

    found: list[object] = []
    is_swapped = True
    while is_swapped:
        with before_call(len(found), swap) as calls:
            found.append(_try(ground, _read, NAME))
        is_swapped = len(found) <= len(calls)
        if is_swapped:
            swap()
    assert len(found) > 2
    assert found == [*[None] * (len(found) - 1), INSIDE], "it is read when nothing has been exchanged"


def test_ten_thousand_reads_while_a_thread_swaps_folders_and_links_read_nothing_outside(
    ground: Ground, tmp_path: Path
) -> None:
    others = {place: tmp_path / f"other{i}" for i, place in enumerate(SWAPPED[1:4])}
    for place, other in others.items():
        other.symlink_to(ground.outside / place)
    ground.watch.events()
    stopped = threading.Event()
    swaps = 0

    def swap_for_ever() -> None:
        nonlocal swaps
        while not stopped.is_set():
            for place, other in others.items():
                exchange(ground.run / place, other)
                exchange(ground.run / place, other)
                swaps += 2

    swapper = threading.Thread(target=swap_for_ever)
    swapper.start()
    try:
        found = {_try(ground, (_read, _read_small, _copy_from)[i % 3], NAME) for i in range(10_000)}
    finally:
        stopped.set()
        swapper.join()
    assert found <= {INSIDE, None}
    assert swaps > 0
    assert ground.watch.events() == 0
