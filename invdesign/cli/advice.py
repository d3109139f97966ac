"""Recommendations as lines of text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from invdesign.cli.describe import explain_errors, property_caveats
from invdesign.errorbars import value_text
from invdesign.report.text import AS_MEASURED, format_interval
from invdesign.wording import align_columns, format_log_density

if TYPE_CHECKING:
    from invdesign.learning.calibration import Calibration
    from invdesign.learning.importance import Importance, Share
    from invdesign.recommendation.values import Estimate, Member, Recommendation

BAR_CHARACTERS = 30  # of a bar that stands for the whole variance (chosen)
MAX_VARIABLES = 8  # listed for each property (chosen)
MIN_EFFECT = 0.005  # share of the variance from which a variable is listed (chosen)


def format_recommendation(found: Recommendation) -> list[str]:
    """Format a recommendation: summary, front, calibration and importance.

    Args:
        found: the recommendation of a run.
    """
    lines = [*found.words]
    if found.front:
        lines += ["", _front_title(found), *_front_table(found.front)]
        if len(found.front) < found.front_size:
            lines.append(f"({len(found.front)} of {found.front_size})")
    if found.calibration:
        lines += [
            "",
            "Models, each candidate predicted from all others:",
            *_calibration_table(found.calibration),
        ]
        lines += [f"{item.property}: {item.words}" for item in found.calibration]
    for item in found.importance:
        lines += ["", *_importance_lines(item)]
    lines += [f"note: {text}" for text in found.notes]
    if found.front:
        lines += explain_errors(lines)
        lines += [
            f"note: {text}" for text in property_caveats([item.property for item in found.front[0].estimates])
        ]
    return lines[1:] if lines and not lines[0] else lines


def _front_title(found: Recommendation) -> str:
    asked = ", ".join(found.objectives)
    if found.best is None:
        return f"The front ({asked}); in brackets, where the models see each value with 95 %:"
    several = ", and those it cannot be told from" if len(found.front) > 1 else ""
    return f"The best ({asked}){several}; in brackets, where the models see the value with 95 %:"


def _front_table(members: Sequence[Member]) -> list[str]:
    first = members[0]
    head = ["candidate", "formula"]
    head += ["desirability"] if first.desirability is not None else []
    for item in first.estimates:
        unit = f" [{item.unit}]" if item.unit else ""
        head += [f"{item.property}{unit}", "by model"]
    rows = [
        [
            str(member.candidate),
            member.formula or "-",
            *([f"{member.desirability:.4g}"] if member.desirability is not None else []),
            *(cell for item in member.estimates for cell in _estimate_cells(item)),
        ]
        for member in members
    ]
    return align_columns([head, *rows])


def _estimate_cells(item: Estimate) -> tuple[str, str]:
    measured = "-"
    if item.measured is not None:
        measured = (
            f"{value_text(item.measured, item.noise, item.systematic, item.unit)} {item.words}".rstrip()
        )
    interval = item.interval()
    if interval is None:
        return measured, "-"
    if item.is_exact():
        return measured, AS_MEASURED
    mean, ends = format_interval(item.mean or 0.0, *interval)
    return measured, f"{mean} ({ends})"


def _calibration_table(found: Sequence[Calibration]) -> list[str]:
    head = [
        "property",
        "rows",
        "R²",
        "RMSE",
        "rank corr.",
        "in 68 %",
        "in 95 %",
        "-log density",
        "of the mean",
    ]
    rows = [
        [
            item.property,
            str(len(item.rows)),
            f"{item.r2:.2f}",
            f"{item.rmse:.3g} {item.unit}".rstrip(),
            "-" if item.rank_correlation is None else f"{item.rank_correlation:.2f}",
            f"{100 * item.inside_68:.0f} %",
            f"{100 * item.inside_95:.0f} %",
            format_log_density(item.log_density),
            format_log_density(item.mean_log_density),
        ]
        for item in found
    ]
    return align_columns([head, *rows])


def _importance_lines(item: Importance) -> list[str]:
    lines = [f"What matters to {item.property} (share of the variance lost with it):"]
    lines += _share_bars(item.variables)
    if len(item.groups) < len(item.variables):
        lines += ["by group:", *_share_bars(item.groups)]
    if item.contributions:
        lines += ["what each group adds (standard deviation; to the best):"]
        lines += align_columns(
            [
                [f"  {one.group}", f"{one.spread:.3g}", "" if one.of_best is None else f"{one.of_best:+.3g}"]
                for one in item.contributions
            ]
        )
    return lines


def _share_bars(shares: Sequence[Share]) -> list[str]:
    shown = [share for share in shares if share.effect >= MIN_EFFECT][:MAX_VARIABLES]
    if not shown:
        return ["  (nothing does)"]
    width = max(len(share.name) for share in shown)
    return [
        f"  {share.name:<{width}}  {'#' * max(round(BAR_CHARACTERS * min(share.effect, 1.0)), 1):<{BAR_CHARACTERS}} {100 * share.effect:3.0f} %"
        + _trend_word(share)
        for share in shown
    ]


def _trend_word(share: Share) -> str:
    if share.trend is None or abs(share.trend) < 0.3:
        return ""
    return "  rising" if share.trend > 0 else "  falling"
