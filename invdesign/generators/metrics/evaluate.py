"""All metrics of a set of generated crystals in one call, and as rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from invdesign.arrays import BoolArray, IntArray
from invdesign.errors import InvdesignError
from invdesign.generators.metrics.coverage import Coverage, Fingerprints, measure_coverage
from invdesign.generators.metrics.distinct import (
    KnownCrystals,
    Matcher,
    Symmetry,
    find_new,
    find_symmetries,
    find_unique,
)
from invdesign.generators.metrics.distributions import measure_jensen_shannon, measure_wasserstein
from invdesign.generators.metrics.intervals import Figure, measure_share
from invdesign.generators.metrics.validity import Validity, check_validity

if TYPE_CHECKING:
    from pymatgen.core import Structure

COVERAGE_SAMPLES = 1_000  # crystals of each side for coverage, 0.15 s each; the benchmark's number
SEED = 20_261  # of the draw for coverage (chosen)


@dataclass(frozen=True, slots=True)
class Energies:
    """Formation energies of one potential, eV/atom; NaN where a calculation failed.

    Attributes:
        samples: of generated crystals.
        reference: of known crystals.
    """

    samples: Sequence[float]
    reference: Sequence[float]


@dataclass(frozen=True, slots=True)
class Omitted:
    """Crystals and comparisons left out of some metrics.

    Attributes:
        comparisons: that pymatgen could not make; each counts as no match.
        symmetries: structurally valid samples in which spglib finds no space group; none of them is a new framework.
        energies: samples and known crystals without a formation energy.
    """

    comparisons: int
    symmetries: int
    energies: int


@dataclass(frozen=True, slots=True)
class GeneratorMetrics:
    """Metrics of a set of generated crystals; shares in percent.

    Attributes:
        n: number of samples.
        structure_valid: no two atoms within 0.5 Å, of all samples.
        structure_spaced: no two atoms within 1 Å, of all samples.
        composition_valid: SMACT's rule as in CDVAE, of all samples.
        neutral: this package's rule of charges, of all samples.
        valid: structure and composition (SMACT), of all samples.
        unique: no match among earlier samples, of structurally valid ones.
        new: no match among known crystals, of structurally valid ones.
        new_frameworks: framework unknown, of structurally valid ones.
        valid_unique_new: all of it at once, of all samples.
        without_symmetry: space group P1, of structurally valid ones.
        density: Wasserstein distance of densities of valid samples, g/cm3.
        elements: Wasserstein distance of the numbers of elements of valid samples.
        energy: Wasserstein distance of formation energies, eV/atom; None where none were given.
        space_groups: Jensen-Shannon distance of the space groups of structurally valid samples.
        coverage: recall and precision; None where it was not asked for.
        omitted: crystals and comparisons left out.
    """

    n: int
    structure_valid: Figure
    structure_spaced: Figure
    composition_valid: Figure
    neutral: Figure
    valid: Figure
    unique: Figure
    new: Figure
    new_frameworks: Figure
    valid_unique_new: Figure
    without_symmetry: Figure
    density: Figure
    elements: Figure
    energy: Figure | None
    space_groups: Figure
    coverage: Coverage | None
    omitted: Omitted


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One line of a table of metrics.

    Attributes:
        metric: name, as in the files of results.
        value, low, high: the figure with its 95 % interval.
        unit: `%`, `g/cm3`, `eV/atom`, or empty.
        n: number of samples behind the value.
    """

    metric: str
    value: float
    low: float
    high: float
    unit: str
    n: int


def evaluate_structures(
    samples: Sequence[Structure],
    learned: Sequence[Structure] | KnownCrystals,
    held_back: Sequence[Structure] | KnownCrystals = (),
    *,
    energies: Energies | None = None,
    coverage_samples: int = COVERAGE_SAMPLES,
) -> GeneratorMetrics:
    """Measure all metrics of a set of generated crystals.

    Novelty is measured beside the learned crystals, distributions and coverage beside those kept back; without these beside the
    learned ones, which flatters a generator that repeats them.

    Args:
        samples: raw or gated samples, never a mixture.
        learned: crystals known to the generator.
        held_back: crystals unknown to it, of the same kind.
        energies: formation energies by one potential.
        coverage_samples: crystals of each side drawn for coverage; 0 leaves it out.

    Raises:
        InvdesignError: no samples, or no learned crystals.
    """
    known = _prepare(learned)
    reference = _prepare(held_back) if _count(held_back) else known
    if not len(samples) or not len(known.structures):
        raise InvdesignError(
            f"metrics need generated and learned crystals, got {len(samples)} and {len(known.structures)}"
        )
    checks = [check_validity(structure) for structure in samples]
    sound = [structure for structure, check in zip(samples, checks, strict=True) if check.structure]
    both = np.array([check.both for check in checks if check.structure], dtype=np.bool_)
    matcher = Matcher()
    unique, new = find_unique(sound, matcher), find_new(sound, known, matcher)
    symmetries = find_symmetries(sound)
    valid = [structure for structure, good in zip(sound, both, strict=True) if good]
    return GeneratorMetrics(
        n=len(samples),
        **_measure_validity(checks),
        unique=_measure(unique),
        new=_measure(new),
        new_frameworks=_measure([bool(s.label) and s.label not in known.frameworks for s in symmetries]),
        valid_unique_new=measure_share(int((unique & new & both).sum()), len(samples)),
        without_symmetry=_measure([found.number == 1 for found in symmetries]),
        density=measure_wasserstein(_list_densities(valid), _list_densities(reference.structures)),
        elements=measure_wasserstein(_count_elements(valid), _count_elements(reference.structures)),
        energy=_compare_energies(energies),
        space_groups=measure_jensen_shannon(_list_groups(symmetries), _list_groups(reference.symmetries)),
        coverage=_cover(samples, reference.structures, coverage_samples) if coverage_samples else None,
        omitted=Omitted(
            matcher.failures, sum(not found.label for found in symmetries), _count_missing(energies)
        ),
    )


def list_rows(metrics: GeneratorMetrics) -> list[MetricRow]:
    """List the metrics as rows of a table; those that were not measured are left out."""
    cover = metrics.coverage
    figures: list[tuple[str, Figure | None, str]] = [
        ("structure_valid_percent", metrics.structure_valid, "%"),
        ("structure_valid_1A_percent", metrics.structure_spaced, "%"),
        ("composition_valid_percent", metrics.composition_valid, "%"),
        ("composition_neutral_percent", metrics.neutral, "%"),
        ("valid_percent", metrics.valid, "%"),
        ("unique_percent", metrics.unique, "%"),
        ("new_percent", metrics.new, "%"),
        ("new_frameworks_percent", metrics.new_frameworks, "%"),
        ("valid_unique_new_percent", metrics.valid_unique_new, "%"),
        ("p1_percent", metrics.without_symmetry, "%"),
        ("cov_r_percent", cover.recall if cover else None, "%"),
        ("cov_p_percent", cover.precision if cover else None, "%"),
        ("wasserstein_density", metrics.density, "g/cm3"),
        ("wasserstein_elements", metrics.elements, ""),
        ("wasserstein_energy", metrics.energy, "eV/atom"),
        ("jensen_shannon_space_groups", metrics.space_groups, ""),
    ]
    return [
        MetricRow(name, figure.value, figure.low, figure.high, unit, figure.n)
        for name, figure, unit in figures
        if figure is not None
    ]


def _prepare(crystals: Sequence[Structure] | KnownCrystals) -> KnownCrystals:
    """Known crystals from a plain sequence."""
    return crystals if isinstance(crystals, KnownCrystals) else KnownCrystals(crystals)


def _count(crystals: Sequence[Structure] | KnownCrystals) -> int:
    """Count crystals."""
    return len(_prepare(crystals).structures)


def _measure(marks: Sequence[bool] | BoolArray) -> Figure:
    """Share of marked samples."""
    return measure_share(int(np.sum(np.asarray(marks, dtype=np.bool_))), len(marks))


def _measure_validity(checks: Sequence[Validity]) -> dict[str, Figure]:
    """Shares of valid samples by attribute of the result."""
    return {
        "structure_valid": _measure([check.structure for check in checks]),
        "structure_spaced": _measure([check.spaced for check in checks]),
        "composition_valid": _measure([check.smact for check in checks]),
        "neutral": _measure([check.neutral for check in checks]),
        "valid": _measure([check.both for check in checks]),
    }


def _list_densities(structures: Sequence[Structure]) -> list[float]:
    """Densities in g/cm3."""
    return [float(structure.density) for structure in structures]


def _count_elements(structures: Sequence[Structure]) -> list[float]:
    """Number of elements of each crystal."""
    return [float(len(structure.composition.element_composition)) for structure in structures]


def _list_groups(symmetries: Sequence[Symmetry]) -> list[int]:
    """Numbers of the space groups that were found."""
    return [found.number for found in symmetries if found.number]


def _compare_energies(energies: Energies | None) -> Figure | None:
    """Wasserstein distance of formation energies, without failed ones."""
    if energies is None:
        return None
    own, other = (
        [value for value in values if np.isfinite(value)] for values in (energies.samples, energies.reference)
    )
    return measure_wasserstein(own, other)


def _count_missing(energies: Energies | None) -> int:
    """Count crystals without an energy."""
    return 0 if energies is None else int(np.sum(~np.isfinite([*energies.samples, *energies.reference])))


def _cover(samples: Sequence[Structure], reference: Sequence[Structure], n: int) -> Coverage:
    """Coverage of up to n crystals of each side, drawn at random with a fixed seed."""
    rng = np.random.default_rng(SEED)
    own, other = (
        Fingerprints.from_structures([crystals[place] for place in _draw(len(crystals), n, rng)])
        for crystals in (samples, reference)
    )
    return measure_coverage(own, other)


def _draw(total: int, n: int, rng: np.random.Generator) -> IntArray:
    """Draw places without repetition, in order; all of them where there are no more than n."""
    if total <= n:
        return np.arange(total)
    drawn: IntArray = np.sort(rng.choice(total, n, replace=False))
    return drawn
