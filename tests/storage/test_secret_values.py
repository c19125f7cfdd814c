"""Where values of secrets come from, and which of what MatterStack starts finds them in its environment."""

from __future__ import annotations

import ast
import logging
import os
from pathlib import Path

import pytest

from matterstack.cli.log_options import LogOptions
from matterstack.cli.logs import log_to_file
from matterstack.storage.child_environment import child_environment, hide_from_children
from matterstack.storage.layout import Root
from matterstack.storage.secret_values import MissingSecretError, RunSecrets, SecretVault
from tests.support.documentation import PROJECT

STARTERS = {"run_process", "open_process", "posix_spawn", "Popen", "check_output", "check_call"}


@pytest.fixture
def root(tmp_path: Path) -> Root:
    (tmp_path / ".matterstack" / "secrets").mkdir(parents=True)
    return Root(tmp_path)


def put(root: Root, name: str, value: bytes, mode: int = 0o600) -> Path:
    path = root.secrets / name
    path.write_bytes(value)
    path.chmod(mode)
    return path


def missing(root: Root, name: str = "A_TOKEN") -> str:
    found = SecretVault(root).look_up([name])
    assert found.values == {}
    return found.missing[name]


def test_the_environment_counts_and_then_the_file(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    put(root, "A_TOKEN", b"of the file\n\n")
    vault = SecretVault(root)
    assert vault.look_up(["A_TOKEN"]).values == {"A_TOKEN": b"of the file\n"}
    monkeypatch.setenv("A_TOKEN", os.fsdecode(b"of the env\xff"))
    assert vault.look_up(["A_TOKEN"]).values == {"A_TOKEN": b"of the env\xff"}
    assert vault.search().names_in(b"once it was of the file\n.") == {"A_TOKEN"}, (
        "what was known is looked for"
    )


def test_a_former_value_is_looked_for_and_given_to_nobody(root: Root) -> None:
    put(root, "A_TOKEN.former", b"of last year")
    vault = SecretVault(root)
    assert vault.look_up(["A_TOKEN"]).values == {}
    assert vault.search().names_in(b"it is of last year") == {"A_TOKEN"}


def test_a_file_that_is_not_the_owners_alone_is_refused_with_what_mends_it(root: Root) -> None:
    path = put(root, "A_TOKEN", b"value", 0o640)
    assert missing(root) == f"others may read {path}: chmod 600 {path}"
    path.unlink()
    assert missing(root) == f"it is neither in the environment of the engine nor in {path}"
    path.symlink_to("/etc/hostname")
    assert "cannot be read" in missing(root)
    path.unlink()
    path.mkdir()
    assert missing(root) == f"{path} is no regular file"
    path.rmdir()
    os.mkfifo(path, 0o600)
    assert missing(root) == f"{path} is no regular file"
    path.unlink()
    put(root, "A_TOKEN", b"abc")
    assert "has fewer than 4 bytes" in missing(root)


def test_what_a_run_lacks_is_told(root: Root) -> None:
    with pytest.raises(MissingSecretError, match="the secret A_TOKEN has no value: it is neither in"):
        RunSecrets(("A_TOKEN",), SecretVault(root)).values()


def test_no_value_is_shown_by_what_holds_it(root: Root) -> None:
    put(root, "A_TOKEN", b"hush-hush")
    vault = SecretVault(root)
    found = vault.look_up(["A_TOKEN"])
    assert "hush" not in repr((vault, found, RunSecrets(("A_TOKEN",), vault), vault.search()))


def test_a_log_has_a_word_in_the_place_of_a_value(
    root: Root, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(root, "LOG_TOKEN", b"hush-hush-log")
    SecretVault(root).look_up(["LOG_TOKEN"])
    for as_json in (False, True):
        path = tmp_path / f"{as_json}.log"
        with log_to_file(path, LogOptions(as_json=as_json)):
            try:
                raise ValueError("bad hush-hush-log")
            except ValueError:
                logging.getLogger("matterstack.x").exception("it said %s", "hush-hush-log")
        assert "hush" not in path.read_text()
        assert "it said [secret LOG_TOKEN]" in path.read_text()
        assert "bad [secret LOG_TOKEN]" in path.read_text()
    assert "hush" not in capsys.readouterr().err


def test_a_name_is_hidden_from_all_that_is_started_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHILD_TOKEN", "value")
    assert "CHILD_TOKEN" in child_environment()
    hide_from_children(["CHILD_TOKEN"])
    assert "CHILD_TOKEN" not in child_environment()
    assert child_environment()["PATH"] == os.environ["PATH"]


def _hands_nothing_on(environment: ast.expr) -> bool:
    """Whether it is made from what children may have, or written out with nothing of this process in it."""
    if isinstance(environment, ast.Dict):
        values = [*environment.keys, *environment.values]
        if all(isinstance(value, ast.Constant) for value in values):
            return True
    return "child_environment" in ast.unparse(environment)


def _starts(source: str) -> list[int]:
    """Lines of a file that start a program without saying with which environment."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        named = [ast.unparse(argument) for argument in node.args]
        is_partial = name == "partial" and named and named[0].rpartition(".")[2] in STARTERS
        is_run = isinstance(node.func, ast.Attribute) and ast.unparse(node.func) == "subprocess.run"
        if name in STARTERS or is_partial or is_run:
            given = [k.value for k in node.keywords if k.arg == "env"] + node.args[2:3]
            if not any(_hands_nothing_on(environment) for environment in given):
                found.append(node.lineno)
    return found


def test_whatever_is_started_is_started_without_secrets() -> None:
    rooms = [PROJECT / name for name in ("matterstack", "actors", "backends")]
    files = [path for room in rooms for path in room.rglob("*.py") if "contract" not in path.parts]
    assert len(files) > 200
    found = {str(path.relative_to(PROJECT)): lines for path in files if (lines := _starts(path.read_text()))}
    assert found == {}


@pytest.mark.parametrize(
    ("call", "is_found"),
    [
        ("subprocess.run(['git'])", True),
        ("subprocess.run(['git'], env=os.environ)", True),
        ("subprocess.run(['git'], env={**os.environ})", True),
        ("subprocess.run(['git'], env={'A': os.environ['A']})", True),
        ("os.posix_spawn(shell, [shell], os.environ)", True),
        ("partial(trio.run_process, ['git'])", True),
        ("subprocess.run(['git'], env=child_environment() | {'LC_ALL': 'C'})", False),
        ("subprocess.run(['git'], env={'LC_ALL': 'C'})", False),
        ("os.posix_spawn(shell, [shell], child_environment())", False),
    ],
)
def test_what_a_program_is_started_with_is_seen(call: str, is_found: bool) -> None:
    assert bool(_starts(call)) == is_found
