"""Libraries of prototypes as model folders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from invdesign.artifacts import write_model
from invdesign.generators.prototypes.generator import KIND, VERSION
from invdesign.generators.prototypes.library import Library, pack_library
from invdesign.generators.prototypes.ranking import ElementScale


def write_library(
    folder: Path, library: Library, scale: ElementScale, card: str, facts: Mapping[str, Any]
) -> None:
    """Write a library as a model folder.

    Args:
        folder: is made; an older model in it is replaced.
        library: known crystals.
        scale: of the elements.
        card: text of `card.md`.
        facts: further entries of `config.json`: data, licence, date.
    """
    tensors = pack_library(library)
    tensors["apart"] = scale.apart.astype(np.float16)
    tensors["volumes"] = scale.volumes.astype(np.float32)
    numbers = {"scale": scale.scale, "power": scale.power, "hull": scale.hull, "size": scale.size}
    config = {
        "kind": KIND,
        "version": VERSION,
        "crystals": len(library),
        "elements": list(library.elements),
        "scale": numbers,
        **facts,
    }
    write_model(folder, tensors, config, card)
