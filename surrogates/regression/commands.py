"""Options and help of `invdesign surrogate`; heavy imports wait until a command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="A shipped model, or the folder of one.")]
Crystals = Annotated[
    str | None,
    typer.Option(help="Folder or .tar.gz of structure files named like the rows, or a column of structures."),
]
Formula = Annotated[str | None, typer.Option(help="Column with formulas; of electrodes the discharged ones.")]
Charged = Annotated[str | None, typer.Option(help="Column with formulas of the charged electrodes.")]
Identifier = Annotated[
    str | None, typer.Option(help="Column with names, which are those of structure files.")
]
Target = Annotated[str, typer.Option(help="Column with the values.")]
Unit = Annotated[
    str | None, typer.Option(help="Unit of the values, where the heading names none; '' for pure numbers.")
]
Groups = Annotated[
    str,
    typer.Option(
        help="Columns whose equal values join rows to groups; also formula, host, chemical_system, host_system."
    ),
]
Family = Annotated[str | None, typer.Option(help="Column with structure families.")]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse values that differ by more than --scatter.")]
Incomplete = Annotated[
    bool,
    typer.Option("--drop-incomplete", help="Leave out rows without what the features need, and say which."),
]

surrogate = typer.Typer(
    name="surrogate",
    help="Trained models of properties, with intervals and a domain.",
    no_args_is_help=True,
)


@surrogate.command()
def train(
    data: Annotated[Path, typer.Argument(help="Table: CSV, JSON or Parquet.")],
    target: Target,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the model.")],
    unit: Unit = None,
    log10: Annotated[bool, typer.Option("--log10", help="Learn the logarithm.")] = False,
    name: Annotated[
        str | None,
        typer.Option("--property", help="Name of the property; made from the heading if not given."),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Value, in the unit of the data, whose probability to be reached is learnt too."),
    ] = None,
    features: Annotated[
        list[str] | None,
        typer.Option(help="Feature sets side by side, as a,b; several times to let the training choose."),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Kinds of models, as a,b, among which the training chooses.")
    ] = None,
    groups: Groups = "formula",
    family: Family = None,
    crystals: Crystals = None,
    formula: Formula = None,
    charged: Charged = None,
    identifier: Identifier = None,
    ion: Annotated[str, typer.Option(help="Working ion of electrodes.")] = "Li",
    folds: Annotated[int, typer.Option(min=2, max=50, help="Folds of groups.")] = 5,
    shuffles: Annotated[
        int, typer.Option(min=0, max=20, help="Repetitions of the cross-validation for the card; 0 for none.")
    ] = 1,
    scatter: Annotated[
        float | None,
        typer.Option(min=0.0, help="Difference of values of one material, as learnt, that is still normal."),
    ] = None,
    strict: Strict = False,
    ordered: Annotated[bool, typer.Option("--ordered", help="Refuse partly occupied sites.")] = False,
    drop_incomplete: Incomplete = False,
    details: Annotated[
        bool,
        typer.Option("--details", help="Learning curve, importances and a baseline on the card too; slower."),
    ] = False,
    licence: Annotated[str, typer.Option(help="Of the data, for the card.")] = "",
    citation: Annotated[str, typer.Option(help="Of the data, for the card.")] = "",
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same model.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Train a model on a table of your own, and write its folder with a card.

    Cells such as <1e-10 are limits. The card's figures are those of cross-validation by groups. All mistakes in the table are told at once.
    """
    from surrogates.regression.console import Choice, Data, train_model

    read = Data(
        data, target, unit, log10, name, threshold, groups, family, crystals, formula, charged, identifier, ion,
        folds, scatter, strict, ordered, drop_incomplete, licence, citation,
    )  # fmt: skip
    train_model(
        read,
        Choice(tuple(features or ()), tuple(model or ()), folds, shuffles, seed, details),
        output,
        as_json=as_json,
    )


@surrogate.command()
def predict(
    name: Name,
    data: Annotated[
        Path, typer.Argument(metavar="IN", help="Table, structure file, or folder or .tar.gz of these.")
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Table (CSV) to write.")] = None,
    crystals: Crystals = None,
    formula: Formula = None,
    charged: Charged = None,
    identifier: Identifier = None,
    as_json: AsJson = False,
) -> None:
    """Predict the property of materials, with interval, domain and the reason of every failure.

    Exits with 1 if nothing could be predicted.
    """
    from surrogates.regression.console import predict_file
    from surrogates.regression.rows import Columns

    columns = Columns(formula=formula, charged=charged, identifier=identifier)
    predict_file(name, data, output, columns, crystals, as_json=as_json)


@surrogate.command()
def evaluate(
    name: Name,
    data: Annotated[Path, typer.Argument(help="Table with values that the model has not seen.")],
    target: Target,
    unit: Unit = None,
    log10: Annotated[
        bool | None,
        typer.Option(
            "--log10/--no-log10",
            help="Take the logarithm of the values; by default where the model predicts one.",
        ),
    ] = None,
    groups: Groups = "formula",
    family: Family = None,
    crystals: Crystals = None,
    formula: Formula = None,
    charged: Charged = None,
    identifier: Identifier = None,
    drop_incomplete: Incomplete = False,
    as_json: AsJson = False,
) -> None:
    """Measure a model on other data: errors, coverage of its intervals, and the overlap with its training data."""
    from surrogates.regression.console import Data, evaluate_file

    read = Data(
        data, target, unit, log10, None, None, groups, family, crystals, formula, charged, identifier,
        drop_incomplete=drop_incomplete,
    )  # fmt: skip
    evaluate_file(name, read, as_json=as_json)


@surrogate.command()
def show(name: Name, as_json: AsJson = False) -> None:
    """The card of a model: data, split, figures, domain, versions."""
    from surrogates.regression.console import show_model

    show_model(name, as_json=as_json)


@surrogate.command(name="list")
def list_(as_json: AsJson = False) -> None:
    """The models that come with the package."""
    from surrogates.regression.console import list_models

    list_models(as_json=as_json)
