"""Crystals as they are published: space group, cell, one position per orbit, and where it was read."""

from __future__ import annotations

from functools import cache
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Literal

import numpy as np

from invdesign.errors import InvdesignError
from invdesign.settings import Frozen

if TYPE_CHECKING:
    from pymatgen.core import Structure

SAME_POSITION = 1e-3  # fractional; positions are published to four digits


class Site(Frozen):
    """One orbit of the asymmetric unit."""

    label: str
    """Name used in campaign files, unique within the crystal: `A`, `B`, `X`, `M1`."""
    element: str
    """Element symbol."""
    wyckoff: str
    """Multiplicity and letter in the conventional cell of the setting used: `8c`."""
    position: tuple[float, float, float]
    """Fractional coordinates of one member."""
    oxidation_state: int | None = None
    """Formal charge, where the field assigns one."""


class Crystal(Frozen):
    """A published crystal structure."""

    name: str
    formula: str
    """Reduced formula, checked against what the positions generate."""
    called: str = ""
    """The kind of structure with its article, for sentences: `a spinel`."""
    title: str = ""
    spacegroup: int
    """International Tables number."""
    setting: Literal[1, 2] = 1
    """Origin choice (or hexagonal axes) as in ASE: 2 is the second origin choice."""
    cell: tuple[float, float, float, float, float, float]
    """a, b, c in Å, alpha, beta, gamma in degrees, conventional axes."""
    sites: tuple[Site, ...]
    source: str
    """Paper, database entry or both."""

    def structure(self, *, primitive: bool = False) -> Structure:
        """The crystal with site property `label`; each orbit checked against its Wyckoff multiplicity.

        Args:
            primitive: reduce a centred cell to its primitive one (labels are kept).

        Raises:
            InvdesignError: positions generate another multiplicity or formula than published.
        """
        from pymatgen.core import Lattice, Structure

        species: list[str] = []
        positions: list[np.ndarray] = []
        labels: list[str] = []
        charges: list[int | None] = []
        for site in self.sites:
            orbit = self._orbit(site)
            species += [site.element] * len(orbit)
            positions += list(orbit)
            labels += [site.label] * len(orbit)
            charges += [site.oxidation_state] * len(orbit)
        structure = Structure(
            Lattice.from_parameters(*self.cell),
            species,
            positions,
            site_properties={"label": labels, "oxidation_state": charges},
        )
        found = structure.composition.reduced_formula
        expected = _reduced(self.formula)
        if found != expected:
            raise InvdesignError(f"{self.name}: positions give {found}, published formula is {expected}")
        if primitive:
            structure = structure.get_primitive_structure(use_site_props=True)
        return structure

    def _orbit(self, site: Site) -> np.ndarray:
        from ase.spacegroup import Spacegroup

        group = Spacegroup(self.spacegroup, setting=self.setting)
        orbit, _ = group.equivalent_sites([site.position], symprec=SAME_POSITION, onduplicates="error")
        expected = int(site.wyckoff.rstrip("abcdefghijklmnopqrstuvwxyzA"))
        if len(orbit) != expected:
            raise InvdesignError(
                f"{self.name}: site {site.label} at {site.position} generates {len(orbit)} positions, "
                f"Wyckoff {site.wyckoff} has {expected}"
            )
        return np.asarray(orbit)


def _reduced(formula: str) -> str:
    from pymatgen.core import Composition

    return str(Composition(formula).reduced_formula)


def read_crystals(resource: Traversable) -> dict[str, Crystal]:
    """Crystals by name from a YAML list (the package's own data files).

    Raises:
        InvdesignError: two crystals have one name.
    """
    return dict(_parsed(resource.read_text(encoding="utf-8"), resource.name))


@cache
def _parsed(text: str, file: str) -> dict[str, Crystal]:
    from ruamel.yaml import YAML

    entries = YAML(typ="safe", pure=True).load(text)
    crystals = [Crystal.model_validate(_tuples(entry)) for entry in entries]
    named = {crystal.name: crystal for crystal in crystals}
    if len(named) < len(crystals):
        twice = sorted({c.name for c in crystals if sum(d.name == c.name for d in crystals) > 1})
        raise InvdesignError(f"{file}: the name of a crystal must be unique, twice there: {', '.join(twice)}")
    return named


def _tuples(value: object) -> object:
    """YAML lists as tuples, which strict models ask for."""
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return value
