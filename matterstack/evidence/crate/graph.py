"""The entities of a crate, in the order in which they are made: the same for the same run."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote

from rocrate.model.contextentity import ContextEntity  # type: ignore[import-untyped]
from rocrate.model.data_entity import DataEntity  # type: ignore[import-untyped]
from rocrate.rocrate import ROCrate  # type: ignore[import-untyped]

from matterstack.core.shown_text import shown
from matterstack.storage.codec import dumps

VERSION: Final = "1.1"
"""Of RO-Crate: what the profiles are made for; the library writes a newer one unless told."""
ENGINE: Final = "#matterstack"

COMPLETED: Final = "http://schema.org/CompletedActionStatus"
FAILED: Final = "http://schema.org/FailedActionStatus"
ACTIVE: Final = "http://schema.org/ActiveActionStatus"
POTENTIAL: Final = "http://schema.org/PotentialActionStatus"

_RUN_TERMS: Final = "https://w3id.org/ro/terms/workflow-run/context"

_PLAIN: Final = re.compile(r"[\w.~-]*", re.ASCII)

Ref = dict[str, str]


def file_id(path: str) -> str:
    """A path as an identifier: a relative URI, whatever the name holds.

    >>> print(file_id("outputs/a/1/x y"), file_id("b\\udcff"))
    outputs/a/1/x%20y b%FF
    """
    return _quoted(path, safe="/")


def local(*parts: object) -> str:
    """An identifier of something that is no file."""
    return "#" + "/".join(_quoted(str(part), safe="") for part in parts)


def _quoted(text: str, *, safe: str) -> str:
    if _PLAIN.fullmatch(text.replace(safe, "")):  # as nearly all are, and there are many
        return text
    return quote(text.encode("utf-8", "surrogateescape"), safe=safe)


@lru_cache(maxsize=4096)
def ref(identifier: str) -> Ref:
    """Point at an entity by its identifier; nobody changes it: large crates share it."""
    return {"@id": identifier}


def refs(identifiers: Iterable[str]) -> list[Ref]:
    """Point at entities, at each once."""
    return [ref(identifier) for identifier in dict.fromkeys(identifiers)]


def moment(time: str | None) -> str | None:
    """A stored time as RO-Crates have times: in thousandths of a second, with its offset.

    >>> print(moment("2026-01-02T03:04:05.123456Z"), moment("2026-01-02T03:04:05Z"))
    2026-01-02T03:04:05.123+00:00 2026-01-02T03:04:05+00:00
    """
    if time is None:
        return None
    seconds, point, fraction = time.removesuffix("Z").partition(".")
    return f"{seconds}{point}{fraction[:3].ljust(3, '0') if point else ''}+00:00"


def _alone(value: Any) -> Any:  # noqa: ANN401  any JSON
    """One value stands for itself: RO-Crate wants no list of it."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


class Graph:
    """A crate that is being described."""

    def __init__(self) -> None:
        self._crate = ROCrate(version=VERSION)
        self._crate.metadata.extra_contexts.append(_RUN_TERMS)
        self._known: set[str] = set()

    def add(self, identifier: str, kind: str | list[str], /, **properties: Any) -> str:  # noqa: ANN401  any JSON
        """Describe something once, however often it is named; what is None is left out."""
        if identifier not in self._known:
            self._known.add(identifier)
            given = {name: _alone(value) for name, value in properties.items() if value not in (None, "", [])}
            is_file = kind == "File" or (isinstance(kind, list) and "File" in kind)
            entity = DataEntity if is_file and not identifier.startswith("#") else ContextEntity
            self._crate.add(entity(self._crate, identifier, {"@type": kind, **given}))
        return identifier

    def add_value(self, kind: str, name: str, value: Any) -> str:  # noqa: ANN401  any JSON
        """A parameter, a setting or the like, with its value."""
        text = dumps(value)
        identifier = local(kind, name, hashlib.sha256(text.encode()).hexdigest()[:16])
        if not isinstance(value, bool | int | float | str):
            value = text
        elif isinstance(value, str):
            value = shown(value)
        return self.add(
            identifier, "PropertyValue", name=shown(name), propertyID=local(kind, name), value=value
        )

    def add_person(self, name: str) -> str:
        """Add a person who did something; returns the identifier."""
        return self.add(local("person", name), "Person", name=shown(name))

    def describe_root(self, conforms_to: list[Ref], **properties: Any) -> None:  # noqa: ANN401  any JSON
        """Describe the crate itself; ``conforms_to`` is of its metadata."""
        root = self._crate.root_dataset
        for name, value in properties.items():
            if value not in (None, "", []):
                root[name] = _alone(value)
        self._crate.metadata["conformsTo"] = conforms_to

    def written(self) -> bytes:
        """A line for each entity: large crates can be read and compared.  Uses the entities up."""
        document = self._crate.metadata.generate()
        graph = document["@graph"]
        graph.reverse()
        # Of a large crate there is no room for both: entities go while their text grows.  The library's crate
        # and its entities refer to each other: taken apart, they need no garbage collector.
        vars(self._crate).clear()
        text = bytearray(f'{{"@context": {json.dumps(document["@context"])},\n"@graph": [\n'.encode())
        while graph:
            text += json.dumps(graph.pop()).encode()
            text += b",\n" if graph else b"\n"
        text += b"]}\n"
        return bytes(text)
