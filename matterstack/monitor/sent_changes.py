"""Commands that can be looked at before anything is changed: what they would change is their preview."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from matterstack.core.run.messages import ReplanChoices
from matterstack.monitor.sent_fields import Reason, SentCommand, Set, Tasks, Which
from matterstack.storage.read.reader import Reader
from matterstack.usecases.given_changes import (
    given_changes,
    given_settings,
    typed_changes,
    typed_settings,
)
from matterstack.usecases.proposals import (
    Proposal,
    propose_amendment,
    propose_cancelling,
    propose_config,
    propose_replan,
    propose_retry,
)

_SET = "set"


class SentChange(SentCommand):
    """A command that says what it would change.

    Attributes:
        preview: say it, and change nothing.
    """

    reason: Reason = ""
    preview: bool = False

    @abstractmethod
    async def propose(self, reader: Reader) -> Proposal:
        """Work out what it would change; see `matterstack.usecases.proposals` for what it raises."""


class SentAmend(SentChange):
    """Give other definitions to tasks that have not succeeded.

    Attributes:
        resubmit: cancel jobs that still wait, and submit them anew; alone: as they are now.
    """

    command: Literal["amend"]
    tasks: Tasks = Field(default=(), strict=False)
    which: Which = Which()
    set: Set = Field(default_factory=dict)
    resubmit: bool = False

    async def propose(self, reader: Reader) -> Proposal:
        """Values by path, or words as on the command line."""
        selection, changes = self.which.with_names(self.tasks), _changes(self.set)
        return await propose_amendment(
            reader, self.run_id, selection, changes, self.reason, resubmit=self.resubmit
        )


class SentRetry(SentChange):
    """Give failed tasks new attempts, and other definitions before."""

    command: Literal["retry"]
    tasks: Tasks = Field(default=(), strict=False)
    which: Which = Which()
    set: Set = Field(default_factory=dict)

    async def propose(self, reader: Reader) -> Proposal:
        """Without tasks, those that keep the run from completing."""
        selection = self.which.with_names(self.tasks)
        return await propose_retry(reader, self.run_id, selection, _changes(self.set), self.reason)


class SentAmendConfig(SentChange):
    """Go on with another config.  ``resubmit``: as of `SentAmend`, where a backend is another one then."""

    command: Literal["amend_config"]
    set: Set = Field(default_factory=dict)
    from_workspace: bool = False
    resubmit: bool = False

    async def propose(self, reader: Reader) -> Proposal:
        """Settings by dotted key, or words as on the command line."""
        given = self.set
        settings = given_settings(given, _SET) if isinstance(given, dict) else typed_settings(given, _SET)
        return await propose_config(
            reader,
            self.run_id,
            settings,
            from_workspace=self.from_workspace,
            reason=self.reason,
            resubmit=self.resubmit,
        )


class SentCancelTasks(SentChange):
    """End tasks, and those that depend on them; the run goes on."""

    command: Literal["cancel_tasks"]
    tasks: Tasks = Field(min_length=1, strict=False)

    async def propose(self, reader: Reader) -> Proposal:
        """Those that would end now."""
        return await propose_cancelling(reader, self.run_id, self.tasks, self.reason)


class SentReplan(SentChange):
    """Ask the campaign once more for the iteration in hand, and take what it plans now.

    Attributes:
        redo_changed: do what succeeded with another definition again.
        cancel_gone: end the jobs of tasks that are no longer planned.
        yes_plan: where a task was amended and the plan changed the same, the plan's holds.
    """

    command: Literal["replan"]
    redo_changed: bool = False
    cancel_gone: bool = False
    yes_plan: bool = False

    async def propose(self, reader: Reader) -> Proposal:
        """This may take as long as the campaign takes to plan."""
        choices = ReplanChoices(
            redo_changed=self.redo_changed, cancel_gone=self.cancel_gone, yes_plan=self.yes_plan
        )
        return await propose_replan(reader.root, self.run_id, choices, self.reason)


class SentApply(SentCommand):
    """Do what was shown.  ``basis``: of the reply that showed it."""

    command: Literal["apply"]
    basis: Annotated[str, StringConstraints(max_length=100)]


def _changes(given: Set) -> dict[str, object]:
    return given_changes(given, _SET) if isinstance(given, dict) else typed_changes(given, _SET)
