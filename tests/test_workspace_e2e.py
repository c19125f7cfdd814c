"""The whole life of each campaign that comes with MatterStack: its engine dies in the middle of it.

What follows from any campaign is checked in `tests.support.campaign_e2e.lived`.
"""

from pathlib import Path

import pytest

from tests import battery_workspace as battery
from tests.catalyst_workspace import begun_quick, check_whole_life
from tests.support.campaign_e2e import begun, lived
from tests.support.command import CommandLine
from tests.thin_film_workspace import lived_with_an_instrument

CLUSTER = ("default_backend=cluster", "backends.cluster.poll_interval_s=0.5")


def _battery_lived(command_line: CommandLine, *settings: str) -> None:
    life = begun(command_line, battery.SLUG, battery.install_quick(command_line.root, *settings))
    lived(life, lambda: life.succeeded("screen-LiF"))
    battery.check_quick(battery.quick_ranking(life.folder))


def test_materials_are_ranked_though_the_engine_dies(command_line: CommandLine) -> None:
    _battery_lived(command_line)


@pytest.mark.usefixtures("slurm_env")
def test_materials_are_ranked_on_slurm_though_the_engine_dies(command_line: CommandLine) -> None:
    _battery_lived(command_line, *CLUSTER)


def test_surfaces_are_refined_though_engines_die_while_people_think(command_line: CommandLine) -> None:
    check_whole_life(begun_quick(command_line))


@pytest.mark.usefixtures("slurm_env")
def test_surfaces_are_refined_on_slurm_though_engines_die(command_line: CommandLine) -> None:
    life = begun_quick(command_line, *CLUSTER)
    check_whole_life(life)
    backends = {task: entry["attempts"][-1]["backend"] for task, entry in life.tasks().items()}
    assert backends["refine-1-Pt"] == backends["trends"] == "cluster"


def test_films_are_grown_with_a_bad_instrument_and_a_dead_engine(
    command_line: CommandLine, tmp_path: Path
) -> None:
    lived_with_an_instrument(command_line, tmp_path)


@pytest.mark.usefixtures("slurm_env")
def test_films_are_grown_on_slurm_with_a_bad_instrument_and_a_dead_engine(
    command_line: CommandLine, tmp_path: Path
) -> None:
    life = lived_with_an_instrument(command_line, tmp_path, *CLUSTER)
    backends = {task: entry["attempts"][-1]["backend"] for task, entry in life.tasks().items()}
    assert backends["report"] == backends["model-01"] == "cluster"
