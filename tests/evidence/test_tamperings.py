"""What a forger may do to a bundle, and what finds it: the table of the manual is what is found here.

With ``MATTERSTACK_WRITE_TABLE=1`` it is written anew.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import attrs
import pytest

from matterstack.evidence.head_search import later_in_store, search_head
from matterstack.evidence.history import fold_events, parse_lines
from matterstack.evidence.manifest import MANIFEST
from matterstack.evidence.strength import Strength, Verification
from matterstack.evidence.verify import examine_bundle
from matterstack.storage.layout import Root
from tests.evidence.bundles import content
from tests.evidence.change_tamperings import GROUPS, Tampering
from tests.evidence.forger import Forger
from tests.evidence.tampered_run import tampered_run

pytestmark = pytest.mark.usefixtures("drawn_once", "processes")

TABLE: Final = Path(__file__).parents[2] / "docs" / "tamperings.md"
BEGIN, END = "<!-- table -->\n", "<!-- end of table -->\n"
FOUND, NAMED, NOTHING = "found", "named", "no"


@attrs.frozen
class Whole:
    """The bundle that nobody has touched, and what its owner wrote down of it."""

    root: Root
    folder: Path
    head: str
    signed: Path
    untouched: Verification


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    base = tmp_path_factory.mktemp("tampered")
    root, folder = tampered_run(base / "root")
    untouched = examine_bundle(folder, root)
    assert untouched.findings == ()
    head = fold_events(parse_lines((folder / "events.jsonl").read_bytes())).head
    return Whole(root, folder, head, signed(base, folder / MANIFEST), untouched)


def signed(base: Path, manifest: Path) -> Path:
    """A folder with a key, who may sign with it, and a detached signature over the manifest."""
    folder = base / "signed"
    folder.mkdir()
    keygen("-q", "-t", "ed25519", "-N", "", "-C", "ann", "-f", str(folder / "key"))
    (folder / "signers").write_text(f"ann {(folder / 'key.pub').read_text()}")
    shutil.copy(manifest, folder / "manifest")
    keygen("-Y", "sign", "-f", str(folder / "key"), "-n", "file", str(folder / "manifest"))
    return folder


def keygen(*arguments: str, stdin: bytes = b"") -> int:
    done = subprocess.run(
        ["ssh-keygen", *arguments], input=stdin, capture_output=True, check=False, timeout=60
    )
    return done.returncode


def is_signed(whole: Whole, folder: Path) -> bool:
    """Whether the signature of before is one of the manifest that is there now."""
    sides = ["-f", str(whole.signed / "signers"), "-I", "ann", "-n", "file"]
    manifest = (folder / MANIFEST).read_bytes()
    return not keygen("-Y", "verify", *sides, "-s", str(whole.signed / "manifest.sig"), stdin=manifest)


def row(whole: Whole, tampering: Tampering, folder: Path) -> list[str]:
    """What finds it: alone, with the head, with a signature, with the store."""
    shutil.copytree(whole.folder, folder, symlinks=True)
    tampering(Forger.of(folder))
    assert content(folder) != content(whole.folder) or is_other_tree(folder, whole.folder), "nothing was done"
    alone = examine_bundle(folder)
    with_store = examine_bundle(folder, whole.root)
    is_found = bool(alone.findings)
    is_named = bool(said(alone) - said(whole.untouched) or touched(whole, folder) & weakly(alone))
    later = later_in_store(folder, whole.root) if not with_store.findings else ()
    is_named_with_store = is_named or bool(later)
    others = NAMED if is_named else NOTHING
    searched = search_head(folder, whole.head)
    return [
        FOUND if is_found else others,
        FOUND if is_found or not searched.is_found else (NAMED if searched.later else others),
        FOUND if is_found or not is_signed(whole, folder) else others,
        FOUND if with_store.findings else (NAMED if is_named_with_store else NOTHING),
    ]


def is_other_tree(folder: Path, whole: Path) -> bool:
    return {p.relative_to(folder) for p in folder.rglob("*")} != {
        p.relative_to(whole) for p in whole.rglob("*")
    }


def said(found: Verification) -> set[str]:
    """What a verification tells besides what does not fit."""
    weaker = {f"{path} {check}" for path, check in found.weaker() if check is not Strength.NOT_CHECKED}
    return {*found.absent, *found.unbound, *weaker}


def touched(whole: Whole, folder: Path) -> set[str]:
    """Files that are others now, or gone."""
    now = content(folder)
    return {path for path, data in content(whole.folder).items() if now.get(path) != data}


def weakly(found: Verification) -> set[str]:
    """Files of which it is said that no event binds them."""
    return {path for path, check in found.weaker() if check is Strength.HASH_ONLY}


def table(whole: Whole, base: Path) -> str:
    lines = []
    number = 0
    for group, tamperings in GROUPS.items():
        lines += [
            "",
            f"## {group}",
            "",
            "| | alone | `--head` | signature | `--against-store` |",
            "|---|---|---|---|---|",
        ]
        for what, tampering in tamperings.items():
            number += 1
            found = row(whole, tampering, base / str(number))
            shutil.rmtree(base / str(number))
            lines.append(f"| {what} | {' | '.join(found)} |")
    return "\n".join([*lines, "", f"{number} tamperings.", ""])


def test_the_table_of_the_manual_is_what_finds_what(whole: Whole, tmp_path: Path) -> None:
    assert sum(len(tamperings) for tamperings in GROUPS.values()) >= 60
    made = table(whole, tmp_path)
    for line in made.splitlines():
        if line.startswith("| ") and not line.startswith("| |"):
            assert line.split(" | ")[3] == FOUND, f"a signature finds whatever is done: {line}"
    page = TABLE.read_text()
    head, _, rest = page.partition(BEGIN)
    kept, _, foot = rest.partition(END)
    if os.environ.get("MATTERSTACK_WRITE_TABLE"):
        TABLE.write_text(f"{head}{BEGIN}{made}{END}{foot}")
        return
    assert kept == made
