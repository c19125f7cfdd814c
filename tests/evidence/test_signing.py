"""Signatures over a bundle: who may, what they hold for, and what is said where none can be made."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
import trio

from matterstack.core.errors import NotFoundError, RefusedError
from matterstack.core.run import messages as m
from matterstack.evidence.archive import archive_run
from matterstack.evidence.export import BundleSignature
from matterstack.evidence.manifest import MANIFEST, SIGNATURE
from matterstack.evidence.signing import SignatureState, signing_key, verify_signature
from matterstack.evidence.verify import verify_bundle
from matterstack.storage.layout import Root
from tests.evidence.bundles import content, export
from tests.evidence.stage import completed, stage, told
from tests.support.states import RUN_ID
from tests.support.stored import new_root

pytestmark = pytest.mark.usefixtures("processes", "drawn_once")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Private keys by name; that of ``locked`` has a passphrase."""
    folder = tmp_path_factory.mktemp("keys")
    for name, passphrase in (("ada", ""), ("eve", ""), ("locked", "secret")):
        command = [
            "ssh-keygen",
            "-q",
            "-t",
            "ed25519",
            "-N",
            passphrase,
            "-f",
            str(folder / name),
            "-C",
            name,
        ]
        subprocess.run(command, check=True)
    return {name: folder / name for name in ("ada", "eve", "locked")}


@pytest.fixture
def allowed(keys: Mapping[str, Path], tmp_path: Path) -> Path:
    """A file of allowed signers: Ada's key, under two names."""
    file = tmp_path / "allowed_signers"
    file.write_text(f"# of the group\nada@example.org,ada {keys['ada'].with_suffix('.pub').read_text()}")
    return file


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return told(tmp_path / "root", "COMPLETED")


def test_a_signed_bundle_says_who_signed(root: Root, keys: Mapping[str, Path], allowed: Path) -> None:
    bundle = export(root, sign_with=keys["ada"])
    assert bundle.signature is BundleSignature.MADE
    check = verify_signature(bundle.path, allowed)
    assert (check.state, check.signer) == (SignatureState.GOOD, "ada@example.org")
    assert check.key.startswith("ED25519 SHA256:")
    assert verify_bundle(bundle.path, root) == [], "the signature is no file that was added"
    assert verify_signature(bundle.path).state is SignatureState.NOT_CHECKED
    by_hand = ["ssh-keygen", "-Y", "verify", "-f", str(allowed), "-I", "ada", "-n", "file", "-s", SIGNATURE]
    subprocess.run(by_hand, cwd=bundle.path, input=(bundle.path / MANIFEST).read_bytes(), check=True)


def test_it_is_the_same_to_the_byte_when_it_is_signed_again(root: Root, keys: Mapping[str, Path]) -> None:
    first = content(export(root, sign_with=keys["ada"]).path)
    assert content(export(root, sign_with=keys["ada"]).path) == first


def test_unsigned_foreign_and_spoilt_signatures_fail_where_signers_are_named(
    root: Root, keys: Mapping[str, Path], allowed: Path
) -> None:
    folder = export(root).path
    check = verify_signature(folder, allowed)
    assert (check.state, check.problem) == (
        SignatureState.NONE,
        "there is none: nobody has signed this bundle",
    )
    assert verify_signature(folder).state is SignatureState.NONE

    export(root, sign_with=keys["eve"])
    check = verify_signature(folder, allowed)
    assert check.state is SignatureState.BAD
    assert "was made by nobody who stands in" in check.problem

    export(root, sign_with=keys["ada"])
    (folder / MANIFEST).write_bytes((folder / MANIFEST).read_bytes() + b"\n")
    check = verify_signature(folder, allowed)
    assert check.state is SignatureState.BAD
    assert "was not made over this manifest" in check.problem

    for spoilt in (b"", b"\0" * 100, b"x" * 100_000):
        (folder / SIGNATURE).write_bytes(spoilt)
        assert verify_signature(folder, allowed).state is SignatureState.BAD


def test_a_signature_stays_as_long_as_it_fits(
    tmp_path: Path, keys: Mapping[str, Path], allowed: Path
) -> None:
    root = new_root(tmp_path / "other")
    with stage(root) as made:
        completed(made)
        folder = export(root, sign_with=keys["ada"]).path
        assert export(root).signature is BundleSignature.KEPT
        assert verify_signature(folder, allowed).state is SignatureState.GOOD

        archived = trio.run(archive_run, root, RUN_ID)
        assert archived.bundle.signature is BundleSignature.KEPT

        made.tell(m.AmendAbout(by="ann", about={"title": "Another"}))
        bundle = export(root)
        assert bundle.signature is BundleSignature.DROPPED
        assert bundle.foreign == ()
        assert verify_signature(folder).state is SignatureState.NONE
        assert export(root).signature is BundleSignature.NONE


def test_a_key_with_a_passphrase_that_nobody_gives_changes_nothing(
    root: Root, keys: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
    monkeypatch.setenv("SSH_ASKPASS", "/bin/false")
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    before = content(export(root).path)
    with pytest.raises(RefusedError, match="has a passphrase") as caught:
        export(root, sign_with=keys["locked"])
    assert caught.value.hint == f"put it into an agent first: ssh-add {keys['locked']}"
    assert content(export(root).path) == before


def test_what_is_no_private_key_is_refused(root: Root, keys: Mapping[str, Path], tmp_path: Path) -> None:
    (tmp_path / "no-key").write_text("x")
    with pytest.raises(RefusedError, match="ssh-keygen cannot sign with"):
        export(root, sign_with=tmp_path / "no-key")
    lonely = tmp_path / "lonely.pub"
    lonely.write_bytes(keys["ada"].with_suffix(".pub").read_bytes())
    with pytest.raises(RefusedError, match="the private half of"):
        export(root, sign_with=lonely)


@pytest.mark.parametrize(
    "says", ["unknown option -- Y\nusage: ssh-keygen [options]", "Unsupported operation for -Y"]
)
def test_an_old_or_missing_ssh_is_named(
    root: Root,
    keys: Mapping[str, Path],
    allowed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    says: str,
) -> None:
    folder = export(root, sign_with=keys["ada"]).path
    old = tmp_path / "bin" / "ssh-keygen"
    old.parent.mkdir()
    monkeypatch.setenv("PATH", str(old.parent))
    with pytest.raises(RefusedError, match="ssh-keygen is not installed"):
        verify_signature(folder, allowed)
    old.write_text(f"#!/bin/sh\necho '{says}' >&2\nexit 1\n")
    old.chmod(0o755)
    for attempt in (lambda: verify_signature(folder, allowed), lambda: export(root, sign_with=keys["ada"])):
        with pytest.raises(RefusedError, match=r"too old for signatures: OpenSSH 8\.2 or newer"):
            attempt()


def test_the_key_is_the_one_that_is_named_else_that_of_git_else_the_first_of_ssh(
    keys: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    assert signing_key(keys["ada"]) == keys["ada"]
    with pytest.raises(NotFoundError, match="no key"):
        signing_key(tmp_path / "nowhere")
    with pytest.raises(NotFoundError, match="there is no ssh key to sign with"):
        signing_key(None)
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id_rsa").write_text("")
    assert signing_key(None) == tmp_path / ".ssh" / "id_rsa"
    (tmp_path / ".ssh" / "id_ed25519.pub").write_text("")
    assert signing_key(None) == tmp_path / ".ssh" / "id_ed25519.pub"
    (tmp_path / ".gitconfig").write_text(f"[gpg]\nformat = ssh\n[user]\nsigningkey = {keys['eve']}\n")
    assert signing_key(None) == keys["eve"]
