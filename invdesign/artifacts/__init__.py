"""Artifacts: binary content such as trained weights, addressed by its hash, with a JSON card, and never a pickle."""

from invdesign.artifacts.artifact import Artifact, find_artifacts, label_artifact, of_kind
from invdesign.artifacts.contents import Content, use_folder
from invdesign.artifacts.keeping import (
    examine_contents,
    keep_contents,
    kept_contents,
    load_contents,
    move_contents,
    place_of,
)
from invdesign.artifacts.layouts import Arrays, read_arrays, read_tensors
from invdesign.artifacts.models import write_model
from invdesign.artifacts.shipped import Shelf

__all__ = [
    "Arrays",
    "Artifact",
    "Content",
    "Shelf",
    "examine_contents",
    "find_artifacts",
    "keep_contents",
    "kept_contents",
    "label_artifact",
    "load_contents",
    "move_contents",
    "of_kind",
    "place_of",
    "read_arrays",
    "read_tensors",
    "use_folder",
    "write_model",
]
