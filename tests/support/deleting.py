"""Delete runs as the command line does, from tests of what is left of them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from matterstack.core.ids import RunId, utc_text
from matterstack.storage.layout import Root
from matterstack.usecases.deleting_runs import delete, look_at, opened_store


def delete_run(root: Root, run_id: RunId) -> None:
    """Delete a run that has ended, without evidence."""
    with opened_store(root, pytest.fail) as connection:
        candidates = look_at(connection, root, [run_id], with_evidence=False)
        delete(connection, root, candidates, "ann", lambda: utc_text(datetime.now(UTC)))
