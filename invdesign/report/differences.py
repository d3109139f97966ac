"""Differences between the best candidates beside the errors of their values, in sentences."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from invdesign.arrays import BoolArray, FloatArray, IntArray
from invdesign.properties import describe_property
from invdesign.report.tables import Facts

SHARED_ERROR = (
    "Similar compounds share a part of that error, so their order may hold all the same; unlike ones share less of it, and these "
    "differences alone do not tell them apart."
)


def describe_differences(facts: Facts) -> list[str]:
    """Sentences on differences between the best candidates that are smaller than their errors.

    With several objectives they count members of the front that differ from another member by less; with one, candidates that
    differ from the best by less. Errors of the method and noise are counted apart, since compounds share the former. There is
    no sentence on a combined score.

    Args:
        facts: of the run.
    """
    if facts.scalarized:
        return []
    if facts.ranked_by == 1:
        return _describe_ranking(facts)
    if len(facts.front) < 2:
        return []
    method, scatter = [], []
    for item in facts.objectives:
        label = describe_property(item.property, facts.units[item.property]).label
        values = facts.columns[item.property]
        shared = mask_close(values, facts.systematic[item.property], facts.front, shared=True)
        own = mask_close(values, facts.noise[item.property], facts.front, shared=False)
        method.append((int(shared.sum()), label))
        scatter.append((int(own.sum()), label))
    found = []
    if counted := _list_counts(method):
        found.append(
            f"Of the {len(facts.front):,} members of the front, {counted} differ from another one by less than the method's error. "
            f"{SHARED_ERROR}"
        )
    if counted := _list_counts(scatter):
        found.append(
            f"Of the {len(facts.front):,} members of the front, {counted} differ from another one by less than the noise of an "
            "evaluation."
        )
    return found


def describe_unknown_errors(facts: Facts) -> str:
    """Sentence on ranked properties whose values have no error, while others have one; else empty.

    Args:
        facts: of the run.
    """
    ranked = [name for name in facts.run.campaign.problem.properties if facts.units[name]]
    known = [name for name in ranked if _has_error(facts, name)]
    labels = [describe_property(name, facts.units[name]).label for name in ranked if name not in known]
    return f"No error is known of: {', '.join(labels)}." if known and labels else ""


def _has_error(facts: Facts, name: str) -> bool:
    """True if any complete candidate has a noise or a method's error of property `name`."""
    return any(np.isfinite(errors[name][facts.ranking]).any() for errors in (facts.noise, facts.systematic))


def _describe_ranking(facts: Facts) -> list[str]:
    """Sentences on candidates that the errors do not tell apart from the best."""
    feasible = set(facts.feasible_ids().tolist())
    ids = np.array([id for id in facts.ranking.tolist() if id in feasible], dtype=np.int64)
    if len(ids) < 2:
        return []
    item = facts.objectives[0]
    label = describe_property(item.property, facts.units[item.property]).label
    apart = np.abs(facts.minimised[ids, 0] - facts.minimised[ids[0], 0])[1:]
    found = []
    for errors, shared, words in (
        (facts.systematic, True, f"the method's error in {label}. {SHARED_ERROR}"),
        (facts.noise, False, f"the noise of an evaluation of {label}."),
    ):
        known = np.nan_to_num(errors[item.property][ids])
        limits = _join_errors(known[:1], known[1:], shared=shared)
        count = int((apart < limits).sum())
        if count:
            verb = "candidate differs" if count == 1 else "candidates differ"
            found.append(f"{count:,} further {verb} from the best by less than {words}")
    return found


def mask_close(values: FloatArray, errors: FloatArray, ids: IntArray, *, shared: bool) -> BoolArray:
    """Mask of candidates whose value differs from that of another one by less than the error.

    Args:
        values, errors: of all candidates, shape (n,); NaN where unknown.
        ids: numbers of the k candidates to compare.
        shared: True if the error is that of the method: the larger of two counts. Else errors of two add up as squares.

    Returns:
        Shape (k,).
    """
    order = np.argsort(values[ids], kind="stable")  # only neighbours need to be compared; NaN comes last
    near, size = values[ids][order], np.nan_to_num(errors[ids][order])
    close = np.diff(near) < _join_errors(size[:-1], size[1:], shared=shared)
    found = np.zeros(len(ids), dtype=bool)
    found[order[:-1]] |= close
    found[order[1:]] |= close
    return found


def _join_errors(one: FloatArray, other: FloatArray, *, shared: bool) -> FloatArray:
    """Error of the difference of two values; see `mask_close`."""
    return np.maximum(one, other) if shared else np.hypot(one, other)


def _list_counts(counts: Iterable[tuple[int, str]]) -> str:
    """`3 (in Oxidation limit) and 2 (in Average voltage)`; empty where all are 0."""
    parts = [f"{count:,} (in {label})" for count, label in counts if count]
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))
