"""Recognise the decoration of a relaxed, seeded or generated structure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from invdesign.arrays import IntArray
from invdesign.spaces.framework import TOLERANCES, element_at, with_elements_alone
from invdesign.spaces.substitution.geometry import Geometry

if TYPE_CHECKING:
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.core import Structure


MAX_SHIFT_RATIO = 0.25  # chosen; largest displacement of an atom on its site, over the shortest distance


def recognise_decoration(
    structure: Structure, geometry: Geometry, likely: IntArray | None
) -> IntArray | None:
    """Match a structure to a decoration, shape (v,); None if none matches.

    Args:
        structure: any cell of the crystal, primitive or repeated.
        geometry: the framework and its options.
        likely: decoration to try first, atom by atom: the one the structure was relaxed from.
    """
    plain = with_elements_alone(structure)
    if likely is not None and _is_unmoved(plain, geometry, likely):
        return likely
    size = len(geometry.parent)
    if len(plain) != size:
        plain = plain.get_primitive_structure()
    if size % len(plain):
        return None
    return _match_framework(plain, geometry)


def _is_unmoved(structure: Structure, geometry: Geometry, likely: IntArray) -> bool:
    """True if every atom of `likely` is still on its site.

    Atoms must be in the same order; a common shift of all atoms is allowed.
    """
    if [element_at(site) for site in structure] != geometry.list_elements(likely):
        return False
    moves = structure.frac_coords - geometry.parent.positions
    moves -= moves[0]
    moves -= np.round(moves)
    moves -= moves.mean(axis=0)
    lengths = np.linalg.norm(moves @ structure.lattice.matrix, axis=1)
    distances = structure.distance_matrix
    np.fill_diagonal(distances, min(structure.lattice.abc))
    return bool(lengths.max() < MAX_SHIFT_RATIO * distances.min())


def _match_framework(structure: Structure, geometry: Geometry) -> IntArray | None:
    """Decoration from the best mapping of the structure onto the framework.

    The mapping is the best among all that the options allow.
    """
    from pymatgen.core import DummySpecies, Structure

    allowed = _list_allowed_elements(geometry)
    # No element's symbol begins with Q, so these names cannot be mistaken for elements.
    letters = "abcdefghijklmnopqrstuvwxyz"
    different = dict.fromkeys(allowed)
    names = {options: "Q" + letters[i % 26] + "z" * (i // 26) for i, options in enumerate(different)}
    parent = geometry.parent
    template = Structure(
        parent.lattice, [DummySpecies(names[options], 0) for options in allowed], parent.positions
    )
    matcher = _build_matcher({name: options for options, name in names.items()})
    mapped = matcher.get_s2_like_s1(template, structure)
    if mapped is None:
        return None
    elements = [element_at(site) for site in mapped]
    codes = []
    for variable in geometry.decorations.variables:
        found = {elements[site] for site in variable.sites}
        options = [ion.element for ion in variable.options]
        if len(found) > 1 or not found <= set(options):
            return None
        codes.append(options.index(found.pop()))
    return np.asarray(codes, dtype=np.int64)


def _list_allowed_elements(geometry: Geometry) -> list[frozenset[str]]:
    """Elements that each site may hold."""
    allowed = [frozenset({element}) for element in geometry.elements]
    for variable in geometry.decorations.variables:
        for site in variable.sites:
            allowed[site] = frozenset(ion.element for ion in variable.options)
    return allowed


def _build_matcher(allowed: dict[str, frozenset[str]]) -> StructureMatcher:
    """Build a matcher that equates a site with every element it may hold."""
    from pymatgen.analysis.structure_matcher import AbstractComparator, StructureMatcher

    class AllowedElements(AbstractComparator):  # type: ignore[misc]  # pymatgen is not typed for mypy here
        def are_equal(self, sp1: Any, sp2: Any) -> bool:
            first, second = (next(iter(species)).symbol for species in (sp1, sp2))
            if first in allowed:
                return second in allowed[first]
            return first in allowed.get(second, ())

        def get_hash(self, composition: Any) -> int:  # noqa: ARG002 - pymatgen's signature
            return 0

    return StructureMatcher(
        **TOLERANCES,
        primitive_cell=False,
        scale=True,
        attempt_supercell=True,
        comparator=AllowedElements(),
    )
