"""Crystals as they are published: space group, cell, one position per orbit, and the source."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field, ValidationError, field_validator

from invdesign.errors import InvdesignError
from invdesign.settings import Frozen
from invdesign.structures.charges import check_element

if TYPE_CHECKING:
    from pymatgen.core import Structure

POSITION_TOLERANCE = 1e-3  # fractional; chosen: positions are published to four digits

Finite = Annotated[float, Field(allow_inf_nan=False)]
Length = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Angle = Annotated[float, Field(gt=0, lt=180)]


class Site(Frozen):
    """One orbit of the asymmetric unit."""

    label: str
    """Name used in campaign files, unique within the crystal: `A`, `B`, `X`, `M1`."""
    element: str
    """Element symbol."""
    wyckoff: Annotated[str, Field(pattern=r"^[1-9][0-9]*[a-zA]$")]
    """Multiplicity and letter in the conventional cell of the setting used: `8c`."""
    position: tuple[Finite, Finite, Finite]
    """Fractional coordinates of one member."""
    oxidation_state: int | None = None
    """Formal charge, where the field assigns one."""

    @field_validator("element")
    @classmethod
    def _check_element(cls, value: str) -> str:
        return check_element(value)


class Crystal(Frozen):
    """A published crystal structure."""

    name: str
    formula: str
    """Reduced formula, checked against what the positions generate."""
    called: str = ""
    """The kind of structure with its article, for sentences: `a spinel`."""
    title: str = ""
    spacegroup: Annotated[int, Field(ge=1, le=230)]
    """International Tables number."""
    setting: Literal[1, 2] = 1
    """Origin choice (or hexagonal axes) as in ASE: 2 is the second origin choice."""
    cell: tuple[Length, Length, Length, Angle, Angle, Angle]
    """a, b, c in Å, alpha, beta, gamma in degrees, conventional axes."""
    sites: tuple[Site, ...]
    source: str
    """Paper, database entry or both."""

    def build_structure(self, *, primitive: bool = False) -> Structure:
        """Build the structure with the site property `label`.

        Each orbit is checked against its Wyckoff multiplicity.

        Args:
            primitive: reduce a centred cell to its primitive one (labels are kept).

        Raises:
            InvdesignError: positions generate another multiplicity or formula than published, or no cell has the
                angles.
        """
        from pymatgen.core import Lattice, Structure

        lattice = Lattice.from_parameters(*self.cell)
        if not np.isfinite(lattice.matrix).all() or not lattice.volume > 0:
            raise InvdesignError(f"{self.name}: no cell has the angles {', '.join(map(str, self.cell[3:]))}")

        species: list[str] = []
        positions: list[np.ndarray] = []
        labels: list[str] = []
        charges: list[int | None] = []
        for site in self.sites:
            orbit = self._expand_orbit(site)
            species += [site.element] * len(orbit)
            positions += list(orbit)
            labels += [site.label] * len(orbit)
            charges += [site.oxidation_state] * len(orbit)
        structure = Structure(
            lattice,
            species,
            positions,
            site_properties={"label": labels, "oxidation_state": charges},
        )
        found = structure.composition.reduced_formula
        expected = _reduce_formula(self.formula)
        if found != expected:
            raise InvdesignError(f"{self.name}: positions give {found}, published formula is {expected}")
        if primitive:
            structure = structure.get_primitive_structure(use_site_props=True)
        return structure

    def _expand_orbit(self, site: Site) -> np.ndarray:
        """List all positions of a site's orbit, shape (m, 3)."""
        from ase.spacegroup import Spacegroup

        group = Spacegroup(self.spacegroup, setting=self.setting)
        orbit, _ = group.equivalent_sites([site.position], symprec=POSITION_TOLERANCE, onduplicates="error")
        expected = int(site.wyckoff.rstrip("abcdefghijklmnopqrstuvwxyzA"))
        if len(orbit) != expected:
            raise InvdesignError(
                f"{self.name}: site {site.label} at {site.position} generates {len(orbit)} positions, "
                f"Wyckoff {site.wyckoff} has {expected}"
            )
        return np.asarray(orbit)


def _reduce_formula(formula: str) -> str:
    """Reduced formula as pymatgen writes it."""
    from pymatgen.core import Composition

    return str(Composition(formula).reduced_formula)


def read_crystals(resource: Traversable) -> dict[str, Crystal]:
    """Read crystals by name from a YAML list of the package.

    Args:
        resource: the data file.

    Raises:
        InvdesignError: two crystals have one name.
    """
    return dict(_parse_crystals(resource.read_text(encoding="utf-8"), resource.name))


def parse_document(text: str) -> object:
    """Parse YAML; sequences become tuples, which strict models require.

    Raises:
        YAMLError: the text is no YAML.
    """
    from ruamel.yaml import YAML

    return _convert_lists_to_tuples(YAML(typ="safe", pure=True).load(text))


def read_entries(entries: object) -> Iterator[tuple[str, Crystal | Exception]]:
    """Yield name and crystal of every entry of a list.

    An entry that is no crystal yields the error in its place.

    Args:
        entries: as `parse_document` gives them.

    Raises:
        TypeError: they are no list.
    """
    if not isinstance(entries, tuple):
        raise TypeError("a list of crystals is needed, an entry for each")
    for number, entry in enumerate(entries, start=1):
        name = entry.get("name") if isinstance(entry, dict) else None
        place = name if isinstance(name, str) and name else f"entry {number}"
        try:
            yield place, Crystal.model_validate(entry)
        except ValidationError as error:
            yield place, error


@cache
def _parse_crystals(text: str, file: str) -> dict[str, Crystal]:
    """Parse a YAML list of crystals with unique names; it may stand under `phases`."""
    crystals: list[Crystal] = []
    document = parse_document(text)
    for _, found in read_entries(document["phases"] if isinstance(document, dict) else document):
        if isinstance(found, Exception):
            raise found
        crystals.append(found)
    named = {crystal.name: crystal for crystal in crystals}
    if len(named) < len(crystals):
        twice = sorted({c.name for c in crystals if sum(d.name == c.name for d in crystals) > 1})
        raise InvdesignError(f"{file}: the name of a crystal must be unique, twice there: {', '.join(twice)}")
    return named


def _convert_lists_to_tuples(value: object) -> object:
    """Convert YAML lists to tuples, which strict models require."""
    if isinstance(value, list):
        return tuple(_convert_lists_to_tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: _convert_lists_to_tuples(item) for key, item in value.items()}
    return value
