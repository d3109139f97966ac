"""Shipped property models on materials that they know, extrapolate to, or refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from surrogates.regression.inputs import read_inputs
from surrogates.regression.material import Cell, Material
from surrogates.regression.predicting import Prediction, Predictor, find_twin, load_predictor
from surrogates.regression.rows import ReadRow


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


FORMULAS = ["Li10GeP2S12", "Li6PS5Cl", "Li7La3Zr2O12", "Li3PO4"]  # by conductivity, highest first


def read_formulas(folder: Path, formulas: list[str], predictor: Predictor) -> list[ReadRow]:
    """Rows of a table of formulas."""
    table = folder / "in.csv"
    table.write_text("\n".join(["formula", *formulas]) + "\n", encoding="utf-8")
    return read_inputs(table, needs=predictor.needs)


def predict_formulas(folder: Path, formulas: list[str], name: str) -> list[Prediction]:
    """Predictions of a model of compositions."""
    predictor = load_predictor(name)
    rows = read_formulas(folder, formulas, predictor)
    found = predictor.predict_each([row.material for row in rows if row.material is not None])
    return [item for item in found if isinstance(item, Prediction)]


def test_known_conductors_come_in_their_order(tmp_path: Path) -> None:
    """They are within the domain, and probabilities follow the values."""
    found = predict_formulas(tmp_path, FORMULAS, "conductivity_composition")
    means = [item.mean for item in found]
    assert means == sorted(means, reverse=True)
    assert not any(item.reason for item in found)
    assert found[0].probability is not None
    assert found[-1].probability is not None
    assert found[0].probability > 0.9
    assert found[-1].probability < 0.1


@pytest.mark.parametrize("name", ["conductivity_composition", "conductivity_linear"])
@pytest.mark.parametrize("formula", ["Li3YCl6", "Li2ZrCl6", "Li3InCl6", "Li3YBr6", "LiI", "Li3N", "LiBH4"])
def test_conductors_of_rare_anions_are_extrapolations(tmp_path: Path, name: str, formula: str) -> None:
    """The data hold few halides, nitrides and hydrides: every such value is flagged, with a wide interval."""
    (found,) = predict_formulas(tmp_path, [formula], name)
    assert "of the 10 that are needed" in found.reason
    assert found.upper - found.lower > 5


def test_the_full_model_needs_a_cell(tmp_path: Path) -> None:
    """A formula alone is refused with the remedy; the cell suffices, without positions."""
    predictor = load_predictor("conductivity")
    (row,) = read_formulas(tmp_path, ["Li7La3Zr2O12"], predictor)
    assert row.material is None
    assert "features of compositions alone" in str(row.faults[0])
    amounts = {"Li": 7.0, "La": 3.0, "Zr": 2.0, "O": 12.0}
    right = (90.0, 90.0, 90.0)
    cells = [Cell(142, (13.13, 13.13, 12.67), right, 192), Cell(230, (12.97, 12.97, 12.97), right, 192)]
    tetragonal, cubic = predictor.predict_each([Material("garnet", amounts, cell) for cell in cells])
    assert isinstance(tetragonal, Prediction)
    assert isinstance(cubic, Prediction)
    assert cubic.mean > tetragonal.mean + 0.5


def test_a_model_of_formulas_is_found_for_one_of_cells() -> None:
    """The name of the twin is offered where cells are missing."""
    assert find_twin("conductivity") == "conductivity_composition"
    assert not find_twin("voltage")
