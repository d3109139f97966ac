"""Known values looked up in a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pymatgen.core import Composition

from invdesign import Run, campaign_from
from invdesign.candidate import Candidate, Design, Evaluation, Input, Proposal, genome_key
from invdesign.settings import load
from invdesign.testing import check_evaluator
from surrogates.tabulated.table import Table

TEXT = "t,solvent,formula,gap,cost\n300,EC,Li2O,5.0,1\n300,DMC,LiF,9,2\n350,EC,Li6PS5Cl,2.5,\n"


def table(text: str = TEXT, **fields: Any) -> Table:
    """A table as a campaign file says it."""
    built: Table = load(
        "evaluators",
        {"kind": "table", "file": {"name": "known.csv", "text": text}, "provides": {"gap": "eV"}, **fields},
    )
    return built


def said_of(evaluation: Evaluation) -> str:
    """Why there is no result."""
    assert evaluation.failure is not None
    assert evaluation.failure.kind == "missing"
    return evaluation.failure.message


def asked(evaluator: Table, formula: str | None = None, **parameters: float | str) -> Evaluation:
    """What it says of one candidate."""
    composition = Composition(formula) if formula is not None else None
    design = Design(parameters=parameters, composition=composition)
    candidate = Candidate(0, genome_key({}), Proposal({}))
    return evaluator.evaluate([Input(candidate, design, {}, {}, 0)])[0]


def test_by_parameters() -> None:
    """Numbers by value, words by letter; what is not asked for does not matter."""
    evaluator = table(key=["t", "solvent"])
    assert evaluator.requires == {"parameters"}
    assert asked(evaluator, t=300.0, solvent="DMC", other=1.0).properties == {"gap": 9.0}
    assert "known.csv has no row for t = 301.0, solvent = EC" in said_of(
        asked(evaluator, t=301.0, solvent="EC")
    )
    assert "no parameter 'solvent'; it has t" in said_of(asked(evaluator, t=300.0))
    assert "no row" in said_of(asked(evaluator, t="hot", solvent="EC"))


@given(st.floats(1e-200, 1e200), st.floats(-9e-10, 9e-10))
def test_numbers_match_to_a_billionth(value: float, error: float) -> None:
    """The last digits, lost where a value was computed or printed, do not hide a row."""
    evaluator = table(f"x,gap\n{value!r},1\n0,2\n{-3 * value!r},3\n", key="x")
    assert asked(evaluator, x=value * (1 + error)).properties == {"gap": 1.0}
    assert asked(evaluator, x=0.0).properties == {"gap": 2.0}
    assert asked(evaluator, x=value * 1.0001).failure is not None


def test_by_composition() -> None:
    """However the formula is written and however large the cell is."""
    evaluator = table(composition="formula")
    assert evaluator.requires == {"composition"}
    assert asked(evaluator, "Li8O4").properties == {"gap": 5.0}
    assert asked(evaluator, "Cl2(PS5)2Li12").properties == {"gap": 2.5}
    assert "no row for Na2O" in said_of(asked(evaluator, "Na2O"))
    assert "has no composition" in said_of(asked(evaluator))


def test_by_both_and_under_other_names() -> None:
    """A parameter may be called otherwise than its column, a property as well."""
    evaluator = table(
        key={"temperature": "t"}, composition="formula", provides={"width": {"unit": "eV", "column": "gap"}}
    )
    assert asked(evaluator, "LiF", temperature=300.0).properties == {"width": 9.0}
    assert asked(evaluator, "LiF", temperature=350.0).failure is not None


def test_identifiers_are_words_unless_all_are_numbers() -> None:
    """A row's name finds it, as text or as a number."""
    evaluator = table("id,gap\nmp-1,1\n12,2\n", key="id")
    assert asked(evaluator, id="mp-1").properties == {"gap": 1.0}
    assert asked(evaluator, id="12").properties == {"gap": 2.0}
    assert asked(evaluator, id=12.0).properties == {"gap": 2.0}
    assert asked(table("id,gap\n7,1\n12,2\n", key="id"), id="12").properties == {"gap": 2.0}


def test_an_empty_cell_is_a_missing_value() -> None:
    """Nothing is made up for it; other rows are as they were."""
    evaluator = table(key=["t", "solvent"], provides={"gap": "eV", "cost": "EUR"})
    assert asked(evaluator, t=300, solvent="EC").properties == {"gap": 5.0, "cost": 1.0}
    assert "known.csv has no cost for t = 350" in said_of(asked(evaluator, t=350, solvent="EC"))


@pytest.mark.parametrize(
    ("repeated", "gap", "cost"),
    [("mean", 2.0, 5.0), ("first", 2.0, 6.0), ("lowest", 1.0, 4.0), ("highest", 3.0, 5.0)],
)
def test_repeated_keys(repeated: str, gap: float, cost: float) -> None:
    """An error, unless the user says which of the rows is meant; a row is taken whole."""
    text = "x,gap,cost\n1,2,6\n1.0,1,4\n1,3,5\n2,8,8\n"
    provides = {"gap": "eV", "cost": "EUR"}
    with pytest.raises(ValidationError, match=r"2 rows \(lines 3, 4\) have the key of an earlier row"):
        table(text, key="x", provides=provides)
    found = asked(table(text, key="x", provides=provides, repeated=repeated), x=1.0)
    assert found.properties == {"gap": gap, "cost": cost}


def test_the_fingerprint_is_that_of_the_content() -> None:
    """Another number, another column or another rule is another evaluator."""
    prints = {
        table(key="solvent", repeated="first").fingerprint,
        table(TEXT.replace("5.0", "5.1"), key="solvent", repeated="first").fingerprint,
        table(key="solvent", repeated="mean").fingerprint,
        table(key="t", repeated="first").fingerprint,
    }
    assert len(prints) == 4


def test_censored_values() -> None:
    """A bound is no number: refused with the row, or as if the cell were empty."""
    text = "x,gap\n1,<1e-10\n2,3\n"
    with pytest.raises(
        ValidationError, match=r"'gap' holds no plain number in 1 row \(line 2\), first '<1e-10'"
    ):
        table(text, key="x")
    assert "has no gap" in said_of(asked(table(text, key="x", censored="missing"), x=1.0))


@pytest.mark.parametrize(
    ("text", "fields", "words"),
    [
        (TEXT, {}, "say what rows are found by"),
        (TEXT, {"key": ["T"]}, "known.csv has no column 'T'.*It has t, solvent, formula, gap, cost"),
        (TEXT, {"key": "solvnt"}, "Did you mean 'solvent'"),
        (
            TEXT,
            {"key": "t", "provides": {"energy_per_atom": "eV"}},
            "energy_per_atom is in eV/atom everywhere, got 'eV'",
        ),
        (TEXT, {"key": "t", "provides": {"a gap": "eV"}}, "a property is called like band_gap, got 'a gap'"),
        (TEXT, {"composition": "solvent"}, "line 2: 'EC' is not a formula"),
        ("x,gap\n,1\n2,2\n", {"key": "x"}, r"part of the key and empty in 1 row \(line 2\)"),
        ("x,gap\n1\n", {"key": "x"}, "line 2 has 1 cell, and there are 2 headings"),
        ("x,gap\n", {"key": "x"}, "known.csv has no rows"),
        ("", {"key": "x"}, "known.csv is empty"),
        ("x,x,gap\n1,2,3\n", {"key": "x"}, "more than one column 'x'"),
    ],
)
def test_wrong_tables_are_refused(text: str, fields: dict[str, Any], words: str) -> None:
    """The message names the column, the row and what is allowed."""
    with pytest.raises(ValidationError, match=words):
        table(text, **fields)


def test_columns_are_found_without_their_units() -> None:
    """`gap` is `gap [eV]`; another unit, or two such columns, are for the user to settle."""
    assert asked(table("x,gap [eV]\n1,2\n", key="x"), x=1.0).properties == {"gap": 2.0}
    assert asked(table("x (nm),gap / eV\n1,2\n", key="x"), x=1.0).properties == {"gap": 2.0}
    remark = {"gap": {"unit": "eV", "column": "gap (PBE)"}}
    assert asked(table("x,gap (PBE)\n1,2\n", key="x", provides=remark), x=1.0).properties == {"gap": 2.0}
    for text, fields, words in (
        ("x,gap (meV)\n1,2\n", {}, "is in meV by its heading, and gap is in eV: convert the numbers"),
        ("x,gap (PBE)\n1,2\n", {}, "if that is no unit, name the column in full: 'gap .PBE.'"),
        ("x,gap [eV],gap [meV]\n1,2,3\n", {}, "several columns that may be 'gap': gap .eV., gap .meV."),
        ("x,E_g [eV]\n1,2\n", {}, r"If 'E_g \[eV\]' is meant, write gap: {unit: eV, column:"),
        ("x,g (meV)\n1,2\n", {"provides": {"gap": {"unit": "eV", "column": "g (meV)"}}}, "is in meV by its"),
    ):
        with pytest.raises(ValidationError, match=words):
            table(text, key="x", **fields)


def keyed(content: str, key: str, **fields: Any) -> Table:
    """A table of gaps that is looked up by one column."""
    file = {"name": "known.csv", "text": content}
    built: Table = load(
        "evaluators", {"kind": "table", "file": file, "key": key, "provides": {"gap": "eV"}, **fields}
    )
    return built


def test_keys_that_look_like_numbers() -> None:
    """Numbers in another form are refused in a key, unless it is said to be text; then 007 is not 7."""
    commas = "x;gap\n0,05;1\n"
    with pytest.raises(ValidationError, match=r"'0,05'\. Write 0\.05.*say that all are text: text: \[x\]"):
        keyed(commas, "x")
    assert asked(keyed(commas, "x", text=["x"]), x="0,05").properties == {"gap": 1.0}
    assert asked(keyed("id,gap\n007,1\n7,2\n", "id", text=["id"]), id="007").properties == {"gap": 1.0}
    with pytest.raises(ValidationError, match="'text' names 'y', which is no parameter of the key: x"):
        keyed(commas, "x", text=["y"])


def test_numbers_in_another_form_are_no_missing_values() -> None:
    """`censored: missing` leaves out bounds, and never a decimal comma."""
    with pytest.raises(ValidationError, match=r"first '0,5'\. Write 0\.5, with a decimal point"):
        table("x;gap\n1;0,5\n", key="x", censored="missing")


def test_it_says_what_it_read() -> None:
    """Rows, columns with their units, elements, and formulas that may be slips."""
    found = table("# rig 2\nf,gap [eV]\nLiFePo4,1\nLiF,2\n", composition="f").remarks
    assert found == (
        "line '# rig 2' before the headings is a comment",
        "known.csv: 2 rows read; columns gap (eV, headed 'gap [eV]'); elements F, Fe, Li, Po",
        "'LiFePo4' was read with Po (polonium); P and O are written PO",
    )


def test_it_says_that_a_key_of_numbers_is_text() -> None:
    """Where a few cells make a column text, numbers are compared by letter, and that is said."""
    remarks = table("x,gap\n1,1\n2,1\nbulk,1\n", key="x").remarks
    assert remarks[1] == (
        "known.csv: column 'x' is text, although 2 of 3 cells are numbers: 'bulk' in 1 row (line 4) is none"
    )


def test_it_keeps_the_contract_on_compositions() -> None:
    """As `tests/examples.py` shows for parameters; an input without a row is a failure, not an exception."""
    check_evaluator(table("f,gap\nLi3OCl,1\nOBrLi3,2\n", composition="f"))


def test_a_search_replayed(tmp_path: Path) -> None:
    """A pool and its known results: the search finds the best row, and a row without a result is a failed trial."""
    text = "name,x,gap\n" + "".join(f"m{k},{k},{'' if k == 5 else 10 - abs(k - 7)}\n" for k in range(12))
    (tmp_path / "known.csv").write_text(text)
    data = {
        "version": 1,
        "name": "replay",
        "seed": 1,
        "space": {"kind": "pool", "source": "known.csv", "id": "name", "columns": ["name", "x"]},
        "evaluate": [{"table": {"file": "known.csv", "key": "name", "provides": {"gap": "eV"}}}],
        "objectives": [{"maximize": "gap"}],
        "optimizer": {"kind": "random"},
        "budget": {"candidates": 20},
        "engine": {"kind": "local", "workers": 0},
    }
    run = Run.create(campaign_from(data, folder=tmp_path), tmp_path / "run")
    run.execute()
    assert run.top(1)[0]["genome"] == {"row": "m7"}
    failures = [run.trial(id).failure for id in range(12) if run.trial(id).failure is not None]
    assert [failure.kind for failure in failures if failure is not None] == ["missing"]
