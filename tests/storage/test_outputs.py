"""What a job left behind: files by pattern, and result.json."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from matterstack.core.file_names import MOST_DEPTH, MOST_NAME_BYTES
from matterstack.core.json_rules import DEEPEST
from matterstack.core.model.size_limits import MOST_OUTPUT_GIB
from matterstack.storage.codec import encode
from matterstack.storage.known_hashes import KnownHashes
from matterstack.storage.outputs import MOST_RESULT_BYTES, OutputSearch, collect_outputs, read_result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        "a.json",
        "b.txt",
        "deep/c.json",
        "deep/er/d.json",
        "stdout.log",
        "exit.json",
        "deep/exit.json",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        ([], []),
        (["*.json"], ["a.json"]),
        (["**/*.json"], ["a.json", "deep/c.json", "deep/er/d.json", "deep/exit.json"]),
        (["deep/*.json"], ["deep/c.json", "deep/exit.json"]),
        (["a.json", "*.txt", "?.json"], ["a.json", "b.txt"]),
        (["deep/**"], ["deep/c.json", "deep/er/d.json", "deep/exit.json"]),
        (["**"], ["a.json", "b.txt", "deep/c.json", "deep/er/d.json", "deep/exit.json"]),
    ],
)
def test_outputs_are_the_files_that_match_sorted_and_without_our_own(
    folder: Path, patterns: list[str], names: list[str]
) -> None:
    found = collect_outputs(folder, patterns, ())
    assert [file.path for file in found.files] == names
    assert found.problem is None
    for file in found.files:
        content = (folder / file.path).read_bytes()
        assert (file.size_bytes, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())


def test_a_pattern_that_matches_nothing_is_a_problem_and_the_others_are_kept(folder: Path) -> None:
    found = collect_outputs(folder, ["*.json", "*.xyz", "no"], ())
    assert [file.path for file in found.files] == ["a.json"]
    assert found.problem == (
        "its job ended well, but no file matches the output '*.xyz'; "
        "its job ended well, but no file matches the output 'no'"
    )


def test_files_that_were_copied_in_are_outputs_only_by_their_exact_name(folder: Path) -> None:
    assert [f.path for f in collect_outputs(folder, ["*"], {"a.json"}).files] == ["b.txt"]
    assert [f.path for f in collect_outputs(folder, ["a.json"], {"a.json"}).files] == ["a.json"]


def test_symbolic_links_are_no_outputs_and_are_not_followed(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.json").write_text("{}")
    (folder / "link.json").symlink_to(outside / "secret.json")
    (folder / "linked").symlink_to(outside)
    (folder / "loop").symlink_to(folder)
    found = collect_outputs(folder, ["**/*.json"], ())
    assert [f.path for f in found.files] == ["a.json", "deep/c.json", "deep/er/d.json", "deep/exit.json"]
    assert collect_outputs(folder, ["link.json"], ()).problem == (
        "its job ended well, but no file matches the output 'link.json'"
    )


def test_a_fifo_is_no_output_and_hangs_nothing(folder: Path) -> None:
    os.mkfifo(folder / "pipe.json")
    assert [f.path for f in collect_outputs(folder, ["*.json"], ()).files] == ["a.json"]


def test_a_name_that_is_no_valid_unicode_can_be_stored(folder: Path) -> None:
    (folder / os.fsdecode(b"caf\xe9.dat")).write_text("x")
    (output,) = collect_outputs(folder, ["*.dat"], ()).files
    assert os.fsencode(output.path) == b"caf\xe9.dat"
    encode(output).encode()


def _chain(top: Path, depth: int) -> Path:
    """Folders in folders, made without a path that the kernel would not take."""
    here = top
    for _ in range(depth):
        here /= "d"
        here.mkdir()
    return here


def test_a_name_may_have_so_many_parts_and_no_more(tmp_path: Path) -> None:
    (_chain(tmp_path, MOST_DEPTH - 1) / "x.json").write_text("")
    (output,) = collect_outputs(tmp_path, ["**/x.json"], ()).files
    assert output.path.count("/") == MOST_DEPTH - 1

    _chain(tmp_path / output.path.rpartition("/")[0], 1)
    (tmp_path / output.path).with_name("d").joinpath("y.json").write_text("")
    found = collect_outputs(tmp_path, ["**/*.json"], ())
    assert [file.path for file in found.files] == [output.path]
    assert found.problem is not None
    assert found.problem.endswith(f"...' lies deeper than {MOST_DEPTH} folders")
    assert not found.may_get_better
    assert collect_outputs(tmp_path, ["*.json", "e/**"], ()).may_get_better, "nothing deep is asked for"


def test_a_name_that_is_too_long_is_no_output_and_says_so(tmp_path: Path) -> None:
    folder = tmp_path
    for _ in range(5):
        folder /= "x" * 250
        folder.mkdir()
    (folder / "y").write_text("")
    found = collect_outputs(tmp_path, ["**"], ())
    assert found.files == ()
    assert found.problem is not None
    assert found.problem.endswith(f"...' has more than {MOST_NAME_BYTES} bytes")


def test_what_is_too_large_is_no_output_however_much_of_it_is_a_hole(tmp_path: Path) -> None:
    for name, size in (("huge", 8 << 40), ("small", 3)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    found = collect_outputs(tmp_path, ["*"], (), MOST_OUTPUT_GIB)
    assert [file.path for file in found.files] == ["small"]
    assert found.problem == "output 'huge' has 8192 GiB, and max_output_gib is 1024"
    assert not found.may_get_better


def test_of_many_problems_the_first_are_told(tmp_path: Path) -> None:
    for number in range(30):
        with (tmp_path / f"{number:02}").open("wb") as file:
            file.truncate(2 << 30)
    problem = collect_outputs(tmp_path, ["*"], (), 1).problem
    assert problem is not None
    assert problem.count("max_output_gib is 1") == 20
    assert problem.endswith("; and 10 more problems")


def test_looking_goes_on_where_it_was_and_holds_nothing_open(folder: Path) -> None:
    (folder / "big").write_bytes(os.urandom(5 << 20))
    search = OutputSearch(folder, ["**"], ())
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    seen = []
    while not search.is_done:
        search.advance(1 << 20)
        seen.append(search.done_bytes)
        assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    assert len(seen) >= 5
    assert seen == sorted(seen)
    assert search.found() == collect_outputs(folder, ["**"], ())


def test_a_file_that_another_took_the_place_of_is_not_half_hashed(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(3 << 20))
    search = OutputSearch(tmp_path, ["x"], ())
    search.advance(1 << 20)
    (tmp_path / "y").write_bytes(b"y" * (3 << 20))
    (tmp_path / "y").replace(tmp_path / "x")
    while not search.is_done:
        search.advance(1 << 20)
    assert search.found().problem == "output 'x' cannot be read: was replaced while it was looked at"


def test_after_a_restart_the_hashing_goes_on_with_the_next_file(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("matterstack.storage.known_hashes.LEAST_BYTES", 1 << 20)
    monkeypatch.setattr("matterstack.storage.known_hashes.SETTLED_AFTER_NS", 0)
    known = KnownHashes(tmp_path_factory.mktemp("private") / "hashed")
    for name in ("one.dat", "two.dat"):
        (folder / name).write_bytes(os.urandom(2 << 20))
    killed = OutputSearch(folder, ["*.dat"], (), known=known)
    killed.advance(3 << 20)

    def again() -> tuple[int, object]:
        search, read = OutputSearch(folder, ["*.dat"], (), known=known), 0
        while not search.is_done:
            read += search.advance(1 << 20)
        assert search.done_bytes == search.total_bytes
        return read, search.found()

    read, found = again()
    assert read < 3 << 20, "the first file was not read again"
    assert found == collect_outputs(folder, ["*.dat"], ())
    (folder / "one.dat").write_bytes(os.urandom(2 << 20))
    read, found = again()
    assert 2 << 20 <= read < 3 << 20, "and only the second one is still as it was"
    assert found == collect_outputs(folder, ["*.dat"], ())


def test_patterns_and_names_with_a_dot_are_those_without(folder: Path) -> None:
    assert [
        f.path for f in collect_outputs(folder, ["./*.txt", "./deep//*.json"], {"./deep/c.json"}).files
    ] == [
        "b.txt",
        "deep/exit.json",
    ]


# ---- result.json ----


def test_no_result_is_none_and_a_result_is_any_json(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    assert read_result(path) is None
    for text, value in (
        ('{"e_ev": -1.5, "ü": [null]}', {"e_ev": -1.5, "ü": [None]}),
        ("0", 0),
        ("null", None),
    ):
        path.write_text(text)
        assert read_result(path) == value


def deep(levels: int) -> str:
    return "[" * levels + "]" * levels


BROKEN: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "is not valid JSON: Expecting value"),
    "cut short": ('{"a": 1', "is not valid JSON: Expecting"),
    "two documents": ("{} {}", "is not valid JSON: Extra data"),
    "a key twice": ('{"e_ev": 1, "e_ev": 2}', "'e_ev' stands there twice; keep one of them"),
    "NaN": ('{"a": NaN}', "is not valid JSON: NaN is no JSON number; write null instead"),
    "-Infinity": ("[-Infinity]", "-Infinity is no JSON number"),
    "1e999": ('{"a": [1e999]}', "cannot be kept: Out of range float values"),
    "a huge integer": ("9" * 5000, "is not valid JSON: Exceeds the limit"),
    "not UTF-8": (b'{"a": "\xff"}', "is not valid JSON: 'utf-8' codec can't decode"),
    "half a surrogate pair": (r'{"a": "\ud800"}', "cannot be kept: 'utf-8' codec can't encode"),
    "half a pair as a key": (r'{"\udfff": 1}', "cannot be kept: 'utf-8' codec can't encode"),
    "nested too deep": (deep(DEEPEST + 1), "cannot be kept: it is nested more than 100 levels deep"),
    "nested very deep": (deep(100_000), "is not valid JSON: maximum recursion depth"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_result_that_cannot_be_used_says_why(tmp_path: Path, case: str) -> None:
    content, words = BROKEN[case]
    (tmp_path / "result.json").write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ValueError, match=r"^result\.json: ") as broken:
        read_result(tmp_path / "result.json")
    assert words in str(broken.value)
    found = collect_outputs(tmp_path, [], ())
    assert found.data is None
    assert found.problem == str(broken.value)


def test_a_result_as_deep_as_allowed_can_be_stored(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(deep(DEEPEST))
    assert encode(read_result(tmp_path / "result.json")) == deep(DEEPEST)


def test_a_result_may_be_a_mebibyte_and_no_byte_more(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text('"' + "x" * (MOST_RESULT_BYTES - 2) + '"')
    assert len(read_result(path)) == MOST_RESULT_BYTES - 2
    path.write_text('"' + "x" * (MOST_RESULT_BYTES - 1) + '"')
    with pytest.raises(
        ValueError, match=r"^result\.json: is larger than 1 MiB; put large data into an output file"
    ):
        read_result(path)


def _fifo_with_a_writer(path: Path) -> None:
    os.mkfifo(path)
    os.open(path, os.O_RDWR)  # stays open with the process: a writer that says nothing


ODD: dict[str, tuple[Callable[[Path], object], str]] = {
    "a fifo": (os.mkfifo, "is no regular file"),
    "a fifo that somebody writes to": (_fifo_with_a_writer, "is no regular file"),
    "a folder": (Path.mkdir, "is no regular file"),
    "a symbolic link": (lambda path: path.symlink_to("/etc/hostname"), "is a symbolic link"),
}


@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_file_in_the_place_of_a_result_is_a_problem_and_hangs_nothing(
    tmp_path: Path, kind: str
) -> None:
    make, words = ODD[kind]
    make(tmp_path / "result.json")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  names are all that is wanted
    found = collect_outputs(tmp_path, [], ())
    assert found.problem is not None
    assert found.problem.startswith(f"result.json: {words}")
    assert len(os.listdir("/proc/self/fd")) == before, "a descriptor leaked"  # noqa: PTH208
