"""Where a workspace stands in git, asked so that nobody's repository can make anything happen."""

import subprocess
from pathlib import Path

import pytest

from matterstack.campaign import git_commit
from matterstack.campaign.git_commit import workspace_commit

pytestmark = pytest.mark.usefixtures("processes")


def git(folder: Path, *words: str) -> str:
    options = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", *options, *words], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Of a root that is a repository, with one commit."""
    made = tmp_path / "workspaces" / "w"
    made.mkdir(parents=True)
    (made / "campaign.py").write_text("x = 1\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    return made


def test_the_commit_is_known_and_whether_files_were_changed_since(workspace: Path) -> None:
    head = git(workspace, "rev-parse", "HEAD")
    found = workspace_commit(workspace)
    assert found is not None
    assert (found.id, found.is_changed) == (head, False)

    (workspace / "campaign.py").write_text("x = 2\n")
    changed = workspace_commit(workspace)
    assert changed is not None
    assert changed.is_changed is True

    git(workspace, "checkout", "-q", ".")
    (workspace / "new.py").write_text("")
    untracked = workspace_commit(workspace)
    assert untracked is not None
    assert untracked.is_changed is True


def test_runs_and_what_lies_elsewhere_change_no_workspace(workspace: Path) -> None:
    (workspace / "runs" / "r").mkdir(parents=True)
    (workspace / "runs" / "r" / "config.json").write_text("{}")
    (workspace / "__pycache__").mkdir()
    (workspace / "__pycache__" / "campaign.pyc").write_text("")
    other = workspace.parent / "other"
    other.mkdir()
    (other / "campaign.py").write_text("")
    found = workspace_commit(workspace)
    assert found is not None
    assert found.is_changed is False


def test_nothing_that_a_repository_names_is_started(workspace: Path, tmp_path: Path) -> None:
    mark = tmp_path / "started"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {mark}\ncat\n")
    program.chmod(0o755)
    git(workspace, "config", "core.fsmonitor", str(program))
    git(workspace, "config", "filter.evil.clean", str(program))
    git(workspace, "config", "filter.evil.process", str(program))
    git(workspace, "config", "diff.external", str(program))
    git(workspace, "config", "alias.status", f"!{program}")
    root = tmp_path / ".git"
    (root / "info" / "attributes").write_text("*.py filter=evil\n")
    for hook in ("post-index-change", "post-checkout", "pre-commit"):
        (root / "hooks" / hook).write_text(program.read_text())
        (root / "hooks" / hook).chmod(0o755)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    (workspace / "campaign.py").write_text("x = 3\n")

    found = workspace_commit(workspace)

    assert found is not None
    assert found.is_changed is True
    assert not mark.exists()
    assert before == {path: path.stat().st_mtime_ns for path in root.rglob("*")}, "nothing is written there"


def test_variables_of_the_caller_do_not_answer_for_another_repository(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert workspace_commit(workspace) is not None


def test_where_there_is_no_git_no_commit_or_no_answer_nothing_is_known(
    workspace: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = tmp_path_factory.mktemp("bare")
    assert workspace_commit(bare) is None
    git(bare, "init", "-q")
    assert workspace_commit(bare) is None
    slow = bare / "bin"
    slow.mkdir()
    (slow / "git").write_text("#!/bin/sh\nexec sleep 60\n")
    (slow / "git").chmod(0o755)
    monkeypatch.setattr(git_commit, "PATIENCE_S", 0.05)
    monkeypatch.setenv("PATH", f"{slow}:/usr/bin:/bin")
    assert workspace_commit(workspace) is None
    monkeypatch.setenv("PATH", str(bare))
    assert workspace_commit(workspace) is None
