"""JSON Schema of campaign files, generated from the models that validate them."""

from __future__ import annotations

import re
from typing import Any

from invdesign import registry
from invdesign.campaign.model import Common, Header
from invdesign.version import __version__

Schema = dict[str, Any]
CODE_PATTERN = "^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def build_campaign_schema() -> Schema:
    """Build the schema of campaign files for the installed plug-ins."""
    definitions: Schema = {}
    schema = _model_schema(Header, "campaign", definitions)
    common = _model_schema(Common, "stage", definitions)
    properties = schema["properties"]
    properties["space"] = _keep_description(properties["space"], _plugin_schema("spaces", definitions))
    properties["optimizer"] = _keep_description(
        properties["optimizer"], _plugin_schema("optimizers", definitions)
    )
    properties["engine"] = _keep_description(properties["engine"], _plugin_schema("engines", definitions))
    properties["evaluate"]["items"] = _named_schema("evaluators", common["properties"], definitions)
    properties["derive"]["items"] = _named_schema("derivations", {}, definitions)
    return {
        "$schema": DIALECT,
        "title": f"invdesign campaign (invdesign {__version__})",
        **{key: value for key, value in schema.items() if key != "title"},
        "$defs": definitions,
    }


def _keep_description(field: Schema, content: Schema) -> Schema:
    return {"description": field.get("description", ""), **content}


def _plugin_schema(group: str, definitions: Schema) -> Schema:
    """Schema of a plug-in: its name alone, or a mapping with `kind` and settings."""
    names, options = [], []
    for name, plugin in registry.load_working(group):  # `invdesign doctor` says why others do not
        settings = _model_schema(plugin, f"{group}.{name}", definitions)
        settings["properties"] = {"kind": {"const": name}, **settings.get("properties", {})}
        settings["required"] = ["kind", *settings.get("required", [])]
        if len(settings["required"]) == 1:
            names.append(name)
        definitions[f"{group}.{name}"] = settings
        options.append({"$ref": f"#/$defs/{group}.{name}"})
    return {"anyOf": [*([{"enum": names}] if names else []), *options]}


def _named_schema(group: str, common: Schema, definitions: Schema) -> Schema:
    """Schema of a stage or a derivation.

    It is the name of a plug-in, one key with its settings, or `module:name`.

    Args:
        group: of the plug-ins.
        common: schema by key that all of the group have.
        definitions: to add to.
    """
    names, settings = [], {}
    for name, plugin in registry.load_working(group):
        own = _model_schema(plugin, f"{group}.{name}", definitions)
        own["properties"] = {**own.get("properties", {}), **common}
        if not own.get("required"):
            names.append(name)
        definitions[f"{group}.{name}"] = own
        forms: list[Schema] = [{"$ref": f"#/$defs/{group}.{name}"}, {"type": "null"}]
        if getattr(plugin, "main_setting", ""):
            forms.append({"type": "string"})
        settings[name] = {"anyOf": forms}
        if own.get("description"):
            settings[name]["description"] = own["description"]
    mapping = {
        "type": "object",
        "properties": settings,
        "patternProperties": {CODE_PATTERN: {"type": ["object", "null"]}},
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    return {"anyOf": [{"enum": names}, {"type": "string", "pattern": CODE_PATTERN}, mapping]}


def _model_schema(model: Any, prefix: str, definitions: Schema) -> Schema:
    """Schema of a model.

    Definitions it refers to move to `definitions` under prefixed names.
    """
    schema: Schema = model.model_json_schema(mode="validation", by_alias=True)
    inner = schema.pop("$defs", {})

    def prefix_references(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: _prefix_reference(item, prefix) if key == "$ref" else prefix_references(item)
                for key, item in value.items()
            }
        if isinstance(value, list):
            return [prefix_references(item) for item in value]
        return value

    for name, definition in inner.items():
        definitions[f"{prefix}.{name}"] = _file_form(name, prefix_references(definition))
    result: Schema = _keep_first_paragraph(prefix_references(schema))
    return result


def _file_form(name: str, definition: Schema) -> Schema:
    """Schema of a file's form of a model: path, or plug-in name."""
    if name == "InputFile":
        return {"type": "string", "description": "Path of a file, relative to the campaign's folder."}
    if name == "Artifact":
        return {
            "type": "string",
            "description": "Path of a model folder, or of a .safetensors or .npz file, relative to the campaign's folder; or "
            "the name of a model that the plug-in ships.",
        }
    if name == "Settings":
        return {
            "anyOf": [{"type": "string"}, {"type": "object", "required": ["kind"]}],
            "description": "A plug-in by name, or a mapping with kind and settings.",
        }
    return _keep_first_paragraph(definition)


def _keep_first_paragraph(schema: Schema) -> Schema:
    if "description" in schema:
        schema["description"] = re.split(r"\n\s*\n", schema["description"])[0].replace("\n", " ")
    return schema


def _prefix_reference(target: str, prefix: str) -> str:
    return target.replace("#/$defs/", f"#/$defs/{prefix}.")
