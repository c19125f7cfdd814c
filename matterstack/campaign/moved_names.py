"""Names that pickled campaigns hold, and where they have gone since: a migration, like those of the database.

A pickle names each class, function and module of the package by where it was when the pickle was made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_RUN: Final = "matterstack.core.run"
_MODEL: Final = "matterstack.core.model"
_DOCUMENTS: Final = "matterstack.core.documents"
_SLURM: Final = "matterstack.backends.slurm"

MOVES: Final[tuple[Mapping[str, str], ...]] = (
    {  # since 0.2.0: the core was divided into three, and readers of the store and each scheduler have a room
        "matterstack.backends.factory": "matterstack.backends.registry",
        "matterstack.cli.expected_starts": f"{_SLURM}.expected_starts",
        "matterstack.core.apply": f"{_RUN}.apply",
        "matterstack.core.asked_again": f"{_RUN}.asked_again",
        "matterstack.core.config": f"{_DOCUMENTS}.config",
        "matterstack.core.config.LocalBackendConfig": "matterstack.backends.local_config.LocalBackendConfig",
        "matterstack.core.config.SlurmBackendConfig": f"{_SLURM}.config.SlurmBackendConfig",
        "matterstack.core.config.SshConfig": f"{_SLURM}.config.SshConfig",
        "matterstack.core.decide": f"{_RUN}.decide",
        "matterstack.core.decide_control": f"{_RUN}.decide_control",
        "matterstack.core.decide_jobs": f"{_RUN}.decide_jobs",
        "matterstack.core.decide_planning": f"{_RUN}.decide_planning",
        "matterstack.core.documents": f"{_DOCUMENTS}.operator_documents",
        "matterstack.core.facts": f"{_RUN}.facts",
        "matterstack.core.fields": f"{_DOCUMENTS}.fields",
        "matterstack.core.history": f"{_RUN}.history_rules",
        "matterstack.core.manifests": f"{_DOCUMENTS}.manifests",
        "matterstack.core.messages": f"{_RUN}.messages",
        "matterstack.core.model": f"{_MODEL}.workflow",
        "matterstack.core.model_problems": f"{_DOCUMENTS}.model_problems",
        "matterstack.core.partitions": f"{_SLURM}.partition_limits",
        "matterstack.core.patterns": f"{_MODEL}.patterns",
        "matterstack.core.resources": f"{_MODEL}.resources",
        "matterstack.core.responses": f"{_DOCUMENTS}.responses",
        "matterstack.core.retry_rules": f"{_RUN}.retry_rules",
        "matterstack.core.run_document": f"{_DOCUMENTS}.run_document",
        "matterstack.core.run_state": f"{_RUN}.state",
        "matterstack.core.scheduler_options": f"{_SLURM}.option_rules",
        "matterstack.core.schemas": f"{_DOCUMENTS}.schemas",
        "matterstack.core.seats": f"{_RUN}.seats",
        "matterstack.core.strict_json": f"{_DOCUMENTS}.strict_json",
        "matterstack.core.validation": f"{_MODEL}.validation",
        "matterstack.core.workflow_check": f"{_MODEL}.workflow_check",
        "matterstack.doctor.findings": "matterstack.backends.examination",
        "matterstack.doctor.shared_folder": f"{_SLURM}.checks.trial_job",
        "matterstack.doctor.slurm": f"{_SLURM}.checks.cluster_checks",
        "matterstack.doctor.ssh": f"{_SLURM}.checks.login_node",
        "matterstack.explain.situation.JobSight": "matterstack.core.scheduler_words.JobSight",
        "matterstack.explain.slurm_reasons": f"{_SLURM}.reasons",
        "matterstack.storage.queries": "matterstack.storage.read.runs",
    },
)
"""One table for each release that moved names: what moved (``module`` or ``module.name``), and where it went.

A released table is never changed: what moves again goes into the next one.  A pickle says how many tables
there were when it was made, since an old name may come to mean something else: ``matterstack.core.model``
was a module, and is a package.
"""


def where_it_is(module: str, name: str, tables: int) -> tuple[str, str]:
    """Where a name is now that a pickle has from when there were so many tables.

    >>> where_it_is("matterstack.core.model", "Task", 0)
    ('matterstack.core.model.workflow', 'Task')
    >>> where_it_is("physics", "Task", 0)
    ('physics', 'Task')
    """
    for table in MOVES[tables:]:
        first, dot, inner = name.partition(".")  # of a class in a class
        moved = table.get(f"{module}.{first}")
        if moved is None:
            module = table.get(module, module)
        else:
            module, _, first = moved.rpartition(".")
            name = f"{first}{dot}{inner}"
    return module, name


def where_module_is(module: str, tables: int) -> str:
    """Where a module is now; see `where_it_is`."""
    for table in MOVES[tables:]:
        module = table.get(module, module)
    return module
