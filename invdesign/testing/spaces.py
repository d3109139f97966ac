"""Contract of search spaces as code."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invdesign.candidate import Design, Genome, genome_key, to_json
from invdesign.errors import Infeasible
from invdesign.optimizers.common import finite_space
from invdesign.protocols import (
    DescribedSpace,
    Domain,
    FiniteSpace,
    InheritingSpace,
    OpenSpace,
    Operator,
    RecognisingSpace,
    SearchSpace,
    StructureSpace,
    TabledSpace,
    VectorSpace,
)
from invdesign.rng import borrowed_globals, rng_for
from invdesign.structures.files import structure_to_json
from invdesign.testing.common import (
    check_genome,
    check_settings,
    expect,
    expect_untouched_globals,
    make_outside_genomes,
)
from invdesign.testing.geometries import check_inheritance, check_recognition

RULE_TOLERANCE = 1e-9  # by which rounding may break a rule of a domain, per unit of its weights (chosen)
OUTSIDE_SAMPLES = 5  # genomes from which some outside the space are made (chosen)
MOST_ENUMERATED = (
    2_000  # genomes of a finite space that is enumerated as a whole; a larger one is sampled (chosen)
)


def check_space(space: Any, *, samples: int = 20, seed: int = 0) -> None:
    """Check that `space` keeps the contract of `SearchSpace` and of its kinds of space.

    Args:
        space: a plug-in of the group `spaces`.
        samples: number of uses of each operator; lower it where `build` is costly.
        seed: of the samples.

    Raises:
        AssertionError: a rule is broken; the message names it.

    Examples:
        >>> from invdesign.settings import load
        >>> check_space(load("spaces", {"kind": "parameters", "parameters": {"x": {"real": [0, 1]}}}))
    """
    check_settings("spaces", space)
    expect(
        isinstance(space, SearchSpace),
        f"{_class_name(space)} needs operators(), build(), features(), canonical(), count() and size()",
    )
    genomes = _check_operators(space, samples, seed)
    _check_build(space, genomes)
    _check_features(space, genomes)
    if isinstance(space, VectorSpace):
        _check_vectors(space, genomes, samples, seed)
    if finite_space(space) is not None:
        _check_counting(space, genomes, seed)
    if isinstance(space, StructureSpace):
        _check_adoption(space, genomes)
    if isinstance(space, InheritingSpace):
        check_inheritance(space, genomes)
    if isinstance(space, RecognisingSpace):
        check_recognition(space, genomes)
    if isinstance(space, TabledSpace):
        _check_table(space, genomes)
    if isinstance(space, OpenSpace):
        _check_outside(space, genomes)


def _class_name(plugin: object) -> str:
    return type(plugin).__name__


def _check_operators(space: SearchSpace, samples: int, seed: int) -> list[Genome]:
    """Use and check every operator; return the genomes, those of start operators first."""
    operators = dict(space.operators())
    for name, operator in operators.items():
        expect(name and isinstance(name, str), f"operators have names, got {name!r}")
        expect(
            operator.arity >= 0, f"operator '{name}' takes {operator.arity} parents; 0 or more are allowed"
        )
    starts = [name for name, operator in operators.items() if operator.arity == 0]
    expect(
        starts,
        f"{_class_name(space)} needs an operator of arity 0, to start from; it has {', '.join(operators)}",
    )
    genomes: list[Genome] = []
    for name in sorted(operators, key=lambda name: (operators[name].arity, name)):
        operator = operators[name]
        made = [_apply_operator(name, operator, genomes, number, seed) for number in range(samples)]
        genomes += [genome for genome in made if genome is not None]
        expect(genomes, f"operator '{name}' gave no genome in {samples} tries")
    return genomes


def _apply_operator(
    name: str, operator: Operator, pool: Sequence[Genome], number: int, seed: int
) -> Genome | None:
    """Use an operator, and check that it depends on parents and generator alone."""
    parents = [pool[(number + 7 * k) % len(pool)] for k in range(operator.arity)]
    before = to_json([dict(parent) for parent in parents])
    children = []
    for surroundings in (1, 2):
        with borrowed_globals(surroundings), expect_untouched_globals(f"operator '{name}'"):
            children.append(operator.apply(parents, rng_for(seed, number, name)))
    after = to_json([dict(parent) for parent in parents])
    expect(after == before, f"operator '{name}' must not change its parents: {before} became {after}")
    first, second = (None if child is None else to_json(child) for child in children)
    expect(
        first == second, f"operator '{name}' must repeat itself with the same generator: {first}, {second}"
    )
    if children[0] is not None:
        check_genome(children[0], f"operator '{name}'")
    return children[0]


def _check_build(space: SearchSpace, genomes: Sequence[Genome]) -> None:
    built = [design for genome in genomes if (design := _build_design(space, genome)) is not None]
    expect(built, f"build refused all of {len(genomes)} genomes its own operators made")
    malformed: list[Genome] = [{}, {"no such key": 1}, dict.fromkeys(genomes[0])]
    for genome in malformed:
        try:
            space.build(genome)
        except Infeasible as refusal:
            expect(str(refusal), "Infeasible says what is wrong with the genome, in words")
        except Exception as error:
            raise AssertionError(f"build must raise Infeasible for {genome}, got {error!r}") from error
        else:
            raise AssertionError(f"build must raise Infeasible for {genome}, got a design")


def _build_design(space: SearchSpace, genome: Genome) -> Design | None:
    """Build the design of `genome` repeatedly, and compare; None where it is refused."""
    before = to_json(genome)
    try:
        first = space.build(genome)
    except Infeasible:
        return None
    expect(to_json(genome) == before, f"build must not change its genome: {before} became {to_json(genome)}")
    for again in (genome, json.loads(before)):
        expect(
            _equal_designs(first, space.build(again)), f"build must give equal designs for {before} each time"
        )
    return first


def _equal_designs(a: Design, b: Design) -> bool:
    structures = [{role: structure_to_json(s) for role, s in design.structures.items()} for design in (a, b)]
    return a.parameters == b.parameters and a.composition == b.composition and structures[0] == structures[1]


def _check_features(space: SearchSpace, genomes: Sequence[Genome]) -> None:
    features = space.features(genomes)
    shape = np.shape(features)
    expect(
        len(shape) == 2 and shape[0] == len(genomes) and shape[1] > 0,
        f"features of {len(genomes)} genomes have shape ({len(genomes)}, d), got {shape}",
    )
    expect(np.isfinite(features).all(), "features must be finite")
    _check_descriptors(space, shape[1])
    alone = space.features(genomes[:1])
    expect(np.array_equal(alone, features[:1]), "features of a genome must not depend on its neighbours")


def _check_descriptors(space: SearchSpace, width: int) -> None:
    if not isinstance(space, DescribedSpace):
        return
    descriptors = list(space.descriptors())
    names = [descriptor.name for descriptor in descriptors]
    expect(
        len(names) == width,
        f"descriptors gives one per feature: {width}, got {len(names)} ({', '.join(names)})",
    )
    twice = sorted({name for name in names if names.count(name) > 1})
    expect(not twice, f"descriptors must have different names, got more than one {', '.join(twice)}")
    expect(
        all(descriptor.name and descriptor.group for descriptor in descriptors),
        f"every descriptor needs a name and a group, got {descriptors}",
    )


def _check_vectors(space: VectorSpace, genomes: Sequence[Genome], samples: int, seed: int) -> None:
    width = len(space.domain().dimensions)
    rng = rng_for(seed, 0, "points")
    corners = [np.zeros(width), np.ones(width)]
    decoded = list(space.decode(np.vstack([rng.random((samples, width)), *corners])))
    expect(
        len(decoded) == samples + 2, f"decode gives one genome per point: {samples + 2}, got {len(decoded)}"
    )
    for genome in decoded:
        check_genome(genome, "decode")
    expect(
        any(_build_design(space, genome) is not None for genome in decoded),
        "decode gave nothing that can be built",
    )
    known = [*genomes, *decoded]
    encoded = space.encode(known)
    expect(
        np.shape(encoded) == (len(known), width),
        f"encode has shape ({len(known)}, {width}), as `domain` has dimensions; got {np.shape(encoded)}",
    )
    expect(((encoded >= 0.0) & (encoded <= 1.0)).all(), "encode must stay within the unit cube")
    for genome, again in zip(known, space.decode(encoded), strict=True):
        expect(
            to_json(genome) == to_json(again),
            f"decode(encode(genome)) must be the genome itself: {to_json(genome)} became {to_json(again)}",
        )
    _check_domain(space.domain(), encoded)
    _check_periodic(space, encoded)


def _check_periodic(space: VectorSpace, encoded: NDArray[np.float64]) -> None:
    """Check that both ends of a periodic axis are one point, written as 0."""
    for column, dimension in enumerate(space.domain().dimensions):
        if not dimension.periodic:
            continue
        expect(dimension.kind == "real", f"{dimension.name} is periodic, so it must be real")
        expect((encoded[:, column] < 1.0).all(), f"encode must give less than 1 along {dimension.name}")
        ends = np.repeat(encoded[:1], 2, axis=0)
        ends[:, column] = 0.0, 1.0
        low, high = (to_json(genome) for genome in space.decode(ends))
        expect(low == high, f"both ends of {dimension.name} must be one genome: {low}, {high}")


def _check_domain(domain: Domain, encoded: NDArray[np.float64]) -> None:
    """Check that points (n, d) of genomes satisfy the domain's constraints."""
    width = len(domain.dimensions)
    named = [column for rule in domain.rules for column, _ in rule.weights]
    named += [
        *(column for group in domain.sparse for column in group),
        *(column for column, _ in domain.least),
    ]
    strays = sorted({*named, *domain.conditional} - set(range(width)))
    expect(not strays, f"domain speaks of columns {strays}; it has {width}")
    for rule in domain.rules:
        columns, weights = [pair[0] for pair in rule.weights], np.array([pair[1] for pair in rule.weights])
        over = encoded[:, columns] @ weights - rule.limit
        worst = float((np.abs(over) if rule.equal else over).max())
        size = max(1.0, float(np.abs(weights).sum()))
        expect(
            worst <= RULE_TOLERANCE * size,
            f"the codes of genomes must keep {rule}; one misses it by {worst:.3g}",
        )
    grouped = [column for group in domain.sparse for column in group]
    expect(len(set(grouped)) == len(grouped), "a column can be in one group of `Domain.sparse` only")
    for column, least in domain.least:
        expect(column in grouped, f"column {column} of `Domain.least` must be in a group of `Domain.sparse`")
        present = encoded[encoded[:, column] > 0.0, column]
        expect(
            (present >= least - RULE_TOLERANCE).all(),
            f"column {column} is 0 or at least {least} by `Domain.least`, got {present.min(initial=1.0)}",
        )


def _check_counting(space: FiniteSpace, genomes: Sequence[Genome], seed: int) -> None:
    size = len(space)
    expect(size == space.count(), f"count and len must agree: {space.count()} and {size}")
    expect(size > 0, "a finite space holds at least one genome")
    whole = size <= MOST_ENUMERATED
    chosen = (
        range(size) if whole else sorted({0, size - 1, *rng_for(seed, 0, "counting").integers(size, size=50)})
    )
    counted = {index: space.genome(int(index)) for index in chosen}
    keys = {genome_key(genome) for genome in counted.values()}
    expect(
        len(keys) == len(counted),
        f"{len(counted)} indices gave {len(keys)} different genomes; each needs its own",
    )
    for genome in counted.values():
        check_genome(genome, "genome(index)")
    for outside in (size, -1):
        _check_end(space, outside)
    if whole:
        strays = [to_json(genome) for genome in genomes if genome_key(genome) not in keys]
        expect(not strays, f"operators gave genomes that counting through never meets: {strays[:3]}")
    _check_blocks(space, counted)
    expect(space.size() == size, f"size and count must agree: {space.size()} and {size}")


def _check_end(space: FiniteSpace, index: int) -> None:
    try:
        space.genome(index)
    except IndexError:
        return
    raise AssertionError(f"genome({index}) of {len(space)} must raise IndexError")


def _check_blocks(space: FiniteSpace, counted: Mapping[int, Genome]) -> None:
    """Check that the first blocks join without gaps and hold the genomes' features."""
    end = 0
    for start, block in space.blocks(7):
        expect(start == end, f"blocks must join: one ends before {end}, the next starts at {start}")
        expect(0 < len(block) <= 7, f"blocks(7) must hold 1 to 7 rows, got {len(block)}")
        end += len(block)
        for row in range(len(block)):
            if start + row in counted:
                wanted = space.features([counted[start + row]])[0]
                expect(
                    np.allclose(block[row], wanted), f"row {start + row} of blocks must equal its features"
                )
        if end > MOST_ENUMERATED:
            return
    expect(end == len(space), f"blocks must cover all {len(space)} genomes, got {end}")


def _check_adoption(space: StructureSpace, genomes: Sequence[Genome]) -> None:
    for genome in genomes[:3]:
        design = _build_design(space, genome)
        for structure in design.structures.values() if design else ():
            try:
                adopted = space.adopt(structure, genome)
            except Infeasible:  # `check_inheritance` says where that is wrong
                continue
            if adopted is not None:
                check_genome(adopted, "adopt")
                expect(
                    _build_design(space, adopted),
                    f"adopt gave a genome that build refuses: {to_json(adopted)}",
                )


def _check_table(space: TabledSpace, genomes: Sequence[Genome]) -> None:
    """Check that a genome survives a table: written as cells, and read from their text."""
    columns = list(space.table_columns())
    expect(columns and len(set(columns)) == len(columns), f"columns of a table differ, got {columns}")
    for genome in genomes:
        cells = {name: str(value) for name, value in space.to_cells(genome).items()}
        expect(cells.keys() <= set(columns), f"cells stand in the columns {columns}, got {sorted(cells)}")
        found = space.from_cells(cells)
        expect(
            genome_key(found) == genome_key(genome),
            f"from_cells must invert to_cells: {to_json(genome)} became {to_json(found)}",
        )


def _check_outside(space: OpenSpace, genomes: Sequence[Genome]) -> None:
    """Check that own genomes lie inside, and that outside ones have a design and features."""
    for genome in genomes[:OUTSIDE_SAMPLES]:
        placement = space.place(genome, {})
        expect(
            not placement.outside and genome_key(placement.genome) == genome_key(genome),
            f"place must find genomes of the space inside it: {to_json(genome)} became {placement}",
        )
        for made in make_outside_genomes(space, genome):
            check_genome(made, "place")
            expect(_is_refused(space, made), f"build must refuse what place calls outside: {to_json(made)}")
            again = space.place(made, {})
            same = again.outside and genome_key(again.genome) == genome_key(made)
            expect(same, f"place must find what it gave where it was: {to_json(made)} became {again}")
            expect(
                np.isfinite(space.features([made])).all(), f"features must be finite, of {to_json(made)} too"
            )
            if isinstance(space, VectorSpace):
                expect(
                    np.isfinite(space.encode([made])).all(), f"encode must be finite, of {to_json(made)} too"
                )
            parameters = space.build_made(made).parameters
            cells = space.to_cells(made)
            shown = {name: parameters[name] for name in cells if name in parameters}
            expect(shown == dict(cells), f"build_made must show what was made: {dict(cells)}, got {shown}")


def _is_refused(space: SearchSpace, genome: Genome) -> bool:
    try:
        space.build(genome)
    except Infeasible:
        return True
    return False
