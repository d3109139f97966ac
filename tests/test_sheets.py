"""Batch files are read back; results files say every mistake at once, and what to do."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from invdesign.candidate import genome_key
from invdesign.errors import ResultsError
from invdesign.report.export import export_run
from invdesign.report.files import OutputError
from invdesign.run.run import Run
from invdesign.run.told import Told
from invdesign.settings import load
from invdesign.sheets.batch import check_output, write_batch
from invdesign.sheets.columns import NOISE_ENDING, OLDER_NOISE_ENDING, RESERVED_HEADINGS
from invdesign.sheets.results import Results, read_results
from invdesign.tables.text import open_table
from surrogates.tabulated import experiment
from tests.support import STEPS, campaign

HEAD = "candidate,polymer,solvent,conductivity [S/cm],conductivity_noise [S/cm],uniformity"


def films(**changes: Any) -> dict[str, Any]:
    """A campaign whose results come from a laboratory."""
    return {
        "version": 1,
        "name": "films",
        "seed": 3,
        "space": {
            "kind": "parameters",
            "parameters": {
                "polymer": {"real": [1, 10]},
                "solvent": {"categorical": ["EC", "DMC", "none"]},
                "passes": {"integer": [1, 4], "when": {"solvent": ["EC", "DMC"]}},
            },
        },
        "evaluate": [{"experiment": {"provides": {"conductivity": "S/cm", "uniformity": ""}}}],
        "objectives": [{"maximize": "conductivity"}, {"maximize": "uniformity"}],
        "optimizer": "random",
        "budget": {"candidates": 20},
        "engine": {"kind": "local", "workers": 0},
        **changes,
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Four candidates are in the laboratory."""
    opened = Run.create(campaign(films()), tmp_path_factory.mktemp("films") / "run")
    opened.ask(4)
    yield opened
    opened.close()


def read(run: Run, content: str | bytes, folder: Path, name: str = "results.csv") -> Results:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_results(run, file)


def mistakes(run: Run, content: str | bytes, folder: Path, name: str = "results.csv") -> str:
    with pytest.raises(ResultsError) as caught:
        read(run, content, folder, name)
    return str(caught.value)


def filled(text: str, **cells: str) -> str:
    """A batch file with cells filled in, in every row."""
    rows = list(csv.DictReader(io.StringIO(text)))
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]))
    writer.writeheader()
    writer.writerows(
        {
            **row,
            **{
                heading: cells[name]
                for heading in row
                for name in cells
                if heading.startswith(name + " ") or heading == name
            },
        }
        for row in rows
    )
    return file.getvalue()


# Batches.


@pytest.mark.parametrize("name", ["batch.csv", "batch.json"])
def test_a_batch_is_read_back(run: Run, name: str, tmp_path: Path) -> None:
    """Empty it has no results; filled in, the results of its candidates."""
    write_batch(run, [0, 1, 2, 3], tmp_path / name)
    assert read_results(run, tmp_path / name) == Results((), 4)
    text = (tmp_path / name).read_text(encoding="utf-8")
    if name.endswith("json"):
        rows = [{**row, "conductivity": 0.5, "uniformity": 1, "note": "dry"} for row in json.loads(text)]
        found = read(run, json.dumps(rows), tmp_path, "filled.json")
    else:
        found = read(run, filled(text, conductivity="0.5", uniformity="1", note="dry"), tmp_path)
    values = {"conductivity": 0.5, "uniformity": 1.0}
    assert found.told == tuple(Told(id, None, values, stage="experiment", note="dry") for id in range(4))


def test_a_batch_without_its_numbers_names_the_same_candidates(run: Run, tmp_path: Path) -> None:
    """By the genome to the last digit; by the columns alone, as far as these show digits."""
    write_batch(run, [0, 1, 2, 3], tmp_path / "batch.csv")
    text = filled((tmp_path / "batch.csv").read_text(), conductivity="0.5", uniformity="1", candidate="")
    keys = [run.history.candidate(id).key for id in range(4)]
    told = read(run, text, tmp_path).told
    assert [genome_key(item.genome or {}) for item in told] == keys
    found = read(run, filled(text, genome=""), tmp_path)
    assert [genome_key(item.genome or {}) for item in found.told] == keys
    assert found.remarks == ()


SPACES: dict[str, dict[str, Any]] = {
    "mixture": {
        "mixtures": {
            "solvent": ["EC", "DMC", "EMC"],
            "salt": {"components": {"LiPF6": [0.8, 1.5]}, "total": "free"},
        }
    },
    "pool": {
        "source": "campaigns/data/lithium_phases.csv",
        "id": "name",
        "columns": ["source"],
        "composition": "formula",
    },
    "substitution": {"parent": "antiperovskite", "sites": {"A": ["Li"], "X": ["Cl", "Br"], "B": ["O", "S"]}},
}


@pytest.mark.parametrize("kind", SPACES)
def test_batches_of_every_kind_of_space(kind: str, tmp_path: Path) -> None:
    """Amounts, rows of a pool and formulas are shown, and read back without number or genome where they can be."""
    opened = Run.create(campaign(films(space={"kind": kind, **SPACES[kind]})), tmp_path / "run")
    opened.ask(2)
    files = write_batch(opened, [0, 1], tmp_path / "batch.csv")
    text = (tmp_path / "batch.csv").read_bytes().decode("utf-8-sig")
    head = text.splitlines()[0].split(",")
    shown = {
        "mixture": ["EC", "LiPF6"],
        "pool": ["formula", "row", "source"],
        "substitution": ["formula", "structure"],
    }
    assert set(shown[kind]) <= set(head)
    assert [file.exists() for file in files] == ([True, True] if kind == "substitution" else [])
    cells = {"conductivity": "1", "uniformity": "2", "candidate": "", "genome": ""}
    for item, id in zip(read(opened, filled(text, **cells), tmp_path).told, (0, 1), strict=True):
        genome = dict(opened.history.candidate(id).genome)
        if kind == "mixture":
            assert item.genome is not None
            assert item.genome["solvent"] == pytest.approx(genome["solvent"], abs=1e-5)
        else:
            assert item.genome == genome
    opened.close()


def test_a_batch_replaces_only_an_empty_batch(run: Run, tmp_path: Path) -> None:
    """Not one with results in it, and no other file."""
    batch = tmp_path / "batch.csv"
    write_batch(run, [0, 1], batch)
    write_batch(run, [0, 1, 2], batch)
    assert len(batch.read_text().splitlines()) == 4
    batch.write_text(filled(batch.read_text(), uniformity="1"), newline="")
    with pytest.raises(OutputError, match=r"filled in already \(uniformity, line 2\)"):
        write_batch(run, [3], batch)
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(OutputError, match="no batch of candidates"):
        check_output(run.campaign, tmp_path / "other.csv")


def test_other_characters_are_marked_for_spreadsheets(tmp_path: Path) -> None:
    """A unit such as Å has the file begin with the mark by which spreadsheets know UTF-8; ASCII has none."""
    measured = [{"experiment": {"provides": {"grain": "Å"}}}]
    opened = Run.create(
        campaign(films(evaluate=measured, objectives=[{"minimize": "grain"}])), tmp_path / "run"
    )
    opened.ask(1)
    write_batch(opened, [0], tmp_path / "batch.csv")
    assert (tmp_path / "batch.csv").read_bytes().startswith(b"\xef\xbb\xbfcandidate")
    assert read(opened, "candidate,grain [\u212b]\n0,3\n", tmp_path).told[0].properties == {
        "grain": 3.0
    }  # the sign
    opened.close()


def test_names_that_spreadsheets_would_run(tmp_path: Path) -> None:
    """Text that begins a formula is marked in batches and exports, and told or used as it was."""
    names = ["=cmd()", "+a", "-b", "@c", "'=d", "'e", "plain"]
    space = {"kind": "parameters", "parameters": {"name": {"categorical": names}}}
    opened = Run.create(campaign(films(space=space)), tmp_path / "run")
    opened.ask(7)
    write_batch(opened, range(7), tmp_path / "batch.csv")
    text = (tmp_path / "batch.csv").read_text()
    assert not re.search(r"(^|,)[=+@]|(^|,)-[a-z]", text, re.MULTILINE)
    assert len(read(opened, filled(text, conductivity="1", uniformity="1"), tmp_path).told) == 7
    alone = filled(text, conductivity="1", uniformity="1", candidate="", genome="")
    told = read(opened, alone, tmp_path).told
    assert {str((item.genome or {})["name"]) for item in told} == set(names)
    export_run(opened, "csv", tmp_path / "all.csv")
    table = open_table(tmp_path / "all.csv")
    assert [json.loads(cell)["name"] for cell in table.read_columns(["genome"])[0]["genome"]] == [
        opened.history.candidate(id).genome["name"] for id in range(7)
    ]
    opened.close()


# Files made by hand.


def test_columns_in_any_order_and_without_units(run: Run, tmp_path: Path) -> None:
    """What is not measured yet is left out; uncertainties, labels and remarks are taken along."""
    text = "note,uniformity,measurement,candidate,conductivity,conductivity_uncertainty\n"
    text += "cracked,0.9,b,2,1e-3,2e-4\n,,,1,,\n,0.8,,0,2e-3,\n"
    found = read(run, text, tmp_path)
    first = {"conductivity": 1e-3, "uniformity": 0.9}
    assert found.told[0] == Told(
        2, None, first, {"conductivity": 2e-4}, stage="experiment", label="b", note="cracked"
    )
    assert (found.told[1].candidate, found.told[1].noise, found.open) == (0, {}, 1)


@pytest.mark.parametrize("separator", [";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_how_spreadsheets_save(run: Run, separator: str, encoding: str, tmp_path: Path) -> None:
    """Semicolons and tabs, marks at the beginning, lines that end as on Windows, empty lines at the end."""
    text = separator.join(["candidate", "conductivity [S/cm]", "uniformity"]) + "\r\n"
    text += separator.join(["0", "0.5", "1.0"]) + "\r\n" + separator * 2 + "\r\n"
    found = read(run, text.encode(encoding), tmp_path)
    assert found.told[0].properties == {"conductivity": 0.5, "uniformity": 1.0}


def test_an_unasked_candidate_is_described(run: Run, tmp_path: Path) -> None:
    """In the columns of its design, or by its genome; a parameter that does not exist is left empty."""
    text = "candidate,polymer,solvent,passes,genome,conductivity,uniformity\n"
    text += ",2.5,EC,3,,1,1\n,3,none,,,1,1\n"
    text += ',,,,"{""polymer"": 4, ""solvent"": ""none""}",1,1\n'
    genomes = [item.genome for item in read(run, text, tmp_path).told]
    assert genomes == [
        {"polymer": 2.5, "solvent": "EC", "passes": 3},
        {"polymer": 3.0, "solvent": "none"},
        {"polymer": 4.0, "solvent": "none"},
    ]
    assert isinstance((genomes[1] or {})["polymer"], float)


def test_a_failure_is_told_with_its_cause(run: Run, tmp_path: Path) -> None:
    """A row with a cause and no values."""
    (told,) = read(run, "candidate,failure\n1,gelled\n", tmp_path).told
    assert told == Told(1, failure="gelled", stage="experiment")


def test_two_measurements_of_one_candidate(run: Run, tmp_path: Path) -> None:
    """With other numbers, or with the same and a name each."""
    text = "candidate,measurement,conductivity,uniformity\n0,,1,1\n0,,2,1\n0,a,2,1\n0,b,2,1\n"
    assert [item.label for item in read(run, text, tmp_path).told] == ["", "", "a", "b"]


# Mistakes.

BAD: dict[str, tuple[str, list[str]]] = {
    "decimal comma": (
        "candidate;conductivity;uniformity\n0;0,5;1\n",
        ["results.csv:2: conductivity: must be a finite number, got '0,5'. Write 0.5, with a decimal point."],
    ),
    "text": (
        "candidate,conductivity,uniformity\n0,high,1\n",
        [":2: conductivity: must be a finite number, got 'high'."],
    ),
    "unit in a cell": ("candidate,conductivity,uniformity\n0,0.5 mS/cm,1\n", ["Units stand in the heading"]),
    "not a number": (
        "candidate,conductivity,uniformity\n0,NaN,1\n1,inf,1\n",
        [":2: ", ":3: ", "Leave the cell empty"],
    ),
    "another unit": (
        "candidate,conductivity [mS/cm],uniformity\n0,1,1\n",
        [
            ":1: conductivity [mS/cm]: is in mS/cm by its heading, and in the campaign conductivity is in S/cm",
            "head the column 'conductivity [S/cm]'",
        ],
    ),
    "a unit where there is none": (
        "candidate,conductivity,uniformity [%]\n0,1,1\n",
        ["a number without unit"],
    ),
    "unknown candidate": (
        "candidate,conductivity,uniformity\n7,1,1\n",
        [":2: candidate: there is no candidate 7; this run has 4 (0 to 3).", "leave the cell empty"],
    ),
    "no number of a candidate": (
        "candidate,conductivity,uniformity\n1.5,1,1\n",
        ["must be the number of a candidate"],
    ),
    "missing column": (
        "candidate,conductivity\n0,1\n",
        [":1: uniformity: there is no such column, and experiment gives conductivity, uniformity"],
    ),
    "slip of the pen": (
        "candidate,conductivity,uniformty\n0,1,1\n",
        [
            ": 1 mistake\n",
            "uniformty: no column of this run's files is called so. Did you mean 'uniformity'?",
        ],
    ),
    "missing value": (
        "candidate,conductivity,uniformity\n0,1,\n",
        [":2: uniformity: is empty", "column failure why"],
    ),
    "nobody": ("conductivity,uniformity\n1,1\n", [":2: candidate: is empty", "passes, polymer, solvent"]),
    "noise": (
        "candidate,conductivity,conductivity_noise,uniformity\n0,1,-1,1\n1,1,0,1\n2,,3,\n",
        [
            ":2: conductivity_noise: must be a standard deviation above 0, got '-1'.",
            ":3: ",
            ":4: conductivity_noise: is given, and conductivity itself is not.",
        ],
    ),
    "the same twice": (
        "candidate,conductivity,uniformity\n0,1,1\n1,1,1\n0,1.0,1\n",
        [":4: row: says the same as line 2.", "give each a name in column measurement"],
    ),
    "failure and values": (
        "candidate,failure,conductivity,uniformity\n0,broke,1,1\n",
        ["a failure or has values, not both"],
    ),
    "other genome": (
        'candidate,genome,conductivity,uniformity\n0,"{""polymer"": 2.0, ""solvent"": ""none""}",1,1\n',
        [":2: genome: is not that of candidate 0", "clear the cells candidate and genome"],
    ),
    "no genome": (
        "candidate,genome,conductivity,uniformity\n,oops,1,1\n",
        [":2: genome: must be the JSON of a genome"],
    ),
    "a choice of another space": (
        "candidate,polymer,solvent,conductivity,uniformity\n,9,toluene,1,1\n",
        [":2: design: is none of this run's space: parameter 'solvent' must be one of EC, DMC, none"],
    ),
    "half a design": (
        "candidate,polymer,conductivity,uniformity\n,2,1,1\n",
        ["the genome lacks the parameter 'solvent'"],
    ),
    "comma in a design": (
        "candidate;polymer;solvent;conductivity;uniformity\n;2,5;none;1;1\n",
        ["got '2,5'", "Write numbers with a decimal point."],
    ),
    "two columns of one property": (
        "candidate,conductivity,conductivity [S/cm],uniformity\n0,1,2,1\n",
        [":1: conductivity [S/cm]: is the same as column conductivity. Leave one of them out."],
    ),
    "two columns of a name": (
        "candidate,uniformity,uniformity\n0,1,1\n",
        ["more than one column of this heading"],
    ),
    "more cells than headings": (
        "candidate,conductivity,uniformity\n0,0,5,1\n",
        ["has 4 cells, and there are 3 headings."],
    ),
    "no heading": (
        "candidate,conductivity,uniformity,\n0,1,1,dry\n",
        ["column 4: holds 'dry' and has no heading."],
    ),
    "an open quotation": (
        'candidate,note\n0,"never closed\n',
        [":2: row: has a quotation mark that is never closed."],
    ),
    "unknown stage": (
        "candidate,stage,conductivity,uniformity\n0,experimnt,1,1\n",
        ["Did you mean 'experiment'?"],
    ),
    "empty": (" \n", ["the file is empty"]),
}


@pytest.mark.parametrize("name", BAD)
def test_mistakes_say_where_and_what_to_do(run: Run, name: str, tmp_path: Path) -> None:
    """File, line, column, what was found, what is allowed; and that nothing was recorded."""
    content, expected = BAD[name]
    message = mistakes(run, content, tmp_path)
    assert not [part for part in expected if part not in message], message
    assert message.startswith("results.csv: ")
    assert message.endswith("Nothing was recorded.")


def test_every_mistake_is_told_at_once(run: Run, tmp_path: Path) -> None:
    """In the order of the lines, those of the headings first."""
    text = "candidate,conductivity [mS/cm],uniformity,weather\n9,1,x,rain\n0,1,0.5,\n1,2,nan,\n"
    found = mistakes(run, text, tmp_path)
    lines = [line.split(":")[1] for line in found.splitlines()[1:-1]]
    assert lines == ["1", "1", "2", "2", "4"], found


def test_an_edited_recipe_is_no_repeat(run: Run, tmp_path: Path) -> None:
    """What the columns say must be the candidate's own, as far as a spreadsheet keeps digits."""
    own = run.history.candidate(0).genome
    text = "candidate,polymer,conductivity,uniformity\n0,{},1,1\n"
    assert read(run, text.format(f"{own['polymer']:.7g}"), tmp_path).told
    message = mistakes(run, text.format(f"{float(str(own['polymer'])) * 1.01:.6g}"), tmp_path)
    assert f"and candidate 0 has {own['polymer']}" in message
    assert "the row is a candidate of its own" in message


@pytest.mark.parametrize(
    ("content", "name", "expected"),
    [
        (b"PK\x03\x04....", "results.xlsx", "save it as 'CSV UTF-8'"),
        (b"\xff\xfec", "results.csv", "is no UTF-16 text at line 1; save it as UTF-8"),
        (b"a\0b", "results.csv", "is not a text file"),
        (b"{", "results.json", "this is no JSON"),
        (b'{"candidate": 0}', "results.json", "expected a list of objects"),
        (
            b'[{"candidate": true, "conductivity": "x", "uniformity": 1}]',
            "results.json",
            "entry 1, candidate",
        ),
    ],
)
def test_what_is_no_table(run: Run, content: bytes, name: str, expected: str, tmp_path: Path) -> None:
    """Workbooks, other encodings, other JSON: refused in words."""
    assert expected in mistakes(run, content, tmp_path, name)


def test_a_missing_file(run: Run, tmp_path: Path) -> None:
    """Its place is told."""
    with pytest.raises(ResultsError, match="there is no such file"):
        read_results(run, tmp_path / "nothing.csv")


@settings(
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(
        st.lists(st.sampled_from(["0", "1", "", "x", '"', ";", "NaN", "{}", "0,5"]), max_size=8), max_size=5
    )
)
def test_no_file_is_a_stack_trace(run: Run, tmp_path: Path, rows: list[list[str]]) -> None:
    """Whatever stands in the cells: results, or mistakes in words."""
    text = HEAD + ",failure,genome\n" + "\n".join(",".join(row) for row in rows)
    with suppress(ResultsError):
        assert read(run, text, tmp_path).open <= len(rows)


def test_a_parameter_may_be_called_as_another_column(tmp_path: Path) -> None:
    """Its column is set apart, and read back."""
    space = {"kind": "parameters", "parameters": {"note": {"real": [0, 1]}, "uniformity": {"real": [0, 1]}}}
    opened = Run.create(campaign(films(space=space)), tmp_path / "run")
    opened.ask(1)
    write_batch(opened, [0], tmp_path / "batch.csv")
    text = filled(
        (tmp_path / "batch.csv").read_text(), candidate="", genome="", conductivity="1", uniformity="2"
    )
    (told,) = read(opened, text, tmp_path).told
    assert told.properties == {"conductivity": 1.0, "uniformity": 2.0}
    assert told.genome == pytest.approx(dict(opened.history.candidate(0).genome), rel=1e-5)
    opened.close()


def test_the_structure_that_the_work_starts_from(tmp_path: Path) -> None:
    """An experiment that requires what an earlier stage made has its file beside the batch."""
    stages = [
        f"{STEPS}:Height",
        f"{STEPS}:Crystal",
        {"experiment": {"provides": {"mass": "g"}, "requires": ["structure:relaxed"]}},
    ]
    space = {"kind": "parameters", "parameters": {"x": {"real": [0, 1]}}}
    changes = {"evaluate": stages, "space": space, "objectives": [{"maximize": "mass"}]}
    opened = Run.create(campaign(films(**changes)), tmp_path / "run")
    opened.ask(1)
    (file,) = write_batch(opened, [0], tmp_path / "batch.csv")
    assert file == tmp_path / "batch_structures" / "000000.cif"
    assert f"{opened.structure(0, 'relaxed').lattice.a:.10f}" in file.read_text()  # type: ignore[union-attr]
    assert "batch_structures/000000.cif" in (tmp_path / "batch.csv").read_text()
    opened.close()


# Several stages.


def test_a_row_may_hold_the_results_of_several_stages(tmp_path: Path) -> None:
    """Each gets its own; where two give the same, a column says whose it is, and a failure says where."""
    stages = [
        {"experiment": {"name": "quick", "provides": {"conductivity": "S/cm"}}},
        {"experiment": {"name": "slow", "provides": {"conductivity": "S/cm", "uniformity": ""}}},
        {"experiment": {"name": "scale", "provides": {"mass": "g"}}},
    ]
    opened = Run.create(campaign(films(evaluate=stages)), tmp_path / "run")
    opened.ask(2)
    text = "candidate,stage,conductivity,mass,failure\n0,quick,1,,\n1,scale,,2,\n"
    assert [(item.stage, dict(item.properties)) for item in read(opened, text, tmp_path).told] == [
        ("quick", {"conductivity": 1.0}),
        ("scale", {"mass": 2.0}),
    ]
    both = "candidate,uniformity,mass\n0,1,2\n"
    assert "there is no such column, and slow gives conductivity, uniformity" in mistakes(
        opened, both, tmp_path
    )
    assert "several stages give it" in mistakes(opened, "candidate,conductivity\n0,1\n", tmp_path)
    assert "which stage failed?" in mistakes(opened, "candidate,failure\n0,lost\n", tmp_path)
    write_batch(opened, [0, 1], tmp_path / "batch.csv")
    assert "1,quick," in (tmp_path / "batch.csv").read_text()
    opened.close()


# The evaluator.


def test_columns_of_files_are_no_properties() -> None:
    """The experiment refuses names that its files use."""
    assert frozenset(RESERVED_HEADINGS) == experiment.RESERVED_COLUMNS
    assert experiment.NOISE_SUFFIXES == (NOISE_ENDING, OLDER_NOISE_ENDING)


@pytest.mark.parametrize(
    ("settings_", "expected"),
    [
        ({"provides": {}}, "at least 1"),
        ({"provides": {"note": ""}}, "name of another column"),
        ({"provides": {"x": "", "x_uncertainty": ""}}, "name of another column"),
        ({"provides": {"energy_above_hull": "meV"}}, "is in eV/atom everywhere, got 'meV'"),
        ({"provides": {"grain size": "m"}}, "names are like"),
        ({"provides": {"structure:pressed": ""}}, "an experiment gives numbers"),
        ({"provides": {"x": ""}, "noise": {"y": 1.0}}, "noise is given of 'y', which is not measured"),
        ({"provides": {"x": ""}, "noise": {"x": 0.0}}, "greater than 0"),
        ({"provides": {"x": ""}, "requires": ["x"]}, "cannot be required before"),
    ],
)
def test_settings_of_an_experiment(settings_: dict[str, Any], expected: str) -> None:
    """Wrong ones are refused in words."""
    with pytest.raises(ValueError, match=expected):
        load("evaluators", {"kind": "experiment", **settings_})
