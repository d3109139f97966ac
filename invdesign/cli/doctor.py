"""Is this machine ready? Every finding says what was looked at and what to do."""

from __future__ import annotations

import os
import platform
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from invdesign import registry
from invdesign.engines.local import usable_cores
from invdesign.environment import package_versions
from invdesign.errors import InvdesignError
from invdesign.store.database import on_network
from invdesign.store.lock import run_lock


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    subject: str
    verdict: Literal["fine", "note", "problem"]
    message: str

    def line(self) -> str:
        """For a person."""
        return f"{self.verdict:8}{self.subject}: {self.message}"

    def as_dict(self) -> dict[str, str]:
        """For a program."""
        return asdict(self)


def examine(folder: Path) -> list[Finding]:
    """Look at the installation, the machine and the folder runs would go to."""
    return [*_versions(), *_plugins(), *_machine(), *_folder(folder)]


def _versions() -> Iterator[Finding]:
    supported = (3, 11) <= sys.version_info[:2] <= (3, 13)
    yield Finding(
        "Python",
        "fine" if supported else "problem",
        f"{platform.python_version()} (3.11 to 3.13 are supported)",
    )
    for name, version in package_versions().items():
        yield Finding(name, "fine", version)
    yield Finding("SQLite", "fine", sqlite3.sqlite_version)


def _plugins() -> Iterator[Finding]:
    for group in registry.GROUPS:
        for name in registry.names(group):
            if refused := registry.rejected(group, name):
                yield Finding(f"{group}/{name}", "problem", refused)
            try:
                registry.load(group, name)
            except InvdesignError as error:
                yield Finding(f"{group}/{name}", "problem", str(error))
        names = registry.names(group)
        if names:
            yield Finding(group, "fine", ", ".join(names))


def _machine() -> Iterator[Finding]:
    import psutil

    memory = psutil.virtual_memory()
    yield Finding("cores", "fine", f"{usable_cores()} usable of {os.cpu_count()}")
    enough = memory.available > 2e9 * usable_cores()
    advice = "" if enough else "; a worker with CHGNet needs about 1 GB: start fewer with --workers"
    yield Finding(
        "memory",
        "fine" if enough else "note",
        f"{memory.available / 1e9:.1f} GB free of {memory.total / 1e9:.1f} GB{advice}",
    )
    import torch

    if torch.cuda.is_available():
        yield Finding("GPU", "fine", torch.cuda.get_device_name())
    else:
        yield Finding("GPU", "note", "none seen by torch; potentials run on the CPU")


def _folder(folder: Path) -> Iterator[Finding]:
    import psutil

    free = psutil.disk_usage(str(folder)).free
    yield Finding("disk", "fine" if free > 1e9 else "problem", f"{free / 1e9:.1f} GB free in {folder}")
    if on_network(folder):
        yield Finding(
            "file system",
            "note",
            f"{folder} is on a network: a run locks its store; read it with invdesign status",
        )
    try:
        with tempfile.TemporaryDirectory(dir=folder) as trial, run_lock(Path(trial)):
            yield Finding("locks", "fine", "file locks work here")
    except (OSError, InvdesignError) as error:
        yield Finding(
            "locks", "problem", f"file locks do not work in {folder}: {error}. Choose another --run-dir"
        )
