"""Whatever is wrong with what people write: one clear message with file and field, and nothing is lost."""

import json
import sqlite3
from functools import partial
from pathlib import Path
from textwrap import dedent

import pytest
import trio

from matterstack.actors.runtime import Runtime
from matterstack.storage.layout import Root
from matterstack.usecases.configuration import effective_config
from matterstack.usecases.first_plan import require_loadable
from matterstack.usecases.runs import create_run
from tests.support.campaigns import Diary, write_tasks, write_workspace
from tests.support.command import CommandLine

SHELL_OF_A_CAMPAIGN = """\
import os, signal, sys, time
from matterstack import Campaign, Results, Task, Workflow

class Mine:
    def plan(self, state, results):
        {plan}
    def analyze(self, state, results):
        {analyze}

def get_campaign():
    return Mine()
"""


def campaign(plan: str, analyze: str = "return {'round': 1}") -> str:
    """Source of a campaign with these bodies."""
    bodies = (dedent(body).replace("\n", "\n        ") for body in (plan, analyze))
    return SHELL_OF_A_CAMPAIGN.format(plan=next(bodies), analyze=next(bodies))


ONE_TASK = "return Workflow([Task('only', command=['true'])])"

BROKEN_CAMPAIGNS: dict[str, tuple[str | bytes, str]] = {
    "syntax error": ("def get_campaign(:\n", "{file}, line 1: SyntaxError: "),
    "no python": (b"\xff\xfe\x00", "{file}"),
    "import error": ("import nonexistent_package\n", "{file}, line 1: ModuleNotFoundError: "),
    "no get_campaign": ("x = 1\n", "{file}: has no function get_campaign()"),
    "get_campaign raises": (
        "def get_campaign():\n    raise OSError('potential file is missing')\n",
        "{file}, line 2 in get_campaign: OSError: potential file is missing",
    ),
    "get_campaign returns nonsense": (
        "def get_campaign():\n    return 42\n",
        "{file}: get_campaign() returned int, which has no method plan()",
    ),
    "get_campaign hangs": (
        "import time\ndef get_campaign():\n    time.sleep(600)\n",
        "{file}: plan gave no answer within 2 s (planning_timeout_s in config.json)",
    ),
    "plan returns nonsense": (
        campaign("return [1, 2]"),
        "{file}: plan() must return a Workflow or None, not list",
    ),
    "plan raises": (campaign("raise ValueError('no\\nluck')"), "{file}, line 6 in plan: ValueError: no luck"),
    "a cyclic workflow": (
        campaign(
            "return Workflow([Task('a', command=['x'], depends_on=['b']),"
            " Task('b', command=['x'], depends_on=['a'])])"
        ),
        "the tasks wait for each other in a circle: a -> b -> a",
    ),
    "a workflow with many mistakes": (
        campaign(
            "return Workflow([Task('../a', command=['x']), Task('b', command=['x'], inputs={'f': 'c/f'}),"
            " Task('d', command=[], backend='nix')])"
        ),
        "task 'b': input 'f': 'c' is no task of this run",
    ),
    "a task with a wrong field": (
        campaign("return Workflow([Task('a', command='echo hello')])"),
        "{file}, line 6 in plan: TypeError: command must be a list of texts, not 'echo hello'",
    ),
    "an empty workflow": (campaign("return Workflow([])"), "return None from plan when the goal is met"),
    "plan exits": (campaign("os._exit(0)"), "{file}: plan ended without an answer; see {log}"),
    "plan exits politely": (campaign("sys.exit('giving up')"), "SystemExit: giving up"),
    "plan is killed": (
        campaign("os.kill(os.getpid(), signal.SIGKILL)"),
        "{file}: plan was killed by signal 9 without an answer; see {log}",
    ),
    "analyze returns no dict": (
        campaign(ONE_TASK, "return None"),
        "{file}: analyze() must return a dict, not NoneType",
    ),
    "analyze returns no JSON": (
        campaign(ONE_TASK, "return {'x': float('nan')}"),
        "{file}: analyze() must return JSON: ",
    ),
    "analyze returns objects": (
        campaign(ONE_TASK, "return {'x': object()}"),
        "{file}: analyze() must return JSON: ",
    ),
    "analyze raises": (
        campaign(ONE_TASK, "return {'e': results['only'].data['energy_ev']}"),
        "{file}, line 8 in analyze: TypeError: ",
    ),
}


def test_a_broken_campaign_fails_its_run_with_one_line_about_it(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(command_line.home))
    runs = {}
    for number, (name, (source, _)) in enumerate(BROKEN_CAMPAIGNS.items()):
        slug = f"broken-{number}"
        timeout_s = 2 if name.endswith("hangs") else 300
        write_workspace(command_line.root, slug, source, config={"planning_timeout_s": timeout_s})
        runs[name] = (slug, create_run(Root(command_line.root), slug, {}, Runtime()))

    done = command_line.run("run", "loop", "--until-done")

    assert done.exit_code == 1
    assert done.stderr == ""
    listed = {run["run_id"]: run for run in command_line.json("run", "list")}
    wrong = {}
    for name, (slug, run_id) in runs.items():
        file = command_line.root / "workspaces" / slug / "campaign.py"
        log = command_line.run_folder(slug, run_id) / "planning.log"
        expected = BROKEN_CAMPAIGNS[name][1].format(file=file, log=log)
        reason = listed[run_id]["status_reason"]
        if expected not in reason or listed[run_id]["status"] != "FAILED" or "\n" in reason:
            wrong[name] = reason
    assert not wrong


UNLOADABLE = (
    "syntax error",
    "no python",
    "import error",
    "no get_campaign",
    "get_campaign raises",
    "get_campaign returns nonsense",
    "get_campaign hangs",
    "the file exits",
    "there is no file",
)


@pytest.mark.parametrize("name", UNLOADABLE)
def test_a_campaign_that_cannot_be_loaded_is_refused_before_there_is_a_run(
    command_line: CommandLine, name: str
) -> None:
    source, expected = BROKEN_CAMPAIGNS.get(name, ("import os\nos._exit(0)\n", "{file}: "))
    folder = write_workspace(command_line.root, "w", source, config={"planning_timeout_s": 2})
    if name == "there is no file":
        (folder / "campaign.py").unlink()
    words = expected.format(file=folder / "campaign.py").replace(": plan gave", ": load gave")

    for command in (
        ["start", "w"],
        ["init", "w"],
        ["init", "w", "--key", "k"],
        ["init", "w", "--show-script"],
    ):
        done = command_line.run("run", *command, "--json")
        assert (done.exit_code, done.stdout, done.error["code"]) == (2, "", "campaign"), command
        shown = words.replace(": load gave", ": plan gave") if "--show-script" in command else words
        assert shown in done.error["message"], command
    assert not (folder / "runs").exists()
    assert command_line.json("run", "list") == []


def test_a_campaign_that_takes_long_to_load_is_left_to_the_engine(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_workspace(command_line.root, "w", "import time\ntime.sleep(600)\n")
    monkeypatch.setenv("HOME", str(command_line.home))

    root = Root(command_line.root)
    config = effective_config(root, root.workspace("w"), {})

    trio.run(partial(require_loadable, root, "w", config, Runtime(), loading_s=0.1))


def test_a_campaign_that_works_oddly_is_no_broken_one(command_line: CommandLine, diary: Diary) -> None:
    plan = f"""\
    print('garbage' * 100000)
    os.write(1, bytes(range(256)))
    print('to stderr', file=sys.stderr)
    if os.fork() == 0:
        open({str(diary.folder / "child")!r}, 'w').write(str(os.getpid()))
        time.sleep(600)
    while not os.path.exists({str(diary.folder / "child")!r}):
        time.sleep(0.01)
    return None if state else Workflow([Task('only', command=['true'])])
    """
    write_workspace(command_line.root, "odd", campaign(plan), config={"planning_timeout_s": 50})

    run_id = command_line.new_run("odd")
    command_line.ok("run", "loop", "--until-done", run_id)

    assert command_line.status(run_id)["status"] == "COMPLETED"
    log = (command_line.run_folder("odd", run_id) / "planning.log").read_bytes()
    assert b"garbagegarbage" in log
    assert b"to stderr" in log
    assert not command_line.processes(), "what the campaign started has ended with it"


def test_a_corrected_campaign_goes_on_by_retry(command_line: CommandLine) -> None:
    folder = write_workspace(command_line.root, "w", campaign(ONE_TASK, "return {'x': 1 / 0}"))
    failed = command_line.run("run", "start", "w", "--json")
    assert failed.exit_code == 1
    run_id = failed.json["run_id"]

    fixed = campaign("return None if state else " + ONE_TASK.removeprefix("return "))
    (folder / "campaign.py").write_text(fixed)
    command_line.ok("run", "retry", run_id)
    command_line.ok("run", "loop", "--until-done", run_id)

    assert command_line.status(run_id)["status"] == "COMPLETED"
    assert len(command_line.tasks(run_id)["only"]["attempts"]) == 1


BAD_CONFIGS: dict[str, tuple[str | bytes, str]] = {
    "unknown key": ('{"max_jobs": 3}', "max_jobs: unknown key"),
    "unknown key of a backend": (
        '{"backends": {"local": {"type": "local", "nodes": 3}}}',
        "backends.local.nodes: unknown key",
    ),
    "wrong type": ('{"max_hpc_jobs_per_run": "many"}', "max_hpc_jobs_per_run: "),
    "too small": ('{"max_hpc_jobs_per_run": 0}', "max_hpc_jobs_per_run: "),
    "params no object": ('{"params": [1]}', "params: "),
    "unknown type of backend": (
        '{"backends": {"c": {"type": "pbs"}}}',
        "backends.c.type: 'pbs' is no type of backend (there are: local, slurm)",
    ),
    "no type of backend": ('{"backends": {"c": {}}}', "backends.c.type: is missing"),
    "unknown default": ('{"default_backend": "nix"}', "default_backend: 'nix' is not in backends"),
    "no JSON": ("{'a': 1}", "not valid JSON"),
    "a list": ("[]", "must be a JSON object, not list"),
    "empty": ("", "not valid JSON"),
    "UTF-16": ('{"priority": 2}'.encode("utf-16"), "UTF-8"),
}


@pytest.mark.parametrize("name", BAD_CONFIGS)
def test_a_bad_config_is_refused_before_a_run_is_made(command_line: CommandLine, name: str) -> None:
    content, expected = BAD_CONFIGS[name]
    folder = write_workspace(command_line.root, "w", campaign(ONE_TASK), config=content)

    done = command_line.run("run", "init", "w", "--json")

    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.error["code"] == "config"
    assert done.error["message"].startswith(f"{folder / 'config.json'}: ")
    assert expected in done.error["message"]
    assert not (folder / "runs").exists()


def test_a_byte_order_mark_does_no_harm(command_line: CommandLine) -> None:
    content = b"\xef\xbb\xbf" + json.dumps({"priority": 3}).encode()
    write_workspace(command_line.root, "w", campaign(ONE_TASK), config=content)

    run_id = command_line.new_run("w")

    frozen = json.loads((command_line.run_folder("w", run_id) / "config.json").read_text())
    assert frozen["priority"] == 3


def test_what_is_set_for_a_run_is_checked_and_named(command_line: CommandLine) -> None:
    write_workspace(command_line.root, "w", campaign(ONE_TASK), config={"params": {"n": 1}})

    for setting, expected in {
        "priority=x": "--set: priority: ",
        "frob=1": "--set: frob: unknown key",
        "nonsense": "--set 'nonsense': must be KEY=VALUE",
        "=5": "--set '=5': must be KEY=VALUE",
        "params=5": "--set: params: ",
        "params.x=NaN": "--set",
        'params={"n": 1, "n": 1}': "--set 'params={\"n\": 1, \"n\": 1}': 'n' stands there twice; keep one",
        'backends={"../../x": {"type": "local"}}': "--set: backends: '../../x' is no name of a backend",
        "share=group": "--set: share: belongs into the config.json of the root",
    }.items():
        done = command_line.run("run", "init", "w", "--set", setting)
        assert (done.exit_code, done.stdout) == (2, ""), setting
        assert done.stderr.startswith(f"Error: {expected}"), done.stderr

    run_id = command_line.new_run("w", "params.n=5", "params.name=Li", "priority=2")
    frozen = json.loads((command_line.run_folder("w", run_id) / "config.json").read_text())
    assert frozen["params"] == {"n": 5, "name": "Li"}
    assert frozen["priority"] == 2


def test_what_is_not_there_is_named(command_line: CommandLine, tmp_path: Path) -> None:
    write_workspace(command_line.root, "empty", None)
    write_workspace(command_line.root, "there", campaign(ONE_TASK))

    def error(*arguments: str, root: Path | None = None) -> tuple[int, str]:
        done = command_line.run(*arguments, root=root)
        assert done.stdout == ""
        return done.exit_code, done.stderr

    code, text = error("run", "init", "nix")
    assert (code, "no workspace 'nix'" in text, "there" in text) == (3, True, True)
    code, text = error("run", "start", "../there")
    assert (code, text) == (2, "Error: '../there' is no workspace name\n")
    code, text = error("run", "start", "empty")
    assert (code, "empty/campaign.py: there is no such file" in text) == (2, True)
    code, text = error("run", "status", "20260102T030405-abcdef")
    assert (code, text.splitlines()[0]) == (3, "Error: no run 20260102T030405-abcdef")
    code, text = error("run", "loop", "20260102T030405-abcdef")
    assert code == 3
    for malformed in ("nonsense", "../../etc/passwd", "20260102T030405-ABCDEF", ""):
        code, text = error("run", "cancel", malformed)
        assert (code, f"{malformed!r} is no run id" in text) == (2, True)
    code, text = error("run", "list", root=tmp_path / "nowhere")
    assert (code, "nowhere: no folder with workspaces/ in it" in text) == (3, True)
    code, text = error("run", "frob")
    assert (code, "No such command 'frob'" in text) == (2, True)
    code, text = error("run", "status")
    assert (code, "Missing argument 'RUN_ID'" in text) == (2, True)
    code, text = error("run", "list", "--frob")
    assert (code, "No such option" in text) == (2, True)


def test_a_database_that_cannot_be_read_is_left_as_it_is(command_line: CommandLine, diary: Diary) -> None:
    write_tasks(command_line.root, "w", [diary.task("only")])
    run_id = command_line.new_run("w")
    database = command_line.root / ".matterstack" / "state.db"
    intact = database.read_bytes()

    connection = sqlite3.connect(database)
    connection.execute("PRAGMA user_version = 999")
    connection.close()
    _refused_and_unchanged(command_line, database, run_id, "database_version", "newer MatterStack")

    database.write_bytes(b"this is no database, however you look at it\n" * 50)
    _refused_and_unchanged(command_line, database, run_id, "database_corrupt", "is no intact database")

    database.unlink()
    database.mkdir()
    done = command_line.run("run", "list", "--json")
    assert (done.exit_code, done.error["code"]) == (5, "store")
    assert str(database) in done.error["message"]

    database.rmdir()
    database.write_bytes(intact)
    command_line.ok("run", "loop", "--until-done", run_id)
    assert diary.ended() == ["only"]


def _refused_and_unchanged(
    command_line: CommandLine, database: Path, run_id: str, code: str, words: str
) -> None:
    before = database.read_bytes()
    for arguments in (["list"], ["loop", run_id], ["init", "w"]):
        done = command_line.run("run", *arguments, "--json")
        assert (done.exit_code, done.error["code"]) == (5, code), arguments
        assert done.error["message"].startswith(f"{database}: ")
        assert words in done.error["message"]
    assert database.read_bytes() == before
