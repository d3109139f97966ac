"""Substitution: structures recognised, parents of the user's own, and mistakes explained."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from pymatgen.core import Lattice, Structure
from ruamel.yaml import YAML

from invdesign.candidate import canonical, to_json
from invdesign.settings import load
from invdesign.structures.prototypes import find_prototype, list_prototype_names
from tests.spaces.test_substitution import OLIVINE, QUICKSTART, ROCKSALT, WHOLE, drawn, space


def mistakes(parent: str = "antiperovskite", **fields: Any) -> dict[str, str]:
    """Messages by path of a campaign's space that is wrong."""
    with pytest.raises(ValidationError) as caught:
        space(parent, **fields)
    found = caught.value.errors(include_url=False)
    return {".".join(str(step) for step in item["loc"] if step != "[key]"): item["msg"] for item in found}


# Adoption.


def relaxed(structure: Structure, seed: int, *, strain: float = 0.03, move: float = 0.08) -> Structure:
    """The structure strained, swollen, displaced, shifted and with its sites shuffled."""
    rng = np.random.default_rng(seed)
    tensor = rng.normal(scale=strain, size=(3, 3))
    lattice = structure.lattice.matrix @ (1.04 * np.eye(3) + (tensor + tensor.T) / 2)
    moves = rng.normal(scale=move, size=(len(structure), 3)) @ np.linalg.inv(lattice)
    moved = Structure(lattice, structure.species, structure.frac_coords + moves + rng.random(3))
    return Structure.from_sites([moved[i] for i in rng.permutation(len(moved))])


@pytest.mark.parametrize(
    "one", [QUICKSTART, ROCKSALT, OLIVINE, WHOLE], ids=["quick", "salt", "olivine", "whole"]
)
def test_a_distorted_structure_is_recognised(one: Any) -> None:
    """Strain, displacements, another origin and another order of sites do not hide a decoration."""
    for seed, genome in enumerate(drawn(one, 5)):
        structure = one.build(genome).structures["initial"]
        assert one.adopt(relaxed(structure, seed), None) == genome


def test_another_cell_of_the_crystal_is_recognised() -> None:
    """A seed may come as its primitive cell or as a multiple; the space's cell is found in it."""
    seed = Structure.from_spacegroup(
        "Pm-3m", Lattice.cubic(4.05), ["Li", "O", "Br"], [[0, 0.5, 0.5], [0.5, 0.5, 0.5], [0, 0, 0]]
    )
    wanted = {"B": ["O", "O"], "X": ["Br", "Br"]}
    assert QUICKSTART.adopt(seed, None) == wanted
    assert QUICKSTART.adopt(seed * (2, 1, 1), None) == wanted
    assert QUICKSTART.adopt(seed * (2, 2, 2), None) == wanted
    seed.add_oxidation_state_by_element({"Li": 1, "O": -2, "Br": -1})
    assert QUICKSTART.adopt(seed, None) == wanted


def test_what_is_no_decoration_is_not_adopted() -> None:
    """Another structure type, a species that is no option, charges that do not balance, a wrong number of sites."""
    salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.1), ["Li", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert QUICKSTART.adopt(salt, None) is None
    good = QUICKSTART.build({"B": ["O", "O"], "X": ["Cl", "Cl"]}).structures["initial"]
    foreign = good.copy()
    foreign.replace_species({"Cl": "N"})
    assert QUICKSTART.adopt(foreign, None) is None
    charged = good.copy()
    charged.replace_species({"O": "F"})
    assert QUICKSTART.adopt(charged, None) is None
    short = good.copy()
    short.remove_sites([0])
    assert QUICKSTART.adopt(short, None) is None


def test_the_parents_genome_is_tried_first_and_checked() -> None:
    """A relaxed structure keeps its genome; where an atom has hopped, the matcher decides anew."""
    genome = QUICKSTART.genome(123)
    structure = QUICKSTART.build(genome).structures["initial"]
    calm = relaxed(structure, 0)
    assert QUICKSTART.adopt(calm, genome) == genome
    assert QUICKSTART.adopt(structure, QUICKSTART.genome(500)) == genome
    swapped = {"B": ["O", "O"], "X": ["Cl", "Br"]}
    exchanged = QUICKSTART.build(swapped).structures["initial"]
    sites = list(exchanged)
    b, x = 6, 8  # the first B and X sites change places, the order of species stays
    order = [*range(len(sites))]
    order[b], order[x] = x, b
    positions = exchanged.frac_coords[order]
    hopped = Structure(exchanged.lattice, exchanged.species, positions)
    assert QUICKSTART.adopt(hopped, swapped) == {"B": ["Cl", "O"], "X": ["Br", "O"]} or QUICKSTART.adopt(
        hopped, swapped
    ) == QUICKSTART.canonical({"B": ["Cl", "O"], "X": ["O", "Br"]})


# Parents of the user's own.


def write(folder: Path, structure: Structure, name: str, fmt: str = "cif") -> None:
    plain = Structure(structure.lattice, structure.species, structure.frac_coords)
    (folder / name).write_text(plain.to(fmt=fmt))


def test_a_cif_of_the_users_own_is_a_parent(tmp_path: Path) -> None:
    """Its text travels with the campaign; sites go by CIF label, element or Wyckoff site."""
    write(tmp_path, find_prototype("olivine").build_structure(), "mine.cif")
    by_element = space("mine.cif", folder=tmp_path, sites={"Fe": ["Fe", "Mn"]})
    (tmp_path / "mine.cif").unlink()
    again = load("spaces", json.loads(json.dumps(by_element.model_dump(mode="json"))))
    assert again == by_element
    assert len(again) == len(space("olivine", sites={"M": ["Fe", "Mn"]})) == 7
    assert again.build(again.genome(2)).composition.reduced_formula.startswith("Li")


def test_sites_of_a_file_go_by_wyckoff_site_too(tmp_path: Path) -> None:
    """Multiplicity and letter are found for the file's own cell."""
    write(tmp_path, find_prototype("antiperovskite").build_structure(), "POSCAR", "poscar")
    names = space("./POSCAR", folder=tmp_path, sites={"3c": ["Li"], "Cl": ["Cl", "Br"]})._parent.wyckoff
    assert Counter(names) == {"3c": 3, "1a": 1, "1b": 1} or Counter(names) == {"3d": 3, "1a": 1, "1b": 1}
    primitive = find_prototype("spinel").build_structure(primitive=True)
    write(tmp_path, primitive, "spinel.vasp", "poscar")
    one = space("spinel.vasp", folder=tmp_path, sites={"Li": ["Li", "Mg"]})
    assert set(one._parent.wyckoff) in ({"8a", "16d", "32e"}, {"8a", "16c", "32e"}, {"8b", "16c", "32e"},
                                        {"8b", "16d", "32e"})  # fmt: skip


def test_charges_of_a_file_are_guessed_and_can_be_given(tmp_path: Path) -> None:
    """Vanadium is 3+ in LiVPO4F by the balance of charges; a wrong guess can be put right."""
    write(tmp_path, find_prototype("tavorite").build_structure(), "t.cif")
    one = space("t.cif", folder=tmp_path, sites={"F": ["F", "O"], "Li": ["Li", "Mg"]})
    assert one.size() > 1
    frozen = space(
        "t.cif", folder=tmp_path, oxidation_states={"V": [3]}, sites={"F": ["F", "O"], "Li": ["Li", "Mg"]}
    )
    assert 1 < frozen.size() < one.size()


def test_sites_of_polyatomic_ions_pass_their_charge_on(tmp_path: Path) -> None:
    """Sulfur is 1- in FeS2, and so is selenium in its place; oxygen is 1- in Li2O2."""
    pyrite = Structure.from_spacegroup(
        "Pa-3", Lattice.cubic(5.42), ["Fe", "S"], [[0, 0, 0], [0.385, 0.385, 0.385]]
    )
    write(tmp_path, pyrite, "FeS2.cif")
    assert space("FeS2.cif", folder=tmp_path, sites={"S": ["S", "Se"]}).size() == 22
    assert space("FeS2.cif", folder=tmp_path, sites={"Fe": ["Fe", "Co"]}).size() > 2
    places = [[0, 0, 0], [1 / 3, 2 / 3, 0.25], [1 / 3, 2 / 3, 0.649]]
    peroxide = Structure.from_spacegroup("P6_3/mmc", Lattice.hexagonal(3.16, 7.69), ["Li", "Li", "O"], places)
    write(tmp_path, peroxide, "Li2O2.cif")
    assert space("Li2O2.cif", folder=tmp_path, sites={"Li": ["Li", "Na"]}).size() > 2


def test_the_primitive_cell_is_smaller_and_says_the_same(tmp_path: Path) -> None:
    """`primitive: true` reduces a centred cell, of prototypes and of files."""
    whole = space("layered", sites={"M": ["Co", "Ni"]})
    reduced = space("layered", primitive=True, cell=[1, 1, 3], sites={"M": ["Co", "Ni"]})
    assert len(whole._parent) == len(reduced._parent) == 12
    write(tmp_path, find_prototype("spinel").build_structure(), "s.cif")
    own = space("s.cif", folder=tmp_path, primitive=True, sites={"Mn": ["Mn", "Ni"]})
    assert len(own._parent) == 14


# Mistakes.


@pytest.mark.parametrize(
    ("fields", "path", "message"),
    [
        ({"parent": "olivin"}, "parent", r"no prototype 'olivin'. Did you mean 'olivine'\? Known: .*\.cif"),
        ({"parent": "missing.cif"}, "parent", "there is no file 'missing.cif'"),
        ({"sites": {"AA": ["Li", "Na"]}}, "sites.AA", "no site 'AA'. Did you mean 'A'. Labels: A, B, X; elements: Li, O, Cl; Wyckoff"),
        ({"sites": {"A": ["Lx", "Na"]}}, "sites.A.species", "'Lx' is not an element symbol. Did you mean"),
        ({"sites": {"A": []}}, "sites.A.species", "the list of elements is empty"),
        ({"sites": {"A": ["Li", "Na", "Li"]}}, "sites.A.species", "Li is named more than once"),
        ({"sites": {"A": "Li"}}, "sites.A", r"expected a list of elements, got 'Li'; write \[Li\]"),
        ({"sites": {}}, "sites", "at least 1"),
        ({"sites": {"A": ["Li"]}}, "sites", "nothing to search"),
        ({"sites": {"A": ["Li", "Na"], "Li": ["K"]}}, "sites", "'A' and 'Li' name the same sites"),
        ({"sites": {"A": ["Mg", "Ca"]}}, "", r"no charge-neutral decoration exists: 3 x A \(1\): Mg 2\+; Ca 2\+, fixed: 1 O 2-"),
        ({"sites": {"A": ["Li", "F"]}}, "", "F has no cationic oxidation state, which site A of antiperovskite"),
        ({"cell": [1, 0, 1]}, "cell.1", "greater than or equal to 1"),
        ({"cell": [1, 1]}, "cell.2", "required"),
        ({"rattle": -0.1}, "rattle", "greater than or equal to 0"),
        ({"oxidation_states": {"Fe": [2]}}, "oxidation_states", "antiperovskite holds no Fe"),
        ({"oxidation_states": {"Cl": []}}, "oxidation_states", "Cl needs one or more different oxidation states"),
        ({"sites": {"X": {"species": ["Cl", "F"], "oxidation_states": {"I": [-1]}}}}, "sites.X",
         "given for I, which is none of Cl, F"),
        ({"sites": {"X": {"species": ["Cl", "F"], "mixd": True}}}, "sites.X.mixd", "Extra inputs"),
        ({"sties": {}}, "sties", "Extra inputs"),
    ],
)  # fmt: skip
def test_a_mistake_is_explained_where_it_is(fields: dict[str, Any], path: str, message: str) -> None:
    """Every message says what was found, what is allowed, and stands at its path."""
    found = mistakes(**{"sites": {"X": ["Cl", "Br"]}, **fields})
    assert path in found
    assert re.search(message, found[path]), found[path]


def test_all_mistakes_come_at_once() -> None:
    """A wrong cell does not hide a wrong element."""
    found = mistakes(cell=[0, 1, 1], rattle=9, sites={"A": ["Lx", "Li"], "Q": ["Li"]})
    assert set(found) == {"cell.0", "rattle", "sites.A.species", "sites.Q"}


def test_a_wyckoff_site_that_holds_several_elements_is_ambiguous() -> None:
    """Labels tell them apart."""
    assert (
        "'4c' is ambiguous in olivine: it holds Fe, P, O. Use a label: M, T, X1, X2"
        in mistakes("olivine", sites={"4c": ["Fe", "Mn"]})["sites.4c"]
    )


def test_a_file_that_cannot_be_used_is_explained(tmp_path: Path) -> None:
    """Overlapping atoms, as from a wrong origin choice, are named with the file."""
    close = Structure(Lattice.cubic(5), ["Li", "O"], [[0, 0, 0], [0.06, 0, 0]])
    write(tmp_path, close, "close.cif")
    with pytest.raises(
        ValidationError, match=r"close\.cif: Li0 \(Li\) and O1 \(O\) are 0\.30 Å apart \(limit 1\.16"
    ):
        space("close.cif", folder=tmp_path, sites={"Li": ["Li", "Na"]})


def test_genomes_are_in_canonical_json() -> None:
    """Keys sorted, plain strings: the key of a genome is that of its stored form."""
    genome = WHOLE.genome(0)
    assert to_json(genome) == to_json(canonical(genome))
    assert math.prod(len(d.choices) for d in WHOLE.domain().dimensions) == len(WHOLE)
    assert all(a != b for a, b in pairwise([WHOLE.genome(i) for i in range(len(WHOLE))]))


def test_the_documentation_is_true(tmp_path: Path) -> None:
    """Every campaign block of the page is a space, its table lists the library, and 700 is right."""
    page = (Path(__file__).parents[2] / "docs" / "spaces" / "substitution.md").read_text(encoding="utf-8")
    write(tmp_path, find_prototype("tavorite").build_structure(), "my_crystal.cif")
    blocks = [block.split("```")[0] for block in page.split("```yaml\n")[1:]]
    spaces = [load("spaces", YAML(typ="safe").load(block)["space"], folder=tmp_path) for block in blocks]
    assert len(spaces) == 4
    assert spaces[0] == QUICKSTART
    for name in list_prototype_names():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` "))
        labels = [re.sub(r" \(.*\)", "", cell.strip()) for cell in row.split("|")[3].split(",")]
        assert labels == [site.label for site in find_prototype(name).sites]
