"""Reference sets beside the campaigns hold what these need, each phase with its source."""

from __future__ import annotations

from pathlib import Path

import pytest

from surrogates.stability.coverage import require_coverage
from surrogates.stability.reference import load_reference
from tests.support import ROOT

DATA = ROOT / "campaigns" / "data"
SYSTEMS = {
    "cathode-sulfide": [["Li", "Co", "O", "P", "S", "Cl", metal] for metal in ("Al", "Zr", "Nb")],
    "halide-electrolytes": [["Li", "Y", "In", "Zr", "Sc", "Cl", "Br"]],
    "sulfide-electrolytes": [["Li", "P", "S", "O", "Cl", "Br", "I", "Co"]],
}


@pytest.mark.parametrize("path", sorted(DATA.glob("*.json")), ids=lambda path: path.stem)
def test_sets_of_campaigns(path: Path) -> None:
    """No known pair of elements of the campaign is without a compound, and every phase names where it is from."""
    reference = load_reference(path)
    assert all(phase.source for phase in reference.phases)
    for elements in SYSTEMS[path.stem]:
        require_coverage(reference, elements)


def test_models_are_called_so() -> None:
    """Compounds with the coordinates of others say so, and whose they are."""
    for name in ("halide-electrolytes", "sulfide-electrolytes"):
        models = [phase for phase in load_reference(DATA / f"{name}.json").phases if "model" in phase.name]
        assert models
        assert all(phase.source.startswith("Model: ") for phase in models)
