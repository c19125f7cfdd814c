"""Which files of its workspace a campaign uses: told where it is called, in the child process.

A module of the workspace is read once, and what was read is what is hashed, kept and run: a file that is
changed while the campaign thinks makes no difference.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import sys
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Final

import attrs

from matterstack.campaign.origins import MOST_SOURCE_BYTES, MOST_SOURCES, is_passed_over
from matterstack.core.errors import CampaignError
from matterstack.core.run.campaign_code import KnownCode, named
from matterstack.storage.codec import CONVERTER
from matterstack.storage.confine import Confined, confined
from matterstack.storage.files import chunks
from matterstack.storage.modes import RUNS

MOST_ANSWERED_BYTES: Final = 64 << 20
"""Contents that one answer has at the most; what is beyond is named by its hash."""
MOST_HASHED_BYTES: Final = 1 << 30
"""Larger files that tasks name are known from the manifests of the jobs that were given them."""
_INSTALLED: Final = frozenset({"site-packages", "dist-packages", "__pycache__"})


@attrs.frozen
class _Found:
    sha256: str
    content: bytes | None
    is_added: bool = False


class UsedFiles(MetaPathFinder):
    """Finds modules as Python does, and remembers those that are files of the workspace.

    Args:
        asked: what the engine knows of them, and whether others are refused; see `asked_about`.
    """

    def __init__(self, workspace: Path, asked: Mapping[str, Any]) -> None:
        self._folders = tuple(dict.fromkeys((workspace, workspace.resolve())))
        self._known: KnownCode = CONVERTER.structure(asked["known"], KnownCode)
        self._is_pinned: bool = asked["is_pinned"]
        self._found: dict[str, _Found] = {}
        self._refused: set[str] = set()

    def watch(self) -> None:
        """Look at all modules that are imported from here on."""
        places = [place for place, finder in enumerate(sys.meta_path) if finder is PathFinder]
        sys.meta_path.insert(places[0] if places else 0, self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module as `importlib.machinery.PathFinder` does."""
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader and self._inner(spec.origin):
            spec.loader = self.loader(fullname, str(spec.origin))
        return spec

    def loader(self, name: str, path: str) -> SourceFileLoader:
        """What loads a file of the workspace, and remembers it."""
        return _RememberingLoader(name, path, self)

    def refuse_changed(self, file: Path) -> None:
        """Where the campaign is pinned, look at it and at the code that it used before, before it is called.

        Raises:
            CampaignError: naming the files that are others now.
        """
        if not self._is_pinned:
            return
        used = [path for path in self._known.used if path.endswith(".py")]
        own = self._inner(str(file))
        for path in dict.fromkeys([own, *used] if own else used):
            with suppress(OSError):
                data = (self._folders[0] / path).read_bytes()
                self._note_refused(path, hashlib.sha256(data).hexdigest())
        self.require_pinned()

    def take_module(self, path: str, data: bytes) -> None:
        """Remember what was read of a module that is about to be run.

        Raises:
            CampaignError: the campaign is pinned, and this is another file.
        """
        inner = self._inner(path)
        if inner is not None and inner not in self._found:
            digest = hashlib.sha256(data).hexdigest()
            self._remember(inner, digest, data if len(data) <= MOST_SOURCE_BYTES else None, is_code=True)
            self.require_pinned()

    def take_named(self, paths: Iterable[str]) -> None:
        """Remember the files that tasks name, as they are now; ``paths`` relative to the workspace."""
        with suppress(OSError), confined(self._folders[0]) as workspace:
            for path in sorted({posixpath.normpath(path) for path in paths}):
                inner = self._inner(str(self._folders[0] / path))
                if inner is not None and inner not in self._found and not path.startswith(".."):
                    self._take_file(workspace, inner, is_code=False)

    def take_imported(self) -> None:
        """Remember modules that were loaded in other ways, such as those that are compiled."""
        with suppress(OSError), confined(self._folders[0]) as workspace:
            for module in list(sys.modules.values()):
                file = getattr(module, "__dict__", {}).get("__file__")
                inner = self._inner(file)
                if inner is not None and inner not in self._found:
                    self._take_file(workspace, inner, is_code=True)

    def require_pinned(self) -> None:
        """Raise CampaignError where the campaign is pinned, and something of it is another one now."""
        if self._refused:
            files = named(sorted(self._refused))
            are, them = ("is", "it") if len(self._refused) == 1 else ("are", "them")
            as_before = "it was" if are == "is" else "they were"
            raise CampaignError(
                f"{self._folders[0]}: {files} {are} not what the run was last planned with, and config.json "
                f"says pin_campaign: to go on with {them}, `matterstack run replan` (it shows what that "
                f"changes); or put {them} back as {as_before} (the run's folder has copies), then "
                "`matterstack run retry`"
            )

    def as_json(self) -> dict[str, Any]:
        """What is answered to the engine, by path; contents are those that it does not have."""
        room, count = MOST_ANSWERED_BYTES, 0
        answer: dict[str, Any] = {}
        for path, found in self._found.items():
            is_known = self._known.files.get(path) == found.sha256 and path not in self._known.unkept
            content = None if is_known else found.content
            if content is not None and (count == MOST_SOURCES or len(content) > room):
                content = None
            if content is not None:
                room, count = room - len(content), count + 1
            answer[path] = {
                "sha256": found.sha256,
                "content": None if content is None else b64encode(content).decode(),
                "is_added": found.is_added,
            }
        return answer

    def _inner(self, path: object) -> str | None:
        """Path in the workspace, of a file that is its own: no run's, and of no installed package."""
        if not isinstance(path, str):
            return None
        for folder in self._folders:
            if Path(path).is_relative_to(folder):
                parts = Path(os.path.normpath(path)).relative_to(folder).parts
                return None if parts[:1] == (RUNS,) or _INSTALLED.intersection(parts) else "/".join(parts)
        return None

    def _take_file(self, workspace: Confined, inner: str, *, is_code: bool) -> None:
        with suppress(OSError):  # what cannot be read is told where it is needed
            descriptor = workspace.open_linked_file(inner)
            try:
                size = os.fstat(descriptor).st_size
                if size > MOST_HASHED_BYTES:
                    return
                read = hashlib.sha256()
                kept: list[bytes] = []
                for chunk in chunks(descriptor):
                    read.update(chunk)
                    if size <= MOST_SOURCE_BYTES:
                        kept.append(chunk)
            finally:
                os.close(descriptor)
            content = b"".join(kept) if size <= MOST_SOURCE_BYTES else None
            self._remember(inner, read.hexdigest(), content, is_code=is_code)

    def _remember(self, inner: str, digest: str, content: bytes | None, *, is_code: bool) -> None:
        is_added = is_code and content is not None and self._would_be_known(inner)
        self._found[inner] = _Found(digest, content, is_added)
        self._note_refused(inner, digest, is_added=is_added)

    def _note_refused(self, inner: str, digest: str, *, is_added: bool = False) -> None:
        known = self._known.files.get(inner)
        if self._is_pinned and (is_added if known is None else known != digest):
            self._refused.add(inner)

    def _would_be_known(self, inner: str) -> bool:
        """Whether a file that is not known would be, had it been there when the run was made."""
        if inner in self._known.files or not 0 < len(self._known.files) < MOST_SOURCES:
            return False
        parts = inner.split("/")
        folder = self._folders[0]
        places = [folder.joinpath(*parts[: count + 1]) for count in range(len(parts))]
        return not any(map(is_passed_over, parts)) and not any(place.is_symlink() for place in places)


class _RememberingLoader(SourceFileLoader):
    """Runs what it read itself, and no bytecode that somebody may have left."""

    def __init__(self, name: str, path: str, used: UsedFiles) -> None:
        super().__init__(name, path)
        self._used = used

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        data = self.get_data(path)
        self._used.take_module(path, data)
        code: CodeType = self.source_to_code(data, path)
        return code
