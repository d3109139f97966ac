"""Commands of `invdesign generator`: list, show, sample, train and evaluate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from invdesign import registry
from invdesign.cli.options import COUNT, NUMBER, AsJson, TrustCode, number_parser
from invdesign.errors import INTERRUPTED, InvdesignError, PluginError
from invdesign.protocols import Wish
from invdesign.wording import align_columns, shorten_text

MAX_SHOWN = 400  # characters of a setting (chosen)
EVALUATED = 1_000  # samples of an evaluation, unless a number is given (chosen)

generator = typer.Typer(
    name="generator",
    help="Generators of crystals: a formula or a wish in, structures out.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Kind = Annotated[
    str, typer.Argument(metavar="KIND", help="Kind of generator, as `invdesign generator list` names it.")
]
Model = Annotated[
    Path | None, typer.Option(help="Folder of a model that `train` wrote; by default the shipped one.")
]
Words = Annotated[str, typer.Option(metavar="A,B")]
Seed = Annotated[int, typer.Option(parser=NUMBER, help="The same seed gives the same crystals.")]
Formula = Annotated[str | None, typer.Option(help="Formula of the crystals: Li3YCl6.")]
Units = Annotated[str | None, typer.Option(metavar="N[-M]", help="Formula units in the primitive cell.")]
Elements = Annotated[str, typer.Option(metavar="A,B", help="Allowed elements; by default all known ones.")]
Required = Annotated[str, typer.Option(metavar="A,B", help="Elements that every crystal holds.")]
Groups = Annotated[str, typer.Option(metavar="N,N-M", help="Space groups; by default all.")]
Atoms = Annotated[str | None, typer.Option(metavar="N[-M]", help="Atoms in the primitive cell.")]
Neutral = Annotated[
    bool | None,
    typer.Option(
        "--neutral/--any-charge", help="Whether charges must balance; by default without a formula."
    ),
]


@generator.command(name="list")
def list_(as_json: AsJson = False) -> None:
    """List the installed generators."""
    rows = [
        {"kind": name, "summary": (plugin.__doc__ or "").strip().partition("\n")[0]}
        for name, plugin in registry.load_working("generators")
    ]
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False))
        return
    for line in align_columns([(row["kind"], row["summary"]) for row in rows]):
        typer.echo(line)


@generator.command()
def show(kind: Kind, model: Model = None, as_json: AsJson = False) -> None:
    """Show the settings of a generator, and the card of its model."""
    settings = load_generator(kind, model).model_dump(mode="json")
    if as_json:
        typer.echo(json.dumps(settings, ensure_ascii=False))
        return
    for name, value in settings.items():
        card = value.get("card") if isinstance(value, dict) else None
        typer.echo(f"{name}: {_shorten(value['name'] if card is not None else value)}")
        for key, fact in (card or {}).items():
            typer.echo(f"  {key}: {_shorten(fact)}")


def _shorten(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return shorten_text(text, MAX_SHOWN)


def load_generator(kind: str, model: Path | None, *, trust_code: bool = False) -> Any:
    """Load a generator, with the model of a folder where one is given.

    Raises:
        InvdesignError: there is no such generator, or the model is none of its own.
    """
    from pydantic import ValidationError

    from invdesign.settings import load

    fields: dict[str, Any] = {"kind": kind}
    if model is not None:
        fields["model"] = str(model)
    try:
        return load("generators", fields, trust_code=trust_code)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InvdesignError(f"{kind}: {place}: {first['msg'].removeprefix('Value error, ')}") from error


@generator.command()
def sample(
    kind: Kind,
    output: Annotated[Path, typer.Option("--output", "-o", help="New folder for the CIF files and a table.")],
    formula: Formula = None,
    n: Annotated[int, typer.Option("-n", "--number", parser=COUNT, help="How many.")] = 10,
    elements: Elements = "",
    required: Required = "",
    units: Units = None,
    space_groups: Groups = "",
    atoms: Atoms = None,
    neutral: Neutral = None,
    wish: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Property to come close to: band_gap=2, =1.5..3, =minimize."),
    ] = None,
    model: Model = None,
    seed: Seed = 0,
    raw: Annotated[bool, typer.Option("--raw", help="Also what the guard rails refuse.")] = False,
    trust_code: TrustCode = False,
) -> None:
    """Write crystals that keep a condition: CIF files, and a table with where each came from."""
    from invdesign.generators.generate import generate
    from invdesign.generators.writing import check_new_folder, write_samples

    check_new_folder(output)
    found = generate(
        formula,
        n,
        generator=load_generator(kind, model, trust_code=trust_code),
        elements=split_words(elements),
        required=split_words(required),
        formula_units=parse_range(units, "--units"),
        space_groups=split_words(space_groups),
        atoms=parse_range(atoms, "--atoms"),
        neutral=neutral,
        wishes=[parse_wish(text) for text in wish or []],
        seed=seed,
        gated=not raw,
    )
    if not found:
        raise InvdesignError(f"no crystal was made: {found.reason}")
    write_samples(found, output)
    typer.echo(f"Wrote {len(found)} crystals to {output}")
    if found.refused:
        refused = ", ".join(f"{count} {reason}" for reason, count in found.refused.items())
        typer.echo(f"of {found.tried} drawn, left out: {refused}")
    if found.reason:
        typer.echo(found.reason)


def parse_wish(text: str) -> Wish:
    """Parse a wish of the command line.

    Raises:
        typer.BadParameter: it is none.
    """
    from invdesign.structures.conditions import read_wish

    try:
        return read_wish(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def split_words(text: str) -> list[str]:
    """Split words at commas and blanks."""
    return text.replace(",", " ").split()


def parse_range(text: str | None, option: str) -> tuple[int, int] | None:
    """Parse a whole number or a range such as 4-20.

    Raises:
        typer.BadParameter: it is neither.
    """
    if text is None:
        return None
    low, _, high = text.strip().partition("-")
    try:
        return int(low), int(high or low)
    except ValueError:
        raise typer.BadParameter(
            f"{option} must be a whole number or a range such as 4-20, got '{text:.40}'"
        ) from None


@generator.command()
def train(
    data: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATA...",
            help="Tables (CSV) with a column cif, structure files or folders of them, ASE databases.",
        ),
    ],
    kind: Annotated[str, typer.Option(help="Kind of generator.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the model.")],
    minutes: Annotated[
        float | None, typer.Option(parser=number_parser(0.0), help="Most CPU minutes.")
    ] = None,
    about: Annotated[str, typer.Option(help="Source and licence of the data, for the card.")] = "",
) -> None:
    """Train a generator on crystals of your own, and write its model folder.

    Ctrl-C leaves a model of what was learnt until then.
    """
    from invdesign.generators.training_set import describe_left_out, read_training_set
    from invdesign.protocols import TrainableGenerator

    plugin = registry.load("generators", kind)
    if not issubclass(plugin, TrainableGenerator):
        raise PluginError(f"the generator '{kind}' has nothing to train")
    training = read_training_set(data, about)
    typer.echo(f"{len(training.crystals)} crystals to learn from")
    left_out = describe_left_out(training)
    if left_out:
        typer.echo(left_out)
    try:
        plugin.train(training, output, minutes=minutes, report=typer.echo)
    except KeyboardInterrupt:
        typer.echo(f"stopped before a model was written to {output}", err=True)
        raise typer.Exit(INTERRUPTED) from None
    typer.echo(
        f"Wrote {output}; use it with --model {output}, or in a campaign: {{kind: {kind}, model: {output}}}"
    )


@generator.command()
def evaluate(
    what: Annotated[
        str,
        typer.Argument(
            metavar="KIND|PATH", help="A generator, or crystals of any origin: folder, table, database."
        ),
    ],
    learned: Annotated[
        list[Path] | None,
        typer.Option(help="Crystals the generator learnt from; by default those of the shipped library."),
    ] = None,
    held_back: Annotated[
        list[Path] | None,
        typer.Option(help="Crystals it did not learn from, for distributions and formulas."),
    ] = None,
    n: Annotated[
        int, typer.Option("-n", "--number", parser=COUNT, help="Samples of a generator.")
    ] = EVALUATED,
    formulas: Annotated[
        int, typer.Option(parser=NUMBER, help="Formulas of the crystals held back that are asked for.")
    ] = 0,
    coverage: Annotated[bool, typer.Option(help="Whether coverage is measured: 0.15 s per crystal.")] = False,
    model: Model = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Measure how valid, new and lifelike crystals are: of a generator, or of anyone's folder.

    Raw samples and those that passed the guard rails are measured apart.
    """
    from invdesign.generators.evaluating import evaluate_source, format_rows

    source = load_generator(what, model) if what in registry.names("generators") else Path(what)
    rows = evaluate_source(
        source,
        learned=learned or [],
        held_back=held_back or [],
        n=n,
        formulas=formulas,
        coverage=coverage,
        seed=seed,
        report=lambda text: typer.echo(text, err=True),
    )
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False))
        return
    for line in format_rows(rows):
        typer.echo(line)
