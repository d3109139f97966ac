"""Contract of spaces whose genomes are geometries, as code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.candidate import Genome, to_json
from invdesign.errors import Infeasible
from invdesign.protocols import InheritingSpace, RecognisingSpace, StructureSpace
from invdesign.rng import Rng, rng_for
from invdesign.testing.common import check_genome, expect

if TYPE_CHECKING:
    from pymatgen.core import Structure

SAMPLES = 5  # genomes that are described in other ways (chosen)
ALIKE_SHARE = 0.1  # of `alike`, up to which ways to describe one crystal may differ (chosen)
# Vectors of another cell in those of a crystal's; its volume is the same.
OTHER_CELL = ((1, 0, 0), (1, 1, 0), (0, -1, 1))
FOREIGN = "Og"  # an element that no space has


def check_inheritance(space: InheritingSpace, genomes: Sequence[Genome]) -> None:
    """Check that operators keep the rules, and that `adopt` gives back what was built.

    Args:
        space: to be checked.
        genomes: made by its operators.

    Raises:
        AssertionError: a rule is broken.
    """
    roles = space.inherits_from
    expect(
        isinstance(roles, tuple) and roles and all(isinstance(role, str) for role in roles),
        f"inherits_from names roles of structures, such as ('relaxed',), got {roles!r}",
    )
    for genome in genomes:
        _check_rules_kept(space, genome)
    for genome in genomes[:SAMPLES]:
        for structure in space.build(genome).structures.values():
            adopted = _adopt(space, structure, genome)
            expect(adopted is not None, f"adopt must take the structure built from {to_json(genome)}")
            if adopted is not None:
                _check_adopted(space, structure, adopted)
                if isinstance(space, RecognisingSpace):
                    far = _measure_distance(space, genome, adopted)
                    expect(
                        far < space.alike,
                        f"adopt must give the crystal that was built from {to_json(genome)}; fingerprints are {far:.3g} apart",
                    )
    _check_foreign(space, genomes[0])


def check_recognition(space: RecognisingSpace, genomes: Sequence[Genome]) -> None:
    """Check that fingerprints depend on the crystal alone.

    Args:
        space: to be checked.
        genomes: made by its operators.

    Raises:
        AssertionError: a rule is broken.
    """
    found = np.asarray(space.fingerprints(genomes))
    expect(
        found.ndim == 2 and len(found) == len(genomes) and found.shape[1] > 0,
        f"fingerprints of {len(genomes)} genomes have shape ({len(genomes)}, d), got {found.shape}",
    )
    expect(np.isfinite(found).all(), "fingerprints must be finite")
    alone = space.fingerprints(genomes[:1])
    expect(np.array_equal(alone, found[:1]), "the fingerprint of a genome must not depend on its neighbours")
    expect(np.isfinite(space.alike) and space.alike > 0, f"alike is a distance above 0, got {space.alike!r}")
    if not isinstance(space, StructureSpace):
        return
    for number, genome in enumerate(genomes[:SAMPLES]):
        for structure in space.build(genome).structures.values():
            for name, other in _describe_otherwise(structure, rng_for(0, number, "otherwise")):
                adopted = _adopt(space, other, None)
                if adopted is None and name == "a repeated cell":
                    continue  # not every space has cells of this size
                expect(adopted is not None, f"adopt must know {name} of the crystal {to_json(genome)}")
                if adopted is not None:
                    far = _measure_distance(space, genome, adopted)
                    expect(
                        far <= ALIKE_SHARE * space.alike,
                        f"fingerprints must not depend on {name}: {to_json(genome)} and {to_json(adopted)} are {far:.3g} "
                        f"apart, {ALIKE_SHARE * space.alike:.3g} are allowed",
                    )


def _check_rules_kept(space: InheritingSpace, genome: Genome) -> None:
    """Check that a genome of an operator is canonical and has a design."""
    written, again = to_json(genome), to_json(space.canonical(genome))
    expect(written == again, f"operators must give canonical genomes: {written} is {again}")
    try:
        space.build(genome)
    except Infeasible as refusal:
        raise AssertionError(
            f"operators must keep composition, distances and bounds: build refused {written}: {refusal}"
        ) from refusal


def _adopt(space: StructureSpace, structure: Structure, parent: Genome | None) -> Genome | None:
    """Adopt a structure; None where it is refused."""
    try:
        adopted = space.adopt(structure, parent)
    except Infeasible as refusal:
        expect(str(refusal), "Infeasible says why a structure is none of the space's, in words")
        return None
    if adopted is not None:
        check_genome(adopted, "adopt")
    return adopted


def _check_adopted(space: InheritingSpace, structure: Structure, adopted: Genome) -> None:
    """Check that an adopted genome is canonical, can be built, and keeps the formula."""
    _check_rules_kept(space, adopted)
    composition = space.build(adopted).composition
    wanted = structure.composition.reduced_formula
    expect(
        composition is not None and composition.reduced_formula == wanted,
        f"adopt must keep the composition {wanted}, got {composition}",
    )


def _check_foreign(space: InheritingSpace, genome: Genome) -> None:
    """Check that a structure of other elements is refused."""
    from pymatgen.core import Structure

    for structure in space.build(genome).structures.values():
        foreign = Structure(structure.lattice, [FOREIGN] * len(structure), structure.frac_coords)
        adopted = _adopt(space, foreign, None)
        expect(adopted is None, f"adopt must refuse a structure of {FOREIGN}, got {adopted}")


def _measure_distance(space: RecognisingSpace, first: Genome, second: Genome) -> float:
    """Euclidean distance of the fingerprints of two genomes."""
    a, b = np.asarray(space.fingerprints([first, second]))
    return float(np.linalg.norm(a - b))


def _describe_otherwise(structure: Structure, rng: Rng) -> Iterator[tuple[str, Structure]]:
    """Describe a crystal in other ways, each with its name."""
    from pymatgen.core import Structure

    cell, positions = structure.lattice.matrix, structure.frac_coords
    species = [site.species for site in structure]
    yield "the rotation", Structure(cell @ _draw_rotation(rng), species, positions)
    yield "the origin", Structure(cell, species, positions + rng.random(3))
    order = rng.permutation(len(structure))
    yield "the order of atoms", Structure(cell, [species[n] for n in order], positions[order])
    vectors = np.array(OTHER_CELL, dtype=np.float64)
    yield "another cell", Structure(vectors @ cell, species, positions @ np.linalg.inv(vectors))
    repeated = structure.copy()
    repeated.make_supercell((2, 1, 1))
    yield "a repeated cell", repeated


def _draw_rotation(rng: Rng) -> FloatArray:
    """Draw a rotation at random, shape (3, 3)."""
    turned, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    rotation: FloatArray = turned * np.linalg.det(turned)
    return rotation
