"""Bugs that the simulation must find: each is a small change of the product that breaks one promise."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs

REPOSITORY: Final = Path(__file__).parents[2]
SOURCES: Final = (
    "matterstack",
    "actors",
    "backends",
    "tests/simulation",
    "tests/simulated_cluster",
    "tests/__init__.py",
)
MOST_SEEDS: Final = 30
"""Within so many seeds, from its first one on, each planted bug is found."""


@attrs.frozen
class Edit:
    """Replace a piece of text, which must be there exactly once.

    Attributes:
        place: the file, or the folder in one file of which it is.
    """

    place: str
    old: str
    new: str


@attrs.frozen
class Planted:
    """A bug.

    Attributes:
        promise: what the simulation says that was broken; a pattern.
        first: the seed to begin with, since those before it do not find it.
    """

    name: str
    promise: str
    edits: Sequence[Edit]
    first: int = 0


_RUN: Final = "actors/run.py"
_BACKEND: Final = "actors/backend.py"
_SLURM: Final = "backends/slurm"
_JOURNAL: Final = "matterstack/storage/journal.py"
_CLAIMS: Final = "matterstack/storage/claims.py"
_STATE: Final = "matterstack/core/run/state.py"
_JOBS: Final = "matterstack/core/run/decide_jobs.py"
_CONTROL: Final = "matterstack/core/run/decide_control.py"
_APPLY: Final = "matterstack/core/run/apply.py"
_REPLAN: Final = "matterstack/core/run/replan_steps.py"
_CONFIG: Final = "matterstack/core/run/decide_amend_config.py"

PLANTED: Final = (
    Planted(
        "the job is submitted before its intent is durable",
        "forgotten|was submitted|work at once",
        [
            Edit(
                _RUN,
                "        if facts or outcomes:\n",
                "        for early in (x for x in facts if isinstance(x, f.AttemptPrepared)):\n"
                "            self._begin_submission(early.backend, [early.token], 0, denied=False)\n"
                "            await trio.sleep(1)\n"
                "        if facts or outcomes:\n",
            ),
            Edit(
                _RUN,
                "            if tokens:\n"
                "                self._begin_submission(backend, tokens, seats, denied=denied)\n"
                "            else:\n                await handle",
                "            if True:\n                await handle",
            ),
        ],
    ),
    Planted(
        "the child of a submission does not inherit the submit lock",
        "was submitted for the attempt of",
        [Edit(_SLURM, "inherit=descriptor", "inherit=None")],
        first=4,
    ),
    Planted(
        "a job does not look whether its folder is claimed",
        "all worked in",
        [Edit("tests/simulated_cluster/folder.py", "if owner != job_id:", "if False:")],
    ),
    Planted(
        "an attempt without a job has no seat",
        "cap at|work at once",
        [
            Edit(
                _CLAIMS,
                "backend = ? AND ended_at IS NULL",
                "backend = ? AND ended_at IS NULL AND job_id IS NOT NULL",
            )
        ],
        first=12,
    ),
    Planted(
        "the store does not count seats",
        "cap at|work at once",
        [Edit(_CLAIMS, "return dict(connection.execute(_LIVE, (backend,)))", "return {}")],
        first=12,
    ),
    Planted(
        "attempts are prepared while a run is paused",
        "was PAUSED|paused at",
        [
            Edit(
                _STATE,
                "self.status is RunStatus.RUNNING and self.ending is None",
                "not self.has_ended and self.ending is None",
            )
        ],
        first=6,
    ),
    Planted(
        "what was not found at the first look is submitted again",
        "was submitted for the attempt of",
        [
            Edit(_BACKEND, "unresolved.missing_since is None and self.backend.grace_period_s > 0", "False"),
            Edit(
                _BACKEND,
                "elif now - (unresolved.missing_since or now) < self.backend.grace_period_s:",
                "elif False:",
            ),
        ],
        first=13,
    ),
    Planted(
        "a cluster that cannot be asked counts as one that has no such job",
        "was submitted for the attempt of",
        [
            Edit(
                _BACKEND,
                "        found = await self.backend.find([u.attempt for u in looked_for])\n",
                "        try:\n            found = await self.backend.find([u.attempt for u in looked_for])\n"
                "        except BackendError:\n            found = {}\n",
            )
        ],
        first=5,
    ),
    Planted(
        "a job is lost when one answer lacks it",
        "but its job",
        [
            Edit(
                _SLURM,
                "return doubt.answers >= MISSES_UNTIL_GONE and now - doubt.since >= grace_s",
                "return True",
            )
        ],
        first=1,
    ),
    Planted(
        "a pause is acknowledged while jobs are being submitted",
        "was submitted while .* was PAUSED",
        [Edit(_RUN, "isinstance(command.command, m.Pause) and self._submissions.may_land", "False")],
    ),
    Planted(
        "a run has no cap of its own",
        "cap at|work at once",
        [Edit(_JOBS, "max(0, state.job_cap - ", "max(0, 1000 - ")],
        first=1,
    ),
    Planted(
        "a run is CANCELLED before its jobs have ended",
        "is CANCELLED, but has jobs|live at|ended at",
        [
            Edit(
                "matterstack/core/run/decide.py",
                "return _end_now(state) if not state.live and not state.collecting else []",
                "return _end_now(state)",
            )
        ],
        first=7,
    ),
    Planted(
        "a new engine does not follow the jobs of the last one",
        "never ended",
        [
            Edit(
                _RUN,
                "jobs=[live_job(self._state, folder, a, vault) for a in mine if a.job_id is not None]",
                "jobs=[]",
            )
        ],
        first=1,
    ),
    Planted(
        "attempts of a cancelled run are withdrawn without a search",
        "SubmissionWithdrawn|was submitted while .* was CANCELLED|forgotten",
        [
            Edit(
                _RUN,
                "absent = [a.token for a in mine if a.token in held_back]",
                "absent = [a.token for a in mine if a.job_id is None]",
            )
        ],
        first=7,
    ),
    Planted(
        "a retry of all reopens what a person cancelled",
        "though nobody named it",
        [
            Edit(
                _CONTROL,
                "return [task_id for task_id, task in cancelled if task.cancellation is None]",
                "return [task_id for task_id, _task in cancelled]",
            )
        ],
        first=2,
    ),
    Planted(
        "a cancelled task whose job fails is tried again",
        "cancel at",
        [
            Edit(
                _JOBS,
                "if is_to_end(state, task) or task.cancellation is not None:\n        return [end_cancelled",
                "if state.ending is not None:\n        return [end_cancelled",
            )
        ],
        first=2,
    ),
    Planted(
        "a new engine does not know which tasks were being cancelled",
        "cancel at|though nobody named it",
        [
            Edit(
                "matterstack/storage/snapshot.py",
                'None if t["cancellation"] == "null" else decode(t["cancellation"], Cancellation)',
                "None",
            )
        ],
        first=12,
    ),
    Planted(
        "a run is never held, whatever fails alike",
        "held at .*had failed alike",
        [
            Edit(_STATE, " and not self.to_be_held_for", ""),
            Edit(
                "matterstack/core/run/decide.py",
                "return decide_hold(state) if message.may_pause else []",
                "return []",
            ),
        ],
        first=14,
    ),
    Planted(
        "a run is held while jobs are being submitted",
        "was submitted while .* was PAUSED|paused at",
        [Edit(_RUN, "m.Settle(may_pause=not self._submissions.may_land)", "m.Settle()")],
        first=14,
    ),
    Planted(
        "an attempt starts with the definition before the last amendment",
        "its definition said|was prepared for",
        [Edit(_JOURNAL, "connection.executemany(UPDATE_DEFINITION, append.definitions)", "pass")],
        first=7,
    ),
    Planted(
        "an attempt that was prepared is submitted as its task was amended since",
        "when that was prepared its definition said",
        [
            Edit(
                _APPLY,
                "if attempt.definition is None:",
                "if attempt.ended_at and attempt.definition is None:",
            )
        ],
        first=7,
    ),
    Planted(
        "the answer to a change is not stored with it, so that the next engine makes it again",
        "was done twice|was done, and the answer was",
        [
            Edit(
                _JOURNAL,
                "in append.outcomes.items():",
                "in ({} if append.facts else append.outcomes).items():",
            )
        ],
    ),
    Planted(
        "an amendment changes what has succeeded",
        "had succeeded",
        [
            Edit(
                "matterstack/core/run/decide_amend.py",
                "(succeeded if task.status is TaskStatus.SUCCEEDED else found).append(task_id)",
                "found.append(task_id)",
            )
        ],
        first=7,
    ),
    Planted(
        "of two people who change a config at once, the later one is not told",
        "that the person had not seen",
        [
            Edit(
                _CONFIG,
                "if meanwhile := config_changes(message.before, state.config):",
                "if meanwhile := ():",
            )
        ],
        first=4,
    ),
    Planted(
        "an amendment forgets the seats of jobs that were prepared before it",
        "cap at|work at once",
        [
            Edit(
                _JOBS,
                "state.job_cap - (len(state.live) - state.asking)",
                "state.job_cap - sum(a.definition is None for a in state.live.values())",
            )
        ],
        first=15,
    ),
    Planted(
        "what is ready stays where it was when the default backend changes",
        "where its task is not to run|fold at",
        [Edit(_APPLY, "    if moved:\n", "    if moved and not state.ready:\n")],
        first=49,
    ),
    Planted(
        "a backend goes on as it was when a config defines it anew",
        "of another config",
        [Edit("matterstack/engine.py", 'key = f"{name} {definition}"', "key = name")],
        first=12,
    ),
    Planted(
        "a campaign that changed is not told of",
        "nothing had said that the campaign's",
        [
            Edit(
                "matterstack/core/run/decide_planning.py",
                "    if not files:\n        return []\n",
                "    if files or not files:\n        return []\n",
            )
        ],
    ),
    Planted(
        "of a clash between a plan and an amendment the plan's value wins unasked",
        "was planned anew: its",
        [
            Edit(
                "matterstack/core/model/definition_merge.py",
                "return planned if plan_wins else amended",
                "return planned",
            )
        ],
        first=19,
    ),
    Planted(
        "what was amended is lost when the plan is asked for once more",
        "was planned anew: its|snapshot at",
        [Edit(_APPLY, "task.planned = task.as_planned\n", "task.planned = None\n")],
        first=7,
    ),
    Planted(
        "a plan that is asked for once more takes the results of what has succeeded",
        "took the result of",
        [Edit(_REPLAN, "if changes and choices.redo_changed:", "if changes:")],
        first=2,
    ),
    Planted(
        "the job of a task that the plan has no more is left, though it was to be ended",
        "goes on, and was to be ended",
        [
            Edit(
                _REPLAN,
                "step = Step.JOB_ENDED if choices.cancel_gone else Step.JOB_LEFT",
                "step = Step.JOB_LEFT",
            )
        ],
        first=11,
    ),
    Planted(
        "a job that has begun is cancelled when it is to be submitted anew",
        "was given up while it was at work",
        [
            Edit(
                f"{_SLURM}/queries.py",
                "if alone := [job_id for job_id in job_ids if job_id in pending]:",
                "if alone := [job_id for job_id in job_ids if pending is not None]:",
            ),
            Edit(f"{_SLURM}/queries.py", '("scancel", "--state=PENDING", *alone)', '("scancel", *alone)'),
        ],
        first=11,
    ),
    Planted(
        "what was given up to be submitted anew fails its task",
        "as if somebody outside had cancelled its job",
        [
            Edit(
                _JOBS,
                "if end.state is JobState.CANCELLED and attempt.resubmission is not None:",
                "if end.state is JobState.LOST and attempt.resubmission is not None:",
            )
        ],
        first=4,
    ),
    Planted(
        "a new engine does not know which jobs were to be submitted anew",
        "as if somebody outside had cancelled its job|snapshot at|never ended",
        [
            Edit(
                "matterstack/storage/snapshot.py",
                'decode(a["resubmission"], Resubmission) if a["resubmission"] else None',
                "None",
            )
        ],
        first=4,
    ),
)


def plant(bug: Planted, folder: Path) -> None:
    """Copy the sources into a folder, with the bug.

    Raises:
        ValueError: the sources do not have, exactly once, what is to be replaced.
    """
    for name in SOURCES:
        source, target = REPOSITORY / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True)  # with their bytecode: all but the bug is compiled
        else:
            shutil.copy(source, target)
    for edit in bug.edits:
        place = folder / edit.place
        files = {path: path.read_text() for path in (place.rglob("*.py") if place.is_dir() else [place])}
        counts = {path: text.count(edit.old) for path, text in files.items() if edit.old in text}
        if list(counts.values()) != [1]:
            raise ValueError(f"{bug.name}: {edit.place} has {sum(counts.values())} times {edit.old!r}")
        (path,) = counts
        path.write_text(files[path].replace(edit.old, edit.new))


def search(bug: Planted, folder: Path) -> str:
    """Play seeds on sources with the bug until the promise is broken; returns what was said."""
    words = [
        "--first",
        str(bug.first),
        "--seeds",
        str(MOST_SEEDS),
        "--processes",
        "1",
        "--until",
        bug.promise,
    ]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tests.simulation", *words],
        cwd=folder,
        env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in {0, 1} or "Traceback" in done.stderr:
        raise RuntimeError(done.stderr)
    return done.stdout


def is_found(bug: Planted, said: str) -> bool:
    """Whether the simulation blames what the bug breaks."""
    return re.search(bug.promise, said) is not None
