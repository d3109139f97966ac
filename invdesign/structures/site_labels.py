"""Labels of sites that travel with structures.

Side, layer, depth and the element that the perfect crystal has there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import numpy as np

from invdesign.errors import InvdesignError, nearest
from invdesign.structures.charges import element_symbols

if TYPE_CHECKING:
    from pymatgen.core import Structure

SIDE = "side"
LAYER = "layer"
INNER = "inner"
NATIVE = "native"

Side = Literal["substrate", "film"]
"""Side of an interface."""
SUBSTRATE: Side = "substrate"
FILM: Side = "film"
SIDES: tuple[Side, Side] = (SUBSTRATE, FILM)
HOST, DEFECT = "host", "defect"

LabelValue = str | int | bool
Labels = Mapping[str, Sequence[LabelValue]]
"""Value of every site by the label's name."""

SITE_LABELS: Mapping[str, type] = MappingProxyType({SIDE: str, LAYER: int, INNER: bool, NATIVE: str})
"""Type of each label by its name, as a property of pymatgen's sites.

`side`: `substrate` or `film` of an interface, `host` or `defect` of a defective crystal. `layer`: number of the atom's layer on its
side, 1 at the plane. `inner`: True for atoms deeper than the region in which species may change. `native`: element that the perfect
crystal has on this site, empty for a void; another element there is an exchanged or foreign atom.
"""
CIF_PREFIX = "_invdesign_atom_site_"
"""Beginning of the data names of labels in a CIF: a private prefix, since the core dictionary has no such names."""
COLUMN_PREFIX = "invdesign_"
"""Beginning of the names of columns in extended XYZ, so that another program's `layer` is none of ours."""
# Words for no element, in CIF (a value that does not apply) and in extended XYZ (ASE's symbol of no element).
_NO_ELEMENT = frozenset({".", "X"})
_FLAGS: Mapping[str, bool] = MappingProxyType(
    {word: flag for flag, words in ((True, "yes true t"), (False, "no false f")) for word in words.split()}
)
_SIDE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")
MAX_LAYER = 1_000_000  # chosen: more layers than any readable structure has atoms


class SiteLabelError(InvdesignError):
    """Labels of sites have another form, or do not fit the structure."""

    exit_code = 2


def has_labels(structure: Structure) -> bool:
    """True if sites of the `structure` carry a label."""
    return any(name in site.properties for site in structure for name in SITE_LABELS)


def read_labels(structure: Structure, name: str = "the structure") -> dict[str, list[LabelValue]]:
    """Read the labels of a structure's sites.

    Args:
        structure: its labels are properties of its sites; numbers of numpy count as Python's.
        name: name of the structure in messages.

    Returns:
        By name, in the order of `SITE_LABELS`; empty where there are none.

    Raises:
        SiteLabelError: a label has another form, or only some of the sites carry it.
    """
    if not has_labels(structure):
        return {}
    found: dict[str, list[object]] = {}
    for label in SITE_LABELS:
        values = [site.properties.get(label) for site in structure]
        if any(value is not None for value in values):
            found[label] = [value.item() if isinstance(value, np.generic) else value for value in values]
    return check_labels(found, len(structure), name)


def check_labels(data: object, count: int, name: str) -> dict[str, list[LabelValue]]:
    """Check labels from outside; return them in the order of `SITE_LABELS`.

    Args:
        data: values of the sites by name of the label.
        count: number of sites.
        name: name of the structure in messages.

    Raises:
        SiteLabelError: lists every mistake: unknown names, other lengths, values of other forms.
    """
    if not isinstance(data, Mapping):
        raise SiteLabelError(f"{name}: labels of sites must be lists by name, got {str(data)!r:.60}")
    mistakes = []
    for label, values in data.items():
        if label not in SITE_LABELS:
            known = ", ".join(SITE_LABELS)
            mistakes.append(
                f"there is no label '{label!s:.40}' of sites. {nearest(str(label), SITE_LABELS)} Known: {known}"
            )
        elif isinstance(values, str) or not isinstance(values, Sequence):
            mistakes.append(f"the label '{label}' must be a list, got {str(values)!r:.60}")
        elif len(values) != count:
            mistakes.append(f"the label '{label}' has {len(values)} values for {count} sites")
        else:
            wrong = next((k for k, value in enumerate(values) if not _is_value(label, value)), None)
            if wrong is not None:
                mistakes.append(
                    f"the label '{label}' of site {wrong + 1} is {values[wrong]!r:.60}, must be {_ALLOWED[label]}"
                )
    if mistakes:
        raise SiteLabelError(f"{name}: " + "; ".join(" ".join(text.split()) for text in mistakes))
    return {label: list(data[label]) for label in SITE_LABELS if label in data}


def split_labels(
    labels: Mapping[str, Sequence[LabelValue]], count: int, name: str
) -> list[dict[str, LabelValue]]:
    """Check labels of a file; return those of each site.

    Args:
        labels: values of the sites by name of the label.
        count: number of sites.
        name: name of the structure in messages.

    Raises:
        SiteLabelError: a value has another form.
    """
    found = check_labels(labels, count, name)
    return [{label: values[k] for label, values in found.items()} for k in range(count)]


_ALLOWED: Mapping[str, str] = MappingProxyType(
    {
        SIDE: "a word such as 'substrate', 'film', 'host' or 'defect'",
        LAYER: f"a whole number from 0 to {MAX_LAYER}",
        INNER: "true or false",
        NATIVE: "the symbol of an element, or empty",
    }
)


def _is_value(label: str, value: object) -> bool:
    """True if `value` is a value of `label`; a truth value is no number."""
    if type(value) is not SITE_LABELS[label]:
        return False
    if isinstance(value, str):
        return bool(_SIDE.fullmatch(value)) if label == SIDE else value == "" or value in element_symbols()
    return isinstance(value, int) and 0 <= value <= MAX_LAYER


def set_labels(structure: Structure, labels: Labels) -> None:
    """Give the sites of a `structure` the `labels`, in place; other properties stay."""
    for label, values in labels.items():
        for site, value in zip(structure, values, strict=True):
            site.properties[label] = value


def carry_labels(source: Structure, target: Structure) -> Structure:
    """Return `target` with the labels of `source` where it has the same sites and no labels of its own.

    Sites are the same if their species are, in the same order.
    """
    if has_labels(target) or len(source) != len(target) or not has_labels(source):
        return target
    if [site.species for site in source] != [site.species for site in target]:
        return target
    found = target.copy()
    set_labels(found, read_labels(source))
    return found


def write_word(value: LabelValue) -> str:
    """Write a value as a word of a CIF: `film`, `3`, `yes`, `.` for no element."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) or "."


def parse_word(label: str, word: str) -> LabelValue:
    """Parse the `word` of a file as a value of `label`.

    A word of another form stays as it is, and `check_labels` refuses it.
    """
    if label == LAYER:
        return int(word) if re.fullmatch("[0-9]{1,7}", word) else word
    if label == INNER:
        return _FLAGS.get(word.lower(), word)
    return "" if label == NATIVE and word in _NO_ELEMENT else word
