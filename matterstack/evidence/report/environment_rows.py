"""What jobs ran in, as rows of the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from matterstack.core.shown_text import shown
from matterstack.evidence.environments import Environment, find_environments
from matterstack.evidence.presentation import View


@attrs.frozen(kw_only=True)
class EnvironmentRow:
    """One of the environments that jobs ran in.

    Attributes:
        attempts: how many ran in it.
        packages: what is installed in it, in words.
        place: of the file that says it all; empty where that is not here, and ``detail`` says why.
    """

    sha256: str
    attempts: int
    python: str
    host: str
    modules: str
    program: str
    scheduler: str
    packages: Sequence[str]
    place: str
    detail: str


def environment_rows(view: View) -> Iterator[EnvironmentRow]:
    for environment in find_environments(view).environments:
        yield _row(environment)


def _row(environment: Environment) -> EnvironmentRow:
    software = environment.software
    detail = environment.detail or ("" if software is not None else "it cannot be read")
    packages: list[str] = []
    program = ""
    if software is not None:
        packages = [f"{name} {version}" for name, version in sorted(software.distributions.items())]
        packages += software.conda
        if software.program is not None:
            known = f" (SHA-256 {software.program.sha256})" if software.program.sha256 else ""
            program = f"{software.program.path}{known}"
    return EnvironmentRow(
        sha256=environment.sha256,
        attempts=len(environment.attempts),
        python="" if software is None else shown(software.interpreter()),
        host="" if software is None else shown(software.host()),
        modules="" if software is None else shown(" ".join(software.modules)),
        program=shown(program),
        scheduler=""
        if software is None
        else shown(" ".join(f"{name}={value}" for name, value in sorted(software.scheduler.items()))),
        packages=[shown(package) for package in packages],
        place=environment.place or "",
        detail=shown(detail),
    )
