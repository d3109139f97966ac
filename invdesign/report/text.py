"""Numbers, units and formulas in a readable form."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping

from markupsafe import Markup, escape

from invdesign.artifacts import label_artifact
from invdesign.candidate import Json
from invdesign.errorbars import count_decimals, known_error, method_text, noise_text
from invdesign.problem import Objective
from invdesign.properties import describe_property

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_COUNT = re.compile(r"(?<=[A-Za-z)\]])(\d+(?:\.\d+)?)")
_POWER = re.compile(r"\^(-?\d+)")


def format_number(value: float) -> str:
    """Format `value` with four significant digits; empty for NaN.

    It has a true minus, and a power of ten if needed.
    """
    if math.isnan(value):
        return ""
    mantissa, _, exponent = f"{value:z.4g}".partition("e")
    text = mantissa.replace("-", "−").replace("inf", "∞")
    return f"{text} × 10{str(int(exponent)).translate(_SUPERSCRIPT)}" if exponent else text


AS_MEASURED = "as measured"  # in place of an interval, for measured values without noise


def format_measured(
    value: float, noise: float = math.nan, systematic: float = math.nan, unit: str = ""
) -> str:
    """Format a value with its errors, to the digits these justify.

    The unit is not added. See `errorbars.count_decimals`.

    Args:
        value: the measured value; NaN gives an empty text.
        noise, systematic: standard deviations in the same unit, NaN where unknown.
        unit: of the value.
    """
    if math.isnan(value):
        return format_number(value)
    error, decimals = known_error(noise), count_decimals(value, noise, systematic, unit)
    own = format_number(value) if decimals is None else f"{value:z.{decimals}f}"
    if decimals is None and not math.isnan(error):
        own += f" ± {format_number(float(f'{error:.2g}'))}"
    elif not math.isnan(error):
        own += noise_text(error, decimals)
    return (own + method_text(systematic)).replace("-", "−")


def format_interval(mean: float, low: float, high: float) -> tuple[str, str]:
    """Format a `mean` and its interval (`low`, `high`) as `low to high`.

    The decimals give the interval's width two digits.
    """
    width = high - low
    if not (math.isfinite(width) and width > 0):
        return format_number(mean), f"{format_number(low)} to {format_number(high)}"
    decimals = 1 - math.floor(math.log10(width))
    if not 0 <= decimals <= 6 or max(abs(low), abs(high)) >= 1e6:
        return format_number(mean), f"{format_number(low)} to {format_number(high)}"
    texts = [f"{value:z.{decimals}f}".replace("-", "−") for value in (mean, low, high)]
    return texts[0], f"{texts[1]} to {texts[2]}"


def with_unit(text: str, unit: str) -> str:
    """Append `unit` to `text`; both may be empty."""
    return f"{text} {unit}" if unit and text else text


def pretty_unit(unit: str) -> str:
    """Format a `unit` such as `Å^3/atom` as Å³/atom."""
    return _POWER.sub(lambda match: match[1].translate(_SUPERSCRIPT), unit)


def axis_label(name: str, unit: str, role: str = "") -> str:
    """Label of a property with unit and structure: `Bottleneck radius (Å, relaxed)`.

    Args:
        name: of the property.
        unit: as its evaluator gives it; may be empty.
        role: of the structure it was measured on; empty if there is none.
    """
    label = describe_property(name, unit).label
    beside = ", ".join(filter(None, [pretty_unit(unit), role]))
    return f"{label} ({beside})" if beside else label


def goal_text(item: Objective, unit: str = "") -> str:
    """Goal of an objective `item`: `to 3.5 V` of a target, `at 3 to 4.2 V` of a window.

    It is empty for a plain direction; `unit` may be empty.
    """
    word = {"target": "to", "window": "at"}.get(item.direction)
    return with_unit(f"{word} {item.goal_text()}".replace("-", "−"), pretty_unit(unit)) if word else ""


def distance_text(item: Objective, minimised: float) -> str:
    """Format a `minimised` value of `item` in the property's own sign.

    Of a target or window it is the distance.
    """
    if item.direction in {"target", "window"}:
        inside = "on target" if item.direction == "target" else "inside"
        return f"{format_number(minimised)} off" if minimised > 0 else inside
    return format_number(-minimised if item.direction == "maximize" else minimised)


def formula_html(formula: str) -> Markup:
    """Convert a `formula` to HTML with subscripts; the rest is escaped."""
    parts = _COUNT.split(formula)
    return Markup("").join(
        Markup("<sub>{}</sub>").format(part) if number % 2 else escape(part)
        for number, part in enumerate(parts)
    )


SETTING_UNITS = {"rattle": "Å", "fmax": "eV/Å", "smax": "GPa"}
"""Units of settings by name, the same in every plug-in that has them."""


def shorten_setting(value: Json, limit: int = 120) -> str:
    """Write a setting in one line, cut before a word.

    Strings are bare and lists go by commas; a plug-in is its kind and settings; anything with a name (a reference
    set, an input file) is its name alone, and a file with a path and a hash its path. Species without settings of their own are a list.

    Args:
        value: of the setting, as JSON.
        limit: number of characters.
    """
    text = " ".join(_write_setting(value).split())
    if len(text) <= limit:
        return text
    cut = text[: limit - 1]
    whole = cut if text[limit - 1] == " " else cut.rpartition(" ")[0]
    return f"{(whole or cut).rstrip(' ,;:')}…"


def _write_setting(value: Json) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        return ", ".join(map(_write_setting, value))
    if isinstance(value, list):
        formulas = [
            item["formula"] for item in value if isinstance(item, Mapping) and list(item) == ["formula"]
        ]
        if len(formulas) == len(value):
            return ", ".join(map(_write_setting, formulas))
    if not isinstance(value, Mapping):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value.get("name"), str):
        return label_artifact(value) or str(value["name"])
    if isinstance(value.get("path"), str) and "hash" in value:
        return str(value["path"])
    if isinstance(value.get("kind"), str):
        rest = _write_setting({key: item for key, item in value.items() if key != "kind"})
        return f"{value['kind']} ({rest})" if rest else str(value["kind"])
    if value and all(item in ({}, "", None) for item in value.values()):
        return ", ".join(value)
    return "; ".join(_write_pair(key, item) for key, item in value.items())


def _write_pair(key: str, value: Json) -> str:
    """Write a setting with its key.

    Examples: `A: Li, Na`, `rattle: 0.05 Å`, and of several settings `V (species: Mg, Ca; mixed: false)`.
    """
    if isinstance(value, Mapping) and len(value) == 1 and next(iter(value)) in {"species", "components"}:
        value = next(iter(value.values()))
    text = _write_setting(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        text = with_unit(text, SETTING_UNITS.get(key, ""))
    nested = isinstance(value, Mapping) and ": " in text
    return f"{key} ({text})" if nested else f"{key}: {text}"
