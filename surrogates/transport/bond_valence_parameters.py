"""Parameters of bond-valence site energies of alkali ions.

Sources:
    `PAIR_PARAMETERS`: H. Chen and S. Adams, IUCrJ 4, 614 (2017), and H. Chen, L. L. Wong and S. Adams, Acta
        Crystallogr. B 75, 18 (2019): the parameter set `softBV`, as tabulated by `bvlain` 0.25.1 (A.
        Dembitskiy, MIT licence).
    `COVALENT_RADII`: those of the program softBV (Chen, Wong and Adams 2019), by way of the same package.
"""

from __future__ import annotations

from collections.abc import Mapping

# Å: (distance of the lowest energy, softness b of the bond) by ion and counter ion.
PAIR_PARAMETERS: Mapping[str, Mapping[tuple[str, int], tuple[float, float]]] = {
    "Li": {
        ("N", -3): (2.132557, 0.637),
        ("O", -2): (1.940013, 0.516),
        ("F", -1): (1.87265, 0.508),
        ("S", -2): (2.40971, 0.653),
        ("Cl", -1): (2.39647, 0.634),
        ("Se", -2): (2.68386, 0.684),
        ("Br", -1): (2.58255, 0.675),
        ("Te", -2): (2.73313, 0.729),
        ("I", -1): (2.78807, 0.735),
    },
    "Na": {
        ("O", -2): (2.374335, 0.482),
        ("F", -1): (2.232158, 0.474),
        ("S", -2): (2.916205, 0.619),
        ("Cl", -1): (2.748011, 0.601),
        ("Se", -2): (3.046979, 0.650),
        ("Br", -1): (2.915883, 0.641),
        ("Te", -2): (3.269608, 0.695),
        ("I", -1): (3.198502, 0.701),
    },
    "K": {
        ("O", -2): (2.766359, 0.436),
        ("F", -1): (2.645968, 0.428),
        ("S", -2): (3.315285, 0.573),
        ("Cl", -1): (3.184081, 0.555),
        ("Se", -2): (3.51499, 0.604),
        ("Br", -1): (3.373219, 0.595),
        ("Te", -2): (3.742871, 0.649),
        ("I", -1): (3.633321, 0.655),
    },
}

# Å: covalent radii of elements as cations, for their repulsion of the ion that moves.
# fmt: off
COVALENT_RADII: Mapping[str, float] = {
    "H": 0.37, "Li": 1.31, "Be": 0.91, "B": 0.71, "C": 0.77, "N": 0.74, "O": 0.74, "Na": 1.66, "Mg": 1.36,
    "Al": 1.11, "Si": 1.17, "P": 1.10, "S": 1.04, "Cl": 0.99, "K": 2.06, "Ca": 1.66, "Sc": 1.46, "Ti": 1.26,
    "V": 1.21, "Cr": 1.21, "Mn": 1.26, "Fe": 1.26, "Co": 1.21, "Ni": 1.21, "Cu": 1.21, "Zn": 1.21, "Ga": 1.16,
    "Ge": 1.22, "As": 1.21, "Se": 1.17, "Br": 1.14, "Rb": 2.21, "Sr": 1.86, "Y": 1.66, "Zr": 1.41, "Nb": 1.31,
    "Mo": 1.31, "Tc": 1.21, "Ru": 1.16, "Rh": 1.21, "Pd": 1.26, "Ag": 1.46, "Cd": 1.41, "In": 1.41, "Sn": 1.40,
    "Sb": 1.41, "Te": 1.37, "I": 1.33, "Xe": 1.30, "Cs": 2.46, "Ba": 2.01, "La": 1.81, "Ce": 1.71, "Pr": 1.71,
    "Nd": 1.71, "Sm": 1.71, "Eu": 1.71, "Gd": 1.66, "Tb": 1.61, "Dy": 1.61, "Ho": 1.61, "Er": 1.61, "Tm": 1.61,
    "Yb": 1.61, "Lu": 1.61, "Hf": 1.41, "Ta": 1.31, "W": 1.21, "Re": 1.21, "Os": 1.16, "Ir": 1.21, "Pt": 1.21,
    "Au": 1.21, "Hg": 1.36, "Tl": 1.76, "Pb": 1.66, "Bi": 1.46, "Th": 1.66, "U": 1.61,
}
# fmt: on
