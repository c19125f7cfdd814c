"""Messages from a backend to runs, which are never waited for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs
import trio

from matterstack.actors import protocol as p
from matterstack.actors.mailbox import Mailbox
from matterstack.core.errors import ActorEndedError, MailboxFullError
from matterstack.core.ids import RunId

RETRY_S: Final = 0.1


@attrs.define
class Outbox:
    """What does not fit into the mailbox of a run is kept, and offered again before anything newer."""

    _mailboxes: Mapping[RunId, Mailbox[p.RunMessage]]
    _kept: dict[RunId, list[p.RunMessage]] = attrs.field(factory=dict)
    _some: trio.Event = attrs.field(factory=trio.Event)

    def tell(self, run: RunId, message: p.RunMessage) -> None:
        """Deliver it, now or later; to a run that is not served here, never."""
        if run in self._kept or not self._offer(run, message):
            self._kept.setdefault(run, []).append(message)
            self._some.set()

    def forget(self, run: RunId) -> None:
        """Nobody waits for it any more."""
        self._kept.pop(run, None)

    async def serve(self) -> None:
        """Offer what was kept, until cancelled."""
        while True:
            await self._some.wait()
            self._some = trio.Event()
            while self._kept:
                await trio.sleep(RETRY_S)
                for run, messages in list(self._kept.items()):
                    while messages and self._offer(run, messages[0]):
                        messages.pop(0)
                    if not messages:
                        del self._kept[run]

    def _offer(self, run: RunId, message: p.RunMessage) -> bool:
        mailbox = self._mailboxes.get(run)
        if mailbox is None:
            return True
        try:
            mailbox.tell(message)
        except MailboxFullError:
            return False
        except ActorEndedError:
            return True  # the run's next actor asks for everything anew
        return True
