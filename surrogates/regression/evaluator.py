"""The evaluator `surrogate`: a property predicted by a trained model, shipped or of the user's own."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

import numpy as np
from pydantic import ValidationInfo, model_validator

from invdesign.arrays import FloatArray, IntArray
from invdesign.artifacts import Artifact, of_kind
from invdesign.candidate import Evaluation, Failure, Input, clean_detail
from invdesign.errors import InvdesignError
from invdesign.properties import Unit, check_unit, describe_property, mark_extrapolation
from invdesign.protocols import Batch, BlockScorer, EvaluatorSettings, Judgement
from invdesign.roles import LATEST, StructureRole, find_structure, required_structure
from invdesign.settings import STORED_FOLDER, validation_context
from invdesign.structures.formulas import write_formula
from invdesign.structures.reading.read import check_ordered
from surrogates.regression.blocks import compute_blocks
from surrogates.regression.features.contract import FeatureError, Need
from surrogates.regression.linear_blocks import StatisticsBlock, StatisticsModel, find_statistics_model
from surrogates.regression.material import Material
from surrogates.regression.members import predict_mean
from surrogates.regression.needs import Inputs, list_needs
from surrogates.regression.predicting import MODELS, Prediction, Predictor
from surrogates.regression.property_model import KIND, VERSION, PropertyModel, check_features
from surrogates.regression.rows import remove_ion

if TYPE_CHECKING:
    from pymatgen.core import Composition, Structure

BATCH_SIZE = 64  # candidates in a task; chosen: features of one cost less than its transfer to a worker


class Surrogate(EvaluatorSettings):
    """Predicts a property by a trained model, with an interval and a flag for extrapolation.

    `surrogate: conductivity` names a shipped model, `surrogate: models/mine/` the folder of one's own.
    """

    main_setting: ClassVar[str] = "model"

    model: Annotated[Artifact, MODELS.field, of_kind(KIND, VERSION)]
    """Shipped model by name, or the folder that `invdesign surrogate train` wrote."""
    structure: StructureRole = LATEST
    """Which structure a model of crystals looks at: `initial`, one an earlier stage made (`relaxed`), or `latest`."""

    @model_validator(mode="after")
    def _check_model(self, info: ValidationInfo) -> Self:
        try:
            for name, unit in self.provides.items():
                if not name.isidentifier():
                    raise ValueError(
                        f"a property is called like band_gap, and the model predicts '{name:.60}'"
                    )
                check_unit(name, unit, "train the model with another name of the property")
            _ = self.requires
            if validation_context(info)[0] != STORED_FOLDER:  # a stored run is shown, whatever is installed
                features = self.model.card["features"]
                target = str(self.model.card["target"]["name"])
                check_features(
                    target, {name: (own["columns"], own["weights"]) for name, own in features.items()}
                )
        except (InvdesignError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"'{self.model.name}' cannot be used: {error}") from error
        return self

    @property
    def requires(self) -> frozenset[str]:
        """The composition; the structure too, where the model reads a cell or a crystal."""
        reads = {"composition"}
        if self._needs & {"cell", "crystal"}:
            reads.add(required_structure(self.structure))
        return frozenset(reads)

    @property
    def provides(self) -> Mapping[str, Unit]:
        """The property, the ends of its interval, a flag for extrapolation, and a probability where the model has one."""
        target = self.model.card["target"]
        name, unit = str(target["name"]), str(target["unit"])
        found = {name: unit, f"{name}_lower": unit, f"{name}_upper": unit, self._flag: ""}
        if target.get("threshold") is not None:
            found[f"{name}_probability"] = ""
        return found

    @property
    def _flag(self) -> str:
        """Name of the flag for extrapolation: the vocabulary's, where the property has one."""
        name = str(self.model.card["target"]["name"])
        mark = describe_property(name).mark
        return (mark or mark_extrapolation(name)).flag

    @cached_property
    def _inputs(self) -> Inputs:
        """Inputs of the model, by its card alone."""
        return Inputs.load(self.model.card["about"])

    @cached_property
    def _needs(self) -> frozenset[Need]:
        """Parts of a material that the model reads, by its card alone: its arrays may not be at hand yet."""
        return list_needs(tuple(self.model.card["features"]), self._inputs)

    @property
    def batch(self) -> Batch:
        """Many candidates: features of one cost less than its transfer to a worker."""
        return Batch(BATCH_SIZE)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences on the model: data, error, meaning of its probability, limits."""
        return describe_model(self.model.name, self.model.card)

    @cached_property
    def _predictor(self) -> Predictor:
        return Predictor(self.model.name, PropertyModel.from_artifact(self.model))

    def prepare(self) -> None:
        """Load the model."""
        self._predictor.model.check_features()

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        """Predict the property of each of `inputs`.

        A candidate without the working ion, or without what the features need, is a failure with its reason.
        """
        began = time.perf_counter()
        read = [self._read_input(item) for item in inputs]
        materials = [item for item in read if isinstance(item, Material)]
        predictions = iter(self._predictor.predict_each(materials))
        found = [item if isinstance(item, str) else next(predictions) for item in read]
        seconds = (time.perf_counter() - began) / max(len(inputs), 1)
        return [self._make_evaluation(item, seconds) for item in found]

    def refuse_elements(self, elements: Sequence[str]) -> Mapping[str, str]:
        """Elements that features do not describe, with the reason."""
        from surrogates.regression.features.composition import find_fractions

        found: dict[str, str] = {}
        for name in elements:
            try:
                find_fractions({name: 1.0})
            except FeatureError as error:
                found[name] = str(error)
        return found

    @cached_property
    def _statistics_model(self) -> StatisticsModel | None:
        return find_statistics_model(self._predictor.model.members)

    def prepare_counts(
        self, elements: Sequence[str], counts: IntArray, names: Collection[str]
    ) -> BlockScorer | None:
        """Fast scorer of a linear model on statistics of elements; None for other models, and for more than the value."""
        name = self._predictor.model.target.name
        if set(names) - {name} or self._inputs.electrode or self._statistics_model is None:
            return None
        return _Block(name, self._statistics_model.prepare_counts(elements, counts))

    def score_compositions(
        self, compositions: Sequence[Mapping[str, float]], names: Collection[str]
    ) -> Mapping[str, FloatArray]:
        """Predict values of compositions; intervals and flag only where they are asked for.

        Raises:
            InvdesignError: the model reads crystals, or a composition lacks what it needs.
        """
        model = self._predictor.model
        ion = self._inputs.ion if self._inputs.electrode else ""
        materials = [_name_amounts(amounts, ion) for amounts in compositions]
        if set(names) <= {model.target.name}:
            sets = [name for member in model.members for name in member.candidate.features]
            return {model.target.name: predict_mean(model.members, compute_blocks(sets, materials))[0]}
        found = [self._make_evaluation(item, 0.0) for item in self._predictor.predict_each(materials)]
        return {
            name: np.array([item.properties.get(name, np.nan) for item in found]) for name in self.provides
        }

    def judge_compositions(self, compositions: Sequence[Mapping[str, float]]) -> Sequence[Judgement]:
        """Intervals and domain of the predictions."""
        ion = self._inputs.ion if self._inputs.electrode else ""
        materials = [_name_amounts(amounts, ion) for amounts in compositions]
        name = self._predictor.model.target.name
        return [
            Judgement(outside=True, reasons=(found,))
            if isinstance(found, str)
            else Judgement(
                {name: found.lower},
                {name: found.upper},
                bool(found.reason),
                tuple(found.reason.split("; ")) if found.reason else (),
                found.known,
            )
            for found in self._predictor.predict_each(materials)
        ]

    def _read_input(self, item: Input) -> Material | str:
        """Material of a candidate, or the reason why it is none for this model."""
        composition = item.design.composition
        needs, inputs = self._needs, self._inputs
        crystal = None
        try:
            if needs & {"cell", "crystal"}:
                crystal = find_structure(item, self.structure)
                composition = crystal.composition
                if inputs.ordered:
                    check_ordered(crystal, write_formula(composition))
            return _make_material(composition, crystal, inputs.ion if inputs.electrode else "")
        except (InvdesignError, LookupError) as error:
            return str(error)

    def _make_evaluation(self, found: Prediction | str, seconds: float) -> Evaluation:
        if isinstance(found, str):
            return Evaluation(failure=Failure("error", "", found))
        name = str(self.model.card["target"]["name"])
        properties = {
            name: found.mean,
            f"{name}_lower": found.lower,
            f"{name}_upper": found.upper,
            self._flag: float(bool(found.reason)),
        }
        if found.probability is not None:
            properties[f"{name}_probability"] = found.probability
        known = "the training data hold this composition" if found.known else ""
        detail = "; ".join(filter(None, (found.reason and f"extrapolated: {found.reason}", known)))
        return Evaluation(
            properties,
            systematic={name: found.deviation},
            details={name: clean_detail(detail)} if detail else {},
            cost={"seconds": seconds},
        )


def describe_model(name: str, card: Mapping[str, Any]) -> tuple[str, ...]:
    """Sentences on a model for the notes of a run: data, error, meaning of its probability, limits.

    Args:
        name: of the model.
        card: its configuration.
    """
    about, target = card.get("about", {}), card["target"]
    data, learnt, unit = about.get("data", {}), str(target["name"]), str(target["unit"])
    figures = {own["metric"]: own["value"] for own in about.get("figures", {}).get("figures", ())}
    found = []
    if data.get("name"):
        found.append(f"{learnt} learnt from {data.get('rows', '?')} rows of {data['name']}")
    if "mae" in figures:
        error = f"{figures['mae']:.2g} {unit}".rstrip()
        found.append(f"mean error of {learnt} for groups of materials left out of the training: {error}")
    if target.get("threshold") is not None:
        limit = f"{target['threshold']:g} {unit}".rstrip()
        found.append(f"{learnt}_probability is that of {limit} or more")
    if about.get("not_for"):
        found.append(f"not for: {about['not_for']}")
    return tuple(f"{name}: {sentence}" for sentence in found)


@dataclass(frozen=True)
class _Block:
    """Fast scorer of one property."""

    name: str
    block: StatisticsBlock

    def score_sets(self, members: IntArray) -> Mapping[str, FloatArray]:
        return {self.name: self.block.score(members)}


def _name_amounts(amounts: Mapping[str, float], ion: str) -> Material:
    """Make a material of amounts, named by them: a formula for people takes longer than the prediction.

    Raises:
        InvdesignError: the composition lacks the ion.
    """
    charged = remove_ion(amounts, ion) if ion else None
    return Material(
        "".join(f"{name}{amount:g}" for name, amount in amounts.items()), amounts, charged=charged
    )


def _make_material(composition: Composition | None, crystal: Structure | None, ion: str) -> Material:
    """Make the material of a candidate.

    Args:
        composition: of the candidate; None if it has none.
        crystal: its structure, where the model reads one.
        ion: working ion, which the charged electrode is without; empty for models of no electrodes.

    Raises:
        InvdesignError: there is no composition, or it lacks the ion.
    """
    if composition is None:
        raise InvdesignError("the candidate has no composition")
    amounts = {
        symbol: float(amount) for symbol, amount in composition.get_el_amt_dict().items() if amount > 0
    }
    charged = remove_ion(amounts, ion) if ion else None
    return Material(write_formula(composition), amounts, None, crystal, charged)
