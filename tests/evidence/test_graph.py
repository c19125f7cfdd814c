"""The picture of a run's tasks: what stands where, and that no arrow hides behind a box."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations, pairwise
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matterstack.core.ids import TaskId
from matterstack.core.model.workflow import Task
from matterstack.core.run.state import TaskState
from matterstack.core.states import TaskStatus
from matterstack.evidence.figures import NARROW_IN, WIDE_IN
from matterstack.evidence.graph.frames import MOST_LEVELS, MOST_TASKS, Graph, graph_of_tasks
from matterstack.evidence.graph.places import PlacedFrame, Places, most_abreast, places_of_graph

WIDTHS: Final = [WIDE_IN, NARROW_IN]

Needs = Mapping[str, Sequence[str]]


def states(rounds: Sequence[Needs]) -> dict[TaskId, TaskState]:
    """Tasks by iteration: the names of each, with what it depends on."""
    made: dict[TaskId, TaskState] = {}
    for iteration, needs in enumerate(rounds):
        for name, dependencies in needs.items():
            task = Task(TaskId(name), command=["true"], depends_on=[TaskId(d) for d in dependencies])
            made[task.id] = TaskState(
                task=task, position=len(made), iteration=iteration, status=TaskStatus.READY
            )
    return made


def drawn(rounds: Sequence[Needs], width: float) -> tuple[Graph, Places]:
    """What is drawn, and where."""
    graph = graph_of_tasks(states(rounds), most_abreast(width))
    return graph, places_of_graph(graph, width)


def names(graph: Graph) -> list[list[str]]:
    """First lines of the boxes, by frame."""
    return [[box.lines[0] for box in frame.boxes] for frame in graph.frames]


@st.composite
def graphs(draw: st.DrawFn) -> list[Needs]:
    """Up to three rounds of tasks; each depends on some that came before it."""
    rounds: list[Needs] = []
    known: list[str] = []
    for iteration in range(draw(st.integers(1, 3))):
        needs: dict[str, Sequence[str]] = {}
        for number in range(draw(st.integers(1, 16))):
            before = st.lists(st.sampled_from(known), max_size=3, unique=True) if known else st.just([])
            needs[f"t{iteration}-{number}"] = draw(before)
            known.append(f"t{iteration}-{number}")
        rounds.append(needs)
    return rounds


def crosses(start: tuple[float, float], end: tuple[float, float], frame: PlacedFrame) -> bool:
    """Whether a line from above to below goes through the inside of a frame."""
    top, bottom = max(start[1], frame.top), min(end[1], frame.bottom)
    if bottom - top < 1e-9:
        return False

    def x_at(y: float) -> float:
        return start[0] + (y - start[1]) / (end[1] - start[1]) * (end[0] - start[0])

    left, right = sorted((x_at(top), x_at(bottom)))
    return right > frame.left and left < frame.right


@pytest.mark.parametrize("width", WIDTHS)
@given(graphs())
def test_nothing_overlaps_nothing_is_outside_and_arrows_go_down_between_the_frames(
    width: float, rounds: list[Needs]
) -> None:
    graph, places = drawn(rounds, width)
    for frame in places.frames:
        assert 0 < frame.left < frame.right < width
        assert 0 < frame.top < frame.bottom < places.height
        for box in frame.boxes:
            assert frame.left - 1e-9 <= box.x - box.width / 2
            assert box.x + box.width / 2 <= frame.right + 1e-9
    for a, b in combinations(places.frames, 2):
        apart = a.right < b.left or b.right < a.left or a.bottom < b.top or b.bottom < a.top
        assert apart, (a, b)
    assert len(places.ways) == len(graph.edges)
    for way, (start, end) in zip(places.ways, graph.edges, strict=True):
        assert way[0] == (places.frames[start].x, places.frames[start].bottom)
        assert way[-1] == (places.frames[end].x, places.frames[end].top)
        for above, below in pairwise(way):
            assert 0 < below[0] < width
            assert above[1] <= below[1]
            assert not [frame for frame in places.frames if crosses(above, below, frame)]


@given(graphs())
def test_every_task_is_in_the_graph_and_every_dependency_is_an_arrow(rounds: list[Needs]) -> None:
    tasks = states(rounds)
    graph = graph_of_tasks(tasks, 100)
    assert sum(sum(box.counts.values()) for frame in graph.frames for box in frame.boxes) == len(tasks)
    if len(tasks) <= MOST_TASKS:
        frame_of = {name: place for place, inside in enumerate(names(graph)) for name in inside}
        assert set(frame_of) == set(tasks)
        arrows = {(frame_of[d], frame_of[t]) for t, state in tasks.items() for d in state.task.dependencies()}
        assert set(graph.edges) == arrows


def test_tasks_that_need_and_feed_the_same_share_a_frame() -> None:
    sweep: Needs = {f"sweep-{n}": ["start"] for n in range(9)}
    graph, places = drawn([{"start": [], **sweep, "best": list(sweep)}], WIDE_IN)
    assert names(graph) == [["start"], list(sweep), ["best"]]
    assert graph.edges == ((0, 1), (1, 2))
    assert len({box.y for box in places.frames[1].boxes}) == 2, "nine boxes make two rows"


def test_on_a_narrow_screen_chains_side_by_side_become_one_of_groups() -> None:
    chains: Needs = {f"a{n}": [] for n in range(6)} | {f"b{n}": [f"a{n}"] for n in range(6)}
    wide, _ = drawn([chains], WIDE_IN)
    assert [len(frame.boxes) for frame in wide.frames] == [1] * 12
    narrow, _ = drawn([chains], NARROW_IN)
    assert [frame.boxes[0].lines[1] for frame in narrow.frames] == ["6 tasks: 6 READY"] * 2
    assert narrow.edges == ((0, 1),)


def test_iterations_have_headings_where_tasks_of_several_are_shown() -> None:
    rounds: list[Needs] = [{"a": []}, {"b": ["a"], "c": ["b"]}]
    graph, places = drawn(rounds, WIDE_IN)
    assert [heading.iteration for heading in places.headings] == [0, 1]
    assert [frame.iteration for frame in graph.frames] == [0, 1, 1]
    assert drawn(rounds[:1], WIDE_IN)[1].headings == ()


def test_a_graph_of_very_many_iterations_shows_the_first_and_the_last() -> None:
    rounds: list[Needs] = [{f"i{n:03}-{k}": [] for k in range(3)} for n in range(100)]
    graph, _ = drawn(rounds, WIDE_IN)
    assert len(graph.frames) == MOST_LEVELS + 1
    counts = [sum(frame.boxes[0].counts.values()) for frame in graph.frames]
    assert Counter(counts) == {3: MOST_LEVELS, 300 - 3 * MOST_LEVELS: 1}
    assert graph.frames[MOST_LEVELS // 2].boxes[0].lines[0] == "60 iterations between"
