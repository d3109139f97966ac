"""Options and help of `invdesign reference`; heavy imports wait until a command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]

reference = typer.Typer(
    name="reference",
    help="Sets of competing phases, which stability is measured against.",
    no_args_is_help=True,
)


@reference.command()
def build(
    output: Annotated[Path, typer.Option(help="JSON file to write.")],
    structures: Annotated[
        Path | None,
        typer.Option(help="Folder of CIF files, crystallography (.yaml), or an ASE database (.db)."),
    ] = None,
    materials_project: Annotated[
        str | None,
        typer.Option(help="Chemical system, as Li-O-Cl; needs the extra mp-api, a key and network."),
    ] = None,
    potential: Annotated[
        str, typer.Option(help='`chgnet`, `ase:emt`, or JSON: {"kind": "ase", "calculator": "emt"}.')
    ] = "chgnet",
    name: Annotated[str | None, typer.Option(help="Name of the set; the file's name unless given.")] = None,
    title: Annotated[str, typer.Option(help="A line for people.")] = "",
    extend: Annotated[
        str | None,
        typer.Option(
            help="A set of the same potential and limits, shipped or a file; its phases come first."
        ),
    ] = None,
    fmax: Annotated[float | None, typer.Option(min=1e-6, help="Largest force left, eV/Å.")] = None,
    smax: Annotated[float | None, typer.Option(min=1e-6, help="Largest stress left, GPa.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Most moves per relaxation.")] = None,
    starts: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=10,
            help="Relaxations per crystal, all but the first strained and rattled; the lowest counts.",
        ),
    ] = None,
) -> None:
    """Relax crystals with one potential and write them as a reference set.

    What cannot be read or relaxed is left out and named. Ctrl-C keeps what is relaxed so far; the same command goes on from
    there. Where the file holds an earlier build, only crystals that are new or have changed are relaxed.
    """
    from surrogates.stability.reference_console import build_set

    limits = {"fmax": fmax, "smax": smax, "steps": steps, "starts": starts}
    build_set(output, structures, materials_project, potential, name, title, limits, extend)


@reference.command(name="import")
def import_(
    entries: Annotated[
        Path,
        typer.Argument(
            help="JSON of pymatgen's computed entries, or a table of structure files and energies."
        ),
    ],
    label: Annotated[str, typer.Option(help="The method that made all energies, as 'PBE+U, MP2020'.")],
    output: Annotated[Path, typer.Option(help="JSON file to write.")],
    name: Annotated[str | None, typer.Option(help="Name of the set; the file's name unless given.")] = None,
    title: Annotated[str, typer.Option(help="A line for people.")] = "",
) -> None:
    """Make a reference set of energies that were computed elsewhere, such as your own DFT; nothing is relaxed.

    Entries that cannot be read are left out and named. A file that mixes functionals, corrections or units is refused.
    """
    from surrogates.stability.reference_console import import_set

    import_set(entries, output, label, name, title)


@reference.command()
def show(
    name: Annotated[str, typer.Argument(help="A shipped set, or a file.")],
    as_json: AsJson = False,
    system: Annotated[str | None, typer.Option(help="Chemical system to show alone, as Li-P-S.")] = None,
) -> None:
    """The phases of a set, with formation energy and distance to the set's own hull."""
    from surrogates.stability.reference_console import show_set

    show_set(name, as_json=as_json, system=system)


@reference.command(name="list")
def list_(as_json: AsJson = False) -> None:
    """The sets that come with the package."""
    from surrogates.stability.reference_console import list_sets

    list_sets(as_json=as_json)
