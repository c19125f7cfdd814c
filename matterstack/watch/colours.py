"""Colours of states in a terminal, as rich names them."""

from __future__ import annotations

from typing import Final

_STYLES: Final = {
    "RUNNING": "cyan",
    "ACTIVE": "cyan",
    "COMPLETED": "green",
    "SUCCEEDED": "green",
    "COMPLETED_OK": "green",
    "FAILED": "bold red",
    "COMPLETED_ERROR": "bold red",
    "LOST": "bold red",
    "PROBLEM": "bold red",
    "ok": "green",
    "PAUSED": "yellow",
    "CANCELLED": "yellow",
    "SKIPPED": "yellow",
}


def style_of(cell: object) -> str:
    """Colour of a state word; none for anything else."""
    return _STYLES.get(str(cell), "")
