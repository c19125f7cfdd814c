"""What a run is about: read from its workspace when it is made, and said anew whenever somebody wants."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from matterstack.core.errors import ConfigError, NotFoundError
from matterstack.storage.confine import open_any_file
from matterstack.storage.layout import Workspace

if TYPE_CHECKING:
    from matterstack.core.documents.about import About

ABOUT_FILE: Final = "about.toml"


def about_of_workspace(workspace: Workspace) -> About:
    """Read a workspace's ``about.toml``; blocking.  Where there is none, nothing is said.

    Raises:
        ConfigError: it cannot be read, or is wrong; names file and field.
    """
    from matterstack.core.documents.about import About

    try:
        return read_about(workspace.path / ABOUT_FILE)
    except NotFoundError:
        return About()


def read_about(file: Path) -> About:
    """Read a file as an ``about.toml``; blocking.

    Raises:
        NotFoundError: there is no such file.
        ConfigError: it cannot be read, or is wrong; names file and field.
    """
    # pydantic: not for those who only ask a run
    from matterstack.core.documents.about import MOST_BYTES, parse_about

    try:
        with closing(os.fdopen(open_any_file(file), "rb")) as reading:
            content = reading.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise NotFoundError(f"no file {file}") from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror or error}") from None
    return parse_about(content, str(file))
