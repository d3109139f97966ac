"""Reference sets: what they pin, what they refuse, how they are built."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from ase.build import bulk
from ase.db import connect
from pydantic import ValidationError
from pymatgen.core import Composition
from pymatgen.io.ase import AseAtomsAdaptor
from typer.testing import CliRunner

from invdesign.errors import InvdesignError, MissingReferenceError
from invdesign.settings import Settings, load
from invdesign.structures.crystallography import read_crystals
from invdesign.structures.files import check_distances
from surrogates import commands
from surrogates.stability import reference_console, reference_sources
from surrogates.stability.coverage import FORMER_SETS, require_coverage
from surrogates.stability.hulls import formation_energy, hull_distance, phase_diagram, to_pd_entry
from surrogates.stability.reference import (
    Cell,
    Phase,
    PotentialRecord,
    Reference,
    ReferenceSet,
    RelaxationRecord,
    Skipped,
    corrected_names,
    find_earlier_set,
    load_reference,
    load_shipped_set,
    make_reference,
    parse_reference,
    shipped_names,
)
from surrogates.stability.reference_build import Progress, build_reference, make_starts
from surrogates.stability.reference_sources import PublishedCrystal, Source, read_structures
from tests.surrogates.references import made

NAME = "lithium-chalcohalides"
NOT_MOLECULAR = {
    "Li", "LiF", "LiCl", "LiBr", "LiH", "Li2O", "Li2S", "Li2Se", "Li2Te", "Li2O2", "LiI-wurtzite",
}  # fmt: skip
METALS = {"Cu": "fcc", "Au": "fcc", "Ag": "fcc"}


@pytest.fixture
def metals(tmp_path: Path) -> Path:
    """A folder of three CIF files."""
    folder = tmp_path / "metals"
    folder.mkdir()
    for symbol in METALS:
        bulk(symbol, cubic=True).write(folder / f"{symbol}.cif")
    return folder


def toy() -> ReferenceSet:
    """Li, O2 and Li2O with round energies."""
    return made({"Li": -2.0, "O": -5.0, "Li2O": -5.0})


# --- the set ---


def test_a_set_survives_its_file() -> None:
    """What is written is what is read, to the last digit."""
    assert parse_reference(toy().to_json(), "toy") == toy()


def test_the_hash_follows_energies_and_nothing_cosmetic() -> None:
    """Another energy, structure, potential or limit is another set; another title is not."""
    one = toy()
    assert made({"Li": -2.0, "O": -5.0, "Li2O": -5.000001}).hash != one.hash
    assert made({"Li": -2.0, "O": -5.0, "Li2O": -5.0}, potential="other").hash != one.hash
    again = make_reference(
        name="else",
        title="else",
        potential=one.potential,
        relaxation=one.relaxation,
        phases=one.phases,
        versions={},
    )
    assert again.hash == one.hash


def test_a_changed_energy_is_found() -> None:
    """A set edited by hand is refused, and the message says what to do."""
    text = toy().to_json().replace('"energy":-15.0', '"energy":-25.0')
    with pytest.raises(InvdesignError, match=r"changed after it was built.*reference build"):
        parse_reference(text, "mine.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "mine.json is no reference set of the format invdesign-reference-3"),
        ("no json", "Invalid JSON"),
        ('{"format": "invdesign-reference-9"}', "format: Input should be 'invdesign-reference-1'"),
    ],
)
def test_another_file_is_refused(text: str, message: str) -> None:
    """Whatever is no reference set is named as such, with its file."""
    with pytest.raises(InvdesignError, match=message):
        parse_reference(text, "mine.json")


def test_two_phases_of_one_name_are_refused() -> None:
    """A name stands for one phase."""
    phases = [*toy().phases, toy().phases[0]]
    with pytest.raises(ValidationError, match="more than once: Li"):
        make_reference(
            name="x", potential=toy().potential, relaxation=toy().relaxation, phases=phases, versions={}
        )


def test_an_energy_is_finite() -> None:
    """NaN never enters a hull."""
    with pytest.raises(ValidationError, match="finite number"):
        toy().phases[0].model_validate({**toy().phases[0].model_dump(), "energy": float("nan")})


def test_a_set_without_a_phase_is_another_set() -> None:
    """Its hash changes with it, and an unknown name is no phase."""
    less = toy().without_phases("Li2O")
    assert [phase.name for phase in less.phases] == ["Li", "O"]
    assert less.hash != toy().hash
    with pytest.raises(KeyError, match="no phase Li2S"):
        toy().without_phases("Li2S")


# --- finding one ---


def test_the_shipped_set_is_what_its_crystallography_says() -> None:
    """Phases and crystallography go together, every crystal is sound, and every element is there."""
    crystals = read_crystals(files("surrogates").joinpath("references").joinpath(NAME + ".yaml"))
    found = load_shipped_set(NAME)
    assert [phase.name for phase in found.phases] == list(crystals)
    assert [phase.source for phase in found.phases] == [crystal.source for crystal in crystals.values()]
    assert found.elements == {"Li", "H", "O", "S", "Se", "Te", "F", "Cl", "Br", "I"}
    assert found.potential.label == "CHGNet 0.3.0"
    assert found.potential.fingerprint == load("potentials", "chgnet").fingerprint
    assert not found.skipped
    for name, crystal in crystals.items():
        check_distances(crystal.build_structure(), name)


@pytest.mark.parametrize("compound", ["LiF", "LiCl", "LiBr", "LiI", "LiH", "Li2O", "Li2S", "Li2Se", "Li2Te"])
def test_binaries_of_lithium_are_on_the_shipped_hull(compound: str) -> None:
    """The compounds every candidate decomposes into are stable by the potential too, in one of their forms."""
    found = load_shipped_set(NAME)
    distances = [hull_distance(found, phase) for phase in found.phases if phase.formula == compound]
    assert min(distances) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("halide", ["LiCl", "LiBr", "LiI"])
def test_wurtzite_forms_that_the_potential_prefers_are_there(halide: str) -> None:
    """And their sources say that they are models of a structure type."""
    phases = {phase.name: phase for phase in load_shipped_set(NAME).phases}
    model = phases[f"{halide}-wurtzite"]
    assert model.source.startswith("Structure-type model: wurtzite")
    assert model.energy_per_atom <= phases[halide].energy_per_atom


def test_the_shipped_set_has_all_binary_edges_of_its_elements() -> None:
    """No candidate of its ten elements is refused, and every phase was relaxed from two starts."""
    found = load_shipped_set(NAME)
    require_coverage(found, found.elements)
    assert found.relaxation.starts == 2
    assert sum(phase.starts_apart is None for phase in found.phases) <= 3


def test_shipped_phases_are_near_their_published_volumes() -> None:
    """Molecular crystals expand, as the potential knows no dispersion; the metal and ionic crystals stay within 10 %."""
    path = Path(str(files("surrogates").joinpath("references").joinpath(NAME + ".yaml")))
    volumes = {
        item.name: item.structure.volume / len(item.structure)
        for item in read_structures(path)
        if isinstance(item, PublishedCrystal)
    }
    for phase in load_shipped_set(NAME).phases:
        ratio = phase.cell.build_structure().volume / phase.n_atoms / volumes[phase.name]
        assert 0.65 < ratio < 2.3, phase.name
        if phase.name in {
            "Li",
            "LiF",
            "LiCl",
            "LiBr",
            "LiH",
            "Li2O",
            "Li2S",
            "Li2Se",
            "Li2Te",
            "Li2O2",
            "LiI-wurtzite",
        }:
            assert ratio == pytest.approx(1.0, abs=0.1), phase.name


@pytest.mark.parametrize(
    ("name", "experiment"),
    [
        ("Li2O", -6.20),
        ("LiF", -6.39),
        ("LiCl", -4.23),
        ("LiBr", -3.64),
        ("LiI", -2.80),
        ("Li2S", -4.57),
        ("LiH", -0.94),
    ],
)
def test_formation_energies_are_near_experiment(name: str, experiment: float) -> None:
    """Within 0.25 eV per formula unit of the enthalpies of formation at 298 K (CRC Handbook)."""
    found = load_shipped_set(NAME)
    phases = [phase for phase in found.phases if phase.formula == name]
    lowest = min(formation_energy(found, phase) for phase in phases)
    n_atoms = sum(Composition(name).get_el_amt_dict().values())
    assert n_atoms * lowest == pytest.approx(experiment, abs=0.25)


def test_an_unknown_name_gets_the_nearest_one() -> None:
    """And the list of what there is, and the way to a set of one's own."""
    with pytest.raises(InvdesignError, match=rf"Did you mean '{NAME}'\?.*Known: .*{NAME}.*ends with \.json"):
        load_shipped_set("lithium-chalcohalide")
    with pytest.raises(InvdesignError, match=r"there is no file 'nowhere\.json'"):
        load_reference("nowhere.json")


def test_a_shipped_set_is_pinned_by_its_hash() -> None:
    """A campaign's dump holds name and hash, and loads again."""
    evaluator = load("evaluators", {"kind": "decomposition_energy", "reference": NAME})
    dump = evaluator.model_dump(mode="json")
    assert dump["reference"] == {
        "name": NAME,
        "hash": load_shipped_set(NAME).hash,
        "potential": load_shipped_set(NAME).potential.fingerprint,
        "file": None,
    }
    assert load("evaluators", json.loads(json.dumps(dump))) == evaluator


def test_another_shipped_set_than_pinned_is_refused() -> None:
    """After an upgrade a run does not go on with other energies without a word."""
    with pytest.raises(MissingReferenceError, match="Install the version that made it, or start a new run"):
        Reference(name=NAME, hash="0" * 32, potential="chgnet").load()


def test_a_run_made_with_an_earlier_shipped_set_goes_on_with_it() -> None:
    """It is found by name and hash, and refuses no more than it did."""
    (hash,) = FORMER_SETS
    earlier = Reference(name=NAME, hash=hash, potential=load_shipped_set(NAME).potential.fingerprint).load()
    assert earlier.hash == hash != load_shipped_set(NAME).hash
    assert earlier.format == "invdesign-reference-1"
    assert {phase.starts_apart for phase in earlier.phases} == {None}
    require_coverage(earlier, {"Li", "S", "Br"})
    assert find_earlier_set("../" + NAME, hash) is None


def test_a_set_of_another_potential_is_refused(tmp_path: Path) -> None:
    """A campaign compares the fingerprints before it starts; here the set says whose energies it holds."""
    file = tmp_path / "toy.json"
    file.write_text(toy().to_json(), encoding="utf-8")
    evaluator = load("evaluators", {"kind": "decomposition_energy", "reference": str(file)})
    assert evaluator.potential_id == "toy" != load("potentials", "chgnet").fingerprint


def test_a_file_travels_with_the_campaign(tmp_path: Path) -> None:
    """Once read it is not needed any more; the file's own hash is checked on the way."""
    file = tmp_path / "mine.json"
    file.write_text(toy().to_json(), encoding="utf-8")
    evaluator = load("evaluators", {"kind": "energy_above_hull", "reference": "mine.json"}, folder=tmp_path)
    file.unlink()
    again = load("evaluators", evaluator.model_dump(mode="json"))
    assert again == evaluator
    assert again.reference.load() == toy()
    assert again.fingerprint == evaluator.fingerprint


@pytest.mark.parametrize(
    ("value", "message"),
    [("lithium", "there is no reference set 'lithium'"), ("none.json", "there is no file 'none.json'")],
)
def test_a_wrong_reference_is_a_mistake_in_the_campaign(value: str, message: str) -> None:
    """Pydantic collects it with all other mistakes."""
    with pytest.raises(ValidationError, match=message):
        load("evaluators", {"kind": "decomposition_energy", "reference": value})


# --- using one ---


def test_diagrams_are_kept() -> None:
    """The same system is made once, with its own phases only; with extra entries it is made anew."""
    found = load_shipped_set(NAME)
    diagram = phase_diagram(found, {"Li", "O"})
    assert phase_diagram(found, ["O", "Li"]) is diagram
    assert {item.name for item in diagram.stable_entries} == {"Li", "Li2O", "Li2O2", "O2-epsilon"}
    extra = to_pd_entry(toy().phases[2])
    assert extra in phase_diagram(found, {"Li", "O"}, [extra]).all_entries


# --- building one ---


def build(crystals: Sequence[Source], potential: Settings, **options: Any) -> ReferenceSet:
    return build_reference(crystals, potential, name="metals", **options)


def test_a_set_is_built_from_cif_files(metals: Path, emt: Settings) -> None:
    """Lattice and energy are the potential's: EMT's copper has 3.58 to 3.60 Å and about 0 eV."""
    told: list[Progress] = []
    found = build(read_structures(metals), emt, report=told.append)
    copper = next(phase for phase in found.phases if phase.name == "Cu")
    assert copper.cell.build_structure().volume == pytest.approx(3.59**3, rel=0.01)
    assert copper.energy_per_atom == pytest.approx(0.0, abs=0.01)
    assert copper.source == "Cu.cif"
    assert found.potential.fingerprint == emt.fingerprint
    assert [item.number for item in told] == [1, 2, 3]
    assert parse_reference(found.to_json(), "metals") == found


def test_what_cannot_be_relaxed_is_left_out_by_name(metals: Path, emt: Settings) -> None:
    """A phase of an element the potential does not know is skipped with its reason; without any, it is an error."""
    bulk("Fe", cubic=True).write(metals / "iron.cif")
    found = build(read_structures(metals), emt)
    assert [phase.name for phase in found.phases] == ["Ag", "Au", "Cu"]
    assert [item.name for item in found.skipped] == ["iron"]
    assert "Fe" in found.skipped[0].reason
    with pytest.raises(InvdesignError, match="no structure could be relaxed"):
        build([item for item in read_structures(metals) if item.name == "iron"], emt)


def test_what_cannot_be_read_is_left_out_by_name(metals: Path, emt: Settings, tmp_path: Path) -> None:
    """One pass names every file that is no ordered crystal; what can be read becomes the set."""
    text = (metals / "Cu.cif").read_text(encoding="utf-8")
    (metals / "disordered.cif").write_text(text.replace("1.0000", "0.5000"), encoding="utf-8")
    (metals / "overlap.cif").write_text(text.replace("3.61", "0.61"), encoding="utf-8")
    (metals / "garbage.cif").write_bytes(b"\x00\x01")
    (metals / "folder.cif").mkdir()
    skipped = {item.name: item.reason for item in read_structures(metals) if isinstance(item, Skipped)}
    assert set(skipped) == {"disordered", "overlap", "garbage", "folder"}
    assert "Cu 0.5" in skipped["disordered"]
    output = tmp_path / "metals.json"
    result = invoke(
        "build", "--structures", metals, "--potential", "ase:emt", "--output", output, "--starts", "1"
    )
    assert result.exit_code == 0, result.output
    assert {item.name for item in load_reference(output).skipped} == set(skipped)
    assert all(f"left out: {name}: {reason}" in result.output for name, reason in skipped.items())


def test_entries_that_are_no_crystals_are_left_out_by_name(tmp_path: Path) -> None:
    """A list of crystals is read entry by entry."""
    file = tmp_path / "phases.yaml"
    site = "sites: [{label: Cu, element: Cu, wyckoff: 4a, position: [0, 0, 0]}], source: x"
    file.write_text(
        f"- {{name: good, formula: Cu, spacegroup: 225, cell: [3.6, 3.6, 3.6, 90, 90, 90], {site}}}\n"
        f"- {{name: group, formula: Cu, spacegroup: 231, cell: [3.6, 3.6, 3.6, 90, 90, 90], {site}}}\n"
        f"- {{name: flat, formula: Cu, spacegroup: 225, cell: [0, 3.6, 3.6, 90, 90, 90], {site}}}\n"
        f"- {{name: overlap, formula: Cu, spacegroup: 225, cell: [1, 1, 1, 90, 90, 90], {site}}}\n"
        f"- {{name: other, formula: Ag, spacegroup: 225, cell: [3.6, 3.6, 3.6, 90, 90, 90], {site}}}\n"
        "- 5\n",
        encoding="utf-8",
    )
    found = read_structures(file)
    assert [item.name for item in found] == ["good", "group", "flat", "overlap", "other", "entry 6"]
    assert [isinstance(item, PublishedCrystal) for item in found] == [True, *[False] * 5]


def test_the_lower_of_two_relaxations_is_kept(emt: Settings) -> None:
    """A cubic cell of copper without its face centres is a saddle; a strained and rattled start leaves it."""
    cubic = bulk("Cu", "sc", a=2.4)
    crystal = PublishedCrystal("Cu", "Cu", AseAtomsAdaptor.get_structure(cubic * (2, 2, 2)), "made up")
    one = build([crystal], emt, relaxation=RelaxationRecord(fmax=0.01, smax=0.05, steps=500))
    two = build([crystal], emt, relaxation=RelaxationRecord(fmax=0.01, smax=0.05, steps=500, starts=2))
    assert one.phases[0].starts_apart is None
    assert two.phases[0].starts_apart is not None
    assert two.phases[0].starts_apart > 0.1
    assert two.phases[0].energy_per_atom < one.phases[0].energy_per_atom - 0.1
    assert two.hash != one.hash
    starts = [list(make_starts(crystal, 3)) for _ in range(2)]
    assert all(a == b for a, b in zip(*starts, strict=True))
    assert starts[0][1] != starts[0][2]


def test_an_unfinished_relaxation_is_left_out(metals: Path, emt: Settings) -> None:
    """The energy of a crystal that is not at its minimum would raise the hull unseen."""
    strict = RelaxationRecord(fmax=0.01, smax=1e-5, steps=1)
    with pytest.raises(InvdesignError, match="no structure could be relaxed"):
        build(read_structures(metals), emt, relaxation=strict)


def test_an_interrupted_build_goes_on(metals: Path, emt: Settings, tmp_path: Path) -> None:
    """Also after a torn last line; what was done is not done again, and the set is the same."""
    partial = tmp_path / "metals.partial.jsonl"

    def stop(progress: Progress) -> None:
        if progress.number == 2:
            raise KeyboardInterrupt

    crystals = read_structures(metals)
    with pytest.raises(KeyboardInterrupt):
        build(crystals, emt, partial=partial, report=stop)
    with partial.open("a", encoding="utf-8") as stream:
        stream.write('{"key": "torn')
    told: list[Progress] = []
    found = build(crystals, emt, partial=partial, report=told.append)
    assert [item.seconds == 0 for item in told] == [True, True, False]
    assert found == build(crystals, emt)
    told.clear()
    assert build(crystals, emt, partial=partial, report=told.append) == found
    assert all(item.seconds == 0 for item in told)


def test_a_partial_file_of_another_build_is_refused(metals: Path, emt: Settings, tmp_path: Path) -> None:
    """Energies of two potentials or limits never end up in one set."""
    partial = tmp_path / "metals.partial.jsonl"
    build(read_structures(metals), emt, partial=partial)
    other = RelaxationRecord(fmax=0.1, smax=0.1, steps=100)
    with pytest.raises(InvdesignError, match="left by a build with another potential or other limits"):
        build(read_structures(metals), emt, partial=partial, relaxation=other)


def test_crystals_are_read_from_an_ase_database(tmp_path: Path) -> None:
    """Names are the rows' own where they have one; a molecule is no crystal."""
    file = tmp_path / "metals.db"
    with connect(file) as database:
        database.write(bulk("Cu"), name="copper")
        database.write(bulk("Au"))
    assert [item.name for item in read_structures(file)] == ["copper", "Au-2"]
    with connect(file) as database:
        slab = bulk("Cu")
        slab.pbc = (True, True, False)
        database.write(slab)
    last = read_structures(file)[-1]
    assert isinstance(last, Skipped)
    assert "row 3 is not periodic" in last.reason


def test_crystals_are_read_from_crystallography() -> None:
    """Primitive cells, with the paper they come from."""
    path = Path(str(files("surrogates").joinpath("references").joinpath(NAME + ".yaml")))
    crystals = {item.name: item for item in read_structures(path) if isinstance(item, PublishedCrystal)}
    assert len(crystals["S"].structure) == 32
    assert "Rettig" in crystals["S"].source


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent", None, "there is no file or folder"),
        ("empty", {}, "holds no structures"),
        ("broken", {"a.cif": "nonsense"}, "a.cif cannot be read as CIF"),
        ("poscar.vasp", "x", "neither a folder of CIF files"),
        ("wrong.yaml", "- {name: x}", "x: no crystal: formula: Field required"),
        ("wrong.yaml", "name: x", "is no list of crystals"),
        ("wrong.yaml", "{", "is no list of crystals"),
    ],
)
def test_structures_that_cannot_be_read(tmp_path: Path, name: str, content: Any, message: str) -> None:
    """Each message names the file and what is allowed."""
    path = tmp_path / name
    if isinstance(content, dict):
        path.mkdir()
        for file, text in content.items():
            (path / file).write_text(text, encoding="utf-8")
    elif content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(InvdesignError, match=message):
        read_structures(path)


def test_the_materials_project_needs_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one nothing is asked for, and the message says where keys come from."""
    monkeypatch.delenv(reference_sources.API_KEY_VARIABLE, raising=False)
    monkeypatch.setattr(reference_sources, "require_extra", lambda *_: None)
    with pytest.raises(InvdesignError, match="set the environment variable MP_API_KEY"):
        reference_sources.fetch_crystals("Li-O-Cl")


# --- the command line ---


def invoke(*arguments: str | Path) -> Any:
    return CliRunner().invoke(commands.reference, [str(item) for item in arguments])


def test_the_command_builds_and_shows(metals: Path, tmp_path: Path) -> None:
    """From a folder to a table, and nothing is left beside the set."""
    output = tmp_path / "metals.json"
    result = invoke(
        "build", "--structures", metals, "--potential", "ase:emt", "--output", output, "--title", "noble"
    )
    assert result.exit_code == 0, result.output
    assert "[1/3] Ag" in result.output
    assert "3 phases in" in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metals", "metals.json"]
    shown = invoke("show", output)
    assert "metals: noble" in shown.output
    assert "Fm-3m" in shown.output
    fields = json.loads(invoke("show", output, "--json").output)
    assert [phase["energy_above_hull"] for phase in fields["phases"]] == [0.0, 0.0, 0.0]
    assert fields["hash"] == load_reference(output).hash


def test_the_command_goes_on_after_an_interrupt(
    metals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C leaves what is done and says so; the same command finishes."""
    output = tmp_path / "metals.json"
    arguments = (
        "build",
        "--structures",
        metals,
        "--potential",
        '{"kind": "ase", "calculator": "emt"}',
        "--output",
        output,
    )

    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(reference_console, "_print_progress", stop)
        result = invoke(*arguments)
    assert result.exit_code == reference_console.INTERRUPT_EXIT_CODE
    assert "the same command goes on" in result.output
    assert not output.exists()
    assert "done before" in invoke(*arguments).output
    assert output.exists()


def test_the_shipped_sets_are_listed_and_shown() -> None:
    """For people and for programs."""
    assert f"{NAME}  {len(load_shipped_set(NAME).phases)} phases by CHGNet 0.3.0" in invoke("list").output
    rows = json.loads(invoke("list", "--json").output)
    assert [row["name"] for row in rows] == [*shipped_names(), *corrected_names()]
    table = invoke("show", NAME).output
    assert "Materials Project mp-22955 (CC BY 4.0)" in table


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--output", "x.yaml", "--structures", "."), "must end with .json"),
        (("--output", "no/where/x.json", "--structures", "."), "there is no folder"),
        (("--output", "x.json"), "either --structures or --materials-project"),
        (("--output", "x.json", "--structures", ".", "--potential", "chgnt"), "Did you mean 'chgnet'"),
        (("--output", "x.json", "--structures", ".", "--potential", "{kind: 1}"), "is not JSON"),
        (("--output", "x.json", "--structures", ".", "--potential", "ase:vasp"), "no calculator 'vasp'"),
    ],
)
def test_a_wrong_command_line(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each mistake is an error for people, before anything is computed."""
    monkeypatch.chdir(tmp_path)
    result = invoke("build", *arguments)
    assert isinstance(result.exception, InvdesignError)
    assert message in str(result.exception)


def test_what_a_set_left_out_is_shown(tmp_path: Path) -> None:
    """With its reason, and phases without a hull of their own get a dash."""
    one = toy()
    cell = Cell(
        lattice=one.phases[0].cell.lattice, species=("Li", "Cl"), positions=((0.0, 0.0, 0.0), (0.5, 0.5, 0.5))
    )
    chloride = Phase(name="LiCl", formula="LiCl", energy=-8.0, source="made up", cell=cell)
    found = make_reference(
        name="toy", potential=PotentialRecord(label="toy", fingerprint="toy", settings={}), relaxation=one.relaxation,
        phases=[*one.phases, chloride], versions={}, skipped=[Skipped(name="Li2O2", reason="ran away")],
    )  # fmt: skip
    file = tmp_path / "toy.json"
    file.write_text(found.to_json(), encoding="utf-8")
    shown = invoke("show", file).output
    assert "left out: Li2O2: ran away" in shown
    row = next(line for line in shown.splitlines() if line.startswith("LiCl"))
    assert row.split()[-4:] == ["-", "-", "made", "up"]


def test_a_shipped_file_loads_from_elsewhere(tmp_path: Path) -> None:
    """A copy of a shipped set is the same set."""
    copy = tmp_path / "copy.json"
    shutil.copy(str(files("surrogates").joinpath("references").joinpath(NAME + ".json")), copy)
    assert load_reference(copy).hash == load_shipped_set(NAME).hash
