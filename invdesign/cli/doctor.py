"""Checks of the installation, the machine and the stores of runs."""

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
from invdesign.artifacts import examine_contents, find_artifacts
from invdesign.engines.local import usable_cores
from invdesign.environment import package_versions
from invdesign.errors import InvdesignError
from invdesign.store.database import is_on_network
from invdesign.store.examining import examine_store
from invdesign.store.lock import lock_run
from invdesign.store.store import STORE_FILE, Store
from invdesign.store.values import parse_bounded_json

MAX_IMPORT_SECONDS = 15.0  # for a foreign plug-in; torch takes a few (chosen)


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check."""

    subject: str
    verdict: Literal["fine", "note", "problem"]
    message: str

    def format_line(self) -> str:
        """Format the finding as a line of text."""
        return f"{self.verdict:8}{self.subject}: {self.message}"

    def as_dict(self) -> dict[str, str]:
        """The finding as JSON."""
        return asdict(self)


def examine_machine(folder: Path) -> list[Finding]:
    """Check the installation, the machine and a `folder` for runs."""
    return [*_examine_versions(), *_examine_plugins(), *_examine_hardware(), *_examine_folder(folder)]


def examine_run(folder: Path) -> list[Finding]:
    """Check the run in `folder`: rows, structures and file of its store, and its artifacts.

    Raises:
        StoreError: there is no run, or its store cannot be opened.
    """
    path = folder / STORE_FILE
    found = examine_store(path)
    if not found:
        rows = f"{path.stat().st_size / 1e6:.1f} MB; every row and structure is as it was written"
        return [Finding(str(path), "fine", rows), *_examine_artifacts(folder)]
    named = {damage.table for damage in found}
    verdicts = [
        Finding(damage.table or "file", "problem", damage.message + _table_meaning(damage.table))
        for damage in found
    ]
    return [*verdicts, Finding("what to do", "note", _describe_remedy(folder, named))]


def _examine_artifacts(folder: Path) -> Iterator[Finding]:
    """Check the files of the artifacts that the stored campaign names; no code of it is imported."""
    with Store.open(folder / STORE_FILE, writable=False) as store:
        artifacts = find_artifacts(parse_bounded_json(store.read_entry("campaign")))
    for artifact, fault in examine_contents(artifacts, folder):
        fine = f"{artifact.size / 1e6:.3g} MB with the SHA-256 hash {artifact.sha256}"
        remedy = f"{fault}. Put back the file, {fine}, from a backup or the model it came from"
        yield Finding(f"artifact {artifact.name}", "problem" if fault else "fine", remedy if fault else fine)


_MEANINGS = {
    "meta": "what was searched for, and by whom; without it nothing can be read",
    "sessions": "who worked on the run and when; nothing that was found depends on it",
    "events": "what the optimizer decided; a run cannot go on past it",
    "candidates": "what was proposed, and how it ended",
    "tasks": "how evaluations were handed to workers; nothing that was found depends on it",
    "evaluations": "what evaluators said; the same evaluators say the same again",
    "measurements": "results from outside; they have to be told again",
    "inherited": "evaluations of the run this one was forked from; the earlier run has them",
    "structures": "structures that evaluators made; the same evaluators make the same again",
}


def _table_meaning(table: str) -> str:
    meaning = _MEANINGS.get(table)
    return f" ({meaning})" if meaning else ""


def _describe_remedy(folder: Path, tables: set[str]) -> str:
    """Steps to repair damage, in the order to try them."""
    steps = [
        f"Keep a copy of {folder} as it is. Where there is a backup, put it in its place: resume goes on from it"
    ]
    if "" in tables:
        steps.append(f"What SQLite can still read is recovered by: sqlite3 {folder / STORE_FILE} .recover")
    if "meta" not in tables:
        query = "select value from meta where key = 'campaign_text'"
        steps.append(
            "Else start the run again in another folder: on this machine, the same campaign and seed find the same. "
            f'The campaign is in the store: sqlite3 {folder / STORE_FILE} "{query}"'
        )
    if "measurements" in tables:
        steps.append("Results from outside are told again: invdesign tell")
    return ". ".join(steps)


def _examine_versions() -> Iterator[Finding]:
    supported = (3, 11) <= sys.version_info[:2] <= (3, 13)
    yield Finding(
        "Python",
        "fine" if supported else "problem",
        f"{platform.python_version()} (3.11 to 3.13 are supported)",
    )
    for name, version in package_versions().items():
        yield Finding(name, "fine", version)
    yield Finding("SQLite", "fine", sqlite3.sqlite_version)


def _examine_plugins() -> Iterator[Finding]:
    for group in registry.GROUPS:
        for name in registry.names(group):
            if refused := registry.explain_rejected(group, name):
                yield Finding(f"{group}/{name}", "problem", refused)
            if fault := _find_fault(group, name):
                yield Finding(f"{group}/{name}", "problem", fault)
        names = registry.names(group)
        if names:
            yield Finding(group, "fine", ", ".join(names))


def _find_fault(group: str, name: str) -> str:
    """Reason why a plug-in cannot be loaded; empty if it can."""
    if registry.is_built_in(group, name):
        return _load_fault(group, name)
    faults: list[str] = []
    # What a foreign package does while it is imported may never end; this process does.
    loading = threading.Thread(target=lambda: faults.append(_load_fault(group, name)), daemon=True)
    loading.start()
    loading.join(MAX_IMPORT_SECONDS)
    unfinished = f"the plug-in '{name}' of {registry.name_distributions(group, name)} was not loaded within {MAX_IMPORT_SECONDS:g} s"
    return faults[0] if faults else unfinished


def _load_fault(group: str, name: str) -> str:
    try:
        registry.load(group, name)
    except InvdesignError as error:
        return str(error)
    return ""


def _examine_hardware() -> Iterator[Finding]:
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


def _examine_folder(folder: Path) -> Iterator[Finding]:
    import psutil

    free = psutil.disk_usage(str(folder)).free
    yield Finding("disk", "fine" if free > 1e9 else "problem", f"{free / 1e9:.1f} GB free in {folder}")
    if is_on_network(folder):
        yield Finding(
            "file system",
            "note",
            f"{folder} is on a network: a run locks its store; read it with invdesign status",
        )
    try:
        with tempfile.TemporaryDirectory(dir=folder) as trial, lock_run(Path(trial)):
            yield Finding("locks", "fine", "file locks work here")
    except (OSError, InvdesignError) as error:
        yield Finding(
            "locks", "problem", f"file locks do not work in {folder}: {error}. Choose another --run-dir"
        )
