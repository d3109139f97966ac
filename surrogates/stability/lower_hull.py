"""Lower convex hull of energies over compositions, also where these span fewer dimensions than they have elements."""

from __future__ import annotations

import numpy as np

from invdesign.arrays import FloatArray

SPAN_TOLERANCE = 1e-7  # of a fraction: smaller extents are rounding (chosen)
ON_HULL_TOLERANCE = 1e-8  # eV/atom: numerical error of hull energies (chosen)
ENERGY_DIGITS = 9  # of hull energies: below them facets of the same hull differ (chosen)
MAX_FACET_DIMENSIONS = 5  # more have too many facets, and a linear program per composition is faster (chosen)


def hull_energies(fractions: FloatArray, energies: FloatArray) -> FloatArray:
    """Energy of the lower convex hull at each of its own compositions, shape (n,), eV/atom.

    A phase on the hull has exactly its own energy, none has less than the hull. The result is a function of the set of
    phases; the caller sorts them.

    Args:
        fractions: shape (n, m), atomic fractions of m elements, no composition twice.
        energies: shape (n,), eV/atom.
    """
    places = project_onto_span(fractions)
    dimensions = places.shape[1]
    if dimensions == 0:
        return energies.copy()
    # Without a linear part energies are small numbers, which facets describe with more digits; distances stay.
    design = np.column_stack([places, np.ones(len(places))])
    tilted = energies - design @ np.linalg.lstsq(design, energies, rcond=None)[0]
    if np.ptp(tilted) <= ON_HULL_TOLERANCE:  # all lie on one plane
        return energies.copy()
    if dimensions <= MAX_FACET_DIMENSIONS:
        lowest = _energies_from_facets(places, tilted)
    else:
        lowest = _energies_from_programs(places, tilted)
    distance = np.round(tilted - lowest, ENERGY_DIGITS)
    return np.where(distance <= ON_HULL_TOLERANCE, energies, energies - distance)


def project_onto_span(fractions: FloatArray) -> FloatArray:
    """Coordinates of compositions in the affine space that they span, shape (n, r).

    Args:
        fractions: shape (n, m), atomic fractions.
    """
    centred = fractions - fractions.mean(axis=0)
    if not len(centred):
        return np.empty((0, 0))
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    return np.asarray(centred @ axes[sizes > SPAN_TOLERANCE].T, dtype=np.float64)


def _energies_from_facets(places: FloatArray, energies: FloatArray) -> FloatArray:
    """Hull energies as the largest of the lower facets' planes, shape (n,)."""
    from scipy.spatial import ConvexHull

    # A point above all others gives the hull a volume where all phases lie on one plane, and is on no lower facet.
    top = np.append(places.mean(axis=0), energies.max() + 1.0 + np.ptp(energies))
    planes = ConvexHull(np.vstack([np.column_stack([places, energies]), top])).equations
    lower = planes[planes[:, -2] < -1e-9]
    slopes, offsets = -lower[:, :-2] / lower[:, -2:-1], -lower[:, -1] / lower[:, -2]
    return np.asarray((places @ slopes.T + offsets).max(axis=1), dtype=np.float64)


def _energies_from_programs(places: FloatArray, energies: FloatArray) -> FloatArray:
    """Hull energies as the cheapest mixtures of phases, shape (n,), a linear program each."""
    from scipy.optimize import linprog

    mixing = np.vstack([places.T, np.ones(len(places))])
    found = [linprog(energies, A_eq=mixing, b_eq=column, method="highs") for column in mixing.T]
    return np.array(
        [item.fun if item.status == 0 else own for item, own in zip(found, energies, strict=True)]
    )


def unreached_fractions(fractions: FloatArray) -> FloatArray:
    """Fractions that no mixture of the other compositions reaches, shape (n, m).

    A row is 0 where the composition is a mixture of others. Else it is what the closest amounts of them leave over, by least
    squares; its positive entries are elements in want of another phase.

    Args:
        fractions: shape (n, m), atomic fractions, no composition twice.
    """
    from scipy.optimize import nnls

    left = np.zeros_like(fractions)
    for place in _list_corners(project_onto_span(fractions)):  # all others are mixtures
        others = np.delete(fractions, place, axis=0)
        amounts = nnls(others.T, fractions[place])[0] if len(others) else np.zeros(0)
        rest = fractions[place] - others.T @ amounts
        left[place] = np.where(rest.max() > SPAN_TOLERANCE, rest, 0.0)
    return left


def _list_corners(places: FloatArray) -> list[int]:
    """Rows of `places` (n, r) that may be corners of their convex hull."""
    from scipy.spatial import ConvexHull, QhullError

    count, dimensions = places.shape
    if dimensions == 0 or dimensions > MAX_FACET_DIMENSIONS or count <= dimensions + 1:
        return list(range(count))
    if dimensions == 1:
        return [int(places[:, 0].argmin()), int(places[:, 0].argmax())]
    try:
        return sorted(map(int, ConvexHull(places).vertices))
    except QhullError:  # nearly flat: each is looked at
        return list(range(count))
