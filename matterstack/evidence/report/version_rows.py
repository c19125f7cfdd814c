"""Which version of the campaign planned and analyzed which round, for the report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from matterstack.core.run.campaign_code import changes_in_words
from matterstack.evidence.presentation import View


@attrs.frozen(kw_only=True)
class VersionRow:
    """A version of the campaign, and the numbers of the rounds that it planned and analyzed."""

    number: int
    since: str
    what: str
    planned: str
    analyzed: str


def version_rows(view: View) -> Sequence[VersionRow]:
    """One row for each version; none where the campaign was the same all the time."""
    versions = view.history.versions
    if not versions:
        return ()
    first = (1, view.history.state.created_at, "as it was when the run was made")
    later = ((v.number, v.at, changes_in_words(v.files, v.before)) for v in versions)
    rounds = view.history.iterations
    return [
        VersionRow(
            number=number,
            since=since,
            what=what,
            planned=_listed(one.number for one in rounds if one.planned_by == number),
            analyzed=_listed(one.number for one in rounds if one.analyzed_by == number),
        )
        for number, since, what in (first, *later)
    ]


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))
