"""Carry out what clients ask for, each by the use case that the command line calls, too."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import attrs

from matterstack.core.ids import TaskId, utc_text
from matterstack.monitor.commands import SentLabel, SentRespond, SentSteering
from matterstack.monitor.sent_changes import SentApply, SentChange
from matterstack.monitor.sent_fields import SentCommand
from matterstack.monitor.shown_proposals import ShownProposals
from matterstack.storage.layout import Root
from matterstack.storage.read.reader import Reader
from matterstack.usecases.commands import send_command
from matterstack.usecases.labels import label_run, labelling_document
from matterstack.usecases.proposals import carry_out
from matterstack.usecases.questions import answer_question
from matterstack.usecases.runs import user_name

Told = Mapping[str, Any]
"""What stands in the reply, beside that it was done."""


@attrs.define(eq=False)
class Steering:
    """Steers the runs of one root, for all clients of a monitor."""

    root: Root
    _reader: Reader
    _shown: ShownProposals = attrs.field(factory=ShownProposals)

    async def carry_out(self, command: SentCommand) -> Told:
        """Do it, or say what it would do.

        Raises:
            MatterStackError: it is refused; nothing was changed.
        """
        match command:
            case SentChange():
                return await self._change(command)
            case SentApply():
                proposal = self._shown.find(command.run_id, command.basis)
                await carry_out(self.root, proposal, as_shown=True)
                return {"result": proposal.shown}
            case SentRespond():
                put = partial(answer_question, attempt=command.attempt)
                asked = (self.root, command.run_id, TaskId(command.task), command.answer)
                await self._reader.read(put, *asked)
                return {}
            case SentLabel():
                now = utc_text(datetime.now(UTC))
                said = await self._reader.read(label_run, command.run_id, command.change(), user_name(), now)
                return {"result": labelling_document(command.run_id, said)}
            case SentSteering():
                await send_command(self.root, command.run_id, command.as_command(user_name()))
                return {}
        raise TypeError(type(command).__name__)

    async def _change(self, command: SentChange) -> Told:
        proposal = await command.propose(self._reader)
        if command.preview:
            return {"basis": self._shown.keep(proposal), "result": proposal.shown}
        await carry_out(self.root, proposal, as_shown=False)
        return {"result": proposal.shown}
