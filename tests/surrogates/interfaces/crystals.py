"""Stacked crystals whose interface energies are known by construction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from pymatgen.core import Lattice, Structure

from invdesign.candidate import Candidate, Design, Input, Proposal
from surrogates.relaxation.relax import relax_structure

COPPER = 3.59  # Å, lattice constant of copper in EMT


def bulk(element: str, plane: float, layer: float) -> Structure:
    """Cell of two layers of a face-centred cubic metal along [001].

    Args:
        element: symbol.
        plane: Å, side of the square in the plane.
        layer: Å, distance of layers.
    """
    return Structure(Lattice.tetragonal(plane, 2 * layer), [element] * 2, [[0, 0, 0], [0.5, 0.5, 0.5]])


def stack(
    substrate: str,
    film: str,
    layers: tuple[int, int],
    *,
    plane: float = COPPER / 2**0.5,
    heights: tuple[float, float] = (COPPER / 2, COPPER / 2),
    vacuum: float = 0.0,
    sides: Sequence[str] = ("substrate", "film"),
    repeat: int = 1,
) -> Structure:
    """Stack two metals along [001] at perfect registry: the substrate below z = 0, the film above.

    Args:
        substrate, film: elements.
        layers: of each side.
        plane: Å, side of the square in the plane.
        heights: Å, distance of layers of each side; their mean is the gap.
        vacuum: Å above the film; 0 for a sandwich.
        sides: of which atoms are made.
        repeat: cells along a and b.
    """
    gap = sum(heights) / 2
    below, above = layers[0] * heights[0], layers[1] * heights[1]
    levels = [("substrate", substrate, k, -gap / 2 - k * heights[0], -1 - k) for k in range(layers[0])]
    levels += [("film", film, k, gap / 2 + k * heights[1], k) for k in range(layers[1])]
    height = below + above + vacuum
    kept = [level for level in levels if level[0] in sides]
    offsets = [0.5 * (number % 2) for *_, number in kept]
    cell = Structure(
        Lattice.tetragonal(plane, height),
        [element for _, element, *_ in kept],
        [[offset, offset, z / height % 1.0] for offset, (*_, z, _) in zip(offsets, kept, strict=True)],
        site_properties={
            "side": [side for side, *_ in kept],
            "native": [element for _, element, *_ in kept],
            "layer": [k + 1 for _, _, k, *_ in kept],
        },
    )
    cell.make_supercell([repeat, repeat, 1])
    return cell


def candidate(
    potential: object, initial: Structure, references: Mapping[str, Structure], *, cell: object = "normal"
) -> Input:
    """Relax an interface as a stage before would, and hand it on."""
    found = relax_structure(initial, potential, fmax=0.005, smax=0.01, cell=cell)  # type: ignore[arg-type]
    structures = {**references, "initial": initial, "relaxed": found.structure}
    design = Design(structures={**references, "initial": initial}, composition=initial.composition)
    energy = {"energy_per_atom": found.energy / len(initial)}
    return Input(Candidate(0, "key", Proposal({})), design, energy, structures, 0)


def make_interfaces() -> list[Input]:
    """Unrelaxed interfaces of copper and nickel with their references: abrupt, and with one and two exchanges."""
    heights = COPPER / 2, 1.74
    plane = COPPER / 2**0.5
    references = {}
    for side, element, height in (("substrate", "Cu", heights[0]), ("film", "Ni", heights[1])):
        references[f"{side}_bulk"] = bulk(element, plane, height)
        references[f"{side}_solid"] = bulk(element, 2**0.5 * height, height)
        references[f"{side}_slab"] = stack("Cu", "Ni", (4, 4), heights=heights, vacuum=12.0, sides=[side])
    found = []
    for number, changes in enumerate(({}, {0: "Ni", 4: "Cu"}, {0: "Ni", 2: "Ni", 5: "Cu", 7: "Cu"})):
        built = stack("Cu", "Ni", (4, 4), heights=heights)
        for index, element in changes.items():
            built.replace(index, element, properties=built[index].properties)
        structures = {**references, "initial": built}
        design = Design(structures=structures, composition=built.composition)
        energy = {"energy_per_atom": 0.1 * number}
        found.append(Input(Candidate(number, str(number), Proposal({})), design, energy, structures, number))
    return found


def turn(structure: Structure) -> Structure:
    """Copy with the atoms in another order, of which nothing may depend."""
    order = np.random.default_rng(0).permutation(len(structure))
    return Structure.from_sites([structure[int(k)] for k in order])
