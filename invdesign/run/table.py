"""Every trial of a run as a row of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from invdesign.candidate import Status
from invdesign.history import RunHistory
from invdesign.properties import describe_property, sentence_beside
from invdesign.run.status import WITHDRAWN
from invdesign.store.schema import candidates, parse_failure
from invdesign.store.store import Store
from invdesign.structures.formulas import order_formula

if TYPE_CHECKING:
    from pandas import DataFrame

DESIRABILITY = "desirability"


def trials_table(store: Store, history: RunHistory, desirability: NDArray[np.float64] | None) -> DataFrame:
    """Table of all trials.

    Number, formula, status, properties with their errors and details, lineage, genome and cause of each.

    `outside` says which were made outside the space, where any were; `passed` is the last stage it has passed; `NAME_at_STAGE` what a stage before the one that decides a property said.

    Args:
        history: of the run.
        store: of the run.
        desirability: shape (n,), a column of its own where there is one; a property of that name goes first.
    """
    import pandas as pd

    names = ("id", "formula", "operator", "parents", "genome", "gate", "failure")
    rows = [row for row in store.read_rows(candidates, names) if row.id < len(history)]
    sigmas = {f"{name}_noise": history.noise(name) for name in history.property_names()}
    sigmas |= {f"{name}_systematic": history.systematic(name) for name in history.property_names()}
    earlier = history.preliminary_columns()
    columns: dict[str, Any] = {
        "candidate": [row.id for row in rows],
        "formula": [order_formula(row.formula or "") for row in rows],
        "status": [Status(code).name.lower() for code in history.status_by_trial().tolist()],
        "passed": history.last_stages(),
        **{name: history.column(name) for name in history.property_names()},
        **{name: column for name, column in sigmas.items() if not np.isnan(column).all()},
        **_detail_columns(history),
        **{f"{name}_at_{stage}": column for (name, stage), column in earlier.items()},
        "operator": [row.operator for row in rows],
        "parents": [row.parents for row in rows],
        "genome": [row.genome for row in rows],
        "cause": [_describe_cause(row) for row in rows],
    }
    if len(history.outside()):
        columns["outside"] = np.isin(np.arange(len(rows)), history.outside())
    if desirability is not None:
        columns.setdefault(DESIRABILITY, desirability)
    return pd.DataFrame(columns)


def _detail_columns(history: RunHistory) -> dict[str, list[str]]:
    """Columns of details, for properties that have any."""
    found, columns = (
        history.details_by_trial(),
        {name: history.column(name) for name in history.property_names()},
    )

    def sentence(name: str, id: int) -> str:
        def value_of(other: str) -> float | None:
            return float(columns[other][id]) if other in columns else None

        return sentence_beside(name, value_of, found.get(id, {}).get(name, ""))

    named = {name for told in found.values() for name in told}
    named |= {name for name in columns if (mark := describe_property(name).mark) and mark.flag in columns}
    return {
        f"{name}_detail": [sentence(name, id) for id in range(len(history))]
        for name in columns
        if name in named
    }


def _describe_cause(row: Any) -> str:
    """Reason why a candidate has no result."""
    failure = parse_failure(row.failure)
    if failure is not None and failure.kind == WITHDRAWN:
        return f"{WITHDRAWN}: {failure.message}"
    return row.gate or (f"{failure.stage}: {failure.kind}: {failure.message}" if failure else "")
