"""Shipped property models on materials that they know, extrapolate to, or refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from surrogates.regression.inputs import read_inputs
from surrogates.regression.predicting import Prediction, Predictor, load_predictor


@pytest.fixture(scope="module")
def voltage() -> Predictor:
    """The model of voltages."""
    return load_predictor("voltage")


def predict(predictor: Predictor, folder: Path, charged: str, discharged: str) -> Prediction:
    """Prediction for one electrode."""
    table = folder / "in.csv"
    table.write_text(f"formula_charge,formula_discharge\n{charged},{discharged}\n", encoding="utf-8")
    (row,) = read_inputs(table, needs=predictor.needs, ion=predictor.inputs.ion)
    assert row.material is not None
    (found,) = predictor.predict_each([row.material])
    assert isinstance(found, Prediction)
    return found


@pytest.mark.parametrize(
    ("charged", "discharged"),
    [("FePO4", "LiFePO4"), ("Ni0.8Mn0.1Co0.1O2", "LiNi0.8Mn0.1Co0.1O2"), ("Li2FeSiO4", "Li3FeSiO4")],
)
def test_insertion_electrodes_are_within_the_domain(
    voltage: Predictor, tmp_path: Path, charged: str, discharged: str
) -> None:
    """Phosphates, layered oxides and silicates, partly occupied or not, have no flag."""
    found = predict(voltage, tmp_path, charged, discharged)
    assert not found.reason
    assert found.lower < found.mean < found.upper


def test_olivines_come_in_the_order_of_their_metals(voltage: Predictor, tmp_path: Path) -> None:
    """Iron below manganese below cobalt below nickel."""
    found = [
        predict(voltage, tmp_path, f"{metal}PO4", f"Li{metal}PO4").mean for metal in ("Fe", "Mn", "Co", "Ni")
    ]
    assert found == sorted(found)


@pytest.mark.parametrize(
    ("charged", "discharged"),
    [("C6", "LiC6"), ("Si", "LiSi"), ("Si4", "Li15Si4"), ("Al", "LiAl"), ("Sn5", "Li22Sn5"), ("Sb", "LiSb")],
)
def test_alloys_and_graphite_are_flagged(
    voltage: Predictor, tmp_path: Path, charged: str, discharged: str
) -> None:
    """They hold no anion, and no such electrode is in the data; the interval is wider than that of a known kind."""
    found = predict(voltage, tmp_path, charged, discharged)
    known = predict(voltage, tmp_path, "FePO4", "LiFePO4")
    assert found.reason
    assert found.upper - found.lower > 2 * (known.upper - known.lower)


@pytest.mark.parametrize("element", ["Pu", "Au", "N", "Nd"])
def test_elements_without_data_are_flagged(voltage: Predictor, tmp_path: Path, element: str) -> None:
    """The reason names the element."""
    assert (
        f"no training row holds {element}"
        in predict(voltage, tmp_path, f"Fe{element}O4", f"LiFe{element}O4").reason
    )


def test_another_ion_is_refused(voltage: Predictor, tmp_path: Path) -> None:
    """The message names lithium."""
    table = tmp_path / "in.csv"
    table.write_text("formula_charge,formula_discharge\nFePO4,NaFePO4\n", encoding="utf-8")
    (row,) = read_inputs(table, needs=voltage.needs, ion=voltage.inputs.ion)
    assert row.material is None
    assert "holds no Li, which is the working ion" in str(row.faults[0])
