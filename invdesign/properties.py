"""Vocabulary of properties: meaning, unit and reliability of each name.

Evaluators may provide properties that are not listed here. They keep their own unit, and their name serves as label.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

Unit = str
HULL_DISTANCES = ("decomposition_energy", "energy_above_hull")  # also the evaluators that provide them
STRUCTURE_PREFIX = "structure:"  # begins the names of structures that an evaluator requires or provides


@dataclass(frozen=True, slots=True)
class Mark:
    """Words to be shown beside some values of a property.

    Attributes:
        flag: name of a property that is not 0 where the words apply.
        words: shown beside the value, `2.82 V of its decomposition products`.
        others: for several such values at once, `those of their decomposition products`.
        rest: what a value without these words does, and what several do.
    """

    flag: str
    words: str
    others: str
    rest: tuple[str, str] = ("is the candidate's own", "are the candidates' own")


@dataclass(frozen=True, slots=True)
class Property:
    """A named quantity.

    Attributes:
        label: for plots.
        caveat: shown where it is ranked.
        mark: words for some of its values.
        truth: sections of docs/truth.md that compare it with experiment or other calculations.
    """

    name: str
    unit: Unit
    label: str
    caveat: str = ""
    mark: Mark | None = None
    truth: tuple[str, ...] = ()

    @property
    def remark(self) -> str:
        """The caveat, and where the property is compared; mostly empty."""
        sections = " and ".join(f"'{section}'" for section in self.truth)
        where = (
            f"Compared with experiment or other calculations: docs/truth.md, {sections}." if sections else ""
        )
        return " ".join(filter(None, [self.caveat, where]))


STRUCTURE_KEPT = "structure_kept"  # 1 where a relaxed crystal still has the structure it was built with


def structure_fate(properties: Mapping[str, float], details: Mapping[str, str]) -> tuple[bool, str]:
    """Tell whether a candidate has lost its structure, with a few words.

    Args:
        properties: of one candidate, by name.
        details: sentences by property: `no longer an anti-perovskite: 2 of 2 Br octahedra lost`.

    Returns:
        True if the structure is lost; and `no longer an anti-perovskite`, or `O octahedra kept: still an anti-perovskite`,
        empty where nothing is known.
    """
    value = properties.get(STRUCTURE_KEPT)
    if value is None or math.isnan(value):
        return False, ""
    lost = value < 1.0
    words = details.get(STRUCTURE_KEPT, "").partition(";")[0]
    words = words.partition(":")[0] if lost else words
    return lost, words or ("no longer the structure it started from" if lost else "")


_HULL_CAVEAT = (
    "Machine-learned potentials are uncertain by about 50 meV/atom here: two checkpoints of CHGNet differ by "
    "21 meV/atom on average over 31 anti-perovskites. CHGNet puts some phases too low: Li3OCl is 20 meV/atom below the "
    "hull here, and 20 to 30 above it by density functional theory. So within the error the sign is open."
)
_MOVING_HULL_CAVEAT = (
    "The hull is that of the phases which this run found, and of a reference set where one is given: a distance of 0 says "
    "that nothing lower was found, not that the phase is stable. It grows when the run finds a lower phase; distances of two "
    "runs are not comparable."
)
_WINDOW_CAVEAT = (
    "Voltages against the metal of the ion, in equilibrium with the products: slow reactions let a phase last beyond them, and layers of "
    "products may protect it."
)
_GAP_CAVEAT = "Semilocal functionals (PBE, r2SCAN) underestimate band gaps."
_BARRIER_CAVEAT = (
    "Bond-valence barriers rank compounds within some frameworks, never across them: against 67 computed barriers "
    "of the literature their rank correlation is 0.6 to 0.9 within six classes (layered, Li2MnO3-type oxides, "
    "anti-perovskites, NASICON and thiophosphates, spinels, chalcogenide spinels), -0.5 for Na3OX with Na3PS4 and Na3PSe4 "
    "(n 5), and 0.3 over all. Tavorites, and all other frameworks, were not compared. Heights err by 0.1 to 1.1 eV by class. "
    "The barrier is that of the one minimum that the relaxation keeps; another minimum nearby may have another one. "
    "All this is said of the stage migration_barrier. Barriers of the stage neb_barrier have another error: universal "
    "potentials are too soft away from minima, so that barriers tend to come out too low (CHGNet 0.3.0 by 0.15 eV on average "
    "over 36 compounds, by 0.5 eV in NASICON); the crystal holds one vacancy or extra ion at a time, and single hops alone are looked for."
)
_DIFFUSION_CAVEAT = (
    "Molecular dynamics in a fixed cell, extrapolated to 298 K along one Arrhenius line: a change of phase or mechanism on the way "
    "is not seen. Universal potentials put barriers too low (softening), so diffusion comes out too fast; compare candidates of one "
    "potential. Carriers are those of the cell: a crystal without vacancies or interstitials shows the wrong activation energy."
)
_ENERGY_CAVEAT = (
    "Energies per atom compare candidates of one composition only, relaxed by one potential in the same way. Differences "
    "between orderings below about 30 meV per transition metal are not claimed: CHGNet knows no spin."
)
_REACTION_CAVEAT = (
    "The energy that two phases can gain by reacting, per atom of both phases together (an ion that is open at a voltage is not counted), "
    "at the worst mixing ratio, by thermodynamics alone: how fast they do, and whether their products "
    "stop it, is not asked. 0 says that no reaction among the phases of the reference set gains energy. CHGNet makes salts of "
    "oxoanions too stable, so that reactions which form sulfates or phosphates come out too strong without the correction for "
    "oxygen."
)
_DEFECT_CAVEAT = (
    "Formation energies in neutral supercells at 0 K: no charged defects, no correction of size, and potentials without long-range "
    "electrostatics. Universal potentials are too soft away from minima and tend to put defects too low: rankings and signs are "
    "claimed, heights are not, and only within one size of cell and one set of conditions."
)
_VOLTAGE_CAVEAT = (
    "Voltages against the metal of the ion, of one host whose ions leave or enter (topotactic), at 0 K. CHGNet 0.3.0 misses nine measured ones by 0.28 V "
    "on average: good to rank, and up to 0.6 V wrong for titanates, layered cobalt oxides and van der Waals layers."
)
_TOPOTACTIC_CAVEAT = (
    "The limits are those of an electrolyte that stays intact; it may decompose within them. Potentials without electrons know "
    "no hole left behind: CHGNet 0.3.0 misses five limits of insertion compounds by 0.7 V, ions leave too easily and enter too late, and takes one "
    "out of Li3OCl at 2.35 V, where 2.87 V is the least that is possible on its own scale."
)


def mark_extrapolation(name: str) -> Mark:
    """Mark of a property whose values a trained model predicts outside its training data."""
    rest = ("lies in the domain of its model", "lie in the domain of their model")
    return Mark(f"{name}_extrapolated", "by extrapolation", "extrapolations", rest)


_SOFT_CAVEAT = (
    "Universal potentials underrate surfaces and defects (Deng et al. 2025) and have no long-range electrostatics: signs and rankings count, "
    "and space charge is not in them. The error of these energies was not measured."
)
_INTERFACE_CAVEAT = (
    "Per plane, against two solids at the strain they have here, whose cost stands apart (interface_strain_energy): compare both where "
    f"matches differ. {_SOFT_CAVEAT}"
)
_STRAIN_CAVEAT = (
    "It grows with the thickness of the strained side, so it belongs to the cell more than to the interface."
)
_EXCHANGE_CAVEAT = (
    "Between two bulks that do not touch: the strain of the interface, its room and its electrostatics are not in it. A tier before relaxations of "
    f"the interface, not in their place. {_SOFT_CAVEAT}"
)
_LEARNT_CAVEAT = (
    "Predicted by a model that was trained on a table. Its error is the deviation beside the value; the card of the model says how it was "
    "measured. A value outside the domain of the training data is an extrapolation and is marked so."
)
_DENDRITE_CAVEAT = (
    "Linear stability of a flat interface between lithium metal and an isotropic elastic solid (Ahmad 2018). It ranks solids by the initiation of "
    "dendrites; cracks, pores and grain boundaries, through which dendrites grow in practice, are not asked."
)
_CONDUCTIVITY_CAVEAT = (
    "Total ionic conductivity of a sintered or pressed sample at room temperature: it depends on preparation, and reports of one "
    f"composition differ by 1.1 log units, so that each is off by 0.8 (root mean squares). {_LEARNT_CAVEAT}"
)
_OF_PRODUCTS = Mark(
    "window_of_products", "of its decomposition products", "those of their decomposition products"
)
_LESS_CERTAIN = Mark(
    "less_certain_voltage", "in a class with larger errors", "those in classes with larger errors"
)
_VOCABULARY = {
    item.name: item
    for item in (
        Property("charge_imbalance", "e", "Charge imbalance"),
        Property("minimum_distance_ratio", "", "Shortest distance / sum of covalent radii"),
        Property("bottleneck_radius", "Å", "Bottleneck radius"),
        Property(STRUCTURE_KEPT, "", "Structure kept"),
        Property("migration_barrier_1d", "eV", "Migration barrier in one direction", _BARRIER_CAVEAT),
        Property("migration_barrier_2d", "eV", "Migration barrier in two directions", _BARRIER_CAVEAT),
        Property("migration_barrier_3d", "eV", "Migration barrier in three directions", _BARRIER_CAVEAT),
        Property("activation_energy", "eV", "Activation energy of diffusion", _DIFFUSION_CAVEAT),
        Property("diffusivity_298", "log10(cm^2/s)", "Diffusivity at 298 K", _DIFFUSION_CAVEAT),
        Property(
            "conductivity_298", "log10(S/cm)", "Bulk conductivity at 298 K, Haven ratio 1", _DIFFUSION_CAVEAT
        ),
        Property(
            "log10_conductivity",
            "log10(S/cm)",
            "Total conductivity at 298 K",
            _CONDUCTIVITY_CAVEAT,
            mark_extrapolation("log10_conductivity"),
        ),
        Property(
            "dendrite_stability",
            "kJ/mol/nm",
            "Stability parameter of dendrite initiation (negative: stable)",
            _DENDRITE_CAVEAT,
            mark_extrapolation("dendrite_stability"),
        ),
        Property(
            "dendrite_stable_probability",
            "",
            "Probability that a flat interface with lithium is stable",
            _DENDRITE_CAVEAT,
        ),
        Property(
            "log10_bulk_modulus",
            "log10(GPa)",
            "Bulk modulus",
            _LEARNT_CAVEAT,
            mark_extrapolation("log10_bulk_modulus"),
        ),
        Property(
            "log10_shear_modulus",
            "log10(GPa)",
            "Shear modulus",
            _LEARNT_CAVEAT,
            mark_extrapolation("log10_shear_modulus"),
        ),
        Property("diffusion_converged", "", "1 where the ions moved enough at every temperature"),
        Property("coordination_kept", "", "Share of polyhedra kept"),
        Property("polyanions_kept", "", "Share of covalent units kept"),
        Property("new_anion_dimers", "", "New bonds between anions"),
        Property("largest_displacement", "Å", "Largest displacement"),
        Property("whole_polyanions", "", "Whole polyanions"),
        Property("broken_polyanions", "", "Polyanions broken by the relaxation"),
        Property("inner_disorder", "Å", "Displacement of inner atoms (root mean square)"),
        Property("isolated_atoms", "", "Isolated atoms"),
        Property("interface_gap", "Å", "Widest slice without atoms"),
        Property("side_shift", "Å", "Displacement of the sides against each other"),
        Property("mixing_width", "Å", "Width of mixing"),
        Property("foreign_atoms", "", "Foreign atoms at the plane"),
        Property("exchanged_atoms", "", "Exchanged atoms"),
        Property("largest_depletion", "", "Largest share of ions that a layer lost"),
        Property("ion_transfer", "", "Ions that went to the film"),
        Property("mixed_beyond_region", "", "Atoms among inner ones of the other side"),
        Property("volume_change", "%", "Volume change"),
        Property("space_group_before", "", "Space group before (number)"),
        Property("space_group_after", "", "Space group after (number)"),
        Property("energy_per_atom", "eV/atom", "Energy", _ENERGY_CAVEAT),
        Property("volume_per_atom", "Å^3/atom", "Volume"),
        Property("max_force", "eV/Å", "Largest force left"),
        Property("max_stress", "GPa", "Largest stress left"),
        Property("relaxation_steps", "", "Relaxation steps"),
        Property("decomposition_energy", "eV/atom", "Decomposition energy", _HULL_CAVEAT),
        Property("energy_above_hull", "eV/atom", "Energy above hull", _HULL_CAVEAT),
        Property("distance_to_hull", "eV/atom", "Distance to the hull", _MOVING_HULL_CAVEAT),
        Property("dft_distance_to_hull", "eV/atom", "Distance to the hull by DFT", _MOVING_HULL_CAVEAT),
        Property("reduction_limit", "V", "Reduction limit", _WINDOW_CAVEAT, _OF_PRODUCTS),
        Property("oxidation_limit", "V", "Oxidation limit", _WINDOW_CAVEAT, _OF_PRODUCTS),
        Property("window_width", "V", "Width of the stability window", _WINDOW_CAVEAT, _OF_PRODUCTS),
        Property("window_of_products", "", "1 where the window is that of the decomposition products"),
        Property("mutual_reaction_energy", "eV/atom", "Mutual reaction energy", _REACTION_CAVEAT),
        Property("interface_reaction_energy", "eV/atom", "Interface reaction energy", _REACTION_CAVEAT),
        Property("defect_energy", "eV", "Defect formation energy", _DEFECT_CAVEAT),
        Property("interface_energy", "J/m^2", "Interface energy", _INTERFACE_CAVEAT),
        Property(
            "interface_strain_energy", "J/m^2", "Strain energy of the interface's solids", _STRAIN_CAVEAT
        ),
        Property("interface_excess", "1/nm^2", "Ions at the interface beyond those of the solids"),
        Property("work_of_adhesion", "J/m^2", "Work of adhesion", _SOFT_CAVEAT),
        Property("bulk_exchange_energy", "eV", "Energy of the exchanges between two bulks", _EXCHANGE_CAVEAT),
        Property("average_voltage", "V", "Average voltage", _VOLTAGE_CAVEAT, _LESS_CERTAIN),
        Property("lowest_voltage", "V", "Voltage of the lowest plateau", _VOLTAGE_CAVEAT, _LESS_CERTAIN),
        Property("highest_voltage", "V", "Voltage of the highest plateau", _VOLTAGE_CAVEAT, _LESS_CERTAIN),
        Property("less_certain_voltage", "", "1 where the voltage is of a class with larger errors"),
        Property("capacity_per_discharged_mass", "mAh/g", "Capacity per discharged mass"),
        Property("capacity_per_host_mass", "mAh/g", "Capacity per mass of the host"),
        Property("capacity_per_discharged_volume", "mAh/cm^3", "Capacity per discharged volume"),
        Property(
            "energy_per_discharged_mass",
            "Wh/kg",
            "Energy per discharged mass",
            _VOLTAGE_CAVEAT,
            _LESS_CERTAIN,
        ),
        Property(
            "energy_per_discharged_volume",
            "Wh/L",
            "Energy per discharged volume",
            _VOLTAGE_CAVEAT,
            _LESS_CERTAIN,
        ),
        Property("insertion_volume_change", "%", "Volume change on discharge"),
        Property("host_displacement", "Å", "Largest displacement of the host"),
        Property("host_changed", "", "1 where the host changed"),
        Property("topotactic_reduction_limit", "V", "Voltage of the first ion in", _TOPOTACTIC_CAVEAT),
        Property("topotactic_oxidation_limit", "V", "Voltage of the first ion out", _TOPOTACTIC_CAVEAT),
        Property("topotactic_window_width", "V", "Width of the topotactic window", _TOPOTACTIC_CAVEAT),
        Property("dft_energy_per_atom", "eV/atom", "Energy by DFT"),
        Property("dft_corrected_energy_per_atom", "eV/atom", "Energy by DFT, corrected (MP 2020)"),
        Property("dft_volume_per_atom", "Å^3/atom", "Volume by DFT"),
        Property("dft_band_gap", "eV", "Band gap by DFT", _GAP_CAVEAT),
        Property("dft_max_force", "eV/Å", "Largest force left by DFT"),
        Property("dft_max_stress", "GPa", "Largest stress left by DFT"),
    )
}

_BARRIERS = ("migration_barrier_1d", "migration_barrier_2d", "migration_barrier_3d")
TRUTH_SECTIONS = {
    "Relaxed candidates that keep their structure": (STRUCTURE_KEPT,),
    "Windows of binaries": ("reduction_limit", "oxidation_limit", "window_width"),
    "Windows of sulfides": ("reduction_limit", "oxidation_limit", "window_width"),
    "Formation energies of battery phases": HULL_DISTANCES,
    "Hull of battery phases, each left out": HULL_DISTANCES,
    "Interface reactions": ("mutual_reaction_energy", "interface_reaction_energy"),
    "Migration barriers": _BARRIERS,
    "Barriers by elastic bands": _BARRIERS,
    "Diffusivity": ("activation_energy", "diffusivity_298", "conductivity_298"),
    "Voltages of insertion couples": (
        "average_voltage",
        "lowest_voltage",
        "highest_voltage",
        "energy_per_discharged_mass",
        "energy_per_discharged_volume",
    ),
    "Defects": ("defect_energy",),
    "Topotactic limits": (
        "topotactic_reduction_limit",
        "topotactic_oxidation_limit",
        "topotactic_window_width",
    ),
}
"""Properties by the section of docs/truth.md that compares them."""
for _section, _names in TRUTH_SECTIONS.items():
    for _name in _names:
        _VOCABULARY[_name] = replace(_VOCABULARY[_name], truth=(*_VOCABULARY[_name].truth, _section))


def describe_property(name: str, unit: Unit = "") -> Property:
    """Look up the vocabulary's entry of a property.

    Args:
        name: of the property; one that is not listed gets an entry made from its name. `energy_per_atom_7net` has the label
            and the caveat of `energy_per_atom`.
        unit: of a property that is not listed.

    Examples:
        >>> describe_property("energy_above_hull").unit
        'eV/atom'
        >>> describe_property("cycle_life", "h").label
        'Cycle life'
    """
    return (
        _VOCABULARY.get(name)
        or _describe_suffixed(name, unit)
        or Property(name, unit, name[:1].upper() + name[1:].replace("_", " "), mark=mark_extrapolation(name))
    )


def _describe_suffixed(name: str, unit: Unit) -> Property | None:
    """Entry of a listed property with a suffix.

    None if the name before the last underscore is not listed.

    The unit is the provider's: a property of the user's may be called so by chance.
    """
    stem, _, suffix = name.rpartition("_")
    item = _VOCABULARY.get(stem)
    if item is None:
        return None
    mark = None if item.mark is None else replace(item.mark, flag=f"{item.mark.flag}_{suffix}")
    return Property(name, unit, f"{item.label} ({suffix})", item.caveat, mark, item.truth)


def words_beside(name: str, value_of: Callable[[str], float | None]) -> str:
    """Words that must stand beside a value; mostly none.

    Args:
        name: of the property.
        value_of: gives a property of the same candidate by its name; None or NaN where unknown.
    """
    mark = describe_property(name).mark
    return mark.words if mark is not None and (value_of(mark.flag) or 0.0) > 0 else ""


def sentence_beside(name: str, value_of: Callable[[str], float | None], detail: str) -> str:
    """Join the words beside a value and its detail, for places apart from the value.

    Args:
        name: of the property.
        value_of: gives a property of the same candidate by its name; None or NaN where unknown.
        detail: of the value; may be empty.
    """
    return "; ".join(filter(None, (words_beside(name, value_of), detail)))


def check_unit(name: str, unit: Unit, advice: str = "name it otherwise") -> None:
    """Refuse a unit that differs from the vocabulary's.

    Args:
        name: of the property.
        unit: as its provider gives it.
        advice: ends the message.

    Raises:
        ValueError: it differs.
    """
    known = "" if is_structure(name) else describe_property(name, unit).unit
    if unit != known:
        raise ValueError(f"{name} is in {known or 'no unit'} everywhere, got '{unit}'; {advice}")


def is_structure(name: str) -> bool:
    """True if a required or provided `name` stands for a structure (`structure:relaxed`)."""
    return name.startswith(STRUCTURE_PREFIX)
