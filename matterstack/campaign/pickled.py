"""A campaign that is an object of a host program, kept so that any later engine can go on with it.

What is kept is one line of JSON, which can be read whatever the rest needs, and then a pickle.  Classes of
the host's script or notebook are in it with their code; those of modules are named, and imported again.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import IO, Any, Final

import attrs

from matterstack.campaign.moved_names import MOVES, where_it_is, where_module_is
from matterstack.core.errors import CampaignError
from matterstack.core.model.workflow import Campaign

METHODS: Final = ("plan", "analyze")
TABLES: Final = "moves"
"""How many tables of moved names there were when it was made; 0.2.0 did not say."""
_IMPORTS_A_MODULE: Final = ("cloudpickle.cloudpickle", "subimport")
"""What cloudpickle calls with the name of a module: pickle itself knows nothing of modules."""
_NO_DATA: Final = (
    "a campaign is called in other processes, also after a restart: keep data in it, and open files, locks "
    "and connections inside plan() and analyze()"
)


@attrs.frozen
class PickledCampaign:
    """A campaign as it is kept.

    Attributes:
        kind: its class, with the module.
        source: text of the file (or the notebook's cell) that its class is in; empty where there is none.
    """

    kind: str
    content: bytes
    source: str = ""

    @property
    def sha256(self) -> str:
        """By which it is known that nobody changed it."""
        return hashlib.sha256(self.content).hexdigest()


def pickled(campaign: object) -> PickledCampaign:
    """Make what is kept of a campaign.

    Raises:
        CampaignError: it is none, or cannot be pickled; names the class and, where it is one, the attribute.
    """
    kind = name_of(campaign)
    if isinstance(campaign, type):
        raise CampaignError(
            f"{campaign.__name__} is a class; a campaign is an object", hint=f"give {campaign.__name__}()"
        )
    for method in METHODS:
        if not callable(getattr(campaign, method, None)):
            raise CampaignError(
                f"{kind} is no campaign: it has no method {method}()",
                hint="give the name of a workspace, or an object with the methods plan() and analyze()",
            )
    try:
        body = _dumped(campaign)
    except Exception as error:  # whatever the objects in it raise
        raise CampaignError(
            f"the campaign {kind} cannot be pickled{_culprit(campaign)}: {type(error).__name__}: {error}",
            hint=_NO_DATA,
        ) from error
    header = {"class": kind, "python": _python(), "path": _import_path(), TABLES: len(MOVES)}
    return PickledCampaign(kind, json.dumps(header).encode() + b"\n" + body, _source_of(type(campaign)))


def unpickled(path: Path, sha256: str) -> Campaign:
    """Load what was kept.  Runs code of the host program: for the child process only.

    Raises:
        CampaignError: it is not there, was changed, or cannot be loaded; names the class, and what to do.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CampaignError(f"{path}: the run's campaign cannot be read: {error.strerror}") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise CampaignError(f"{path}: was changed since the run was made, and is not loaded")
    line, _, body = content.partition(b"\n")
    header: Mapping[str, Any] = json.loads(line)
    if header["python"] != _python():
        raise CampaignError(
            f"{path}: the campaign {header['class']} was made with Python {header['python']}, and this "
            f"engine runs on {_python()}; serve the run with the former"
        )
    # The engine's own modules come first: those of the host are only what else there is.
    sys.path.extend(folder for folder in header["path"] if folder not in sys.path)
    try:
        return _loaded(body, header.get(TABLES, 0))
    except Exception as error:
        raise CampaignError(
            f"{path}: the campaign {header['class']} cannot be loaded: {type(error).__name__}: {error}; its "
            "modules must be where they were when the run was started, and hold the same names"
        ) from error


def name_of(campaign: object) -> str:
    """The class of a campaign, with its module."""
    kind = campaign if isinstance(campaign, type) else type(campaign)
    return f"{kind.__module__}.{kind.__qualname__}"


def _dumped(value: object) -> bytes:
    import cloudpickle  # type: ignore[import-untyped]

    buffer = io.BytesIO()
    cloudpickle.dump(value, buffer)
    return buffer.getvalue()


def _loaded(body: bytes, tables: int) -> Campaign:
    campaign: Campaign = _Unpickler(io.BytesIO(body), tables).load()
    return campaign


class _Unpickler(pickle.Unpickler):
    """Finds names of the package where they are now; the hash of what it reads stands in the store."""

    def __init__(self, body: IO[bytes], tables: int) -> None:
        super().__init__(body)
        self._tables = tables

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401  as pickle has it
        if (module, name) == _IMPORTS_A_MODULE:
            return self._module
        return super().find_class(*where_it_is(module, name, self._tables))

    def _module(self, name: str) -> ModuleType:
        return import_module(where_module_is(name, self._tables))


def _source_of(kind: type) -> str:
    """For people, who cannot read a pickle."""
    import inspect

    # The class of a notebook has no file; what its methods were compiled from is known all the same.
    for defined in (kind, getattr(kind, METHODS[0])):
        with suppress(OSError, TypeError):
            return "".join(inspect.findsource(defined)[0])
    return ""


def _culprit(campaign: object) -> str:
    for name, value in getattr(campaign, "__dict__", {}).items():
        try:
            _dumped(value)
        except Exception:  # noqa: BLE001  the first one that fails is the answer
            return f", because of its attribute {name!r} ({type(value).__name__})"
    return ""


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _import_path() -> list[str]:
    folders = (str(Path(entry or ".").resolve()) for entry in sys.path)
    return list(dict.fromkeys(folder for folder in folders if os.path.exists(folder)))  # noqa: PTH110
