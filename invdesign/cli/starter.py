"""Campaign file to start from, for any prototype."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from invdesign.structures.crystallography import Crystal, Site

_MOBILE = ("Li", "Na", "K")
_HALOGENS = ("F", "Cl", "Br", "I")
_CHALCOGENS = ("O", "S", "Se")
SHIPPED_SET = "lithium-chalcohalides"  # the reference set that comes with the package
SHIPPED_ELEMENTS = frozenset({"Li", "H", "O", "S", "Se", "Te", "F", "Cl", "Br", "I"})  # of its phases
_METALS = ("Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni")  # those electrodes are made of


def write_starter(parent: str, name: str) -> str:
    """Write a valid campaign that substitutes on every site of a prototype.

    Args:
        parent: name of a prototype.
        name: name of the campaign.

    Raises:
        PluginError: there is no such prototype; the message lists them.
    """
    from invdesign.structures.parents import describe_structure_type
    from invdesign.structures.prototypes import find_prototype

    crystal = find_prototype(parent)
    mobile = next((s.element for s in crystal.sites if s.element in _MOBILE), crystal.sites[0].element)
    options = {site.label: _site_options(site, crystal) for site in crystal.sites}
    if all(len(elements) == 1 for elements in options.values()):
        options = {site.label: _same_group(site, mobile) for site in crystal.sites}
    covered = all(SHIPPED_ELEMENTS.issuperset(elements) for elements in options.values())
    stage, objective = _STABILITY if covered else _NO_STABILITY
    sites = "\n".join(f"    {label}: [{', '.join(elements)}]" for label, elements in options.items())
    return _TEMPLATE.format(
        name=name,
        parent=parent,
        formula=crystal.formula,
        title=crystal.title or parent,
        called=describe_structure_type(parent),
        sites=sites,
        ion=mobile,
        stage=stage.format(reference=SHIPPED_SET),
        objective=objective,
    )


def _site_options(site: Site, crystal: Crystal) -> tuple[str, ...]:
    """Elements commonly substituted on a site, its own first."""
    family: tuple[str, ...]
    if site.element in _METALS:
        family = _METALS
    elif site.element in _HALOGENS:
        family = _HALOGENS
    elif site.element in _CHALCOGENS and (site.element != "O" or _is_simple(crystal)):
        family = _CHALCOGENS
    else:
        family = ()  # what holds the framework together: P in phosphates, La and Zr in garnets
    return tuple(dict.fromkeys((site.element, *family)))


def _same_group(site: Site, mobile: str) -> tuple[str, ...]:
    """The element and up to three of its group; the mobile ion stays alone."""
    from pymatgen.core import Element

    own = Element(site.element)
    if site.element == mobile:
        return (site.element,)
    column = [e for e in Element if e.group == own.group and e.row <= 6 and not e.is_radioactive]
    column.sort(key=lambda e: abs(e.row - own.row))
    return tuple(e.symbol for e in column[:4])


def _is_simple(crystal: Crystal) -> bool:
    """True if the mobile ion is the only cation.

    Then oxygen holds no framework of other cations together.
    """
    return all(site.element in _MOBILE or (site.oxidation_state or 0) < 0 for site in crystal.sites)


_STABILITY = (
    "  - decomposition_energy: {{reference: {reference}}}   # against every known competing phase",
    "  - minimize: decomposition_energy    # eV/atom, negative: more stable than every competing phase",
)
_NO_STABILITY = (
    "  # - decomposition_energy: {{reference: my_set.json}}   # of your elements: invdesign reference build",
    "  # - minimize: decomposition_energy  # eV/atom; energies of two compositions compare against a reference set alone",
)
_TEMPLATE = """\
version: 1
name: {name}
description: What to look for, in a sentence for whoever reads the report.
seed: 1                               # the same seed gives the same run
space:
  kind: substitution
  parent: {parent}          # {title} ({formula}); or a CIF file of your own
  rattle: 0.05                        # Å, so that symmetric starts can leave their saddle
  sites:                              # which elements may sit on which sites
{sites}
evaluate:                             # from cheap to costly: each stage may stop a candidate
  - charge_neutrality: {{metallic: allow}}   # alloys have no charges to balance
  - minimum_distance: {{scale: 0.6}}
  - relax: {{potential: chgnet, fmax: 0.02}}
  - structure_kept                    # is the relaxed crystal still {called}?
  - bottleneck_radius: {{ion: {ion}}}   # of the relaxed crystal
{stage}
constraints:
  - structure_kept: {{min: 1}}
objectives:
  - maximize: bottleneck_radius       # Å
{objective}
optimizer: {{kind: genetic, population: 16}}
budget: {{candidates: 64}}
"""
