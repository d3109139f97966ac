"""Features of mixtures: the fractions, and statistics of the elements in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.protocols import Descriptor
from invdesign.structures.charges import element_symbols
from invdesign.structures.descriptors import PROPERTY_GROUPS, elemental_properties


@dataclass(frozen=True, eq=False)
class Chemistry:
    """The atoms that n fractions stand for.

    Attributes:
        atoms: n entries: atoms by element per unit of each fraction.
        fixed: atoms by element that are always there.
    """

    atoms: Sequence[Mapping[str, float]]
    fixed: Mapping[str, float]

    @cached_property
    def elements(self) -> tuple[str, ...]:
        """All elements, by atomic number."""
        named = {element for atoms in (*self.atoms, self.fixed) for element in atoms}
        return tuple(sorted(named, key=element_symbols().index))

    @cached_property
    def _matrix(self) -> FloatArray:
        return np.array([[atoms.get(element, 0.0) for element in self.elements] for atoms in self.atoms])

    @cached_property
    def _fixed(self) -> FloatArray:
        return np.array([self.fixed.get(element, 0.0) for element in self.elements])

    @cached_property
    def _properties(self) -> FloatArray:
        numbers = [element_symbols().index(element) + 1 for element in self.elements]
        return elemental_properties()[numbers]

    def count_atoms(self, x: FloatArray) -> dict[str, float]:
        """Count atoms by element for fractions `x` (n,).

        Elements without atoms are left out.
        """
        found = x @ self._matrix + self._fixed
        return {element: float(n) for element, n in zip(self.elements, found, strict=True) if n > 1e-12}

    def property_statistics(self, x: FloatArray) -> FloatArray:
        """Statistics (2 p,) of elemental properties for fractions `x` (n,).

        They are the mean and the mean absolute deviation over the atoms; `descriptors` names them.

        Source:
            Ward, Agrawal, Choudhary & Wolverton, npj Comput. Mater. 2, 16028 (2016), equations 1 and 2.
        """
        found = x @ self._matrix + self._fixed
        shares = found / max(float(found.sum()), 1e-300)
        mean = shares @ self._properties
        deviation = shares @ np.abs(self._properties - mean)
        # Fractions have eleven decimals, so that digits beyond nine are noise here.
        return np.round(np.concatenate([mean, deviation]), 9) + 0.0

    def descriptors(self) -> list[Descriptor]:
        """Name the statistics, in groups for size, electronic structure and cohesion."""
        return [
            Descriptor(f"{statistic} {name.replace('_', ' ')}", group)
            for statistic in ("mean", "deviation of")
            for name, group in PROPERTY_GROUPS.items()
        ]
