"""Pools of crystals whose mobile ion is spread over partly occupied sites: read, evaluated, stored and exported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter

from invdesign.campaign.load import campaign_from
from invdesign.errors import InvdesignError
from invdesign.report.export import export_run
from invdesign.run.run import Run
from invdesign.settings import load
from invdesign.spaces.pool.space import PoolSpace
from invdesign.structures.files import structure_from_json, structure_to_json
from invdesign.structures.reading.raw import StructureFileError
from invdesign.testing import check_space
from surrogates.relaxation.relax import RelaxationError, relax_structure

SITES = [(0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5), (0.42, 0.5, 0.0), (0.5, 0.5, 0.5), (0, 0, 0)]


def antiperovskite(halide: str, anion: Any = "O") -> Structure:
    """Li3O(Cl, Br), one of its lithium ions spread over two sites."""
    lithium = [{"Li": 0.6}, "Li", "Li", {"Li": 0.4}]
    return Structure(Lattice.cubic(4.0), [*lithium, anion, halide], SITES)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two such crystals as CIF files."""
    source = tmp_path / "crystals"
    source.mkdir()
    for halide in ("Cl", "Br"):
        CifWriter(antiperovskite(halide)).write_file(source / f"Li3O{halide}.cif")
    return source


def pool(source: Path, **fields: Any) -> PoolSpace:
    """A pool of a folder."""
    built: PoolSpace = load("spaces", {"kind": "pool", "source": str(source), **fields})
    return built


def campaign(source: Path, *stages: Any) -> Any:
    """A screening of both crystals."""
    return campaign_from(
        {
            "version": 1,
            "name": "mobile",
            "seed": 1,
            "space": {"kind": "pool", "source": str(source), "mobile": "Li"},
            "evaluate": list(stages),
            "objectives": [{"minimize": "migration_barrier_1d"}],
            "optimizer": {"kind": "random"},
            "budget": {"candidates": 2},
            "max_failure_rate": 1.0,
        }
    )


def test_rows_may_spread_the_mobile_ion(folder: Path) -> None:
    """With the ion named, its sites may be occupied in part; structures come as they are written, with features."""
    space = pool(folder, mobile="Li")
    check_space(space)
    design = space.build({"row": "Li3OCl.cif"})
    assert not design.structures["initial"].is_ordered
    assert design.composition is not None
    assert design.composition.reduced_formula == "Li3ClO"


def test_the_ion_must_be_named(folder: Path) -> None:
    """Without it the rows are refused as before."""
    with pytest.raises(
        ValidationError, match=r"it has partially occupied sites: .*'Li', as 'mobile' of the pool"
    ):
        pool(folder)
    with pytest.raises(ValidationError, match=r"disordered beyond the sites of Na: .*Li 0\.6"):
        pool(folder, mobile="Na")
    with pytest.raises(ValidationError, match="'Ly' is not an element symbol"):
        pool(folder, mobile="Ly")


def test_disorder_elsewhere_is_refused(folder: Path) -> None:
    """A shared site of the framework is named."""
    CifWriter(antiperovskite("Br", {"O": 0.5, "S": 0.5})).write_file(folder / "mixed.cif")
    with pytest.raises(ValidationError, match=r"disordered beyond the sites of Li: .*S 0\.5 \+ O 0\.5"):
        pool(folder, mobile="Li")


def test_a_campaign_measures_their_ways(folder: Path, tmp_path: Path) -> None:
    """The stages that take the ion out have numbers; occupancies survive the store and CIF."""
    stages = (
        {"minimum_distance": {"scale": 0.5}},
        {"bottleneck_radius": {"ion": "Li"}},
        {"migration_barrier": {"ion": "Li", "spacing": 0.4}},
    )
    run = Run.create(campaign(folder, *stages), tmp_path / "run")
    with run:
        assert run.execute().counts["complete"] == 2
        assert export_run(run, "cif", tmp_path / "out") == 2
        with pytest.raises(InvdesignError, match=r"candidate \d .*partly occupied sites.*export cif"):
            export_run(run, "extxyz", tmp_path / "out.xyz")
    (first, *_) = sorted((tmp_path / "out").glob("*.cif"))
    assert "0.6" in first.read_text(encoding="utf-8")


def test_a_potential_refuses_them_with_a_word() -> None:
    """A relaxation needs whole atoms and says so."""
    potential = load("potentials", {"kind": "ase", "calculator": "lj"})
    with pytest.raises(RelaxationError, match="partly occupied sites, and a potential needs whole atoms"):
        relax_structure(antiperovskite("Cl"), potential)


def test_occupancies_in_a_store_are_checked() -> None:
    """They come back exactly; what is no share of a site is refused."""
    text = structure_to_json(antiperovskite("Cl"))
    again = structure_from_json(text)
    assert structure_to_json(again) == text
    assert again.composition.almost_equals(antiperovskite("Cl").composition)
    for wrong in ({"Li": 1.2}, {"Li": -0.5}, {"Li": "x"}, {}, {"Li": True}):
        data = json.loads(text) | {"species": [wrong, *json.loads(text)["species"][1:]]}
        with pytest.raises(StructureFileError, match="no shares of a site"):
            structure_from_json(json.dumps(data))
