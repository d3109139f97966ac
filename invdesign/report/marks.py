"""Marked values, which are not the candidate's own: symbols in figures, counts in sentences.

The mark of a property (`invdesign.properties.Mark`) decides: these are values with words beside them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from invdesign.arrays import BoolArray, IntArray
from invdesign.properties import Mark, describe_property
from invdesign.report.figures import FAINT
from invdesign.report.tables import Facts

MARKED_SYMBOLS = {"circle": "circle-open", "diamond-open": "diamond-cross-open", "x-thin-open": "x-open"}
"""Symbols of marked values by usual symbol: hollow, or crossed if that is hollow already."""


def split_marked(
    facts: Facts, names: Sequence[str], ids: IntArray, trace: Callable[[IntArray], dict[str, Any]]
) -> list[dict[str, Any]]:
    """Split a trace into candidates without and with marked values.

    Args:
        facts: of the run.
        names: of the properties that the figure shows.
        ids: numbers of the candidates, shape (n,).
        trace: makes the trace of some of them, with a marker of one of the symbols in `MARKED_SYMBOLS`.
    """
    marked = np.zeros(len(ids), dtype=bool)
    words = []
    for name in names:
        found = find_marked(facts, name, ids)
        if found.any():
            marked |= found
            words.append(_mark_of(name).words)
    traces = [trace(ids[~marked])] if not marked.all() else []
    if marked.any():
        hollow = trace(ids[marked])
        hollow["marker"] = hollow["marker"] | {"symbol": MARKED_SYMBOLS[hollow["marker"]["symbol"]]}
        traces.append(hollow | {"meta": " or ".join(dict.fromkeys(words))})
    return traces


def mark_points(facts: Facts, name: str, figure: dict[str, Any]) -> dict[str, Any]:
    """Draw marked values hollow in a figure, with a legend entry.

    Args:
        facts: of the run.
        name: of the property.
        figure: of circles; unchanged if no value is marked.
    """
    symbols = {
        place: np.where(find_marked(facts, name, np.array(trace["customdata"])), "circle-open", "circle")
        for place, trace in enumerate(figure["data"])
        if "customdata" in trace
    }
    if not any((found == "circle-open").any() for found in symbols.values()):
        return figure
    traces = [
        trace | {"marker": trace["marker"] | {"symbol": symbols[place].tolist()}}
        if place in symbols
        else trace
        for place, trace in enumerate(figure["data"])
    ]
    entry = {
        "type": "scatter",
        "mode": "markers",
        "name": f"hollow: {_mark_of(name).words}",
        "x": [None],
        "y": [None],
        "hoverinfo": "skip",
        "marker": {"color": FAINT, "size": 6, "symbol": "circle-open"},
    }
    return figure | {"data": [*traces, entry]}


def find_marked(facts: Facts, name: str, ids: IntArray) -> BoolArray:
    """Mask of values with words beside them; see `properties.words_beside`.

    Args:
        facts: of the run.
        name: of the property.
        ids: numbers of candidates, shape (n,).

    Returns:
        Shape (n,).
    """
    mark = describe_property(name).mark
    if mark is None or mark.flag not in facts.columns:
        return np.zeros(len(ids), dtype=bool)
    known = range(len(facts))  # a live run may have more candidates by now
    return np.array([int(id) in known and bool(facts.mark_words(name, int(id))) for id in ids], dtype=bool)


def _mark_of(name: str) -> Mark:
    mark = describe_property(name).mark
    assert mark is not None  # some of its values are marked
    return mark


def own_value_sentences(facts: Facts) -> list[str]:
    """Count ranked values of `facts` that are the candidates' own, by mark.

    The sentences are about the complete candidates and, with several objectives, the front. There is none where all
    values are the candidates' own.
    """
    counts: dict[tuple[Mark, tuple[int, ...]], list[str]] = defaultdict(list)
    groups = [facts.ranking, facts.front] if facts.ranked_by > 1 else [facts.ranking]
    for name in facts.run.campaign.problem.properties:
        known = [ids[~np.isnan(facts.columns[name][ids])] for ids in groups]
        own = [int((~find_marked(facts, name, ids)).sum()) for ids in known]
        if own[0] < len(known[0]):
            key = tuple(number for pair in zip(own, map(len, known), strict=True) for number in pair)
            counts[_mark_of(name), key].append(describe_property(name).label)
    return [_count_sentence(mark, labels, *key) for (mark, key), labels in counts.items()]


def _count_sentence(
    mark: Mark, labels: Sequence[str], own: int, total: int, own_of_front: int = 0, front: int = 0
) -> str:
    best = f" ({own_of_front} of {front} on the front)" if front else ""
    verb = mark.rest[own != 1]
    return f"{', '.join(labels)}: {own:,} of {total:,} values {verb}{best}; the others are {mark.others}."
