"""Parts of a material that a property model reads: crystal, cell, charged electrode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from invdesign.errors import ArtifactError
from surrogates.regression.errors import TrainingError
from surrogates.regression.features.contract import Need
from surrogates.regression.features.registry import find_feature_set
from surrogates.regression.material import Dataset, Material

LITHIUM = "Li"


@dataclass(frozen=True)
class Inputs:
    """Inputs of a property model, as its card states them.

    Attributes:
        electrode: every material has a charged form.
        ion: working ion of the electrodes; empty without electrodes.
        ordered: crystals are ordered; partly occupied sites were not seen in training.
    """

    electrode: bool = False
    ion: str = ""
    ordered: bool = False

    @property
    def config(self) -> dict[str, Any]:
        """Plain JSON, for the card."""
        return asdict(self)

    @classmethod
    def load(cls, about: Mapping[str, Any]) -> Inputs:
        """Read the inputs from what a model states about itself.

        Raises:
            ArtifactError: they are of another form.
        """
        stated = about.get("inputs", {}) if isinstance(about, Mapping) else None
        if not isinstance(stated, Mapping):
            raise ArtifactError(f"the card of the model states no inputs, but {stated!r:.60}")
        electrode, ion, ordered = (stated.get(name) for name in ("electrode", "ion", "ordered"))
        return cls(electrode is True, ion if isinstance(ion, str) else "", ordered is True)


def describe_inputs(data: Dataset) -> Inputs:
    """Describe the inputs that a data set shows.

    Raises:
        TrainingError: electrodes have several working ions.
    """
    electrode = all(material.charged is not None for material in data.materials)
    crystals = [material.crystal for material in data.materials if material.crystal is not None]
    ordered = bool(crystals) and all(crystal.is_ordered for crystal in crystals)
    return Inputs(electrode, _find_ion(data.materials) if electrode else "", ordered)


def _find_ion(materials: Sequence[Material]) -> str:
    """Working ion of electrodes: the element whose amount differs between both forms."""
    ions = {
        symbol
        for material in materials
        for symbol, amount in material.composition.items()
        if material.charged is not None and material.charged.get(symbol, 0.0) < amount * (1 - 1e-6)
    }
    if len(ions) != 1:
        raise TrainingError(
            f"all electrodes must have the same working ion, got {', '.join(sorted(ions)) or 'none'}; split the table"
        )
    return ions.pop()


def list_needs(feature_sets: Sequence[str], inputs: Inputs) -> frozenset[Need]:
    """Parts that every material must have.

    Args:
        feature_sets: names of the feature sets of a model.
        inputs: of the model.

    Raises:
        FeatureError: there is no feature set of one of the names.
    """
    needs: set[Need] = {find_feature_set(name).needs for name in feature_sets} - {"composition"}
    return frozenset(needs | {"electrode"} if inputs.electrode else needs)
