"""Check of whether a relaxed crystal kept its structure: displacements, polyhedra, covalent units."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from invdesign import registry
from invdesign.candidate import Evaluation, Failure, Input
from invdesign.properties import Unit
from invdesign.protocols import Batch
from invdesign.roles import (
    INITIAL,
    StructureEvaluator,
    StructureRole,
    StructureType,
    find_structure,
    required_structure,
)
from invdesign.structures.charges import ElementSymbol
from invdesign.structures.site_labels import SiteLabelError
from surrogates.relaxation.comparison import (
    LOOSE_SYMPREC,
    SYMPREC,
    Comparison,
    Polyhedron,
    RegionRequest,
    Regions,
    Surroundings,
    compare_structures,
)
from surrogates.relaxation.matching import DifferentCrystalsError
from surrogates.relaxation.regions import RegionError

if TYPE_CHECKING:
    from pymatgen.core import Structure

# Å: the limit of topotactic insertion in voltage calculations, as used for host structures.
MAX_DISPLACEMENT = 1.5
POLYHEDRON_NAMES = {3: "triangle", 4: "tetrahedron", 6: "octahedron", 8: "cube", 12: "cuboctahedron"}
POLYHEDRON_PLURALS = {
    "triangle": "triangles",
    "tetrahedron": "tetrahedra",
    "octahedron": "octahedra",
    "cube": "cubes",
}
POLYHEDRON_PLURALS |= {"cuboctahedron": "cuboctahedra"}
DEFAULT_TYPE = "the structure it started from"
# Å, root mean square displacement. Chosen: a quarter of the shortest distances in solids; Lindemann's rule puts melting at 0.1 to
# 0.15 of them for vibrations about sites that still exist.
MELTING = 0.7
# Å between centres of atoms. Chosen: above two layers of sulfide ions in contact, 3.7 Å by the radii of Shannon,
# Acta Cryst. A32, 751 (1976).
WIDEST_GAP = 4.0
LARGEST_SHIFT = 2.0  # Å. Chosen: half the repeat of a close-packed layer of sulfide ions, so another registry than that asked for.
_REGION_FIELDS = ("intact", "melting", "gap", "shift")


class StructureKept(StructureEvaluator):
    """Checks whether a relaxed candidate kept its structure, and lists its losses."""

    before: StructureRole = INITIAL
    """The structure to compare with."""
    called: StructureType = None
    """Type of the structure before, with its article: `a spinel`. By default from the search space: `an anti-perovskite`."""
    sites: tuple[Annotated[str, Field(min_length=1)], ...] = Field(default=(), strict=False)
    """Elements whose neighbours must stay: `[V, P]`. By default all ions of the rarer sign of charge with at most six."""
    coordination: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of these ions that must keep their neighbours."""
    displacement: Annotated[float, Field(gt=0)] | None = MAX_DISPLACEMENT
    """Largest displacement allowed, without drift and strain, Å; `null` for no limit."""
    working_ion: ElementSymbol | None = None
    """The mobile ion, `Li`: it may move further than `displacement`, which then limits the host alone."""
    volume_change: Annotated[float, Field(gt=0)] | None = None
    """Largest change of volume allowed, either way, %."""
    symprec: Annotated[float, Field(gt=0, le=1)] = SYMPREC
    """Tolerance of the space groups, Å."""
    regions: Literal["interface", "defect"] | None = None
    """Compare by side and region too, for spaces whose sites carry labels: `interface` or `defect`. Only what lies deeper than the
    region that may change is judged then."""
    intact: tuple[Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")], ...] = Field(
        default=(), strict=False
    )
    """With `regions`: structures whose polyanions are whole, `[host]` or `[substrate_bulk, film_bulk]`; by default the one before."""
    melting: Annotated[float, Field(gt=0)] = MELTING
    """With `regions`: root mean square displacement of inner atoms from which a slab counts as melted, Å."""
    gap: Annotated[float, Field(gt=0)] = WIDEST_GAP
    """With `regions: interface`: widest slice without atoms allowed beside a vacuum, Å."""
    shift: Annotated[float, Field(gt=0)] = LARGEST_SHIFT
    """With `regions: interface`: largest displacement of the sides against each other in the plane, Å."""

    @model_validator(mode="after")
    def _check_regions(self) -> Self:
        """Refuse settings of regions where none are compared."""
        lone = [name for name in _REGION_FIELDS if name in self.model_fields_set]
        lone = [name for name in lone if getattr(self, name) != type(self).model_fields[name].default]
        if self.regions is None and lone:
            raise ValueError(f"{_join_words(lone)} need 'regions: interface' or 'regions: defect'")
        return self

    @model_serializer(mode="wrap")
    def _omit_no_ion(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the working ion where none is named, and regions where none are compared, as before there was a choice.

        So stored campaigns keep the fingerprint they had.
        """
        fields: dict[str, Any] = {"kind": registry.name_of(type(self)), **handler(self)}
        unused = {"regions", *_REGION_FIELDS} if self.regions is None else set()
        return {
            name: value
            for name, value in fields.items()
            if (name, value) != ("working_ion", None) and name not in unused
        }

    @property
    def remarks(self) -> tuple[str, ...]:
        """A sentence if no stage before this one makes a structure to compare."""
        if self.structure != self.before:
            return ()
        return (f"it compares the structure '{self.before}' with itself: put it after a relaxation",)

    @property
    def requires(self) -> frozenset[str]:
        """The structures before and after, and intact ones."""
        roles = {self.structure, self.before, *self.intact}
        return frozenset(required_structure(role) for role in roles)

    @property
    def provides(self) -> Mapping[str, Unit]:
        """Measures of the structure's change, and 1 or 0 for kept or not.

        With `regions` those of sides.
        """
        by_region = {
            "whole_polyanions": "",
            "broken_polyanions": "",
            "inner_disorder": "Å",
            "isolated_atoms": "",
        }
        slabs = {"interface_gap": "Å", "side_shift": "Å", "mixed_beyond_region": ""}
        return {
            **(by_region if self.regions is not None else {}),
            **(slabs if self.regions == "interface" else {}),
            "structure_kept": "",
            "coordination_kept": "",
            "polyanions_kept": "",
            "new_anion_dimers": "",
            "largest_displacement": "Å",
            "volume_change": "%",
            "space_group_before": "",
            "space_group_after": "",
        }

    @property
    def batch(self) -> Batch:
        """Eight candidates: one takes a few hundredths of a second."""
        return Batch(8)

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        """Return eight numbers for each of `inputs`, and a sentence on losses."""
        return [
            self._compare_candidate(
                find_structure(item, self.before),
                self.structure_of(item),
                tuple(find_structure(item, role) for role in self.intact),
            )
            for item in inputs
        ]

    def _compare_candidate(
        self, before: Structure, after: Structure, intact: tuple[Structure, ...]
    ) -> Evaluation:
        began = time.perf_counter()
        request = RegionRequest(self.regions == "interface", intact) if self.regions is not None else None
        try:
            found = compare_structures(before, after, self.sites, self.symprec, self.working_ion, request)
        except (DifferentCrystalsError, RegionError, SiteLabelError, ValueError) as error:
            return Evaluation(failure=Failure("error", "", str(error)))
        losses = self.list_losses(found)
        properties = {
            "structure_kept": 0.0 if losses else 1.0,
            "coordination_kept": found.coordination_kept,
            "polyanions_kept": found.units_kept,
            "new_anion_dimers": float(len(found.pairs)),
            "largest_displacement": found.displacement,
            "volume_change": found.volume_change,
            "space_group_before": float(found.numbers[0]),
            "space_group_after": float(found.numbers[1]),
        }
        details = {"structure_kept": self.write_sentence(found, losses)}
        if found.regions is not None:
            properties |= _list_properties(found.regions)
            details["whole_polyanions"] = found.regions.polyanions.describe()
        return Evaluation(
            properties,
            details=details,
            cost={"seconds": time.perf_counter() - began},
        )

    def list_losses(self, found: Comparison) -> list[str]:
        """List, in words, each difference of structure in the comparison `found`."""
        losses = []
        if found.coordination_kept < self.coordination:
            losses += _describe_polyhedra(found.polyhedra)
        losses += _describe_units(found.units)
        if found.pairs:
            shortest: dict[str, float] = {}
            for name, length in found.pairs:
                shortest[name] = min(length, shortest.get(name, np.inf))
            losses += [f"new {name} pair of {length:.2f} Å" for name, length in sorted(shortest.items())]
        if self.displacement is not None and found.displacement > self.displacement:
            losses.append(
                f"{found.farthest} moved {found.displacement:.2f} Å (limit {self.displacement:g} Å)"
            )
        if self.volume_change is not None and abs(found.volume_change) > self.volume_change:
            losses.append(f"volume changed {found.volume_change:+.0f} % (limit {self.volume_change:g} %)")
        return losses + (self._list_faults(found.regions) if found.regions is not None else [])

    def _list_faults(self, found: Regions) -> list[str]:
        """List faults of slabs and of atoms on their own."""
        faults = []
        slabs = found.slabs
        melted = slabs.disorder if slabs is not None else {"host": found.disorder}
        faults += [
            f"{side} melted: its inner atoms moved {size:.2f} Å (root mean square, limit {self.melting:g} Å)"
            for side, size in melted.items()
            if size > self.melting
        ]
        if slabs is not None and slabs.gap > self.gap:
            faults.append(f"gap of {slabs.gap:.1f} Å opened (limit {self.gap:g} Å)")
        if slabs is not None and slabs.shift > self.shift:
            faults.append(f"sides sheared by {slabs.shift:.2f} Å (limit {self.shift:g} Å)")
        if slabs is not None and slabs.mixed:
            faults.append(
                f"mixed beyond the region: {slabs.mixed} atoms lie among inner ones of the other side"
            )
        if found.isolated:
            faults.append(f"{found.isolated} isolated atoms")
        return faults

    def write_sentence(self, found: Comparison, losses: Sequence[str]) -> str:
        """Write a sentence on losses, or on the checks that passed.

        The space groups follow.

        Args:
            found: the comparison.
            losses: from `list_losses`.

        Returns:
            `no longer an anti-perovskite: 2 of 2 Br octahedra lost; space group P1, before P4/mmm`, or `O
            octahedra kept: still an anti-perovskite, but Cl has 6 of 12 Li neighbours; space group P1`.
        """
        called = self.called or DEFAULT_TYPE
        if losses:
            what = f"no longer {called}: {'; '.join(losses)}"
        else:
            others = _join_words(_describe_others(found.others))
            what = f"{self.list_kept(found)} kept: still {called}{f', but {others}' if others else ''}"
        if self.displacement is not None and found.ion_displacement > self.displacement:
            what += f"; {self.working_ion} moved up to {found.ion_displacement:.2f} Å, which is not judged"
        if found.regions is not None and found.regions.outside:
            what += f"; not judged: {', '.join(found.regions.outside)}"
        return f"{what}; {_describe_groups(found)}"

    def list_kept(self, found: Comparison) -> str:
        """Name the judged polyhedra of the comparison `found`, else its units, else places.

        For example `O and S octahedra`, `P tetrahedra and V octahedra`.
        """
        kinds: dict[int, set[str]] = {}
        for item in found.polyhedra if self.coordination else ():
            kinds.setdefault(item.size, set()).add(item.element)
        names = [
            f"{_join_words(sorted(elements))} {_name_polyhedra(size, 2)}"
            for size, elements in sorted(kinds.items())
        ]
        if names and found.coordination_kept < 1:
            names = [f"{found.coordination_kept:.0%} of {_join_words(names)}"]
        units = sorted({name for name, _ in found.units})
        rest = "places" if self.displacement is not None else "all that was asked"
        return _join_words(names or [f"{_join_words(units)} units"] * bool(units) or [rest])


def _list_properties(found: Regions) -> dict[str, float]:
    """Properties of the comparison by regions."""
    properties = {
        "whole_polyanions": float(found.polyanions.whole),
        "broken_polyanions": float(found.polyanions.broken),
        "inner_disorder": found.disorder,
        "isolated_atoms": float(found.isolated),
        "new_anion_dimers": float(found.dimers),
    }
    if found.slabs is not None:
        properties |= {
            "interface_gap": found.slabs.gap,
            "side_shift": found.slabs.shift,
            "mixed_beyond_region": float(found.slabs.mixed),
        }
    return properties


def _describe_others(others: Sequence[Surroundings]) -> list[str]:
    """Describe changed neighbours by element and number: `Cl has 6 of 12 Li neighbours`."""
    kinds: dict[tuple[str, int], list[Surroundings]] = {}
    for item in others:
        kinds.setdefault((item.element, item.size), []).append(item)
    found = []
    for (element, size), items in sorted(kinds.items()):
        if not any(item.changed for item in items):
            continue
        low, high = min(item.stayed for item in items), max(item.stayed for item in items)
        around = frozenset().union(*(item.around for item in items))
        name = f"{next(iter(around))} neighbours" if len(around) == 1 else "neighbours"
        gained = max(item.gained for item in items)
        new = f" and {'up to ' * (len(items) > 1)}{gained} new" if gained else ""
        found.append(f"{element} has {low if low == high else f'{low} to {high}'} of {size} {name}{new}")
    return found


def _describe_groups(found: Comparison) -> str:
    """`space group Pnma`, `space group Cm, before P1 (within 0.5 Å P4/mmm)`."""
    before, after = found.groups
    if found.intended != before:
        return f"space group {after}, before {before} (within {LOOSE_SYMPREC:g} Å {found.intended})"
    return f"space group {after}" if after == before else f"space group {after}, before {before}"


def _join_words(words: Sequence[str]) -> str:
    """`O`, `O and S`, `O, S and Se`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _name_polyhedra(size: int, count: int) -> str:
    name = POLYHEDRON_NAMES.get(size, f"{size}-fold site")
    return name if count == 1 else POLYHEDRON_PLURALS.get(name, f"{name}s")


def _describe_polyhedra(polyhedra: Sequence[Polyhedron]) -> list[str]:
    """`2 of 2 Br octahedra lost`, by element and number of neighbours."""
    kinds = Counter((item.element, item.size) for item in polyhedra)
    lost = Counter((item.element, item.size) for item in polyhedra if not item.kept)
    found = []
    for (element, size), count in sorted(lost.items()):
        total = kinds[element, size]
        found.append(f"{count} of {total} {element} {_name_polyhedra(size, total)} lost")
    return found


def _describe_units(units: Sequence[tuple[str, bool]]) -> list[str]:
    kinds = Counter(name for name, _ in units)
    lost = Counter(name for name, kept in units if not kept)
    return [f"{count} of {kinds[name]} {name} units broken" for name, count in sorted(lost.items())]
