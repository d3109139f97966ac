"""Models that come with an installed package, named by one word in a campaign."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from pydantic import BeforeValidator, ValidationInfo

from invdesign.artifacts.artifact import Artifact
from invdesign.artifacts.contents import add_source
from invdesign.artifacts.models import CONFIG, FORMATS, read_model
from invdesign.errors import ArtifactError, nearest
from invdesign.settings import STORED_FOLDER, resolve_path, validation_context


@dataclass(frozen=True, slots=True)
class Shelf:
    """Folder of a package with the models that it ships.

    A plug-in names it once, in its module: `MODELS = Shelf("my_package", "models")`. Its field is
    `weights: Annotated[Artifact, MODELS.field] = Field(default_factory=MODELS.default)`, and a campaign names a model by its
    word, or its own by a path. The word is resolved when the campaign is read: stored settings hold the hash.

    Args:
        package: that was imported, the plug-in's own.
        folder: within the package, with model folders, `.safetensors` and `.npz` files.
        standard: name of the model that `default` gives.
    """

    package: str
    folder: str = "models"
    standard: str = "default"

    def __post_init__(self) -> None:
        add_source(self._find_bytes)

    @property
    def field(self) -> BeforeValidator:
        """Validator of a field of the type `Artifact` that may name a model of this shelf."""
        return BeforeValidator(self._resolve)

    def names(self) -> tuple[str, ...]:
        """Sorted names of the models."""
        return tuple(sorted(_list_models(self.package, self.folder)))

    def read(self, name: str) -> Artifact:
        """Read the model `name`.

        Raises:
            ArtifactError: there is none, or the installation is damaged.
        """
        file = _list_models(self.package, self.folder).get(name)
        if file is None:
            raise ArtifactError(
                f"{self.package} ships no model '{name:.60}'; there are: {', '.join(self.names())}"
            )
        return _read_shipped(self.package, self.folder, file).model_copy(update={"name": name})

    def default(self) -> Artifact:
        """Read the model that is used where a campaign names none."""
        return self.read(self.standard)

    def _resolve(self, value: Any, info: ValidationInfo) -> Any:
        """Model of this shelf in place of its name; all else as it is."""
        folder = validation_context(info)[0]
        if not isinstance(value, str) or folder == STORED_FOLDER:
            return value
        try:
            if value in self.names():
                return self.read(value)
        except ArtifactError as error:
            raise ValueError(str(error)) from error
        if Path(value).name == value and not resolve_path(value, folder).exists():
            raise ValueError(
                f"'{value:.60}' is neither a shipped model ({', '.join(self.names()) or 'there is none'}) nor a file or "
                f"folder beside the campaign. {nearest(value, self.names())}".rstrip()
            )
        return value

    def _find_bytes(self, sha256: str) -> bytes | None:
        """Bytes of the shipped model with this hash; None if there is none."""
        for name in self.names():
            try:
                artifact = self.read(name)
            except ArtifactError:  # a damaged installation; using that model says so
                continue
            if artifact.sha256 == sha256:
                return artifact.content()
        return None


@cache
def _list_models(package: str, folder: str) -> dict[str, str]:
    """List names of files and folders in a package by the name of the model."""
    place = files(package) / folder
    if not place.is_dir():
        return {}
    entries = [entry for entry in place.iterdir() if not entry.name.startswith((".", "_"))]
    models = {entry.name: entry.name for entry in entries if entry.is_dir() and (entry / CONFIG).is_file()}
    single = [entry.name for entry in entries if entry.is_file() and Path(entry.name).suffix in FORMATS]
    return models | {Path(name).stem: name for name in single}


@cache
def _read_shipped(package: str, folder: str, file: str) -> Artifact:
    """Read a shipped model; it stays in memory, as its package does."""
    with as_file(files(package) / folder / file) as path:
        return Artifact.from_loaded(read_model(path))
