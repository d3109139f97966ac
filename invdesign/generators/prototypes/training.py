"""Training of the generator `prototypes`: a library of crystals, with distances of elements learnt from them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from invdesign.errors import Infeasible, InvdesignError
from invdesign.generators.models import MODELS
from invdesign.generators.prototypes.learning import LARGEST_NUMBER, learn_scale
from invdesign.generators.prototypes.library import (
    Library,
    Template,
    atomic_numbers,
    collect_library,
    read_template,
)
from invdesign.generators.prototypes.ranking import ElementScale, fit_volumes
from invdesign.generators.prototypes.writing import KIND, unpack_scale, write_library
from invdesign.protocols import TrainingSet

HULL_COLUMN = "e_above_hull"
# Crystals below which distances of elements are those of the shipped library; chosen: some ten for each element.
FEWEST_TO_LEARN = 1_000
REPORTED_EVERY = 500  # crystals (chosen)


def train_prototypes(
    training: TrainingSet,
    folder: Path,
    report: Callable[[str], None] = lambda _: None,
) -> Library:
    """Make a library of prototypes and write its model folder.

    Args:
        training: crystals; the column `e_above_hull` (eV/atom) is used where it is there.
        folder: of the model.
        report: takes sentences on the progress.

    Raises:
        InvdesignError: no crystal has a symmetry that can be found.
    """
    templates, left_out = _read_templates(training, report)
    if not templates:
        raise InvdesignError(f"of {len(training.crystals)} crystals none can be used: {left_out[0]}")
    library = collect_library(templates)
    learnt = len(templates) >= FEWEST_TO_LEARN
    report("learning which elements take each other's place" if learnt else "fitting volumes of atoms")
    scale = learn_scale(library) if learnt else _borrow_scale(library)
    facts = {
        "data": [{"name": name, "sha256": digest} for name, digest in training.sources],
        "left_out": len(training.left_out) + len(left_out),
        "made": datetime.now(UTC).date().isoformat(),
        "distances": "learnt" if learnt else "of the shipped library",
    }
    write_library(folder, library, scale, _write_card(library, training, learnt=learnt), facts)
    return library


def _read_templates(training: TrainingSet, report: Callable[[str], None]) -> tuple[list[Template], list[str]]:
    """Read the occupied positions of all crystals; name those that have none."""
    found, left_out = [], []
    for number, crystal in enumerate(training.crystals, 1):
        hull = crystal.properties.get(HULL_COLUMN, float("nan"))
        try:
            found.append(read_template(crystal.structure, crystal.name, hull))
        except Infeasible as error:
            left_out.append(f"{crystal.name}: {error}")
        if number % REPORTED_EVERY == 0:
            report(f"{number} of {len(training.crystals)} crystals read")
    return found, left_out


def _borrow_scale(library: Library) -> ElementScale:
    """Scale with the distances of the shipped library, and volumes of atoms of this one where it has them."""
    shipped = unpack_scale(MODELS.read(KIND))
    own = fit_volumes(library.templates, LARGEST_NUMBER + 1)
    numbers = {name for template in library.templates for name in template.elements}
    held = np.zeros(LARGEST_NUMBER + 1, dtype=np.bool_)
    held[[atomic_numbers()[name] for name in numbers]] = True
    volumes = np.where(held[None], own, shipped.volumes)
    return ElementScale(shipped.apart, volumes, shipped.scale, shipped.power, shipped.hull, shipped.size)


def _write_card(library: Library, training: TrainingSet, *, learnt: bool) -> str:
    """Write the card of a library."""
    frameworks = sum(
        len({int(n) for n in family.frameworks[:, 0]})
        for ratios in library.list_ratios()
        if (family := library.find_family(ratios)) is not None
    )
    data = "\n".join(f"- `{name}`, SHA-256 `{digest}`" for name, digest in training.sources)
    distances = "learnt from these crystals" if learnt else "of the shipped library"
    return f"""# A library of prototypes

{training.about}

## Data
{data}

{len(library)} crystals with {frameworks} frameworks (space group and occupied Wyckoff positions) of {len(library.elements)} elements:
{", ".join(library.elements)}. {len(training.left_out)} crystals were left out.

## Use
`prototypes` proposes these crystals with other elements. Distances of elements are {distances}; volumes of atoms are fitted to the
volumes of the crystals.

## Not for
Frameworks that none of these crystals has, except where one element takes several sites or two elements share one; disordered and
molecular crystals; elements that are not named above. What it proposes is unrelaxed, and no statement on stability.
"""
