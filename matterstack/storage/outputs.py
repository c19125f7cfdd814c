"""Look at what a job left behind."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from matterstack.core.documents.strict_json import without_twins
from matterstack.core.json_rules import json_problem
from matterstack.core.model.patterns import matches
from matterstack.core.model.workflow_check import RESERVED_NAMES
from matterstack.core.run.facts import OutputFile
from matterstack.storage.confine import Confined, ConfinementError, confined
from matterstack.storage.files import hash_and_sync
from matterstack.storage.small_files import read_small

MOST_RESULT_BYTES: Final = 1 << 20


@attrs.frozen(kw_only=True)
class Outputs:
    """What was found, and what is missing or broken, in words."""

    files: tuple[OutputFile, ...] = ()
    data: Any = None
    problem: str | None = None


def collect_outputs(folder: Path, patterns: Sequence[str], given: Collection[str]) -> Outputs:
    """Find the files that match the patterns, make sure that they are on the disk, and read result.json.

    Args:
        given: names of files that were copied in; they count as outputs only where a pattern is
            exactly their name.
    """
    problems: list[str] = []
    files: tuple[OutputFile, ...] = ()
    if patterns:
        with confined(folder) as inside:
            names = sorted(matching_outputs(inside, patterns, given))
            problems.extend(
                f"its job ended well, but no file matches the output {pattern!r}"
                for pattern in patterns
                if not any(matches(name, pattern) for name in names)
            )
            files = tuple(_output(inside, name, problems) for name in names)
    data = None
    try:
        data = read_result(folder / "result.json")
    except ValueError as error:
        problems.append(str(error))
    return Outputs(files=files, data=data, problem="; ".join(problems) or None)


def _output(folder: Confined, name: str, problems: list[str]) -> OutputFile:
    try:
        descriptor = folder.open_file(name)
        try:
            size, digest = hash_and_sync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        problems.append(f"output {name!r} cannot be read: {error.strerror}")
        return OutputFile(name, 0, "")
    return OutputFile(name, size, digest)


def matching_outputs(folder: Confined, patterns: Sequence[str], given: Collection[str]) -> Iterator[str]:
    """Names of the files that match the patterns; arguments as in `collect_outputs`."""
    for name in folder.regular_files(leave_out=RESERVED_NAMES):
        if any(matches(name, p) and (name not in given or p == name) for p in patterns):
            yield name


def read_result(path: Path) -> Any:  # noqa: ANN401  any JSON
    """Read the data that a job hands to ``analyze``; None when it wrote none.

    Raises:
        ValueError: the file is there but cannot be used; says why.
    """
    try:
        text = read_small(path, MOST_RESULT_BYTES + 1)
    except FileNotFoundError:
        return None
    except ConfinementError as error:
        raise ValueError(f"result.json: {error.strerror}") from None
    except OSError as error:
        raise ValueError(f"result.json: cannot be read: {error.strerror}") from None
    if len(text) > MOST_RESULT_BYTES:
        raise ValueError(
            f"result.json: is larger than {MOST_RESULT_BYTES >> 20} MiB; "
            "put large data into an output file of its own"
        )
    try:
        value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=without_twins)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"result.json: is not valid JSON: {error}") from None
    # 1e999 parses as infinity, which the store could not write as JSON again.
    if problem := json_problem(value):
        raise ValueError(f"result.json: cannot be kept: {problem}")
    return value


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is no JSON number; write null instead")
