"""Contract of feature sets, and their errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

from invdesign.arrays import FloatArray
from invdesign.errors import InvdesignError
from surrogates.regression.material import Material

if TYPE_CHECKING:
    from pymatgen.core import Structure

Need = Literal["composition", "cell", "crystal", "electrode"]
MAX_COMPLAINTS = 10  # materials named in one message; chosen
T = TypeVar("T")


class FeatureError(InvdesignError):
    """Features cannot be computed.

    Attributes:
        complaints: message by position of the material; empty where the call itself is wrong.
    """

    def __init__(self, message: str, complaints: Mapping[int, str] = MappingProxyType({})) -> None:
        super().__init__(message)
        self.complaints = dict(complaints)


@dataclass(frozen=True, slots=True)
class Column:
    """Name and unit of one feature."""

    name: str
    unit: str = ""


class FeatureSet(Protocol):
    """Numbers computed from materials; a function of each material alone."""

    @property
    def name(self) -> str:
        """Name in recipes: `element_fractions`."""
        ...

    @property
    def needs(self) -> Need:
        """Part of a material that must be known."""
        ...

    @property
    def columns(self) -> tuple[Column, ...]:
        """Names and units of the d features.

        Where all have one unit, a Laplacian Gaussian process compares their sizes; else it standardises each.
        """
        ...

    @property
    def weights(self) -> str:
        """Label and hash of the network whose weights it reads; empty without one."""
        ...

    def compute(self, materials: Sequence[Material]) -> FloatArray:
        """Compute features, shape (n, d); NaN where a feature does not apply.

        Raises:
            FeatureError: a material lacks what is needed; the message names it, with a remedy.
        """
        ...


def require_crystal(material: Material) -> Structure:
    """Return the crystal of a material.

    Raises:
        FeatureError: it has none, or one without sites.
    """
    if material.crystal is None:
        raise FeatureError(
            "its crystal is needed; give a structure file, or use a model of compositions alone"
        )
    if not len(material.crystal):
        raise FeatureError("its crystal has no sites; give a structure file with at least one")
    return material.crystal


def describe_each(materials: Sequence[Material], describe: Callable[[Material], T]) -> list[T]:
    """Apply `describe` to each material.

    Raises:
        FeatureError: of one material or several; it names them all.
    """
    described: list[T] = []
    complaints: dict[int, str] = {}
    for place, material in enumerate(materials):
        try:
            described.append(describe(material))
        except FeatureError as error:
            complaints[place] = f"{material.name}: {error}"
    raise_complaints(complaints)
    return described


def raise_complaints(complaints: Mapping[int, str]) -> None:
    """Raise the complaints about single materials as one error; return if there are none.

    Args:
        complaints: message by position of the material.

    Raises:
        FeatureError: there is at least one.
    """
    if not complaints:
        return
    texts = list(complaints.values())[:MAX_COMPLAINTS]
    more = len(complaints) - len(texts)
    lines = [*texts, *([f"and {more} more materials"] if more else [])]
    raise FeatureError("\n".join(lines), complaints)
