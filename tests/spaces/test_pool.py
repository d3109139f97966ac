"""The space of given candidates: what it holds, how it varies, what it refuses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from invdesign import Run, campaign_from
from invdesign.candidate import genome_key
from invdesign.errors import Infeasible, InvdesignError
from invdesign.protocols import VectorSpace, find_allowed_elements, is_finite
from invdesign.rng import rng_for
from invdesign.settings import load
from invdesign.spaces.pool import features as pool_features
from invdesign.spaces.pool.space import PoolSpace, _load_pool
from invdesign.testing import check_optimizer, check_space

PHASES = Path(__file__).parents[2] / "campaigns" / "data" / "lithium_phases.csv"
TABLE = "name,x,y,kind,formula\na,1,10,wet,Li2O\nb,2,20,dry,LiF\nc,3,50,dry,LiCl\nd,4,30,wet,LiBr\n"


def pool(folder: Path, text: str = TABLE, *, file: str = "pool.csv", **fields: Any) -> PoolSpace:
    """A pool over a table of that text, as a campaign file says it."""
    (folder / file).write_text(text)
    built: PoolSpace = load("spaces", {"kind": "pool", "source": file, **fields}, folder=folder)
    return built


def refusal(folder: Path, text: str = TABLE, **fields: Any) -> str:
    """What is said of a pool that cannot be used."""
    with pytest.raises(ValidationError) as caught:
        pool(folder, text, **fields)
    return str(caught.value.errors()[0]["msg"])


def test_rows_become_designs(tmp_path: Path) -> None:
    """Parameters keep the order of the settings, numbers and words; the formula is the composition."""
    space = pool(tmp_path, id="name", columns=["kind", "x"], composition="formula")
    design = space.build({"row": "b"})
    assert list(design.parameters.items()) == [("kind", "dry"), ("x", 2.0)]
    assert design.composition is not None
    assert design.composition.reduced_formula == "LiF"
    assert [space.genome(i) for i in range(len(space))] == [{"row": name} for name in "abcd"]


def test_notes_on_gaps_are_those_of_the_rows(tmp_path: Path) -> None:
    """A reference set is asked about the elements of the pool alone, and about all where no row names an element."""
    assert find_allowed_elements(pool(tmp_path, composition="formula")) == {"Li", "O", "F", "Cl", "Br"}
    assert find_allowed_elements(pool(tmp_path, columns=["x"])) is None


def test_without_identifier_rows_are_called_by_number(tmp_path: Path) -> None:
    """Rows count from 1, the header not counted."""
    space = pool(tmp_path, columns=["x"])
    assert space.genome(0) == {"row": 1}
    assert space.build({"row": 4}).parameters == {"x": 4.0}


def test_the_kind_of_a_column_can_be_said(tmp_path: Path) -> None:
    """Numbers that are names stay text, and are no feature."""
    space = pool(tmp_path, columns={"x": "text", "y": "number"})
    assert space.build({"row": 1}).parameters == {"x": "1", "y": 10.0}
    assert [dimension.name for dimension in space.domain().dimensions] == ["y"]


@pytest.mark.parametrize(
    "fields",
    [
        {"columns": ["x", "y"]},
        {"id": "name", "columns": ["kind"]},
        {"composition": "formula", "scale": "ranks"},
        {"id": "name", "columns": ["x"], "composition": "formula", "features": {"columns": ["y"]}},
    ],
)
def test_pools_keep_the_contract(tmp_path: Path, fields: dict[str, Any]) -> None:
    """With and without features, identifiers, ranks."""
    space = pool(tmp_path, **fields)
    assert is_finite(space)
    assert isinstance(space, VectorSpace)
    check_space(space)


@pytest.mark.parametrize(
    "text",
    [
        "x\n1\n",
        "x,y\n1,1\n1,2\n1,3\n",
        "x,y,n\n1,1,a\n1,1,b\n2,2,c\n2,2,d\n2,2,e\n",
        "x\n1e308\n-1e308\n0\n5e-324\n",
        "x\n0\n-0\n1\n",
    ],
)
def test_extreme_pools_keep_the_contract(tmp_path: Path, text: str) -> None:
    """One row, constant features, rows with equal features, and the ends of double precision lose no row."""
    check_space(pool(tmp_path, text, columns=text.splitlines()[0].split(",")))


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    rows=st.lists(
        st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 2)),
        min_size=1,
        max_size=40,
    ),
    scale=st.sampled_from(["range", "ranks"]),
    exact=st.booleans(),
)
def test_every_row_is_its_own_nearest(
    tmp_path: Path, rows: list[tuple[float, int]], scale: str, exact: bool
) -> None:
    """Whatever the numbers, equal ones included, and also where the search for the nearest may be inexact."""
    text = "n,x,y\n" + "".join(f"r{number},{x!r},{y}\n" for number, (x, y) in enumerate(rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool_features, "MAX_EXACT_ROWS", 1000 if exact else 0)
        space = pool(tmp_path, text, id="n", columns=["x", "y"], scale=scale)
        genomes = [space.genome(index) for index in range(len(space))]
        assert list(space.decode(space.encode(genomes))) == genomes


def test_equal_features_are_told_apart_by_a_tie(tmp_path: Path) -> None:
    """There is a tie dimension only where rows agree in everything else."""
    tied = pool(tmp_path, "x,n\n1,a\n2,b\n2,c\n", columns=["x", "n"])
    assert [dimension.name for dimension in tied.domain().dimensions] == ["x", "tie"]
    assert tied.features([tied.genome(0)]).shape == (1, 1)
    plain = pool(tmp_path, columns=["x"])
    assert [dimension.name for dimension in plain.domain().dimensions] == ["x"]


def test_a_point_stands_for_the_nearest_row(tmp_path: Path) -> None:
    """Points off the rows, and outside the cube, go to the row by; the tie hardly counts in distances."""
    space = pool(tmp_path, "x,n\n0,a\n4,b\n4,c\n10,d\n", id="n", columns=["x"])
    points = np.array([[0.45, 0.0], [0.35, 1.0], [0.1, 1.0], [7.0, 0.3], [-1.0, -1.0]])
    assert [genome["row"] for genome in space.decode(points)] == ["b", "c", "a", "d", "a"]


def test_ranks_spread_outliers(tmp_path: Path) -> None:
    """By range one outlier takes the interval; by ranks the rows share it."""
    text = "x\n1\n2\n3\n4\n1000\n"
    by_range, by_rank = (pool(tmp_path, text, columns=["x"], scale=scale) for scale in ("range", "ranks"))
    genomes = [by_range.genome(i) for i in range(5)]
    assert by_range.encode(genomes)[3, 0] < 0.01
    np.testing.assert_allclose(by_rank.encode(genomes)[:, 0], [0.0, 0.25, 0.5, 0.75, 1.0])


def test_neighbours_are_near(tmp_path: Path) -> None:
    """A mutation goes to another row, and mostly to one close by."""
    text = "x\n" + "".join(f"{value}\n" for value in range(1000))
    space = pool(tmp_path, text, columns=["x"])
    operator, rng = space.operators()["neighbour"], rng_for(0, 0, "neighbour")
    made = [operator.apply([{"row": 500}], rng) for _ in range(200)]
    steps = np.array([abs(int(str(genome["row"])) - 500) for genome in made if genome is not None])
    assert len(steps) == 200
    assert steps.min() == 1
    assert np.median(steps) <= 5
    assert steps.max() <= 17


def test_between_gives_a_third_row(tmp_path: Path) -> None:
    """A crossover lies between its parents and is neither; with two rows there is none."""
    text = "x\n" + "".join(f"{value}\n" for value in range(101))
    space = pool(tmp_path, text, columns=["x"])
    operator, rng = space.operators()["between"], rng_for(0, 0, "between")
    children = [operator.apply([{"row": 21}, {"row": 81}], rng) for _ in range(50)]
    rows = {int(str(child["row"])) for child in children if child is not None}
    assert rows <= set(range(20, 83)) - {21, 81}
    assert len(rows) > 20
    two = pool(tmp_path, "x\n1\n2\n", columns=["x"])
    assert two.operators()["between"].apply([{"row": 1}, {"row": 2}], rng) is None


@pytest.mark.parametrize("optimizer", ["random", "genetic"])
def test_optimizers_search_pools(tmp_path: Path, optimizer: str) -> None:
    """Nothing is proposed twice, and a pool smaller than the budget is proposed whole."""
    text = "x,y\n" + "".join(f"{value % 7},{value % 5}\n" for value in range(35))
    check_optimizer(
        load("optimizers", optimizer), pool(tmp_path, text, columns=["x", "y"]), rounds=4, trials=60
    )


def test_structures_from_a_column(tmp_path: Path) -> None:
    """CIF text becomes the initial structure, and its composition the candidate's."""
    space: PoolSpace = load(
        "spaces", {"kind": "pool", "source": str(PHASES), "id": "name", "structure": "cif"}
    )
    design = space.build({"row": "Li2O"})
    assert design.structures["initial"].composition == design.composition
    assert [d.name for d in space.domain().dimensions][-1] == "shortest_distance"


# What is refused, and what helps.


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"columns": ["kindd"]}, "no column 'kindd'.*Did you mean 'kind'.*It has name, x, y, kind, formula"),
        ({"id": "ident", "columns": ["x"]}, r"no column 'ident' \(id\)"),
        ({"composition": "form"}, "no column 'form'"),
        (
            {"id": "nam", "columns": ["xx"]},
            r"'nam' \(id\). Did you mean 'name'\? It has no column 'xx' \(columns\)",
        ),
        ({}, "no column is named to make candidates of.*pool.csv has name, x"),
        ({"columns": ["x", "x"]}, "x is named more than once"),
        ({"columns": ["x"], "features": {"composition": True}}, "features of the composition need a column"),
        (
            {"columns": ["x"], "features": {"columns": ["kind"]}},
            "'kind' must hold numbers.*4 rows.*first 'wet'",
        ),
        ({"composition": "kind"}, r"4 of 4 rows cannot be read \(.*\): 1: 'wet' is not a formula"),
    ],
)
def test_wrong_columns_are_refused(tmp_path: Path, fields: dict[str, Any], words: str) -> None:
    """The message names what was asked for and what there is."""
    assert re.search(words, refusal(tmp_path, **fields))


def test_missing_values_are_told_and_can_be_left_out(tmp_path: Path) -> None:
    """Which columns, which rows, how many; with `missing: drop` they are left out and counted."""
    text = "name,x,kind\na,1,u\nb,,u\nc,3,\nd,n/a,u\ne,5,v\n"
    said = refusal(tmp_path, text, id="name", columns=["x", "kind"])
    assert "x in 2 rows (b, d); kind in 1 row (c)" in said
    assert "missing: drop" in said
    space = pool(tmp_path, text, id="name", columns=["x", "kind"], missing="drop")
    assert [space.genome(i)["row"] for i in range(len(space))] == ["a", "e"]
    assert space.left_out == {"lack a value or cannot be read": 3}
    check_space(space)
    with pytest.raises(Infeasible, match="row b has nothing in column 'x'"):
        space.build({"row": "b"})
    with pytest.raises(Infeasible, match=r"'b' of pool.csv was left out"):
        space.canonical({"row": "b"})


def test_repeated_identifiers(tmp_path: Path) -> None:
    """They are named; `repeated: first` keeps the first row of each."""
    text = "name,x\na,1\nb,2\na,3\na,4\n"
    said = refusal(tmp_path, text, id="name", columns=["x"])
    assert "2 rows with the identifier of an earlier one: a. " in said
    space = pool(tmp_path, text, id="name", columns=["x"], repeated="first")
    assert len(space) == 2
    assert space.build({"row": "a"}).parameters == {"x": 1.0}
    assert space.left_out == {"repeat an earlier row": 2}
    check_space(space)


def test_repeated_rows(tmp_path: Path) -> None:
    """Without an identifier, rows are repeated where all that is used of them is."""
    text = "x,note\n1,p\n2,q\n1,r\n"
    said = refusal(tmp_path, text, columns=["x"])
    assert "1 row (3) the same as an earlier one" in said
    assert len(pool(tmp_path, text, columns=["x"], repeated="first")) == 2
    assert len(pool(tmp_path, text, columns=["x", "note"])) == 3


def test_a_column_of_numbers_and_words_is_refused(tmp_path: Path) -> None:
    """It is for the user to say which it is to be."""
    text = "x,y\n1,1\n<2,2\n3,3\n"
    assert "columns: {x: text}" in refusal(tmp_path, text, columns={"x": "number"})
    text = "x,y\n" + "1,1\n" * 2000 + "<2,2\n"
    assert "holds something else in 1 row (2001), first '<2'" in refusal(
        tmp_path, text, columns=["x"], repeated="first"
    )
    assert pool(tmp_path, "x\n1\n<2\n", columns={"x": "text"}).build({"row": 2}).parameters == {"x": "<2"}


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (("0,05", "0,1"), "cannot be read in 2 rows (1, 2), first '0,05'. Write 0.05, with a decimal point"),
        (("12 nm", "15 nm"), "first '12 nm'. Units stand in the heading"),
        (("<1e-9", "bulk"), "cannot be read in 1 row (1), first '<1e-9'. A bound is no number"),
    ],
)
def test_numbers_in_another_form_do_not_become_text(
    tmp_path: Path, cells: tuple[str, str], said: str
) -> None:
    """A column of them is refused, unless it is said to be text."""
    text = f"x;y\n{cells[0]};1\n{cells[1]};2\n"
    found = refusal(tmp_path, text, columns=["x", "y"])
    assert said in found
    assert "say that all are text: columns: {x: text}" in found
    space = pool(tmp_path, text, columns={"x": "text", "y": "number"})
    assert space.build({"row": 1}).parameters == {"x": cells[0], "y": 1.0}


def test_columns_are_found_without_their_units(tmp_path: Path) -> None:
    """`x` is `x (%)`, as parameter, feature, formula or identifier; two such columns are for the user to settle."""
    text = "name (id),x (%),f [formula]\na,1,LiF\nb,2,LiCl\n"
    space = pool(tmp_path, text, id="name", columns=["x"], composition="f")
    assert space.build({"row": "b"}).parameters == {"x": 2.0}
    check_space(space)
    assert "several columns that may be 'x': x [%], x [g]. Name one in full" in refusal(
        tmp_path, "x [%],x [g]\n1,2\n", columns=["x"]
    )


def test_it_says_what_it_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows, kinds of columns and elements; a large pool is not read for it alone."""
    text = "name,x (%),f\na,1,Li3OCI\nb,2,LiCl\n"
    space = pool(tmp_path, text, id="name", columns=["name", "x"], composition="f")
    assert space.remarks == (
        "pool.csv: 2 rows read; columns name (text), x (number, headed 'x (%)'); elements C, Cl, I, Li, O",
        "'Li3OCI' was read with C (carbon) and I (iodine); chlorine is written Cl",
    )
    assert load("spaces", space.model_dump(mode="json")).remarks == space.remarks
    monkeypatch.setattr("invdesign.spaces.pool.space.MAX_BYTES_FOR_REMARKS", 10)
    assert load("spaces", space.model_dump(mode="json")).remarks == ()


def test_infinite_numbers_are_refused(tmp_path: Path) -> None:
    """No feature is infinite; NaN counts as missing."""
    assert "first 'inf'" in refusal(tmp_path, "x\n1\ninf\n", columns={"x": "number"})
    assert "values are missing: x in 1 row (2)" in refusal(tmp_path, "x\n1\nnan\n", columns=["x"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no header"),
        ("x\n", "pool.csv has no rows"),
        ("x,y\n1,2\n3\n", "pool.csv: line 3 has 1 cell, and there are 2 headings"),
        ("x,x\n1,2\n", "more than one column 'x'"),
        ('x\n"1\n2\n', "quotation mark that is never closed"),
        ('x,n\n1,"5" pipe\n2,6\n', "pool.csv: line 2 cannot be read"),
    ],
)
def test_malformed_tables_are_refused(tmp_path: Path, text: str, words: str) -> None:
    """What cannot be read is said, and where."""
    assert words in refusal(tmp_path, text, columns=["x"])


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    """The path that was looked for, or the kinds that can be read, are named."""
    for name, words in (
        ("no.csv", "there is no file or folder 'no.csv'"),
        ("a.csv.gz", "unpack it first"),
        ("a.xls", "no kind that can"),
    ):
        if name != "no.csv":
            (tmp_path / name).write_text("x")
        with pytest.raises(ValidationError, match=words):
            load("spaces", {"kind": "pool", "source": name, "columns": ["x"]}, folder=tmp_path)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("z", "no row of pool.csv has name 'z'"),
        (3, "no row of pool.csv has name 3"),
        (True, "no row"),
        (None, "no row"),
    ],
)
def test_unknown_rows_are_infeasible(tmp_path: Path, row: Any, words: str) -> None:
    """A genome of a row that is not there is refused in words."""
    with pytest.raises(Infeasible, match=words):
        pool(tmp_path, id="name", columns=["x"]).build({"row": row})
    with pytest.raises(Infeasible, match="rows 1 to 4, got 5"):
        pool(tmp_path, columns=["x"]).build({"row": 5})


def test_seeds_are_written_as_the_pool_writes_them(tmp_path: Path) -> None:
    """`row: 17` in a campaign finds the row whose identifier is the text 17."""
    space = pool(tmp_path, "name,x\n17,1\n18,2\n", id="name", columns=["x"])
    assert space.canonical({"row": 17}) == {"row": "17"}
    with pytest.raises(Infeasible, match="are called like '17', got 17"):
        space.build({"row": 17})


# What travels, and what happens to the file.


def test_the_pool_stays_where_it_is(tmp_path: Path) -> None:
    """Settings hold path, size and hash; the rows do not travel, and another process finds the same pool."""
    space = pool(tmp_path, id="name", columns=["x"])
    dump = space.model_dump(mode="json")
    assert dump["source"]["path"] == str(tmp_path / "pool.csv")
    assert "wet" not in str(dump)
    again = load("spaces", dump)
    assert again == space
    assert again.model_dump(mode="json") == dump


def test_a_pool_that_changed_is_refused(tmp_path: Path) -> None:
    """Neither another content nor a missing file goes unnoticed; putting it back is enough."""
    dump = pool(tmp_path, TABLE.replace("wet", "hot"), id="name", columns=["x"]).model_dump(mode="json")
    path = tmp_path / "pool.csv"
    path.write_text(TABLE.replace("wet", "HOT").replace("a,1", "a,7"))
    _load_pool.cache_clear()
    with pytest.raises(InvdesignError, match="has changed since this campaign was read"):
        load("spaces", dump).prepare()
    path.unlink()
    with pytest.raises(InvdesignError, match="is not there any more"):
        load("spaces", dump).prepare()
    path.write_text(TABLE.replace("wet", "hot"))
    load("spaces", dump).prepare()


def campaign(folder: Path, budget: int) -> Any:
    """A search of a small pool on a test function of its parameters."""
    (folder / "pool.csv").write_text("x,y\n" + "".join(f"{v % 4},{v // 4}\n" for v in range(16)))
    data = {
        "version": 1,
        "name": "pool",
        "seed": 1,
        "space": {"kind": "pool", "source": "pool.csv", "columns": ["x", "y"]},
        "evaluate": [{"landscape": {"function": "sphere"}}],
        "objectives": [{"minimize": "height"}],
        "optimizer": {"kind": "genetic", "population": 4},
        "budget": {"candidates": budget},
        "engine": {"kind": "local", "workers": 0},
        "seeds": [{"row": 6}],
    }
    return campaign_from(data, folder=folder)


def test_a_run_ends_when_the_pool_is_exhausted(tmp_path: Path) -> None:
    """A budget larger than the pool is no harm: every row is evaluated once."""
    run = Run.create(campaign(tmp_path, 100), tmp_path / "run")
    status = run.execute()
    assert "exhausted" in status.reason
    keys = {genome_key(run.trial(id).genome) for id in range(len(run.history))}
    assert len(keys) == len(run.history) == 16
    assert dict(run.trial(0).genome) == {"row": 6}


def test_a_run_refuses_a_pool_that_changed(tmp_path: Path) -> None:
    """It stops before anything is evaluated, and can still be read."""
    Run.create(campaign(tmp_path, 8), tmp_path / "run").execute()
    (tmp_path / "pool.csv").write_text("x,y\n1,2\n")
    _load_pool.cache_clear()
    run = Run.open(tmp_path / "run")
    with pytest.raises(InvdesignError, match="has changed since"):
        run.change(budget={"candidates": 12})
    with pytest.raises(InvdesignError, match="has changed since"):
        run.execute()
    assert len(Run.open(tmp_path / "run").history) == 8
