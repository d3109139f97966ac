"""Features of arrangements of defects: distances by kind, gaps and distortion."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.protocols import Descriptor
from invdesign.spaces.defect.cell import DefectCell
from invdesign.spaces.defect.distortion import Distortion

FAR = 15.0  # Å; chosen: stands for a distance where a kind is absent, beyond that of most pairs in a cell


def describe_arrangements(cell: DefectCell, *, distorted: bool) -> list[Descriptor]:
    """Names of the features.

    Args:
        cell: the host.
        distorted: True if genomes hold a distortion.
    """
    found = [Descriptor(f"number of {kind.name}", "defects") for kind in cell.kinds]
    for a, b in combinations_with_replacement([kind.name for kind in cell.kinds], 2):
        found += [
            Descriptor(f"shortest distance of {a} and {b}", "defect distances"),
            Descriptor(f"mean distance of {a} and {b}", "defect distances"),
        ]
    found += [
        Descriptor("atoms that face a vacancy", "gaps"),
        Descriptor("shortest distance of a foreign atom to a vacancy", "gaps"),
    ]
    if distorted:
        found += [
            Descriptor("stretch of bonds", "distortion"),
            Descriptor("change of bonds", "distortion"),
            Descriptor("way of the turned atom", "distortion"),
            Descriptor("turned atom is foreign", "distortion"),
        ]
    return found


def evaluate_arrangements(
    cell: DefectCell, codes: IntArray, distortions: Sequence[Distortion | None]
) -> FloatArray:
    """Features of arrangements, shape (m, d).

    Args:
        cell: the host.
        codes: shape (m, n).
        distortions: m of them; None where genomes hold none.
    """
    return np.asarray(
        [_evaluate_one(cell, row, own) for row, own in zip(codes, distortions, strict=True)], dtype=np.float64
    )


def _evaluate_one(cell: DefectCell, codes: IntArray, distortion: Distortion | None) -> list[float]:
    listed = cell.list_places(codes)
    found = [float(len(own)) for own in listed]
    for a, b in combinations_with_replacement(range(len(listed)), 2):
        apart = cell.distances[np.ix_(listed[a], listed[b])]
        lengths = apart[np.triu_indices(len(apart), 1)] if a == b else apart.ravel()
        found += [float(lengths.min()), float(lengths.mean())] if len(lengths) else [FAR, FAR]
    gaps = cell.surroundings.find_gaps(codes)
    foreign = [float(cell.distances[i, j]) for i, j in gaps if codes[i]]
    found += [float(len(gaps)), min(foreign, default=FAR)]
    if distortion is not None:
        turned = bool(distortion.toward and gaps and codes[gaps[min(distortion.pair, len(gaps) - 1)][0]])
        found += [distortion.bond, abs(distortion.bond), distortion.toward, float(turned)]
    # Rounded, so that images by symmetry agree to the last bit.
    return [round(value, 6) + 0.0 for value in found]
