"""Tables and reference values behind the metrics of generators, from matminer and SMACT.

It runs in an environment of its own, since matminer needs pandas below 3:

    python -m venv other && other/bin/pip install "pandas<3" matminer==0.10.1 && other/bin/pip install --no-deps smact==2.5.5
    other/bin/python benchmarks/generator_metric_tables.py --crystals ../shared/data/crystals/mp20_binary_ternary.csv.gz

It writes `magpie.json` and `smact.json` of `invdesign/generators/metrics/data`, and `tests/data/generator_metrics.json`: ten
crystals with matminer's fingerprints, and random compositions with the verdict of CDVAE's rule computed by SMACT. The third
table, `coverage.json`, holds the means and deviations that CDVAE publishes (`cdvae/common/constants.py`, 8 digits).
"""

from __future__ import annotations

import argparse
import csv
import gzip
import itertools
import json
import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import smact
from matminer.featurizers.composition.composite import ElementProperty
from matminer.featurizers.site.fingerprint import CrystalNNFingerprint
from pymatgen.core import Element, Structure
from smact.screening import pauling_test

ROOT = Path(__file__).parents[1]
TABLES = ROOT / "invdesign" / "generators" / "metrics" / "data"
LAST_ELEMENT = 103  # lawrencium, the last one of both tables
COMPOSITIONS = 400
CRYSTALS, MAX_ATOMS = 10, 10
ANIONS = ("O", "S", "F", "Cl", "N", "Se", "H")
UNUSUAL = ("He", "Ne", "Ar", "Kr", "Xe", "Rn", "Pm", "Lr")  # without states, or without electronegativity
DIGITS = 10
SYMBOLS = [Element.from_Z(number).symbol for number in range(1, LAST_ELEMENT + 1)]


def write_magpie() -> ElementProperty:
    """Write the elemental properties of the preset `magpie`; return the featurizer."""
    maker = ElementProperty.from_preset("magpie", impute_nan=False)
    columns = {}
    for name in maker.features:
        values = [maker.data_source.get_elemental_property(Element(symbol), name) for symbol in SYMBOLS]
        columns[name] = [None if math.isnan(value) else value for value in values]
    source = "Ward et al., npj Comput. Mater. 2, 16028 (2016); tables of matminer 0.10.1 (modified BSD licence), hydrogen to lawrencium"
    text = f'{{\n "source": "{source}",\n "properties": {write_rows(columns)}\n}}\n'
    (TABLES / "magpie.json").write_text(text)
    return maker


def write_smact() -> None:
    """Write the oxidation states, electronegativities and metals of SMACT."""
    elements = {symbol: smact.Element(symbol) for symbol in SYMBOLS}
    rows = {symbol: [found.oxidation_states, found.pauling_eneg] for symbol, found in elements.items()}
    source = (
        "SMACT 2.5.5 (MIT licence): oxidation_states.txt and Pauling electronegativities of element_data.txt"
    )
    text = f'{{\n "source": "{source}",\n "metals": {json.dumps(smact.metals)},\n "elements": {write_rows(rows)}\n}}\n'
    (TABLES / "smact.json").write_text(text)


def write_rows(rows: Mapping[str, object]) -> str:
    """Write a JSON object with one entry a line."""
    lines = ",\n".join(f'  "{name}": {json.dumps(value)}' for name, value in rows.items())
    return f"{{\n{lines}\n }}"


def is_valid(names: Sequence[str], counts: Sequence[int]) -> bool:
    """Verdict of the rule `smact_validity` of CDVAE, with SMACT's own functions.

    Args:
        names: element symbols by atomic number.
        counts: of the reduced formula.
    """
    if len(names) == 1 or all(name in smact.metals for name in names):
        return True
    elements = [smact.Element(name) for name in names]
    strengths = [element.pauling_eneg for element in elements]
    for states in itertools.product(*(element.oxidation_states for element in elements)):
        neutral, _ = smact.neutral_ratios(states, stoichs=[(n,) for n in counts], threshold=max(counts))
        if not neutral:
            continue
        try:
            if pauling_test(states, strengths):
                return True
        except TypeError:  # an electronegativity is unknown
            return True
    return False


def draw_compositions(rng: random.Random) -> list[list[object]]:
    """Draw compositions, with anions and unusual elements more often than by chance, and judge them."""
    drawn = []
    for _ in range(COMPOSITIONS):
        names = rng.sample(SYMBOLS, rng.choice([1, 2, 2, 3, 3, 3, 4]))
        if rng.random() < 0.5:
            names[-1] = rng.choice(ANIONS)
        if rng.random() < 0.15:
            names[0] = rng.choice(UNUSUAL)
        names = sorted(set(names), key=SYMBOLS.index)
        counts = [rng.randint(1, 6) for _ in names]
        common = math.gcd(*counts)
        counts = [n // common for n in counts]
        drawn.append([dict(zip(names, counts, strict=True)), is_valid(names, counts)])
    return drawn


def describe_crystals(path: Path, maker: ElementProperty, rng: random.Random) -> list[dict[str, object]]:
    """Describe some small crystals of the shared data by matminer's fingerprints."""
    with gzip.open(path, "rt", newline="") as stream:
        rows = list(csv.DictReader(stream))
    finder = CrystalNNFingerprint.from_preset("ops")
    described: list[dict[str, object]] = []
    while len(described) < CRYSTALS:
        row = rng.choice(rows)
        structure = Structure.from_str(row["cif"], fmt="cif")
        if len(structure) > MAX_ATOMS:
            continue
        sites = np.mean([finder.featurize(structure, site) for site in range(len(structure))], axis=0)
        described.append(
            {
                "id": row["material_id"],
                "lattice": np.round(structure.lattice.matrix, DIGITS).tolist(),
                "species": [site.specie.symbol for site in structure],
                "coordinates": structure.frac_coords.tolist(),
                "sites": np.round(sites, DIGITS).tolist(),
                "composition": [
                    round(float(value), DIGITS) for value in maker.featurize(structure.composition)
                ],
            }
        )
    return described


def main() -> None:
    """Write the tables and the reference values."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--crystals", type=Path, required=True, help="mp20_binary_ternary.csv.gz of the shared data"
    )
    arguments = parser.parse_args()
    rng = random.Random(0)
    maker = write_magpie()
    write_smact()
    lines = [json.dumps(entry) for entry in draw_compositions(rng)]
    crystals = [json.dumps(entry) for entry in describe_crystals(arguments.crystals, maker, rng)]
    text = '{"compositions": [\n' + ",\n".join(lines) + '],\n"crystals": [\n' + ",\n".join(crystals) + "]}\n"
    (ROOT / "tests" / "data" / "generator_metrics.json").write_text(text)


if __name__ == "__main__":
    main()
