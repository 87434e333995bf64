"""The four names for code that stays where it is, such as a notebook's."""

from __future__ import annotations

from typing import Any

from kernel_bootstrap import namespaces
from kernel_bootstrap.link import Link

NAMES = ("tools", "workflows", "artifacts", "deps")


def four_names(link: Link) -> dict[str, Any]:
    """``tools``, ``workflows``, ``artifacts`` and ``deps`` over ``link``; workflows run on the calling thread."""
    names = namespaces.build(link)
    return {name: names[name] for name in NAMES}
