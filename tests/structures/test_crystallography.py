"""Crystals from one position per orbit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from invdesign.errors import InvdesignError
from invdesign.structures.crystallography import Crystal, read_crystals

ROCKSALT: dict[str, Any] = {
    "name": "salt",
    "formula": "NaCl",
    "spacegroup": 225,
    "cell": (5.64, 5.64, 5.64, 90, 90, 90),
    "sites": (
        {"label": "M", "element": "Na", "wyckoff": "4a", "position": (0, 0, 0), "oxidation_state": 1},
        {"label": "X", "element": "Cl", "wyckoff": "4b", "position": (0.5, 0.5, 0.5)},
    ),
    "source": "a test",
}
SPINEL_OXYGEN = {"label": "X", "element": "O", "wyckoff": "32e", "position": (0.2631, 0.2631, 0.2631)}


def crystal(**changes: Any) -> Crystal:
    return Crystal.model_validate({**ROCKSALT, **changes})


def test_orbits_are_generated_with_labels_and_charges() -> None:
    """One position per orbit gives the whole cell, each site with its label and formal charge."""
    structure = crystal().build_structure()
    assert structure.composition.formula == "Na4 Cl4"
    assert structure.site_properties["label"] == ["M"] * 4 + ["X"] * 4
    assert structure.site_properties["oxidation_state"] == [1] * 4 + [None] * 4
    assert len(crystal().build_structure(primitive=True)) == 2


def test_a_position_off_its_site_is_refused() -> None:
    """A typo in a coordinate changes the multiplicity, and the message says which site."""
    wrong = ({**ROCKSALT["sites"][0], "position": (0.01, 0, 0)}, ROCKSALT["sites"][1])
    with pytest.raises(InvdesignError, match=r"salt: site M at .* generates 24 positions, Wyckoff 4a has 4"):
        crystal(sites=wrong).build_structure()


def test_a_formula_that_the_positions_do_not_give_is_refused() -> None:
    """The published formula is a check on the positions."""
    with pytest.raises(InvdesignError, match="positions give NaCl, published formula is KCl"):
        crystal(formula="KCl").build_structure()


@pytest.mark.parametrize(("setting", "shortest"), [(2, 1.9), (1, 0.0)])
def test_the_origin_choice_decides_where_atoms_are(setting: int, shortest: float) -> None:
    """Coordinates for one origin of Fd-3m, read with the other, are another, impossible crystal."""
    spinel = {
        "formula": "LiMn2O4",
        "spacegroup": 227,
        "setting": setting,
        "cell": (8.2476, 8.2476, 8.2476, 90, 90, 90),
        "sites": (
            {"label": "A", "element": "Li", "wyckoff": "8a", "position": (0.125, 0.125, 0.125)},
            {"label": "M", "element": "Mn", "wyckoff": "16d", "position": (0.5, 0.5, 0.5)},
            SPINEL_OXYGEN,
        ),
    }
    if setting == 1:
        with pytest.raises(InvdesignError, match="Wyckoff"):
            crystal(**spinel).build_structure()
        return
    structure = crystal(**spinel).build_structure()
    assert structure.get_neighbor_list(3.0)[3].min() > shortest


def test_unknown_keys_are_refused() -> None:
    """A misspelt key in a data file is an error, not ignored."""
    with pytest.raises(ValidationError, match="spacegruop"):
        crystal(spacegruop=1)


def test_a_file_is_read_by_name_and_names_are_unique(tmp_path: Path) -> None:
    """YAML lists become crystals; a second one of the same name would hide the first."""
    entry = """
- name: salt
  formula: NaCl
  spacegroup: 225
  cell: [5.64, 5.64, 5.64, 90, 90, 90]
  sites:
    - {label: M, element: Na, wyckoff: 4a, position: [0, 0, 0]}
    - {label: X, element: Cl, wyckoff: 4b, position: [0.5, 0.5, 0.5]}
  source: a test
"""
    file = tmp_path / "one.yaml"
    file.write_text(entry)
    assert list(read_crystals(file)) == ["salt"]
    twice = tmp_path / "two.yaml"
    twice.write_text(entry + entry)
    with pytest.raises(
        InvdesignError, match=r"two\.yaml: the name of a crystal must be unique, twice there: salt"
    ):
        read_crystals(twice)
