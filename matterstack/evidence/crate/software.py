"""What jobs ran in, as entities of a crate: an environment, its Python, and what is installed for that."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

from matterstack.core.shown_text import shown
from matterstack.evidence.crate.graph import Graph, file_id, local, ref, refs
from matterstack.evidence.environments import Environment, FoundSoftware, Surroundings
from matterstack.evidence.history import AttemptKey

_PLAIN: Final = re.compile(r"[A-Za-z0-9._-]+")


def add_distribution(graph: Graph, name: str, version: str) -> str:
    """A distribution of Python, by its package URL where it has a usual name."""
    url = f"pkg:pypi/{name.lower().replace('_', '-')}@{quote(version)}" if _PLAIN.fullmatch(name) else None
    return graph.add(
        url or local("software", name, version),
        "SoftwareApplication",
        name=shown(name),
        softwareVersion=shown(version),
        url=url,
    )


def add_python(graph: Graph, version: str) -> str:
    """An interpreter of Python, by its version."""
    return graph.add(
        local("python", version),
        "SoftwareApplication",
        name="Python",
        softwareVersion=shown(version),
        url="https://www.python.org/",
    )


class Environments:
    """Describes environments, and knows what they are called then."""

    def __init__(self, graph: Graph, surroundings: Surroundings) -> None:
        self._graph = graph
        self._of = surroundings.of()
        self._surroundings = surroundings

    def describe(self) -> None:
        """All that jobs ran in."""
        for environment in self._surroundings.environments:
            software = environment.software
            if environment.place is not None and software is not None:
                self._graph.add(
                    _identifier(environment),
                    "SoftwareApplication",
                    name=shown(software.interpreter() or "an environment without Python"),
                    description="what jobs of the run ran in, as their own scripts found it",
                    operatingSystem=shown(software.host()),
                    softwareVersion=environment.sha256[:16],
                    softwareRequirements=refs(self._parts(software)),
                    subjectOf=ref(file_id(environment.place)),
                )

    def _parts(self, software: FoundSoftware) -> Iterator[str]:
        if software.interpreter():
            yield add_python(self._graph, software.interpreter())
        for name, version in sorted(software.distributions.items()):
            yield add_distribution(self._graph, name, version)
        for module in software.modules:
            name, _, version = module.partition("/")
            yield self._graph.add(
                local("module", module),
                "SoftwareApplication",
                name=shown(name),
                softwareVersion=shown(version),
                description="an environment module",
            )
        for package in software.conda:
            name, version, _ = (*package.rsplit("-", 2), "", "")[:3]
            yield self._graph.add(
                local("conda", package),
                "SoftwareApplication",
                name=shown(name),
                softwareVersion=shown(version),
                description="a package of a conda environment",
            )

    def file_of(self, key: AttemptKey) -> str | None:
        """The file that says what an attempt ran in."""
        found = self._of.get(key)
        return None if found is None or found.place is None else file_id(found.place)

    def among(self, attempts: list[AttemptKey]) -> list[str]:
        """The environments that some attempts ran in."""
        found = {one.sha256: one for key in attempts if (one := self._of.get(key)) is not None}
        return [_identifier(one) for one in found.values() if one.place and one.software is not None]

    def version(self, attempts: list[AttemptKey], *, is_python: bool) -> str | None:
        """Version of the tool that some attempts were done with; None where it is not known, or differs.

        Of a program it is known by its hash alone.
        """
        found = {
            software.interpreter() if is_python else _hash_of_program(software)
            for key in attempts
            if (one := self._of.get(key)) is not None and (software := one.software) is not None
        }
        return shown(found.pop()) or None if len(found) == 1 else None


def _hash_of_program(software: FoundSoftware) -> str:
    program = software.program
    return f"SHA-256 {program.sha256}" if program is not None and program.sha256 else ""


def _identifier(environment: Environment) -> str:
    return local("environment", environment.sha256[:16])
