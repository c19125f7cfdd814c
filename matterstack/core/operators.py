"""Operators that are no jobs: they ask a person, a laboratory or an instrument, and wait for an answer."""

from __future__ import annotations

from typing import Final

from matterstack.core.ids import BackendName

COMPUTE: Final = "compute"
JOB_BY_HAND: Final = "manual_hpc"
ASKING: Final = frozenset({"human", "experiment", JOB_BY_HAND, "gate"})
OPERATORS: Final = frozenset({COMPUTE, *ASKING})

ASKED: Final = BackendName("operators")
"""Where attempts of operators that ask are kept, as those of jobs are on a backend.  No cap counts them."""
NO_CAP: Final = 1_000_000
REJECTED: Final = "REJECTED"
"""Raw state of a question whose last answer was set aside."""
SENT_BACK: Final = "SENT_BACK"
"""Raw state of a gate that wants what it depends on done again."""
