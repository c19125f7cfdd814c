"""One fact costs what its own edges cost, with a thousand tasks or with ten thousand.

Counted, not timed: calls of functions, and how often a task's id is hashed or compared.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from matterstack.core.ids import JobId, TaskId, Token
from matterstack.core.model.workflow import Task, Workflow
from matterstack.core.model.workflow_check import check_workflow
from matterstack.core.run import messages as m
from matterstack.core.run.apply import Touched
from matterstack.core.states import JobState
from matterstack.storage.journal import make_append
from tests.support.counting import calls_of
from tests.support.states import LOCAL, ToldRun, chain, task

SMALL, LARGE = 1_000, 10_000


class CountedId(str):
    """A task's id that counts how often a set, a dict or a search looks at one of its kind."""

    looks = 0
    __slots__ = ()

    def __hash__(self) -> int:
        CountedId.looks += 1
        return super().__hash__()

    def __eq__(self, other: object) -> bool:
        CountedId.looks += 1
        return super().__eq__(other)


def operations(action: Callable[[], object]) -> int:
    """How many calls (of Python and of C) and looks at ids an action takes."""
    CountedId.looks = 0
    calls = calls_of(action)
    return calls + CountedId.looks


def large_run(count: int) -> ToldRun:
    """Diamonds a -> (b, c) -> d, with the same neighbours whatever their number; the first goes first."""
    tasks: list[Task] = []
    for n in range(count // 4):
        edges = {f"a{n}": (), f"b{n}": (f"a{n}",), f"c{n}": (f"a{n}",), f"d{n}": (f"b{n}", f"c{n}")}
        tasks += [_counted(task(name, *needs, priority=int(n == 0))) for name, needs in edges.items()]
    run = ToldRun.running(*tasks, max_hpc_jobs_per_run=8)
    run.touched = Touched()
    return run


def _counted(one: Task) -> Task:
    depends_on = [TaskId(CountedId(d)) for d in one.depends_on]
    return attrs.evolve(one, id=TaskId(CountedId(one.id)), depends_on=depends_on)


def life_of_a_diamond(run: ToldRun) -> list[int]:
    """Operations of each step in the life of the first diamond: decide, apply, and the rows to write."""
    counts: list[int] = []
    for name in ("a0", "b0", "c0", "d0"):
        messages: list[Callable[[Token], m.Message]] = [
            lambda _: m.Prepare(backend=LOCAL, seats=1),
            lambda token, name=name: m.Accepted(token=token, job_id=JobId(name)),  # type: ignore[misc]
            lambda token: m.Observed(token=token, state=JobState.RUNNING),
            lambda token: m.Observed(token=token, state=JobState.COMPLETED_OK),
            lambda token: m.Collected(token=token),
        ]
        for make in messages:
            message = make(run.token(name))
            counts.append(operations(lambda message=message: run.tell(message, m.Settle())))  # type: ignore[misc]
            counts.append(operations(lambda: make_append(run.state, 1, run.facts[-1:], run.touched)))
            run.touched = Touched()
    return counts


def test_the_steps_of_a_task_cost_the_same_among_ten_times_as_many_tasks() -> None:
    small, large = (life_of_a_diamond(large_run(count)) for count in (SMALL, LARGE))
    for step, (few, many) in enumerate(zip(small, large, strict=True)):
        assert many <= few * 1.5 + 30, f"step {step}: {few} operations, then {many}"


def test_a_failure_costs_what_it_skips() -> None:
    def cost(count: int) -> int:
        run = large_run(count)
        run.prepare(1)
        return operations(lambda: run.tell(m.Refused(token=run.token("a0"), reason="no")))

    assert cost(LARGE) <= cost(SMALL) * 1.5 + 30


def per_task(count: int, action: Callable[[int], Callable[[], object]]) -> float:
    return operations(action(count)) / count


def planning(count: int) -> Callable[[], object]:
    tasks = [_counted(one) for one in chain(count)]
    run = ToldRun.running()
    return lambda: run.tell(m.Planned(iteration=1, workflow=Workflow(tasks)))


def backwards(count: int) -> Callable[[], object]:
    """The longest chain, each task planned before the one that it waits for."""
    tasks = [_counted(one) for one in reversed(chain(count))]
    run = ToldRun.running()
    return lambda: run.tell(m.Planned(iteration=1, workflow=Workflow(tasks)))


def checking(count: int) -> Callable[[], object]:
    tasks = [_counted(one) for one in reversed(chain(count))]
    return lambda: check_workflow(Workflow(tasks), {}, ["local"])


def cancelling(count: int) -> Callable[[], object]:
    run = large_run(count)
    return lambda: run.tell(m.Cancel(by="ann"), m.Settle())


def skipping(count: int) -> Callable[[], object]:
    run = ToldRun.running(*(_counted(one) for one in chain(count)))
    run.prepare(1)
    return lambda: run.tell(m.Refused(token=run.token("t0"), reason="no"))


def retrying_a_chain(count: int) -> Callable[[], object]:
    run = ToldRun.running(*(_counted(one) for one in chain(count)))
    run.prepare(1)
    run.tell(m.Refused(token=run.token("t0"), reason="no"), m.Settle())
    return lambda: run.tell(m.Retry(by="ann"))


def retrying_many(count: int) -> Callable[[], object]:
    run = ToldRun.running(*(_counted(task(f"t{n}")) for n in range(count)), max_hpc_jobs_per_run=count)
    run.prepare(count)
    for n in range(count):
        run.tell(m.Refused(token=run.token(f"t{n}"), reason="no"))
    run.tell(m.Settle())
    return lambda: run.tell(m.Retry(by="ann"))


@pytest.mark.parametrize(
    "action", [planning, backwards, checking, cancelling, skipping, retrying_a_chain, retrying_many]
)
def test_what_concerns_all_tasks_costs_the_same_per_task_among_ten_times_as_many(
    action: Callable[[int], Callable[[], object]],
) -> None:
    few, many = per_task(SMALL // 2, action), per_task(SMALL * 5, action)
    assert many <= few * 1.5, f"{few:.0f} operations a task, then {many:.0f}"
