"""Errors of pydantic in words for the author of a file: the value found, what is allowed, the nearest name."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from pydantic import BaseModel

from invdesign import registry
from invdesign.campaign.document import Place
from invdesign.campaign.model import Common
from invdesign.errors import PluginError, nearest
from invdesign.settings import Settings
from invdesign.wording import shorten_text

COMMON = tuple(Common.model_fields)


def has_step(value: Any, step: str | int) -> bool:
    """True if the next `step` of a place exists in `value`."""
    if isinstance(step, str):
        return isinstance(value, dict) and step in value
    return isinstance(value, list) and step < len(value)


def describe_errors(items: list[Any], model: type, where: Place, value: Any) -> list[tuple[str, str]]:
    """Describe pydantic's errors at one place as (message, hint).

    Those of a union become one.

    Args:
        items: errors of pydantic.
        model: model of the whole value.
        where: the place within the value.
        value: the whole value, as written in the file.
    """
    items = [item for item in items if not _is_consequence(item)]
    forms = [_EXPECTED_FORMS.get(item["type"]) or _expected_literal(item) for item in items]
    if len(items) > 1 and all(forms):
        kept = list(dict.fromkeys(map(str, forms)))
        options = " or ".join([", ".join(kept[:-1]), kept[-1]] if len(kept) > 1 else kept)
        return [(f"must be {options}, got {quote_value(items[0]['input'])}", "")]
    if not all(forms):  # it has the form that one member wants, so that the others say nothing
        items = [item for item, form in zip(items, forms, strict=True) if not form]
    return [_describe_error(item, model, where, value) for item in items]


def is_wrong_form(item: Any) -> bool:
    """True if an error of pydantic says that a value has the wrong form, as a mapping has in place of a list."""
    return item["type"] in _EXPECTED_FORMS


def _is_consequence(item: Any) -> bool:
    """True if a list seems too short only through bad entries."""
    return item["type"] == "too_short" and bool(len(item["input"]) >= item["ctx"]["min_length"])


def _expected_literal(item: Any) -> str:
    return str(item["ctx"]["expected"]) if item["type"] == "literal_error" else ""


def _describe_error(item: Any, model: type, where: Place, written: Any) -> tuple[str, str]:
    kind, value = item["type"], item["input"]
    if kind == "extra_forbidden":
        fields = _allowed_fields(model, where[:-1], written)
        hint = nearest(str(where[-1]), fields) or (f"Allowed: {', '.join(sorted(fields))}." if fields else "")
        return "unknown key.", hint
    if kind == "missing":
        return "this key is required.", ""
    if kind == "value_error":
        return str(item["ctx"]["error"]), ""
    if kind == "literal_error":
        return f"expected {item['ctx']['expected']}, got {quote_value(value)}", ""
    if kind == "too_long":
        most = item["ctx"]["max_length"]
        return f"takes {most} {'entry' if most == 1 else 'entries'} at most, got {quote_value(value)}", ""
    message = item["msg"][0].lower() + item["msg"][1:]
    message = _MESSAGES.get(kind) or message.replace("input should be", "must be")
    return f"{message}, got {quote_value(value)}", ""


_EXPECTED_FORMS = {  # what a value of the wrong form must be
    "dict_type": "'key: value'",
    "model_type": "'key: value'",
    "list_type": "a list",
    "tuple_type": "a list",
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
}
_MESSAGES = {
    "dict_type": "must be written as 'key: value'",
    "model_type": "must be written as 'key: value'",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "too_short": "needs an entry",
    "string_too_short": "must not be empty",
}


def _allowed_fields(model: type, place: Place, value: Any) -> tuple[str, ...]:
    """Names of the fields allowed at a place."""
    for step in place:
        value = value[step] if has_step(value, step) else None
        fields = getattr(model, "model_fields", {})
        if step in fields:  # else an index, or a name the user gave
            found = _find_model(fields[step].annotation)
            if found is None:
                return ()
            model = found
        if model is Settings and isinstance(value, dict):
            model = _find_plugin(value.get("kind"))
    fields = tuple(field.alias or name for name, field in getattr(model, "model_fields", {}).items())
    return (*fields, *COMMON) if registry.belongs_to("evaluators", model) else fields


def _find_plugin(kind: Any) -> type:
    """Class of a nested plug-in by its kind.

    `Settings` if there is none.
    """
    for group in ("potentials", "optimizers"):
        if kind in registry.names(group):
            with suppress(PluginError):
                return registry.load(group, kind)
    return Settings


def _find_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _find_model(argument)
        if found is not None:
            return found
    return None


def quote_value(value: Any) -> str:
    """Write `value` as the file might, shortened if long."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return shorten_text(text, 80)
