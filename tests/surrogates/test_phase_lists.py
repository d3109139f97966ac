"""Lists of phases: systems, lacking phases, extension of a set, and builds that relax only what is new."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from invdesign.errors import InvdesignError
from invdesign.settings import Settings
from surrogates import commands
from surrogates.stability.coverage import coverage_notes, find_gaps
from surrogates.stability.reference import ReferenceSet, Skipped, load_reference, make_reference
from surrogates.stability.reference_build import Progress, build_reference
from surrogates.stability.reference_sources import PublishedCrystal, read_structures, read_systems
from tests.surrogates.references import made


def entry(symbol: str, edge: float = 4.0, source: str = "made up") -> str:
    """A metal in the structure of copper."""
    return (
        f"  - {{name: {symbol}, formula: {symbol}, spacegroup: 225, cell: [{edge}, {edge}, {edge}, 90, 90, 90], "
        f"sites: [{{label: M, element: {symbol}, wyckoff: 4a, position: [0, 0, 0]}}], source: {source}}}\n"
    )


HEAD = "systems: [Cu-Au, Ag]\nlacking:\n  - {name: CuAu, reason: nobody measured it}\nphases:\n"


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """Write a list of phases."""

    def write_text(text: str) -> Path:
        file = tmp_path / "phases.yaml"
        file.write_text(text, encoding="utf-8")
        return file

    return write_text


def invoke(*arguments: str | Path) -> Any:
    return CliRunner().invoke(commands.reference, [str(item) for item in arguments])


# --- the file ---


def test_a_list_names_its_systems_and_what_it_lacks(write: Callable[[str], Path], emt: Settings) -> None:
    """Both end up in the set, the lacking phases with formula and reason."""
    file = write(HEAD + entry("Cu") + entry("Au"))
    found = build_reference(read_structures(file), emt, name="metals", systems=read_systems(file))
    assert found.systems == ("Cu-Au", "Ag")
    assert found.skipped == (Skipped(name="CuAu", reason="nobody measured it", formula="CuAu"),)
    assert [phase.name for phase in found.phases] == ["Cu", "Au"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("systems: [Cu-Xx]\nphases: []", "'Cu-Xx' is no chemical system: Xx is no element"),
        ("lacking: [{name: 'Q9 (cubic)', reason: x}]\nphases: []", "lacking: .*Q9"),
        ("lacking: [{name: CuAu}]\nphases: []", r"lacking.0.reason: Field required"),
        ("lackng: []\nphases: []", "lackng: Extra inputs are not permitted"),
        ("systems: [Cu]", "a list of crystals is needed"),
    ],
)
def test_a_wrong_list_is_refused(write: Callable[[str], Path], text: str, message: str) -> None:
    """The message names the file and the mistake."""
    with pytest.raises(InvdesignError, match=rf"phases\.yaml is no list of crystals: .*{message}"):
        read_structures(write(text))


def test_only_crystallography_names_systems(tmp_path: Path, write: Callable[[str], Path]) -> None:
    """A folder, and a plain list, are made for all their elements."""
    assert read_systems(tmp_path) == ()
    assert read_systems(write(entry("Cu").replace("  - ", "- "))) == ()


# --- what a set lacks ---


def lithium_set(potential: str = "toy") -> ReferenceSet:
    """Li-P-S and Li-O, without P-O; Li3PS4 is known to be lacking."""
    energies = {
        "Li": -2.0,
        "P": -5.0,
        "S": -4.0,
        "O": -5.0,
        "Li2S": -4.5,
        "Li3P": -3.5,
        "P2S5": -4.6,
        "Li2O": -5.0,
    }
    found = made(energies, potential)
    return make_reference(
        name="toy", potential=found.potential, relaxation=found.relaxation, phases=found.phases, versions={},
        systems=("Li-P-S", "Li-O"), skipped=[Skipped(name="Li3PS4 (Pnma)", reason="lost", formula="Li3PS4")],
    )  # fmt: skip


def test_gaps_are_told_for_the_systems_of_a_set() -> None:
    """Phosphorus and oxygen meet in none of them, so that no compound of both is noted; it is where it is asked for."""
    found = lithium_set()
    assert find_gaps(found).binaries == ()
    assert {gap.system for gap in find_gaps(found, {"O", "P"}).binaries} == {("O", "P")}
    assert [item.name for item in find_gaps(found, {"Li", "P", "S"}).phases] == ["Li3PS4 (Pnma)"]
    assert find_gaps(found, {"Li", "O"}).phases == ()
    assert find_gaps(found, {"Li", "Cl"}).elements == ("Cl",)


def test_notes_are_those_of_the_elements_of_a_campaign() -> None:
    """A search without phosphorus hears nothing of Li3PS4, one with chlorine that it will fail."""
    found = lithium_set()
    ternary, lacking = coverage_notes(found, frozenset({"Li", "P", "S"}))
    assert "these known compounds are not in the set: Li3PS4" in ternary
    assert "lacks these phases: Li3PS4 (Pnma). Candidates that would decompose into them" in lacking
    assert coverage_notes(found, frozenset({"Li", "O"})) == ()
    (bare,) = coverage_notes(found, frozenset({"Li", "Cl"}))
    assert "has no elemental phase of Cl: candidates with it fail" in bare


def test_a_campaign_hears_of_gaps_in_its_own_elements(tmp_path: Path, emt: Settings) -> None:
    """The elements are those of its search space."""
    from invdesign.campaign.load import load_campaign

    file = tmp_path / "toy.json"
    file.write_text(lithium_set(emt.fingerprint).to_json(), encoding="utf-8")
    campaign = """
version: 1
name: small
space: {kind: crystal, elements: ELEMENTS, atoms: [2, 8]}
evaluate:
  - relax: {potential: {kind: ase, calculator: emt}}
  - energy_above_hull: {reference: toy.json}
objectives: [{minimize: energy_above_hull}]
optimizer: random
budget: {candidates: 2}
"""
    path = tmp_path / "campaign.yaml"
    notes = {}
    for elements in ("[Li, O]", "[Li, P, S]"):
        path.write_text(campaign.replace("ELEMENTS", elements), encoding="utf-8")
        notes[elements] = load_campaign(path).notes
    assert not [note for note in notes["[Li, O]"] if "Li3PS4" in note]
    assert [note for note in notes["[Li, P, S]"] if "lacks these phases: Li3PS4 (Pnma)" in note]


# --- extension ---


def test_a_set_extends_another(write: Callable[[str], Path], emt: Settings) -> None:
    """Its phases come first, as they are; what it lacked is still lacking."""
    base = build_reference(read_structures(write(HEAD + entry("Cu"))), emt, name="copper")
    found = build_reference(read_structures(write("phases:\n" + entry("Au"))), emt, name="both", base=base)
    assert found.phases[: len(base.phases)] == base.phases
    assert [phase.name for phase in found.phases] == ["Cu", "Au"]
    assert [item.name for item in found.skipped] == ["CuAu"]


def test_a_base_that_does_not_go_with_the_build_is_refused(
    write: Callable[[str], Path], emt: Settings
) -> None:
    """Another potential, other limits, and a name that is taken: each says what was found and what to do."""
    crystals = read_structures(write("phases:\n" + entry("Cu")))
    base = build_reference(crystals, emt, name="copper")
    with pytest.raises(
        InvdesignError, match=r"has phases of these names already: Cu; give the crystals other names"
    ):
        build_reference(crystals, emt, name="twice", base=base)
    gold = read_structures(write("phases:\n" + entry("Au")))
    with pytest.raises(
        InvdesignError, match=r"starts 2, and this build has .*starts 1: give the limits of the set"
    ):
        build_reference(
            gold, emt, name="other", base=base, relaxation=base.relaxation.model_copy(update={"starts": 1})
        )
    with pytest.raises(InvdesignError, match=r"energies of toy .*build both with the same potential"):
        build_reference(gold, emt, name="mixed", base=made({"Cu": -1.0}))


def test_a_second_build_relaxes_what_is_new(write: Callable[[str], Path], emt: Settings) -> None:
    """A crystal that changed is relaxed again; another source is only another word."""
    crystals = read_structures(write("phases:\n" + entry("Cu") + entry("Au")))
    former = build_reference(crystals, emt, name="metals")
    told: list[Progress] = []
    text = "phases:\n" + entry("Cu", source="a book") + entry("Au", edge=4.1) + entry("Ag")
    found = build_reference(
        read_structures(write(text)), emt, name="metals", former=former, report=told.append
    )
    assert [item.seconds == 0 for item in told] == [True, False, False]
    assert found.phases[0] == former.phases[0].model_copy(update={"source": "a book"})
    starts = [item.key for item in read_structures(write(text)) if isinstance(item, PublishedCrystal)]
    assert [phase.start for phase in found.phases] == starts
    loose = former.relaxation.model_copy(update={"fmax": 0.02})
    told.clear()
    build_reference(crystals, emt, name="metals", former=former, relaxation=loose, report=told.append)
    assert all(item.seconds > 0 for item in told)


# --- the command line ---


def test_the_command_extends_and_goes_on_from_its_own_file(
    write: Callable[[str], Path], tmp_path: Path
) -> None:
    """The second run of the same command relaxes nothing; one system can be shown alone."""
    base, output = tmp_path / "base.json", tmp_path / "metals.json"
    common = ("--potential", "ase:emt", "--starts", "1")
    invoke("build", "--structures", write("phases:\n" + entry("Ag")), "--output", base, *common)
    file = write(HEAD + entry("Cu") + entry("Au"))
    arguments = ("build", "--structures", file, "--extend", base, "--output", output, *common)
    first = invoke(*arguments)
    assert "2 crystals, " in first.output or "3 crystals, " in first.output
    assert "1 phases of base" in first.output
    hash = load_reference(output).hash
    again = invoke(*arguments)
    assert again.output.count("done before") == 2
    assert load_reference(output).hash == hash
    shown = invoke("show", output, "--system", "Cu-Au").output
    assert "left out: CuAu: nobody measured it" in shown
    assert "\nAg " not in shown
    assert "made for Cu-Au, Ag" in invoke("show", output).output
    fields = json.loads(invoke("show", output, "--json", "--system", "Ag").output)
    assert [phase["name"] for phase in fields["phases"]] == ["Ag"]
    assert fields["skipped"] == []
    wrong = invoke("show", output, "--system", "Copper")
    assert isinstance(wrong.exception, InvdesignError)
