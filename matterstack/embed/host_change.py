"""What a host is told of a change of a run, before it is made or after."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import attrs

from matterstack.core.errors import UsageError
from matterstack.core.run.selection import Selection


@attrs.frozen(eq=False)
class Change:
    """A change of a run: with ``preview`` one that could be made, else one that was made.

    Attributes:
        result: what changes, as the command line prints it with ``--json`` (under ``amended``); of
            `cancel_tasks` the ``tasks`` that end.
    """

    result: Mapping[str, Any]
    _apply: Callable[[], Awaitable[None]] | None

    async def apply(self) -> None:
        """Make the change that ``result`` shows, and no other.

        Raises:
            ChangedError: somebody has changed meanwhile what it would replace: look at it once more.
            RefusedError: not in the state that the run is in by now.
            UsageError: it was made at once, without ``preview``.
        """
        if self._apply is None:
            raise UsageError("this change was made already", hint="with preview=True it is shown first")
        await self._apply()


def selection_of(
    tasks: object, *, failed: object, waiting: object, kinds: object, exit_codes: object, failed_for: object
) -> Selection:
    """Tasks as a host names them.

    Raises:
        UsageError: what was given is not of the kind that it must be; names the argument.
    """
    require_flags(failed=failed, waiting=waiting)
    if not isinstance(failed_for, str):
        raise UsageError(f"failed_for: must be text, not {failed_for!r}"[:500])
    codes = _listed("exit_codes", exit_codes, "exit codes")
    if not all(isinstance(code, int) and not isinstance(code, bool) for code in codes):
        raise UsageError(f"exit_codes: must be whole numbers, not {list(codes)!r}"[:500])
    return Selection(
        names=texts("tasks", tasks, "task ids"),
        failed=bool(failed),
        waiting=bool(waiting),
        kinds=texts("kinds", kinds, "kinds of failure"),
        exit_codes=codes,
        reason=failed_for,
    )


def require_flags(**given: object) -> None:
    """Check what a host gives as flags.

    Raises:
        UsageError: one is none; names the argument.
    """
    for name, flag in given.items():
        if not isinstance(flag, bool):
            raise UsageError(f"{name}: must be True or False, not {flag!r}"[:500])


def texts(name: str, given: object, what: str) -> tuple[str, ...]:
    """A list of texts, as a host gives it.

    Raises:
        UsageError: it is none.
    """
    listed = _listed(name, given, what)
    if not all(isinstance(text, str) for text in listed):
        raise UsageError(f"{name}: must be {what}, not {list(listed)!r}"[:500])
    return listed


def _listed(name: str, given: object, what: str) -> tuple[Any, ...]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        hint = f"give [{given!r}]"[:500] if isinstance(given, str) else ""
        raise UsageError(f"{name}: must be a list of {what}, not {given!r}"[:500], hint=hint)
    return tuple(given)
