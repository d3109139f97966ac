"""Mass of the metal in salts: a small table whose values are known exactly, and a model of it.

`python -m tests.surrogates.regression.salts` writes the model that examples and contracts use.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from surrogates.regression.material import Dataset
from surrogates.regression.models.contract import Candidate
from surrogates.regression.property_model import PropertyModel
from surrogates.regression.table import read_dataset
from surrogates.regression.targets import TargetColumn
from surrogates.regression.training import Recipe, train

MODEL = Path(__file__).parents[2] / "data" / "property_models" / "metal_content"
"""Ridge regression on element fractions."""
ALKALI, ALKALINE_EARTH = ("Li", "Na", "K", "Rb", "Cs"), ("Mg", "Ca", "Sr", "Ba")
HALIDES, CHALCOGENIDES = ("F", "Cl", "Br", "I"), ("O", "S", "Se")
HEADING = "formula,metal content (g/kg),kind,source"
RECIPE = Recipe((Candidate(("element_fractions",), "ridge"),), seed=1)


def list_salts() -> Iterator[tuple[str, str]]:
    """Iterate over formula and kind of 47 salts."""
    for metal in ALKALI:
        yield from ((f"{metal}{halide}", "halide") for halide in HALIDES)
        yield from ((f"{metal}2{anion}", "chalcogenide") for anion in CHALCOGENIDES)
    for metal in ALKALINE_EARTH:
        yield from ((f"{metal}{anion}", "chalcogenide") for anion in CHALCOGENIDES)


def write_salts(path: Path) -> Path:
    """Write the table of salts with their metal contents."""
    from pymatgen.core import Composition

    rows = [HEADING]
    for number, (formula, kind) in enumerate(list_salts()):
        composition = Composition(formula)
        metal = next(element for element in composition if element.symbol in (*ALKALI, *ALKALINE_EARTH))
        content = 1000.0 * composition.get_wt_fraction(metal)
        rows.append(f"{formula},{content:.4f},{kind},s{number // 2}")
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def read_salts(path: Path) -> Dataset:
    """Read the table of salts, with a threshold of 500 g/kg."""
    target = TargetColumn("metal content", "metal_content", threshold=500.0)
    return read_dataset(path, target=target, family="kind", folds=5)


def train_salts(data: Dataset) -> PropertyModel:
    """Train the model of metal contents."""
    recipe = Recipe(RECIPE.candidates, RECIPE.candidates, seed=RECIPE.seed)
    return train(data, recipe)


def main() -> None:
    """Write the model of the tests."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        train_salts(read_salts(write_salts(Path(folder) / "salts.csv"))).write(MODEL)


if __name__ == "__main__":
    main()
