"""Predictions of property models, one by one: a value with its interval, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import ValidationError

from invdesign.artifacts import Artifact, Shelf
from invdesign.errors import ArtifactError, nearest
from surrogates.regression.features.contract import FeatureError, Need
from surrogates.regression.known import KnownCompositions
from surrogates.regression.material import Material
from surrogates.regression.needs import Inputs, list_needs
from surrogates.regression.property_model import PropertyModel

MODELS = Shelf("surrogates", "regression/shipped", standard="conductivity")
"""Shipped property models."""
TWIN_SUFFIX = "_composition"  # of the name of a shipped model that reads compositions alone
ROWS_AT_ONCE = 2000  # materials whose features are held in memory; chosen


@dataclass(frozen=True, slots=True)
class Prediction:
    """Prediction for one material.

    Attributes:
        mean: in the target's unit.
        lower, upper: ends of the interval.
        deviation: standard deviation of a normal distribution with this interval.
        reason: why the material is outside the model's domain; empty within.
        known: True if the training data hold a material of this composition.
        probability: that the value reaches the target's threshold; None without one.
    """

    mean: float
    lower: float
    upper: float
    deviation: float
    reason: str
    known: bool
    probability: float | None = None


@dataclass(frozen=True)
class Predictor:
    """Property model with its name."""

    name: str
    model: PropertyModel

    @cached_property
    def inputs(self) -> Inputs:
        """Inputs that the model reads."""
        return Inputs.load(self.model.about)

    @cached_property
    def needs(self) -> frozenset[Need]:
        """Parts that every material must have."""
        return list_needs(self.model.feature_sets, self.inputs)

    @cached_property
    def _known(self) -> KnownCompositions:
        """Compositions of the training data."""
        return KnownCompositions(self.model.formulas)

    def is_known(self, material: Material) -> bool:
        """True if the training data hold a material of this composition, but for rounded occupancies."""
        return self._known.contains(material)

    def predict_each(self, materials: Sequence[Material]) -> list[Prediction | str]:
        """Predict the target of each material, or give the reason why that is not possible.

        Raises:
            ArtifactError: the features of this installation are not those of the model.
        """
        found: list[Prediction | str] = []
        for start in range(0, len(materials), ROWS_AT_ONCE):
            found += self._predict_block(materials[start : start + ROWS_AT_ONCE])
        return found

    def _predict_block(self, materials: Sequence[Material]) -> list[Prediction | str]:
        try:
            made = self.model.predict(materials)
        except FeatureError as error:
            return self._predict_rest(materials, error)
        return [
            Prediction(
                float(made.mean[k]),
                float(made.lower[k]),
                float(made.upper[k]),
                float(made.deviation[k]),
                made.reasons[k],
                self.is_known(material),
                None if made.probability is None else float(made.probability[k]),
            )
            for k, material in enumerate(materials)
        ]

    def _predict_rest(self, materials: Sequence[Material], error: FeatureError) -> list[Prediction | str]:
        """Predict the materials that an error of the features does not name."""
        if not error.complaints:
            raise error
        rest = [place for place in range(len(materials)) if place not in error.complaints]
        found: list[Prediction | str] = [error.complaints.get(place, "") for place in range(len(materials))]
        made = self._predict_block([materials[place] for place in rest]) if rest else []
        for place, prediction in zip(rest, made, strict=True):
            found[place] = prediction
        return found


def find_twin(name: str) -> str:
    """Find the shipped model of compositions alone that predicts the property of the shipped model `name`; empty if none."""
    twin = f"{name}{TWIN_SUFFIX}"
    return twin if twin in MODELS.names() else ""


def find_artifact(name: str) -> Artifact:
    """Find a shipped model by name, or read a model folder.

    Args:
        name: of a shipped model, or path of a folder.

    Raises:
        ArtifactError: there is none, or it is damaged, of another kind, or could run code.
    """
    if name in MODELS.names():
        return MODELS.read(name)
    if not Path(name).exists():
        raise ArtifactError(
            f"'{name:.80}' is neither a shipped model ({', '.join(MODELS.names()) or 'there is none'}) nor the folder of one. "
            f"{nearest(name, MODELS.names())}".rstrip()
        )
    try:
        return Artifact.read(Path(name).absolute())
    except ValidationError as error:
        raise ArtifactError(
            "; ".join(str(item["msg"]).removeprefix("Value error, ") for item in error.errors())
        ) from None


def load_predictor(name: str) -> Predictor:
    """Load the model of one name or folder; see `find_artifact`.

    Raises:
        ArtifactError: there is none, or it cannot be used here.
    """
    artifact = find_artifact(name)
    return Predictor(artifact.name, PropertyModel.from_artifact(artifact))
