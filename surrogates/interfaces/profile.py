"""Profile of an interface.

Width of mixing, exchanged atoms, and ions by layer against the unmixed slabs.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from invdesign.arrays import FloatArray, IntArray
from invdesign.candidate import Evaluation, Failure, Input
from invdesign.errors import InvdesignError
from invdesign.properties import Unit
from invdesign.protocols import Batch
from invdesign.roles import StructureEvaluator, find_structure, required_structure
from invdesign.structures.cells import VACUUM_WIDTH, list_slices, measure_length_along_normal
from invdesign.structures.charges import ElementSymbol
from invdesign.structures.site_labels import FILM, LAYER, NATIVE, SIDE, SUBSTRATE, SiteLabelError, read_labels

if TYPE_CHECKING:
    from pymatgen.core import Structure

MAX_LISTED_LAYERS = 6  # layers of a side in a sentence; chosen
# Å along the normal that an ion may lie outside the other atoms of its layer and still belong to it. Chosen: half the 3 Å between
# neighbouring sites of lithium in its compounds.
LAYER_REACH = 1.5
SAME_HEIGHT = 1e-6  # fraction of the third axis; chosen: rounding of stored positions
RoleName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]


class ProfileError(InvdesignError):
    """The structure carries no labels of an interface."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A labelled bicrystal, seen along its normal.

    Attributes:
        symbols: elements of n atoms.
        film: shape (n,), True for sites of the film.
        layers: of the sites, 1 at the first plane.
        natives: elements of the perfect crystals; empty for voids.
        heights: shape (n,), fractions of the third axis in [0, 1).
        length: Å along the normal, of the cell.
    """

    symbols: tuple[str, ...]
    film: IntArray
    layers: tuple[int, ...]
    natives: tuple[str, ...]
    heights: FloatArray
    length: float

    def list_elements(self, *, film: bool) -> frozenset[str]:
        """Elements of the perfect crystal of one side."""
        return frozenset(
            native for native, upper in zip(self.natives, self.film, strict=True) if upper == film and native
        )


def read_slice(structure: Structure) -> Slice:
    """Read the labels and heights of a bicrystal.

    Raises:
        ProfileError: the labels are not those of an interface.
    """
    labels = read_labels(structure)
    missing = [name for name in (SIDE, LAYER, NATIVE) if name not in labels]
    sides = set(labels.get(SIDE, ()))
    if missing or sides != {SUBSTRATE, FILM}:
        there = ", ".join(f"'{side}'" for side in sorted(map(str, sides))) or "none"
        raise ProfileError(
            f"a profile needs sites with side, layer and native element, on the sides '{SUBSTRATE}' and '{FILM}' (sides here: "
            f"{there}): it is for spaces of interfaces"
        )
    return Slice(
        symbols=tuple(site.specie.symbol for site in structure),
        film=np.array([side == FILM for side in labels[SIDE]], dtype=np.int64),
        layers=tuple(int(layer) for layer in labels[LAYER]),
        natives=tuple(str(native) for native in labels[NATIVE]),
        heights=np.asarray(structure.frac_coords[:, 2], dtype=np.float64) % 1.0,
        length=measure_length_along_normal(structure.lattice.matrix),
    )


# Planes.


def find_plane_heights(found: Slice) -> tuple[float, float]:
    """Heights of both planes, fractions of the third axis.

    Where the film begins, and where it ends.

    The film is the arc on the circle of heights that holds as many of its sites, and as few of the substrate's, as possible.
    A plane lies midway between the atoms next to the end of that arc. Where several arcs are equally good, as with one
    pair of atoms that changed places at the plane, it is the mean of them.
    """
    order = np.argsort(found.heights, kind="stable")
    heights, signs = found.heights[order], 2 * found.film[order] - 1
    size = len(heights)
    total = np.concatenate([[0], np.cumsum(np.tile(signs, 2))])
    starts, lengths = np.arange(size)[:, None], np.arange(1, size)[None, :]
    score = (total[starts + lengths] - total[starts]).astype(np.float64)
    below = np.concatenate([[heights[-1] - 1.0], heights[:-1]])
    closed = heights - below < SAME_HEIGHT  # no plane lies between atoms of one height
    score[closed] = -np.inf
    score[closed[(starts + lengths) % size]] = -np.inf
    first, count = np.nonzero(score == score.max())
    middles = (heights + below) / 2  # of the slice under each atom
    return _mean_on_circle(middles[first]), _mean_on_circle(middles[(first + count + 1) % size])


def _mean_on_circle(places: FloatArray) -> float:
    """Mean of heights that lie near each other on the circle, in [0, 1)."""
    apart = places - places[0]
    return float((places[0] + (apart - np.round(apart)).mean()) % 1.0)


@dataclass(frozen=True, slots=True)
class Mixing:
    """Foreign atoms at one plane.

    An atom is foreign where the perfect crystal of the side on which it lies has no such element.

    Attributes:
        substrate: (largest depth in Å, number) of foreign atoms below the plane by element.
        film: the same above the plane.
    """

    substrate: Mapping[str, tuple[float, int]]
    film: Mapping[str, tuple[float, int]]

    @property
    def width(self) -> float:
        """Å from the deepest foreign atom below the plane to the deepest above it.

        0 where there are none.
        """
        return sum(
            max((depth for depth, _ in found.values()), default=0.0) for found in (self.substrate, self.film)
        )

    @property
    def atoms(self) -> int:
        """Number of foreign atoms."""
        return sum(count for found in (self.substrate, self.film) for _, count in found.values())

    def describe(self) -> str:
        """`P up to 1.2 Å deep in the substrate, 2 O up to 0.8 Å deep in the film`; `none`."""
        parts = [
            f"{f'{count} ' if count > 1 else ''}{symbol} up to {depth:.1f} Å deep in the {side}"
            for side, found in ((SUBSTRATE, self.substrate), (FILM, self.film))
            for symbol, (depth, count) in sorted(found.items())
        ]
        return ", ".join(parts) or "none"


def measure_mixing(found: Slice) -> tuple[Mixing, Mixing]:
    """Foreign atoms at the first and at the second plane.

    Each atom counts at the plane it is nearer to.

    The width is the thickness of the zone that holds atoms of both sides. Chosen: error functions and 10 to 90 % widths, by which
    measured profiles are described, need more atoms than a cell has.
    """
    planes = np.array(find_plane_heights(found))
    start, end = planes
    inside = ((found.heights - start) % 1.0) < ((end - start) % 1.0)
    apart = found.heights[:, None] - planes[None, :]
    depths = np.abs(apart - np.round(apart)) * found.length
    lists: list[tuple[dict[str, tuple[float, int]], dict[str, tuple[float, int]]]] = [({}, {}), ({}, {})]
    own = {side: found.list_elements(film=side) for side in (False, True)}
    for k, symbol in enumerate(found.symbols):
        upper = bool(inside[k])
        if symbol in own[upper] or symbol not in own[not upper]:
            continue
        plane = int(depths[k].argmin())
        there = lists[plane][upper]
        depth, count = there.get(symbol, (0.0, 0))
        there[symbol] = max(depth, float(depths[k, plane])), count + 1
    return Mixing(*lists[0]), Mixing(*lists[1])


def count_exchanged(found: Slice) -> int:
    """Number of atoms on sites on which the perfect crystal has another element."""
    return sum(
        bool(native) and native != symbol for native, symbol in zip(found.natives, found.symbols, strict=True)
    )


def has_vacuum(found: Slice) -> bool:
    """True if the cell has a slice without atoms as wide as a vacuum."""
    return max(width for _, width in list_slices(found.heights)) * found.length >= VACUUM_WIDTH


# Ions by layer.

Layers = Mapping[tuple[str, int], int]
"""Number of ions by side and layer."""


def count_ions(found: Slice, ion: str) -> dict[tuple[str, int], int]:
    """Count the ions of each layer.

    An ion belongs to the layer of its site, unless it lies more than `LAYER_REACH` outside the heights of the other atoms of that
    layer: then to the layer whose atoms are nearest to it along the normal. Layers of nothing but the ion are known by their ions.

    Args:
        found: the bicrystal, or a slab.
        ion: symbol.

    Returns:
        By (side, layer), with 0 for layers without ions.
    """
    sides = [FILM if upper else SUBSTRATE for upper in found.film]
    keys = list(zip(sides, found.layers, strict=True))
    ions = np.array([symbol == ion for symbol in found.symbols])
    rows: dict[tuple[str, int], list[int]] = {}
    for k, key in enumerate(keys):
        rows.setdefault(key, []).append(k)
    known = {key: [k for k in own if not ions[k]] or own for key, own in rows.items()}
    counts = dict.fromkeys(rows, 0)
    for k in np.flatnonzero(ions).tolist():
        distances = {
            key: _distance(found, k, [other for other in own if other != k]) for key, own in known.items()
        }
        own = keys[k]
        near = min(distances, key=lambda name: (distances[name], name))
        counts[own if distances[own] <= LAYER_REACH else near] += 1
    return counts


def _distance(found: Slice, atom: int, others: Sequence[int]) -> float:
    """Distance along the normal from `atom` to the span of the heights of `others`, Å.

    0 where there are none.
    """
    if not others:
        return 0.0
    apart = found.heights[list(others)] - found.heights[atom]
    apart = (apart - np.round(apart)) * found.length
    if apart.min() <= 0.0 <= apart.max():
        return 0.0
    return float(np.abs(apart).min())


@dataclass(frozen=True, slots=True)
class Ions:
    """Ions by layer, here and in the unmixed slabs.

    Attributes:
        here, perfect: number by side and layer.
    """

    here: Layers
    perfect: Layers

    @property
    def largest_depletion(self) -> float:
        """Largest share of its ions that a layer lost; 0 where none lost any."""
        return max(
            (max(0.0, 1.0 - self.here.get(key, 0) / count) for key, count in self.perfect.items() if count),
            default=0.0,
        )

    @property
    def transfer(self) -> int:
        """Number of ions that the film has more than its unmixed slab.

        Negative where it lost some.
        """
        here, perfect = (
            sum(count for (side, _), count in source.items() if side == FILM)
            for source in (self.here, self.perfect)
        )
        return here - perfect

    def describe(self, ion: str) -> str:
        """`Li by layer from the plane: film 4 of 6, 6 of 6; substrate 8 of 6, 6 of 6`."""
        parts = []
        for side in (FILM, SUBSTRATE):
            layers = sorted({layer for name, layer in {*self.here, *self.perfect} if name == side})
            shown = [
                f"{self.here.get((side, layer), 0)} of {self.perfect.get((side, layer), 0)}"
                for layer in layers[:MAX_LISTED_LAYERS]
            ]
            more = ["..."] * (len(layers) > MAX_LISTED_LAYERS)
            parts.append(f"{side} {', '.join([*shown, *more])}")
        return f"{ion} by layer from the plane: {'; '.join(parts)}"


class InterfaceProfile(StructureEvaluator):
    """Measures how far two solids mixed, and in which layers ions are missing."""

    ion: ElementSymbol | None = None
    """The working ion, `Li`, whose layers are compared with the unmixed slabs; none are where not given."""
    slabs: tuple[RoleName, RoleName] = Field(default=("substrate_slab", "film_slab"), strict=False)
    """Structures of the unmixed slabs, substrate and film, which the space builds; read where an ion is named."""

    @property
    def requires(self) -> frozenset[str]:
        """The bicrystal, and the unmixed slabs where an ion is named."""
        roles = (self.structure, *(self.slabs if self.ion is not None else ()))
        return frozenset(required_structure(role) for role in roles)

    @property
    def provides(self) -> Mapping[str, Unit]:
        """Width of mixing and numbers of atoms; with an ion its depletion and transfer."""
        ions = {"largest_depletion": "", "ion_transfer": ""} if self.ion is not None else {}
        return {"mixing_width": "Å", "foreign_atoms": "", "exchanged_atoms": "", **ions}

    @property
    def batch(self) -> Batch:
        """Sixteen candidates: one takes some milliseconds."""
        return Batch(16)

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        """Measure the profile of each of `inputs`."""
        return [self._measure_candidate(item) for item in inputs]

    def _measure_candidate(self, item: Input) -> Evaluation:
        began = time.perf_counter()
        try:
            found = read_slice(self.structure_of(item))
            first, second = measure_mixing(found)
            ions = self._compare_ions(item, found) if self.ion is not None else None
        except (ProfileError, SiteLabelError) as error:
            return Evaluation(failure=Failure("error", "", str(error)))
        properties = {
            "mixing_width": first.width,
            "foreign_atoms": float(first.atoms),
            "exchanged_atoms": float(count_exchanged(found)),
        }
        details = {"mixing_width": f"foreign atoms at the plane: {first.describe()}"}
        if not has_vacuum(found):
            details["mixing_width"] += f"; at the second plane: {second.describe()}"
        if ions is not None and self.ion is not None:
            properties |= {
                "largest_depletion": ions.largest_depletion,
                "ion_transfer": float(ions.transfer),
            }
            details["largest_depletion"] = ions.describe(self.ion)
        return Evaluation(properties, details=details, cost={"seconds": time.perf_counter() - began})

    def _compare_ions(self, item: Input, found: Slice) -> Ions:
        """Count the ion by layer here and in the unmixed slabs."""
        assert self.ion is not None
        perfect: Counter[tuple[str, int]] = Counter()
        for side, role in zip((SUBSTRATE, FILM), self.slabs, strict=True):
            perfect.update(_count_native(find_structure(item, role), role, side, self.ion))
        return Ions(count_ions(found, self.ion), perfect)


def _count_native(slab: Structure, role: str, side: str, ion: str) -> Counter[tuple[str, int]]:
    """Count the ions of an unmixed slab by layer of their sites.

    Raises:
        ProfileError: the slab's sites carry no side and layer.
    """
    labels = read_labels(slab, f"the structure '{role}'")
    if SIDE not in labels or LAYER not in labels:
        raise ProfileError(
            f"the sites of the structure '{role}' carry no side and layer, so its ions have no layers"
        )
    rows = zip(labels[SIDE], labels[LAYER], slab, strict=True)
    return Counter(
        (side, int(layer)) for own, layer, site in rows if own == side and site.specie.symbol == ion
    )
