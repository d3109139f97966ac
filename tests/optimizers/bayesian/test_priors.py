"""Tables of known results and earlier runs as prior data."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st
from pydantic import Field, ValidationError
from ruamel.yaml import YAML

from invdesign import settings
from invdesign.campaign.load import campaign_from
from invdesign.campaign.model import Campaign
from invdesign.campaign.priors import embed_priors, run_table
from invdesign.errors import CampaignError, InvdesignError, StoreError
from invdesign.optimizers.bayesian.priors import PriorData, PriorTable, explain_refusal, read_priors
from invdesign.rng import rng_for
from invdesign.run.run import Run
from invdesign.settings import Frozen, InputFile
from tests.examples import SPACES
from tests.support import ROOT, finished, toy

PARAMETERS = SPACES["parameters"][0]  # x in [-5, 5], n in 1 to 8, c of EC and DMC


def space_of(kind: str, fields: dict[str, Any]) -> Any:
    return settings.load("spaces", {"kind": kind, **fields})


def table(text: str, **fields: Any) -> PriorTable:
    return PriorTable(table=InputFile(name="known.csv", text=text), **fields)


def read(text: str, space: Any = None, properties: tuple[str, ...] = ("f",), **fields: Any) -> PriorData:
    known = space_of("parameters", PARAMETERS) if space is None else space
    return read_priors([table(text, **fields)], known, properties)[0]


def refusal(text: str, *properties: str, **fields: Any) -> str:
    return explain_refusal([table(text, **fields)], space_of("parameters", PARAMETERS), properties or ("f",))


def started(space: Any, n: int) -> list[dict[str, Any]]:
    """Genomes of a space from one of its start operators."""
    rng = rng_for(0, 0, "prior")
    start = next(operator for _, operator in sorted(space.operators().items()) if operator.arity == 0)
    return [dict(genome) for genome in (start.apply((), rng) for _ in range(n)) if genome is not None]


def csv_of(header: list[str], rows: list[list[Any]]) -> str:
    stream = io.StringIO()
    csv.writer(stream).writerows([header, *rows])
    return stream.getvalue()


EVERY_SPACE = [(kind, fields) for kind, items in SPACES.items() for fields in items]


@pytest.mark.parametrize(("kind", "fields"), EVERY_SPACE)
def test_genomes_as_exported(kind: str, fields: dict[str, Any]) -> None:
    """A column of genomes is read for every space, and genomes of another space are left out and counted."""
    space = space_of(kind, fields)
    genomes = started(space, 6)
    rows = [[json.dumps(genome), number] for number, genome in enumerate(genomes)]
    prior = read(csv_of(["genome", "f"], [*rows, ['{"no such key": 1}', 9], ["[1]", 9], ["{", 9]]), space)
    assert [dict(genome) for genome in prior.genomes] == genomes
    np.testing.assert_array_equal(prior.values["f"], np.arange(len(genomes)))
    assert f"{len(genomes)} of {len(genomes) + 3} rows are used" in prior.note
    assert f"3 that the space does not know (first, line {len(genomes) + 2}: " in prior.note


@pytest.mark.parametrize("fields", SPACES["parameters"])
def test_parameters_by_name(fields: dict[str, Any]) -> None:
    """Columns called like parameters make the same genomes: integers, levels that are numbers, absent parameters."""
    space = space_of("parameters", fields)
    genomes = started(space, 25)
    names = [item.name for item in space.domain().dimensions]
    text = csv_of([*names, "f"], [[*(genome.get(name, "") for name in names), 1] for genome in genomes])
    assert [dict(genome) for genome in read(text, space).genomes] == genomes


@pytest.mark.parametrize("fields", SPACES["mixture"])
def test_mixtures_by_component(fields: dict[str, Any]) -> None:
    """Columns called like components make the same mixtures."""
    space = space_of("mixture", fields)
    genomes = started(space, 10)
    dimensions = space.domain().dimensions
    low, high = (np.array([getattr(item, end) for item in dimensions]) for end in ("low", "high"))
    rows = (low + space.encode(genomes) * (high - low)).tolist()
    text = csv_of([*(item.name for item in dimensions), "f"], [[*row, 1] for row in rows])
    assert [dict(genome) for genome in read(text, space).genomes] == genomes


def test_mixture_that_breaks_a_rule() -> None:
    """Fractions that do not add up are left out, and the note says what to do."""
    space = space_of("mixture", {"mixtures": {"m": {"components": ["a", "b"]}}})
    prior = read("a,b,f\n0.5,0.5,1\n0.5,0.2,2\n", space)
    assert len(prior.genomes) == 1
    assert (
        "line 3: the fractions of 'm' add up to 0.7, must be 1: complete them, or divide each by"
        in prior.note
    )


@pytest.mark.parametrize("fields", SPACES["pool"])
def test_rows_of_a_pool(fields: dict[str, Any]) -> None:
    """A pool's rows are named by their own identifier, or by their number."""
    space = space_of("pool", fields)
    genomes = started(space, 5)
    text = csv_of([fields.get("id", "row"), "f"], [*([g["row"], 1] for g in genomes), ["nowhere", 1]])
    prior = read(text, space)
    assert [dict(genome) for genome in prior.genomes] == genomes
    assert "1 that the space does not know" in prior.note


def test_columns_called_otherwise() -> None:
    """`columns` says which column a property, its noise or a parameter is."""
    columns = {"f": "V vs Li", "f_uncertainty": "error", "x": "length"}
    prior = read("length;n;c;V vs Li;error\n1;2;EC;3.5;0.5\n2;2;EC;4;\n", columns=columns)
    assert prior.genomes == ({"c": "EC", "n": 2, "x": 1.0}, {"c": "EC", "n": 2, "x": 2.0})
    np.testing.assert_array_equal(prior.values["f"], [3.5, 4.0])
    np.testing.assert_array_equal(prior.noise["f"], [0.25, np.nan])


def test_columns_with_units() -> None:
    """Properties, deviations and parameters are found without the units in their headings."""
    prior = read("x (mm),n,c,f [eV],f_uncertainty [eV]\n1,2,EC,3,0.5\n")
    assert prior.genomes == ({"c": "EC", "n": 2, "x": 1.0},)
    np.testing.assert_array_equal(prior.noise["f"], [0.25])
    said = refusal("x,n,c,dft_band_gap [meV]\n1,2,EC,3\n", "dft_band_gap")
    assert "is in meV by its heading, and dft_band_gap is in eV" in said


def test_older_columns_of_errors() -> None:
    """`NAME_uncertainty` was noise, but for hull distances, whose error of the method is none."""
    for name, known in (("f", [0.25]), ("decomposition_energy", None)):
        for ending, expected in (("_noise", [0.25]), ("_uncertainty", known)):
            prior = read(f"x,n,c,{name},{name}{ending}\n1,2,EC,3,0.5\n", properties=(name,))
            assert (prior.noise.get(name) if expected is None else prior.noise[name].tolist()) == expected


def test_decimal_commas_of_parameters() -> None:
    """They are refused: their rows would be left out as candidates that the space does not know."""
    assert "column 'x' holds no plain number in 1 row (line 2), first '1,5'. Write 1.5" in refusal(
        "x;n;c;f\n1,5;2;EC;3\n"
    )


def test_some_properties_are_enough() -> None:
    """A table that has one of two properties is used for that one; rows without any value are left out."""
    prior = read("x,n,c,g\n1,2,EC,3\n1,3,EC,\n", properties=("f", "g"))
    assert set(prior.values) == {"g"}
    assert prior.note == (
        "prior known: 1 of 2 rows are used, as a source of its own; not used are 1 without a value"
    )


def test_exported_candidates_that_failed() -> None:
    """Of an exported table only complete candidates are used: a gated one's value may be an earlier stage's."""
    genome = '"{""x"": 1, ""n"": 2, ""c"": ""EC""}"'
    prior = read(f"genome,status,f\n{genome},complete,1\n{genome},gated,2\n{genome},failed,\n", same=True)
    np.testing.assert_array_equal(prior.values["f"], [1.0])
    assert prior.note.endswith(
        "as the run's own; not used are 2 of candidates that did not come to their end"
    )


def test_no_row_fits() -> None:
    """A table of which no row can be used is empty data with a note, not a fault."""
    prior = read("x,n,c,f\n70,2,EC,1\n")
    assert prior.genomes == ()
    assert prior.values["f"].shape == (0,)
    assert "0 of 1 rows are used" in prior.note


@pytest.mark.parametrize(
    ("text", "fields", "message"),
    [
        ("x,n,c,volt\n", {}, "no column of voltage. Did you mean 'volt'"),
        ("x,n,V\n", {"columns": {"voltage": "V"}}, "has no column 'c', which candidates of this space need"),
        (
            "x,n,c,voltage\n1,2,EC,<3\n",
            {},
            "column 'voltage' holds no plain number in 1 row .line 2., first '<3'",
        ),
        (
            "x,n,c,voltage,voltage_uncertainty\n1,2,EC,3,-1\n",
            {},
            "standard deviations, and they are negative",
        ),
        ("x,n,c,voltage\n", {"columns": {"voltag": "x"}}, "names 'voltag', which is no property.*'voltage'"),
    ],
)
def test_what_does_not_fit_the_search(text: str, fields: dict[str, Any], message: str) -> None:
    """A table that cannot be used for a search says so before the run starts, and why."""
    said = refusal(text, "voltage", **fields)
    assert said.startswith(
        ("cannot use the prior: known.csv", "cannot use the prior: 'columns' of known.csv")
    )
    with pytest.raises(InvdesignError, match=message):
        read(text, properties=("voltage",), **fields)


def test_crystals_need_genomes() -> None:
    """Of a space of crystals, rows without a genome are no candidates."""
    space = space_of("substitution", SPACES["substitution"][0])
    said = explain_refusal([table("formula,f\nLi3OCl,1\n")], space, ["f"])
    assert "has no column 'genome', without which rows are no candidates of this space" in said


def test_two_of_a_name() -> None:
    """Two priors of the same name could not be told apart in notes and reports."""
    space = space_of("parameters", PARAMETERS)
    one, other = table("x,n,c,f\n1,2,EC,3\n"), table("x,n,c,f\n1,2,EC,4\n", name="known")
    assert explain_refusal([one, other], space, ["f"]).startswith("is given two priors called 'known'")
    assert explain_refusal([one, other.model_copy(update={"name": "b"})], space, ["f"]) == ""


@pytest.mark.parametrize(
    ("text", "fields", "message"),
    [
        ("", {}, "known.csv is empty"),
        ("a,b,a\n", {}, "more than one column 'a'"),
        ("a,b\n1\n", {}, "line 2 has 1 cell, and there are 2 headings"),
        ("voltage,b\n1,2\n", {"columns": {"V": "voltag"}}, "has no column 'voltag'. Did you mean 'voltage'"),
    ],
)
def test_what_is_no_table(text: str, fields: dict[str, Any], message: str) -> None:
    """A file that is no table is refused with the settings."""
    with pytest.raises(ValidationError, match=message):
        table(text, **fields)


@settings_of_hypothesis(max_examples=25)
@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_numbers_survive(values: list[float]) -> None:
    """Numbers in their shortest form come back exactly."""
    text = csv_of(["x", "n", "c", "f"], [[0.5, 1, "EC", repr(value)] for value in values])
    np.testing.assert_array_equal(read(text).values["f"], values)


class Holder(Frozen):
    """Settings with priors, as an optimizer has them."""

    prior: tuple[PriorTable, ...] = Field(default=(), strict=False)


def held(value: Any, folder: Path) -> Holder:
    embedded, mistakes = embed_priors(value, folder)
    assert not mistakes
    return Holder.model_validate_json(json.dumps(embedded), context={"folder": folder})


def test_travels_without_its_file(tmp_path: Path) -> None:
    """A table's text is part of the settings: they read back the same once the file is gone."""
    path = tmp_path / "known.csv"
    path.write_text("x,n,c,f\n1,2,EC,3\n", encoding="utf-8")
    holder = held(
        {"prior": [{"table": "known.csv", "name": "old", "columns": {"f": "f"}, "same": True}]}, tmp_path
    )
    path.unlink()
    assert Holder.model_validate_json(holder.model_dump_json()) == holder
    assert holder.prior[0].label == "old"


def campaign_data(**changes: Any) -> dict[str, Any]:
    """A small campaign with two objectives, f1 and f2 of x and y."""
    data: dict[str, Any] = YAML(typ="safe").load(toy(12))
    return {**data, **changes}


def test_an_earlier_run(tmp_path: Path) -> None:
    """A run becomes a table while the campaign is read, with every digit, and is not needed again."""
    run = finished(campaign_data(), tmp_path / "earlier")
    genomes = [dict(run.trial(id).genome) for id in range(len(run.history))]
    heights = run.history.column("f1")
    run.close()
    holder = held({"prior": [{"run": "earlier", "name": "before"}]}, tmp_path)
    shutil.rmtree(tmp_path / "earlier")
    again = Holder.model_validate_json(holder.model_dump_json())
    (prior,) = read_priors(again.prior, campaign_from(campaign_data()).space, ["f1", "f2"])
    assert [dict(genome) for genome in prior.genomes] == genomes
    np.testing.assert_array_equal(prior.values["f1"], heights)
    assert (
        prior.note == f"prior before: {len(genomes)} of {len(genomes)} rows are used, as a source of its own"
    )


def test_a_campaign_keeps_what_it_read(tmp_path: Path) -> None:
    """A campaign with an earlier run as a prior is the same after the store, when the earlier run is gone."""
    finished(campaign_data(), tmp_path / "earlier").close()
    optimizer = {"kind": "bayesian", "prior": [{"run": "earlier"}]}
    campaign = campaign_from(campaign_data(optimizer=optimizer), folder=tmp_path)
    shutil.rmtree(tmp_path / "earlier")
    again = Campaign.from_dump(json.loads(json.dumps(campaign.dump())))
    assert again.optimizer == campaign.optimizer
    assert again.fingerprint == campaign.fingerprint


def test_a_table_that_does_not_fit_a_campaign(tmp_path: Path) -> None:
    """What does not fit the search is a mistake of the campaign file."""
    (tmp_path / "known.csv").write_text("x,y,F1\n0.1,0.2,3\n", encoding="utf-8")
    optimizer = {"kind": "bayesian", "prior": [{"table": "known.csv"}]}
    with pytest.raises(
        CampaignError, match=r"known.csv has no column of f1 or f2. Did you mean 'F1'|It has x, y, F1"
    ):
        campaign_from(campaign_data(optimizer=optimizer), folder=tmp_path)


def test_the_page_lists_every_setting() -> None:
    """Every setting of a prior has a row in the options table."""
    page = (ROOT / "docs" / "transfer.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in page for name in (*PriorTable.model_fields, "run"))


def test_priors_of_a_member(tmp_path: Path) -> None:
    """An optimizer within an optimizer may name earlier runs, too."""
    run = finished(campaign_data(), tmp_path / "earlier")
    run.close()
    value = {"kind": "portfolio", "members": [{"kind": "bayesian", "prior": [{"run": "earlier"}]}, "random"]}
    embedded, mistakes = embed_priors(value, tmp_path)
    assert not mistakes
    assert embedded["members"][0]["prior"][0]["table"]["name"] == "earlier.csv"
    assert embedded["members"][1] == "random"


def test_runs_that_cannot_be_read(tmp_path: Path) -> None:
    """Every run that is missing, empty or no folder is a mistake with its place, and is left out."""
    Run.create(campaign_from(campaign_data()), tmp_path / "empty").close()
    known = {"table": {"name": "known.csv", "text": "f\n"}}
    value = {"prior": [{"run": "nowhere"}, {"run": "empty"}, {"run": 3}, {"run": "empty", **known}, known]}
    embedded, mistakes = embed_priors(value, tmp_path)
    assert embedded == {"prior": [known]}
    assert [place for place, _ in mistakes] == [("prior", number, "run") for number in range(4)]
    words = (
        "holds no run",
        "no complete candidate",
        "must be the folder of a run, got 3",
        "a table or a run",
    )
    assert all(word in message for word, (_, message) in zip(words, mistakes, strict=True))
    with pytest.raises(StoreError, match="holds no run"):
        run_table(tmp_path / "nowhere")


def test_a_campaign_names_the_place(tmp_path: Path) -> None:
    """A run that is not there is a mistake of the campaign file, at its line's path."""
    optimizer = {"kind": "random", "prior": [{"run": "nowhere"}]}
    with pytest.raises(CampaignError, match=r"optimizer\.prior\[0\]\.run: .*holds no run"):
        campaign_from(campaign_data(optimizer=optimizer), folder=tmp_path)


def test_a_run_in_python() -> None:
    """Settings made in Python do not read runs, and say what does."""
    with pytest.raises(ValidationError, match=r"invdesign\.campaign\.priors\.run_table"):
        PriorTable.model_validate({"run": "runs/earlier"})
