"""Trained property model: predictions with intervals, probability and domain; written as an artifact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import BoolArray, FloatArray
from invdesign.artifacts import Artifact, write_model
from invdesign.errors import ArtifactError
from surrogates.regression.blocks import Blocks, compute_blocks, hash_columns
from surrogates.regression.card import write_card
from surrogates.regression.conformal import Intervals
from surrogates.regression.domain import Domain
from surrogates.regression.material import Material, Target
from surrogates.regression.members import Member, describe_candidate, predict_mean, read_candidate
from surrogates.regression.probability import Classifier

KIND, VERSION = "property_model", 1
"""Of artifacts that hold trained property models."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions for n materials.

    Attributes:
        mean: shape (n,), in the target's unit.
        lower, upper: shape (n,), ends of the interval at the level of the model.
        deviation: shape (n,), standard deviation of a normal distribution with this interval.
        distance: shape (n,), to the training rows.
        outside: shape (n,), True outside the domain of the model.
        reasons: n reasons why a material is outside; empty within.
        probability: shape (n,), that the value reaches the target's threshold; None without a threshold.
    """

    mean: FloatArray
    lower: FloatArray
    upper: FloatArray
    deviation: FloatArray
    distance: FloatArray
    outside: BoolArray
    reasons: tuple[str, ...]
    probability: FloatArray | None = None


@dataclass(frozen=True, eq=False)
class PropertyModel:
    """Mean of a few fitted models, with calibrated intervals and a domain.

    Attributes:
        target: property, unit and threshold.
        members: fitted models and their weights.
        intervals: half widths of prediction intervals.
        domain: limits within which the model was judged.
        classifier: probability to reach the threshold; None without a threshold.
        columns: hash of the columns by feature set.
        weights: label and hash of a network's weights by feature set that reads some.
        formulas: reduced formulas of the training rows, each once.
        about: plain JSON about data, split, choice and figures; see `training.train`.
    """

    target: Target
    members: tuple[Member, ...]
    intervals: Intervals
    domain: Domain
    classifier: Classifier | None
    columns: Mapping[str, str]
    weights: Mapping[str, str]
    formulas: tuple[str, ...]
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def feature_sets(self) -> tuple[str, ...]:
        """Names of all feature sets that the model reads."""
        own = [*self.members, *(self.classifier.members if self.classifier else ())]
        names = [name for member in own for name in member.candidate.features]
        return tuple(dict.fromkeys([*names, *self.domain.embedding.sets]))

    def predict(self, materials: Sequence[Material]) -> Predictions:
        """Predict the target of materials.

        Raises:
            FeatureError: a material lacks what a feature set needs.
            ArtifactError: the model was trained with another version of a feature set, or other weights.
        """
        from invdesign.threads import one_thread

        self.check_features()
        with one_thread():
            return self.predict_blocks(compute_blocks(self.feature_sets, materials), materials)

    def predict_blocks(self, blocks: Blocks, materials: Sequence[Material]) -> Predictions:
        """Predict the target of materials whose features are known.

        Args:
            blocks: features of the materials.
            materials: n materials.
        """
        mean, spread = predict_mean(self.members, blocks)
        distance = self.domain.measure_distances(blocks)
        reasons = self.domain.find_reasons(materials, distance)
        outside = np.array([bool(reason) for reason in reasons], dtype=np.bool_)
        half = self.intervals.half_widths(distance, spread, outside)
        deviation = half / self.intervals.deviations
        probability = None
        if self.classifier is not None:
            probability = self.classifier.predict(blocks, mean, deviation)
        return Predictions(mean, mean - half, mean + half, deviation, distance, outside, reasons, probability)

    def check_features(self) -> None:
        """Check that the feature sets of this installation are those of the training.

        Raises:
            ArtifactError: columns or weights differ.
        """
        check_features(
            self.target.name,
            {name: (self.columns[name], self.weights.get(name, "")) for name in self.feature_sets},
        )

    def with_about(self, **more: Any) -> Self:
        """Copy of the model whose card says `more`, as plain JSON."""
        return replace(self, about={**self.about, **more})

    def write(self, folder: Path) -> None:
        """Write the model as a folder: arrays, configuration and card.

        Raises:
            ArtifactError: the folder cannot be written, or the configuration is too large.
        """
        config = self.config
        write_model(folder, self.arrays, config, write_card(config))

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays by name, for an artifact."""
        groups: dict[str, Mapping[str, NDArray[Any]]] = {"domain": self.domain.arrays}
        for name, members in self._named_members().items():
            groups |= {f"{name}.{place}": member.model.arrays for place, member in enumerate(members)}
        found = {f"{group}.{name}": value for group, own in groups.items() for name, value in own.items()}
        text = "\n".join(self.formulas).encode()
        return {**found, "formulas": np.frombuffer(text, dtype=np.uint8).copy()}

    @property
    def config(self) -> dict[str, Any]:
        """Plain JSON that, with the arrays, rebuilds the model."""
        members = {
            name: [
                {
                    **describe_candidate(member.candidate),
                    "weight": member.weight,
                    "form": member.model.form,
                    "model": dict(member.model.config),
                }
                for member in own
            ]
            for name, own in self._named_members().items()
        }
        return {
            "kind": KIND,
            "version": VERSION,
            "target": {
                "name": self.target.name,
                "unit": self.target.unit,
                "threshold": self.target.threshold,
            },
            "features": {
                name: {"columns": self.columns[name], "weights": self.weights.get(name, "")}
                for name in self.feature_sets
            },
            **members,
            "intervals": self.intervals.config,
            "domain": self.domain.config,
            "classifier": None if self.classifier is None else self.classifier.config,
            "about": dict(self.about),
        }

    def _named_members(self) -> dict[str, tuple[Member, ...]]:
        return {
            "members": self.members,
            "classifiers": self.classifier.members if self.classifier else (),
        }

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> Self:
        """Rebuild the model that an artifact holds.

        Raises:
            ArtifactError: it holds none of this kind and version, or is damaged.
        """
        artifact.check_kind(KIND, VERSION)
        try:
            return cls._load(artifact.card, artifact.tensors())
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise ArtifactError(
                f"'{artifact.name}' is damaged: its configuration does not describe its arrays "
                f"({type(error).__name__}: {error}); fetch or train the model again"
            ) from error

    @classmethod
    def _load(cls, config: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        from surrogates.regression.models.storing import load_fitted

        def load_members(name: str) -> tuple[Member, ...]:
            return tuple(
                Member(
                    read_candidate(own),
                    own["weight"],
                    load_fitted(own["form"], own["model"], _take_group(arrays, f"{name}.{place}.")),
                )
                for place, own in enumerate(config[name])
            )

        known = config["classifier"]
        text = arrays["formulas"].astype(np.uint8).tobytes().decode()
        return cls(
            target=Target(**config["target"]),
            members=load_members("members"),
            intervals=Intervals.load(config["intervals"]),
            domain=Domain.load(config["domain"], _take_group(arrays, "domain.")),
            classifier=None if known is None else Classifier.load(known, load_members("classifiers")),
            columns={name: own["columns"] for name, own in config["features"].items()},
            weights={name: own["weights"] for name, own in config["features"].items() if own["weights"]},
            formulas=tuple(text.split("\n")) if text else (),
            about=config["about"],
        )


def _take_group(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    """Arrays whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


def check_features(target: str, features: Mapping[str, tuple[str, str]]) -> None:
    """Check that the feature sets of this installation are those of a model.

    Args:
        target: name of the property, for messages.
        features: hash of the columns, and label of a network's weights or an empty text, by feature set.

    Raises:
        ArtifactError: columns or weights differ.
        FeatureError: there is no feature set of one of the names.
    """
    from surrogates.regression.features.registry import find_feature_set

    for name, (columns, expected) in features.items():
        if hash_columns(name) != columns:
            raise ArtifactError(
                f"the model of {target} was trained with other columns of the feature set {name} than this "
                "version computes: train it again, or use the version that made it"
            )
        found = find_feature_set(name).weights
        if found != expected:
            raise ArtifactError(
                f"the model of {target} reads features of the network {expected or 'none'}, and this "
                f"installation has {found or 'none'}: install the version with these weights, or train the model again"
            )
