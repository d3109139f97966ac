"""Output files of density-functional codes for tests: of the codes' own format, with made-up numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pymatgen.core import Structure
from pymatgen.io.vasp.inputs import Incar, Poscar

TITLES = "22Mar2012"  # a date as the pseudopotentials' titles have one


def vasprun(
    folder: Path,
    *,
    energy: float = -4.0,
    strain: float = 0.01,
    force: float = 0.001,
    gap: float = 3.0,
    steps: int = 3,
    electronic: int = 5,
    tags: dict[str, object] | None = None,
    potcars: Sequence[str] | None = None,
) -> str:
    """What VASP 6 writes as `vasprun.xml` for the inputs in a folder: the parts that matter of it.

    Args:
        energy: eV/atom, of the last step; 0.01 lower than the one before.
        strain: by how much the final cell is longer than the one that was written.
        force: eV/Å, on the first atom in the end.
        gap: eV, between one filled and one empty band; 0 or less makes a metal.
        steps, electronic: ionic steps, electronic steps of the last.
        tags: INCAR tags that the calculation was run with, in place of those written.
        potcars: symbols of its pseudopotentials, in place of those written.
    """
    incar = {**Incar.from_file(folder / "INCAR"), **(tags or {})}
    start: Structure = Poscar.from_file(folder / "POSCAR", check_for_potcar=False).structure
    if potcars is None:
        potcars = (folder / "POTCAR.spec").read_text().split()
    nsw, nelm = int(incar.get("NSW", 0)), int(incar.get("NELM", 60))
    calculations = ""
    for step in range(steps):
        last = step + 1 == steps
        strained = start.copy()
        strained.apply_strain(strain * (step / max(steps - 1, 1)))
        total = len(start) * energy + 0.01 * (steps - 1 - step)
        calculations += _calculation(strained, total, force if last else 0.1, electronic if last else 4, gap)
    return (
        '<?xml version="1.0" encoding="ISO-8859-1"?>\n<modeling>\n <generator>\n'
        '  <i name="program" type="string">vasp </i>\n  <i name="version" type="string">6.3.0  </i>\n </generator>\n'
        f" <incar>\n{_tags(incar)} </incar>\n"
        ' <kpoints>\n  <varray name="kpointlist" >\n   <v>       0.00000000       0.00000000       0.00000000 </v>\n'
        "   <v>       0.50000000       0.00000000       0.00000000 </v>\n  </varray>\n"
        '  <varray name="weights" >\n   <v>       0.25000000 </v>\n   <v>       0.75000000 </v>\n  </varray>\n </kpoints>\n'
        ' <parameters>\n  <separator name="electronic" >\n'
        f'   <i type="int" name="NELM">{nelm}</i>\n   <i type="int" name="ISPIN">{incar.get("ISPIN", 1)}</i>\n'
        '  </separator>\n  <separator name="ionic" >\n'
        f'   <i type="int" name="NSW">{nsw}</i>\n   <i type="int" name="IBRION">{incar.get("IBRION", -1)}</i>\n'
        f'   <i name="EDIFFG">{float(incar.get("EDIFFG", 10 * float(incar.get("EDIFF", 1e-4)))):.8f}</i>\n  </separator>\n'
        f'  <i type="logical" name="LDAU"> {"T" if incar.get("LDAU") else "F"}  </i>\n'
        '  <separator name="electronic exchange-correlation" >\n'
        f'   <i type="string" name="GGA">{str(incar.get("GGA", "PE")).upper()}</i>\n'
        '   <i type="logical" name="LHFCALC"> F  </i>\n   <i name="AEXX">      0.00000000</i>\n'
        '   <i name="HFSCREEN">      0.00000000</i>\n  </separator>\n </parameters>\n'
        f"{_atoms(start, potcars)}{_crystal(start, 'initialpos')}{calculations}{_crystal(strained, 'finalpos')}</modeling>\n"
    )


def _tags(incar: dict[str, object]) -> str:
    lines = ""
    for tag, value in incar.items():
        if isinstance(value, bool):
            lines += f'  <i type="logical" name="{tag}"> {"T" if value else "F"}  </i>\n'
        elif isinstance(value, int):
            lines += f'  <i type="int" name="{tag}">{value:6d}</i>\n'
        elif isinstance(value, list):
            lines += f'  <v name="{tag}">{"".join(f"{float(item):16.8f}" for item in value)}</v>\n'
        elif isinstance(value, float):
            lines += f'  <i name="{tag}">{value:16.8f}</i>\n'
        else:
            lines += f'  <i type="string" name="{tag}">{value}</i>\n'
    return lines


def _atoms(structure: Structure, potcars: Sequence[str]) -> str:
    kinds = list(dict.fromkeys(site.specie.symbol for site in structure))
    atoms = "".join(
        f"    <rc><c>{s.specie.symbol:2s}</c><c>{kinds.index(s.specie.symbol) + 1:4d}</c></rc>\n"
        for s in structure
    )
    rows = "".join(
        f"    <rc><c>{sum(s.specie.symbol == kind for s in structure):4d}</c><c>{kind:2s}</c><c>  1.0</c><c>  1.0</c>"
        f"<c>  PAW_PBE {potcar} {TITLES}                   </c></rc>\n"
        for kind, potcar in zip(kinds, potcars, strict=True)
    )
    return (
        f" <atominfo>\n  <atoms>{len(structure):8d} </atoms>\n  <types>{len(kinds):8d} </types>\n"
        '  <array name="atoms" >\n   <field type="string">element</field>\n   <field type="int">atomtype</field>\n'
        f'   <set>\n{atoms}   </set>\n  </array>\n  <array name="atomtypes" >\n   <set>\n{rows}   </set>\n  </array>\n </atominfo>\n'
    )


def _crystal(structure: Structure, name: str = "") -> str:
    named = f' name="{name}"' if name else ""
    return (
        f' <structure{named} >\n  <crystal>\n   <varray name="basis" >\n{_rows(structure.lattice.matrix)}   </varray>\n'
        f'   <i name="volume">{structure.volume:16.8f} </i>\n  </crystal>\n'
        f'  <varray name="positions" >\n{_rows(structure.frac_coords)}  </varray>\n </structure>\n'
    )


def _rows(numbers: np.ndarray) -> str:
    return "".join("    <v>" + "".join(f"{x:17.8f}" for x in row) + " </v>\n" for row in numbers)


def _calculation(structure: Structure, total: float, force: float, electronic: int, gap: float) -> str:
    energies = "".join(
        f'   <i name="{name}">{total:16.8f} </i>\n' for name in ("e_fr_energy", "e_wo_entrp", "e_0_energy")
    )
    forces = np.zeros((len(structure), 3))
    forces[0, 0] = force
    return (
        " <calculation>\n"
        + f"  <scstep>\n  <energy>\n{energies}  </energy>\n  </scstep>\n" * electronic
        + _crystal(structure)
        + f'  <varray name="forces" >\n{_rows(forces)}  </varray>\n'
        + f'  <varray name="stress" >\n{_rows(np.diag([2.0, -3.0, 1.0]))}  </varray>\n'
        + f"  <energy>\n{energies}  </energy>\n{_bands(gap)} </calculation>\n"
    )


def _bands(gap: float) -> str:
    """Two bands at two k points; those of a metal cross the Fermi energy."""
    points = ""
    for number, shift in enumerate((0.0, -0.5), start=1):
        lower = f"{shift:10.4f}    1.0000"
        upper = (
            f"{gap - shift:10.4f}    0.0000" if gap > 0 or number == 1 else f"{shift + 0.1:10.4f}    1.0000"
        )
        points += f'      <set comment="kpoint {number}">\n       <r>{lower} </r>\n       <r>{upper} </r>\n      </set>\n'
    return (
        '  <eigenvalues>\n   <array>\n    <set>\n     <set comment="spin 1">\n'
        f"{points}     </set>\n    </set>\n   </array>\n  </eigenvalues>\n"
    )


def half(text: str) -> str:
    """The first half of a file, as one finds it that is still being written."""
    return text[: len(text) // 2]


def other_elements(text: str, old: str, new: str) -> str:
    """The same of another element."""
    return re.sub(rf"<c>{old} *</c>", f"<c>{new}</c>", text)
