"""Secrets: which names may be one, and where a text or a file holds the value of one.

Values are looked for as they are, and as programs write them: as JSON, in a URL, in base64; of a value of
several lines (a private key) each long line as well.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, Final
from urllib.parse import quote, quote_plus

import attrs

SHORTEST_VALUE: Final = 4
"""Bytes; what is shorter stands in every text, and nothing could be kept free of it."""
LONGEST_VALUE: Final = 64 << 10
"""Bytes; a variable of the environment has twice as many at the most (execve(2))."""
_LONG_LINE: Final = 16
_CUT: Final = 8
"""So many characters of a value at the end of a text that was cut off are hidden as well."""

NAME_PATTERN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_NOT_FOR_SECRETS: Final = frozenset(
    {"PATH", "HOME", "SHELL", "USER", "LOGNAME", "IFS", "PWD", "TMPDIR", "LANG"}
)
_PREFIXES: Final = ("MATTERSTACK_", "SLURM_", "SBATCH_", "LD_", "BASH_", "LC_")

_TELLING: Final = frozenset(
    {"token", "password", "passwd", "passphrase", "secret", "key", "apikey", "credential", "credentials"}
)
_WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


def name_problem(name: str) -> str:
    """Why no secret can have this name; empty when one can.

    >>> name_problem("API_TOKEN"), name_problem("PATH")
    ('', 'PATH is needed by every job as it is')
    """
    if not NAME_PATTERN.fullmatch(name):
        return f"{name!r} is no name of an environment variable"
    if name in _NOT_FOR_SECRETS or name.startswith(_PREFIXES):
        return f"{name} is needed by every job as it is"
    return ""


def looks_secret(name: str) -> bool:
    """Whether a name says that its value is nobody else's business.

    >>> [looks_secret(name) for name in ("MP_API_KEY", "accessToken", "n_tokens", "KEYBOARD", "PASSWORD2")]
    [True, True, False, False, True]
    """
    return not _TELLING.isdisjoint(word.lower() for word in _WORDS.findall(name))


def value_problem(value: bytes) -> str:
    """Why this is no value that can be kept secret; empty when it is one."""
    if not value:
        return "is empty"
    if b"\0" in value:
        return "holds a NUL byte, which no environment variable can"
    if len(value) < SHORTEST_VALUE:
        return f"has fewer than {SHORTEST_VALUE} bytes, and would be found in every text"
    if len(value) > LONGEST_VALUE:
        return f"has more than {LONGEST_VALUE >> 10} KiB"
    return ""


@attrs.frozen(kw_only=True)
class Search:
    """Looks for the values of secrets.

    Attributes:
        values: by name, all values that each is known to have or to have had.
    """

    values: Mapping[str, frozenset[bytes]] = attrs.field(factory=dict, repr=False)

    def __bool__(self) -> bool:
        return bool(self.values)

    @cached_property
    def _names(self) -> dict[bytes, str]:
        found: dict[bytes, str] = {}
        for name in sorted(self.values):
            for value in sorted(self.values[name]):
                for form in _forms(value):
                    found.setdefault(form, name)
        return found

    @cached_property
    def longest(self) -> int:
        """Bytes of the longest that is looked for: so much of a file is kept while the next part is read."""
        return max(map(len, self._names), default=0)

    @cached_property
    def _in_bytes(self) -> re.Pattern[bytes]:
        return re.compile(b"|".join(map(re.escape, sorted(self._names, key=len, reverse=True))))

    @cached_property
    def _in_text(self) -> tuple[re.Pattern[str], Mapping[str, str]]:
        names: dict[str, str] = {}
        for form, name in self._names.items():
            # Text from outside was read with either of these, where it is no UTF-8.
            names.setdefault(form.decode(errors="surrogateescape"), name)
            names.setdefault(form.decode(errors="replace"), name)
        names = {
            form: name for form, name in names.items() if len(form.replace("\ufffd", "")) >= SHORTEST_VALUE
        }
        ordered = sorted(names, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, ordered)) or r"(?!)"), names

    def names_in(self, data: bytes) -> frozenset[str]:
        """Names of the secrets whose values these bytes hold."""
        if not self:
            return frozenset()
        return frozenset(self._names[found] for found in self._in_bytes.findall(data))

    def names_in_all(self, parts: Iterable[bytes]) -> frozenset[str]:
        """The same of what comes in parts, such as a file."""
        if not self:
            return frozenset()
        found: frozenset[str] = frozenset()
        kept = b""
        for part in parts:
            data = kept + part
            found |= self.names_in(data)
            kept = data[-(self.longest - 1) :] if self.longest > 1 else b""
        return found

    def names_in_text(self, text: str) -> frozenset[str]:
        """The same of a text."""
        if not self:
            return frozenset()
        pattern, names = self._in_text
        return frozenset(names[found] for found in pattern.findall(text))

    def names_in_json(self, value: Any) -> frozenset[str]:  # noqa: ANN401  any JSON
        """The same of what can be written as JSON: keys, texts and numbers."""
        if not self:
            return frozenset()
        return self.names_in_text(json.dumps(value, ensure_ascii=False, default=str)) | frozenset(
            name for text in _texts(value) for name in self.names_in_text(text)
        )

    def scrubbed(self, text: str) -> str:
        """The text with a word in the place of each value, and of what a cut has left of one at its end."""
        if not self or not text:
            return text
        pattern, names = self._in_text
        clean = pattern.sub(lambda found: f"[secret {names[found[0]]}]", text)
        end = clean.rstrip("….")
        for form, name in names.items():
            most = min(len(form) - 1, len(end))
            for length in range(most, _CUT - 1, -1):
                if end.endswith(form[:length]):
                    return f"{end[:-length]}[secret {name}]"
        return clean


def _forms(value: bytes) -> Iterator[bytes]:
    """The value, as it is and as others write it; what a shell or a text file makes of line breaks, too."""
    plain = value.replace(b"\r\n", b"\n")
    for bare in {value, plain, value.strip(), plain.strip()}:
        if len(bare) >= SHORTEST_VALUE:
            yield from _written(bare)
    if len(lines := value.splitlines()) > 1:
        # Not the frame of a key, which says only what it is.
        yield from (line for line in lines if len(line) >= _LONG_LINE and not line.startswith(b"-----"))


def _written(value: bytes) -> Iterator[bytes]:
    yield value
    text = value.decode(errors="surrogateescape")
    for ascii_only in (True, False):
        yield json.dumps(text, ensure_ascii=ascii_only)[1:-1].encode(errors="surrogateescape")
    yield quote(value, safe="").encode()
    yield quote_plus(value).encode()
    yield base64.b64encode(value)
    yield base64.urlsafe_b64encode(value)


def _texts(value: Any) -> Iterator[str]:  # noqa: ANN401  any JSON
    left = [value]
    while left:
        match left.pop():
            case str(text):
                yield text
            case Mapping() as mapping:
                left += [*mapping.keys(), *mapping.values()]
            case list() | tuple() as items:
                left += items
            case _:
                pass


def listed(names: Iterable[str]) -> str:
    """Names of secrets in a sentence.

    >>> listed(["B", "A"]), listed(["A"])
    ('the secrets A and B', 'the secret A')
    """
    words = sorted(names)
    if len(words) == 1:
        return f"the secret {words[0]}"
    return f"the secrets {', '.join(words[:-1])} and {words[-1]}"
