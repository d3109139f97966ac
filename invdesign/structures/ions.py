"""Ions of the elements in solids: oxidation states of metals, and polyatomic ions of nonmetals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pymatgen.core import Element

CHALCOGENS = frozenset({"O", "S", "Se", "Te"})
HALOGENS = frozenset({"F", "Cl", "Br", "I"})
# States of the other elements of a polyatomic ion, unless `ions.yaml` gives others.
PARTNER_STATES: Mapping[str, int] = {"F": -1, "H": 1, "N": -3, "O": -2, "S": -2, "Se": -2}
# Lanthanides whose 2+ ion is found beyond binary compounds, and whose monoxide or difluoride is known: Greenwood and Earnshaw, table 30.2.
DIVALENT_LANTHANIDES = frozenset({"Sm", "Eu", "Tm", "Yb"})
RARE_STATE_DEMERIT = 1.0  # decades: demerit of a nonmetal's state that is not its group's; chosen
UNIT_DEMERIT = 0.25  # decades per atom: demerit of a polyatomic ion; chosen
LAST_CHARGED_STATES: Mapping[str, int] = {"Fe": 4, "Co": 4, "Ni": 4, "Cu": 3}


@dataclass(frozen=True, slots=True)
class Form:
    """One possible form of all atoms of an element.

    Attributes:
        state: mean oxidation state.
        demerit: 0 for the element's usual states, more for others.
        partners: other elements that must be present: (symbol, atoms per atom of this element, state or None).
        exact: True if there are no more of these partners than needed (hydrogen besides excuses more).
    """

    state: Fraction
    demerit: float = 0.0
    partners: tuple[tuple[str, Fraction, int | None], ...] = ()
    exact: bool = False


@dataclass(frozen=True, slots=True)
class _Unit:
    """A polyatomic unit of `ions.yaml`.

    Attributes:
        form: the form of its central element.
        allowed: the other elements that the compound may hold; None for any.
        free: True if it needs no metal.
    """

    form: Form
    allowed: frozenset[str] | None
    free: bool


@cache
def electrode_states(element: str) -> tuple[int, ...]:
    """States of an `element` in electrodes that pymatgen's common states lack."""
    return tuple(_read_ion_data()["electrode_states"].get(element, ()))


@cache
def is_metal(element: str) -> bool:
    """True if the `element` is a metal for pymatgen.

    Metalloids are none.
    """
    return bool(_get_element(element).is_metal)


@cache
def is_metalloid(element: str) -> bool:
    """True if the `element` is a metalloid.

    These are B, Si, Ge, As, Sb, Te and Po.
    """
    return bool(_get_element(element).is_metalloid)


@cache
def is_alkali(element: str) -> bool:
    """True if the `element` is one of Li to Fr."""
    return bool(_get_element(element).is_alkali)


@cache
def is_group_1_or_2_metal(element: str) -> bool:
    """True if the `element` is a metal of groups 1 and 2."""
    found = _get_element(element)
    return bool(found.is_alkali or found.is_alkaline)


@cache
def has_open_shell(element: str) -> bool:
    """True if the `element` has open d or f shells.

    These are metals of groups 3 to 11, lanthanides and actinides.
    """
    found = _get_element(element)
    return bool((found.is_transition_metal and found.group < 12) or found.is_lanthanoid or found.is_actinoid)


@cache
def is_salt_forming_metal(element: str) -> bool:
    """True if the `element` is a salt-forming metal.

    These are metals of groups 1 to 3 and 12, and lanthanides. They leave oxygen to the oxoanions of other elements.
    """
    found = _get_element(element)
    return is_metal(element) and (found.group in {1, 2, 3, 12} or found.is_lanthanoid)


@cache
def is_electropositive(element: str) -> bool:
    """True if oxide hydrides of the `element` are known.

    These are metals of groups 1 to 5, and lanthanides.
    """
    found = _get_element(element)
    return is_metal(element) and (found.group <= 5 or found.is_lanthanoid)


@cache
def group_valences(element: str) -> tuple[int, ...]:
    """Highest and lowest valence of a p-block `element` by group.

    Sulfur has 6 and -2. Empty for all but nonmetals and metalloids.
    """
    found = _get_element(element)
    if found.block != "p" or found.is_post_transition_metal or found.is_noble_gas:
        return ()
    return found.group - 10, found.group - 18


@cache
def electronegativity(element: str) -> float:
    """Pauling's electronegativity of an `element`; 0 where there is none."""
    return float(_get_element(element).data.get("X") or 0.0)


@cache
def metal_states(element: str, others: frozenset[str]) -> tuple[tuple[int, float], ...]:
    """List the cationic states of a metal in a compound.

    The usual ones are pymatgen's common states and those of electrodes. Higher ones that Shannon tabulates or the
    ICSD holds belong to oxides and fluorides; in binary ones all known states are listed (IrF6). Lower ones that the
    ICSD holds (pymatgen: one entry in a hundred of the element) belong to compounds without oxygen and fluorine: of
    metals of groups 5 to 11 and of some lanthanides in all of them (nitrides: 7 to 11), of others in binary
    compounds.

    Args:
        element: symbol of the metal.
        others: the other elements of the compound.

    Returns:
        (state, demerit) pairs. A demerit is the number of decades by which the state is rarer than the most frequent
        one.

    Source:
        R. D. Shannon, Acta Crystallogr. A 32, 751 (1976); pymatgen's element data; `ions.yaml`.
    """
    found = _get_element(element)
    common = {int(s) for s in found.common_oxidation_states if s > 0}
    hard = bool(others & {"O", "F"})
    usual = common | {s for s in electrode_states(element) if hard or s < max(common, default=0)}
    usual = usual or {int(s) for s in found.oxidation_states if s > 0}
    if not usual:
        return ()
    tabulated = {int(s) for s in (found.data.get("Shannon radii") or {}) if s}
    recorded = _recorded_states(found, alone=len(others) == 1)
    further: set[int] = set(_read_ion_data()["further_states"].get(element, ()))
    further |= tetrahedral_states(element) if "N" in others else set()
    if "H" in others and all(name == "H" or is_salt_forming_metal(name) for name in others):
        further |= set(_read_ion_data()["hydride_states"].get(element, ()))
    if _is_reducible(found, others):
        further |= {s for s in recorded | tabulated if s > 0}
    elif hard:
        further |= {s for s in recorded | tabulated if s > min(usual)}
        if len(others) == 1:
            further |= {int(s) for s in found.oxidation_states if s > max(usual)}
    else:
        further |= {s for s in recorded if s > min(usual)}
    return tuple((state, _state_rarity(element, state)) for state in sorted(usual | further))


def _recorded_states(found: Element, *, alone: bool) -> set[int]:
    """Oxidation states of an element in the ICSD, without clusters and ion pairs.

    La2+ and Sn3+ in larger compounds are such states.
    """
    if found.group == 3 or found.is_lanthanoid or (found.block == "p" and not alone):
        return set()
    return {int(state) for state in found.icsd_oxidation_states}


@cache
def _state_rarity(element: str, state: int) -> float:
    """Rarity of a state, in decades below the most frequent one.

    The 4+ states of iron, cobalt and nickel and Cu3+ count one decade more: they are the last to be reached on
    charge, at the top of the oxygen band.

    Source:
        ICSD: O'Keeffe and Brese, through pymatgen's `icsd_bv.yaml`. J. B. Goodenough and Y. Kim, Chem. Mater. 22, 587
        (2010).
    """
    counts = _count_states().get(element, {})
    most = max(counts.values(), default=1)
    rare = math.log10(most / counts[state]) if state in counts else 2.0 * RARE_STATE_DEMERIT
    return rare + (RARE_STATE_DEMERIT if state >= LAST_CHARGED_STATES.get(element, 99) else 0.0)


@cache
def _count_states() -> Mapping[str, Mapping[int, int]]:
    """Count ions in the ICSD by element and charge."""
    from pymatgen.core import Composition, Species

    Composition("NaCl").oxi_state_guesses()  # reads the table
    found: dict[str, dict[int, int]] = {}
    for species, count in (Composition.oxi_prob or {}).items():
        if isinstance(species, Species) and species.oxi_state and species.oxi_state > 0:
            found.setdefault(species.symbol, {})[int(species.oxi_state)] = int(count)
    return found


@cache
def tetrahedral_states(element: str) -> frozenset[int]:
    """States of an `element` in MO4 and MN4 groups alone."""
    return frozenset(_read_ion_data()["tetrahedral_states"].get(element, ()))


@cache
def anion_forms(element: str, others: frozenset[str]) -> tuple[Form, ...]:
    """List an element's forms of `ions.yaml` and its monatomic anion.

    Args:
        element: symbol.
        others: the other elements of the compound.
    """
    salt = any(map(is_metal, others))
    forms = [
        unit.form
        for unit in _read_units().get(element, ())
        if (unit.allowed is None or others <= unit.allowed) and (salt or unit.form.state > 0 or unit.free)
    ]
    forms = [form for form in forms if all(partner in others for partner, *_ in form.partners)]
    if element == "H":
        return (Form(Fraction(-1)), *forms)
    valences = group_valences(element)
    clustered = element in {"B", "Si", "Ge"}  # their anions are in `ions.yaml`
    if valences and not clustered and valences[1] in _get_element(element).oxidation_states:
        return (Form(Fraction(valences[1])), *forms)
    return tuple(forms)


@cache
def cation_forms(element: str, others: frozenset[str]) -> tuple[Form, ...]:
    """List the positive states of a nonmetal or metalloid.

    Ge2+ belongs to binary compounds and halides, S2+ to compounds without metals.

    Args:
        element: symbol.
        others: the other elements of the compound.
    """
    found = _get_element(element)
    if found.is_noble_gas and not found.common_oxidation_states:
        return (Form(Fraction(0)),)
    if element in {"O", "F"}:
        return ()
    if element == "C":
        return (Form(Fraction(4)),)
    tabulated = {int(s) for s in (found.data.get("Shannon radii") or {}) if s}
    states = {s for s in {*map(int, found.common_oxidation_states), *tabulated} if s > 0}
    if element in CHALCOGENS and any(map(is_metal, others)):
        states.discard(2)
    if element == "Ge" and not (len(others) == 1 or (others & HALOGENS and "O" not in others)):
        states.discard(2)
    top = group_valences(element)[:1]
    none = (Form(Fraction(0)),) if found.is_noble_gas else ()
    return none + tuple(
        Form(Fraction(s), 0.0 if not top or s in top else RARE_STATE_DEMERIT) for s in sorted(states)
    )


def _is_reducible(found: Element, others: frozenset[str]) -> bool:
    """True if such compounds have states below the usual ones."""
    alone = len(others) == 1
    if others & {"O", "F"}:
        return alone and found.symbol in DIVALENT_LANTHANIDES
    if found.symbol in DIVALENT_LANTHANIDES:
        return True
    if found.is_transition_metal and 5 <= found.group <= 11:
        return alone or "N" not in others or found.group >= 7
    return alone


def _get_element(symbol: str) -> Element:
    from pymatgen.core import Element

    return Element(symbol)


@cache
def _read_ion_data() -> Mapping[str, Any]:
    """Read `ions.yaml`."""
    from ruamel.yaml import YAML

    text = (files("invdesign.structures") / "ions.yaml").read_text(encoding="utf-8")
    found: Mapping[str, Any] = YAML(typ="safe", pure=True).load(text)
    return found


@cache
def _read_units() -> Mapping[str, tuple[_Unit, ...]]:
    """Polyatomic units by their central element."""
    units: dict[str, tuple[_Unit, ...]] = {}
    for entry in _read_ion_data()["units"]:
        element, unit = _read_unit(entry)
        units[element] = (*units.get(element, ()), unit)
    return units


def _read_unit(entry: Mapping[str, Any]) -> tuple[str, _Unit]:
    """Read the element of a unit and its form.

    `{ion: S2O3, charge: -2}` is sulfur at +2 with 3/2 oxygen atoms each.
    """
    from pymatgen.core import Composition

    amounts = {str(k): int(n) for k, n in Composition(entry["ion"]).get_el_amt_dict().items()}
    centre = next(iter(amounts))
    atoms = amounts.pop(centre)
    given = entry.get("states", {})
    states = {name: int(given[name] if name in given else PARTNER_STATES[name]) for name in amounts}
    rest = sum(states[name] * n for name, n in amounts.items())
    form = Form(
        state=Fraction(int(entry["charge"]) - rest, atoms),
        demerit=UNIT_DEMERIT,
        partners=tuple((name, Fraction(n, atoms), states[name]) for name, n in amounts.items()),
        exact=bool(entry.get("exact", False)),
    )
    allowed = _expand_groups(entry["with"]) if "with" in entry else None
    return centre, _Unit(form, allowed, allowed is None or not any(map(is_metal, allowed)) or "H" in allowed)


def _expand_groups(names: list[str]) -> frozenset[str]:
    """Expand groups such as `alkali` to element symbols."""
    return frozenset(symbol for name in names for symbol in _element_groups().get(name, {name}))


@cache
def _element_groups() -> Mapping[str, frozenset[str]]:
    """Elements of each group that `ions.yaml` may name."""
    from pymatgen.core import Element

    every = [e for e in Element if e.value not in {"D", "T"}]
    return {
        "alkali": frozenset(e.symbol for e in every if e.is_alkali),
        "alkaline_earth": frozenset(e.symbol for e in every if e.is_alkaline),
        "rare_earth": frozenset(e.symbol for e in every if e.is_rare_earth),
        "open_shell": frozenset(e.symbol for e in every if e.is_transition_metal and 4 <= e.group <= 11),
        "transition": frozenset(e.symbol for e in every if e.is_transition_metal),
        "metal": frozenset(e.symbol for e in every if e.is_metal),
    }


@cache
def oxidation_range(element: str) -> tuple[int, int]:
    """Lowest and highest known oxidation state of an `element`."""
    states = [int(state) for state in _get_element(element).oxidation_states] or [0]
    return min(states), max(states)
