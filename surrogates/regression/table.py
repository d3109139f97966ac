"""Reader of data files for property models: targets with units and limits, materials, groups; all mistakes at once."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from invdesign.tables.cells import is_missing_number
from invdesign.wording import count_noun, join_words, list_first
from surrogates.regression.crystals import CrystalFiles
from surrogates.regression.features.contract import Need
from surrogates.regression.material import Dataset, Material, Source
from surrogates.regression.rows import (
    Columns,
    ReadRow,
    RowReader,
    check_cell_units,
    check_doubled,
    choose_crystals,
    find_columns,
)
from surrogates.regression.sheet import Mistakes, Sheet, read_sheet
from surrogates.regression.splits import join_groups, measure_groups
from surrogates.regression.targets import TargetColumn, find_scale, read_values

LISTED = 10  # rows or materials in a remark; chosen
SAME_PLACES = 9  # decimal places of fractions up to which two compositions are one; chosen
COMPUTED_GROUPS = ("formula", "host", "chemical_system", "host_system")
"""Groups that are made from compositions; `host` is a formula without its working ion."""


def read_dataset(
    path: str | Path,
    *,
    target: TargetColumn,
    columns: Columns | None = None,
    crystals: str | Path | None = None,
    groups: Sequence[str] = ("formula",),
    family: str | None = None,
    needs: Collection[Need] = (),
    ion: str = "Li",
    ordered: bool = False,
    folds: int | None = None,
    scatter: float | None = None,
    strict: bool = False,
    drop_incomplete: bool = False,
    licence: str = "",
    citation: str = "",
) -> Dataset:
    """Read a data set from a table.

    Cells such as `<1e-10` are limits: the true value is below. A cell such as `~1e-4` is refused. Rows without a value are
    left out.

    Args:
        path: CSV, TSV, JSON, JSON lines or Parquet; text also gzipped.
        target: column to learn.
        columns: columns that describe the materials, where they do not have usual names.
        crystals: folder or archive of structure files with the names of the rows' identifiers, or a column of structures.
        groups: columns; rows that share a value of any of them are one group. `COMPUTED_GROUPS` are made from compositions.
        family: column with structure families or other kinds.
        needs: parts that every material must have.
        ion: working ion of electrodes.
        ordered: refuse partly occupied sites.
        folds: number of folds that the groups must fill; None if any number will do.
        scatter: difference of two values of one material, in the unit that is learnt, from which they are listed.
        strict: refuse such values.
        drop_incomplete: leave out rows that lack a part of `needs`, instead of refusing the file.
        licence, citation: of the data.

    Raises:
        InvdesignError: the file cannot be read, or holds mistakes; all of them are named.
    """
    sheet = read_sheet(Path(path))
    mistakes = Mistakes(sheet)
    check_doubled(mistakes)
    files, wanted = choose_crystals(crystals, sheet, columns or Columns())
    found = find_columns(sheet, wanted, mistakes)
    check_cell_units(found, mistakes)
    described = found.formula is not None or found.crystal is not None or files is not None
    if not described and not wanted.formula:
        has = list_first(sheet.headings, 20)
        mistakes.add(
            "formula",
            None,
            f"there is no column with formulas, and there are no crystals; it has {has}.",
            "Name the column 'formula', or say which it is with --formula",
        )
    heading = mistakes.find_column(target.column, "target")
    scale = find_scale(target, heading, mistakes) if heading is not None else None
    labels = _find_labels(groups, family, mistakes)
    values = read_values(sheet, heading, scale, mistakes) if heading is not None and scale else None
    reader = RowReader(sheet, found, files, needs, ion, ordered)
    numbers = range(len(sheet)) if values is None else np.flatnonzero(values.present).tolist()
    rows = {number: reader.read(number) for number in numbers} if described else {}
    kept, remarks = _select_rows(rows, mistakes, drop_incomplete=drop_incomplete)
    kept = [number for number in kept if values is None or not math.isnan(values.y[number])]
    if values is None or scale is None or heading is None or not kept:
        if not mistakes.found:
            mistakes.add(
                "rows", None, f"none of {count_noun(len(sheet), 'row')} has both a value and a material"
            )
        mistakes.raise_any()
    assert values is not None
    assert scale is not None
    assert heading is not None
    materials = tuple(_material(rows[number]) for number in kept)
    texts = {
        name: group_by_composition(materials, name, ion)
        if name in COMPUTED_GROUPS
        else [_read_text(sheet, labels.get(name), number) for number in kept]
        for name in groups
    }
    data = Dataset(
        source=Source(sheet.name, sheet.sha256, licence, citation),
        target=scale.target,
        materials=materials,
        y=values.y[kept],
        censoring=values.censoring[kept],
        groups=join_groups(texts) if texts else np.arange(len(kept), dtype=np.int64),
        group_columns=tuple(groups),
        families=tuple(_read_text(sheet, labels.get(family), number) for number in kept) if family else (),
        rows=tuple(sheet.rows[number] for number in kept),
    )
    remarks = [*sheet.remarks, *scale.remarks, *_describe_columns(found, files), *remarks]
    missing = len(sheet) - len(rows)
    if missing:
        remarks.append(f"{count_noun(missing, 'row')} without a value of {heading} left out")
    remarks += _check_set(data, heading, mistakes, folds)
    remarks += _check_duplicates(data, mistakes, scatter, heading, strict=strict)
    mistakes.raise_any()
    return replace(data, remarks=tuple(dict.fromkeys(remarks)))


def _find_labels(groups: Sequence[str], family: str | None, mistakes: Mistakes) -> dict[str, str]:
    """Find the headings of the columns of groups and of the families, by the names that the user gives."""
    wanted = {name: "groups" for name in groups if name not in COMPUTED_GROUPS}
    if family is not None:
        wanted.setdefault(family, "family")
    found = {name: mistakes.find_column(name, what) for name, what in wanted.items()}
    return {name: heading for name, heading in found.items() if heading is not None}


def _material(row: ReadRow) -> Material:
    assert row.material is not None
    return row.material


def _read_text(sheet: Sheet, heading: str | None, number: int) -> str:
    """Text of a cell, without blanks around it; empty for a missing one."""
    if heading is None:
        return ""
    cell = sheet.columns[heading][number]
    return "" if is_missing_number(cell) else str(cell).strip()


def _describe_columns(columns: Columns, files: CrystalFiles | None) -> list[str]:
    """Say which columns describe the materials."""
    parts = {
        "formulas": columns.formula,
        "charged electrodes": columns.charged,
        "space groups": columns.space_group if columns.cell else None,
        "formula units": columns.formula_units if columns.cell else None,
        "crystals": files.place if files is not None else columns.crystal,
        "names": columns.identifier,
    }
    said = [f"{part} from '{heading}'" for part, heading in parts.items() if heading]
    return ["; ".join([*said, *(["cells from " + ", ".join(columns.cell)] if columns.cell else [])])]


# The rows.


def _select_rows(
    rows: dict[int, ReadRow], mistakes: Mistakes, *, drop_incomplete: bool
) -> tuple[list[int], list[str]]:
    """Positions of the rows that are used, and remarks; faults of the others are mistakes unless they may be left out."""
    kept, dropped = [], []
    said: dict[str, list[int]] = {}
    for number, row in rows.items():
        if row.material is not None:
            kept.append(number)
            for remark in row.remarks:
                said.setdefault(remark, []).append(number)
        elif drop_incomplete:
            dropped.append(number)
            said.setdefault(f"left out: {row.faults[0]}", []).append(number)
        else:
            for fault in row.faults:
                mistakes.add(fault.column, number, fault.message, fault.hint)
    remarks = [f"{remark} ({_list_rows(mistakes.sheet, numbers)})" for remark, numbers in said.items()]
    if len(remarks) > LISTED:
        remarks = [*remarks[:LISTED], f"and {len(remarks) - LISTED} more remarks on rows"]
    if dropped:
        remarks.insert(
            0, f"{count_noun(len(dropped), 'row')} left out, since the features cannot be computed"
        )
    return kept, remarks


def _list_rows(sheet: Sheet, numbers: Sequence[int]) -> str:
    """Rows in words: `lines 3, 8 and 4 more`."""
    word = sheet.row_word + ("s" if len(numbers) > 1 else "")
    return f"{word} {list_first([sheet.rows[number] for number in numbers], LISTED)}"


def composition_text(amounts: Mapping[str, float]) -> str:
    """Text that is the same for all formulas of one composition."""
    total = sum(amounts.values())
    return " ".join(f"{symbol}{round(amounts[symbol] / total, SAME_PLACES):g}" for symbol in sorted(amounts))


def group_by_composition(materials: Sequence[Material], kind: str, ion: str) -> list[str]:
    """Values of a group that is made from compositions, one per material.

    Args:
        materials: n materials.
        kind: one of `COMPUTED_GROUPS`.
        ion: working ion, which a host is without.
    """
    found = []
    for material in materials:
        amounts = dict(material.composition)
        if kind.startswith("host") and len(amounts) > 1:
            amounts.pop(ion, None)
        found.append("-".join(sorted(amounts)) if kind.endswith("system") else composition_text(amounts))
    return found


# The set as a whole.


def _check_set(data: Dataset, heading: str, mistakes: Mistakes, folds: int | None) -> list[str]:
    """Check values and groups of the whole set; returns remarks."""
    remarks = []
    exact = data.y[data.censoring == 0]
    if not len(exact):
        mistakes.add(heading, None, f"all {len(data)} values are limits; a model needs measured ones")
    elif float(np.ptp(exact)) <= 1e-12 * max(1.0, float(np.abs(exact).max())):
        mistakes.add(
            heading,
            None,
            f"all {len(exact)} values are {join_words(f'{exact[0]:.6g}', data.target.unit)}: there is nothing to learn",
        )
    limits = int(np.count_nonzero(data.censoring))
    if limits:
        remarks.append(f"{count_noun(limits, 'value')} of {len(data)} are limits, such as <1e-10")
    if data.target.threshold is not None:
        _check_classes(data, heading, mistakes)
    count = len(np.unique(data.groups))
    if folds is not None and count < folds:
        mistakes.add(
            ", ".join(data.group_columns) or "groups",
            None,
            f"{count_noun(len(data), 'row')} make {count_noun(count, 'group')}, fewer than the {folds} folds.",
            "Name fewer columns of groups, or ask for fewer folds",
        )
    return [*remarks, *measure_groups(data.groups).remarks]


def _check_classes(data: Dataset, heading: str, mistakes: Mistakes) -> None:
    """Add a mistake if all values that are known to be on a side of the threshold are on the same one."""
    threshold = data.target.threshold or 0.0
    good = (data.y >= threshold) & (data.censoring >= 0)
    poor = (data.y < threshold) & (data.censoring <= 0) | (data.y <= threshold) & (data.censoring < 0)
    if good.any() and poor.any():
        return
    side = "at or above" if good.any() else "below"
    mistakes.add(
        heading,
        None,
        f"all values are {side} the threshold of {threshold:g} {data.target.unit}; they range from {data.y.min():.4g} to "
        f"{data.y.max():.4g}.",
        "Choose a threshold between them",
    )


def _check_duplicates(
    data: Dataset, mistakes: Mistakes, scatter: float | None, heading: str, *, strict: bool
) -> list[str]:
    """Compare the values of rows of one material; returns remarks.

    Rows of one composition, space group and charged electrode are one material.
    """
    same: dict[tuple[object, ...], list[int]] = {}
    for place, material in enumerate(data.materials):
        if data.censoring[place] == 0:
            same.setdefault(_identify(material), []).append(place)
    spreads = [(float(np.ptp(data.y[places])), places) for places in same.values() if len(places) > 1]
    if not spreads:
        return []
    variance = sum(float(np.var(data.y[places], ddof=1)) * (len(places) - 1) for _, places in spreads)
    pooled = math.sqrt(variance / sum(len(places) - 1 for _, places in spreads))
    unit = data.target.unit
    remarks = [
        f"{len(spreads)} materials have several values; their standard deviation is {pooled:.2g} {unit}".rstrip()
    ]
    if scatter is None:
        return remarks
    apart = sorted(
        ((spread, places) for spread, places in spreads if spread > scatter), key=lambda item: -item[0]
    )
    for spread, places in apart if strict else ():
        values = ", ".join(f"{data.y[place]:.4g}" for place in places)
        mistakes.add(
            heading,
            mistakes.sheet.rows.index(data.rows[places[0]]),
            f"{data.materials[places[0]].name}: {values} in {_join_rows(data, places)} differ by {spread:.3g} {unit}, the stated "
            f"scatter is {scatter:g}.",
            "Keep the value you trust, or state a larger scatter",
        )
    if apart and not strict:
        shown = list_first(
            [
                f"{data.materials[places[0]].name} in {_join_rows(data, places)} by {spread:.2g}"
                for spread, places in apart
            ],
            LISTED,
            "; ",
        )
        remarks.append(f"values of one material differ by more than {scatter:g} {unit}: {shown}")
    return remarks


def _join_rows(data: Dataset, places: Sequence[int]) -> str:
    return f"rows {list_first([data.rows[place] for place in places], LISTED)}"


def _identify(material: Material) -> tuple[object, ...]:
    """Key of a material: composition, space group and charged electrode."""
    group = material.cell.space_group if material.cell is not None else None
    charged = composition_text(material.charged) if material.charged is not None else ""
    return composition_text(material.composition), group, charged
