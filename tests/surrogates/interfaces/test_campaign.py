"""Interfaces of the space `interface` pass through the evaluators of their energies."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from invdesign.campaign.load import campaign_from
from invdesign.campaign.model import Campaign
from invdesign.errors import CampaignError
from invdesign.run.run import Run
from tests.support import Data

GAS = {"kind": "ase", "calculator": "ideal_gas"}
SPACE: Data = {
    "kind": "interface",
    "substrate": {"parent": "antifluorite", "planes": [[1, 0, 0]], "layers": 2, "terminations": [1]},
    "film": {"metal": "Li", "planes": [[1, 0, 0]], "layers": 4},
    "match": {"max_area": 12, "max_strain": 0.08},
    "shift": {"spacing": 1.0},
}
ENERGY: Data = {"interface_energy": {"potential": GAS, "open_ion": {"ion": "Li", "voltage": 0.5}}}
ADHESION: Data = {"work_of_adhesion": {"potential": GAS}}


def campaign(*stages: Data, **changes: object) -> Campaign:
    return campaign_from(
        {
            "version": 1,
            "name": "contact",
            "space": {**SPACE, **changes},
            "evaluate": list(stages),
            "objectives": [{"minimize": "interface_energy"}],
            "optimizer": "random",
            "budget": {"candidates": 2},
            "engine": {"kind": "local", "workers": 0},
        }
    )


@pytest.mark.parametrize(("boundary", "cell"), [("sandwich", "normal"), ("vacuum", False)])
def test_energies_belong_to_the_relaxed_interface(tmp_path: Path, boundary: str, cell: object) -> None:
    """Atoms without energy give interfaces without energy, of which nothing is missing, and not of a reference."""
    relax = {"relax": {"potential": GAS, "cell": cell}}
    made = campaign(relax, ENERGY, ADHESION, boundary=boundary)
    names = ("interface_energy", "interface_strain_energy", "interface_excess", "work_of_adhesion")
    assert {made.measured_on[name] for name in names} == {"relaxed"}
    with closing(Run.create(made, tmp_path / "run")) as run:
        run.execute()
        found = run.top(2)
        assert len(found) == 2
        for trial in found:
            assert [trial["properties"][name] for name in names] == pytest.approx([0.0] * 4)


def test_energies_of_two_potentials_never_meet() -> None:
    relax = {"relax": {"potential": {"kind": "ase", "calculator": "emt"}, "cell": "normal"}}
    with pytest.raises(CampaignError, match="energies of two potentials must not meet"):
        campaign(relax, ENERGY)
