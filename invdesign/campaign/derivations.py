"""Checks of the derivations that a campaign names, against its stages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from invdesign import registry
from invdesign.errors import nearest
from invdesign.evaluation import Stage
from invdesign.properties import is_structure
from invdesign.protocols import Derivation


def explain_unfit(
    derivation: Derivation, stages: Sequence[Stage], before: Sequence[Derivation]
) -> Iterator[tuple[str, str]]:
    """Explain why a derivation cannot work in a campaign.

    Args:
        derivation: to be checked.
        stages: the funnel after the build stage.
        before: derivations that are computed before it.

    Returns:
        (message, hint) for each mistake.
    """
    kind = registry.name_of(type(derivation))
    derived = {name for other in before for name in other.provides}
    searched = {name: stage for stage in stages if not stage.on_demand for name in _properties_of(stage)}
    on_demand = {name: stage for stage in stages if stage.on_demand for name in _properties_of(stage)}
    for name in sorted(derivation.provides):
        if name in derived or name in searched or name in on_demand:
            maker = "another derivation" if name in derived else f"{(searched | on_demand)[name].name}"
            yield f"{kind} provides {name}, which {maker} provides already.", "Leave one of them out."
    for name in sorted(derivation.requires - derived):
        if name in searched:
            yield from _explain_potential(kind, derivation, name, searched[name])
        elif name in on_demand:
            stage = on_demand[name].name
            message = f"{kind} needs {name}, which only candidates have that you promote to {stage}, a stage on demand."
            yield message, f"Name a property of an earlier stage, or take on_demand from {stage}."
        else:
            known = sorted({*searched, *derived})
            hint = nearest(name, known) or f"Provided are: {', '.join(known) or 'none'}."
            yield f"{kind} needs {name}, which no stage of this campaign provides.", hint


def _explain_potential(
    kind: str, derivation: Derivation, name: str, stage: Stage
) -> Iterator[tuple[str, str]]:
    """Explain that energies come from another potential than the derivation's."""
    assert stage.evaluator is not None
    wanted, found = derivation.potential_id, stage.evaluator.potential_id
    if wanted is not None and wanted != found:
        source = (
            f"{stage.name} with {found}" if found is not None else f"{stage.name}, which names no potential"
        )
        yield (
            f"{kind} works with energies of {wanted}, but {name} comes from {source}: energies of two potentials must not meet.",
            "Use the same potential, or build a reference set for yours: invdesign reference build --help",
        )


def explain_underived(name: str) -> str:
    """Sentence on the installed derivation that provides property `name`; empty if none does."""
    for kind, plugin in registry.load_working("derivations"):
        try:
            provided = plugin().provides
        except Exception:  # noqa: BLE001, S112 - one that needs settings, or a fault of a plug-in's
            continue
        if name in provided:
            return f"The derivation '{kind}' does: add derive: [{kind}]."
    return ""


def _properties_of(stage: Stage) -> list[str]:
    """Properties that a stage provides."""
    provided: Any = stage.evaluator.provides if stage.evaluator is not None else ()
    return [name for name in provided if not is_structure(name)]
