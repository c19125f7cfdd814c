"""The battery screening campaign: what it plans, and when it ends; whole runs: `tests.test_workspace_e2e`."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from matterstack import Result, Results, Task, Workflow
from matterstack.core.model.workflow_check import check_workflow
from matterstack.core.states import TaskStatus
from tests.battery_workspace import (
    MATERIALS,
    WORKSPACE,
    data,
    module,
)

campaign_module = module("campaign")
ranking = module("ranking")
selection = module("selection")


# ---- who goes on, and when it ends


def test_the_best_and_whoever_is_close_to_them_are_refined_first() -> None:
    coarse = {"a": 0.2, "b": 0.3, "c": 0.34, "d": 0.36}
    assert selection.challengers(coarse, {}, 2, 0.05) == ["a", "b", "c"]
    assert selection.challengers(coarse, {}, 9, 0.05) == ["a", "b", "c", "d"]


def test_a_material_is_taken_in_when_it_might_drop_as_far_as_another_did() -> None:
    coarse = {"a": 0.2, "b": 0.3, "c": 0.5}
    assert selection.challengers(coarse, {"a": 0.19, "b": 0.29}, 2, 0.05) == []
    assert selection.challengers(coarse, {"a": -0.1, "b": 0.29}, 2, 0.05) == ["c"]


def test_a_ranking_is_settled_when_nothing_changes_by_more_than_the_tolerance() -> None:
    before = {"a": 0.20, "b": 0.30, "c": 0.9}
    assert selection.unsettled(before, {"a": 0.209, "b": 0.295, "c": 0.5}, 2, 0.01) == []
    assert selection.unsettled(before, {"a": 0.22, "b": 0.30}, 2, 0.01) == ["a changed by +0.020 eV"]
    assert selection.unsettled(before, {"a": 0.2, "b": 0.3, "c": 0.1}, 2, 0.9) == [
        "c is new among the best 2"
    ]


def test_materials_within_the_tolerance_of_each_other_may_change_places() -> None:
    assert selection.unsettled({"a": 0.300, "b": 0.305}, {"a": 0.304, "b": 0.301}, 2, 0.01) == []
    said = selection.unsettled({"a": 0.30, "b": 0.35}, {"a": 0.33, "b": 0.32}, 2, 0.04)
    assert said == ["b overtook a"]


# ---- the campaign, without running anything


def _campaign(**params: Any) -> Any:
    chosen = {"materials": ["LiF", "LiI", "LiFePO4", "LiCoO2"], "keep": 2, **params}
    return campaign_module.get_campaign(chosen)


def _answered(workflow: Workflow, energy: Callable[[str], float | None]) -> dict[str, Result]:
    """Results of a stage; a task without an energy has failed."""
    results: dict[str, Result] = {}
    for task in workflow.tasks:
        value = energy(task.params["material"]) if "material" in task.params else 0.0
        if value is None:
            results[task.id] = Result(TaskStatus.FAILED, reason="exit code 1", exit_code=1)
        else:
            results[task.id] = Result(TaskStatus.SUCCEEDED, exit_code=0, data={"activation_ev": value})
    return results


def _play(campaign: Any, *stages: Mapping[str, float | None]) -> tuple[list[Workflow], dict[str, Any]]:
    """Let the campaign run until it plans None, with the energies of each stage (then always the last)."""
    state: dict[str, Any] = {}
    workflows: list[Workflow] = []
    earlier: dict[Any, Any] = {}
    results: dict[str, Result] = {}
    while (workflow := campaign.plan(state, Results(results))) is not None:
        check_workflow(workflow, earlier, {"local"})
        earlier.update({task.id: task.outputs for task in workflow.tasks})
        energies = stages[min(len(workflows), len(stages) - 1)]
        workflows.append(workflow)
        results.update(_answered(workflow, energies.get))
        state = json.loads(json.dumps(campaign.analyze(state, Results(results))))
        assert len(workflows) < 20
    return workflows, state


def _materials(workflow: Workflow) -> list[str]:
    return [task.params["material"] for task in workflow.tasks]


STEADY = {"LiF": 2.0, "LiI": 0.8, "LiFePO4": 0.4, "LiCoO2": 1.3}


def test_the_best_are_computed_on_two_finer_grids_before_the_ranking_is_written() -> None:
    workflows, state = _play(_campaign(), STEADY)
    assert [workflow.name for workflow in workflows] == [
        "stage 1: 4 materials, 0.3 angstrom",
        "stage 2, round 1: 2 materials, 0.2 angstrom",
        "stage 2, round 2: 2 materials, 0.14 angstrom",
        "ranking",
    ]
    assert _materials(workflows[0]) == ["LiF", "LiI", "LiFePO4", "LiCoO2"]
    assert sorted(_materials(workflows[1])) == ["LiFePO4", "LiI"]
    assert state["open_questions"] == []


def test_a_round_starts_from_the_results_of_the_one_before() -> None:
    workflows, _ = _play(_campaign(), STEADY)
    second = {task.params["material"]: task for task in workflows[2].tasks}
    assert second["LiI"].inputs == {"before.json": "refine-1-LiI/result.json"}
    assert workflows[-1].tasks[0].inputs == {
        "reports/LiF.json": "screen-LiF/result.json",
        "reports/LiI.json": "refine-2-LiI/result.json",
        "reports/LiFePO4.json": "refine-2-LiFePO4/result.json",
        "reports/LiCoO2.json": "screen-LiCoO2/result.json",
    }
    assert workflows[-1].tasks[0].params["refined"] == ["LiFePO4", "LiI"]


def test_a_change_beyond_the_tolerance_asks_for_another_round() -> None:
    workflows, state = _play(_campaign(), STEADY, STEADY, {**STEADY, "LiI": 0.77}, {**STEADY, "LiI": 0.775})
    assert [len(workflow.tasks) for workflow in workflows] == [4, 2, 2, 2, 1]
    assert state["round"] == 3
    assert state["open_questions"] == []


def test_a_screened_material_joins_when_the_coarse_grid_proves_untrustworthy() -> None:
    """LiI falls by 0.6 eV on a fine grid: so might LiCoO2, which would then be among the best."""
    coarse = {"LiF": 2.0, "LiI": 1.2, "LiFePO4": 1.1, "LiCoO2": 1.5}
    fine = {"LiF": 2.0, "LiI": 0.6, "LiFePO4": 1.1, "LiCoO2": 1.0}
    workflows, state = _play(_campaign(), coarse, fine)
    assert sorted(_materials(workflows[1])) == ["LiFePO4", "LiI"]
    assert sorted(_materials(workflows[2])) == ["LiCoO2", "LiFePO4", "LiI"]
    assert selection.ranked(state["refined"]) == ["LiI", "LiCoO2", "LiFePO4"]


def test_a_ranking_that_does_not_settle_is_written_as_such() -> None:
    jumps = [{**STEADY, "LiI": 0.8 + 0.05 * (-1) ** i} for i in range(9)]
    workflows, state = _play(_campaign(max_rounds=3), *jumps)
    assert [workflow.name for workflow in workflows][-1] == "ranking"
    assert state["round"] == 3
    assert state["open_questions"] == ["LiI changed by -0.100 eV"]
    assert workflows[-1].tasks[0].params["open_questions"] == state["open_questions"]


def test_a_material_that_fails_to_screen_is_left_out_and_reported() -> None:
    workflows, state = _play(_campaign(), {**STEADY, "LiFePO4": None}, STEADY)
    assert sorted(_materials(workflows[1])) == ["LiCoO2", "LiI"]
    assert state["failed"] == {"screen-LiFePO4": "exit code 1"}
    assert "reports/LiFePO4.json" not in workflows[-1].tasks[0].inputs


def test_a_material_that_fails_on_a_finer_grid_makes_room_for_the_next() -> None:
    workflows, state = _play(_campaign(), STEADY, {**STEADY, "LiFePO4": None}, STEADY)
    assert sorted(_materials(workflows[2])) == ["LiCoO2", "LiI"]
    assert selection.ranked(state["refined"]) == ["LiI", "LiCoO2"]
    assert workflows[-1].tasks[0].params["failed"] == {"refine-1-LiFePO4": "exit code 1"}


def test_a_campaign_in_which_everything_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match=r"no material could be screened: .*screen-LiF: exit code 1"):
        _play(_campaign(), {})


def test_tasks_of_materials_may_fail_and_the_ranking_may_not() -> None:
    workflows, _ = _play(_campaign(), STEADY)
    tasks: list[Task] = [task for workflow in workflows for task in workflow.tasks]
    assert {task.id for task in tasks if not task.allow_failure} == {"ranking"}
    for task in tasks:
        assert task.resources.cpus == 1
        assert task.resources.memory_mib
        assert task.resources.walltime_s
        assert task.env["OMP_NUM_THREADS"] == "1"
        for source in task.files.values():
            assert Path(source).is_file()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"kepe": 3}, "params: kepe: no such parameter; there are: materials, keep"),
        ({"materials": ["LiXe"]}, "params.materials: LiXe: no such structure; there are: Li10GeP2S12"),
        ({"materials": "LiF"}, "materials must be a list of names"),
        ({"keep": "8"}, "keep must be a whole number, not '8'"),
        ({"tolerance_ev": True}, "tolerance_ev must be a number, not True"),
        ({"max_rounds": 9}, "the last round would be at 0.0115 angstrom, below 0.045"),
        ({"keep": 0}, "keep must be at least 1"),
        ({"max_rounds": 1}, "max_rounds at least 2"),
        ({"coarse_angstrom": 2}, "coarse_angstrom must be between 0.15 and 1.0"),
        ({"fine_angstrom": 0.5}, "fine_angstrom must be positive, and below coarse_angstrom"),
        ({"refine_factor": 1.0}, "refine_factor must be between"),
        ({"tolerance_ev": 0.0}, "tolerance_ev must be positive"),
    ],
)
def test_params_that_cannot_be_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        campaign_module.get_campaign(params)


def test_the_config_states_every_parameter_with_its_default() -> None:
    config = json.loads((WORKSPACE / "config.json").read_text())
    defaults = vars(campaign_module.Settings())
    assert config["params"] == {**defaults, "materials": []}
    assert config["backends"]["local"] == {"type": "local", "max_jobs": 2}
    assert config["backends"]["cluster"]["type"] == "slurm"


def test_the_readme_names_every_material_source_and_parameter() -> None:
    readme = (WORKSPACE / "README.md").read_text()
    for material in MATERIALS:
        assert f"| {material} |" in readme
        assert data(material)["source"] in readme
        if published := data(material).get("published"):
            assert published["source"] in readme
    for name in vars(campaign_module.Settings()):
        assert f"`{name}`" in readme


# ---- what people find


def _report(material: str, activation: float) -> dict[str, Any]:
    return {
        "formula": material,
        "role": "electrolyte",
        "spacing_angstrom": 0.2,
        "barriers_ev": {"1": 0.2, "2": 0.3, "3": 0.4},
        "dimensions": 3,
        "carriers": "Frenkel pairs",
        "formation_ev": 2 * (activation - 0.2),
        "activation_ev": activation,
    }


def test_the_ranking_has_the_refined_materials_first_and_the_others_as_screened() -> None:
    reports = {"LiF": _report("LiF", 0.5), "LiI": _report("LiI", 0.7), "Li2O": _report("Li2O", 0.6)}
    table = ranking.rows(reports, {name: data(name) for name in reports}, ["LiI"])
    assert [(row["place"], row["material"], row["stage"]) for row in table] == [
        (1, "LiI", 2),
        (2, "LiF", 1),
        (3, "Li2O", 1),
    ]
    params = {"keep": 1, "rounds": 2, "tolerance_ev": 0.01, "open_questions": [], "failed": {"t": "gone"}}
    text = ranking.as_text(table, params)
    assert "| 1 | LiI | **0.70** | 0.20 | 0.30 | 0.40 | 3 |" in text
    assert "The best 1 are settled after 2 rounds" in text
    assert "- t: gone" in text
    assert "**not settled** after 2 rounds: why" in ranking.as_text(
        table, {**params, "open_questions": ["why"]}
    )
    figure = ET.fromstring(ranking.as_figure(table))  # noqa: S314  our own
    assert [text for text in (node.text for node in figure.iter()) if text in reports] == [
        "LiI",
        "LiF",
        "Li2O",
    ]
