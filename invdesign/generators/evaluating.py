"""Figures of a generator, or of anyone's crystals: how valid, new and lifelike they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invdesign.errors import InvdesignError
from invdesign.generators.metrics.distinct import KnownCrystals, group_by_formula, match_at_k
from invdesign.generators.metrics.evaluate import COVERAGE_SAMPLES, evaluate_structures, list_rows
from invdesign.generators.prototypes.generator import PrototypeGenerator
from invdesign.generators.training_set import describe_left_out, read_training_set
from invdesign.protocols import Condition, Generator
from invdesign.rng import rng_for
from invdesign.structures.conditions import make_condition
from invdesign.structures.guard_rails import draw_gated
from invdesign.wording import align_columns

if TYPE_CHECKING:
    from pymatgen.core import Structure

TRIES = 20  # proposals for one formula, as published figures have
Row = dict[str, Any]


def evaluate_source(
    source: Generator | Path,
    *,
    learned: Sequence[Path] = (),
    held_back: Sequence[Path] = (),
    n: int = 1_000,
    formulas: int = 0,
    coverage: bool = False,
    seed: int = 0,
    report: Callable[[str], None] = lambda _: None,
) -> list[Row]:
    """Measure the crystals of a generator or of files.

    Raw and gated samples of a generator are measured apart.

    Args:
        source: a generator, or a table, folder or database of crystals.
        learned: crystals the generator learnt from; without them those of the shipped library.
        held_back: crystals it did not learn from.
        n: samples of a generator.
        formulas: of the crystals held back, for which a generator is asked; drawn by the seed.
        coverage: whether coverage is measured.
        seed: of samples and formulas.
        report: takes sentences on the progress.

    Returns:
        Rows: `samples` (raw, gated or given), `metric`, `value`, `low`, `high`, `unit`, `n`.

    Raises:
        InvdesignError: a source cannot be read, or a generator makes nothing.
    """
    known = KnownCrystals(_read_known(learned, report))
    kept = KnownCrystals(_read_structures(held_back, report)) if held_back else ()
    rows: list[Row] = []
    for name, structures in _collect_samples(source, n, seed, report).items():
        report(f"measuring {len(structures)} {name} samples")
        found = evaluate_structures(
            structures, known, kept, coverage_samples=COVERAGE_SAMPLES if coverage else 0
        )
        rows += [
            {"samples": name, "metric": row.metric, "value": row.value, "low": row.low, "high": row.high}
            | {"unit": row.unit, "n": row.n}
            for row in list_rows(found)
        ]
    if formulas and not isinstance(source, Path):
        if not isinstance(kept, KnownCrystals):
            raise InvdesignError("formulas to ask for are those of crystals held back: name some")
        rows += measure_formulas(source, kept.structures, formulas, seed, report)
    return rows


def _read_known(paths: Sequence[Path], report: Callable[[str], None]) -> list[Structure]:
    """Read the crystals learnt from; without paths those of the shipped library."""
    if paths:
        return _read_structures(paths, report)
    generator = PrototypeGenerator()
    return generator.build_known()


def _read_structures(paths: Sequence[Path], report: Callable[[str], None]) -> list[Structure]:
    training = read_training_set(paths)
    left_out = describe_left_out(training)
    if left_out:
        report(left_out)
    return [crystal.structure for crystal in training.crystals]


def _collect_samples(
    source: Generator | Path, n: int, seed: int, report: Callable[[str], None]
) -> Mapping[str, Sequence[Structure]]:
    """Collect samples by name: raw and gated ones of a generator, given ones of files."""
    if isinstance(source, Path):
        return {"given": _read_structures([source], report)}
    source.prepare()
    condition = Condition()
    raw = source.sample(rng_for(seed, 0, "raw samples"), n, condition)
    gated = draw_gated(source, rng_for(seed, 0, "gated samples"), n, condition)
    for name, samples in (("raw", raw), ("gated", gated)):
        if not samples:
            raise InvdesignError(f"the generator made no {name} samples: {samples.reason}")
        if samples.reason:
            report(f"{name}: {samples.reason}")
    return {"raw": raw.structures, "gated": gated.structures}


def measure_formulas(
    generator: Generator,
    crystals: Sequence[Structure],
    most: int,
    seed: int,
    report: Callable[[str], None] = lambda _: None,
) -> list[Row]:
    """Measure how often proposals for a formula match a known crystal of it, unrelaxed.

    Args:
        generator: prepared.
        crystals: known ones, which the generator did not learn from; any polymorph of a formula counts.
        most: number of formulas, drawn by the seed.
        seed: of formulas and proposals.
        report: takes sentences on the progress.
    """
    targets = group_by_formula(crystals)
    names = sorted(targets)
    order = rng_for(seed, 0, "formulas").permutation(len(names))[:most]
    chosen = [names[place] for place in order.tolist()]
    proposals: list[Sequence[Structure]] = []
    seconds = 0.0
    for formula in chosen:
        condition = make_condition(formula=formula)
        began = time.process_time()
        found = draw_gated(generator, rng_for(seed, 0, f"formula {formula}"), TRIES, condition)
        seconds += time.process_time() - began
        proposals.append(found.structures)
    report(f"matching proposals for {len(chosen)} formulas")
    rates = match_at_k(proposals, [targets[formula] for formula in chosen])
    rows = [_describe_figure(f"match_at_{k}", figure) for k, figure in rates.rates.items()]
    answered = sum(bool(len(found)) for found in proposals)
    rows.append(_make_row("delivered_percent", 100.0 * answered / len(chosen), unit="%", n=len(chosen)))
    rows.append(_make_row("ms_per_formula", 1000.0 * seconds / len(chosen), unit="ms", n=len(chosen)))
    return rows


def _describe_figure(metric: str, figure: Any) -> Row:
    row = _make_row(metric, figure.value, unit="%", n=figure.n)
    return row | {"low": figure.low, "high": figure.high}


def _make_row(metric: str, value: float, *, unit: str, n: int) -> Row:
    return {
        "samples": "formulas",
        "metric": metric,
        "value": value,
        "low": value,
        "high": value,
        "unit": unit,
        "n": n,
    }


def format_rows(rows: Sequence[Row]) -> list[str]:
    """Format rows as an aligned table."""
    header = ("samples", "metric", "value", "95 % interval", "unit", "n")
    cells = [
        (
            row["samples"],
            row["metric"],
            f"{row['value']:.4g}",
            f"{row['low']:.4g} to {row['high']:.4g}" if row["low"] != row["high"] else "",
            row["unit"],
            str(row["n"]),
        )
        for row in rows
    ]
    return align_columns([header, *cells])
