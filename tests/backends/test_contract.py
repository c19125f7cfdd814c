"""What every backend promises, shown on each of those that come with MatterStack."""

from matterstack.backends.contract.suite import *  # noqa: F403  the tests themselves
