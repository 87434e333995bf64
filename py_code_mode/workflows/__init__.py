"""Workflows: code that worked, kept by name."""

from __future__ import annotations

from .library import WorkflowLibrary, WorkflowStore
from .workflow import Parameter, Workflow

__all__ = ["Parameter", "Workflow", "WorkflowLibrary", "WorkflowStore"]
