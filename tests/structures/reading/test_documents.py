"""Structures as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from pymatgen.core import Lattice, Structure

from invdesign.structures.files import compress_text, decompress_text, structure_from_json, structure_to_json
from invdesign.structures.reading.raw import StructureFileError
from invdesign.structures.reading.read import read_structure, read_structures
from tests.structures.reading.samples import crystals, pymatgen_json, refusal, same_crystal

ROCK_SALT = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(4.21), ["Mg2+", "O2-"], [[0, 0, 0], [0.5, 0.5, 0.5]]
)


@settings(max_examples=20, deadline=None)
@given(crystals())
def test_what_is_written_is_read(crystal: Structure) -> None:
    """Both forms, pymatgen's and that of the store, come back to the last digit."""
    for text in (json.dumps(pymatgen_json(crystal)), structure_to_json(crystal)):
        found = read_structure(text, "crystal.json").structure
        assert same_crystal(found, crystal, 1e-12)
    assert structure_to_json(
        structure_from_json(decompress_text(compress_text(structure_to_json(crystal))))
    ) == structure_to_json(crystal)


def test_charges_properties_and_labels() -> None:
    """Charges are dropped, properties are passed over, labels are kept; deuterium is hydrogen."""
    data = pymatgen_json(ROCK_SALT)
    data["sites"][0]["label"] = "Mg_a"
    data["sites"][1]["properties"] = {"magmom": 5.0}
    data["sites"][2]["species"][0]["element"] = "D"
    found = read_structure(json.dumps(data), "a.json").structure
    assert [site.species_string for site in found] == ["Mg", "Mg", "H", "Mg", "O", "O", "O", "O"]
    assert [site.label for site in found][:2] == ["Mg_a", "Mg2+"]


def test_too_much_json_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Text that would take many times its size in memory is not parsed."""
    monkeypatch.setattr("invdesign.structures.reading.documents.MAX_JSON_LENGTH", 100)
    assert "at most 0.0001 million of JSON are read" in refusal("[" * 200, "a.json")


def test_lists_hold_several() -> None:
    """Where one structure is needed, a list of two is refused with the remedy."""
    text = json.dumps([pymatgen_json(ROCK_SALT)] * 2)
    assert [reading.name for reading in read_structures(text, "set.json")] == ["set.json#1", "set.json#2"]
    with pytest.raises(StructureFileError, match=r"set\.json holds 2 structures.*a file of its own"):
        read_structure(text, "set.json")


def test_entries_hold_structures() -> None:
    """Entries and documents that hold a structure beside other keys are read; a database says what it is."""
    entries = [
        {"@class": "ComputedStructureEntry", "energy": -50.0, "structure": pymatgen_json(ROCK_SALT)},
        {"material_id": "mp-1265", "structure": pymatgen_json(ROCK_SALT), "band_gap": 4.4},
    ]
    found = read_structures(json.dumps(entries), "docs.json")
    assert [reading.structure.composition.reduced_formula for reading in found] == ["MgO", "MgO"]
    assert "'structure'" in refusal(json.dumps({"structure": {"a": 1}}), "docs.json")
    database = json.dumps({"1": {"numbers": [3]}, "ids": [1], "nextid": 2})
    assert "name the file itself as the source of a pool" in refusal(database, "rows.json")


def _forged(marker: Path) -> list[dict[str, Any]]:
    """Objects that a decoder which imports classes would make a file of."""
    return [
        {"@module": "os", "@class": "system", "command": f"touch {marker}"},
        {"@module": "subprocess", "@class": "Popen", "args": ["touch", str(marker)]},
        {"@module": "pathlib", "@class": "Path", "@version": None, "data": str(marker)},
        {"@callable": "system", "@module": "os", "@bound": None},
        {"@module": "builtins", "@class": "eval", "source": f"open({str(marker)!r}, 'w')"},
    ]


def _places(value: Any, put: Any) -> list[Any]:
    """Copies of a JSON value, each with another part of it replaced."""
    found = [put]
    if isinstance(value, dict):
        found += [{**value, key: part} for key in value for part in _places(value[key], put)]
        found += [{**value, **put}] if isinstance(put, dict) else []
    elif isinstance(value, list):
        found += [
            [*value[:k], part, *value[k + 1 :]]
            for k in range(min(len(value), 2))
            for part in _places(value[k], put)
        ]
    return found


def test_nothing_in_a_file_is_ever_run(tmp_path: Path) -> None:
    """Classes named at any level of a file are never imported or called: it is read without them, or refused."""
    marker = tmp_path / "executed"
    small = pymatgen_json(ROCK_SALT.get_primitive_structure())
    small["properties"] = {"a": {"b": 1}}
    small["sites"][0]["properties"] = {"c": [1]}
    (tmp_path / "forged_module.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    own = {"@module": "forged_module", "@class": "Forged"}
    for put in [*_forged(marker), own]:
        for data in _places(small, put):
            text = json.dumps(data)
            message = refusal(text, "forged.json")
            assert not message or message.startswith("forged.json")
    assert not marker.exists()
    assert "forged_module" not in sys.modules


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["lattice"].update(matrix=[[1, 0, 0], [0, 1, 0]]), "three vectors"),
        (
            lambda d: d["lattice"].update(matrix=[[float("nan"), 0, 0], [0, 4, 0], [0, 0, 4]]),
            "NaN is not a finite number",
        ),
        (lambda d: d["lattice"].update(pbc=[True, True, False]), "periodic along ab of its axes only"),
        (lambda d: d.pop("lattice"), "it is a slab, wire or molecule"),
        (lambda d: d.update(sites={}), "'sites' must be a list"),
        (lambda d: d.update(sites=[]), "has no atoms"),
        (lambda d: d["sites"][0].update(xyz=[1.0, 0.0, 0.0]), "site 1 lies 1 Å apart by 'abc'"),
        (lambda d: [d["sites"][0].pop("abc"), d["sites"][0].pop("xyz")], "neither 'abc' nor 'xyz'"),
        (lambda d: d["sites"][0].update(abc="0 0 0"), "three numbers"),
        (lambda d: d["sites"][0].update(abc=[True, 0, 0]), "no finite number"),
        (lambda d: d["sites"][0].update(abc=[10**400, 0, 0]), "is too large"),
        (lambda d: d["sites"][0]["species"][0].update(element="X"), "holds no element"),
        (lambda d: d["sites"][0]["species"][0].update(element="Mg\n"), "holds no element"),
        (lambda d: d["sites"][0]["species"][0].update(occu=1.5), "the occupancy 1.5 of Mg"),
        (lambda d: d["sites"][0].update(species=[]), "no list of species"),
    ],
)
def test_what_is_no_crystal_is_refused(change: Any, message: str) -> None:
    """The site and the value are named."""
    data = pymatgen_json(ROCK_SALT)
    change(data)
    assert message in refusal(json.dumps(data), "a.json")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "3",
        "null",
        '"text"',
        "{}",
        '{"lattice": 1, "sites": 2}',
        "[" * 100_000,
        '{"a": 1, "a": 2}',
        "[[1]]",
    ],
)
def test_what_is_no_structure_is_refused(text: str) -> None:
    """Half a file, another value, deep nesting and keys that stand twice."""
    assert refusal(text, "a.json").startswith("a.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"species": ["Li", "Xx"]}, "holds 'Xx', which is no element"),
        ({"species": [{"@module": "os", "@class": "system"}, "Li"]}, "no shares of a site"),
        ({"species": [{"Xx": 0.5}, "Li"]}, "holds .Xx., which is no element"),
        ({"species": [{"Li": 1.5}, "Li"]}, "no shares of a site"),
        ({"species": [{"Li": float("nan")}, "Li"]}, "finite|no shares"),
        ({"species": [["Li"], "Li"]}, "which is no element"),
        ({"species": ["Li"]}, "no position for each"),
        ({"species": "LiLi"}, "no position for each"),
        ({"positions": [[0, 0, 0], [0.5, 0.5]]}, "three numbers"),
        ({"positions": [[0, 0, 0], [0.5, 0.5, 1e999]]}, "not a finite number"),
        ({"lattice": [[0, 0, 0], [0, 4, 0], [0, 0, 4]]}, "without a volume"),
        ({"lattice": {"@module": "os"}}, "three vectors"),
        ({"@module": "os", "@class": "system"}, "not in the form of a store"),
    ],
)
def test_a_forged_store_is_refused(change: dict[str, Any], message: str) -> None:
    """Nothing but numbers and elements is taken from a store."""
    data = json.loads(structure_to_json(Structure(np.eye(3) * 4, ["Li", "Li"], [[0, 0, 0], [0.5, 0.5, 0.5]])))
    with pytest.raises(StructureFileError, match=message):
        structure_from_json(json.dumps({**data, **change}))


@pytest.mark.parametrize("blob", [b"", b"no zlib", compress_text("x" * 1000)[:-6], compress_text("x")[:4]])
def test_a_damaged_blob_is_refused(blob: bytes) -> None:
    """A blob that was cut off or is something else is told, not a trace."""
    with pytest.raises(StructureFileError, match="the stored structure is"):
        structure_from_json(decompress_text(blob))


def test_a_blob_that_would_fill_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unpacking stops at a size that no structure has."""
    monkeypatch.setattr("invdesign.structures.files.MAX_UNPACKED_BYTES", 10_000)
    with pytest.raises(StructureFileError, match="longer than 10,000 bytes"):
        decompress_text(compress_text(" " * 20_000))
