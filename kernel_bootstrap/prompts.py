"""Prompts that were pasted with the code are taken off it; everything else is run as it was written."""

from __future__ import annotations

from typing import Any

from IPython.core.inputtransformer2 import TransformerManager, classic_prompt


def transformers() -> Any:
    """IPython's transformers, which take off ``>>>`` only where the code begins with it.

    IPython would take it off anywhere, out of text as well: the examples in the source of a workflow are such text.
    """
    manager = TransformerManager()  # type: ignore[no-untyped-call]
    manager.cleanup_transforms = [
        _without_prompts if transform is classic_prompt else transform for transform in manager.cleanup_transforms
    ]
    return manager


def _without_prompts(lines: list[str]) -> list[str]:
    first = next((line for line in lines if line.strip()), "")
    return list(classic_prompt(lines)) if first.lstrip().startswith(">>>") else lines
