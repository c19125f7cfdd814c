"""The catalyst campaign without running anything: what it plans, what it asks, and the pages it writes."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from matterstack import Result, Results, Task, Workflow
from matterstack.core.documents.fields import field_problems
from matterstack.core.documents.manifests import GateManifest, HumanOperatorManifest, read_manifest
from matterstack.core.model.workflow_check import check_workflow
from matterstack.core.states import TaskStatus
from tests.catalyst_workspace import PUBLISHED, WORKSPACE, module

campaign_module = module("campaign")
convergence = module("convergence")
decision = module("decision")
surfaces = module("surfaces")
trends = module("trends")

ENERGIES = {"Ni": {"O": -4.7, "H": -3.2}, "Cu": {"O": -4.6, "H": -3.15}, "Pt": {"O": -4.71, "H": -3.19}}
ANSWER = {"adsorbate": "O", "accuracy_ev": 0.002, "refine_Pt": True, "refine_Cu": True, "refine_Ni": False}
SMALL = {"all": 0.001, "layers": 0.0, "cell": -0.001, "fmax": 0.0}
LARGE = {"all": 0.0, "layers": 0.003, "cell": 0.0, "fmax": -0.003}


def _campaign(**params: Any) -> Any:
    return campaign_module.get_campaign({"metals": ["Ni", "Cu", "Pt"], "adsorbates": ["O", "H"], **params})


def _succeeded(data: Any) -> Result:
    return Result(TaskStatus.SUCCEEDED, exit_code=0, data=data)


def _report(metal: str, energies: Mapping[str, float]) -> dict[str, Any]:
    adsorbed = {
        element: {"site": "fcc", "energy_ev": energy, "height_angstrom": 1.5, "sites": {}}
        for element, energy in energies.items()
    }
    return {"metal": metal, "lattice_angstrom": 3.6, "bulk_modulus_gpa": 140.0, "adsorbed": adsorbed}


def _refined(metal: str, energy: float, changes: Mapping[str, float]) -> dict[str, Any]:
    return {
        "metal": metal,
        "adsorbate": "O",
        "site": "hcp",
        "model": {"layers": 6, "cell": 3, "fmax": 0.02},
        "energy_ev": energy,
        "height_angstrom": 1.6,
        "before_ev": energy - changes["all"],
        "changes_ev": dict(changes),
    }


APPROVED = _succeeded({"decision": "approve", "comment": "go"})
REJECTED = Result(
    TaskStatus.FAILED, reason="it was rejected: too dear", data={"decision": "reject", "comment": "too dear"}
)


def _results(
    workflow: Workflow, answer: Mapping[str, Any], gate: Result, changes: Mapping[str, Mapping[str, float]]
) -> dict[str, Result]:
    """How a stage ends; a metal that has no energy, or no changes, has failed."""
    results: dict[str, Result] = {}
    for task in workflow.tasks:
        metal = str(task.params.get("metal", ""))
        if task.id == "choose":
            results[task.id] = _succeeded(answer)
        elif task.id == "approve":
            results[task.id] = gate
        elif task.id.startswith("screen-") and metal in ENERGIES:
            results[task.id] = _succeeded(_report(metal, ENERGIES[metal]))
        elif task.id.startswith("refine-") and metal in changes:
            results[task.id] = _succeeded(_refined(metal, -4.65, changes[metal]))
        elif not metal:
            results[task.id] = _succeeded({})
        else:
            results[task.id] = Result(TaskStatus.FAILED, reason="exit code 1", exit_code=1)
    return results


def _play(
    campaign: Any,
    *rounds: Mapping[str, Mapping[str, float]],
    answer: Mapping[str, Any] = ANSWER,
    gate: Result = APPROVED,
) -> tuple[list[Workflow], dict[str, Any]]:
    """Let the campaign run until it plans None, with what changed in each round (then always the last)."""
    state: dict[str, Any] = {}
    workflows: list[Workflow] = []
    earlier: dict[Any, Any] = {}
    results: dict[str, Result] = {}
    while (workflow := campaign.plan(state, Results(results))) is not None:
        check_workflow(workflow, earlier, {"local"})
        earlier.update({task.id: task.outputs for task in workflow.tasks})
        number = sum("refinement" in (w.name or "") for w in workflows)
        changes = rounds[min(number, len(rounds) - 1)] if rounds else {}
        results.update(_results(workflow, answer, gate, changes))
        state = json.loads(json.dumps(campaign.analyze(state, Results(results))))
        workflows.append(workflow)
        assert len(workflows) < 20
    return workflows, state


def _tasks(workflows: list[Workflow]) -> dict[str, Task]:
    return {task.id: task for workflow in workflows for task in workflow.tasks}


BOTH_SETTLED = {"Pt": SMALL, "Cu": SMALL}


# ---- the stages


def test_what_was_chosen_and_approved_is_refined_until_it_is_settled() -> None:
    workflows, state = _play(_campaign(), {"Pt": LARGE, "Cu": SMALL}, BOTH_SETTLED)
    assert [workflow.name for workflow in workflows] == [
        "screening: 3 metals, 2 atoms",
        "survey and decision",
        "refinement, round 1: O on Pt, Cu; 6 layers, 3 x 3, 0.02 eV/angstrom",
        "refinement, round 2: O on Pt; 8 layers, 4 x 4, 0.01 eV/angstrom",
        "trends",
    ]
    assert state["open_questions"] == []
    refinements = [task.params for task in workflows[3].tasks]
    assert [params["metal"] for params in refinements] == ["Pt"]
    assert {params["adsorbate"] for params in refinements} == {"O"}
    assert {params["site"] for params in refinements} == {"fcc"}
    tasks = _tasks(workflows)
    assert tasks["refine-1-Pt"].inputs == {}
    assert tasks["refine-2-Pt"].inputs == {"before.json": "refine-1-Pt/result.json"}
    assert tasks["trends"].inputs == {
        **{f"screened/{metal}.json": f"screen-{metal}/result.json" for metal in ENERGIES},
        "refined/Pt.json": "refine-2-Pt/result.json",
        "refined/Cu.json": "refine-1-Cu/result.json",
    }
    assert tasks["trends"].params["settled"] is True
    assert tasks["trends"].params["decision"] == [
        "Chosen: O on Pt, Cu, to 0.002 eV.",
        "This was approved: go.",
    ]


def test_changes_that_cancel_each_other_are_not_settled() -> None:
    workflows, state = _play(_campaign(), {"Pt": LARGE, "Cu": SMALL})
    assert len([w for w in workflows if "refinement" in (w.name or "")]) == 3
    assert state["open_questions"] == [
        "Pt: a thicker slab changed the energy by +0.0030 eV",
        "Pt: smaller forces changed the energy by -0.0030 eV",
    ]
    assert _tasks(workflows)["trends"].params["settled"] is False


def test_a_rejected_refinement_ends_in_a_report_that_says_so() -> None:
    workflows, _ = _play(_campaign(), gate=REJECTED)
    assert [workflow.name for workflow in workflows][2:] == ["trends"]
    assert _tasks(workflows)["approve"].allow_failure
    assert _tasks(workflows)["trends"].params["decision"] == [
        "Chosen: O on Pt, Cu, to 0.002 eV.",
        "It was not computed: it was rejected: too dear.",
    ]
    assert not any(name.startswith("refined/") for name in _tasks(workflows)["trends"].inputs)


def test_when_no_metal_was_chosen_nothing_is_refined() -> None:
    workflows, _ = _play(_campaign(), answer={"adsorbate": "H", "accuracy_ev": 0.01, "reason": " enough "})
    assert [workflow.name for workflow in workflows][2:] == ["trends"]
    assert _tasks(workflows)["trends"].params["decision"][0] == "No surface was chosen (enough)."
    assert _tasks(workflows)["trends"].params["adsorbate"] == "H"


def test_a_metal_that_fails_to_screen_is_not_offered() -> None:
    workflows, state = _play(
        _campaign(metals=["Ni", "Ag"]),
        {"Ni": SMALL},
        answer={"adsorbate": "O", "accuracy_ev": 0.002, "refine_Ni": True},
    )
    fields = _tasks(workflows)["choose"].params["fields"]
    assert [name for name in fields if name.startswith("refine_")] == ["refine_Ni"]
    assert state["failed"]["screen-Ag"] == "exit code 1"


def test_a_metal_that_fails_later_keeps_what_is_known_of_it() -> None:
    workflows, state = _play(_campaign(), {"Pt": LARGE, "Cu": LARGE}, {"Pt": SMALL})
    trends_task = _tasks(workflows)["trends"]
    assert trends_task.inputs["refined/Cu.json"] == "refine-1-Cu/result.json"
    assert trends_task.inputs["refined/Pt.json"] == "refine-2-Pt/result.json"
    assert trends_task.params["failed"] == {"refine-2-Cu": "exit code 1"}
    assert state["open_questions"] == ["refine-2-Cu failed"]
    assert trends_task.params["settled"] is False


def test_a_campaign_in_which_everything_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match=r"no metal could be screened: screen-Ag: exit code 1"):
        _play(_campaign(metals=["Ag"]))


def test_each_job_says_what_it_needs_and_finds_its_files() -> None:
    workflows, _ = _play(_campaign(), {"Pt": LARGE, "Cu": SMALL})
    jobs = [task for task in _tasks(workflows).values() if task.operator == "compute"]
    assert len(jobs) == 3 + 1 + 4 + 1  # copper is settled after one of three rounds
    for task in jobs:
        assert (task.resources.cpus, task.env["OMP_NUM_THREADS"]) == (1, "1")
        assert task.resources.memory_mib
        assert task.resources.walltime_s
        assert all(Path(source).is_file() for source in task.files.values())
    assert {task.id for task in jobs if not task.allow_failure} == {"survey", "trends"}


# ---- what people are asked


def test_the_question_shows_what_was_screened_strongest_oxygen_first() -> None:
    workflows, _ = _play(_campaign(), BOTH_SETTLED)
    choose = _tasks(workflows)["choose"]
    manifest = read_manifest("human", choose.params)
    assert isinstance(manifest, HumanOperatorManifest)
    assert choose.depends_on == ("survey",)
    lines = manifest.question.splitlines()
    rows = [line.split() for line in lines if line.startswith("  ")]
    assert rows == [
        ["O", "H"],
        ["Pt", "-4.710", "-3.190"],
        ["Ni", "-4.700", "-3.200"],
        ["Cu", "-4.600", "-3.150"],
    ]
    assert max(map(len, lines)) <= 100
    assert "survey.svg" in manifest.question
    assert manifest.expires_in_s is None


def test_the_answer_needs_an_atom_and_an_accuracy_and_takes_any_metals() -> None:
    workflows, _ = _play(_campaign(), BOTH_SETTLED)
    manifest = read_manifest("human", _tasks(workflows)["choose"].params)
    assert isinstance(manifest, HumanOperatorManifest)
    assert list(field_problems(manifest.fields, ANSWER)) == []
    assert list(field_problems(manifest.fields, {"adsorbate": "H", "accuracy_ev": 0.1})) == []
    wrong = {"adsorbate": "Xe", "refine_Pt": "yes", "refine_Au": True}
    assert {problem.field for problem in field_problems(manifest.fields, wrong)} == {
        "adsorbate",
        "accuracy_ev",
        "refine_Pt",
        "refine_Au",
    }


def test_the_gate_waits_for_the_choice_and_can_send_it_back() -> None:
    workflows, _ = _play(_campaign(answer_within_h=48), BOTH_SETTLED)
    gate = _tasks(workflows)["approve"]
    manifest = read_manifest("gate", gate.params)
    assert isinstance(manifest, GateManifest)
    assert gate.dependencies() == ("choose",)
    assert "operators/choose/response.json" in manifest.question
    assert "at most about 25 s of one core, in 3 rounds" in manifest.question
    assert manifest.expires_in_s == 48 * 3600.0


def test_one_atom_other_than_oxygen_is_enough() -> None:
    text = decision.question({"Ni": {"H": {"energy_ev": -3.2}}}, ["H"], "there")
    assert "energy of the adsorbed atom in eV:" in text
    assert "oxygen" not in text


# ---- params


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"metal": ["Ni"]}, "params: metal: no such parameter; there are: metals, adsorbates"),
        ({"metals": ["Ni", "Fe"]}, "metals: Fe: not known; there are: Al, Ni, Cu"),
        ({"metals": "Ni"}, "metals must be a list of names"),
        ({"adsorbates": ["CO"]}, "adsorbates: CO: not known; there are: H, C, N, O"),
        ({"layers": [4, 6.5]}, "layers must be a list of whole numbers"),
        ({"fmax": "0.05"}, "fmax must be a list of numbers, not '0.05'"),
        ({"layers": [4, 6]}, "must be equally long"),
        ({"layers": [4], "cells": [2], "fmax": [0.05]}, "hold at least 2 values"),
        ({"layers": [2, 4, 6, 8]}, "layers must start at 3 or more"),
        ({"cells": [2, 3, 3, 4]}, "cells must start at 2 or more, and grow"),
        ({"fmax": [0.05, 0.02, 0.02, 0.01]}, "fmax must fall from round to round"),
        ({"fmax": [0.05, 0.02, 0.01, 0.0001]}, "not below 0.001"),
        ({"layers": [4, 6, 8, 30]}, "the last round would have 750 atoms, more than 600"),
        ({"answer_within_h": 0}, "answer_within_h must be a positive number or null, not 0"),
        ({"answer_within_h": True}, "answer_within_h must be a positive number or null, not True"),
    ],
)
def test_params_that_cannot_be_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        campaign_module.get_campaign(params)


def test_the_campaign_and_its_jobs_know_the_same_metals_and_atoms() -> None:
    assert campaign_module.METALS == surfaces.METALS
    assert campaign_module.ADSORBATES == surfaces.ADSORBATES
    for data in (PUBLISHED["d_band_center_ev"], *PUBLISHED["adsorption_ev"].values()):
        assert set(data["values"]) == set(surfaces.METALS) - {"Al"}


def test_the_config_states_every_parameter_with_its_default() -> None:
    config = json.loads((WORKSPACE / "config.json").read_text())
    defaults = json.loads(json.dumps(vars(campaign_module.Settings())))
    assert config["params"] == defaults
    assert config["backends"]["local"] == {"type": "local", "max_jobs": 2}
    assert config["backends"]["cluster"]["type"] == "slurm"


def test_the_readme_names_every_source_and_parameter() -> None:
    readme = (WORKSPACE / "README.md").read_text()
    for name in vars(campaign_module.Settings()):
        assert f"`{name}`" in readme
    flat = [data for key, data in PUBLISHED.items() if key != "adsorption_ev"]
    for data in (*flat, *PUBLISHED["adsorption_ev"].values()):
        assert data["source"] in " ".join(readme.split())


# ---- convergence and trends, as numbers


def test_an_energy_is_settled_when_no_setting_changes_it() -> None:
    assert convergence.unsettled({"Pt": SMALL}, 0.001) == {}
    assert convergence.unsettled({"Pt": SMALL, "Cu": LARGE}, 0.002) == {
        "Cu": [
            "Cu: a thicker slab changed the energy by +0.0030 eV",
            "Cu: smaller forces changed the energy by -0.0030 eV",
        ]
    }


def test_orders_are_one_for_the_same_order_and_minus_one_for_the_opposite() -> None:
    published = PUBLISHED["adsorption_ev"]["O"]["values"]
    opposite = {metal: -energy for metal, energy in published.items()}
    found = {row["adsorbate"]: row for row in trends.orders({"O": published, "H": opposite}, PUBLISHED)}
    assert found["O"]["with_published"] == 1.0
    assert found["H"]["with_published"] < -0.6
    exact = {metal: -center for metal, center in PUBLISHED["d_band_center_ev"]["values"].items()}
    assert trends.orders({"N": exact}, PUBLISHED) == [
        {"adsorbate": "N", "with_d_band": 1.0, "with_published": None}
    ]


def test_too_few_metals_have_no_order() -> None:
    few = {"Ni": -4.7, "Cu": -4.6, "Pt": -4.65}
    assert trends.orders({"O": few}, PUBLISHED) == [
        {"adsorbate": "O", "with_d_band": None, "with_published": None}
    ]


def test_neighbours_are_compared_where_both_are_known() -> None:
    found = trends.neighbours(
        {"O": {"Ni": -4.7, "Cu": -4.6, "Pt": -4.65}, "C": {"Pd": -3.6, "Ag": -3.5}}, PUBLISHED
    )
    assert found == [
        {"adsorbate": "O", "stronger": "Ni", "weaker": "Cu", "here_ev": 0.1, "published_ev": 0.72},
        {"adsorbate": "C", "stronger": "Pd", "weaker": "Ag", "here_ev": 0.1, "published_ev": None},
    ]


# ---- what people find


def _page(settled: bool = True) -> tuple[str, dict[str, Any]]:
    screened = {metal: _report(metal, energies) for metal, energies in ENERGIES.items()}
    screened["Ni"]["adsorbed"]["H"]["site"] = "ontop"
    params = {
        "decision": ["Chosen: O on Pt, to 0.002 eV.", "This was approved."],
        "settled": settled,
        "open_questions": [] if settled else ["Pt: why"],
        "failed": {"screen-Ag": "exit code 1"},
    }
    summary = trends.summary_of(screened, {"Pt": _refined("Pt", -4.6543, SMALL)}, PUBLISHED, params)
    return trends.as_text(summary, screened, PUBLISHED), summary


def test_the_page_has_refined_energies_in_bold_beside_screened_ones() -> None:
    text, _ = _page()
    assert "The refined energies are settled." in text
    assert "| O on Pt | hcp | -4.6543 | 1.60 | 6 | 3 x 3 | 0.02 | +0.0000, -0.0010, +0.0000 |" in text
    assert "| Pt | 3.600 | -2.25 | **-4.654** | -3.190 |" in text
    assert "| O | +0.10 (published +0.72) |  |  |" in text
    assert "Not in a threefold hollow: H on Ni: ontop." in text
    assert "- screen-Ag: exit code 1" in text


def test_the_page_says_what_is_not_settled() -> None:
    text, summary = _page(settled=False)
    assert "The refined energies are **not settled**:\n\n- Pt: why\n\n| refined |" in text
    assert summary["settled"] is False


@pytest.mark.parametrize(("element", "panels"), [("O", 2), ("C", 1)])
def test_the_figure_has_every_metal_with_a_d_band_once_in_each_panel(element: str, panels: int) -> None:
    energies = {metal: -4.0 - number / 10 for number, metal in enumerate(surfaces.METALS)}
    refined = {"Pt": {"adsorbate": element}}
    drawn = trends.as_figure({"energies_ev": {element: energies}, "refined": refined}, PUBLISHED, element)
    figure = ET.fromstring(drawn)  # noqa: S314  our own
    labels = [node.text for node in figure.iter() if node.text in surfaces.METALS]
    assert sorted(map(str, labels)) == sorted([*PUBLISHED["d_band_center_ev"]["values"]] * panels)
    circles = [node.get("fill") for node in figure.iter() if node.tag.endswith("circle")]
    assert circles.count("white") == 5  # all but platinum are only screened
