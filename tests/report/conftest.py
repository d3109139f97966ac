"""Runs the tests of reports and exports look at, made once."""

from __future__ import annotations

from typing import Any

import pytest

from invdesign.run.run import Run
from tests.support import finished

PLUGINS = "tests.report.plugins"
EVIL = "<script>alert(1)</script>"


def crystals(**changes: Any) -> dict[str, Any]:
    """A campaign over rocksalts: a gate, failures, infeasible ones, two objectives with an uncertainty."""
    return {
        "version": 1,
        "name": "rocksalts",
        "description": "Which rocksalts are dense and wide?",
        "seed": 2,
        "space": f"{PLUGINS}:Crystals",
        "evaluate": [
            {f"{PLUGINS}:Squeeze": {"name": "squeeze", "gate": {"density": {"max": 5}}}},
            {f"{PLUGINS}:Spacing": {"name": "spacing"}},
        ],
        "objectives": [{"minimize": "decomposition_energy"}, {"maximize": "lattice_constant"}],
        "constraints": [{"decomposition_energy": {"max": 0.05}}],
        "optimizer": {"kind": "genetic", "population": 30},  # the first 30 meet every ending
        "budget": {"candidates": 60},
        **changes,
    }


def parameters(function: str = "sphere", candidates: int = 30, **changes: Any) -> dict[str, Any]:
    """A campaign over two numbers."""
    several = function in {"zdt1", "zdt2", "dtlz2"}
    return {
        "version": 1,
        "name": "numbers",
        "space": {"kind": "parameters", "parameters": {"x": {"real": [0, 1]}, "y": {"real": [0, 1]}}},
        "evaluate": [{"landscape": {"function": function}}],
        "objectives": [{"minimize": "f1"}, {"minimize": "f2"}] if several else [{"minimize": "height"}],
        "optimizer": {"kind": "random", "batch": 10},
        "budget": {"candidates": candidates},
        **changes,
    }


@pytest.fixture(scope="session")
def crystal_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run over crystals."""
    return finished(crystals(), tmp_path_factory.mktemp("crystals") / "run")


@pytest.fixture(scope="session")
def number_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run over parameters with one objective."""
    return finished(parameters(), tmp_path_factory.mktemp("numbers") / "run")
