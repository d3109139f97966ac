"""The evaluator `defect_energy`: energies of metals with the EMT potential, its words, and its refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from pymatgen.core import Lattice, Structure

from invdesign.candidate import Candidate, Design, Evaluation, Input, Proposal, genome_key
from invdesign.settings import load
from invdesign.structures.site_labels import NATIVE, set_labels
from surrogates.defects.evaluator import find_freedom
from surrogates.potentials.ase import ASECalculator
from surrogates.relaxation.relax import relax_structure
from tests.surrogates.references import made

EMT = ASECalculator(calculator="emt")
GOLD, COPPER = relax_structure(Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.06), ["Au"], [[0, 0, 0]]), EMT), (
    relax_structure(Structure.from_spacegroup("Fm-3m", Lattice.cubic(3.6), ["Cu"], [[0, 0, 0]]), EMT)
)  # fmt: skip
HOST = COPPER.structure.make_supercell([2, 2, 2], in_place=False)
SETTINGS = {"kind": "defect_energy", "potential": {"kind": "ase", "calculator": "emt"}}


def evaluate(structure: Structure, cell: Any = False, host: Structure = HOST, **settings: Any) -> Evaluation:
    relaxed = relax_structure(structure, EMT, cell=cell, fmax=0.01)
    genome: dict[str, Any] = {"number": 1}
    roles = {"host": host, "initial": structure, "relaxed": relaxed.structure}
    item = Input(
        Candidate(1, genome_key(genome), Proposal(genome)),
        Design(composition=structure.composition, structures={"host": host, "initial": structure}),
        {"energy_per_atom": relaxed.energy / len(structure)},
        roles,
        7,
    )
    evaluator: Any = load("evaluators", {**SETTINGS, "structure": "relaxed", "fmax": 0.01, **settings})
    return evaluator.evaluate([item])[0]  # type: ignore[no-any-return]


def change(*, empty: int = 0, foreign: str = "", host: Structure = HOST) -> Structure:
    """The host with its first sites empty, and another atom on its last."""
    found = host.copy()
    found.perturb(0.02, seed=3)
    set_labels(found, {NATIVE: [site.specie.symbol for site in found]})
    if foreign:
        labels = dict(found[-1].properties)
        found.replace(len(found) - 1, foreign, properties=labels)
    found.remove_sites(range(empty))
    return found


def gold_set(folder: Path) -> str:
    file = folder / "metals.json"
    energies = {"Au": GOLD.energy / 4, "Cu": COPPER.energy / 4, "CuAu": -1.0}
    file.write_text(made(energies, EMT.fingerprint).to_json(), encoding="utf-8")
    return str(file)


def test_a_perfect_cell_costs_nothing() -> None:
    found = evaluate(change())
    assert found.properties["defect_energy"] == pytest.approx(0, abs=2e-3)
    assert "no defect" in found.details["defect_energy"]
    assert "no chemical potential needed" in found.details["defect_energy"]


def test_a_vacancy_is_counted_against_the_hosts_own_atoms() -> None:
    structure = change(empty=1)
    found = evaluate(structure)
    relaxed = relax_structure(structure, EMT, cell=False, fmax=0.01)
    assert found.properties["defect_energy"] == pytest.approx(
        relaxed.energy - 31 / 4 * COPPER.energy, abs=2e-3
    )
    said = found.details["defect_energy"]
    assert "1 Cu vacant; fixed cell of 31 atoms, images 7.2 Å apart, neutral" in said
    assert "formula units of the host" in said
    assert not found.systematic


def test_the_host_is_relaxed_like_the_candidate() -> None:
    strained = HOST.copy()
    strained.apply_strain(0.01)
    free, fixed = (evaluate(change(empty=1, host=strained), cell, strained) for cell in (True, False))
    equilibrium = evaluate(change(empty=1))
    assert "free cell of 31" in free.details["defect_energy"]
    assert "fixed cell of 31" in fixed.details["defect_energy"]
    assert free.properties["defect_energy"] == pytest.approx(
        equilibrium.properties["defect_energy"], abs=0.05
    )


def test_a_foreign_atom_needs_a_source(tmp_path: Path) -> None:
    structure = change(foreign="Au")
    reference = gold_set(tmp_path)
    named = evaluate(structure, reference=reference, conditions={"equilibrium_with": ["Au"]})
    relaxed = relax_structure(structure, EMT, cell=False, fmax=0.01)
    energy = relaxed.energy - 31 / 4 * COPPER.energy - GOLD.energy / 4
    assert named.properties["defect_energy"] == pytest.approx(energy, abs=2e-3)
    assert "1 Au on Cu" in named.details["defect_energy"]
    assert "takes Au, gives Cu" in named.details["defect_energy"]
    alone = evaluate(structure, reference=reference)
    assert alone.failure is not None
    assert "potentials of Au are not fixed" in alone.failure.message
    assert "'limits'" in alone.failure.message


def test_without_labels_the_atoms_are_counted() -> None:
    bare = change(empty=2)
    for site in bare:
        site.properties = {}
    assert "-2 Cu; fixed cell" in evaluate(bare).details["defect_energy"]


def test_another_supercell_is_refused() -> None:
    found = evaluate(change(host=COPPER.structure))
    assert found.failure is not None
    assert "is not that of the host" in found.failure.message


def test_freedom_of_the_cell_shows_in_the_lattice() -> None:
    stretched = Structure(HOST.lattice.matrix * [[1], [1], [1.01]], HOST.species, HOST.frac_coords)
    assert find_freedom(HOST, HOST) is False
    assert find_freedom(stretched, HOST) == "normal"
    swollen = HOST.copy()
    swollen.apply_strain(0.01)
    assert find_freedom(swollen, HOST) is True


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"conditions": {"limits": {"Li": "rich"}}}, "energies of two potentials must not meet"),
        ({"conditions": {"limits": {"Lx": "rich"}}}, "'Lx' is not an element"),
        ({"conditions": {"equilibrium_with": ["Li2Ox", "Li("]}}, "Li2Ox"),
        ({"conditions": {"ion": "Li"}}, "'ion' and 'voltage' belong together"),
        ({"potential": "chgnet", "conditions": {"equilibrium_with": ["Li9O"]}}, "Li9O is no phase of"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        load("evaluators", {**SETTINGS, **settings})


def test_limits_keep_their_order_in_stored_settings() -> None:
    conditions = {"limits": {"O": "poor", "Li": "rich"}}
    evaluator: Any = load("evaluators", {"kind": "defect_energy", "conditions": conditions})
    again: Any = load("evaluators", evaluator.model_dump(mode="json"))
    assert again == evaluator
    assert again.conditions.limits == (("O", "poor"), ("Li", "rich"))
    other: Any = load(
        "evaluators", {"kind": "defect_energy", "conditions": {"limits": {"Li": "rich", "O": "poor"}}}
    )
    assert other.fingerprint != evaluator.fingerprint
