"""Where things lie, and how a root is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from matterstack.core.errors import NotFoundError, UsageError
from matterstack.core.ids import RunId, TaskId
from matterstack.storage.layout import Root, find_root, require_run_id


def make(path: Path) -> Path:
    (path / "workspaces").mkdir(parents=True)
    return path


def test_the_option_wins_over_the_environment_and_that_over_the_working_folder(tmp_path: Path) -> None:
    option, environment, here = (make(tmp_path / name) for name in ("option", "environment", "here"))
    assert find_root(str(option), str(environment), here).path == option
    assert find_root(None, str(environment), here).path == environment
    assert find_root(None, None, here).path == here
    assert find_root("", "", here).path == here, "an empty variable is none"


def test_the_nearest_ancestor_with_workspaces_is_the_root(tmp_path: Path) -> None:
    outer = make(tmp_path / "outer")
    inner = make(outer / "workspaces" / "inner")
    deep = inner / "a" / "b"
    deep.mkdir(parents=True)
    assert find_root(None, None, deep).path == inner
    assert find_root(None, None, inner / "workspaces").path == inner
    assert find_root(None, None, outer / "workspaces").path == outer


def test_a_root_that_is_a_symbolic_link_is_taken_by_its_real_path(tmp_path: Path) -> None:
    real = make(tmp_path / "real")
    (tmp_path / "link").symlink_to(real)
    assert find_root(str(tmp_path / "link"), None, tmp_path).path == real


@pytest.mark.parametrize(
    ("option", "environment", "source"),
    [("gone", None, "--root"), (None, "gone", "MATTERSTACK_ROOT")],
)
def test_a_named_root_that_is_none_is_not_replaced_by_another(
    tmp_path: Path, option: str | None, environment: str | None, source: str
) -> None:
    with pytest.raises(NotFoundError, match=rf"^{source} gone: no folder with workspaces/") as missing:
        find_root(option, environment, make(tmp_path / "here"))
    assert missing.value.hint == "make one with: matterstack init gone"
    assert missing.value.exit_code == 3


def test_no_root_anywhere_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no workspaces/ folder in") as missing:
        find_root(None, None, tmp_path)
    assert "matterstack init DIR" in missing.value.hint


def test_a_file_named_workspaces_makes_no_root(tmp_path: Path) -> None:
    (tmp_path / "workspaces").write_text("")
    with pytest.raises(NotFoundError):
        find_root(None, None, tmp_path)


def test_a_workspace_is_found_by_its_plain_name_only(tmp_path: Path) -> None:
    root = Root(make(tmp_path))
    (root.workspaces / "alloys").mkdir()
    (root.workspaces / "alloys" / "campaign.py").write_text("")
    (root.workspaces / "notes").mkdir()
    assert root.workspace("alloys").campaign_file == root.workspaces / "alloys" / "campaign.py"
    assert root.slugs() == ["alloys"]
    with pytest.raises(NotFoundError, match=r"no workspace 'aloys' .*\(there are: alloys\)"):
        root.workspace("aloys")
    for name in ("", "..", ".", "../alloys", "a/b", "/etc", "a\0", "-x", "x" * 101, "a\n"):
        with pytest.raises(UsageError, match="is no workspace name"):
            root.workspace(name)


def test_a_root_without_workspaces_has_no_slugs(tmp_path: Path) -> None:
    assert Root(tmp_path).slugs() == []


def test_paths_of_a_run_are_below_its_workspace(tmp_path: Path) -> None:
    root = Root(tmp_path)
    folder = root.run_folder("alloys", RunId("20260101T000000-abcdef"))
    attempt = folder.attempt(TaskId("relax"), 2)
    top = tmp_path / "workspaces" / "alloys" / "runs" / "20260101T000000-abcdef"
    assert attempt.path == top / "tasks" / "relax" / "2"
    assert {p.name for p in (attempt.manifest, attempt.script, attempt.claim, attempt.exit_record)} == {
        "manifest.json", "job.sh", "claim", "exit.json",
    }  # fmt: skip
    assert (folder.config_file, folder.summary_file) == (top / "config.json", top / "run.json")
    assert root.database == tmp_path / ".matterstack" / "state.db"


NO_RUN_IDS = (
    "", "x", "20260101T000000-ABCDEF", "20260101T000000-abcde1", "20260101T000000-abcdefg",
    "../20260101T000000-abcdef", "20260101T000000-abcdef\n",
)  # fmt: skip


@pytest.mark.parametrize("text", NO_RUN_IDS)
def test_what_is_no_run_id_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="is no run id") as refused:
        require_run_id(text)
    assert refused.value.hint == "list them with: matterstack run list"


def test_a_run_id_is_taken_as_it_is() -> None:
    assert require_run_id("20260101T000000-abcde7") == "20260101T000000-abcde7"
