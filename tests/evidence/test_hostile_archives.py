"""An archive from a stranger is refused in one sentence, before anything but its evidence was read."""

import json
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from matterstack.core.errors import MatterStackError, RefusedError, UsageError
from matterstack.evidence import unpacking
from matterstack.evidence.contents import seal_bytes
from matterstack.evidence.imported import IMPORTED
from matterstack.evidence.importing import import_archive
from matterstack.evidence.manifest import MANIFEST, SEAL, manifest_bytes, parse_manifest
from matterstack.evidence.unpacking import MOST_DEPTH, Archived
from matterstack.storage.layout import Root
from tests.evidence.bundles import content
from tests.evidence.stage import sha256, told
from tests.evidence.test_archive import made
from tests.support.command import CommandLine
from tests.support.states import RUN_ID
from tests.support.stored import new_root

pytestmark = pytest.mark.usefixtures("drawn_once")

OTHER_RUN = "20260101T000001-abcdef"
MIB = 1 << 20


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    return made(told(folder / "root", "COMPLETED"), folder / "run.zip", copy_below_bytes=20).path


@pytest.fixture
def elsewhere(tmp_path: Path) -> Root:
    return new_root(tmp_path / "elsewhere")


@contextmanager
def copied(good: Path, bad: Path, *, leave_out: str = "") -> Iterator[zipfile.ZipFile]:
    """A copy of an archive, to be spoilt."""
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(bad, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            if entry.filename != leave_out:
                new.writestr(entry.filename, old.read(entry))
        yield new


def spoilt_entry(good: Path, bad: Path, offset: int, value: bytes) -> None:
    """Change a field of the first entry of an archive's list of files."""
    data = bytearray(good.read_bytes())
    place = data.index(b"PK\1\2") + offset
    data[place : place + len(value)] = value
    bad.write_bytes(data)


def encrypted(good: Path, bad: Path) -> None:
    spoilt_entry(good, bad, 8, b"\1\0")


def packed_by_another_method(good: Path, bad: Path) -> None:
    spoilt_entry(good, bad, 10, struct.pack("<H", zipfile.ZIP_LZMA))


def larger_than_the_evidence_names(good: Path, bad: Path) -> None:
    with copied(good, bad, leave_out=f"{RUN_ID}/outputs/mix.1/mix.svg") as archive:
        archive.writestr(f"{RUN_ID}/outputs/mix.1/mix.svg", b"\0" * 300 * MIB)


def larger_report(good: Path, bad: Path) -> None:
    with copied(good, bad, leave_out=f"{RUN_ID}/evidence/report.md") as archive:
        archive.writestr(f"{RUN_ID}/evidence/report.md", b"\0" * 300 * MIB)


def what_nothing_names(good: Path, bad: Path) -> None:
    with copied(good, bad) as archive:
        archive.writestr(f"{RUN_ID}/evidence/more.dat", b"\0" * 300 * MIB)


def bomb_of_events(good: Path, bad: Path) -> None:
    with copied(good, bad, leave_out=f"{RUN_ID}/evidence/events.jsonl") as archive:
        archive.writestr(f"{RUN_ID}/evidence/events.jsonl", b"\n" * 300 * MIB)


def deep(good: Path, bad: Path) -> None:
    with copied(good, bad) as archive:
        archive.writestr(f"{RUN_ID}/outputs/{'d/' * MOST_DEPTH}x", b"")


def of_a_long_name(good: Path, bad: Path) -> None:
    with copied(good, bad) as archive:
        archive.writestr(f"{RUN_ID}/outputs/{'n' * 256}", b"")


def twice(good: Path, bad: Path) -> None:
    with copied(good, bad) as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(f"{RUN_ID}/evidence/report.md", b"all is well")


def renamed(good: Path, bad: Path) -> None:
    """To the name of another run, in all of the archive."""
    bad.write_bytes(good.read_bytes().replace(RUN_ID.encode(), OTHER_RUN.encode()))


def renamed_report(good: Path, bad: Path) -> None:
    """Forged: the report has another name, and the manifest and its seal say so."""
    with zipfile.ZipFile(good) as old:
        listed = parse_manifest(old.read(f"{RUN_ID}/evidence/{MANIFEST}"))
        report = old.read(f"{RUN_ID}/evidence/report.md")
    listed["report2.md"] = sha256(report)
    text = manifest_bytes(listed)
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(bad, "w") as new:
        for entry in old.infolist():
            if not entry.filename.endswith((MANIFEST, SEAL)):
                new.writestr(entry.filename, old.read(entry))
        new.writestr(f"{RUN_ID}/evidence/report2.md", report)
        new.writestr(f"{RUN_ID}/evidence/{MANIFEST}", text)
        new.writestr(f"{RUN_ID}/evidence/{SEAL}", seal_bytes(text))


def without_evidence(_good: Path, bad: Path) -> None:
    with zipfile.ZipFile(bad, "w") as archive:
        archive.writestr(f"{RUN_ID}/outputs/x/y", b"\0" * 300 * MIB)


def with_a_broken_crate(good: Path, bad: Path) -> None:
    with copied(good, bad, leave_out=f"{RUN_ID}/evidence/ro-crate-metadata.json") as archive:
        archive.writestr(f"{RUN_ID}/evidence/ro-crate-metadata.json", "[" * 100_000)


CASES: dict[Callable[[Path, Path], None], tuple[type[MatterStackError], str]] = {
    encrypted: (UsageError, "is encrypted"),
    packed_by_another_method: (UsageError, "is packed in a way"),
    larger_than_the_evidence_names: (RefusedError, f"{300 * MIB} bytes, and its evidence names"),
    larger_report: (RefusedError, f"{300 * MIB} bytes, and its evidence names"),
    what_nothing_names: (RefusedError, "evidence/more.dat, which its evidence does not name"),
    bomb_of_events: (UsageError, f"would be {300 * MIB} bytes"),
    deep: (UsageError, "is deeper than"),
    of_a_long_name: (UsageError, "is deeper than"),
    twice: (UsageError, "twice"),
    renamed: (RefusedError, f"it has the name of run {OTHER_RUN}, and events.jsonl is of {RUN_ID}"),
    renamed_report: (RefusedError, "report2.md"),
    without_evidence: (RefusedError, "manifest-sha256.txt"),
    with_a_broken_crate: (RefusedError, "ro-crate-metadata.json"),
}


@pytest.mark.parametrize("spoil", CASES)
def test_it_is_refused_in_one_sentence_and_nothing_is_left(
    spoil: Callable[[Path, Path], None], good: Path, tmp_path: Path, elsewhere: Root
) -> None:
    spoil(good, tmp_path / "bad.zip")
    error, words = CASES[spoil]
    before = set(content(elsewhere.path))
    with pytest.raises(error) as refused:
        import_archive(elsewhere, tmp_path / "bad.zip")
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
    assert set(content(elsewhere.path)) == before


@pytest.mark.parametrize("spoil", [s for s in CASES if s is not renamed_report])
def test_nothing_of_it_is_unpacked(
    spoil: Callable[[Path, Path], None],
    good: Path,
    tmp_path: Path,
    elsewhere: Root,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spoil(good, tmp_path / "bad.zip")

    def unpack(*_: object) -> str:
        raise AssertionError("something was unpacked")

    monkeypatch.setattr(Archived, "unpack", unpack)
    with pytest.raises(MatterStackError):
        import_archive(elsewhere, tmp_path / "bad.zip")


def test_an_entry_that_the_list_calls_otherwise_than_the_file_is_refused(
    good: Path, tmp_path: Path, elsewhere: Root
) -> None:
    data = good.read_bytes()
    listed = data.index(b"PK\1\2")
    at = data.index(b"events.jsonl", listed)
    (tmp_path / "bad.zip").write_bytes(data[:at] + b"eventz.jsonl" + data[at + 12 :])
    with pytest.raises(MatterStackError, match=r"differ|not whole"):
        import_archive(elsewhere, tmp_path / "bad.zip")


def test_what_is_quoted_of_an_archive_is_short(good: Path, tmp_path: Path, elsewhere: Root) -> None:
    """Where the length of a name is wrong, its name is 20,000 bytes of the archive."""
    data = bytearray(good.read_bytes())
    first = data.index(b"PK\3\4")
    data[first + 26 : first + 28] = struct.pack("<H", 20_000)
    bad = tmp_path / "bad.zip"
    bad.write_bytes(data)
    with pytest.raises(UsageError, match="is no archive that can be read: File name in directory") as raised:
        import_archive(elsewhere, bad)
    assert len(str(raised.value)) < 500 + len(str(bad))


def test_a_list_of_files_that_would_fill_the_memory_is_not_read(
    good: Path, tmp_path: Path, elsewhere: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(good) as archive:
        length = archive.start_dir
    size = len(good.read_bytes()) - length - 22
    monkeypatch.setattr(unpacking, "MOST_DIRECTORY_BYTES", size)
    import_archive(elsewhere, good)
    monkeypatch.setattr(unpacking, "MOST_DIRECTORY_BYTES", size - 1)
    with pytest.raises(UsageError, match=f"its list of files alone is {size} bytes"):
        import_archive(new_root(tmp_path / "again"), good)


def test_a_long_list_is_found_in_the_record_for_large_files_too(tmp_path: Path, elsewhere: Root) -> None:
    length = unpacking.MOST_DIRECTORY_BYTES + 1
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, length, 0)
    place = struct.pack("<4sLQL", b"PK\6\7", 0, 0, 1)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    (tmp_path / "long.zip").write_bytes(record + place + end)
    with pytest.raises(UsageError, match=f"its list of files alone is {length} bytes"):
        import_archive(elsewhere, tmp_path / "long.zip")


def test_an_archive_that_does_not_fit_on_the_disk_is_not_begun(
    good: Path, elsewhere: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.statvfs", lambda _: type("Disk", (), {"f_bavail": 1, "f_frsize": 512}))
    with pytest.raises(RefusedError, match="there is room for 512"):
        import_archive(elsewhere, good)
    assert not list((elsewhere.path / IMPORTED).iterdir())


def test_on_the_command_line_it_is_one_line(good: Path, tmp_path: Path, command_line: CommandLine) -> None:
    renamed(good, tmp_path / "bad.zip")
    done = command_line.run("run", "import", str(tmp_path / "bad.zip"))
    assert done.exit_code != 0
    assert done.stderr.startswith("Error: ")
    assert OTHER_RUN in done.stderr
    encrypted(good, tmp_path / "bad.zip")
    done = command_line.run("run", "import", str(tmp_path / "bad.zip"), "--json")
    assert "Traceback" not in done.stderr
    assert "is encrypted" in done.stderr


def test_what_its_evidence_names_is_unpacked_as_it_was(good: Path, elsewhere: Root) -> None:
    imported = import_archive(elsewhere, good)
    with zipfile.ZipFile(good) as archive:
        expected = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    assert content(imported.path.parent) == expected
    assert json.loads(expected["evidence/ro-crate-metadata.json"])["@graph"]
