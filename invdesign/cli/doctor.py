"""Is this machine ready? Every finding says what was looked at and what to do."""

from __future__ import annotations

import os
import platform
import sqlite3
import sys
import tempfile
import threading
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

PATIENCE = 15.0  # seconds for the import of a foreign plug-in; torch takes a few


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
            if fault := _fault_of(group, name):
                yield Finding(f"{group}/{name}", "problem", fault)
        names = registry.names(group)
        if names:
            yield Finding(group, "fine", ", ".join(names))


def _fault_of(group: str, name: str) -> str:
    """Why a plug-in cannot be loaded; empty where it can."""
    if registry.is_built_in(group, name):
        return _load_fault(group, name)
    faults: list[str] = []
    # What a foreign package does while it is imported may never end; this process does.
    loading = threading.Thread(target=lambda: faults.append(_load_fault(group, name)), daemon=True)
    loading.start()
    loading.join(PATIENCE)
    unfinished = (
        f"the plug-in '{name}' of {registry.provider(group, name)} was not loaded within {PATIENCE:g} s"
    )
    return faults[0] if faults else unfinished


def _load_fault(group: str, name: str) -> str:
    try:
        registry.load(group, name)
    except InvdesignError as error:
        return str(error)
    return ""


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
