"""A kind of backend: all that is known of it without having one at work.

A kind is found by the word that stands as ``type`` in ``config.json``: see `matterstack.backends.registry`
for how, and ``docs/new-backend.md`` for how to write one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from matterstack.core.ids import BackendName, JobId
from matterstack.core.model.resources import Resources
from matterstack.core.scheduler_words import PLAIN, JobSight, SchedulerWords
from matterstack.storage.layout import Root

if TYPE_CHECKING:
    from matterstack.backends.base import Backend
    from matterstack.backends.examination import Check, Examined
    from matterstack.core.documents.config import BackendConfig


@attrs.frozen(kw_only=True)
class Whereabouts:
    """Where the jobs of a backend find a folder.  ``host``: a machine behind ssh; empty: this one."""

    path: Path
    host: str = ""

    def __str__(self) -> str:
        return f"{self.path} on {self.host}" if self.host else str(self.path)


class BackendKind(ABC):
    """What MatterStack asks of a kind of backend.

    Only `config_model` and `make` must be written.  Configs come as JSON objects, as the runs that are asked
    about have frozen them: they were right when the run was made.  A kind imports what it needs when it is
    asked for it, so that those who need none of it start without.
    """

    has_limits_to_ask_for: bool = False
    """Whether a new run is worth a look at the limits of others, before it is made."""
    gives_secrets: bool = False
    """Whether its backends hand jobs the secrets of their attempts: `matterstack.backends.secrets_file`."""

    tied_keys: Sequence[str] = ()
    """Dotted keys by which live jobs are found again: while a run has some there, they stay as they are."""

    @abstractmethod
    def config_model(self) -> type[BackendConfig]:
        """What a backend of this kind is checked with, in ``config.json``."""

    @abstractmethod
    def make(self, name: BackendName, config: Mapping[str, Any], root: Root, lock_file: Path) -> Backend:
        """Make a backend; no job and no scheduler is touched by that.

        Args:
            lock_file: for `matterstack.backends.submit_lock.SubmitLock`; of this root and this name alone.

        Raises:
            MatterStackError: it cannot be made.
        """

    def option_problems(self, wanted: Resources) -> Iterable[str]:  # noqa: ARG002
        """What is wrong with the further options (``extra``) of a job, in words."""
        return ()

    def words(self, config: Mapping[str, Any]) -> SchedulerWords:  # noqa: ARG002
        """What to say of its jobs and troubles."""
        return PLAIN

    def whereabouts(self, config: Mapping[str, Any], root: Root, folder: Path) -> Whereabouts:  # noqa: ARG002
        """Where its jobs find a folder of the root."""
        return Whereabouts(path=folder)

    async def sights(self, configs: Sequence[Mapping[str, Any]]) -> Mapping[JobId, JobSight]:  # noqa: ARG002
        """What its schedulers say of jobs at this moment; empty where there is no answer within 2 s.

        Args:
            configs: of the backends that have live jobs.
        """
        return {}

    def checks(self, examined: Examined) -> Sequence[Check]:  # noqa: ARG002
        """How ``matterstack doctor`` finds out what works of these backends, and what to do."""
        return ()
