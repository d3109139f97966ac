"""Average voltages of nine insertion couples by `electrode` with CHGNet 0.3.0 against measured ones.

Measured voltages are rounded, customary averages of half cells against lithium; they were not read off published curves, so errors
below 0.1 V mean nothing. Papers on these couples:
- LiCoO2: Amatucci, Tarascon and Klein, J. Electrochem. Soc. 143, 1114 (1996). LiNiO2: Ohzuku, Ueda and Nagayama, J. Electrochem. Soc.
  140, 1862 (1993). LiMn2O4, both steps: Ohzuku, Kitagawa and Hirai, J. Electrochem. Soc. 137, 769 (1990).
- LiFePO4, LiMnPO4: Padhi, Nanjundaswamy and Goodenough, J. Electrochem. Soc. 144, 1188 (1997).
- TiS2: Whittingham, Science 192, 1126 (1976). LiTi2O4: Colbow, Dahn and Haering, J. Power Sources 26, 397 (1989). LiC6: Dahn, Phys. Rev. B
  44, 9170 (1991).
The recipe is a first measurement by hand: both ends of each couple relaxed with CHGNet 0.3.0 in ASE, without an evaluator.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from common import Row
from truth_windows import mean_row

from invdesign.candidate import Candidate, Design, Evaluation, Input, Proposal
from invdesign.structures.crystallography import read_crystals
from invdesign.structures.prototypes import find_prototype
from surrogates.electrode.evaluator import Electrode
from surrogates.electrode.exchange import ExchangeEvaluator

if TYPE_CHECKING:
    from pymatgen.core import Structure

HOSTS = Path(__file__).parents[1] / "voltage_couples.yaml"
TASK = "voltage_couples"


@dataclass(frozen=True)
class Couple:
    """An insertion couple.

    Attributes:
        name: of the couple.
        parent: prototype of the package, or a crystal of `voltage_couples.yaml`.
        swap: elements of the parent that are replaced.
        start, end: shares of the ions, as in the evaluator.
        measured: V.
        recipe: V, by hand with CHGNet 0.3.0.
        recipe_volume: %, change of volume by hand; None where it was not noted.
    """

    name: str
    parent: str
    swap: tuple[tuple[str, str], ...]
    start: float
    end: float
    measured: float
    recipe: float
    recipe_volume: float | None = None

    def build_structure(self) -> Structure:
        """Build the crystal that is given to the evaluator."""
        known = read_crystals(HOSTS)
        crystal = known[self.parent] if self.parent in known else find_prototype(self.parent)
        structure = crystal.build_structure(primitive=True)
        structure.replace_species(dict(self.swap))
        return structure


COUPLES = (
    Couple("CoO2 / LiCoO2", "layered", (), 1, 0, 4.1, 3.49, 0.5),
    Couple("NiO2 / LiNiO2", "layered", (("Co", "Ni"),), 1, 0, 3.9, 4.02, 8.0),
    Couple("Mn2O4 / LiMn2O4", "spinel", (), 1, 0, 4.05, 4.00, 5.9),
    Couple("LiMn2O4 / Li2Mn2O4", "spinel", (), 1, 2, 2.95, 2.79, 3.5),
    Couple("FePO4 / LiFePO4", "olivine", (), 1, 0, 3.45, 3.43, 5.1),
    Couple("MnPO4 / LiMnPO4", "olivine", (("Fe", "Mn"),), 1, 0, 4.1, 3.69, 5.2),
    Couple("TiS2 / LiTiS2", "TiS2", (), 0, 1, 2.1, 1.85, 3.2),
    Couple("LiTi2O4 / Li2Ti2O4", "spinel", (("Mn", "Ti"),), 1, 2, 1.34, 0.89),
    Couple("C / LiC6", "LiC6", (), 1, 0, 0.1, 0.43),
)


def evaluate_couple(couple: Couple, evaluator: ExchangeEvaluator) -> Evaluation:
    """Evaluate one couple.

    Raises:
        RuntimeError: the evaluation failed.
    """
    structures = {"initial": couple.build_structure()}
    item = Input(Candidate(0, "key", Proposal({})), Design(structures=structures), {}, structures, 0)
    (found,) = evaluator.evaluate([item])
    if found.failure is not None:
        raise RuntimeError(f"{couple.name}: {found.failure}")
    return found


@cache
def evaluate_couples(potential: str = "chgnet") -> tuple[Evaluation, ...]:
    """Evaluate all couples with a potential; minutes on one core."""
    found = []
    for couple in COUPLES:
        began = time.monotonic()
        evaluator = Electrode.model_validate(
            {"working_ion": "Li", "from": couple.start, "to": couple.end, "potential": potential}
        )
        found.append(evaluate_couple(couple, evaluator))
        print(f"{couple.name}: {time.monotonic() - began:.0f} s", flush=True)
    return tuple(found)


def shift_left_out(errors: Sequence[float]) -> list[float]:
    """Errors less the mean error of all others, V."""
    values = np.asarray(errors)
    return [float(error - np.delete(values, k).mean()) for k, error in enumerate(values)]


def systematic_left_out(errors: Sequence[float]) -> list[float]:
    """Mean absolute error of all others for each couple, V."""
    values = np.abs(errors)
    return [float(np.delete(values, k).mean()) for k in range(len(values))]


def measure() -> list[Row]:
    """Largest deviation from the recipe, mean absolute error, and the systematic error with each couple left out."""
    found = [item.properties for item in evaluate_couples()]
    voltages = [item["average_voltage"] for item in found]
    errors = [value - couple.measured for value, couple in zip(voltages, COUPLES, strict=True)]
    for couple, item, error in zip(COUPLES, found, errors, strict=True):
        volume = "" if couple.recipe_volume is None else f"{couple.recipe_volume:+.1f}"
        print(
            f"| {couple.name} | {couple.measured:.2f} | {item['average_voltage']:.2f} | {error:+.2f} | {couple.recipe:.2f} | "
            f"{item['insertion_volume_change']:+.1f} | {volume} |"
        )
    deviations = [abs(value - couple.recipe) for value, couple in zip(voltages, COUPLES, strict=True)]
    alone = systematic_left_out(errors)
    figures = {
        "max_deviation_from_recipe_v": [max(deviations)],
        "mae_to_experiment_v": [abs(error) for error in errors],
        "mae_shifted_left_out_v": [abs(error) for error in shift_left_out(errors)],
        "systematic_left_out_v": alone,
        "rms_to_experiment_v": [float(np.sqrt(np.mean(np.square(errors))))],
    }
    inside = [100.0 * (abs(error) <= limit) for error, limit in zip(errors, alone, strict=True)]
    rows = [mean_row(TASK, "invdesign", metric, values, "V") for metric, values in figures.items()]
    return [*rows, mean_row(TASK, "invdesign", "within_systematic_left_out_percent", inside, "%")]
