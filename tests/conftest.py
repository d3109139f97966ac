"""Fixtures of the whole suite."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


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
