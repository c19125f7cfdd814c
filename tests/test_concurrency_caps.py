"""Caps: of a run, and of a backend over all runs and all engines of a root, whatever happens to the engines.

That a cap was never exceeded is seen twice: in the notes of the tasks, and in the history of the store, which
`Trial.assert_completed` has `matterstack check` prove as well.
"""

from collections.abc import Iterable

from tests.support.campaigns import Diary
from tests.support.command import PATIENCE_S, Running
from tests.support.polling import wait_until
from tests.support.trials import Trial


def _names(count: int) -> list[str]:
    return [f"t{i}" for i in range(count)]


def _wait_for_starts(diary: Diary, count: int) -> None:
    wait_until(lambda: len(diary.started()) == count, PATIENCE_S, f"{count} starts")


def _wait_until_ended(trial: Trial, run_id: str) -> None:
    wait_until(
        lambda: trial.command_line.status(run_id)["status"] == "COMPLETED", PATIENCE_S, f"the end of {run_id}"
    )


def _ends_well(engines: Iterable[Running]) -> bool:
    return all(engine.wait().exit_code == 0 for engine in engines)


def _serve(trial: Trial, *run_ids: str) -> Running:
    return trial.command_line.start("run", "loop", "--until-done", *run_ids)


def _notes_of(trial: Trial, run_id: str) -> list[str]:
    """What the tasks of one run noted, ``start TASK`` and ``end TASK``."""
    return [note.replace(f"{run_id}/", "") for note in trial.diary.notes if run_id in note]


def _one_by_one(task_ids: Iterable[str]) -> list[str]:
    """The notes of tasks of which no two overlap."""
    return [f"{word} {task_id}" for task_id in task_ids for word in ("start", "end")]


def test_a_run_never_has_more_jobs_than_its_own_cap(trial: Trial) -> None:
    # Each waits for a second one, so that two must be at work at once: the cap is also made use of.
    tasks = [trial.task(name, trial.diary.crowd(2)) for name in _names(8)]
    trial.write(tasks, max_jobs=20, cap=2)
    run = trial.new_run()

    trial.finish()

    trial.assert_completed([run], _names(8), max_jobs=2)
    assert trial.diary.most_at_once() == trial.most_live_in_the_store([run]) == 2


def test_all_runs_together_never_have_more_jobs_than_their_backend_may(trial: Trial) -> None:
    tasks = [trial.task(name, trial.diary.crowd(3)) for name in _names(4)]
    trial.write(tasks, max_jobs=3)
    runs = [trial.new_run() for _ in range(3)]

    trial.finish()

    trial.assert_completed(runs, _names(4), max_jobs=3)
    assert trial.diary.most_at_once() == trial.most_live_in_the_store(runs) == 3


def test_engines_of_one_root_share_the_seats_of_a_backend(local_trial: Trial) -> None:
    trial, gate = local_trial, local_trial.diary.gate()
    trial.write([trial.task(name, gate) for name in _names(2)], max_jobs=3)
    slow = trial.new_run()
    first = _serve(trial, slow)
    _wait_for_starts(trial.diary, 2)
    trial.write([trial.task(name) for name in _names(5)], max_jobs=3, slug="quick")
    quick = trial.new_run(slug="quick")

    second = _serve(trial, quick)
    _wait_until_ended(trial, quick)

    # The jobs of the first engine leave one seat to the second.
    assert _notes_of(trial, quick) == _one_by_one(_names(5))
    trial.diary.open()
    assert _ends_well([first, second])
    assert trial.most_live_in_the_store([slow, quick]) == 3
    trial.assert_nothing_is_left([slow, quick], max_jobs=3)


def test_jobs_of_an_engine_that_died_keep_their_seats_under_the_next_one(trial: Trial) -> None:
    waiting = [trial.task(name, trial.diary.gate()) for name in _names(2)]
    trial.write([*waiting, trial.task("next")], max_jobs=3, cap=2)
    run = trial.new_run()
    engine = _serve(trial)
    _wait_for_starts(trial.diary, 2)
    engine.kill()

    engine = _serve(trial)
    # That another run comes to its end shows that the new engine is at work.
    trial.write([trial.task(name) for name in ("a", "b")], max_jobs=3, slug="other")
    other = trial.new_run(slug="other")
    _wait_until_ended(trial, other)

    assert sorted(_notes_of(trial, run)) == ["start t0", "start t1"]
    assert _notes_of(trial, other) == _one_by_one(["a", "b"]), "one seat of three is left to it"
    trial.diary.open()
    assert _ends_well([engine])
    assert _notes_of(trial, run)[2].startswith("end "), "the next one waits for a seat of its run"
    assert trial.most_live_in_the_store([run]) == 2
    trial.assert_nothing_is_left([run, other], max_jobs=3)


def test_a_run_with_a_lower_cap_waits_until_there_are_fewer_jobs_than_that(trial: Trial) -> None:
    trial.write([trial.task(name, trial.diary.gate(name)) for name in _names(4)], max_jobs=4)
    many = trial.new_run()
    first = _serve(trial)
    _wait_for_starts(trial.diary, 4)
    # From here on the backend may have two jobs, for runs that are made from here on.
    trial.write([trial.task(name) for name in _names(3)], max_jobs=2, slug="modest")
    few = trial.new_run(slug="modest")

    for name in ("t0", "t1", "t2"):
        trial.diary.open(name)
    _wait_until_ended(trial, few)

    # One of the four was still there, and left one of two seats.
    assert _notes_of(trial, few) == _one_by_one(_names(3))
    notes = trial.diary.notes
    began = notes.index(f"start {few}/t0")
    assert {f"end {many}/{name}" for name in ("t0", "t1", "t2")} <= set(notes[:began])
    trial.diary.open("t3")
    assert _ends_well([first])
    assert trial.most_live_in_the_store([many, few]) == 4
    trial.assert_nothing_is_left([many, few], max_jobs=4)


def test_of_the_tasks_that_wait_for_a_seat_the_one_of_highest_priority_is_next_and_its_retry_too(
    local_trial: Trial,
) -> None:
    trial = local_trial
    # The first time it fails, and says so.
    failed = trial.diary.folder / "failed"
    say_so = f"echo end $MATTERSTACK_RUN_ID/shaky >> {trial.diary.folder}/notes"
    once = f"[ -e {failed} ] || {{ touch {failed}; {say_so}; exit 1; }}"
    tasks = [
        trial.task("low"),
        trial.task("high", priority=2),
        trial.task("shaky", once, priority=3, retries=1),
        trial.task("middle", priority=1),
    ]
    trial.write(tasks, max_jobs=1)
    run = trial.new_run()

    trial.finish()

    in_order = ["shaky", "high", "middle", "low"]
    assert _notes_of(trial, run) == _one_by_one(["shaky", *in_order])
    trial.assert_nothing_is_left([run], max_jobs=1)


def test_attempts_of_a_rerun_take_seats_as_all_others_do_in_the_order_of_their_priorities(
    local_trial: Trial,
) -> None:
    trial = local_trial
    tasks = [trial.task("low"), trial.task("high", priority=2), trial.task("middle", priority=1)]
    trial.write(tasks, max_jobs=2, cap=1)
    again = trial.new_run()
    trial.finish()
    before = _notes_of(trial, again)
    trial.write([trial.task("waits", trial.diary.gate())], max_jobs=2, slug="other")
    other = trial.new_run(slug="other")
    engine = _serve(trial)
    wait_until(lambda: _notes_of(trial, other) == ["start waits"], PATIENCE_S, "a job of the other run")

    trial.command_line.ok("run", "rerun", again, "low", "middle", "high")
    in_order = _one_by_one(["high", "middle", "low"])
    wait_until(lambda: len(_notes_of(trial, again)) >= 2 * len(in_order), PATIENCE_S, "the rerun")

    assert before == in_order
    assert _notes_of(trial, again) == in_order * 2
    _wait_until_ended(trial, again)
    trial.diary.open()
    assert _ends_well([engine])
    assert trial.diary.most_at_once() == trial.most_live_in_the_store([again, other]) == 2
    trial.assert_nothing_is_left([again, other], max_jobs=2)
