"""Secrets: they reach jobs, on every backend, and stand nowhere else on the machine; whatever goes wrong."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from matterstack.core.model.workflow_check import SECRETS_FILE
from matterstack.storage.crash_points import CRASH_VARIABLE, CRASHED
from tests.support.campaigns import Diary, write_workspace
from tests.support.command import PATIENCE_S, CommandLine, Running
from tests.support.disclosure import all_pids, files_with, processes_with
from tests.support.places import OnSlurm
from tests.support.polling import wait_until
from tests.support.slurm_cluster import SlurmCluster
from tests.support.sshd import Sshd
from tests.support.trials import Trial

NAME: Final = "API_TOKEN"
VALUE: Final = b"s3cr3t \xff'\"$`\\!\r\n%s{}\n*~ value"
DIGEST: Final = hashlib.sha256(VALUE).hexdigest()
CAMPAIGN: Final = """\
import json, os
from pathlib import Path
from matterstack import Resources, Task, Workflow

HERE = Path(__file__).parent

class OneRound:
    def plan(self, state, results):
        with open(HERE.parents[1] / "seen-by-campaigns", "ab") as seen:
            seen.write(repr(dict(os.environ)).encode() + b"\\n")
        if state:
            return None
        tasks = json.loads((HERE / "tasks.json").read_text())
        return Workflow([Task(**{**task, "resources": Resources(memory_mib=20)}) for task in tasks])

    def analyze(self, state, results):
        return {"ended": len(results)}

def get_campaign():
    return OneRound()
"""


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands find the secret in their environment."""
    monkeypatch.setenv(NAME, os.fsdecode(VALUE))


def write(trial: Trial, *tasks: Mapping[str, Any], backend: Mapping[str, Any] | None = None) -> None:
    """A workspace whose run has one secret."""
    config = {
        "secrets": [NAME],
        "default_backend": trial.place.name,
        "backends": {trial.place.name: dict(backend or trial.place.config(10))},
    }
    write_workspace(
        trial.command_line.root, "campaign", CAMPAIGN, config=config, files={"tasks.json": json.dumps(tasks)}
    )


def telling(diary: Diary, task_id: str, then: str = ":", **fields: Any) -> dict[str, Any]:
    """A task that notes the hash of what it found."""
    digest = f'printf %s "${NAME}" | sha256sum >> {diary.folder}/hashes'
    return diary.task(task_id, f"{digest}; {then}", **fields)


def hashes(diary: Diary) -> list[str]:
    """What tasks have found, as hashes."""
    path = diary.folder / "hashes"
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


def left_over(root: Path) -> list[Path]:
    """Files of secrets that lie about."""
    return [path for path in root.rglob(f"{SECRETS_FILE}*") if path.is_file()]


def serve(trial: Trial) -> Running:
    return trial.command_line.start("run", "loop", "--until-done")


def explained(command_line: CommandLine, run_id: str) -> list[dict[str, Any]]:
    causes: list[dict[str, Any]] = command_line.json("run", "explain", run_id)["causes"]
    return causes


# ---- they reach their jobs, and nobody else ----


@pytest.mark.usefixtures("given")
def test_a_secret_reaches_jobs_to_the_byte_and_stands_nowhere_else(
    trial: Trial, diary: Diary, request: pytest.FixtureRequest
) -> None:
    command_line = trial.command_line
    write(trial, *(telling(diary, f"t{i}", diary.gate()) for i in range(3)))
    run_id = trial.new_run()
    earlier = all_pids()
    engine = serve(trial)
    wait_until(lambda: len(hashes(diary)) == 3, PATIENCE_S, "three jobs at work")

    assert set(hashes(diary)) == {DIGEST}
    assert processes_with(VALUE, engine=engine.process.pid, run_id=run_id, earlier=earlier) == []
    assert left_over(command_line.root) == []
    watched = [command_line.root, command_line.home]
    if isinstance(trial.place, OnSlurm):
        cluster: SlurmCluster = request.getfixturevalue("slurm_env")
        assert "s3cr3t" not in cluster.output("scontrol", "show", "job", "--details")
        watched.append(cluster.config.directory)
    assert [path for folder in watched for path in files_with(folder, b"s3cr3t")] == []
    diary.open()
    assert engine.wait().exit_code == 0, engine.stderr

    assert command_line.status(run_id)["status"] == "COMPLETED"
    assert [path for folder in watched for path in files_with(folder, b"s3cr3t")] == []
    seen = (command_line.root / "seen-by-campaigns").read_text()
    assert NAME not in seen


def _over_ssh(sshd: Sshd) -> dict[str, Any]:
    times = {"poll_interval_s": 0.3, "grace_period_s": 0.5, "command_timeout_s": 20}
    return {"type": "slurm", "max_jobs": 10, "ssh": sshd.config, **times}


def _far_trial(command_line: CommandLine, diary: Diary, cluster: SlurmCluster) -> Trial:
    return Trial(command_line=command_line, diary=diary, place=OnSlurm.now(cluster))


def test_over_ssh_a_secret_is_written_there_and_nowhere_here(
    command_line: CommandLine,
    diary: Diary,
    slurm_env: SlurmCluster,
    sshd: Sshd,
    request: pytest.FixtureRequest,
) -> None:
    trial = _far_trial(command_line, diary, slurm_env)
    # What a profile exports there would reach the controller through sbatch.
    sshd.profile(f"export {NAME}='s3cr3t of the profile'")
    with (sshd.folder / "ssh_config").open("a") as config:
        config.write(f"    SendEnv {NAME}\n")
    with (sshd.folder / "sshd_config").open("a") as config:
        config.write(f"AcceptEnv {NAME}\n")
    sshd.stop()
    sshd.go_on()
    request.getfixturevalue("given")  # only now: the server must not inherit it
    tasks = [telling(diary, f"t{i}", diary.gate()) for i in range(2)]
    write(trial, *tasks, telling(diary, "last", depends_on=["t0"]), backend=_over_ssh(sshd))
    run_id = trial.new_run()
    earlier = all_pids()
    engine = serve(trial)
    wait_until(lambda: len(hashes(diary)) == 2, PATIENCE_S, "two jobs at work")

    assert set(hashes(diary)) == {DIGEST}
    assert processes_with(VALUE, engine=engine.process.pid, run_id=run_id, earlier=earlier) == []
    watched = [command_line.root, slurm_env.config.directory, sshd.workdir]
    assert [path for folder in watched for path in files_with(folder, b"s3cr3t")] == []
    diary.open()
    assert engine.wait().exit_code == 0, engine.stderr

    assert hashes(diary) == [DIGEST] * 3
    assert command_line.status(run_id)["status"] == "COMPLETED"
    assert [path for folder in watched for path in files_with(folder, b"s3cr3t")] == []
    assert left_over(sshd.workdir) == []


# ---- what may happen to jobs ----


@pytest.mark.parametrize("is_far", [False, True])
@pytest.mark.usefixtures("given")
def test_a_job_that_is_requeued_finds_its_secrets_again(
    command_line: CommandLine,
    diary: Diary,
    slurm_env: SlurmCluster,
    request: pytest.FixtureRequest,
    is_far: bool,
) -> None:
    trial = _far_trial(command_line, diary, slurm_env)
    backend = _over_ssh(request.getfixturevalue("sshd")) if is_far else None
    write(trial, telling(diary, "t", f"[ -e {diary.folder}/again ] || {diary.gate()}"), backend=backend)
    run_id = trial.new_run()
    engine = serve(trial)
    wait_until(lambda: len(hashes(diary)) == 1, PATIENCE_S, "the first start")
    wait_until(lambda: command_line.tasks(run_id)["t"]["attempts"][0]["job_id"], PATIENCE_S, "a job id")
    job_id = command_line.tasks(run_id)["t"]["attempts"][0]["job_id"]
    (diary.folder / "again").touch()

    slurm_env.output("scontrol", "requeue", job_id)
    # Its old credential counts as revoked until the second in which that was done is over.
    slurm_env.output("scontrol", "update", f"jobid={job_id}", "starttime=now+2")

    assert engine.wait(180).exit_code == 0, engine.stderr
    assert hashes(diary) == [DIGEST, DIGEST]
    assert len(command_line.tasks(run_id)["t"]["attempts"]) == 1
    assert left_over(command_line.root) == []


@pytest.mark.usefixtures("given")
def test_a_job_that_never_starts_leaves_no_secrets_behind(
    command_line: CommandLine, diary: Diary, slurm_env: SlurmCluster
) -> None:
    trial = _far_trial(command_line, diary, slurm_env)
    write(trial, telling(diary, "t"), backend={**trial.place.config(10), "partition": "closed"})
    run_id = trial.new_run()
    engine = serve(trial)
    wait_until(lambda: "JobAccepted" in command_line.event_types(run_id), PATIENCE_S, "a job in the queue")

    (waiting,) = left_over(command_line.root)
    assert stat.S_IMODE(waiting.stat().st_mode) == 0o600
    command_line.ok("run", "cancel", run_id)
    engine.wait()

    assert command_line.status(run_id)["status"] == "CANCELLED"
    assert left_over(command_line.root) == []
    assert hashes(diary) == []


@pytest.mark.usefixtures("given")
def test_an_engine_that_dies_before_it_submits_leaves_no_secrets_for_long(trial: Trial, diary: Diary) -> None:
    command_line = trial.command_line
    write(trial, telling(diary, "t"))
    run_id = trial.new_run()
    died = command_line.run("run", "loop", "--until-done", env={CRASH_VARIABLE: "before_submit"})
    assert died.exit_code == CRASHED
    assert len(left_over(command_line.root)) == 1, "there is something to be cleared up"

    command_line.ok("run", "cancel", run_id)

    assert command_line.status(run_id)["status"] == "CANCELLED"
    assert left_over(command_line.root) == []


@pytest.mark.usefixtures("given")
def test_an_engine_that_died_is_followed_by_one_that_submits_once(trial: Trial, diary: Diary) -> None:
    command_line = trial.command_line
    write(trial, telling(diary, "t"))
    run_id = trial.new_run()
    died = command_line.run("run", "loop", "--until-done", env={CRASH_VARIABLE: "before_submit"})
    assert died.exit_code == CRASHED

    trial.finish()

    assert hashes(diary) == [DIGEST]
    assert command_line.status(run_id)["status"] == "COMPLETED"
    assert left_over(command_line.root) == []


# ---- an engine that lacks a value ----


def test_an_engine_without_the_value_waits_and_says_where_to_give_it(
    local_trial: Trial, diary: Diary
) -> None:
    command_line = local_trial.command_line
    write(local_trial, telling(diary, "t"))
    run_id = local_trial.new_run()
    engine = serve(local_trial)
    path = command_line.root / ".matterstack" / "secrets" / NAME
    wait_until(
        lambda: any(cause["kind"] == "secret_missing" for cause in explained(command_line, run_id)),
        PATIENCE_S,
        "an engine that says what it lacks",
    )
    (cause,) = explained(command_line, run_id)
    assert f"the secret {NAME} has no value" in cause["message"]
    assert cause["needs_person"]
    assert cause["blocks"] == 1
    assert str(path) in cause["action"]
    assert command_line.tasks(run_id)["t"]["status"] == "READY"
    assert f"run {run_id} waits: the secret {NAME} has no value" in engine.stderr

    path.parent.mkdir()
    path.write_bytes(VALUE + b"\n")
    path.chmod(0o644)
    wait_until(
        lambda: f"others may read {path}: chmod 600 {path}" in explained(command_line, run_id)[0]["message"],
        PATIENCE_S,
        "a complaint about who may read it",
    )
    assert hashes(diary) == []
    path.chmod(0o600)

    assert engine.wait().exit_code == 0, engine.stderr
    assert hashes(diary) == [DIGEST]
    assert list((command_line.root / ".matterstack" / "missing-secrets").iterdir()) == []


def test_jobs_of_other_runs_do_not_find_a_secret_in_their_environment(
    local_trial: Trial, diary: Diary, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue("given")
    command_line = local_trial.command_line
    write(local_trial, telling(diary, "mine", diary.gate()))
    first = local_trial.new_run()
    other = {"backends": {"local": local_trial.place.config(10)}}
    tasks = json.dumps([telling(diary, "other", f"echo ${{{NAME}-nothing}} > {diary.folder}/other")])
    write_workspace(command_line.root, "other", CAMPAIGN, config=other, files={"tasks.json": tasks})
    command_line.new_run("other")
    engine = serve(local_trial)
    wait_until((diary.folder / "other").exists, PATIENCE_S, "the other job")
    diary.open()

    assert engine.wait().exit_code == 0, engine.stderr
    assert (diary.folder / "other").read_bytes() == b"nothing\n"
    assert command_line.status(first)["status"] == "COMPLETED"


# ---- what jobs do with them ----


@pytest.mark.usefixtures("given")
def test_what_a_job_tells_of_a_secret_becomes_no_fact_and_goes_into_no_bundle(
    local_trial: Trial, diary: Diary, monkeypatch: pytest.MonkeyPatch
) -> None:
    command_line = local_trial.command_line
    leaks = (
        f"python -c \"import json, os; v = os.environb[b'{NAME}']; "
        "open('raw.txt', 'wb').write(b'x' * 3000000 + v); open('fine.txt', 'w').write('fine'); "
        "open('result.json', 'w').write(json.dumps({'said': os.fsdecode(v).replace(chr(0xdcff), '')}))\""
    )
    echoes = f'printf %s "${NAME}" >&2'
    data = f'printf \'{{"t": "%s"}}\' "$(printf %s "${NAME}" | base64 -w0)" > result.json'
    write(
        local_trial,
        diary.task("leaks", leaks, outputs=["*.txt"]),
        diary.task("echoes", echoes),
        diary.task("data", data, allow_failure=True),
    )
    run_id = local_trial.new_run()
    local_trial.finish()
    assert command_line.status(run_id)["status"] == "COMPLETED"
    assert command_line.tasks(run_id)["data"]["reason"] == (
        f"result.json: holds the value of the secret {NAME}, and is not kept"
    )
    assert files_with(command_line.root / ".matterstack", VALUE) == []
    monkeypatch.delenv(NAME)  # what was found is in the events: who exports need not know the value

    folder = Path(command_line.ok("run", "export-evidence", run_id).splitlines()[0])

    assert files_with(folder, VALUE) == []
    survey = json.loads((folder / "evidence.json").read_text())
    states = {output["path"]: output["state"] for output in survey["outputs"]}
    assert states == {"fine.txt": "copied", "raw.txt": "withheld"}
    told = f"it holds the value of the secret {NAME}"
    logs = {log["name"]: log for attempt in survey["attempts"] for log in attempt["logs"]}
    run_folder = command_line.run_folder("campaign", run_id)
    stderr = (run_folder / "tasks" / "echoes" / "1" / "stderr.log").read_bytes()
    assert logs["stderr.log"]["withheld"] == told
    assert logs["stderr.log"]["sha256"] == hashlib.sha256(stderr).hexdigest()
    report = (folder / "report.md").read_text()
    assert "Withheld for the sake of secrets" in report
    assert "leaks, attempt 1: output raw.txt" in report
    assert "withheld: it holds" in (folder / "ro-crate-metadata.json").read_text()
    verified = command_line.run("evidence", "verify", str(folder), "--against-store")
    assert verified.exit_code == 0, verified.stdout


@pytest.mark.usefixtures("given")
def test_what_nobody_could_look_through_is_withheld_too(
    local_trial: Trial, diary: Diary, monkeypatch: pytest.MonkeyPatch
) -> None:
    command_line = local_trial.command_line
    write(local_trial, diary.task("t", f'printf %s "${NAME}" >&2; {diary.gate()}'))
    run_id = local_trial.new_run()
    engine = serve(local_trial)
    wait_until(lambda: diary.started() == ["t"], PATIENCE_S, "a job at work")
    command_line.ok("run", "cancel", run_id)
    engine.wait()

    folder = Path(command_line.ok("run", "export-evidence", run_id).splitlines()[0])
    assert files_with(folder, VALUE) == []
    assert f"it holds the value of the secret {NAME}" in (folder / "evidence.json").read_text()

    monkeypatch.delenv(NAME)
    folder = Path(command_line.ok("run", "export-evidence", run_id).splitlines()[0])
    assert files_with(folder, VALUE) == []
    assert f"nobody could look for the value of the secret {NAME} in it" in (
        (folder / "evidence.json").read_text()
    )


@pytest.mark.usefixtures("given")
def test_a_plan_or_a_workspace_with_the_value_in_it_is_refused(local_trial: Trial, diary: Diary) -> None:
    command_line = local_trial.command_line
    write(local_trial, diary.task("t"))
    folder = command_line.root / "workspaces" / "campaign"
    (folder / "notes.txt").write_bytes(b"token: " + VALUE)
    refused = command_line.run("run", "init", "campaign")
    assert refused.exit_code != 0
    assert f"notes.txt holds the value of the secret {NAME}" in refused.stderr
    assert not list((folder / "runs").glob("*/sources/*"))
    (folder / "notes.txt").unlink()

    campaign = CAMPAIGN.replace(
        "tasks = json", f"import pathlib; v = pathlib.Path({str(diary.folder / 'v')!r}).read_text()\n"
        "        return Workflow([Task('t', command=['true', v])])\n        tasks = json"
    )  # fmt: skip
    (folder / "campaign.py").write_text(campaign)
    (diary.folder / "v").write_text(VALUE.decode(errors="replace"))
    run_id = local_trial.new_run()
    local_trial.finish(expected=1)
    status = command_line.status(run_id)
    assert status["status"] == "FAILED"
    assert f"task t: command: holds the value of the secret {NAME}" in status["status_reason"]
    assert files_with(command_line.root / ".matterstack", b"s3cr3t") == []


def test_what_looks_like_a_secret_is_warned_of(local_trial: Trial, diary: Diary) -> None:
    command_line = local_trial.command_line
    write(
        local_trial,
        diary.task("a", env={"MP_API_KEY": "abc", "KEYBOARD": "us"}),
        diary.task("b", env={"MP_API_KEY": "abc"}, params={"site": {"password": "x", "n_tokens": 3}}),
    )
    path = command_line.root / "workspaces" / "campaign" / "config.json"
    config = json.loads(path.read_text())
    config |= {"secrets": [], "params": {"accessToken": "abc"}}
    path.write_text(json.dumps(config))

    with (path.parent / "campaign.py").open("a") as campaign:
        campaign.write(
            "\n\ndef unused():\n    return Task('x', command=['x'], env={'SITE_PASSWORD': str(1)})\n"
        )

    said = command_line.run("run", "init", "campaign")
    local_trial.finish()

    assert "config.json: params.accessToken looks like a secret" in said.stderr
    assert ": env.SITE_PASSWORD looks like a secret, and is kept in clear" in said.stderr
    run_id = said.stdout.split()[0]
    (warned,) = [e for e in command_line.events(run_id) if e["type"] == "PlanWarned"]
    assert [line.partition(" looks like a secret")[0] for line in warned["data"]["warnings"]] == [
        "task a (and 1 more): env.MP_API_KEY",
        "task b: params.site.password",
    ]
