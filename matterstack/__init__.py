"""MatterStack: a durable runtime for materials-science campaigns."""

from __future__ import annotations

from matterstack.core.model import Campaign, Result, Results, Task, Workflow
from matterstack.core.resources import Growth, Resources

__all__ = ["Campaign", "Growth", "Resources", "Result", "Results", "Task", "Workflow", "__version__"]

__version__ = "0.1.0"
