"""Fixtures of the tests of commands."""

from __future__ import annotations

from tests.backends.conftest import shims

__all__ = ["shims"]
