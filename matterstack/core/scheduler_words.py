"""What the kind of a backend says of its jobs and troubles, for explanations that hold for all kinds."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import ClassVar

import attrs

from matterstack.core.ids import JobId, UtcTime


class Outlook(Enum):
    """What has to happen before a job starts."""

    TIME = "time"
    """Nothing but time."""
    LIMIT = "limit"
    """Other jobs must end: a limit of the site is used up."""
    HELD = "held"
    """Somebody must release it."""
    NEVER = "never"
    """It, or the cluster, must be changed."""
    SUSPENDED = "suspended"
    """It had begun, and rests: somebody must let it go on."""


@attrs.frozen
class Reason:
    """Why a job does not work yet, in words.

    Attributes:
        action: a command for a person; ``{ids}`` stands in it for the jobs and ``{id}`` for one of them.
        give_up: the command that takes such jobs out of the queue, in the same form.
    """

    words: str
    outlook: Outlook = Outlook.TIME
    action: str = ""
    give_up: str = ""


@attrs.frozen
class JobSight:
    """What the scheduler says of a job at this moment."""

    expected_start: UtcTime | None = None
    nodes: str = ""


@attrs.frozen(kw_only=True)
class SchedulerWords:
    """Words of one backend; a kind that has none of its own gets along with these.

    Two of them that say the same are equal.

    Attributes:
        host: the machine that its commands run on, by ssh; empty when that is this one.
        is_here: its jobs run on the machine of their engine.
        exclude: path in a task of the nodes that its job is not to run on; empty where there is none.
    """

    is_here: ClassVar[bool] = False
    exclude: ClassVar[str] = ""
    host: str = ""

    @property
    def own_jobs(self) -> str:
        """The command that lists this user's jobs; empty where there is none."""
        return ""

    def reason(self, code: str, raw_state: str) -> Reason:
        """Why a job waits or rests, from what the scheduler said: its reason, and its word for the state."""
        said = code or raw_state
        return Reason(f"its scheduler says {said!r}" if said else "its scheduler has not said why")

    def job_list(self, ids: Sequence[JobId]) -> str:
        """Jobs as its commands take them: what stands for ``{ids}`` in an action."""
        return " ".join(ids)

    def pending_list(self, ids: Sequence[JobId]) -> str:
        """Those of them that wait, and no others, as the command takes them that ends jobs."""
        return self.job_list(ids)

    def is_host_out(self, problem: str) -> bool:
        """Whether it is the way to `host` that is out, and not the scheduler there."""
        return bool(self.host and problem)


PLAIN = SchedulerWords()
"""The words of a kind that is not known here."""
