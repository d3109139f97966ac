"""The commands of `invdesign surrogate`: train, predict, evaluate, show and list property models."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import typer

from invdesign.artifacts.models import CONFIG
from invdesign.diskfiles import replace_atomically
from invdesign.errors import InvdesignError, join_complaints, nearest
from invdesign.structures.charges import element_symbols
from invdesign.tables.guard import guard_cell
from invdesign.wording import align_columns, count_noun, join_words, list_first
from surrogates.regression.errors import TrainingError
from surrogates.regression.features.registry import FEATURE_SETS
from surrogates.regression.inputs import read_inputs
from surrogates.regression.material import Dataset, Target
from surrogates.regression.models.contract import Candidate, Kind
from surrogates.regression.needs import Inputs, list_needs
from surrogates.regression.predicting import (
    MODELS,
    Prediction,
    Predictor,
    find_artifact,
    find_twin,
    load_predictor,
)
from surrogates.regression.rows import Columns, ReadRow
from surrogates.regression.table import read_dataset
from surrogates.regression.targets import TargetColumn, split_logarithm

if TYPE_CHECKING:
    from surrogates.regression.blocks import Blocks
    from surrogates.regression.evaluating import Figures
    from surrogates.regression.property_model import PropertyModel
    from surrogates.regression.training import Recipe

INTERRUPTED = 130  # exit code of a program that Ctrl-C stopped, in shells
DEFAULT_FEATURES = ("element_fractions", "element_statistics")
DEFAULT_MODELS: tuple[Kind, ...] = ("extra_trees", "gaussian_process")
LISTED_FAILURES = 5  # on the screen; chosen


@dataclass(frozen=True)
class Data:
    """Options that say what a table holds; see `table.read_dataset`."""

    path: Path
    target: str
    unit: str | None = None
    log10: bool | None = None
    name: str | None = None
    threshold: float | None = None
    groups: str = "formula"
    family: str | None = None
    crystals: str | None = None
    formula: str | None = None
    charged: str | None = None
    identifier: str | None = None
    ion: str = "Li"
    folds: int | None = None
    scatter: float | None = None
    strict: bool = False
    ordered: bool = False
    drop_incomplete: bool = False
    licence: str = ""
    citation: str = ""

    def read(self, needs: frozenset[Any], target: TargetColumn) -> Dataset:
        """Read the data set, and tell the remarks on standard error."""
        data = read_dataset(
            self.path,
            target=target,
            columns=Columns(formula=self.formula, charged=self.charged, identifier=self.identifier),
            crystals=self.crystals,
            groups=_split_names(self.groups),
            family=self.family,
            needs=needs,
            ion=self.ion,
            ordered=self.ordered,
            folds=self.folds,
            scatter=self.scatter,
            strict=self.strict,
            drop_incomplete=self.drop_incomplete,
            licence=self.licence,
            citation=self.citation,
        )
        typer.echo(f"{data.source.name}: {count_noun(len(data), 'row')} of {data.target.name}", err=True)
        for remark in data.remarks:
            typer.echo(f"  {remark}", err=True)
        return data


@dataclass(frozen=True)
class Choice:
    """Options that say what is trained, and how it is judged.

    Attributes:
        features: feature sets side by side, `a,b`; several to choose from.
        models: kinds, `a,b`, to choose from.
        folds: of groups.
        shuffles: repetitions of the cross-validation.
        seed: of all random numbers.
        details: learning curve, importances and a baseline too.
    """

    features: tuple[str, ...]
    models: tuple[str, ...]
    folds: int
    shuffles: int
    seed: int
    details: bool = False

    def list_candidates(self) -> tuple[Candidate, ...]:
        """All pairs of feature sets and kinds of models.

        Raises:
            TrainingError: a name is unknown; all of these are named.
        """
        sets = [_split_names(text) for text in self.features] or [(name,) for name in DEFAULT_FEATURES]
        kinds = [name for text in self.models for name in _split_names(text)] or list(DEFAULT_MODELS)
        wrong = _find_unknown("feature set", [name for names in sets for name in names], list(FEATURE_SETS))
        wrong += _find_unknown("kind of model", kinds, get_args(Kind))
        if wrong:
            raise TrainingError(join_complaints(wrong))
        return tuple(Candidate(names, kind) for names in sets for kind in kinds)  # type: ignore[arg-type]  # checked above


def _split_names(text: str) -> tuple[str, ...]:
    """Split `a,b` into names."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _find_unknown(what: str, names: Sequence[str], known: Sequence[str]) -> list[str]:
    """Complaints about names that are not known."""
    return [
        " ".join(
            filter(
                None, (f"there is no {what} '{name}', known are {', '.join(known)}.", nearest(name, known))
            )
        )
        for name in dict.fromkeys(names)
        if name not in known
    ]


@contextmanager
def _stop_cleanly(message: str) -> Iterator[None]:
    """Turn Ctrl-C into a `message` and an exit code; files are whole, since they appear when they are complete."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"\n{message}", err=True)
        raise typer.Exit(INTERRUPTED) from None


def train_model(options: Data, choice: Choice, output: Path, *, as_json: bool = False) -> None:
    """Train a property model, judge it, and write its folder.

    Args:
        options: the table.
        choice: candidates and judgement.
        output: folder to write; one that holds something else than a model is refused.
        as_json: print the configuration of the model, for programs.
    """
    from surrogates.regression.blocks import compute_blocks
    from surrogates.regression.card import write_card
    from surrogates.regression.training import Recipe, train

    _check_output_folder(output)
    if options.strict and options.scatter is None:
        raise InvdesignError(
            "--strict needs --scatter: the largest difference of values of one material that is normal"
        )
    candidates = choice.list_candidates()
    sets = tuple(dict.fromkeys(name for candidate in candidates for name in candidate.features))
    if options.ion not in element_symbols():
        raise InvdesignError(f"--ion must be the symbol of an element, got '{options.ion:.40}'")
    needs = list_needs(sets, Inputs(electrode=options.charged is not None))
    target = TargetColumn(options.target, options.name, options.unit, bool(options.log10), options.threshold)
    with _stop_cleanly(f"Stopped; {output} is as it was."):
        data = options.read(needs, target)
        recipe = Recipe(
            candidates,
            classifiers=candidates if data.target.threshold is not None else (),
            folds=choice.folds,
            seed=choice.seed,
        )
        blocks = compute_blocks(recipe.feature_sets, data.materials)
        model = train(data, recipe, blocks)
        if choice.shuffles:
            model = _judge(model, data, recipe, blocks, choice)
        model.write(output)
    if as_json:
        typer.echo(json.dumps(model.config, indent=1, ensure_ascii=False))
        return
    typer.echo(write_card(model.config).rstrip())
    typer.echo(
        f"\nWrote {output}; predict with `invdesign surrogate predict {output} IN.csv --output OUT.csv`, or in a campaign: "
        f"evaluate: [{{surrogate: {output}}}]"
    )


def _judge(
    model: PropertyModel, data: Dataset, recipe: Recipe, blocks: Blocks, choice: Choice
) -> PropertyModel:
    """Copy of a model whose card has the figures of cross-validation by groups, and details on request."""
    from surrogates.regression.evaluating import (
        complete_card,
        cross_validate,
        measure_importances,
        trace_learning_curve,
    )
    from surrogates.regression.training import baseline_recipe

    folds, shuffles = choice.folds, choice.shuffles
    figures = cross_validate(data, recipe, folds, shuffles, blocks, tell=_tell)
    if not choice.details:
        return complete_card(model, figures)
    _tell("learning curve, importances and baseline")
    plain = baseline_recipe(choice.seed, classify=data.target.threshold is not None)
    return complete_card(
        model,
        figures,
        trace_learning_curve(data, recipe, folds, blocks),
        measure_importances(model, data, blocks),
        {"extra trees on element statistics": cross_validate(data, plain, folds, shuffles)},
    )


def _tell(sentence: str) -> None:
    """Print a sentence on progress on standard error."""
    typer.echo(sentence, err=True)


def _check_output_folder(output: Path) -> None:
    """Refuse a place that no model can be written to, before anything is computed."""
    if output.is_file():
        raise InvdesignError(f"--output must be a folder, and '{output}' is a file")
    if output.is_dir() and any(output.iterdir()) and not (output / CONFIG).is_file():
        raise InvdesignError(f"'{output}' holds something else than a model; name a new folder with --output")
    if not output.absolute().parent.is_dir():
        raise InvdesignError(f"there is no folder '{output.parent}' to write '{output.name}' to")


def predict_file(
    name: str,
    path: Path,
    output: Path | None,
    columns: Columns,
    crystals: str | None,
    *,
    as_json: bool = False,
) -> None:
    """Predict the property of the materials of a file.

    Args:
        name: of a shipped model, or folder of one.
        path: table, structure file, or folder or archive of structure files.
        output: table to write; None to print it.
        columns: columns that describe the materials.
        crystals: folder or archive of structure files, or column.
        as_json: print rows for programs.
    """
    predictor = load_predictor(name)
    inputs = predictor.inputs
    if output is not None and not output.absolute().parent.is_dir():
        raise InvdesignError(f"there is no folder '{output.parent}' to write '{output.name}' to")
    if not path.exists():
        raise InvdesignError(f"there is no file or folder '{path}'")
    if output is not None and output.exists() and output.samefile(path):
        raise InvdesignError(
            f"--output '{output}' is the input itself, which would be lost; name another file"
        )
    with _stop_cleanly("Stopped; nothing was written."):
        rows = read_inputs(
            path,
            columns=columns,
            crystals=crystals,
            needs=predictor.needs,
            ion=inputs.ion or "Li",
            ordered=inputs.ordered and bool(predictor.needs & {"cell", "crystal"}),
        )
        found = predict_rows(predictor, rows)
        if output is not None:
            with replace_atomically(output) as temporary:
                temporary.write_text(format_predictions(predictor, rows, found), encoding="utf-8", newline="")
    if as_json:
        typer.echo(json.dumps(_list_records(predictor, rows, found), indent=1, ensure_ascii=False))
    elif output is None:
        typer.echo(format_predictions(predictor, rows, found).rstrip())
    _print_counts(predictor, rows, found, output)
    if not any(isinstance(item, Prediction) for item in found):
        raise typer.Exit(1)


def predict_rows(predictor: Predictor, rows: Sequence[ReadRow]) -> list[Prediction | str]:
    """Predict rows of a file; those that failed keep their reason."""
    materials = [row.material for row in rows if row.material is not None]
    predictions = iter(predictor.predict_each(materials))
    return ["; ".join(map(str, row.faults)) if row.material is None else next(predictions) for row in rows]


def _list_records(
    predictor: Predictor, rows: Sequence[ReadRow], found: Sequence[Prediction | str]
) -> list[dict[str, Any]]:
    """Predictions as plain JSON, one per row; None where there is no number."""
    name = predictor.model.target.name
    records = []
    for row, item in zip(rows, found, strict=True):
        made = item if isinstance(item, Prediction) else None
        record: dict[str, Any] = {
            "name": row.name,
            "formula": row.formula,
            name: made and made.mean,
            "lower": made and made.lower,
            "upper": made and made.upper,
            "deviation": made and made.deviation,
            **(
                {"probability": made and made.probability}
                if predictor.model.target.threshold is not None
                else {}
            ),
            "out_of_domain": None if made is None else int(bool(made.reason)),
            "reasons": made.reason if made else "",
            "in_training": None if made is None else int(made.known),
            "failure": "" if made else item,
            "remarks": "; ".join(row.remarks),
        }
        records.append(record)
    return records


def format_predictions(
    predictor: Predictor, rows: Sequence[ReadRow], found: Sequence[Prediction | str]
) -> str:
    """Format predictions as a table (CSV) with units in the headings.

    Args:
        predictor: the model.
        rows: n rows of a file.
        found: prediction of each, or the reason why there is none.
    """
    target, level = predictor.model.target, predictor.model.intervals.level
    unit = f" [{target.unit}]" if target.unit else ""
    headings = {
        target.name: f"{target.name}{unit}",
        "lower": f"lower_{level:.0%}{unit}".replace("%", ""),
        "upper": f"upper_{level:.0%}{unit}".replace("%", ""),
        "deviation": f"deviation{unit}",
    }
    if target.threshold is not None:
        headings["probability"] = f"probability_of_{target.threshold:g}_or_more"
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    records = _list_records(predictor, rows, found)
    table.writerow([headings.get(name, name) for name in records[0]])
    for record in records:
        table.writerow([_format_cell(value) for value in record.values()])
    return stream.getvalue()


def _format_cell(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else "" if value is None else guard_cell(value)


def _print_counts(
    predictor: Predictor, rows: Sequence[ReadRow], found: Sequence[Prediction | str], output: Path | None
) -> None:
    """Tell on standard error how many rows were predicted, extrapolated and refused."""
    made = [item for item in found if isinstance(item, Prediction)]
    outside = sum(bool(item.reason) for item in made)
    known = sum(item.known for item in made)
    where = f", written to {output}" if output is not None else ""
    typer.echo(
        f"{len(made)} of {count_noun(len(found), 'row')} predicted by {predictor.name}, {outside} outside its domain, {known} with a "
        f"composition of its training data{where}",
        err=True,
    )
    failed = [f"  {row.name}: {item}" for row, item in zip(rows, found, strict=True) if isinstance(item, str)]
    if failed:
        typer.echo(f"{len(failed)} failed:\n{list_first(failed, LISTED_FAILURES, chr(10))}", err=True)
        twin = find_twin(predictor.name)
        if twin and predictor.needs & {"cell", "crystal"}:
            typer.echo(f"{twin} predicts the same property from formulas alone", err=True)


def evaluate_file(name: str, options: Data, *, as_json: bool = False) -> None:
    """Measure a model on the values of a file.

    Args:
        name: of a shipped model, or folder of one.
        options: the table.
        as_json: print figures for programs.
    """
    from surrogates.regression.evaluating import evaluate_model

    predictor = load_predictor(name)
    inputs = predictor.inputs
    target = find_target_column(predictor.model.target, options)
    options = _with_inputs(options, inputs)
    with _stop_cleanly("Stopped."):
        data = options.read(predictor.needs, target)
        shared = [predictor.is_known(material) for material in data.materials]
        figures = evaluate_model(predictor.model, data)
        unseen = data.select_rows([place for place, flag in enumerate(shared) if not flag])
        apart = evaluate_model(predictor.model, unseen) if any(shared) and len(unseen) else None
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "rows": len(data),
                    "in_training": sum(shared),
                    "figures": figures.config,
                    "figures_without_those": None if apart is None else apart.config,
                },
                indent=1,
                ensure_ascii=False,
            )
        )
        return
    typer.echo(f"{predictor.name} on {data.source.name}")
    typer.echo(_format_figures(figures))
    if not any(shared):
        typer.echo("no row has a composition of the training data")
        return
    typer.echo(
        f"{sum(shared)} of {count_noun(len(data), 'row')} have a composition of the training data: the figures above flatter the model"
    )
    if apart is not None:
        typer.echo(f"without these, {count_noun(len(unseen), 'row')}:")
        typer.echo(_format_figures(apart))


def _with_inputs(options: Data, inputs: Inputs) -> Data:
    return replace(options, ion=inputs.ion or options.ion, ordered=options.ordered or inputs.ordered)


def find_target_column(target: Target, options: Data) -> TargetColumn:
    """Column of other data with the target of a model.

    Values are converted to the model's unit, by a logarithm too where the model has one and the options do not say otherwise.

    Args:
        target: of the model.
        options: the table.
    """
    logarithm, inner = split_logarithm(target.unit)
    stated = split_logarithm(options.unit or "")[0]
    log10 = options.log10 if options.log10 is not None else logarithm and not stated
    return TargetColumn(options.target, target.name, options.unit, log10, into=inner)


def _format_figures(figures: Figures) -> str:
    """Format figures for people: value, unit and interval, one per line; then the families."""
    rows = [
        [
            figure.name,
            join_words(f"{figure.value:.4g}", figure.unit),
            "" if figure.low is None else f"{figure.low:.4g} to {figure.high:.4g}",
        ]
        for figure in figures.figures
    ]
    families = [
        [
            f"  {own.family}",
            count_noun(own.rows, "row"),
            f"mae {own.mae:.3g}, bias {own.bias:+.3g}, covered {own.coverage:.0f} %",
        ]
        for own in figures.families
    ]
    return "\n".join([*(align_columns(rows) if rows else []), *(align_columns(families) if families else [])])


def show_model(name: str, *, as_json: bool = False) -> None:
    """Print the card of a model, or its configuration as JSON.

    Args:
        name: of a shipped model, or folder of one.
        as_json: True for JSON.
    """
    from surrogates.regression.card import write_card
    from surrogates.regression.property_model import PropertyModel

    artifact = find_artifact(name)
    PropertyModel.from_artifact(artifact)  # a damaged one is refused
    if as_json:
        typer.echo(
            json.dumps(
                {**artifact.card, "sha256": artifact.sha256, "size": artifact.size},
                indent=1,
                ensure_ascii=False,
            )
        )
        return
    typer.echo(write_card(artifact.card).rstrip())


def list_models(*, as_json: bool = False) -> None:
    """Print the package's models, as JSON if `as_json` is true."""
    rows = []
    for name in MODELS.names():
        artifact = MODELS.read(name)
        target, data = artifact.card["target"], artifact.card.get("about", {}).get("data", {})
        rows.append(
            {
                "name": name,
                "property": target["name"],
                "unit": target["unit"],
                "features": list(artifact.card["features"]),
                "data": data.get("name", ""),
                "rows": data.get("rows"),
                "megabytes": round(artifact.size / 1e6, 2),
                "sha256": artifact.sha256,
            }
        )
    if as_json:
        typer.echo(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    for row in rows:
        typer.echo(
            f"{row['name']}  {row['property']} [{row['unit']}], {row['rows']} rows of {row['data']}; features "
            f"{', '.join(row['features'])}"
        )
