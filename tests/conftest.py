"""Fixtures of the whole suite."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Nothing is compiled, in tests or what they start: BoTorch then falls back with a warning, which is an error here. An
# extension somebody's earlier work left in the usual folder is not found either.
os.environ["CXX"] = "no-compiler-in-tests"
os.environ["TORCH_EXTENSIONS_DIR"] = str(Path(tempfile.gettempdir()) / f"no-extensions-{os.getpid()}")

# Property-based tests look at the same examples every time, on a machine of any speed. `make slow` draws new and more
# ones (`--hypothesis-profile random`); what it finds prints the `@reproduce_failure` that brings it back.
PATIENT = settings(deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("fixed", PATIENT, derandomize=True, database=None)
settings.register_profile("random", PATIENT)
settings.load_profile("fixed")

MORE = 5  # times as many examples in the random profile, of every test


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Raise the number of examples in the random profile, also where a test says its own."""
    if config.getoption("--hypothesis-profile") != "random":
        return
    for item in items:
        test = getattr(item, "obj", None)
        own = getattr(test, "_hypothesis_internal_use_settings", None)  # there is no public way
        if own is not None:
            test._hypothesis_internal_use_settings = settings(own, max_examples=MORE * own.max_examples)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of measured and computed data that tests compare with; it is not part of the project.

    `INVDESIGN_SHARED_DATA` names it; else it is looked for in `../shared/data` beside the project.
    """
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("INVDESIGN_SHARED_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no comparison data: {folder} is missing; set INVDESIGN_SHARED_DATA to where they are")
    return folder
