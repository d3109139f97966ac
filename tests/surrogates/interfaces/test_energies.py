"""Interface energies and work of adhesion obey their laws."""

from __future__ import annotations

import pytest
from pymatgen.core import Lattice, Structure

from invdesign.candidate import Evaluation, Input
from surrogates.interfaces.energies import InterfaceEnergy, InterfaceEvaluator, WorkOfAdhesion
from surrogates.potentials.ase import ASECalculator
from tests.surrogates.interfaces.crystals import COPPER, bulk, candidate, stack, turn

EMT = {"kind": "ase", "calculator": "emt"}
GAS = {"kind": "ase", "calculator": "ideal_gas"}
PLANE = COPPER / 2**0.5
NARROW = 3.45  # Å, about the distance of nickel's layers when it is stretched to copper's plane


def make_case(
    substrate: str = "Cu",
    film: str = "Cu",
    layers: tuple[int, int] = (4, 4),
    *,
    plane: float = PLANE,
    vacuum: float = 0.0,
) -> Input:
    heights = tuple(COPPER / 2 if element == "Cu" else NARROW / 2 for element in (substrate, film))
    references = {
        "substrate_bulk": bulk(substrate, plane, heights[0]),
        "film_bulk": bulk(film, plane, heights[1]),
        "substrate_solid": bulk(substrate, PLANE, heights[0]),
        "film_solid": bulk(film, PLANE, heights[1]),
        **{
            f"{side}_slab": stack(
                substrate, film, layers, plane=plane, heights=heights, vacuum=12.0, sides=[side]
            )
            for side in ("substrate", "film")
        },
    }
    built = stack(substrate, film, layers, plane=plane, heights=heights, vacuum=vacuum)
    return candidate(ASECalculator(calculator="emt"), built, references, cell=False if vacuum else "normal")


def evaluate(kind: type[InterfaceEvaluator], item: Input, **settings: object) -> Evaluation:
    evaluator = kind.model_validate({"potential": EMT, "fmax": 0.005, "smax": 0.01, **settings})
    (found,) = evaluator.evaluate([item])
    return found


def value_of(kind: type[InterfaceEvaluator], name: str, item: Input, **settings: object) -> float:
    found = evaluate(kind, item, **settings)
    assert found.failure is None, found.failure
    return found.properties[name]


def find_energy(item: Input) -> float:
    return value_of(InterfaceEnergy, "interface_energy", item)


@pytest.mark.parametrize("vacuum", [0.0, 12.0])
@pytest.mark.parametrize("strain", [0.98, 1.0, 1.02])
def test_a_crystal_on_itself_at_perfect_registry_costs_nothing(vacuum: float, strain: float) -> None:
    # In vacuum the thin slabs' surfaces interact a little across the film.
    assert find_energy(make_case(vacuum=vacuum, plane=strain * PLANE)) == pytest.approx(
        0.0, abs=0.02 if vacuum else 2e-4
    )


def test_thicker_sides_change_the_strain_energy_alone() -> None:
    thin, thick = (make_case(film="Ni", layers=(n, n)) for n in (6, 12))
    assert find_energy(thin) == pytest.approx(find_energy(thick), abs=2e-3)
    strains = [value_of(InterfaceEnergy, "interface_strain_energy", case) for case in (thin, thick)]
    assert strains[1] == pytest.approx(2 * strains[0], rel=1e-6)


def test_a_sandwich_and_vacuum_give_one_energy() -> None:
    sandwich, vacuum = (find_energy(make_case(film="Ni", layers=(8, 8), vacuum=v)) for v in (0.0, 12.0))
    assert sandwich == pytest.approx(vacuum, abs=0.02)


def test_strain_energy_is_quadratic() -> None:
    free = 3.5897 / 2**0.5  # of copper in EMT
    once, twice = (
        value_of(InterfaceEnergy, "interface_strain_energy", make_case(plane=free * (1 + strain)))
        for strain in (0.005, 0.01)
    )
    assert once > 0
    assert twice / once == pytest.approx(4.0, rel=0.1)


@pytest.mark.parametrize("film", ["Cu", "Ni"])
def test_dupre_relation_holds(film: str) -> None:
    case = make_case(film=film, vacuum=12.0)
    found = evaluate(InterfaceEnergy, case)
    detail = found.details["interface_energy"]
    surfaces = [float(text.split()[-1]) for text in detail.split(" J/m² of the ")[:-1]]
    work = value_of(WorkOfAdhesion, "work_of_adhesion", case)
    assert work == pytest.approx(sum(surfaces) - found.properties["interface_energy"], abs=0.02)
    assert work > 1.0


def test_parting_a_crystal_costs_two_surfaces_whatever_the_boundary() -> None:
    works = [
        value_of(WorkOfAdhesion, "work_of_adhesion", make_case(layers=(6, 6), vacuum=v)) for v in (0.0, 12.0)
    ]
    slab = make_case(layers=(6, 6)).structures["film_slab"]
    potential = ASECalculator(calculator="emt")
    from surrogates.relaxation.references import Treatment, relax_reference

    surface = relax_reference(slab, potential, Treatment(False, 0.005)).energy
    solid = relax_reference(bulk("Cu", PLANE, COPPER / 2), potential, Treatment("normal", 0.005, 0.01))
    twice = (surface - len(slab) * solid.energy_per_atom) * 16.021766 / PLANE**2
    assert works == pytest.approx([twice, twice], abs=0.02)


def test_the_order_of_atoms_does_not_matter() -> None:
    case = make_case(film="Ni")
    turned = {role: turn(structure) for role, structure in case.structures.items()}
    other = Input(case.candidate, case.design, case.properties, turned, 0)
    assert find_energy(other) == pytest.approx(find_energy(case), abs=1e-6)


# --- atoms over and missing


def exchange(structure: Structure, index: int, element: str) -> Structure:
    found = structure.copy()
    found.replace(index, element, properties=found[index].properties)
    return found


def make_gas(built: Structure) -> Input:
    """Candidate without energy, so that chemical potentials alone count."""
    plane, height = 4.0, 2.0
    references = {
        f"{side}_{kind}": structure
        for side, element in (("substrate", "Cu"), ("film", "Ni"))
        for kind, structure in (
            ("bulk", bulk(element, plane, height)),
            ("solid", bulk(element, plane, height)),
            (
                "slab",
                stack("Cu", "Ni", (4, 4), plane=plane, heights=(height, height), vacuum=12.0, sides=[side]),
            ),
        )
    }
    return candidate(ASECalculator(calculator="ideal_gas"), built, references)


def gas_stack() -> Structure:
    return stack("Cu", "Ni", (4, 4), plane=4.0, heights=(2.0, 2.0))


def test_exchanged_species_are_still_a_sum_of_both_solids() -> None:
    mixed = exchange(exchange(gas_stack(), 0, "Ni"), 5, "Cu")
    assert evaluate(InterfaceEnergy, make_gas(mixed), potential=GAS).properties["interface_energy"] == 0.0


def test_an_open_ion_costs_its_voltage() -> None:
    built = gas_stack()
    built.append("Li", [0.5, 0.0, 0.0], properties={"side": "film", "native": "", "layer": 1})
    item = make_gas(built)
    found = evaluate(InterfaceEnergy, item, potential=GAS, open_ion={"ion": "Li", "voltage": 3.5})
    assert found.properties["interface_energy"] == pytest.approx(3.5 * 16.021766 / (2 * 16.0))
    assert found.properties["interface_excess"] == pytest.approx(100.0 / (2 * 16.0))
    assert (
        "+1 Li in the cell beside 4 formula units of Cu and 4 formula units of Ni, at 3.5 V"
        in found.details["interface_excess"]
    )


def test_atoms_of_no_solid_are_refused_with_the_remedy() -> None:
    built = gas_stack()
    built.append("Li", [0.5, 0.0, 0.0], properties={"side": "film", "native": "", "layer": 1})
    failure = evaluate(InterfaceEnergy, make_gas(built), potential=GAS).failure
    assert failure is not None
    assert "is no sum of Cu and Ni: beside 4 Cu and 4 Ni it has 1 Li too many" in failure.message
    assert "open_ion: {ion: Li, voltage: 3.5}" in failure.message
    failure = evaluate(WorkOfAdhesion, make_gas(built), potential=GAS).failure
    assert failure is not None
    assert "has 1 Li more than its two slabs together" in failure.message


def test_a_changed_plane_is_refused() -> None:
    case = make_case()
    wide = case.structures["relaxed"].copy()
    wide.lattice = wide.lattice.from_parameters(*(1.06 * x for x in wide.lattice.abc), *wide.lattice.angles)
    failure = evaluate(
        InterfaceEnergy,
        Input(case.candidate, case.design, case.properties, {**case.structures, "relaxed": wide}, 0),
    ).failure
    assert failure is not None
    assert "changed by +12.4 %" in failure.message
    assert "cell: normal" in failure.message


# --- a potential for salts


@pytest.mark.slow
def test_a_salt_on_itself_costs_nothing_and_sticks() -> None:
    """The halves of one crystal of lithium fluoride, by CHGNet."""
    from surrogates.potentials.chgnet import CHGNet

    cell = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.08), ["Li", "F"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    whole = cell.make_supercell([1, 1, 4], in_place=False)
    sides = ["substrate" if site.frac_coords[2] > 0.45 else "film" for site in whole]
    whole.add_site_property("side", sides)
    whole.add_site_property("native", [site.specie.symbol for site in whole])
    references = {f"{side}_{kind}": cell for side in ("substrate", "film") for kind in ("bulk", "solid")}
    for side in ("substrate", "film"):
        kept = [site for site in whole if site.properties["side"] == side]
        lattice = Lattice.tetragonal(4.08, 4 * 4.08 + 5.0)
        references[f"{side}_slab"] = Structure(
            lattice, [site.specie for site in kept], [site.coords for site in kept], coords_are_cartesian=True
        )
    item = candidate(CHGNet(), whole, references)
    strict = {"potential": "chgnet", "fmax": 0.02, "smax": 0.02}
    assert value_of(InterfaceEnergy, "interface_energy", item, **strict) == pytest.approx(0.0, abs=2e-3)
    assert 0.2 < value_of(WorkOfAdhesion, "work_of_adhesion", item, **strict) < 1.0
