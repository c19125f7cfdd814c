"""Jobs as processes on this machine: what is known of that without any job."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import attrs

from matterstack.backends.kinds import BackendKind
from matterstack.core.ids import BackendName
from matterstack.core.model.resources import Resources
from matterstack.core.scheduler_words import SchedulerWords
from matterstack.storage.layout import Root
from matterstack.storage.modes import job_umask

if TYPE_CHECKING:
    from matterstack.backends.base import Backend
    from matterstack.core.documents.config import BackendConfig


@attrs.frozen(kw_only=True)
class LocalWords(SchedulerWords):
    """There is no scheduler, and the engine knows where jobs run."""

    is_here: ClassVar[bool] = True


class LocalKind(BackendKind):
    """The kind of backends whose ``type`` is ``local``."""

    gives_secrets = True

    def config_model(self) -> type[BackendConfig]:
        """The model of its part of ``config.json``; see `BackendKind.config_model`."""
        from matterstack.backends.local_config import LocalBackendConfig

        return LocalBackendConfig

    def make(self, name: BackendName, config: Mapping[str, Any], root: Root, lock_file: Path) -> Backend:
        """Make a backend of processes on this machine; see `BackendKind.make`."""
        from matterstack.backends.local import LocalBackend
        from matterstack.backends.local_config import LocalBackendConfig

        parsed = LocalBackendConfig.model_validate(dict(config))
        return LocalBackend(name, parsed, lock_file, job_umask=job_umask(root.private))

    def option_problems(self, wanted: Resources) -> Iterable[str]:
        """Nothing is done with them here, but a campaign that is tried here is to run on a cluster too."""
        from matterstack.backends.slurm.option_rules import extra_problems

        return extra_problems(wanted.extra, has_memory=wanted.memory_mib is not None)

    def words(self, config: Mapping[str, Any]) -> SchedulerWords:  # noqa: ARG002
        """Words for processes on this machine; see `BackendKind.words`."""
        return LocalWords()


LOCAL: Final = LocalKind()
