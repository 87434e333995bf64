"""Dependencies: the requirements of a workspace, and what installs them."""

from __future__ import annotations

from .installer import Installer, InstallReport, MemoryInstaller, UninstallReport
from .manager import DependencyManager, DependencyStore
from .requirements import Problem, RequirementsText, parse_runtime

__all__ = [
    "DependencyManager",
    "DependencyStore",
    "InstallReport",
    "Installer",
    "MemoryInstaller",
    "Problem",
    "RequirementsText",
    "UninstallReport",
    "parse_runtime",
]
