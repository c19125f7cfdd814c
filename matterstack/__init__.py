"""MatterStack: a durable runtime for materials-science campaigns."""

from __future__ import annotations

from matterstack.core.model import Campaign, Result, Results, Task, Workflow
from matterstack.core.resources import Resources

__all__ = ["Campaign", "Resources", "Result", "Results", "Task", "Workflow", "__version__"]

__version__ = "0.1.0"
