"""Watch on the whole terminal: keys and events come in, pictures go out, commands are carried out."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import attrs
import trio

from matterstack.client import Link, Site, open_link
from matterstack.core.errors import MatterStackError
from matterstack.core.ids import utc_text
from matterstack.watch.drawing import draw, page_rows
from matterstack.watch.keys import decode_keys
from matterstack.watch.known import Known, Stream
from matterstack.watch.parts import Scene
from matterstack.watch.reading import Documents, known_at_first
from matterstack.watch.shown_change import ShownChange
from matterstack.watch.terminal import Terminal
from matterstack.watch.typed_change import TypedChange
from matterstack.watch.view import (
    Agree,
    Look,
    Quit,
    SentCommand,
    View,
    press,
    run_of,
    told_error,
)

FRAME_S: Final = 0.25
"""Between two pictures of what happens; what a key does is drawn at once."""
TICK_S: Final = 1.0
"""How often times that go on are drawn anew."""
ESCAPE_S: Final = 0.05
"""How long the rest of a key that begins with an escape may take."""
_DONE: Final = {"pause": "was paused", "resume": "was resumed", "cancel": "is being cancelled"}
_MADE: Final = {
    "amend": "amended as shown",
    "retry": "tried again as shown",
    "amend_config": "its config was changed as shown",
    "replan": "it goes by the plan that was shown",
    "cancel_tasks": "the tasks that were shown are cancelled, their jobs first",
}
_NOT_DONE: Final = {"pause": "paused", "resume": "resumed", "cancel": "cancelled"}


async def watch_on_screen(site: Site, run_id: str | None, open_terminal: Callable[[], Terminal]) -> None:
    """Watch until the user quits, or a signal ends it.

    Args:
        run_id: the run to begin with; None: all of them.
        open_terminal: called when the monitor has answered: an error before that is told where it was asked.

    Raises:
        MonitorError: the monitor does not answer at first, or does not let this client in (any more).
        NotFoundError: there is no such run.
        OSError: the terminal is gone.
    """
    known = await known_at_first(site, run_id)
    async with open_link(site, after=known.seq, with_rows=True) as link:
        with open_terminal() as terminal:
            await _Watching(link, terminal, known, View() if run_id is None else run_of(run_id)).watch()


@attrs.define(eq=False)
class _Watching:
    _link: Link
    _terminal: Terminal
    _known: Known
    _view: View
    _news: trio.Event = attrs.field(factory=trio.Event)
    _key: trio.Event = attrs.field(factory=trio.Event)
    _documents: Documents = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._known.stream = Stream(lost_at=utc_text(datetime.now(UTC)))
        self._documents = Documents(self._link.site, self._known, lambda: self._view, self._news_came)

    async def watch(self) -> None:
        """Show and steer until the user quits."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._obey_signals, nursery.cancel_scope)
            nursery.start_soon(self._take_keys, nursery)
            nursery.start_soon(self._take_changes)
            nursery.start_soon(self._note_connection)
            nursery.start_soon(self._documents.read)
            nursery.start_soon(self._draw)

    # ---- what comes in ----

    def _news_came(self) -> None:
        self._news.set()

    async def _take_changes(self) -> None:
        last: int | None = None
        while True:
            change = await self._link.next_event(last)
            last = change["seq"]
            self._known.take(change)
            self._documents.ask_again()
            self._news_came()

    async def _note_connection(self) -> None:
        connection = self._link.connection
        while True:
            before = self._known.stream
            if connection.is_live:
                self._known.stream = Stream()
            else:
                lost_at = before.lost_at or utc_text(datetime.now(UTC))
                self._known.stream = Stream(lost_at=lost_at, problem=connection.problem)
            self._news_came()
            connection = await self._link.other_connection(connection)

    async def _take_keys(self, nursery: trio.Nursery) -> None:
        rest = b""
        while True:
            data = b""
            with trio.move_on_after(ESCAPE_S if rest else math.inf) as waiting:
                data = await self._terminal.read()
                if not data:
                    nursery.cancel_scope.cancel()
                    return
            keys, rest = decode_keys(rest + data, is_all=waiting.cancelled_caught)
            for key in keys:
                self._press(key, nursery)

    def _press(self, key: str, nursery: trio.Nursery) -> None:
        _, height = self._terminal.size
        self._view, action = press(self._view, self._known, key, page_rows(height))
        if isinstance(action, Quit):
            nursery.cancel_scope.cancel()
        elif isinstance(action, SentCommand):
            nursery.start_soon(self._carry_out, action)
        elif isinstance(action, Look):
            nursery.start_soon(self._look, action)
        elif isinstance(action, Agree):
            nursery.start_soon(self._agree, action.change)
        self._documents.ask_again()
        self._draw_now()

    async def _carry_out(self, command: SentCommand) -> None:
        name = self._name(command.run_id)
        self._say(f"asking {name} to {command.command}…")
        try:
            await self._link.send_command(command.command, command.run_id, {})
        except MatterStackError as error:
            self._say(f"{name} was not {_NOT_DONE[command.command]}: {told_error(error)}")
        else:
            self._say(f"{name} {_DONE[command.command]}")

    async def _look(self, look: Look) -> None:
        """Ask what would change; then it is for the person to say whether it may."""
        name = self._name(look.run_id)
        campaign = " (its campaign is asked once more, for as long as it plans)"
        self._say(f"asking what would change of {name}{campaign if look.command == 'replan' else ''}…")
        try:
            reply = await self._link.send_command(look.command, look.run_id, {**look.fields, "preview": True})
        except MatterStackError as error:
            self._say(f"nothing was changed: {told_error(error)}", look.line)
            return
        shown = ShownChange.of(look.command, look.run_id, reply, name)
        if shown is None:
            notes = "; ".join(reply["result"].get("notes", ()))
            self._say(f"nothing of {name} would change" + (f" ({notes})" if notes else ""))
        elif self._view.asked or self._view.shown or self._view.line:
            self._say(f"nothing was changed of {name}: something else was begun meanwhile")
        else:
            self._view = attrs.evolve(self._view, shown=shown, above=0, notice="")
            self._draw_now()

    async def _agree(self, change: ShownChange) -> None:
        name = self._name(change.run_id)
        try:
            await self._link.send_command("apply", change.run_id, {"basis": change.basis})
        except MatterStackError as error:
            self._say(f"nothing was changed of {name}: {told_error(error)}")
        else:
            self._say(f"{name}: {_MADE[change.command]}")

    def _name(self, run_id: str) -> str:
        run = self._known.runs.get(run_id)
        return run_id if run is None else f"{run['workspace']} {run_id}"

    def _say(self, notice: str, line: TypedChange | None = None) -> None:
        """Say something; ``line`` is typed on, unless something else was begun."""
        view = self._view
        is_free = not (view.asked or view.shown or view.line)
        self._view = attrs.evolve(view, notice=notice, line=line if is_free else view.line)
        self._draw_now()

    async def _obey_signals(self, scope: trio.CancelScope) -> None:
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGWINCH, signal.SIGTSTP)
        with trio.open_signal_receiver(*numbers) as signals:
            async for number in signals:
                if number == signal.SIGTSTP:
                    self._terminal.suspend()
                elif number != signal.SIGWINCH:
                    scope.cancel()
                self._draw_now()

    # ---- what goes out ----

    def _draw_now(self) -> None:
        self._key.set()
        self._news.set()

    async def _draw(self) -> None:
        while True:
            self._news, self._key = trio.Event(), trio.Event()
            size = self._terminal.size
            scene = Scene(
                known=self._known, view=self._view, width=size[0], height=size[1], now=datetime.now(UTC)
            )
            picture = draw(scene)
            # Nobody has to scroll back what there was nothing of.
            self._view = attrs.evolve(
                self._view,
                scroll=min(self._view.scroll, picture.most_scroll),
                above=min(self._view.above, picture.most_above),
            )
            drawn = trio.current_time()
            await self._terminal.show(picture.rows, size)
            with trio.move_on_after(TICK_S if self._goes_on() else math.inf):
                await self._news.wait()
            with trio.move_on_at(drawn + FRAME_S):
                await self._key.wait()

    def _goes_on(self) -> bool:
        """Whether times are shown that grow by themselves."""
        opened = self._known.open
        return opened is not None and opened.tasks is not None and bool(opened.tasks.live)
