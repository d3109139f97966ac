"""Fractions of components on simplices: dopants on crystal sites, halides, electrolyte formulations.

Every genome keeps every rule: bounds, sums, how many components are present, linear constraints and the balance
of charges. With a crystal, the fractions are those that one of its supercells holds exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from invdesign.arrays import FloatArray
from invdesign.candidate import Design, Genome, Json, genome_key, half_last_digit, round_number
from invdesign.errors import Infeasible, nearest
from invdesign.protocols import Descriptor, Dimension, Domain, Operator, Placement
from invdesign.rng import rng_for
from invdesign.spaces.counted import CountableSpace
from invdesign.spaces.described import rename_duplicates
from invdesign.spaces.linear import LinearConstraint
from invdesign.spaces.mixture.cells import Framework, Realised, build_framework
from invdesign.spaces.mixture.charges import check_mixed_valence, parse_species
from invdesign.spaces.mixture.cube import build_cube_rules, list_presence_choices
from invdesign.spaces.mixture.fields import Listed
from invdesign.spaces.mixture.made import scale_to_totals
from invdesign.spaces.mixture.model import MixtureRequest, Model, find_smallest_cell
from invdesign.spaces.mixture.operators import build_operators
from invdesign.spaces.mixture.refusals import check_model, list_violations
from invdesign.spaces.mixture.settings import Mixture
from invdesign.structures.parents import describe_structure_type, list_parent_remarks
from invdesign.tables.cells import parse_number

if TYPE_CHECKING:
    from pymatgen.core import Structure

States = Annotated[tuple[int, int], Field(strict=False)]


CUBE_TOLERANCE = 1e-9  # rounding error of a coordinate of the unit cube (chosen)
WRITTEN_TOLERANCE = 1e-5  # relative: rounding error of a fraction that the user wrote in a table (chosen)


class MixtureSpace(CountableSpace):
    """Mixtures of components, each a simplex of fractions, with rules across them.

    A genome holds the fractions of the present components: `{"M": {"Zr4+": 0.8, "Ta5+": 0.2}}`. Where all fractions have
    steps, or are those of small supercells, the space can be counted (`count`, `genome`, `blocks`).
    """

    mixtures: dict[str, Mixture] = Field(min_length=1)
    """Mixture by name; with a structure, the name is the label of the sites it is on."""
    constraints: tuple[LinearConstraint, ...] = Field(default=(), strict=False)
    """Linear rules on fractions, by component or `mixture.component`: `{sum: {Ta5+: 1, Nb5+: 1}, max: 0.5}`."""
    fixed: dict[str, Annotated[float, Field(gt=0.0, allow_inf_nan=False)]] = Field(default={})
    """Ions, elements or formulas that are always there, with their number per formula unit: `{La3+: 3, O2-: 12}`."""
    neutral: bool | None = None
    """True if charges must balance; where not given, they must if any component is written as an ion, and in a
    structure if all charges are known."""
    mixed_valence: dict[str, States] = Field(default={}, max_length=1)
    """Two adjacent states of one element that is written without one: `{Fe: [2, 3]}`. It balances the remaining charge."""
    structure: Realised | None = None
    """The crystal whose supercells hold the mixtures; none where not given."""

    @field_validator("fixed")
    @classmethod
    def _check_fixed_names(cls, fixed: dict[str, float]) -> dict[str, float]:
        for name in fixed:
            parse_species(name)
        return fixed

    @field_validator("mixed_valence")
    @classmethod
    def _check_adjacent_states(cls, mixed: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
        for element, states in mixed.items():
            check_mixed_valence(element, states)
        return mixed

    @model_validator(mode="after")
    def _check_feasibility(self) -> Self:
        if self.structure is not None and self.fixed:
            raise ValueError("the structure determines the fixed species; leave `fixed` out")
        model = self._model
        if self.mixed_valence and not self._uses_mixed_valence(model):
            element = next(iter(self.mixed_valence))
            raise ValueError(
                f"{element} is mixed-valent, but no component is called '{element}', without a state"
            )
        check_model(model)
        return self

    def _uses_mixed_valence(self, model: Model) -> bool:
        """True if every mixed-valent element is a component or a fixed species."""
        known = {species.name for species, _ in (*model.amounts, *model.fixed)}
        return known >= set(self.mixed_valence)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences on the reading of the parent's file."""
        return () if self.structure is None else list_parent_remarks(self.structure.parent)

    @property
    def structure_type(self) -> str:
        """Kind of structure that candidates are built as: `an anti-perovskite`.

        It is empty where there is no structure.
        """
        return "" if self.structure is None else describe_structure_type(self.structure.parent)

    @cached_property
    def _framework(self) -> Framework | None:
        return (
            None
            if self.structure is None
            else build_framework(self.structure, self.mixtures, self.mixed_valence)
        )

    @cached_property
    def _model(self) -> Model:
        request = MixtureRequest(
            mixtures=self.mixtures,
            constraints=self.constraints,
            fixed=self.fixed,
            mixed=self.mixed_valence,
            neutral=self.neutral,
            framework=self._framework,
        )
        return Model(request)

    @cached_property
    def _operators(self) -> Mapping[str, Operator]:
        return build_operators(self._model.field, self._read_point, self._write_genome)

    def operators(self) -> Mapping[str, Operator]:
        """`start`, `extreme`, `mutate`, `swap`, `drop`, `add` and `crossover`; all return feasible mixtures."""
        return self._operators

    def build(self, genome: Genome) -> Design:
        """Build the design of a `genome`: fractions as parameters, composition, crystal.

        The composition is there where components are chemistry, the crystal where the settings give a structure.

        Raises:
            Infeasible: a rule is broken, a name unknown, or no supercell holds the fractions.
        """
        values = self._check_fractions(genome)
        model = self._model
        parameters = dict(zip(model.names, values.tolist(), strict=True))
        if self._framework is None:
            return Design(parameters=parameters, composition=self._build_composition(values))
        structure = self._build_structure(values, genome)
        return Design(parameters, structure.composition, {"initial": structure})

    def features(self, genomes: Sequence[Genome]) -> FloatArray:
        """Features (n, d) of `genomes`: the fractions, then statistics of elemental properties.

        The statistics are means and deviations, where there are elements.
        """
        chemistry = self._model.chemistry
        rows = [self._read_fractions(genome) for genome in genomes]
        if chemistry is not None:
            rows = [np.concatenate([values, chemistry.property_statistics(values)]) for values in rows]
        return np.array(rows).reshape(len(genomes), -1)

    def descriptors(self) -> Sequence[Descriptor]:
        """Name the features: fractions per mixture, then statistics of the elements."""
        model = self._model
        fractions = [
            Descriptor(name, mixture) for name, (mixture, _) in zip(model.names, model.places, strict=True)
        ]
        return rename_duplicates([*fractions, *(model.chemistry.descriptors() if model.chemistry else ())])

    # FiniteSpace.

    def count(self) -> int | None:
        """Number of mixtures.

        Returns None unless every fraction has steps or small supercells hold them.
        """
        field = self._model.field
        return len(field.points) if isinstance(field, Listed) else None

    def genome_at_index(self, index: int) -> Genome:
        """Build mixture number `index`; those of the smallest supercell come first."""
        field = self._model.field
        assert isinstance(field, Listed)  # only those are counted
        return self._name_fractions(field.written[index])

    def blocks(self, size: int) -> Iterator[tuple[int, FloatArray]]:
        """Stream blocks of at most `size` rows.

        Yields:
            (index of the first row, features (<= size, d)).
        """
        for start in range(0, len(self), size):
            rows = [self.genome_at_index(index) for index in range(start, min(start + size, len(self)))]
            yield start, self.features(rows)

    # TabledSpace.

    def table_columns(self) -> Sequence[str]:
        """Names of the components, with their mixture where ambiguous."""
        return self._model.names

    def to_cells(self, genome: Genome) -> Mapping[str, float | str]:
        """Fraction of every component in `genome`, 0 for absent ones."""
        return dict(zip(self._model.names, self._read_fractions(genome).tolist(), strict=True))

    def from_cells(self, cells: Mapping[str, str]) -> Genome:
        """Read the components with fractions above 0 from table `cells`.

        Fractions that miss a rule by rounding alone are repaired.
        """
        found: dict[str, dict[str, Json]] = {name: {} for name in self.mixtures}
        for name, (mixture, component) in zip(self._model.names, self._model.places, strict=True):
            text = cells.get(name, "0")
            number = parse_number(text)
            if number is None or not np.isfinite(number):
                found[mixture][component] = text
            elif number != 0.0:
                found[mixture][component] = number
        if any(isinstance(value, str) for own in found.values() for value in own.values()):
            return found
        model, values = self._model, self._read_fractions(found)
        near = model.field.repair_point(values / model.scale)
        written = found if near is None else self._write_genome(near)
        rounding = WRITTEN_TOLERANCE * model.scale
        return written if np.abs(self._read_fractions(written) - values).max() <= rounding else found

    # OpenSpace.

    def rounding(self, cells: Mapping[str, str]) -> Mapping[str, float]:
        """Rounding error of the numbers in `cells`.

        It is half a unit of the last digit written.
        """
        names, places = self._model.names, self._model.places
        totals = {
            name: self._model.total_limits(mixture)[1]
            for name, (mixture, _) in zip(names, places, strict=True)
        }
        return {name: half_last_digit(text, totals[name]) for name, text in cells.items()}

    def place(self, genome: Genome, rounding: Mapping[str, float]) -> Placement:
        """Place weighed-out fractions: beyond bounds, between steps, or of too many components.

        A sum that misses its total by no more than rounding is scaled.

        Args:
            genome: fractions by mixture and component, as they were weighed out.
            rounding: rounding error of each fraction as it was written.

        Raises:
            Infeasible: a name is unknown, a fraction no number or negative, or the sum another than its total.
        """
        self._check_names(genome)
        model = self._model
        raw = self._read_fractions(genome)
        values = scale_to_totals(model, raw, rounding)
        near = model.field.repair_point(values / model.scale)
        if near is not None:
            written = self._write_genome(near)
            off = np.abs(self._read_fractions(written) - values)
            allowed = np.array([rounding.get(name, 0.0) for name in model.names]) + np.abs(values - raw)
            if (off <= np.maximum(allowed, WRITTEN_TOLERANCE * model.scale)).all():
                return Placement(written)
        wrong = list_violations(model, values) or ["no allowed supercell holds these fractions"]
        return Placement(
            self._name_fractions(np.array([round_number(value) for value in values.tolist()])),
            "; ".join(wrong),
        )

    def build_made(self, genome: Genome) -> Design:
        """Build the design of a weighed-out `genome`: fractions and composition, no crystal."""
        self._check_names(genome)
        values = self._read_fractions(genome)
        parameters = dict(zip(self._model.names, values.tolist(), strict=True))
        return Design(parameters=parameters, composition=self._build_composition(values))

    def domain(self) -> Domain:
        """One real dimension per component whose fraction can vary.

        Steps and supercells are left to `decode`. Sums, linear constraints and the balance of charges are rules of the domain;
        the presence of components is a choice in mixtures that count them.
        """
        return self._domain

    @cached_property
    def _domain(self) -> Domain:
        model = self._model
        limits = zip(model.names, model.lower.tolist(), model.upper.tolist(), strict=True)
        dimensions = tuple(Dimension(name, "real", low, high) for name, low, high in limits if low < high)
        low, span, varied = self._frame
        scale = model.scale
        sparse, least = list_presence_choices(model.rule_system, varied, span / scale)
        return Domain(
            dimensions, build_cube_rules(model.rule_system, low / scale, span / scale, varied), sparse, least
        )

    def encode(self, genomes: Sequence[Genome]) -> FloatArray:
        """Encode `genomes` as points (n, d).

        Coordinates of fractions beyond their bounds are beyond [0, 1].
        """
        low, span, varied = self._frame
        rows = [((self._read_fractions(genome) - low) / span)[varied] for genome in genomes]
        points = np.array(rows).reshape(len(genomes), int(varied.sum()))
        near = np.clip(points, 0.0, 1.0)
        return np.where(np.abs(near - points) < CUBE_TOLERANCE, near, points)

    def decode(self, x: FloatArray) -> Sequence[Genome]:
        """Decode points `x` (n, d) to nearby feasible mixtures.

        The components with the largest fractions are kept.
        """
        low, span, varied = self._frame
        found = []
        for point in np.clip(x, 0.0, 1.0):
            values = low.copy()
            values[varied] += point * span[varied]
            repaired = self._model.field.repair_point(values / self._model.scale)
            found.append(self._fallback if repaired is None else self._write_genome(repaired))
        return found

    @cached_property
    def _frame(self) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
        """Least fractions (n,), ranges (n,), and mask (n,) of those that vary.

        The range is 1 where a fraction cannot vary.
        """
        spans = self._model.upper - self._model.lower
        return self._model.lower, np.where(spans > 0, spans, 1.0), spans > 0

    @cached_property
    def _fallback(self) -> Genome:
        """Any mixture, where rounding leaves no other answer."""
        found = self._operators["start"].apply((), rng_for(0, 0, "mixture"))
        assert found is not None  # checked on loading
        return found

    def _build_composition(self, values: FloatArray) -> Any:
        chemistry = self._model.chemistry
        if chemistry is None:
            return None
        from pymatgen.core import Composition

        return Composition(chemistry.count_atoms(values))

    def _build_structure(self, values: FloatArray, genome: Genome) -> Structure:
        """Build the crystal in the smallest supercell that holds the fractions."""
        framework, model = self._framework, self._model
        assert framework is not None
        held = find_smallest_cell(framework, values, model.widths)
        if held is None:
            near = model.field.repair_point(values / model.scale)
            hint = (
                "" if near is None else f"; the nearest that can be held are {model.describe_fractions(near)}"
            )
            raise Infeasible(
                f"no allowed supercell holds the fractions {model.describe_fractions(values / model.scale)}{hint}"
            )
        multiple, counts = held
        return framework.cached_supercell(multiple).build_structure(
            counts, rng_for(0, 0, f"mixture {genome_key(genome)}")
        )

    def _read_fractions(self, genome: Genome) -> FloatArray:
        """Read the fractions (n,) of a genome as they are written."""
        found = []
        for mixture, component in self._model.places:
            own = genome[mixture]
            assert isinstance(own, Mapping)  # what `build` accepts
            value = own.get(component, 0.0)
            assert isinstance(value, float | int)
            found.append(float(value))
        return np.array(found)

    def _read_point(self, genome: Genome) -> FloatArray:
        """Convert a genome to a point of the field.

        One that the user wrote is moved onto it.
        """
        model = self._model
        y = self._read_fractions(genome) / model.scale
        found = model.field.repair_point(y)
        return y if found is None else found

    def _write_genome(self, x: FloatArray) -> Genome:
        """Convert a point of the field to a genome in the file's units.

        It holds the present components.
        """
        field = self._model.field
        return self._name_fractions(
            field.written_values(x) if isinstance(field, Listed) else self._model.to_written_units(x)
        )

    def _name_fractions(self, values: FloatArray) -> Genome:
        """Build the genome of fractions (n,) as they are written."""
        found: dict[str, dict[str, Json]] = {name: {} for name in self.mixtures}
        for (mixture, component), value in zip(self._model.places, values.tolist(), strict=True):
            if value > 0.0:
                found[mixture][component] = value
        return found

    def _check_names(self, genome: Genome) -> None:
        """Refuse a genome that is no mixture of these components.

        Raises:
            Infeasible: a name is missing or unknown, or a fraction is no number.
        """
        for name in self.mixtures:
            if not isinstance(genome.get(name), Mapping):
                raise Infeasible(
                    f"the genome needs fractions of '{name}', such as {{component: 0.5}}, got {genome.get(name)!r}"
                )
        for name, own in genome.items():
            if name not in self.mixtures:
                raise Infeasible(f"the space has no mixture '{name}'. {nearest(name, self.mixtures)}".strip())
            assert isinstance(own, Mapping)
            for component, value in own.items():
                if component not in self.mixtures[name].components:
                    hint = nearest(component, self.mixtures[name].components)
                    raise Infeasible(f"'{name}' has no component '{component}'. {hint}".strip())
                if not isinstance(value, float | int) or isinstance(value, bool) or not np.isfinite(value):
                    raise Infeasible(f"the fraction of {component} must be a number, got {value!r}")

    def _check_fractions(self, genome: Genome) -> FloatArray:
        """Check a genome against all rules and return its fractions (n,)."""
        self._check_names(genome)
        values = self._read_fractions(genome)
        wrong = list_violations(self._model, values)
        if wrong:
            raise Infeasible("; ".join(wrong))
        return values
