"""Settings of every built-in plug-in, by kind: what the contracts are checked on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from invdesign.candidate import Input
from tests.surrogates.interfaces.crystals import make_interfaces

Example = dict[str, Any]

ANIONS = ["H", "F", "Cl", "Br", "I", "O", "S", "Se", "Te"]
REFERENCE = "lithium-chalcohalides"
LITHIUM_PHASES = str(Path(__file__).parents[1] / "campaigns" / "data" / "lithium_phases.csv")
EMT = {"kind": "ase", "calculator": "emt"}
PROPERTY_MODEL = str(Path(__file__).parent / "data" / "property_models" / "metal_content")
KNOWN = {
    "name": "known.csv",
    "text": "x,y,formula,height,d height\n0.2,0.7,Li6O2Cl2,1.5,0\n0.3,0.5,Li3OBr,0.25,<1\n0.4,0.3,Na3OCl,1,2\n",
}

SPACES: dict[str, list[Example]] = {
    "composition": [
        {
            "elements": {"Li": 1, "Y": 3, "Zr": 4, "Fe": [2, 3], "Cl": -1, "Br": -1, "O": -2},
            "required": ["Li", ["Cl", "Br"]],
            "elements_per_formula": [3, 5],
            "max_count": 10,
            "max_atoms": 24,
        },
        {"elements": ["Li", "P", "S"], "counts": {"Li": [2, 8]}},
        {"elements": {"Li": [1], "O": [-2]}, "elements_per_formula": 2},
        {
            "elements": ["Li", "Na", "Mg", "Al", "Ti", "Mn", "Fe", "P", "O", "S", "F", "Cl"],
            "elements_per_formula": [3, 5],
            "max_atoms": 40,
        },
    ],
    "crystal": [
        {"formula": "Al2O3", "formula_units": [1, 2]},
        {
            "elements": {"Sr": [0, 4], "Ti": [0, 4], "O": [1, 8]},
            "atoms": [2, 12],
            "oxidation_states": {"Sr": 2, "Ti": [3, 4], "O": -2},
            "min_distances": {"O-O": 1.9},
            "volume_per_atom": [7, 20],
        },
        {"elements": ["Li", "Si"], "atoms": [1, 8], "space_groups": [62, "195-230"]},
        {"formula": "MgO", "formula_units": 4, "cell": [4.2, 4.2, 4.2, 90, 90, 90]},
        {"formula": "MgAl2O4", "formula_units": 2, "generators": ["prototypes"]},
        {
            "elements": ["Li", "P", "S"],
            "atoms": [2, 16],
            "generators": [{"kind": "prototypes", "weight": 0.5, "temperature": 1.0}],
        },
    ],
    "crystal_sites": [
        {"formula": "MgO", "formula_units": 1},
        {"formula": "Al2O3", "formula_units": [1, 2], "space_groups": [2, 15, "160-170"]},
        {"formula": "Li2SiO3", "formula_units": 2, "volume_per_atom": [7, 14], "min_distances": {"O-O": 2.0}},
        {
            "formula": "SrTiO3",
            "sites": [{"space_group": 221, "sites": {"Sr": ["a"], "Ti": ["b"], "O": ["c"]}}],
        },
        {
            "formula": "TiO2",
            "sites": [
                {"space_group": 136, "sites": {"Ti": ["a"], "O": ["f"]}},
                {"space_group": 14, "sites": {"Ti": ["e"], "O": ["e", "e"]}},
            ],
        },
        {"formula": "SrTiO3", "formula_units": 1, "generators": ["prototypes"]},
    ],
    "interface": [
        {
            "substrate": {"parent": "layered", "planes": [[1, 1, 0]], "thickness": 5.0},
            "film": {"parent": "rocksalt", "planes": [[1, 1, 0]], "thickness": 5.5},
            "match": {"max_area": 95, "max_strain": 0.06},
            "region": 3.0,
            "exchange": [{"substrate": "M", "film": "M", "most": 2}],
            "deplete": {"ion": "Li", "from": "substrate", "most": 2},
            "gap": {"min": 1.8, "max": 2.6},
        },
        {
            "substrate": {"parent": "antifluorite", "planes": [[1, 0, 0], [1, 1, 0]], "layers": 2},
            "film": {"metal": "Li", "planes": [[1, 0, 0]], "layers": 4},
            "match": {"max_area": 40, "max_strain": 0.08},
            "shift": {"spacing": 1.0},
        },
        {
            "substrate": {"parent": "antifluorite", "planes": [[1, 0, 0]], "layers": 2, "terminations": [1]},
            "film": {"metal": "Li", "planes": [[1, 0, 0]], "layers": 4},
            "match": {"max_area": 12, "max_strain": 0.08, "strained": "both"},
            "boundary": "vacuum",
            "gap": 2.0,
            "rattle": 0.05,
        },
    ],
    "latent": [
        {"generator": "crystal_vae", "elements": ["Li", "O", "Cl"], "required": ["Li"], "atoms": [2, 8]}
    ],
    "mixture": [
        {"mixtures": {"m": {"components": [f"c{i}" for i in range(15)], "at_most": 4}}},
        {
            "mixtures": {
                "solvent": {"components": ["EC", "DMC", "EMC", "FEC"], "at_most": 3, "present_from": 0.05},
                "salt": {"components": {"LiPF6": [0, 1.5], "LiFSI": [0, 1.5]}, "total": [0.8, 1.5]},
            },
            "constraints": ["EC + FEC >= 0.2"],
        },
        {
            "mixtures": {
                "A": {"components": {"Li+": [5.5, 7.2], "Al3+": [0, 0.4]}, "total": "free"},
                "M": {"components": ["Zr4+", "Ta5+", "Nb5+"], "multiplicity": 2},
            },
            "fixed": {"La3+": 3, "O2-": 12},
        },
        {
            "mixtures": {"X": ["Cl", "Br"], "B": ["O", "S"]},
            "structure": {"parent": "antiperovskite", "cell": {"max_atoms": 20}},
        },
        {
            "mixtures": {
                "slurry": {"components": {"active": [800, 980], "carbon": [5, 99]}, "total": 1000, "step": 1}
            }
        },
    ],
    "defect": [
        {
            "parent": "lithium_phosphate",
            "cell": [2, 1, 1],
            "defects": {"N on O": 2, "vacancy O": 1},
            "within": 5.0,
        },
        {
            "parent": "layered",
            "primitive": True,
            "cell": [3, 3, 1],
            "defects": {"vacancy Li": {"max": 2}, "Ni on M": {"max": 1}, "Li on M": {"max": 1}},
            "oxidation_states": {"Co": [3, 4], "Ni": [3]},
            "distort": False,
        },
        {
            "parent": "lithium_nitride",
            "cell": [2, 2, 2],
            "defects": {"vacancy Li": {"max": 2}, "interstitial Li": {"max": 2}},
            "distort": {"rattle": 0.0},
        },
    ],
    "ordering": [
        {"parent": "layered", "cell": [2, 2, 1], "sites": {"A": {"Li": 0.5, "vacancy": "rest"}}},
        {
            "parent": "layered",
            "primitive": True,
            "cells": [[3, 1, 1], [[2, 0, 0], [0, 2, 0], [1, 0, 1]]],
            "sites": {"A": {"Li": {"min": 0.25}, "vacancy": "rest"}, "M": {"Ni": "rest", "Mn": 1}},
            "oxidation_states": {"Ni": [2, 3, 4], "Mn": [4]},
        },
        {
            "parent": "argyrodite",
            "primitive": True,
            "cell": [2, 2, 1],
            "rattle": 0.05,
            "prerank": {"keep": 0.2},
            "sites": {"S2": {"S": 0.5, "Cl": 0.5}, "X": {"S": 0.5, "Cl": 0.5}},
        },
        {
            "parent": "rocksalt",
            "cell": [2, 1, 1],
            "clusters": {"pairs": 3, "triplets": 2},
            "sites": {"M": {"Li": 0.5, "Mn": 0.25, "Ti": 0.25}, "X": {"F": {"max": 0.25}, "O": "rest"}},
        },
    ],
    "pool": [
        {
            "source": LITHIUM_PHASES,
            "id": "name",
            "columns": ["source"],
            "composition": "formula",
            "structure": "cif",
        },
        {"source": LITHIUM_PHASES, "composition": "formula", "scale": "ranks", "repeated": "first"},
        {"source": LITHIUM_PHASES, "id": "name", "columns": ["source"]},  # no features: one axis of ties
    ],
    "parameters": [
        {
            "parameters": {
                "x": {"real": [-5, 5]},
                "n": {"integer": [1, 8]},
                "c": {"categorical": ["EC", "DMC"]},
            }
        },
        {"parameters": {"n": {"integer": [1, 8]}, "c": {"categorical": ["EC", "DMC", "EMC"]}}},
        {"parameters": {f"x{i}": {"real": [0, 1]} for i in range(1, 13)}},
        {
            "parameters": {
                "temperature": {"real": [300, 1200]},
                "time": {"real": [1, 100], "log": True},
                "coats": {"integer": [1, 1000], "log": True},
                "pressure": {"ordinal": [0.1, 0.5, 2.0]},
                "solvent": {
                    "categorical": ["EC", "DMC", "none"],
                    "descriptors": {"EC": {"e": 89.8}, "DMC": {"e": 3.1}, "none": {"e": 1.0}},
                },
                "salt": {"real": [0.1, 2], "when": {"solvent": ["EC", "DMC"]}},
                "steps": {"integer": [1, 5], "when": {"salt": {"min": 0.5}}},
                "grade": {"ordinal": ["low", "middle", "high"], "when": {"steps": [2, 4]}},
                "active": {"real": [0, 1]},
                "binder": {"real": [0, 1]},
                "carbon": {"real": [0, 1]},
            },
            "constraints": [
                "active + binder + carbon = 1",
                {"sum": {"binder": 1, "carbon": 2}, "max": 0.6},
                "0.1*steps + salt <= 2",
                "temperature * log10(time) <= 1000 or solvent == 'none'",
            ],
        },
        {
            "parameters": {
                "a": {"integer": [0, 9]},
                "b": {"integer": [0, 9]},
                "c": {"categorical": ["u", "v"]},
                "o": {"ordinal": [1, 2, 5], "when": {"c": "v"}},
            },
            "constraints": ["a + 2*b + o <= 12", "a * b >= 4", "c != 'u' or a != b"],
        },
    ],
    "substitution": [
        {
            "parent": "antiperovskite",
            "cell": [1, 1, 2],
            "rattle": 0.05,
            "sites": {"A": ["Li"], "B": ANIONS, "X": ANIONS},
        },
        {
            "parent": "argyrodite",
            "primitive": True,
            "sites": {"X": ["Cl", "Br"], "S1": {"species": ["S", "O"], "mixed": False}},
        },
        {"parent": "spinel", "sites": {"M": ["Mn", "Ni", "Co", "Al"], "A": ["Li", "Mg"]}},
        {
            "parent": "perovskite",
            "sites": {
                "A": {"species": ["Sr", "Ca", "Ba", "Mg"], "mixed": False},
                "X": {"species": ["O", "S"], "mixed": False},
            },
        },
        {"parent": "rocksalt", "charge_neutral": False, "sites": {"X": ["Cl", "Li"], "M": ["Li", "Na"]}},
    ],
}

OPTIMIZERS: dict[str, list[Example]] = {
    "bayesian": [
        {"batch": 2, "initial": 6, "effort": 0.2},
        {
            "batch": 1,
            "asks": 3,
            "initial": 5,
            "effort": 0.2,
            "acquisition": "thompson",
            "gaussian": {"kernel": "additive", "warp": True},
            "trust_region": True,
        },
        {"batch": 3, "initial": 4, "effort": 0.2, "model": "random_forest", "failures": False, "rows": 50},
    ],
    "auto": [{}, {"candidates": 5000}],
    "portfolio": [
        {"members": ["genetic", "cma", "swarm"]},
        {
            "members": ["random", {"kind": "genetic", "population": 6}],
            "half_life": 2,
            "least": 0,
            "at_once": 3,
        },
    ],
    "cma": [{}, {"population": 5, "restarts": "ipop", "separable": True}, {"restarts": "none", "sigma": 0.1}],
    "swarm": [
        {},
        {"particles": 4, "topology": "global", "schedule": "constriction", "frame": "axes", "clamp": 0.2},
        {"particles": 6, "mode": "asynchronous", "in_flight": 3, "boundary": "random", "leader": "sigma"},
        {
            "particles": 5,
            "schedule": "chaotic",
            "frame": "random",
            "boundary": "shrink",
            "velocity": "adjust",
            "patience": 2,
            "archive": 3,
        },
    ],
    "random": [{}, {"batch": 3}, {"design": "sobol", "batch": 5}, {"design": "latin_hypercube", "batch": 4}],
    "genetic": [
        {},
        {"population": 4, "offspring": 3},
        {"population": 10, "crossover": 1.0, "fresh": 0.0, "patience": 1},
        {"population": 8, "mode": "steady_state"},
        {"population": 6, "niching": "restricted", "adaptive": False, "fresh": 1.0, "crossover": 0.0},
        {"population": 12, "niching": "none", "vectors": False, "patience": None},
        {"population": 12, "offspring": 4, "prescreen": {"generations": 2, "models": ["linear"]}},
    ],
}

EVALUATORS: dict[str, list[Example]] = {
    "suffixed": [
        {"suffix": "two", "evaluator": {"kind": "minimum_distance", "scale": 0.5}},
        {
            "suffix": "7net",
            "evaluator": {"kind": "decomposition_energy", "reference": REFERENCE},
            "reads": ["energy_per_atom"],
        },
    ],
    "dendrite_rank": [
        {},
        {"volume_ratio": 0.3, "intervals": True, "flags": ["log10_shear_modulus_extrapolated"]},
    ],
    "consensus": [
        {"of": ["decomposition_energy"], "suffixes": ["7net"], "systematic": {"decomposition_energy": 0.05}},
        {"of": ["oxidation_limit", "hardness"], "suffixes": ["7net", "dft"], "units": {"hardness": "GPa"}},
    ],
    "function": [
        {
            "name": name,
            "path": f"tests.plugins.functions:{name}",
            "folder": str(Path(__file__).parents[1]),
            **settings,
        }
        for name, settings in {
            "height": {"provides": {"height": "m"}, "requires": ["parameters"]},
            "sizes": {
                "provides": {"width": "m", "depth": ""},
                "requires": ["height", "parameters"],
                "batch": 4,
            },
        }.items()
    ],
    "charge_neutrality": [{}],
    "surrogate": [{"model": PROPERTY_MODEL}],
    "table": [
        {"file": KNOWN, "key": ["x", "y"], "provides": {"height": ""}},
        {
            "file": KNOWN,
            "key": {"x": "x"},
            "composition": "formula",
            "provides": {"height": "", "slope": {"unit": "1/m", "column": "d height"}},
            "repeated": "mean",
            "censored": "missing",
        },
    ],
    "espresso": [
        {"pseudopotentials": {"Li": "Li.UPF", "O": "O.UPF", "Cl": "Cl.UPF"}, "ecutwfc": 60.0},
        {
            "pseudopotentials": {"Si": "Si.UPF"},
            "pseudo_dir": "pseudo",
            "calculation": "scf",
            "ecutwfc": 30.0,
            "ecutrho": 120.0,
            "kspacing": 0.3,
            "structure": "relaxed",
            "input_data": {"system": {"nspin": 2}},
        },
    ],
    "vasp": [
        {},
        {
            "input_set": "MPScanStaticSet",
            "user_incar": {"ENCUT": 700, "LREAL": False},
            "potcars": {"Li": "Li"},
        },
        {"input_set": "MPStaticSet", "kpoint_density": 200, "corrections": False, "structure": "relaxed"},
    ],
    "command": [
        {
            "run": f"'{sys.executable}' job.py",
            "structure": {"file": "in.vasp", "format": "vasp"},
            "files": [{"name": "job.py", "text": "print('n =', open('in.vasp').read().count('.'))"}],
            "results": [
                {"file": "stdout.txt", "regex": {"points": r"n = (\d+)"}},
                {"file": "in.vasp", "format": "vasp", "properties": {"c": "c"}, "structure": "copied"},
            ],
            "provides": {"points": "", "c": "Å"},
        }
    ],
    "experiment": [
        {"provides": {"conductivity": "S/cm", "uniformity": ""}},
        {
            "provides": {"energy_above_hull": "eV/atom"},
            "instructions": "Calorimetry, two pellets each.",
            "noise": {"energy_above_hull": 0.01},
            "requires": ["structure:relaxed"],
        },
    ],
    "minimum_distance": [{"scale": 0.6}],
    "bottleneck_radius": [{"ion": "Li"}],
    "structure_kept": [{}, {"regions": "interface"}],
    "interface_profile": [{}, {"ion": "Li"}],
    "electrode": [
        {
            "working_ion": "Li",
            "from": 1.0,
            "to": 2 / 3,
            "orderings": 1,
            "potential": {
                "kind": "ase",
                "calculator": "lj",
                "arguments": {"sigma": 2.5, "epsilon": 0.1, "rc": 6.0},
            },
            "host_changed": "flag",
            "anion_redox": True,
        }
    ],
    "topotactic_window": [
        {
            "ion": "Li",
            "size": 3.5,
            "sites": 1,
            "potential": {
                "kind": "ase",
                "calculator": "lj",
                "arguments": {"sigma": 2.5, "epsilon": 0.1, "rc": 6.0},
            },
            "host_changed": "flag",
        }
    ],
    "migration_barrier": [{"ion": ["Li", "Na"]}],
    "diffusivity": [
        {
            "ion": ["Li", "Na"],
            "temperatures": [700.0, 900.0, 1100.0],
            "duration": 0.6,
            "equilibration": 0.1,
            "supercell": 0.0,
            "unconverged": "keep",
            "potential": {
                "kind": "ase",
                "calculator": "tests.plugins.hopping:Hopping",
                "arguments": {"divisions": 4},
            },
        }
    ],
    "neb_barrier": [
        # An ideal gas has no barriers, and needs no time; `test_neb_barrier` checks the contract with atoms that interact.
        {"ion": "Li", "potential": {"kind": "ase", "calculator": "ideal_gas"}, "supercell": 5.0, "images": 3}
    ],
    "relax": [{"potential": "chgnet", "fmax": 0.02}],
    "decomposition_energy": [{"reference": REFERENCE}],
    "energy_above_hull": [{"reference": REFERENCE}],
    "stability_window": [{"reference": REFERENCE, "ion": "Li"}],
    "defect_energy": [
        {"potential": {"kind": "ase", "calculator": "ideal_gas"}},
        {"conditions": {"equilibrium_with": ["Li2O", "Li3N"], "limits": {"Li": "rich"}}},
        {"conditions": {"ion": "Li", "voltage": 3.5}, "reference": "lithium-chalcohalides", "smax": 0.1},
    ],
    "interface_reaction": [
        {"reference": REFERENCE, "against": ["Li2S", {"formula": "LiF", "energy_per_atom": -4.8}]},
        {
            "reference": REFERENCE,
            "against": ["LiF"],
            "voltages": ["open_circuit", 4],
            "ion": "Li",
        },
    ],
    "interface_energy": [{"potential": EMT}, {"potential": EMT, "open_ion": {"ion": "Li", "voltage": 3.5}}],
    "work_of_adhesion": [{"potential": EMT}],
    "exchange_energy": [{"potential": EMT, "supercell": 5.0, "tries": 1}],
    "landscape": [{"function": "sphere"}, {"function": "zdt1"}, {"function": "dtlz2", "batch_size": 2}],
}

GENERATORS: dict[str, list[Example]] = {
    "prototypes": [{}, {"temperature": 0.0}],
    "crystal_vae": [{}],
    "crystal_gan": [{}],
}
BY_GROUP = {"generators": GENERATORS, "spaces": SPACES, "optimizers": OPTIMIZERS, "evaluators": EVALUATORS}

SLOW = frozenset({"relax"})  # kinds whose check takes more than seconds


def examples(group: str) -> list[tuple[str, Example]]:
    """(kind, settings with kind) of every example of a group."""
    return [(kind, {"kind": kind, **fields}) for kind, items in BY_GROUP[group].items() for fields in items]


def make_inputs(kind: str) -> list[Input] | None:
    """Inputs for evaluators that the usual anti-perovskites do not suit; None for all others."""
    return make_interfaces() if kind in {"interface_energy", "work_of_adhesion", "exchange_energy"} else None
