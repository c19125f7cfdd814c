"""What is known of the backend without any job."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import attrs

from matterstack.backends.base import Backend
from matterstack.backends.kinds import BackendKind
from matterstack.core.documents.config import BackendConfig
from matterstack.core.ids import BackendName
from matterstack.core.scheduler_words import Reason, SchedulerWords
from matterstack.storage.layout import Root
from matterstack_toy.backend import ToyBackend


class ToyConfig(BackendConfig):
    """Its keys in ``config.json``, beside those that every backend has."""

    type: Literal["toy"]
    spool: str = "~/.matterstack-toy"


@attrs.frozen(kw_only=True)
class ToyWords(SchedulerWords):
    """What ``run explain`` says of its jobs."""

    spool: str

    def reason(self, code: str, raw_state: str) -> Reason:
        """There is one reason only."""
        if code == "cpus":
            return Reason("the CPUs are in use by other jobs", action=f"ls {self.spool}/running")
        return super().reason(code, raw_state)


class ToyKind(BackendKind):
    """The type ``toy``."""

    def config_model(self) -> type[BackendConfig]:
        """What its part of a config is checked with."""
        return ToyConfig

    def make(self, name: BackendName, config: Mapping[str, Any], root: Root, lock_file: Path) -> Backend:
        """Nothing is touched before there is a job."""
        return ToyBackend(name, Path(config["spool"]).expanduser(), config["poll_interval_s"])

    def words(self, config: Mapping[str, Any]) -> SchedulerWords:
        """As the config has it."""
        return ToyWords(spool=config["spool"])


TOY = ToyKind()
