"""Readers of safetensors and npz within bounds, which run no code; and the writer of safetensors."""

from __future__ import annotations

import io
import lzma
import math
import struct
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from tokenize import TokenError
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from invdesign import strictjson
from invdesign.errors import ArtifactError

Format = Literal["safetensors", "npz"]
Arrays = dict[str, NDArray[Any]]
MAX_HEADER_BYTES = 4_000_000  # of a safetensors file: some 40,000 tensors (chosen)
MAX_ARRAYS = 20_000  # of one file (chosen)
MAX_UNPACKED_BYTES = 500_000_000  # of all arrays of an npz file, against zip bombs (chosen)
LENGTH_BYTES = 8  # before the header of a safetensors file (github.com/huggingface/safetensors, "Format")
NUMPY_TYPES = ("F64", "F32", "F16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL")
# Raised by `zipfile` and by numpy's parser of headers for bytes that are damaged (found by flipping bits).
ARCHIVE_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
)
HEADER_ERRORS = (
    ValueError,
    KeyError,
    TypeError,
    SyntaxError,
    TokenError,
    MemoryError,
    RecursionError,
    UserWarning,
)
_METADATA = "__metadata__"
_HEADER_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
"""By version of the npy format."""


def check_layout(data: bytes, form: Format, name: str) -> None:
    """Check that a file is whole and of its format.

    Args:
        data: content of the file.
        form: format of the file.
        name: of the file, for messages.

    Raises:
        ArtifactError: it is cut short, of another format, or holds objects.
    """
    if form == "npz":
        read_arrays(data, name)
    else:
        _read_tensor_table(data, name)


def read_tensors(data: bytes, name: str = "the file") -> Arrays:
    """Tensors of a safetensors file by name.

    Args:
        data: content of the file.
        name: of the file, for messages.

    Raises:
        ArtifactError: it is damaged, or has a tensor of a type that numpy lacks.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    for tensor, row in _read_tensor_table(data, name).items():
        if row.get("dtype") not in NUMPY_TYPES:
            raise ArtifactError(
                f"{name}: the tensor '{tensor:.60}' has the type {row.get('dtype')!s:.20}; "
                f"read are {', '.join(NUMPY_TYPES)}: save it as F16 or F32"
            )
    try:
        return load(data)
    except (SafetensorError, ValueError) as error:
        raise ArtifactError(f"{name} is damaged, or no safetensors file: {error}") from error


def _read_tensor_table(data: bytes, name: str) -> dict[str, dict[str, Any]]:
    """Read type, shape and place of every tensor, by name.

    Raises:
        ArtifactError: the file is cut short, too long, or of another format.
    """
    length = int.from_bytes(data[:LENGTH_BYTES], "little")
    if len(data) < LENGTH_BYTES or length > MAX_HEADER_BYTES:
        raise ArtifactError(
            f"{name} is no safetensors file: it holds {len(data)} bytes and claims a header of {length}, "
            f"of at most {MAX_HEADER_BYTES}"
        )
    start = LENGTH_BYTES + length
    if start > len(data):
        raise ArtifactError(
            f"{name} is cut short: it holds {len(data)} bytes, and its header ends at {start}"
        )
    try:
        table = strictjson.loads(data[LENGTH_BYTES:start].decode())
    except ValueError as error:
        raise ArtifactError(f"{name} is no safetensors file: its header is no JSON ({error})") from error
    rows = {key: row for key, row in table.items() if key != _METADATA} if isinstance(table, dict) else {}
    if not isinstance(table, dict) or len(rows) > MAX_ARRAYS or not all(map(_is_tensor_row, rows.values())):
        raise ArtifactError(
            f"{name} is no safetensors file: its header is no table of at most {MAX_ARRAYS} tensors"
        )
    end = start + max((row["data_offsets"][1] for row in rows.values()), default=0)
    if end > len(data):
        raise ArtifactError(
            f"{name} is cut short: it holds {len(data)} bytes, and its header describes {end}"
        )
    if end < len(data):
        raise ArtifactError(f"{name} is damaged: it holds {len(data)} bytes, and its header describes {end}")
    return rows


def _is_tensor_row(row: object) -> bool:
    """True if a row of the table has the place of a tensor."""
    offsets = row.get("data_offsets") if isinstance(row, dict) else None
    return isinstance(offsets, list) and len(offsets) == 2 and all(type(item) is int for item in offsets)


def pack_tensors(tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """Write `tensors` as the content of a safetensors file.

    Raises:
        ArtifactError: an array has a type that the format lacks.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save

    # The library writes the memory of an array as it lies: a transposed one would be scrambled.
    plain = {name: np.array(tensor, order="C", copy=True) for name, tensor in tensors.items()}
    wrong = [name for name, tensor in plain.items() if tensor.dtype.kind not in "fiub"]
    if wrong:
        raise ArtifactError(
            f"the tensor '{wrong[0]}' has the type {plain[wrong[0]].dtype}; numbers are written"
        )
    try:
        return save(plain)
    except (SafetensorError, KeyError, ValueError) as error:
        raise ArtifactError(f"the tensors cannot be written as safetensors: {error}") from error


def read_arrays(data: bytes, name: str = "the file") -> Arrays:
    """Arrays of an npz file by name.

    Args:
        data: content of the file.
        name: of the file, for messages.

    Raises:
        ArtifactError: it is damaged, unpacks to too many bytes, or holds objects, which only pickle could read.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            _check_members(members, name)
            return {item.filename.removesuffix(".npy"): _read_member(archive, item, name) for item in members}
    except ARCHIVE_ERRORS as error:
        raise ArtifactError(f"{name} is cut short or damaged, or no npz file: {error}") from error


def _check_members(members: list[zipfile.ZipInfo], name: str) -> None:
    """Refuse an archive that holds something else than arrays, or too much.

    Raises:
        ArtifactError: it does.
    """
    other = next((item.filename for item in members if not item.filename.endswith(".npy")), None)
    if other is not None:
        raise ArtifactError(f"{name} is no npz file: it holds '{other:.60}', and arrays end in .npy")
    unpacked = sum(item.file_size for item in members)
    if len(members) > MAX_ARRAYS or unpacked > MAX_UNPACKED_BYTES:
        raise ArtifactError(
            f"{name} unpacks to {unpacked / 1e6:.6g} MB in {len(members)} arrays; "
            f"at most {MAX_UNPACKED_BYTES / 1e6:.6g} MB in {MAX_ARRAYS} are read"
        )


def _read_member(archive: zipfile.ZipFile, item: zipfile.ZipInfo, name: str) -> NDArray[Any]:
    """Read one array of an npz file.

    Not by `numpy.load`, which allocates what the header of an array claims before it has read it.
    """
    with archive.open(item) as packed:
        data = packed.read(
            item.file_size + 1
        )  # `archive.read` unpacks more than the entry claims before it cuts
    stream = io.BytesIO(data)
    try:
        with warnings.catch_warnings(
            action="error", category=UserWarning
        ):  # of a header in the form of Python 2
            version = np.lib.format.read_magic(stream)
            shape, by_columns, dtype = _HEADER_READERS[version](stream)
    except HEADER_ERRORS as error:
        raise ArtifactError(f"{name}: '{item.filename:.60}' is no array that is read: {error}") from error
    if dtype.hasobject:
        raise ArtifactError(
            f"{name}: '{item.filename:.60}' holds Python objects as a pickle, which could run code; save numbers or text"
        )
    start, claimed = stream.tell(), math.prod(shape) * dtype.itemsize
    if claimed != len(data) - start or dtype.itemsize == 0:
        raise ArtifactError(
            f"{name}: '{item.filename:.60}' holds {len(data) - start} bytes, and its header describes {claimed}"
        )
    values = np.frombuffer(data, dtype, offset=start)
    return values.reshape(shape, order="F" if by_columns else "C")
