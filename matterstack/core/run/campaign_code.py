"""The code that plans a run: which files of its workspace a call of the campaign used, and what changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import attrs

MOST_NAMED: Final = 5


@attrs.frozen(kw_only=True)
class UsedCode:
    """Files of the workspace that one call of a campaign used, with their SHA-256 by path.

    Attributes:
        unkept: those whose content is not in the run's folder.
        added: those that are code, and were not there when the run was made: else they would be known.
    """

    files: Mapping[str, str] = attrs.field(factory=dict)
    unkept: Sequence[str] = ()
    added: Sequence[str] = ()


NOTHING_USED: Final = UsedCode()


@attrs.frozen(kw_only=True)
class KnownCode:
    """The newest versions of the workspace's files that the run knows of, with their SHA-256 by path.

    Attributes:
        unkept: as in `UsedCode`.
        used: paths of those that calls of the campaign have used so far.
    """

    files: Mapping[str, str] = attrs.field(factory=dict)
    unkept: tuple[str, ...] = ()
    used: tuple[str, ...] = ()

    def after(self, files: Mapping[str, str], unkept: Collection[str]) -> KnownCode:
        """What is known once a call has used these."""
        if not files:
            return self
        return KnownCode(
            files={**self.files, **files},
            unkept=tuple(sorted({*unkept, *(path for path in self.unkept if path not in files)})),
            used=tuple(sorted({*self.used, *files})),
        )

    def changed(self, code: UsedCode) -> dict[str, str]:
        """Files that are others now, and code that is new, with their hashes; empty where all is as it was.

        >>> known = KnownCode(files={"campaign.py": "1a", "README.md": "2b"})
        >>> known.changed(UsedCode(files={"campaign.py": "1a", "input.dat": "3c"}))
        {}
        >>> known.changed(UsedCode(files={"campaign.py": "4d", "energy.py": "5e"}, added=["energy.py"]))
        {'campaign.py': '4d', 'energy.py': '5e'}
        """
        known = self.files
        return {
            path: digest
            for path, digest in sorted(code.files.items())
            if (path in code.added if path not in known else known[path] != digest)
        }


def changes_in_words(files: Collection[str], before: Collection[str]) -> str:
    """Name the files of a campaign that changed, and those that are new, at most `MOST_NAMED` of each.

    >>> changes_in_words(["campaign.py", "energy.py"], ["campaign.py"])
    'campaign.py changed, energy.py is new'
    """
    changed = sorted(path for path in files if path in before)
    new = sorted(path for path in files if path not in before)
    said = [f"{named(changed)} changed"] if changed else []
    if new:
        said.append(f"{named(new)} {'is' if len(new) == 1 else 'are'} new")
    return ", ".join(said)


def named(paths: Collection[str]) -> str:
    """List files in one line, however many there are.

    >>> named(["a.py", "b.py", "c.py", "d.py", "e.py", "f.py", "g.py"])
    'a.py, b.py, c.py, d.py, e.py and 2 more'
    """
    first = ", ".join(list(paths)[:MOST_NAMED])
    return first if len(paths) <= MOST_NAMED else f"{first} and {len(paths) - MOST_NAMED} more"
