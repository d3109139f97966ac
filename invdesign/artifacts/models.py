"""Model folders and single files with weights: read by name of the file, and never through pickle."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from invdesign import strictjson
from invdesign.artifacts.contents import MAX_ARTIFACT_BYTES, Content, hold_content
from invdesign.artifacts.layouts import Format, check_layout, pack_tensors
from invdesign.diskfiles import replace_atomically, sync_to_disk
from invdesign.errors import ArtifactError
from invdesign.textfiles import UnreadableFileError, open_regular, read_bytes, read_text
from invdesign.version import __version__

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "card.md"
NEXT_WEIGHTS = "model.next.safetensors"  # weights that `CONFIG` may name already; see `write_model`
FOLDER_FORMAT = 1
"""Version of the form of a model folder."""
MAX_CONFIG_BYTES = 200_000  # of the JSON card, which is stored with every run (chosen)
FIRST_BYTES = 9  # of a file, which tell a pickle from a safetensors file
PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".joblib", ".dill")
FORMATS: Mapping[str, Format] = {".safetensors": "safetensors", ".npz": "npz"}
OWN_KEYS = ("format", "sha256", "size", "made_by")  # of the configuration; the rest is the card
_HASH = re.compile(r"[0-9a-f]{64}")
_NOT_READ = "reading a pickle runs code, so none is read; save the weights as safetensors"


@dataclass(frozen=True, slots=True)
class Loaded:
    """Content that was read from a file or a model folder.

    Attributes:
        name: of the file or folder.
        form: format of the content.
        content: bytes and hash.
        card: configuration of the model; empty for a single file.
    """

    name: str
    form: Format
    content: Content
    card: Mapping[str, Any] = field(default_factory=dict)


def read_model(path: Path) -> Loaded:
    """Read a model folder, or one file with weights.

    Args:
        path: of a folder with `model.safetensors` and `config.json`, or of a `.safetensors` or `.npz` file.

    Raises:
        ArtifactError: it is missing, damaged, of another version, or could run code.
    """
    try:
        return _read_folder(path) if path.is_dir() else _read_file(path)
    except UnreadableFileError as error:
        raise ArtifactError(str(error)) from error


def _read_file(path: Path) -> Loaded:
    form = FORMATS.get(path.suffix.lower())
    data = read_bytes(path, MAX_ARTIFACT_BYTES)
    refused = _describe_pickle(path.name, data[:FIRST_BYTES], archive=form == "npz")
    if refused:
        raise ArtifactError(refused)
    if form is None:
        raise ArtifactError(
            f"{path.name} is no artifact: expected a .safetensors or .npz file, or a folder with {WEIGHTS} and {CONFIG}"
        )
    check_layout(data, form, path.name)
    return Loaded(path.name, form, hold_content(data))


def _read_folder(folder: Path) -> Loaded:
    _refuse_pickles(folder)
    if not (folder / CONFIG).exists():
        raise ArtifactError(
            f"{folder.name} is no model: it holds no {CONFIG}; a model is a folder with {WEIGHTS}, {CONFIG} and {CARD}"
        )
    config = _read_config(folder)
    content = _read_weights(folder, config["sha256"])
    check_layout(content.data, "safetensors", f"{folder.name}/{WEIGHTS}")
    card = {key: value for key, value in config.items() if key not in OWN_KEYS}
    return Loaded(folder.name, "safetensors", content, card)


def _refuse_pickles(folder: Path) -> None:
    """Refuse a folder with a file that is a pickle by name or content.

    Raises:
        ArtifactError: there is one.
    """
    try:
        files = [path for path in sorted(folder.iterdir()) if not path.is_dir()]
    except OSError as error:
        raise ArtifactError(f"{folder.name} cannot be read: {error.strerror or error}") from error
    for path in files:
        with open_regular(path) as stream:
            refused = _describe_pickle(
                path.name, stream.read(FIRST_BYTES), archive=path.suffix.lower() == ".npz"
            )
        if refused:
            raise ArtifactError(f"{folder.name}: {refused}. Or take {path.name} out of the folder")


def _describe_pickle(name: str, first: bytes, *, archive: bool) -> str:
    """Reason why a file counts as a pickle; empty if it does not.

    Args:
        name: of the file.
        first: bytes of the file.
        archive: whether it may be an archive.
    """
    if Path(name).suffix.lower() in PICKLES:
        return f"{name} is a pickle by its name: {_NOT_READ}"
    # Opcode PROTO and its number, PEP 3154. A safetensors file may begin so, by the length of its header; it goes on with JSON.
    if len(first) > 1 and first[0] == 0x80 and 2 <= first[1] <= 5 and first[2:9] != bytes(6) + b"{":
        return f"{name} begins as a pickle: {_NOT_READ}"
    if first.startswith(b"PK\x03\x04") and not archive:
        return f"{name} is an archive, as torch writes around a pickle: {_NOT_READ}"
    return ""


def _read_config(folder: Path) -> dict[str, Any]:
    """Read the configuration of a model folder.

    Raises:
        ArtifactError: it is no configuration that this version reads.
    """
    where = f"{folder.name}/{CONFIG}"
    try:
        config = strictjson.loads(read_text(folder / CONFIG, MAX_CONFIG_BYTES, fallback=None))
    except ValueError as error:
        raise ArtifactError(f"{where} is no JSON: {error}") from error
    if not isinstance(config, dict):
        raise ArtifactError(f"{where}: expected a mapping")
    version = config.get("format")
    if version != FOLDER_FORMAT:
        raise ArtifactError(
            f"{where} has the format {version!s:.20}, and invdesign {__version__} reads {FOLDER_FORMAT}"
            f" (made by {config.get('made_by', 'an unknown version')!s:.40}): "
            "use the version that made it, or train the model again"
        )
    if not isinstance(config.get("sha256"), str) or not _HASH.fullmatch(config["sha256"]):
        raise ArtifactError(
            f"{where}: expected the SHA-256 hash of {WEIGHTS} under 'sha256', got {config.get('sha256')!s:.80}"
        )
    return config


def _read_weights(folder: Path, sha256: str) -> Content:
    """Read the weights with the hash that the configuration names.

    Raises:
        ArtifactError: there are none.
    """
    files = [folder / name for name in (WEIGHTS, NEXT_WEIGHTS) if (folder / name).exists()]
    if not files:
        raise ArtifactError(f"{folder.name} is no model: it holds no {WEIGHTS}")
    found = [hold_content(read_bytes(path, MAX_ARTIFACT_BYTES)) for path in files]
    for content in found:
        if content.sha256 == sha256:
            return content
    raise ArtifactError(
        f"{folder.name}/{files[0].name} does not match its card: {CONFIG} names the SHA-256 hash {sha256}, the file has "
        f"{found[0].sha256} ({len(found[0].data)} bytes). Fetch the model again; the file is damaged or from another model"
    )


def write_model(
    folder: Path, tensors: Mapping[str, NDArray[Any]], config: Mapping[str, Any], card: str
) -> Content:
    """Write a model folder; a process that dies meanwhile leaves the old model or the new one.

    Args:
        folder: of the model, which may hold an older one.
        tensors: weights by name.
        config: what is needed to build the network, as JSON; its `kind` and `version` are read by `Artifact.check_kind`.
        card: text about the model in Markdown.

    Returns:
        Content of the weights.

    Raises:
        ArtifactError: the folder cannot be written, or the configuration is too large or no JSON.
    """
    content = hold_content(pack_tensors(tensors))
    own = {
        "format": FOLDER_FORMAT,
        "made_by": __version__,
        "sha256": content.sha256,
        "size": len(content.data),
    }
    text = _format_config({**config, **own})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _finish_writing(folder)
        # The configuration is the switch: until it is replaced the old weights count, from then on the next ones.
        _write_file(folder / NEXT_WEIGHTS, content.data)
        _write_file(folder / CONFIG, text.encode())
        (folder / NEXT_WEIGHTS).replace(folder / WEIGHTS)
        _write_file(folder / CARD, card.encode())
        sync_to_disk(folder)
    except OSError as error:
        raise ArtifactError(
            f"the model cannot be written to {folder}: {error.strerror or error}. A model that was there before is whole"
        ) from error
    return content


def _format_config(config: Mapping[str, Any]) -> str:
    """Format a configuration that `_read_config` reads.

    Raises:
        ArtifactError: it is too large or no JSON.
    """
    try:
        text = json.dumps(config, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
        strictjson.loads(text)
    except (TypeError, ValueError) as error:
        raise ArtifactError(f"the configuration of the model is no plain JSON: {error}") from error
    if len(text.encode()) > MAX_CONFIG_BYTES:
        raise ArtifactError(
            f"the configuration of the model takes {len(text.encode())} bytes, and at most {MAX_CONFIG_BYTES} are stored"
        )
    return text


def _finish_writing(folder: Path) -> None:
    """Put weights in their place that a killed process left beside it."""
    following, config = folder / NEXT_WEIGHTS, folder / CONFIG
    if not following.exists() or not config.exists():
        return
    try:
        named = _read_config(folder)["sha256"]
        if hold_content(read_bytes(following, MAX_ARTIFACT_BYTES)).sha256 == named:
            following.replace(folder / WEIGHTS)
    except (ArtifactError, UnreadableFileError):
        return  # there is no model to keep


def _write_file(path: Path, data: bytes) -> None:
    with replace_atomically(path, durable=True) as temporary:
        temporary.write_bytes(data)
