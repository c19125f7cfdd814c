"""A monitor beside a store in which runs are written by hand."""

from tests.monitor.conftest import place

__all__ = ["place"]
