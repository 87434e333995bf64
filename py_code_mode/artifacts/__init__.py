"""Artifacts: data that outlives the code that made it, kept by name."""

from __future__ import annotations

from .artifact import Artifact
from .store import ArtifactStore, load_value, save_value

__all__ = ["Artifact", "ArtifactStore", "load_value", "save_value"]
