"""Settings of plug-ins: frozen, validated, and stored as JSON."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    model_serializer,
    model_validator,
)

from invdesign import registry
from invdesign.errors import PluginError
from invdesign.textfiles import UnreadableFileError, read_text

TABLE_SUFFIXES = (".csv", ".tsv", ".txt")  # files whose words matter: text in a foreign encoding is refused
MAX_INPUT_BYTES = 200_000_000  # of one file that a campaign names (chosen)
STORED_FOLDER = Path("(stored)")
"""The folder of settings that come from a store: they hold the texts of their files, and may name no file."""


class Frozen(BaseModel):
    """Immutable and strict model: no silent coercion, unknown keys refused."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", use_attribute_docstrings=True)


class Settings(Frozen):
    """Base of every plug-in: its fields are the keys in a campaign file.

    A plug-in serialises with its `kind`, so that a worker process, a resumed run or another machine builds the same thing
    from plain JSON: `load("evaluators", dump)` inverts `plugin.model_dump(mode="json")`.
    """

    version: ClassVar[str] = "1"
    """Raise it when the same settings give other numbers: fingerprints, and so caches, change with it."""
    main_setting: ClassVar[str] = ""
    """Setting that a lone value of a stage stands for: `surrogate: conductivity`. Empty for none."""

    @model_serializer(mode="wrap")
    def _with_kind(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = handler(self)
        return {"kind": registry.name_of(type(self)), **fields}

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences on how the named files were read.

        They are shown with the campaign's notes and in the report.
        """
        return ()

    def remarks_on(self, elements: frozenset[str] | None) -> tuple[str, ...]:
        """Remarks for candidates of some elements; by default `remarks`.

        Args:
            elements: symbols that candidates may have; None where they are not known.
        """
        del elements
        return self.remarks

    @property
    def names_code(self) -> bool:
        """True if these settings name code that was imported to read them.

        Plug-ins given as `module:Class` are not meant.
        """
        return False

    @property
    def fingerprint(self) -> str:
        """Hash of kind, settings and version.

        Plug-ins with weights or data add the hashes of those.
        """
        text = json.dumps([self.model_dump(mode="json"), self.version], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def load(group: str, value: object, *, folder: Path | None = None, trust_code: bool = False) -> Any:
    """Make a plug-in from its name, or from a mapping with `kind` and settings.

    Args:
        group: a registry group.
        value: `"chgnet"` or `{"kind": "chgnet", "model": "0.3.0"}`.
        folder: where relative paths of input files start.
        trust_code: whether `module:Class` names may be imported.

    Raises:
        PluginError: there is no such plug-in.
        pydantic.ValidationError: its settings are wrong.
    """
    fields = {"kind": value} if isinstance(value, str) else value
    if not isinstance(fields, Mapping) or not isinstance(fields.get("kind"), str):
        raise PluginError(f"expected a name or a mapping with 'kind', got {value!r}")
    plugin = registry.load(group, fields["kind"], trust_code=trust_code)
    settings = {key: item for key, item in fields.items() if key != "kind"}
    context = {"folder": folder or Path.cwd(), "trust_code": trust_code}
    # Through JSON, so that strict validation means JSON's types: a list may become a tuple, nothing else is coerced.
    return plugin.model_validate_json(json.dumps(settings), context=context)  # type: ignore[attr-defined]  # Settings, or a third party's twin


def holds_code(value: object) -> bool:
    """True if `value` is or holds a plug-in that names code; see `Settings.names_code`."""
    if isinstance(value, Settings) and value.names_code:
        return True
    if isinstance(value, BaseModel):
        return any(holds_code(getattr(value, name)) for name in type(value).model_fields)
    if isinstance(value, Mapping):
        return any(holds_code(item) for item in value.values())
    return isinstance(value, list | tuple) and any(holds_code(item) for item in value)


def validation_context(info: ValidationInfo) -> tuple[Path, bool]:
    """Folder for relative paths, and whether code is trusted, during a validation.

    Args:
        info: of a pydantic validator.
    """
    context = info.context or {}
    return context.get("folder", Path.cwd()), context.get("trust_code", False)


def resolve_path(name: str, folder: Path) -> Path:
    """Absolute path of a file that settings name.

    Args:
        name: as it was written; `~` is the user's home.
        folder: where relative names start, from `validation_context`.

    Raises:
        ValueError: there can be no such path, or the settings come from a store.
    """
    if folder == STORED_FOLDER:
        raise ValueError(f"settings in a store may not name a file, got '{name:.60}'")
    try:
        return (folder / Path(name).expanduser()).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, an unknown user, a zero byte
        raise ValueError(f"'{name:.60}' is no path: {getattr(error, 'strerror', None) or error}") from error


def _path_exists(path: Path) -> bool:
    """True if the path exists; False also where it cannot be looked up."""
    try:
        return path.exists()
    except OSError:  # a name too long, a folder without permission
        return False


def parse_name_list(value: Sequence[object]) -> list[str]:
    """Check that a list holds different names, and return them.

    Args:
        value: the list, which stands for a mapping with default values.

    Raises:
        ValueError: an entry is no text, or is listed twice.
    """
    names = [name for name in value if isinstance(name, str)]
    if len(names) < len(value):
        wrong = next(item for item in value if not isinstance(item, str))
        raise ValueError(
            f"expected a list of names, got {json.dumps(wrong, default=str, ensure_ascii=False):.60}"
        )
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise ValueError(f"{', '.join(twice)} is named more than once")
    return names


def _load_field(group: str) -> BeforeValidator:
    """Validator of a field that names a plug-in of a `group`."""

    def load_plugin(value: object, info: ValidationInfo) -> object:
        if isinstance(value, Settings):
            return value
        folder, trust_code = validation_context(info)
        try:
            return load(group, value, folder=folder, trust_code=trust_code)
        except PluginError as error:
            raise ValueError(str(error)) from error

    return BeforeValidator(load_plugin)


PotentialField = Annotated[SerializeAsAny[Settings], _load_field("potentials")]
"""A field that names a potential: `chgnet`, or `{kind: ase, calculator: emt}`."""
EvaluatorField = Annotated[SerializeAsAny[Settings], _load_field("evaluators")]
"""A field that names an evaluator: `relax`, or `{kind: relax, potential: sevennet}`."""
GeneratorField = Annotated[SerializeAsAny[Settings], _load_field("generators")]
"""A field that names a generator: `prototypes`, or `{kind: crystal_vae, prior: mixture}`."""


class InputFile(Frozen):
    """A file named in a campaign.

    Its text travels with the campaign, so a run does not depend on the original.
    """

    name: str
    """File name, without its folder."""
    text: str
    """Its content (UTF-8)."""

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: object, info: ValidationInfo) -> object:
        if not isinstance(value, str):
            return value
        folder, _ = validation_context(info)
        path = resolve_path(value, folder)
        if not _path_exists(path):
            raise ValueError(f"there is no file '{value}' (looked for {path})")
        try:
            return {
                "name": path.name,
                "text": read_text(path, MAX_INPUT_BYTES, letters=path.suffix.lower() in TABLE_SUFFIXES),
            }
        except UnreadableFileError as error:
            raise ValueError(str(error)) from error

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read the file at `path`, relative to the working directory."""
        return cls.model_validate(str(path))
