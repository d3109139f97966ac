"""Versions, machine and code revision of a run; recorded per session, outside the digest."""

from __future__ import annotations

import os
import platform
import re
import socket
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from invdesign.version import __version__


@cache
def package_versions() -> dict[str, str]:
    """Installed versions of invdesign and its requirements, without importing them."""
    found = {"invdesign": __version__}
    for requirement in requires("invdesign") or []:
        name = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue  # an extra that is not installed
    return found


def describe_environment(folder: Path) -> dict[str, Any]:
    """Versions, machine, process, and the git revision of `folder` if it has one."""
    return {
        "packages": package_versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "process": os.getpid(),
        "cores": os.cpu_count(),
        "git": git_revision(folder),
    }


def git_revision(folder: Path) -> str | None:
    """Commit checked out around `folder`, with `-dirty` if files differ; None outside a repository."""
    try:
        answer = subprocess.run(  # noqa: S603 - a fixed command; git is found on the user's path
            ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None
