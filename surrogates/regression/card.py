"""Card of a trained property model in Markdown, from its configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

LARGEST_COLUMNS = 12  # whose importance is shown (chosen)
NOT_FOR = (
    "A value that a decision depends on. The model repeats the errors of its data; a prediction with the flag `outside` is an "
    "extrapolation, and its interval is only as good as the errors of left-out regions tell."
)


def write_card(config: Mapping[str, Any]) -> str:
    """Write the card of a model.

    Args:
        config: of the model, as `PropertyModel.config` gives it.
    """
    about = config["about"]
    parts = [
        f"# {config['target']['name']}\n\n{_describe_target(config['target'], config['intervals'])}",
        _describe_model(config),
        _describe_data(about.get("data", {}), about.get("notes", [])),
        _describe_figures(about),
        _describe_domain(config),
        _describe_importances(about.get("importances", {})),
        _describe_curve(about.get("learning_curve", []), config["target"]["unit"]),
        f"## Not for\n{about.get('not_for') or NOT_FOR}",
        _describe_versions(about.get("versions", {})),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _describe_target(target: Mapping[str, Any], intervals: Mapping[str, Any]) -> str:
    text = f"Predicts {target['name']}{_in_unit(target['unit'])}, with intervals that cover {intervals['level']:.0%} of new groups' rows"
    if target["threshold"] is not None:
        text += f", and the probability of {target['threshold']:g} or more"
    return f"{text}."


def _in_unit(unit: str) -> str:
    return f" in {unit}" if unit else ""


def _describe_model(config: Mapping[str, Any]) -> str:
    lines = ["## Model", "| weight | model | features | settings |", "| --- | --- | --- | --- |"]
    lines += [_member_row(member) for member in config["members"]]
    if config["classifier"] is not None:
        rest = "the rest from these classifiers:" if config["classifiers"] else "without a classifier."
        lines += [
            "",
            f"Probability: {config['classifier']['regression']:.2g} of it from the models above, {rest}",
        ]
    if config["classifiers"]:
        lines += ["", "| weight | classifier | features | settings |", "| --- | --- | --- | --- |"]
        lines += [_member_row(member) for member in config["classifiers"]]
    networks = [
        f"{name} reads {own['weights']}" for name, own in config["features"].items() if own["weights"]
    ]
    lines += ["", f"Weights of networks: {'; '.join(networks)}."] if networks else []
    choice, recipe = config["about"].get("choice"), config["about"].get("recipe")
    if choice and recipe:
        lines += [
            "",
            (
                f"Chosen among {len(recipe['candidates'])} candidates by {recipe['folds']} grouped folds (mean {recipe['loss']} "
                f"error {choice['error']:.4g}, of the best alone {min(choice['errors']):.4g}); seed {recipe['seed']}."
            ),
        ]
    return "\n".join(lines)


def _member_row(member: Mapping[str, Any]) -> str:
    settings = ", ".join(f"{name} {value}" for name, value in member["settings"].items())
    return f"| {member['weight']:.2g} | {member['kind']} | {', '.join(member['features'])} | {settings} |"


def _describe_data(data: Mapping[str, Any], notes: Sequence[str]) -> str:
    if not data:
        return ""
    largest = ", ".join(str(size) for size in data["largest_groups"])
    columns = " and ".join(data["group_columns"]) or "row"
    lines = [
        "## Data",
        f"- {data['name']}, SHA-256 `{data['sha256']}`",
        f"- Licence: {data['licence'] or 'not stated'}",
        *([f"- Source: {data['citation']}"] if data["citation"] else []),
        f"- {data['rows']} rows, from {data['lowest']:.6g} to {data['highest']:.6g}"
        + (f"; {data['below_limit']} known to be below a limit" if data["below_limit"] else "")
        + (f"; {data['above_limit']} known to be above a limit" if data["above_limit"] else ""),
        f"- {data['groups']} groups by {columns}, the largest of {largest} rows",
        *(f"- {remark}" for remark in (*data["remarks"], *notes)),
    ]
    return "\n".join(lines)


def _describe_figures(about: Mapping[str, Any]) -> str:
    found = about.get("figures")
    if not found:
        return "## Figures\nNot measured: the model was trained without cross-validation."
    lines = ["## Figures", f"Of rows that no training had seen: {found['split']}.", ""]
    lines += [
        "| figure | value | 95 % interval over groups | unit | rows |",
        "| --- | --- | --- | --- | --- |",
    ]
    for own in found["figures"]:
        interval = "" if own["low"] is None else f"{own['low']:.3g} to {own['high']:.3g}"
        lines.append(f"| {own['metric']} | {own['value']:.3g} | {interval} | {own['unit']} | {own['rows']} |")
    for name, other in about.get("baselines", {}).items():
        lines += ["", f"{name}: " + ", ".join(f"{key} {value:.3g}" for key, value in other.items()) + "."]
    if found["families"]:
        lines += [
            "",
            "| family | rows | mean absolute error | mean error | covered % |",
            "| --- | --- | --- | --- | --- |",
        ]
        lines += [
            f"| {own['family']} | {own['rows']} | {own['mae']:.3g} | {own['bias']:.2g} | {own['coverage']:.0f} |"
            for own in found["families"]
        ]
    return "\n".join(lines)


def _describe_domain(config: Mapping[str, Any]) -> str:
    domain, regions = config["domain"], config["about"].get("regions")
    lines = [
        "## Domain",
        f"Elements: {', '.join(domain['elements'])}. Any other is outside.",
        (
            f"Mean distance to the nearest {domain['neighbours']} training groups in {', '.join(domain['sets'])}: at most {domain['limit']:.3g} (typical {domain['typical']:.3g}). "
            f"Outside, intervals reach {config['intervals']['beyond']:.3g} to either side at least."
        ),
    ]
    if regions:
        area = regions["out_of_domain_auc"]
        told = (
            "" if area is None else f"; the distance tells them from rows within with an area of {area:.2f}"
        )
        lines.append(
            f"With {regions['name']} left out ({regions['count']} of them) the mean absolute error is {regions['mae']:.3g}{told}."
        )
    return "\n".join(lines)


def _describe_importances(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    if not found:
        return ""
    lines = [
        "## Importances",
        "Share of the variance of predictions that is lost when a feature is exchanged among materials.",
        "",
    ]
    lines += ["| features | share |", "| --- | --- |"]
    return "\n".join(
        [
            *lines,
            *_effect_rows(found.get("sets", [])),
            *_effect_rows(found.get("columns", [])[:LARGEST_COLUMNS]),
        ]
    )


def _effect_rows(effects: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for effect in effects:
        yield f"| {effect['name']} | {effect['share']:.2f} |"


def _describe_curve(points: Sequence[Mapping[str, Any]], unit: str) -> str:
    if not points:
        return ""
    lines = ["## Learning curve", f"| training rows | mean absolute error{_in_unit(unit)} |", "| --- | --- |"]
    return "\n".join([*lines, *(f"| {point['rows']} | {point['mae']:.3g} |" for point in points)])


def _describe_versions(versions: Mapping[str, str]) -> str:
    return (
        "## Versions\n" + ", ".join(f"{name} {version}" for name, version in versions.items()) + "."
        if versions
        else ""
    )
