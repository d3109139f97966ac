"""Recipes of shipped models as files: data, target, groups, candidates and seed."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from invdesign import strictjson
from invdesign.errors import InvdesignError, join_complaints, nearest
from invdesign.settings import Frozen
from surrogates.regression.errors import TrainingError
from surrogates.regression.features.registry import FEATURE_SETS
from surrogates.regression.material import Dataset
from surrogates.regression.members import Selection
from surrogates.regression.models.contract import Candidate, Kind
from surrogates.regression.models.settings import FitError, read_settings
from surrogates.regression.needs import Inputs, list_needs
from surrogates.regression.rows import Columns
from surrogates.regression.table import read_dataset
from surrogates.regression.targets import TargetColumn
from surrogates.regression.training import Recipe

SUFFIX = ".json"


class CandidateEntry(Frozen):
    """Candidate of a recipe file."""

    features: tuple[str, ...] = Field(min_length=1)
    """Feature sets, side by side."""
    kind: Kind
    """Kind of model."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Settings of the model; others have their defaults."""

    def make_candidate(self) -> Candidate:
        """Candidate of a training."""
        return Candidate(self.features, self.kind, self.settings)

    def find_mistakes(self) -> list[str]:
        """List unknown feature sets and wrong settings."""
        found = [
            f"there is no feature set '{name}', known are {', '.join(FEATURE_SETS)}. {nearest(name, FEATURE_SETS)}".rstrip()
            for name in self.features
            if name not in FEATURE_SETS
        ]
        try:
            read_settings(self.kind, self.settings)
        except FitError as error:
            found.append(str(error))
        return found


class TaskEntry(Frozen):
    """Task of the benchmark: a way to split the data."""

    groups: tuple[str, ...] | None = None
    """Groups of the data; those of the model if not given."""
    outer: tuple[str, ...] | None = None
    """Larger groups that the folds leave out whole, such as families; choice and calibration keep to the groups of the data."""
    folds: int | None = Field(default=5, ge=2)
    """Number of folds; null leaves each group out alone."""
    shuffles: int = Field(default=3, ge=1)
    """Number of splits."""
    balanced: bool = True
    """Give folds similar numbers of rows; else equal numbers of groups."""


class RecipeFile(Frozen):
    """Everything that a shipped model is made from, but the data themselves."""

    data: str
    """Table, relative to the folder of data sets."""
    licence: str
    """Of the data."""
    citation: str = ""
    """Of the data."""
    column: str
    """Column with the values."""
    unit: str
    """Unit of the values in the table."""
    property: str
    """Name of the property that is learnt."""
    log10: bool = False
    """Learn the logarithm."""
    threshold: float | None = None
    """Value, in the unit of the table, whose probability to be reached is learnt too."""
    formula: str | None = None
    """Column with formulas; of electrodes the discharged ones."""
    charged: str | None = None
    """Column with formulas of the charged electrodes."""
    identifier: str | None = None
    """Column with names, which are those of structure files."""
    crystals: str | None = None
    """Folder or archive of structure files, relative to the folder of data sets, or a column of structures."""
    ion: str = "Li"
    """Working ion of electrodes."""
    ordered: bool = False
    """Refuse partly occupied sites."""
    drop_incomplete: bool = False
    """Leave out rows without what the features need."""
    groups: tuple[str, ...] = ("formula",)
    """Columns whose equal values join rows to groups."""
    family: str | None = None
    """Column with structure families."""
    candidates: tuple[CandidateEntry, ...] = Field(min_length=1)
    """Models among which the training chooses."""
    classifiers: tuple[CandidateEntry, ...] = ()
    """The same for the probability to reach the threshold."""
    folds: int = Field(default=5, ge=2)
    """Grouped folds that judge the candidates."""
    seed: int = Field(default=0, ge=0)
    """Of all random numbers."""
    level: float = Field(default=0.9, gt=0.0, lt=1.0)
    """Share of rows of new groups that intervals cover."""
    most_members: int = Field(default=5, ge=1)
    """Models in the mean at most."""
    selection: Selection = "greedy"
    """Way in which the mean is chosen: models one at a time while the error falls, or the best ones."""
    loss: Literal["absolute", "squared"] = "absolute"
    """Error that decides the choice."""
    tasks: dict[str, TaskEntry] = Field(min_length=1)
    """Tasks of the benchmark by name; the first has the groups of the model, and its figures stand on the card."""
    suffix: str = ""
    """Unit in the names of the benchmark's figures: `v` for `mae_v`."""
    elements: tuple[str, ...] = ()
    """Elements whose compounds have figures of their own in the benchmark."""
    notes: tuple[str, ...] = ()
    """Sentences on the data, for the card."""
    not_for: str = ""
    """Uses that the card advises against."""

    def make_recipe(self) -> Recipe:
        """Recipe of a training."""
        return Recipe(
            candidates=tuple(entry.make_candidate() for entry in self.candidates),
            classifiers=tuple(entry.make_candidate() for entry in self.classifiers),
            folds=self.folds,
            seed=self.seed,
            level=self.level,
            most_members=self.most_members,
            selection=self.selection,
            loss=self.loss,
        )

    def read_data(self, folder: Path, groups: tuple[str, ...] | None = None) -> Dataset:
        """Read the data set.

        Args:
            folder: of data sets.
            groups: instead of the recipe's own.

        Raises:
            InvdesignError: the table is missing, cannot be read, or holds mistakes.
        """
        path = folder / self.data
        if not path.is_file():
            raise InvdesignError(
                f"there is no file '{path}': name the folder that holds '{self.data}' with --data"
            )
        beside = folder / self.crystals if self.crystals else None
        return read_dataset(
            path,
            target=TargetColumn(self.column, self.property, self.unit, self.log10, self.threshold),
            columns=Columns(formula=self.formula, charged=self.charged, identifier=self.identifier),
            crystals=str(beside) if beside is not None and beside.exists() else self.crystals,
            groups=self.groups if groups is None else groups,
            family=self.family,
            needs=list_needs(self.make_recipe().feature_sets, Inputs(electrode=self.charged is not None)),
            ion=self.ion,
            ordered=self.ordered,
            drop_incomplete=self.drop_incomplete,
            licence=self.licence,
            citation=self.citation,
        )


def parse_recipe(text: str, source: str) -> RecipeFile:
    """Parse a recipe file (JSON).

    Args:
        text: of the file.
        source: name of the file, for messages.

    Raises:
        TrainingError: with all mistakes.
    """
    try:
        strictjson.loads(text)
        found = RecipeFile.model_validate_json(text)
    except ValidationError as error:
        mistakes = [f"{source}: {_describe(part)}" for part in error.errors()]
        raise TrainingError(join_complaints(mistakes)) from error
    except ValueError as error:
        raise TrainingError(f"{source} is not valid JSON: {error}") from error
    wrong = [
        f"{source}: {mistake}"
        for entry in (*found.candidates, *found.classifiers)
        for mistake in entry.find_mistakes()
    ]
    if wrong:
        raise TrainingError(join_complaints(list(dict.fromkeys(wrong))))
    return found


def _describe(part: Mapping[str, Any]) -> str:
    """Describe one error of pydantic in a clause."""
    place = ".".join(str(step) for step in part["loc"]) or "the file"
    if part["type"] == "extra_forbidden":
        hint = nearest(str(part["loc"][-1]), RecipeFile.model_fields)
        return f"{place} is unknown. {hint}".rstrip()
    if part["type"] == "missing":
        return f"{place} is missing"
    message = str(part["msg"])
    return f"{place}: {message[0].lower()}{message[1:]}, got {part['input']!s:.60}"


def list_recipes() -> tuple[str, ...]:
    """Names of the recipes of shipped models, sorted."""
    folder = resources.files("surrogates.regression") / "recipes"
    return tuple(sorted(file.name[: -len(SUFFIX)] for file in folder.iterdir() if file.name.endswith(SUFFIX)))


def read_recipe(name: str) -> RecipeFile:
    """Read the recipe of a shipped model, or a recipe file.

    Args:
        name: of a shipped model, or path of a file.

    Raises:
        TrainingError: there is none, or it holds mistakes.
    """
    if name in list_recipes():
        file = resources.files("surrogates.regression") / "recipes" / f"{name}{SUFFIX}"
        return parse_recipe(file.read_text(encoding="utf-8"), f"{name}{SUFFIX}")
    path = Path(name)
    if not path.is_file():
        raise TrainingError(
            f"'{name:.80}' is neither a recipe ({', '.join(list_recipes())}) nor a file. {nearest(name, list_recipes())}".rstrip()
        )
    return parse_recipe(path.read_text(encoding="utf-8"), path.name)
