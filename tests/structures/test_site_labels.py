"""Labels of sites: they survive the store, exports and evaluators, and faults in them are named."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from invdesign.candidate import Candidate, Design, Evaluation, Input, Proposal
from invdesign.report.export import Ranked, to_atoms
from invdesign.structures.files import structure_from_json, structure_to_cif, structure_to_json
from invdesign.structures.reading.raw import StructureFileError
from invdesign.structures.reading.read import read_structure
from invdesign.structures.site_labels import SiteLabelError, carry_labels, read_labels, set_labels
from invdesign.worker import evaluate_inputs

ELEMENTS = ("Li", "P", "S", "Co", "O")


@st.composite
def labelled_structures(draw: st.DrawFn) -> Structure:
    """A row of atoms whose sites carry some or all of the labels."""
    n = draw(st.integers(1, 5))
    species = draw(st.lists(st.sampled_from(ELEMENTS), min_size=n, max_size=n))
    heights = [[0.0, 0.0, (k + draw(st.floats(0, 0.1))) / n] for k in range(n)]
    structure = Structure(Lattice.orthorhombic(4.0, 5.0, 3.0 * n + 1.0), species, heights)
    values = {
        "side": st.sampled_from(["substrate", "film", "host", "defect"]),
        "layer": st.integers(0, 9),
        "inner": st.booleans(),
        "native": st.sampled_from(["", *ELEMENTS]),
    }
    chosen = draw(st.sets(st.sampled_from(sorted(values)), min_size=1))
    set_labels(
        structure,
        {name: draw(st.lists(values[name], min_size=n, max_size=n)) for name in values if name in chosen},
    )
    return structure


@settings(max_examples=30, deadline=None)
@given(labelled_structures())
def test_labels_survive_the_store_and_every_export(structure: Structure) -> None:
    """JSON, CIF and extended XYZ give back the labels of all sites, next to the same species and places."""
    from ase.io.extxyz import read_extxyz, write_extxyz

    labels = read_labels(structure)
    stored = structure_from_json(structure_to_json(structure))
    assert read_labels(stored) == labels
    assert structure_to_json(stored) == structure_to_json(structure)
    written = io.StringIO()
    write_extxyz(written, [to_atoms(Ranked(1, 0, "", structure, {}, {}, {}, {}))])
    for name, text in (("a.cif", structure_to_cif(structure)), ("a.extxyz", written.getvalue())):
        found = read_structure(text, name).structure
        assert read_labels(found) == labels, name
        assert found.species == structure.species
    (atoms,) = read_extxyz(io.StringIO(written.getvalue()))
    assert all(f"invdesign_{name}" in atoms.arrays for name in labels)


def test_other_programs_read_a_cif_with_labels() -> None:
    """The private columns do not disturb pymatgen and ASE."""
    import ase.io

    structure = _pair()
    text = structure_to_cif(structure)
    assert "_invdesign_atom_site_side" in text
    assert Structure.from_str(text, fmt="cif").species == structure.species
    atoms = ase.io.read(io.StringIO(text), format="cif")
    assert atoms.get_chemical_symbols() == ["Li", "O"]  # type: ignore[union-attr]  # one frame


def test_texts_without_labels_are_as_before() -> None:
    """A structure without labels keeps its text, and so its hash, whatever other properties its sites have."""
    plain = Structure(Lattice.cubic(4.0), ["Li", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    text = structure_to_json(plain)
    assert set(json.loads(text)) == {"lattice", "species", "positions"}
    plain.add_site_property("magmom", [0.0, 1.0])
    assert structure_to_json(plain) == text
    assert "invdesign" not in structure_to_cif(plain)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"side": ["film"]}, "'side' has 1 values for 2 sites"),
        ({"sides": ["film", "film"]}, "no label 'sides' of sites. Did you mean 'side'"),
        ({"layer": [1, True]}, "'layer' of site 2 is True, must be a whole number"),
        ({"inner": [0, 1]}, "'inner' of site 1 is 0, must be true or false"),
        ({"native": ["Li", "Qq"]}, "'native' of site 2 is 'Qq', must be the symbol of an element"),
        ({"side": ["film", "a b"]}, "'side' of site 2 is 'a b'"),
        ({"side": "film"}, "'side' must be a list"),
        (["film"], "must be lists by name"),
        ({"layer": [1], "inner": [1, 1]}, "'layer' has 1 values.*'inner' of site 1"),
    ],
)
def test_faulty_labels_of_a_store_are_named(labels: object, message: str) -> None:
    """Every mistake is told, with the site and what is allowed."""
    data = {**json.loads(structure_to_json(_pair())), "labels": labels}
    with pytest.raises(StructureFileError, match=message):
        structure_from_json(json.dumps(data))


def test_a_label_that_only_some_sites_carry_is_refused() -> None:
    """A site without the label is named, not filled in."""
    structure = _pair()
    structure.append("P", [0.2, 0.2, 0.2])
    with pytest.raises(SiteLabelError, match="'side' of site 3 is None"):
        structure_to_json(structure)


def test_faulty_labels_of_a_cif_are_refused() -> None:
    """A word of another form is named with its site."""
    text = structure_to_cif(_pair()).replace("yes", "perhaps")
    with pytest.raises(StructureFileError, match="'inner' of site 2 is 'perhaps', must be true or false"):
        read_structure(text, "a.cif")


def test_labels_are_carried_to_the_same_sites_only() -> None:
    """Other species, another order or labels of its own keep a structure as it is."""
    source = _pair()
    plain = Structure(source.lattice, ["Li", "O"], source.frac_coords + 0.01)
    assert read_labels(carry_labels(source, plain)) == read_labels(source)
    turned = Structure(source.lattice, ["O", "Li"], source.frac_coords)
    assert carry_labels(source, turned) is turned
    assert carry_labels(source, source) is source


@dataclass
class Forgetful:
    """An evaluator that returns the sites without their labels, as outside programs do."""

    requires: ClassVar = frozenset({"structure:initial"})
    provides: ClassVar = {"structure:relaxed": ""}

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        """Return the structure of each input from bare arrays."""
        found = [item.structures["initial"] for item in inputs]
        return [
            Evaluation(structures={"relaxed": Structure(s.lattice, s.species, s.frac_coords)}) for s in found
        ]


def test_workers_restore_labels_that_an_evaluator_does_not_know() -> None:
    """A structure from a program or a function has the labels of the sites it was made from."""
    structure = _pair()
    item = Input(
        Candidate(0, "k", Proposal({})),
        Design({"initial": structure}),
        {},
        {"initial": structure},
        0,
    )
    (found,) = evaluate_inputs(Forgetful(), [item], "relax")  # type: ignore[arg-type]  # a part of the contract
    assert read_labels(found.structures["relaxed"]) == read_labels(structure)


def _pair() -> Structure:
    structure = Structure(Lattice.cubic(4.0), ["Li", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    set_labels(
        structure,
        {"side": ["film", "substrate"], "layer": [1, 2], "inner": [False, True], "native": ["", "O"]},
    )
    structure[0].properties["layer"] = np.int64(1)
    return structure
