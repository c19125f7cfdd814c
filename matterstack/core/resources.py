"""What one job asks of its backend."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from matterstack.core.validation import at_least, optional_text, text_mapping


@attrs.frozen(kw_only=True)
class Resources:
    """Resources of one job.

    ``None`` leaves a value to the site's default.  ``extra`` holds further options of the scheduler by
    their long name (``{"constraint": "haswell"}`` becomes ``--constraint=haswell``); an empty value
    gives a bare flag.
    """

    cpus: int = attrs.field(default=1, validator=at_least(1))
    memory_mib: int | None = attrs.field(default=None, validator=at_least(1, optional=True))
    walltime_s: int | None = attrs.field(default=None, validator=at_least(1, optional=True))
    gpus: int = attrs.field(default=0, validator=at_least(0))
    nodes: int = attrs.field(default=1, validator=at_least(1))
    partition: str | None = attrs.field(default=None, validator=optional_text)
    account: str | None = attrs.field(default=None, validator=optional_text)
    extra: Mapping[str, str] = attrs.field(factory=dict, validator=text_mapping)


@attrs.frozen(kw_only=True)
class Limits:
    """The most that a backend can ever give to one job; ``None`` means that it did not say."""

    cpus: int | None = None
    memory_mib: int | None = None
    nodes: int | None = None
    gpus: int | None = None


def beyond_limits(wanted: Resources, limits: Limits) -> str | None:
    """Say which value can never be given, or None.

    >>> beyond_limits(Resources(cpus=8), Limits(cpus=2))
    'cpus=8, but one job gets at most 2'
    """
    for name in ("cpus", "memory_mib", "nodes", "gpus"):
        value, most = getattr(wanted, name), getattr(limits, name)
        if value is not None and most is not None and value > most:
            return f"{name}={value}, but one job gets at most {most}"
    return None
