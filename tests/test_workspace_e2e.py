"""The whole life of each campaign that comes with MatterStack: its engine dies in the middle of it.

What follows from any campaign is checked in `tests.support.campaign_e2e.lived`.  That their crates are valid
is asserted here, in `tests.test_catalyst_e2e` and in `tests.test_thin_film_e2e`.
"""

from pathlib import Path

import pytest

from tests import battery_workspace as battery
from tests import catalyst_workspace as catalyst
from tests import thin_film_workspace as thin_film
from tests.support.campaign_e2e import Life, begun, lived
from tests.support.command import CommandLine
from tests.support.crates import assert_evidence_is_whole

CLUSTER = ("default_backend=cluster", "backends.cluster.poll_interval_s=0.5")


WORKSPACES = Path(__file__).parents[1] / "workspaces"


def test_the_life_of_each_workspace_is_told_here() -> None:
    """One more workspace is one more life, and one more crate that is valid."""
    told = {battery.SLUG, catalyst.SLUG, thin_film.SLUG}
    assert told == {path.parent.name for path in WORKSPACES.glob("*/campaign.py")}


def _battery_lived(command_line: CommandLine, *settings: str) -> Life:
    life = begun(command_line, battery.SLUG, battery.install_quick(command_line.root, *settings))
    lived(life, lambda: life.succeeded("screen-LiF"))
    battery.check_quick(battery.quick_ranking(life.folder))
    return life


def test_materials_are_ranked_though_the_engine_dies(command_line: CommandLine) -> None:
    life = _battery_lived(command_line)
    assert_evidence_is_whole(command_line, life.run_id)


@pytest.mark.usefixtures("slurm_env")
def test_materials_are_ranked_on_slurm_though_the_engine_dies(command_line: CommandLine) -> None:
    _battery_lived(command_line, *CLUSTER)


def test_surfaces_are_refined_though_engines_die_while_people_think(command_line: CommandLine) -> None:
    catalyst.check_whole_life(catalyst.begun_quick(command_line))


@pytest.mark.usefixtures("slurm_env")
def test_surfaces_are_refined_on_slurm_though_engines_die(command_line: CommandLine) -> None:
    life = catalyst.begun_quick(command_line, *CLUSTER)
    catalyst.check_whole_life(life)
    backends = {task: entry["attempts"][-1]["backend"] for task, entry in life.tasks().items()}
    assert backends["refine-1-Pt"] == backends["trends"] == "cluster"


def test_films_are_grown_with_a_bad_instrument_and_a_dead_engine(
    command_line: CommandLine, tmp_path: Path
) -> None:
    thin_film.lived_with_an_instrument(command_line, tmp_path)


@pytest.mark.usefixtures("slurm_env")
def test_films_are_grown_on_slurm_with_a_bad_instrument_and_a_dead_engine(
    command_line: CommandLine, tmp_path: Path
) -> None:
    life = thin_film.lived_with_an_instrument(command_line, tmp_path, *CLUSTER)
    backends = {task: entry["attempts"][-1]["backend"] for task, entry in life.tasks().items()}
    assert backends["report"] == backends["model-01"] == "cluster"
