"""Signatures over a bundle's manifest, made and checked by ssh-keygen(1) with people's own ssh keys.

A signature says who vouches for the manifest, and so for every file that it lists.  It lies beside the
manifest, and anybody can check it without MatterStack.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Final

import attrs

from matterstack.core.errors import NotFoundError, RefusedError
from matterstack.core.shown_text import brief
from matterstack.evidence.confined_reading import opened
from matterstack.evidence.manifest import MANIFEST, SIGNATURE
from matterstack.storage.child_environment import child_environment
from matterstack.storage.confine import Confined, confined
from matterstack.storage.files import chunks

NAMESPACE: Final = "file"
"""What ssh-keygen(1) itself names for the signatures of files."""
MOST_BYTES: Final = 64 << 10
PATIENCE_S: Final = 60.0
"""For what asks nobody; a passphrase is waited for."""
KEYS: Final = ("id_ed25519", "id_ecdsa", "id_rsa", "id_ed25519_sk", "id_ecdsa_sk")
"""In ``~/.ssh``, the first one that is there."""

_TOO_OLD: Final = re.compile(
    r"illegal option|unknown option|invalid option|unsupported operation|usage:", re.IGNORECASE
)
_NEEDS: Final = "OpenSSH 8.2 or newer is needed (8.1 can sign, and cannot tell who signed)"
_KEY: Final = re.compile(r"with (\S+) key (SHA256:\S+)")


class SignatureState(StrEnum):
    """What is known of a bundle's signature."""

    NONE = "none"
    """Nobody has signed it."""
    NOT_CHECKED = "not checked"
    """There is one, and nobody has said whose would count."""
    GOOD = "good"
    BAD = "bad"


@attrs.frozen(kw_only=True)
class SignatureCheck:
    """What became of checking a signature.

    Attributes:
        signer: who signed, by the name that the file of allowed signers has; empty unless it is good.
        key: kind and fingerprint of the key, where known.
        problem: what is wrong, in words; empty unless it is bad, or none where one was asked for.
    """

    state: SignatureState
    signer: str = ""
    key: str = ""
    problem: str = ""


def signature_words(check: SignatureCheck) -> str:
    """What became of a check, for people; empty where there is nothing to say."""
    match check.state:
        case SignatureState.GOOD:
            return f"signed by {check.signer}" + (f" ({check.key})" if check.key else "")
        case SignatureState.NOT_CHECKED:
            return "it is signed, and the signature was not checked: give --allowed-signers FILE"
        case SignatureState.BAD | SignatureState.NONE:
            return ""


# ---- signing ----


def signing_key(given: Path | None) -> Path:
    """The file of the key to sign with: the one that is given, else git's for signing, else one of ~/.ssh.

    Raises:
        NotFoundError: there is none; says how to name one, or to make one.
    """
    if given is not None:
        if not given.is_file():
            raise NotFoundError(f"no key {given}", hint="name a private key, or the .pub of one in ssh-agent")
        return given
    candidates = [*_key_of_git(), *(Path("~/.ssh").expanduser() / name for name in KEYS)]
    for path in candidates:
        if path.is_file():
            return path
        if path.with_name(f"{path.name}.pub").is_file():
            return path.with_name(f"{path.name}.pub")  # the other half may be in the agent
    raise NotFoundError(
        "there is no ssh key to sign with: neither git's user.signingkey, nor one in ~/.ssh",
        hint="name one with --key FILE, or make one with: ssh-keygen -t ed25519",
    )


def _key_of_git() -> Iterator[Path]:
    """Where git signs with ssh, the key that it signs with."""
    try:
        found = [
            subprocess.run(
                ["git", "config", "--global", "--get", name],
                env=child_environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
                check=False,
            ).stdout.strip()
            for name in ("gpg.format", "user.signingkey")
        ]
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return
    if found[0] == "ssh" and found[1] and not found[1].startswith(("key::", "ssh-")):
        yield Path(found[1]).expanduser()


def sign_manifest(folder: Path, key: Path) -> None:
    """Sign the manifest of a bundle; a signature that is there already is replaced.

    A passphrase is asked for on the terminal by ssh-keygen(1) itself, unless the key is in ssh-agent(1).

    Raises:
        RefusedError: it cannot be signed; says why, and what to do.
    """
    (folder / SIGNATURE).unlink(missing_ok=True)
    done = _run(["-Y", "sign", "-q", "-n", NAMESPACE, "-f", str(key), str(folder / MANIFEST)], timeout_s=None)
    if done.returncode == 0 and (folder / SIGNATURE).is_file():
        (folder / SIGNATURE).chmod((folder / MANIFEST).stat().st_mode & 0o777)
        return
    said = _complaint(done)
    if "passphrase" in said:
        raise RefusedError(
            f"the key {key} has a passphrase, and nobody gave the right one",
            hint=f"put it into an agent first: ssh-add {key}",
        )
    if b"too open" in done.stderr:
        raise RefusedError(
            f"others may read the key {key}, so ssh-keygen ignores it", hint=f"chmod 600 {key}"
        )
    if "agent" in said or "no such identity" in said.lower() or "no private key" in said.lower():
        raise RefusedError(
            f"the private half of {key} was not found: {said}", hint="put it into an agent: ssh-add"
        )
    raise RefusedError(f"ssh-keygen cannot sign with {key}: {said}", hint="name another key with --key FILE")


# ---- checking ----


def verify_signature(folder: Path, allowed_signers: Path | None = None) -> SignatureCheck:
    """Check who vouches for a bundle.  What its manifest lists is for `matterstack.evidence.verify`.

    Args:
        allowed_signers: whose signature counts, as in ssh-keygen(1); None: nobody has said.

    Raises:
        NotFoundError: there is no such file of allowed signers.
        RefusedError: ssh-keygen(1) is missing or too old.
    """
    with confined(folder) as bundle:
        signature = _content(bundle, SIGNATURE, MOST_BYTES)
        manifest = _content(bundle, MANIFEST, None)
    return _check(signature, manifest or b"", allowed_signers)


def _content(bundle: Confined, path: str, most_bytes: int | None) -> bytes | None:
    try:
        with opened(bundle, path) as reading:
            if most_bytes is not None and os.fstat(reading).st_size > most_bytes:
                return b""  # no signature is as long as that
            return b"".join(chunks(reading))
    except OSError:
        return None


def _check(signature: bytes | None, manifest: bytes, allowed_signers: Path | None) -> SignatureCheck:
    if allowed_signers is None:
        state = SignatureState.NONE if signature is None else SignatureState.NOT_CHECKED
        return SignatureCheck(state=state)
    if not allowed_signers.is_file():
        raise NotFoundError(
            f"no file {allowed_signers}",
            hint="a line for each signer: NAME ssh-ed25519 AAAA... (see ALLOWED SIGNERS in ssh-keygen(1))",
        )
    if signature is None:
        return SignatureCheck(
            state=SignatureState.NONE, problem="there is none: nobody has signed this bundle"
        )
    with _file_of(signature) as file:
        names = _principals(file, allowed_signers)
        for name in names:
            done = _run(
                ["-Y", "verify", "-f", str(allowed_signers), "-I", name, "-n", NAMESPACE, "-s", str(file)],
                stdin=manifest,
            )
            if done.returncode == 0:
                match = _KEY.search(done.stdout.decode(errors="replace"))
                key = f"{match[1]} {match[2]}" if match is not None else ""
                return SignatureCheck(state=SignatureState.GOOD, signer=name, key=key)
        problem = (
            f"was not made over this {MANIFEST}, or its signer may not sign now"
            if names
            else f"was made by nobody who stands in {allowed_signers}, or is none"
        )
    return SignatureCheck(state=SignatureState.BAD, problem=problem)


def _principals(file: Path, allowed_signers: Path) -> list[str]:
    """By which names the signer is allowed."""
    done = _run(["-Y", "find-principals", "-s", str(file), "-f", str(allowed_signers)])
    if done.returncode != 0:
        return []
    lines = done.stdout.decode(errors="surrogateescape").splitlines()
    # A line of the file may have several names, with commas, and patterns that no name can be.
    names = (name for line in lines for name in line.split(","))
    return [name for name in dict.fromkeys(names) if name and not name.startswith(("!", "-"))]


@contextmanager
def _file_of(content: bytes) -> Iterator[Path]:
    """A file that nobody else can change while it is looked at."""
    folder = tempfile.mkdtemp(prefix="matterstack-")
    try:
        file = Path(folder) / SIGNATURE
        file.write_bytes(content)
        yield file
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(
    arguments: Sequence[str], *, stdin: bytes = b"", timeout_s: float | None = PATIENCE_S
) -> subprocess.CompletedProcess[bytes]:
    """Run ssh-keygen(1), and wait for it.

    Raises:
        RefusedError: it is missing, too old or does not answer.
    """
    try:
        done = subprocess.run(
            ["ssh-keygen", *arguments],
            input=stdin,
            capture_output=True,
            timeout=timeout_s,
            check=False,
            env={**child_environment(), "LC_ALL": "C"},
        )
    except FileNotFoundError:
        hint = "install OpenSSH (on Debian: apt install openssh-client)"
        raise RefusedError("ssh-keygen is not installed, and signatures need it", hint=hint) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RefusedError(f"ssh-keygen could not be asked: {brief(error)}") from None
    if done.returncode != 0 and _TOO_OLD.search(done.stderr.decode(errors="replace")):
        raise RefusedError(
            f"the ssh-keygen of this machine is too old for signatures: {_NEEDS}", hint="see: ssh -V"
        )
    return done


def _complaint(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else f"exit code {done.returncode}"
