"""Random workflows and random messages, late and foreign ones among them.

Hypothesis draws a *program*: kinds of messages, each with a number.  What a message says is chosen by that
number among what makes sense (or almost does) in the state in hand, which is cheaper than drawing it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from random import Random
from typing import Any, Final

import attrs
from hypothesis import strategies as st

from matterstack.core.documents.config import merge
from matterstack.core.errors import NotFoundError, RefusedError
from matterstack.core.ids import JobId, TaskId, Token
from matterstack.core.model.workflow import Task, Workflow
from matterstack.core.run import facts as f
from matterstack.core.run import messages as m
from matterstack.core.run.facts import OutputFile
from matterstack.core.run.replan_steps import seen_of
from matterstack.core.run.state import RunState
from matterstack.core.states import FailureKind, JobState, RunStatus
from tests.support.states import CLUSTER, LOCAL, ToldRun, task

MOST_TASKS: Final = 6
OUTPUTS: Final = (OutputFile("out.json", 3, "ab" * 32), OutputFile("Å/out.xyz", 0, "cd" * 32))
JSON: Final[Sequence[Any]] = (None, {"e_ev": -1.5}, [1, "ü", None], "text", 0, {})
FOREIGN: Final = Token("ms-of-nobody")


@attrs.frozen
class Step:
    """Tell the run a message of this kind; ``number`` chooses what it says."""

    kind: str
    number: int


def random_workflow(random: Random, earlier: Sequence[TaskId], iteration: int) -> Workflow:
    """A DAG in any order of planning: a task may stand before those that it depends on."""
    names = [TaskId(f"i{iteration}t{n}") for n in range(random.randint(1, MOST_TASKS))]
    tasks = []
    for n, name in enumerate(names):
        known = [*names[:n], *earlier]
        needed = random.sample(known, min(len(known), random.choice([0, 1, 1, 2, 3])))
        tasks.append(
            task(
                name,
                *needed,
                allow_failure=random.random() < 0.4,
                retries=random.choice([0, 0, 1, 2]),
                retry_on=[kind for kind in FailureKind if random.random() < 0.6],
                priority=random.randint(-1, 1),
                backend=random.choice([None, "local", "cluster"]),
            )
        )
    random.shuffle(tasks)
    return Workflow(tasks, name=random.choice([None, "screening"]))


def _next_iteration(state: RunState, random: Random) -> int:
    return state.iteration + random.choice([1, 1, 1, 0, 2])


def _planned(state: RunState, random: Random) -> m.Message:
    iteration = _next_iteration(state, random)
    workflow = random_workflow(random, list(state.tasks), iteration)
    warnings = ("task x would fail: files",) if iteration % 2 else ()
    return m.Planned(iteration=iteration, workflow=workflow, warnings=warnings)


def _analyzed(state: RunState, random: Random) -> m.Message:
    iteration = max(0, _next_iteration(state, random) - 1)
    return m.Analyzed(iteration=iteration, state=random.choice([{}, {"best": "Å", "n": 1.5}]))


def _prepare(_state: RunState, random: Random) -> m.Message:
    return m.Prepare(backend=random.choice([LOCAL, CLUSTER]), seats=random.randint(0, 5))


def _retry(state: RunState, random: Random) -> m.Message:
    tasks = list(state.tasks)
    return m.Retry(by="bob", tasks=random.sample(tasks, min(len(tasks), random.choice([0, 0, 1, 2]))))


def _retry_likely(state: RunState, random: Random) -> m.Message:
    ended = [t for t, one in state.tasks.items() if one.status in {"FAILED", "CANCELLED"}]
    return m.Retry(by="bob", tasks=random.sample(ended, min(len(ended), 1)))


def _cancel_tasks(state: RunState, random: Random) -> m.Message:
    tasks = [*state.tasks, TaskId("i1*")]
    chosen = random.sample(tasks, min(len(tasks), random.choice([1, 1, 2])))
    return m.CancelTasks(by="eva", tasks=chosen, reason=random.choice(["", "too hot"]))


def _amend(state: RunState, random: Random) -> m.Message:
    return m.AmendTasks(
        by="eve",
        tasks=_some(state, random),
        changes=_changes(random) if random.random() < 0.8 else {},
        reason="too short",
        resubmit=random.random() < 0.5,
    )


def _retry_amended(state: RunState, random: Random) -> m.Message:
    ended = [t for t, one in state.tasks.items() if one.status in {"FAILED", "CANCELLED"}]
    return m.Retry(by="bob", tasks=random.sample(ended, min(len(ended), 2)), changes=_changes(random))


def _some(state: RunState, random: Random) -> list[TaskId]:
    return random.sample(list(state.tasks), min(len(state.tasks), random.choice([1, 2, 5])))


def _changes(random: Random) -> dict[str, Any]:
    all_of_them = {
        "resources.walltime_s": random.choice([None, 60, 600]),
        "resources.partition": random.choice([None, "long"]),
        "env.OMP_NUM_THREADS": random.choice([None, "4"]),
        "params.grid.n": random.randint(1, 3),
        "backend": random.choice([None, "local", "cluster"]),
        "priority": random.randint(-1, 1),
        "retries": random.choice([0, 2]),
        "allow_failure": random.random() < 0.5,
    }
    return {path: all_of_them[path] for path in random.sample(sorted(all_of_them), random.choice([1, 2, 4]))}


def _token(state: RunState, random: Random) -> Token:
    live = list(state.live)
    late = [attempt.token for attempt in state.attempts()]
    return random.choice([*(live * 4), *late, FOREIGN])


def _accepted(state: RunState, random: Random) -> m.Message:
    return m.Accepted(
        token=_token(state, random),
        job_id=random.choice([JobId("17"), JobId("18_4")]),
        state=random.choice([JobState.QUEUED, JobState.RUNNING]),
        manifest_sha256=random.choice([None, "ef" * 32]),
    )


def _observed(state: RunState, random: Random) -> m.Message:
    return m.Observed(
        token=_token(state, random),
        state=random.choice([*JobState, JobState.COMPLETED_OK, JobState.COMPLETED_ERROR]),
        raw_state=random.choice(["", "TIMEOUT", "NODE_FAIL", "FAILED"]),
        reason=random.choice(["", "Priority"]),
        exit_code=random.choice([None, 0, 1, 137]),
        host=random.choice([None, "node1"]),
    )


def _ended_well(state: RunState, random: Random) -> m.Message:
    return m.Observed(token=_token(state, random), state=JobState.COMPLETED_OK, exit_code=0)


def _collected(state: RunState, random: Random) -> m.Message:
    attempts = [state.tasks[task_id].attempts[-1].token for task_id in state.collecting]
    token = random.choice([*(attempts * 4), _token(state, random)])
    found = random.choice([{}, {"stdout.log": ("API_TOKEN",)}])
    return m.Collected(
        token=token,
        outputs=random.choice([(), OUTPUTS]),
        data=random.choice(JSON),
        problem=random.choice([None, None, "no file matches"]),
        given_up=random.random() < 0.1,
        sought=random.choice([None, f.SecretsSought(token=token, names=("API_TOKEN",), found=found)]),
    )


def _amend_config(state: RunState, random: Random) -> m.Message:
    cluster = {"type": random.choice(["slurm", "slurm", "local"]), "max_jobs": random.randint(1, 3)}
    changes: dict[str, Any] = random.choice(
        [
            {"max_hpc_jobs_per_run": random.randint(1, 10)},
            {"default_backend": random.choice(["local", "cluster"])},
            {"backends": {"cluster": cluster}},
            {"backends": {"further": {"type": "slurm", "max_jobs": 5}}},
        ]
    )
    before = random.choice([state.config, state.config, state.config, {}])
    return m.AmendConfig(
        by="ann",
        before=before,
        config=merge(state.config, changes),
        overrides=changes,
        resubmit=random.random() < 0.5,
    )


def _replan(state: RunState, random: Random) -> m.Message:
    """Some tasks as they were, some others, some new, some gone; now and then on another basis."""
    own = [one.as_planned for one in state.tasks.values() if one.iteration == state.iteration]
    kept = [one for one in own if random.random() < 0.8]
    names = [one.id for one in kept]
    planned = [_planned_anew(one, names, random) if random.random() < 0.4 else one for one in kept]
    new = TaskId(f"i{state.iteration}n{random.randint(1, 3)}")
    if new not in state.tasks or new not in names:
        needed = random.sample(names, min(len(names), random.choice([0, 1, 2])))
        planned.append(task(new, *needed, allow_failure=random.random() < 0.3))
    change = f.Change("ab" * 32, "cd" * 32)
    return m.Replan(
        by="flo",
        iteration=state.iteration - (random.random() < 0.1),
        workflow=Workflow(planned, name=random.choice([None, "mended"])) if state.iteration else None,
        basis=m.Basis(config={}, tasks={}) if random.random() < 0.1 else seen_of(state),
        contents={one.id: {"energy.py": change} for one in kept if random.random() < 0.2},
        choices=m.ReplanChoices(
            redo_changed=random.random() < 0.5,
            cancel_gone=random.random() < 0.5,
            yes_plan=random.random() < 0.5,
        ),
        warnings=random.choice([(), ("task x would fail: files",)]),
    )


def _planned_anew(one: Task, names: Sequence[TaskId], random: Random) -> Task:
    others = [name for name in names if name < one.id]
    return attrs.evolve(
        one,
        depends_on=random.sample(others, min(len(others), random.choice([0, 1, 2]))),
        priority=random.randint(-1, 1),
        params={"grid": {"n": random.randint(1, 3)}},
        allow_failure=random.random() < 0.4,
        backend=random.choice([None, "local", "cluster"]),
    )


def _always(message: m.Message) -> Callable[[RunState, Random], m.Message]:
    return lambda _state, _random: message


_MAKERS: Final[Mapping[str, Callable[[RunState, Random], m.Message]]] = {
    "start": _always(m.Start()),
    "pause": _always(m.Pause(by="ann", reason="lunch")),
    "resume": _always(m.Resume(by="ann")),
    "cancel": _always(m.Cancel(by="ann", reason="no")),
    "cancel tasks": _cancel_tasks,
    "fail": _always(m.Fail(reason="its actor crashed")),
    "planning failed": _always(m.PlanningFailed(reason="plan raised")),
    "planned": _planned,
    "goal met": lambda state, _random: m.Planned(iteration=state.iteration + 1, workflow=None),
    "analyzed": _analyzed,
    "replan": _replan,
    "retry": _retry,
    "retry one that failed": _retry_likely,
    "retry amended": _retry_amended,
    "amend": _amend,
    "amend config": _amend_config,
    "prepare": _prepare,
    "accepted": _accepted,
    "observed": _observed,
    "job ended well": _ended_well,
    "refused": lambda state, random: m.Refused(token=_token(state, random), reason="no such partition"),
    "withdrawn": lambda state, random: m.Withdrawn(token=_token(state, random), reason="there is no job"),
    "collected": _collected,
}
_WEIGHTS: Final[Mapping[str, int]] = {
    "planned": 14, "analyzed": 14, "prepare": 20, "accepted": 10, "observed": 12, "job ended well": 20,
    "collected": 25, "resume": 6, "retry": 4, "retry one that failed": 8, "pause": 2, "refused": 2,
    "withdrawn": 2, "cancel tasks": 3, "retry amended": 2, "amend": 4, "amend config": 3,
    "replan": 6,
}  # fmt: skip
_KINDS: Final = [kind for kind in _MAKERS for _ in range(_WEIGHTS.get(kind, 1))]
PROGRAMS: Final = st.lists(
    st.builds(Step, st.sampled_from(_KINDS), st.integers(0, 2**16)), min_size=30, max_size=100
)


@attrs.frozen
class Told:
    """A message, the facts that it led to (with what the run concluded by itself), and what the run was."""

    message: m.Message
    facts: list[f.Fact]
    was: RunStatus


def steps(run: ToldRun, program: Iterable[Step]) -> Iterator[Told]:
    """Carry a program out on a new run, as a run's actor does: each message is followed by Settle."""
    run.tell(m.Start())
    for step in program:
        was = run.state.status
        message = _MAKERS[step.kind](run.state, Random(step.number))  # noqa: S311  no secrets here
        try:
            facts = run.tell(message)
        except (RefusedError, NotFoundError):
            facts = []
        yield Told(message, [*facts, *run.tell(m.Settle())], was)
