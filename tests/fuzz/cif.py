"""Mutated CIF files: each is refused with a reason, or read as a crystal that agrees with its own formula."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Iterator, Sequence

from invdesign.structures.reading.cif import read_cif
from invdesign.structures.reading.cif_formula import parse_formula
from invdesign.structures.reading.raw import RawCrystal, StructureFileError

SODIUM_COBALTATE = """\
data_made
_chemical_formula_sum 'Na1 Co1 O2'
_cell_formula_units_Z 2
_cell_length_a 2.84(1)
_cell_length_b 2.84(1)
_cell_length_c 10.81
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 120
_symmetry_space_group_name_H-M 'P 63/m m c'
_symmetry_Int_Tables_number 194
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_symmetry_multiplicity
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Co1 Co3+ 2 0 0 0 1
O1 O2- 4 0.333 0.667 0.091 1
Na1 Na1+ 2 0.667 0.333 0.25 .
"""
LITHIUM_OXYHALIDE = """\
# a comment
data_mixed
_audit_creation_method
;
text; over
several lines
;
_chemical_formula_sum 'Br0.4 Cl0.6 Li3 O1'
_cell_length_a 3.91
_cell_length_b 3.91
_cell_length_c 3.91
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
loop_
_space_group_symop_operation_xyz
'x, y, z'
'z, x, y'
'y, z, x'
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Li1 0.5 0.5 0 1
O1 0.5 0.5 0.5 1.000(2)
Cl1 0 0 0 0.6
Br1 0 0 0 0.4
"""
SILICON = """\
data_global
_journal_year 2001

data_si
_cell_length_a 5.431
_cell_length_b 5.431
_cell_length_c 5.431
_cell_angle_alpha 90.
_cell_angle_beta 90.
_cell_angle_gamma 90.
_space_group_name_H-M_alt 'F d -3 m :1'
_space_group_IT_number 227
_exptl_crystal_density_diffrn 2.33
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Si1 Si 0 0 0
loop_
_atom_site_aniso_label
_atom_site_aniso_U_11
Si1 0.005
"""
SEEDS = (SODIUM_COBALTATE, LITHIUM_OXYHALIDE, SILICON)
VALUES = (
    *("?", ".", "''", "nan", "inf", "-1", "0", "1e400", "1e-400", "-0.0", "1(2)", "0.333", "1/3", "1/0", "9" * 400),
    *("'", '"', ";", "#", "loop_", "data_", "save_x", "global_", "stop_", "_", "é", "\u2212" + "1", "0,5", "0x10", "1_0"),
    *("x,y,z", "x,y", "x+1/0,y,z", "2x,y,z", "x,x,x", "R -3 m", "F d -3 m", "P", "Li", "Xx", "D", "Wat", "H12", "1.0000001"),
    *("0.5", "0.9991", "1.0", "180", "120", "60", "Li0.5 O", "Li1-x", "2(H2 O)", "(", "-F 4 2 3", "\ud800", "\x0b", "\x85"),
)  # fmt: skip
_WORDS = re.compile(r"\S+")
Random = random.Random


def _replace_word(text: str, rng: Random, texts: Sequence[str]) -> str:
    words = list(_WORDS.finditer(text))
    if not words:
        return text
    word = rng.choice(words)
    return text[: word.start()] + rng.choice(VALUES) + text[word.end() :]


def _swap_words(text: str, rng: Random, texts: Sequence[str]) -> str:
    words = list(_WORDS.finditer(text))
    if len(words) < 2:
        return text
    one, two = sorted(rng.sample(words, 2), key=re.Match.start)
    return text[: one.start()] + two[0] + text[one.end() : two.start()] + one[0] + text[two.end() :]


def _flip_bits(text: str, rng: Random, texts: Sequence[str]) -> str:
    if not text:
        return text
    k = rng.randrange(len(text))
    return text[:k] + chr((ord(text[k]) ^ (1 << rng.randrange(8))) or 1) + text[k + 1 :]


def _drop_line(text: str, rng: Random, texts: Sequence[str]) -> str:
    lines = text.splitlines(keepends=True)
    k = rng.randrange(len(lines) or 1)
    return "".join(lines[:k] + lines[k + 1 :])


def _repeat_lines(text: str, rng: Random, texts: Sequence[str]) -> str:
    lines = text.splitlines(keepends=True)
    if not lines:
        return text
    k, j = sorted((rng.randrange(len(lines)), rng.randrange(len(lines))))
    where = rng.randrange(len(lines))
    return "".join(lines[:where] + lines[k : j + 1] * rng.choice((1, 1, 1, 2, 50)) + lines[where:])


def _cut_text(text: str, rng: Random, texts: Sequence[str]) -> str:
    return text[: rng.randrange(len(text) + 1)]


def _move_line(text: str, rng: Random, texts: Sequence[str]) -> str:
    lines = text.splitlines(keepends=True)
    if not lines:
        return text
    line = lines.pop(rng.randrange(len(lines)))
    lines.insert(rng.randrange(len(lines) + 1), line)
    return "".join(lines)


def _splice_texts(text: str, rng: Random, texts: Sequence[str]) -> str:
    other = rng.choice(texts).splitlines(keepends=True)
    k = rng.randrange(len(other))
    lines = text.splitlines(keepends=True)
    where = rng.randrange(len(lines) + 1)
    return "".join(lines[:where] + other[k : k + rng.randrange(1, 12)] + lines[where:])


def _change_digit(text: str, rng: Random, texts: Sequence[str]) -> str:
    digits = [k for k, character in enumerate(text) if character.isdigit()]
    if not digits:
        return text
    k = rng.choice(digits)
    return text[:k] + rng.choice("0123456789.-/e(") + text[k + 1 :]


MUTATIONS: tuple[Callable[[str, Random, Sequence[str]], str], ...] = (
    _replace_word,
    _replace_word,
    _swap_words,
    _flip_bits,
    _drop_line,
    _repeat_lines,
    _cut_text,
    _move_line,
    _splice_texts,
    _change_digit,
    _change_digit,
)


def mutate_texts(seed: int, count: int, texts: Sequence[str] = SEEDS) -> Iterator[str]:
    """Mutated texts, each by one to four mutations of a well-formed one.

    Args:
        seed: of the mutations.
        count: number of texts.
        texts: well-formed CIFs.
    """
    rng = random.Random(seed)
    for _ in range(count):
        text = rng.choice(texts)
        for _ in range(rng.choice((1, 1, 2, 4))):
            text = rng.choice(MUTATIONS)(text, rng, texts)
        yield text


def check_text(text: str) -> list[RawCrystal]:
    """Crystals of a text, none where it is refused.

    Raises:
        AssertionError: a crystal breaks a promise of the reader.
    """
    try:
        crystals = read_cif(text, "mutated.cif")
    except StructureFileError as error:
        message = str(error)
        assert message.startswith("mutated.cif"), message
        assert len(message) < 2_000, message
        return []
    assert crystals
    for crystal in crystals:
        _check_crystal(crystal)
    if len(crystals) == 1:
        _check_formula(crystals[0], text)
    return crystals


def _check_crystal(crystal: RawCrystal) -> None:
    assert 0 < len(crystal.sites) <= 20_000
    assert all(math.isfinite(value) and abs(value) < 1e5 for row in crystal.lattice for value in row)
    for site in crystal.sites:
        assert all(0.0 <= value < 1.0 for value in site.position), site
        assert all(0.0 < value <= 1.0 for value in site.occupancies.values()), site
        assert sum(site.occupancies.values()) <= 1.0 + 1e-9, site


def _check_formula(crystal: RawCrystal, text: str) -> None:
    """The elements of the only formula sum of the only block are those of the crystal."""
    if text.count("data_") > 1 or ";" in text:
        return
    sums = re.findall(r"^_chemical_formula_sum[ \t]+'([^'\n]*)'[ \t]*$", text, re.MULTILINE)
    formula = parse_formula(sums[0]) if len(sums) == 1 and text.count("_chemical_formula_sum") == 1 else None
    if formula is None:
        return
    found = {element for site in crystal.sites for element in site.occupancies}
    assert found == set(formula.amounts), (found, formula)
