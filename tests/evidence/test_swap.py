"""A bundle takes another's place all at once, where two names can be exchanged and where they cannot."""

import os
from pathlib import Path

import pytest

from matterstack.evidence import swap
from matterstack.evidence.manifest import manifest_bytes, parse_manifest
from matterstack.evidence.swap import built_path, recover, swap_in
from tests.evidence.bundles import content
from tests.evidence.stage import ODD_NAMES


def folder(path: Path, text: str) -> Path:
    path.mkdir(parents=True)
    (path / "a").write_text(text)
    return path


@pytest.mark.parametrize("can_exchange", [True, False])
def test_the_new_one_takes_the_place_of_the_old_one(
    can_exchange: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not can_exchange:
        monkeypatch.setattr(swap, "_exchange", lambda _one, _other: False)
    final = tmp_path / "evidence"
    for text in ("first", "second", "third"):
        swap_in(folder(built_path(final, "run"), text), final)
        assert content(tmp_path) == {"evidence/a": text.encode()}


def test_a_death_between_two_renames_is_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    final = folder(tmp_path / "evidence", "old")
    built = folder(built_path(final, "run"), "new")
    monkeypatch.setattr(swap, "_exchange", lambda _one, _other: False)
    rename = Path.rename

    def die_at_the_second(self: Path, target: Path) -> Path:
        if self == built:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", die_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        swap_in(built, final)
    monkeypatch.undo()
    assert not final.exists()
    recover(final)
    assert content(final) == {"a": b"old"}


def test_nothing_is_changed_when_names_cannot_be_exchanged_for_another_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    final = folder(tmp_path / "evidence", "old")
    built = folder(tmp_path / "built", "new")

    def refused(_one: Path, _other: Path) -> bool:
        raise OSError(13, os.strerror(13))

    monkeypatch.setattr(swap, "_exchange", refused)
    with pytest.raises(PermissionError):
        swap_in(built, final)
    assert content(tmp_path) == {"evidence/a": b"old", "built/a": b"new"}


def test_names_that_are_not_there_are_not_taken_for_a_file_system_that_cannot(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        swap._exchange(tmp_path / "one", folder(tmp_path / "other", "old"))
    assert content(tmp_path) == {"other/a": b"old"}


def test_a_manifest_holds_any_name_and_is_read_back() -> None:
    hashes = {name: f"{number:064x}" for number, name in enumerate((*ODD_NAMES, "back\\slash", "cr\rlf"))}
    assert parse_manifest(manifest_bytes(hashes)) == hashes


@pytest.mark.parametrize(
    "text", [b"x", b"00  a\n", b"%064d  b\n%064d  a\n" % (1, 1), b"%064d  a\n%064d  a\n" % (1, 1)]
)
def test_what_is_no_manifest_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="line"):
        parse_manifest(text if text.endswith(b"\n") else text + b"\n")
