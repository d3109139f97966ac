"""The rule of `charge_neutrality` on known compounds, and on the same ones with an ion too many or too few.

The compounds are those of `charge_rule_compounds.csv`, drawn at random by `charge_rule_draw.py`: ten of each of ten
classes, and 500 of any class. Wrong ones: from those in which every element has a single valence (`FIXED`), one ion that the
compound holds is added to or taken from its reduced formula; 50 of all such changes are drawn, from the hundred as far as
they go, then from the others. A change that gives another formula of the file is none.

Methods: the rule with `metallic: allow`, which `invdesign init` writes, and as it is without a setting; the plain rule of
before (every common state, one element mixed-valent); and `smact`, where it is installed.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

from common import Row
from pymatgen.core import Composition

from invdesign.structures.charges import charge_imbalance, oxidation_states, scale_to_whole_counts
from surrogates.filters.composition import ChargeNeutrality

COMPOUNDS = Path(__file__).parents[1] / "charge_rule_compounds.csv"
SEED = 20261203
N_WRONG = 50
TASK = "charge_rule"
# Elements with one valence in nearly all their compounds; the ions that are added and taken are those among them.
FIXED: Mapping[str, int] = {
    **dict.fromkeys(("Li", "Na", "K", "Rb", "Cs"), 1),
    **dict.fromkeys(("Be", "Mg", "Ca", "Sr", "Ba", "Zn", "Cd"), 2),
    **dict.fromkeys(("B", "Al", "Ga", "Sc", "Y", "La", "Nd", "Gd", "Dy", "Ho", "Er", "Lu"), 3),
    **dict.fromkeys(("Si", "Ge", "Zr", "Hf"), 4),
    **dict.fromkeys(("P", "Ta"), 5),
    **dict.fromkeys(("F", "Cl", "Br", "I"), -1),
    **dict.fromkeys(("O", "S", "Se"), -2),
    "N": -3,
}
IONS = frozenset(
    {"Li", "Na", "K", "Rb", "Cs", "Mg", "Ca", "Sr", "Ba", "Al", "Zn", "F", "Cl", "Br", "I", "O", "S", "Se"}
)

Judge = Callable[[str], bool]
Compound = tuple[str, str]


@cache
def read_compounds() -> tuple[Compound, ...]:
    """(class, formula) of all compounds."""
    with COMPOUNDS.open(encoding="utf-8") as file:
        return tuple((row["class"], row["formula"]) for row in csv.DictReader(file))


def draw_wrong() -> list[tuple[str, str]]:
    """(formula, wrong formula): compounds of fixed valences with an ion too many or too few."""
    known = {formula for _, formula in read_compounds()}
    rng = random.Random(SEED)
    drawn: list[tuple[str, str]] = []
    for own in (True, False):
        formulas = [formula for kind, formula in read_compounds() if (kind != "any") == own]
        changes = [(formula, wrong) for formula in formulas for wrong in change_ions(formula)]
        rng.shuffle(changes)
        drawn += [change for change in changes if change[1] not in known]
    return drawn[:N_WRONG]


def change_ions(formula: str) -> Iterator[str]:
    """The formula with each of its ions once added and once taken; nothing where a valence is not fixed."""
    counts, _ = scale_to_whole_counts(Composition(formula).get_el_amt_dict())
    if not set(counts) <= set(FIXED) or sum(FIXED[name] * n for name, n in counts.items()) != 0:
        return
    for name in sorted(IONS & set(counts)):
        for change in (1, -1):
            changed = {**counts, name: counts[name] + change}
            if changed[name]:
                yield Composition(changed).reduced_formula


def judges() -> dict[str, Judge]:
    """By the name of the method: True for compositions that are let through."""
    from_file = ChargeNeutrality(metallic="allow")
    plain = ChargeNeutrality()
    found: dict[str, Judge] = {
        "invdesign": lambda formula: not from_file.smallest_imbalance(Composition(formula).get_el_amt_dict()),
        "invdesign metallic: refuse": lambda formula: (
            not plain.smallest_imbalance(Composition(formula).get_el_amt_dict())
        ),
        "before": is_plainly_neutral,
    }
    try:
        from smact.screening import smact_validity
    except ImportError:
        return found
    return {
        **found,
        "smact": lambda formula: bool(smact_validity(formula)),
        "smact mixed_valence": lambda formula: bool(smact_validity(formula, mixed_valence=True)),
    }


def is_plainly_neutral(formula: str) -> bool:
    """The rule of before: every element in one of its common states, one of them between two."""
    counts, _ = scale_to_whole_counts(Composition(formula).get_el_amt_dict())
    return charge_imbalance(counts, {name: oxidation_states(name) for name in counts}) == 0


def measure() -> list[Row]:
    """Shares of known and of wrong compositions that are let through, by method."""
    hundred = [formula for kind, formula in read_compounds() if kind != "any"]
    more = [formula for kind, formula in read_compounds() if kind == "any"]
    wrong = [changed for _, changed in draw_wrong()]
    rows = []
    for method, judge in judges().items():
        for metric, formulas in (
            ("accepted_percent", hundred),
            ("wrong_accepted_percent", wrong),
            ("more_accepted_percent", more),
        ):
            accepted = [formula for formula in formulas if judge(formula)]
            share = 100.0 * len(accepted) / len(formulas)
            rows.append(Row("truth", TASK, method, metric, share, "%", len(formulas), 0.0))
            shown = accepted if metric.startswith("wrong") else sorted(set(formulas) - set(accepted))
            print(f"{method}, {metric} {share:.1f} %: {' '.join(shown)}")
    return rows
