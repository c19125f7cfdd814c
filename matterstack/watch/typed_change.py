"""A line in which somebody types what is to change: tasks as the command line names them, and PATH=VALUE."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

from matterstack.core.errors import UsageError
from matterstack.core.model.amending import setting

MOST_LETTERS: Final = 4000
_ERASE_LINE: Final = "\x15"
_ERASE_WORD: Final = "\x17"
_FLAGS: Final = {"--failed": "failed", "--waiting": "waiting"}
_OPTIONS: Final = {"--kind": "kinds", "--exit-code": "exit_codes", "--reason": "reason"}
_SET: Final = "--set"
_RESUBMIT: Final = "--resubmit"


@attrs.frozen
class TypedChange:
    """A line that is being typed: it becomes a command of the event stream.

    Attributes:
        command: ``amend`` or ``retry``.
    """

    command: str
    run_id: str
    text: str = ""

    def typed(self, key: str) -> TypedChange:
        """The line after another key.

        >>> TypedChange("amend", "r", "relax-1 a").typed("backspace").typed("x").text
        'relax-1 x'
        """
        text = self.text
        if key == "backspace":
            text = text[:-1]
        elif key == _ERASE_LINE:
            text = ""
        elif key == _ERASE_WORD:
            words = text.rstrip()
            text = words[: words.rfind(" ") + 1]
        elif len(key) == 1 and key.isprintable():
            text = (text + key)[:MOST_LETTERS]
        return attrs.evolve(self, text=text)

    def fields(self) -> Mapping[str, Any]:
        """Fields of the command: ``tasks``, ``which`` and ``set``.

        >>> TypedChange("retry", "r", "'relax-*' --kind timeout resources.walltime_s=7200").fields()
        {'tasks': ['relax-*'], 'which': {'kinds': ['timeout']}, 'set': ['resources.walltime_s=7200']}

        Raises:
            UsageError: it cannot be understood.
        """
        try:
            words = iter(shlex.split(self.text))
        except ValueError as error:
            raise UsageError(f"it cannot be split into words: {error}") from None
        tasks: list[str] = []
        which: dict[str, Any] = {}
        changes: list[str] = []
        more: dict[str, Any] = {}
        for word in words:
            name, equals, value = word.partition("=")
            if word in _FLAGS:
                which[_FLAGS[word]] = True
            elif word == _RESUBMIT and self.command == "amend":
                more["resubmit"] = True
            elif name == _SET:
                changes.append(value if equals else _next(words, _SET))
            elif name in _OPTIONS:
                _add(which, name, value if equals else _next(words, name))
            elif word.startswith("-"):
                known = ", ".join((*_FLAGS, *_OPTIONS))
                raise UsageError(f"there is no {name} (there are: {known}, and PATH=VALUE)")
            elif equals:
                changes.append(word)
            else:
                tasks.append(word)
        for change in changes:
            setting(change)
        if self.command == "amend" and not changes and not more:
            raise UsageError("say what is to change, such as resources.walltime_s=7200")
        return {"tasks": tasks, "which": which, "set": changes, **more}


def _next(words: Iterator[str], option: str) -> str:
    try:
        return next(words)
    except StopIteration:
        raise UsageError(f"{option}: what?") from None


def _add(which: dict[str, Any], option: str, value: str) -> None:
    field = _OPTIONS[option]
    if field == "reason":
        which[field] = value
    elif field == "kinds":
        which.setdefault(field, []).append(value)
    elif value.isascii() and value.isdecimal() and len(value) <= 9:
        which.setdefault(field, []).append(int(value))
    else:
        raise UsageError(f"{option}: must be a whole number, not {value!r}")
