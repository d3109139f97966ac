"""Reports of structures with labelled sites: pictures along the plane, exchanges and controls, layers, defects."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Structure

from invdesign.report.bicrystals import build_labelled_scene, unwrap_bicrystal
from invdesign.report.controls import MIN_SAMPLE, compare_samples, find_best_of
from invdesign.report.layers import view_layers
from invdesign.report.structure import HEIGHT, WIDTH, build_scene, draw_svg
from invdesign.report.surroundings import find_centres, group_centres, view_surroundings
from invdesign.structures.exchanges import count_defects, count_exchanges, describe_exchanges
from invdesign.structures.site_labels import SIDE, read_labels
from tests.report.labelled import SPACING, bicrystal, nitrided, phosphate

# Counts.


@pytest.mark.parametrize(("exchanges", "moved"), [(0, 0), (1, 0), (2, 1)])
def test_exchanges_are_counted_by_kind(exchanges: int, moved: int) -> None:
    """The substrate's element stands first; ions in voids are a kind of their own."""
    expected = {"Mg/Li": exchanges} if exchanges else {}
    if moved:
        expected["Li in voids of the substrate"] = moved
    assert count_exchanges(bicrystal(exchanges, moved=moved)) == expected


def test_what_is_exchanged_in_words() -> None:
    """An abrupt interface says so; a structure without labels has no words."""
    assert describe_exchanges(bicrystal(2, moved=1)) == "2 Mg/Li, 1 Li in voids of the substrate"
    assert describe_exchanges(bicrystal()) == "none"
    assert describe_exchanges(nitrided()) == "1 N on O, 1 interstitial Li"
    bare = bicrystal(1)
    assert describe_exchanges(Structure(bare.lattice, bare.species, bare.frac_coords)) == ""


def test_defects_are_no_exchanges() -> None:
    """Each labelled structure is counted in one way."""
    assert count_exchanges(nitrided()) == {}
    assert count_defects(bicrystal(2)) == {}


# The picture along the plane.


@settings(deadline=None, max_examples=20)
@given(st.floats(0, 1, exclude_max=True), st.booleans())
def test_the_plane_is_found_wherever_the_cell_begins(origin: float, vacuum: bool) -> None:
    """The substrate lies below the plane, the film above it, half a layer away each."""
    crystal = bicrystal(1, vacuum=15.0 if vacuum else 0.0)
    crystal.translate_sites(range(len(crystal)), [0, 0, origin])
    labels = read_labels(crystal)
    found = unwrap_bicrystal(crystal, labels)
    film = np.array([side == "film" for side in labels[SIDE]])
    assert found.heights[film].min() == pytest.approx(SPACING / 2)
    assert found.heights[~film].max() == pytest.approx(-SPACING / 2)
    assert found.has_vacuum == vacuum


def test_the_plane_is_seen_edge_on() -> None:
    """The normal points right, and the view is a rotation."""
    drawn = build_labelled_scene(bicrystal(1))
    assert drawn is not None
    assert np.allclose(drawn.view @ drawn.view.T, np.eye(3))
    assert np.linalg.det(drawn.view) == pytest.approx(1.0)
    assert np.allclose(drawn.view[0], [0, 0, 1])


def test_marks_of_a_bicrystal() -> None:
    """Exchanged atoms have a ring, those in voids a dashed one, and the region ends on both sides of the plane."""
    drawn = build_labelled_scene(bicrystal(1, moved=1))
    assert drawn is not None
    assert drawn.marks is not None
    ringed = {(symbol, ring) for symbol, ring in zip(drawn.symbols, drawn.marks.rings, strict=True) if ring}
    assert ringed == {("Mg", "exchanged"), ("Li", "exchanged"), ("Li", "void")}
    low, high = drawn.marks.limits
    assert -3 * SPACING < low < -1.5 * SPACING
    assert 1.5 * SPACING < high < 3 * SPACING
    assert [band.name for band in drawn.marks.bands] == ["substrate", "film"]
    root = ET.fromstring(draw_svg(drawn, "b", "title"))
    assert len(list(root.iter("rect"))) == 2
    assert [text.text for text in root.iter("text")] == ["substrate", "film"]


@pytest.mark.parametrize("fit", [False, True])
@pytest.mark.parametrize("crystal", [bicrystal(2), bicrystal(1, vacuum=20.0), nitrided()])
def test_everything_lies_within_the_picture(crystal: Structure, fit: bool) -> None:
    """Balls and rings do not leave it, whatever its height."""
    drawn = build_labelled_scene(crystal)
    assert drawn is not None
    root = ET.fromstring(draw_svg(drawn, "c", "t", fit=fit))
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    assert width == WIDTH
    assert height == pytest.approx(HEIGHT) or (fit and height < HEIGHT)
    for ball in [*root.iter("circle"), *root.iter("ellipse")]:
        x, y, r = (float(ball.attrib.get(key, ball.attrib.get("rx", 0))) for key in ("cx", "cy", "r"))
        assert r <= x <= width - r
        assert r <= y <= height - r


def test_structures_without_labels_are_drawn_as_before() -> None:
    """No mark is added."""
    crystal = phosphate()
    bare = Structure(crystal.lattice, crystal.species, crystal.frac_coords)
    drawn = build_labelled_scene(bare)
    usual = build_scene(bare)
    assert drawn is not None
    assert usual is not None
    assert drawn.marks is None
    assert draw_svg(drawn, "c", "t") == draw_svg(usual, "c", "t")


# Controls.


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(-20, 20), min_size=1, max_size=8), st.data())
def test_best_of_some_is_that_of_all_draws(values: list[int], data: st.DataObject) -> None:
    """The exact distribution is the one found by listing every draw."""
    drawn = data.draw(st.integers(1, len(values)))
    lowest = np.sort([min(draw) for draw in itertools.combinations(values, drawn)])
    found = find_best_of(np.array(values, dtype=np.float64), drawn)
    share = (lowest[:, None] <= np.array([found.low, found.median, found.high])).mean(axis=0)
    assert (share >= np.array([0.16, 0.5, 0.84]) - 1e-9).all()
    below = (lowest[:, None] < np.array([found.low, found.median, found.high])).mean(axis=0)
    assert (below < np.array([0.16, 0.5, 0.84])).all()


def test_a_larger_sample_of_the_same_kind_is_not_better() -> None:
    """With equal numbers compared, ten times as many draws of one distribution show no gain beyond the spread."""
    rng = np.random.default_rng(0)
    control, sample = rng.normal(size=20), rng.normal(size=400)
    compared = compare_samples(sample, control)
    assert compared is not None
    assert sample.min() < control.min()
    assert not compared.is_beyond(2)
    shifted = compare_samples(sample - 9, control)
    assert shifted is not None
    assert shifted.is_beyond(2)
    assert shifted.gain == pytest.approx(compared.gain + 9)


def test_too_few_values_are_not_compared() -> None:
    """Either side may be too small."""
    few, many = np.arange(MIN_SAMPLE - 1.0), np.arange(50.0)
    assert compare_samples(few, many) is None
    assert compare_samples(many, few) is None
    with pytest.raises(ValueError, match="1 to 7"):
        find_best_of(few, 9)


# Layers.


def test_layers_beside_the_unmixed_ones() -> None:
    """From the depth of the substrate to that of the film, with the changes of each layer."""
    view = view_layers(bicrystal(1), [])
    assert view is not None
    assert [(row.side, row.layer) for row in view.rows][4:6] == [("substrate", 1), ("film", 1)]
    changes = {(row.side, row.layer): row.change for row in view.rows if row.change}
    assert changes == {("substrate", 1): "+1 Li, −1 Mg", ("film", 1): "−1 Li, +1 Mg"}
    heights = [float(row.height.replace("−", "-")) for row in view.rows]
    assert heights == sorted(heights)


def test_ions_that_left_are_seen_beside_the_slabs() -> None:
    """A site that lost its ion is no longer in the structure, but in the slab."""
    whole = bicrystal()
    slabs = [
        Structure.from_sites([site for site in whole if site.properties[SIDE] == side])
        for side in ("substrate", "film")
    ]
    depleted = bicrystal(moved=1)
    left = next(
        k for k, site in enumerate(depleted) if site.properties[SIDE] == "film" and site.specie.symbol == "Li"
    )
    depleted.remove_sites([left])
    view = view_layers(depleted, slabs)
    assert view is not None
    assert [row.change for row in view.rows if row.change] == ["+1 Li", "−1 Li"]


# Defects.


def test_vacancies_are_found_beside_the_host() -> None:
    """Foreign atoms, interstitials and vacancies each have a place; without the host there are no vacancies."""
    kinds = [centre.kind for centre in find_centres(nitrided(), phosphate())]
    assert kinds == ["N on O", "interstitial Li", "vacancy O"]
    assert [centre.kind for centre in find_centres(nitrided(), None)] == ["N on O", "interstitial Li"]
    host = phosphate()
    vacancy = find_centres(nitrided(), host)[-1]
    assert np.allclose(vacancy.place, host[8].frac_coords)


def test_neighbours_before_and_after() -> None:
    """Nitrogen keeps its phosphorus; a move of one atom is in the list, with whole polyanions in the picture."""
    before = nitrided()
    after = before.copy()
    after.translate_sites([1], [0.0, 0.0, 0.3], frac_coords=False)
    view = view_surroundings(before, after, phosphate())
    assert view is not None
    nitrogen = view.rows[0]
    assert nitrogen.before.startswith("P 1.54")
    assert nitrogen.after != nitrogen.before
    assert nitrogen.moved == "0.30"
    assert view.after is not None
    for scene in (view.before, view.after):
        assert scene is not None
        assert scene.marks is not None
        assert "exchanged" in scene.marks.rings
        assert len(scene.marks.holes) >= 1
        centres = [k for k, symbol in enumerate(scene.symbols) if symbol == "P"]
        for centre in centres:
            bonded = (scene.bonds == centre).any(axis=1)
            ligands = {scene.symbols[k] for k in scene.bonds[bonded].ravel().tolist()} - {"P", "Li"}
            assert ligands <= {"O", "N"}
            assert sum(scene.symbols[k] in "ON" for k in scene.bonds[bonded].ravel().tolist()) >= 3


def test_defects_stand_before_other_atoms() -> None:
    """The view is a rotation, the same before and after, and nitrogen's ball is covered by no other."""
    before = nitrided()
    view = view_surroundings(before, before.copy(), phosphate())
    assert view is not None
    assert view.before is not None
    assert view.after is not None
    assert np.allclose(view.before.view, view.after.view)
    assert np.allclose(view.before.view @ view.before.view.T, np.eye(3))
    assert np.linalg.det(view.before.view) == pytest.approx(1.0)
    atoms = view.before.positions @ view.before.view.T
    for k, symbol in enumerate(view.before.symbols):
        if symbol == "N":
            apart = np.linalg.norm(atoms[:, :2] - atoms[k, :2], axis=1)
            assert not ((apart < 0.3) & (atoms[:, 2] > atoms[k, 2] + 1e-6)).any()


def test_relaxed_atoms_in_another_order_are_not_compared() -> None:
    """Nothing is said of what happened after."""
    before = nitrided()
    view = view_surroundings(before, Structure.from_sites(list(reversed(before))), phosphate())
    assert view is not None
    assert view.after is None
    assert all(not row.after for row in view.rows)


def test_a_perfect_crystal_has_no_surroundings() -> None:
    """There is nothing to show."""
    assert view_surroundings(phosphate(), None, phosphate()) is None


def test_far_defects_are_groups_of_their_own() -> None:
    """The largest group comes first."""
    large = phosphate().make_supercell([3, 1, 1], in_place=False)
    symbols = [site.specie.symbol for site in large]
    oxygen = sorted(
        (k for k, symbol in enumerate(symbols) if symbol == "O"), key=lambda k: large[k].coords[0]
    )
    far = [oxygen[0], oxygen[len(oxygen) // 2], oxygen[1]]
    for k in far:
        large[k] = "N", large[k].frac_coords, {SIDE: "defect", "native": "O"}
    groups = group_centres(large, find_centres(large, None))
    assert [len(group) for group in groups] == [2, 1]
