"""Exchanged and moved atoms of a labelled structure.

Read from the element of each site and the one of the perfect crystal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from invdesign.structures.site_labels import DEFECT, FILM, HOST, NATIVE, SIDE, SUBSTRATE, read_labels

if TYPE_CHECKING:
    from pymatgen.core import Structure


def tally_exchanges(structure: Structure) -> dict[str, Counter[tuple[str, str]]]:
    """Count the foreign atoms on the sites of each side by kind.

    The substrate's own element, then the film's.

    Atoms in voids are none.

    Args:
        structure: an interface; its sites have the labels `side` and `native`.
    """
    found: dict[str, Counter[tuple[str, str]]] = {SUBSTRATE: Counter(), FILM: Counter()}
    for site in structure:
        side, native, own = str(site.properties[SIDE]), str(site.properties[NATIVE]), element_of(site)
        if native and own != native:
            kind = (native, own) if side == SUBSTRATE else (own, native)
            found.setdefault(side, Counter())[kind] += 1
    return found


def count_exchanges(structure: Structure) -> dict[str, int]:
    """Count the exchanges across an interface by kind, and the ions in voids of each side.

    An exchange is one atom of the substrate's element on a site of the film, and one of the film's on a site of the substrate:
    `{"Co/P": 2, "Li in voids of the substrate": 1}`, the substrate's own element first. Where an element went one way only, the
    larger of the two numbers counts.

    Returns:
        By kind, kinds in alphabetical order; empty without exchanges, and for structures that are no interface.
    """
    labels = read_labels(structure)
    if NATIVE not in labels or not {SUBSTRATE, FILM} <= set(labels.get(SIDE, ())):
        return {}
    tallies = tally_exchanges(structure).values()
    kinds = {kind for tally in tallies for kind in tally}
    pairs = {f"{one}/{other}": max(tally[one, other] for tally in tallies) for one, other in kinds}
    voids = Counter(
        f"{element_of(site)} in voids of the {side}"
        for site, side, native in zip(structure, labels[SIDE], labels[NATIVE], strict=True)
        if native == ""
    )
    return dict(sorted(pairs.items())) | dict(sorted(voids.items()))


def count_defects(structure: Structure) -> dict[str, int]:
    """Count the foreign atoms of a defective crystal by kind.

    An example is `{"N on O": 2, "interstitial Li": 1}`.

    Vacancies hold no atom, so only a comparison with the host finds them.

    Returns:
        By kind, in alphabetical order; empty for structures that are no defective crystal.
    """
    labels = read_labels(structure)
    if NATIVE not in labels or not set(labels.get(SIDE, ())) & {HOST, DEFECT}:
        return {}
    found: Counter[str] = Counter()
    for site, native in zip(structure, labels[NATIVE], strict=True):
        symbol = element_of(site)
        if native == "":
            found[f"interstitial {symbol}"] += 1
        elif native != symbol:
            found[f"{symbol} on {native}"] += 1
    return dict(sorted(found.items()))


def describe_exchanges(structure: Structure) -> str:
    """Describe exchanges or defects: `2 Co/P, 1 O/S, 1 Li in voids of the substrate`.

    Empty where there are no labels.
    """
    sides = set(read_labels(structure).get(SIDE, ()))
    if {SUBSTRATE, FILM} <= sides:
        return _list_counts(count_exchanges(structure)) or "none"
    return _list_counts(count_defects(structure))


def _list_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())


def element_of(site: object) -> str:
    """Element of a site; of a mixed site the most frequent one."""
    species = max(site.species.items(), key=lambda item: (item[1], str(item[0])))[0]  # type: ignore[attr-defined]
    return str(getattr(species, "symbol", species))
