"""Lower convex hull of energies over compositions, also where these span fewer dimensions than they have elements."""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from invdesign.arrays import BoolArray, FloatArray

SPAN_TOLERANCE = 1e-7  # of a fraction: smaller extents are rounding (chosen)
ON_HULL_TOLERANCE = 1e-8  # eV/atom: numerical error of hull energies (chosen)
ENERGY_DIGITS = 9  # of hull energies: a new composition changes the digits behind (chosen)
LEAST_SLANT = 1e-9  # of a lower facet's normal; others stand on the edge of the compositions (chosen)
MAX_FACET_DIMENSIONS = 5  # more have too many facets, and a linear program per composition is faster (chosen)


def hull_energies(fractions: FloatArray, energies: FloatArray) -> FloatArray:
    """Energy of the lower convex hull at each of its own compositions, shape (n,), eV/atom.

    A phase on the hull has exactly its own energy, none has less than the hull. The digits depend on the compositions and on
    the energies of the phases on the hull alone: what happens to the others above it changes none.

    Args:
        fractions: shape (n, m), atomic fractions of m elements, no composition twice; sorted by the caller.
        energies: shape (n,), eV/atom.
    """
    places = project_onto_span(fractions)
    if places.shape[1] == 0:
        return energies.copy()
    every = np.ones(len(energies), dtype=bool)
    stable = energies - _surface_energies(places, energies, every) <= ON_HULL_TOLERANCE
    surface = np.round(_surface_energies(places, energies, stable), ENERGY_DIGITS)
    return np.where(energies - surface <= ON_HULL_TOLERANCE, energies, surface)


def _surface_energies(places: FloatArray, energies: FloatArray, chosen: BoolArray) -> FloatArray:
    """Hull energies at all places, of chosen phases that span them, shape (n,).

    Args:
        places: shape (n, r), coordinates of the compositions.
        energies: shape (n,), eV/atom; those not chosen are not read.
        chosen: shape (n,), phases of the hull.
    """
    # Without a linear part energies are small numbers, which facets describe with more digits; distances stay.
    design = np.column_stack([places, np.ones(len(places))])
    slopes = np.asarray(np.linalg.lstsq(design[chosen], energies[chosen], rcond=None)[0], dtype=np.float64)
    linear = _evaluate_planes(places, slopes[None, :-1], slopes[-1:])[:, 0]
    tilted = energies[chosen] - linear[chosen]
    if np.ptp(tilted) <= ON_HULL_TOLERANCE / 10:  # all lie on one plane
        return linear
    if places.shape[1] <= MAX_FACET_DIMENSIONS:
        from scipy.spatial import QhullError

        with suppress(QhullError):  # phases nearly on a plane
            return linear + _energies_from_facets(places, places[chosen], tilted)
    return linear + _energies_from_programs(places, places[chosen], tilted)


def _evaluate_planes(places: FloatArray, slopes: FloatArray, offsets: FloatArray) -> FloatArray:
    """Values of f planes at n places, shape (n, f).

    Terms are added one by one: the digits of a matrix product would depend on the number of places.

    Args:
        places: shape (n, r).
        slopes: shape (f, r).
        offsets: shape (f,).
    """
    values = np.repeat(offsets[None, :], len(places), axis=0)
    for column in range(places.shape[1]):
        values += places[:, column, None] * slopes[None, :, column]
    return values


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


def _energies_from_facets(places: FloatArray, corners: FloatArray, energies: FloatArray) -> FloatArray:
    """Hull energies at `places` (n, r) as the largest of the lower facets' planes, shape (n,).

    Args:
        places: to evaluate at.
        corners: shape (k, r), of the phases of the hull.
        energies: shape (k,), of these.
    """
    from scipy.spatial import ConvexHull

    # A point above all others gives the hull a volume where all phases lie on one plane, and is on no lower facet.
    top = np.append(corners.mean(axis=0), energies.max() + 1.0 + np.ptp(energies))
    planes = ConvexHull(np.vstack([np.column_stack([corners, energies]), top])).equations
    lower = planes[planes[:, -2] < -LEAST_SLANT]
    slopes, offsets = -lower[:, :-2] / lower[:, -2:-1], -lower[:, -1] / lower[:, -2]
    return np.asarray(_evaluate_planes(places, slopes, offsets).max(axis=1), dtype=np.float64)


def _energies_from_programs(places: FloatArray, corners: FloatArray, energies: FloatArray) -> FloatArray:
    """Hull energies at `places` (n, r) as the cheapest mixtures of phases, shape (n,), a linear program each.

    Args:
        places: to evaluate at.
        corners: shape (k, r), of the phases of the hull.
        energies: shape (k,), of these.
    """
    from scipy.optimize import linprog

    mixing = np.vstack([corners.T, np.ones(len(corners))])
    found = [linprog(energies, A_eq=mixing, b_eq=[*place, 1.0], method="highs") for place in places]
    return np.array([np.nan if item.fun is None else item.fun for item in found], dtype=np.float64)


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
