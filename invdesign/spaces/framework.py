"""Parts shared by spaces on the sites of a known crystal: settings, species, building and adopting structures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field

from invdesign.candidate import Design
from invdesign.errors import Infeasible, InvdesignError, nearest
from invdesign.spaces.counted import CountableSpace
from invdesign.spaces.generated import Generators
from invdesign.structures.charges import check_element
from invdesign.structures.files import check_distances
from invdesign.structures.parents import ParentSource, describe_structure_type, list_parent_remarks

if TYPE_CHECKING:
    from pymatgen.core import PeriodicSite, Structure

LISTED_SPECIES = {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True}
"""JSON Schema of species in their short form, a list."""
TOLERANCES: Mapping[str, float] = {"ltol": 0.3, "stol": 0.4, "angle_tol": 10.0}
"""By argument of pymatgen's matcher: lengths, site displacements (of the mean free length per atom) and angles that
relaxation may change (chosen)."""


def _check_states(states: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    for element, known in states.items():
        check_element(element)
        if not known or len(set(known)) < len(known):
            raise ValueError(f"{element} needs one or more different oxidation states, got {list(known)}")
    return states


OxidationStates = Annotated[
    dict[str, Annotated[tuple[int, ...], Field(strict=False)]], AfterValidator(_check_states)
]
"""A field of oxidation states by element."""


class FrameworkSpace(CountableSpace):
    """A space of structures on the sites of one parent crystal."""

    parent: ParentSource
    """A prototype's name, or a CIF, POSCAR or pymatgen JSON file (relative to the campaign)."""
    generators: Generators = ()
    """Generators of further starts, of which those that stand on the sites of the parent are taken."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """Remarks on the reading of the parent's file."""
        return list_parent_remarks(self.parent)

    @property
    def structure_type(self) -> str:
        """Kind of structure that candidates are built as: `an anti-perovskite`."""
        return describe_structure_type(self.parent)


def read_codes(group: str, species: Sequence[object], options: Mapping[str, int]) -> list[int]:
    """Look up the codes of species on the sites of a group.

    Args:
        group: its name, for the message.
        species: as a genome lists them.
        options: code by species, of those that the group allows.

    Raises:
        Infeasible: a species is not allowed.
    """
    codes = []
    for name in species:
        if not isinstance(name, str) or name not in options:
            hint = nearest(str(name), options)
            raise Infeasible(f"{name!r} is no option of {group} ({', '.join(options)}). {hint}".strip())
        codes.append(options[name])
    return codes


def build_design(structure: Structure, parent: str) -> Design:
    """Build the design of a structure, with its composition.

    The structure has the role `initial`.

    Args:
        structure: built on the sites of the parent.
        parent: its name, for the message.

    Raises:
        Infeasible: atoms overlap.
    """
    try:
        check_distances(structure, parent)
    except InvdesignError as error:
        raise Infeasible(str(error)) from error
    return Design(composition=structure.composition, structures={"initial": structure})


def element_at(site: PeriodicSite) -> str:
    """Symbol of the element on a `site`, without a charge."""
    specie: Any = site.specie
    return str(getattr(specie, "symbol", specie))


def with_elements_alone(structure: Structure) -> Structure:
    """Copy a `structure` without charges and without properties of its sites."""
    from pymatgen.core import Structure

    return Structure(structure.lattice, [element_at(site) for site in structure], structure.frac_coords)
