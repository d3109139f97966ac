"""The card of a model: what it was trained on, how, how well, and what it is not for."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from typing import Any

from invdesign.generators.network.model_folder import CrystalModel

CURVE = 12  # epochs of the learning curve that are shown (chosen)
NOT_FOR = """## Not for
Disordered, molecular or magnetic structures; cells beyond some 50 atoms. Energies: samples are proposals, to be relaxed and
compared with a complete set of competing phases before anything is called stable.
"""


def write_card(
    model: CrystalModel, about: str, figures: Mapping[str, Any], log: Sequence[Mapping[str, float]]
) -> str:
    """Write the card of a model in Markdown.

    Args:
        model: trained.
        about: data with hash, licence and split.
        figures: of its training.
        log: figures by epoch.
    """
    known = sorted(model.known)
    sizes = sum(value.numel() for value in model.network.parameters())
    small = 0 if model.refiner is None else sum(value.numel() for value in model.refiner.parameters())
    parts = [
        "# crystal_vae\n",
        "A variational autoencoder of crystals on Wyckoff positions, with a refiner of geometries"
        + (" and a Wasserstein GAN on its codes.\n" if model.gan is not None else ".\n"),
        f"## Data\n{about.strip()}\n",
        f"## Training\n{figures.get('crystals')} crystals, {figures.get('epochs')} epochs, "
        f"{figures.get('cpu_minutes')} CPU minutes on one core ({platform.system()}, {platform.machine()})"
        + ("." if figures.get("finished", True) else "; interrupted before its end.")
        + f" {sizes:,} weights in the network, {small:,} in the refiner, half precision.\n",
        _write_curve(log),
        "## Properties predicted from codes\n" + _write_targets(model) + "\n",
        f"## Elements\n{len(known)}: {', '.join(known)}. It refuses all others.\n",
        NOT_FOR,
    ]
    return "\n".join(part for part in parts if part)


def _write_curve(log: Sequence[Mapping[str, float]]) -> str:
    """Learning curve: losses over CPU minutes; empty without any."""
    rows = [row for row in log if "total" in row]
    if not rows:
        return ""
    step = max(1, len(rows) // CURVE)
    lines = ["| CPU minutes | loss | held out |", "| --- | --- | --- |"]
    for row in [*rows[::step], rows[-1]]:
        held = row.get("held out total")
        lines.append(
            f"| {row.get('seconds', 0.0) / 60.0:.1f} | {row['total']:.2f} | {'' if held is None else f'{held:.2f}'} |"
        )
    return "\n".join(lines) + "\n"


def _write_targets(model: CrystalModel) -> str:
    """Table of the properties with their errors."""
    if not model.targets:
        return "None.\n"
    lines = ["| property | mean absolute error, held out | deviation of the data |", "| --- | --- | --- |"]
    lines += [f"| {one.name} | {one.error:.3f} | {one.spread:.3f} |" for one in model.targets]
    return "\n".join(lines) + "\n"
