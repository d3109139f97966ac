"""Settings of the space of interfaces: the two solids, their matches, and what may vary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema

from invdesign.settings import Frozen
from invdesign.spaces.counted import CountableSpace
from invdesign.structures.bicrystals import Boundary, Strained
from invdesign.structures.bicrystals.assembly import DEFAULT_VACUUM
from invdesign.structures.charges import check_element
from invdesign.structures.parents import ParentSource
from invdesign.structures.site_labels import FILM, SUBSTRATE, Side

Plane = tuple[int, int, int]
METALS: Mapping[str, str] = {"Li": "lithium"}
"""Prototype of a metal by its symbol."""
LARGEST_INDEX = 9  # Miller index; higher planes are stepped surfaces with cells far above any limit (chosen)


def other_side(side: Side) -> Side:
    """Return the side across the plane."""
    return FILM if side == SUBSTRATE else SUBSTRATE


class SolidChoice(Frozen):
    """One solid of the interface, with the planes and terminations to choose from."""

    parent: ParentSource | None = None
    """A prototype's name, or a CIF, POSCAR or pymatgen JSON file (relative to the campaign)."""
    metal: Literal["Li"] | None = None
    """A metal in place of `parent`."""
    planes: Annotated[tuple[Annotated[Plane, Field(strict=False)], ...], Field(strict=False)] = Field(
        min_length=1
    )
    """Miller indices of the planes to choose from, in the conventional cell of a prototype or the cell of the file."""
    layers: int | None = Field(default=None, ge=1, le=50)
    """Thickness of the slab as a number of repeats of the stack of this plane."""
    thickness: float | None = Field(default=None, gt=0.0, le=200.0)
    """Least thickness of the slab in Å, instead of `layers`."""
    terminations: Annotated[tuple[int, ...], Field(strict=False)] = ()
    """Numbers of the terminations to choose from, in the order that the notes of the campaign list; all where empty."""
    keep_bonds: bool = False
    """Leave out terminations that cut bonds between non-metals, such as those of PS4."""

    @field_validator("planes")
    @classmethod
    def _check_planes(cls, planes: tuple[Plane, ...]) -> tuple[Plane, ...]:
        for number, plane in enumerate(planes):
            if not any(plane):
                raise ValueError("[0, 0, 0] is no plane; give Miller indices, as [1, 1, 0]")
            if max(map(abs, plane)) > LARGEST_INDEX:
                raise ValueError(f"Miller indices are {LARGEST_INDEX} at most, got {list(plane)}")
            if plane in planes[:number]:
                raise ValueError(f"the plane {list(plane)} is named twice")
        return planes

    @field_validator("terminations")
    @classmethod
    def _check_terminations(cls, numbers: tuple[int, ...]) -> tuple[int, ...]:
        if any(number < 1 for number in numbers) or len(set(numbers)) < len(numbers):
            raise ValueError(f"terminations are different numbers from 1, got {list(numbers)}")
        return numbers

    @model_validator(mode="after")
    def _check_choice(self) -> Self:
        if (self.parent is None) == (self.metal is None):
            raise ValueError("give either 'parent' (a prototype or a file) or 'metal'")
        if (self.layers is None) == (self.thickness is None):
            raise ValueError("give either 'layers' or 'thickness' (Å)")
        return self

    @property
    def source(self) -> Any:
        """Prototype's name or file."""
        return METALS[self.metal] if self.metal else self.parent


class MatchLimits(Frozen):
    """Limits of the cells in which the two solids fit together."""

    max_area: float = Field(default=120.0, gt=0.0, le=2_000.0)
    """Largest area of the common cell in the plane, Å²."""
    max_strain: float = Field(default=0.05, gt=0.0, le=0.25)
    """Largest strain of the strained side along any direction in the plane."""
    max_atoms: int = Field(default=200, ge=2, le=2_000)
    """Most atoms of a candidate."""
    strained: Strained = "film"
    """The side that is strained to fit the other; `both` share the strain equally."""
    names: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Names of the matches to choose from, as the notes of the campaign list them; all within the limits where empty."""


class ShiftGrid(Frozen):
    """Shifts on a grid, so that a space of matches and shifts is countable."""

    spacing: float = Field(gt=0.0, le=5.0)
    """Largest distance of neighbouring shifts along each vector of the cell of displacements, Å."""


class GapRange(Frozen):
    """Range of gaps between the outermost atoms of both sides."""

    min: float = Field(ge=0.0, le=20.0)
    """Smallest gap, Å."""
    max: float = Field(gt=0.0, le=20.0)
    """Largest gap, Å."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.min >= self.max:
            raise ValueError(
                f"min must be below max, got {self.min:g} and {self.max:g}; a fixed gap is one number"
            )
        return self


class Exchange(Frozen):
    """Conserved exchange of two sublattices: as many atoms go one way as the other."""

    substrate: str
    """Label, Wyckoff site or element of the substrate's sublattice."""
    film: str
    """Label, Wyckoff site or element of the film's sublattice."""
    most: int = Field(ge=1, le=100)
    """Most pairs that are exchanged."""
    deep: float | None = Field(default=None, gt=0.0, le=100.0)
    """Depth below the plane in Å up to which they are; `region` where not given."""


class Depletion(Frozen):
    """Ions that leave sites of one side and enter voids of the other."""

    model_config = ConfigDict(serialize_by_alias=True)

    ion: str
    """The ion's element."""
    taken_from: Side = Field(alias="from")
    """The side that loses ions."""
    most: int = Field(ge=1, le=100)
    """Most ions that leave."""

    @field_validator("ion")
    @classmethod
    def _check_ion(cls, ion: str) -> str:
        return check_element(ion)


def list_single(value: object) -> object:
    """Put a single mapping into a list, for settings that take one or several."""
    return [value] if isinstance(value, Mapping) else value


class OneOrMany:
    """JSON Schema of a list whose single entry may stand alone."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        found = handler(schema)
        return {"anyOf": [found.get("items", {}), found]}


FixedShift = Annotated[tuple[float, float], Field(strict=False)]


class InterfaceSettings(CountableSpace):
    """Settings of a space of interfaces."""

    substrate: SolidChoice
    """The solid below the plane."""
    film: SolidChoice
    """The solid above the plane."""
    match: MatchLimits = MatchLimits()
    """Limits of the cells in which both fit together."""
    boundary: Boundary = "sandwich"
    """`sandwich`: two planes and no vacuum; `vacuum`: one plane, and two free surfaces."""
    vacuum: float = Field(default=DEFAULT_VACUUM, ge=5.0, le=100.0)
    """Thickness of the vacuum in Å, with `boundary: vacuum`."""
    region: float = Field(default=5.0, gt=0.0, le=100.0)
    """Distance from the first plane in Å up to which species may change."""
    shift: Literal["free"] | ShiftGrid | FixedShift = "free"
    """`free`, a grid `{spacing: 0.5}` (Å), or one shift for all candidates in fractions of the cell of displacements."""
    gap: float | GapRange | None = Field(default=None)
    """Distance of the outermost atoms of both sides in Å, or a range of it; by ionic radii for each match where not given."""
    exchange: Annotated[
        tuple[Exchange, ...], BeforeValidator(list_single), OneOrMany, Field(strict=False)
    ] = ()
    """Conserved exchanges of a sublattice of the substrate with one of the film."""
    deplete: Annotated[
        tuple[Depletion, ...], BeforeValidator(list_single), OneOrMany, Field(strict=False)
    ] = ()
    """Ions that leave one side for voids of the other."""
    rattle: float = Field(default=0.0, ge=0.0, le=0.5)
    """Standard deviation of random displacements, Å, so that symmetric starts can leave their saddle."""

    @field_validator("gap")
    @classmethod
    def _check_gap(cls, gap: float | GapRange | None) -> float | GapRange | None:
        if isinstance(gap, float | int) and not 0.0 <= gap <= 20.0:
            raise ValueError(f"a gap lies between 0 and 20 Å, got {gap:g}")
        return gap
