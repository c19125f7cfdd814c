"""A part of the cluster fails while runs work, and comes back: nothing is lost, and nothing is done twice."""

from __future__ import annotations

import pytest

from tests.backends.conftest import Shims, shims
from tests.support.campaigns import Diary
from tests.support.command import PATIENCE_S, CommandLine
from tests.support.outages import OUTAGES, Impatient, Scene
from tests.support.polling import wait_until
from tests.support.slurm_cluster import SlurmCluster
from tests.support.trials import Trial

__all__ = ["shims"]

FORGETS_ENDS = '"$REAL" "$@" | grep -vE "[|](COMPLETED|FAILED)[|]"'
"""A squeue as where MinJobAge is short: of jobs that have ended only the accounting tells."""


@pytest.fixture
def scene(command_line: CommandLine, diary: Diary, slurm_env: SlurmCluster) -> Scene:
    """Runs on the real Slurm, which is mended when the test is over."""
    place = Impatient.now(slurm_env)
    return Scene(Trial(command_line=command_line, diary=diary, place=place), slurm_env)


@pytest.mark.parametrize("name", OUTAGES)
def test_runs_complete_over_an_outage_and_explain_says_what_is_out(
    scene: Scene, shims: Shims, name: str
) -> None:
    outage = OUTAGES[name]
    shims.add("squeue", FORGETS_ENDS)
    engine = scene.begin()

    outage.begin(scene.cluster)
    scene.work_goes_on()
    wait_until(lambda: outage.said in engine.stderr, PATIENCE_S, "a word of the engine about the outage")
    wait_until(lambda: outage.kind in scene.causes(), PATIENCE_S, f"{outage.kind} among the causes")
    attempts = scene.trial.attempts(scene.run_ids)
    outage.end(scene.cluster)
    scene.wait_completed()

    assert not any(attempt["state"] in {"LOST", "CANCELLED"} for attempt in attempts), "nothing is concluded"
    assert engine.process.poll() is None, "the engine lives"
    assert "answers again" in engine.stderr
    scene.assert_nothing_was_lost_or_done_twice()


def test_jobs_on_a_node_that_fails_go_on_when_slurm_has_requeued_them(scene: Scene) -> None:
    scene.begin()
    struck = scene.cluster.output("squeue", "--array", "-h", "-w", "n2", "-o", "%i").split()
    tasks = scene.trial.command_line.tasks(scene.run_ids[0])
    begun_again = [f"{scene.run_ids[0]}/{name}" for name, task in tasks.items() if _job(task) in struck]

    scene.cluster.fail_node("n2")
    scene.work_goes_on(lost=begun_again)
    scene.cluster.resume_node("n2")
    for job_id in struck:  # Slurm would start them in two minutes
        scene.cluster.run("scontrol", "update", f"jobid={job_id}", "starttime=now+2")
    scene.wait_completed()

    assert len(begun_again) == len(struck) == 4
    scene.assert_nothing_was_lost_or_done_twice(begun_again)


def test_the_jobs_of_an_sbatch_that_was_given_up_are_found_and_not_submitted_again(
    scene: Scene, shims: Shims
) -> None:
    shims.add("sbatch", '"$REAL" "$@" > /dev/null; exec sleep 60')

    engine = scene.begin()
    scene.work_goes_on()
    scene.wait_completed()

    assert "sbatch gave no answer within 3 s" in engine.stderr
    assert shims.calls("sbatch") == len(scene.run_ids), "one array for each run"
    scene.assert_nothing_was_lost_or_done_twice()


def test_commands_that_are_missing_for_a_while_are_waited_for(scene: Scene, shims: Shims) -> None:
    # As when a module is not loaded in the shell of a wrapper, or a file system with Slurm is not mounted.
    missing = shims.folder / "missing"
    for command in ("squeue", "sbatch", "scontrol", "sacct"):
        gone = f'[ ! -e {missing} ] || {{ echo "bash: {command}: command not found" >&2; exit 127; }}'
        shims.add(command, f'{gone}\nexec "$REAL" "$@"')
    engine = scene.begin()
    missing.touch()

    scene.work_goes_on()
    for word in ("cluster does not answer: squeue: ", "is unclear: sbatch: "):
        wait_until(lambda word=word: f"{word}bash" in engine.stderr, PATIENCE_S, word)  # type: ignore[misc]
    missing.unlink()
    scene.wait_completed()

    scene.assert_nothing_was_lost_or_done_twice()


def test_runs_complete_behind_wrappers_that_print_banners(scene: Scene, shims: Shims) -> None:
    banner = 'printf "** Welcome | to | the | cluster\\r\\n7 users | 3\\r\\n"; "$REAL" "$@" | sed "s/$/\\r/"'
    for command in ("squeue", "sacct", "sbatch", "scontrol"):
        shims.add(command, banner)

    scene.begin()
    scene.work_goes_on()
    scene.wait_completed()

    scene.assert_nothing_was_lost_or_done_twice()


def _job(task: dict[str, list[dict[str, str]]]) -> str:
    return task["attempts"][0]["job_id"]
