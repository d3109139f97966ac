"""Libraries of prototypes as model folders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from invdesign.artifacts import Artifact, write_model
from invdesign.errors import InvdesignError
from invdesign.generators.prototypes.library import Library, pack_library
from invdesign.generators.prototypes.ranking import ElementScale

KIND, VERSION = "prototypes", 1
"""Kind and version of the model folders of libraries."""


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


def unpack_scale(library: Artifact) -> ElementScale:
    """Unpack the distances of elements of a library.

    Raises:
        InvdesignError: they are missing or malformed.
    """
    tensors, card = library.tensors(), library.card.get("scale", {})
    try:
        return ElementScale(
            apart=tensors["apart"].astype(np.float64),
            volumes=tensors["volumes"].astype(np.float64),
            **{name: float(card[name]) for name in ("scale", "power", "hull", "size")},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvdesignError(f"the library of prototypes is damaged: {error}") from error
