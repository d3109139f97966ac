"""Artifact: a field of settings that stands for weights or other binary content, by its hash."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from invdesign.artifacts.contents import MAX_ARTIFACT_BYTES, Content, find_content, find_in_use
from invdesign.artifacts.layouts import Arrays, Format, read_arrays, read_tensors
from invdesign.artifacts.models import MAX_CONFIG_BYTES, Loaded, read_model
from invdesign.errors import ArtifactError
from invdesign.settings import Frozen, resolve_path, validation_context
from invdesign.wording import shorten_text

SHOWN_DIGITS = 12  # of a hash, where people read it (chosen)


class Artifact(Frozen):
    """Weights or other binary content that a campaign names, by hash.

    In a campaign file it is the path of a model folder, or of a `.safetensors` or `.npz` file. Settings are stored with name,
    hash and card; the content is kept in the folder of the run.
    """

    name: Annotated[str, Field(min_length=1, max_length=255)]
    """Name of the file or folder, without its place."""
    format: Format
    """Format of the content."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """SHA-256 hash of the content."""
    size: Annotated[int, Field(ge=0, le=MAX_ARTIFACT_BYTES)]
    """Size of the content in bytes."""
    card: dict[str, Any] = Field(default_factory=dict)
    """Configuration of the model, as its `config.json` has it."""
    _content: Content | None = PrivateAttr(default=None)

    @model_validator(mode="wrap")
    @classmethod
    def _read(cls, value: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        """Read the file or folder that a campaign names."""
        if isinstance(value, str):
            return cls.from_loaded(_load_named(value, validation_context(info)[0]))
        if isinstance(value, cls) or (isinstance(value, Mapping) and "sha256" in value):
            return handler(value)
        found = shorten_text(json.dumps(value, default=str, ensure_ascii=False), 60)
        raise ValueError(
            f"expected the path of a model folder, or of a .safetensors or .npz file, got {found}"
        )

    def model_post_init(self, context: Any) -> None:  # noqa: ARG002 - pydantic passes it
        """Hold content that is in memory: settings are often read again from their own JSON."""
        self._content = find_in_use(self.sha256)

    @field_validator("card")
    @classmethod
    def _check_card(cls, card: dict[str, Any]) -> dict[str, Any]:
        written = len(json.dumps(card).encode())
        if written > MAX_CONFIG_BYTES:
            raise ValueError(f"a card has at most {MAX_CONFIG_BYTES} bytes, got {written}")
        return card

    def __eq__(self, other: object) -> bool:
        # Content that happens to be in memory makes no difference.
        return isinstance(other, Artifact) and self.model_dump() == other.model_dump()

    def __hash__(self) -> int:
        return hash(self.sha256)

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read the model folder or file at `path`, relative to the working directory.

        Raises:
            pydantic.ValidationError: it is missing, damaged, of another version, or could run code.
        """
        return cls.model_validate(str(path))

    @classmethod
    def from_loaded(cls, loaded: Loaded) -> Self:
        """Make the artifact of a model that was `loaded`."""
        return cls.model_validate(_describe(loaded))  # it holds the content, which is in memory now

    def content(self) -> bytes:
        """Bytes of the artifact, from memory, the folder of a run, or a package.

        Raises:
            ArtifactError: they are nowhere, or damaged.
        """
        return self.find().data

    def find(self) -> Content:
        """Content of the artifact; see `content`."""
        if self._content is not None:
            return self._content
        try:
            return find_content(self.sha256, self.format)
        except ArtifactError as error:
            raise ArtifactError(
                f"the content of the artifact '{self.name}' was not found: {error}"
            ) from error

    def tensors(self) -> Arrays:
        """Tensors of a safetensors artifact by name.

        Raises:
            ArtifactError: the content is missing, damaged, or of another format.
        """
        self._check_format("safetensors")
        return read_tensors(self.content(), self.name)

    def arrays(self) -> Arrays:
        """Arrays of an npz artifact by name.

        Raises:
            ArtifactError: the content is missing, damaged, or of another format.
        """
        self._check_format("npz")
        return read_arrays(self.content(), self.name)

    def _check_format(self, expected: Format) -> None:
        if self.format != expected:
            raise ArtifactError(f"the artifact '{self.name}' is {self.format}, expected {expected}")

    def check_kind(self, kind: str, version: int) -> None:
        """Check that the card is of a model of this `kind` and `version`.

        Raises:
            ArtifactError: it is of another one; `of_kind` checks the field of a plug-in.
        """
        found = self.card.get("kind")
        if found != kind:
            raise ArtifactError(
                f"'{self.name}' is {'a model of the kind ' + repr(found) if found else 'no model with a card'}; "
                f"expected is a model folder of the kind '{kind}'"
            )
        written = self.card.get("version")
        if written != version:
            advice = (
                "update invdesign" if type(written) is int and written > version else "train the model again"
            )
            raise ArtifactError(
                f"'{self.name}' holds weights of version {written!s:.20} of {kind}, and version {version} is read: {advice}"
            )


def _load_named(name: str, folder: Path) -> Loaded:
    """Read the model that a campaign in `folder` names.

    Raises:
        ValueError: it cannot be read; pydantic reports it with its place.
    """
    path = resolve_path(name, folder)
    try:
        return read_model(path)
    except ArtifactError as error:
        raise ValueError(str(error)) from error


def _describe(loaded: Loaded) -> dict[str, Any]:
    """Fields of the artifact of a model that was `loaded`."""
    return {
        "name": loaded.name,
        "format": loaded.form,
        "sha256": loaded.content.sha256,
        "size": len(loaded.content.data),
        "card": dict(loaded.card),
    }


def of_kind(kind: str, version: int) -> AfterValidator:
    """Validator of a field that takes models of one kind and version.

    The type of the field is `Annotated[Artifact, of_kind("linear", 1)]`.

    Args:
        kind, version: as in the card of the model.
    """

    def check_kind(artifact: Artifact) -> Artifact:
        try:
            artifact.check_kind(kind, version)
        except ArtifactError as error:
            raise ValueError(str(error)) from error
        return artifact

    return AfterValidator(check_kind)


def find_artifacts(settings: Any) -> tuple[Artifact, ...]:
    """Artifacts in the JSON of settings, one per content.

    In the JSON and not in the objects: it holds all that decides results, however a plug-in keeps it.

    Args:
        settings: what `model_dump(mode="json")` of plug-ins gives, also several in lists and mappings.
    """
    found: dict[str, Artifact] = {}
    for fields in _walk_mappings(settings):
        with suppress(
            ValidationError
        ):  # a setting that merely looks like one; artifacts were validated before
            artifact = Artifact.model_validate_json(json.dumps(fields))
            found.setdefault(artifact.sha256, artifact)
    return tuple(found.values())


def _walk_mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    """Iterate over the mappings within `value` that are dumps of artifacts."""
    if isinstance(value, Mapping):
        if label_artifact(value):
            yield value
        else:
            for item in value.values():
                yield from _walk_mappings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _walk_mappings(item)


def label_artifact(dump: Mapping[str, Any]) -> str:
    """Write an artifact's name and the start of its hash; empty if `dump` is none of an artifact."""
    if dump.keys() != Artifact.model_fields.keys() or not isinstance(dump["sha256"], str):
        return ""
    return f"{dump['name']} (SHA-256 {dump['sha256'][:SHOWN_DIGITS]})"
