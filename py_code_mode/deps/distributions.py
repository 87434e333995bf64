"""What is installed in a site-packages directory, read from its metadata without starting its Python."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name


def installed_versions(site_packages: Path) -> dict[str, str]:
    """The versions of the distributions in ``site_packages``, by canonical name (PEP 503)."""
    return {name: version for name, version, _ in _distributions(site_packages)}


def pins(site_packages: Path) -> list[str]:
    """Requirements that install again exactly what is in ``site_packages``, sorted by name."""
    found = [_pin(name, version, directory) for name, version, directory in _distributions(site_packages)]
    return sorted(found)


def requirements_of(site_packages: Path) -> list[str]:
    """What the distributions in ``site_packages`` need of each other, without markers and extras, sorted."""
    directories = {name: directory for name, _, directory in _distributions(site_packages)}
    environment = {"extra": "", **_python_markers(site_packages)}
    found = {
        f"{canonicalize_name(requirement.name)}{requirement.specifier}"
        for directory in directories.values()
        for requirement in _requires(directory)
        if str(canonicalize_name(requirement.name)) in directories
        and (requirement.marker is None or requirement.marker.evaluate(environment))
    }
    return sorted(found)


def _distributions(site_packages: Path) -> Iterator[tuple[str, str, Path]]:
    if not site_packages.is_dir():
        return
    for directory in site_packages.glob("*.dist-info"):
        # A wheel's escaping leaves no dash in either part (PEP 427).
        name, dash, version = directory.name.removesuffix(".dist-info").rpartition("-")
        # A directory without METADATA is what an interrupted install or removal left.
        if dash and (directory / "METADATA").is_file():
            yield str(canonicalize_name(name)), version, directory


def _pin(name: str, version: str, directory: Path) -> str:
    try:
        # PEP 610: the file is there for what did not come from an index.
        origin: Any = json.loads((directory / "direct_url.json").read_text("utf-8"))
        url = str(origin["url"])
        if vcs := origin.get("vcs_info"):
            url = f"{vcs['vcs']}+{url}@{vcs['commit_id']}"
        if folder := origin.get("subdirectory"):
            url += f"#subdirectory={folder}"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{name}=={version}"
    return f"{name} @ {url}"


def _requires(directory: Path) -> Iterator[Requirement]:
    from email.parser import HeaderParser  # only the maker of a base needs it

    headers = HeaderParser().parsestr((directory / "METADATA").read_text("utf-8", errors="replace"))
    for text in headers.get_all("Requires-Dist") or ():
        try:
            yield Requirement(text)
        except InvalidRequirement:
            continue


def _python_markers(site_packages: Path) -> dict[str, str]:
    # lib/python3.12/site-packages: markers are about that Python, not about the host's.
    if match := re.fullmatch(r"python(\d+\.\d+)", site_packages.parent.name):
        return {"python_version": match[1], "python_full_version": f"{match[1]}.0"}
    return {}
