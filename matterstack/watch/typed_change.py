"""A line in which somebody types what is to change, in the words of the command line, and PATH=VALUE."""

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
_WHY: Final = "--why"
_CONFIG: Final = "--config"
_OF_CONFIG: Final = {
    "from-workspace": "from_workspace",
    "config-from-workspace": "from_workspace",
    "resubmit": "resubmit",
}
_OF_REPLAN: Final = {
    "redo-changed": "redo_changed",
    "cancel-gone": "cancel_gone",
    "yes-plan": "yes_plan",
}


@attrs.frozen
class TypedChange:
    """A line that is being typed: it becomes a command of the event stream.

    Attributes:
        command: ``amend``, ``retry``, ``amend_config`` or ``replan``.
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
        """Fields of the command: ``tasks``, ``which`` and ``set``, or what else it takes.

        >>> TypedChange("retry", "r", "'relax-*' --kind timeout resources.walltime_s=7200").fields()
        {'tasks': ['relax-*'], 'which': {'kinds': ['timeout']}, 'set': ['resources.walltime_s=7200']}
        >>> TypedChange("amend_config", "r", "priority=3 --resubmit").fields()
        {'set': ['priority=3'], 'resubmit': True}
        >>> TypedChange("replan", "r", "redo-changed --why 'a wrong file'").fields()
        {'redo_changed': True, 'reason': 'a wrong file'}

        Raises:
            UsageError: it cannot be understood.
        """
        try:
            words = iter(shlex.split(self.text))
        except ValueError as error:
            raise UsageError(f"it cannot be split into words: {error}") from None
        match self.command:
            case "amend_config":
                return _of_config(words)
            case "replan":
                return _of_replan(words)
            case _:
                return self._of_tasks(words)

    def _of_tasks(self, words: Iterator[str]) -> Mapping[str, Any]:
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
            elif name == _WHY:
                more["reason"] = value if equals else _next(words, _WHY)
            elif name in _OPTIONS:
                _add(which, name, value if equals else _next(words, name))
            elif word.startswith("-"):
                known = ", ".join((*_FLAGS, *_OPTIONS, _WHY))
                raise UsageError(f"there is no {name} (there are: {known}, and PATH=VALUE)")
            elif equals:
                changes.append(word)
            else:
                tasks.append(word)
        for change in changes:
            setting(change)
        if self.command == "amend" and not changes and "resubmit" not in more:
            raise UsageError("say what is to change, such as resources.walltime_s=7200")
        return {"tasks": tasks, "which": which, "set": changes, **more}


def _of_config(words: Iterator[str]) -> Mapping[str, Any]:
    changes: list[str] = []
    fields: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if word.removeprefix("--") in _OF_CONFIG:
            fields[_OF_CONFIG[word.removeprefix("--")]] = True
        elif name in {_CONFIG, _SET}:
            changes.append(value if equals else _next(words, name))
        elif name == _WHY:
            fields["reason"] = value if equals else _next(words, _WHY)
        elif equals and not word.startswith("-"):
            changes.append(word)
        else:
            raise UsageError(
                f"there is no {word} (there are: from-workspace, --resubmit, --why, and PATH=VALUE)"
            )
    if not changes and "from_workspace" not in fields:
        raise UsageError("say what is to change, such as priority=3, or from-workspace")
    if nothing := next((word for word in changes if not word.partition("=")[1]), None):
        raise UsageError(f"{nothing!r} is no PATH=VALUE", hint="such as: priority=3")
    return {"set": changes, **fields}


def _of_replan(words: Iterator[str]) -> Mapping[str, Any]:
    fields: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if word.removeprefix("--") in _OF_REPLAN:
            fields[_OF_REPLAN[word.removeprefix("--")]] = True
        elif name == _WHY:
            fields["reason"] = value if equals else _next(words, _WHY)
        else:
            known = ", ".join((*_OF_REPLAN, _WHY))
            raise UsageError(f"there is no {word} (there are: {known}; or nothing at all)")
    return fields


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
