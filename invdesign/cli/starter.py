"""A campaign file to start from, for any prototype of the library."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from invdesign.structures.crystallography import Crystal, Site

# Elements a site is often substituted with, by the sign of its charge; the user prunes the list.
_ANIONS = ("F", "Cl", "Br", "I", "O", "S", "Se", "Te")
_MOBILE = ("Li", "Na", "K")
MAX_OPTIONS = 5


def starter(parent: str, name: str) -> str:
    """The text of a valid campaign that substitutes on every kind of site of a prototype.

    Args:
        parent: name of a prototype.
        name: name of the campaign.

    Raises:
        PluginError: there is no such prototype; the message lists them.
    """
    from invdesign.structures.prototypes import prototype

    crystal = prototype(parent)
    mobile = next((s.element for s in crystal.sites if s.element in _MOBILE), crystal.sites[0].element)
    sites = "\n".join(
        f"    {site.label}: [{', '.join(_options(site, mobile))}]" for site in _distinct(crystal)
    )
    return _TEMPLATE.format(
        name=name,
        parent=parent,
        formula=crystal.formula,
        title=crystal.title or parent,
        sites=sites,
        ion=mobile,
    )


def _distinct(crystal: Crystal) -> list[Site]:
    return list({site.label: site for site in crystal.sites}.values())


def _options(site: Site, mobile: str) -> list[str]:
    if site.element == mobile:
        return [site.element]
    others = _ANIONS if (site.oxidation_state or 0) < 0 else _cousins(site.element)
    return list(dict.fromkeys([site.element, *others]))[:MAX_OPTIONS]


def _cousins(element: str) -> list[str]:
    """Elements of the same group, the likeliest replacements of a cation."""
    from pymatgen.core import Element

    group = Element(element).group
    same = [e for e in Element if e.group == group and e.row <= 6 and not e.is_radioactive]
    return [e.symbol for e in sorted(same, key=lambda e: abs(e.row - Element(element).row))]


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
  - charge_neutrality
  - minimum_distance: {{scale: 0.6}}
  - bottleneck_radius: {{ion: {ion}}}
  - relax: {{potential: chgnet, fmax: 0.05}}
objectives:
  - maximize: bottleneck_radius       # Å
  - minimize: energy_per_atom         # eV/atom; rank stability with decomposition_energy and a reference set
optimizer: {{kind: genetic, population: 16}}
budget: {{candidates: 64}}
"""
