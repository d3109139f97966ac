"""The commands of `invdesign reference`: build, show and list sets of competing phases."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import typer
from pydantic import ValidationError

from invdesign.errors import InvdesignError, MissingReferenceError
from invdesign.protocols import potential_of
from invdesign.settings import Settings
from invdesign.textfiles import check_replaceable
from surrogates.potentials.correction import find_correction
from surrogates.stability.coverage import find_gaps
from surrogates.stability.hulls import formation_energy, hull_distance
from surrogates.stability.reference import (
    REFERENCE_SUFFIX,
    Phase,
    ReferenceSet,
    Skipped,
    corrected_names,
    load_reference,
    load_shipped_set,
    shipped_names,
)
from surrogates.stability.reference_build import DEFAULT_RELAXATION, Progress, build_reference
from surrogates.stability.reference_sources import (
    Source,
    fetch_crystals,
    read_structures,
    read_systems,
    split_system,
)

SYMPREC = 0.05  # Å; chosen: relaxed structures are noisier than published ones
LISTED_GAPS = 40  # gaps of three elements on the screen; chosen
INTERRUPT_EXIT_CODE = 130  # exit code of a program that Ctrl-C stopped, in shells


def build_set(
    output: Path,
    structures: Path | None,
    materials_project: str | None,
    potential: str,
    name: str | None,
    title: str,
    limits: Mapping[str, float | None],
    extend: str | None = None,
) -> None:
    """Relax crystals with one potential and write a reference set.

    Ctrl-C keeps the finished ones. Phases of an earlier build at `output` whose crystals have not changed are kept.

    Args:
        output: JSON file to write.
        structures: folder of CIF files, crystallography (.yaml) or ASE database (.db); None for the Materials Project.
        materials_project: chemical system to fetch, `Li-O-Cl`; None for `structures`.
        potential: `chgnet`, `ase:emt`, or JSON.
        name: of the set; the file's name if None.
        title: a line for people.
        limits: `fmax` (eV/Å), `smax` (GPa), `steps` and `starts` of the relaxations, None for the default.
        extend: name or file of a set whose phases come first; None for a set of its own.
    """
    _check_output(output)
    model = _parse_potential(potential)
    crystals = _read_crystals(structures, materials_project)
    partial = output.with_suffix(".partial.jsonl")
    base = load_reference(extend) if extend else None
    typer.echo(
        f"{len(crystals)} crystals, {potential_of(model).label}"
        + (f"; {len(base.phases)} phases of {base.name}" if base else "")
    )
    try:
        built = build_reference(
            crystals,
            model,
            name=name or output.stem,
            title=title,
            systems=read_systems(structures) if structures else (),
            base=base,
            former=_read_former_build(output),
            relaxation=DEFAULT_RELAXATION.model_copy(
                update={k: v for k, v in limits.items() if v is not None}
            ),
            partial=partial,
            report=_print_progress,
        )
    except KeyboardInterrupt:
        typer.echo(
            f"\nStopped. What is relaxed so far is in {partial}; the same command goes on from there.",
            err=True,
        )
        raise typer.Exit(INTERRUPT_EXIT_CODE) from None
    _replace_file(output, built.to_json())
    partial.unlink()
    _print_summary(built, output)


def import_set(entries: Path, output: Path, label: str, name: str | None, title: str) -> None:
    """Write energies that were computed elsewhere as a reference set.

    Args:
        entries: JSON of computed entries, or a table.
        output: JSON file to write.
        label: the method that made the energies.
        name: of the set; the output's name if None.
        title: a line for people.
    """
    from surrogates.stability.reference_entries import import_entries

    _check_output(output)
    if not entries.is_file():
        raise InvdesignError(f"there is no file '{entries}'")
    made = import_entries(entries, label=label, name=name or output.stem, title=title)
    _replace_file(output, made.to_json())
    _print_summary(made, output)


def _check_output(output: Path) -> None:
    """Refuse a place that no set can be written to."""
    if output.suffix != REFERENCE_SUFFIX:
        raise InvdesignError(f"--output must end with {REFERENCE_SUFFIX}, got '{output}'")
    if not output.parent.is_dir():
        raise InvdesignError(f"there is no folder '{output.parent}' to write '{output.name}' to")


def show_set(name: str, *, as_json: bool, system: str | None = None) -> None:
    """Print the phases of the set `name`, with formation energy and hull distance.

    Args:
        name: of a shipped set, or path of a file.
        as_json: True for JSON.
        system: chemical system to show alone, as `Li-P-S`; None for the whole set.
    """
    found = load_reference(name)
    elements = frozenset(split_system(system)) if system else None
    shown = found.phases if elements is None else found.select_phases(elements)
    rows = [_describe_phase(found, phase) for phase in shown]
    if as_json:
        fields = found.model_dump(mode="json", exclude={"phases"})
        gaps = find_gaps(found, elements)
        fields["missing"] = [
            {"elements": gap.system, "known": [{"formula": k.formula, "source": k.source} for k in gap.known]}
            for gap in (*gaps.binaries, *gaps.ternaries)
        ]
        fields["skipped"] = [item.model_dump(mode="json") for item in gaps.phases]
        typer.echo(json.dumps({**fields, "phases": rows}, indent=1, ensure_ascii=False))
        return
    typer.echo(f"{found.name}: {found.title}" if found.title else found.name)
    typer.echo(
        f"{len(rows)} phases by {found.potential.label} ({found.potential.fingerprint}), hash {found.hash}"
    )
    if (correction := find_correction(found.potential.fingerprint)) is not None:
        typer.echo(
            f"corrected: {correction.name}, {correction.title}; fitted to {correction.n} compounds, left-out error "
            f"{correction.error_per_oxygen:.3f} eV per oxygen"
        )
    typer.echo(_format_table(rows))
    for line in _list_warnings(found, elements):
        typer.echo(line)


def list_sets(*, as_json: bool) -> None:
    """Print the package's sets, as JSON if `as_json` is true."""
    sets = [load_shipped_set(name) for name in (*shipped_names(), *corrected_names())]
    rows = [
        {
            "name": item.name,
            "title": item.title,
            "potential": item.potential.label,
            "phases": len(item.phases),
            "elements": sorted(item.elements),
            "hash": item.hash,
        }
        for item in sets
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    for row in rows:
        elements = " ".join(cast("list[str]", row["elements"]))
        typer.echo(f"{row['name']}  {row['phases']} phases by {row['potential']}: {elements}")


def _read_former_build(output: Path) -> ReferenceSet | None:
    """The set that `output` holds already; None where it is no set, which is then replaced."""
    try:
        return load_reference(output) if output.is_file() else None
    except InvdesignError:
        return None


def _parse_potential(text: str) -> Settings:
    """Parse the potential of a command line."""
    from invdesign import settings

    value: object = text
    if text.startswith("ase:"):
        value = {"kind": "ase", "calculator": text.removeprefix("ase:")}
    elif text.lstrip().startswith("{"):
        try:
            value = json.loads(text)
        except json.JSONDecodeError as error:
            raise InvdesignError(f"--potential {text} is not JSON: {error}") from error
    try:
        return cast("Settings", settings.load("potentials", value))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise InvdesignError(f"--potential {text}: {wrong}") from error


def _read_crystals(structures: Path | None, materials_project: str | None) -> list[Source]:
    if structures is not None and materials_project is None:
        return read_structures(structures)
    if materials_project is not None and structures is None:
        return fetch_crystals(materials_project)
    raise InvdesignError("say where the crystals come from: either --structures or --materials-project")


def _print_progress(progress: Progress) -> None:
    result = progress.result
    place = f"[{progress.number:>{len(str(progress.total))}}/{progress.total}] {result.name:<18}"
    if isinstance(result, Skipped):
        typer.echo(f"{place} left out: {result.reason}")
    elif progress.seconds:
        typer.echo(f"{place} {result.energy_per_atom:9.4f} eV/atom  {progress.seconds:6.1f} s")
    else:
        typer.echo(f"{place} {result.energy_per_atom:9.4f} eV/atom  done before")


def _replace_file(path: Path, text: str) -> None:
    """Write a new file beside the old one, then rename it.

    A reader never sees half of a file.
    """
    check_replaceable(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def _print_summary(built: ReferenceSet, output: Path) -> None:
    typer.echo(f"{len(built.phases)} phases in {output}, hash {built.hash}")
    for line in _list_warnings(built):
        typer.echo(line, err=True)


def _list_warnings(found: ReferenceSet, elements: frozenset[str] | None = None) -> Iterator[str]:
    """Lines on phases left out of a set, and on its gaps in a chemical system, or in those it is made for."""
    gaps = find_gaps(found, elements)
    for skipped in gaps.phases:
        yield f"left out: {skipped.name}: {skipped.reason}"
    bare = gaps.elements
    if bare:
        yield f"without an elemental phase: {', '.join(bare)}; candidates with these elements will fail"
    for gap in gaps.binaries:
        yield f"without {gap}; candidates with both elements will fail"
    for gap in gaps.ternaries[:LISTED_GAPS]:
        yield f"without {gap}; candidates of these elements may look more stable than they are"
    if len(gaps.ternaries) > LISTED_GAPS:
        yield f"and without {len(gaps.ternaries) - LISTED_GAPS} more compounds of three elements (`reference show --json` lists all)"
    if elements is None and found.systems:
        yield (
            f"made for {', '.join(found.systems)}; `invdesign reference show {found.name} --system Li-O` shows the phases and gaps of "
            "any other system of its elements"
        )


def _describe_phase(found: ReferenceSet, phase: Phase) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": phase.name,
        "formula": phase.formula,
        "title": phase.title,
        "spacegroup": _find_space_group(phase),
        "n_atoms": phase.n_atoms,
        "energy_per_atom": phase.energy_per_atom,
        "formation_energy_per_atom": None,
        "energy_above_hull": None,
        "starts_apart": phase.starts_apart,
        "source": phase.source,
    }
    try:
        row["formation_energy_per_atom"] = formation_energy(found, phase)
        row["energy_above_hull"] = hull_distance(found, phase)
    except MissingReferenceError:
        return row
    return row


def _find_space_group(phase: Phase) -> str:
    """International symbol of the relaxed structure.

    Returns an empty text if none is found.
    """
    import numpy as np

    from invdesign.structures.symmetry import symmetry_dataset

    numbers = [sorted(phase.composition).index(symbol) for symbol in phase.cell.species]
    try:
        found = symmetry_dataset(
            np.array(phase.cell.lattice), np.array(phase.cell.positions), numbers, SYMPREC
        )
    except InvdesignError:
        return ""
    return str(found.international)


def _format_table(rows: Sequence[dict[str, Any]]) -> str:
    """Format the phases as a table for people.

    Energies are in eV/atom, hull distances in meV/atom.
    """

    def format_number(value: float | None, scale: float, digits: int) -> str:
        return "-" if value is None else f"{value * scale:.{digits}f}"

    head = (
        "phase",
        "formula",
        "group",
        "formation eV/atom",
        "hull meV/atom",
        "starts apart meV/atom",
        "source",
    )
    lines = [head] + [
        (
            row["name"],
            row["formula"],
            row["spacegroup"],
            format_number(row["formation_energy_per_atom"], 1, 3),
            format_number(row["energy_above_hull"], 1000, 0),
            format_number(row["starts_apart"], 1000, 1),
            row["source"],
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head) - 1)]
    return "\n".join(
        "  ".join([*(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=False)), line[-1]])
        for line in lines
    )
