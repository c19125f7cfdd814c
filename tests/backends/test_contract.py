"""What every backend promises, shown on each of those that come with MatterStack."""

from matterstack.backends.contract import suite
from matterstack.backends.contract.suite import *  # noqa: F403  the tests themselves


def test_the_suite_hands_out_all_of_its_tests() -> None:
    assert {name for name in vars(suite) if name.startswith("test_")} <= set(suite.__all__)
