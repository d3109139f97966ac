"""The shipped battery phases: what their list says, what they lack, and how near to experiment they are."""

from __future__ import annotations

import csv
import re
from functools import cache
from importlib.resources import files
from pathlib import Path

import pytest
from pymatgen.core import Composition

from invdesign.errors import MissingReferenceError
from invdesign.settings import load
from invdesign.structures.crystallography import Crystal, read_crystals
from surrogates.relaxation.relax import relax_structure
from surrogates.stability.coverage import find_gaps, require_coverage
from surrogates.stability.hulls import formation_energy, hull_distance
from surrogates.stability.reference import Phase, ReferenceSet, load_shipped_set
from surrogates.stability.reference_sources import (
    PublishedCrystal,
    read_structures,
    read_systems,
    split_system,
)
from surrogates.stability.windows import electrochemical_window
from tests.support import ROOT

NAME = "battery-phases"
BASE = "lithium-chalcohalides"
LIST = Path(str(files("surrogates").joinpath("references").joinpath(NAME + ".yaml")))
ORIGIN = re.compile(
    r"Materials Project (mp-\d+|\(CC BY 4\.0\), table )|OBELiX \w+, ICSD|JARVIS-DFT|(18|19|20)\d\d\)"
)
"""A database with the number of the entry, or a paper or book with its year."""


@cache
def shipped() -> ReferenceSet:
    return load_shipped_set(NAME)


@cache
def crystals() -> dict[str, Crystal]:
    return read_crystals(files("surrogates").joinpath("references").joinpath(NAME + ".yaml"))


def lowest(formula: str) -> Phase:
    """The phase of a formula with the lowest energy."""
    reduced = Composition(formula).reduced_formula
    found = [p for p in shipped().phases if Composition(p.composition).reduced_formula == reduced]
    return min(found, key=lambda phase: phase.energy_per_atom)


def test_the_set_is_what_its_list_says() -> None:
    """The phases of the set that it extends come first, then those of the list, each from the list's own crystal."""
    base = load_shipped_set(BASE)
    found = shipped().phases
    assert found[: len(base.phases)] == base.phases
    left_out = {item.name for item in shipped().skipped}
    listed = {name: crystal for name, crystal in crystals().items() if name not in left_out}
    added = found[len(base.phases) :]
    assert [(p.name, p.formula, p.source) for p in added] == [
        (c.name, c.formula, c.source) for c in listed.values()
    ]
    assert shipped().potential == base.potential
    assert shipped().relaxation == base.relaxation
    assert shipped().systems == read_systems(LIST)


def test_the_keys_of_the_crystals_are_those_of_the_list() -> None:
    """So that a second build relaxes nothing; some small and some large cells."""
    keys = {item.name: item.key for item in read_structures(LIST) if isinstance(item, PublishedCrystal)}
    added = shipped().phases[len(load_shipped_set(BASE).phases) :]
    assert {phase.name: phase.start for phase in added} == {phase.name: keys[phase.name] for phase in added}


def test_every_phase_has_a_source() -> None:
    """An entry of a database, or a paper; models say whose coordinates they have."""
    unnamed = [crystal.name for crystal in crystals().values() if not ORIGIN.search(crystal.source)]
    assert unnamed == []


def test_known_phases_without_a_source_are_named() -> None:
    """With the reason, in the set as in its list."""
    named = {item.name: item for item in shipped().skipped}
    for name in ("Li3BO3", "LiPO3", "Li3YCl6", "Li10GeP2S12", "La2Zr2O7"):
        assert named[name].reason
    assert named["GeS2 (P2_1/c)"].formula == "GeS2"
    halides = [item.name for item in find_gaps(shipped(), {"Li", "Y", "Cl"}).phases]
    assert halides == ["Li3YCl6"]


def test_a_phase_that_is_there_is_not_named_as_lacking() -> None:
    """Unless another form of it is meant, which stands in parentheses."""
    held = {Composition(phase.composition).reduced_formula for phase in shipped().phases}
    lacking = {Composition(item.name).reduced_formula for item in shipped().skipped if "(" not in item.name}
    assert lacking.isdisjoint(held)


@pytest.mark.parametrize("formula", ["ZrBr4", "ZrCl3", "CoI2", "CoPO4", "LiCoPO4", "InCl3"])
def test_models_are_called_so(formula: str) -> None:
    """Compounds with the coordinates of others say so, and whose they are."""
    assert ORIGIN.search(lowest(formula).source)
    assert lowest(formula).source.startswith("Model: ")


@pytest.mark.parametrize("formula", ["YIn3", "ZrIn3", "CoBr2", "LiNbO3", "Li3NbO4"])
def test_measured_crystals_are_no_models(formula: str) -> None:
    """Of compounds that mixed halides, argyrodites and coatings decompose to."""
    assert "Model" not in lowest(formula).source


def test_the_coatings_of_the_campaign_are_phases_of_the_set() -> None:
    """So that each is compared with its own energy among the others; where each is from stands in the list."""
    with (ROOT / "campaigns" / "data" / "coatings.csv").open(encoding="utf-8", newline="") as stream:
        rows = [(row["name"], row["formula"], row["source"]) for row in csv.DictReader(stream)]
    assert len(rows) == 18
    assert set(rows) <= {(phase.name, phase.formula, phase.source) for phase in shipped().phases}


@pytest.mark.parametrize("system", read_systems(LIST))
def test_every_system_has_its_elements_and_binary_edges(system: str) -> None:
    """No candidate of a system that the set names is refused."""
    if gaps := find_gaps(shipped(), split_system(system)).binaries:
        pytest.fail(f"{system}: {'; '.join(map(str, gaps))}")
    require_coverage(shipped(), split_system(system))


def test_other_systems_of_its_elements_are_refused_by_name() -> None:
    """Sodium and silicon have compounds, of which the set has none."""
    with pytest.raises(MissingReferenceError, match="a binary compound of Na and Si"):
        require_coverage(shipped(), {"Na", "Si"})


@pytest.mark.parametrize(
    ("formula", "experiment"),
    [("Al2O3", -3.473), ("ZrO2", -3.802), ("CoO", -1.233), ("La2O3", -3.718), ("YCl3", -2.591), ("NaCl", -2.131)],
)  # fmt: skip
def test_formation_energies_are_near_experiment(formula: str, experiment: float) -> None:
    """Within 0.15 eV/atom of the enthalpies of formation at 298 K (CRC Handbook 2014)."""
    assert formation_energy(shipped(), lowest(formula)) == pytest.approx(experiment, abs=0.15)


@pytest.mark.parametrize(
    "formula",
    ["Li3P", "P2S5", "Li3PS4", "Li3PO4", "LiBO2", "YCl3", "LiCoO2", "LiFePO4", "Al2O3", "Na2S", "NaCl"],
)
def test_well_known_compounds_are_near_the_hull(formula: str) -> None:
    """Within 25 meV/atom, half of what the potential is uncertain by."""
    assert hull_distance(shipped(), lowest(formula)) < 0.025


def test_the_window_of_a_sulfide_is_near_the_published_one() -> None:
    """Li3PS4: 1.71 to 2.31 V by density functional theory; `benchmarks/truth.py window_sulfides` has the table."""
    phase = lowest("Li3PS4")
    window = electrochemical_window(shipped(), Composition("Li3PS4"), phase.energy_per_atom, "Li")
    assert window.reduction == pytest.approx(1.71, abs=0.25)
    assert window.oxidation == pytest.approx(2.31, abs=0.25)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Li3P-P6_3/mmc", "NaCl-Fm-3m", "LiCoO2-R-3m", "YCl3-C2/m"])
def test_a_phase_relaxed_again_has_its_energy(name: str) -> None:
    """From where the set left it."""
    phase = next(phase for phase in shipped().phases if phase.name == name)
    found = relax_structure(phase.cell.build_structure(), load("potentials", "chgnet"), fmax=0.02, smax=0.1)
    assert found.energy / phase.n_atoms == pytest.approx(phase.energy_per_atom, abs=5e-4)
