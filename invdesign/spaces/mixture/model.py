"""Numerical model of the mixtures in a campaign file: columns, rules, chemistry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from math import gcd, lcm

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.candidate import round_number
from invdesign.errors import join_complaints, nearest
from invdesign.spaces.linear import LinearConstraint
from invdesign.spaces.mixture.cells import WHOLE_TOLERANCE, Framework, Multiple
from invdesign.spaces.mixture.charges import Neutrality, Species, build_neutrality, is_ion, parse_species
from invdesign.spaces.mixture.features import Chemistry
from invdesign.spaces.mixture.fields import Continuum, Field, Listed, Stepped
from invdesign.spaces.mixture.lattice import MAX_LISTED, list_points
from invdesign.spaces.mixture.polytope import Rules
from invdesign.spaces.mixture.settings import Mixture
from invdesign.spaces.mixture.system import Group, System

LARGEST_FRACTION = 1e9  # upper limit of all fractions (chosen)


@dataclass(frozen=True)
class MixtureRequest:
    """Settings of the mixtures in a campaign file, checked part by part."""

    mixtures: Mapping[str, Mixture]
    constraints: Sequence[LinearConstraint]
    fixed: Mapping[str, float]
    mixed: Mapping[str, tuple[int, int]]
    neutral: bool | None
    framework: Framework | None


@dataclass(frozen=True, eq=False)
class Model:
    """Mixtures as numbers: one of n columns per component.

    The columns are in the file's order.
    """

    request: MixtureRequest

    @cached_property
    def places(self) -> tuple[tuple[str, str], ...]:
        """(mixture, component) of each column."""
        return tuple(
            (name, part) for name, mixture in self.request.mixtures.items() for part in mixture.components
        )

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the columns: components, with their mixture where ambiguous."""
        parts = [part for _, part in self.places]
        return tuple(part if parts.count(part) == 1 else f"{name}.{part}" for name, part in self.places)

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """Number of columns of each mixture."""
        return tuple(len(mixture.components) for mixture in self.request.mixtures.values())

    @cached_property
    def lower(self) -> FloatArray:
        """Shape (n,): least fraction of each column."""
        return np.array([self.request.mixtures[name].components[part].min for name, part in self.places])

    @cached_property
    def upper(self) -> FloatArray:
        """Shape (n,): greatest fraction of each column."""
        return np.array([self.request.mixtures[name].upper_bound(part) for name, part in self.places])

    @cached_property
    def scale(self) -> float:
        """A power of ten that brings the largest fraction below 10.

        It is 1 in a crystal, whose steps are fixed.
        """
        if self.request.framework is not None:
            return 1.0
        return float(10.0 ** np.floor(np.log10(min(max(float(self.upper.max()), 1e-6), LARGEST_FRACTION))))

    def _mixture_columns(self, mixture: str) -> list[int]:
        """Columns of a mixture."""
        return [column for column, (name, _) in enumerate(self.places) if name == mixture]

    # Chemistry.

    @cached_property
    def is_chemical(self) -> bool:
        """True if components are elements, ions or formulas."""
        request = self.request
        marked = any(mixture.multiplicity is not None for mixture in request.mixtures.values())
        return (
            request.framework is not None
            or marked
            or bool(request.fixed)
            or any(is_ion(part) for _, part in self.places)
        )

    @cached_property
    def amounts(self) -> tuple[tuple[Species, float], ...]:
        """(species, number per formula unit or unit cell) of each column.

        It is empty for plain names.

        Raises:
            ValueError: a name is no element, ion or formula.
        """
        if not self.is_chemical:
            return ()
        framework = self.request.framework
        if framework is not None:
            return tuple(
                (atom, float(len(sites.members))) for sites in framework.sites for atom in sites.atoms[:-1]
            )
        return tuple(
            (parse_species(part), self.request.mixtures[name].multiplicity or 1.0)
            for name, part in self.places
        )

    @cached_property
    def fixed(self) -> tuple[tuple[Species, float], ...]:
        """(species, number) of the species that are always there."""
        if self.request.framework is not None:
            return tuple((atom, 1.0) for atom in self.request.framework.fixed_species)
        return tuple((parse_species(name), amount) for name, amount in self.request.fixed.items())

    @cached_property
    def chemistry(self) -> Chemistry | None:
        """The atoms that the fractions stand for; None for plain names."""
        if not self.is_chemical:
            return None
        atoms = [{e: n * many for e, n in species.elements.items()} for species, many in self.amounts]
        fixed: dict[str, float] = {}
        for species, many in self.fixed:
            for element, n in species.elements.items():
                fixed[element] = fixed.get(element, 0.0) + n * many
        return Chemistry(atoms, fixed)

    @cached_property
    def neutrality(self) -> Neutrality | None:
        """The rule that charges balance; None where they need not.

        Raises:
            ValueError: they must balance, and a charge is not known.
        """
        wanted = self.request.neutral
        if wanted is None:
            known = [species for species, _ in (*self.amounts, *self.fixed)]
            wanted = (
                any(species.charge for species in known)
                if self.request.framework is None
                else not any(
                    species.charge is None and species.name not in self.request.mixed for species in known
                )
            )
        return (
            build_neutrality(self.amounts, self.fixed, self.request.mixed)
            if wanted and self.is_chemical
            else None
        )

    # Rules.

    @cached_property
    def stated_rules(self) -> list[tuple[str, FloatArray, float, float]]:
        """(words, weights (n,), least, most) of every linear rule but neutrality."""
        found = []
        for name, mixture in self.request.mixtures.items():
            low, high = self.total_limits(name)
            if mixture.total != "free" or self.request.framework is not None:
                weights = np.zeros(len(self.places))
                weights[self._mixture_columns(name)] = 1.0
                found.append((f"the fractions of '{name}' add up", weights, low, high))
        complaints: dict[str, None] = {}
        for constraint in self.request.constraints:
            weights = np.zeros(len(self.places))
            for name, weight in constraint.sum.items():
                try:
                    weights[self.find_column(name)] += weight
                except ValueError as error:
                    complaints[str(error)] = None
            least = constraint.min if constraint.equal is None else constraint.equal
            most = constraint.max if constraint.equal is None else constraint.equal
            limits = -np.inf if least is None else least, np.inf if most is None else most
            found.append((str(constraint), weights, *limits))
        if complaints:
            raise ValueError(join_complaints(list(complaints)))
        return found

    def find_column(self, name: str) -> int:
        """Find the column of a `name`: `component` or `mixture.component`.

        Raises:
            ValueError: there is none, or several.
        """
        full = [f"{mixture}.{part}" for mixture, part in self.places]
        for names in (self.names, full):
            if name in names:
                return names.index(name)
        if name in [part for _, part in self.places]:
            options = [own for own, (_, part) in zip(full, self.places, strict=True) if part == name]
            raise ValueError(f"a constraint names '{name}', of which there are several: {', '.join(options)}")
        hint = nearest(name, [*self.names, *full]) or f"There are {', '.join(self.names)}."
        raise ValueError(f"a constraint names '{name}', which is no component. {hint}")

    @cached_property
    def rule_system(self) -> System:
        """All rules but steps, fractions divided by `scale`."""
        rows = [(weights, low, high) for _, weights, low, high in self.stated_rules]
        if self.neutrality is not None:
            rows += self.neutrality.rows
        width = len(self.places)
        matrix = np.array([row[0] for row in rows]).reshape(-1, width)
        low, high = (np.array([row[i] for row in rows], dtype=np.float64) / self.scale for i in (1, 2))
        rules = Rules(self.lower / self.scale, self.upper / self.scale, matrix, low, high)
        return System(rules, tuple(map(self.build_group, self.request.mixtures)), np.zeros(width))

    def total_limits(self, name: str) -> tuple[float, float]:
        """Lowest and highest sum of mixture `name`.

        Sites of a crystal are full at 1.
        """
        low, high = self.request.mixtures[name].range
        return low, high if self.request.framework is None else min(high, 1.0)

    def build_group(self, name: str) -> Group:
        """Build the group of mixture `name`: its columns and limits."""
        mixture, members = self.request.mixtures[name], np.array(self._mixture_columns(name), dtype=np.int64)
        low, high = self.total_limits(name)
        bounds = float(self.lower[members].sum()), float(self.upper[members].sum())
        total = max(low, bounds[0]), min(high, bounds[1])
        count = len(members)
        return Group(
            members=members,
            at_least=mixture.at_least,
            at_most=min(mixture.at_most or count, count),
            least=mixture.present_from / self.scale,
            total=(total[0] / self.scale, max(total) / self.scale),
        )

    @cached_property
    def lattices(self) -> tuple[System, ...]:
        """The system with the steps of each supercell, or of the file.

        There are none where fractions have no steps.
        """
        framework = self.request.framework
        if framework is not None:
            return tuple(self.system_in_cell(multiple) for multiple in framework.multiples)
        return (replace(self.rule_system, steps=self.steps / self.scale),) if self.steps.any() else ()

    @cached_property
    def steps(self) -> FloatArray:
        """Shape (n,): steps that the file gives, 0 where none."""
        return np.array([self.request.mixtures[name].component_step(part) for name, part in self.places])

    def system_in_cell(self, multiple: Multiple) -> System:
        """The system with the steps of supercell `multiple`.

        Where the file gives a step, it is the least common multiple of both.
        """
        assert self.request.framework is not None
        atoms = self.request.framework.count_sites(multiple, self.widths)
        steps = [
            _common_step(Fraction(1, count), own)
            for count, own in zip(atoms, self.steps.tolist(), strict=True)
        ]
        return replace(self.rule_system, steps=np.array(steps))

    @cached_property
    def field(self) -> Field:
        """The set of feasible mixtures."""
        if not self.lattices:
            return Continuum(self.rule_system)
        known = self._list_written_points()
        if known is not None:
            return Listed(self.rule_system, known / self.scale, known)
        return Stepped(self.rule_system, self.lattices)

    def _list_written_points(self) -> FloatArray | None:
        """List all mixtures (p, n) on the lattices as they are written.

        Returns None where there are too many.
        """
        found: dict[tuple[float, ...], None] = {}
        for lattice in self.lattices:
            points = list_points(lattice)
            if points is None:
                return None
            for row in self.to_written_units(points).tolist():
                found.setdefault(tuple(row))
            if len(found) > MAX_LISTED:
                return None
        return np.array(list(found)).reshape(-1, len(self.places))

    def to_written_units(self, x: FloatArray) -> FloatArray:
        """Convert fractions `x` (..., n) of the system to the file's units.

        They are rounded to 12 significant digits.
        """
        values = np.asarray(x) * self.scale
        return np.array([round_number(value) for value in values.ravel().tolist()]).reshape(values.shape)

    def describe_fractions(self, x: FloatArray) -> str:
        """Format fractions `x` (n,) of the system: `Cl 0.5, Br 0.5`."""
        parts = zip(self.names, self.to_written_units(x).tolist(), strict=True)
        return ", ".join(f"{name} {value:.4g}" for name, value in parts if value > 0) or "nothing"


def _common_step(share: Fraction, step: float) -> float:
    """Least multiple of both a share and a step.

    It is the share where there is no step.
    """
    if step == 0.0:
        return float(share)
    given = Fraction(str(step))
    return float(Fraction(lcm(share.numerator, given.numerator), gcd(share.denominator, given.denominator)))


def find_smallest_cell(
    framework: Framework, values: FloatArray, widths: Sequence[int]
) -> tuple[Multiple, list[list[int]]] | None:
    """Find the smallest supercell that holds fractions, and its numbers of atoms.

    Args:
        framework: the parent with the supercells allowed.
        values: shape (n,), fractions.
        widths: number of columns of each mixture.

    Returns:
        (supercell, per mixture the atoms of each component and the vacancies); None where none holds them.
    """
    edges = np.cumsum([0, *widths])
    for multiple in framework.multiples:
        count = int(np.prod(multiple))
        found: list[list[int]] = []
        for sites, (start, end) in zip(framework.sites, pairwise(edges.tolist()), strict=True):
            places = count * len(sites.members)
            raw = values[start:end] * places
            whole = np.rint(raw)
            if np.abs(raw - whole).max() > WHOLE_TOLERANCE or whole.sum() > places:
                break
            found.append([*map(int, whole), places - int(whole.sum())])
        if len(found) == len(framework.sites):
            return multiple, found
    return None
