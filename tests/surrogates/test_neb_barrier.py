"""Migration barriers by nudged elastic bands: the contract, known barriers, and failures that say what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from ruamel.yaml import YAML
from scipy.spatial.transform import Rotation

from invdesign import registry
from invdesign.candidate import Candidate, Design, Evaluation, Input, Proposal
from invdesign.settings import load
from invdesign.testing import check_evaluator

EMT = {"kind": "ase", "calculator": "emt"}
SMALL = {"kind": "neb_barrier", "ion": "Cu", "potential": EMT, "supercell": 5.0, "reach": 2.8, "images": 3}
FACES = [(0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)]


def copper(a: float = 3.58) -> Structure:
    """The conventional cell."""
    return Structure(Lattice.cubic(a), ["Cu"] * 4, FACES)


def given(structures: Sequence[Structure]) -> list[Input]:
    """Inputs with these crystals."""
    return [
        Input(Candidate(k, "key", Proposal({})), Design(structures={"initial": s}), {}, {"initial": s}, 0)
        for k, s in enumerate(structures)
    ]


def evaluated(structure: Structure, **fields: Any) -> Evaluation:
    """Barriers of a crystal, or the failure."""
    (found,) = load("evaluators", {**SMALL, **fields}).evaluate(given([structure]))
    return found


def refusal(structure: Structure, **fields: Any) -> str:
    """Text of the failure."""
    found = evaluated(structure, **fields)
    assert found.failure is not None
    assert found.failure.kind == "error"
    return found.failure.message


def test_the_evaluator_keeps_its_contract() -> None:
    """In batches, alone, in another order."""
    check_evaluator(load("evaluators", {**SMALL, "images": 1}), given([copper(), copper(3.62)]))


def test_a_barrier_comes_with_what_it_was_made_of() -> None:
    """The highest arrangement, the path and the effort; no systematic error, since none was measured for effective medium theory."""
    found = evaluated(copper(), supercell=7.0)
    one, two, three = (found.properties[f"migration_barrier_{n}d"] for n in (1, 2, 3))
    assert one == two == three
    assert 0.6 < one < 0.9  # 0.7 eV in effective medium theory
    assert not found.systematic
    assert len(found.structures["saddle"]) == 26
    assert found.cost["potential_calls"] > found.cost["images"] > 0
    assert (
        "vacancy of Cu, 26 atoms; by the hop of 2.53 Å, energies along it 0.000"
        in found.details["migration_barrier_1d"]
    )


def test_barriers_do_not_depend_on_how_a_crystal_is_written() -> None:
    """Turned, shifted, reordered, in its primitive cell: the same barrier."""
    expected = evaluated(copper()).properties["migration_barrier_1d"]
    turn = Rotation.random(random_state=1).as_matrix()
    moved = Structure(
        copper().lattice.matrix @ turn.T, ["Cu"] * 4, np.array(FACES)[[2, 0, 3, 1]] + [0.1, 0.2, 0.3]
    )
    for other in (moved, copper().get_primitive_structure()):
        assert evaluated(other).properties["migration_barrier_1d"] == pytest.approx(expected, abs=2e-3)


def test_an_extra_ion_hops_between_empty_places() -> None:
    """Copper in aluminium sits in octahedra and tetrahedra, and passes from one to the other."""
    host = Structure(Lattice.cubic(4.0), ["Al"] * 4, FACES)
    found = evaluated(host, mechanism="interstitial", supercell=7.0, reach=3.0)
    assert found.failure is None
    assert found.properties["migration_barrier_3d"] > 0
    assert "interstitial of Cu" in found.details["migration_barrier_3d"]


def layers() -> Structure:
    """Copper in square layers, farther from each other than within."""
    return Structure(Lattice.tetragonal(2.5, 4.4), ["Cu"] * 2, [(0, 0, 0), (0.5, 0.5, 0.5)])


def test_hops_that_do_not_lead_everywhere_are_no_barrier_there() -> None:
    """Layers lead in two directions: two barriers can be had, three are refused with those there are."""
    text = refusal(layers(), reach=2.7)
    assert "lead without end in 2 directions, 3 are asked (found:" in text
    assert "raise 'reach', or set 'directions: 2'" in text
    found = evaluated(layers(), reach=2.7, directions=2)
    assert set(found.properties) == {"migration_barrier_1d", "migration_barrier_2d"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ion": "Li"}, "Cu has no Li, so no vacancy of it: name an ion that it holds"),
        ({"reach": 2.0}, "Cu has no two sites of Cu within 2 Å: raise 'reach'"),
        ({"steps": 1, "fmax": 1e-3}, "not converged after 1 steps"),
        ({"supercell": 35.0}, "atoms (limit 1000); lower 'supercell'"),
    ],
)
def test_mistakes_are_named_with_their_remedy(fields: dict[str, Any], message: str) -> None:
    """What was found, the limit, and what to do."""
    assert message in refusal(copper(), **fields)


def test_a_band_that_is_not_converged_is_kept_where_asked() -> None:
    """The sentence beside the barrier says so."""
    found = evaluated(copper(), steps=1, fmax=1e-3, unconverged="keep")
    assert "not converged" in found.details["migration_barrier_1d"]


def test_an_element_the_potential_does_not_know_is_named() -> None:
    """The failure is the potential's."""
    salt = Structure(Lattice.cubic(4.2), ["Li"] * 4 + ["Cl"] * 4, [*FACES, *np.add(FACES, [0.5, 0, 0])])
    assert "the calculator 'emt' fails on" in refusal(salt, ion="Li", reach=3.2)


def test_the_page_shows_the_settings_there_are() -> None:
    """Its stages can be loaded, and its table has every setting with its default."""
    page = (Path(__file__).parents[2] / "docs" / "transport.md").read_text(encoding="utf-8")
    for text in re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        for stage in YAML(typ="safe", pure=True).load(text)["evaluate"]:
            ((kind, fields),) = stage.items()
            load("evaluators", {"kind": kind, **{k: v for k, v in fields.items() if k != "gate"}})
    rows = dict(re.findall(r"^\| `(\w+)` \| (\S*) ?\|", page, re.MULTILINE))
    for name, field in registry.load("evaluators", "neb_barrier").model_fields.items():
        assert rows[name].strip("`") == ("" if field.is_required() else str(field.default)), name
