"""What several tests of surrogates start from."""

from __future__ import annotations

import pytest

from invdesign.settings import Settings, load


@pytest.fixture
def emt() -> Settings:
    """Copper, silver, gold and a few others, in microseconds."""
    potential: Settings = load("potentials", {"kind": "ase", "calculator": "emt"})
    return potential
