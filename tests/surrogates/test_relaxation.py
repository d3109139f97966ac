"""Relaxations end in minima, say how far they got, and fail with a reason."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pymatgen.core import Lattice, Structure
from ruamel.yaml import YAML
from scipy.spatial.transform import Rotation

from invdesign.candidate import Candidate, Design, Evaluation, Input, Proposal
from invdesign.protocols import Forces
from invdesign.settings import load
from invdesign.structures.site_labels import set_labels
from surrogates.filters.composition import ChargeNeutrality
from surrogates.filters.geometry import MinimumDistance
from surrogates.potentials.ase import ASECalculator
from surrogates.potentials.calculator import PotentialCalculator
from surrogates.potentials.chgnet import CHGNet
from surrogates.relaxation.relax import Relax, RelaxationError, relax_structure, to_atoms
from surrogates.transport.bottleneck import BottleneckRadius

EMT = ASECalculator(calculator="emt")
COPPER = 3.590  # Å, EMT's own lattice constant
EASY = ("LiF", "LiCl", "LiBr", "LiI", "Li2O", "Li2S", "Li3N", "Si")


def copper(a: float = COPPER, rattle: float = 0.0, seed: int = 0) -> Structure:
    """Four atoms of copper, displaced at random."""
    corners = [(0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)]
    structure = Structure(Lattice.cubic(a), ["Cu"] * 4, corners)
    moves = np.random.default_rng(seed).normal(0, rattle, (4, 3)) if rattle else np.zeros((4, 3))
    return Structure(
        structure.lattice, structure.species, structure.cart_coords + moves, coords_are_cartesian=True
    )


def evaluated(evaluator: Relax, structure: Structure) -> Evaluation:
    """What the evaluator says of a structure."""
    item = Input(
        Candidate(0, "key", Proposal({})),
        Design(structures={"initial": structure}),
        {},
        {"initial": structure},
        0,
    )
    (evaluation,) = evaluator.evaluate([item])
    return evaluation


@pytest.mark.parametrize("optimizer", ["bfgs", "fire"])
def test_copper_finds_its_lattice(optimizer: Any) -> None:
    """Atoms and a stretched cell relax together; force and stress are both below their limits."""
    found = relax_structure(copper(3.8, rattle=0.1), EMT, fmax=0.005, smax=0.02, optimizer=optimizer)
    assert found.converged
    assert found.structure.volume ** (1 / 3) == pytest.approx(COPPER, abs=2e-3)
    assert found.max_force <= 0.005
    assert found.max_stress <= 0.02
    assert found.calls == found.steps + 1


def test_a_symmetric_cell_of_wrong_volume_is_not_converged() -> None:
    """One atom has no force on it and its stress, shared out as a force, looks small: it must still relax."""
    start = Structure(Lattice.from_parameters(2.7, 2.7, 2.7, 60, 60, 60), ["Cu"], [(0, 0, 0)])
    found = relax_structure(start, EMT)
    assert found.steps > 0
    assert found.structure.volume == pytest.approx(COPPER**3 / 4, rel=2e-3)


def test_what_is_relaxed_already_stays() -> None:
    """A second relaxation takes no step and changes nothing."""
    once = relax_structure(copper(3.7, rattle=0.05), EMT)
    twice = relax_structure(once.structure, EMT)
    assert twice.steps == 0
    assert twice.energy == pytest.approx(once.energy, abs=1e-9)
    np.testing.assert_allclose(twice.structure.cart_coords, once.structure.cart_coords, atol=1e-9)


@settings(max_examples=15, deadline=None)
@given(a=st.floats(3.3, 4.1), seed=st.integers(0, 10**6), rattle=st.floats(0, 0.15))
def test_the_energy_never_ends_higher_than_it_began(a: float, seed: int, rattle: float) -> None:
    """From any start near a crystal: downhill, converged, atoms in their order, and the start untouched."""
    start = copper(a, rattle, seed)
    before = start.copy()
    (first,) = EMT.compute([to_atoms(start)], frozenset({"energy"}))
    found = relax_structure(start, EMT)
    assert start == before
    assert found.converged
    assert found.energy <= first.energy + 1e-9
    assert found.structure.species == start.species


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_turned_crystal_relaxes_alike(seed: int) -> None:
    """Energy, volume and number of steps do not depend on how the crystal lies in space."""
    start = copper(3.7, 0.08, 1)
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    turned = Structure(Lattice(start.lattice.matrix @ turn), start.species, start.frac_coords)
    one, two = relax_structure(start, EMT), relax_structure(turned, EMT)
    assert two.energy == pytest.approx(one.energy, abs=1e-3)
    assert two.structure.volume == pytest.approx(one.structure.volume, rel=2e-3)
    assert abs(two.steps - one.steps) <= 2


def test_another_method_ends_in_the_same_minimum() -> None:
    """ASE's BFGS with its exponential cell filter agrees."""
    start = copper(3.75, 0.1, 3)
    atoms = to_atoms(start)
    atoms.calc = PotentialCalculator(EMT)
    BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=0.001, steps=300)
    found = relax_structure(start, EMT, fmax=0.002, smax=0.01)
    assert found.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-4)
    assert found.calls < atoms.calc.calls


def test_a_fixed_cell_stays() -> None:
    """Only atoms move; no stress is asked of the potential, none is said."""
    start = copper(3.7, 0.1)
    found = relax_structure(start, EMT, cell=False)
    assert found.converged
    assert found.structure.lattice == start.lattice
    assert np.isnan(found.max_stress)
    evaluator = Relax(potential=EMT, cell=False)
    evaluation = evaluated(evaluator, start)
    assert evaluation.failure is None
    assert "max_stress" not in evaluator.provides
    assert set(evaluation.properties) == set(evaluator.provides) - {"structure:relaxed"}


def slab(seed: int = 0) -> Structure:
    """Copper of two cells, stretched in the plane and along a turned normal, with sides and depths."""
    start = copper(3.62, rattle=0.1, seed=seed) * (1, 1, 2)
    count = len(start)
    sides = ["substrate"] * (count // 2) + ["film"] * (count - count // 2)
    set_labels(start, {"side": sides, "inner": [k == 0 for k in range(count)]})
    turned = Rotation.random(random_state=seed).as_matrix()
    lattice = np.diag([1.03, 1.03, 1.06]) @ start.lattice.matrix @ turned
    return Structure(lattice, start.species, start.frac_coords, site_properties=start.site_properties)


@pytest.mark.parametrize("optimizer", ["bfgs", "fire"])
def test_a_cell_relaxes_along_its_normal_alone(optimizer: Any) -> None:
    """The plane keeps every digit; the stress along the normal falls below the limit, in any orientation."""
    start = slab()
    found = relax_structure(start, EMT, cell="normal", fmax=0.01, smax=0.02, optimizer=optimizer)
    after, before = found.structure.lattice.matrix, start.lattice.matrix
    assert found.converged
    assert found.max_stress <= 0.02
    assert np.array_equal(after[:2], before[:2])
    normal = np.cross(before[0], before[1])
    across = np.cross(after[2] - before[2], normal)
    assert np.linalg.norm(across) < 1e-9 * np.linalg.norm(normal)
    assert found.structure.lattice.c < 0.97 * start.lattice.c  # the plane is stretched, so the normal shrinks
    (whole,) = EMT.compute([to_atoms(found.structure)], frozenset({"energy", "stress", "forces"}))
    assert whole.stress is not None
    assert np.abs(whole.stress).max() * 160.2 > 1  # GPa, in the plane


def test_both_methods_find_one_minimum_along_the_normal() -> None:
    """ASE's FIRE on the same coordinates ends at the same energy."""
    energies = [
        relax_structure(slab(1), EMT, cell="normal", fmax=0.002, smax=0.005, optimizer=name).energy
        for name in ("bfgs", "fire")
    ]
    assert energies[0] == pytest.approx(energies[1], abs=1e-4)


@pytest.mark.parametrize("optimizer", ["bfgs", "fire"])
@pytest.mark.parametrize("cell", [True, False, "normal"])
def test_held_atoms_keep_their_place_in_the_cell(optimizer: Any, cell: Any) -> None:
    """They are scaled along with the cell, and forces on them are not judged."""
    start = slab(2)
    held = np.array([side == "substrate" for side in start.site_properties["side"]])
    found = relax_structure(start, EMT, cell=cell, held=held, fmax=0.01, smax=0.02, optimizer=optimizer)
    assert found.converged
    assert found.max_force <= 0.01
    assert np.allclose(found.structure.frac_coords[held], start.frac_coords[held], atol=1e-12)
    assert not np.allclose(found.structure.frac_coords[~held], start.frac_coords[~held], atol=1e-3)
    (whole,) = EMT.compute([to_atoms(found.structure)], frozenset({"energy", "forces"}))
    assert np.linalg.norm(whole.forces, axis=1).max() > 0.01


def test_the_stages_say_which_labels_a_structure_has() -> None:
    """A label that no site carries fails the candidate with those that are there; a plain structure has none."""
    for start, message in (
        (
            slab(),
            r"the label 'flim'; there are 'substrate' \(4 sites\), 'film' \(4 sites\), 'inner' \(1 sites\)",
        ),
        (copper(), "the structure has no labels of sites"),
    ):
        failure = evaluated(Relax(potential=EMT, cell="normal", fixed=("flim",)), start).failure
        assert failure is not None
        assert re.search(message, failure.message)
    held = evaluated(Relax(potential=EMT, cell="normal", fixed=("inner", "film"), fmax=0.05), slab())
    assert held.failure is None
    assert held.structures["relaxed"].site_properties["side"] == slab().site_properties["side"]
    nothing = evaluated(Relax(potential=EMT, cell=False, fixed=("substrate", "film")), slab())
    assert nothing.failure is not None
    assert "nothing can relax" in nothing.failure.message


def test_settings_without_held_atoms_keep_their_fingerprint() -> None:
    """The new field is not written where it is empty; a stored `cell: true` stays as it is."""
    fields = Relax(potential=EMT).model_dump(mode="json")
    assert "fixed" not in fields
    assert fields["cell"] is True
    assert Relax(potential=EMT).model_dump(mode="json", include=set()) == {
        "kind": "relax"
    }  # as reports ask for it
    assert Relax(potential=EMT, cell="normal", fixed=["film"]).model_dump(mode="json")["fixed"] == ["film"]  # type: ignore[arg-type]  # as in a file


def test_labels_of_sites_are_kept() -> None:
    """What a space wrote on a site is still there after it moved."""
    start = copper(3.7).add_site_property("label", ["A", "B", "C", "D"])
    assert relax_structure(start, EMT).structure.site_properties["label"] == ["A", "B", "C", "D"]


class Broken:
    """A potential whose numbers are not finite."""

    fingerprint = "broken"

    def compute(self, atoms: Sequence[Atoms], want: frozenset[str]) -> Sequence[Forces]:
        return [Forces(float("nan"), np.zeros((len(item), 3)), np.zeros((3, 3))) for item in atoms]


def test_runaways_end_with_a_reason() -> None:
    """An exploding cell, atoms on top of each other and broken numbers are errors that say what happened."""
    repulsive = ASECalculator(calculator="lj", arguments={"sigma": 6.0, "epsilon": 0.1, "rc": 12.0})
    with pytest.raises(RelaxationError, match=r"volume changed by a factor 3\.\d \(limit 3 either way\)"):
        relax_structure(copper(4.5), repulsive)
    close = Structure(Lattice.cubic(4), ["Cu", "Cu"], [(0, 0, 0), (0.1, 0, 0)])
    with pytest.raises(RelaxationError, match=r"as close as 0.40 Å \(limit 0.5 Å\)"):
        relax_structure(close, EMT)
    with pytest.raises(RelaxationError, match="not finite"):
        relax_structure(copper(), Broken())


def test_the_evaluator_reports_what_it_found() -> None:
    """Properties in their units, the relaxed structure, the cost, and whose energies they are."""
    evaluator = load("evaluators", {"kind": "relax", "potential": {"kind": "ase", "calculator": "emt"}})
    evaluation = evaluated(evaluator, copper(3.7, 0.05))
    assert evaluation.failure is None
    assert set(evaluation.properties) == set(evaluator.provides) - {"structure:relaxed"}
    assert evaluation.properties["volume_per_atom"] == pytest.approx(COPPER**3 / 4, rel=5e-3)
    assert evaluation.structures["relaxed"].volume == pytest.approx(
        4 * evaluation.properties["volume_per_atom"]
    )
    assert evaluation.cost["potential_calls"] == evaluation.properties["relaxation_steps"] + 1
    assert evaluator.potential_id == EMT.fingerprint
    assert EMT.fingerprint in evaluator.fingerprint


def test_atoms_that_no_force_drove_are_told_of() -> None:
    """A symmetric start stays symmetric, and the energy comes with a word on that; a rattled one needs none."""
    evaluator = load("evaluators", {"kind": "relax", "potential": {"kind": "ase", "calculator": "emt"}})
    symmetric, rattled = evaluated(evaluator, copper(3.7)), evaluated(evaluator, copper(3.7, 0.05))
    assert "a symmetric or flat place" in symmetric.details["energy_per_atom"]
    assert not rattled.details
    assert rattled.properties["energy_per_atom"] == pytest.approx(
        symmetric.properties["energy_per_atom"], abs=1e-3
    )


def test_the_fingerprint_follows_the_weights() -> None:
    """The same settings with other weights are another evaluator."""
    assert Relax(potential=CHGNet()).fingerprint.endswith(CHGNet().fingerprint)
    assert Relax().potential_id == CHGNet().fingerprint


def test_too_few_steps_are_a_failure_or_are_kept() -> None:
    """By default a half-relaxed candidate fails and says what is left; it may be kept instead."""
    start = copper(3.9, 0.1)
    evaluation = evaluated(Relax(potential=EMT, steps=2), start)
    assert evaluation.failure is not None
    assert evaluation.failure.kind == "error"
    assert "not relaxed after 2 steps" in evaluation.failure.message
    assert "(limit 0.02), " in evaluation.failure.message
    assert evaluation.cost["potential_calls"] == 3
    kept = evaluated(Relax(potential=EMT, steps=2, unconverged="keep"), start)
    assert kept.failure is None
    assert kept.properties["max_stress"] > 0.05


def test_a_potential_without_an_answer_is_a_failure() -> None:
    """EMT has no lithium: the candidate fails, the evaluator does not raise."""
    evaluation = evaluated(Relax(potential=EMT), Structure(Lattice.cubic(3.5), ["Li"], [(0, 0, 0)]))
    assert evaluation.failure is not None
    assert "No EMT-potential for Li" in evaluation.failure.message
    assert not evaluation.properties


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"potential": "chgnett"}, "there is no potential 'chgnett'. Did you mean 'chgnet'"),
        ({"fmax": 0}, "greater than 0"),
        ({"steps": -1}, "greater than or equal to 0"),
        ({"fmaxx": 0.1}, "Extra inputs are not permitted"),
    ],
)
def test_wrong_settings_are_refused(fields: dict[str, Any], message: str) -> None:
    """Each mistake is named, with the nearest valid name where there is one."""
    with pytest.raises(ValidationError, match=message):
        load("evaluators", {"kind": "relax", **fields})


def test_a_fresh_process_repeats_the_last_digit() -> None:
    """CHGNet's relaxation of LiF is bit for bit the same in another process."""
    code = (
        "import json; from pymatgen.core import Lattice, Structure;"
        "from surrogates.potentials.chgnet import CHGNet; from surrogates.relaxation.relax import relax_structure;"
        "s = Structure(Lattice.from_parameters(2.9, 2.9, 2.9, 61, 60, 60), ['Li', 'F'], [(0, 0, 0), (.49, .5, .5)]);"
        "r = relax_structure(s, CHGNet(device='cpu'));"
        "print(json.dumps([r.energy, r.steps, r.structure.lattice.matrix.tolist(), r.structure.frac_coords.tolist()]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    start = Structure(
        Lattice.from_parameters(2.9, 2.9, 2.9, 61, 60, 60), ["Li", "F"], [(0, 0, 0), (0.49, 0.5, 0.5)]
    )
    here = relax_structure(start, CHGNet(device="cpu"))
    assert json.loads(done.stdout) == [
        here.energy,
        here.steps,
        here.structure.lattice.matrix.tolist(),
        here.structure.frac_coords.tolist(),
    ]


def reference_relaxations(folder: Path) -> dict[str, Any]:
    """Crystals relaxed with CHGNet 0.3.0 by its own package, by name."""
    data: dict[str, Any] = json.loads(
        (folder / "relaxations" / "chgnet_0.3.0.json").read_text(encoding="utf-8")
    )
    return data


def disturbed(entry: dict[str, Any]) -> Structure:
    """The relaxed structure, swollen and shaken."""
    structure = Structure.from_dict(entry["s"])
    moves = np.random.default_rng(0).normal(0, 0.03, (len(structure), 3))
    lattice = Lattice(structure.lattice.matrix * 1.02)
    positions = lattice.get_cartesian_coords(structure.frac_coords) + moves
    return Structure(lattice, structure.species, positions, coords_are_cartesian=True)


@pytest.mark.parametrize("name", EASY)
def test_chgnet_relaxes_to_known_energies(shared_data: Path, name: str) -> None:
    """Compact crystals come back to the energy and volume that the package's own relaxation found."""
    entry = reference_relaxations(shared_data)[name]
    found = relax_structure(disturbed(entry), CHGNet(device="cpu"))
    assert found.converged
    assert found.energy / entry["n"] == pytest.approx(entry["E"] / entry["n"], abs=2e-4)
    assert found.structure.volume == pytest.approx(entry["vol"], rel=0.01)


@pytest.mark.slow
def test_chgnet_relaxes_every_crystal_as_deep(shared_data: Path) -> None:
    """Layered and large crystals too: never more than 1 meV/atom above the package's own relaxation."""
    potential = CHGNet(device="cpu")
    for name, entry in reference_relaxations(shared_data).items():
        found = relax_structure(disturbed(entry), potential)
        assert found.converged, name
        assert found.energy / entry["n"] <= entry["E"] / entry["n"] + 1e-3, name


def test_the_page_lists_every_setting() -> None:
    """The tables of settings are complete, and the campaign fragments are valid."""
    text = (Path(__file__).parents[2] / "docs" / "evaluators.md").read_text(encoding="utf-8")
    plugins = [ChargeNeutrality, MinimumDistance, BottleneckRadius, Relax, CHGNet, ASECalculator]
    for name in {name for plugin in plugins for name in plugin.model_fields}:
        assert f"| `{name}` |" in text
    for block in re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for stage in YAML(typ="safe", pure=True).load(block)["evaluate"]:
            kind, fields = (stage, {}) if isinstance(stage, str) else next(iter(stage.items()))
            if kind != "table":  # its file is the reader's own
                load("evaluators", {"kind": kind, **fields})
