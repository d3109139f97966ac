"""Numbers, units and formulas as people read them."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape

from invdesign.errorbars import value_text
from invdesign.report.text import (
    axis_label,
    format_interval,
    format_measured,
    format_number,
    formula_html,
    pretty_unit,
    shorten_setting,
)
from invdesign.wording import format_duration, format_log_density


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0192, "−0.0192"),
        (1234.56, "1235"),
        (1.5e-7, "1.5 × 10⁻⁷"),
        (math.inf, "∞"),
        (math.nan, ""),
    ],
)
def test_a_number_has_four_digits_and_a_true_minus(value: float, text: str) -> None:
    """Powers of ten are written out, unknown values are empty."""
    assert format_number(value) == text


@given(st.floats(min_value=-1e12, max_value=1e12))
def test_a_number_says_its_value(value: float) -> None:
    """Read back, it is the value to four digits."""
    text = format_number(value).replace("−", "-")
    mantissa, _, power = text.partition(" × 10")
    exponent = power.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
    assert float(f"{mantissa}e{exponent or 0}") == pytest.approx(value, rel=1e-3, abs=1e-300)


def test_digits_follow_the_errors_and_tell_neighbours_apart() -> None:
    """A method's error leaves one digit more than noise does; energies per atom show tenths of a meV, voltages no more than mV."""
    shown = [format_measured(value, systematic=0.05) for value in (0.0006698, 0.0009392, -0.02034)]
    assert shown == ["0.0007 ± 0.05 (method)", "0.0009 ± 0.05 (method)", "−0.0203 ± 0.05 (method)"]
    assert format_measured(0.7754, systematic=0.25) == "0.775 ± 0.25 (method)"
    assert [format_measured(value, unit="eV/atom") for value in (-6.53712, -6.53691)] == [
        "−6.5371",
        "−6.5369",
    ]
    assert format_measured(-0.0189, 0.05, 0.1) == "−0.019 ± 0.050 ± 0.1 (method)"
    assert value_text(-6.53712, unit="eV/atom") == "-6.5371"
    assert value_text(0.00026, 2e-5) == "0.000260 ± 0.000020"
    assert value_text(1200.0, 150.0) == "1200 ± 150"
    assert value_text(2423.4, 1.1, 203.0) == "2423 ± 1.1 ± 200 (method)"
    assert value_text(4.0589, 0.0018, 0.33, "V") == "4.059 ± 0.0018 ± 0.33 (method)"
    assert format_measured(2.20641, systematic=0.075, unit="V") == "2.206 ± 0.075 (method)"


def test_a_log_density_without_meaning_has_no_digits() -> None:
    """Where all values but one are equal, a density at that one is next to nothing."""
    assert [format_log_density(value) for value in (-1.694, 6.25e21)] == ["-1.69", "> 100"]


def test_counterparts_are_written_as_formulas() -> None:
    assert shorten_setting([{"formula": "LiCoO2"}, {"formula": "Li0.5CoO2"}]) == "LiCoO2, Li0.5CoO2"


def test_no_zero_has_a_minus() -> None:
    """A small negative number that its digits round to zero is written as zero."""
    assert format_measured(-1e-7, systematic=0.05) == "0.0000 ± 0.05 (method)"
    assert value_text(-1e-7, 0.05) == "0.000 ± 0.050"
    assert format_number(-0.0) == "0"
    assert format_interval(-0.001, -0.2, 0.2) == ("0.00", "−0.20 to 0.20")


@pytest.mark.parametrize(
    ("value", "sigma", "text"),
    [
        (-0.0189, 0.05, "−0.019 ± 0.050"),
        (3.14159, 0.5, "3.14 ± 0.50"),
        (2.0, 0.0, "2"),
        (2.0, math.nan, "2"),
        (1200.0, 150.0, "1200 ± 150"),
        (1e9, 1.0, "1 × 10⁹ ± 1"),
        (math.nan, 0.1, ""),
    ],
)
def test_value_and_uncertainty_end_at_the_same_decimal(value: float, sigma: float, text: str) -> None:
    """Two significant digits of the uncertainty decide; without one, four digits of the value."""
    assert format_measured(value, sigma) == text


@given(st.text())
def test_a_formula_adds_subscripts_and_nothing_else(text: str) -> None:
    """Without them it is the text, escaped."""
    assert re.sub(r"</?sub>", "", str(formula_html(text))) == "".join(str(escape(part)) for part in text)


def test_formulas_and_units_are_set_as_in_print() -> None:
    """Counts become subscripts, powers superscripts."""
    assert formula_html("Li10Ge(PS6)2") == "Li<sub>10</sub>Ge(PS<sub>6</sub>)<sub>2</sub>"
    assert pretty_unit("Å^3/atom") == "Å³/atom"
    assert axis_label("energy_above_hull", "eV/atom") == "Energy above hull (eV/atom)"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0012, "1.2 ms"), (4.0, "4 s"), (61, "1 min 1 s"), (7260, "2 h 1 min"), (math.nan, "")],
)
def test_durations_of_the_report(seconds: float, text: str) -> None:
    """The unit follows the length."""
    assert format_duration(seconds, fine=True) == text


def test_settings_fit_a_line() -> None:
    """Lists by commas, mappings by semicolons, plug-ins and named things by name, and no more than asked for."""
    assert shorten_setting({"A": ["Li"], "B": ["H", "F"]}) == "A: Li; B: H, F"
    assert shorten_setting({"kind": "chgnet", "model": "r2scan"}) == "chgnet (model: r2scan)"
    assert shorten_setting([{"kind": "chgnet"}]) == '[{"kind": "chgnet"}]'
    assert shorten_setting({"name": "lithium-chalcohalides", "hash": "00ff"}) == "lithium-chalcohalides"
    assert (
        shorten_setting({"X": {"components": {"Cl": {}, "Br": {}}}, "B": {"species": ["O"]}})
        == "X: Cl, Br; B: O"
    )
    assert (
        shorten_setting({"V": {"species": ["Mg"], "mixed": False}, "rattle": 0.05})
        == "V (species: Mg; mixed: false); rattle: 0.05 Å"
    )
    assert shorten_setting("oxidation states, given by hand", 12) == "oxidation…"
    assert shorten_setting("x" * 500).endswith("…")
    assert len(shorten_setting("x" * 500)) == 120
